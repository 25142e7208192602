"""Much work of one kind, done here or by several processes: the results are the same.

Work is a function without arguments that makes a worker, a function of one task: what many tasks share, a network and
its data say, is made once where the tasks are done. Tasks and results are plain values.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import socket
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from ctypes import Array, c_ubyte
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from typing import Any, Protocol

from splitimpera.core.errors import SplitImperaError

log = logging.getLogger(__name__)

Worker = Callable[[Any], Any]
Work = Callable[[], Worker]

Task = tuple[int, Any]
"""Its place among all tasks, and the task itself."""

AHEAD = 2
"""Tasks that each process is given at once, so that it never waits for the next."""
ATTEMPTS = 3
"""How often a process may die of a task."""


ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)
"""What keeps libraries of processes that are started then from using more."""


@dataclass(frozen=True)
class Done:
    """What became of a task.

    Attributes:
        place: which task it was, counted from 0.
        value: what the worker returned.
        failure: why there is nothing, in words; empty where all went well.
        worker: which process did it, and on which machine: "host:4711". Not part of the result.
    """

    place: int
    value: Any = None
    failure: str = ""
    worker: str = field(default="", compare=False)


class Map(Protocol):
    """Does tasks, and tells of each as soon as it is done; a task that fails stops nothing."""

    def __call__(self, work: Work, tasks: Iterable[Any]) -> Iterator[Done]: ...


def in_process(work: Work, tasks: Iterable[Any]) -> Iterator[Done]:
    """One task after the other, here.

    >>> from functools import partial
    >>> [done.value for done in in_process(partial(partial, pow, 2), [1, 2, 3])]
    [2, 4, 8]
    """
    making = cache(work)
    for place, task in enumerate(tasks):
        yield _done(making, place, task)


@dataclass(frozen=True)
class Pool:
    """Several processes of this machine, with one thread each.

    What dies of a task, for want of memory say, is replaced, and the task is tried again: alone, so that others are
    not blamed for it. It fails when a process died of it `ATTEMPTS` times.

    Args:
        workers: Number of processes.

    Raises:
        SplitImperaError: they end before they have begun, whatever the task.
    """

    workers: int

    def __call__(self, work: Work, tasks: Iterable[Any]) -> Iterator[Done]:
        left = iter(enumerate(tasks))
        suspects: deque[Task] = deque()
        deaths: dict[int, int] = {}
        while True:
            if suspects:
                lost = yield from self._some(work, iter([suspects.popleft()]), 1)
            else:
                lost = yield from self._some(work, left, self.workers)
                if not lost:
                    return
            if len(lost) == 1:
                ((place, _),) = lost
                deaths[place] = deaths.get(place, 0) + 1
                if deaths[place] == ATTEMPTS:
                    yield Done(place, failure=f"the process that did it died {ATTEMPTS} times, for want of memory say")
                    continue
            suspects.extendleft(reversed(lost))

    def _some(self, work: Work, tasks: Iterator[Task], workers: int) -> Generator[Done, None, list[Task]]:
        """Do tasks until there are none left, or a process dies; returns those that it may have died of."""
        context = multiprocessing.get_context("spawn")
        begun = context.Event()
        pickled = pickle.dumps(work)
        # what goes through a process's pipe keeps the driver until it is read
        shared = context.RawArray("B", len(pickled))
        memoryview(shared).cast("B")[:] = pickled
        pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(shared, begun))
        running: dict[Future[Done], Task] = {}
        given: list[Task] = []
        processes: list[BaseProcess] = []
        try:
            while True:
                for task in islice(tasks, AHEAD * workers - len(running)):
                    given = [task]
                    with _single():  # it may start a process
                        running[pool.submit(_run, *task)] = task
                    given = []
                processes = [*(pool._processes or {}).values()]
                if not running:
                    return []
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    done = future.result()
                    del running[future]
                    yield done
        except BrokenProcessPool:
            _began(begun, processes)
            lost = [*running.values(), *given]
            log.info("a process died; %d tasks are done again", len(lost))
            return sorted(lost, key=lambda each: each[0])
        finally:
            _stop(pool)


@contextmanager
def _single() -> Iterator[None]:
    """Processes that are started within use one thread each."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _stop(pool: ProcessPoolExecutor) -> None:
    """End a pool, in the middle of tasks, too."""
    processes = [*(pool._processes or {}).values()]
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()
    for process in processes:
        process.join()


def _began(begun: Event, processes: Iterable[BaseProcess]) -> None:
    """Refuse to go on where processes end by themselves at their start: others would do so, too."""
    for process in processes:
        process.join()
    if not begun.is_set() and any(process.exitcode is not None and process.exitcode > 0 for process in processes):
        raise SplitImperaError(
            "the worker processes end as soon as they begin, for the reason above",
            where="workers",
            hint="a script that starts some needs the guard: if __name__ == '__main__':",
        )


_making: Callable[[], Worker] | None = None


def _begin(shared: Array[c_ubyte], begun: Event) -> None:
    global _making
    work: Work = pickle.loads(memoryview(shared).cast("B"))
    begun.set()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    _making = cache(work)


def _end_with_parent() -> None:
    """A process whose parent was killed waits for tasks for ever; nobody else ends it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _run(place: int, task: Any) -> Done:
    assert _making is not None
    return _done(_making, place, task)


def _done(making: Callable[[], Worker], place: int, task: Any) -> Done:
    worker = f"{socket.gethostname()}:{os.getpid()}"
    try:
        return Done(place, making()(task), worker=worker)
    except SplitImperaError as error:
        return Done(place, failure=str(error), worker=worker)
    except Exception:
        return Done(place, failure=traceback.format_exc(), worker=worker)
