"""How long work shows its progress."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")

Track = Callable[[Iterable[T], str, int], Iterable[T]]
"""Shows progress: wraps an iterable, given what is being done and how many steps there are."""


Expect = Callable[[Mapping[str, float]], object]
"""Takes how much work each stage is expected to be, by its description, in any unit that all share."""


def no_progress(steps: Iterable[T], description: str, total: int) -> Iterable[T]:
    """The `Track` that shows nothing."""
    return steps
