"""What several parts of a manifest are made of: bounded numbers and names, and the tensors of a frame."""

from __future__ import annotations

from functools import cached_property
from math import prod
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from splitimpera.records.graph import DTYPE_BYTES, TensorSpec

TENSOR_BYTES = 1 << 30
WORD = 1 << 32

Name = Annotated[str, Field(min_length=1, max_length=500)]
Whole = Annotated[int, Field(ge=0, lt=WORD)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Path = Annotated[str, Field(max_length=200, pattern=r"^\w[\w.-]*(/\w[\w.-]*){0,4}$")]
"""Of a file in the bundle: it cannot climb out of it, and is one on any system."""


class Entry(BaseModel):
    """A part of the manifest."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class LinkEntry(Entry):
    """The link that a hop was designed for."""

    name: Name
    rate_bps: Annotated[Number, Field(gt=0)]
    delay_s: Annotated[Number, Field(ge=0)]
    loss: Share
    mtu_bytes: Annotated[int, Field(ge=68, lt=1 << 16)]


class TensorEntry(Entry):
    """A tensor of one frame, as `records.graph.TensorSpec` has it."""

    name: Name
    shape: Annotated[list[Annotated[int, Field(ge=0, lt=WORD)]], Field(max_length=16)]
    dtype: Literal[*DTYPE_BYTES]  # type: ignore[valid-type]
    batch_dim: Annotated[int, Field(ge=0, le=16)] | None
    channel_dim: Annotated[int, Field(ge=0, le=16)]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if prod(max(side, 1) for side in self.shape) * DTYPE_BYTES[self.dtype] > TENSOR_BYTES:
            raise ValueError(f"a tensor of shape {self.shape} is larger than any that is sent")
        return self

    @cached_property
    def spec(self) -> TensorSpec:
        return TensorSpec(self.name, tuple(self.shape), self.dtype, self.batch_dim, self.channel_dim)


def tensor_entry(spec: TensorSpec) -> TensorEntry:
    return TensorEntry(
        name=spec.name,
        shape=list(spec.shape),
        dtype=spec.dtype,
        batch_dim=spec.batch_dim,
        channel_dim=spec.channel_dim,
    )


Tensors = Annotated[list[TensorEntry], Field(min_length=1, max_length=1024)]
