"""What one thread prints, warns of and logs, dropped for a while; other threads go on as they were."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class _Depth(threading.local):
    of_this_thread = 0


_depth = _Depth()
_lock = threading.Lock()
_put_back: list[Any] = []
_users = 0


@contextmanager
def quiet() -> Iterator[None]:
    """Drop what this thread prints through `sys.stdout` and `sys.stderr`, its warnings and its log records."""
    global _users
    with _lock:
        if not _users:
            _install()
        _users += 1
    _depth.of_this_thread += 1
    try:
        yield
    finally:
        _depth.of_this_thread -= 1
        with _lock:
            _users -= 1
            if not _users:
                while _put_back:
                    _put_back.pop()()


class _OfOthers:
    """A stream that passes on what other threads write."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        return len(text) if _depth.of_this_thread else int(self.stream.write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def _install() -> None:
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None:
            _replace(sys, name, _OfOthers(stream))
    shows = warnings.showwarning

    def show(*arguments: Any, **options: Any) -> None:
        if not _depth.of_this_thread:
            shows(*arguments, **options)

    _replace(warnings, "showwarning", show)
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    handlers = {handler for logger in loggers for handler in getattr(logger, "handlers", ())}
    for handler in handlers | {logging.lastResort} - {None}:
        assert handler is not None
        handler.addFilter(_of_others)
        _put_back.append(lambda handler=handler: handler.removeFilter(_of_others))


def _replace(owner: Any, name: str, now: Any) -> None:
    before = getattr(owner, name)
    setattr(owner, name, now)

    def put_back() -> None:
        if getattr(owner, name) is now:  # else somebody has replaced it meanwhile
            setattr(owner, name, before)

    _put_back.append(put_back)


def _of_others(record: logging.LogRecord) -> bool:
    return not _depth.of_this_thread
