"""Which plans get early exits, with which thresholds, and designs with them from the file to the page."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import splitimpera as sei
from splitimpera.core.errors import CutError, PlanError, ScenarioError
from splitimpera.export.designed import read_design, read_designs
from splitimpera.records.device import Device
from splitimpera.records.exits import ExitCosts, ExitTable
from splitimpera.records.link import Link
from splitimpera.records.plan import Exit, Hop, Plan
from splitimpera.report import results_of
from splitimpera.report.html.page import report_html
from splitimpera.report.reading import checked, read
from splitimpera.report.schema import Results
from splitimpera.report.words import plan_words
from splitimpera.report.writing import write_results
from splitimpera.studies.early_exits import EarlyExits
from splitimpera.studies.study import study

CAMERA, EDGE, SERVER = (Device(name) for name in ("camera", "edge", "server"))
NAMES = {3: "conv3", 6: "conv6"}


def early(said, threshold="auto", least=None, whole_heads=False):
    """Two exits on 400 samples: the first is right where it is surer than one half, all others always are."""
    rng = np.random.default_rng(0)
    sure = np.sort(rng.random((2, 400)) * 0.999)
    right = np.stack([(sure[0] > 0.5).astype(float), np.ones(400), np.ones(400)])
    table = ExitTable((3, 6), sure, np.zeros((2, 400), dtype=np.int64), right, classes=4)
    costs = ExitCosts((10.0, 40.0, 100.0), (1.0, 1.0))
    return EarlyExits(table, costs, NAMES, threshold, least, whole_heads, 0, said.append)


def split(cut, devices=(CAMERA, SERVER), ratio=0.0):
    return Plan(f"SC{cut}", devices, (Hop(cut, "uint8", "tcp", Link(), ratio),))


def test_exits_lie_up_to_the_last_cut_of_a_plan():
    said = []
    plans = [Plan("LC", (CAMERA,)), split(0), split(2), split(3), split(5), split(7)]
    found = {plan.id: [exit.cut for exit in plan.exits] for plan in early(said, 0.5).variants(plans)}
    assert found == {"EE-LC": [3, 6], "EE-SC3": [3], "EE-SC5": [3], "EE-SC7": [3, 6]}
    assert all(plan.configuration == "EE" for plan in early(said, 0.5).variants(plans))
    through = Plan("p", (CAMERA, EDGE, SERVER), (Hop(4, "uint8", "tcp", Link("a")), Hop(6, "uint8", "tcp", Link("b"))))
    (variant,) = early(said, 0.5).variants([through])
    assert [[exit.cut for exit in variant.exits_on(place)] for place in range(3)] == [[3], [6], []]
    squeezed = replace(through, hops=(replace(through.hops[0], bottleneck=4.0), through.hops[1]))
    (variant,) = early(said, 0.5).variants([squeezed])
    assert [exit.cut for exit in variant.exits] == [3]  # behind a bottleneck the layers have other weights


def test_thresholds_are_chosen_once_for_each_set_of_exits_and_said():
    said = []
    chosen = early(said)
    by_id = {plan.id: plan for plan in chosen.variants([split(3), split(4), split(5)])}
    assert len({plan.exits for plan in by_id.values()}) == len(said) == 1
    (exit,) = by_id["EE-SC4"].exits
    assert 0.4 < exit.thresholds[0] < 0.6  # below it the first is wrong
    assert "at conv3 of 200 validation samples leave" in said[0]
    assert len(early(said, "per class").chosen((3,))[0].thresholds) == 4
    assert early(said, {0: 0.7}).chosen((3,)) == (Exit(3, (0.7, 1.0, 1.0, 1.0)),)
    assert early(said, least=0.8).chosen((3,))[0].thresholds < exit.thresholds  # more may be wrong


def test_a_set_of_exits_that_saves_nothing_makes_no_plan():
    said = []
    dear = early(said)
    dear.costs = replace(dear.costs, heads=(500.0, 500.0))
    assert [*dear.variants([split(3)])] == []
    assert "none saves anything" in said[0]


def test_what_no_plan_can_have_is_an_error_with_its_key():
    batch = replace(CAMERA, batch=4)
    for plans in ([split(2)], [split(5, (batch, SERVER)), Plan("LC", (batch,))]):
        with pytest.raises(ScenarioError, match=r"^exits\.at: no plan can have an exit at conv3, conv6"):
            [*early([]).variants(plans)]
    with pytest.raises(ScenarioError):
        [*early([], whole_heads=True).variants([split(5, ratio=4.0)])]
    with pytest.raises(ScenarioError, match=r"exits\.threshold: no frame leaves"):
        early([], 0.9999).chosen((3,))


def test_a_curve_goes_from_nobody_to_everybody():
    first, second = early([]).curves()
    assert (first.share[0], first.share[-1], first.quality[0]) == (0.0, 1.0, 1.0)
    assert first.quality[-1] == pytest.approx(early([]).table.right[0].mean())
    assert (np.diff(first.threshold) <= 0).all()
    assert second.quality.tolist() == [1.0] * len(second.share)
    assert (first.low <= first.quality).all()
    assert (first.quality <= first.high + 1e-12).all()


NETWORK = """
import torch
from torch import nn

torch.manual_seed(0)
net = nn.Sequential(
    nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
    nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
).eval()

def network():
    return net

def data():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(300, 1, 16, 16, generator=generator) + 3 * torch.randn(300, 1, 1, 1, generator=generator)
    with torch.no_grad():
        return x, net(x).argmax(1)
"""
EXITS = """exits: {at: ["0", "2"], train: {epochs: 10}, threshold: 0.6}
"""
SCENARIO = """
network: {model: "mine.py:network"}
data: {source: "mine.py:data", validation: 40 %, test: 20 %}
devices: [{name: camera, preset: cortex-m4}, {name: server, preset: t4}]
links: [{rate: 1 Mbit/s, delay: 2 ms}]
workload: {fps: 20}
plans: {cuts: ["2"], codecs: [uint8], transports: [tcp]}
exits: {at: ["0", "2"], train: {epochs: 10}, threshold: 0.6}
requirements: [accuracy >= 50 %, latency_p95 <= 10 s]
"""


@pytest.fixture
def scenario(tmp_path):
    (tmp_path / "mine.py").write_text(NETWORK)

    def written(*changes):
        text = SCENARIO
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "scenario.yaml"
        path.write_text(text)
        return path

    return written


@pytest.mark.slow
def test_a_design_with_exits_from_the_file_to_the_page(scenario, tmp_path):
    found = sei.design(scenario(), explore=True, replications=2)
    by_id = {evaluation.plan.id: evaluation for evaluation in found.evaluations}
    early_ones = {name for name, each in by_id.items() if each.plan.configuration == "EE"}
    assert early_ones == {"EE-LC", *(f"EE-{name}" for name in by_id if name.startswith("SC"))}
    local, without = by_id["EE-LC"], by_id["LC"]
    assert 0 < sum(exit.share for exit in local.exits) < 1
    assert local.metrics()["latency_mean"] < without.metrics()["latency_mean"]
    results = results_of(found)
    (tmp_path / "out").mkdir()
    write_results(results, tmp_path / "out")
    again = read(tmp_path / "out")
    assert again == results
    assert read_design(tmp_path / "out", "EE-LC").plan.exits == local.plan.exits
    with pytest.raises(PlanError, match=r"--plan: plan 'EE-LC' has early exits, and a bundle with exits has no other"):
        read_designs(tmp_path / "out", ["EE-LC", "LC"])
    entry = again.by_id["EE-LC"]
    assert [(exit.cut, exit.share) for exit in entry.exits] == [(exit.cut, exit.share) for exit in local.exits]
    assert plan_words(entry, again.cut_names) == "Exits after 0 and 2, then run everything on camera"
    page = report_html(results)
    assert "leave early" in page
    assert "Early exits" in page
    assert len(results.exit_curves) == 2


@pytest.mark.slow
def test_the_same_design_without_exits_has_the_same_numbers(scenario):
    with_exits = sei.design(scenario(), explore=False)
    without = sei.design(scenario((EXITS, "")), explore=False)
    by_id = {evaluation.plan.id: evaluation for evaluation in with_exits.evaluations}
    for evaluation in without.evaluations:
        same = by_id[evaluation.plan.id]
        assert same.metrics() == evaluation.metrics()
        assert same.intervals == evaluation.intervals
    page = report_html(results_of(without))
    assert "leave early" not in page
    assert "EE, feasible" not in page


@pytest.mark.parametrize(
    ("change", "problem", "message"),
    [
        (('at: ["0", "2"]', 'at: ["8"]'), CutError, r"exits\.at.*in front of others"),
        (('at: ["0", "2"]', 'at: ["conv"]'), CutError, r"exits\.at"),
        (("threshold: 0.6", "threshold: 0.999999"), ScenarioError, r"exits\.threshold: no frame leaves"),
        (("threshold: 0.6", "threshold: 2"), ScenarioError, r"exits\.threshold: 2 is out of range"),
        (("threshold: 0.6", "threshold: {9: 0.5}"), ScenarioError, r"exits\.threshold: there is no class 9"),
        (("threshold: 0.6", "threshold: often"), ScenarioError, r"exits\.threshold: input should be 'auto' or"),
        (("epochs: 10", "epoch: 10"), ScenarioError, r"exits\.train\.epoch: this key is unknown.*epochs"),
    ],
)
def test_a_mistake_in_the_section_is_named_by_its_key(scenario, change, problem, message):
    with pytest.raises(problem, match=message):
        sei.design(scenario(change), explore=False, replications=1)


def test_studies_say_that_they_know_no_exits(scenario, tmp_path):
    scenario()
    path = tmp_path / "study.yaml"
    path.write_text("scenario: scenario.yaml\nranges: {workload.fps: [10, 20]}\n")
    with pytest.raises(ScenarioError, match=r"study '.*': exits: studies and policies know no early exits"):
        study(path, tmp_path / "out")


def test_results_of_the_version_before_are_read(scenario):
    results = results_of(sei.design(scenario((EXITS, "")), explore=False))
    content = results.model_dump() | {"schema_version": 7}
    del content["exit_curves"]
    for plan in content["plans"]:
        for key in ("exits", "went_on_quality", "went_on_latency_s", "stood_in"):
            del plan[key]
    again = checked(content)
    assert again.model_copy(update={"schema_version": 8}) == results
    assert isinstance(again, Results)
