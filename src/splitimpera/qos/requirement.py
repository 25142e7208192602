"""Requirements as people write them: "accuracy >= 0.97", "latency_p95 <= 50 ms", "fps >= 20"."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from splitimpera import units
from splitimpera.errors import RequirementError, UnitError
from splitimpera.plugins import nearest


@dataclass(frozen=True)
class Metric:
    """A number that an evaluation yields: its dimension, which direction is better, how to write it."""

    dimension: units.Dimension
    better: Literal["higher", "lower"]
    format: Callable[[float], str]


_LATENCY = Metric(units.TIME, "lower", units.format_time)
METRICS: dict[str, Metric] = {
    "accuracy": Metric(units.FRACTION, "higher", units.format_fraction),
    "on_time_accuracy": Metric(units.FRACTION, "higher", units.format_fraction),
    "latency_mean": _LATENCY,
    "latency_p50": _LATENCY,
    "latency_p95": _LATENCY,
    "latency_p99": _LATENCY,
    "latency_max": _LATENCY,
    "fps": Metric(units.FREQUENCY, "higher", lambda value: f"{value:.4g} fps"),
    "payload_bytes": Metric(units.SIZE, "lower", units.format_bytes),
    "lost_packet_rate": Metric(units.FRACTION, "lower", units.format_fraction),
}

_EXPRESSION = re.compile(r"\s*([A-Za-z]\w*)\s*(>=|<=|==|>|<|=)\s*(.*?)\s*")


@dataclass(frozen=True)
class Requirement:
    """One limit on one metric, in SI units; `text` is how the user wrote it.

    `weight` is None for a hard requirement; a plan may miss a soft one, and pays by margin times weight.
    """

    metric: str
    limit: float
    text: str
    weight: float | None = None

    @property
    def upper(self) -> bool:
        """True where the value must stay at or below the limit."""
        return METRICS[self.metric].better == "lower"

    def margin(self, value: float) -> float:
        """By how much `value` meets the limit, as a share of the limit; negative where it misses."""
        distance = self.limit - value if self.upper else value - self.limit
        return distance / self.limit

    def met(self, value: float) -> bool:
        return value <= self.limit if self.upper else value >= self.limit

    def relaxed(self, value: float) -> str:
        """The requirement as it would have to read for `value` to meet it, rounded to the safe side."""
        sign = "<=" if self.upper else ">="
        return f"{self.metric} {sign} {METRICS[self.metric].format(value * (1.0005 if self.upper else 0.9995))}"


def parse_requirement(text: object, weight: float | None = None) -> Requirement:
    """Read one requirement.

    Raises:
        RequirementError: it is no comparison, the metric is unknown, the direction makes no sense,
            or the limit is not positive (a margin is a share of the limit) or out of the metric's range.
    """
    match = _EXPRESSION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise RequirementError(f"{text!r} is not a requirement", hint="write for example 'latency_p95 <= 50 ms'")
    name, sign, value = match.groups()
    metric = METRICS.get(name)
    if metric is None:
        raise RequirementError(f"'{text}' names no known metric", hint=nearest(name, METRICS))
    wanted = ">=" if metric.better == "higher" else "<="
    if sign != wanted:
        raise RequirementError(
            f"'{text}' compares with '{sign}', but {metric.better} {name} is better",
            hint=f"write '{name} {wanted} ...'",
        )
    try:
        limit = units.parse(value, metric.dimension)
    except UnitError as error:
        raise RequirementError(f"'{text}': {error.problem}", hint=error.hint) from None
    if limit <= 0:
        raise RequirementError(f"'{text}' has a limit that is not above 0", hint="leave it out if anything will do")
    if metric.dimension is units.FRACTION and limit > 1:
        raise RequirementError(f"'{text}' has a limit above 1", hint=f"write '{limit:g} %' for per cent")
    return Requirement(name, limit, " ".join(str(text).split()), weight)
