"""What answers at a server's address may be anything: a clear error with exit code 2, within bounded time."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from deploy.small_bundle import make_bundle
from harness import command, readable

from splitimpera.codec.framing import HEADER, HEADER_BYTES, Kind, packetise, read_header
from splitimpera.deploy import client, dtls, security
from splitimpera.deploy.keys import make_keys
from splitimpera.deploy.messages import Refusal, Response, Status, Welcome
from splitimpera.deploy.sessions import Limits
from splitimpera.records.traffic import Payload

pytestmark = pytest.mark.alone

HOST = "127.0.0.1"
BANNER = b"SSH-2.0-OpenSSH_9.9\r\n"
HTTP = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("servers")
    for transport in ("tcp", "udp"):
        make_bundle(folder / transport, transport=transport, deadline_s=0.5)
    make_keys(folder / "keys")
    make_keys(folder / "others")
    return folder


@pytest.fixture
def hurried(monkeypatch):
    """Clients wait for a greeting no longer than a moment."""
    monkeypatch.setattr(client, "Limits", lambda: Limits(greeting_s=0.2))


def infer(place, transport, port, *options, secure=False):
    """`splitimpera infer` against a port: what it complains of."""
    trust = ("--keys", place / "keys") if secure else ("--insecure",)
    begun_s = time.monotonic()
    code, _, errors = command(
        *("infer", place / transport, "--server", f"{HOST}:{port}", "--input", "samples", "--frames", 3),
        *(trust + options),
    )
    assert code == 2, errors
    assert time.monotonic() - begun_s < 20  # the machine may be busy
    readable(errors)
    return errors


def one_port():
    """A socket for TCP and one for UDP, of the same number; that a number is free for one does not say so of both."""
    while True:
        tcp, udp = socket.create_server((HOST, 0)), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            udp.bind((HOST, tcp.getsockname()[1]))
            return tcp, udp
        except OSError:
            tcp.close()
            udp.close()


class FakeServer(threading.Thread):
    """Something at a TCP and a UDP port of the same number.

    Args:
        says: Makes answers of what came, of all that came before on the connection where there is one; None ends it.
        first: What it says unasked, to connections.
    """

    def __init__(self, says, first=b""):
        super().__init__(daemon=True)
        self.says, self.first, self.ending = says, first, False
        self.tcp, self.udp = one_port()
        self.port = self.tcp.getsockname()[1]
        for sock in (self.tcp, self.udp):
            sock.settimeout(0.02)

    def run(self):
        while not self.ending:
            try:
                sock, _ = self.tcp.accept()
            except OSError:
                sock = None
            if sock is not None:
                with sock:
                    self.talk(sock)
            try:
                datagram, where = self.udp.recvfrom(1 << 16)
                for answer in self.says(datagram):
                    if answer is not None:
                        self.udp.sendto(answer, where)
            except OSError:
                continue

    def talk(self, sock):
        sock.settimeout(0.02)
        try:
            sock.sendall(self.first)
            while not self.ending:
                try:
                    came = sock.recv(1 << 16)
                except TimeoutError:
                    continue
                if not came:
                    return
                for answer in self.says(came):
                    if answer is None:
                        return
                    sock.sendall(answer)
        except OSError:
            return


@contextmanager
def fake(says, first=b""):
    server = FakeServer(says, first)
    server.start()
    try:
        yield server.port
    finally:
        server.ending = True
        server.join()
        server.tcp.close()
        server.udp.close()


SERVICES = {
    "http": (lambda _: [HTTP, None], b""),
    "ssh": (lambda _: [b"Invalid SSH identification string.\r\n", None], BANNER),
    "echo": (lambda came: [came], b""),
    "silence": (lambda _: [], b""),
    "hangs up": (lambda _: [None], b""),
    "noise": (lambda _: [bytes(range(256)) * 8], b""),
    "zeros": (lambda _: [bytes(3000)], b""),
    "banner": (lambda _: [], b"220 mail.example ESMTP\r\n"),
}


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_nobody_is_there(place, transport, secure):
    with socket.create_server((HOST, 0)) as there:
        port = there.getsockname()[1]
    errors = infer(place, transport, port, secure=secure)
    assert f"{HOST}:{port}" in errors
    assert "is it running" in errors or "is the server running" in errors


BY_DATAGRAMS = ("echo", "silence", "noise", "zeros")


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize(
    ("transport", "service"), [*(("tcp", name) for name in SERVICES), *(("udp", name) for name in BY_DATAGRAMS)]
)
@pytest.mark.usefixtures("hurried")
def test_another_service_is_there(place, transport, service, secure):
    with fake(*SERVICES[service]) as port:
        assert "server" in infer(place, transport, port, secure=secure)


@pytest.mark.slow
def test_silence_is_waited_for_no_longer_than_it_should_be(place):
    with fake(*SERVICES["silence"]) as port:
        runs = []
        for transport in ("tcp", "udp"):
            for trust in (("--insecure",), ("--keys", str(place / "keys"))):
                whole = ("infer", str(place / transport), "--server", f"{HOST}:{port}", "--input", "samples", *trust)
                runs.append(subprocess.Popen([sys.executable, "-m", "splitimpera", *whole], stderr=subprocess.PIPE))
        for run in runs:
            _, errors = run.communicate(timeout=30)
            assert run.returncode == 2
            assert b"does not answer" in errors


def expired(files):
    """Another certificate of the same authority for the same key, which was good until yesterday."""
    old = x509.load_pem_x509_certificate(files.server.read_bytes())
    builder = x509.CertificateBuilder(
        old.issuer,
        old.subject,
        old.public_key(),
        x509.random_serial_number(),
        datetime.now(UTC).replace(tzinfo=None) - timedelta(days=9),
        datetime.now(UTC).replace(tzinfo=None) - timedelta(days=1),
        list(old.extensions),
    )
    signed = builder.sign(load_pem_private_key(files.authority_key.read_bytes(), None), hashes.SHA256())
    path = files.folder / "expired.pem"
    path.write_bytes(signed.public_bytes(Encoding.PEM))
    return path


@contextmanager
def true_server(place, certificate, key, authority):
    """A server of this project in a thread, with any certificate."""
    import asyncio

    from splitimpera.bundle.opened import open_bundle
    from splitimpera.deploy.server import Server

    begun, address = threading.Event(), []

    async def serve():
        async with Server(open_bundle(place)) as server:
            known = security.ServerSecurity(certificate, key, authority)
            address.append((await server.start(HOST, 0, known))[1])
            address.append(server)
            address.append(asyncio.get_running_loop())
            begun.set()
            await server.serve()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert begun.wait(20)
        port, server, loop = address
        yield port
        loop.call_soon_threadsafe(server.stop_soon)
    finally:
        thread.join(20)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_server_that_is_another_than_it_should_be(place, transport, monkeypatch):
    from splitimpera.deploy.keys import KeyFiles

    files, others = KeyFiles(place / "keys"), KeyFiles(place / "others")
    for module in (security, dtls):
        monkeypatch.setattr(module, "check_pair", lambda *_: None)
    with true_server(place / transport, expired(files), files.server_key, files.authority) as port:
        assert "the server's certificate has expired" in infer(place, transport, port, secure=True)
    with true_server(place / transport, others.server, others.server_key, files.authority) as port:
        assert "the server's certificate is of another authority" in infer(place, transport, port, secure=True)
    with true_server(place / transport, files.server, files.server_key, files.authority) as port:
        errors = infer(place, transport, port, "--server-name", "other.example", secure=True)
        assert "the server's certificate is for another name" in errors
    with true_server(place / transport, files.client, files.client_key, files.authority) as port:
        assert "certificate" in infer(place, transport, port, secure=True)  # a client poses as a server


# Servers that speak the protocol -------------------------------------------------------------------------------------


def message(kind, data, like, frame=None):
    number = like.id.frame if frame is None else frame
    return packetise(Payload(data), frame=number, plan=like.id.plan, kind=kind)[0]


def speaking(on_frame, welcome=None):
    """A server that welcomes and then says anything about frames."""

    def says(came):
        while len(came) >= HEADER_BYTES:
            header = read_header(came)
            came = came[HEADER_BYTES + header.id.total :] if header else b""
            if header is None:
                continue
            if header.id.kind is Kind.HELLO:
                good = message(Kind.WELCOME, Welcome(1, 1 << 20, 16).to_bytes(), header)
                yield from [good] if welcome is None else welcome(header)
            elif header.id.kind is Kind.PING:
                yield message(Kind.PONG, b"", header)
            elif header.id.kind is Kind.FRAME:
                yield from on_frame(header)

    return says


def good(result=b"\0" * 12):
    return Response(Status.OK, tensors=result).to_bytes()


WRONG = {
    "another frame": (lambda h: [message(Kind.RESPONSE, good(), h, 77)], "which was never sent"),
    "a result of another size": (lambda h: [message(Kind.RESPONSE, good(bytes(13)), h)], "13 bytes, 12 are expected"),
    "no result": (lambda h: [message(Kind.RESPONSE, good(b""), h)], "0 bytes, 12 are expected"),
    "half a response": (lambda h: [message(Kind.RESPONSE, good()[:20], h)], "cut short"),
    "an unknown status": (lambda h: [message(Kind.RESPONSE, b"\x63" + good()[1:], h)], "status 99"),
    "a refusal": (lambda h: [message(Kind.REFUSAL, Refusal(3, "no\x1b[31m").to_bytes(), h)], r"refuses: no\x1b[31m"),
    "a broken refusal": (lambda h: [message(Kind.REFUSAL, b"\xff" * 9, h)], "none of this protocol"),
}
ONLY_IN_STREAMS = {
    "noise": (lambda _: [bytes(range(256)) * 8], "does not keep to the protocol"),
    "4 GB": (lambda h: [HEADER.pack(1 << 28 | 2 << 24, h.id.plan, 0, 0, (1 << 32) - 1)], "4294967295 bytes"),
    "a frame": (lambda h: [message(Kind.FRAME, b"", h)], "does not keep to the protocol"),
    "the end, in the middle": (lambda h: [message(Kind.RESPONSE, good(), h)[:30], None], "in the middle of a frame"),
    "the end": (lambda _: [None], "closed the session"),
}
ODD_WELCOMES = {
    "cut short": (lambda h: [message(Kind.WELCOME, b"\1\0\0", h)], "the peer's welcome is cut short"),
    "takes nothing": (lambda h: [message(Kind.WELCOME, Welcome(1, 0, 0).to_bytes(), h)], "the server takes 0 at most"),
    "twice": (lambda h: [message(Kind.REFUSAL, Refusal(r, "x").to_bytes(), h) for r in (1, 2)], "refuses: x"),
}


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("case", WRONG)
def test_a_server_that_answers_wrongly(place, transport, case):
    on_frame, told = WRONG[case]
    with fake(speaking(on_frame)) as port:
        assert told in infer(place, transport, port)


@pytest.mark.parametrize("case", ONLY_IN_STREAMS)
def test_a_server_that_breaks_off(place, case):
    on_frame, told = ONLY_IN_STREAMS[case]
    with fake(speaking(on_frame)) as port:
        assert told in infer(place, "tcp", port)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("case", ODD_WELCOMES)
def test_a_server_that_welcomes_oddly(place, transport, case):
    welcome, told = ODD_WELCOMES[case]
    with fake(speaking(lambda _: [], welcome)) as port:
        assert told in infer(place, transport, port)
