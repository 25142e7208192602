"""The layers that a machine of a plan runs, each program of a bundle loaded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from splitimpera.bundle.exit_entries import HeadEntry
from splitimpera.bundle.manifest import PlanEntry
from splitimpera.bundle.opened import Bundle
from splitimpera.bundle.segments import SegmentEntry, Span, chained
from splitimpera.core.array_types import Array
from splitimpera.deploy.inference import Program, as_stored, can_stack, in_a_row, load_program, stacked, unstacked
from splitimpera.records.graph import TensorSpec


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


class LoadedPrograms:
    """The programs of a bundle, each loaded once."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        self._bundle, self._threads = bundle, threads
        self._programs: dict[tuple[str, str], Program] = {}

    def layers(self, plan: PlanEntry, place: int) -> Layers:
        """Those of a machine of a plan."""
        manifest = self._bundle.manifest
        chain = manifest.chain(plan, place)
        if not chain:
            entries = plan.hops[place - 1].tensors if place else manifest.input.tensors
            crossing = tuple(entry.spec for entry in entries)
            return Layers(crossing, crossing, None)
        return self.row(chain)

    def rest(self, plan: PlanEntry) -> Layers | None:
        """Those behind the first cut, where the first machine has them; None for plans of one machine, too."""
        if not plan.hops or plan.hops[0].bottleneck or plan.hops[0].cut == self._bundle.manifest.last:
            return None
        behind = Span(plan.hops[0].cut, self._bundle.manifest.last)
        chain = chained(self._bundle.manifest.part(plan.machines[0]).segments, behind)
        return self.row(chain) if chain else None

    def whole(self, plan: PlanEntry, place: int) -> Layers | None:
        """All behind the hop by which frames come to a machine, where it has them."""
        chain = self._bundle.manifest.rest(plan, place)
        return self.row(chain) if chain else None

    def row(self, chain: Sequence[SegmentEntry | HeadEntry]) -> Layers:
        """Some programs one after another."""
        inputs, outputs = (tuple(entry.spec for entry in some) for some in (chain[0].inputs, chain[-1].outputs))
        return Layers(inputs, outputs, in_a_row([self._program(segment) for segment in chain]))

    def _program(self, segment: SegmentEntry | HeadEntry) -> Program:
        key = segment.engine, segment.file
        if key not in self._programs:
            self._programs[key] = load_program(segment.engine, self._bundle.read(segment.file), self._threads)
        return self._programs[key]
