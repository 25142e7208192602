"""What a frame and its response take without a runtime: blocking sockets, TLS, DTLS by pyOpenSSL, and a call of gRPC.

Each has a server in a process of its own, which takes frames of a known size and answers each with as many bytes as a
small response of ours has.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from OpenSSL import SSL
from runtime_rig import HOST, PACKET_BYTES, Answer, Carrier, answered, client_security, server_security, started

from splitimpera.codec.framing import HEADER_BYTES
from splitimpera.deploy.messages import RESPONSE_BYTES
from splitimpera.deploy.security import client_context, server_context

REPLY = bytes(HEADER_BYTES + RESPONSE_BYTES + 4)
BUFFER_BYTES = 1 << 22
PATIENCE = struct.pack("ll", 0, 500_000)
"""Half a second, as `SO_RCVTIMEO` takes it: then a datagram is lost."""
NUMBER = struct.Struct("!I")
METHOD = "Infer"
SERVICE = "benchmark"

Exchange = Callable[[], float]
"""One frame and its response, in seconds; nan where something was lost."""


@contextmanager
def bare_loop(carrier: Carrier, payload: bytes, keys: Path) -> Iterator[Exchange]:
    """Exchanges by a plain loop over a carrier."""
    pair = (_stream_server, _stream_exchange) if carrier.transport == "tcp" else (_datagram_server, _datagram_exchange)
    serve, exchange = pair
    with started(serve, len(payload), keys if carrier.secure else None) as (_, answer):
        yield exchange(answered(answer), payload, keys if carrier.secure else None, answer)


def _stream_server(answer: Answer, size: int, keys: Path | None) -> None:
    with socket.create_server((HOST, 0)) as listening:
        answer.send(listening.getsockname())
        peer: Any = listening.accept()[0]
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if keys is not None:
        peer = server_context(server_security(keys)).wrap_socket(peer, server_side=True)
    room = memoryview(bytearray(size))
    while _filled(peer, room):
        peer.sendall(REPLY)


def _stream_exchange(address: tuple[str, int], payload: bytes, keys: Path | None, _: Answer) -> Exchange:
    peer: Any = socket.create_connection(address)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if keys is not None:
        peer = client_context(client_security(keys)).wrap_socket(peer, server_hostname=HOST)
    room = memoryview(bytearray(len(REPLY)))

    def exchange() -> float:
        begun_s = perf_counter()
        peer.sendall(payload)
        _filled(peer, room)
        return perf_counter() - begun_s

    return exchange


def _filled(peer: Any, room: memoryview) -> bool:
    """Receive until there is no room; False where the peer has ended."""
    at = 0
    while at < len(room):
        size = peer.recv_into(room[at:])
        if not size:
            return False
        at += size
    return True


def _datagram_server(answer: Answer, size: int, keys: Path | None) -> None:
    bound = _bound()
    answer.send(bound.getsockname())
    bound.connect(answer.recv())
    peer: Any = bound if keys is None else _dtls(bound, keys, serving=True)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, PATIENCE)
    frame, came = -1, 0
    while True:
        try:
            packet = peer.recv(2 * PACKET_BYTES)
        except (SSL.WantReadError, BlockingIOError):
            continue
        (number,) = NUMBER.unpack_from(packet)
        came = len(packet) - NUMBER.size + (came if number == frame else 0)
        frame = number
        if came == size:
            peer.send(REPLY)


def _datagram_exchange(address: tuple[str, int], payload: bytes, keys: Path | None, answer: Answer) -> Exchange:
    bound = _bound()
    bound.connect(address)
    answer.send(bound.getsockname())
    peer: Any = bound if keys is None else _dtls(bound, keys, serving=False)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, PATIENCE)
    frame = 0

    def exchange() -> float:
        nonlocal frame
        frame += 1
        start, begun_s = NUMBER.pack(frame), perf_counter()
        for at in range(0, len(payload), PACKET_BYTES):
            peer.send(start + payload[at : at + PACKET_BYTES])
        try:
            peer.recv(len(REPLY))
        except (SSL.WantReadError, BlockingIOError):
            return float("nan")
        return perf_counter() - begun_s

    return exchange


def _bound() -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    bound.bind((HOST, 0))
    return bound


def _dtls(bound: socket.socket, keys: Path, serving: bool) -> SSL.Connection:
    own = server_security(keys) if serving else client_security(keys)
    context = SSL.Context(SSL.DTLS_SERVER_METHOD if serving else SSL.DTLS_CLIENT_METHOD)
    context.use_certificate_chain_file(str(own.certificate))
    context.use_privatekey_file(str(own.key))
    context.load_verify_locations(str(own.authority))
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
    connection = SSL.Connection(context, bound)
    if serving:
        connection.set_accept_state()
    else:
        connection.set_connect_state()
    connection.do_handshake()
    return connection


@contextmanager
def grpc_call(payload: bytes, keys: Path) -> Iterator[Exchange]:
    """Unary calls of gRPC over TLS, both sides with certificates."""
    import grpc

    own = client_security(keys)
    assert own.certificate is not None
    assert own.key is not None
    shown = grpc.ssl_channel_credentials(own.authority.read_bytes(), own.key.read_bytes(), own.certificate.read_bytes())
    with (
        started(_grpc_server, keys) as (_, answer),
        grpc.secure_channel(f"{HOST}:{answered(answer)}", shown) as channel,
    ):
        call = channel.unary_unary(f"/{SERVICE}/{METHOD}")

        def exchange() -> float:
            begun_s = perf_counter()
            call(payload)
            return perf_counter() - begun_s

        yield exchange


def _grpc_server(answer: Answer, keys: Path) -> None:
    import grpc

    own = server_security(keys)
    assert own.authority is not None
    shown = grpc.ssl_server_credentials(
        [(own.key.read_bytes(), own.certificate.read_bytes())], own.authority.read_bytes(), True
    )
    handler = grpc.unary_unary_rpc_method_handler(lambda _request, _context: REPLY)
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))
    port = server.add_secure_port(f"{HOST}:0", shown)
    server.start()
    answer.send(port)
    server.wait_for_termination()
