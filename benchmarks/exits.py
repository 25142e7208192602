"""What early exits save, and what they cost in accuracy: heads at a quarter, half and three quarters of the work.

    python benchmarks/exits.py [--networks ...] [--heads linear conv joint] [--markdown FILE]
    python benchmarks/exits.py --plans [--networks ...] [--heads linear] [--objective energy] [--markdown FILE]

Heads are trained on the training part; thresholds are chosen on some of the other pictures and judged on the rest, in
20 random divisions, since those chosen on so few miss by points in a single one. Of the digits 270 of 900 pictures are
chosen on, of CIFAR-10 half of 2000. Intervals: 95 % over divisions, which have pictures in common. CIFAR-10 is left out
where `--reference` is absent. Exit status 1: a goal is missed.

`--plans`: latency, energy and bytes of whole plans with and without exits, see exit_plans.py. Exit status 1: one is
less accurate with them, beyond the interval.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import exit_plans
import numpy as np
import score_vs_accuracy
import torch
from torch import nn

import splitimpera as sei
from splitimpera.core.statistics import student_interval
from splitimpera.models.datasets import DATASETS, Samples
from splitimpera.models.recipes import RECIPES, trained
from splitimpera.models.samples import together
from splitimpera.qos.exit_choice import choose_exits
from splitimpera.records.exits import ChosenExits, ExitCosts, ExitTable
from splitimpera.records.graph import Cut
from splitimpera.training.exit_settings import ExitTraining, exit_cuts
from splitimpera.training.exit_training import exit_table, trained_exits
from splitimpera.training.joint_exits import jointly_trained

HEADS = {
    "linear": ExitTraining(),
    "conv": ExitTraining(head="conv"),
    "joint": ExitTraining(head="conv", joint=True, epochs=12, patience=4),
}
MOST_LOST = 0.005
"""Of the accuracy, on the mean over divisions."""


@dataclass(frozen=True)
class Case:
    """A network, pictures that it was trained on, others, and what is asked of its exits.

    Attributes:
        share: of the other pictures that thresholds are chosen on.
        goal_share, goal_macs: so many of the pictures are to be answered at this share of the MACs at most.
    """

    model: nn.Module
    train: Samples
    others: Samples
    share: float
    goal_share: float
    goal_macs: float


def digits(recipe: str) -> Case:
    data = DATASETS["digits"]()
    others = together([data.validation, data.test])
    return Case(trained(RECIPES[recipe]), data.train, others, 0.3, goal_share=0.8, goal_macs=1 / 3)


def cifar() -> Case | None:
    found = score_vs_accuracy.cifar(5000)
    return Case(found.model, found.train, found.test, 0.5, goal_share=0.4, goal_macs=0.8) if found else None


CASES: dict[str, Callable[[], Case | None]] = {
    "digits-vgg16": lambda: digits("digits-vgg16"),
    "digits-resnet20": lambda: digits("digits-resnet20"),
    "cifar-resnet20": cifar,
}


@dataclass(frozen=True)
class Measured:
    """What came of one kind of head.

    Attributes:
        given_accuracy: that of the network as it was given, on all of the other pictures.
        divisions: what was chosen in each of them.
        seconds: what training took.
    """

    case: Case
    cuts: tuple[Cut, ...]
    table: ExitTable
    costs: ExitCosts
    given_accuracy: float
    divisions: tuple[ChosenExits, ...]
    errors: tuple[tuple[float, float], ...]
    seconds: float

    def over(self, read: Callable[[ChosenExits], float]) -> tuple[float, float, float]:
        """A number's mean over the divisions, with its interval."""
        values = np.array([read(found) for found in self.divisions])
        return float(values.mean()), *student_interval(values)

    def of_exit(self, found: ChosenExits, cut: Cut) -> float:
        """The share that leaves at a cut."""
        exits = [exit.cut for exit in found.exits]
        return found.judged_on.shares[exits.index(cut.index)] if cut.index in exits else 0.0

    def within(self, found: ChosenExits) -> float:
        """The share that is answered at the goal's share of the MACs."""
        cheap = found.costs.by_exit <= self.case.goal_macs * self.costs.layers[-1]
        return float(np.array(found.judged_on.shares)[cheap].sum())

    def p95(self, found: ChosenExits) -> float:
        """The share of the MACs that 95 % of the pictures do not exceed."""
        enough = np.cumsum(found.judged_on.shares) >= 0.95 - 1e-9
        return float(found.costs.by_exit[enough][0]) / self.costs.layers[-1]

    def sent(self, found: ChosenExits) -> float:
        """The share of the bytes that go on, where the network is split behind the last exit."""
        return found.judged_on.shares[-1]

    def macs(self, found: ChosenExits) -> float:
        return found.judged_on.cost / self.costs.layers[-1]

    def lost(self, found: ChosenExits) -> float:
        """The accuracy that is lost against the network as it was given."""
        return found.judged_on.lost + self.given_accuracy - float(self.table.right[-1].mean())

    def goals(self) -> dict[str, bool]:
        lost, share = self.over(self.lost)[0], self.over(self.within)[0]
        return {
            f"at most {100 * MOST_LOST:g} points lost: {100 * lost:.2f}": lost <= MOST_LOST,
            f"at least {self.case.goal_share:.0%} at no more than {self.case.goal_macs:.2f} of the MACs: {share:.1%}": (
                share >= self.case.goal_share
            ),
        }


def measured(case: Case, training: ExitTraining, loss: float, per_class: bool, divisions: int) -> Measured:
    graph = sei.trace(case.model, case.train.inputs[:1])
    cuts, start = exit_cuts(graph), time.perf_counter()
    alone = trained_exits(graph, cuts, case.train, training=training)
    network, exits = jointly_trained(graph, cuts, case.train, training=training) if training.joint else (graph, alone)
    seconds = time.perf_counter() - start
    table = exit_table(network, exits, case.others)
    given = exit_table(graph, alone, case.others).right[-1].mean() if training.joint else table.right[-1].mean()
    costs = exits.macs
    found = [
        choose_exits(table, costs, loss=loss, per_class=per_class, share=case.share, seed=seed)
        for seed in range(divisions)
    ]
    errors = tuple(each.calibration.error for each in exits.exits)
    return Measured(case, cuts, table, costs, float(given), tuple(found), errors, seconds)


def percent(estimate: Sequence[float]) -> str:
    mean, low, high = (100 * value for value in estimate)
    return f"{mean:.1f} % ({low:.1f} to {high:.1f})"


def points(estimate: Sequence[float]) -> str:
    mean, low, high = (100 * value for value in estimate)
    return f"{mean:.2f} ({low:.2f} to {high:.2f})"


def row(name: str, found: Measured) -> list[str]:
    return [
        name,
        f"{100 * found.table.right[-1].mean():.2f} %",
        points(found.over(found.lost)) + f", at worst {100 * max(map(found.lost, found.divisions)):.2f}",
        " / ".join(
            f"{100 * np.mean([found.of_exit(each, cut) for each in found.divisions]):.0f} %" for cut in found.cuts
        ),
        percent(found.over(found.within)),
        percent(found.over(found.macs)),
        percent(found.over(found.p95)),
        percent(found.over(found.sent)),
        f"{100 * found.over(lambda each: sum(each.oracle.shares[:-1]))[0]:.0f} % at "
        f"{100 * found.over(lambda each: each.oracle.cost / found.costs.layers[-1])[0]:.0f} %, right on "
        f"{100 * found.over(lambda each: each.oracle.accuracy)[0]:.1f} %",
    ]


COLUMNS = (
    *("heads", "network alone", "points lost", "left at each exit", "answered within the goal's MACs"),
    *("mean MACs", "MACs of 95 %", "bytes sent on", "oracle: left, MACs"),
)


def table_lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def exits_lines(found: Measured) -> list[str]:
    """The exits of one kind of head: where they are, what they cost and know."""
    rows = []
    for place, cut in enumerate(found.cuts):
        before, after = found.errors[place]
        rows.append(
            [
                f"{cut.index} (`{cut.name}`)",
                f"{cut.macs_head / found.costs.layers[-1]:.1%}",
                f"{found.costs.heads[place] / found.costs.layers[-1]:.2%}",
                f"{100 * found.table.right[place].mean():.2f} %",
                f"{100 * before:.1f} / {100 * after:.1f}",
            ]
        )
    head = ("exit behind cut", "MACs in front", "MACs of the head", "right, all pictures", "calibration error, points")
    return table_lines(head, rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--heads", nargs="+", choices=list(HEADS), help="all of them; of plans, linear alone")
    parser.add_argument("--divisions", type=int, default=20)
    parser.add_argument("--loss", type=float, default=0.005, help="of accuracy, allowed where thresholds are chosen")
    parser.add_argument("--per-class", action="store_true", help="a threshold for each class")
    parser.add_argument("--plans", action="store_true", help="whole plans, in place of multiply-accumulates")
    parser.add_argument("--objective", choices=list(exit_plans.SAVED), default="energy", help="what makes plans best")
    parser.add_argument("--reference", type=Path, default=score_vs_accuracy.REFERENCE)
    parser.add_argument("--markdown", type=Path, help="write the tables to this file, too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    score_vs_accuracy.REFERENCE = options.reference
    if options.plans:
        heads = {name: HEADS[name] for name in options.heads or ("linear",)}
        lines, missed = exit_plans.tables(options.networks, heads, options.objective)
    else:
        lines, missed = tables(options)
    print("\n".join(lines))
    if options.markdown:
        options.markdown.write_text("\n".join(lines))
    return int(missed)


def tables(options: argparse.Namespace) -> tuple[list[str], bool]:
    """Markdown, and whether a goal is missed."""
    lines, missed, heads = list[str](), False, options.heads or list(HEADS)
    for name in options.networks:
        case = CASES[name]()
        if case is None:
            lines += [f"### {name}", "", f"Left out: {options.reference} is not there.", ""]
            continue
        rows, notes = list[list[str]](), list[str]()
        for head in heads:
            found = measured(case, HEADS[head], options.loss, options.per_class, options.divisions)
            rows.append(row(head, found))
            notes += ["", f"Heads `{head}`, trained in {found.seconds:.0f} s:", "", *exits_lines(found), ""]
            goals = found.goals()
            notes += [f"- {goal}: {'met' if met else 'MISSED'}" for goal, met in goals.items()]
            missed |= head == heads[0] and not all(goals.values())
            print(name, *rows[-1], *goals.items(), f"{found.seconds:.0f} s", sep=" | ", flush=True)
        chosen = round(case.share * len(case.others))
        lines += [
            f"### {name}",
            "",
            f"{len(case.train)} training pictures, {len(case.others)} others, thresholds chosen on {chosen} of them.",
            "",
            *table_lines(COLUMNS, rows),
            *notes,
            "",
        ]
    return lines, missed


if __name__ == "__main__":
    sys.exit(main())
