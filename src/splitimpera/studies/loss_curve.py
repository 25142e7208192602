"""Quality against packet loss: the same plan over the same link with other loss rates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from splitimpera.core import units
from splitimpera.core.array_types import FloatArray, IntArray
from splitimpera.core.statistics import drawn, ends
from splitimpera.evaluation.chance import Draws
from splitimpera.evaluation.vectors import mean_of, minus, plus, weighted
from splitimpera.qos.verdict import Verdict
from splitimpera.records.link import Link
from splitimpera.records.outcome import Evaluation
from splitimpera.records.plan import Plan
from splitimpera.records.requirement import METRICS
from splitimpera.records.traffic import Workload
from splitimpera.tasks.quality import Matrix, total

MOST_CURVES = 6
LOSSES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7)


@dataclass(frozen=True, eq=False)
class LossCurve:
    """Quality of a plan at each loss rate.

    Attributes:
        low, high: 95 % intervals over samples.
    """

    plan: Plan
    loss: FloatArray
    quality: FloatArray
    low: FloatArray
    high: FloatArray


def quality_against_loss(
    plan: Plan, workload: Workload, trial: Callable[[Plan, Workload], Evaluation], losses: Sequence[float] = LOSSES
) -> LossCurve:
    """Evaluate a plan with all its links at each of some loss rates; bursts keep their length.

    The link drops packets as it is simulated to, so that what is lost together in a burst hurts as it does there.
    """
    found = []
    for loss in losses:
        hops = tuple(replace(hop, link=with_loss(hop.link, loss)) for hop in plan.hops)
        found.append(trial(replace(plan, hops=hops), workload))
    intervals = [Draws(evaluation).interval(evaluation.quality_metric) for evaluation in found]
    low, high = np.array(intervals).T
    return LossCurve(plan, np.array(losses), np.array([evaluation.quality for evaluation in found]), low, high)


def curve_through(
    plan: Plan, intact: Matrix, rows: IntArray, found: Sequence[Evaluation], losses: Sequence[float] = LOSSES
) -> LossCurve:
    """The curve of what a loss costs on some samples, taken from what all come to without any.

    Args:
        intact: what each sample contributes to the quality, nothing lost, vectors (samples, m).
        rows: the samples on which losses were tried, shape (some,).
        found: their evaluations, one a loss.
    """
    samples = intact.shape[0]
    of_all, of_some = drawn(samples, 1), drawn(len(rows), 3)
    points = []
    for evaluation in found:
        assert evaluation.contributions is not None
        assert evaluation.summarise is not None
        value = evaluation.summarise
        cost = minus(mean_of(evaluation.contributions), intact[rows]) * (samples / len(rows))
        quality = float(np.squeeze(value(plus(total(intact), total(cost)))))
        low, high = ends(np.asarray(value(plus(weighted(of_all, intact), weighted(of_some, cost)))))
        points.append((quality, min(low, quality), max(high, quality)))
    most = 1.0 if METRICS[found[0].quality_metric].dimension is units.FRACTION else None
    quality_at, low_at, high_at = np.clip(np.array(points).T, 0.0, most)
    return LossCurve(plan, np.array(losses[: len(found)]), quality_at, low_at, high_at)


def with_loss(link: Link, loss: float) -> Link:
    """The same link with another loss; bursts get longer where such a loss needs it, replayed drops give way."""
    burst = link.loss_burst and max(link.loss_burst, loss / (1 - loss))
    trace = link.trace and replace(link.trace, loss=())
    return replace(link, loss=loss, loss_burst=burst, drops=None, trace=trace)


def worth_a_curve(verdicts: Sequence[Verdict], most: int = MOST_CURVES) -> list[Plan]:
    """The best plans that lose values with packets: over UDP, stable, of each configuration and codec one."""
    chosen: dict[tuple[object, ...], Plan] = {}
    for verdict in verdicts:
        plan = verdict.evaluation.plan
        if not verdict.evaluation.stable or not any(hop.transport.startswith("udp") for hop in plan.hops):
            continue
        codings = tuple((hop.codec, hop.bottleneck) for hop in plan.hops)
        chosen.setdefault((plan.configuration, codings), plan)
    return list(chosen.values())[:most]
