"""`splitimpera simulate`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from splitimpera.cli.completion import among
from splitimpera.cli.verbosity import Verbose
from splitimpera.core import units
from splitimpera.core.errors import SimulationError, SplitImperaError, UnitError, shown

if TYPE_CHECKING:
    from splitimpera.net.replication import Simulate
    from splitimpera.records.link import Link

SEEDS_AT_MOST = 1000
MOST_DIGITS = 30
ENGINES = ("native", "ns3")
TRANSPORTS = ("tcp", "tcp-cubic", "tcp-reno", "udp", "udp-arq", "udp-interleaved")
"""What completes `--transport`, without the import of what simulates them."""

OPTIONS = {
    **{"rate_bps": "--rate", "delay_s": "--delay", "loss": "--loss", "loss_burst": "--loss-burst"},
    **{
        "downlink_loss": "--downlink-loss",
        "jitter_s": "--jitter",
        "mtu_bytes": "--mtu",
        "queue_packets": "--queue-packets",
    },
    **{"link_header_bytes": "--link-header", "fps": "--fps", "frames": "--frames", "deadline_s": "--deadline"},
    **{"frame_bytes": "--bytes", "size_bytes": "--bytes", "senders": "--senders", "response_bytes": "--response"},
    **{
        "trace": "--trace",
        "trace_start_s": "--trace-start",
        "drops": "--drops",
        "transport": "--transport",
        "replications": "--replications",
    },
}
"""The option that sets each field of the records, so that an error names what the user wrote."""


def presets() -> Iterable[str]:
    """Their names from the file alone, for whoever presses Tab waits for it."""
    from importlib.resources import files

    import yaml

    return cast(dict[str, object], yaml.safe_load((files("splitimpera.net") / "presets.yaml").read_bytes()))


def run(
    size: Annotated[str, typer.Option("--bytes", help="Size of a frame, such as 100352 or '100 kB'.")],
    fps: Annotated[str, typer.Option(help="Frames per second of each sender.")],
    rate: Annotated[str | None, typer.Option(help="Bit rate of the link, such as '100 Mbit/s'.")] = None,
    delay: Annotated[str | None, typer.Option(help="One-way propagation delay, such as '5 ms' (default: 0 s).")] = None,
    loss: Annotated[
        str | None, typer.Option(help="Packet loss rate on the uplink, such as '1 %' (default: 0).")
    ] = None,
    transport: Annotated[
        str,
        typer.Option(
            help="udp, udp-interleaved, udp-arq, tcp-cubic, or tcp-reno; tcp is tcp-cubic.",
            autocompletion=among(lambda: TRANSPORTS),
        ),
    ] = "tcp",
    frames: Annotated[str, typer.Option(metavar="INTEGER", help="Number of frames of each sender.")] = "1000",
    replications: Annotated[
        str, typer.Option(metavar="INTEGER", help="Number of simulation runs, at most 1000.")
    ] = "5",
    seed: Annotated[str, typer.Option(metavar="INTEGER", help="Random seed of the simulation.")] = "1",
    preset: Annotated[
        str | None,
        typer.Option(
            help="Link preset, such as lte or wifi-5; other options override its values.", autocompletion=among(presets)
        ),
    ] = None,
    trace: Annotated[
        Path | None, typer.Option(help="Trace file: how the link changes over time (CSV or Mahimahi).")
    ] = None,
    trace_start: Annotated[
        str | None,
        typer.Option(help="Where in the trace to start, such as '0 s' (default: each run at a random place)."),
    ] = None,
    drops: Annotated[Path | None, typer.Option(help="JSON file that lists the packets to drop, by index.")] = None,
    loss_burst: Annotated[
        str | None, typer.Option(help="Mean number of packets lost in a row (default: losses are independent).")
    ] = None,
    downlink_loss: Annotated[str | None, typer.Option(help="Packet loss rate on the downlink (default: 0).")] = None,
    jitter: Annotated[str | None, typer.Option(help="Mean of a random delay added to --delay (default: 0 s).")] = None,
    queue_packets: Annotated[
        str | None, typer.Option(metavar="INTEGER", help="Queue length in packets (default: unlimited).")
    ] = None,
    mtu: Annotated[str | None, typer.Option(help="Largest IP packet (default: 1500 B).")] = None,
    link_header: Annotated[
        str | None, typer.Option(help="Link-layer bytes per packet, or a name such as ethernet (default: 2 B).")
    ] = None,
    deadline: Annotated[
        str | None,
        typer.Option(help="Time after which an incomplete UDP frame is used as it is (default: one frame period)."),
    ] = None,
    senders: Annotated[str, typer.Option(metavar="INTEGER", help="Number of devices that share the link.")] = "1",
    response: Annotated[str | None, typer.Option(help="Size of the response on the downlink (default: none).")] = None,
    engine: Annotated[
        str,
        typer.Option(help="Simulator: native, or ns3 if it is installed.", autocompletion=among(lambda: ENGINES)),
    ] = "native",
    json: Annotated[Path | None, typer.Option(help="Write all numbers to this file (JSON).")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the latency distribution to this file (PNG).")] = None,
    verbose: Verbose = 0,
) -> None:
    """Simulate frames sent over a link at a fixed rate: latency, loss, retransmissions."""
    from splitimpera.core.files import check_file

    for path, argument in ((json, "--json"), (plot, "--plot")):
        if path is not None:
            check_file(path, argument)
    runs, first_seed = _count(replications, "--replications", 1, SEEDS_AT_MOST), _count(seed, "--seed", 0, 2**63 - 1)

    from splitimpera.net.transports import TRANSPORTS as KNOWN
    from splitimpera.records.traffic import Workload

    with _option("--transport"):
        KNOWN[transport]
    changes = {
        "rate_bps": _parsed(rate, "--rate", units.BIT_RATE),
        "delay_s": _parsed(delay, "--delay", units.TIME),
        "loss": _parsed(loss, "--loss", units.FRACTION),
        "loss_burst": _parsed(loss_burst, "--loss-burst", units.FACTOR),
        "downlink_loss": _parsed(downlink_loss, "--downlink-loss", units.FRACTION),
        "jitter_s": _parsed(jitter, "--jitter", units.TIME),
        "mtu_bytes": _whole(mtu, "--mtu"),
        "link_header_bytes": _header(link_header),
        "trace_start_s": _parsed(trace_start, "--trace-start", units.TIME),
        "queue_packets": None if queue_packets is None else _count(queue_packets, "--queue-packets"),
    }
    with _option():
        workload = Workload(
            fps=_parsed(fps, "--fps", units.FREQUENCY) or 0.0,
            frames=_count(frames, "--frames"),
            deadline_s=_parsed(deadline, "--deadline", units.TIME),
            frame_bytes=_whole(size, "--bytes") or 0,
            senders=_count(senders, "--senders"),
            response_bytes=_whole(response, "--response") or 0,
        )
        link = _link({name: value for name, value in changes.items() if value is not None}, preset, trace, drops)
    simulate, workers = _engine(engine)

    from splitimpera.cli.terminal import console, progress
    from splitimpera.core.files import write_output
    from splitimpera.net.compilation import begin_compiling, wait_until_compiled
    from splitimpera.net.replication import replicate
    from splitimpera.report.simulation import latency_png, settings_line, simulation_json, summary

    name = "tcp-cubic" if transport == "tcp" else transport
    if engine == "native":
        begin_compiling([name], console.print)
        with progress() as track:
            wait_until_compiled(track)
    with _option():
        result = replicate(link, workload, name, runs, first_seed, run=simulate, workers=workers)
    console.print(settings_line(result, engine), highlight=False, markup=False, soft_wrap=True)
    console.print(summary(result))
    if json is not None:
        write_output(json, simulation_json(result, engine), "--json")
    if plot is not None:
        write_output(plot, latency_png(result), "--plot")


def _link(changes: dict[str, Any], preset: str | None, trace: Path | None, drops: Path | None) -> Link:
    """The preset, or a point-to-point link, with the values that the options override."""
    from dataclasses import replace

    from splitimpera.records.link import Link

    base = Link(name="point-to-point", delay_s=0.0)
    if preset is not None:
        from splitimpera.net.link_presets import link_preset

        with _option("--preset"):
            base = link_preset(preset)
    if trace is not None:
        from splitimpera.net.traces import load_trace

        with _option("--trace"):
            base = replace(base, trace=load_trace(trace))
    elif "trace_start_s" in changes:
        raise SimulationError("there is no trace to start", where="--trace-start", hint="add --trace")
    if drops is not None:
        from splitimpera.net.traces import load_drops

        if "loss" in changes:
            raise SimulationError(
                "this file already says which packets are lost", where="--drops", hint="leave out --loss"
            )
        with _option("--drops"):
            base = replace(base, drops=load_drops(drops))
    moving = set()
    if base.trace is not None:
        steps = {"rate_bps": base.trace.rate_bps, "delay_s": base.trace.delay_s, "loss": base.trace.loss}
        moving = {name for name, values in steps.items() if values}
        moving |= {"rate_bps"} if base.trace.opportunity_bytes else set()
        for name in changes.keys() & moving:
            raise SimulationError(f"the trace {base.trace.name} gives it", where=OPTIONS[name], hint="leave it out")
    if preset is None and "rate_bps" not in changes.keys() | moving:
        raise SimulationError(
            "the link's rate is missing", where="--rate", hint="write for example --rate '100 Mbit/s' or --preset lte"
        )
    if "queue_packets" in changes:
        changes["queue_bytes"] = None  # a preset's limit in bytes gives way
    return replace(base, **changes)


def _engine(name: str) -> tuple[Simulate, int]:
    """What simulates one run, and on how many threads."""
    import os

    from splitimpera.core.registry import nearest
    from splitimpera.net.transports import simulate

    if name == "native":
        return simulate, os.cpu_count() or 1
    if name != "ns3":
        raise SimulationError(f"no engine is called '{shown(name)}'", where="--engine", hint=nearest(name, ENGINES))

    from splitimpera.net.ns3 import Ns3Link, available

    if not available():
        hint = "pip install 'split-et-impera[ns3]', or leave out --engine"
        raise SimulationError("ns-3 is not installed here", where="--engine", hint=hint)
    # ns-3 has one simulator per process
    return lambda link, workload, transport, rng: Ns3Link(link, rng, transport).transfer(workload.all_frames()), 1


@contextmanager
def _option(name: str = "") -> Iterator[None]:
    """Errors from inside name the option: `name`, or the one behind the record's field."""
    try:
        yield
    except SplitImperaError as error:
        if error.where.startswith("--"):
            raise
        # a line of a file stays beside the option that named the file
        place = OPTIONS.get(error.where) or ": ".join(part for part in (name, error.where) if part)
        raise error.at(place) from error.__cause__


def _parsed(value: str | None, option: str, dimension: units.Dimension) -> float | None:
    if value is None:
        return None
    with _option(option):
        return units.parse(value, dimension)


def _count(value: str, option: str, low: float = -inf, high: float = inf) -> int:
    """A whole number; Typer's own parser would quote thousands of digits."""
    digits = value.strip()
    if not (digits[1:] if digits[:1] in ("+", "-") else digits).isdecimal():
        raise SimulationError(f"'{shown(value)}' is not a whole number", where=option)
    if len(digits) > MOST_DIGITS or not low <= int(digits) <= high:
        expected = f", it must be {low} to {high}" if low > -inf else ""
        raise SimulationError(f"{shown(digits)} is out of range{expected}", where=option)
    return int(digits)


def _whole(value: str | None, option: str) -> int | None:
    size = _parsed(value, option, units.SIZE)
    if size is not None and size != int(size):
        raise UnitError(f"'{shown(value)}' is not a whole number of bytes", where=option)
    return None if size is None else int(size)


def _header(value: str | None) -> int | None:
    """A size, or the name of a link layer."""
    if value is None or not value[:1].isalpha():
        return _whole(value, "--link-header")

    from splitimpera.net.link_presets import link_header_bytes

    with _option("--link-header"):
        return link_header_bytes(value)
