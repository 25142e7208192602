"""The notebook that shows the whole way: run from top to bottom, and what it displays."""

from __future__ import annotations

import re

import pytest
from conftest import ROOT

nbformat = pytest.importorskip("nbformat")
NOTEBOOK = ROOT / "examples" / "tour.ipynb"


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_it_is_kept_without_outputs():
    for cell in code_cells(nbformat.read(NOTEBOOK, as_version=4)):
        assert cell.outputs == []
        assert cell.execution_count is None


@pytest.mark.slow
@pytest.mark.alone
def test_it_runs_and_shows_each_step():
    pytest.importorskip("ipykernel")
    client = pytest.importorskip("nbclient").NotebookClient
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client(notebook, timeout=300, kernel_name="python3").execute()
    shown = [output.get("data", {}) for cell in code_cells(notebook) for output in cell.outputs]
    pages = [data["text/html"] for data in shown if "text/html" in data]
    graph, curve, design, plan, compared = pages
    assert "2 tensors" in graph
    assert "Cumulative saliency over 300 samples" in curve
    assert "<svg" in design
    assert "meets every requirement" in design
    assert "<strong>Plan SC" in plan
    assert any("application/vnd.plotly.v1+json" in data for data in shown)
    assert any("50 of 50 frames were answered" in data.get("text/plain", "") for data in shown)
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", compared)
    (_, *accuracy), (_, *latency), (_, *payload) = (cells[row : row + 3] for row in (0, 3, 6))
    predicted, measured = (float(share.rstrip("%")) for share in accuracy)
    assert measured == pytest.approx(predicted, abs=15)  # 50 samples, not those of the prediction
    assert payload[0] == payload[1]
    predicted_ms, measured_ms = (float(time.removesuffix(" ms")) for time in latency)
    assert predicted_ms > 20  # twice the link's delay
    assert measured_ms == pytest.approx(predicted_ms, rel=1)
