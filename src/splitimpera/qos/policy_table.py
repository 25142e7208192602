"""From what plans are worth at each link condition to a policy: few plans, and which of them is used where."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from splitimpera.core.array_types import FloatArray, IntArray
from splitimpera.core.errors import PlanError
from splitimpera.qos.policy_choice import EQUAL, Segments, choose_plans
from splitimpera.records.policy import MOST_PLANS, Policy, PolicyPlan


@dataclass(frozen=True)
class Offer:
    """All plans that there are, and how the grid's conditions are weighed.

    Attributes:
        plans: With their values in each cell of the grid.
        weights: How often each cell is met; only their proportions matter.
        ranks: Which plan comes first among equals in a cell, shape (plans, cells), the smallest first; None: they come
            in their order.
        segments: What each plan needs on the device, as `choose_plans` takes it; empty: this is not looked at.
    """

    plans: Sequence[PolicyPlan]
    weights: FloatArray
    ranks: IntArray | None = None
    segments: Sequence[Segments] = ()


def best_policy(offer: Offer, most: int, *, memory_bytes: int | None = None, **about: Any) -> Policy:
    """The policy of the best few plans, one of them local where there is one that the device can hold.

    Args:
        most: At most so many plans; a single one need not be local.
        memory_bytes: What the device has for all of them; None: no limit.
        about: Name, objective, prior and grid of the policy.

    Returns:
        The plan that is used most comes first.

    Raises:
        PlanError: no plan is feasible anywhere, too many are asked for, or more than memory bears.

    Example:
        >>> keys = {"configuration": "SC", "cut": 1, "codec": "uint8", "bottleneck": 0.0, "transport": "udp"}
        >>> plans = [PolicyPlan(id=name, values=values, errors=[0.0, 0.0], **keys)
        ...          for name, values in {"a": [0.9, 0.0], "b": [0.5, 0.5], "c": [0.0, 0.7]}.items()]
        >>> about = dict(name="", objective="", prior="", rates_bps=[], delays_s=[], losses=[0.0, 0.1])
        >>> policy = best_policy(Offer(plans, np.array([1.0, 3.0])), 2, **about)
        >>> [plan.id for plan in policy.plans], policy.chosen, round(policy.expected, 3)
        (['c', 'a'], [1, 0], 0.75)
    """
    if most > MOST_PLANS:
        raise PlanError(f"{most} plans are asked for, at most {MOST_PLANS} are kept", where="plans")
    values = np.array([plan.values for plan in offer.plans])
    if not (values > 0).any():
        raise PlanError(
            "no plan is feasible at any link condition",
            where="policy",
            hint="look at other conditions, or loosen the requirements",
        )
    shares = np.array(offer.weights) / np.sum(offer.weights)
    local = [
        place
        for place, plan in enumerate(offer.plans)
        if plan.configuration == "LC" and (memory_bytes is None or sum(_needs(offer, place)) <= memory_bytes)
    ]
    must = sorted(local, key=lambda place: -float(values[place] @ shares))[: most > 1]
    choice = choose_plans(values, shares, most, must=must, segments=offer.segments, memory_bytes=memory_bytes)
    ranks = np.tile(np.arange(len(values))[:, None], values.shape[1]) if offer.ranks is None else offer.ranks
    winners = _winners(values[[*choice.plans]], ranks[[*choice.plans]])
    used = [float(shares[winners == place].sum()) for place in range(len(choice.plans))]
    order = sorted(range(len(used)), key=lambda place: -used[place])
    place_of = {old: new for new, old in enumerate(order)}
    return Policy(
        weights=shares.tolist(),
        plans=[offer.plans[choice.plans[place]] for place in order],
        chosen=[place_of.get(int(winner)) for winner in winners],
        expected=choice.expected,
        of_all=max(choice.expected, float(values.max(axis=0) @ shares)),
        bound=choice.bound,
        **about,
    )


def _needs(offer: Offer, place: int) -> Iterable[int]:
    return offer.segments[place].values() if offer.segments else ()


def _winners(values: FloatArray, ranks: IntArray) -> IntArray:
    """The place of the best plan in each cell, among equals the one of the smallest rank; -1 where none is feasible."""
    best = values.max(axis=0)
    ranked = np.where(values >= best - EQUAL, ranks, np.iinfo(np.int64).max)
    found: IntArray = np.where(best > 0, ranked.argmin(axis=0), -1)
    return found
