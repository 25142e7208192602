"""The console, and progress bars."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.text import Text

from splitimpera.core.errors import printable
from splitimpera.core.progress import Track

T = TypeVar("T")

ASCII = str.maketrans("▁▂▃▄▅▆▇█…", "_.-~=+*#~")
"""What stands for the letters of our own that a terminal may lack."""


class PlainConsole(Console):
    """Prints text as it is, whoever wrote it: brackets and colons mean nothing, and what a terminal would take as a
    command, or cannot write, becomes an escape such as \\x1b."""

    def __init__(self) -> None:
        super().__init__(markup=False, emoji=False, highlight=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        if isinstance(renderable, str):
            renderable = self.render_str(renderable)
        if isinstance(renderable, Text) and (safe := self._safe(renderable.plain)) != renderable.plain:
            # before lines are broken, which takes the width of what will be seen
            renderable = renderable.copy()
            renderable.plain = safe
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(self._safe(segment.text), segment.style)

    def _safe(self, text: str) -> str:
        text = printable(text)
        if self.encoding.startswith("utf"):
            return text
        return text.translate(ASCII).encode(self.encoding, "backslashreplace").decode(self.encoding)


console = PlainConsole()


@contextmanager
def progress() -> Iterator[Track[Any]]:
    """A `Track` that draws a bar for each task on standard error's terminal, and nothing elsewhere."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:

        def track(steps: Iterable[T], description: str, total: int) -> Iterable[T]:
            return bars.track(steps, total=total, description=description)

        yield track
