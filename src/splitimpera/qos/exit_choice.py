"""At which confidence frames leave: thresholds of exits, and what becomes of samples with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from splitimpera.core.array_types import FloatArray, IntArray
from splitimpera.core.errors import ScenarioError, listed
from splitimpera.core.statistics import student_interval, wilson_interval
from splitimpera.qos.exit_search import Rank, Thresholds, cheapest_thresholds
from splitimpera.records.exits import GOES_ON, NOBODY, ChosenExits, ExitCosts, ExitTable, Leaving, leaves_at
from splitimpera.records.plan import Exit

LOSS = 0.005
"""How much accuracy exits may cost where no requirement says how much there must be."""
FOLDS = 5
"""In so many parts the samples are divided to see what thresholds are worth on others."""
STRICTER = tuple(np.arange(0, 6.01, 0.25).tolist())
"""By how much thresholds may be raised for that, in log-odds."""


def what_becomes(table: ExitTable, exits: Sequence[Exit], costs: ExitCosts) -> Leaving:
    """What becomes of samples with some exits.

    Args:
        table: of exits behind the same cuts, and perhaps of others.
        costs: with these exits.

    Example:
        >>> sure, right = np.array([[0.9, 0.6, 0.8, 0.3]]), np.array([[1.0, 0.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.0]])
        >>> table = ExitTable((5,), sure, np.zeros((1, 4), dtype=int), right, classes=10)
        >>> found = what_becomes(table, [Exit(5, (0.7,))], ExitCosts((10.0, 40.0), (2.0,)))
        >>> found.shares, found.accuracy, found.cost
        ((0.5, 0.5), 0.75, 27.0)
    """
    own = table.at([exit.cut for exit in exits])
    return _leaving(own, leaves_at(own.confidence, own.answers, [exit.thresholds for exit in exits]), costs)


def oracle(table: ExitTable, costs: ExitCosts) -> Leaving:
    """What would become of samples if each left at the first exit that is right, and went on where none is."""
    right = table.right[:-1] > 0.5
    return _leaving(table, np.where(right.any(axis=0), right.argmax(axis=0), GOES_ON), costs)


def given_exits(table: ExitTable, threshold: float | Mapping[int, float]) -> tuple[Exit, ...]:
    """Exits with the thresholds that a scenario gives: one number, or one for each class; of others no frame leaves.

    Raises:
        ScenarioError: a threshold is none, a class is none of the network's, or no sample leaves anywhere.
    """
    of_classes = threshold if isinstance(threshold, Mapping) else {}
    for number in of_classes:
        if not 0 <= number < table.classes:
            expected = f"the network tells the classes 0 to {table.classes - 1} apart"
            raise ScenarioError(f"there is no class {number}", where="exits.threshold", hint=expected)
    own = [of_classes.get(number, NOBODY) for number in range(table.classes)]
    thresholds = (threshold,) if not isinstance(threshold, Mapping) else tuple(own)
    wrong = [value for value in thresholds if not 0 <= value <= 1]
    if wrong:
        problem = f"{listed(wrong)} is out of range, a confidence lies between 0 and 1"
        raise ScenarioError(problem, where="exits.threshold")
    exits = tuple(Exit(cut, thresholds) for cut in table.cuts)
    if (leaves_at(table.confidence, table.answers, [thresholds] * len(exits)) == GOES_ON).all():
        surest = float(table.confidence.max(initial=0.0))
        raise ScenarioError(
            f"no frame leaves at any of the exits {listed(table.cuts)}: of {table.samples} validation samples the "
            f"surest has a confidence of {surest:.3f}",
            where="exits.threshold",
            hint="lower it, or write 'auto'",
        )
    return exits


def choose_exits(
    table: ExitTable,
    costs: ExitCosts,
    *,
    least: float | None = None,
    loss: float = LOSS,
    per_class: bool = False,
    share: float = 0.5,
    seed: int = 0,
) -> ChosenExits:
    """The thresholds with the least mean cost that keep the accuracy, and the exits that are worth having.

    They are chosen on some of the samples and judged on the others: on those that they are chosen on they look better
    than they are. How much better is found by cross-validation: chosen on four fifths of these samples and tried on the
    last fifth, for each fifth, they are raised by the least common step in log-odds with which the accuracy is kept by
    one standard error, paired by sample.
    An exit without which the rest costs no more is left out, its head with it; perhaps all are.

    Args:
        table: of validation samples.
        costs: of all exits in the table.
        least: The accuracy that is needed; None: that of the network less `loss`.
        per_class: Whether each class gets a threshold of its own.
        share: of the samples that thresholds are chosen on.
        seed: Which samples these are.

    Raises:
        ScenarioError: there are too few samples.
    """
    if table.samples < 2:
        raise ScenarioError(
            f"thresholds are chosen and judged on validation samples, and there are {table.samples}",
            where="exits.threshold",
            hint="leave some of the data to validation, or give a threshold",
        )
    rows = np.random.default_rng(seed).permutation(table.samples)
    count = min(max(1, round(share * len(rows))), len(rows) - 1)
    ours, others = table.take(rows[:count]), table.take(rows[count:])
    choice = _Choice(ours, costs, least, loss, per_class)
    places, thresholds = choice.made(seed)
    exits = tuple(Exit(table.cuts[place], own) for place, own in zip(places, thresholds, strict=True))
    own = costs.at(places)
    chosen_on, judged_on = (what_becomes(part, exits, own) for part in (ours, others))
    kept = chosen_on.accuracy >= choice.needed(ours) - 1e-9
    return ChosenExits(exits, own, chosen_on, judged_on, oracle(others, costs), kept)


@dataclass(frozen=True, eq=False)
class _Choice:
    """Thresholds chosen on some samples; the other fields are the arguments of `choose_exits`."""

    table: ExitTable
    costs: ExitCosts
    least: float | None
    loss: float
    per_class: bool

    def made(self, seed: int) -> tuple[list[int], Thresholds]:
        """The places of the exits that are worth having, and their thresholds."""
        places = [*range(len(self.table.cuts))]
        thresholds, rank = self._best(self.table, places)
        while places:
            fewer = [[place for place in places if place != gone] for gone in places]
            found = [(some, *self._best(self.table, some)) for some in fewer]
            some, own, of_fewer = min(found, key=lambda one: one[2])
            if of_fewer > rank:
                break
            places, thresholds, rank = some, own, of_fewer
        thresholds = self._stricter(places, thresholds, seed)
        left = leaves_at(*self._said(self.table, places), thresholds)
        used = [place for place in range(len(places)) if (left == place).any()]
        return [places[place] for place in used], tuple(thresholds[place] for place in used)

    def needed(self, table: ExitTable) -> float:
        """The share of right answers that these samples need."""
        return float(table.right[-1].mean()) - self.loss if self.least is None else self.least

    def _best(self, table: ExitTable, places: list[int]) -> tuple[Thresholds, Rank]:
        own, by_exit = table.at([table.cuts[place] for place in places]), self.costs.at(places).by_exit
        return cheapest_thresholds(own, by_exit, self.needed(table), per_class=self.per_class)

    def _stricter(self, places: list[int], thresholds: Thresholds, seed: int) -> Thresholds:
        """Thresholds as much stricter as samples ask for that such thresholds were not chosen on."""
        if not places or self.table.samples < 2 * FOLDS:
            return thresholds
        count = self.table.samples
        right = np.zeros((len(STRICTER), count))
        for held in np.array_split(np.random.default_rng([seed, 1]).permutation(count), FOLDS):
            rest, tried = self.table.take(np.setdiff1d(np.arange(count), held)), self.table.take(held)
            own, _ = self._best(rest, places)
            said, worth = self._said(tried, places), tried.right[[*places, -1]]
            for step, by in enumerate(STRICTER):
                right[step, held] = worth[leaves_at(*said, stricter(own, by)), np.arange(len(held))]
        errors = (self.table.right[-1] - right).std(axis=1, ddof=1) / np.sqrt(count)
        sure = right.mean(axis=1) - errors
        enough = np.flatnonzero(sure >= self.needed(self.table) - 1e-9)
        return stricter(thresholds, STRICTER[enough[0] if len(enough) else sure.argmax()])

    def _said(self, table: ExitTable, places: list[int]) -> tuple[FloatArray, IntArray]:
        return table.confidence[places], table.answers[places]


def stricter(thresholds: Thresholds, by: float) -> Thresholds:
    """Thresholds whose log-odds are higher by so much; those that nobody reaches, or everybody, stay.

    Example:
        >>> [[round(value, 3) for value in own] for own in stricter(((0.5,), (0.9, 1.0)), 1.0)]
        [[0.731], [0.961, 1.0]]
    """
    odds = float(np.exp(by))
    return tuple(tuple(odds * value / (1 + (odds - 1) * value) for value in own) for own in thresholds)


def _leaving(table: ExitTable, place: IntArray, costs: ExitCosts) -> Leaving:
    exits, rows = len(table.cuts), np.arange(table.samples)
    left = np.where(place == GOES_ON, exits, place)
    right, network = table.right[left, rows], table.right[-1]
    counts = np.bincount(left, minlength=exits + 1)
    sums = np.bincount(left, weights=right, minlength=exits + 1)
    with np.errstate(invalid="ignore"):
        accuracies = sums / counts
    accuracy = float(right.mean())
    return Leaving(
        samples=table.samples,
        shares=tuple((counts / table.samples).tolist()),
        accuracies=tuple(accuracies.tolist()),
        accuracy=accuracy,
        interval=wilson_interval(accuracy, table.samples),
        network_accuracy=float(network.mean()),
        lost=float((network - right).mean()),
        lost_interval=student_interval(network - right),
        cost=float(costs.by_exit[left].mean()),
    )
