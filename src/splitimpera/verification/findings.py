"""Which part is off and by how much, in numbers and in words, the largest difference first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from splitimpera.core.array_types import FloatArray
from splitimpera.core.statistics import tolerance_s
from splitimpera.core.units import format_time
from splitimpera.report.verified import PartEntry, TimesEntry
from splitimpera.verification.frame_times import HALVES, Bools, FrameTimes, key_and_hop, of_hop, part_names

SAID = {
    "device_wait": "Frames wait {measured} on {device} until work on them begins",
    "device": "The layers on {device} take {measured}",
    "encode": "Encoding takes {measured}",
    "link": "The link, there and back, takes {measured}",
    "server_wait": "Frames wait {measured} on {server} until work on them begins",
    "decode": "Decoding takes {measured}",
    "server": "The layers on {server} take {measured}",
    "rest": "What no other part accounts for takes {measured}",
}
SAID_OF_HOPS = SAID | {
    "encode": "Encoding on {device} takes {measured}",
    "link": "The link {link}, there and back, takes {measured}",
    "decode": "Decoding on {server} takes {measured}",
}
"""Where there are several hops."""
LEAST_SHARE = 0.005
"""Of the difference of the whole; smaller ones are none."""
SLOW_SHARE, SLOW_S = 0.10, 2e-3
HINTS = {
    "device_wait": "the source or the machine does not keep the rate",
    **dict.fromkeys(("device", "encode", "decode", "server"), "design again with the profile of --calibrate"),
    "link": "hold the link's rate and delay against the scenario's",
    "server_wait": "other clients, or batches, hold the server",
    "rest": "this is what the programs themselves take",
}
HINTS_OF_HOPS = HINTS | dict.fromkeys(
    ("device", "encode", "decode", "server"), "design again with what 'splitimpera profile' measures there"
)
"""Where there are several hops, or early exits."""


def compared_parts(
    predicted: FrameTimes, measured: FrameTimes, devices: Sequence[str], links: Sequence[str]
) -> list[PartEntry]:
    """Every part, predicted and measured, in the order of the frames' way."""
    wanted = part_names(devices, links)
    ours, theirs = _Bands(predicted), _Bands(measured)
    whole_s = theirs.total_s - ours.total_s
    whole_off = abs(whole_s) > tolerance_s(np.array([ours.total_s]))[0]
    entries = []
    for key in _with_halves(wanted):
        if key not in measured.parts_s:
            continue
        before, after = ours.times(key), theirs.times(key)
        if after is None:
            continue
        difference_s = after.typical_s - (before.typical_s if before else 0.0)
        base, hop = key_and_hop(key)
        half = base in HALVES
        agreeing = whole_off and not half and difference_s / whole_s >= LEAST_SHARE
        entries.append(
            PartEntry(
                key=key,
                name=HALVES[base] if half else wanted[key],
                within=of_hop("link", hop) if half else None,
                predicted=before,
                measured=after,
                difference_s=difference_s,
                share=difference_s / whole_s if agreeing else None,
                off=bool(abs(difference_s) > tolerance_s(np.array([before.typical_s if before else 0.0]))[0]),
            )
        )
    return entries


def _with_halves(names: Iterable[str]) -> Iterator[str]:
    """The keys of all parts, each link's followed by those of its two ways."""
    for name in names:
        yield name
        base, hop = key_and_hop(name)
        if base == "link":
            yield from (of_hop(half, hop) for half in HALVES)


def findings(
    parts: Sequence[PartEntry],
    predicted: FrameTimes,
    devices: Sequence[str],
    links: Sequence[str],
    calibrates: bool = True,
) -> list[str]:
    """A sentence for each part that is off, the largest difference first; then those that are off in slow frames.

    Args:
        calibrates: Whether profiles are made of such a run, where it has no more than two machines.
    """
    hints = HINTS if calibrates and len(devices) < 3 else HINTS_OF_HOPS
    measured = [part for part in parts if part.within is None]
    off = sorted((part for part in measured if part.off), key=lambda part: -abs(part.difference_s))
    ranges = _slow_ranges(predicted)
    slow = [part for part in measured if _off_when_slow(part, ranges.get(part.key))]
    slow.sort(key=lambda part: -abs(_slow_s(part)))
    return [_told(part, devices, links, hints) for part in off] + [_slow_told(part) for part in slow]


def _slow_s(part: PartEntry) -> float:
    return part.measured.slow_s - (part.predicted.slow_s if part.predicted else 0.0)


def _slow_ranges(predicted: FrameTimes) -> dict[str, tuple[float, float]]:
    """Between what each part's mean over the slowest tenth lies in all replications: few frames, so that it varies."""
    each = [
        _Bands(FrameTimes(latency_s, {key: values[place] for key, values in predicted.parts_s.items()}))
        for place, latency_s in enumerate(predicted.latency_s)
        if np.isfinite(latency_s).any()
    ]
    means_s = {key: [_mean(bands.parts_s[key], bands.slow) for bands in each] for key in predicted.parts_s}
    return {key: (min(values), max(values)) for key, values in means_s.items() if values}


def _off_when_slow(part: PartEntry, within: tuple[float, float] | None) -> bool:
    """Whether slow frames differ in another way than typical ones do, by more than replications do."""
    if within is None:
        return False
    moved_s = part.measured.slow_s - part.difference_s
    low_s, high_s = within
    limit_s = max(SLOW_S, SLOW_SHARE * high_s)
    return moved_s < low_s - limit_s or moved_s > high_s + limit_s


def _slow_told(part: PartEntry) -> str:
    predicted_s = part.predicted.slow_s if part.predicted else 0.0
    return (
        f"In the slowest tenth of the frames, {part.name} is {format_time(part.measured.slow_s)} where "
        f"{format_time(predicted_s)} were predicted ({signed_ms(_slow_s(part))})."
    )


def _told(part: PartEntry, devices: Sequence[str], links: Sequence[str], hints: Mapping[str, str]) -> str:
    key, hop = key_and_hop(part.key)
    words = SAID if len(devices) < 3 else SAID_OF_HOPS
    said = words[key].format(
        device=devices[hop - 1],
        server=devices[min(hop, len(devices) - 1)],
        link=links[hop - 1] if links else "",
        measured=format_time(part.measured.typical_s),
    )
    predicted_s = part.predicted.typical_s if part.predicted else 0.0
    where = f" where {format_time(predicted_s)} were predicted" if predicted_s else ", of which nothing was predicted"
    share = ""
    if part.share is not None:
        share = ": more than the whole difference" if part.share > 1.005 else f": {part.share:.0%} of the difference"
    share = share.replace("%", " %")
    return f"{said}{where} ({signed_ms(part.difference_s)}){share}; {hints[key]}."


def signed_ms(difference_s: float) -> str:
    """0.001 -> '+1.00 ms'."""
    return f"{1e3 * difference_s:+.2f} ms"


class _Bands:
    """Means over typical and slow frames."""

    def __init__(self, times: FrameTimes) -> None:
        self.parts_s = times.parts_s
        known = np.isfinite(times.parts_s["device"]) & times.answered
        self.known, self.typical, self.slow = known, known & times.typical(), known & times.slow()
        if not self.typical.any():
            self.typical = known
        if not self.slow.any():
            self.slow = known
        self.total_s = _mean(times.latency_s, self.typical) if known.any() else float("nan")

    def times(self, key: str) -> TimesEntry | None:
        values = self.parts_s.get(key)
        if values is None or not self.known.any():
            return None
        known = values[self.known]
        p50_s, p95_s = np.percentile(known, (50, 95))
        return TimesEntry(
            typical_s=_mean(values, self.typical),
            slow_s=_mean(values, self.slow),
            mean_s=float(known.mean()),
            p50_s=float(p50_s),
            p95_s=float(p95_s),
        )


def _mean(values: FloatArray, where: Bools) -> float:
    return float(values[where].mean())
