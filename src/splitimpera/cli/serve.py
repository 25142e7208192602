"""`splitimpera serve`."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from splitimpera.cli.verbosity import LOGGER, Verbose
from splitimpera.core import units
from splitimpera.core.errors import BundleError, UnitError

if TYPE_CHECKING:
    from splitimpera.deploy.metrics import Metrics
    from splitimpera.deploy.rollout import Rollout
    from splitimpera.deploy.server import Server

PORT = 7433
SWITCH_S = 0.0005
"""How long one thread may keep Python's lock while another waits for it; 5 ms, as it is, would be seen in latencies."""


def run(
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where, by TCP and UDP; port 0 takes a free one.")],
    bundles: Annotated[
        list[Path] | None,
        typer.Argument(metavar="BUNDLE...", help="What 'splitimpera export' wrote: folders or .zip files."),
    ] = None,
    watch: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="In place of BUNDLE: a file that names them, one a line; they follow it."),
    ] = None,
    drain: Annotated[str, typer.Option(help="How long clients of a bundle that FILE names no more may stay.")] = "60 s",
    plan: Annotated[list[str] | None, typer.Option(help="Plan that is served (default: all); may be repeated.")] = None,
    machine: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which machine of the plans this is (default: the last one).")
    ] = None,
    next_address: Annotated[
        str | None,
        typer.Option("--next", metavar="HOST:PORT", help="Where frames go on to from a machine in the middle."),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, max=1024, help="Most frames that are run together.")] = 1,
    batch_wait: Annotated[str, typer.Option(help="How long a frame waits for others, at most.")] = "0 s",
    queue: Annotated[int, typer.Option(min=1, max=100_000, help="How many frames may wait, 16 of each client.")] = 256,
    queue_policy: Annotated[
        str, typer.Option(help="What goes where one too many comes: drop-oldest or drop-newest.")
    ] = "drop-oldest",
    clients: Annotated[int, typer.Option(min=1, max=1024, help="How many may be there at once.")] = 1024,
    rate_limit: Annotated[
        float | None, typer.Option(metavar="N", help="Frames a second that each client may send (default: any number).")
    ] = None,
    cache_memory: Annotated[
        str, typer.Option(help="What the keys and values of language models may take, of all clients.")
    ] = "256 MiB",
    threads: Annotated[int, typer.Option(min=1, max=1024, help="Threads of the engine.")] = 1,
    metrics: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Serve /metrics (Prometheus), /healthz and /readyz here.")
    ] = None,
    keys: Annotated[Path | None, typer.Option(help="Folder that 'splitimpera keys' made.")] = None,
    certificate: Annotated[Path | None, typer.Option(help="The server's certificate (PEM).")] = None,
    key: Annotated[Path | None, typer.Option(help="The key of the certificate (PEM).")] = None,
    authority: Annotated[
        Path | None, typer.Option(help="Clients must show a certificate of this authority (PEM).")
    ] = None,
    token_file: Annotated[Path | None, typer.Option(help="Clients must say the token in this file.")] = None,
    next_keys: Annotated[
        Path | None, typer.Option(help="Folder of keys for the next machine (default: that of --keys).")
    ] = None,
    next_authority: Annotated[
        Path | None, typer.Option(help="The authority that the next machine is of (PEM).")
    ] = None,
    next_certificate: Annotated[Path | None, typer.Option(help="What this machine shows the next one (PEM).")] = None,
    next_key: Annotated[Path | None, typer.Option(help="The key of that certificate (PEM).")] = None,
    next_token_file: Annotated[Path | None, typer.Option(help="Say the token in this file to it instead.")] = None,
    next_name: Annotated[
        str | None, typer.Option(help="Name in the next machine's certificate (default: the host).")
    ] = None,
    insecure: Annotated[
        int, typer.Option("--insecure", count=True, metavar="", help="Encrypt nothing; twice: beyond loopback, too.")
    ] = 0,
    verbose: Verbose = 0,
) -> None:
    """Serve the server half of bundles: many clients, until SIGTERM or Ctrl-C.

    A machine in the middle (--machine, --next) runs its part and sends frames on.
    """
    import asyncio

    from splitimpera.cli.trust import next_security, server_security
    from splitimpera.deploy.client import parsed_address
    from splitimpera.deploy.event_log import JsonLines
    from splitimpera.deploy.forwarding import NextMachine
    from splitimpera.deploy.rollout import Rollout, named_bundles, opened_bundles
    from splitimpera.deploy.server import Server

    host, port = parsed_address(listen, "--listen", PORT)
    measured = None if metrics is None else parsed_address(metrics, "--metrics")
    cache_bytes = _memory(cache_memory, "--cache-memory")
    wait_s, drain_s = _time(batch_wait, "--batch-wait"), _time(drain, "--drain")
    if bool(bundles) == (watch is not None):
        raise BundleError(
            "bundles and a file that names them exclude each other" if bundles else "no bundle is named",
            where="BUNDLE",
            hint="name folders or .zip files that 'splitimpera export' wrote, or with --watch a file that names them",
        )
    security = server_security(host, keys, certificate, key, authority, token_file, insecure)
    next_machine = None
    if next_address is not None:
        onward = parsed_address(next_address, "--next", PORT)
        shown = (next_keys or keys, next_authority, next_certificate, next_key, next_token_file)
        next_machine = NextMachine(onward, next_security(onward[0], *shown, next_name, insecure))
    figures = None
    if measured is not None:
        from splitimpera.deploy.metrics import Metrics

        figures = Metrics()
    for handler in LOGGER.handlers:
        handler.setFormatter(JsonLines())
    sys.setswitchinterval(SWITCH_S)
    first, *others = opened_bundles(named_bundles(watch) if watch is not None else bundles or [])
    server = Server(
        first,
        plan,
        threads=threads,
        batch=batch,
        batch_wait_s=wait_s,
        queue=queue,
        queue_policy=queue_policy,  # type: ignore[arg-type]  # it says which there are
        clients=clients,
        rate_limit_hz=rate_limit,
        metrics=figures,
        cache_bytes=cache_bytes,
        machine=machine,
        next_machine=next_machine,
    )

    gc.collect()
    gc.freeze()  # what is there now stays: the collector need not look through it

    async def serve() -> None:
        _end_on_signals(server)
        async with server:
            for bundle in others:
                server.add(await server.load(bundle))
            real = await server.start(host, port, security)
            plans = ", ".join(dict.fromkeys(half.plan.id for one in server.bundles for half in one.halves.values()))
            how = "not encrypted" if security is None else "encrypted"
            if next_address is not None:
                how += f", on to {next_address}"
            print(f"serving {plans} at {_shown(real)} by TCP and UDP, {how}", flush=True)
            with _pages(figures, measured, server):
                if watch is None:
                    await server.serve()
                else:
                    await _followed(server, Rollout(server, watch, drain_s))

    asyncio.run(serve())


@contextmanager
def _pages(figures: Metrics | None, address: tuple[str, int] | None, server: Server) -> Iterator[None]:
    if figures is None or address is None:
        yield
        return
    from splitimpera.deploy.metrics import MetricsServer

    pages = MetricsServer(figures, *address, lambda: server.ready)
    try:
        print(f"metrics at http://{_shown(pages.address)}/metrics", flush=True)
        yield
    finally:
        pages.close()


async def _followed(server: Server, rollout: Rollout) -> None:
    """Serve what the file names; SIGHUP says that it was changed, where there is such a signal."""
    import asyncio
    import signal

    if hasattr(signal, "SIGHUP"):
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, rollout.hurry)
    following = asyncio.create_task(rollout.run())
    try:
        await server.serve()
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following


def _end_on_signals(server: Server) -> None:
    """SIGTERM and Ctrl-C ask for an orderly end; a second one ends the process as it would any other."""
    import asyncio
    import signal

    loop = asyncio.get_running_loop()

    def stop(number: int) -> None:
        server.stop_soon()
        loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)


def _shown(address: tuple[str, int]) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _time(text: str, option: str) -> float:
    try:
        seconds = units.parse(text, units.TIME)
    except UnitError as error:
        raise error.at(option) from None
    if not 0 <= seconds <= 3600:
        raise UnitError(f"'{text[:100]}' is out of range, it must be 0 to 1 h", where=option)
    return seconds


def _memory(text: str, option: str) -> int:
    try:
        size = units.parse(text, units.SIZE)
    except UnitError as error:
        raise error.at(option) from None
    if not 1 <= size <= 1 << 50:
        raise UnitError(f"'{text[:100]}' is out of range, it must be 1 B or more", where=option)
    return int(size)
