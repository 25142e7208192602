"""`splitimpera infer`."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from splitimpera.cli.prompts import check_alone, prompts_of, run_prompts
from splitimpera.cli.serve import PORT, SWITCH_S
from splitimpera.cli.verbosity import Verbose
from splitimpera.core import units
from splitimpera.core.errors import LinkError, SplitImperaError, SplitImperaWarning, UnitError, shown
from splitimpera.core.registry import nearest

if TYPE_CHECKING:
    from rich.table import Table

    from splitimpera.bundle.opened import Bundle
    from splitimpera.deploy.answering import Mode
    from splitimpera.deploy.device_run import Tally
    from splitimpera.deploy.frame_log import FrameLine, RunLine

DRAW_EVERY_S = 0.5
DRAW_AT_LEAST_S = 3.0
DRAWING_S = 0.02
"""A table is drawn where the next frame is further away than this, or it has not been for long."""
MOVES_SHOWN = 5
POLICIES = ("wait", "drop-oldest", "drop-newest")


def run(
    bundle: Annotated[Path, typer.Argument(help="What 'splitimpera export' wrote: a folder or a .zip.")],
    source: Annotated[
        str | None,
        typer.Option(
            "--input",
            metavar="SOURCE",
            help="samples, a folder of images, .npy, .npz, file.py:factory, camera:0, a video, a data set's name, or -",
        ),
    ] = None,
    prompt: Annotated[str | None, typer.Option(metavar="TEXT", help="Of a language model: write behind this.")] = None,
    prompts: Annotated[Path | None, typer.Option(metavar="FILE", help="The same behind each of its lines.")] = None,
    tokens: Annotated[int, typer.Option(min=1, max=1 << 20, help="Most tokens that are written.")] = 64,
    server: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST:PORT", help="Where 'splitimpera serve' listens; several, the preferred first."),
    ] = None,
    answers: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Where the last machine listens, if it answers directly."),
    ] = None,
    plan: Annotated[
        str | None,
        typer.Option(help="Plan that is run (default: the policy's, or the recommended one)."),
    ] = None,
    mode: Annotated[
        str | None, typer.Option(help="Who answers: prefer-server, prefer-device, server-only or device-only.")
    ] = None,
    hedge: Annotated[
        bool, typer.Option("--hedge", help="Begin on the device as well where the server may be late.")
    ] = False,
    stale: Annotated[
        str | None, typer.Option(help="For so long the last answer is given once more (default: 1 s).")
    ] = None,
    slowdown: Annotated[
        float, typer.Option(min=1, max=1e6, help="Let the device take so many times as long, for trying things out.")
    ] = 1.0,
    emulate: Annotated[
        Path | None, typer.Option(metavar="TRACE", help="Change the link as this trace says, for trying things out.")
    ] = None,
    fps: Annotated[str | None, typer.Option(help="Frame rate (default: each frame after the one before).")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="How many (default: each input once).")] = None,
    log: Annotated[Path | None, typer.Option(help="Write what happened to each frame here, for 'verify'.")] = None,
    deadline: Annotated[str | None, typer.Option(help="From when a frame is due until it is of no use.")] = None,
    queue_policy: Annotated[
        str, typer.Option(help="Frames that find the device busy: wait, drop-oldest or drop-newest.")
    ] = "wait",
    queue: Annotated[int, typer.Option(min=1, help="How many of them may wait, where some are dropped.")] = 1,
    threads: Annotated[int, typer.Option(min=1, max=1024, help="Threads of the engine.")] = 1,
    keys: Annotated[Path | None, typer.Option(help="Folder that 'splitimpera keys' made.")] = None,
    authority: Annotated[Path | None, typer.Option(help="The authority whose servers are trusted (PEM).")] = None,
    certificate: Annotated[Path | None, typer.Option(help="The client's certificate (PEM).")] = None,
    key: Annotated[Path | None, typer.Option(help="The key of the certificate (PEM).")] = None,
    token_file: Annotated[Path | None, typer.Option(help="Say the token in this file instead.")] = None,
    server_name: Annotated[
        str | None, typer.Option(help="Name in the server's certificate (default: the host).")
    ] = None,
    answers_name: Annotated[
        str | None, typer.Option(help="Name in the last machine's certificate (default: the host).")
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Encrypt nothing.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    verbose: Verbose = 0,
) -> None:
    """Run the device half of a bundle: frames to the server, its responses back."""
    import numpy as np

    from splitimpera.bundle.opened import open_bundle
    from splitimpera.cli.trust import client_security
    from splitimpera.core.files import check_file
    from splitimpera.deploy.adaptive_client import STALE_S, AdaptiveClient
    from splitimpera.deploy.answer_session import check_answers, check_one_server
    from splitimpera.deploy.answering import Mode
    from splitimpera.deploy.client import Client, parsed_address
    from splitimpera.deploy.device_run import DeviceRun, run_line
    from splitimpera.deploy.emulated_link import ChangingLink, EmulatedLink
    from splitimpera.deploy.frame_clock import FrameClock
    from splitimpera.deploy.judging import judge_of
    from splitimpera.deploy.sources import open_source
    from splitimpera.net.traces import load_trace

    if queue_policy not in POLICIES:
        raise LinkError(f"'{shown(queue_policy)}' is none of {', '.join(POLICIES)}", where="--queue-policy")
    rate = _positive(fps, units.FREQUENCY, "--fps")
    deadline_s = _positive(deadline, units.TIME, "--deadline")
    stale_s = _positive(stale, units.TIME, "--stale")
    addresses = [parsed_address(each, "--server", PORT) for each in server or []]
    answered_at = None if answers is None else parsed_address(answers, "--answers", PORT)
    if log is not None:
        check_file(log, "--log")
    opened = open_bundle(bundle)
    if prompt is not None or prompts is not None or opened.manifest.language is not None:
        asked = {"--input": source, "--answers": answers, "--mode": mode, "--hedge": hedge, "--stale": stale}
        check_alone(asked | {"--deadline": deadline, "--server": addresses[1:]})
        texts = prompts_of(prompt, prompts)
        trusted = None
        if opened.manifest.plan(plan).hops and addresses:
            trusted = client_security(keys, authority, certificate, key, token_file, server_name, insecure)
        sys.setswitchinterval(SWITCH_S)
        way = (next(iter(addresses), None), plan, trusted, insecure, emulate)
        return run_prompts(opened, texts, tokens, *way, slowdown, threads, rate, frames, log, json)
    if source is None:
        raise LinkError("nothing is said that could be run", where="--input", hint="name a source of frames")
    wanted = _mode(mode, opened, plan, addresses, hedge or stale_s is not None or slowdown > 1)
    chosen, security = opened.manifest.plan(plan), None
    if wanted is Mode.DEVICE_ONLY or (wanted is None and not chosen.hops):
        addresses, insecure = [], False
    elif not addresses:
        raise LinkError("this plan needs a server", where="--server", hint="write for example 10.0.0.2:7433")
    else:
        security = client_security(keys, authority, certificate, key, token_file, server_name, insecure)
    if wanted is not None and answered_at is not None:
        problem = "runs that choose among plans or may do without the server have their answers along the way"
        raise LinkError(problem, where="--answers", hint="leave it out, or name one plan by '--plan' and no mode")
    if wanted is None:
        check_answers(opened.manifest, chosen, answered_at is not None, "--answers")
    else:
        check_one_server(opened.manifest, chosen, len(addresses), "--server")
        if addresses and opened.manifest.answered_directly(chosen):
            text = f"answers of plan '{chosen.id}' come along the way in such a run, not directly"
            warnings.warn(text, SplitImperaWarning, stacklevel=1)
    if emulate is not None and len(addresses) != 1:
        raise LinkError(f"there are {len(addresses)} servers", where="--emulate", hint="name one by '--server'")
    try:
        inputs = open_source(source, opened)
    except SplitImperaError as error:
        raise error.at(f"--input{': ' + error.where if error.where else ''}") from error.__cause__
    sys.setswitchinterval(SWITCH_S)
    with ExitStack() as after:
        if emulate is not None:
            relay = EmulatedLink(addresses[0], ChangingLink(load_trace(emulate), np.random.default_rng()))
            if security is not None and security.server_name is None:
                security = replace(security, server_name=addresses[0][0])
            addresses = [after.enter_context(relay).address]
        client: Client | AdaptiveClient
        if wanted is None:
            address = next(iter(addresses), None)
            client = Client(
                opened,
                address,
                plan,
                security=security,
                insecure=insecure,
                threads=threads,
                answers=answered_at,
                answers_name=answers_name,
            )
        else:
            client = AdaptiveClient(
                opened,
                addresses,
                plan,
                mode=wanted,
                pin=plan is not None,
                hedge=hedge,
                stale_s=STALE_S if stale_s is None else stale_s,
                security=security,
                insecure=insecure,
                threads=threads,
                slowdown=slowdown,
            )
        after.enter_context(client)
        if isinstance(client, AdaptiveClient) and client.unreachable is not None:
            warnings.warn(f"{client.unreachable.problem}; the device answers until a server is there", stacklevel=1)
        judge = judge_of(opened.manifest, inputs.near)
        first = run_line(client, inputs, rate, deadline_s, judge)
        told = after.enter_context(_written(log, first)) if log is not None else _untold
        clock = FrameClock(rate, frames, queue_policy, queue)  # type: ignore[arg-type]  # one of POLICIES
        going = DeviceRun(client, inputs, clock, deadline_s, told, judge=judge)
        try:
            with _shown_live(going.tally, json) as draw:
                going.idle = draw
                going.run()
        finally:  # on Ctrl-C and where the session broke as well
            _print_summary(going.tally, first, json)


def _mode(given: str | None, bundle: Bundle, plan: str | None, servers: Sequence[object], asked: bool) -> Mode | None:
    """Who answers; None: every frame is of one plan and goes to the one server, or runs here."""
    from splitimpera.deploy.answering import Mode

    if given is not None:
        if given not in list(Mode):
            hint = nearest(given, [each.value for each in Mode])
            raise LinkError(f"'{shown(given)}' is none of {', '.join(Mode)}", where="--mode", hint=hint)
        return Mode(given)
    if len(servers) > 1 or asked or (bundle.manifest.policy is not None and plan is None):
        return Mode.PREFER_SERVER if servers else Mode.DEVICE_ONLY
    return None


def _untold(line: FrameLine) -> None:
    pass


@contextmanager
def _written(path: Path, first: RunLine) -> Iterator[Callable[[FrameLine], None]]:
    """A log that is written line by line, so that what a killed process did is known, too.

    Where its disk is full frames go on being answered, and the error comes at the end.
    """
    from splitimpera.core.files import output_error
    from splitimpera.deploy.frame_log import line_of

    try:
        file = path.open("w", encoding="utf-8", buffering=1)
        file.write(line_of(first))
    except OSError as failure:
        raise output_error(path, failure, "--log") from None
    failed: OSError | None = None

    def told(line: FrameLine) -> None:
        nonlocal failed
        if failed is None:
            try:
                file.write(line_of(line))
            except OSError as failure:
                failed = failure
                warnings.warn(f"{output_error(path, failure, '--log')}; frames go on without it", stacklevel=2)

    try:
        yield told
    finally:
        with suppress(OSError):  # what could not be written then cannot be now
            file.close()
    if failed is not None:
        raise output_error(path, failed, "--log")


@contextmanager
def _shown_live(tally: Tally, json: bool) -> Iterator[Callable[[float], None]]:
    """A table on a terminal, drawn anew where no frame has to wait for it; nothing elsewhere."""
    from splitimpera.cli.terminal import console

    if json or not console.is_terminal:
        yield lambda _: None
        return
    from rich.live import Live

    drawn_s = time.monotonic()
    with Live(_table(tally), console=console, auto_refresh=False, transient=True) as live:

        def draw(left_s: float) -> None:
            nonlocal drawn_s
            since_s = time.monotonic() - drawn_s
            if since_s > DRAW_AT_LEAST_S or (since_s > DRAW_EVERY_S and left_s > DRAWING_S):
                drawn_s = time.monotonic()
                live.update(_table(tally), refresh=True)

        yield draw


def _rows(tally: Tally) -> list[tuple[str, str]]:
    """What there is to say of a run, in words."""
    others = ", ".join(f"{count} {outcome}" for outcome, count in sorted(tally.outcomes.items()) if outcome != "ok")
    rows = [("frames", f"{tally.frames}" + (f" ({others})" if others else ""))]
    if tally.exits:
        left = [f"{count} behind cut {cut}" for cut, count in sorted(tally.exits.items())]
        rows.append(("left early", f"{', '.join(left)} ({units.format_fraction(tally.exits.total() / tally.frames)})"))
    if tally.answered:
        rows.append(("answered by", ", ".join(f"{by} {count}" for by, count in tally.answered.most_common())))
        rows.append(("plans", ", ".join(f"{plan} {count}" for plan, count in tally.plans.most_common())))
        rows += _moves(tally)
    if tally.directly:
        rows.append(("answers", f"{tally.directly} came directly"))
    times = [tally.percentile_s(share) for share in (0.5, 0.95, 0.99)]
    if times[0] is not None:
        rows.append(("latency p50 / p95 / p99", " / ".join(units.format_time(time_s or 0.0) for time_s in times)))
    if tally.packets:
        each = tally.payload_bytes / max(tally.frames - tally.outcomes["dropped"], 1)
        rows.append(("sent", f"{units.format_bytes(tally.payload_bytes)}, {units.format_bytes(each)} a frame"))
        share = units.format_fraction(tally.lost_packets / max(tally.told_packets, 1))
        rows.append(("lost packets", f"{tally.lost_packets} of {tally.told_packets} ({share})"))
    if tally.deadline_s is not None:
        rows.append(
            ("deadline misses", f"{tally.missed} ({units.format_fraction(tally.missed / max(tally.frames, 1))})")
        )
    if tally.accuracy is not None:
        rows.append(("accuracy", f"{units.format_fraction(tally.accuracy)} of {tally.labelled}"))
    if tally.judge is not None and tally.judge.judged:
        rows.append((tally.judge.title, tally.judge.told))
    return rows


def _moves(tally: Tally) -> list[tuple[str, str]]:
    """Where the run stands, and the last changes of plan."""
    latest, rows = tally.latest, []
    if latest is not None and latest.plan is not None:
        rows.append(("latest frame", f"plan {latest.plan}, answered by: {latest.answered_by}"))
        rows.append(("link", _link(latest)))
    for line in tally.moves[-MOVES_SHOWN:]:
        if line.move is not None:
            change = f"{line.move.before or 'none'} → {line.move.after or 'none'}"
            rows.append((f"{line.move.cause} at {line.due_s:.1f} s", f"{change}: {line.move.reason}"))
    return rows


def _link(line: FrameLine) -> str:
    """What was known of it when a frame began."""
    known = ["nothing comes"] if line.outage else []
    if line.goodput_bps is not None:
        known.append(units.format_rate(line.goodput_bps))
    if line.link_round_trip_s is not None:
        known.append(f"{units.format_time(line.link_round_trip_s)} there and back")
    if line.link_loss is not None:
        known.append(f"{units.format_fraction(line.link_loss)} lost")
    return ", ".join(known) or "not known yet"


def _table(tally: Tally) -> Table:
    from rich.table import Table

    table = Table(show_header=False)
    for row in _rows(tally):
        table.add_row(*row)
    return table


def _print_summary(tally: Tally, first: RunLine, json: bool) -> None:
    if json:
        from json import dumps

        print(dumps({"plan": first.plan, "carrier": first.carrier, "secure": first.secure, **tally.as_json()}))
        return
    print(f"plan {first.plan} by {first.carrier}" + ("" if first.secure == "none" else f", {first.secure}"))
    for name, value in _rows(tally):
        print(f"{name}: {value}")


def _positive(text: str | None, dimension: units.Dimension, option: str) -> float | None:
    if text is None:
        return None
    try:
        value = units.parse(text, dimension)
    except UnitError as error:
        raise error.at(option) from None
    if not 0 < value <= 1e6:
        raise UnitError(f"'{shown(text)}' is out of range, it must be above 0", where=option)
    return value
