"""For notebooks: designs, recommendations and curves as HTML, tables as pandas frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from splitimpera.core import units
from splitimpera.core.errors import SplitImperaError

if TYPE_CHECKING:
    import pandas as pd

    from splitimpera.designs import Design
    from splitimpera.qos.recommendation import Recommendation
    from splitimpera.report.schema import Results
    from splitimpera.saliency.curve import SaliencyCurve

ROWS_SHOWN = 20


def register() -> None:
    """Tell the running IPython how to show a `Design`, a `Recommendation` and a `SaliencyCurve`.

    `import splitimpera` does so in a notebook. By name, so that nothing is imported before it is shown.
    """
    from IPython import get_ipython  # type: ignore[import-not-found, unused-ignore]

    shell = get_ipython()
    if shell is not None:
        formatter = shell.display_formatter.formatters["text/html"]
        for module, name, html in SHOWN:
            formatter.for_type_by_name(f"splitimpera.{module}", name, html)


def html_of_design(design: Design) -> str:
    """The decision as a drawing, its reasons and the best plans."""
    from splitimpera.report.building import results_of

    return html_of_results(results_of(design))


def html_of_results(results: Results) -> str:
    """The same from results."""
    from splitimpera.records.requirement import title_of
    from splitimpera.report.design_drawing import design_html
    from splitimpera.report.selection import main_times
    from splitimpera.report.words import change_words, choice_words, value_words, verdict_words

    decision = results.recommendation
    caption = choice_words(results) + (f" ({decision.plan}), {decision.certainty}" if decision.plan else "")
    metrics = [results.quality, *main_times(results), "fps", "payload_bytes"]
    rows = [[plan.id, *(value_words(plan, name) for name in metrics), verdict_words(plan)] for plan in results.plans]
    change = [f"The smallest change that helps: {change_words(decision.change)}."] if decision.change else []
    table = html_table(caption, ["plan", *map(title_of, metrics), "verdict"], rows, [*decision.reasons, *change])
    return design_html(results) + table


def html_of_recommendation(recommendation: Recommendation) -> str:
    """The verdicts, best first, and the reasons."""
    from splitimpera.report.building import plan_entry
    from splitimpera.report.words import WORDS, value_words, verdict_words

    chosen, verdicts = recommendation.chosen, recommendation.verdicts
    caption = f"Recommended: {chosen.id} ({chosen.certainty})" if chosen else WORDS["unsatisfiable"]
    wanted = [judgement.requirement for judgement in verdicts[0].judgements]
    plans = list(map(plan_entry, verdicts))
    rows = [[plan.id, *(value_words(plan, each.metric) for each in wanted), verdict_words(plan)] for plan in plans]
    return html_table(caption, ["plan", *(each.text for each in wanted), "verdict"], rows, recommendation.reasons)


def html_of_curve(curve: SaliencyCurve) -> str:
    """CS at each cut, and why some are candidates."""
    reasons = {candidate.cut: ", ".join(candidate.reasons) for candidate in curve.candidates}
    rows = [
        [cut, name, units.format_bytes(size), f"{cs:.3g}", reasons.get(cut, "")]
        for cut, name, size, cs in zip(curve.cuts, curve.names, curve.bytes, curve.cs, strict=True)
    ]
    caption = f"Cumulative saliency over {curve.samples} samples"
    return html_table(caption, ["cut", "after layer", "bytes", "CS", "candidate"], rows)


SHOWN: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("designs", "Design", html_of_design),
    ("report.schema", "Results", html_of_results),
    ("qos.recommendation", "Recommendation", html_of_recommendation),
    ("saliency.curve", "SaliencyCurve", html_of_curve),
)
"""Module, class, and what makes HTML of it."""


def html_table(
    caption: str, columns: Sequence[str], rows: Iterable[Sequence[object]], notes: Sequence[str] = ()
) -> str:
    """A caption, a table of at most `ROWS_SHOWN` rows, how many more there are, and notes below it."""
    from splitimpera.report.html.rendering import render

    every = list(rows)
    more = [f"and {len(every) - ROWS_SHOWN} more"] if len(every) > ROWS_SHOWN else []
    return render("notebook", caption=caption, columns=columns, rows=every[:ROWS_SHOWN], notes=[*more, *notes])


def plans_frame(results: Results) -> pd.DataFrame:
    """One row a plan, best first, by its id: metrics in SI units with the ends of their intervals, and the verdict.

    Raises:
        SplitImperaError: pandas is not installed.
    """
    from splitimpera.report.selection import metric_names

    rows = []
    for plan in results.plans:
        row = plan.model_dump(include={"id", "configuration", "cut", "codec", "transport"})
        for name in metric_names(results):
            row[name] = plan.metrics.get(name)
            low, high = plan.intervals.get(name, (None, None))
            row |= {f"{name}_low": low, f"{name}_high": high}
        row |= plan.model_dump(include={"stable", "feasible", "certainty", "score", "penalty", "pareto"})
        rows.append(row | {"violations": [violation.requirement for violation in plan.violations]})
    return _frame(rows, "id").dropna(axis="columns", how="all")


def layers_frame(results: Results) -> pd.DataFrame:
    """One row a layer: operation, MACs, parameters, output bytes.

    Raises:
        SplitImperaError: pandas is not installed.
    """
    return _frame([layer.model_dump() for layer in results.layers], "index")


def curve_frame(results: Results) -> pd.DataFrame:
    """One row a cut at which CS was taken.

    Raises:
        SplitImperaError: pandas is not installed.
    """
    from splitimpera.report.selection import curve_points

    keys = {"index", "name", "cs", "bytes", "macs_head", "macs_tail"}
    rows = [
        point.cut.model_dump(include=keys) | {"log_cs": point.log_cs, "reasons": point.reasons}
        for point in curve_points(results)
    ]
    return _frame(rows, "index")


def _frame(rows: list[dict[str, Any]], index: str) -> pd.DataFrame:
    try:
        import pandas as pd
    except ImportError:
        raise SplitImperaError("tables for notebooks need pandas", hint="install it: pip install pandas") from None
    return pd.DataFrame(rows).set_index(index)
