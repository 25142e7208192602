"""Much work of one kind on a Ray cluster: a map as those of `maps`, with the same results to the byte."""

from __future__ import annotations

import logging
import pickle
import sys
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

from splitimpera.core.errors import LinkError, shown
from splitimpera.studies.maps import AHEAD, ATTEMPTS, Done, Task, Work, Worker, _done
from splitimpera.studies.ray_cluster import WHERE, Cluster, Versions, misfit, own_versions, sent_versions

log = logging.getLogger(__name__)

CHUNK_S = 0.1
"""Tasks that take less go together, for so long: Ray takes 0.6 to 0.8 ms for each that it is given."""
CHUNK_MOST = 256
LOOK_S = 1.0
"""How often the cluster is looked at: nodes come and go."""
SILENCE_S = 20.0
"""How long the cluster's first machine may be away; Ray ends the process after 60."""
WAITING = 4
"""Tasks that are handed in where no node has a CPU, so that a cluster that grows on demand knows of it."""


@dataclass(frozen=True)
class Ray(Cluster):
    """Processes of a Ray cluster, with one thread each.

    What dies of a task, or with its node, is replaced, and the task is tried again, the last time when nothing else
    runs, so that others are not blamed for it. It fails when processes died of it `ATTEMPTS` times.

    Args are those of `Cluster`.

    Raises:
        LinkError: the cluster cannot be reached or joined, a node has other versions, or Ray itself has failed.

    Example:
        for done in Ray("10.0.0.1:6379")(work, tasks):
            print(done.place, done.value)
    """

    def __call__(self, work: Work, tasks: Iterable[Any]) -> Iterator[Done]:
        with self.joined():
            # tasks that are left in the middle end by themselves, or with this process: to cancel one just as it is
            # sent or ends makes Ray end this process
            yield from _Running(self, work, iter(enumerate(tasks))).all()


class _Running:
    """Tasks on their way through a cluster that this process has joined."""

    def __init__(self, cluster: Ray, work: Work, left: Iterator[Task]) -> None:
        import numpy as np
        import ray

        self.ray, self.cluster, self.left = ray, cluster, left
        self.again: deque[Task] = deque()
        self.last: deque[Task] = deque()
        self.deaths: Counter[int] = Counter()
        self.chunks: dict[Any, list[Task]] = {}
        self.alone: Any = None
        self.task_s: float | None = None
        self.room, self.looked_s = 0, -LOOK_S
        self.silent_s: float | None = None
        # as an array it is mapped into a worker's memory, not copied, however often it is handed over
        self.work = ray.put(np.frombuffer(ray.cloudpickle.dumps(work), np.uint8))
        memory = {} if cluster.memory_bytes is None else {"memory": cluster.memory_bytes}
        # whatever is done again is counted here, so Ray retries nothing
        remote = ray.remote(num_cpus=1, max_retries=0, **memory)(_sent(own_versions(), [*sys.path]))
        self.remote = remote.options(**cluster.options())

    def all(self) -> Iterator[Done]:
        deaths = self.ray.exceptions
        gone = (deaths.WorkerCrashedError, deaths.NodeDiedError, deaths.OutOfMemoryError, deaths.ObjectLostError)
        while True:
            self._look()
            self._hand_in()
            if not self.chunks:
                return
            for ref in self._finished():
                chunk = self.chunks.pop(ref)
                try:
                    answer = self.ray.get(ref)
                except gone as death:
                    yield from self._lost(chunk, type(death).__name__)
                except deaths.RayError as failure:
                    raise LinkError(f"Ray failed: {shown(failure, 600)}", where=WHERE) from None
                else:
                    yield from self._done(answer)

    def _look(self) -> None:
        """How much there is to do it with; what is on its way comes in while the cluster does not answer."""
        now_s = time.monotonic()
        if now_s - self.looked_s < LOOK_S:
            return
        self.looked_s = now_s
        if self.cluster.answers():
            self.silent_s = None
            if not self.cluster.raylet_lives():
                raise LinkError("Ray failed: its process on this machine, the raylet, has died", where=WHERE)
            most = None if self.cluster.address is None else self.cluster.workers
            self.room = min(AHEAD * self.cluster.cpus() or WAITING, most or sys.maxsize)
        elif self.silent_s is None:
            self.silent_s = now_s
        elif now_s - self.silent_s > SILENCE_S:
            raise LinkError(f"Ray's first machine has not answered for {SILENCE_S:g} s", where=WHERE)

    def _hand_in(self) -> None:
        while len(self.chunks) < self.room and not (self.chunks and (self.last or self.alone in self.chunks)):
            if self.last:
                chunk = [self.last.popleft()]
            elif self.again:
                chunk = [self.again.popleft()]
            else:
                chunk = [*islice(self.left, self._chunk_size())]
            if not chunk:
                return
            places, tasks = zip(*chunk, strict=True)
            ref = self.remote.remote(self.work.hex(), self.work, [*places], self.ray.cloudpickle.dumps(tasks))
            self.chunks[ref] = chunk
            if self.deaths[chunk[0][0]] == ATTEMPTS - 1:
                self.alone = ref

    def _chunk_size(self) -> int:
        if self.task_s is None:
            return 1
        return min(CHUNK_MOST, max(1, int(CHUNK_S / max(self.task_s, 1e-9))))

    def _finished(self) -> list[Any]:
        refs = [*self.chunks]
        ready, _ = self.ray.wait(refs, num_returns=1, timeout=LOOK_S)
        return self.ray.wait(refs, num_returns=len(refs), timeout=0)[0] if ready else []

    def _done(self, answer: tuple[Any, ...]) -> Iterator[Done]:
        kind, *values = answer
        if kind == "misfit":
            raise misfit(*values)
        found, task_s = values
        if task_s is not None:
            self.task_s = task_s if self.task_s is None else 0.8 * self.task_s + 0.2 * task_s
        yield from map(pickle.loads, found)

    def _lost(self, chunk: list[Task], how: str) -> Generator[Done, None, None]:
        log.info("%s: %d tasks are done again", how, len(chunk))
        for place, task in chunk:
            self.deaths[place] += len(chunk) == 1  # of several it may have been any
            if self.deaths[place] == ATTEMPTS:
                reason = _REASONS.get(how, "for want of memory say")
                yield Done(place, failure=f"the process that did it died {ATTEMPTS} times, {reason}")
            else:
                (self.last if self.deaths[place] == ATTEMPTS - 1 else self.again).append((place, task))


_REASONS = {
    "OutOfMemoryError": "the last time because Ray ended it for want of memory",
    "NodeDiedError": "the last time with its node",
}


# where the tasks are done --------------------------------------------------------------------------------------------


def _sent(own: Versions, paths: list[str]) -> Callable[..., tuple[Any, ...]]:
    """The function that Ray runs there. Its code is sent, so that another version of this package does no work."""
    versions = sent_versions()
    found: list[Versions] = []

    def run(key: str, work: Any, places: list[int], tasks: bytes) -> tuple[Any, ...]:
        if not found:
            import sys

            sys.path.extend(path for path in paths if path not in sys.path)
            found.append(versions())
        if found[0] != own:
            import ray

            return "misfit", ray.util.get_node_ip_address(), found[0], own
        from splitimpera.studies.ray_map import do_chunk

        return "done", *do_chunk(key, work, places, tasks)

    return run


_making: tuple[str, Callable[[], Worker]] | None = None
"""What makes the worker of this process, or has made it, and of which work that is."""


def do_chunk(key: str, work: Any, places: list[int], tasks: bytes) -> tuple[list[bytes], float | None]:
    """Do some tasks in this process, with one thread.

    Args:
        key: What tells the work from other work.
        work: uint8 (n,): the work, pickled.
        places: Of each task.
        tasks: The tasks, pickled.

    Returns:
        What became of each, pickled, and how many seconds each took, unless the worker had to be made first.
    """
    global _making
    known = _making is not None and _making[0] == key
    if not known:
        _making = key, cache(lambda: _one_thread(pickle.loads(work))())
    assert _making is not None
    begun_s = time.perf_counter()
    try:
        loaded = pickle.loads(tasks)
    except Exception:  # a module of the user's that this node lacks, say
        failure = traceback.format_exc()
        return [_pickled(Done(place, failure=failure)) for place in places], None
    found = [_done(_making[1], place, task) for place, task in zip(places, loaded, strict=True)]
    took_s = (time.perf_counter() - begun_s) / len(found)
    return [_pickled(done) for done in found], took_s if known else None


def _one_thread(work: Work) -> Work:
    """The environment holds every library to one thread that is not loaded yet."""
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)
    return work


def _pickled(done: Done) -> bytes:
    try:
        return pickle.dumps(done)
    except Exception:
        return pickle.dumps(Done(done.place, failure=traceback.format_exc()))
