"""The event loop of a session: a thread runs it, and lends it to whoever waits for one response.

So no thread has to wake another on a frame's way: who asks sends it himself, and receives.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from time import monotonic
from typing import Any, TypeVar

T = TypeVar("T")
QUIET_S = 0.1
"""A loop that nobody borrowed for so long is run by its thread again."""


class LentLoop:
    """An event loop and its thread; end it with `close`."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._state = threading.Condition()
        self._running = self._borrowed = self._asked = self._closed = False
        self._quiet_s = 0.0
        self._thread = threading.Thread(target=self._keep, name="splitimpera-session", daemon=True)
        self._thread.start()

    def call(self, work: Callable[..., object], *arguments: Any) -> None:
        """Have something called in the loop, soon."""
        self.loop.call_soon_threadsafe(work, *arguments)
        with self._state:
            if not self._running:
                self._asked = True
                self._state.notify_all()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something in the loop, to its end."""
        done: Future[T] = asyncio.run_coroutine_threadsafe(work, self.loop)
        self.call(_nothing)
        return done.result()

    def run(self, wanted: Future[Any], busy: Callable[[], bool], work: Callable[..., object], *arguments: Any) -> bool:
        """Call something in the loop, and run it in this thread until what is wanted is there.

        Args:
            busy: Whether the loop has more to do then.

        Returns:
            False where another has borrowed it, or this thread runs a loop of its own; nothing is called then.
        """
        if asyncio._get_running_loop() is not None or not self._borrow():
            return False
        try:
            self._call_now(work, *arguments)
            if not wanted.done():
                wanted.add_done_callback(lambda _: self.loop.stop())
                self.loop.run_forever()
        finally:
            self._give_back(not wanted.done() or busy())
        return True

    def _call_now(self, work: Callable[..., object], *arguments: Any) -> None:
        """Call something as if the loop did, which saves a turn of it: a tenth of a millisecond on a busy machine."""
        asyncio._set_running_loop(self.loop)
        try:
            work(*arguments)
        finally:
            asyncio._set_running_loop(None)

    def _borrow(self) -> bool:
        with self._state:
            if self._borrowed:
                return False
            self._borrowed = True
            if self._running:
                self.loop.call_soon_threadsafe(self.loop.stop)
                while self._running:
                    self._state.wait()
        return True

    def _give_back(self, at_once: bool) -> None:
        with self._state:
            self._borrowed = False
            self._asked |= at_once
            self._quiet_s = monotonic() + QUIET_S
            if self._asked:
                self._state.notify_all()

    def close(self) -> None:
        """End the thread and the loop."""
        with self._state:
            self._closed = True
        self.call(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def _keep(self) -> None:
        while True:
            with self._state:
                while self._borrowed or (not self._asked and monotonic() < self._quiet_s):
                    self._state.wait(QUIET_S)
                if self._closed:
                    return
                self._running, self._asked = True, False
            self.loop.run_forever()
            with self._state:
                self._running = False
                self._state.notify_all()


def _nothing() -> None:
    pass
