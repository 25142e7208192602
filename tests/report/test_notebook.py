"""What a notebook shows."""

from __future__ import annotations

import importlib
import sys
from types import SimpleNamespace

import numpy as np
import plotly.graph_objects as go
import pytest
from made import evaluation, four_plans, made_results

import splitimpera
from splitimpera.core.errors import SplitImperaError
from splitimpera.designs import Design
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
from splitimpera.saliency.curve import SaliencyCurve

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
    assert (Design.__module__, Design.__name__) in printers
    assert "after layer" in printers[SaliencyCurve.__module__, SaliencyCurve.__name__](curve)


def find_curve():
    numbers = np.array([0.1, 0.3, 0.2])
    sizes, names = (512, 256, 128), ("a", "b", "c")
    per_class = {0: numbers}
    scores = {"cs": numbers}
    return SaliencyCurve((1, 2, 3), names, scores, sizes, (1, 2, 3), per_class, {0: 9}, (), (True,) * 3, 9, 512)


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
