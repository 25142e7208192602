"""The kinds of values that a scenario's keys take: quantities with their units, texts, lists, paths."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    TypeAdapter,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from splitimpera.core import units
from splitimpera.core.bounds import BOUNDS
from splitimpera.core.bounds import MOST_PIXELS as MOST_PIXELS
from splitimpera.core.bounds import check_pixels as check_pixels
from splitimpera.core.errors import shown
from splitimpera.core.files import LONGEST_NAME_BYTES

_plain: ContextVar[bool] = ContextVar("plain", default=False)


@contextmanager
def si_numbers() -> Iterator[None]:
    """Inside, a number without a unit is in SI units, whatever its dimension."""
    before = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(before)


def _parsed(value: object, dimension: units.Dimension) -> float:
    if _plain.get() and isinstance(value, (int, float)):
        dimension = units.Dimension(dimension.name, {"": 1.0}, dimension.example, bare=True)
    return units.parse(value, dimension)


def _written(dimension: units.Dimension) -> Any:
    """What a file has for a quantity, as JSON Schema."""
    known = "|".join(re.escape(unit) for unit in dimension.units if unit)
    pattern = rf"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*({known}){'?' if dimension.bare else ''}\s*$"
    text = {"type": "string", "pattern": pattern}
    number = {"type": "number"} if dimension.bare else {"const": 0}
    return Annotated[
        Any, WithJsonSchema({"anyOf": [text, number], "x-quantity": dimension.name, "examples": [dimension.example]})
    ]


def _quantity(dimension: units.Dimension) -> BeforeValidator:
    return BeforeValidator(lambda value: _parsed(value, dimension), json_schema_input_type=_written(dimension))


def whole_bytes(value: object) -> int:
    """A size as a whole number of bytes."""
    size = units.parse(value, units.SIZE)
    if not size.is_integer():
        raise ValueError(f"'{shown(value)}' is not a whole number of bytes")
    return int(size)


Seconds = Annotated[float, _quantity(units.TIME)]
BitRate = Annotated[float, _quantity(units.BIT_RATE)]
Fraction = Annotated[float, _quantity(units.FRACTION)]
Frequency = Annotated[float, _quantity(units.FREQUENCY)]
Watts = Annotated[float, _quantity(units.POWER)]
Factor = Annotated[float, _quantity(units.FACTOR)]
Bytes = Annotated[int, BeforeValidator(whole_bytes, json_schema_input_type=_written(units.SIZE))]
ResponseBytes = Annotated[
    Annotated[Literal["runtime"], Tag("runtime")]
    | Annotated[Bytes, Field(**BOUNDS["response_bytes"].limits()), Tag("size")],
    Discriminator(lambda value: "runtime" if value == "runtime" else "size"),
]
"""A size, or what the deployed runtime sends, which follows from the network."""


LONGEST_FOLDER = 4096


def _has_controls(text: str) -> bool:
    return any(unicodedata.category(letter) in ("Cc", "Cs") for letter in text)


def _usable(text: str) -> str:
    """Text that can be printed, and used as a path."""
    if _has_controls(text):
        raise ValueError(f"'{shown(text)}' has control characters, which are not allowed")
    longest = max(len(part.encode()) for part in text.split("/"))
    if longest > LONGEST_NAME_BYTES:
        raise ValueError(f"'{shown(text)}' has a name of {longest} bytes, at most {LONGEST_NAME_BYTES} are allowed")
    return text


def _path(value: object) -> Path:
    return Path(_TEXT.validate_python(str(_path_like(value))))


def _path_like(value: object) -> str | Path:
    if not isinstance(value, (str, Path)):
        raise PydanticCustomError("path_type", "a path is expected")
    return value


def can_be_kept(folder: Path) -> bool:
    """Whether a document can name the folder: systems allow almost any bytes in a name."""
    return folder.is_absolute() and len(str(folder)) <= LONGEST_FOLDER and not _has_controls(str(folder))


def _folder(value: object) -> Path:
    folder = Path(_path_like(value))
    if not can_be_kept(folder):
        raise ValueError(f"'{shown(value)}' is not the full path of a folder")
    return folder


MOST_ENTRIES = 100
MOST_CUTS = 10_000

Kind = TypeVar("Kind")
Row = Annotated[Kind, Field(strict=False)]
"""A tuple, which the file writes as a list; its entries are strict."""

Text = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_usable)]
Name = Annotated[Text, Field(max_length=100, pattern=r"^[A-Za-z0-9][\w.-]*$")]
Names = Annotated[list[Text], Field(max_length=MOST_ENTRIES)]
Cuts = Annotated[list[Text | int], Field(max_length=MOST_CUTS)]
FilePath = Annotated[Path, PlainValidator(_path, json_schema_input_type=str)]
Folder = Annotated[Path, PlainValidator(_folder, json_schema_input_type=str)]
_TEXT = TypeAdapter(Text)
