"""Frames on their way, and the protocols of the two seams: transports and codecs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Protocol, overload

import numpy as np
import numpy.typing as npt

from splitimpera.core.array_types import Array, FloatArray, IntArray
from splitimpera.core.bounds import BOUNDS, MOST_DUE_S, MOST_FRAMES, Bound
from splitimpera.core.errors import SimulationError
from splitimpera.records.checks import all_bounded, bounded, require
from splitimpera.records.token_workload import TokenWorkload


@dataclass(frozen=True)
class DirectAnswers:
    """A way back from a plan's last device to the first one, past those in the middle; nothing is lost on it."""

    rate_bps: float
    delay_s: float

    def __post_init__(self) -> None:
        bounded(self, "rate_bps", "delay_s")

    def takes_s(self, size_bytes: int) -> float:
        """How long an answer is on its way: delay + bits / rate.

        Example:
            >>> DirectAnswers(rate_bps=1e6, delay_s=0.02).takes_s(125)
            0.021
        """
        return self.delay_s + 8 * size_bytes / self.rate_bps


@dataclass(frozen=True)
class Workload:
    """Frames at a fixed rate, or at given times.

    Attributes:
        fps: Frames a second; frame i is due at i / fps.
        frames: Number of frames, for each sender.
        deadline_s: Time from when a UDP frame is due until it is used with what came, as the receiver counts it; None:
            one frame period.
        frame_bytes: Size of every frame, where no plan gives it.
        element_bytes: Size of one tensor element; packets carry whole elements.
        frame_sizes: Size of each frame, in place of `frame_bytes`.
        times_s: Due time of each frame, ascending, in place of the fixed rate.
        senders: Number of devices that send such frames over the same link, their frames evenly staggered.
        response_bytes: Size of the response that goes back when a frame is complete; 0: none is simulated.
        direct: By which way answers of plans with devices in the middle come back; None: along the hops.
        tokens: What each frame asks of a language model, as a request; None: frames are samples, answered at once.

    Example:
        >>> Workload(fps=20, frames=3).due_s()
        array([0.  , 0.05, 0.1 ])
    """

    fps: float
    frames: int = 1000
    deadline_s: float | None = None
    frame_bytes: int = 0
    element_bytes: int = 1
    frame_sizes: tuple[int, ...] = ()
    times_s: tuple[float, ...] = ()
    senders: int = 1
    response_bytes: int = 0
    direct: DirectAnswers | None = None
    tokens: TokenWorkload | None = None

    def __post_init__(self) -> None:
        bounded(self, "fps", "frames", "senders", "deadline_s", "frame_bytes", "element_bytes", "response_bytes")
        if self.frames * self.senders > MOST_FRAMES:
            raise SimulationError(
                f"{self.frames} frames from each of {self.senders} senders are too many, at most {MOST_FRAMES} are "
                "simulated",
                where="frames",
            )
        for name, values in (("frame_sizes", self.frame_sizes), ("times_s", self.times_s)):
            require(len(values) in (0, self.frames), name, f"{len(values)} entries", f"one a frame, {self.frames}")
        all_bounded(self.frame_sizes, "frame_sizes", BOUNDS["size_bytes"])
        times = all_bounded(self.times_s, "times_s", BOUNDS["times_s"])
        require((np.diff(times) >= 0).all(), "times_s", "a time before the one in front of it", "ascending")
        if not self.times_s and self.frames > MOST_DUE_S * self.fps:
            raise SimulationError(
                f"{self.frames} frames at {self.fps:g} a second take {self.frames / self.fps:.3g} s, at most "
                f"{MOST_DUE_S:g} s are simulated",
                where="fps",
                hint="take fewer frames, or more a second",
            )

    def along_bytes(self, hops: int) -> int:
        """Size of the response that every hop of a plan of so many carries back."""
        return 0 if self.direct is not None and hops > 1 else self.response_bytes

    def direct_s(self, hops: int) -> float:
        """How long an answer takes that no hop of a plan of so many carries; 0 where hops do, or there is none."""
        if self.direct is None or hops < 2 or not self.response_bytes:
            return 0.0
        return self.direct.takes_s(self.response_bytes)

    def plain(self) -> dict[str, Any]:
        """All of it as plain values; the way of direct answers and the requests' tokens where there are any."""
        left_out = [name for name in ("direct", "tokens") if getattr(self, name) is None]
        return {name: value for name, value in asdict(self).items() if name not in left_out}

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
        require(self.frame_bytes >= 1 or self.frame_sizes, "frame_bytes", self.frame_bytes, "1 or more")
        stagger = np.arange(self.senders) / (self.senders * self.fps)
        sizes = self.frame_sizes or (self.frame_bytes,) * self.frames
        return Frames(
            ready_s=(self.due_s()[:, None] + stagger).ravel(),
            size_bytes=np.repeat(np.array(sizes, dtype=np.int64), self.senders),
            deadline_s=(self.deadlines_s()[:, None] + stagger).ravel(),
            element_bytes=self.element_bytes,
            sender=np.tile(np.arange(self.senders), self.frames),
            response_bytes=self.response_bytes,
            asked=self.deadline_s is not None,
        )


@dataclass(frozen=True)
class Payload:
    """What a codec made of one frame. Packets carry whole elements of `element_bytes`."""

    data: bytes
    element_bytes: int = 1


ByteRange = tuple[int, int]
"""Half open: first byte, byte after the last."""


@dataclass(frozen=True)
class Frames:
    """What is handed to a transport, arrays of shape (frames,).

    Attributes:
        ready_s: Time when a frame may start to be sent.
        size_bytes: Size of a frame.
        deadline_s: Time by which the receiver uses a frame as it is, if parts are missing.
        element_bytes: Size of an element; packets carry whole ones.
        sender: Number of the device that sends a frame, 0 and up; None: there is one device.
        response_bytes: Size of the response that goes back once a frame is complete; 0: none.
        asked: Whether somebody asked for these deadlines. Where nobody did, a frame has at least the time that it takes
            to pass the link.
    """

    ready_s: FloatArray
    size_bytes: IntArray
    deadline_s: FloatArray
    element_bytes: int = 1
    sender: IntArray | None = None
    response_bytes: int = 0
    asked: bool = True

    def __post_init__(self) -> None:
        bounded(self, "element_bytes", "response_bytes")
        for name, bound in (("ready_s", "ready_s"), ("deadline_s", "ready_s"), ("size_bytes", "size_bytes")):
            all_bounded(getattr(self, name), name, BOUNDS[bound])
        counts = {len(array) for array in (self.ready_s, self.size_bytes, self.deadline_s)}
        if self.sender is not None:
            most = BOUNDS["senders"].high - 1
            counts.add(len(all_bounded(self.sender, "sender", Bound(0, most, whole=True))))
        require(len(counts) == 1, "size_bytes", "arrays of different lengths", "one entry a frame in each")
        require((self.deadline_s >= self.ready_s).all(), "deadline_s", "a deadline before its frame is sent", "later")


class Gaps(Sequence[tuple[ByteRange, ...]]):
    """The missing byte ranges of frames, in arrays; those of a frame become a tuple when they are asked for.

    Args:
        starts, stops: The ranges of all frames, one frame after the other, shape (ranges,) each.
        bounds: Where those of each frame begin and end among them, shape (frames + 1,).
        places: Which of these each frame is, shape (frames,).

    >>> gaps = Gaps(np.array([0, 20]), np.array([10, 50]), np.array([0, 0, 2]), np.array([1, 0]))
    >>> list(gaps), gaps.missing_bytes.tolist()
    ([((0, 10), (20, 50)), ()], [40, 0])
    """

    def __init__(self, starts: IntArray, stops: IntArray, bounds: IntArray, places: IntArray) -> None:
        self.starts, self.stops, self.bounds, self.places = starts, stops, bounds, places

    @overload
    def __getitem__(self, place: int) -> tuple[ByteRange, ...]: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[tuple[ByteRange, ...], ...]: ...

    def __getitem__(self, place: int | slice) -> tuple[object, ...]:
        if isinstance(place, slice):
            return tuple(self[index] for index in range(len(self))[place])
        frame = self.places[place]
        ranges = slice(self.bounds[frame], self.bounds[frame + 1])
        return tuple(zip(self.starts[ranges].tolist(), self.stops[ranges].tolist(), strict=True))

    def __len__(self) -> int:
        return len(self.places)

    def __eq__(self, other: object) -> bool:
        return tuple(self) == (tuple(other) if isinstance(other, Gaps) else other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))

    @property
    def missing_bytes(self) -> IntArray:
        """How much of each frame is missing, shape (frames,)."""
        until = np.append(0, np.cumsum(self.stops - self.starts))
        missing: IntArray = np.diff(until[self.bounds])[self.places]
        return missing


@dataclass(frozen=True)
class Deliveries:
    """What a transport did to each frame, arrays of shape (frames,).

    Attributes:
        sent_s: Time when the first bit of a frame went onto the link.
        complete_s: Time when the receiver has all that it will ever use of it.
        packets: Number of data packets sent, retransmissions included.
        lost_packets: Number of data packets that the link dropped.
        retransmissions: Number of data packets sent again.
        wire_bytes: Bytes put onto the link, headers and retransmissions included.
        erased: Byte ranges of each frame that are missing when it is used, in order.
        arrived: False where nothing came at all.
        first_s: Time when the first byte of a frame arrived; NaN where nothing came.
        response_s: Time when the sender has the response; NaN where there is none.
        stable: False where frames come faster than the link carries them, so that latency is unbounded.
    """

    sent_s: FloatArray
    complete_s: FloatArray
    packets: IntArray
    lost_packets: IntArray
    retransmissions: IntArray
    wire_bytes: IntArray
    erased: Sequence[tuple[ByteRange, ...]]
    arrived: npt.NDArray[np.bool_]
    first_s: FloatArray
    response_s: FloatArray
    stable: bool = True

    @cached_property
    def missing_bytes(self) -> IntArray:
        """How much of each frame is missing, shape (frames,)."""
        if isinstance(self.erased, Gaps):
            return self.erased.missing_bytes
        missing = np.zeros(len(self.erased), dtype=np.int64)
        for frame, ranges in enumerate(self.erased):
            if ranges:
                missing[frame] = sum(end - start for start, end in ranges)
        return missing

    @property
    def lost_packet_rate(self) -> float:
        """Share of the data packets that the link dropped, 0 to 1."""
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
