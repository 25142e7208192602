"""Codecs by name: "float32", "uint8", "png", "jpeg", "jpeg:90"."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from splitimpera.codec.elements import ElementCodec, Scale, calibrated_scale
from splitimpera.codec.images import ImageCodec
from splitimpera.errors import CodecError
from splitimpera.plugins import Registry
from splitimpera.records import Array, Codec, TensorSpec


@dataclass(frozen=True, eq=False)
class Calibration:
    """What a codec is fixed with, once and for all frames.

    Attributes:
        specs: the tensors that cross.
        tensors: examples of each from training data, shape (n, *spec.shape).
        pictures: the exact scale of the input's 8-bit pictures; None at other cuts and for other inputs.
    """

    specs: tuple[TensorSpec, ...]
    tensors: tuple[Array, ...]
    pictures: Scale | None = None

    def scale(self, index: int) -> Scale | None:
        if not self.specs[index].dtype.startswith("float"):
            return None
        return self.pictures or calibrated_scale(self.tensors[index])


@dataclass(frozen=True)
class CodecKind:
    """One kind of codec: how it is made, and whether it is for pictures only."""

    make: Callable[[str, str, Calibration], Codec]
    pictures_only: bool = False


CODECS: Registry[CodecKind] = Registry("codec")


def codec_kind(name: str) -> CodecKind:
    """The kind that a name such as "jpeg:90" asks for.

    Raises:
        UnknownNameError: there is none.
        CodecError: it takes no such argument.
    """
    base, _, argument = name.partition(":")
    kind = CODECS[base]
    if argument and base != "jpeg":
        raise CodecError(f"'{name}': {base} takes no argument", hint=f"write '{base}'")
    if base == "jpeg" and argument:
        _quality(argument)
    return kind


def make_codec(name: str, calibration: Calibration) -> Codec:
    """A codec for the tensors of a calibration."""
    return codec_kind(name).make(name, name.partition(":")[2], calibration)


def takes_pictures(specs: Sequence[TensorSpec]) -> bool:
    """Whether image codecs can write these tensors: one of shape (1, H, W) or (3, H, W)."""
    return len(specs) == 1 and len(specs[0].shape) == 3 and specs[0].shape[0] in (1, 3)


def _floats(name: str, argument: str, calibration: Calibration) -> Codec:
    return ElementCodec(name, calibration.specs, name, [None] * len(calibration.specs))


def _bytes(name: str, argument: str, calibration: Calibration) -> Codec:
    scales = [calibration.scale(index) for index in range(len(calibration.specs))]
    return ElementCodec(name, calibration.specs, "uint8", scales)


def _image(format: str) -> Callable[[str, str, Calibration], Codec]:
    def make(name: str, argument: str, calibration: Calibration) -> Codec:
        scale = calibration.scale(0)
        if not takes_pictures(calibration.specs) or scale is None:
            shapes = ", ".join(str(spec.shape) for spec in calibration.specs)
            raise CodecError(f"{name} writes pictures of 1 or 3 channels, what crosses here has shape {shapes}")
        options = {"quality": _quality(argument or "75")} if format == "JPEG" else {"optimize": 1}
        return ImageCodec(name, calibration.specs[0], format, scale, options)

    return make


def _quality(argument: str) -> int:
    if not argument.isdecimal() or not 1 <= int(argument) <= 95:
        raise CodecError(f"'jpeg:{argument}' has no quality from 1 to 95", hint="write for example 'jpeg:75'")
    return int(argument)


CODECS.register("float32")(CodecKind(_floats))
CODECS.register("float16")(CodecKind(_floats))
CODECS.register("uint8")(CodecKind(_bytes))
CODECS.register("png")(CodecKind(_image("PNG"), pictures_only=True))
CODECS.register("jpeg")(CodecKind(_image("JPEG"), pictures_only=True))
