"""A setting simulated with several replications: latencies, their quantiles, and how sure one can be of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from math import inf

import numpy as np

from splitimpera.core.array_types import FloatArray
from splitimpera.core.errors import SimulationError
from splitimpera.core.statistics import quantile, quantile_interval, student_interval
from splitimpera.net.transports import check, simulate
from splitimpera.records.link import Link
from splitimpera.records.traffic import Deliveries, Workload

LEVELS = (0.5, 0.95, 0.99)

Simulate = Callable[[Link, Workload, str, np.random.Generator], Deliveries]
"""One replication: this package's simulator, or another engine with the same call."""


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval; an end that the samples do not bound is infinite."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Replication:
    """What a link did to the same workload in each of several runs.

    Attributes:
        seed: run i draws from `numpy.random.default_rng([seed, i])`.
        deliveries: one entry a replication.
        latency_s: Time from a frame's due time until the receiver has all that it will ever use of it, shape
            (replications, frames), the frames of all senders; infinite where its connection was given up.
        response_s: Time from a frame's due time until the sender has the response, same shape; NaN where there is none.
        stable: One entry a replication, False where frames come faster than the link carries them; their latencies grow
            with the number of frames, and no quantile of them means anything.
    """

    link: Link
    workload: Workload
    transport: str
    seed: int
    deliveries: tuple[Deliveries, ...]
    latency_s: FloatArray
    response_s: FloatArray
    stable: tuple[bool, ...]

    @property
    def quantiles_s(self) -> FloatArray:
        """p50, p95 and p99 of the latency, shape (replications, 3); infinite where so many frames never arrive."""
        with np.errstate(invalid="ignore"):  # between two infinite ones
            found = np.quantile(self.latency_s, LEVELS, axis=1).T
        never = np.isinf(self.latency_s).any(axis=1, keepdims=True) & np.isnan(found)
        return np.where(never, inf, found)

    @property
    def estimates(self) -> tuple[Estimate, ...]:
        """p50, p95 and p99 with their 95 % intervals.

        Of several replications the mean and Student's interval, never below 0; of one the quantile and the interval
        between two order statistics, which takes the frames for independent of each other.
        """
        if len(self.latency_s) > 1:
            intervals = [(float(np.mean(run)), *student_interval(run)) for run in self.quantiles_s.T]
            return tuple(Estimate(mean, max(low, 0.0), high) for mean, low, high in intervals)
        only = self.latency_s[0]
        return tuple(Estimate(quantile(only, share), *quantile_interval(only, share)) for share in LEVELS)

    @property
    def sustained(self) -> bool:
        """False where most replications are not stable."""
        return mostly(self.stable)

    @property
    def lossy_frames(self) -> float:
        """Share of frames of which something is missing when they are used."""
        return float(np.mean([[bool(ranges) for ranges in run.erased] for run in self.deliveries]))

    @property
    def missing_bytes(self) -> float:
        """Mean share of a frame's bytes that is missing when it is used."""
        sizes = self.workload.all_frames().size_bytes
        missing = [[sum(end - start for start, end in ranges) for ranges in run.erased] for run in self.deliveries]
        return float(np.mean(np.array(missing) / sizes))


def replicate(
    link: Link,
    workload: Workload,
    transport: str,
    replications: int = 5,
    seed: int = 1,
    *,
    run: Simulate = simulate,
    workers: int = 1,
) -> Replication:
    """Simulate a workload several times; the same seed gives the same numbers.

    Args:
        workload: Frames to send, with a size.
        replications: Number of runs.
        seed: Seed of all random draws; run i draws from `numpy.random.default_rng([seed, i])`.
        run: Engine that simulates one run.
        workers: Number of threads; the results do not depend on it.

    Raises:
        UnknownNameError: there is no such transport.
        SimulationError: fewer than one replication or worker, the workload has no frame size, or the link leaves no
            room for data.
    """
    return _all([(link, workload, transport)], replications, seed, run, workers)[0]


def grid(
    links: Sequence[Link],
    workloads: Sequence[Workload],
    transports: Sequence[str],
    replications: int = 5,
    seed: int = 1,
    *,
    zipped: bool = False,
    run: Simulate = simulate,
    workers: int = 1,
) -> list[Replication]:
    """Simulate many settings.

    Args:
        zipped: False: every link with every workload over every transport, the transport changing fastest; True: the
            first of each, the second of each, ...
        replications, seed: The same as `replicate` takes; every setting gets the same ones, so that settings compare.
        workers: Number of threads; the results do not depend on it.

    Returns:
        One entry a setting, in order.

    Raises:
        SplitImperaError: as `replicate`; or lists of different lengths are to be zipped.
    """
    if zipped and not len(links) == len(workloads) == len(transports):
        given = f"{len(links)} links, {len(workloads)} workloads and {len(transports)} transports"
        raise SimulationError(f"{given} cannot be zipped", hint="give lists of one length")
    settings = list(zip(links, workloads, transports, strict=True) if zipped else product(links, workloads, transports))
    return _all(settings, replications, seed, run, workers)


def _all(
    settings: Sequence[tuple[Link, Workload, str]], replications: int, seed: int, run: Simulate, workers: int
) -> list[Replication]:
    for where, count in (("replications", replications), ("workers", workers)):
        if count < 1:
            raise SimulationError(f"{count} is out of range, it must be 1 or more", where=where)
    for setting in settings:
        check(*setting, runs=replications)

    def one(task: tuple[tuple[Link, Workload, str], int]) -> Deliveries:
        (link, workload, transport), i = task
        return run(link, workload, transport, np.random.default_rng([seed, i]))

    tasks = list(product(settings, range(replications)))
    if workers == 1:
        runs = [one(task) for task in tasks]
    else:
        with ThreadPoolExecutor(workers) as pool:
            runs = list(pool.map(one, tasks))
    return [
        _replication(*setting, seed, tuple(runs[place * replications : (place + 1) * replications]))
        for place, setting in enumerate(settings)
    ]


def _replication(
    link: Link, workload: Workload, transport: str, seed: int, deliveries: tuple[Deliveries, ...]
) -> Replication:
    due = workload.all_frames().ready_s
    return Replication(
        link,
        workload,
        transport,
        seed,
        deliveries,
        np.array([run.complete_s - due for run in deliveries]),
        np.array([run.response_s - due for run in deliveries]),
        tuple(bool(run.stable) for run in deliveries),
    )


def mostly(stable: Sequence[bool]) -> bool:
    """False where more than half are False."""
    return 2 * sum(stable) >= len(stable)
