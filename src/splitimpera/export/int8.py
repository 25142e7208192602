"""Parts with 8-bit numbers: ONNX Runtime's static quantisation, calibrated on what arrives there for training data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from splitimpera.core.array_types import Array
from splitimpera.core.errors import ModelError
from splitimpera.core.quiet import quiet
from splitimpera.export.engine_files import without_notes
from splitimpera.models.imports import contained, telling

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
