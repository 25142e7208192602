"""What a device makes of some work, in seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Literal

import numpy as np

from splitimpera.core.array_types import FloatArray
from splitimpera.core.errors import SplitImperaError
from splitimpera.cost.codec_model import Direction, modelled_s, reference
from splitimpera.cost.coding import coded_s
from splitimpera.cost.device_presets import DEVICES, RADIOS
from splitimpera.cost.profiles import codec_time, read_profile
from splitimpera.cost.spread import Spread, lognormal, of_quartiles, spread_of
from splitimpera.cost.work import LayerWork, Work
from splitimpera.records.costs import Cost
from splitimpera.records.device import CodecTime, Device, Profile, Radio, Roofline
from splitimpera.scenario import DeviceSection, RadioSection


def build_device(section: DeviceSection, folder: Path) -> Device:
    """A scenario's device, its preset and radio looked up, its profile read.

    Args:
        folder: what relative paths start from.

    Raises:
        UnknownNameError: there is no such preset or radio; names the nearest.
        DataError: the profile cannot be read.
        Each has the section's key as its place.
    """
    roofline = profile = radio = None
    try:
        key = "preset"
        if section.preset is not None:
            roofline = DEVICES[section.preset].roofline
        key = "radio"
        if isinstance(section.radio, RadioSection):
            radio = Radio(section.name, section.radio.joule_per_byte, section.radio.power)
        elif section.radio is not None:
            radio = RADIOS[section.radio].radio
        key = "profile"
        if section.profile is not None:
            profile = read_profile(folder / section.profile)
    except SplitImperaError as error:
        raise error.at(key) from None
    return Device(
        name=section.name,
        slowdown=section.slowdown,
        roofline=roofline,
        profile=profile,
        memory_bytes=section.memory,
        power_w=section.power,
        radio=radio,
        queue=section.queue,
        queue_frames=section.queue_frames,
        batch=section.batch,
        count=section.count,
    )


def measured_here(device: Device) -> bool:
    """Whether nothing is known of a device, so that its times are those of this machine."""
    return device.profile is None and device.roofline is None


def network_cost(device: Device, work: Work, here: Callable[[], Sequence[float]]) -> Cost:
    """What a device takes for a run of layers.

    A profile's own measurement of that head or tail goes first, then what follows from its layers, then the roofline.

    Args:
        work: The work of `work.batch` frames, for which the cost is.
        here: seconds of the same work on this machine, of one run or several in order; called only where nothing is
            known of the device.
    """
    if device.profile is not None:
        return _cost(device, *_profiled(device.profile, work))
    if device.roofline is not None:
        return _cost(device, roofline_s(device.roofline, work), False, lognormal(device.roofline.p95_ratio))
    return _measured(device, here())


def codec_cost(
    device: Device,
    codec: str,
    direction: Direction,
    tensor_bytes: float,
    here: Callable[[], Sequence[float]],
    channels: int = 1,
) -> Cost:
    """What a device takes to write one frame with a codec, or to read it.

    On a roofline the codec takes what `codec_model` says for one core; one that a profile does not know takes as much
    longer than the model says as one that it does.

    Args:
        tensor_bytes: size of what is coded.
        here: seconds of the same on this machine, of one run or several in order; called only where nothing is known
            of the device.
        channels: Channels of what is coded.
    """
    profile, roofline = device.profile, device.roofline
    if profile is not None:
        known = codec_time(profile, codec)
        if known is not None:
            return _cost(device, coded_s(known, direction, tensor_bytes), True, _coding_spread(known, direction))
        seconds, like = modelled_s(codec, direction, tensor_bytes, reference(), channels), _like(profile, codec)
        if like is None:
            return _cost(device, seconds, False)
        slower = coded_s(like, direction, tensor_bytes)
        slower /= modelled_s(like.codec, direction, tensor_bytes, reference())
        return _cost(device, seconds * slower, False, _coding_spread(like, direction))
    if roofline is not None:
        seconds = modelled_s(codec, direction, tensor_bytes, roofline, channels)
        return _cost(device, seconds, False, lognormal(roofline.p95_ratio))
    return _measured(device, here())


def roofline_s(roofline: Roofline, work: Work) -> float:
    """Each layer takes the longer of computing and moving its bytes, and a bit; weights are moved once a batch.

    After Williams et al., "Roofline: An Insightful Visual Performance Model", CACM 2009.
    """

    def layer_s(layer: LayerWork) -> float:
        moved = layer.weight_bytes + work.batch * layer.moved_bytes
        computing_s, moving_s = work.batch * layer.macs / roofline.macs_per_s, moved / roofline.bytes_per_s
        return max(computing_s, moving_s) + roofline.layer_s

    return sum(layer_s(layer) for layer in (*work.layers, *work.bottleneck_parts, *work.heads))


def _cost(device: Device, seconds: float, measured: bool, spread: Spread = ()) -> Cost:
    how: Literal["measured", "scaled"] = "measured" if device.slowdown == 1 else "scaled"
    return Cost(seconds * device.slowdown, how if measured else "estimated", spread)


def _measured(device: Device, samples_s: Sequence[float]) -> Cost:
    return _cost(device, float(median(samples_s)), True, spread_of(samples_s))


def _profiled(profile: Profile, work: Work) -> tuple[float, bool, Spread]:
    """Seconds, whether they were measured, and their spread; a batch takes as long as its frames one by one."""
    times = profile.best
    timed = {(time.cut, time.bottleneck): time for time in times.cuts}
    head, tail = timed.get((work.end, work.leaving)), timed.get((work.start, work.arriving))
    layers = times.layers[work.start : work.end]
    of_layers_s = [layer.seconds for layer in layers]
    # heads of early exits are in no profile
    heads_s, measured = _beside_s(work, of_layers_s, work.heads), work.batch == 1 and not work.heads
    if work.is_head and head is not None and head.head_s is not None:
        spread = _spread(head.head_samples_s, head.head_s, head.head_spread_s)
        return work.batch * (head.head_s + heads_s), measured, spread
    if work.is_tail and tail is not None and tail.tail_s is not None:
        spread = _spread(tail.tail_samples_s, tail.tail_s, tail.tail_spread_s)
        return work.batch * (tail.tail_s + heads_s), measured, spread
    other_s = times.call_s + (times.wake_s if 0 < work.start < work.end else 0.0)
    passes_s = other_s + times.sums_s[:, work.end] - times.sums_s[:, work.start]
    # the median of sums where passes were kept: layers' medians know nothing of what disturbs one pass in some layer
    seconds = float(np.median(passes_s)) if len(passes_s) else other_s + sum(of_layers_s)
    # what slows one layer down slows its neighbours, too
    spread = _spread(passes_s, seconds, sum(layer.spread_s for layer in layers))
    seconds += _beside_s(work, of_layers_s, work.bottleneck_parts) + heads_s
    return work.batch * seconds, False, spread


def _spread(samples_s: Sequence[float] | FloatArray, median_s: float, half_range_s: float) -> Spread:
    """Of samples; where none were kept, what median and quartiles tell."""
    return spread_of(samples_s) if len(samples_s) else of_quartiles(median_s, half_range_s)


def _beside_s(work: Work, layers_s: list[float], parts: Sequence[LayerWork]) -> float:
    """Seconds for parts of bottlenecks or heads, at the rate at which the layers beside them compute or move bytes."""
    computing = [(layer.macs, time_s) for layer, time_s in zip(work.layers, layers_s, strict=True) if layer.macs]
    macs, macs_s = (sum(column) for column in zip(*computing, strict=True)) if computing else (0, 0.0)
    if macs:
        return macs_s / macs * sum(part.macs for part in parts)
    moved = sum(layer.weight_bytes + layer.moved_bytes for layer in work.layers)
    beside = sum(part.weight_bytes + part.moved_bytes for part in parts)
    return sum(layers_s) / moved * beside if moved else 0.0


def _like(profile: Profile, codec: str) -> CodecTime | None:
    """A codec that a profile knows, of the same numbers if there is one."""
    codecs = profile.best.codecs or profile.codecs
    base = codec.split("+")[0].split(":")[0]
    return next((time for time in codecs if time.codec == base), codecs[0] if codecs else None)


def _coding_spread(time: CodecTime, direction: Direction) -> Spread:
    return time.encode_spread if direction == "encode" else time.decode_spread
