"""What the models of results and verifications are made of."""

from __future__ import annotations

from math import isfinite
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Number = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[Number, Field(ge=0, le=1)]
Maybe = Number | None
Count = Annotated[int, Field(ge=0)]
Interval = Annotated[list[Number], Field(min_length=2, max_length=2)]
OpenInterval = Annotated[list[Maybe], Field(min_length=2, max_length=2)]
Pair = Annotated[list[str], Field(min_length=2, max_length=2)]
Certainty = Literal["certain", "likely", "unlikely"]
Configuration = Literal["LC", "RC", "SC", "EE"]


class Entry(BaseModel):
    """A part of a file. Keys that it does not know are passed over."""

    model_config = ConfigDict(strict=True, frozen=True, json_schema_serialization_defaults_required=True)


class NamedEntry(Entry):
    """What has a name."""

    name: str


def finite(value: float | None) -> float | None:
    """A number as a file may hold it: JSON has no infinity."""
    return float(value) if value is not None and isfinite(value) else None
