"""What a notebook shows."""

from __future__ import annotations

import sys

import plotly.graph_objects as go
import pytest
from made import evaluation, four_plans, made_results

from splitimpera.core.errors import SplitImperaError
from splitimpera.qos.recommendation import recommend
from splitimpera.report.interactive import figures
from splitimpera.report.notebook import (
    ROWS_SHOWN,
    curve_frame,
    html_of_recommendation,
    html_of_results,
    html_table,
    layers_frame,
    plans_frame,
)

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


def test_tables_are_short_and_harmless():
    page = html_table("<b>", ["<i>"], [["<u>"]] * (ROWS_SHOWN + 3))
    assert page.count("&lt;u&gt;") == ROWS_SHOWN
    assert "and 3 more" in page
    assert "<b>" not in page
    assert "<i>" not in page


def test_figures_are_plotlys():
    drawn = figures(made_results(four_plans(), REQUIREMENTS))
    assert set(drawn) == {"plans", "saliency", "classes", "layers", "latency", "breakdown"}
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
