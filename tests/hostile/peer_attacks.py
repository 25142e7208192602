"""Hostile peers of a live server: each attack sends one message, datagram or handshake a step. Runs as a process.

    python peer_attacks.py '{"bundle": ..., "keys": ..., "token": ..., "plain": PORT, "secure": PORT,
                             "messages": 100000, "seconds": 40, "seed": 14, "rate": 1.0}'

ends after so many messages or seconds, and prints how many each attack sent, as JSON. Attacks are paced: what is
measured beside them is what their messages do to a server, and not how many cores they take from it.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import struct
import sys
import threading
import time
from collections import Counter, deque
from contextlib import suppress
from pathlib import Path
from random import Random

from splitimpera.bundle.opened import open_bundle
from splitimpera.codec.framing import HEADER, HEADER_BYTES, Kind, packetise
from splitimpera.core.errors import LinkError
from splitimpera.deploy.dtls import Dtls, client_dtls
from splitimpera.deploy.keys import KeyFiles
from splitimpera.deploy.messages import ACK, PING, Hello
from splitimpera.deploy.security import ClientSecurity, client_context
from splitimpera.records.traffic import Payload

HOST = "127.0.0.1"
HELD = 150
"""Sockets that an attack leaves open before it closes its oldest."""


def mutated(random, content, others):
    """A capture with something wrong: bits, length, fields, order."""
    content = bytearray(content)
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(content) or 1)
        match random.randrange(8):
            case 0 if content:
                content[at] ^= 1 << random.randrange(8)
            case 1:
                del content[at:]
            case 2:
                content[at:at] = content[: random.randint(0, 64)]
            case 3 if len(content) >= HEADER_BYTES:  # fields of the header, swapped
                words = [bytes(content[place : place + 4]) for place in range(0, HEADER_BYTES, 4)]
                random.shuffle(words)
                content[:HEADER_BYTES] = b"".join(words)
            case 4 if len(content) >= HEADER_BYTES:  # a total, offset or number that is anything
                place = 4 * random.randrange(5)
                content[place : place + 4] = struct.pack("!I", random.choice([0, 1, 65535, 1 << 31, (1 << 32) - 1]))
            case 5:
                content += random.choice(others)
            case 6:
                content[at : at + 8] = random.randbytes(8)
            case _ if content:  # version and kind
                content[0] = random.randrange(256)
    return bytes(content)


class Captures:
    """What a good client says."""

    def __init__(self, bundle, token):
        self.bundle, self.token = bundle, token
        self.hop = bundle.manifest.plan("sc").hops[0]
        codec = bundle.codec(self.hop)
        import numpy as np

        rng = np.random.default_rng(3)
        tensors = [rng.random(entry.shape, np.float32) for entry in self.hop.tensors]
        self.payload = codec.encode(tensors).data
        self.hello_plain = self.message(Kind.HELLO, self.hello(b""))
        self.hello_secure = self.message(Kind.HELLO, self.hello(token))
        self.frame = self.message(Kind.FRAME, self.payload)
        self.pieces = packetise(
            Payload(self.payload), frame=9, plan=self.hop.number, packet_bytes=self.hop.packet_bytes, time_left_s=0.01
        )
        self.ping = self.message(Kind.PING, PING.pack(1000))
        self.ack = self.message(Kind.ACK, ACK.pack(3, 5))
        self.all = [self.hello_plain, self.frame, *self.pieces, self.ping, self.ack]

    def hello(self, token, bundle=None):
        return Hello(bundle or bytes.fromhex(self.bundle.manifest.bundle), token=token).to_bytes()

    def message(self, kind, data, frame=0, number=None, **more):
        number = self.hop.number if number is None else number
        return packetise(Payload(data), frame=frame, plan=number, kind=kind, **more)[0]

    def made_up(self, random):
        """A message in good form whose content is none, as one may say after the greeting."""
        match random.randrange(10):
            case 0:
                return self.message(Kind.FRAME, random.randbytes(random.randint(0, 3000)), random.getrandbits(32))
            case 1:
                return self.message(Kind.FRAME, self.payload[: random.randrange(len(self.payload))], 5)
            case 2:
                content = bytearray(self.payload)
                content[random.randrange(len(content))] ^= 255
                return self.message(Kind.FRAME, bytes(content), random.getrandbits(32))
            case 3:
                return self.message(Kind.FRAME, self.payload, 7, random.getrandbits(32))
            case 4:
                return self.message(Kind.FRAME, self.payload, 8, time_left_s=0.0)
            case 5:
                return self.message(Kind.PING, random.randbytes(random.randint(0, 4)), random.getrandbits(32))
            case 6:
                return self.message(Kind.ACK, random.randbytes(12), random.getrandbits(32))
            case 7:
                return self.hello_plain
            case 8:
                return self.frame
            case _:
                return self.ping


class Attack:
    """One kind of hostile peers.

    Attributes:
        rate: Messages a second.
        sent: How many were handed to the system.
    """

    def __init__(self, name, rate, step):
        self.name, self.rate, self.step = name, rate, step
        self.sent = 0
        self.due_s = 0.0

    @property
    def waits(self):
        """Whether it waits for what the server says."""
        return self.name in ("dtls_half_open", "dtls_inside", "tls_without_a_certificate", "token_brute_force")


def closed(sock, hard=False):
    """Close a socket, hard: so that the peer gets a reset and nothing else."""
    with suppress(OSError):
        if hard:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()


def keep(held, sock, most=HELD, hard=False):
    held.append(sock)
    if len(held) > most:
        closed(held.popleft(), hard)


def drained(sock):
    with suppress(OSError):
        while sock.recv(1 << 16):
            pass


def tcp(port):
    sock = socket.create_connection((HOST, port), timeout=2)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def udp(port):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.connect((HOST, port))
    return sock


class DtlsPeer:
    """A DTLS client by hand."""

    def __init__(self, port, context, sock=None):
        self.sock, self.dtls = sock or udp(port), Dtls(context, HOST)
        self.sent = 0

    def put(self, datagrams):
        for datagram in datagrams:
            with suppress(OSError):
                self.sock.send(datagram)
                self.sent += 1

    def flight(self, wait_s=0.0):
        """Take what came, and answer it."""
        end_s = time.monotonic() + wait_s
        while True:
            try:
                datagram = self.sock.recv(1 << 16)
            except OSError:
                if time.monotonic() >= end_s:
                    return
                time.sleep(0.0005)
                continue
            with suppress(LinkError):
                self.dtls.arrived(datagram)
            self.put(self.dtls.pending())
            if self.dtls.done:
                return

    def begin(self):
        self.dtls.shake()
        self.put(self.dtls.pending())


def attacks(told, random):
    """All of them, with their rates."""
    files, plain, secure = KeyFiles(Path(told["keys"])), told["plain"], told["secure"]
    captures = Captures(open_bundle(told["bundle"]), told["token"].encode())
    good = ClientSecurity(files.authority, files.client, files.client_key, told["token"])
    stranger = ClientSecurity(files.authority)
    tls_good, tls_stranger = client_context(good), client_context(stranger)
    dtls_good, dtls_stranger = client_dtls(good), client_dtls(stranger)
    found = []

    def attack(rate):
        def put(step):
            found.append(Attack(step.__name__, rate, step))
            return step

        return put

    # Datagrams of nobody

    fixed = [udp(plain), udp(secure), udp(secure)]

    @attack(900)
    def udp_noise():
        sock = random.choice(fixed)
        drained(sock)
        sock.send(random.randbytes(random.choice([0, 1, 19, 20, 21, 60, 200, 1400, 9000])))

    begun = Dtls(dtls_stranger, HOST)
    begun.shake()
    (client_hello,) = begun.pending()

    @attack(500)
    def dtls_noise():
        start = random.choice([client_hello, bytes([random.randrange(20, 26), 0xFE, 0xFD]) + random.randbytes(60)])
        random.choice(fixed[1:]).send(mutated(random, start, [client_hello]))

    hellos = deque()

    @attack(60)
    def udp_hello_flood():
        sock = udp(plain)
        keep(hellos, sock)
        other = captures.message(Kind.HELLO, captures.hello(b"", random.randbytes(32)))
        sock.send(random.choice([captures.hello_plain, other, mutated(random, captures.hello_plain, captures.all)]))

    @attack(150)
    def dtls_hello_flood():
        sock = udp(secure)
        keep(hellos, sock)
        changed = bytearray(client_hello)
        changed[27:59] = random.randbytes(32)
        sock.send(bytes(changed))

    half = deque()

    @attack(40)
    def dtls_half_open():
        peer = DtlsPeer(secure, dtls_stranger)
        peer.begin()
        peer.flight(0.004)  # its cookie is shown, then it is silent
        keep(half, peer.sock)
        return peer.sent

    # Datagrams of one who was let in

    guests = [udp(plain) for _ in range(6)]
    for sock in guests:
        sock.send(captures.hello_plain)

    @attack(900)
    def udp_mutated():
        sock = random.choice(guests)
        drained(sock)
        sock.send(mutated(random, random.choice(captures.all), captures.all))

    @attack(500)
    def udp_repeated_and_reordered():
        sock, pieces = random.choice(guests), list(captures.pieces)
        random.shuffle(pieces)
        sent = [random.choice(pieces) for _ in range(3)]
        for piece in sent:
            sock.send(piece)
        drained(sock)
        return len(sent)

    @attack(300)
    def udp_claims():
        sock = random.choice(guests)
        first_word = 1 << 28 | Kind.FRAME << 24 | random.choice([0, 1, 1000, (1 << 24) - 1])
        total = random.choice([1, 1 << 10, 1 << 16, 200_000, 270_000, 1 << 20, (1 << 32) - 1])
        at = random.randrange(total)
        sock.send(HEADER.pack(first_word, captures.hop.number, random.getrandbits(32), at, total) + b"x")

    inside = []

    @attack(500)
    def dtls_inside():
        if not inside or random.random() < 0.002:
            peer = DtlsPeer(secure, dtls_good, inside.pop().sock if inside else None)  # it restarts from the same port
            peer.begin()
            peer.flight(0.5)
            if not peer.dtls.done:
                return 0
            inside.append(peer)
            peer.put([peer.dtls.sealed(captures.hello_secure)])
        (peer,) = inside
        drained(peer.sock)
        message = captures.made_up(random) if random.random() < 0.5 else random.choice(captures.all)
        if random.random() < 0.3:
            message = mutated(random, message, captures.all)
        record = peer.dtls.sealed(message[:8000] or b"x")
        match random.randrange(8):
            case 0:
                peer.put([record, record])  # a replay
                return 2
            case 1:
                peer.put([mutated(random, record, [record])])
            case _:
                peer.put([record])
        return 1

    # Connections

    held = deque()

    @attack(60)
    def tcp_noise():
        sock = tcp(plain)
        sock.send(random.choice([random.randbytes(random.randint(1, 3000)), b"GET / HTTP/1.1\r\n\r\n", b"\0" * 5000]))
        keep(held, sock, hard=random.random() < 0.5)

    @attack(100)
    def tcp_mutated():
        sock = tcp(plain)
        start = b"" if random.random() < 0.5 else captures.hello_plain
        sock.send(start + mutated(random, random.choice(captures.all), captures.all))
        if random.random() < 0.5:
            closed(sock, hard=random.random() < 0.5)  # vanishes
        else:
            keep(held, sock)

    @attack(30)
    def tcp_claims_4_gb():
        sock = tcp(plain)
        kind = random.choice(list(Kind))
        sock.send(
            random.choice([b"", captures.hello_plain]) + HEADER.pack(1 << 28 | kind << 24, 1, 2, 0, (1 << 32) - 1)
        )
        sock.send(bytes(1000))
        keep(held, sock)

    @attack(30)
    def tcp_stops_in_a_frame():
        sock = tcp(plain)
        sock.send(captures.hello_plain + captures.frame[: random.randint(1, len(captures.frame) - 1)])
        keep(held, sock, hard=True)

    slow = [tcp(plain) for _ in range(20)]
    stream = captures.hello_plain + captures.frame * 100

    @attack(20)
    def tcp_one_byte_a_second():
        place = (tcp_one_byte_a_second.sent // len(slow)) % len(stream)
        sock = slow[tcp_one_byte_a_second.sent % len(slow)]
        tcp_one_byte_a_second.sent += 1
        try:
            sock.send(stream[place : place + 1])
        except OSError:  # it was closed, as it should be
            return 0

    tcp_one_byte_a_second.sent = 0

    def spoken(opened, hello, breach):
        """Messages in good form over a connection, which is made anew where it is closed."""
        place = []

        def step():
            if not place:
                place.append(opened())
                place[0].settimeout(0.5)
                place[0].send(hello)
                place[0].setblocking(False)
            (sock,) = place
            message = captures.made_up(random)
            if random.random() < breach:
                message = mutated(random, message, captures.all)
            try:
                sock.send(message)
                drained(sock)
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError, BlockingIOError):
                return 0
            except OSError:
                closed(place.pop())
                return 0

        return step

    def secured(context):
        def opened():
            sock = tcp(secure)
            return context.wrap_socket(sock, server_hostname=HOST)

        return opened

    for number in range(3):
        found.append(Attack(f"tcp_inside_{number}", 160, spoken(lambda: tcp(plain), captures.hello_plain, 0.02)))
        found.append(Attack(f"tls_inside_{number}", 130, spoken(secured(tls_good), captures.hello_secure, 0.01)))

    deaf = []

    @attack(300)
    def tcp_never_reads():
        if not deaf:
            deaf.append(tcp(plain))
            deaf[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf[0].send(captures.hello_plain)
            deaf[0].setblocking(False)
        try:
            deaf[0].send(random.choice([captures.frame, captures.ping, captures.hello_plain]))
        except BlockingIOError:
            return 0
        except OSError:
            closed(deaf.pop())
            return 0

    begun_tls, came, goes = None, ssl.MemoryBIO(), ssl.MemoryBIO()
    begun_tls = tls_stranger.wrap_bio(came, goes, server_hostname=HOST)
    with suppress(ssl.SSLWantReadError):
        begun_tls.do_handshake()
    tls_hello = goes.read()

    @attack(40)
    def tls_noise():
        sock = tcp(secure)
        sock.send(random.choice([mutated(random, tls_hello, [tls_hello]), random.randbytes(500), captures.hello_plain]))
        keep(held, sock, hard=random.random() < 0.5)

    @attack(25)
    def tls_half_open():
        sock = tcp(secure)
        sock.send(tls_hello[: random.choice([len(tls_hello), random.randrange(len(tls_hello))])])
        keep(held, sock, hard=random.random() < 0.5)

    @attack(10)
    def tls_without_a_certificate():
        with tcp(secure) as raw, suppress(OSError), tls_stranger.wrap_socket(raw, server_hostname=HOST) as sock:
            sock.send(captures.hello_secure)
            sock.send(captures.frame)
            return 2

    @attack(12)
    def token_brute_force():
        with tcp(secure) as raw, suppress(OSError), tls_good.wrap_socket(raw, server_hostname=HOST) as sock:
            guess = random.choice(
                [b"", told["token"].encode()[:-1] + random.randbytes(1), random.randbytes(32), b"x" * 512]
            )
            sock.send(captures.message(Kind.HELLO, captures.hello(guess)))

    return found


def main(told):
    with suppress(OSError):
        os.nice(5)  # peers elsewhere would have cores of their own
    found, faults = attacks(told, Random(told["seed"])), Counter()
    begun_s = time.monotonic()

    def run(own):
        while (now_s := time.monotonic() - begun_s) < told["seconds"] and sum(a.sent for a in found) < told["messages"]:
            idle = True
            for attack in own:
                rate = attack.rate * told["rate"]
                attack.due_s = max(attack.due_s, now_s - 3)  # one that waited for others catches up
                for _ in range(min(int((now_s - attack.due_s) * rate) + 1, 20) if attack.due_s <= now_s else 0):
                    idle = False
                    attack.due_s += 1 / rate
                    try:
                        sent = attack.step()
                        attack.sent += 1 if sent is None else sent
                    except OSError as failure:
                        faults[f"{attack.name}: {type(failure).__name__}"] += 1
            if idle:
                time.sleep(0.0005)

    others = threading.Thread(target=run, args=([attack for attack in found if attack.waits],))
    others.start()
    run([attack for attack in found if not attack.waits])
    others.join()
    sent = {attack.name: attack.sent for attack in found}
    sys.stdout.write(json.dumps({"sent": sent, "faults": faults, "seconds": time.monotonic() - begun_s}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
