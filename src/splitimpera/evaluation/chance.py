"""What chance may do to the metrics of evaluations, and whether a difference of two is more than chance.

Two plans are compared paired, on the same samples and replications: right-or-wrong predictions without loss by the
exact McNemar test, all else by a bootstrap over samples, replications, and blocks of frames within them. What chance
does not touch is the same within a tolerance.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from splitimpera.core.array_types import FloatArray
from splitimpera.core.statistics import LEVEL, Interval, LatencyDraws, ends, mcnemar_p, mean_draws
from splitimpera.evaluation.vectors import draws
from splitimpera.records.outcome import Evaluation
from splitimpera.records.requirement import TOLERANCE, Requirement

_PERCENTILES = {"latency_p50": 0.5, "latency_p95": 0.95, "latency_p99": 0.99, "ttft_p95": 0.95, "tpot_p95": 0.95}
_OF_TOKENS = {"ttft": "ttft_s", "ttft_p95": "ttft_s", "tpot": "tpot_s", "tpot_p95": "gaps_s"}
"""Which array of a `TokenOutcome` a metric is of."""


class Draws:
    """Bootstrap draws of an evaluation's metrics, each computed when it is first asked for."""

    def __init__(self, evaluation: Evaluation) -> None:
        self.evaluation = evaluation
        self.values: Mapping[str, float] = evaluation.metrics()
        self.of_replications: Mapping[str, FloatArray] = evaluation.of_replications
        if evaluation.tokens is not None:
            self.of_replications = {**self.of_replications, "tokens_per_s": evaluation.tokens.tokens_per_s}
        self._found: dict[str, FloatArray | None] = {}
        self._drawing: dict[str, LatencyDraws | None] = {}

    def of(self, metric: str) -> FloatArray | None:
        """Draws, shape (draws,); None for a metric that chance does not touch."""
        if metric not in self._found:
            self._found[metric] = self._drawn(metric)
        return self._found[metric]

    def intervals(self) -> dict[str, Interval]:
        """The 95 % interval of each metric that chance may touch; a point where it does not.

        A percentile that was interpolated may lie beside the frames' own values; its interval holds it all the same.
        """
        evaluation = self.evaluation
        touched = [name for name in self.values if _timed(name) or name in self.of_replications]
        if evaluation.contributions is not None:
            touched += [evaluation.quality_metric, f"on_time_{evaluation.quality_metric}"]
        return {name: self._interval(name) for name in touched}

    def interval(self, metric: str) -> Interval:
        """The 95 % interval of one metric, the evaluation's own where it has one."""
        if metric not in self.evaluation.intervals:
            return self._interval(metric)
        return self.evaluation.intervals[metric]

    def ends_met(self, requirement: Requirement) -> tuple[bool, bool]:
        """Whether the low end and the high end of the metric's interval meet a requirement.

        Of percentiles of time, for which the interval itself takes far longer: it is counted in how many draws
        enough frames are within the limit.
        """
        metric, limit = requirement.metric, requirement.limit
        counted = requirement.upper and metric in _PERCENTILES and metric not in self.evaluation.intervals
        drawing = self._drawing_of(metric) if counted and metric not in self._found else None
        if drawing is None:
            low, high = self.interval(metric)
            return requirement.met(low), requirement.met(high)
        missed = (~drawing.within(_PERCENTILES[metric], limit)).astype(np.float64)
        low, high = ends(missed)  # the order of the draws by their values: those that miss are the largest
        value_met = requirement.met(self.values[metric])
        return not low or value_met, not high and value_met

    def _interval(self, metric: str) -> Interval:
        draws, value = self.of(metric), self.values.get(metric, np.nan)
        low, high = (value, value) if draws is None else ends(draws)
        return min(low, value), max(high, value)

    def outcomes(self, metric: str) -> FloatArray | None:
        """Whether each sample is right, 0 or 1, shape (samples,), where nothing but the samples is chance."""
        contributions = self._contributions(metric)
        if not isinstance(contributions, np.ndarray) or contributions.shape[2] != 2:
            return None
        if (contributions != contributions[:1]).any():
            return None
        right, counted = contributions[0].T
        return right if np.isin(right, (0.0, 1.0)).all() and (counted == 1).all() else None

    def _contributions(self, metric: str) -> Any:
        evaluation = self.evaluation
        if metric == evaluation.quality_metric:
            return evaluation.contributions
        return evaluation.on_time_contributions if metric == f"on_time_{evaluation.quality_metric}" else None

    def _drawn(self, metric: str) -> FloatArray | None:
        evaluation, contributions = self.evaluation, self._contributions(metric)
        if contributions is not None and evaluation.summarise is not None:
            return draws(contributions, evaluation.summarise)
        if metric in self.of_replications:
            values = self.of_replications[metric]
            return mean_draws(values) if np.ptp(values) else None
        return self._time(metric) if _timed(metric) else None

    def _time(self, metric: str) -> FloatArray | None:
        drawing = self._drawing_of(metric)
        if drawing is None:
            return None
        if metric in _PERCENTILES:
            return drawing.quantile(_PERCENTILES[metric])
        return drawing.maximum() if metric == "latency_max" else drawing.mean()

    def _drawing_of(self, metric: str) -> LatencyDraws | None:
        """Draws of the times that a metric is of; None where they are the same in all replications, or not known."""
        name = _OF_TOKENS.get(metric, "latency_s")
        if name not in self._drawing:
            outcome = self.evaluation.tokens if metric in _OF_TOKENS else self.evaluation
            times_s: FloatArray = np.zeros((1, 0)) if outcome is None else getattr(outcome, name)
            same = all(np.array_equal(run, times_s[0], equal_nan=True) for run in times_s[1:])
            self._drawing[name] = None if same else LatencyDraws(times_s)
        return self._drawing[name]


def _timed(metric: str) -> bool:
    """Whether a metric is a statistic of how long frames or tokens take."""
    return metric.startswith("latency_") or metric in _OF_TOKENS


@dataclass(frozen=True)
class Difference:
    """One plan's metric less another's.

    Attributes:
        interval: 95 %, paired; both the value itself where chance does not touch it.
        chance: whether chance touches it.
        tied: chance explains it, or it is within the tolerance.
    """

    value: float
    interval: Interval
    chance: bool
    tied: bool


class Chance:
    """The differences of some evaluations, each computed when it is first asked for.

    Args:
        tolerance: within which share of the limit values are the same that chance does not touch.
    """

    def __init__(self, evaluations: Iterable[Evaluation], tolerance: float = TOLERANCE) -> None:
        self.draws = [Draws(evaluation) for evaluation in evaluations]
        self.values = [draws.values for draws in self.draws]
        self.tolerance = tolerance
        self._found: dict[tuple[str, int, int], tuple[float, Interval, bool, bool]] = {}

    def reordered(self, places: Sequence[int]) -> Chance:
        """The same evaluations in another order; what was drawn is kept."""
        other = Chance((), self.tolerance)
        other.draws = [self.draws[place] for place in places]
        other.values = [draws.values for draws in other.draws]
        return other

    def touched(self, metric: str) -> list[int]:
        """The places of the evaluations whose metric chance touches."""
        return [place for place, draws in enumerate(self.draws) if draws.of(metric) is not None]

    def ties(self, metric: str) -> list[tuple[int, int]]:
        """The pairs of places, ascending, whose difference chance touches and explains."""
        touched = set(self.touched(metric))
        pairs = combinations(range(len(self.draws)), 2)
        return [pair for pair in pairs if touched & {*pair} and self.difference(metric, *pair).tied]

    def tied(self, metric: str, first: int, second: int, limit: float | None = None) -> bool:
        return self.difference(metric, first, second, limit).tied

    def difference(self, metric: str, first: int, second: int, limit: float | None = None) -> Difference:
        """The first's value less the second's.

        Args:
            limit: what the tolerance is a share of; None: the larger of the two values.
        """
        key = metric, first, second
        if key not in self._found:
            self._found[key] = self._compared(*key)
        value, interval, chance, explained = self._found[key]
        if chance:
            return Difference(value, interval, True, explained)
        values = [self.values[place].get(metric, np.nan) for place in (first, second)]
        span = max(abs(number) for number in values) if limit is None else limit
        same = values[0] == values[1] or bool(abs(value) <= self.tolerance * span < np.inf)
        return Difference(value, interval, False, same)

    def _compared(self, metric: str, first: int, second: int) -> tuple[float, Interval, bool, bool]:
        values = [self.values[place].get(metric, np.nan) for place in (first, second)]
        value = values[0] - values[1] if values[0] != values[1] else 0.0
        drawn = [self.draws[place].of(metric) for place in (first, second)]
        if drawn[0] is None and drawn[1] is None:
            return value, (value, value), False, False
        one_drawn, other_drawn = (np.asarray(values[place] if of is None else of) for place, of in enumerate(drawn))
        with np.errstate(invalid="ignore"):
            interval = ends(np.where(one_drawn == other_drawn, 0.0, one_drawn - other_drawn))
        one, other = (self.draws[place].outcomes(metric) for place in (first, second))
        if one is not None and other is not None and one.shape == other.shape:
            p = mcnemar_p(int((one > other).sum()), int((one < other).sum()))
            return value, interval, True, p > 1 - LEVEL
        return value, interval, True, bool(interval[0] <= 0 <= interval[1])
