"""The frozen records that the stages hand on, and the protocols of the two seams. No torch here.

Units are SI and stand in the names: `_s`, `_bytes`, `_bps`; fractions are plain numbers between 0 and 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal, Protocol, TypeVar, get_args

import numpy as np
import numpy.typing as npt

from splitimpera.bounds import BOUNDS, MOST_DUE_S, MOST_FRAMES, SHORTEST_STEP_S, Bound
from splitimpera.errors import PlanError, SimulationError, listed, shown
from splitimpera.machines import Device

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Array = npt.NDArray[Any]

T = TypeVar("T")

Track = Callable[[Iterable[T], str, int], Iterable[T]]
"""Shows progress: wraps an iterable, given what is being done and how many steps there are."""


def no_progress(steps: Iterable[T], description: str, total: int) -> Iterable[T]:
    """The `Track` that shows nothing."""
    return steps


DTYPE_BYTES = {
    **{"bool": 1, "uint8": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8},
    **{"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8, "complex64": 8, "complex128": 16},
}


@dataclass(frozen=True)
class TensorSpec:
    """One tensor as it belongs to one frame.

    Attributes:
        name: the layer that makes it, in the user's words ("input", "features.17", "layer2.0").
        shape: its shape for one frame, without the batch dimension.
        dtype: torch's name of the element type, without the prefix ("float32").
        batch_dim: where the batch dimension goes when frames are stacked; None where the tensor mixes the batch
            with another dimension, so that frames must be run one by one (`shape` is then that of a batch of one).
        channel_dim: which dimension of `shape` holds the channels.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    batch_dim: int | None = 0
    channel_dim: int = 0

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.elements * DTYPE_BYTES[self.dtype]


@dataclass(frozen=True)
class Layer:
    """A step of the traced network: one operation with the activations and normalisations folded into it.

    Attributes:
        name: the module's path in the user's model, or path and operation for functional calls.
        operation: ATen's name of the operation ("conv2d", "add").
        output: the tensor that it hands on (the first one, where there are several).
        parameters: how many parameters it reads.
        macs: multiply-accumulates for one frame.
    """

    index: int
    name: str
    operation: str
    output: TensorSpec
    parameters: int
    macs: int


@dataclass(frozen=True)
class Cut:
    """A prefix of the graph's topological order, and what crosses there.

    Attributes:
        index: number of layers in the head; 0 means that the input crosses.
        name: the last layer of the head, "input" for cut 0.
        tensors: what crosses, one entry a tensor.
        crossing: the graph nodes of these tensors.
        macs_head, macs_tail: multiply-accumulates on either side, for one frame.
        parameters_head, parameters_tail: parameters that either side reads (shared ones count on both).
        block: True where a single tensor crosses and no block of the user's model is cut through.
    """

    index: int
    name: str
    tensors: tuple[TensorSpec, ...]
    crossing: tuple[str, ...]
    macs_head: int
    macs_tail: int
    parameters_head: int
    parameters_tail: int
    block: bool = False

    @property
    def bytes(self) -> int:
        return sum(tensor.bytes for tensor in self.tensors)

    @property
    def single(self) -> bool:
        """True at a natural bottleneck of the graph: one tensor crosses."""
        return len(self.tensors) == 1


@dataclass(frozen=True)
class Candidate:
    """A cut worth a plan, and the reasons why."""

    cut: int
    name: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Trace:
    """How a link changes with time; after `period_s` it starts again.

    Either steps: from `time_s[i]` on, the link has `rate_bps[i]`, `delay_s[i]` and `loss[i]`; an empty tuple leaves the
    link's own value. Or delivery opportunities: at each `time_s[i]` up to `opportunity_bytes` may leave, and what no
    packet uses is gone.

    Attributes:
        time_s: ascending, from 0 on, before `period_s`; steps begin at 0.
        opportunity_bytes: 0 for steps.
    """

    name: str
    time_s: tuple[float, ...]
    period_s: float
    rate_bps: tuple[float, ...] = ()
    delay_s: tuple[float, ...] = ()
    loss: tuple[float, ...] = ()
    opportunity_bytes: int = 0

    def __post_init__(self) -> None:
        _bounded(self, "period_s", "opportunity_bytes")
        times = _all_bounded(self.time_s, "time_s", BOUNDS["time_s"])
        _require(len(times) > 0, "time_s", "an empty trace", "at least one entry")
        _require((np.diff(times) >= 0).all(), "time_s", "a time before the one in front of it", "ascending")
        _require(times[-1] <= self.period_s, "period_s", self.period_s, "no less than the last time")
        if self.opportunity_bytes:
            mean_bps = 8 * self.opportunity_bytes * len(times) / self.period_s
            _require(BOUNDS["rate_bps"].holds(mean_bps), "opportunity_bytes", f"{mean_bps:g} bit/s", _MEAN_RATE)
            return
        _require(times[0] == 0, "time_s", times[0], "0 at the first step")
        steps_s = np.diff([*times, self.period_s])
        # a difference of two times is a little less than what was written
        apart = (steps_s >= SHORTEST_STEP_S * (1 - 1e-3)).all()
        _require(apart, "time_s", "a step that is too short", f"ascending, steps of {SHORTEST_STEP_S:g} s or more")
        rate = BOUNDS["rate_bps"]
        for name, bound in (("delay_s", BOUNDS["delay_s"]), ("loss", Bound(0.0, 1.0)), ("rate_bps", rate)):
            # a link may stand still for a while
            values = _all_bounded(getattr(self, name), name, bound, zero=True)
            _require(len(values) in (0, len(times)), name, f"{len(values)} values", f"{len(times)} values, or none")
        if self.rate_bps:
            mean_bps = float(steps_s @ np.array(self.rate_bps)) / self.period_s
            _require(BOUNDS["rate_bps"].holds(mean_bps), "rate_bps", f"{mean_bps:g} bit/s", _MEAN_RATE)


_MEAN_RATE = f"{BOUNDS['rate_bps']} bit/s in the mean"

Jitter = Literal["uniform", "exponential", "normal"]


@dataclass(frozen=True)
class Link:
    """A network link between two hosts, with a way there (data) and a way back (acknowledgements, answers).

    Attributes:
        rate_bps: bits a second on the wire, headers included.
        delay_s: one-way propagation delay.
        loss: probability that a packet on the way there is lost.
        mtu_bytes: largest IP packet.
        link_header_bytes: the link layer's bytes in front of every IP packet.
        app_header_bytes: the application's own header (plan, frame, offset): in every UDP datagram, once a frame over
            TCP.
        loss_burst: mean number of packets that are lost in a row (Gilbert-Elliott: nothing is lost in the good state,
            everything in the bad one); None: each packet is lost or not independently of all others.
        back_loss: probability that a packet on the way back is lost, independently of all others.
        back_rate_bps: rate of the way back; None: as there.
        back_delay_s: delay of the way back; None: as there.
        jitter_s: mean of a random delay that each packet on the way there suffers on top of `delay_s`.
        jitter: its distribution: "uniform" from 0 to twice the mean, "exponential", "normal" (its positive half).
        reorder: True: packets overtake each other as their delays fall; False: a packet is held behind the one before.
        queue_bytes: the most bytes (link headers included) that wait in front of the link, on the way there, while a
            packet is being sent; what finds no room is dropped; None: no limit.
        queue_packets: the same in packets.
        drops: the packets on the way there that the link drops, by their ordinal (the first is 0), retransmissions
            counted too; they take the place of `loss`.
        trace: how rate, delay and loss of the way there change with time.
    """

    name: str = "link"
    rate_bps: float = 1e9
    delay_s: float = 1e-4
    loss: float = 0.0
    mtu_bytes: int = 1500
    link_header_bytes: int = 2
    app_header_bytes: int = 0
    loss_burst: float | None = None
    back_loss: float = 0.0
    back_rate_bps: float | None = None
    back_delay_s: float | None = None
    jitter_s: float = 0.0
    jitter: Jitter = "uniform"
    reorder: bool = False
    queue_bytes: int | None = None
    queue_packets: int | None = None
    drops: tuple[int, ...] | None = None
    trace: Trace | None = None

    def __post_init__(self) -> None:
        _bounded(self, "rate_bps", "delay_s", "loss", "back_rate_bps", "back_delay_s", "back_loss", "jitter_s")
        _bounded(self, "mtu_bytes", "link_header_bytes", "app_header_bytes", "queue_bytes", "queue_packets")
        _bounded(self, "loss_burst")
        if self.loss_burst is not None:
            # the good state's mean stay is burst (1 - loss) / loss packets, and cannot be shorter than one
            least = max(1.0, self.loss / (1 - self.loss))
            _require(self.loss_burst >= least, "loss_burst", self.loss_burst, f"{least:g} or more at this loss")
        _require(self.jitter in get_args(Jitter), "jitter", repr(self.jitter), "uniform, exponential or normal")
        largest = self.mtu_bytes + self.link_header_bytes
        _require(
            self.queue_bytes is None or self.queue_bytes >= largest,
            "queue_bytes",
            self.queue_bytes,
            f"{largest} or more, room for one packet",
        )
        if self.drops is not None:
            whole = all(BOUNDS["drops"].holds(drop) for drop in self.drops)
            _require(whole, "drops", "an entry", "a whole number, 0 or more")


@dataclass(frozen=True)
class Workload:
    """Frames at a fixed rate, or at given times.

    Attributes:
        fps: frames a second; frame i is due at i / fps.
        frames: how many are simulated, for each sender.
        deadline_s: how long after it is due a UDP frame with losses is used with what came; None: one frame period.
        frame_bytes: the size of every frame, where no plan gives it.
        atom_bytes: the smallest piece that a packet must not cut through (one tensor element).
        frame_sizes: one size a frame, in place of `frame_bytes`.
        times_s: when each frame is due, ascending, in place of the fixed rate.
        senders: how many devices send such frames over the same link, their frames evenly staggered.
        answer_bytes: the size of the answer that goes back when a frame is complete; 0: none is simulated.
    """

    fps: float
    frames: int = 1000
    deadline_s: float | None = None
    frame_bytes: int = 0
    atom_bytes: int = 1
    frame_sizes: tuple[int, ...] = ()
    times_s: tuple[float, ...] = ()
    senders: int = 1
    answer_bytes: int = 0

    def __post_init__(self) -> None:
        _bounded(self, "fps", "frames", "senders", "deadline_s", "frame_bytes", "atom_bytes", "answer_bytes")
        if self.frames * self.senders > MOST_FRAMES:
            raise SimulationError(
                f"{self.frames} frames from each of {self.senders} senders are too many, at most {MOST_FRAMES} are "
                "simulated",
                where="frames",
            )
        for name, values in (("frame_sizes", self.frame_sizes), ("times_s", self.times_s)):
            _require(len(values) in (0, self.frames), name, f"{len(values)} entries", f"one a frame, {self.frames}")
        _all_bounded(self.frame_sizes, "frame_sizes", BOUNDS["size_bytes"])
        times = _all_bounded(self.times_s, "times_s", BOUNDS["times_s"])
        _require((np.diff(times) >= 0).all(), "times_s", "a time before the one in front of it", "ascending")
        if not self.times_s and self.frames > MOST_DUE_S * self.fps:
            raise SimulationError(
                f"{self.frames} frames at {self.fps:g} a second take {self.frames / self.fps:.3g} s, at most "
                f"{MOST_DUE_S:g} s are simulated",
                where="fps",
                hint="take fewer frames, or more a second",
            )

    def due_s(self) -> FloatArray:
        """When each frame of the first sender is due, shape (frames,)."""
        return np.array(self.times_s) if self.times_s else np.arange(self.frames) / self.fps

    def deadlines_s(self) -> FloatArray:
        """When a receiver uses a frame with losses as it is, shape (frames,)."""
        return self.due_s() + (1 / self.fps if self.deadline_s is None else self.deadline_s)

    def all_frames(self) -> Frames:
        """The frames of all senders as a transport takes them: frame 0 of each sender, frame 1 of each, ...

        Raises:
            SimulationError: the workload has no frame size.
        """
        _require(self.frame_bytes >= 1 or self.frame_sizes, "frame_bytes", self.frame_bytes, "1 or more")
        stagger = np.arange(self.senders) / (self.senders * self.fps)
        sizes = self.frame_sizes or (self.frame_bytes,) * self.frames
        return Frames(
            ready_s=(self.due_s()[:, None] + stagger).ravel(),
            size_bytes=np.repeat(np.array(sizes, dtype=np.int64), self.senders),
            deadline_s=(self.deadlines_s()[:, None] + stagger).ravel(),
            atom_bytes=self.atom_bytes,
            sender=np.tile(np.arange(self.senders), self.frames),
            answer_bytes=self.answer_bytes,
        )


def _require(holds: object, where: str, given: object, expected: str) -> None:
    if not holds:
        raise SimulationError(f"{shown(given)} is out of range, it must be {expected}", where=where)


def _bounded(record: object, *names: str) -> None:
    """Hold fields to their bounds; those that are None unless told may be None."""
    for name in names:
        value = getattr(record, name)
        optional = vars(type(record))["__dataclass_fields__"][name].default is None
        _require((optional and value is None) or BOUNDS[name].holds(value), name, value, str(BOUNDS[name]))


def _all_bounded(values: Any, name: str, bound: Bound, zero: bool = False) -> FloatArray:
    """Entries within a bound, or 0 where that is allowed, as an array."""
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        array = np.array(np.nan)
    _require(array.ndim == 1, name, values, "a list of numbers")
    within = (array > bound.low) if bound.above else (array >= bound.low)
    within &= (array < bound.high) if bound.below else (array <= bound.high)
    if bound.whole:
        within &= array == np.floor(array)
    within |= zero & (array == 0)
    expected = f"0, or {bound}" if zero and bound.low > 0 else str(bound)
    _require(within.all(), name, array[~within][0] if not within.all() else "", expected)
    return array


@dataclass(frozen=True)
class Hop:
    """One crossing from a device to the next: at which cut, coded and sent how.

    `bottleneck` is the compression ratio of the trained autoencoder at the cut; 0: the network's own tensors cross.
    """

    cut: int
    codec: str
    transport: str
    link: Link
    bottleneck: float = 0.0


@dataclass(frozen=True)
class Plan:
    """One design: n devices and n - 1 hops. LC has no hop, RC hops at cut 0, SC in between.

    Raises:
        PlanError: another number of hops, a cut in front of the one before it, or two devices or links of one name.
    """

    id: str
    devices: tuple[Device, ...]
    hops: tuple[Hop, ...] = ()

    def __post_init__(self) -> None:
        place = f"plan '{shown(self.id)}'"
        if len(self.devices) != len(self.hops) + 1:
            given = f"{len(self.devices)} devices with {len(self.hops)} hops"
            raise PlanError(f"{given} are given, there is one hop between two devices", where=place)
        cuts = [hop.cut for hop in self.hops]
        if cuts != sorted(cuts) or min(cuts, default=0) < 0:
            raise PlanError(f"the cuts {listed(cuts)} go back, no layer is run twice", where=place)
        stages = Counter([*(device.name for device in self.devices), *(hop.link.name for hop in self.hops)])
        for name, times in stages.items():
            if times > 1:
                problem = f"{times} of its devices and links are called '{shown(name)}'"
                raise PlanError(problem, where=place, hint="give each a name of its own")

    @property
    def configuration(self) -> Literal["LC", "RC", "SC"]:
        if not self.hops:
            return "LC"
        return "RC" if self.hops[0].cut == 0 else "SC"


@dataclass(frozen=True)
class Payload:
    """What a codec made of one frame. Packets carry whole atoms of `atom_bytes`."""

    data: bytes
    atom_bytes: int = 1


ByteRange = tuple[int, int]
"""Half open: first byte, byte after the last."""


@dataclass(frozen=True)
class Frames:
    """What is handed to a transport, arrays of shape (frames,).

    Attributes:
        ready_s: when a frame may start to be sent.
        size_bytes: its size.
        deadline_s: when the receiver uses it as it is, if parts are missing.
        atom_bytes: packets carry whole atoms of this size.
        sender: which of the devices on the link sends it, 0 and up; None: there is one.
        answer_bytes: the size of the answer that goes back once it is complete; 0: none.
    """

    ready_s: FloatArray
    size_bytes: IntArray
    deadline_s: FloatArray
    atom_bytes: int = 1
    sender: IntArray | None = None
    answer_bytes: int = 0

    def __post_init__(self) -> None:
        _bounded(self, "atom_bytes", "answer_bytes")
        for name, bound in (("ready_s", "ready_s"), ("deadline_s", "ready_s"), ("size_bytes", "size_bytes")):
            _all_bounded(getattr(self, name), name, BOUNDS[bound])
        counts = {len(array) for array in (self.ready_s, self.size_bytes, self.deadline_s)}
        if self.sender is not None:
            most = BOUNDS["senders"].high - 1
            counts.add(len(_all_bounded(self.sender, "sender", Bound(0, most, whole=True))))
        _require(len(counts) == 1, "size_bytes", "arrays of different lengths", "one entry a frame in each")
        _require((self.deadline_s >= self.ready_s).all(), "deadline_s", "a deadline before its frame is sent", "later")


@dataclass(frozen=True)
class Deliveries:
    """What a transport did to each frame, arrays of shape (frames,).

    Attributes:
        sent_s: when its first bit went onto the link.
        complete_s: when the receiver has all that it will ever use of it.
        packets: data packets sent, retransmissions included.
        lost_packets: data packets that the link dropped.
        retransmissions: data packets sent again.
        wire_bytes: bytes put onto the link, headers and retransmissions included.
        erased: for each frame the byte ranges that are missing when it is used, in order.
        arrived: False where nothing came at all.
        first_s: when the first of its bytes arrived; NaN where nothing came.
        answered_s: when the sender has the answer; NaN where there is none.
        stable: False where frames come faster than the link carries them, so that latency grows with their number.
    """

    sent_s: FloatArray
    complete_s: FloatArray
    packets: IntArray
    lost_packets: IntArray
    retransmissions: IntArray
    wire_bytes: IntArray
    erased: tuple[tuple[ByteRange, ...], ...]
    arrived: npt.NDArray[np.bool_]
    first_s: FloatArray
    answered_s: FloatArray
    stable: bool = True

    @property
    def lost_packet_rate(self) -> float:
        packets = int(self.packets.sum())
        return float(self.lost_packets.sum()) / packets if packets else 0.0


class Transport(Protocol):
    """Seam 1: a simulated link, a loopback or a socket."""

    def transfer(self, frames: Frames) -> Deliveries: ...


class Codec(Protocol):
    """Seam 2: tensors <-> bytes, for tensors of fixed shapes and with constants calibrated beforehand.

    `tolerates_loss` says whether `decode` can fill a gap; where it cannot, a frame with a gap is lost. `previous` is
    the frame before as it was decoded, for codecs that fill with it.
    """

    name: str
    tolerates_loss: bool

    def encode(self, tensors: Sequence[Array]) -> Payload: ...

    def decode(
        self, data: bytes, erased: Sequence[ByteRange] = (), previous: Sequence[Array] | None = None
    ) -> tuple[Array, ...]: ...


@dataclass(frozen=True)
class Evaluation:
    """What one plan does: its accuracy, its latency, its loss, what it costs.

    Attributes:
        accuracy: the value of `quality`; for a classifier the share of right answers, a mean over pictures.
        accuracy_ci: its 95 % interval; pictures are counted, not pictures times loss patterns.
        on_time_accuracy: the same, where an answer later than the workload's deadline is wrong.
        latency_s: time from a frame's due time to its answer, shape (seeds, frames); NaN for a frame that a full queue
            dropped.
        parts_s: mean seconds of a frame on the device, in the codec, on the link, on the server, and in each queue.
        estimates: the names of those parts whose time was not measured on the machine that has it.
        payload_bytes: mean size of a frame's payload, without headers.
        fps: answers a second that the pipeline sustains.
        stable: False where work arrives faster than some stage can do it, so that latency grows without end.
        dropped_frames: share of frames that a full queue dropped.
        energy_j: what the first device spends on a frame, computing and sending; None: its power is not known.
        memory_bytes: weights and activations on each device, in the order of the plan's.
        cut_depth: layers on the first device; 0 where the raw input leaves it.
        utilisation: busy share of each stage, by name.
        bottleneck: the busiest stage.
        impossible: why the plan cannot run at all, in words; empty where it can.
        quality: what `accuracy` is called: "accuracy", "miou" or "rmse".
        intervals: the 95 % bootstrap interval of each metric that chance touches.
        contributions: what each sample contributes to the quality, shape (replications, samples, k); None: not known.
        on_time_contributions: the same, where a late answer counts as none.
        summarise: the quality of a sum of contributions, (k,) -> number.
        of_replications: the metrics with one value a replication, each (replications,).
    """

    plan: Plan
    accuracy: float
    accuracy_ci: tuple[float, float]
    latency_s: FloatArray
    parts_s: dict[str, float] = field(default_factory=dict)
    estimates: tuple[str, ...] = ()
    payload_bytes: float = 0.0
    lost_packet_rate: float = 0.0
    fps: float = 0.0
    stable: bool = True
    on_time_accuracy: float = 0.0
    dropped_frames: float = 0.0
    energy_j: float | None = None
    memory_bytes: tuple[int, ...] = ()
    cut_depth: int = 0
    utilisation: dict[str, float] = field(default_factory=dict)
    bottleneck: str = ""
    impossible: tuple[str, ...] = ()
    quality: str = "accuracy"
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    contributions: FloatArray | None = None
    on_time_contributions: FloatArray | None = None
    summarise: Callable[[FloatArray], float] | None = None
    of_replications: dict[str, FloatArray] = field(default_factory=dict)

    def metrics(self) -> dict[str, float]:
        """The numbers that a requirement may speak of, in SI units; those that are not known are left out."""
        known = {
            self.quality: self.accuracy,
            f"on_time_{self.quality}": self.on_time_accuracy,
            **latency_metrics(self.latency_s),
            "fps": self.fps,
            "payload_bytes": self.payload_bytes,
            "lost_packet_rate": self.lost_packet_rate,
            "dropped_frames": self.dropped_frames,
            "cut_depth": float(self.cut_depth),
        }
        if self.energy_j is not None:
            known["energy"] = self.energy_j
        if self.memory_bytes:
            known["device_memory"] = float(self.memory_bytes[0])
        return known


def latency_metrics(latency_s: FloatArray) -> dict[str, float]:
    """Mean, percentiles and maximum of all frames that were answered; infinite where none was."""
    answered = latency_s[~np.isnan(latency_s)]
    if not len(answered):
        return dict.fromkeys(LATENCIES, np.inf)
    p50, p95, p99 = np.percentile(answered, [50, 95, 99])
    values = (answered.mean(), p50, p95, p99, answered.max())
    return {name: float(value) for name, value in zip(LATENCIES, values, strict=True)}


LATENCIES = ("latency_mean", "latency_p50", "latency_p95", "latency_p99", "latency_max")
