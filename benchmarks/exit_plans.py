"""What early exits save in whole plans: accuracy, latency, energy and bytes of each, with them and without.

Run by `python benchmarks/exits.py --plans`. A camera on batteries, 60 times as slow as a Raspberry Pi 4, sends two
pictures a second to a T4 by LTE, which loses 1 % of its packets. All plans at a few cuts are evaluated, over TCP and
UDP, each with and without exits; plans and thresholds are chosen on validation pictures, and all that is told of them
is of test pictures. Shown are the whole network on the camera (LC), the best of those plans that send the picture
(RC), of those that split the network (SC), and of those with exits (EE): the least energy, or another objective, among
those that are as accurate as the whole network within its interval. Beside each stands the same with exits or without.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import score_vs_accuracy
from torch import nn

from splitimpera.core.progress import no_progress
from splitimpera.evaluation.plan_space import space_of
from splitimpera.evaluation.testbed import coding_of
from splitimpera.models.datasets import Dataset
from splitimpera.qos.recommendation import recommend
from splitimpera.records.measurements import Measurements
from splitimpera.records.outcome import Evaluation
from splitimpera.scenario import Scenario
from splitimpera.setting import resolve
from splitimpera.studies.bench import judging, read_testbed
from splitimpera.studies.early_exits import ID, early_exits
from splitimpera.studies.trial import Trials
from splitimpera.training.exit_settings import ExitTraining

HERE = Path(__file__).resolve()
REPLICATIONS = 5
DEVICES = (
    {"name": "camera", "preset": "raspberry-pi-4", "slowdown": 60, "power": "0.5 W", "radio": "lte"},
    {"name": "server", "preset": "t4"},
)
LINK = {"preset": "lte", "loss": 0.01, "framing": "sei"}
WORKLOAD = {"fps": 2, "frames": 1000, "deadline": "500 ms", "response": "runtime"}
KEYS = ("head", "epochs", "joint", "distill", "learning_rate", "batch", "patience")
"""Of `exits.train`."""


@dataclass(frozen=True)
class PlanCase:
    """A network and its data, as a scenario names them, and where it is cut."""

    model: str
    source: str
    cuts: tuple[str, ...]


RESNET_CUTS = ("layer1.2", "layer2.0", "layer2.2", "layer3.0")
CASES = {
    "digits-vgg16": PlanCase("digits-vgg16", "digits", ("features.13", "features.23", "features.33", "features.43")),
    "digits-resnet20": PlanCase("digits-resnet20", "digits", RESNET_CUTS),
    "cifar-resnet20": PlanCase(f"{HERE}:cifar_network", f"{HERE}:cifar_data", RESNET_CUTS),
}


def cifar_network() -> nn.Module:
    return _cifar().model


def cifar_data() -> Dataset:
    """5000 pictures to train heads on; half of the others for choosing, half for judging."""
    found = _cifar()
    half = len(found.test) // 2
    parts = found.train, found.test.take(slice(half)), found.test.take(slice(half, None))
    return Dataset(*parts, pixels=score_vs_accuracy.CIFAR_PIXELS)


def _cifar() -> score_vs_accuracy.Case:
    found = score_vs_accuracy.cifar(5000)
    if found is None:
        raise FileNotFoundError(score_vs_accuracy.REFERENCE)
    return found


def scenario_of(case: PlanCase, training: ExitTraining, codec: str = "uint8") -> Scenario:
    content: dict[str, Any] = {
        "name": "exit_plans",
        "network": {"model": case.model},
        "data": {"source": case.source},
        "devices": list(DEVICES),
        "links": [LINK],
        "workload": WORKLOAD,
        "plans": {"cuts": list(case.cuts), "codecs": [codec], "transports": ["tcp", "udp"]},
        "exits": {"train": {key: getattr(training, key) for key in KEYS}},
        # no accuracy: thresholds keep the network's own, but for half a point
        "requirements": ["latency_p95 <= 100 s"],
    }
    return Scenario.model_validate(content)


@dataclass(frozen=True)
class Tried:
    """Plans on test pictures.

    Attributes:
        names: of the layers behind which the network is cut, by the cut's index.
        shown: by id, in the order in which they are told.
        count: how many plans there were.
        pictures: how many each part of the data has.
    """

    names: Mapping[int, str]
    shown: dict[str, Evaluation]
    count: int
    pictures: tuple[int, int, int]

    @property
    def pairs(self) -> list[tuple[Evaluation, Evaluation]]:
        """The same plan without exits and with them."""
        return [(self.shown[name.removeprefix(ID)], one) for name, one in self.shown.items() if one.exits]


def tried(scenario: Scenario, objective: str) -> Tried:
    """All plans on validation pictures, the best of them on test pictures."""
    setting = resolve(scenario)
    bed = judging(setting, read_testbed(setting))
    plans = [*space_of(setting, bed.graph, [], str).plans()]
    exits = early_exits(setting, bed, no_progress, str)
    assert exits is not None
    plans += [*exits.variants(plans)]
    bed.prepare(coding_of(hop) for plan in plans for hop in plan.hops)
    trials = Trials(bed, Measurements(), scenario.seed, REPLICATIONS)
    wanted = chosen(trials.evaluated(plans), objective)
    found = trials.on_test([plan for plan in plans if plan.id in wanted])
    by_id = {one.evaluation.plan.id: one.evaluation for one in found}
    names = {cut.index: cut.name for cut in bed.graph.cuts}
    data = bed.data
    pictures = len(data.train), len(data.validation), len(data.test)
    return Tried(names, {name: by_id[name] for name in wanted}, len(plans), pictures)


def chosen(found: Sequence[Evaluation], objective: str) -> list[str]:
    """Ids of the plans that are told of: LC, the best RC and SC, the best with exits, and with each its twin."""
    of = {one.plan.id: one for one in found}
    (whole,) = (one for one in found if one.plan.configuration == "LC")
    accurate = f"accuracy >= {100 * whole.quality_ci[0]:.4f} %"

    def best(kind: str) -> Iterator[str]:
        group = [one for one in found if one.plan.configuration == kind]
        if group:
            yield recommend(group, [accurate], objective).verdicts[0].id

    ids = [whole.plan.id, *best("RC"), *best("SC"), *(name.removeprefix(ID) for name in best("EE"))]
    twins = [(name, ID + name) for name in dict.fromkeys(ids)]
    return [name for pair in twins for name in pair if name in of]


# Told -----------------------------------------------------------------------------------------------------------------

COLUMNS = ("plan", "accuracy", "left at each exit", "mean ms", "p95 ms", "energy mJ", "bytes")
SAVED = {"latency_mean": "mean latency", "latency_p95": "p95", "energy": "energy", "payload_bytes": "bytes"}


def row(one: Evaluation, names: Mapping[int, str]) -> list[str]:
    """A plan's cells."""
    plan = one.plan
    told = " ".join(
        [plan.configuration, *(f"after {names[hop.cut]}, {hop.codec} {hop.transport}" for hop in plan.hops)]
    )
    low, high = one.quality_ci
    metrics = one.metrics()
    return [
        told,
        f"{100 * one.quality:.1f} % ({100 * low:.1f} to {100 * high:.1f})",
        " / ".join(f"{exit.share:.0%} {names[exit.cut]}" for exit in one.exits),
        *(with_interval(one, name, 1e3) for name in ("latency_mean", "latency_p95")),
        f"{1e3 * metrics['energy']:.2f}" if "energy" in metrics else "",
        f"{one.payload_bytes:.0f}",
    ]


def with_interval(one: Evaluation, name: str, factor: float) -> str:
    """A metric; where chance touches it with its interval over replications."""
    if not one.stable:
        return "grows"
    low, high = (factor * value for value in one.intervals.get(name, (0.0, 0.0)))
    text = f"{factor * one.metrics()[name]:.1f}"
    return f"{text} ({low:.1f} to {high:.1f})" if f"{low:.1f}" != f"{high:.1f}" else text


def as_accurate(plain: Evaluation, early: Evaluation) -> bool:
    """Whether a plan is no worse with exits than without, within the interval of that without."""
    return early.quality >= plain.quality_ci[0]


def saving(plain: Evaluation, early: Evaluation) -> str:
    """What exits change of a plan, in words."""
    before, after = plain.metrics(), early.metrics()
    changes = [
        f"{title} {100 * (after[name] / before[name] - 1):+.0f} %"
        for name, title in SAVED.items()
        if before.get(name) and name in after and plain.stable and early.stable
    ]
    left, points = sum(exit.share for exit in early.exits), 100 * (early.quality - plain.quality)
    verdict = "within the interval" if as_accurate(plain, early) else "BELOW the interval"
    told = ", ".join(changes) or "its latency grows without bounds"
    return f"- {early.plan.id}: {left:.0%} leave; {told}; accuracy {points:+.1f} points, {verdict}."


def tables(names: Sequence[str], heads: Mapping[str, ExitTraining], objective: str) -> tuple[list[str], bool]:
    """Markdown, and whether any plan is less accurate with exits than its interval allows."""
    lines, missed = list[str](), False
    for name in names:
        if name.startswith("cifar") and not (score_vs_accuracy.REFERENCE / "resnet20.th").exists():
            lines += [f"### {name}", "", f"Left out: {score_vs_accuracy.REFERENCE} is not there.", ""]
            continue
        for head, training in heads.items():
            found = tried(scenario_of(CASES[name], training), objective)
            missed |= not all(as_accurate(*pair) for pair in found.pairs)
            parts = "{} training, {} validation and {} test pictures".format(*found.pictures)
            lines += [f"### {name}, heads `{head}`", "", f"{found.count} plans; {parts}; best by {objective}.", ""]
            cells = [
                COLUMNS,
                ["---", "---:", "---", *["---:"] * 4],
                *(row(one, found.names) for one in found.shown.values()),
            ]
            lines += [f"| {' | '.join(line)} |" for line in cells]
            lines += ["", *(saving(*pair) for pair in found.pairs), ""]
            print(*lines[-len(found.pairs) - 1 : -1], sep="\n", flush=True)
    return lines, missed
