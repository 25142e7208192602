"""Reports of networks that are judged by something else than accuracy."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from made import errors_and_latencies, evaluation, made_results
from rich.console import Console

from splitimpera.qos.recommendation import recommend
from splitimpera.report import show, verified_words
from splitimpera.report.comparison import compare
from splitimpera.report.html.comparison_page import comparison_html
from splitimpera.report.html.page import report_html
from splitimpera.report.html.plan_table import columns
from splitimpera.report.limits import stops
from splitimpera.report.notebook import html_of_recommendation, html_of_results
from splitimpera.report.plan_figures import loss_figure, plans_figure
from splitimpera.report.selection import front
from splitimpera.report.static_figures import plans_png
from splitimpera.report.words import decision_words, sentence, status_words, worst_words

ERRORS = ["rmse <= 13", "latency_p95 <= 350 ms"]
TITLES = {"miou": "mIoU", "map50": "AP50", "f1": "F1 score", "mae": "mean absolute error", "agreement": "agreement"}


def results_of_errors(**changes):
    return made_results(errors_and_latencies(), ERRORS, base_quality=9.75, base_quality_ci=[9.1, 10.4], **changes)


def words_of(page):
    """What a page says, without its scripts and styles."""
    return re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL)


def test_the_page_calls_an_error_by_its_title_and_writes_it_as_a_number():
    page = report_html(results_of_errors())
    said = words_of(page)
    assert "this plan's RMSE is" in said
    assert "The whole network on one machine: 9.75 (9.1 to 10.4)" in " ".join(said.split())
    assert "RMSE on 50 validation samples" in said
    assert "for its RMSE was not computed" in said
    assert "ccuracy" not in said
    said = html.unescape(said)
    assert "rmse" not in said.replace("rmse <=", "").replace(" rmse ", "", 1)  # the requirement, and its slider
    data = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
    assert data["quality"] == {"metric": "rmse", "title": "RMSE", "upper": True}
    assert "ccuracy" not in json.dumps(data)


def test_the_smaller_of_two_errors_is_better_wherever_they_are_ordered():
    results = results_of_errors()
    assert [plan.id for plan, *_ in front(results)] == ["SC3-uint8-udp", "SC4-uint8-tcp", "RC-png-tcp"]
    requirement = results.requirements[0]
    found = stops(requirement, results.plans)
    assert all(stop.text.startswith("rmse <= ") and "%" not in stop.text for stop in found)
    assert found[0].limit < 10 < 12.5 < found[-1].limit
    column = next(column for column in columns(results) if column.key == "rmse")
    assert (column.title, column.better) == ("RMSE", "")  # when it is sorted, the smallest comes first


def test_an_error_has_an_axis_of_plain_numbers_that_says_which_way_is_better():
    curve = {"plan": "SC3-uint8-udp", "configuration": "SC", "loss": [0.0, 0.1]}
    curve |= {"quality": [12.5, 30.0], "quality_low": [11.0, 25.0], "quality_high": [13.0, 36.0]}
    results = results_of_errors(loss_curves=[curve])
    for figure in (plans_figure(results), loss_figure(results)):
        assert figure.layout.yaxis.title.text == "RMSE (lower is better)"
        assert figure.layout.yaxis.tickformat is None
        assert figure.layout.yaxis.range is None
    drawn = next(trace for trace in plans_figure(results).data if trace.ids and "SC3-uint8-udp" in trace.ids)
    assert drawn.customdata[drawn.ids.index("SC3-uint8-udp")][1] == "12.5"
    assert "RMSE %{customdata[1]}" in drawn.hovertemplate
    assert plans_png(results).startswith(b"\x89PNG")


@pytest.mark.parametrize(("metric", "title"), TITLES.items())
def test_the_terminal_and_the_notebook_say_the_title(metric, title, capsys):
    lower = metric == "mae"
    plans = [
        replace(evaluation(), quality_metric=metric, intervals={metric: (0.93, 0.97)}),
        evaluation("LC", stable=False),
    ]
    plans[1] = replace(plans[1], quality_metric=metric)
    wanted = [f"{metric} {'<= 0.99' if lower else '>= 90 %'}", "latency_p95 <= 60 ms"]
    results = made_results(plans, wanted)
    show(results, Console(width=120))
    said = capsys.readouterr().out
    value = "0.95" if lower else "95 %"
    assert re.search(rf"bytes +{title} +p95", said)
    assert f"its {title} is {value} (" in " ".join(said.replace("│", " ").split())
    assert "ccuracy" not in said
    assert f"{title} {value} on the test samples" in decision_words(results)
    assert f">{title}<" in html_of_results(results)
    assert "ccuracy" not in html_of_results(results) + html_of_recommendation(recommend(plans, wanted))
    assert f">{title}<" in comparison_html(compare(results, results))


def test_reasons_speak_of_the_quality_by_its_title():
    plans = [evaluation("SC3-uint8-udp", p95_s=0.05), evaluation("SC4-uint8-tcp", accuracy=0.951, p95_s=0.07, cut=4)]
    plans = [replace(plan, quality_metric="miou", intervals={"miou": (0.85, 0.97)}) for plan in plans]
    reasons = " ".join(recommend(plans, ["miou >= 90 %", "latency_p95 <= 80 ms"], "miou").reasons)
    assert "the 95 % interval of mIoU is 85 % to 97 %" in reasons
    assert "of mIoU; none that does is better in mIoU beyond chance" in reasons
    lost = replace(evaluation("SC3-uint8-udp", accuracy=np.nan, p95_s=9.0), quality_metric="miou")
    verdict = recommend([lost], ["miou >= 90 %", "latency_p95 <= 80 ms"]).verdicts[0]
    assert "for its mIoU was not computed" in str(verdict.violations[0])


def test_narrow_columns_and_the_status_say_it_too():
    results = results_of_errors()
    violating = made_results(errors_and_latencies(), ["rmse <= 11.5", "latency_p95 <= 350 ms"])
    assert worst_words(violating.by_id["SC3-uint8-udp"]) == "violates RMSE -9%"
    assert "others" not in status_words(results)
    unknown = made_results(errors_and_latencies(), ["rmse <= 13"])
    assert "only their RMSE is not known" in status_words(unknown)


@pytest.mark.parametrize(
    ("title", "begins"),
    [("accuracy", "Accuracy"), ("mIoU", "mIoU"), ("top-5 accuracy", "Top-5 accuracy"), ("AP50", "AP50")],
)
def test_a_sentence_begins_with_a_capital_but_where_a_title_has_its_own(title, begins):
    assert sentence(title) == begins


def test_a_verification_calls_the_quality_by_its_title():
    assert [verified_words.title(name) for name in ("accuracy", "map50", "lost_packet_rate")] == [
        "accuracy",
        "AP50",
        "packets lost",
    ]
