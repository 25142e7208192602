"""How long work shows its progress."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")

Track = Callable[[Iterable[T], str, int], Iterable[T]]
"""Shows progress: wraps an iterable, given what is being done and how many steps there are."""


def no_progress(steps: Iterable[T], description: str, total: int) -> Iterable[T]:
    """The `Track` that shows nothing."""
    return steps
