"""The console, and progress bars."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from splitimpera.records import Track

T = TypeVar("T")

console = Console()


@contextmanager
def progress() -> Iterator[Track[Any]]:
    """A `Track` that draws a bar for each task on standard error's terminal, and nothing elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:

        def track(steps: Iterable[T], description: str, total: int) -> Iterable[T]:
            return bars.track(steps, total=total, description=description)

        yield track
