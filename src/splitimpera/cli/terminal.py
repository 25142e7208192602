"""The console; progress as bars on a terminal, as lines elsewhere."""

from __future__ import annotations

import logging
import threading
import time
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


log = logging.getLogger(__name__)

SAY_EVERY_S = 30.0
"""How often a long stage says how far it is, where no bar shows it."""


@contextmanager
def progress() -> Iterator[Track[Any]]:
    """A `Track`: on a terminal each stage draws a bar, elsewhere it prints a line with its time when it is done."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:

        def track(steps: Iterable[T], description: str, total: int) -> Iterable[T]:
            if console.is_terminal:
                return bars.track(_logged(steps, description, total), total=total, description=description)
            return _lines(_logged(steps, description, total), description, total)

        yield track


def _lines(steps: Iterable[T], description: str, total: int) -> Iterator[T]:
    """Print how far a stage is every `SAY_EVERY_S`, and when it has ended, how long it took."""
    begun_s, done, ended = time.monotonic(), 0, threading.Event()

    def say() -> None:
        # a thread, for a single step may take many minutes
        while not ended.wait(SAY_EVERY_S):
            console.print(f"{description}: {done} of {total} after {_duration(begun_s)}", soft_wrap=True)

    talker = threading.Thread(target=say, daemon=True)
    talker.start()
    try:
        for step in steps:
            yield step
            done += 1
    finally:
        ended.set()
        talker.join()
    if done:
        console.print(f"{description}: {_duration(begun_s)}", soft_wrap=True)


def _logged(steps: Iterable[T], description: str, total: int) -> Iterator[T]:
    log.info("%s: started, %d steps", description, total)
    begun_s = time.monotonic()
    for done, step in enumerate(steps, 1):
        yield step
        log.debug("%s: %d of %d after %s", description, done, total, _duration(begun_s))
    log.info("%s: finished in %s", description, _duration(begun_s))


def _duration(begun_s: float) -> str:
    taken_s = time.monotonic() - begun_s
    minutes, seconds = divmod(round(taken_s), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{taken_s:.1f} s"
