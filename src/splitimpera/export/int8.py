"""Parts with 8-bit numbers: ONNX Runtime's static quantisation, calibrated on what arrives there for training data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from splitimpera.bundle.entries import TensorEntry
from splitimpera.bundle.opened import Bundle
from splitimpera.bundle.segments import SegmentEntry
from splitimpera.core.array_types import Array, Row
from splitimpera.core.errors import ModelError
from splitimpera.core.progress import Track
from splitimpera.core.quiet import quiet
from splitimpera.deploy.inference import load_program, stacked
from splitimpera.deploy.machine_layers import Layers
from splitimpera.evaluation.batches import unstack
from splitimpera.evaluation.testbed import Testbed
from splitimpera.export.engine_files import without_notes
from splitimpera.models.imports import contained, telling
from splitimpera.records.graph import TensorSpec
from splitimpera.records.traffic import Codec

CALIBRATION_SAMPLES, LEAST_SAMPLES = 200, 32
CALIBRATION_BYTES = 64 << 20
"""What may be kept of the samples, beyond `LEAST_SAMPLES`."""
OPERATIONS = ["Conv", "ConvTranspose", "Gemm", "MatMul", "Relu", "Add", "MaxPool", "AveragePool", "GlobalAveragePool"]
"""What is computed with 8 bits: where the time goes, and what lies between, so that numbers need not be converted."""


def calibration_samples(frame_bytes: int) -> int:
    """How many frames are kept to calibrate with, of so many bytes each."""
    return min(CALIBRATION_SAMPLES, max(LEAST_SAMPLES, CALIBRATION_BYTES // max(frame_bytes, 1)))


def quantised(content: bytes, frames: Sequence[Sequence[Array]]) -> bytes:
    """An ONNX file with weights (one scale a channel) and activations of 8 bits.

    Args:
        content: The file with floats.
        frames: What arrives there, as the program takes it.

    Raises:
        ModelError: it cannot be quantised.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with (
        telling(ModelError, "the network cannot be quantised"),
        quiet(),
        contained(),
        TemporaryDirectory() as folder,
    ):
        given, prepared, made = (Path(folder) / name for name in ("given.onnx", "prepared.onnx", "quantised.onnx"))
        given.write_bytes(content)
        names = [tensor.name for tensor in onnx.load_model_from_string(content).graph.input]
        quant_pre_process(given, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            made,
            _Feed(names, frames),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=OPERATIONS,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
        )
        found: bytes = without_notes(onnx.load_model(made)).SerializeToString(deterministic=True)
        return found


def quantised_files(bundle: Bundle, testbed: Testbed, track: Track[Any]) -> dict[str, bytes]:
    """The programs of a bundle with 8-bit numbers, by file.

    Each is calibrated on what arrives there, of all plans that run it; what arrives at a server is what the codec makes
    of training data.

    Args:
        testbed: The bundle's network and training data.

    Raises:
        ModelError: one cannot be quantised.
    """
    arriving = _arriving(bundle, testbed)
    segments = {each.file: each for part in bundle.manifest.parts for each in part.segments}
    return {
        name: quantised(bundle.read(name), [stacked([row], _specs(segments[name].inputs)) for row in arriving[name]])
        for name in track(segments, "Quantising the parts", len(segments))
    }


def _arriving(bundle: Bundle, testbed: Testbed) -> dict[str, list[Row]]:
    """What arrives at each program, by file, for as many training samples as may be kept."""
    ways = _ways(bundle)
    kept = [entry.spec.bytes for way in ways for each in way.kept.values() for entry in each.inputs]
    some = testbed.data.calibration().take(slice(calibration_samples(sum(kept))))
    programs = {name: _layers(bundle, each) for way in ways for name, each in way.programs.items()}
    arriving: dict[str, list[Row]] = {}
    for x in some.batches(testbed.chunk([])):
        for row in unstack(testbed.inputs(x), testbed.specs(0, 0.0)):
            for way in ways:
                for name, tensors in way.arriving(row, programs):
                    arriving.setdefault(name, []).append(tensors)
    return arriving


@dataclass(frozen=True)
class _Way:
    """A plan's programs and codecs, as frames go through them.

    Attributes:
        kept: The programs, by file, of which this plan's frames are kept.
    """

    steps: Sequence[SegmentEntry | Codec]
    kept: Mapping[str, SegmentEntry]

    @property
    def programs(self) -> dict[str, SegmentEntry]:
        return {step.file: step for step in self.steps if isinstance(step, SegmentEntry)}

    def arriving(self, frame: Row, programs: Mapping[str, Layers]) -> Iterator[tuple[str, Row]]:
        """What arrives at each program of a frame."""
        for step in self.steps:
            if not isinstance(step, SegmentEntry):
                frame = step.decode(step.encode(frame).data)
                continue
            if step.file in self.kept:
                yield step.file, frame
            if step is not self.steps[-1]:
                (frame,) = programs[step.file]([frame])


def _ways(bundle: Bundle) -> list[_Way]:
    """Of all plans, and where a machine in the middle finishes; what the device computes of a frame is kept once."""
    manifest, ways, seen = bundle.manifest, list[_Way](), set[str]()
    for plan in manifest.plans:
        first = manifest.chain(plan, 0)
        steps: list[SegmentEntry | Codec] = [*first]
        for place, hop in enumerate(plan.hops, 1):
            steps.append(bundle.codec(hop))
            if place < len(plan.hops):
                rest, own = manifest.rest(plan, place), {each.file for each in manifest.chain(plan, place)}
                ways.append(_Way([*steps, *rest], {each.file: each for each in rest if each.file not in own}))
            steps += manifest.chain(plan, place)
        kept = {each.file: each for each in steps if isinstance(each, SegmentEntry) and each.file not in seen}
        seen |= {each.file for each in first}
        ways.append(_Way(steps, kept))
    return ways


def _layers(bundle: Bundle, segment: SegmentEntry) -> Layers:
    program = load_program(segment.engine, bundle.read(segment.file))
    return Layers(_specs(segment.inputs), _specs(segment.outputs), program)


def _specs(entries: Sequence[TensorEntry]) -> tuple[TensorSpec, ...]:
    return tuple(entry.spec for entry in entries)


class _Feed:
    """Frames as ONNX Runtime's calibration asks for them: one after the other, None at the end."""

    def __init__(self, names: Sequence[str], frames: Sequence[Sequence[Array]]) -> None:
        self._frames: Iterator[dict[str, Any]] = (dict(zip(names, frame, strict=True)) for frame in frames)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._frames, None)

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> dict[str, Any]:
        return next(self._frames)
