"""A plan's timeline run anew, with what is known of its predictions: no network is run.

What touches time alone, the link's rate and delay, the machines' speed, the frames a second, the number of senders,
changes which frames are late, dropped or damaged, and not what a prediction is worth. Frames that other packets damage
than were evaluated count as the curve over their share of missing bytes says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from splitimpera.core.array_types import FloatArray, IntArray
from splitimpera.evaluation.costing import plan_costs
from splitimpera.evaluation.damage import survives
from splitimpera.evaluation.remembered import Remembered
from splitimpera.evaluation.run import frames_for, summary, with_worth
from splitimpera.evaluation.testbed import Testbed, coding_of
from splitimpera.evaluation.timeline import Timeline, timeline
from splitimpera.evaluation.values import Known, Worth
from splitimpera.evaluation.vectors import Bools, added, either, means_of_samples
from splitimpera.records.measurements import Measurements
from splitimpera.records.outcome import Evaluation
from splitimpera.records.plan import Plan


def timeline_alone(
    plan: Plan,
    testbed: Testbed,
    measurements: Measurements,
    rng: np.random.Generator,
    replications: int = 1,
    *,
    sizes: Sequence[IntArray] | None = None,
    workers: int = 1,
) -> Evaluation:
    """A plan's evaluation without its quality.

    Args:
        sizes: bytes of the payloads at each hop, sample by sample; None: those of a few samples, again and again.
    """
    found = _timeline(plan, testbed, measurements, rng, replications, sizes, workers)
    return summary(found, None, testbed, intervals=True)


def replay(
    plan: Plan,
    testbed: Testbed,
    measurements: Measurements,
    known: Known,
    rng: np.random.Generator,
    replications: int = 1,
    *,
    workers: int = 1,
    intervals: bool = False,
    needless: Callable[[Evaluation], bool] | None = None,
    remembered: Remembered | None = None,
) -> Evaluation:
    """A plan as `run.evaluate` would find it, with what is known of its predictions.

    Args:
        plan: one with the codecs and cuts of the plan that was evaluated; its links and devices may be others, and so
            may the testbed's workload.
        known: what was computed of that plan's frames.
        needless: whether nobody asks for the quality, given all else.
        remembered: what links did in the replays before.
    """
    found = _timeline(plan, testbed, measurements, rng, replications, known.sizes, workers, remembered)
    alone = summary(found, None, testbed, intervals)
    if needless is not None and needless(alone):
        return alone
    alive, missing = _arrived(found, plan, testbed, known)
    return with_worth(alone, _worth(found, known, alive, missing), testbed.task.quality, intervals)


def resimulated(
    before: Evaluation,
    testbed: Testbed,
    measurements: Measurements,
    known: Known,
    rng: np.random.Generator,
    replications: int,
    *,
    workers: int = 1,
) -> Evaluation:
    """An evaluation whose links are simulated more often; its quality stays, for that is the samples'."""
    found = _timeline(before.plan, testbed, measurements, rng, replications, known.sizes, workers)
    alive, missing = _arrived(found, before.plan, testbed, known)
    worth = _worth(found, known, alive, missing)
    if before.contributions is not None and before.loss_patterns is not None:
        late = bool((alive & ~found.on_time).any())
        on_time = worth.on_time if late else before.contributions
        worth = Worth(before.contributions, on_time, before.loss_patterns, known)
    return with_worth(summary(found, None, testbed, intervals=False), worth, testbed.task.quality, intervals=True)


def _timeline(
    plan: Plan,
    testbed: Testbed,
    measurements: Measurements,
    rng: np.random.Generator,
    replications: int,
    sizes: Sequence[IntArray] | None,
    workers: int,
    remembered: Remembered | None = None,
) -> Timeline:
    workload = frames_for(testbed.workload, len(testbed.samples("validation")))
    provisional = [testbed.provisional(coding_of(hop)) for hop in plan.hops]
    return timeline(
        plan,
        workload,
        plan_costs(plan, testbed, measurements),
        [one.sizes for one in provisional] if sizes is None else sizes,
        [one.element_bytes for one in provisional],
        rng,
        replications,
        workers,
        remembered,
    )


def _arrived(found: Timeline, plan: Plan, testbed: Testbed, known: Known) -> tuple[Bools, FloatArray]:
    """Which frames can be decoded, and which share of them is missing, shape (replications, frames)."""
    alive = found.alive.copy()
    left: FloatArray = np.ones(alive.shape)
    for hop, sizes, sent in zip(plan.hops, known.sizes, found.sent, strict=True):
        codec = testbed.codec(*coding_of(hop))
        repairs = hasattr(codec, "survives")
        for replication, run in enumerate(sent):
            hurt = np.flatnonzero(run.deliveries.missing_bytes)
            frames, lost = run.order[hurt], run.deliveries.missing_bytes[hurt]
            size = np.maximum(sizes[frames % len(sizes)], 1)
            whole = (
                np.array(
                    [
                        survives(codec, of_frame, run.deliveries.erased[place])
                        for of_frame, place in zip(size.tolist(), hurt.tolist(), strict=True)
                    ],
                    dtype=bool,
                )
                if repairs
                else np.full(len(hurt), codec.tolerates_loss)
            )
            alive[replication, frames] &= whole
            left[replication, frames[whole]] *= 1 - lost[whole] / size[whole]
    return alive, 1 - left


def _worth(found: Timeline, known: Known, alive: Bools, missing: FloatArray) -> Worth:
    samples = known.intact.shape[0]
    shown = np.arange(missing.shape[1]) % samples
    whole, runs = known.intact[shown], []
    for of_run in missing:
        damaged = np.flatnonzero(of_run > 0)
        runs.append(added(known.intact[shown], damaged, known.damage.at(of_run[damaged])) if len(damaged) else whole)

    def means(right: Bools) -> Any:
        lost = known.lost[shown]
        return means_of_samples([either(of_run, run, lost) for of_run, run in zip(right, runs, strict=True)], samples)

    return Worth(means(alive), means(alive & found.on_time), None, known)
