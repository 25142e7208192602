"""A simulated link by itself: as a table with a plain sentence, as JSON, as a figure."""

from __future__ import annotations

import json
from dataclasses import asdict
from math import isfinite
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from splitimpera.core import units
from splitimpera.core.array_types import FloatArray
from splitimpera.core.errors import printable
from splitimpera.core.version import __version__
from splitimpera.net.replication import Estimate, Replication
from splitimpera.records.link import Link
from splitimpera.report.drawing import png

SCHEMA_VERSION = 1
RUNS_SHOWN = 20
CURVES_DRAWN = 20
NAMES = ("p50", "p95", "p99")


def settings_line(replication: Replication, engine: str = "native") -> str:
    """What was simulated, in one line."""
    workload, runs = replication.workload, len(replication.latency_s)
    size = (
        "frames of different sizes" if workload.frame_sizes else f"{units.format_bytes(workload.frame_bytes)} a frame"
    )
    parts = [f"{size}, {workload.fps:g} a second, {workload.frames} frames"]
    if workload.senders > 1:
        parts[0] += f" from each of {workload.senders} senders"
    if workload.deadline_s is not None:
        parts.append(f"deadline {units.format_time(workload.deadline_s)}")
    if workload.response_bytes:
        parts.append(f"responses of {units.format_bytes(workload.response_bytes)}")
    parts.append(f"seed {replication.seed}, {runs} run{'s' if runs > 1 else ''}")
    over = f"{replication.transport} over {_link(replication.link)}"
    return f"{over}; {', '.join(parts)}" + ("" if engine == "native" else f"; by {engine}")


def _link(link: Link) -> str:
    trace = link.trace
    stepped = f"from the trace {printable(trace.name)}" if trace else ""
    rate = (
        f"rate {stepped}" if trace and (trace.rate_bps or trace.opportunity_bytes) else units.format_rate(link.rate_bps)
    )
    delay = f"delay {stepped}" if trace and trace.delay_s else f"{units.format_time(link.delay_s)} one way"
    loss = f"loss {stepped}" if trace and trace.loss else f"{units.format_fraction(link.loss)} loss"
    if link.drops is not None:
        loss = f"{len(link.drops)} packets dropped by ordinal"
    elif link.loss_burst is not None:
        loss += f" in bursts of {link.loss_burst:g}"
    parts = [rate, delay, loss]
    if link.downlink_loss:
        parts.append(f"{units.format_fraction(link.downlink_loss)} loss back")
    if link.jitter_s:
        parts.append(f"{units.format_time(link.jitter_s)} jitter")
    if link.queue_packets is not None:
        parts.append(f"queue of {link.queue_packets} packets")
    if link.queue_bytes is not None:
        parts.append(f"queue of {units.format_bytes(link.queue_bytes)}")
    return f"{printable(link.name)}: {', '.join(parts)}, MTU {link.mtu_bytes} B"


def summary(replication: Replication) -> RenderableType:
    """One row a replication, the mean with its interval, and what it comes to in words."""
    table = Table(title="Latency, from when a frame is due", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("run", no_wrap=True)
    for name in (*NAMES, "packets", "lost", "resent"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("stable", no_wrap=True)
    rows = zip(replication.quantiles_s, replication.deliveries, replication.stable, strict=True)
    for i, (quantiles, run, stable) in enumerate(rows):
        if i == RUNS_SHOWN:
            break
        table.add_row(
            str(i),
            *(units.format_time(value) if stable else "unstable" for value in quantiles),
            *(str(int(counts.sum())) for counts in (run.packets, run.lost_packets, run.retransmissions)),
            "yes" if stable else Text("no", "red"),
        )
    if replication.sustained:
        estimates = replication.estimates
        table.add_section()
        if len(replication.latency_s) > 1:
            table.add_row("mean", *(units.format_time(estimate.value) for estimate in estimates), style="bold")
        table.add_row("95 % from", *(_end(estimate.low) for estimate in estimates))
        table.add_row("to", *(_end(estimate.high) for estimate in estimates))
    lines: list[RenderableType] = [table]
    if len(replication.latency_s) > RUNS_SHOWN:
        lines.append(Text(f"and {len(replication.latency_s) - RUNS_SHOWN} more runs", "dim"))
    return Group(*lines, *(Text(sentence) for sentence in sentences(replication)))


def sentences(replication: Replication) -> list[str]:
    """The result in plain words."""
    unstable, runs = replication.stable.count(False), len(replication.stable)
    said = []
    if replication.sustained:
        estimate = replication.estimates[NAMES.index("p95")]
        if isfinite(estimate.value):
            said.append(f"95 % of the frames arrive within {units.format_time(estimate.value)}{_interval(estimate)}.")
        if unstable:
            said.append(
                f"Warning: in {unstable} of {runs} runs the load exceeds what the link carries, and latencies grow "
                "with the number of frames."
            )
        said += _by_deadline(replication)
    else:
        said.append(
            "Unstable: the load exceeds what the link carries, so that latencies grow with the number of frames; no "
            "average of them means anything. Send fewer or smaller frames, or take a faster link."
        )
    never = float(np.mean(np.isinf(replication.latency_s)))
    if never:
        said.append(
            f"{units.format_fraction(_rounded(never))} of the frames never arrive: so many packets are lost that their "
            "connection is given up."
        )
    if replication.transport.startswith("udp"):
        said.append(
            f"{units.format_fraction(_rounded(replication.lossy_frames))} of the frames have gaps when they are used; "
            f"on average {units.format_fraction(_rounded(replication.missing_bytes))} of a frame's bytes are missing."
        )
    responses = replication.response_s[np.isfinite(replication.response_s)]
    if replication.sustained and replication.workload.response_bytes and len(responses):
        within = units.format_time(float(np.quantile(responses, 0.95)))
        said.append(f"95 % of the responses are back within {within} of their frame's due time.")
    return said


def _by_deadline(replication: Replication) -> list[str]:
    """What a deadline that the user set comes to."""
    deadline = replication.workload.deadline_s
    if deadline is None:
        return []
    whole = np.array([[not ranges for ranges in run.erased] for run in replication.deliveries])
    # a frame that arrives in the very moment of its deadline is in time, whatever its last bit was rounded to
    share = float(np.mean(whole & (replication.latency_s <= deadline + 1e-9)))
    return [f"{units.format_fraction(_rounded(share))} of the frames are whole within {units.format_time(deadline)}."]


def _interval(estimate: Estimate) -> str:
    if isfinite(estimate.low) and isfinite(estimate.high):
        return f" (95 % interval: {_end(estimate.low)} to {_end(estimate.high)})"
    if isfinite(estimate.low):
        return f" (95 % interval: {_end(estimate.low)} or more; too few frames for an upper end)"
    return " (too few frames for an interval)"


def _end(value: float) -> str:
    """An interval's end; no latency is below 0."""
    return units.format_time(max(value, 0.0)) if isfinite(value) else "?"


def _rounded(share: float) -> float:
    return float(f"{share:.3g}")


def simulation_json(replication: Replication, engine: str = "native") -> bytes:
    """All numbers, SI units; lists have one entry a replication."""
    link, workload = replication.link, replication.workload
    sustained = replication.sustained
    quantiles = dict(zip(NAMES, replication.quantiles_s.T, strict=True))
    estimates = dict(zip(NAMES, replication.estimates, strict=True))
    runs = replication.deliveries
    values: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "splitimpera_version": __version__,
        "engine": engine,
        "transport": replication.transport,
        "seed": replication.seed,
        "replications": len(runs),
        "link": asdict(link) | {"trace": None if link.trace is None else link.trace.name},
        "workload": workload.plain(),
        "sustained": sustained,
        "stable": list(replication.stable),
        **{f"{name}_s": [_finite(value) for value in numbers.tolist()] for name, numbers in quantiles.items()},
        # of latencies that grow with the number of frames no mean is given
        **{f"{name}_mean_s": _finite(estimate.value) if sustained else None for name, estimate in estimates.items()},
        **{
            f"{name}_ci_s": [_finite(estimate.low), _finite(estimate.high)] if sustained else None
            for name, estimate in estimates.items()
        },
        "packets": [int(run.packets.sum()) for run in runs],
        "lost_packets": [int(run.lost_packets.sum()) for run in runs],
        "retransmissions": [int(run.retransmissions.sum()) for run in runs],
        "wire_bytes": [int(run.wire_bytes.sum()) for run in runs],
        "lost_frames": [int((~run.arrived).sum()) for run in runs],
        "lossy_frames": replication.lossy_frames,
        "missing_bytes": replication.missing_bytes,
        "latency_s": [[_finite(value) for value in run] for run in replication.latency_s.tolist()],
        "response_s": [[_finite(value) for value in run] for run in replication.response_s.tolist()]
        if workload.response_bytes
        else None,
    }
    return (json.dumps(values, allow_nan=False) + "\n").encode()


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None


def latency_png(replication: Replication) -> bytes:
    """The distribution of the latency, of each run and of all; over time where the link cannot carry the load."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, PercentFormatter

    figure = Figure(figsize=(10, 5), layout="constrained")
    axes = figure.add_subplot()
    drawn = replication.latency_s[:CURVES_DRAWN]
    if replication.sustained:
        for i, run in enumerate(drawn):
            axes.step(*_shares(run), where="post", linewidth=0.8, alpha=0.6, label=f"run {i}")
        pooled = replication.latency_s.ravel()
        axes.step(*_shares(pooled), where="post", linewidth=2, color="black", label="all runs")
        if pooled.min() > 0 and pooled.max() > 20 * pooled.min():
            axes.set_xscale("log")
        axes.axhline(0.95, linestyle="--", linewidth=1, color="0.5")
        axes.xaxis.set_major_formatter(EngFormatter("s"))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_xlabel("latency")
        axes.set_ylabel("frames that have arrived")
    else:
        due_s = replication.workload.all_frames().ready_s
        for i, run in enumerate(drawn):
            axes.plot(due_s, run, linewidth=0.8, label=f"run {i}")
        axes.set_title("The load exceeds what the link carries: latency grows with the number of frames")
        axes.xaxis.set_major_formatter(EngFormatter("s"))
        axes.yaxis.set_major_formatter(EngFormatter("s"))
        axes.set_xlabel("when the frame is due")
        axes.set_ylabel("latency")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", frameon=False)
    return png(figure)


def _shares(samples: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The steps of an empirical distribution."""
    ordered = np.sort(samples)
    return np.concatenate([ordered[:1], ordered]), np.arange(len(ordered) + 1) / len(ordered)
