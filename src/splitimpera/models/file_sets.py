"""Sets of files, one a sample: listed at first, read when they are asked for."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from splitimpera.core.errors import BrokenFileError, DataError, SplitImperaWarning, listed
from splitimpera.models.targets import Read, Stacked, Targets

T = TypeVar("T")
R = TypeVar("R")
AT_ONCE = 1000
"""How many calls wait for a thread: a million that wait take memory, too."""
NAMED = 5


@dataclass(frozen=True)
class Listing:
    """The samples of a set of files.

    Attributes:
        paths: the file of each sample's input.
        targets: what is expected of each.
        classes: names of the classes, safe to print; empty where they are not known.
        parts: which rows belong to which part; to '' where the set does not say.
        claimed: Height and width that records give for images; those of others are not known beforehand.
    """

    paths: tuple[Path, ...]
    targets: Targets
    classes: tuple[str, ...]
    parts: dict[str, Tensor]
    claimed: Mapping[Path, tuple[int, int]] = field(default_factory=dict)

    @property
    def strata(self) -> Tensor:
        """What shares are drawn in proportion of, int64 (N,): class labels, else all alike."""
        if isinstance(self.targets, Stacked) and self.targets.tensor.ndim == 1:
            return self.targets.tensor
        return torch.zeros(len(self.paths), dtype=torch.int64)

    def take(self, rows: Tensor) -> Listing:
        """Some of the samples, ascending."""
        place = torch.full((len(self.paths),), -1)
        place[rows] = torch.arange(len(rows))
        parts = {name: place[part][place[part] >= 0] for name, part in self.parts.items()}
        paths = tuple(self.paths[row] for row in rows.tolist())
        return replace(self, paths=paths, targets=self.targets.take(rows), parts=parts)

    def decoded(self, read: Callable[[Path], object], threads: int, what: str = "images") -> Listing:
        """Those that can be decoded; every file is decoded once to find out, and none is kept.

        Args:
            read: Decodes a file, and raises BrokenFileError where it cannot.
            what: What messages call the files.
        """

        def fails(row: int) -> bool:
            try:
                read(self.paths[row])
                if isinstance(self.targets, Read):
                    self.targets.rows([row])
            except BrokenFileError:
                return True
            except DataError as error:
                raise error.at(error.where or "data.source") from None
            return False

        failures = list(in_threads(fails, range(len(self.paths)), threads))
        broken = [path for path, failed in zip(self.paths, failures, strict=True) if failed]
        if not broken:
            return self
        names = listed(("/".join(path.parts[-2:]) for path in broken), NAMED)
        warnings.warn(
            f"{len(broken)} of {len(self.paths)} {what} cannot be decoded and are left out: {names}",
            SplitImperaWarning,
            stacklevel=2,
        )
        if len(broken) == len(self.paths):
            raise DataError(f"none of the {what} can be decoded")
        return self.take(torch.tensor([not failed for failed in failures]).nonzero()[:, 0])


def parts_of(owners: Sequence[str], names: Sequence[str]) -> dict[str, Tensor]:
    """Which rows belong to each of some parts, by the part of each row."""
    return {name: torch.tensor([owner == name for owner in owners]).nonzero()[:, 0] for name in names}


def held_out(parts: Mapping[str, Sequence[T]]) -> dict[str, list[T]]:
    """Parts as a design takes them, from those that a set comes with.

    What was not trained on is validated and tested on: where a set comes with one part of validation or of test alone,
    its samples are one and the other in turn. Where it comes with neither there are no parts, and '' has them all.

    Raises:
        DataError: that part has a single sample.
    """
    found = {part: list(samples) for part, samples in parts.items()}
    given = [part for part in ("validation", "test") if found.get(part)]
    if not given:
        return {"": [sample for samples in found.values() for sample in samples]}
    if len(given) == 1:
        alone = found[given[0]]
        if len(alone) < 2:
            raise DataError(f"the part '{given[0]}' has one sample, which cannot be for validation and for the test")
        found |= {"validation": alone[::2], "test": alone[1::2]}
    return {part: found[part] for part in ("train", "validation", "test") if found.get(part)}


def in_threads(call: Callable[[T], R], values: Sequence[T], threads: int) -> Iterator[R]:
    """`call` of each value, in order; the first failure is raised, and what has not begun then is left undone."""
    if not threads:
        yield from map(call, values)
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="splitimpera-decode")
    try:
        for first in range(0, len(values), AT_ONCE):
            yield from pool.map(call, values[first : first + AT_ONCE])
    finally:
        pool.shutdown(cancel_futures=True)
