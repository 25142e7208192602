"""What an estimate says of the link, as shares of a policy's cells: how likely each is to be the one that holds now.

A policy's table has one value a cell, and an estimate is never certain. So a plan is worth its expected value over the
cells that the link may be in. Rates and delays are believed log-normal about the estimate, losses normal; what is known
only as "at least" leaves the policy's own prior above it, and what is not known leaves all of the prior. What was
learned some time ago is believed less: its spread grows with the square root of its age, as that of a random walk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite, log, sqrt
from statistics import NormalDist

import numpy as np

from splitimpera.core.array_types import FloatArray
from splitimpera.deploy.recent_values import LEVEL_Z, Estimate
from splitimpera.records.policy import Policy

SPREAD = 0.2
"""The least standard deviation of a rate's logarithm: the next frame's is not the last seconds'."""
UNSURE = 0.5
"""Where a single value was seen, or the interval says nothing."""
DRIFT = 0.3
"""Standard deviation that the logarithm gains in a second without news."""
DELAY_SPREAD = 0.1


@dataclass(frozen=True)
class Belief:
    """A quantity as it is believed to be.

    Attributes:
        value: Its middle.
        spread: Standard deviation, of its logarithm where it is a rate or a delay; 0: it is certain.
        at_least: Only that it is not below `value` is known.
    """

    value: float
    spread: float = 0.0
    at_least: bool = False

    def grown(self, age_s: float) -> Belief:
        """The same after `age_s` without news, for a rate or a delay."""
        return Belief(self.value, sqrt(self.spread**2 + DRIFT**2 * max(age_s, 0.0)), self.at_least)


def level_belief(found: Estimate, least_spread: float = SPREAD) -> Belief:
    """A rate or a delay, by its estimate.

    >>> level_belief(Estimate(1e6, 8e5, 1.25e6, 0.0, 20.0)).spread
    0.2
    >>> level_belief(Estimate(1e6, 1e6, float("inf"), float("inf"), 0.0)).at_least
    True
    """
    single = found.count < 2
    at_least = not isfinite(found.age_s) or (found.at_least and not single)
    told = found.low > 0 and isfinite(found.high) and not single
    spread = log(found.high / found.low) / (2 * LEVEL_Z) if told else UNSURE
    return Belief(found.value, max(spread, least_spread), at_least)


def share_belief(found: Estimate | None) -> Belief:
    """A loss, by its estimate; None, as over TCP: nothing is lost."""
    return Belief(0.0) if found is None else Belief(found.value, (found.high - found.low) / (2 * LEVEL_Z))


@dataclass(frozen=True)
class LinkBelief:
    """A link as it is believed to be; None: nothing is known of it.

    Attributes:
        rate: Bit rate, headers included.
        delay: One way, s.
        loss: Of packets, 0 to 1.
    """

    rate: Belief | None
    delay: Belief | None
    loss: Belief | None

    def shares(self, policy: Policy) -> FloatArray:
        """How likely the link is in each of the policy's cells, shape (cells,); they add up to 1."""
        prior = np.array(policy.weights).reshape(policy.shape)
        axes = [(self.rate, "rate", True), (self.delay, "delay", True), (self.loss, "loss", False)]
        found: FloatArray = np.ones(policy.shape)
        for place, (belief, name, logs) in enumerate(axes):
            others = tuple(axis for axis in range(3) if axis != place)
            own = _along(belief, policy.borders[name], prior.sum(axis=others), logs)
            found = found * own.reshape([-1 if axis == place else 1 for axis in range(3)])
        return found.ravel()

    def words(self) -> str:
        """For the log."""
        rate, delay, loss = self.rate, self.delay, self.loss
        at_least = "at least " if rate is not None and rate.at_least else ""
        told = ["rate unknown" if rate is None else f"{at_least}{rate.value / 1e6:.3g} Mbit/s"]
        told += [] if delay is None else [f"{delay.value * 1e3:.3g} ms"]
        return ", ".join([*told, *([] if loss is None else [f"{loss.value:.1%} lost"])])


def _along(belief: Belief | None, borders: Sequence[float], prior: FloatArray, logs: bool) -> FloatArray:
    """Shares of the cells along one axis, shape (borders + 1,)."""
    if belief is None:
        return prior / prior.sum()
    below = np.array([0.0, *(_below(belief, border, logs) for border in borders), 1.0])
    own = np.diff(below)
    if belief.at_least:
        reached = prior * np.cumsum(own)  # as likely as the bound lies in this cell or beneath
        own = reached / reached.sum() if reached.sum() > 0 else own
    return np.asarray(own, np.float64)


def _below(belief: Belief, border: float, logs: bool) -> float:
    """How likely the quantity lies beneath a border."""
    apart = (log(border) - (log(belief.value) if belief.value > 0 else -inf)) if logs else border - belief.value
    if belief.spread <= 0 or not isfinite(apart):
        return 1.0 if apart > 0 else 0.0
    return NormalDist().cdf(apart / belief.spread)
