"""Memory of this process."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache


def hand_back() -> None:
    """Give the system back what was freed, where the C library can.

    Tensors of many sizes, made and freed over and over, else leave gaps that nothing fits into: a pass over MobileNetV2
    grew by half a megabyte an image.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Callable[[int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    found: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return found
