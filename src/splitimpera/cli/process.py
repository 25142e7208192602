"""What the command line asks of its process: Ctrl-C ends it with 130 at any time, standard streams never end it.

Next to nothing is imported here, for it holds before anything else is imported.
"""

from __future__ import annotations

import _thread
import errno
import gc
import io
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import NoReturn

INTERRUPTED = 130
PATIENCE_S = 5.0
"""How long work may take to end after Ctrl-C: code that swallows it, threads that run to the end of what they do."""

_interrupted = False
_steady_error = False
"""Whether standard error is ours; at the moment of Ctrl-C somebody may have put a stream of his own in its place."""


def run(command: Callable[[], int]) -> NoReturn:
    """Run a command to the end of the process."""
    global _steady_error
    gc.set_threshold(50_000)  # imports make many objects that stay; to look through them again and again takes seconds
    _listen()
    streams = _steady_streams()
    _steady_error = any(stream.fileno() == 2 for stream in streams)
    try:
        try:
            signal.signal(signal.SIGINT, _interrupt)
            code = command()
        except BaseException as error:
            # whatever became of it on its way through other people's code
            if not _interrupted and not isinstance(error, KeyboardInterrupt):
                raise
            code = INTERRUPTED
        finally:
            signal.signal(signal.SIGINT, _leave)
    except KeyboardInterrupt:  # between the lines above
        code = INTERRUPTED
    if _interrupted or code == INTERRUPTED:
        _say("interrupted")
        sys.exit(INTERRUPTED)
    for stream in streams:
        if stream.failure is not None and stream.failure.errno not in (errno.EPIPE, errno.EBADF):
            _say(f"warning: what was to be printed is not complete: {stream.failure.strerror}")
    gc.freeze()  # the interpreter would look for cycles in all that is imported, twice, before it goes
    sys.exit(code)


# Ctrl-C --------------------------------------------------------------------------------------------------------------


def _listen() -> None:
    global _interrupted
    _interrupted = False
    signal.signal(signal.SIGINT, _leave)  # before the work begins and after it, nobody has anything to tidy up
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _lost


def _interrupt(number: int, frame: FrameType | None) -> None:
    """The first time KeyboardInterrupt, so that everybody may tidy up; the second time the end."""
    global _interrupted
    if _interrupted or _importing(frame):
        _leave()
    _interrupted = True
    _thread.start_new_thread(_leave_late, ())  # `threading` takes locks, one of which may be held here
    raise KeyboardInterrupt


def _importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported: many make another error of KeyboardInterrupt, or print it, or go on."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _lost(unraisable: sys.UnraisableHookArgs) -> None:
    """Python cannot raise an error from everywhere (finalisers, callbacks); Ctrl-C must not be lost there."""
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        _leave()
    sys.__unraisablehook__(unraisable)


def _leave_late() -> None:
    time.sleep(PATIENCE_S)
    _leave()


def _leave(*_: object) -> NoReturn:
    """End the process at once. Files that it was writing are as they were before, or whole."""
    if os.isatty(1):
        os.write(1, b"\x1b[?25h")  # a progress bar may have hidden the cursor
    _say("interrupted")
    os._exit(INTERRUPTED)


def _say(line: str) -> None:
    """A line on standard error, past all buffers: they may be in use at this moment."""
    try:
        if _steady_error:
            os.write(2, f"{line}\n".encode("ascii", "backslashreplace"))
        else:  # somebody else's, within a test
            print(line, file=sys.stderr)
    except OSError:
        pass


# Standard streams ----------------------------------------------------------------------------------------------------


class _Outlet(io.RawIOBase):
    """What is written goes to a descriptor until that fails once (a closed pipe, a full disk); then it is dropped."""

    def __init__(self, number: int) -> None:
        # of its own, so that code which closes the number, and opens a file that gets it, does no harm
        self._handle: int | None = os.dup(number)
        self._number = number
        self.failure: OSError | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return self._handle is not None and os.isatty(self._handle)

    def write(self, data: bytes) -> int:  # type: ignore[override]  # any buffer
        while self._handle is not None:
            try:
                return os.write(self._handle, data)
            except BlockingIOError:  # a pipe that is full now, and does not wait by itself
                select.select([], [self._handle], [])
            except OSError as failure:
                self.failure, self._handle = failure, None
        return len(data)


class _Stream(io.TextIOWrapper):
    """A standard stream that writes every character somehow, and that nobody closes."""

    def __init__(self, number: int, encoding: str) -> None:
        self.outlet = _Outlet(number)
        buffer = io.BufferedWriter(self.outlet)  # type: ignore[type-var]  # it takes any raw stream
        super().__init__(buffer, encoding, errors="backslashreplace", line_buffering=True)

    @property
    def failure(self) -> OSError | None:
        return self.outlet.failure

    def close(self) -> None:
        self.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.flush()


def _steady_streams() -> list[_Stream]:
    """Replace standard output and standard error, unless somebody has already."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # the next file would get this number, and with it what is printed
            os.open(os.devnull, os.O_RDWR)
    steady = []
    for name, number in (("stdout", 1), ("stderr", 2)):
        now = getattr(sys, name)
        if now is getattr(sys, f"__{name}__") and os.name == "posix":
            stream = _Stream(number, now.encoding if now is not None else "utf-8")
            setattr(sys, name, stream)
            steady.append(stream)
    return steady
