"""How the numbers of a verification are written, in the terminal and on the page."""

from __future__ import annotations

from collections.abc import Callable

from splitimpera.core import units
from splitimpera.records.requirement import METRICS, title_of
from splitimpera.report.verified import Kind, QuantityEntry, RequirementCheck, Verification

WRITERS: dict[Kind, Callable[[float], str]] = {
    "time": units.format_time,
    "share": lambda value: f"{100 * value:.3g} %",
    "bytes": units.format_bytes,
    "rate": lambda value: f"{value:.4g} fps",
    "bit rate": units.format_rate,
    "count": lambda value: f"{value:.4g}",
}
TITLES = {
    "latency_p50": "latency p50",
    "latency_p95": "latency p95",
    "latency_p99": "latency p99",
    "payload_bytes": "payload",
    "packets": "packets a frame",
    "lost_packet_rate": "packets lost",
    "frames_lost": "frames lost",
    "dropped_frames": "frames dropped",
    "deadline_misses": "deadline misses",
    "stood_in": "stood in by an exit",
}
OUTCOMES = {
    "ok": "answered",
    "damaged": "answered, too damaged to use",
    "late": "given up, too late",
    "full": "dropped by the server",
    "failed": "failed",
    "stopping": "refused by a stopping server",
    "busy": "refused by a busy server",
    "unreachable": "given up in the middle of the way",
    "lost": "nothing came back",
    "stood-in": "answered by an early exit, for no response came in time",
    "dropped": "dropped by the device",
}


def value_text(value: float | None, kind: Kind) -> str:
    return "not known" if value is None else WRITERS[kind](value)


def interval_text(quantity: QuantityEntry) -> str:
    """The interval of what was measured."""
    if quantity.interval is None:
        return ""
    low, high = (WRITERS[quantity.kind](end) for end in quantity.interval)
    number, _, unit = low.partition(" ")
    return f"{number if high.endswith(f' {unit}') else low} to {high}"


def difference_text(quantity: QuantityEntry) -> str:
    """Measured less predicted: of shares in percentage points, else also as a share of the predicted value."""
    if quantity.predicted is None or quantity.measured is None:
        return ""
    difference = quantity.measured - quantity.predicted
    if quantity.kind == "share":
        return f"{signed(100 * difference, 2)} points"
    if quantity.kind == "time":
        return f"{signed(1e3 * difference, 2)} ms, {_relative(difference, quantity.predicted)}"
    return _relative(difference, quantity.predicted)


def signed(value: float, digits: int) -> str:
    """With its sign, which zero has not."""
    return f"{value:+.{digits}f}" if round(value, digits) else f"{0:.{digits}f}"


def _relative(difference: float, predicted: float) -> str:
    return f"{signed(100 * difference / predicted, 1)} %" if predicted else "from 0"


def agrees_text(agrees: bool | None) -> str:
    return {True: "yes", False: "no", None: ""}[agrees]


def title(name: str) -> str:
    return TITLES.get(name, title_of(name).replace("_", " "))


def part_ms(value_s: float | None) -> str:
    """Seconds of a part in milliseconds; no minus before a zero."""
    return "-" if value_s is None else f"{round(1e3 * value_s, 2) + 0.0:.2f}"


def measured_text(check: RequirementCheck) -> str:
    return "not measured" if check.measured is None else METRICS[check.requirement.metric].format(check.measured)


def predicted_text(check: RequirementCheck) -> str:
    return "not known" if check.predicted is None else METRICS[check.requirement.metric].format(check.predicted)


def met_text(check: RequirementCheck) -> str:
    return {True: "meets", False: "violates", None: check.note}[check.met]


def distance_text(verification: Verification) -> str:
    """How far the two distributions lie apart."""
    of = verification.distribution
    chance = f"replications of the simulation are up to {of.by_chance:.3f} from each other"
    return (
        f"The two distributions are {of.distance:.3f} apart (Kolmogorov-Smirnov distance: the largest difference of "
        f"the shares of frames that are answered within a time, with a tolerance of {of.tolerance}); {chance}."
    )


def outcomes_text(verification: Verification) -> str:
    """How the compared frames ended."""
    counts = verification.outcomes
    return ", ".join(f"{counts[name]} {words}" for name, words in OUTCOMES.items() if name in counts)
