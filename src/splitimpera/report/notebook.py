"""For notebooks: networks, plans, designs, decisions, curves, studies and what a link did as HTML, tables as pandas."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from splitimpera.core import units
from splitimpera.core.errors import SplitImperaError

if TYPE_CHECKING:
    import pandas as pd

    from splitimpera.designs import Design
    from splitimpera.graph.tracing import ModelGraph
    from splitimpera.qos.recommendation import Recommendation
    from splitimpera.records.outcome import Evaluation
    from splitimpera.records.plan import Plan
    from splitimpera.records.policy import Policy
    from splitimpera.records.traffic import Deliveries
    from splitimpera.report.schema import Results
    from splitimpera.saliency.curve import SaliencyCurve
    from splitimpera.studies.study_results import StudyResults

ROWS_SHOWN = 10


def register() -> None:
    """Tell the running IPython how to show what `SHOWN` lists.

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


def html_of_study(results: StudyResults) -> str:
    """The study's own page, in a frame."""
    from splitimpera.report.html.study_page import study_html

    return html_frame(study_html(results), f"The study {results.name}: which designs win where")


def html_of_policy(policy: Policy) -> str:
    """The policy's own page, in a frame."""
    from splitimpera.report.html.policy_page import policy_html

    return html_frame(policy_html(policy), "The policy: which plan is used where")


def html_of_graph(graph: ModelGraph) -> str:
    """The layers, and what crosses where the network may be cut."""
    from splitimpera.report.words import shape_words

    crossing = {cut.index: cut.tensors for cut in graph.cuts}
    whole = graph.cuts[0]
    rows: list[list[object]] = []
    for layer in graph.layers:
        tensors = crossing.get(layer.index + 1, ())
        size = units.format_bytes(sum(tensor.bytes for tensor in tensors)) if tensors else ""
        number = f", {len(tensors)} tensors" if len(tensors) > 1 else ""
        counts = units.format_count(layer.parameters), units.format_count(layer.macs)
        rows.append(
            [layer.index + 1, layer.name, layer.operation, shape_words(layer.output.shape), *counts, size + number]
        )
    caption = (
        f"{len(graph.layers)} layers, {units.format_count(whole.parameters_tail)} parameters, "
        f"{units.format_count(whole.macs_tail)} MACs; the input has {units.format_bytes(whole.bytes)}"
    )
    columns = ["cut", "after layer", "operation", "output", "parameters", "MACs", "crosses there"]
    return html_table(caption, columns, rows)


def html_of_plan(plan: Plan) -> str:
    """The machines in their order, and how frames come to each."""
    from splitimpera.report.words import codec_words, transport_words

    rows: list[list[object]] = [[plan.devices[0].name, "", "", "", ""]]
    for hop, device in zip(plan.hops, plan.devices[1:], strict=True):
        cut = f"after {hop.cut} layers" if hop.cut else "the input"
        rows.append(
            [device.name, hop.link.name, cut, ", ".join(codec_words(hop.codec)), transport_words(hop.transport)]
        )
    return html_table(f"Plan {plan.id}", ["machine", "over", "what crosses", "as", "by"], rows)


def html_of_evaluation(evaluation: Evaluation) -> str:
    """What a plan does: its metrics with their intervals."""
    from splitimpera.records.requirement import title_of
    from splitimpera.report.words import format_metric

    metrics = {evaluation.quality_metric: evaluation.quality} | evaluation.metrics()
    rows = []
    for name, value in metrics.items():
        ends = evaluation.intervals.get(name)
        said = [format_metric(name, end) for end in ends] if ends else ["", ""]
        rows.append([title_of(name), format_metric(name, value), *said])
    return html_table(f"Plan {evaluation.plan.id}", ["", "value", "95 % from", "to"], rows)


def html_of_deliveries(deliveries: Deliveries) -> str:
    """What a link did to the frames, in all."""
    frames = len(deliveries.arrived)
    whole = int((deliveries.arrived & (deliveries.missing_bytes == 0)).sum())
    rows: list[list[object]] = [
        ["frames", frames],
        ["used whole", f"{whole} ({units.format_fraction(whole / frames)})"],
        ["packets", int(deliveries.packets.sum())],
        ["lost packets", f"{deliveries.lost_packets.sum()} ({units.format_fraction(deliveries.lost_packet_rate)})"],
        ["sent again", int(deliveries.retransmissions.sum())],
        ["on the wire", units.format_bytes(float(deliveries.wire_bytes.sum()))],
    ]
    caption = "Deliveries" if deliveries.stable else "Deliveries: frames come faster than the link carries them"
    return html_table(caption, ["", "in all"], rows)


SHOWN: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("designs", "Design", html_of_design),
    ("report.schema", "Results", html_of_results),
    ("qos.recommendation", "Recommendation", html_of_recommendation),
    ("graph.tracing", "ModelGraph", html_of_graph),
    ("saliency.curve", "SaliencyCurve", html_of_curve),
    ("studies.study_results", "StudyResults", html_of_study),
    ("records.policy", "Policy", html_of_policy),
    ("records.plan", "Plan", html_of_plan),
    ("records.outcome", "Evaluation", html_of_evaluation),
    ("records.traffic", "Deliveries", html_of_deliveries),
)
"""Module, class, and what makes HTML of it."""


def html_frame(page: str, title: str) -> str:
    """A whole page within another one, with styles and scripts of its own."""
    from splitimpera.report.html.rendering import render

    return render("frame", page=page, title=title)


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
