"""A plan of a design -> a bundle's files and manifest, proven; nothing is written here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save

from splitimpera.bundle.entries import tensor_entry
from splitimpera.bundle.manifest import (
    SCHEMA_VERSION,
    InputEntry,
    Manifest,
    PixelsEntry,
    PlanEntry,
    identified,
    spans,
)
from splitimpera.bundle.opened import Bundle, read_arrays
from splitimpera.bundle.segments import Span
from splitimpera.bundle.stored_targets import stored_targets
from splitimpera.bundle.task_entry import TaskEntry, task_entry
from splitimpera.codec.constants import Constants
from splitimpera.core.array_types import Array
from splitimpera.core.errors import BundleError, ScenarioError, shown
from splitimpera.core.progress import Track, no_progress
from splitimpera.core.registry import nearest
from splitimpera.core.version import __version__
from splitimpera.cost.profiles import fingerprint
from splitimpera.deploy.halves import device_half, prepared
from splitimpera.deploy.inference import stacked
from splitimpera.evaluation.batches import unstack
from splitimpera.evaluation.testbed import Testbed, coding_of
from splitimpera.evaluation.truths import response_bytes
from splitimpera.export.advice import check_machines, extras, left_out
from splitimpera.export.designed import Designed, Say, load_again, read_design
from splitimpera.export.engine_files import SUFFIX, CannotRunError, engines_called, file_of
from splitimpera.export.int8 import calibration_samples, quantised
from splitimpera.export.lacking import refusal
from splitimpera.export.part_modules import Part, part_of
from splitimpera.export.proof import Proven, prove
from splitimpera.models.imports import is_factory
from splitimpera.models.pixels import Pixels
from splitimpera.models.threads import torch_threads
from splitimpera.records.plan import Hop

CODEC, SAMPLES = "codec.safetensors", "samples.npz"
FLOAT, INT8 = "Running the parts in their engine", "Running the quantised parts"


@dataclass(frozen=True, eq=False)
class Exported:
    """A bundle that is proven and not yet written.

    Attributes:
        contents: Every file but the manifest, by its path in the bundle.
        proven: Of the parts as they are in the bundle; `before`: of the same as floats, where they are quantised.
        promised: Quality that the design predicts; None: it was not computed.
        extras: Extras of the package that both machines need.
        left_out: Keys of the scenario, with values, by which the prediction would count what the programs add.
    """

    manifest: Manifest
    contents: Mapping[str, bytes]
    proven: Proven
    before: Proven | None
    promised: float | None
    extras: tuple[str, ...]
    left_out: tuple[str, ...]


def export_bundle(
    run: Path,
    plan: str | None = None,
    *,
    engine: str = "onnx",
    samples: int = 0,
    quantize: str | None = None,
    track: Track[Any] = no_progress,
    say: Say = str,
) -> Exported:
    """The bundle of a plan that a design found.

    Args:
        run: The results folder of the design.
        plan: The plan's id; None: the recommended one.
        engine: "onnx" or "torch"; with a comma between them the device's and the server's.
        samples: How many samples of the test part go with it.
        quantize: "int8": ONNX Runtime's static quantisation, calibrated on training data.
        track: Shows progress.
        say: Takes a line of news.

    Raises:
        SplitImperaError: the design cannot be read again, is of another network or data, names a machine without an
            engine, has a layer that the engine lacks, or the parts do not compute what the network does.
    """
    _check_options(samples, quantize)
    designed = read_design(Path(run), plan)
    check_machines(designed.plan)
    engines = engines_called(engine, len(designed.plan.devices))
    if quantize and set(engines) != {"onnx"}:
        raise ScenarioError(
            "ONNX Runtime quantises its own files only", where="--quantize", hint="take '--engine onnx'"
        )
    testbed = load_again(designed, track, say)
    with torch_threads(1):  # as the halves are run
        return _Export(designed, testbed, engines, samples, track).made(quantize is not None)


def _check_options(samples: int, quantize: str | None) -> None:
    if samples < 0:
        raise ScenarioError(f"{samples} is out of range, it must be 0 or more", where="--samples")
    if quantize not in (None, "int8"):
        hint = nearest(str(quantize), ["int8"])
        raise ScenarioError(f"'{shown(quantize)}' is no way to quantise", where="--quantize", hint=hint)


@dataclass(frozen=True, eq=False)
class _Export:
    designed: Designed
    testbed: Testbed
    engines: Sequence[str]
    samples: int
    track: Track[Any]

    def made(self, quantise: bool) -> Exported:
        contents: dict[str, bytes] = {}
        entry = self._plan_entry(contents)
        machines = spans(entry, self.testbed.last)
        parts = {place: part_of(self.testbed, span) for place, span in enumerate(machines) if not span.empty}
        names = {place: self._file(place, machines[place]) for place in parts}
        for place in self.track(parts, "Exporting the parts", len(parts)):
            contents[names[place]] = self._written(parts[place], machines, place)
        if self.samples:
            contents[SAMPLES] = self._samples()
        manifest = self._manifest(entry, parts, names, contents)
        proven, before = self._proven(manifest, contents, FLOAT), None
        proven.check()
        if quantise:
            contents |= self._quantised(manifest, contents, parts, names)
            manifest = self._manifest(entry, parts, names, contents)
            proven, before = self._proven(manifest, contents, INT8), proven
        manifest = identified(
            manifest.model_dump(mode="json") | {"proofs": [proven.entry(before).model_dump(mode="json")]}
        )
        setting, plan = self.designed.setting, self.designed.plan
        return Exported(
            manifest,
            contents,
            proven,
            before,
            self.designed.entry.metrics.get(self.designed.results.quality),
            tuple(extras(hop.codec for hop in plan.hops)),
            tuple(left_out(setting, plan, self._result_bytes)),
        )

    @cached_property
    def _result_bytes(self) -> int:
        """Mean size of what a response carries, of a task that the other machine knows; else that of the outputs."""
        if is_factory(self.designed.setting.scenario.task.kind):
            return sum(spec.bytes for spec in self.testbed.specs(self.testbed.last, 0.0))
        return response_bytes(self.testbed)

    def _task_entry(self) -> TaskEntry:
        graph, kind = self.testbed.graph, self.designed.setting.scenario.task.kind
        result = [tensor_entry(spec) for spec in graph.cuts[-1].tensors]
        return task_entry(self.testbed.task, kind, graph.outputs, result, self._result_bytes)

    def _plan_entry(self, contents: dict[str, bytes]) -> PlanEntry:
        plan, entry, setting = self.designed.plan, self.designed.entry, self.designed.setting
        return PlanEntry.model_validate(
            {
                "id": plan.id,
                "configuration": plan.configuration,
                "machines": [device.name for device in plan.devices],
                "hops": [self._hop_entry(hop, contents) for hop in plan.hops],
                "fps": float(setting.workload.fps),
                "requirements": [
                    {"text": wanted.text, "weight": wanted.weight} for wanted in self.designed.results.requirements
                ],
                "predicted": dict(entry.metrics),
            }
        )

    def _hop_entry(self, hop: Hop, contents: dict[str, bytes]) -> dict[str, Any]:
        coding = coding_of(hop)
        place = (coding.cut, coding.codec, coding.bottleneck, coding.packet_bytes)
        found = self.testbed.constants(*place)
        file = save({key: np.asarray(array, order="C") for key, array in found.arrays.items()}) if found.arrays else b""
        if file:
            contents[CODEC] = file
        constants = Constants(found.name, found.specs, found.packet_bytes, read_arrays(file) if file else {})
        link, workload = hop.link, self.designed.setting.workload
        return {
            "cut": hop.cut,
            "layer": self.testbed.graph.cuts[hop.cut].name,
            "bottleneck": float(hop.bottleneck),
            "tensors": [tensor_entry(spec).model_dump() for spec in self.testbed.specs(hop.cut, hop.bottleneck)],
            "codec": hop.codec,
            "constants": CODEC if file else None,
            "packet_bytes": coding.packet_bytes,
            "number": constants.plan_id,
            "transport": hop.transport,
            "deadline_s": workload.deadline_s,
            "link": {
                "name": link.name,
                "rate_bps": float(link.rate_bps),
                "delay_s": float(link.delay_s),
                "loss": float(link.loss),
                "mtu_bytes": link.mtu_bytes,
            },
        }

    def _file(self, place: int, span: Span) -> str:
        ratio = span.arriving or span.leaving
        layers = f"layers-{span.start}-{span.end}" + (f"-b{ratio:g}" if ratio else "")
        return f"{self.designed.plan.devices[place].name}/{layers}.{SUFFIX[self.engines[place]]}"

    def _written(self, part: Part, machines: Sequence[Span], place: int) -> bytes:
        try:
            return file_of(part, self.engines[place])
        except CannotRunError as failure:
            raise refusal(self.testbed, machines, self.engines, place, str(failure)) from None

    def _manifest(
        self, entry: PlanEntry, parts: Mapping[int, Part], names: Mapping[int, str], contents: Mapping[str, bytes]
    ) -> Manifest:
        setting, graph, data = self.designed.setting, self.testbed.graph, self.testbed.data
        return identified(
            {
                "schema_version": SCHEMA_VERSION,
                "name": setting.scenario.name,
                "made_by": f"splitimpera {__version__}",
                "network": setting.scenario.network.model,
                "fingerprint": fingerprint(graph),
                "task": self._task_entry().model_dump(),
                "classes": list(data.classes),
                "input": self._input_entry().model_dump(),
                "result": [tensor_entry(spec).model_dump() for spec in graph.cuts[-1].tensors],
                "last": self.testbed.last,
                "plans": [entry.model_dump(mode="json")],
                "parts": [self._part_entry(place, entry, parts, names, contents) for place in range(len(self.engines))],
                "proofs": [],
                "samples": SAMPLES if SAMPLES in contents else None,
                "files": {
                    name: {"sha256": sha256(content).hexdigest(), "bytes": len(content)}
                    for name, content in contents.items()
                },
            }
        )

    def _part_entry(
        self,
        place: int,
        entry: PlanEntry,
        parts: Mapping[int, Part],
        names: Mapping[int, str],
        contents: Mapping[str, bytes],
    ) -> dict[str, Any]:
        segments = []
        if place in parts:
            part, span = parts[place], spans(entry, self.testbed.last)[place]
            segments.append(
                span._asdict()
                | {
                    "engine": self.engines[place],
                    "file": names[place],
                    "inputs": [tensor_entry(spec).model_dump() for spec in part.inputs],
                    "outputs": [tensor_entry(spec).model_dump() for spec in part.outputs],
                }
            )
        needed = [segment["file"] for segment in segments]
        needed += [name for name in (CODEC, *([SAMPLES] if place == 0 else [])) if name in contents]
        return {"machine": entry.machines[place], "segments": segments, "files": needed}

    def _samples(self) -> bytes:
        """Samples from all over the test part, as images where the network takes these."""
        data = self.testbed.data
        rows = torch.linspace(0, len(data.test) - 1, min(self.samples, len(data.test))).round().long()
        some = data.test.take(rows)
        x, *more = (each.numpy() for each in some.tensors(torch.cat(list(some.batches(self.testbed.chunk([]))))))
        images = None if data.pixels is None else _images(x, data.pixels, self._input_entry())
        file, targets = BytesIO(), stored_targets(some.targets.rows(range(len(some))))
        within = getattr(self.testbed.task, "within", None)
        inputs = {f"x{place}": each for place, each in enumerate((x, *more))} if more else {"x": x}
        arrays = (inputs if images is None else {"x": images}) | targets
        if within is not None:
            arrays["near"] = np.asarray(within)
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # no array is called as an option of it
        return file.getvalue()

    def _input_entry(self) -> InputEntry:
        pixels = self.testbed.data.pixels
        known = None if pixels is None else PixelsEntry(mean=list(pixels.mean), std=list(pixels.std))
        return InputEntry(tensors=list(map(tensor_entry, self.testbed.specs(0, 0.0))), pixels=known)

    def _proven(self, manifest: Manifest, contents: Mapping[str, bytes], what: str) -> Proven:
        bundle = held(manifest, contents)
        return prove(bundle, self.designed.plan.id, self.testbed, self.testbed.data.validation, self.track, what)

    def _quantised(
        self,
        manifest: Manifest,
        contents: Mapping[str, bytes],
        parts: Mapping[int, Part],
        names: Mapping[int, str],
    ) -> dict[str, bytes]:
        """The files with 8-bit numbers; what arrives at the server is what the codec makes of training data."""
        frame_bytes = sum(spec.bytes for part in parts.values() for spec in part.inputs)
        some = self.testbed.data.calibration().take(slice(calibration_samples(frame_bytes)))
        half = device_half(held(manifest, contents), self.designed.plan.id)
        arriving: dict[int, list[tuple[Array, ...]]] = {0: [], 1: []}
        for x in some.batches(self.testbed.chunk([])):
            for row in unstack(self.testbed.inputs(x), self.testbed.specs(0, 0.0)):
                arriving[0].append(row)
                payload = half(list(row)).payload if 1 in parts else None
                if payload is not None and half.codec is not None:
                    arriving[1].append(half.codec.decode(payload.data))
        return {
            names[place]: quantised(contents[names[place]], [stacked([row], part.inputs) for row in arriving[place]])
            for place, part in self.track(parts.items(), "Quantising the parts", len(parts))
        }


def _images(x: Array, pixels: Pixels, wanted: InputEntry) -> Array | None:
    """The 8-bit images (N, H, W, C) that some inputs were made of; None where others would come of them."""
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (pixels.mean, pixels.std))
    images = np.clip(np.round((x * std + mean) * 255), 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
    same = all(np.array_equal(prepared(image, wanted)[0], one) for image, one in zip(images, x, strict=True))
    return np.ascontiguousarray(images) if same else None


@dataclass(frozen=True)
class _Contents:
    """Files that are not written yet."""

    contents: Mapping[str, bytes]

    def read(self, name: str, most_bytes: int) -> bytes:
        if name not in self.contents:
            raise BundleError(f"the bundle lacks '{shown(name)}'")
        return self.contents[name]


def held(manifest: Manifest, contents: Mapping[str, bytes]) -> Bundle:
    """A bundle in memory."""
    return Bundle(Path(manifest.name), manifest, _Contents(contents))
