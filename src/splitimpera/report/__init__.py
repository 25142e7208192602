"""What people look at: terminal account, results file, table, figures and the HTML report. Compute, then draw.

`results_of` makes the results of a design, `read` takes them from a file; all else is drawn from these alone.
Names are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from splitimpera.report.building import results_of as results_of
    from splitimpera.report.comparison import compare as compare
    from splitimpera.report.design_drawing import design_svg as design_svg
    from splitimpera.report.html.comparison_page import comparison_html as comparison_html
    from splitimpera.report.html.page import report_html as report_html
    from splitimpera.report.html.policy_page import policy_html as policy_html
    from splitimpera.report.html.run_page import run_html as run_html
    from splitimpera.report.html.study_page import study_html as study_html
    from splitimpera.report.interactive import figures as figures
    from splitimpera.report.network_drawing import network_svg as network_svg
    from splitimpera.report.notebook import curve_frame as curve_frame
    from splitimpera.report.notebook import layers_frame as layers_frame
    from splitimpera.report.notebook import plans_frame as plans_frame
    from splitimpera.report.policy_tables import policy_account as policy_account
    from splitimpera.report.reading import read as read
    from splitimpera.report.run_words import run_account as run_account
    from splitimpera.report.schema import Results as Results
    from splitimpera.report.study_tables import study_account as study_account
    from splitimpera.report.tables import plans_csv as plans_csv
    from splitimpera.report.tables import show as show
    from splitimpera.report.writing import redraw as redraw
    from splitimpera.report.writing import save as save
    from splitimpera.report.writing import write_results as write_results

_HOMES = {
    "results_of": "building",
    "compare": "comparison",
    "design_svg": "design_drawing",
    "network_svg": "network_drawing",
    "comparison_html": "html.comparison_page",
    "report_html": "html.page",
    "policy_html": "html.policy_page",
    "run_html": "html.run_page",
    "study_html": "html.study_page",
    "figures": "interactive",
    **dict.fromkeys(("curve_frame", "layers_frame", "plans_frame"), "notebook"),
    "policy_account": "policy_tables",
    "read": "reading",
    "Results": "schema",
    "run_account": "run_words",
    "study_account": "study_tables",
    **dict.fromkeys(("plans_csv", "show"), "tables"),
    **dict.fromkeys(("redraw", "save", "write_results"), "writing"),
}

__all__ = [*_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'splitimpera.report' has no attribute '{name}'")
    return getattr(import_module(f"splitimpera.report.{_HOMES[name]}"), name)
