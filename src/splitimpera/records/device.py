"""Frozen records of the machines that run a part of the network, and of what is known of their speed. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from splitimpera.core.array_types import FloatArray

QueuePolicy = Literal["wait", "drop-oldest", "drop-newest"]


@dataclass(frozen=True)
class Roofline:
    """A machine that is not at hand, by its peak rates: a layer takes the longer of computing and moving, and a bit.

    Attributes:
        macs_per_s: multiply-accumulates a second at most, in float32 unless `note` says otherwise.
        bytes_per_s: memory traffic a second at most.
        layer_s: what starting a layer costs.
        memory_bytes: what a network may fill.
        power_w: drawn while computing.
        source: The origin of the figures.
        note: what to bear in mind.
        error: how far its estimates of whole networks lie from published measurements, the largest such error (-0.3:
            30 % too short); None: no measurement is known.
        core: how many times longer one of its cores takes than the reference machine's, on which codecs were timed.
        p95_ratio: The 95th percentile of the times of the same work over their median; 1: they are all the same.
    """

    name: str
    macs_per_s: float
    bytes_per_s: float
    layer_s: float
    memory_bytes: int
    power_w: float
    source: str
    note: str = ""
    error: float | None = None
    core: float = 1.0
    p95_ratio: float = 1.0


@dataclass(frozen=True)
class Radio:
    """What a device's transmitter draws: so much a byte, and so much for as long as it sends."""

    name: str
    joule_per_byte: float
    power_w: float
    source: str = ""


@dataclass(frozen=True)
class LayerTime:
    """One layer of a profile: median seconds for one frame, and half the distance between the quartiles.

    Attributes:
        samples_s: Seconds in each pass over the network, in order; empty: they were not kept.
    """

    name: str
    operation: str
    seconds: float
    spread_s: float
    samples_s: tuple[float, ...] = ()


@dataclass(frozen=True)
class CutTime:
    """Head and tail of one cut as a profile measured them: medians and half the distances between the quartiles.

    Attributes:
        head_s, tail_s: None where this half was not run.
        bottleneck: Ratio of the bottleneck there, whose encoder and decoder are then in the times; 0: none.
        head_samples_s, tail_samples_s: Seconds of each run, in order; empty: they were not kept.
    """

    cut: int
    head_s: float | None
    head_spread_s: float
    tail_s: float | None
    tail_spread_s: float
    head_samples_s: tuple[float, ...] = ()
    tail_samples_s: tuple[float, ...] = ()
    bottleneck: float = 0.0


@dataclass(frozen=True)
class CodecTime:
    """What coding costs on a profile's machine: `start_s` a call and `per_byte_s` for each byte of float32 tensor.

    Attributes:
        encode_spread, decode_spread: What runs at the largest size took over their median, in order; empty: not known.
    """

    codec: str
    encode_start_s: float
    encode_per_byte_s: float
    decode_start_s: float
    decode_per_byte_s: float
    encode_spread: tuple[float, ...] = ()
    decode_spread: tuple[float, ...] = ()


class _LayerPasses:
    """What both kinds of a profile's times have in common."""

    layers: tuple[LayerTime, ...]
    wake_s: float = 0.0

    @cached_property
    def sums_s(self) -> FloatArray:
        """What the layers before each cut took, pass by pass, shape (passes, layers + 1); no passes where none are."""
        passes_s = np.array([layer.samples_s for layer in self.layers]).T.reshape(-1, len(self.layers))
        return np.cumsum(np.pad(passes_s, ((0, 0), (1, 0))), axis=1)


@dataclass(frozen=True)
class PacedTimes(_LayerPasses):
    """A profile's times in frames that come at a rate, with idle time between them; else as those of `Profile`.

    Attributes:
        fps: Frame rate at which they were taken.
        wake_s: What waking costs a device that does not run the first layer, whose time has it.
    """

    fps: float
    call_s: float
    layers: tuple[LayerTime, ...]
    cuts: tuple[CutTime, ...] = ()
    codecs: tuple[CodecTime, ...] = ()
    wake_s: float = 0.0


@dataclass(frozen=True)
class Profile(_LayerPasses):
    """Times measured on one machine for one network at one input size, back to back; see `splitimpera profile`.

    Attributes:
        fingerprint: Digest of the network's layers and shapes, so that a profile of another one is refused.
        call_s: what calling a part of the network costs, whatever its layers.
        layers: The layers in the order of the graph.
        cuts: the heads and tails that were measured; those of other cuts are estimated from the layers.
        peak_bytes: the most memory that the process had while the whole network ran.
        paced: Times as in the field, which a design takes where they are there.
    """

    machine: str
    network: str
    input_shape: tuple[int, ...]
    fingerprint: str
    engine: str
    threads: int
    call_s: float
    layers: tuple[LayerTime, ...]
    cuts: tuple[CutTime, ...] = ()
    codecs: tuple[CodecTime, ...] = ()
    peak_bytes: int = 0
    paced: PacedTimes | None = None

    @property
    def best(self) -> Profile | PacedTimes:
        """The times that a design takes."""
        return self.paced or self


@dataclass(frozen=True)
class Device:
    """A machine that runs a part of the network.

    Times are those of `profile` where there is one, else those that `roofline` gives, else those measured on the
    machine that runs the design; in each case times `slowdown` (40 means forty times slower).

    Attributes:
        memory_bytes: what head or tail may fill; None: the roofline's, or no limit.
        power_w: drawn while computing; None: the roofline's, or not known.
        radio: what its transmitter draws; None: not known.
        queue: what happens to a frame that comes while the device is busy.
        queue_frames: how many frames may wait, where some are dropped.
        batch: the most waiting frames that it runs together.
        count: How many of it there are side by side, each with a queue of its own; of the first device in a row there
            are as many as senders, whatever stands here.

    Example:
        >>> slow = Device("camera", slowdown=40.0, memory_bytes=512 * 2**20)
        >>> slow.name, slow.queue
        ('camera', 'wait')
    """

    name: str
    slowdown: float = 1.0
    roofline: Roofline | None = None
    profile: Profile | None = None
    memory_bytes: int | None = None
    power_w: float | None = None
    radio: Radio | None = None
    queue: QueuePolicy = "wait"
    queue_frames: int = 1
    batch: int = 1
    count: int = 1
