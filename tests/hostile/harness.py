"""What every hostile case is held to: no traceback, at most 2 s and at most 500 MB above the idle process.

An attack is a check over a hypothesis strategy; `attack` makes two tests of it, a quick one for the default run and a
long one marked slow. Time is the process's own, for the machine may be busy; what sleeps or waits is ended by an alarm.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splitimpera.core.errors import SplitImperaError

SECONDS_AT_MOST = 2.0
WAITING_S_AT_MOST = 30
BYTES_AT_MOST = 500_000_000

MESSAGE_AT_MOST = 25_000


@dataclass
class Measured:
    """What the cases of this process came to; printed at the end of the run."""

    cases: int = 0
    slowest_s: float = 0.0
    most_bytes: int = 0


MEASURED = Measured()


def attack(check: Callable[..., None], *strategies: Any, quick: int = 40, long: int = 1100) -> tuple[Any, Any]:
    """The quick test and the slow one of a check, which takes one drawn value a strategy.

    Write `test_x, test_x_long = attack(check, strategy)`.
    """

    def test(cases: int) -> Any:
        # a function of its own for each: hypothesis keeps its settings on it
        def run(drawn: tuple[Any, ...]) -> None:
            with bounded():
                check(*drawn)

        every = list(HealthCheck)
        return settings(max_examples=cases, deadline=None, database=None, suppress_health_check=every)(
            given(st.tuples(*strategies))(run)
        )

    return test(quick), pytest.mark.slow(test(long))


@contextmanager
def bounded() -> Iterator[None]:
    """One case: fails where it takes too long or too much memory."""
    idle_bytes = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    previous = signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(WAITING_S_AT_MOST)
    begun_s = time.process_time()
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
    taken_s, used_bytes = time.process_time() - begun_s, _resident("VmHWM") - idle_bytes
    MEASURED.cases += 1
    MEASURED.slowest_s = max(MEASURED.slowest_s, taken_s)
    MEASURED.most_bytes = max(MEASURED.most_bytes, used_bytes)
    assert taken_s <= SECONDS_AT_MOST, f"the case took {taken_s:.2f} s"
    assert used_bytes <= BYTES_AT_MOST, f"the case took {used_bytes / 1e6:.0f} MB"


def refused_or_taken(run: Callable[[], Any]) -> Any:
    """What a call returns; None where it refuses its input as it should, with a message that a person can read."""
    try:
        return run()
    except SplitImperaError as error:
        readable(str(error))
        return None


def readable(message: str) -> None:
    assert message.strip()
    assert len(message) <= MESSAGE_AT_MOST
    assert "Traceback" not in message
    assert all(letter == "\n" or letter.isprintable() or letter == " " for letter in message), ascii(message)


def command(*arguments: object) -> tuple[int, str, str]:
    """The command line within this process: exit code, standard output, standard error."""
    from splitimpera.cli import main

    handler, argv, folder = signal.getsignal(signal.SIGINT), sys.argv, Path.cwd()
    out, errors = io.StringIO(), io.StringIO()
    sys.argv = ["splitimpera", *map(str, arguments)]
    code: object = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            try:
                main()
            except SystemExit as end:
                code = end.code
    finally:
        sys.argv = argv
        signal.signal(signal.SIGINT, handler)
        os.chdir(folder)
    return int(code or 0), out.getvalue(), errors.getvalue()


def commanded(*arguments: object) -> None:
    """Holds a command to its promise: exit code 0, or 2 with one readable message."""
    code, _, errors = command(*arguments)
    assert code in (0, 2), (code, errors)
    if code == 2:
        readable(errors)


def _resident(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(field)


def _too_long(number: int, frame: object) -> None:
    raise AssertionError(f"the case still runs after {WAITING_S_AT_MOST} s")
