"""`splitimpera keys`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from splitimpera.cli.whole_numbers import whole

DAYS = (1, 36_500)


def run(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write them.")],
    hosts: Annotated[
        list[str] | None,
        typer.Option("--host", metavar="NAME", help="Name or address of the server; may be given several times."),
    ] = None,
    days: Annotated[
        int, typer.Option(metavar="INTEGER", parser=whole("--days", *DAYS), help="How long they are good for.")
    ] = 365,
    signed_by: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Of the authority that was made there, with its authority.key, in place of a new one.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace those that are there.")] = False,
) -> None:
    """Make what a server and a client show each other: a small authority, its certificates for both, and a token."""
    from splitimpera.cli.terminal import console
    from splitimpera.core.errors import shown_path
    from splitimpera.deploy.keys import LOCAL, make_keys

    files = make_keys(folder, hosts or (), days, force, signed_by=signed_by)
    names = ", ".join(dict.fromkeys((*(hosts or ()), *LOCAL)))
    kept = shown_path(files.authority_key if signed_by is None else signed_by / files.authority_key.name)
    console.print(
        f"Wrote {shown_path(folder)}, good for {days} days. The server is known as {names}.\n"
        f"To the server: {files.server.name}, {files.server_key.name}, {files.authority.name}.\n"
        f"To the client: {files.client.name}, {files.client_key.name}, {files.authority.name}.\n"
        f"Keep {kept} where neither of them is. {files.token.name} is for clients without a certificate.",
        soft_wrap=True,
        markup=False,
    )
