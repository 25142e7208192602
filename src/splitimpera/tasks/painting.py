"""What a task sees, drawn over the image: masks and boxes, in colours that are told apart without colour vision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from splitimpera.core.array_types import Array, IntArray

CLASS_COLOURS = (
    *("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"),  # Okabe and Ito
    *("#882255", "#44AA99", "#332288", "#DDCC77", "#117733", "#AA4499", "#999933"),  # P. Tol's "muted"
)
"""Of classes, by their index; with more classes they begin again."""
NO_CLASS = -1
"""Stands for pixels that do not count."""
NO_CLASS_COLOUR = "#FFFFFF"
LUMA = np.array([0.299, 0.587, 0.114])
"""How bright red, green and blue are (ITU-R BT.601)."""
STRENGTH = 0.7
"""How much of a colour covers the image."""


@dataclass(frozen=True, eq=False)
class Drawing:
    """A response drawn over its image.

    Attributes:
        image: uint8 (H, W, 3).
        classes: those that are in it, `NO_CLASS` for pixels that do not count.
        note: what is left out, in words; empty where nothing is.
    """

    image: Array
    classes: tuple[int, ...]
    note: str = ""


def colour_of(label: int) -> str:
    """The colour of a class, "#E69F00"."""
    return NO_CLASS_COLOUR if label == NO_CLASS else CLASS_COLOURS[label % len(CLASS_COLOURS)]


def name_of(label: int, names: Sequence[str]) -> str:
    """The name of a class, or its index where it has none."""
    return "does not count" if label == NO_CLASS else names[label] if label < len(names) else f"class {label}"


def draw_mask(image: Array, mask: Array, background: int | None, ignore: int) -> Drawing:
    """Classes (h, w) blended over an image uint8 (H, W, 3) in grey, but for the background."""
    height, width = image.shape[:2]
    rows, columns = (np.arange(new) * old // new for new, old in zip((height, width), mask.shape, strict=True))
    large: IntArray = mask[rows][:, columns].astype(np.int64)
    large[large == ignore] = NO_CLASS
    painted = np.repeat(image.astype(np.float64) @ LUMA[:, None], 3, axis=2)  # an image's own colours would mislead
    found = [int(label) for label in np.unique(large) if label != background]
    for label in found:
        painted[large == label] += STRENGTH * (_rgb(colour_of(label)) - painted[large == label])
    return Drawing(painted.round().astype(np.uint8), tuple(found))


def draw_boxes(
    image: Array,
    boxes: Array,
    classes: IntArray,
    scores: Array | None,
    image_size: tuple[int, int],
    names: Sequence[str] = (),
    note: str = "",
) -> Drawing:
    """Boxes with their classes, and scores where there are any, over an image uint8 (H, W, 3).

    Args:
        boxes: (n, 4) from corner to corner, in pixels of an image of `image_size` (height, width).
    """
    height, width = image.shape[:2]
    scale = np.array([width / image_size[1], height / image_size[0]] * 2)
    picture = Image.fromarray(image)
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default()
    best_last = range(len(boxes)) if scores is None else np.argsort(scores, kind="stable")
    for place in best_last:
        x1, y1, x2, y2 = (np.asarray(boxes[place], dtype=np.float64) * scale).round().clip(-width, 2 * width).tolist()
        label = int(classes[place])
        colour = colour_of(label)
        pen.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=colour, width=2)
        said = name_of(label, names).removeprefix("class ") + (f" {scores[place]:.2f}" if scores is not None else "")
        said = said.encode("latin-1", "replace").decode("latin-1")  # the font has no other letters
        _, _, right, bottom = pen.textbbox((0, 0), said, font=font)
        x, y = min(max(x1, 0), max(width - right - 4, 0)), y1 - bottom - 3  # above the box, where there is room
        y = y if y >= 0 else max(y1, 0)
        pen.rectangle((x, y, x + right + 4, y + bottom + 3), fill=colour)
        dark = _rgb(colour) @ LUMA < 128
        pen.text((x + 2, y + 1), said, fill="white" if dark else "black", font=font)
    return Drawing(np.asarray(picture), tuple(sorted({int(label) for label in classes})), note)


def _rgb(colour: str) -> Array:
    return np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)], dtype=np.float64)
