"""The examples end as they say, and the way out of the one that nothing meets leads out."""

from __future__ import annotations

import pytest
import yaml
from conftest import ROOT

import splitimpera as sei
from splitimpera.report import results_of
from splitimpera.report.html.page import report_html

pytestmark = pytest.mark.alone

DIGITS = ROOT / "examples" / "digits"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "winner"), [("local", "LC"), ("remote", "RC"), ("scenario", "SC")])
def test_another_arrangement_wins_in_each(name, winner):
    result = sei.design(DIGITS / f"{name}.yaml", explore=False)
    chosen = result.recommendation.chosen
    assert chosen is not None
    assert chosen.evaluation.plan.configuration == winner
    assert chosen.certainty in ("certain", "likely")
    assert {verdict.evaluation.plan.configuration for verdict in result.recommendation.verdicts} == {"LC", "RC", "SC"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "winner", "metric"),
    [
        ("segmentation", "SC", "miou"),
        ("detection", "SC", "map50"),
        ("keywords", "LC", "accuracy"),
        ("language", "SC", "bits_per_byte"),
    ],
)
def test_the_examples_of_other_tasks_compare_all_arrangements(name, winner, metric):
    result = sei.design(ROOT / "examples" / name / "scenario.yaml", explore=False)
    chosen = result.recommendation.chosen
    assert chosen is not None
    assert (chosen.evaluation.plan.configuration, chosen.evaluation.quality_metric) == (winner, metric)
    assert chosen.certainty in ("certain", "likely")
    assert {verdict.evaluation.plan.configuration for verdict in result.recommendation.verdicts} == {"LC", "RC", "SC"}


@pytest.mark.slow
def test_easy_digits_leave_a_camera_that_is_too_small_for_the_network():
    result = sei.design(ROOT / "examples" / "exits" / "scenario.yaml", explore=False)
    chosen = result.recommendation.chosen
    assert chosen is not None
    assert (chosen.evaluation.plan.configuration, chosen.certainty) == ("EE", "certain")
    kinds = {verdict.evaluation.plan.configuration for verdict in result.recommendation.verdicts}
    assert kinds == {"LC", "RC", "SC", "EE"}
    early = chosen.evaluation
    without = next(each for each in result.evaluations if f"EE-{each.plan.id}" == early.plan.id)
    share = sum(exit.share for exit in early.exits)
    assert 0.8 < share < 1
    assert early.payload_bytes == pytest.approx((1 - share) * without.payload_bytes)
    assert early.metrics()["energy"] < without.metrics()["energy"] / 2
    assert early.quality > without.quality - 0.01
    page = report_html(results_of(result))
    assert f"Of the frames of {early.plan.id}" in page
    assert "latency by who answers" in page


@pytest.mark.slow
def test_with_the_smallest_change_a_plan_fits_what_nothing_met(tmp_path):
    source = DIGITS / "infeasible.yaml"
    result = sei.design(source)
    assert result.recommendation.chosen is None
    change = result.change
    assert change is not None
    assert change.ratio == min(each.ratio for each in result.changes)
    page = report_html(results_of(result))
    assert change.text in page
    for each in result.changes:
        changed = changed_scenario(yaml.safe_load(source.read_text()), each)
        (tmp_path / "scenario.yaml").write_text(yaml.safe_dump(changed))
        again = sei.design(tmp_path / "scenario.yaml", explore=False).recommendation.chosen
        assert again is not None, each.text
        assert again.id == each.plan


def changed_scenario(content, change):
    """The scenario's file as a change wants it."""
    link, after = content["links"][0], change.after
    if change.parameter == "loss":
        link["loss"] = after
    elif change.parameter == "rate":
        link["rate"] = f"{after} bit/s"
    elif change.parameter == "delay":
        link["delay"] = f"{after} s"
    elif change.parameter == "frames a second":
        content["workload"]["fps"] = after
    elif change.parameter.startswith("speed of "):
        device = next(device for device in content["devices"] if change.parameter == f"speed of {device['name']}")
        device["slowdown"] = 1 / after
    else:
        unit = " s" if change.parameter.startswith("latency") else ""
        content["requirements"] = [
            f"{change.parameter} <= {after}{unit}" if change.parameter in text else text
            for text in content["requirements"]
        ]
    return content
