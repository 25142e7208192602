"""Images composed of handwritten digits on clutter, with the mask and the box of every digit.

The examples `segmentation` and `detection` use the same images. The digits are scikit-learn's, divided as in the data
set "digits": a digit of a test image is in no image for training or validation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from splitimpera.models.datasets import Samples, digits

SIDE = 64
"""Height and width of an image."""
SMALLEST, LARGEST = 16, 36
"""Heights of digits, in pixels."""
MOST_DIGITS = 4

Box = tuple[int, int, int, int]
"""Left, top, right and bottom edge, in pixels; the last two are one beyond."""


@dataclass(frozen=True)
class Scenes:
    """Images with all that is known of them.

    Attributes:
        images: uint8 (N, SIDE, SIDE, 3).
        masks: Each pixel's class, uint8 (N, SIDE, SIDE): 0 is the background, 1 to 10 are the digits 0 to 9.
        boxes: Of each image float32 (n, 4): left, top, right and bottom edge, in pixels.
        labels: Of each image int64 (n,): the digits 0 to 9, in the order of the boxes.
    """

    images: np.ndarray
    masks: np.ndarray
    boxes: list[np.ndarray]
    labels: list[np.ndarray]


def scenes(part: str, count: int) -> Scenes:
    """The first images of "train", "validation" or "test"; the same ones every time.

    A digit of one part is in no image of another.
    """
    samples: Samples = getattr(digits(), part)
    seed = ("train", "validation", "test").index(part)
    return _scenes(samples.inputs[:, 0].numpy(), samples.labels.numpy(), count, seed)


def _scenes(glyphs: np.ndarray, labels: np.ndarray, count: int, seed: int) -> Scenes:
    """Scenes of some digits, float (n, h, w) and int64 (n,)."""
    rng = np.random.default_rng(seed)
    cropped = [_cropped(glyph) for glyph in glyphs]
    images = np.empty((count, SIDE, SIDE, 3), np.uint8)
    masks = np.zeros((count, SIDE, SIDE), np.uint8)
    all_boxes, all_labels = [], []
    for image, mask in zip(images, masks, strict=True):
        canvas = _background(rng)
        placed: list[Box] = []
        boxes, shown = [], []
        for row in rng.integers(len(cropped), size=rng.integers(1, MOST_DIGITS + 1)):
            place = _free_place(cropped[row], placed, rng)
            if place is not None:
                placed.append(place)
                boxes.append(_draw(cropped[row], labels[row] + 1, place, canvas, mask, rng))
                shown.append(labels[row])
        image[:] = (canvas + rng.normal(0, 10, canvas.shape)).clip(0, 255)
        all_boxes.append(np.array(boxes, np.float32).reshape(-1, 4))
        all_labels.append(np.array(shown, np.int64))
    return Scenes(images, masks, all_boxes, all_labels)


def _cropped(glyph: np.ndarray) -> Image.Image:
    """The part of a digit that has ink; 255 is all ink."""
    ink = (glyph - glyph.min()) / np.ptp(glyph)
    left, top, right, bottom = _extent(ink > 0.1)
    return Image.fromarray((255 * ink[top:bottom, left:right]).astype(np.uint8))


def _background(rng: np.random.Generator) -> np.ndarray:
    """A dark gradient with strokes of any color, float (SIDE, SIDE, 3)."""
    corners = rng.uniform(0, 90, (2, 2, 3)).astype(np.uint8)
    image = Image.fromarray(corners).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(3, 9)):
        start, step = rng.uniform(0, SIDE, 2), rng.normal(0, SIDE / 5, 2)
        color = tuple(int(level) for level in rng.integers(40, 230, 3))
        draw.line([*start, *(start + step)], fill=color, width=int(rng.integers(1, 4)))
    return np.asarray(image).astype(np.float32)


def _free_place(glyph: Image.Image, placed: list[Box], rng: np.random.Generator) -> Box | None:
    """Where a digit of random size touches no other; None: no such place was found."""
    for _ in range(10):
        height = int(SMALLEST * (LARGEST / SMALLEST) ** rng.random())
        width = max(4, round(height * glyph.width / glyph.height * rng.uniform(0.8, 1.2)))
        if width > SIDE:
            continue
        left, top = int(rng.integers(SIDE - width + 1)), int(rng.integers(SIDE - height + 1))
        right, bottom = left + width, top + height
        if all(left > one[2] or right < one[0] or top > one[3] or bottom < one[1] for one in placed):
            return left, top, right, bottom
    return None


def _draw(
    glyph: Image.Image, label: int, place: Box, canvas: np.ndarray, mask: np.ndarray, rng: np.random.Generator
) -> Box:
    """Draw a digit in a bright color, and its mask; returns the box of the mask."""
    left, top, right, bottom = place
    ink = np.asarray(glyph.resize((right - left, bottom - top), Image.Resampling.BILINEAR), np.float32) / 255
    area = canvas[top:bottom, left:right]
    area += ink[..., None] * (rng.uniform(130, 255, 3) - area)
    inside = ink > 0.4
    mask[top:bottom, left:right][inside] = label
    first_x, first_y, end_x, end_y = _extent(inside)
    return left + first_x, top + first_y, left + end_x, top + end_y


def _extent(inside: np.ndarray) -> Box:
    """The smallest box around the pixels that are True."""
    rows, columns = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
