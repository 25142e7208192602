"""DTLS in memory, by pyOpenSSL: datagrams in, packets out, and the other way round; no sockets, no clocks.

pyOpenSSL's memory BIOs keep no borders of datagrams. What waits to be sent is therefore cut at the headers of records,
one record a datagram, and what comes is handed over one datagram at a time.
"""

from __future__ import annotations

import hmac
import secrets
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from OpenSSL import SSL

from splitimpera.codec.framing import DTLS_RECORD_BYTES
from splitimpera.core.errors import LinkError
from splitimpera.deploy.security import (
    ClientSecurity,
    ServerSecurity,
    check_authority,
    check_pair,
    client_pair,
    refused,
)

DTLS_1_2 = 0xFEFD
CIPHERS = b"ECDHE+AESGCM"
"""All of them add `DTLS_RECORD_BYTES` to a packet."""
HANDSHAKE_BYTES = 1200
"""No datagram of a handshake is larger."""
RECORD_HEADER_BYTES = 13
HANDSHAKE, CLIENT_HELLO = 22, 1
RANDOM = slice(27, 59)
COOKIE_BYTES, COOKIE_S = 16, 60.0
_FAULTS = {
    9: "certificate is not yet valid",
    10: "certificate has expired",
    18: "self-signed certificate",
    19: "self-signed certificate",
    20: "unable to get the issuer",
    21: "unable to get the issuer",
    7: "certificate signature failure",
}


class Cookies:
    """What a client has to send back before the server keeps anything of it: it proves where the client is."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)
        self.asking = b""
        """The address of the client that is being asked."""
        self.now_s = 0.0

    def made(self, ago: int = 0) -> bytes:
        text = self.asking + b"%d" % (int(self.now_s / COOKIE_S) - ago)
        return hmac.digest(self._secret, text, "sha256")[:COOKIE_BYTES]

    def good(self, cookie: bytes) -> bool:
        return any(hmac.compare_digest(cookie, self.made(ago)) for ago in (0, 1))


def client_dtls(security: ClientSecurity) -> SSL.Context:
    """DTLS 1.2 for a client; errors as of `security.client_context`."""
    check_authority(security.authority)
    context = _context()
    context.load_verify_locations(str(security.authority))
    context.set_verify(SSL.VERIFY_PEER, _verified)
    own = client_pair(security)
    if own:
        context.use_certificate_chain_file(str(own[0]))
        context.use_privatekey_file(str(own[1]))
    return context


def server_dtls(security: ServerSecurity, cookies: Cookies) -> SSL.Context:
    """DTLS 1.2 for a server; errors as of `security.client_context`."""
    check_pair(security.certificate, security.key)
    context = _context(SSL.OP_COOKIE_EXCHANGE)
    context.use_certificate_chain_file(str(security.certificate))
    context.use_privatekey_file(str(security.key))
    if security.authority is not None:
        check_authority(security.authority)
        context.load_verify_locations(str(security.authority))
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _verified)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_cookie_generate_callback(lambda _connection: cookies.made())
    context.set_cookie_verify_callback(lambda _connection, cookie: cookies.good(cookie))
    return context


def _context(*options: int | None) -> SSL.Context:
    context = SSL.Context(SSL.DTLS_METHOD)
    context.set_min_proto_version(DTLS_1_2)
    context.set_max_proto_version(DTLS_1_2)
    for option in (SSL.OP_NO_QUERY_MTU, SSL.OP_NO_TICKET, SSL.OP_NO_RENEGOTIATION, *options):
        if option is not None:
            context.set_options(option)
    context.set_cipher_list(CIPHERS)
    return context


def _verified(connection: SSL.Connection, certificate: Any, fault: int, depth: int, good: int) -> bool:
    if not good:
        connection.get_app_data()[:] = [_FAULTS.get(fault, f"certificate is refused for reason {fault}")]
    return bool(good)


def hello_random(datagram: bytes) -> bytes:
    """The random number of the ClientHello that begins here; empty: none does."""
    hello = (
        len(datagram) >= RANDOM.stop
        and datagram[0] == HANDSHAKE
        and datagram[1] == 0xFE
        and datagram[3:5] == b"\0\0"  # the first epoch
        and datagram[13] == CLIENT_HELLO
        and datagram[19:22] == b"\0\0\0"  # its first part
    )
    return datagram[RANDOM] if hello else b""


class Dtls:
    """One association.

    Args:
        name: The name that the server's certificate has to bear, on the client's side; None: this is the server's.

    Attributes:
        done: The handshake is over, and the peer is who it should be.
        ended: The peer said that this was all.
    """

    def __init__(self, context: SSL.Context, name: str | None) -> None:
        self.done = self.ended = False
        self._name = name
        self._faults: list[str] = []  # of its certificate
        self._connection = SSL.Connection(context)
        self._connection.set_app_data(self._faults)  # no cycle: what a peer leaves behind is gone at once
        self._connection.set_ciphertext_mtu(HANDSHAKE_BYTES)
        if name is None:
            self._connection.set_accept_state()
        else:
            self._connection.set_connect_state()

    def listen(self, datagram: bytes) -> bool:
        """Ask the sender of a ClientHello for its cookie; True where it has shown it.

        Raises:
            LinkError: it is none; use another association for the next one.
        """
        self._connection.bio_write(datagram)
        try:
            self._connection.DTLSv1_listen()
        except SSL.WantReadError:
            return False
        except SSL.Error as failure:
            raise _told(failure, "client") from None
        return True

    def shake(self) -> None:
        """Go on with the handshake.

        Raises:
            LinkError: it has failed.
        """
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return
        except SSL.Error as failure:
            raise refused(self._faults[0], of=self._peer) if self._faults else _told(failure, self._peer) from None
        if self._name is not None:
            certificate = self._connection.get_peer_certificate(as_cryptography=True)
            if certificate is None or not bears(certificate, self._name):
                raise refused("hostname mismatch", of="server")
        self.done = True

    def arrived(self, datagram: bytes) -> list[bytes]:
        """The packets of a datagram; none while hands are shaken.

        Raises:
            LinkError: the peer has broken it off.
        """
        if not datagram:
            return []
        self._connection.bio_write(datagram)
        if not self.done:
            self.shake()
        packets: list[bytes] = []
        left = len(datagram) if self.done else 0
        try:
            while left > 0:
                packets.append(self._connection.recv(left))
                left -= len(packets[-1]) + DTLS_RECORD_BYTES
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.ended = True
        except SSL.Error as failure:
            raise _told(failure, self._peer) from None
        return packets

    def sealed(self, packet: bytes) -> bytes:
        """A packet as a datagram."""
        self._connection.send(packet)
        return self._connection.bio_read(len(packet) + DTLS_RECORD_BYTES)

    def pending(self) -> list[bytes]:
        """The datagrams that wait to be sent: of the handshake, or alerts."""
        try:
            waiting = self._connection.bio_read(1 << 20)
        except SSL.WantReadError:
            return []
        datagrams = []
        while waiting:
            end = RECORD_HEADER_BYTES + int.from_bytes(waiting[11:13], "big")
            datagrams.append(waiting[:end])
            waiting = waiting[end:]
        return datagrams

    @property
    def timeout_s(self) -> float | None:
        """When `timed_out` has to be called, from now; None: nothing is waited for."""
        return None if self.done else self._connection.DTLSv1_get_timeout()

    def timed_out(self) -> None:
        """Say again what was lost.

        Raises:
            LinkError: that has been tried too often.
        """
        try:
            self._connection.DTLSv1_handle_timeout()
        except SSL.Error as failure:
            raise _told(failure, self._peer) from None

    def farewell(self) -> list[bytes]:
        """Tell the peer that this was all."""
        if self.done:
            with suppress(SSL.Error):
                self._connection.shutdown()
        return self.pending()

    @property
    def _peer(self) -> str:
        return "client" if self._name is None else "server"


def bears(certificate: x509.Certificate, name: str) -> bool:
    """Whether a certificate is one for this name or address, as RFC 6125 compares them."""
    try:
        known = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    try:
        return ip_address(name) in known.get_values_for_type(x509.IPAddress)
    except ValueError:
        pass
    try:
        asked = name.encode("idna").decode().lower().rstrip(".").split(".")
    except UnicodeError:
        return False
    for pattern in known.get_values_for_type(x509.DNSName):
        parts = pattern.lower().rstrip(".").split(".")
        if parts == asked or (parts[0] == "*" and len(parts) > 2 and parts[1:] == asked[1:]):
            return True
    return False


def _told(failure: SSL.Error, peer: str) -> LinkError:
    reasons = failure.args[0] if failure.args and isinstance(failure.args[0], list) else []
    problem = next((entry[-1] for entry in reasons if entry[-1]), "") or str(failure) or "the handshake failed"
    return refused(str(problem), of=peer)
