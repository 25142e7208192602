"""What do the maps themselves cost? Tasks that only sleep, on more and more workers.

    python benchmarks/ray_overhead.py [--seconds 0.1] [--tasks 400] [--workers 1 2 4 8] [--tiny 20000]

The start is timed by itself: until as many processes as there are to be have done a task each.
Speed-up is how much longer the tasks sleep, all together, than they take. Sleeping needs no core, so that there may be
more workers than cores. Then tasks that do nothing, by how many of them go through in a second.

Exit code 1 where 8 workers are less than 7 times as fast as one.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from splitimpera.studies.maps import Map, Pool
from splitimpera.studies.ray_map import Ray

LIMIT_WORKERS, LIMIT = 8, 7.0
UNCOUNTED_S = 0.1


def sleeper() -> Callable[[tuple[bool, float]], tuple[int, bool, float, float]]:
    def sleep(task: tuple[bool, float]) -> tuple[int, bool, float, float]:
        counts, seconds = task
        first_s = time.monotonic()  # the same clock for all processes of a machine
        if seconds:
            time.sleep(seconds)
        return os.getpid(), counts, first_s, time.monotonic()

    return sleep


@dataclass(frozen=True)
class Row:
    """One map with so many workers; times in seconds, the start apart."""

    name: str
    workers: int
    start_s: float
    tasks_s: float
    slept_s: float
    tiny_per_s: float

    @property
    def speed_up(self) -> float:
        return self.slept_s / self.tasks_s


def paced(made: Map, workers: int, seconds: float, tasks: int) -> tuple[float, float]:
    """Until all processes are there and the first task begins, and from then to the end of the last one, in seconds.

    All in one run, for a pool ends with its run. Until then there are tasks that do not count.
    """
    begun_s = time.monotonic()
    seen: set[int] = set()

    def asked() -> Iterator[tuple[bool, float]]:
        while len(seen) < workers:
            yield False, UNCOUNTED_S
        for _ in range(tasks):
            yield True, seconds

    counted = []
    for done in made(sleeper, asked()):
        assert not done.failure, done.failure
        process, counts, first_s, last_s = done.value
        seen.add(process)
        if counts:
            counted.append((first_s, last_s))
    assert len(counted) == tasks
    first_s = min(first for first, _ in counted)
    return first_s - begun_s, max(last for _, last in counted) - first_s


def measured(name: str, workers: int, seconds: float, tasks: int, tiny: int) -> Row:
    session: AbstractContextManager[None] = nullcontext()
    made: Map = Pool(workers)
    if name == "Ray":
        made = ray = Ray(workers=workers)
        session = ray.joined()
    begun_s = time.monotonic()
    with session:
        joined_s = time.monotonic() - begun_s
        started_s, taken_s = paced(made, workers, seconds, tasks)
        _, tiny_s = paced(made, workers, 0.0, tiny)
    return Row(name, workers, joined_s + started_s, taken_s, seconds * tasks, tiny / tiny_s)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.1)
    parser.add_argument("--tasks", type=int, default=400)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--tiny", type=int, default=20_000)
    given = parser.parse_args()
    print(f"{given.tasks} tasks that sleep {given.seconds:g} s, {given.tiny} that do nothing; {os.cpu_count()} cores\n")
    print("| map | workers | start | tasks | speed-up | tasks that do nothing, a second |")
    print("|---|---|---|---|---|---|")
    missed = False
    for name in ("Pool", "Ray"):
        for workers in given.workers:
            row = measured(name, workers, given.seconds, given.tasks, given.tiny)
            times = f"{row.start_s:.1f} s | {row.tasks_s:.2f} s | {row.speed_up:.2f} | {row.tiny_per_s:.0f}"
            print(f"| {name} | {workers} | {times} |", flush=True)
            missed |= workers == LIMIT_WORKERS and row.speed_up < LIMIT
    print(f"\nlimit: {LIMIT_WORKERS} workers at least {LIMIT:g} times: {'missed' if missed else 'holds'}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
