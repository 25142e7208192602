"""From a design to plain values, tables and figures."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from made import SENSITIVITY, evaluation, four_plans, made_results, made_values
from rich.console import Console

import splitimpera as sei
from splitimpera.qos.recommendation import recommend
from splitimpera.records.requirement import parse_requirement
from splitimpera.report import figures, plans_csv, report_html, results_of, show
from splitimpera.report.building import plan_entry
from splitimpera.report.network_figures import classes_figure, layers_figure
from splitimpera.report.palette import PARTS
from splitimpera.report.plan_figures import breakdown_figure, plans_figure
from splitimpera.report.reading import checked
from splitimpera.report.selection import (
    CLASSES_DRAWN,
    LATENCIES_DRAWN,
    MOST_PLANS,
    drawn_classes,
    front,
    latency_plans,
    shown_plans,
)

REQUIREMENTS = ["accuracy >= 90 %", "latency_p95 <= 60 ms"]
NETWORK = """
import torch
from torch import nn

torch.manual_seed(0)
net = nn.Sequential(
    nn.Conv2d(1, 4, 3, stride=2), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(100, 3)
).eval()

def network():
    return net

def data():
    x = torch.randn(120, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return x, net(x).argmax(1)
"""
SCENARIO = """
network: {model: "mine.py:network"}
data: {source: "mine.py:data", validation: 40 %, test: 40 %}
devices: [{name: camera, slowdown: 0.001}, {name: server, slowdown: 0.001}]
links: [{rate: 5 Mbit/s, delay: 2 ms, loss: 2 %}]
workload: {fps: 20}
plans: {cuts: [1], codecs: [uint8], transports: [tcp]}
requirements: [accuracy >= 90 %, latency_p95 <= 0.001 ns, {prefer: payload_bytes <= 1 B, weight: 2}]
"""


@pytest.mark.slow
def test_a_real_design_in_plain_values(tmp_path):
    (tmp_path / "mine.py").write_text(NETWORK)
    (tmp_path / "scenario.yaml").write_text(SCENARIO)
    design = sei.design(tmp_path / "scenario.yaml", replications=1)
    found = results_of(design)
    results = json.loads(found.to_json())
    assert checked(results) == found
    assert [layer["name"] for layer in results["layers"]] == [layer.name for layer in design.graph.layers]
    assert sum(layer["macs"] for layer in results["layers"]) == results["cuts"][0]["macs_tail"]
    assert [requirement["weight"] for requirement in results["requirements"]] == [None, None, 2.0]
    decision = results["recommendation"]
    assert decision["plan"] is None
    assert decision["changes"][0] == decision["change"]
    assert decision["change"]["parameter"] == "latency_p95"
    assert len(results["sensitivity"]) == len(design.sensitivities) > 0
    for plan, verdict in zip(results["plans"], design.recommendation.verdicts, strict=True):
        assert plan["metrics"] == verdict.evaluation.metrics()
        assert plan["intervals"].keys() == verdict.evaluation.intervals.keys()
        assert [miss["metric"] for miss in plan["violations"]] == ["latency_p95"]
        assert [judgement["metric"] for judgement in plan["judgements"]] == ["accuracy", "latency_p95", "payload_bytes"]
        assert sum(plan["parts_s"].values()) > 0
        assert set(plan["estimates"]) < set(plan["parts_s"])
    page = report_html(found)
    assert f"then {decision['change']['plan']} is feasible" in page
    assert "Estimated for its machine and hatched: camera: network" in page


def test_what_is_infinite_or_unknown_is_null():
    silent = evaluation(p95_s=np.nan)
    verdict = recommend([silent], REQUIREMENTS).verdicts[0]
    plan = plan_entry(verdict).model_dump()
    assert plan["metrics"]["latency_p95"] is plan["latency_quantiles_s"] is plan["score"] is None
    assert plan["latency_p95_replications_s"] == [None, None]
    assert plan["violations"][0]["margin"] is None
    assert json.dumps(plan, allow_nan=False)
    results = made_results([silent], REQUIREMENTS)
    assert "violates latency_p95 &lt;= 60 ms <span class=margin>(not known)" in report_html(results)
    assert plans_csv(results).splitlines()[1].startswith("SC3-uint8-udp,SC,3,uint8,0.0,udp,0.95")


def test_a_table_of_plans_has_its_units_and_what_each_misses():
    plans = [
        *four_plans(),
        evaluation("SC1-uint8-udp", energy_j=0.02, memory_bytes=(500, 900), cannot_run=("too big",)),
        evaluation("SC2-uint8-udp", accuracy=np.nan, p95_s=0.2, cut=2),
    ]
    rows = {row["id"]: row for row in csv.DictReader(plans_csv(made_results(plans, REQUIREMENTS)).splitlines())}
    assert rows["SC3-uint8-udp"]["latency_p95_s"] == "0.05"
    assert rows["SC3-uint8-udp"]["certainty"] == "certain"
    assert rows["LC"]["latency_p95_s"] == ""
    assert rows["LC"]["fps"] == "5.0"
    assert rows["RC-uint8-udp"]["violations"] == "accuracy >= 90 %"
    assert rows["SC2-uint8-udp"]["accuracy"] == rows["SC2-uint8-udp"]["quality_low"] == ""
    assert rows["SC2-uint8-udp"]["violations"] == "accuracy >= 90 % (not computed); latency_p95 <= 60 ms"
    assert rows["SC1-uint8-udp"]["energy_j"] == "0.02"
    assert rows["SC1-uint8-udp"]["device_memory_bytes"] == "500.0"
    assert rows["SC1-uint8-udp"]["cannot_run"] == "too big"
    assert rows["LC"]["energy_j"] == ""
    assert rows["LC"]["device_p95_s"] == "0.0031"


def test_the_account_says_how_sure_what_would_help_and_who_cannot_run(capsys):
    plans = [*four_plans()[1:], evaluation("SC1-uint8-udp", cannot_run=("too big",))]
    change = {"parameter": "rate", "before": 1, "after": 2, "ratio": 2.0, "plan": "LC", "text": "rate at least 2 bit/s"}
    results = made_results(
        plans, ["accuracy >= 90 %", "latency_p95 <= 80 ms"], capacity={"senders": 3, "busiest_stage": "radio"}
    )
    show(results, Console(width=100))
    said = capsys.readouterr().out
    assert "Recommended: SC4-uint8-tcp (likely)" in said
    assert "feasible, likely" in said
    assert "cannot run" in said
    assert "unstable" in said
    assert "Capacity: 3 sensors; with one more, radio cannot keep up." in said
    values = made_values(plans, ["accuracy >= 100 %"], sensitivity=[SENSITIVITY])
    values["recommendation"]["change"] = change
    show(checked(values), Console(width=200))
    said = capsys.readouterr().out
    assert "The smallest change that helps: rate at least 2 bit/s: then LC is feasible." in said
    assert SENSITIVITY["text"] in said


@pytest.mark.parametrize("accuracy", [0.95, np.nan])
def test_the_account_fits_the_terminal_and_says_what_was_not_computed(accuracy, capsys):
    slow = evaluation("SC14-uint8-udp", accuracy=accuracy, p95_s=0.1501, fps=22.4, size=1024.0, cut=14)
    wanted = ["accuracy >= 90 %", "latency_p95 <= 80 ms", "cut_depth >= 1"]
    show(made_results([evaluation("LC"), slow], wanted), Console(width=80))
    said = capsys.readouterr().out
    assert "-88%" in said
    assert ("accuracy -: not computed" in said) == np.isnan(accuracy)


def test_the_front_is_what_none_is_quicker_and_better_than():
    plans = [*four_plans(), evaluation("SC2-uint8-udp", accuracy=1.0, p95_s=0.01, cut=2, cannot_run=("too big",))]
    results = made_results(plans, REQUIREMENTS)
    assert [plan.id for plan, _, _ in front(results)] == [
        "RC-uint8-udp",
        "SC3-uint8-udp",
        "SC4-uint8-tcp",
        "RC-png-tcp",
    ]
    errors = [evaluation(f"SC{i}-x-tcp", accuracy=i / 10, p95_s=1 / i, quality_metric="rmse") for i in (1, 2, 3)]
    assert [plan.id for plan, _, _ in front(made_results(errors, ["rmse <= 1"]))] == [
        "SC3-x-tcp",
        "SC2-x-tcp",
        "SC1-x-tcp",
    ]


def test_points_tell_configurations_and_fates_apart():
    traces = {trace.name: trace for trace in plans_figure(made_results(four_plans(), REQUIREMENTS)).data}
    assert list(traces["SC, feasible"].ids) == ["SC3-uint8-udp"]
    assert list(traces["SC, infeasible"].ids) == ["SC4-uint8-tcp"]
    assert traces["LC, infeasible"].x == ()  # unstable
    assert list(traces["recommended"].x) == [0.05]
    names = [shape.name for shape in plans_figure(made_results(four_plans(), REQUIREMENTS)).layout.shapes]
    assert names == ["limit-0", "limit-1"]


def test_the_words_of_two_limits_have_corners_of_their_own():
    layout = plans_figure(made_results(four_plans(), ["accuracy >= 90 %", "latency_p95 <= 250 ms"])).layout
    level, upright = layout.annotations
    assert (level.xanchor, upright.xanchor) == ("left", "right")


def test_the_breakdown_adds_up_and_hatches_what_was_estimated():
    guessed = evaluation("SC1-uint8-udp", cut=1, estimates=("camera: network",))
    results = made_results([guessed, evaluation("LC")], ["accuracy >= 90 %"])
    figure = breakdown_figure(results)
    assert [bar.name for bar in figure.data] == list(PARTS)
    totals = dict(zip(figure.data[0].y, np.sum([bar.x for bar in figure.data], axis=0), strict=True))
    for plan in results.plans:
        assert totals[plan.id] == pytest.approx(sum(plan.parts_s.values()))
    hatched = {bar.name: dict(zip(bar.y, bar.marker.pattern.shape, strict=True)) for bar in figure.data}
    assert hatched["device"] == {"SC1-uint8-udp": "/", "LC": ""}
    assert hatched["link"] == {"SC1-uint8-udp": "", "LC": ""}
    details = dict(zip(figure.data[0].y, figure.data[0].customdata, strict=True))["SC1-uint8-udp"]
    assert details[0] == "Split after stem, 8-bit, over UDP"
    assert "camera: network: 25 ms (estimated)" in details[1]
    assert details[1].endswith("camera in all: p50 2 ms, p95 3.1 ms")


def test_layers_are_drawn_with_the_share_up_to_each():
    figure = layers_figure(made_results(four_plans(), REQUIREMENTS))
    bars = [trace for trace in figure.data if trace.type == "bar"]
    assert [sum(bar.y) for bar in bars] == [60_320, 994, 6696]
    shares = [trace for trace in figure.data if trace.type == "scatter"]
    assert [len(shares), shares[0].y[-1], shares[0].y[0]] == [2, 1.0, pytest.approx(20_000 / 60_320)]


def test_layers_of_one_name_stay_apart():
    values = made_values(four_plans(), REQUIREMENTS)
    results = checked(values | {"layers": [layer | {"name": "same<b>"} for layer in values["layers"]]})
    assert list(layers_figure(results).data[0].x)[:2] == ["same&lt;b&gt; (1)", "same&lt;b&gt; (2)"]


def test_of_many_classes_those_are_drawn_that_differ_most():
    values = made_values(four_plans(), REQUIREMENTS)
    curve = [0.01, 0.1, 0.05, 0.5]
    values["curve"]["per_class"] = {f"c{i}": [value * 10 ** (i / 100) for value in curve] for i in range(100)}
    results = checked(values)
    assert drawn_classes(results) == [f"c{i}" for i in range(100 - CLASSES_DRAWN, 100)]
    assert len(classes_figure(results).data) == CLASSES_DRAWN
    assert "Of 100 classes the 20 that differ most are drawn." in report_html(results)


def test_no_figure_is_drawn_of_nothing():
    values = made_values([evaluation("LC", stable=False)], ["fps >= 20"])
    values["curve"] |= {"cuts": [], "per_class": {}}
    results = checked(values)
    assert list(figures(results)) == ["layers"]
    assert report_html(results).count("There is nothing to draw.") == 3


@pytest.mark.slow
def test_thousands_of_plans_still_make_a_page_below_6_mb():
    values = made_values(four_plans(), [*REQUIREMENTS, "fps >= 20", parse_requirement("payload_bytes <= 10 B", 1.0)])
    best, *_, worst = values["plans"]
    many = [best | {"id": f"SC{i}-b16-uint8:channel+rans-udp-interleaved", "pareto": i == 2990} for i in range(2999)]
    values["plans"] = [best, *many, worst]
    values["curve"]["per_class"] = {f"class {i}": [0.01, 0.1, 0.05, 0.5] for i in range(1000)}
    results = checked(values)
    page = report_html(results)
    assert len(page.encode()) < 6_000_000
    assert f"The page has room for {MOST_PLANS} of 3001 plans" in page
    ids = [plan.id for plan in shown_plans(results)]
    assert ids[0] == best["id"]
    assert many[2990]["id"] in ids  # on the front: whatever the limits, it may be the choice
    assert len(latency_plans(results)) == LATENCIES_DRAWN
