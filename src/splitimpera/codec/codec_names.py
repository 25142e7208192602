"""The names of codecs: "float32", "uint4:channel+rans", "uint8+interleaved+mean+fec:20", "jpeg:90".

A name is base[:argument] and any number of +modifier[:argument], in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, cast

from splitimpera.codec.arguments import no_argument, one_of, or_none, whole_number
from splitimpera.codec.concealment import Concealment
from splitimpera.codec.elements import Numbers
from splitimpera.codec.quantised import BITS
from splitimpera.core.array_types import Array
from splitimpera.core.errors import CodecError, shown
from splitimpera.core.extras import EXTRAS
from splitimpera.core.registry import Registry
from splitimpera.records.graph import TensorSpec

Family = Literal["float", "quantised", "image", "own"]
Stored = Callable[[str, str], Array]
"""Reads one of a tensor's constants: its key, and the letter of NumPy's kind of type; raises CodecError."""

NAME_CHARACTERS = 200
CONCEALMENTS = ("zero", "mean", "last", "before")
CODERS = ("rans", "rans-packets", "zstd")
LIBRARIES = {"rans": "constriction", "rans-packets": "constriction", "fec": "zfec"}
"""What a modifier needs that only an extra of the package brings."""


@dataclass(frozen=True)
class CodecKind:
    """One base: its family, and whether it is for images only.

    Attributes:
        argument: reads what follows the colon; raises CodecError for anything that makes no sense.
        modifiers: which may follow it.
        numbers: Of the family "own": how a tensor of floating-point numbers is written, from its spec, the argument and
            the constants that `calibrated` made; tensors of other types are written as they are.
        calibrated: Of the family "own": the constants of a tensor, from its spec, the argument and examples of shape
            (n, *spec.shape), each a floating-point or unsigned array; None: there are none.
        like: Of the family "own": the codec that takes about as long, for devices that are known by presets alone.
    """

    family: Family
    argument: Callable[[str, str], object]
    modifiers: tuple[str, ...]
    numbers: Callable[[TensorSpec, str, Stored], Numbers] | None = None
    calibrated: Callable[[TensorSpec, str, Array], Mapping[str, Array]] | None = None
    like: str = ""

    @property
    def images_only(self) -> bool:
        return self.family == "image"


@dataclass(frozen=True)
class CodecName:
    """A codec's name, taken apart.

    Attributes:
        modifiers: each with its argument, "" where there is none.
    """

    text: str
    base: str
    argument: str = ""
    modifiers: Mapping[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> CodecKind:
        return CODECS[self.base]

    @property
    def concealment(self) -> Concealment:
        return cast(Concealment, next((name for name in CONCEALMENTS if name in self.modifiers), "zero"))


CODECS: Registry[CodecKind] = Registry("codec")
MODIFIERS: Registry[Callable[[str, str], object]] = Registry("codec modifier")
"""How each modifier reads its argument."""


def codec_kind(name: str) -> CodecKind:
    """The kind that a name such as "jpeg:90" asks for.

    Raises:
        UnknownNameError: there is no such base or modifier.
        CodecError: one takes no such argument, or they do not go together.
    """
    return parsed(name).kind


def parsed(name: str) -> CodecName:
    """A name taken apart; raises as `codec_kind`."""
    if not isinstance(name, str) or len(name) > NAME_CHARACTERS:
        raise CodecError(f"'{shown(name)}' is no codec's name")
    first, *rest = name.split("+")
    base, _, argument = first.partition(":")
    kind = CODECS[base]
    kind.argument(argument, name)
    modifiers: dict[str, str] = {}
    for part in rest:
        modifier, _, given = part.partition(":")
        MODIFIERS[modifier](given, name)
        if modifier in modifiers:
            raise CodecError(f"'{name}': +{modifier} stands there twice")
        if modifier not in kind.modifiers:
            known = ", ".join(f"+{other}" for other in kind.modifiers)
            raise CodecError(f"'{name}': +{modifier} does not go with {base}", hint=f"{base} takes {known}")
        modifiers[modifier] = given
    for group in (CODERS, CONCEALMENTS):
        both = [f"+{modifier}" for modifier in modifiers if modifier in group]
        if len(both) > 1:
            raise CodecError(f"'{name}': {' and '.join(both)} exclude each other")
    whole = next((modifier for modifier in modifiers if modifier in ("rans", "zstd")), None)
    useless = next((modifier for modifier in modifiers if modifier in (*CONCEALMENTS, "interleaved")), None)
    if whole and useless:
        raise CodecError(
            f"'{name}': +{useless} is for frames with gaps, which +{whole} cannot read",
            hint=f"leave +{useless} out, or take +rans-packets",
        )
    coded = next((modifier for modifier in modifiers if modifier in (*CODERS, "interleaved")), None)
    if argument == "token" and coded:
        raise CodecError(f"'{name}': +{coded} does not go with :token", hint=f"leave +{coded} out, or take :channel")
    return CodecName(name, base, argument, modifiers)


def extras_of(name: str) -> list[str]:
    """The extras of the package that a codec needs wherever it is used; raises as `codec_kind`.

    >>> extras_of("uint8+rans+fec:20")
    ['ans', 'fec']
    """
    return sorted({EXTRAS[LIBRARIES[modifier]] for modifier in parsed(name).modifiers if modifier in LIBRARIES})


_LOSS = (*CONCEALMENTS, "interleaved", "fec")
for _base in ("float32", "float16", "bfloat16"):
    CODECS.register(_base)(CodecKind("float", no_argument, ("zstd", *_LOSS)))
for _base in BITS:
    CODECS.register(_base)(CodecKind("quantised", one_of("channel", "token"), (*CODERS, *_LOSS)))
CODECS.register("png")(CodecKind("image", no_argument, ("fec",)))
CODECS.register("jpeg")(CodecKind("image", or_none(whole_number("quality", 1, 95, "jpeg:75")), ("fec",)))
CODECS.register("webp")(CodecKind("image", or_none(whole_number("quality", 1, 100, "webp:75")), ("fec",)))

for _modifier in (*CONCEALMENTS, "interleaved"):
    MODIFIERS.register(_modifier)(no_argument)
for _modifier in ("rans", "rans-packets"):
    MODIFIERS.register(_modifier)(one_of("channel"))
MODIFIERS.register("zstd")(or_none(whole_number("level", 1, 19, "+zstd:3")))
MODIFIERS.register("fec")(whole_number("percentage", 1, 200, "+fec:20"))
