"""A machine's part of a plan, ready to run: frames to payloads on the device, payloads to results on the server."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from time import perf_counter

import numpy as np

from splitimpera.bundle.manifest import HopEntry, InputEntry, Manifest, PlanEntry, spans
from splitimpera.bundle.opened import Bundle
from splitimpera.bundle.segments import SegmentEntry, Span, chained
from splitimpera.bundle.task_entry import Responding
from splitimpera.codec.codecs import parsed
from splitimpera.core.array_types import Array
from splitimpera.core.errors import BundleError, CodecError, DataError
from splitimpera.deploy.inference import Program, as_stored, can_stack, in_a_row, load_program, stacked, unstacked
from splitimpera.records.graph import TensorSpec
from splitimpera.records.traffic import ByteRange, Codec, Payload


@dataclass(frozen=True)
class Layers:
    """The program of a machine's layers; without one, frames go through as they are.

    Attributes:
        inputs, outputs: The tensors of one frame.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    program: Program | None

    def __call__(self, frames: Sequence[Sequence[Array]]) -> list[tuple[Array, ...]]:
        """Run some frames, at once where their tensors stack."""
        typed = [as_stored(frame, self.inputs) for frame in frames]
        if self.program is None:
            return typed
        if not can_stack(self.inputs + self.outputs):
            return [tuple(self.program(frame)) for frame in typed]
        return unstacked(self.program(stacked(typed, self.inputs)), self.outputs, len(typed))


@dataclass
class Coded:
    """A frame that the device half is through with.

    Attributes:
        payload: What goes to the server; None where the plan has no hop.
        result: The response, where it has none.
        outputs: What the layers made: what crosses, or the network's outputs that the response was made of.
        head_s, encode_s: What the layers, with post-processing where they are all there are, and the codec took.
    """

    payload: Payload | None
    result: tuple[Array, ...] | None
    head_s: float
    encode_s: float
    outputs: tuple[Array, ...] | None = None


@dataclass(frozen=True)
class DeviceHalf:
    """What the first machine of a plan does with a frame: prepare, run its layers, encode.

    Attributes:
        rest: The layers behind the cut, where the machine has them as well and a plan that was asked for runs there
            alone; they take what crosses, uncoded.
    """

    plan: PlanEntry
    input: InputEntry
    layers: Layers
    codec: Codec | None
    responding: Responding
    rest: Layers | None = None

    @property
    def hop(self) -> HopEntry | None:
        return self.plan.hops[0] if self.plan.hops else None

    def __call__(self, x: Array | Sequence[Array]) -> Coded:
        """Run one frame; `x` as `prepared` has it.

        Raises:
            DataError: this is no input of the network.
        """
        frame = prepared(x, self.input)
        begun_s = perf_counter()
        (tensors,) = self.layers([frame])
        if self.codec is None:
            answer = self.responding(tensors)
            return Coded(None, answer, perf_counter() - begun_s, 0.0, tensors)
        run_s = perf_counter()
        payload = self.codec.encode(tensors)
        return Coded(payload, None, run_s - begun_s, perf_counter() - run_s, tensors)

    def finished(self, crossing: Sequence[Array]) -> tuple[Array, ...]:
        """The response to a frame that the layers behind the cut finish here."""
        assert self.rest is not None
        (tensors,) = self.rest([crossing])
        return self.responding(tensors)


@dataclass
class Received:
    """A frame as it came: its payload with zeros where bytes are missing, and which these are."""

    data: bytes
    erased: tuple[ByteRange, ...] = ()


@dataclass
class Predictions:
    """What became of some frames on the server.

    Attributes:
        results: Tensors of each one's response; None where its codec cannot do without what is missing.
        decode_s: What the codec took for each.
        decoded: What it made of each, for those that fill gaps with the frame before.
        outputs: The network's outputs that each response was made of.
        run_s: What layers and post-processing took for all of them.
    """

    results: list[tuple[Array, ...] | None]
    decode_s: list[float]
    decoded: list[tuple[Array, ...] | None] = field(default_factory=list)
    run_s: float = 0.0
    outputs: list[tuple[Array, ...] | None] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class ServerHalf:
    """What the last machine of a plan does with frames: decode, run its layers, make responses of their outputs."""

    plan: PlanEntry
    hop: HopEntry
    codec: Codec
    layers: Layers
    responding: Responding

    @cached_property
    def batches(self) -> bool:
        """Whether several frames can be run at once."""
        return can_stack(self.layers.inputs + self.layers.outputs)

    @cached_property
    def remembers(self) -> bool:
        """Whether gaps are filled with the frame before."""
        return parsed(self.hop.codec).concealment == "last"

    def __call__(self, frames: Sequence[Received], previous: Sequence[Sequence[Array] | None] = ()) -> Predictions:
        """Run some frames.

        Args:
            previous: For each, the frame before it of the same client as it was decoded, for codecs that fill with it.
        """
        before = previous or [None] * len(frames)
        decoded: list[tuple[Array, ...] | None] = []
        took_s = []
        for frame, last in zip(frames, before, strict=True):
            begun_s = perf_counter()
            decoded.append(self._decoded(frame, last))
            took_s.append(perf_counter() - begun_s)
        good = [tensors for tensors in decoded if tensors is not None]
        begun_s = perf_counter()
        made = [(self.responding(row), row) for row in self.layers(good)] if good else []
        run_s = perf_counter() - begun_s
        rows = iter(made)
        pairs = [(None, None) if tensors is None else next(rows) for tensors in decoded]
        return Predictions([one for one, _ in pairs], took_s, decoded, run_s, [row for _, row in pairs])

    def _decoded(self, frame: Received, previous: Sequence[Array] | None) -> tuple[Array, ...] | None:
        if frame.erased and not self.codec.tolerates_loss:
            return None
        try:
            return self.codec.decode(frame.data, frame.erased, previous)
        except CodecError:
            return None


def device_half(bundle: Bundle, plan: str | None = None, threads: int = 1) -> DeviceHalf:
    """The device's part of a plan.

    Args:
        plan: Its name; None: the recommended one.
        threads: How many threads the engine has.

    Raises:
        BundleError: the bundle has no such plan, lacks this machine's files, or they are not what was exported.
    """
    (half,) = device_halves(bundle, [bundle.manifest.plan(plan).id], threads).values()
    return half


def device_halves(bundle: Bundle, plans: Iterable[str] | None = None, threads: int = 1) -> dict[str, DeviceHalf]:
    """The device's parts of several plans, by name; a program that several of them run is loaded once.

    Args:
        plans: Their names; None: all plans of the bundle.

    Raises:
        BundleError: as of `device_half`.
    """
    manifest, loaded, entries = bundle.manifest, _Loaded(bundle, threads), _entries(bundle.manifest, plans)
    alone = any(not entry.hops for entry in entries)
    halves = {}
    for entry in entries:
        codec = bundle.codec(entry.hops[0]) if entry.hops else None
        layers, rest = loaded.layers(entry, 0), loaded.rest(entry) if alone else None
        halves[entry.id] = DeviceHalf(entry, manifest.input, layers, codec, manifest.responding, rest)
    return halves


def server_half(bundle: Bundle, plan: str | None = None, threads: int = 1) -> ServerHalf:
    """The server's part of a plan; arguments and errors as of `device_half`.

    Raises:
        BundleError: besides, where the plan runs on the device alone.
    """
    (half,) = server_halves(bundle, [bundle.manifest.plan(plan).id], threads).values()
    return half


def server_halves(bundle: Bundle, plans: Iterable[str], threads: int = 1) -> dict[str, ServerHalf]:
    """The server's parts of several plans, as `device_halves` has the device's.

    Raises:
        BundleError: as of `server_half`.
    """
    loaded, halves = _Loaded(bundle, threads), {}
    for entry in _entries(bundle.manifest, plans):
        if not entry.hops:
            raise BundleError(f"plan '{entry.id}' runs on the device alone, there is nothing to serve")
        hop, layers = entry.hops[-1], loaded.layers(entry, len(entry.hops))
        halves[entry.id] = ServerHalf(entry, hop, bundle.codec(hop), layers, bundle.manifest.responding)
    return halves


def _entries(manifest: Manifest, names: Iterable[str] | None) -> list[PlanEntry]:
    return manifest.plans if names is None else [manifest.plan(name) for name in names]


def prepared(x: Array | Sequence[Array], wanted: InputEntry) -> tuple[Array, ...]:
    """The network's input for one frame.

    Args:
        x: The tensors themselves, without a batch dimension: one, or several in a list or tuple; or, where the network
            takes images, an image of 8 or 16 bits, (H, W, C) or, in grey, (H, W).

    Raises:
        DataError: it is none.
    """
    specs = tuple(entry.spec for entry in wanted.tensors)
    arrays = [np.asarray(one) for one in (x if isinstance(x, list | tuple) else [x])]
    if wanted.pixels is not None and len(arrays) == 1 and arrays[0].dtype in (np.uint8, np.uint16):
        arrays = [_normalised(arrays[0], wanted)]
    if len(arrays) != len(specs):
        raise DataError(f"the network takes {len(specs)} inputs, {len(arrays)} are given", where="input")
    for array, spec in zip(arrays, specs, strict=True):
        if array.shape != spec.shape or not np.can_cast(
            array.dtype, spec.dtype.replace("bfloat16", "float32"), "same_kind"
        ):
            raise DataError(
                f"{array.dtype} of shape {array.shape} is given, the network takes {spec.dtype} of shape {spec.shape}"
                + (", or an image of 8 or 16 bits" if wanted.pixels is not None else ""),
                where="input",
            )
    return as_stored(arrays, specs)


def _normalised(image: Array, wanted: InputEntry) -> Array:
    """uint8 or uint16 (H, W, C) -> float32 (C, H, W), to the bit what `models.pixels` makes of it."""
    assert wanted.pixels is not None
    grey = image[..., None] if image.ndim == 2 else image
    channels = wanted.tensors[0].shape[0] if wanted.tensors[0].shape else 0
    if grey.ndim != 3 or grey.shape[2] != channels or len(wanted.pixels.mean) != channels:
        raise DataError(f"an image of shape {image.shape} is given, {channels} channels are expected", where="input")
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (wanted.pixels.mean, wanted.pixels.std))
    x = grey.transpose(2, 0, 1).astype(np.float32, order="C")
    x /= np.float32(np.iinfo(image.dtype).max)
    x -= mean
    x /= std
    return x


class _Loaded:
    """The programs of a bundle, each loaded once."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        self._bundle, self._threads = bundle, threads
        self._programs: dict[tuple[str, str], Program] = {}

    def layers(self, plan: PlanEntry, place: int) -> Layers:
        """Those of a machine of a plan."""
        manifest = self._bundle.manifest
        chain = manifest.chain(plan, place)
        if not chain:
            crossing = _crossing(manifest, plan, spans(plan, manifest.last)[place])
            return Layers(crossing, crossing, None)
        return self._row(chain)

    def rest(self, plan: PlanEntry) -> Layers | None:
        """Those behind the first cut, where the first machine has them; None for plans of one machine, too."""
        if not plan.hops or plan.hops[0].bottleneck or plan.hops[0].cut == self._bundle.manifest.last:
            return None
        behind = Span(plan.hops[0].cut, self._bundle.manifest.last)
        chain = chained(self._bundle.manifest.part(plan.machines[0]).segments, behind)
        return self._row(chain) if chain else None

    def _row(self, chain: Sequence[SegmentEntry]) -> Layers:
        inputs, outputs = (tuple(entry.spec for entry in some) for some in (chain[0].inputs, chain[-1].outputs))
        return Layers(inputs, outputs, in_a_row([self._program(segment) for segment in chain]))

    def _program(self, segment: SegmentEntry) -> Program:
        key = segment.engine, segment.file
        if key not in self._programs:
            self._programs[key] = load_program(segment.engine, self._bundle.read(segment.file), self._threads)
        return self._programs[key]


def _crossing(manifest: Manifest, plan: PlanEntry, span: Span) -> tuple[TensorSpec, ...]:
    """What goes through a machine without layers of its own."""
    if span.start == 0:
        entries = manifest.input.tensors
    elif span.start == manifest.last:
        entries = manifest.result
    else:
        entries = next(hop.tensors for hop in plan.hops if hop.cut == span.start)
    return tuple(entry.spec for entry in entries)
