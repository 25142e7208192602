"""A small authority, and certificates of it for a server and a client."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from splitimpera.core.errors import DataError, OutputError, shown, shown_path
from splitimpera.core.files import check_writable, output_error, read_file

LOCAL = ("localhost", "127.0.0.1")
DAYS_AT_MOST = 36_500
PEM_BYTES = 1 << 20
BACK = timedelta(hours=1)
"""Certificates begin so long ago, for clocks that are slow."""
PRIVATE, PUBLIC = 0o600, 0o644


@dataclass(frozen=True)
class KeyFiles:
    """Where `make_keys` writes, by what each is."""

    folder: Path

    @property
    def authority(self) -> Path:
        return self.folder / "authority.pem"

    @property
    def authority_key(self) -> Path:
        return self.folder / "authority.key"

    @property
    def server(self) -> Path:
        return self.folder / "server.pem"

    @property
    def server_key(self) -> Path:
        return self.folder / "server.key"

    @property
    def client(self) -> Path:
        return self.folder / "client.pem"

    @property
    def client_key(self) -> Path:
        return self.folder / "client.key"

    @property
    def token(self) -> Path:
        return self.folder / "token"

    def __iter__(self) -> Iterator[Path]:
        yield from (self.authority, self.authority_key, self.server, self.server_key)
        yield from (self.client, self.client_key, self.token)


def make_keys(
    folder: Path,
    hosts: Sequence[str] = (),
    days: int = 365,
    force: bool = False,
    now: datetime | None = None,
    signed_by: Path | None = None,
) -> KeyFiles:
    """Make an authority, a certificate of it for a server and one for a client, and a token.

    Keys are of the curve P-256 and can be read by their owner alone.

    Args:
        hosts: Names and addresses of the server; localhost and 127.0.0.1 are always among them.
        days: How long the certificates are good for.
        force: Write over those that are there.
        now: When they begin; None: now.
        signed_by: Folder of an authority made before, whose certificates these are as well; its key stays there. None:
            a new one.

    Raises:
        DataError: a host or the number of days is none, there is no such authority, or it ends before they would.
        OutputError: files are there already, or cannot be written.
    """
    if not 1 <= days <= DAYS_AT_MOST:
        raise DataError(f"{days} is given, it must be from 1 to {DAYS_AT_MOST}", where="days")
    names = [_name(host) for host in dict.fromkeys((*hosts, *LOCAL))]
    files = KeyFiles(folder)
    there = [path for path in files if path.exists() or path.is_symlink()]
    if there and not force:
        raise OutputError(
            f"'{shown_path(there[0])}' exists already", hint="name another folder, or add --force to replace it"
        )
    check_writable(folder, "FOLDER", [path.name for path in files])
    begin = (now or datetime.now(UTC)) - BACK
    end = begin + BACK + timedelta(days=days)
    authority, server, client = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    issuer, known = _subject("splitimpera authority"), b""
    if signed_by is not None:
        known, authority = _authority(KeyFiles(signed_by), end)
        issuer = x509.load_pem_x509_certificate(known).subject

    def certificate(subject: x509.Name, key: ec.EllipticCurvePrivateKey, *extensions: _Extension) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), False)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(authority, hashes.SHA256()).public_bytes(Encoding.PEM)

    signs = (x509.BasicConstraints(ca=True, path_length=0), True), (_usage(signs=True), True)
    shows = (x509.BasicConstraints(ca=False, path_length=None), True), (_usage(signs=False), True)
    for_server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False
    for_client = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False
    known_as = x509.SubjectAlternativeName(names), False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not known:
            _write(files.authority_key, _pem(authority), PRIVATE)
        _write(files.authority, known or certificate(issuer, authority, *signs), PUBLIC)
        _write(files.server_key, _pem(server), PRIVATE)
        _write(files.server, certificate(_subject("splitimpera server"), server, *shows, for_server, known_as), PUBLIC)
        _write(files.client_key, _pem(client), PRIVATE)
        _write(files.client, certificate(_subject("splitimpera client"), client, *shows, for_client), PUBLIC)
        _write(files.token, secrets.token_urlsafe(32).encode() + b"\n", PRIVATE)
    except OSError as failure:
        raise output_error(folder, failure, "FOLDER") from None
    return files


_Extension = tuple[x509.ExtensionType, bool]


def _authority(files: KeyFiles, end: datetime) -> tuple[bytes, ec.EllipticCurvePrivateKey]:
    """The certificate and the key of an authority that was made before."""
    hint = f"name a folder that 'splitimpera keys' made, with {files.authority.name} and {files.authority_key.name}"
    pem, key_pem = (
        read_file(path, PEM_BYTES, DataError, what="authority", hint=hint)
        for path in (files.authority, files.authority_key)
    )
    where = f"'{shown_path(files.folder)}'"
    try:
        certificate, key = x509.load_pem_x509_certificate(pem), load_pem_private_key(key_pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise DataError("there is no authority", where=where, hint=hint) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise DataError("the authority's certificate and key are not of each other", where=where, hint=hint)
    if certificate.not_valid_after_utc < end:
        days = (certificate.not_valid_after_utc - datetime.now(UTC)).days
        raise DataError(
            f"the authority is good for {max(days, 0)} more days, certificates cannot be good for longer",
            where=where,
            hint="ask for fewer --days, or make a new authority",
        )
    return pem, key


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        pass
    try:
        ascii_name = host.encode("idna").decode()
    except UnicodeError:
        ascii_name = ""
    if not ascii_name or not all(letter.isalnum() or letter in "-._*" for letter in ascii_name):
        raise DataError(f"'{shown(host)}' is neither a name nor an address", where="--host")
    return x509.DNSName(ascii_name)


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _usage(signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, content: bytes, mode: int) -> None:
    """Write beside, then rename; nobody else can read a key at any time."""
    beside = path.with_name(f".{path.name}.new")
    with suppress(FileNotFoundError):
        beside.unlink()
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    os.chmod(beside, mode)
    os.replace(beside, path)
