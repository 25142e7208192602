"""Targets of samples as arrays of a file: class indices, numbers and masks as they are, boxes end to end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from splitimpera.core.array_types import Array, Row
from splitimpera.core.errors import DataError

KEYS = ("y", "boxes", "classes", "crowd", "offsets")


def stored_targets(rows: Sequence[Row]) -> dict[str, Array]:
    """Arrays of some targets; none where nobody knows them.

    One array a sample: `y`, (samples, ...). Boxes: `boxes` float32 (all of them, 4), their `classes` int64 and `crowd`
    bool, and `offsets` int64 (samples + 1,): those of sample i are from offsets[i] to offsets[i + 1].
    """
    if not rows or not rows[0]:
        return {}
    if len(rows[0]) == 1:
        return {"y": np.stack([target for (target,) in rows])}
    boxes, classes, crowd = (np.concatenate(arrays) for arrays in zip(*rows, strict=True))
    offsets = np.cumsum([0, *(len(each) for _, each, _ in rows)])
    return {"boxes": boxes, "classes": classes, "crowd": crowd, "offsets": offsets}


def read_targets(arrays: Mapping[str, Array], count: int, name: str) -> list[Row] | None:
    """The inverse of `stored_targets`; None where there are none.

    Args:
        arrays: May be anybody's.
        count: Samples that there are.
        name: of the file.

    Raises:
        DataError: they are none of so many samples.
    """
    if "boxes" not in arrays:
        y = arrays.get("y")
        if y is None:
            return None
        if y.dtype.kind not in "fiub" or y.shape[:1] != (count,):
            raise DataError(f"y is {y.dtype} of shape {y.shape}, {count} targets are expected", where=name)
        return [(y[place, ...],) for place in range(count)]
    if missing := [key for key in ("classes", "offsets") if key not in arrays]:
        raise DataError(f"it has boxes, and no {missing[0]}", where=name)
    boxes, classes, offsets = (arrays[key] for key in ("boxes", "classes", "offsets"))
    crowd = arrays.get("crowd", np.zeros(boxes.shape[:1], dtype=bool))
    known = (
        boxes.dtype.kind == "f"
        and boxes.ndim == 2
        and boxes.shape[1] == 4
        and classes.dtype.kind in "iu"
        and crowd.dtype.kind in "biu"
        and classes.shape == crowd.shape == (len(boxes),)
    )
    if not known:
        given = f"boxes of shape {boxes.shape}, {classes.dtype} classes {classes.shape} and crowd {crowd.shape}"
        raise DataError(f"{given} are given; (n, 4), whole numbers (n,) and (n,) are expected", where=name)
    fitting = offsets.dtype.kind in "iu" and offsets.shape == (count + 1,)
    if not fitting or offsets[0] != 0 or offsets[-1] != len(boxes) or (np.diff(offsets.astype(np.int64)) < 0).any():
        wanted = f"{count + 1} numbers that ascend from 0 to {len(boxes)}"
        raise DataError(f"offsets of shape {offsets.shape} are given, {wanted} are expected", where=name)
    bounds = [slice(int(start), int(end)) for start, end in pairwise(offsets)]
    return [
        (boxes[part].astype(np.float32), classes[part].astype(np.int64), crowd[part].astype(bool)) for part in bounds
    ]
