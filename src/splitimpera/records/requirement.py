"""Requirements as people write them: "accuracy >= 0.97", "latency_p95 <= 50 ms", "cut_depth >= 1 layer".

Each metric has one better direction, and a limit may only be set against it. A plan that is fast, right and sparing
enough would meet any limits on different metrics together; whether there is one, evaluations tell. What contradicts
itself on paper is only what `check_consistent` looks for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from itertools import combinations

from splitimpera.core import units
from splitimpera.core.errors import RequirementError, UnitError, shown
from splitimpera.core.registry import nearest
from splitimpera.tasks.qualities import QUALITIES as QUALITIES
from splitimpera.tasks.qualities import Metric as Metric
from splitimpera.tasks.qualities import title_of as title_of


def _format_layers(value: float) -> str:
    return "1 layer" if value == 1 else f"{value:.4g} layers"


BALANCED = "balanced"
"""The objective that weighs all requirements: the largest smallest margin."""

TOLERANCE = 0.01
"""Within which share of the limit values are the same that chance does not touch."""

_LAYERS = units.Dimension("a number of layers", {"layers": 1.0, "layer": 1.0, "": 1.0}, "3 layers", bare=True)
_TOKENS = units.Dimension("a rate of tokens", {"tokens/s": 1.0, "token/s": 1.0, "/s": 1.0}, "20 tokens/s", bare=True)
_LATENCY = Metric(units.TIME, "lower", units.format_time)
_LOST = Metric(units.FRACTION, "lower", units.format_fraction)
_OTHERS: dict[str, Metric] = {
    "latency_mean": _LATENCY,
    "latency_p50": _LATENCY,
    "latency_p95": _LATENCY,
    "latency_p99": _LATENCY,
    "latency_max": _LATENCY,
    "fps": Metric(units.FREQUENCY, "higher", lambda value: f"{value:.4g} fps"),
    "payload_bytes": Metric(units.SIZE, "lower", units.format_bytes),
    "lost_packet_rate": _LOST,
    "dropped_frames": _LOST,
    "energy": Metric(units.ENERGY, "lower", units.format_energy),
    "device_memory": Metric(units.SIZE, "lower", units.format_bytes),
    "cut_depth": Metric(_LAYERS, "higher", _format_layers),
    # of language models: to the first token, for each further one
    "ttft": _LATENCY,
    "ttft_p95": _LATENCY,
    "tpot": _LATENCY,
    "tpot_p95": _LATENCY,
    "tokens_per_s": Metric(_TOKENS, "higher", lambda value: f"{value:.4g} tokens/s"),
    "token_energy": Metric(units.ENERGY, "lower", units.format_energy),
}


TOKEN_METRICS = frozenset({"ttft", "ttft_p95", "tpot", "tpot_p95", "tokens_per_s", "token_energy"})
"""Of requests to a language model."""


class _Metrics(Mapping[str, Metric]):
    """All that requirements may speak of: the tasks' qualities, the same in time, and what does not depend on them."""

    def __getitem__(self, name: str) -> Metric:
        quality = quality_of(name)
        return QUALITIES[quality] if quality else _OTHERS[name]

    def __iter__(self) -> Iterator[str]:
        for quality in QUALITIES:
            yield from (quality, f"on_time_{quality}")
        yield from _OTHERS

    def __len__(self) -> int:
        return 2 * len(QUALITIES) + len(_OTHERS)


METRICS: Mapping[str, Metric] = _Metrics()

SMALLEST_LIMIT, LARGEST_LIMIT = 1e-15, 1e15
LARGEST_WEIGHT = 1e6
LONGEST_TEXT = 200

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
    def hard(self) -> bool:
        return self.weight is None

    @property
    def upper(self) -> bool:
        """True where the value must stay at or below the limit."""
        return METRICS[self.metric].better == "lower"

    def margin(self, value: float) -> float:
        """By how much `value` meets the limit, as a share of the limit; negative where it misses.

        Minus infinity where the value is not a finite number.
        """
        if not math.isfinite(value):
            return -math.inf
        distance = self.limit - value if self.upper else value - self.limit
        return distance / self.limit

    def met(self, value: float) -> bool:
        """What is not a finite number meets no limit."""
        return math.isfinite(value) and (value <= self.limit if self.upper else value >= self.limit)

    def relaxed(self, value: float) -> str | None:
        """The requirement as it would have to read for `value` to meet it, in four digits rounded to the safe side.

        None where no limit could be written that the value meets: it is infinite, or beyond what a limit may be.
        """
        dimension = METRICS[self.metric].dimension
        if dimension is _LAYERS:
            value //= 1
        most = 1.0 if dimension is units.FRACTION else LARGEST_LIMIT / 2
        if not 2 * SMALLEST_LIMIT < value <= most:  # rounding must not lead beyond
            return None
        sign = "<=" if self.upper else ">="
        context = Context(prec=4, rounding=ROUND_CEILING if self.upper else ROUND_FLOOR)
        limit = context.create_decimal(repr(float(value)))
        while True:
            text = f"{self.metric} {sign} {METRICS[self.metric].format(float(limit))}"
            if parse_requirement(text).met(value):
                return text
            # reading the text again rounds once more, rarely to the other side
            limit = context.next_plus(limit) if self.upper else context.next_minus(limit)


def parse_requirement(text: object, weight: float | None = None) -> Requirement:
    """Read one requirement, a soft one where `weight` is given.

    Raises:
        RequirementError: it is no comparison, the metric is unknown, the direction makes no sense, the limit is not
            positive (a margin is a share of the limit) or out of range, or the weight is.
    """
    match = _EXPRESSION.fullmatch(text) if isinstance(text, str) and len(text) <= LONGEST_TEXT else None
    if match is None:
        said = f"'{shown(text)}'" if isinstance(text, str) else shown(text)
        raise RequirementError(f"{said} is not a requirement", hint="write for example 'latency_p95 <= 50 ms'")
    text = " ".join(match[0].split())
    name, sign, value = match.groups()
    metric = METRICS.get(name)
    if metric is None:
        raise RequirementError(f"'{shown(text)}' names no known metric", hint=nearest(name, METRICS))
    wanted = ">=" if metric.better == "higher" else "<="
    if sign != wanted:
        raise RequirementError(
            f"'{shown(text)}' compares with '{sign}', but {metric.better} {name} is better",
            hint=f"write '{name} {wanted} ...'",
        )
    try:
        limit = units.parse(value, metric.dimension)
    except UnitError as error:
        raise RequirementError(f"'{shown(text)}': {error.problem}", hint=error.hint) from None
    if limit <= 0:
        hint = "leave it out if anything will do"
        if metric.better == "lower":
            hint = f"write the most that you would bear, such as '{metric.dimension.example}'"
        raise RequirementError(f"'{shown(text)}' has a limit that is not above 0", hint=hint)
    if not SMALLEST_LIMIT <= limit <= LARGEST_LIMIT:
        raise RequirementError(
            f"'{shown(text)}' has a limit out of range, it must be at least {SMALLEST_LIMIT:g} and at most "
            f"{LARGEST_LIMIT:g} (in SI units)"
        )
    if metric.dimension is units.FRACTION and limit > 1:
        raise RequirementError(f"'{shown(text)}' has a limit above 1", hint=f"write '{limit:g} %' for per cent")
    if metric.dimension is _LAYERS and limit != int(limit):
        hint = f"write '{name} >= {math.ceil(limit)}'"
        raise RequirementError(f"'{shown(text)}' is not a whole number of layers", hint=hint)
    if weight is not None and not 0 < weight <= LARGEST_WEIGHT:
        raise RequirementError(
            f"'{shown(text)}' has a weight of {shown(weight)}, it must be above 0 and at most {LARGEST_WEIGHT:g}"
        )
    return Requirement(name, limit, text, weight)


def check_consistent(requirements: Iterable[Requirement]) -> None:
    """Refuse requirements of which two cannot stand together.

    These are two hard limits on one metric, of which one never counts; a soft limit that each plan that meets a hard
    one meets as well; the same soft limit twice; and two qualities, since a task is judged by one.

    Raises:
        RequirementError: names the two.
    """
    for first, second in combinations(requirements, 2):
        if first.metric == second.metric:
            _check_same_metric(first, second)
        qualities = [quality_of(requirement.metric) for requirement in (first, second)]
        if None not in qualities and qualities[0] != qualities[1]:
            raise RequirementError(
                f"'{first.text}' and '{second.text}' contradict each other: a design is judged by one of "
                f"{qualities[0]} and {qualities[1]}",
                hint="keep the one that the network's outputs are judged by",
            )


def _check_same_metric(first: Requirement, second: Requirement) -> None:
    same = first.limit == second.limit
    stricter, other = (second, first) if first.met(second.limit) else (first, second)
    both = f"'{first.text}' and '{second.text}'"
    if first.hard and second.hard:
        if same:
            raise RequirementError(f"{both} say the same twice", hint="remove one")
        raise RequirementError(
            f"{both} both limit {first.metric}, and '{other.text}' never counts", hint=f"keep '{stricter.text}'"
        )
    if first.weight is not None and second.weight is not None:
        # two soft limits of different height are a penalty that grows in steps
        if same:
            total = first.weight + second.weight
            raise RequirementError(f"{both} prefer the same twice", hint=f"keep one, with a weight of {total:g}")
        return
    hard, soft = (first, second) if first.hard else (second, first)
    if same or stricter is hard:
        raise RequirementError(
            f"{both} both limit {first.metric}: what is preferred is no more than what is required anyway",
            hint=f"prefer a stricter limit than '{hard.text}', or remove '{soft.text}'",
        )


def quality_of(metric: str) -> str | None:
    """Which of the tasks' qualities a metric speaks of, None where of none."""
    quality = metric.removeprefix("on_time_")
    return quality if quality in QUALITIES else None


def check_objective(objective: str, available: Iterable[str], why: Mapping[str, str] | None = None) -> None:
    """Refuse an objective that is neither "balanced" nor one of the metrics that evaluations yield.

    Args:
        why: What to do to have a metric that may be missing, by its name.

    Raises:
        RequirementError: names what is missing, or the nearest metric.
    """
    known = [BALANCED, *available]
    if objective not in known:
        problem = "cannot be measured here" if objective in METRICS else "is no metric"
        hint = (why or {}).get(objective) or nearest(objective, known)
        raise RequirementError(f"'{shown(objective)}' {problem}", where="objective", hint=hint)


def check_metrics(
    requirements: Sequence[Requirement], available: Iterable[str], why: Mapping[str, str] | None = None
) -> None:
    """Refuse a requirement on a metric that this task does not have.

    Args:
        available: the metrics that evaluations of this task yield.
        why: What to do to have a metric that may be missing, by its name ("give devices[0].power").

    Raises:
        RequirementError: names the requirement, what is missing for it, or the nearest metric.
    """
    known = list(available)
    for requirement in requirements:
        metric = requirement.metric
        if metric in known:
            continue
        own = next((name for name in known if name in QUALITIES), None)
        if why and metric in why:
            hint = why[metric]
        elif quality_of(metric) and own:
            wanted = metric.removesuffix(str(quality_of(metric))) + own
            sign = ">=" if METRICS[own].better == "higher" else "<="
            hint = f"its predictions are judged by {own}; write '{wanted} {sign} ...'"
        else:
            hint = nearest(metric, known)
        raise RequirementError(f"'{shown(requirement.text)}': this task has no {metric}", hint=hint)
