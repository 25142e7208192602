"""Where a design no longer fits what is measured, and since when: machines, link, payloads, how sure answers are.

Each thing is held to what the design predicted of it: further off than `FACTOR` and `LEAST_S`, than three quarters of
the simulated frames, and than three in five frames of the run are from their own median. So a quarter of the frames lie
beyond on either side by chance, at most, however they scatter, and `departures` finds where it is more. All that a
verification looks at raises a false alarm in one of a thousand, with frames that do not depend on each other; where
simulated ones do, their own sums say how much more it takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from splitimpera.core.array_types import FloatArray, IntArray
from splitimpera.core.units import format_time
from splitimpera.records.link import Link
from splitimpera.report.schema import PlanEntry
from splitimpera.report.verified import DriftEntry, Kind
from splitimpera.report.verified_words import WRITERS
from splitimpera.verification.departures import (
    OFTEN,
    USUAL,
    Departure,
    departures,
    highest,
    own_spread,
    threshold,
)
from splitimpera.verification.frame_times import Bools, of_hop
from splitimpera.verification.matching import Log
from splitimpera.verification.measured import Measured, first_packet_s, sent_bytes
from splitimpera.verification.predicted import Prediction, payload_of_sent

FACTOR = 1.2
LEAST_S = 0.5e-3
NEAR = 0.05
"""Within which share a simulated and a measured time are the same: many are, where times have steps."""
CHANCE = 0.001
"""Of a warning where nothing has changed, in a whole verification."""
FEWEST = 30
"""Frames of a log, below which nothing is said."""
FIRST, FIRST_SHARE = 100, 0.1
"""Frames by which a run's own start is known; below which share of them hardly a quarter of all frames lies."""
COUNTED_S = 1e-3
"""Frames that come in within less say nothing of the link's rate."""
RARE, MORE = 0.005, 0.05
NANO = 9
"""Digits of a second."""
TIMES_SIMULATED = 2.0
"""As large as any simulated replication's a sum has to be."""

Side = Literal["more", "less"]


@dataclass(frozen=True)
class _Thing:
    """What is watched, frame by frame.

    Attributes:
        predicted: As designed, in one number.
        values: Measured, shape (frames,); NaN where not known.
        limits: Beyond which frames count, on either side.
        simulated: Replications of the same, shape (replications, frames).
        said: A sentence with {ratio}, {measured} and {predicted}; `from_nothing`: where nothing was predicted.
    """

    key: str
    kind: Kind
    predicted: float
    values: FloatArray
    limits: dict[Side, float]
    simulated: FloatArray
    said: str
    from_nothing: str = ""
    usual: float = USUAL
    often: float = OFTEN
    mean: bool = False

    def beyond(self, side: Side, values: FloatArray) -> Bools:
        limit = self.limits[side]
        found: Bools = values > limit if side == "more" else values < limit
        return found


def drift(logs: Sequence[Log], found: Measured, prediction: Prediction, entry: PlanEntry) -> list[DriftEntry]:
    """Everything that no longer fits, in the order of the frames' way; what lasts until the end before what is over."""
    entries = []
    ends = [*found.starts[1:], len(found.lines)]
    for log, start, end in zip(logs, found.starts, ends, strict=True):
        if end - start < FEWEST:
            continue
        things = list(_things(found, slice(start, end), prediction, entry))
        chance = CHANCE / len(logs) / sum(len(thing.limits) for thing in things)
        where = f" of {log.path.name}" if len(logs) > 1 else ""
        for thing in things:
            entries += [_entry(thing, one, places, log, where) for one, places in _departed(thing, chance)]
    return sorted(entries, key=lambda one: one.until_frame is not None)


def _departed(thing: _Thing, chance: float) -> Iterator[tuple[Departure, IntArray]]:
    """The spans in which a thing has departed, and which of the log's compared frames are known of it."""
    known = np.flatnonzero(~np.isnan(thing.values))
    values = thing.values[known]
    odds = thing.usual, thing.often
    for side in thing.limits:
        runs = [run[~np.isnan(run)] for run in thing.simulated]
        simulated = max((highest(thing.beyond(side, run), *odds) for run in runs), default=0.0)
        alarm = max(threshold(len(values), chance), TIMES_SIMULATED * simulated)
        for one in departures(thing.beyond(side, values), alarm, *odds):
            yield one, known


def _entry(thing: _Thing, one: Departure, known: IntArray, log: Log, where: str) -> DriftEntry:
    places = known[one.start : one.end]
    values = thing.values[places]
    measured = float(np.mean(values) if thing.mean else np.median(values))
    first = log.compared[int(places[0])]
    after = None if one.end is None else log.compared[int(known[one.end])]
    said = thing.said if thing.predicted or not thing.from_nothing else thing.from_nothing
    write = WRITERS[thing.kind]
    told = said.format(
        ratio=f"{measured / thing.predicted:.2g}" if thing.predicted else "",
        measured=write(measured),
        predicted=write(thing.predicted),
    )
    begun = f"frame {first.frame} ({format_time(first.due_s)})"
    span = f"since {begun}" if one.start else "from the first frame on"
    if after is not None:
        span = f"from {begun} to frame {after.frame} ({format_time(after.due_s)}), but no more at the end"
    return DriftEntry(
        key=thing.key,
        kind=thing.kind,
        predicted=thing.predicted,
        measured=measured,
        log=log.path.name,
        since_frame=first.frame,
        since_s=first.due_s,
        until_frame=None if after is None else after.frame,
        until_s=None if after is None else after.due_s,
        frames=len(places),
        told=f"{told}, {span}{where}.",
    )


def _things(found: Measured, of: slice, prediction: Prediction, entry: PlanEntry) -> Iterator[_Thing]:
    # what leaves early takes another time, and nothing of what follows
    ours = {key: np.where(prediction.left, np.nan, values) for key, values in prediction.parts_s.items()}
    theirs = {key: np.where(found.left[of], np.nan, values[of]) for key, values in found.parts_s.items()}
    if found.left[of].all():
        yield from _confidence(found, of)
        return
    devices, links = prediction.stages
    yield _time("device", ours["device"], theirs["device"], f"The layers on {devices[0]} take {_LONG}")
    for hop, (device, server, link) in enumerate(zip(devices, devices[1:], links, strict=False), 1):
        several = len(links) > 1
        said = {
            "encode": f"Encoding{f' on {device}' if several else ''} takes {_LONG}",
            "link": f"{link}, there and back, takes {_LONG}",
            "server_wait": f"Frames wait {{measured}} on {server}, where {{predicted}} were predicted",
            "decode": f"Decoding{f' on {server}' if several else ''} takes {_LONG}",
            "server": f"The layers on {server} take {_LONG}",
        }
        for name, words in said.items():
            if name == "link" and not several:
                yield from _link(found, of, prediction, prediction.plan.hops[0].link, entry)
            else:
                key = of_hop(name, hop)
                yield _time(key, ours[key], theirs[key], words)
    if links:
        if len(links) > 1:
            yield _lost_frames(found, of, prediction)
        yield from _payload(found, of, entry)
    yield from _confidence(found, of)


_LONG = "{ratio} times as long as predicted, {measured} instead of {predicted}"


def _time(key: str, simulated_s: FloatArray, values_s: FloatArray, said: str) -> _Thing:
    predicted_s = round(_median(simulated_s), NANO)
    limits = _limits(predicted_s, simulated_s, values_s, LEAST_S)
    nothing = said.replace(_LONG, "{measured}, of which nothing was predicted")
    return _Thing(key, "time", predicted_s, values_s, limits, simulated_s, said, nothing)


def _limits(predicted: float, simulated: FloatArray, values: FloatArray, least: float = 0.0) -> dict[Side, float]:
    low, high = _quartiles(simulated)
    below, above = own_spread(values[np.isfinite(values)])
    more = max(predicted + max(least, (FACTOR - 1) * predicted), (1 + NEAR) * high, predicted * above)
    less = min(predicted - max(least, (1 - 1 / FACTOR) * predicted), low / (1 + NEAR), predicted * below)
    limits: dict[Side, float] = {"more": more}
    if less > 0:
        limits["less"] = less
    return limits


def _median(values: FloatArray) -> float:
    return float(np.nanmedian(values)) if np.isfinite(values).any() else 0.0


def _quartiles(values: FloatArray) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if not len(known):
        return np.inf, -np.inf
    low, high = np.percentile(known, (25, 75))
    return float(low), float(high)


def _link(found: Measured, of: slice, prediction: Prediction, link: Link, entry: PlanEntry) -> Iterator[_Thing]:
    lines, there_s = found.lines[of], first_packet_s(link)
    assembled_s = np.array([np.nan if line.assembled_s is None else line.assembled_s for line in lines])
    trip_s = found.parts_s["link"][of] - assembled_s
    up_s, link_s = (np.where(prediction.left, np.nan, prediction.parts_s[key]) for key in ("up", "link"))
    coming_s = np.maximum(0.0, up_s - there_s)
    trips_s = link_s - coming_s
    said = f"A first packet and the response travel {_LONG}"
    yield _time("round_trip", trips_s, trip_s, said)
    size = payload_of_sent(entry) or 0.0
    in_parts = assembled_s > 0  # what came in one piece says nothing of the rate
    if size and _median(coming_s) >= COUNTED_S and in_parts.any():
        with np.errstate(divide="ignore", invalid="ignore"):
            rates = 8 * size / coming_s
        sent_bytes = np.array([line.payload_bytes for line in lines])
        measured = 8 * sent_bytes / np.where(in_parts, assembled_s, np.nan)
        predicted = _median(rates)
        said = "Frames come in at {ratio} times the predicted rate, {measured} instead of {predicted}"
        yield _Thing("goodput", "bit rate", predicted, measured, _limits(predicted, rates, measured), rates, said)
    answered = prediction.answered & (prediction.packets > 0)
    counted = found.packets[of] > 0
    if counted.any() and answered.any():
        share = np.where(counted, found.lost[of] / np.maximum(found.packets[of], 1), np.nan)
        shares = np.where(answered, prediction.lost / np.maximum(prediction.packets, 1), np.nan)
        predicted = float(prediction.lost[answered].sum() / prediction.packets[answered].sum())
        yield _losses("lost_packets", predicted, share, shares, "{measured} of the packets are lost, not {predicted}")
    yield _lost_frames(found, of, prediction)


def _lost_frames(found: Measured, of: slice, prediction: Prediction) -> _Thing:
    gone = np.array([line.outcome in ("lost", "stood-in") for line in found.lines[of]], dtype=float)
    lost = ((~prediction.answered & ~prediction.dropped) | prediction.stood_in).astype(float)
    said = "Nothing comes back of {measured} of the frames, where {predicted} were predicted"
    return _losses("lost_frames", float(lost.mean()), gone, lost, said)


def _losses(key: str, predicted: float, shares: FloatArray, simulated: FloatArray, said: str) -> _Thing:
    """Of each frame a share that is 0 for most: beyond what few simulated ones have."""
    known = simulated[~np.isnan(simulated)]
    limit = float(np.quantile(known, 1 - USUAL, method="higher"))
    usual = max(RARE, float((known > limit).mean()))
    often = min(OFTEN, 2 * usual + MORE)
    return _Thing(key, "share", predicted, shares, {"more": limit}, simulated, said, "", usual, often, mean=True)


def _payload(found: Measured, of: slice, entry: PlanEntry) -> Iterator[_Thing]:
    predicted = payload_of_sent(entry)
    hops = len(entry.hops)
    sent = [sent_bytes(line) if line.sent_s is not None else [] for line in found.lines[of]]
    sizes = np.array([float(sum(each)) if len(each) == hops else np.nan for each in sent])
    if predicted and np.isfinite(sizes).any():
        said = "Payloads are {ratio} times as large as predicted, {measured} instead of {predicted}"
        none = np.empty((0, 0))
        yield _Thing("payload", "bytes", predicted, sizes, _limits(predicted, none, sizes), none, said)


def _confidence(found: Measured, of: slice) -> Iterator[_Thing]:
    """A design does not say how sure answers are: so the run's own start is what later frames are held to."""
    values = np.array([np.nan if line.confidence is None else line.confidence for line in found.lines[of]])
    known = np.flatnonzero(~np.isnan(values))
    if len(known) < 2 * FIRST:
        return
    first = values[known[:FIRST]]
    rest = values.copy()
    rest[known[:FIRST]] = np.nan
    said = "Answers are less sure than at the start of the run, {measured} at p50 instead of {predicted}"
    limit = float(np.quantile(first, FIRST_SHARE))
    yield _Thing("confidence", "count", float(np.median(first)), rest, {"less": limit}, np.empty((0, 0)), said)
