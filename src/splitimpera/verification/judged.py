"""How good the responses of a run were, by the task's metric and the code that the design has for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import sqrt
from statistics import NormalDist
from typing import Any

import numpy as np

from splitimpera.bundle.task_entry import responding_of
from splitimpera.core.array_types import FloatArray
from splitimpera.core.errors import BundleError, DataError, shown
from splitimpera.core.statistics import LEVEL, Interval, wilson_interval
from splitimpera.deploy.frame_log import Counts, FrameLine, JudgedBy
from splitimpera.report.schema import PlanEntry, Results
from splitimpera.report.verified import QuantityEntry
from splitimpera.tasks.qualities import ACCURACY, QUALITIES
from splitimpera.tasks.quality import Quality, value_of
from splitimpera.verification.frame_times import Bools
from splitimpera.verification.measured import Measured
from splitimpera.verification.shares import LEVEL as SURE
from splitimpera.verification.shares import newcombe_same

LIMIT = "what chance explains at 99 %"
MOST_NUMBERS = 1 << 27
"""Of all frames of a comparison together."""
WIDER = NormalDist().inv_cdf((1 + SURE) / 2) / NormalDist().inv_cdf((1 + LEVEL) / 2)
"""How much wider an interval at the level of differences is than one of a value."""


def run_quality(results: Results, entry: PlanEntry, by: JudgedBy | None, found: Measured) -> QuantityEntry | None:
    """The quality of the run beside the predicted one; None where no target was known.

    Args:
        by: What the log's numbers are judged by; None: labels are all there is.

    Raises:
        DataError: the log's numbers are none of the design's metric.
    """
    if by is not None:
        return _judged(results, entry, by, found.lines)
    return _accuracy(results, entry, found.lines) if results.quality == ACCURACY else None


def on_time_quality(results: Results, by: JudgedBy | None, found: Measured, on_time: Bools) -> float | None:
    """The quality where responses that came too late count as none; arguments and errors as of `run_quality`."""
    if by is not None:
        quality = _quality(results, by)
        vectors = _vectors(quality, found.lines, on_time)
        return None if vectors is None else _value(quality, vectors)
    right = _right(found.lines, on_time) if results.quality == ACCURACY else None
    return None if right is None else float(right.mean())


def _accuracy(results: Results, entry: PlanEntry, lines: Sequence[FrameLine]) -> QuantityEntry | None:
    right = _right(lines)
    if right is None:
        return None
    predicted, share = _predicted(entry, ACCURACY, lines), float(right.mean())
    interval, agrees = wilson_interval(share, len(right), SURE), None
    if predicted is not None:
        agrees = newcombe_same(share, interval, predicted, wilson_interval(predicted, results.samples.validation, SURE))
    return QuantityEntry(
        name=ACCURACY,
        kind="share",
        predicted=predicted,
        measured=share,
        interval=list(interval),
        level=SURE,
        unit="samples",
        limit=LIMIT,
        agrees=agrees,
        note=_note(results, len(right)),
    )


def _note(results: Results, samples: int) -> str:
    return f"on the {samples} samples that were sent; predicted on {results.samples.validation} validation samples"


def _predicted(entry: PlanEntry, metric: str, lines: Sequence[FrameLine]) -> float | None:
    """What the design says of it: where exits' answers stood in, with these in place of late responses."""
    stood_in = any(line.outcome == "stood-in" for line in lines)
    return entry.metrics.get(f"on_time_{metric}" if stood_in else metric)


def _answered(line: FrameLine, among: Bools | None, place: int) -> bool:
    """Whether a frame has an answer; one that stood in was there in time."""
    return line.outcome == "stood-in" or (line.outcome == "ok" and (among is None or bool(among[place])))


def _right(lines: Sequence[FrameLine], among: Bools | None = None) -> FloatArray | None:
    """The share of right answers on each sample; on each frame where samples have no numbers; None without labels."""
    known = {place: line for place, line in enumerate(lines) if line.label is not None}
    right = [_answered(line, among, place) and line.predicted == line.label for place, line in known.items()]
    return _of_samples([*known.values()], right) if known else None


def _of_samples(lines: Sequence[FrameLine], which: Sequence[bool]) -> FloatArray:
    """The share of each sample's frames of which something is true; of frames that name no sample each by itself."""
    of_samples: dict[object, list[float]] = {}
    for place, (line, true) in enumerate(zip(lines, which, strict=True)):
        of_samples.setdefault(("frame", place) if line.sample is None else line.sample, []).append(float(true))
    return np.array([np.mean(values) for values in of_samples.values()])


def exit_rates(results: Results, entry: PlanEntry, found: Measured) -> Iterator[QuantityEntry]:
    """The share of frames that leave at each early exit, beside the design's."""
    samples = results.samples.validation
    for exit in entry.exits:
        left = [line.exit == exit.cut and line.outcome == "ok" for line in found.lines]
        of_samples = _of_samples(found.lines, left)
        share = float(of_samples.mean())
        interval = wilson_interval(share, len(of_samples), SURE)
        yield QuantityEntry(
            name=f"left_at_cut_{exit.cut}",
            kind="share",
            predicted=exit.share,
            measured=share,
            interval=list(interval),
            level=SURE,
            unit="samples",
            limit=LIMIT,
            agrees=newcombe_same(share, interval, exit.share, wilson_interval(exit.share, samples, SURE)),
            note=f"frames that leave early, behind {results.cut_names[exit.cut]}: {_note(results, len(of_samples))}",
        )


def _judged(results: Results, entry: PlanEntry, by: JudgedBy, lines: Sequence[FrameLine]) -> QuantityEntry | None:
    quality = _quality(results, by)
    vectors = _vectors(quality, lines, None)
    if vectors is None:
        return None
    samples, value = vectors.shape[0], _value(quality, vectors)
    interval, predicted = _checked(quality.interval, vectors), _predicted(entry, quality.name, lines)
    agrees = None
    if predicted is not None and entry.quality_ci is not None and np.isfinite([value, *interval]).all():
        agrees = _same(value, interval, predicted, (entry.quality_ci[0], entry.quality_ci[1]))
    return QuantityEntry(
        name=quality.name,
        kind="share" if QUALITIES[quality.name].better == "higher" else "count",
        predicted=predicted,
        measured=value if np.isfinite(value) else None,
        interval=list(interval) if np.isfinite(interval).all() else None,
        level=LEVEL,
        unit="samples",
        limit=LIMIT,
        agrees=agrees,
        note=_note(results, samples),
    )


def _quality(results: Results, by: JudgedBy) -> Quality:
    try:
        task = responding_of(by.task, by.result, by.inputs).task
    except BundleError as error:
        raise DataError(f"the log's task cannot be used: {error}") from None
    if task is None or task.quality.name != results.quality:
        raise DataError(
            f"the log's responses are judged by {shown(by.task.metric)}, the design's by {results.quality}",
            hint="name the results folder that the bundle was exported from",
        )
    return task.quality


def _vectors(quality: Quality, lines: Sequence[FrameLine], among: Bools | None) -> Any:
    """Each sample's mean over the frames that had it, (samples, m); of each frame where samples have no numbers."""
    from scipy.sparse import csr_array

    rows: list[Counts] = []
    sizes: set[int] = set()
    places: list[int] = []
    of_samples: dict[object, int] = {}
    for place, line in enumerate(lines):
        if line.counts_lost is None:
            continue
        sizes |= {line.counts_lost[0], *(() if line.counts is None else line.counts[:1])}
        answered = _answered(line, among, place)
        rows.append(line.counts if answered and line.counts is not None else line.counts_lost)
        key = ("frame", place) if line.sample is None else line.sample
        places.append(of_samples.setdefault(key, len(of_samples)))
    if not rows:
        return None
    if len(sizes) > 1:
        raise DataError("the log's frames have other numbers than each other", hint="was the log changed?")
    if len(rows) * max(sizes) > MOST_NUMBERS:
        raise DataError(
            f"the log's {len(rows)} frames have {max(sizes)} numbers each, more than {MOST_NUMBERS} in all",
            hint="give a part of it: the first line, and fewer frames",
        )
    frames = np.arange(len(rows))
    weights = 1 / np.bincount(places)[places]
    mean = csr_array((weights, (np.array(places), frames)), shape=(len(of_samples), len(rows)))
    return mean @ _checked(quality.vectors, _dense(rows))


def _dense(rows: Sequence[Counts]) -> FloatArray:
    size = rows[0][0]
    if any(place >= size for _, pairs in rows for place, _ in pairs):
        raise DataError(f"a frame has a number beyond the {size} that there are")
    dense = np.zeros((len(rows), size))
    for row, (_, pairs) in zip(dense, rows, strict=True):
        for place, number in pairs:
            row[place] = number
    return dense


def _checked(function: Any, *given: Any) -> Any:
    """What a quality makes of numbers that may be anybody's."""
    try:
        return function(*given)
    except (ValueError, IndexError, OverflowError) as failure:
        raise DataError(f"the log's numbers are none of this metric: {shown(failure, 200)}") from None


def _value(quality: Quality, vectors: Any) -> float:
    value: float = _checked(value_of, quality, vectors)
    return value


def _same(first: float, of_first: Interval, second: float, of_second: Interval) -> bool:
    """Whether two independent estimates may be the same, by their 95 % intervals, at the level of differences.

    Source: G. Y. Zou and A. Donner, "Construction of confidence limits about effect measures: a general approach",
    Statistics in Medicine 27 (2008): the square of the difference's interval is the sum of the squares of theirs.
    """
    high, low = (first, of_first), (second, of_second)
    if first < second:
        high, low = low, high
    below, above = high[0] - high[1][0], low[1][1] - low[0]
    return high[0] - low[0] <= WIDER * sqrt(max(below, 0.0) ** 2 + max(above, 0.0) ** 2)
