"""Images of digits on clutter, and where which digit is."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))  # two examples share the next one
from digit_scenes import scenes

COUNTS = {"train": 600, "validation": 200, "test": 200}

Target = dict[str, np.ndarray]
"""`boxes`, float32 (n, 4): left, top, right and bottom edge in pixels; `labels`, int64 (n,): the digits."""


def data() -> dict[str, object]:
    """Images uint8 (N, 64, 64, 3) of each part, and each image's target; the classes' names."""
    classes = [f"digit {digit}" for digit in range(10)]
    return {part: boxed(part, count) for part, count in COUNTS.items()} | {"classes": classes}


def boxed(part: str, count: int) -> tuple[np.ndarray, list[Target]]:
    """Some images of a part with their targets."""
    found = scenes(part, count)
    targets = [{"boxes": boxes, "labels": labels} for boxes, labels in zip(found.boxes, found.labels, strict=True)]
    return found.images, targets
