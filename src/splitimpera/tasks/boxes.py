"""Boxes (x1, y1, x2, y2) in pixels: how much they overlap, and which of those that overlap are kept."""

from __future__ import annotations

import math

import numpy as np

from splitimpera.core.array_types import Array, FloatArray, IntArray


def iou(boxes: Array, others: Array, crowd: Array | None = None) -> FloatArray:
    """Intersection over union of each box with each of some others.

    Args:
        boxes: (n, 4).
        others: (m, 4).
        crowd: Which of the others are crowds, (m,): many objects in one box, which many boxes may lie in. As in COCO,
            it is then the intersection over the area of the box.

    Returns:
        Shape (n, m), from 0 to 1; boxes without an area overlap with nothing.

    >>> boxes = np.array([[0, 0, 2, 2], [5, 5, 6, 6]])
    >>> iou(boxes, np.array([[0, 0, 2, 1]]))
    array([[0.5],
           [0. ]])
    >>> iou(boxes, np.array([[0, 0, 4, 4]]), crowd=np.array([True]))
    array([[1.],
           [0.]])
    """
    ours, theirs = (np.asarray(some, dtype=np.float64).reshape(-1, 4) for some in (boxes, others))
    x1, y1, x2, y2 = ours.T[:, :, None]
    u1, v1, u2, v2 = theirs.T[:, None]
    width, height = np.minimum(x2, u2) - np.maximum(x1, u1), np.minimum(y2, v2) - np.maximum(y1, v1)
    shared = np.where((width > 0) & (height > 0), width * height, 0.0)
    own = (x2 - x1) * (y2 - y1)
    union = own + (u2 - u1) * (v2 - v1) - shared
    if crowd is not None:
        union = np.where(crowd, own, union)
    result: FloatArray = np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)
    return result


AT_ONCE = 256
"""Of so many boxes all overlaps are computed at once; of more, those with one after the other."""
_overlap = iou  # in `nms`, `iou` is a limit


def nms(boxes: Array, scores: Array, classes: Array, iou: float = 0.5, most: int = 100) -> IntArray:
    """Non-maximum suppression: which boxes are kept of those that overlap with a better one of their class.

    Greedy: the box with the highest score is kept, those of its class that overlap with it by more than `iou` are
    dropped, and so on. Of equal scores that with the smaller index comes first.

    Args:
        boxes: (n, 4).
        scores: (n,).
        classes: (n,).
        iou: Intersection over union from 0 to 1.
        most: of all classes together.

    Returns:
        Indices of what is kept, the highest score first.

    >>> boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 9], [20, 20, 30, 30]])
    >>> nms(boxes, scores=np.array([0.8, 0.9, 0.7, 0.6]), classes=np.array([0, 0, 1, 0]))
    array([1, 2, 3])
    """
    order = np.argsort(-np.asarray(scores), kind="stable")
    left, kinds = np.asarray(boxes, dtype=np.float64)[order], np.asarray(classes)[order]
    kept: list[np.int64] = []
    if len(order) <= AT_ONCE:
        dropped = np.zeros(len(order), dtype=bool)
        too_near = (_overlap(left, left) > iou) & (kinds[:, None] == kinds)
        for place in range(len(order)):
            if len(kept) == most:
                break
            if not dropped[place]:
                kept.append(order[place])
                dropped |= too_near[place]
        return np.array(kept, dtype=np.int64)
    while len(order) and len(kept) < most:
        kept.append(order[0])
        stays = (kinds != kinds[0]) | ~(_overlap(left[:1], left)[0] > iou)
        stays[0] = False
        order, left, kinds = order[stays], left[stays], kinds[stays]
    return np.array(kept, dtype=np.int64)


def box_problem(boxes: Array, size: tuple[int, int] | None = None) -> str:
    """What is wrong with boxes (n, 4) from corner to corner, in words; empty where nothing is.

    Args:
        size: Height and width of the image, which boxes may leave by a pixel; None: not looked at.
    """
    for place, box in enumerate(boxes.tolist()):
        left, top, right, bottom = box
        if not all(map(math.isfinite, box)):
            problem = "is not finite"
        elif right <= left or bottom <= top:
            problem = "has no area; left, top, right and bottom are expected"
        elif size is not None and (min(left, top) < -1 or bottom > size[0] + 1 or right > size[1] + 1):
            problem = f"leaves its image of {size[0]} x {size[1]} pixels (height x width)"
        else:
            continue
        return f"box {place} ({', '.join(f'{side:g}' for side in box)}), which {problem}"
    return ""
