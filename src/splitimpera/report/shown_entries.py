"""Test samples as images, in `results.json`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from splitimpera.core.image_text import IMAGE_CHARACTERS, image_bytes
from splitimpera.report.entry import Count, Entry, NamedEntry, Number

View = Literal["input", "expected", "network", "plan", "plan_lossy"]


def _image(text: str) -> str:
    image_bytes(text)
    return text


Image = Annotated[str, Field(max_length=IMAGE_CHARACTERS), AfterValidator(_image)]
"""A PNG or JPEG file in Base64."""


class SeenClassEntry(NamedEntry):
    """A class and its colour in the images of `shown`."""

    colour: Annotated[str, Field(pattern="^#[0-9A-Fa-f]{6}$")]


class ShownSampleEntry(Entry):
    """A test sample as images, by view, and the share of what was sent that is missing in `plan_lossy`."""

    place: Count
    missing: Annotated[Number, Field(ge=0, le=1)]
    images: dict[View, Image]


class ShownEntry(Entry):
    """Test samples with the responses to them, and the share of packets lost in `plan_lossy`."""

    plan: str | None
    loss: Annotated[Number, Field(gt=0, le=1)] | None
    note: str
    classes: list[SeenClassEntry]
    samples: Annotated[list[ShownSampleEntry], Field(min_length=1, max_length=16)]
