"""The whole method with three devices: decisions, results, the page; and what takes two devices says so."""

from __future__ import annotations

import json

import pytest
from conftest import ROOT
from test_method import NETWORK

import splitimpera as sei
from splitimpera.core.errors import ScenarioError
from splitimpera.export import export_bundle
from splitimpera.report import results_of
from splitimpera.report.html.page import report_html
from splitimpera.report.schema import Results
from splitimpera.report.words import plan_words
from splitimpera.studies.study import study

SCENARIO = """
network: {model: "mine.py:network"}
data: {source: "mine.py:data", validation: 40 %, test: 40 %}
devices:
  - {name: sensor, preset: cortex-m4, count: 4}
  - {name: gateway, preset: cortex-m7, count: 2}
  - {name: cloud, preset: t4}
links:
  - {name: radio, rate: 1 Mbit/s, delay: 2 ms, loss: 2 %, codecs: [uint8]}
  - {name: uplink, rate: 5 Mbit/s, delay: 10 ms, transports: [tcp]}
workload: {fps: 5}
plans: {cuts: [conv1], codecs: [float32]}
requirements: [accuracy >= 80 %, latency_p95 <= 10 s]
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(NETWORK)
    (tmp_path / "scenario.yaml").write_text(SCENARIO)
    return tmp_path


@pytest.mark.slow
def test_three_devices_are_designed_by_the_same_path(folder):
    made = sei.design(folder / "scenario.yaml", explore=False, replications=2)
    results = results_of(made)
    assert Results.model_validate_json(results.to_json()) == results
    assert {len(plan.devices) for plan in results.plans} == {1, 2, 3}
    assert {plan.configuration for plan in results.plans} == {"LC", "RC", "SC"}
    assert [link.name for link in results.links] == ["radio", "uplink"]
    assert results.links[0].model_dump()["codecs"] == ["uint8"]
    assert results.recommendation.plan is not None
    three = next(plan for plan in results.plans if len(plan.hops) == 2)
    assert {"sensor", "gateway", "cloud", "radio", "uplink"} == set(three.utilisation)
    assert [hop.link for hop in three.hops] == ["radio", "uplink"]
    page = report_html(results)
    assert three.id in page
    (folder / "results.json").write_bytes(results.to_json())
    again = sei.load_scenario(folder / "results.json")
    assert again == sei.load_scenario(folder / "scenario.yaml")


@pytest.mark.slow
def test_of_many_plans_few_are_evaluated_and_that_is_said(folder):
    many = "plans: {cuts: all, codecs: [float32, float16, uint8, uint6, uint4, uint2]}"
    text = SCENARIO.replace("plans: {cuts: [conv1], codecs: [float32]}", many).replace(", codecs: [uint8]", "")
    (folder / "scenario.yaml").write_text(text)
    said = []
    made = sei.design(folder / "scenario.yaml", explore=False, replications=1, say=said.append)
    assert len(made.evaluations) == 200
    assert any("plans, of which all but" in line for line in said)
    assert made.recommendation.chosen is not None


@pytest.mark.slow
def test_bottlenecks_on_both_hops_are_designed_by_the_same_path(folder):
    squeezed = "plans: {cuts: [stem, conv2], codecs: [uint8]}\nbottlenecks: {ratios: [2], epochs: [2, 4]}"
    text = SCENARIO.replace("plans: {cuts: [conv1], codecs: [float32]}", squeezed).replace(
        "codecs: [uint8]}", "transports: [tcp]}", 1
    )
    text = text.replace("cortex-m4", "raspberry-pi-4").replace("cortex-m7", "laptop-cpu")  # engines run there
    (folder / "scenario.yaml").write_text(text)
    made = sei.design(folder / "scenario.yaml", explore=False, replications=1, every_accuracy=True)
    results = results_of(made)
    assert Results.model_validate_json(results.to_json()) == results
    both = [plan for plan in results.plans if len({hop.cut for hop in plan.hops if hop.bottleneck}) == 2]
    assert {"-".join(plan.id.split("-")[:2]) for plan in both} == {"SC1-b2"}
    assert {plan.hops[1].transport for plan in both} == {"tcp"}
    others = [plan for plan in results.plans if [hop.bottleneck for hop in plan.hops] == [2.0, 0.0]]
    assert others
    assert all(plan.metrics["accuracy"] is not None for plan in [*both, *others])
    assert "2x bottleneck, 8-bit, over TCP to cloud" in plan_words(both[0], results.cut_names)
    assert both[0].id in report_html(results)
    (folder / "results.json").write_bytes(results.to_json())
    (proof,) = export_bundle(folder, others[0].id, engine="torch").proofs
    assert proof.proven.parts.equal == 1
    assert proof.proven.quality == pytest.approx(proof.promised, abs=0.02)


@pytest.mark.slow
def test_each_link_is_swept_for_itself(folder):
    made = sei.design(folder / "scenario.yaml", explore=True, replications=2)
    names = {found.parameter for found in made.sensitivities}
    assert {"rate of radio", "rate of uplink", "loss of radio", "speed of gateway"} <= names
    assert made.capacity is not None
    assert report_html(results_of(made))


def test_a_study_takes_two_devices(folder):
    (folder / "study.yaml").write_text("scenario: scenario.yaml\nranges: {workload.fps: [5, 10]}\n")
    with pytest.raises(ScenarioError, match="devices: studies and policies take 2 devices with 1 link, given 3"):
        study(folder / "study.yaml", folder / "out")
    assert not (folder / "out").exists()


@pytest.mark.slow
def test_the_example_needs_all_three_tiers():
    made = sei.design(ROOT / "examples" / "tiers" / "scenario.yaml", explore=False)
    chosen = made.recommendation.chosen
    assert chosen is not None
    assert len(chosen.evaluation.plan.devices) == 3
    assert chosen.certainty in ("certain", "likely")
    results = json.loads(results_of(made).to_json())
    assert any(len(plan["devices"]) == 2 for plan in results["plans"])
    assert not any(plan["feasible"] for plan in results["plans"] if len(plan["devices"]) < 3)
