"""What `serve` and `infer` say of certificates and tokens: encrypted, unless it is asked for otherwise."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from splitimpera.core.errors import LinkError, shown, shown_path
from splitimpera.core.files import read_file

if TYPE_CHECKING:
    from splitimpera.deploy.security import ClientSecurity, ServerSecurity

TOKEN_FILE_BYTES = 4096
MAKE_THEM = "'splitimpera keys FOLDER' makes them, then give --keys FOLDER"


def server_security(
    host: str,
    keys: Path | None,
    certificate: Path | None,
    key: Path | None,
    authority: Path | None,
    token_file: Path | None,
    insecure: int,
) -> ServerSecurity | None:
    """What a server shows and wants to see; None: nothing is encrypted.

    Raises:
        LinkError: what is given is not enough, or `--insecure` would reach beyond this machine.
    """
    given = [path for path in (keys, certificate, key, authority, token_file) if path is not None]
    if insecure:
        _refuse_both(given)
        if insecure < 2 and not is_loopback(host):
            raise LinkError(
                f"anybody who reaches {shown(host)} could send frames, and read those of others",
                where="--insecure",
                hint="give it twice if that is meant, or listen at 127.0.0.1",
            )
        return None
    from splitimpera.deploy.security import ServerSecurity

    if keys is not None:
        from splitimpera.deploy.keys import KeyFiles

        files = KeyFiles(keys)
        certificate, key = certificate or files.server, key or files.server_key
        if authority is None and token_file is None:
            authority = files.authority
    if certificate is None or key is None:
        raise LinkError("a certificate and its key are needed, for what is sent is encrypted", hint=MAKE_THEM)
    if authority is None and token_file is None:
        raise LinkError(
            "it is not said how clients prove who they are", hint="give --authority for certificates, or --token-file"
        )
    return ServerSecurity(certificate, key, authority, _token(token_file))


def client_security(
    keys: Path | None,
    authority: Path | None,
    certificate: Path | None,
    key: Path | None,
    token_file: Path | None,
    server_name: str | None,
    insecure: bool,
) -> ClientSecurity | None:
    """Whom a client trusts and what it shows; None: nothing is encrypted.

    Raises:
        LinkError: what is given is not enough.
    """
    given = [path for path in (keys, certificate, key, authority, token_file) if path is not None]
    if insecure:
        _refuse_both(given)
        return None
    from splitimpera.deploy.security import ClientSecurity

    if keys is not None:
        from splitimpera.deploy.keys import KeyFiles

        files = KeyFiles(keys)
        authority = authority or files.authority
        if token_file is None:
            certificate, key = certificate or files.client, key or files.client_key
    if authority is None:
        raise LinkError(
            "the authority's certificate is needed, for what is sent is encrypted and the server is checked",
            hint=MAKE_THEM,
        )
    return ClientSecurity(authority, certificate, key, _token(token_file), server_name)


def next_security(
    host: str,
    keys: Path | None,
    authority: Path | None,
    certificate: Path | None,
    key: Path | None,
    token_file: Path | None,
    name: str | None,
    insecure: int,
) -> ClientSecurity | None:
    """Whom a machine in the middle trusts and what it shows to the next one, as `client_security` has it.

    Raises:
        LinkError: what is given is not enough, or `--insecure` would reach beyond this machine.
    """
    if insecure == 1 and not is_loopback(host):
        raise LinkError(
            f"anybody on the way to {shown(host)} could read what goes on to it",
            where="--insecure",
            hint="give it twice if that is meant",
        )
    try:
        return client_security(keys, authority, certificate, key, token_file, name, insecure > 0)
    except LinkError as error:
        raise error.at("--next" if not error.where else error.where) from None


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refuse_both(given: list[Path]) -> None:
    if given:
        raise LinkError(
            "this does not go with certificates, keys and tokens", where="--insecure", hint="leave one of them out"
        )


def _token(path: Path | None) -> str | None:
    if path is None:
        return None
    token = read_file(path, TOKEN_FILE_BYTES, LinkError, what="token file").decode("ascii", "replace").strip()
    if not token or len(token) > 512 or not token.isascii():
        raise LinkError(
            f"'{shown_path(path)}' holds no token: one line of at most 512 letters is expected",
            hint="'splitimpera keys FOLDER' makes one",
        )
    return token
