"""A set of labelled data and its parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from splitimpera.core.errors import DataError
from splitimpera.models.pixels import Pixels
from splitimpera.models.samples import Samples, together


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three disjoint parts of one set of data.

    `train` is for training and calibration (it may be empty), `validation` for choosing a plan, `test` for the accuracy
    that is quoted for the chosen one. `pixels` is None where the inputs were not made from 8-bit images.

    Example:
        >>> part = Samples(torch.rand(10, 3, 8, 8), torch.arange(10))
        >>> data = Dataset(train=part, validation=part, test=part, classes=tuple("abcdefghij"))
        >>> len(data.everything()), len(data.calibration())
        (30, 10)
    """

    train: Samples
    validation: Samples
    test: Samples
    classes: tuple[str, ...] = ()
    pixels: Pixels | None = None

    def everything(self) -> Samples:
        """All parts together; no inputs are read."""
        parts = [part for part in (self.train, self.validation, self.test) if len(part)]
        return together(parts)

    def calibration(self) -> Samples:
        """What codecs are calibrated on: never the test part."""
        return self.train if len(self.train) else self.validation


def divide(
    samples: Samples,
    *,
    validation: float,
    test: float,
    seed: int = 0,
    classes: Sequence[str] = (),
    pixels: Pixels | None = None,
) -> Dataset:
    """Shuffle once and divide; data that come sorted by class are thus never sliced in class order.

    Args:
        samples: All samples.
        validation, test: Shares of all samples; what remains is for training and calibration.
        seed: Seed of the shuffle.
        classes: Names of the classes, in the order of the labels.
        pixels: How the inputs were made of 8-bit images; None where they were not.

    Raises:
        DataError: a part would be empty.

    Example:
        >>> samples = Samples(torch.rand(100, 3, 8, 8), torch.arange(100) % 10)
        >>> data = divide(samples, validation=0.3, test=0.5)
        >>> len(data.train), len(data.validation), len(data.test)
        (20, 30, 50)
    """
    n_test, n_validation = round(test * len(samples)), round(validation * len(samples))
    if min(n_test, n_validation) < 1:
        raise DataError(
            f"{len(samples)} samples are too few for {validation:.0%} validation and {test:.0%} test",
            hint="give more data or larger shares",
        )
    rows = torch.from_numpy(np.random.default_rng(seed).permutation(len(samples)))
    return Dataset(
        train=samples.take(rows[n_test + n_validation :]),
        validation=samples.take(rows[n_test : n_test + n_validation]),
        test=samples.take(rows[:n_test]),
        classes=tuple(classes),
        pixels=pixels,
    )


def stratified(labels: Tensor, count: int, seed: int) -> Tensor:
    """Rows of `count` samples drawn without replacement, int64, ascending; each class in proportion.

    Args:
        labels: int64 (N,), one per sample; `count` is at most N.
        seed: Seed of the draw.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    # within a class in random order, the classes one after the other
    order = order[np.argsort(labels.numpy()[order], kind="stable")]
    sizes = np.unique(labels.numpy(), return_counts=True)[1]
    begins = np.cumsum(sizes) - sizes
    chosen = [
        order[begin : begin + kept] for begin, kept in zip(begins, in_proportion(sizes.tolist(), count), strict=True)
    ]
    return torch.from_numpy(np.sort(np.concatenate(chosen))) if chosen else torch.arange(0)


def limited(labels: Mapping[str, Tensor], limit: int, seed: int) -> dict[str, Tensor]:
    """Rows of each part so that all together are `limit` samples, drawn without replacement; each part, and in it each
    class, in proportion.

    Args:
        labels: of each part, int64.
        seed: Seed of the draw.

    Raises:
        DataError: nothing would be left of a part.
    """
    sizes = [len(part) for part in labels.values()]
    counts = in_proportion(sizes, min(limit, sum(sizes)))
    for (part, size), count in zip(zip(labels, sizes, strict=True), counts, strict=True):
        if size and not count:
            raise DataError(f"{limit} samples leave nothing of the part '{part}'", where="data.limit")
    return {part: stratified(labels[part], count, seed) for part, count in zip(labels, counts, strict=True)}


def in_proportion(sizes: Sequence[int], count: int) -> list[int]:
    """Whole shares of `count` in proportion to `sizes` (largest remainders), which add up to it."""
    exact = np.array(sizes) * (count / max(sum(sizes), 1))
    shares = np.floor(exact).astype(int)
    for place in np.argsort(shares - exact, kind="stable")[: count - shares.sum()]:
        shares[place] += 1
    return [int(share) for share in shares]
