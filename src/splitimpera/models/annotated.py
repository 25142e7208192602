"""Images with boxes, as records describe them: held to their images, scaled along with these."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from splitimpera.core.array_types import FloatArray, Row
from splitimpera.core.errors import DataError, SplitImperaWarning, listed, shown_path
from splitimpera.models.file_sets import NAMED, Listing, held_out, parts_of
from splitimpera.models.targets import MOST_BOXES, Listed, Nothing
from splitimpera.tasks.boxes import box_problem
from splitimpera.tasks.task import TargetKind

Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True)
class Box:
    """An object of an image.

    Attributes:
        corners: left, top, right and bottom in pixels of the image; the middle of the first pixel is at 0.5.
        label: its class index.
        crowd: whether it does not count, neither where it is found nor where it is missed.
        where: file and record, for messages.
    """

    corners: tuple[float, float, float, float]
    label: int
    crowd: bool
    where: str


@dataclass(frozen=True)
class Annotated:
    """An image and its objects.

    Attributes:
        size: height and width that the record gives for the image.
    """

    path: Path
    size: Size
    boxes: tuple[Box, ...] = ()


class Boxes:
    """Reads boxes as targets; those that an image cannot have are errors, or left out and counted.

    Args:
        size: Height and width that images are resized to; None: they are not.
        skip: Whether faulty boxes are left out.
    """

    def __init__(self, size: Size | None, skip: bool) -> None:
        self.size, self.skip = size, skip
        self.seen = 0
        self.faulty: list[str] = []

    def target(self, image: Annotated) -> Row:
        """Boxes float32 (n, 4), class indices int64 (n,), and whether each is a crowd, bool (n,).

        Raises:
            DataError: a box has no area, or leaves its image by more than a pixel.
        """
        self.seen += len(image.boxes)
        sound = [(box, corners) for box in image.boxes if (corners := self._held(box, image)) is not None]
        if len(sound) > MOST_BOXES:
            raise DataError(f"{sound[0][0].where}: its image has {len(sound)} boxes, at most {MOST_BOXES} are read")
        return (
            np.array([corners for _, corners in sound], np.float32).reshape(-1, 4),
            np.array([box.label for box, _ in sound], np.int64),
            np.array([box.crowd for box, _ in sound], bool),
        )

    def warn(self) -> None:
        """Say which boxes were left out."""
        if self.faulty:
            names = listed((shown_path(where, 70) for where in self.faulty), NAMED)
            warnings.warn(
                f"{len(self.faulty)} of {self.seen} boxes are faulty and are left out: {names}",
                SplitImperaWarning,
                stacklevel=2,
            )

    def _held(self, box: Box, image: Annotated) -> FloatArray | None:
        given = np.array([box.corners], np.float32)
        problem = box_problem(given, image.size)
        height, width = image.size
        inside = given.clip(0, np.array([width, height, width, height], np.float32))
        problem = problem or box_problem(inside)  # of which nothing may be inside
        if not problem:
            scale = (1.0, 1.0) if self.size is None else (self.size[0] / height, self.size[1] / width)
            scaled = inside * np.array([scale[1], scale[0], scale[1], scale[0]], np.float32)
            problem = box_problem(scaled)
            if not problem:
                return scaled[0]  # type: ignore[no-any-return]
        if not self.skip:
            raise DataError(
                f"{box.where} has {problem.replace('box 0', 'the box', 1)}",
                hint="correct the record, or leave such boxes out with `skip_broken: true` under `data`",
            )
        self.faulty.append(box.where)
        return None


def annotated_listing(
    given: Mapping[str, Sequence[Annotated]],
    classes: Sequence[str],
    kind: TargetKind,
    size: Size | None,
    skip: bool,
) -> Listing:
    """The images of a set, with their boxes as targets or, for "none", without.

    Args:
        given: Those of each part that the set comes with.
        size: Height and width that images are resized to; None: they are not.
        skip: Whether faulty boxes are left out.

    Raises:
        DataError: a box is faulty.
    """
    found = held_out(given)
    images = [image for part in found.values() for image in part]
    parts = parts_of([part for part, own in found.items() for _ in own], [*found])
    paths = tuple(image.path for image in images)
    claimed = {image.path: image.size for image in images}
    if kind == "none":
        return Listing(paths, Nothing(len(paths)), (), parts, claimed)
    boxes = Boxes(size, skip)
    targets = Listed(tuple(map(boxes.target, images)))
    boxes.warn()
    return Listing(paths, targets, tuple(classes), parts, claimed)
