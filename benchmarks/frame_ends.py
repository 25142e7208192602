"""The two programs at the ends of a measured link; see linux_link.py, which starts them in namespaces.

    python frame_ends.py receive tcp ADDRESS PORT SIZE FPS FRAMES ALGORITHM RESPONSE
    python frame_ends.py send udp ADDRESS PORT SIZE FPS FRAMES ROOM 0

Over TCP a frame of SIZE bytes is written every 1 / FPS seconds on one connection, Nagle off; where RESPONSE is not 0,
so many bytes answer each, and the receiver's buffer is the system's own, as most programs have it, not 64 MB. Over
UDP it goes as datagrams of up to ROOM bytes of it, each after two numbers: which frame, and which datagram of it. The
receiver says "ready", both print JSON at the end; times are those of the machine's monotonic clock. No imports beyond
the library, so that both start at once.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator

NUMBERS = struct.Struct("!II")
BUFFER_BYTES = 64 << 20
LEAD_S = 0.3
QUIET_S = 2.0
"""The receiver gives up after so long without anything."""


def tcp_receiver(listener: socket.socket, size: int, frames: int, response: int) -> dict[str, object]:
    connection, _ = listener.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.settimeout(QUIET_S * 10)
    buffer = memoryview(bytearray(1 << 20))
    done: list[float] = []
    total = 0
    while len(done) < frames:
        try:
            got = connection.recv_into(buffer)
        except TimeoutError:
            break
        now = time.monotonic()
        if not got:
            break
        total += got
        while len(done) < frames and total >= size * (len(done) + 1):
            done.append(now)
            if response:
                connection.sendall(bytes(response))
    return {"done": done}


def swallow(port: socket.socket) -> None:
    """Take all that comes, until there is no more."""
    with contextlib.suppress(OSError):
        while port.recv(65536):
            pass


def udp_receiver(port: socket.socket) -> dict[str, object]:
    came: list[tuple[int, int, float]] = []
    buffer = memoryview(bytearray(65536))
    port.settimeout(20 * QUIET_S)
    while True:
        try:
            got = port.recv_into(buffer)
        except TimeoutError:
            break
        now = time.monotonic()
        if got >= NUMBERS.size:
            frame, place = NUMBERS.unpack_from(buffer)
            if frame == END:
                break
            came.append((frame, place, now))
    return {"came": came}


END = 0xFFFFFFFF


def due_times(fps: float, frames: int) -> Iterator[tuple[int, float, float]]:
    """Each frame's number and due time as it is due, and how late that was noticed."""
    begun = time.monotonic() + LEAD_S
    for frame in range(frames):
        due = begun + frame / fps
        while (left := due - time.monotonic()) > 0:
            if left > 3e-4:
                time.sleep(left - 2e-4)
        yield frame, due, time.monotonic() - due


def send(protocol: str, port: socket.socket, size: int, fps: float, frames: int, room: int) -> dict[str, object]:
    payload = bytes(size)
    pieces = [payload[start : start + room] for start in range(0, size, room)] if protocol == "udp" else []
    due_s, latest = [], 0.0
    taking = threading.Thread(target=swallow, args=(port,), daemon=True)
    if protocol == "tcp":
        taking.start()
    for frame, due, late in due_times(fps, frames):
        due_s.append(due)
        latest = max(latest, late)
        if protocol == "tcp":
            port.sendall(payload)
        for place, piece in enumerate(pieces):
            port.send(NUMBERS.pack(frame, place) + piece)
    if protocol == "udp":
        for _ in range(20):  # of these some come through
            time.sleep(0.1)
            try:
                port.send(NUMBERS.pack(END, 0))
            except ConnectionRefusedError:  # the receiver has heard it
                break
    else:
        port.shutdown(socket.SHUT_WR)
        taking.join(60)
    return {"due": due_s, "send_late_max_us": latest * 1e6}


def main(
    role: str, protocol: str, address: str, number: str, size: str, fps: str, frames: str, last: str, response: str
) -> None:
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    port = socket.socket(socket.AF_INET, kind)
    where = (address, int(number))
    if role == "receive":
        if response == "0":
            port.setsockopt(socket.SOL_SOCKET, 33, BUFFER_BYTES)  # SO_RCVBUFFORCE
        port.bind(where)
        if protocol == "tcp":
            port.listen()
        print("ready", flush=True)
    else:
        port.setsockopt(socket.SOL_SOCKET, 32, BUFFER_BYTES)  # SO_SNDBUFFORCE
        if protocol == "tcp":
            port.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            port.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, last.encode())
        port.connect(where)
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(41 if role == "send" else 40))
    gc.disable()
    if role == "send":
        found = send(protocol, port, int(size), float(fps), int(frames), int(last) if protocol == "udp" else 0)
    elif protocol == "tcp":
        found = tcp_receiver(port, int(size), int(frames), int(response))
    else:
        found = udp_receiver(port)
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
