"""What an estimate says of the link, as shares of a policy's cells: how likely each is to be the one of the next frame.

A policy's table has one value a cell, and no estimate is certain. So a plan is worth its expected value over the cells
that the link may be in:

- of the rate, those that the latest frames met, each as often: where one frame in eight is slow, a plan that needs a
  fast link loses an eighth of its value, whatever the mean says;
- of the delay, log-normal about the smallest round trip of late; of the loss, normal about its estimate.

What is known only as "at least" leaves the policy's own prior above it, and what is not known leaves all of the prior.
What was learned some time ago is believed less: its spread grows with the square root of its age, as a random walk's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite, log, sqrt
from statistics import NormalDist

import numpy as np

from splitimpera.core.array_types import FloatArray
from splitimpera.deploy.link_estimate import LinkEstimate
from splitimpera.deploy.recent_values import LEVEL_Z, Estimate
from splitimpera.records.policy import Policy

RATES = 16
"""As so many quantiles the rates of the latest frames are seen."""
SPREAD = 0.2
"""Standard deviation of a rate's logarithm about one that was met."""
UNSURE = 0.5
"""Where a single one was seen."""
DRIFT = 0.3
"""Standard deviation that the logarithm gains in a second without news."""
DELAYS = 16
DELAY_SPREAD = 0.05


@dataclass(frozen=True)
class Belief:
    """A quantity as it is believed to be.

    Attributes:
        value: Its middle.
        spread: Standard deviation, of its logarithm where it is a rate or a delay; 0: it is certain.
        at_least: Only that it is not below `value` is known.
        weight: How likely it is, in proportion to others that it may be.
    """

    value: float
    spread: float = 0.0
    at_least: bool = False
    weight: float = 1.0

    def grown(self, age_s: float) -> Belief:
        """The same after `age_s` without news, for a rate or a delay."""
        return replace(self, spread=sqrt(self.spread**2 + DRIFT**2 * max(age_s, 0.0)))


def rate_beliefs(link: LinkEstimate, now_s: float) -> tuple[Belief, ...]:
    """What rates the next frame may meet, each as likely; empty: nothing is known."""
    found = link.goodput(now_s)
    if found is None:
        return ()
    late, most_bps = link.overdue(now_s)
    overdue = (Belief(min(most_bps, found.value), SPREAD, weight=float(late)),) if late else ()
    if found.count < 2:
        return (Belief(found.value, UNSURE, not isfinite(found.age_s)), *overdue)
    met = [link.net_quantile((place + 0.5) / RATES, now_s) or found.value for place in range(RATES)]
    largest, weight = max([found.value, *(rate for rate in met if isfinite(rate))]), found.count / RATES
    return (
        *(Belief(min(rate, largest), SPREAD, not isfinite(rate), weight) for rate in met),
        *overdue,
    )


def delay_beliefs(link: LinkEstimate, now_s: float) -> tuple[Belief, ...]:
    """What delays the next frame may meet, each as likely; empty: nothing is known."""
    met = [link.lone.way_quantile((place + 0.5) / DELAYS, now_s) for place in range(DELAYS)]
    known = [way_s for way_s in met if way_s is not None and isfinite(way_s)]
    if not known and link.least_round_trip_s < inf:
        known = [link.least_round_trip_s]
    return tuple(Belief(way_s / 2, DELAY_SPREAD) for way_s in known)


def share_belief(found: Estimate | None) -> Belief:
    """A loss, by its estimate; None, as over TCP: nothing is lost."""
    return Belief(0.0) if found is None else Belief(found.value, (found.high - found.low) / (2 * LEVEL_Z))


@dataclass(frozen=True)
class LinkBelief:
    """A link as it is believed to be; None, or empty: nothing is known of it.

    Attributes:
        rates: Bit rates, headers included, as likely as they weigh.
        delays: One way, s, likewise.
        loss: Of packets, 0 to 1.
    """

    rates: tuple[Belief, ...]
    delays: tuple[Belief, ...]
    loss: Belief | None

    def shares(self, policy: Policy) -> FloatArray:
        """How likely the link is in each of the policy's cells, shape (cells,); they add up to 1."""
        prior = np.array(policy.weights).reshape(policy.shape)
        found: FloatArray = np.ones(policy.shape)
        known = (self.rates, self.delays, () if self.loss is None else (self.loss,))
        for place, (beliefs, name) in enumerate(zip(known, policy.axes, strict=True)):
            of_axis = prior.sum(axis=tuple(axis for axis in range(3) if axis != place))
            each = [_along(belief, policy.borders[name], of_axis, name != "loss") for belief in beliefs]
            weights = [belief.weight for belief in beliefs]
            own = np.average(each, axis=0, weights=weights) if each else of_axis / of_axis.sum()
            found = found * own.reshape([-1 if axis == place else 1 for axis in range(3)])
        return found.ravel()

    def words(self) -> str:
        """For the log."""
        told = ["rate unknown"]
        if self.rates:
            middle = sorted(self.rates, key=lambda belief: belief.value)[len(self.rates) // 2]
            told = [f"{'at least ' * middle.at_least}{middle.value / 1e6:.3g} Mbit/s"]
        told += [f"{self.delays[len(self.delays) // 2].value * 1e3:.3g} ms"] if self.delays else []
        return ", ".join([*told, *([] if self.loss is None else [f"{self.loss.value:.1%} lost"])])


def _along(belief: Belief, borders: Sequence[float], prior: FloatArray, logs: bool) -> FloatArray:
    """Shares of the cells along one axis, shape (borders + 1,)."""
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
