"""Images of digits on clutter, and which pixel belongs to which digit."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))  # two examples share the next one
from digit_scenes import scenes

COUNTS = {"train": 600, "validation": 200, "test": 200}
CLASSES = ("background", *(f"digit {digit}" for digit in range(10)))


def data() -> dict[str, object]:
    """Images uint8 (N, 64, 64, 3) and masks uint8 (N, 64, 64) of each part; the classes' names."""
    return {part: masked(part, count) for part, count in COUNTS.items()} | {"classes": CLASSES}


def masked(part: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Some images of a part with their masks."""
    found = scenes(part, count)
    return found.images, found.masks
