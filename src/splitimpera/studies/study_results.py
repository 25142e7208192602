"""What a study found out: what wins in every cell of its ranges, and each plan there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from splitimpera.scenario.ranges import Axis

if TYPE_CHECKING:
    import pandas

State = Literal["done", "failed", "left"]


class _Kept(BaseModel):
    """What stands in a study's journal."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PlanRow(_Kept):
    """One plan in one cell.

    Attributes:
        configuration: LC, RC or SC.
        cut, cut_name: The first hop's cut; None without a hop.
        bottleneck: The compression ratio of a trained bottleneck; 0 for none.
        metrics: Metrics by name, as requirements have them, in SI units; None: not known, or infinite.
        quality_ci: 95 % interval of the quality; None where the quality was not computed.
        certainty: How surely the hard requirements are met: certain, likely or unlikely.
        value: What is optimised, larger is better: the objective's metric, or the on-time quality; None where the plan
            is not feasible.
        misses: The hard requirements that it misses and what keeps it from running, in words.
    """

    id: str
    configuration: str
    cut: int | None
    cut_name: str | None
    codec: str | None
    bottleneck: float
    transport: str | None
    metrics: dict[str, float | None]
    quality_ci: tuple[float, float] | None
    stable: bool
    feasible: bool
    certainty: str
    value: float | None
    misses: tuple[str, ...]


class CellRow(_Kept):
    """One cell: a scenario with one value of each range.

    Attributes:
        plans: How many plans it has.
        feasible: How many of them are feasible.
        chosen: The recommended plan; None where none is feasible, or the cell is not done.
        closest: The plan that comes closest where none is feasible.
        runner_up: The next best plan, feasible or not.
        certainty: Of the recommended plan.
        reasons: Why it is recommended, in words.
    """

    plans: int
    feasible: int
    chosen: PlanRow | None
    closest: PlanRow | None
    runner_up: PlanRow | None
    certainty: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """A cell's place and values, and what became of it.

    Attributes:
        index: Its place among all cells; the last axis goes fastest.
        values: By key, as a scenario would have them: {"links[0].rate": "1 Mbit/s"}.
        state: done, failed, or left to do.
        reason: Why it failed, in words.
        row: What was found; None where it is not done.
    """

    index: int
    values: dict[str, Any]
    state: State
    reason: str = ""
    row: CellRow | None = None


@dataclass(frozen=True)
class SearchStep:
    """One training of a search, as far as a rung.

    Attributes:
        elapsed_s: Since the study began, over all its runs.
        spent: Training spent so far, in epochs.
        candidate: What was trained, in words.
        rung: How far, counted from 0.
        value: What it is worth then, by the first metric that is searched for; larger is better, so that of what
            should be small, x in SI units, it is 1 / (1 + x). None where it was not feasible.
        best: The best value so far; None where there is none.
    """

    elapsed_s: float
    spent: float
    candidate: str
    rung: int
    value: float | None
    best: float | None


@dataclass(frozen=True)
class StudyResults:
    """A study as far as it has come.

    Attributes:
        axes: The ranges; zipped keys share an axis.
        spaced: For each axis how its values are spaced: "log", "linear" or "listed".
        requirements: In words, with their limits: "latency_p95 <= 50 ms". As the scenario has them, unless a range
            changes them.
        objective: "balanced", or the metric that is optimised.
        quality: The name of the quality, as metrics have it: "accuracy".
        cells: All cells, in order.
        plans_of: The plans of a cell, best first; read when they are asked for.
        spent_s: Computing time of all that was done, seconds, on all workers together.
        workers: Which process evaluated how many cells, "host:4711", and the seconds that these took.
        search: Each training of a search; empty for a map.
        searched: The metrics that it was for.
    """

    name: str
    goal: Literal["map", "search"]
    axes: tuple[Axis, ...]
    spaced: tuple[str, ...]
    requirements: tuple[str, ...]
    objective: str
    quality: str
    seed: int
    replications: int
    cells: Sequence[Cell]
    plans_of: Callable[[int], Sequence[PlanRow]]
    spent_s: float = 0.0
    search: Sequence[SearchStep] = field(default=())
    searched: tuple[str, ...] = ()
    workers: Mapping[str, tuple[int, float]] = field(default_factory=dict)

    def every_plan(self) -> Iterator[tuple[Cell, PlanRow]]:
        """All plans of all cells that are done, cell by cell."""
        for cell in self.cells:
            if cell.state == "done":
                for plan in self.plans_of(cell.index):
                    yield cell, plan

    def frame(self) -> pandas.DataFrame:
        """One row a plan in a cell, as plans.csv has them: the cell, its values, the plan, its metrics in SI units.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        import pandas as pd

        rows = []
        for cell, plan in self.every_plan():
            own = plan.model_dump(exclude={"metrics", "quality_ci", "misses"})
            low, high = plan.quality_ci or (None, None)
            ends = {"quality_low": low, "quality_high": high, "misses": "; ".join(plan.misses)}
            rows.append({"cell": cell.index, **cell.values, **own, **plan.metrics, **ends})
        return pd.DataFrame(rows)
