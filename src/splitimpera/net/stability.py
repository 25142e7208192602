"""Whether a link keeps up with its frames."""

from __future__ import annotations

import numpy as np

from splitimpera.core.array_types import FloatArray


def keeps_up(due_s: FloatArray, complete_s: FloatArray) -> bool:
    """Whether the frames' demand on the link is less than the time there is.

    A frame's demand is the time from when it is due, or the frame before it is through, until it is through itself; the
    least latency of all frames, which they spend side by side, is left out. A demand of more than a frame period in the
    mean makes latency grow with the number of frames.

    Args:
        due_s: Due times of the frames, any order, shape (frames,).
        complete_s: Times at which they are complete; infinite where they never are.
    """
    if not np.isfinite(complete_s).all():
        return False
    count = len(due_s)
    if count < 2:
        return True
    order = np.argsort(due_s, kind="stable")
    due = due_s[order]
    through = np.maximum.accumulate(complete_s[order] - float((complete_s - due_s).min()))
    demand = through[1:] - np.maximum(due[1:], through[:-1])
    return bool(demand.sum() < due[-1] - due[0])
