"""How much memory is free, failures that come of too little, and what was freed handed back."""

from __future__ import annotations

import ctypes
import math
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from splitimpera.core.units import format_bytes

MORE_MEMORY = "close other programs, or take a machine with more memory"
"""What to do about a shortage."""
MEMORY = Path("/proc/meminfo")
GROUPS = {
    "/sys/fs/cgroup": ("memory.max", "memory.current", "inactive_file"),
    "/sys/fs/cgroup/memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
"""Where a container's limit is and what it has in use; of this, files that were read can be given up."""


def free_bytes() -> float:
    """What programs can still take before the system ends one of them; infinite where it does not tell (Linux does)."""
    return min(_of_machine(), *_of_groups())


def shortage(failure: BaseException) -> str:
    """What to say of a failure for lack of memory, "memory does not suffice: ..."; '' for any other failure.

    Example:
        >>> shortage(ValueError("no"))
        ''
    """
    text = str(failure) if type(failure) is RuntimeError else ""  # what others say runs their own code
    if not isinstance(failure, MemoryError) and "allocate memory" not in text:
        return ""
    asked = re.search(r"tried to allocate (\d+) bytes", text)
    more = f"{format_bytes(int(asked[1]))} more are asked for" if asked else "more is asked for"
    free = free_bytes()
    return f"memory does not suffice: {more}" + (f", {format_bytes(free)} are free" if math.isfinite(free) else "")


def _of_machine() -> float:
    with suppress(OSError, ValueError, IndexError):
        lines = dict(line.split(":", 1) for line in MEMORY.read_text().splitlines())
        return 1024.0 * sum(int(lines[key].split()[0]) for key in ("MemAvailable", "SwapFree") if key in lines)
    return math.inf


def _of_groups() -> Iterator[float]:
    yield math.inf
    for folder, (limit, used, files) in GROUPS.items():
        with suppress(OSError, ValueError):  # no such group, or "max"
            most, taken = (int(Path(folder, name).read_text()) for name in (limit, used))
            found = re.search(rf"^{files} (\d+)$", Path(folder, "memory.stat").read_text(), re.MULTILINE)
            yield most - taken + (int(found[1]) if found else 0)


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
