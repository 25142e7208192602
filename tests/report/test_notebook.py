"""What a notebook shows."""

from __future__ import annotations

import importlib
import re
import sys
from html import unescape
from types import SimpleNamespace

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from made import evaluation, four_plans, made_results
from made_study import two_ranges
from torch import nn

import splitimpera
from splitimpera.core.errors import SplitImperaError
from splitimpera.designs import Design
from splitimpera.graph.tracing import trace
from splitimpera.net.transports import simulate
from splitimpera.qos.recommendation import recommend
from splitimpera.records.device import Device
from splitimpera.records.link import Link
from splitimpera.records.plan import Hop, Plan
from splitimpera.records.traffic import Workload
from splitimpera.report import policy_html, study_html
from splitimpera.report.interactive import figures
from splitimpera.report.notebook import (
    ROWS_SHOWN,
    curve_frame,
    html_of_deliveries,
    html_of_evaluation,
    html_of_graph,
    html_of_plan,
    html_of_recommendation,
    html_of_results,
    html_table,
    layers_frame,
    plans_frame,
)
from splitimpera.saliency.curve import SaliencyCurve
from splitimpera.studies.policy_study import policy_of

REQUIREMENTS = ["accuracy >= 90 %", "latency_p95 <= 60 ms"]


def test_a_design_shows_its_decision_and_its_plans():
    page = html_of_results(made_results(four_plans(), REQUIREMENTS))
    assert "<strong>Split after block.add, 8-bit, over UDP (SC3-uint8-udp), certain</strong>" in page
    assert page.count("<tr>") == 6
    assert "unstable" in page
    assert "meets every requirement" in page


def test_a_recommendation_shows_each_requirement():
    page = html_of_recommendation(recommend(four_plans(), REQUIREMENTS))
    assert "latency_p95 &lt;= 60 ms</th>" in page
    assert "feasible, certain" in page
    assert "violates 1 requirement" in page


def test_in_a_notebook_what_a_design_makes_is_shown_as_html(monkeypatch):
    """IPython finds a printer by an object's module and class; `import splitimpera` in a notebook registers them."""
    printers = {}
    formatter = SimpleNamespace(for_type_by_name=lambda module, name, make: printers.update({(module, name): make}))
    shell = SimpleNamespace(display_formatter=SimpleNamespace(formatters={"text/html": formatter}))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    importlib.reload(splitimpera)
    results, decision = made_results(four_plans(), REQUIREMENTS), recommend(four_plans(), REQUIREMENTS)
    curve = find_curve()
    for shown in (results, decision, curve):
        make = printers[type(shown).__module__, type(shown).__name__]
        assert "<div><p><strong>" in make(shown)
    study = two_ranges()
    for shown, page in ((study, study_html(study)), (policy_of(study, 3), policy_html(policy_of(study, 3)))):
        frame = printers[type(shown).__module__, type(shown).__name__](shown)
        (inner,) = re.findall(r'^<iframe title="[^"]+" srcdoc="([^"]*)"[^<>]*></iframe>$', frame)
        assert unescape(inner) == page
    assert (Design.__module__, Design.__name__) in printers
    assert "after layer" in printers[SaliencyCurve.__module__, SaliencyCurve.__name__](curve)


def find_curve():
    numbers = np.array([0.1, 0.3, 0.2])
    sizes, names = (512, 256, 128), ("a", "b", "c")
    per_class = {0: numbers}
    scores = {"cs": numbers}
    return SaliencyCurve((1, 2, 3), names, scores, sizes, (1, 2, 3), per_class, {0: 9}, (), (True,) * 3, 9, 512)


@pytest.mark.slow
def test_a_network_shows_its_layers_and_what_crosses_after_each():
    page = html_of_graph(trace(Residual().eval(), torch.zeros(1, 3, 8, 8)))
    rows = [re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in page.split("<tr>")[2:]]
    assert [row[1] for row in rows] == ["stem", "conv", "add", "mean", "head"]
    assert rows[0][2:] == ["conv2d", "4 x 8 x 8", "112", "6.912 k", "1.024 kB"]
    assert rows[1][-1] == "2.048 kB, 2 tensors"
    assert "5 layers" in page


def test_a_plan_shows_its_way():
    hop = Hop(3, "uint8+rans", "udp", Link("lora", rate_bps=1e4))
    page = html_of_plan(Plan("SC3-uint8+rans-udp", (Device("sensor"), Device("cloud")), (hop,)))
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", page)
    assert cells == ["sensor", "", "", "", "", "cloud", "lora", "after 3 layers", "8-bit, entropy-coded", "UDP"]


def test_an_evaluation_shows_its_metrics_with_intervals():
    (first, *_) = four_plans()
    page = html_of_evaluation(first)
    assert f"Plan {first.plan.id}" in page
    assert "p95 latency" in page or "latency_p95" in page


def test_deliveries_show_what_was_lost():
    workload = Workload(fps=10.0, frames=1000, frame_bytes=5000)
    page = html_of_deliveries(simulate(Link(loss=0.2), workload, "udp", np.random.default_rng(0)))
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", page)
    shown = dict(zip(cells[::2], cells[1::2], strict=True))
    assert shown["frames"] == "1000"
    assert shown["packets"] == "4000"
    assert shown["sent again"] == "0"
    assert 30 < int(shown["used whole"].split()[0]) / 10 < 50  # 0.8 ** 4
    assert 700 < int(shown["lost packets"].split()[0]) < 900


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = self.stem(x)
        return self.head((x + self.conv(x)).mean((2, 3)))


def test_tables_are_short_and_harmless():
    page = html_table("<b>", ["<i>"], [["<u>"]] * (ROWS_SHOWN + 3))
    assert page.count("&lt;u&gt;") == ROWS_SHOWN
    assert "and 3 more" in page
    assert "<b>" not in page
    assert "<i>" not in page


def test_figures_are_plotlys():
    drawn = figures(made_results(four_plans(), REQUIREMENTS))
    assert set(drawn) == {"plans", "classes", "layers", "latency", "breakdown"}
    assert all(isinstance(figure, go.Figure) for figure in drawn.values())


def test_frames_have_a_row_a_plan():
    pytest.importorskip("pandas")
    plans = [*four_plans(), evaluation("SC1-uint8-udp", energy_j=0.02)]
    frame = plans_frame(made_results(plans, REQUIREMENTS))
    assert frame.loc["SC3-uint8-udp", "latency_p95"] == 0.05
    assert frame.loc["SC3-uint8-udp", "accuracy_high"] == 0.97
    assert frame.loc["SC1-uint8-udp", "energy"] == 0.02
    assert frame["feasible"].sum() == 2
    assert frame.loc["RC-uint8-udp", "violations"] == ["accuracy >= 90 %"]
    assert layers_frame(made_results(plans, REQUIREMENTS))["macs"].sum() == 60_320
    assert list(curve_frame(made_results(plans, REQUIREMENTS)).index) == [1, 2, 3, 4]


def test_without_pandas_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(SplitImperaError, match="need pandas; install it: pip install pandas"):
        plans_frame(made_results(four_plans(), REQUIREMENTS))
