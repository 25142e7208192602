"""A policy: which plan is used at which link condition, and when it is worth to change to another one.

Written as `policy.json`. What plans are worth is kept for every cell of a grid of rates, delays and losses, so that a
program that knows its link only roughly can also tell what a change gains. A file may be anybody's: all is checked.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from splitimpera.core.bounds import BOUNDS, Bound
from splitimpera.core.errors import BundleError, listed, shown
from splitimpera.core.files import read_file
from splitimpera.core.results_json import parsed_results
from splitimpera.records.checks import require
from splitimpera.records.plan import Configuration

POLICY = "policy.json"
VERSION = 1
MOST_CELLS = 10_000
MOST_PLANS = 64
LARGEST_BYTES = 50_000_000
LEAST_MARGIN = 0.01
"""One point: less is never worth a change."""
HINT = "make it again with 'splitimpera policy'"

_Text = Annotated[str, Field(max_length=500)]
_Whole = Annotated[int, Field(ge=0, lt=1 << 32)]
_Value = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Values = Annotated[list[_Value], Field(max_length=MOST_CELLS)]


def _axis(bound: Bound) -> object:
    return Annotated[list[Annotated[float, Field(**bound.limits())]], Field(max_length=MOST_CELLS)]


def borders_of(values: Sequence[float]) -> tuple[float, ...]:
    """Where one of some ascending values ends and the next begins: half way, by factors where both are above 0.

    >>> borders_of([0.0, 0.02, 0.08])
    (0.01, 0.04)
    """
    return tuple(math.sqrt(low * high) if low > 0 else high / 2 for low, high in pairwise(values))


class PlanKey(NamedTuple):
    """What makes a plan this one and no other: its first hop; without a hop no cut, codec and transport."""

    cut: int | None
    codec: str | None
    bottleneck: float
    transport: str | None


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class PolicyPlan(_Part):
    """A plan that is at hand.

    Attributes:
        id: Its name in the bundle.
        configuration: LC, RC, SC or EE.
        cut, codec, bottleneck, transport: Of its first hop.
        values: What it is worth in each cell; 0 where it is not feasible.
        errors: The standard error of each value; 0 where it is not known.
    """

    id: Annotated[str, Field(min_length=1, max_length=500)]
    configuration: Configuration
    cut: _Whole | None
    codec: _Text | None
    bottleneck: _Value
    transport: _Text | None
    values: _Values
    errors: _Values

    @property
    def key(self) -> PlanKey:
        return PlanKey(self.cut, self.codec, self.bottleneck, self.transport)


@dataclass(frozen=True)
class Place:
    """A link condition's cell.

    Attributes:
        cell: Its index.
        outside: Along which axes the condition lies beyond the grid, where the cell at its end stands in:
            "rate", "delay", "loss".
    """

    cell: int
    outside: tuple[str, ...] = ()


class Policy(_Part):
    """Which plan for which link condition.

    Attributes:
        version: Of the format.
        name: Of the study that it was made from.
        objective: What a value is, in words.
        prior: How often each condition is met, in words.
        rates_bps, delays_s, losses: The grid, ascending; empty: the policy does not look at this. Cells are counted
            with the loss going fastest, then the delay.
        weights: How often each cell is met; they add up to 1.
        plans: Those at hand.
        chosen: The plan of each cell, by its place among them; None where none is feasible.
        least_margin: What a change must gain at least.
        expected: The expected value of the best plan at hand.
        of_all: That of the best of all plans that there were, had all been at hand.
        bound: What no other choice of as many plans exceeds; `expected` where the choice is exact.
    """

    version: Literal[1] = 1
    name: _Text
    objective: _Text
    prior: _Text
    rates_bps: _axis(BOUNDS["rate_bps"])  # type: ignore[valid-type]
    delays_s: _axis(BOUNDS["delay_s"])  # type: ignore[valid-type]
    losses: _axis(BOUNDS["loss"])  # type: ignore[valid-type]
    weights: _Values
    plans: Annotated[list[PolicyPlan], Field(min_length=1, max_length=MOST_PLANS)]
    chosen: Annotated[list[_Whole | None], Field(max_length=MOST_CELLS)]
    least_margin: _Value = LEAST_MARGIN
    expected: _Value
    of_all: _Value
    bound: _Value

    @model_validator(mode="after")
    def _sound(self) -> Self:
        for name, axis in self.axes.items():
            if any(after <= before for before, after in pairwise(axis)):
                raise ValueError(f"the values of the {name} do not ascend")
        cells = math.prod(self.shape)
        if cells > MOST_CELLS:
            raise ValueError(f"{cells} cells, at most {MOST_CELLS} are expected")
        counts = {"weights": len(self.weights), "chosen": len(self.chosen)}
        for plan in self.plans:
            counts |= {
                f"values of '{shown(plan.id)}'": len(plan.values),
                f"errors of '{shown(plan.id)}'": len(plan.errors),
            }
        for what, count in counts.items():
            if count != cells:
                raise ValueError(f"{cells} cells have {count} {what}")
        if abs(sum(self.weights) - 1) > 1e-6:
            raise ValueError(f"the weights add up to {sum(self.weights):g}, 1 is expected")
        ids = [plan.id for plan in self.plans]
        if len({*ids}) < len(ids):
            raise ValueError(f"two plans have one name: {listed(ids)}")
        for cell, place in enumerate(self.chosen):
            self._check_choice(cell, place)
        return self

    def _check_choice(self, cell: int, place: int | None) -> None:
        best = max(self.plans, key=lambda plan: plan.values[cell])
        if place is None:
            if best.values[cell] > 0:
                raise ValueError(f"cell {cell} has no plan, though '{shown(best.id)}' is feasible there")
        elif place >= len(self.plans):
            raise ValueError(f"cell {cell} has plan {place}, there are plans 0 to {len(self.plans) - 1}")
        elif self.better(place, cell) is not None:
            own = self.plans[place]
            raise ValueError(
                f"cell {cell} has plan '{shown(own.id)}', though '{shown(best.id)}' is worth "
                f"{best.values[cell] - own.values[cell]:.3g} more there"
            )

    @property
    def axes(self) -> dict[str, Sequence[float]]:
        """The grid's values, by "rate", "delay" and "loss"."""
        return {"rate": self.rates_bps, "delay": self.delays_s, "loss": self.losses}

    @property
    def shape(self) -> tuple[int, int, int]:
        """How many rates, delays and losses there are; 1 of what the policy does not look at."""
        rates, delays, losses = (max(1, len(axis)) for axis in self.axes.values())
        return rates, delays, losses

    @cached_property
    def borders(self) -> dict[str, tuple[float, ...]]:
        """Where one value of an axis ends and the next begins."""
        return {name: borders_of(axis) for name, axis in self.axes.items()}

    def at(self, rate_bps: float, delay_s: float, loss: float) -> Place:
        """The cell of a link condition.

        Args:
            rate_bps: Bit rate of the uplink, 0 or more.
            delay_s: One way.
            loss: Of packets on the uplink, 0 to 1.

        Raises:
            SimulationError: this is no condition of a link.
        """
        given = {"rate": rate_bps, "delay": delay_s, "loss": loss}
        for name, value in given.items():
            most = 1.0 if name == "loss" else math.inf
            require(math.isfinite(value) and 0 <= value <= most, name, value, "0 or more" + ", at most 1" * (most == 1))
        cell = 0
        for (name, value), count in zip(given.items(), self.shape, strict=True):
            cell = cell * count + bisect_right(self.borders[name], value)
        outside = [
            name
            for name, value in given.items()
            if (axis := self.axes[name]) and not axis[0] * (1 - 1e-9) <= value <= axis[-1] * (1 + 1e-9)
        ]
        return Place(cell, tuple(outside))

    def margin(self, one: int, other: int, cell: int) -> float:
        """What a change from one plan to another must gain: the standard error of their difference, or more."""
        return max(self.least_margin, math.hypot(self.plans[one].errors[cell], self.plans[other].errors[cell]))

    def better(self, current: int, cell: int) -> int | None:
        """The plan that a change leads to, by its place; None where none is worth it.

        At one condition a change never leads to another: margins meet the triangle inequality, so that what beats the
        new plan would have beaten the old one, and by more.
        """
        best, most = None, 0.0
        for place, plan in enumerate(self.plans):
            gain = plan.values[cell] - self.plans[current].values[cell]
            if gain > max(most, self.margin(current, place, cell)):
                best, most = place, gain
        return best

    def gain(self, cell: int) -> float:
        """What the best plan of a cell is worth more than the next best at hand, or than none."""
        first, second = sorted([*(plan.values[cell] for plan in self.plans), 0.0], reverse=True)[:2]
        return first - second

    def place(self, id: str) -> int:
        """A plan's place, by its name.

        Raises:
            BundleError: the policy has none of this name.
        """
        for place, plan in enumerate(self.plans):
            if plan.id == id:
                return place
        known = listed(plan.id for plan in self.plans)
        raise BundleError(f"the policy has no plan '{shown(id)}'", where=POLICY, hint=f"it has {known}")

    def check_plans(self, known: Mapping[str, PlanKey]) -> None:
        """Hold the policy to the plans that are there.

        Args:
            known: A bundle's plans, by their names.

        Raises:
            BundleError: it speaks of a plan that is not among them, or of another one of the same name.
        """
        for plan in self.plans:
            if plan.id not in known:
                hint = f"there are {listed(known)}; {HINT}"
                raise BundleError(
                    f"the policy is for other plans: there is no '{shown(plan.id)}'", where=POLICY, hint=hint
                )
            if plan.key != known[plan.id]:
                raise BundleError(
                    f"the policy is for another plan '{shown(plan.id)}': {_words(plan.key)} is expected, "
                    f"there is {_words(known[plan.id])}",
                    where=POLICY,
                    hint=HINT,
                )


def _words(key: PlanKey) -> str:
    if key.cut is None:
        return "no cut"
    bottleneck = f", bottleneck {key.bottleneck:g}" if key.bottleneck else ""
    return f"cut {key.cut}, {shown(key.codec)}, {shown(key.transport)}{bottleneck}"


def written_policy(policy: Policy) -> bytes:
    """The content of `policy.json`."""
    return policy.model_dump_json(indent=1).encode() + b"\n"


def load_policy(path: str | Path) -> Policy:
    """The policy in a file.

    Raises:
        BundleError: there is none, or it cannot be read.
    """
    return read_policy(read_file(path, LARGEST_BYTES, BundleError, what="policy", hint=HINT))


def read_policy(content: bytes) -> Policy:
    """The policy in a file's content.

    Raises:
        BundleError: it is no JSON, of an unknown version, or does not make sense; says where.

    Example:
        >>> plan = PolicyPlan(id="LC", configuration="LC", cut=None, codec=None, bottleneck=0.0, transport=None,
        ...                   values=[0.9, 0.9], errors=[0.0, 0.0])
        >>> policy = Policy(name="digits", objective="on_time_accuracy", prior="uniform", rates_bps=[1e5, 1e7],
        ...                 delays_s=[], losses=[], weights=[0.5, 0.5], plans=[plan], chosen=[0, 0],
        ...                 expected=0.9, of_all=0.95, bound=0.9)
        >>> read_policy(written_policy(policy)) == policy
        True
        >>> policy.at(2e7, 0.01, 0.0)
        Place(cell=1, outside=('rate',))
    """
    plain = parsed_results(content, BundleError, POLICY, HINT)
    if not isinstance(plain, dict):
        raise BundleError("a JSON object is expected", where=POLICY, hint=HINT)
    if plain.get("version") != VERSION or isinstance(plain["version"], bool):
        given = shown(plain.get("version", "none"), 20)
        raise BundleError(
            f"the policy has version {given}, this program reads {VERSION}",
            where=POLICY,
            hint="make it again, or install the version of Split-Et-Impera that wrote it",
        )
    try:
        return Policy.model_validate(plain)
    except ValidationError as failure:
        first = failure.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        told = shown(first["msg"].removeprefix("Value error, "), 300)
        raise BundleError(f"{shown(place, 200)}: {told}" if place else told, where=POLICY, hint=HINT) from None
