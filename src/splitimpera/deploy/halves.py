"""A machine's part of a plan, ready to run: frames to payloads on the first one, payloads to results on the last one.

A machine in between makes payloads of payloads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from time import perf_counter

import numpy as np

from splitimpera.bundle.manifest import HopEntry, InputEntry, Manifest, PlanEntry
from splitimpera.bundle.opened import Bundle
from splitimpera.bundle.task_entry import Responding
from splitimpera.codec.codec_names import parsed
from splitimpera.codec.given import array_dtype
from splitimpera.core.array_types import Array, Row
from splitimpera.core.errors import BundleError, CodecError, listed
from splitimpera.deploy.exit_gates import Exits, Said, exits_of
from splitimpera.deploy.inference import can_stack
from splitimpera.deploy.input_preparation import prepared
from splitimpera.deploy.machine_layers import Layers, LoadedPrograms
from splitimpera.records.traffic import ByteRange, Codec, Payload


@dataclass
class Coded:
    """A frame that the device half is through with.

    Attributes:
        payload: What goes to the server; None where the plan has no hop, or the frame left early.
        result: The response, where nothing goes there.
        outputs: What the layers made: what crosses, or the network's outputs that the response was made of.
        head_s, encode_s: What the layers, with post-processing where they are all there are, and the codec took.
        said: What the last head of an early exit says that looked at it; None: there are no exits.
    """

    payload: Payload | None
    result: tuple[Array, ...] | None
    head_s: float
    encode_s: float
    outputs: tuple[Array, ...] | None = None
    said: Said | None = None

    @property
    def left(self) -> Said | None:
        """What the head says by whose answer the frame left early; None: it did not."""
        return self.said if self.said is not None and self.said.leaves else None


@dataclass(frozen=True)
class DeviceHalf:
    """What the first machine of a plan does with a frame: prepare, run its layers, encode.

    Attributes:
        layers: All of them, as they run where frames cannot leave early.
        rest: The layers behind the cut, where the machine has them as well and a plan that was asked for runs there
            alone; they take what crosses, uncoded.
        exits: The same layers as `layers`, where frames may leave in between.
    """

    plan: PlanEntry
    input: InputEntry
    layers: Layers
    codec: Codec | None
    responding: Responding
    rest: Layers | None = None
    exits: Exits | None = None

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
        tensors, said = self._run(frame)
        if said is not None and said.leaves:
            return Coded(None, self.named_by(said), perf_counter() - begun_s, 0.0, None, said)
        if self.codec is None:
            answer = self.responding(tensors)
            return Coded(None, answer, perf_counter() - begun_s, 0.0, tensors, said)
        run_s = perf_counter()
        payload = self.codec.encode(tensors)
        return Coded(payload, None, run_s - begun_s, perf_counter() - run_s, tensors, said)

    def _run(self, frame: Row) -> tuple[Row, Said | None]:
        if self.exits is not None:
            return self.exits(frame)
        (tensors,) = self.layers([frame])
        return tensors, None

    def warm_up(self) -> None:
        """Run all of it once: an engine's first run takes longer."""
        zeros = tuple(np.zeros(entry.shape, array_dtype(entry.spec)) for entry in self.input.tensors)
        self(zeros)
        if self.exits is not None:
            self.exits.warm_up(zeros)

    def named_by(self, said: Said) -> Row:
        """The response that the head of an exit gives: its logits in place of the network's."""
        assert self.exits is not None
        logits = said.logits.astype(self.responding.response[0].dtype)
        return self.responding((logits,) * self.exits.outputs)

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


@dataclass
class Passed:
    """What became of some frames on a machine in the middle.

    Attributes:
        payloads: Of each what goes on to the next machine; None where its codec cannot do without what is missing.
        decode_s, decoded: As of `Predictions`; nothing was decoded of what goes on as it came.
        encode_s: What the codec of the next hop took for each.
        run_s: What the layers took for all of them.
    """

    payloads: list[Payload | None]
    decode_s: list[float]
    decoded: list[tuple[Array, ...] | None]
    encode_s: list[float]
    run_s: float


@dataclass(frozen=True, eq=False)
class ReceivingHalf:
    """What a machine does with frames that come by a hop.

    Attributes:
        hop: The one that they come by.
        layers: What it runs of them.
    """

    plan: PlanEntry
    hop: HopEntry
    codec: Codec
    layers: Layers

    @cached_property
    def batches(self) -> bool:
        """Whether several frames can be run at once."""
        return can_stack(self.layers.inputs + self.layers.outputs)

    @cached_property
    def remembers(self) -> bool:
        """Whether gaps are filled with the frame before."""
        return parsed(self.hop.codec).concealment == "last"

    def __call__(
        self, frames: Sequence[Received], previous: Sequence[Sequence[Array] | None] = ()
    ) -> Predictions | Passed:
        """Run some frames.

        Args:
            previous: For each, the frame before it of the same client as it was decoded, for codecs that fill with it.
        """
        raise NotImplementedError

    def warm_up(self) -> None:
        """Run it once: an engine's first run takes longer."""
        self([Received(_nothing(self.codec, self.hop).data)])

    def decoded(
        self, frames: Sequence[Received], previous: Sequence[Sequence[Array] | None]
    ) -> tuple[list[tuple[Array, ...] | None], list[float]]:
        """The tensors of each frame, None where the codec cannot do without what is missing, and what that took."""
        found: list[tuple[Array, ...] | None] = []
        took_s = []
        for frame, last in zip(frames, previous or [None] * len(frames), strict=True):
            begun_s = perf_counter()
            found.append(self._decoded(frame, last))
            took_s.append(perf_counter() - begun_s)
        return found, took_s

    def _decoded(self, frame: Received, previous: Sequence[Array] | None) -> tuple[Array, ...] | None:
        if frame.erased and not self.codec.tolerates_loss:
            return None
        try:
            return self.codec.decode(frame.data, frame.erased, previous)
        except CodecError:
            return None


@dataclass(frozen=True, eq=False)
class ServerHalf(ReceivingHalf):
    """What the last machine of a plan does with frames: decode, run its layers, make responses of their outputs."""

    responding: Responding

    def __call__(self, frames: Sequence[Received], previous: Sequence[Sequence[Array] | None] = ()) -> Predictions:
        """See `ReceivingHalf`."""
        decoded, took_s = self.decoded(frames, previous)
        good = [tensors for tensors in decoded if tensors is not None]
        begun_s = perf_counter()
        made = [(self.responding(row), row) for row in self.layers(good)] if good else []
        run_s = perf_counter() - begun_s
        rows = iter(made)
        pairs = [(None, None) if tensors is None else next(rows) for tensors in decoded]
        return Predictions([one for one, _ in pairs], took_s, decoded, run_s, [row for _, row in pairs])


@dataclass(frozen=True, eq=False)
class MiddleHalf(ReceivingHalf):
    """What a machine between two others does with frames: decode, run its layers, encode for the next one.

    Where it has no layers and both hops code alike, a payload of which nothing is missing goes on as it came. One with
    gaps is decoded, so that they are filled here, and coded again.

    Attributes:
        onward: The hop that they go on by, `coder` its codec.
        alone: What finishes frames here instead, where the machine has all layers behind `hop` as well.
    """

    onward: HopEntry
    coder: Codec
    alone: ServerHalf | None = None

    @cached_property
    def alike(self) -> bool:
        """Whether payloads may go on as they came."""
        hop, onward = self.hop, self.onward
        same = (hop.number, hop.cut, hop.bottleneck) == (onward.number, onward.cut, onward.bottleneck)
        return same and self.layers.program is None

    @cached_property
    def _element_bytes(self) -> int:
        return _nothing(self.coder, self.onward).element_bytes

    def warm_up(self) -> None:
        """See `ReceivingHalf`."""
        super().warm_up()
        if self.alone is not None:
            self.alone.warm_up()

    def __call__(self, frames: Sequence[Received], previous: Sequence[Sequence[Array] | None] = ()) -> Passed:
        """See `ReceivingHalf`."""
        if self.alike and not self.remembers and not any(frame.erased for frame in frames):
            nothing = [0.0] * len(frames)
            return Passed([self._as_it_came(frame) for frame in frames], nothing, [None] * len(frames), nothing, 0.0)
        decoded, decode_s = self.decoded(frames, previous)
        good = [tensors for tensors in decoded if tensors is not None]
        begun_s = perf_counter()
        rows = iter(self.layers(good) if good else [])
        run_s = perf_counter() - begun_s
        payloads: list[Payload | None] = []
        encode_s = []
        for frame, tensors in zip(frames, decoded, strict=True):
            begun_s = perf_counter()
            payloads.append(None if tensors is None else self._sent_on(frame, next(rows)))
            encode_s.append(perf_counter() - begun_s)
        return Passed(payloads, decode_s, decoded, encode_s, run_s)

    def _sent_on(self, frame: Received, tensors: Sequence[Array]) -> Payload:
        return self._as_it_came(frame) if self.alike and not frame.erased else self.coder.encode(tensors)

    def _as_it_came(self, frame: Received) -> Payload:
        return Payload(frame.data, self._element_bytes)


def _nothing(codec: Codec, hop: HopEntry) -> Payload:
    """A payload of zeros."""
    return codec.encode([np.zeros(entry.spec.shape, array_dtype(entry.spec)) for entry in hop.tensors])


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
    manifest, loaded, entries = bundle.manifest, LoadedPrograms(bundle, threads), _entries(bundle.manifest, plans)
    alone = any(not entry.hops for entry in entries)
    halves = {}
    for entry in entries:
        codec = bundle.codec(entry.hops[0]) if entry.hops else None
        layers, rest = loaded.layers(entry, 0), loaded.rest(entry) if alone else None
        exits = exits_of(loaded, manifest, entry)
        halves[entry.id] = DeviceHalf(entry, manifest.input, layers, codec, manifest.responding, rest, exits)
    return halves


def server_half(bundle: Bundle, plan: str | None = None, threads: int = 1) -> ServerHalf:
    """The server's part of a plan; arguments and errors as of `device_half`.

    Raises:
        BundleError: besides, where the plan runs on the device alone.
    """
    (half,) = server_halves(bundle, [bundle.manifest.plan(plan).id], threads).values()
    return half


def server_halves(bundle: Bundle, plans: Iterable[str], threads: int = 1) -> dict[str, ServerHalf]:
    """The last machine's parts of several plans, as `device_halves` has the first one's.

    Raises:
        BundleError: as of `server_half`.
    """
    loaded = LoadedPrograms(bundle, threads)
    return {entry.id: _last_half(bundle, loaded, entry) for entry in map(bundle.manifest.plan, plans)}


def receiving_halves(bundle: Bundle, plans: Iterable[str], machine: str, threads: int = 1) -> dict[str, ReceivingHalf]:
    """What a machine does with frames that come to it, by plan: it is a plan's last one, or one in the middle.

    Raises:
        BundleError: as of `server_half`; or no frame of a plan comes to this machine.
    """
    loaded, halves = LoadedPrograms(bundle, threads), dict[str, ReceivingHalf]()
    for entry in map(bundle.manifest.plan, plans):
        place = entry.machines.index(machine) if machine in entry.machines else 0
        if entry.hops and not place:
            raise BundleError(
                f"no frame of plan '{entry.id}' comes to '{machine}'", hint=f"they come to {listed(entry.machines[1:])}"
            )
        halves[entry.id] = (
            _last_half(bundle, loaded, entry)
            if place == len(entry.hops)
            else _middle_half(bundle, loaded, entry, place)
        )
    return halves


def _last_half(bundle: Bundle, loaded: LoadedPrograms, plan: PlanEntry) -> ServerHalf:
    if not plan.hops:
        raise BundleError(f"plan '{plan.id}' runs on the device alone, there is nothing to serve")
    hop, layers = plan.hops[-1], loaded.layers(plan, len(plan.hops))
    return ServerHalf(plan, hop, bundle.codec(hop), layers, bundle.manifest.responding)


def _middle_half(bundle: Bundle, loaded: LoadedPrograms, plan: PlanEntry, place: int) -> MiddleHalf:
    hop, onward, whole = plan.hops[place - 1], plan.hops[place], loaded.whole(plan, place)
    codec = bundle.codec(hop)
    alone = None if whole is None else ServerHalf(plan, hop, codec, whole, bundle.manifest.responding)
    return MiddleHalf(plan, hop, codec, loaded.layers(plan, place), onward, bundle.codec(onward), alone)


def _entries(manifest: Manifest, names: Iterable[str] | None) -> list[PlanEntry]:
    return manifest.plans if names is None else [manifest.plan(name) for name in names]
