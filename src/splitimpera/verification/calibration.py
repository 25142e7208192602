"""What was measured in a deployed run, as profiles that the next design takes: one for each machine.

The half that a machine ran and the codec there are measured, with all their samples. Layers, from which a design takes
the times of other cuts, follow from what it had for them before, scaled as the measured half was.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from splitimpera.core.array_types import FloatArray
from splitimpera.core.errors import DataError
from splitimpera.cost.codec_model import DIRECTIONS, Direction, modelled_s, reference
from splitimpera.cost.profiles import SAMPLES_AT_MOST
from splitimpera.cost.spread import spread_of
from splitimpera.records.device import CodecTime, CutTime, LayerTime, PacedTimes, Profile
from splitimpera.report.schema import PlanEntry, Results
from splitimpera.verification.cautions import ENGINES
from splitimpera.verification.matching import Log
from splitimpera.verification.measured import ANSWERED, Measured

FEWEST = 30
"""Frames of which a profile is made."""


def profile_paths(path: Path, entry: PlanEntry) -> dict[str, Path]:
    """Where each machine's profile goes: the first one's to `path`, the second one's beside it."""
    paths = [path, path.with_name(f"{path.stem}-server{path.suffix}")]
    return dict(zip(entry.devices, paths, strict=False))


def calibrated(results: Results, entry: PlanEntry, logs: Sequence[Log], found: Measured) -> dict[str, Profile]:
    """A profile for each machine of a plan, by its name.

    Raises:
        DataError: there are too few frames, or the plan has more than two machines, or early exits.
    """
    if entry.exits:
        raise DataError(
            f"plan '{entry.id}' has early exits, profiles are made of runs whose frames all go the whole way",
            where="--calibrate",
            hint="measure each machine by 'splitimpera profile', or run the plan without exits",
        )
    if len(entry.devices) > 2:
        raise DataError(
            f"plan '{entry.id}' has {len(entry.devices)} machines, profiles are made of runs of one or two",
            where="--calibrate",
            hint="measure each machine by 'splitimpera profile'",
        )
    done = found.having(lambda line: line.outcome in ANSWERED and line.head_s is not None)
    if done.sum() < FEWEST:
        raise DataError(
            f"{int(done.sum())} frames were measured, a profile needs {FEWEST} or more", where="--calibrate"
        )
    last = results.cuts[-1].index
    device, *server = entry.devices
    cut = last if entry.cut is None else entry.cut
    head = CutTime(cut, *_kept(found, "head_s"), None, 0.0, _samples(found, "head_s"), (), entry.bottleneck)
    coding = [_codec(results, entry, "encode", found)] if entry.codec else []
    profiles = {
        device: _profile(results, logs[0], logs[0].run.machine, _layers(results, entry, device, head), head, coding)
    }
    for name in server:
        tail = CutTime(cut, None, 0.0, *_kept(found, "run_s"), (), _samples(found, "run_s"), entry.bottleneck)
        coding = [_codec(results, entry, "decode", found)]
        profiles[name] = _profile(results, logs[0], name, _layers(results, entry, name, tail), tail, coding)
    return profiles


def _profile(
    results: Results, log: Log, machine: str, layers: tuple[LayerTime, ...], cut: CutTime, codecs: Sequence[CodecTime]
) -> Profile:
    run = log.run
    fps = run.fps or results.measurements.fps or float(str(results.scenario.workload["fps"]))
    cuts, coded = (cut,), tuple(codecs)
    return Profile(
        machine=machine,
        network=results.scenario.network.model,
        input_shape=tuple(results.cuts[0].shapes[0]),
        fingerprint=results.measurements.fingerprint,
        engine=ENGINES.get(run.engine, run.engine),
        threads=max(run.threads, 1),
        call_s=0.0,
        layers=layers,
        cuts=cuts,
        codecs=coded,
        paced=PacedTimes(fps, 0.0, layers, cuts, coded),
    )


def _values(found: Measured, field: str) -> FloatArray:
    """The seconds of one frame; of frames that were run together, each one's share."""
    lines = [line for line in found.lines if line.outcome in ANSWERED and getattr(line, field) is not None]
    shared = field in ("run_s",)
    return np.array([getattr(line, field) / ((line.batch or 1) if shared else 1) for line in lines])


def _samples(found: Measured, field: str) -> tuple[float, ...]:
    return tuple(_values(found, field)[-SAMPLES_AT_MOST:].tolist())


def _kept(found: Measured, field: str) -> tuple[float, float]:
    """Median, and half the distance between the quartiles."""
    low, middle, high = np.percentile(_values(found, field), [25, 50, 75])
    return float(middle), float(high - low) / 2


def _codec(results: Results, entry: PlanEntry, direction: Direction, found: Measured) -> CodecTime:
    """The codec at this cut as measured, at other sizes and the other way as much slower as the codec model says."""
    assert entry.codec is not None
    values = _values(found, f"{direction}_s")
    median_s, size = float(np.median(values)), next(cut.bytes for cut in results.cuts if cut.index == entry.cut)
    line = {}
    known_s = modelled_s(entry.codec, direction, size, reference())
    for way in DIRECTIONS:
        start_s, whole_s = (modelled_s(entry.codec, way, of, reference()) for of in (0.0, size))
        ratio = median_s / known_s
        line[way] = ratio * start_s, ratio * (whole_s - start_s) / size
    if entry.bottleneck:  # how large its latent is, the results do not say
        line[direction] = median_s, 0.0
    spread = spread_of(values[-SAMPLES_AT_MOST:])
    encode, decode = (spread, ()) if direction == "encode" else ((), spread)
    return CodecTime(entry.codec, *line["encode"], *line["decode"], encode, decode)


def _layers(results: Results, entry: PlanEntry, device: str, cut: CutTime) -> tuple[LayerTime, ...]:
    """Seconds of each layer, such that those of the measured half add up to what was measured."""
    last = results.cuts[-1].index
    heads = cut.head_s is not None
    part = f"{device}: network"
    known: dict[int, float] = {}
    for plan in results.plans:
        place = last if plan.cut is None else plan.cut
        if part in plan.parts_s and not plan.bottleneck and (plan.devices[0] == device) == heads:
            known.setdefault(place, plan.parts_s[part])
    macs = np.array([layer.macs for layer in results.layers], dtype=float)
    if heads:
        until = known | {0: 0.0}
    else:
        whole_s = known.get(0, max(known.values(), default=0.0))
        until = {place: whole_s - tail_s for place, tail_s in known.items()} | {0: 0.0, last: whole_s}
    places = sorted(until)
    sums_s = np.maximum.accumulate([until[place] for place in places])
    seconds = np.zeros(len(macs))
    for start, end, span_s in zip(places, places[1:], np.diff(sums_s), strict=False):
        some = macs[start:end]
        seconds[start:end] = span_s * (some / some.sum() if some.sum() else 1 / max(len(some), 1))
    ours = slice(0, cut.cut) if heads else slice(cut.cut, None)
    measured_s, before_s = (cut.head_s if heads else cut.tail_s) or 0.0, float(seconds[ours].sum())
    if not cut.bottleneck and before_s > 0 and measured_s > 0:
        seconds *= measured_s / before_s
    return tuple(
        LayerTime(layer.name, layer.operation, float(time_s), 0.0)
        for layer, time_s in zip(results.layers, seconds, strict=True)
    )
