"""Codecs by their names: what a name asks for is first calibrated, then built from the constants that this gives.

Sender and receiver build it alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from splitimpera.codec.codec_names import CODERS, LIBRARIES, CodecName, parsed
from splitimpera.codec.concealment import Concealer, interleaved
from splitimpera.codec.constants import Constants
from splitimpera.codec.elements import BFloat16, ElementCodec, Numbers, Plain, Scale, is_floating
from splitimpera.codec.entropy import RansCodec, RansPacketsCodec, Symbols, symbol_counts
from splitimpera.codec.fec import BoundedCodec, FecCodec
from splitimpera.codec.given import UNEXPECTED_MODELS, array_dtype, arrays_of, checked_specs
from splitimpera.codec.images import ImageCodec
from splitimpera.codec.quantised import BITS, Quantised, calibrated_scale, channel_axis, coarser
from splitimpera.codec.token_rows import check_tokens
from splitimpera.codec.tokenwise import TokenCodec
from splitimpera.codec.zstd import ZSTD_LEVEL, ZstdCodec, trained_dictionary
from splitimpera.core.array_types import Array
from splitimpera.core.errors import CodecError, shown
from splitimpera.core.extras import needed
from splitimpera.records.graph import TensorSpec
from splitimpera.records.traffic import Codec

PACKET_BYTES = 1400


@dataclass(frozen=True, eq=False)
class Calibration:
    """What a codec is calibrated with.

    Attributes:
        specs: Tensors that cross.
        tensors: Examples of each from training data, shape (n, *spec.shape).
        images: Exact scale of the input's 8-bit images; None at other cuts and for other inputs.
        packet_bytes: Bytes that one datagram of the link carries, headers apart. A transport puts as many elements as
            fit into one; with half of the room or less, repair packets would be lost together with what they repair.
    """

    specs: tuple[TensorSpec, ...]
    tensors: tuple[Array, ...]
    images: Scale | None = None
    packet_bytes: int = PACKET_BYTES


def make_codec(name: str, calibration: Calibration) -> Codec:
    """A codec for the tensors of a calibration.

    Args:
        name: Name of the codec with its modifiers, such as "uint8+rans".
        calibration: Tensors that cross, with examples of them.

    Raises:
        UnknownNameError, CodecError: as `codec_kind`, and for tensors or calibration data that do not fit.

    Example:
        >>> import numpy as np
        >>> from splitimpera.records.graph import TensorSpec
        >>> examples = np.random.default_rng(0).random((100, 8, 4, 4), np.float32)
        >>> codec = make_codec("uint8", Calibration((TensorSpec("relu", (8, 4, 4)),), (examples,)))
        >>> payload = codec.encode([examples[0]])
        >>> len(payload.data)
        128
        >>> (decoded,) = codec.decode(payload.data, erased=[(0, 64)])
        >>> bool(np.abs(decoded - examples[0])[4:].max() < 0.002), float(decoded[:4].max())
        (True, 0.0)
    """
    return codec_from(calibrate(name, calibration), calibration.specs)


def calibrate(name: str, calibration: Calibration) -> Constants:
    """What the named codec is to be fixed with; raises as `make_codec`."""
    asked, specs = parsed(name), calibration.specs
    if not isinstance(calibration.packet_bytes, int) or calibration.packet_bytes < 1:
        raise CodecError(f"packets of {shown(calibration.packet_bytes)} bytes carry nothing", where=name)
    calibration = replace(calibration, tensors=arrays_of(calibration.tensors))
    if len(calibration.tensors) != len(specs):
        raise CodecError(f"{len(calibration.tensors)} tensors are given to calibrate {len(specs)}", where=name)
    for tensors, spec in zip(calibration.tensors, specs, strict=True):
        if not np.can_cast(tensors.dtype, array_dtype(spec), "same_kind"):
            raise CodecError(
                f"calibration data of {tensors.dtype} are given, {spec.dtype} is expected", where=spec.name
            )
        if tensors.shape[1:] != spec.shape or not tensors.ndim:
            raise CodecError(
                f"calibration data of shape {tensors.shape} are given, (n, {str(spec.shape)[1:]} is expected",
                where=spec.name,
            )
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused as such
        typed = [
            tensors.astype(array_dtype(spec), copy=False)
            for tensors, spec in zip(calibration.tensors, specs, strict=True)
        ]
    calibration = replace(calibration, tensors=tuple(typed))
    if asked.concealment == "before":
        check_tokens(name, specs)
    arrays: dict[str, Array] = {}
    constants = Constants(name, specs, calibration.packet_bytes, arrays)
    for index, spec in enumerate(specs):
        if is_floating(spec) and asked.kind.calibrated is not None:
            made = asked.kind.calibrated(spec, asked.argument, calibration.tensors[index])
            arrays |= {f"{index}.{key}": array for key, array in made.items()}
        if is_floating(spec) and asked.kind.family in ("quantised", "image") and asked.argument != "token":
            scale = _scale(asked, calibration, index)
            arrays[f"{index}.low"], arrays[f"{index}.step"] = scale.low, scale.step
        if is_floating(spec) and asked.concealment != "zero":
            arrays[f"{index}.mean"] = _means(calibration.tensors[index], spec)
    coder = next((modifier for modifier in asked.modifiers if modifier in CODERS), None)
    if coder is not None:
        raw = _elements(constants, asked)
        frames = [tuple(frame) for frame in zip(*calibration.tensors, strict=True)]
        if coder == "zstd":
            trained = trained_dictionary(raw, frames, int(asked.modifiers["zstd"] or ZSTD_LEVEL))
            if trained is not None:
                arrays["dictionary"] = np.frombuffer(trained, np.uint8)
        else:
            counts = symbol_counts(raw, frames, asked.modifiers[coder] == "channel")
            arrays |= {f"{index}.counts": found for index, found in enumerate(counts)}
    return constants


def codec_from(constants: Constants, expected: Sequence[TensorSpec] | None = None) -> Codec:
    """The codec that some constants fix, wherever they come from.

    Args:
        expected: the tensors that it is to read and write; without them none above 4 MB and no more than 4096 models
            of an entropy code are made for constants that may be anybody's.

    Raises:
        UnknownNameError, CodecError: as `make_codec`, for arrays that are missing or make no sense, and for tensors
            that are not expected.
        MissingExtraError: a library that it needs is not installed.
    """
    asked, name = parsed(constants.name), constants.name
    for modifier in asked.modifiers:
        if modifier in LIBRARIES:
            needed(LIBRARIES[modifier], f"the codec '{name}'")
    checked_specs(constants.specs, expected)
    if asked.concealment == "before":
        check_tokens(name, constants.specs)
    codec: BoundedCodec
    if asked.kind.family == "image":
        codec, element_bytes = _image(constants, asked), 1
    elif asked.argument == "token":
        bits, fill = BITS[asked.base], Concealer(asked.concealment, constants.specs, _filling(constants, asked))
        rows = TokenCodec(name, constants.specs, bits, fill, constants.packet_bytes)
        codec, element_bytes = rows, rows.element_bytes
    else:
        raw = _elements(constants, asked)
        codec, element_bytes = raw, raw.element_bytes
        if "zstd" in asked.modifiers:
            dictionary = constants.array("dictionary", "u").tobytes() if "dictionary" in constants.arrays else None
            codec, element_bytes = ZstdCodec(name, raw, int(asked.modifiers["zstd"] or ZSTD_LEVEL), dictionary), 1
        elif "rans" in asked.modifiers:
            channel = asked.modifiers["rans"] == "channel"
            counts = _counts(constants, raw, channel, expected is not None)
            codec, element_bytes = RansCodec(name, raw, counts, channel), 1
        elif "rans-packets" in asked.modifiers:
            channel, element_bytes = asked.modifiers["rans-packets"] == "channel", constants.packet_bytes
            counts = _counts(constants, raw, channel, expected is not None)
            codec = RansPacketsCodec(name, raw, counts, channel, element_bytes)
    if "fec" in asked.modifiers:
        codec = FecCodec(name, codec, int(asked.modifiers["fec"]), constants.packet_bytes, element_bytes)
    return codec


def takes_images(specs: Sequence[TensorSpec]) -> bool:
    """Whether image codecs can write these tensors: one of shape (1, H, W) or (3, H, W)."""
    return len(specs) == 1 and len(specs[0].shape) == 3 and specs[0].shape[0] in (1, 3)


def _elements(constants: Constants, asked: CodecName) -> ElementCodec:
    numbers: list[Numbers] = []
    for index, spec in enumerate(constants.specs):
        if asked.kind.family == "quantised" and is_floating(spec):
            numbers.append(Quantised(spec, _stored_scale(constants, index, BITS[asked.base]), BITS[asked.base]))
        elif asked.kind.numbers is not None and is_floating(spec):
            numbers.append(asked.kind.numbers(spec, asked.argument, partial(_stored, constants, index)))
        elif asked.base == "bfloat16" and is_floating(spec):
            numbers.append(BFloat16(spec))
        else:
            numbers.append(Plain(spec, asked.base if asked.kind.family == "float" else None))
    orders = [interleaved(spec.shape) for spec in constants.specs] if "interleaved" in asked.modifiers else None
    return ElementCodec(
        constants.name, numbers, Concealer(asked.concealment, constants.specs, _filling(constants, asked)), orders
    )


def _filling(constants: Constants, asked: CodecName) -> tuple[Array | None, ...]:
    """The mean of each element of the tensors; None where zero stands for what is missing."""
    means: list[Array | None] = []
    for index, spec in enumerate(constants.specs):
        mean = None
        if is_floating(spec) and asked.concealment != "zero":
            given = _broadcast(constants, f"{index}.mean", spec)
            with np.errstate(over="ignore"):
                mean = np.broadcast_to(given, spec.shape).astype(array_dtype(spec)).reshape(-1)
        means.append(mean)
    return tuple(means)


def _image(constants: Constants, asked: CodecName) -> ImageCodec:
    if not takes_images(constants.specs) or not is_floating(constants.specs[0]):
        shapes = ", ".join(str(spec.shape) for spec in constants.specs)
        raise CodecError(f"{asked.text} writes images of 1 or 3 channels, what crosses here has shape {shapes}")
    options: dict[str, int | bool]
    if asked.base == "png":
        options = {"optimize": True}
    elif asked.base == "webp" and not asked.argument:
        options = {"lossless": True}
    else:
        options = {"quality": int(asked.argument or "75")}
    scale = _stored_scale(constants, 0, 8)
    return ImageCodec(asked.text, constants.specs[0], asked.base.upper(), scale, options)


def _scale(asked: CodecName, calibration: Calibration, index: int) -> Scale:
    bits = BITS.get(asked.base, 8)
    if calibration.images is not None:
        return coarser(calibration.images, bits)
    per_channel = asked.argument == "channel"
    return calibrated_scale(calibration.tensors[index], calibration.specs[index], bits, per_channel)


def _means(tensors: Array, spec: TensorSpec) -> Array:
    """The mean of each channel, in a shape that broadcasts against one frame's tensor."""
    axis = channel_axis(spec)
    if not np.isfinite(tensors).all() or not tensors.size:
        raise CodecError("the calibration data are empty or contain NaN or infinite values", where=spec.name)
    axes = tuple(other for other in range(tensors.ndim) if axis is None or other != axis + 1)
    means: Array = np.asarray(tensors.mean(axis=axes, keepdims=True, dtype=np.float64))[0]
    return means


def _stored(constants: Constants, index: int, key: str, kind: str) -> Array:
    return constants.array(f"{index}.{key}", kind)


def _stored_scale(constants: Constants, index: int, bits: int) -> Scale:
    spec = constants.specs[index]
    low, step = (_broadcast(constants, f"{index}.{key}", spec) for key in ("low", "step"))
    if (step <= 0).any():
        raise CodecError(f"the constant '{index}.step' is not above 0", where=constants.name)
    return Scale(low, step, 2**bits - 1)


def _broadcast(constants: Constants, key: str, spec: TensorSpec) -> Array:
    array: Array = constants.array(key, "f")
    if array.ndim not in (0, len(spec.shape)) or any(
        given not in (1, wanted) for given, wanted in zip(array.shape, spec.shape, strict=False)
    ):
        raise CodecError(f"the constant '{key}' of shape {array.shape} does not fit {spec.shape}", where=constants.name)
    return array


def _counts(constants: Constants, raw: ElementCodec, per_channel: bool, expected: bool) -> list[Array]:
    counts, models = [], 0
    for index, numbers in enumerate(raw.numbers):
        rows = Symbols(numbers, per_channel)
        models += rows.rows
        if models > UNEXPECTED_MODELS and not expected:
            raise CodecError(
                f"more than {UNEXPECTED_MODELS} models are claimed",
                where=shown(constants.name),
                hint="say with expected=... which tensors you expect",
            )
        counts.append(constants.array(f"{index}.counts", "u", (rows.rows, rows.alphabet)))
    return counts
