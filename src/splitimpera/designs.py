"""What a design run found, as data; `report` writes and draws it."""

from __future__ import annotations

from dataclasses import dataclass

from splitimpera.graph.tracing import ModelGraph
from splitimpera.models.datasets import Dataset
from splitimpera.qos.recommendation import Recommendation
from splitimpera.records.measurements import Measurements
from splitimpera.records.outcome import Evaluation
from splitimpera.saliency.curve import SaliencyCurve
from splitimpera.setting import Setting
from splitimpera.studies.capacity import Capacity
from splitimpera.studies.early_exits import ExitCurve
from splitimpera.studies.loss_curve import LossCurve
from splitimpera.studies.sensitivity import Change, Sensitivity
from splitimpera.studies.shown import Shown
from splitimpera.studies.token_sweep import TokenCurve


@dataclass(frozen=True, eq=False)
class Accuracy:
    """A quality, such as the share of right predictions, with its 95 % interval."""

    value: float
    interval: tuple[float, float]


@dataclass(frozen=True, eq=False, repr=False)
class Design:
    """All that a design run found.

    Attributes:
        setting: what the scenario stands for.
        replications: how often each plan's links were simulated, at least.
        base: quality of the unsplit network on the test part.
        measurements: the times of this machine that it rests on.
        chosen_on_test: quality of the recommended plan on the test part; None where no plan is feasible.
        loss_curves: quality against packet loss, of the best plans over UDP.
        changes: The single changes that would make a plan feasible where none is, the smallest first.
        sensitivities: how the choice depends on the link's loss and rate and on the machines' speeds.
        capacity: how many senders the recommended plan carries, and what gives way then; None where none is
            feasible.
        exit_curves: of early exits, how good the answers are against the share of frames that leave at each.
        shown: some test samples with the responses of the network and of the recommended plan, where there is anything
            to see.
        token_curves: of requests to a language model, how long they wait for tokens at other rates and delays.
    """

    setting: Setting
    seed: int
    replications: int
    data: Dataset
    graph: ModelGraph
    curve: SaliencyCurve
    base: Accuracy
    measurements: Measurements
    evaluations: tuple[Evaluation, ...]
    recommendation: Recommendation
    chosen_on_test: Accuracy | None
    loss_curves: tuple[LossCurve, ...] = ()
    changes: tuple[Change, ...] = ()
    sensitivities: tuple[Sensitivity, ...] = ()
    capacity: Capacity | None = None
    shown: Shown | None = None
    exit_curves: tuple[ExitCurve, ...] = ()
    token_curves: tuple[TokenCurve, ...] = ()

    def __repr__(self) -> str:
        chosen, name = self.recommendation.chosen, self.setting.scenario.name
        decision = f"{chosen.id} recommended, {chosen.certainty}" if chosen else "none is feasible"
        return f"<Design '{name}': {len(self.evaluations)} plans, {decision}>"

    @property
    def change(self) -> Change | None:
        """The smallest single change with which a plan would be feasible; None where one does, or none helps."""
        return next(iter(self.changes), None)
