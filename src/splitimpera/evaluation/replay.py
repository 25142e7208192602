"""A plan's timeline run anew, with what is known of its predictions: no network is run.

What touches time alone, the link's rate and delay, the machines' speed, the frames a second, the number of senders,
changes which frames are late, dropped or damaged, and not what a prediction is worth. Frames that other packets damage
than were evaluated count as the curve over their share of missing bytes says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from splitimpera.core.array_types import FloatArray, IntArray
from splitimpera.evaluation.costing import plan_costs
from splitimpera.evaluation.damage import survives
from splitimpera.evaluation.remembered import Remembered
from splitimpera.evaluation.run import frames_for, summary, with_worth
from splitimpera.evaluation.testbed import Part, Testbed, route_of
from splitimpera.evaluation.timeline import Timeline, timeline
from splitimpera.evaluation.token_timeline import TokenTimeline
from splitimpera.evaluation.values import Asking, Known, Values, Worth
from splitimpera.evaluation.vectors import Bools, added, either, means_of_samples, stacked, values_of_groups
from splitimpera.records.exits import GOES_ON
from splitimpera.records.measurements import Measurements
from splitimpera.records.outcome import Evaluation
from splitimpera.records.plan import Plan
from splitimpera.tasks.quality import Matrix, Quality


def timeline_alone(
    plan: Plan,
    testbed: Testbed,
    measurements: Measurements,
    rng: np.random.Generator,
    replications: int = 1,
    *,
    sizes: Sequence[IntArray] | None = None,
    leaving: Sequence[IntArray | None] = (),
    workers: int = 1,
    intervals: bool = True,
) -> Evaluation:
    """A plan's evaluation without its quality.

    Args:
        sizes: bytes of the payloads at each hop, sample by sample; None: those of a few samples, again and again.
        leaving: At which of each device's early exits each sample leaves, as `left_early` finds it.
    """
    found = _timeline(plan, testbed, measurements, rng, replications, sizes, workers, leaving=leaving)
    return summary(found, None, testbed, intervals)


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
    sizes, leaving = known.sizes, known.leaving
    found = _timeline(plan, testbed, measurements, rng, replications, sizes, workers, remembered, leaving)
    alone = summary(found, None, testbed, intervals)
    if needless is not None and needless(alone):
        return alone
    alive, missing = _arrived(found, plan, testbed, known)
    quality = testbed.task.quality
    return with_worth(alone, _worth(found, known, alive, missing, quality), testbed.task, intervals)


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
    sizes, leaving = known.sizes, known.leaving
    found = _timeline(before.plan, testbed, measurements, rng, replications, sizes, workers, leaving=leaving)
    alive, missing = _arrived(found, before.plan, testbed, known)
    quality = testbed.task.quality
    worth = _worth(found, known, alive, missing, quality)
    if before.contributions is not None and before.loss_patterns is not None:
        had, had_on_time = found.in_hand
        late = bool((alive & ~found.on_time).any() or (had & ~had_on_time & ~alive).any())
        on_time = worth.on_time if late else before.contributions
        worth = replace(worth, contributions=before.contributions, on_time=on_time, rounds=before.loss_patterns)
    return with_worth(summary(found, None, testbed, intervals=False), worth, testbed.task, intervals=True)


def _timeline(
    plan: Plan,
    testbed: Testbed,
    measurements: Measurements,
    rng: np.random.Generator,
    replications: int,
    sizes: Sequence[IntArray] | None,
    workers: int,
    remembered: Remembered | None = None,
    leaving: Sequence[IntArray | None] = (),
) -> Timeline | TokenTimeline:
    workload = frames_for(testbed.workload, len(testbed.samples("validation")))
    provisional = [*map(testbed.provisional, route_of(plan.hops))]
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
        leaving,
    )


def _arrived(found: Timeline | TokenTimeline, plan: Plan, testbed: Testbed, known: Known) -> tuple[Bools, FloatArray]:
    """Which frames can be decoded, and which share of them is missing, shape (replications, frames)."""
    alive = found.alive.copy()
    left: FloatArray = np.ones(alive.shape)
    for coding, sizes, sent in zip(route_of(plan.hops), known.sizes, found.sent, strict=True):
        codec = testbed.codec(*coding)
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


def left_early(plan: Plan, testbed: Testbed, part: Part = "validation") -> Asking[tuple[IntArray | None, ...]]:
    """At which of each device's early exits each sample leaves, nothing lost, as timelines take it."""
    values = Values(plan, testbed, part, (1, len(testbed.samples(part))))
    found: list[IntArray | None] = []
    for place in range(len(plan.devices)):
        leaving = yield from values.leaving(place)
        found.append(None if leaving is None else leaving[0])
        if place < len(plan.hops):
            values.receive((), values.content, values.alive)
    return tuple(found)


def _worth(found: Timeline | TokenTimeline, known: Known, alive: Bools, missing: FloatArray, quality: Quality) -> Worth:
    if isinstance(found, TokenTimeline):  # whose quality is that of texts, whatever requests meet
        return Worth(stacked([known.intact]), stacked([known.intact]), None, known)
    samples = known.intact.shape[0]
    shown = np.arange(missing.shape[1]) % samples
    whole, runs = known.intact[shown], []
    for of_run in missing:
        damaged = np.flatnonzero(of_run > 0)
        runs.append(added(known.intact[shown], damaged, known.damage.at(of_run[damaged])) if len(damaged) else whole)

    def every(right: Bools, had: Bools) -> list[Matrix]:
        lost, stand_in = known.lost[shown], None if known.stand_in is None else known.stand_in[shown]
        others = [lost if stand_in is None else either(of_run, stand_in, lost) for of_run in had]
        return [either(of_run, run, other) for of_run, run, other in zip(right, runs, others, strict=True)]

    had, had_on_time = found.in_hand
    answered, in_time = every(alive, had), every(alive & found.on_time, had_on_time)
    of_exits: tuple[float, ...] = ()
    if exits := len(found.plan.exits):
        left_at = np.where(alive, found.left_at, GOES_ON)
        of_exits = values_of_groups(quality, answered, left_at, (*range(exits), GOES_ON))
    stood_in = float((had_on_time & ~(alive & found.on_time)).mean())
    contributions = means_of_samples(answered, samples)
    return Worth(contributions, means_of_samples(in_time, samples), None, known, of_exits, stood_in)
