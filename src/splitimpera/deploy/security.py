"""Who may talk to whom: certificates from PEM files for TLS 1.3, and tokens.

The server always shows a certificate. Clients show one of the server's authority, or a token, or, where the server
wants neither, nothing.
"""

from __future__ import annotations

import hmac
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from splitimpera.core.errors import DataError, LinkError, shown, shown_path
from splitimpera.core.files import read_file

PEM_BYTES = 1 << 20
MAKE_THEM = "`splitimpera keys` makes an authority and certificates"
T = TypeVar("T")


@dataclass(frozen=True)
class ClientSecurity:
    """What a client trusts, and shows of itself.

    Attributes:
        authority: Certificates of those whose servers it trusts, a PEM file.
        certificate: What it shows to the server, a PEM file; None: nothing.
        key: The certificate's private key, a PEM file.
        token: What it says in its hello instead.
        server_name: The name that the server's certificate has to bear; None: the host that is asked for.
    """

    authority: Path
    certificate: Path | None = None
    key: Path | None = None
    token: str | None = None
    server_name: str | None = None


@dataclass(frozen=True)
class ServerSecurity:
    """What a server shows, and wants to see.

    Attributes:
        certificate: Its own, a PEM file.
        key: The certificate's private key, a PEM file.
        authority: Clients must show a certificate of this authority, a PEM file; None: they need none.
        token: What their hello has to say; None: nothing. `same_token` compares.
    """

    certificate: Path
    key: Path
    authority: Path | None = None
    token: str | None = None


def same_token(given: bytes, expected: str | None) -> bool:
    """Whether a hello's token is the expected one; takes as long for a wrong one as for the right one."""
    return expected is None or hmac.compare_digest(given, expected.encode())


def client_context(security: ClientSecurity) -> ssl.SSLContext:
    """TLS 1.3 for a client, which checks the server's certificate and name.

    Raises:
        DataError: a file is missing or none, a certificate has expired, or a key is another's.
    """
    check_authority(security.authority)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(security.authority)
    own = client_pair(security)
    if own:
        context.load_cert_chain(*own)
    return context


def server_context(security: ServerSecurity) -> ssl.SSLContext:
    """TLS 1.3 for a server; errors as of `client_context`."""
    check_pair(security.certificate, security.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
    context.load_cert_chain(security.certificate, security.key)
    if security.authority is not None:
        check_authority(security.authority)
        context.load_verify_locations(security.authority)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_pair(security: ClientSecurity) -> tuple[Path, Path] | None:
    """The client's own certificate and key, checked; None where it has none; errors as of `client_context`."""
    if security.certificate is None and security.key is None:
        return None
    if security.certificate is None or security.key is None:
        lacking = "key" if security.key is None else "certificate"
        raise DataError("a certificate and its key go together, only one is given", where=lacking)
    check_pair(security.certificate, security.key)
    return security.certificate, security.key


def check_pair(certificate: Path, key: Path) -> None:
    """Refuse a certificate that is out of date, or a key that is another's.

    Raises:
        DataError: that, or a file is missing or none.
    """
    first = _certificates(certificate)[0]
    private = _read(key, "key", _private_key)
    if private.public_key() != first.public_key():
        raise DataError(
            f"the key does not belong to the certificate '{shown_path(certificate)}'",
            where=f"'{shown_path(key)}'",
            hint="give the two that were made together",
        )


def check_authority(path: Path) -> None:
    """Refuse an authority's certificate that is out of date or none; errors as of `check_pair`."""
    for certificate in _certificates(path):
        try:
            authority = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        except (x509.ExtensionNotFound, ValueError):
            authority = False
        if not authority:
            raise DataError(
                "this is no authority's certificate", where=f"'{shown_path(path)}'", hint="give the one that signs"
            )


def refused(problem: str, *, of: str) -> LinkError:
    """What OpenSSL says of the other side's certificate, in words.

    Args:
        problem: OpenSSL's words, or those of an alert.
        of: Who the other side is, "server" or "client".
    """
    words = problem.lower().replace("_", " ")
    for sign, told in _TOLD:
        if sign in words:
            return LinkError(told.format(of=of), hint=MAKE_THEM if "certificate" in told else "")
    return LinkError(f"no encrypted connection with the {of}: {shown(problem, 200)}")


_TOLD: Sequence[tuple[str, str]] = (
    ("hostname mismatch", "the {of}'s certificate is for another name than the one that was asked for"),
    ("ip address mismatch", "the {of}'s certificate is for another address than the one that was asked for"),
    ("not valid for", "the {of}'s certificate is for another name or address than the one that was asked for"),
    ("not yet valid", "the {of}'s certificate is not valid yet: compare the clocks"),
    ("alert certificate expired", "the {of} refuses this side's certificate: it has expired"),
    ("certificate has expired", "the {of}'s certificate has expired"),
    ("alert unknown ca", "the {of} refuses this side's certificate: it is of an authority that it does not trust"),
    ("alert certificate required", "the {of} wants to see a certificate of its authority"),
    ("did not return a certificate", "the {of} shows no certificate"),
    ("alert handshake failure", "the {of} wants something else: a certificate of its authority, or another version"),
    ("alert bad certificate", "the {of} refuses this side's certificate"),
    ("self-signed certificate", "the {of}'s certificate is of another authority"),
    ("self signed certificate", "the {of}'s certificate is of another authority"),
    ("unable to get", "the {of}'s certificate is of another authority"),
    ("signature failure", "the {of}'s certificate is of another authority"),
    ("wrong version number", "the {of} does not speak TLS"),
    ("http request", "the {of} does not speak TLS"),
    ("record layer failure", "the {of} does not speak TLS"),
    ("protocol version", "the {of} speaks no version of TLS that is safe, 1.3 is wanted"),
    ("unsupported protocol", "the {of} speaks no version of TLS that is safe, 1.3 is wanted"),
)


def _certificates(path: Path) -> list[x509.Certificate]:
    found = _read(path, "certificate", x509.load_pem_x509_certificates)
    now = datetime.now(UTC)
    for certificate in found:
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if not begin <= now <= end:
            told = f"expired on {end:%Y-%m-%d}" if now > end else f"is not valid before {begin:%Y-%m-%d}"
            raise DataError(f"the certificate {told}", where=f"'{shown_path(path)}'", hint=MAKE_THEM)
    return found


def _private_key(data: bytes) -> PrivateKeyTypes:
    return load_pem_private_key(data, None)


def _read(path: Path, what: str, reader: Callable[[bytes], T]) -> T:
    data = read_file(path, PEM_BYTES, DataError, what=what, hint=MAKE_THEM)
    try:
        return reader(data)
    except TypeError:
        raise DataError("the key has a password, one without is expected", where=f"'{shown_path(path)}'") from None
    except Exception:  # cryptography has many of its own
        raise DataError(f"this is no {what} in PEM", where=f"'{shown_path(path)}'", hint=MAKE_THEM) from None
