"""For notebooks: a design as HTML, tables as pandas frames, figures as Plotly objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from splitimpera.core.errors import SplitImperaError
from splitimpera.core.markup import html_table
from splitimpera.report.comparison import value_words, verdict_words
from splitimpera.report.results import Results, curve_points
from splitimpera.report.tables import change_words, metric_names

if TYPE_CHECKING:
    import pandas as pd


def html_of_design(results: Results) -> str:
    """The decision, its reasons and the best plans."""
    decision, quality = results["recommendation"], results["quality"]
    caption = f"Run {decision['plan']} ({decision['certainty']})" if decision["plan"] else "Nothing fits"
    metrics = [quality, "latency_p95", "fps", "payload_bytes"]
    rows = [
        [plan["id"], *(value_words(plan, metric) for metric in metrics), verdict_words(plan)]
        for plan in results["plans"]
    ]
    change = [f"The smallest change that helps: {change_words(decision['change'])}."] if decision["change"] else []
    return html_table(caption, ["plan", *metrics, "verdict"], rows, [*decision["reasons"], *change])


def plans_frame(results: Results) -> pd.DataFrame:
    """One row a plan, best first, by its id: metrics in SI units with the ends of their intervals, and the verdict.

    Raises:
        SplitImperaError: pandas is not installed.
    """
    rows = []
    for plan in results["plans"]:
        row: dict[str, Any] = {key: plan[key] for key in ("id", "configuration", "cut", "codec", "transport")}
        for name in metric_names(results):
            row[name] = plan["metrics"].get(name)
            low, high = plan["intervals"].get(name, (None, None))
            row |= {f"{name}_low": low, f"{name}_high": high}
        row |= {key: plan[key] for key in ("stable", "feasible", "certainty", "score", "penalty", "pareto")}
        rows.append(row | {"violations": [miss["requirement"] for miss in plan["violations"]]})
    return _frame(rows, "id").dropna(axis="columns", how="all")


def layers_frame(results: Results) -> pd.DataFrame:
    """One row a layer: operation, MACs, parameters, output bytes.

    Raises:
        SplitImperaError: pandas is not installed.
    """
    return _frame(results["layers"], "index")


def curve_frame(results: Results) -> pd.DataFrame:
    """One row a cut at which CS was taken.

    Raises:
        SplitImperaError: pandas is not installed.
    """
    keys = ("index", "name", "cs", "log_cs", "bytes", "macs_head", "macs_tail", "reasons")
    return _frame([{key: point[key] for key in keys} for point in curve_points(results)], "index")


def _frame(rows: list[Results], index: str) -> pd.DataFrame:
    try:
        import pandas as pd
    except ImportError:
        raise SplitImperaError("tables for notebooks need pandas", hint="install it: pip install pandas") from None
    return pd.DataFrame(rows).set_index(index)
