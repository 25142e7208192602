"""The console; progress as bars on a terminal, as lines elsewhere."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.segment import Segment
from rich.text import Text

from splitimpera.core.errors import printable

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


def moves() -> bool:
    """Whether bars may move: on a terminal that somebody watches.

    FORCE_COLOR asks for colours alone, and the pseudo-terminal of a notebook's cell would keep every step.
    """
    return console.is_terminal and console.file.isatty() and "JPY_PARENT_PID" not in os.environ


log = logging.getLogger(__name__)

LEAST_SHARE = 0.02
"""What must be done before anything is said of what is left."""
SAY_EVERY_S = 30.0
"""How often a long stage says how far it is, where no bar shows it."""


@contextmanager
def progress() -> Iterator[Stages]:
    """A `Track`: on a terminal a bar over all that is expected, or one a stage; elsewhere a line a stage when done."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[steps]}", markup=False),
        TextColumn("{task.fields[left]}", markup=False),
    )
    with Progress(*columns, console=console, transient=True, disable=not moves()) as bars:
        yield Stages(bars)


class Stages:
    """Work in stages; where it was said how much each will be, one bar shows all, with the time that is left."""

    def __init__(self, bars: Progress) -> None:
        self.bars = bars
        self.work: dict[str, float] = {}
        self._stage = ""
        self.done: dict[str, float] = {}
        self.spent_s: dict[str, float] = {}
        self._bar: TaskID | None = None

    def expect(self, work: Mapping[str, float]) -> None:
        """Say how much work each stage will be, by its description; what is done of it already counts."""
        self.work = dict(work)

    @property
    def share(self) -> float:
        """The share of the expected work that is done."""
        whole = sum(self.work.values())
        return sum(amount * self.done.get(stage, 0.0) for stage, amount in self.work.items()) / whole if whole else 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds that are left, at the pace so far; None while too little is done to tell.

        Of the stage alone, where it was not said how much all will be.
        """
        if self.work:
            share, spent_s = self.share, sum(self.spent_s.get(stage, 0.0) for stage in self.work)
        else:
            share, spent_s = self.done.get(self._stage, 0.0), self.spent_s.get(self._stage, 0.0)
        return spent_s * (1 - share) / share if share > LEAST_SHARE else None

    def __call__(self, steps: Iterable[T], description: str, total: int) -> Iterator[T]:
        self._stage = description
        steps = self._counted(_logged(steps, description, total), description, total)
        if not moves():
            yield from _lines(steps, description, total, self._left)
            return
        bar = self.bars.add_task(description, total=total, steps="", left="") if not self.work else self._whole()
        for done, step in enumerate(steps, 1):
            said = f"{done}/{total}" if total else f"{done}"
            place = {"completed": 100 * self.share, "total": 100} if self.work else {"completed": done}
            self.bars.update(bar, description=description, steps=said, left=self._left(), **place)
            yield step
        if not self.work:
            self.bars.remove_task(bar)

    def _whole(self) -> TaskID:
        if self._bar is None:
            self._bar = self.bars.add_task("", total=100, steps="", left="")
        return self._bar

    def _left(self) -> str:
        left_s = self.left_s
        return "" if left_s is None else f"about {_words(left_s)} left"

    def _counted(self, steps: Iterable[T], stage: str, total: int) -> Iterator[T]:
        begun_s, before_s, before = time.monotonic(), self.spent_s.get(stage, 0.0), self.done.get(stage, 0.0)
        for done, step in enumerate(steps):
            self.done[stage] = max(before, done / total if total else 0.0)
            self.spent_s[stage] = before_s + time.monotonic() - begun_s
            yield step
        self.done[stage] = 1.0
        self.spent_s[stage] = before_s + time.monotonic() - begun_s


def _lines(steps: Iterable[T], description: str, total: int, left: Callable[[], str]) -> Iterator[T]:
    """Print how far a stage is every `SAY_EVERY_S`, and when it has ended, how long it took."""
    begun_s, done, ended = time.monotonic(), 0, threading.Event()

    def say() -> None:
        # a thread, for a single step may take many minutes
        while not ended.wait(SAY_EVERY_S):
            words = f"{description}: {done} of {total} after {_duration(begun_s)}"
            console.print(", ".join(filter(None, [words, left()])), soft_wrap=True)

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
    return _words(time.monotonic() - begun_s)


def _words(taken_s: float) -> str:
    minutes, seconds = divmod(round(taken_s), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{taken_s:.1f} s"
