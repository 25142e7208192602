"""Requests to a language model in results, tables, figures and on the page."""

from __future__ import annotations

import copy
import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from browser import chromium
from conftest import ROOT
from made import four_plans, made_results, made_values
from made_tokens import answered, three_answered, token_values
from rich.console import Console

from splitimpera.core.errors import DataError
from splitimpera.qos.recommendation import recommend
from splitimpera.records.requirement import parse_requirement
from splitimpera.records.token_outcome import TokenOutcome
from splitimpera.report import figures, plans_csv, report_html, show
from splitimpera.report.comparison import change_of, compare, shown_metrics
from splitimpera.report.design_drawing import design_svg
from splitimpera.report.design_words import responses_words
from splitimpera.report.html.plan_table import columns, rows
from splitimpera.report.notebook import html_of_results
from splitimpera.report.palette import COLOURS
from splitimpera.report.reading import checked
from splitimpera.report.schema import json_schema
from splitimpera.report.selection import token_metrics, token_plans
from splitimpera.report.token_building import tokens_entry
from splitimpera.report.token_words import tokens_words
from splitimpera.report.words import plan_words


@pytest.fixture(scope="module")
def results():
    return checked(token_values())


def test_what_becomes_of_tokens_is_kept():
    gaps_s = np.array([[0.01, 0.02, 0.03, np.nan], [0.04, np.inf, np.nan, np.nan]])
    outcome = TokenOutcome(np.array([[0.1, 0.3]]), np.array([[0.02, np.nan]]), gaps_s, np.array([5.0, 7.0]))
    entry = tokens_entry(outcome)
    assert (entry.ttft_mean_s, entry.ttft_p50_s, entry.tokens_per_s) == (pytest.approx(0.2), 0.2, 6.0)
    assert (entry.tpot_mean_s, entry.tpot_p50_s, entry.tpot_p95_s) == (0.02, 0.03, None)
    never = tokens_entry(TokenOutcome(np.array([[np.inf]]), np.array([[np.nan]]), gaps_s[:, 3:], np.zeros(1)))
    waits_s = [never.ttft_mean_s, never.ttft_p50_s, never.ttft_p95_s, never.tpot_mean_s, never.tpot_p50_s]
    assert waits_s == [None] * 5


def test_parts_in_the_file_add_up_to_the_means(results):
    for plan in results.plans:
        assert sum(plan.tokens.ttft_parts_s.values()) == pytest.approx(plan.tokens.ttft_mean_s)
        assert sum(plan.tokens.tpot_parts_s.values()) == pytest.approx(plan.tokens.tpot_mean_s)
    assert checked(json.loads(results.to_json())) == results


def test_files_from_before_are_read_and_have_none_of_it():
    values = json.loads(json.dumps(made_values(four_plans(), ["accuracy >= 90 %"])))
    del values["token_curves"]
    for plan in values["plans"]:
        del plan["tokens"]
    old = checked(values)
    assert not old.asks_tokens
    assert token_plans(old) == []
    page = report_html(old)
    assert "first token" not in page
    assert ">fps</button>" in page


@pytest.mark.parametrize("key", ["ttft_s", "ttft_p95_s", "tpot_s", "tpot_p95_s", "values"])
def test_a_curve_has_one_value_a_point(key):
    values = copy.deepcopy(token_values())
    values["token_curves"][1][key].pop()
    with pytest.raises(DataError, match="token_curves: not one value a rate or delay"):
        checked(values)


def test_every_key_of_it_is_in_the_document():
    schema = json.loads(json_schema())["$defs"]
    document = (ROOT / "docs" / "results.md").read_text()
    for kind in ("TokensEntry", "TokenCurveEntry"):
        assert [key for key in schema[kind]["properties"] if f"`{key}`" not in document] == []


def test_what_requirements_speak_of_is_what_is_shown():
    for wanted, expected in (
        (["accuracy >= 90 %"], ("ttft_p95", "tpot")),
        (["ttft <= 1 s", "tpot_p95 <= 1 s"], ("ttft", "tpot_p95")),
        (["ttft <= 1 s", "ttft_p95 <= 2 s", "tpot <= 1 s", "tpot_p95 <= 2 s"], ("ttft_p95", "tpot")),
    ):
        assert token_metrics(made_results(three_answered(), wanted)) == expected


def test_the_chosen_plan_comes_first_and_then_the_best_of_the_others(results):
    assert [plan.id for plan in token_plans(results)] == ["SC3-float16-tcp", "LC", "RC-uint8-tcp"]
    none = made_results(three_answered(), ["ttft_p95 <= 1 ms"])
    assert none.recommendation.plan is None
    assert [plan.id for plan in token_plans(none)] == ["RC-uint8-tcp", "LC"]


def test_the_terminal_shows_the_two_waits(results, capsys):
    show(results, Console(width=80))
    said = capsys.readouterr().out
    heading = next(line for line in said.splitlines() if "TTFT p95" in line)
    assert heading.split() == ["plan", "accuracy", "TTFT", "p95", "TPOT", "req/s", "verdict"]
    row = next(line for line in said.splitlines() if "SC3-float16-tcp" in line and "ms" in line)
    assert row.split()[1:6] == ["95", "%", "200", "ms", "30"]
    unstable = next(line for line in said.splitlines() if line.strip().startswith("LC"))
    assert "unstable" in unstable
    assert "70 ms" in unstable  # from token to token there is a bound
    assert "No LC plan is feasible: the nearest, LC, violates ttft_p95 <= 400 ms, for it is unstable" in _joined(said)


def test_the_account_says_a_value_as_people_write_it(capsys):
    show(made_results(three_answered()[:1], ["ttft_p95 <= 120 ms", "tpot <= 20 ms"]), Console(width=200))
    said = _joined(capsys.readouterr().out)
    assert "violates ttft_p95 <= 120 ms with 200 ms (-66.7 %)" in said
    assert "tpot <= 20 ms with 30 ms (-50 %)" in said


def test_the_first_token_of_an_unstable_plan_has_no_bound_and_the_next_ones_have():
    first, following = (
        recommend(
            [answered("LC", 0.01, 0.02, stable=False)], list(map(parse_requirement, ["ttft <= 1 s", "tpot <= 30 ms"]))
        )
        .verdicts[0]
        .judgements
    )
    assert (first.met, first.unbounded, first.margin) == (False, True, -1)
    assert (following.met, following.unbounded) == (True, False)
    assert str(first) == "ttft <= 1 s, for it is unstable: its latency is unbounded"


def test_requests_that_are_never_answered_are_said_so():
    (waits,) = recommend([answered("LC", np.inf)], [parse_requirement("ttft_p95 <= 1 s")]).verdicts[0].judgements
    assert str(waits) == "ttft_p95 <= 1 s, for some requests are never answered"
    assert made_results([answered("LC", np.inf)], ["ttft_p95 <= 1 s"]).plans[0].tokens.ttft_mean_s is None


def test_reasons_count_requests():
    heavy = answered("SC3-float16-tcp", 0.2, size=5000.0)
    light = answered("SC4-uint8-tcp", 0.2)
    few = recommend([light, replace(heavy, stable=False)], [parse_requirement("fps >= 1000")])
    assert "frame" not in " ".join(few.reasons)
    none = recommend([replace(heavy, stable=False)], [parse_requirement("ttft <= 1 s")])
    assert "requests come faster than any plan can respond" in none.reasons[1]


def _joined(said):
    return " ".join(said.replace("│", " ").split())


def test_the_csv_has_units(results):
    found = {row["id"]: row for row in csv.DictReader(plans_csv(results).splitlines())}
    assert found["SC3-float16-tcp"]["ttft_p95_s"] == "0.2"
    assert float(found["SC3-float16-tcp"]["tpot_s"]) == pytest.approx(0.03)
    assert float(found["SC3-float16-tcp"]["tokens_per_s"]) == 12
    assert found["LC"]["ttft_s"] == found["LC"]["latency_p95_s"] == ""
    assert found["LC"]["tpot_p95_s"] == "0.07"
    spent = plans_csv(made_results([answered("SC3-float16-tcp", energy_j=0.004)], ["token_energy <= 1 J"]))
    assert next(csv.DictReader(spent.splitlines()))["token_energy_j"] == "0.004"


def test_the_table_of_plans_has_the_waits_with_their_intervals(results):
    wanted = columns(results)
    titles = [column.title for column in wanted]
    assert titles[4:10] == ["TTFT", "TTFT p95", "TPOT", "TPOT p95", "tokens/s", "whole answer p95"]
    assert "requests/s" in titles
    cells = {column.title: row for column, row in zip(wanted, rows(results, wanted)[0].cells, strict=True)}
    assert [(line.words, line.note) for line in cells["TTFT p95"]] == [("200 ms", ""), ("", "180 ms to 220 ms")]
    assert [(line.words, line.note) for line in cells["memory"]] == [
        ("camera 3 MB", "262.1 kB of it caches"),
        ("server 9 MB", "4 MB of it caches"),
    ]
    of_lc = next(row for row in rows(results, wanted) if row.cells[1][0].words == "LC")
    assert [line.note for line in of_lc.cells[titles.index("TTFT p95")]] == ["unstable"]
    assert [line.words for line in of_lc.cells[titles.index("TPOT")]] == ["70 ms"]


def test_bars_add_up_and_the_unstable_have_none_to_the_first_token(results):
    drawn = figures(results)
    for name, metric in (("first_token", "ttft_mean_s"), ("next_token", "tpot_mean_s")):
        bars = drawn[name].data
        totals = dict(zip(bars[0].y, np.sum([bar.x for bar in bars], axis=0), strict=True))
        for plan in token_plans(results):
            assert ("LC" in totals) == (name == "next_token")
            if plan.id in totals:
                assert totals[plan.id] == pytest.approx(getattr(plan.tokens, metric))
    of_kind = {bar.name: dict(zip(bar.y, bar.x, strict=True)) for bar in drawn["first_token"].data}
    assert of_kind["link"]["SC3-float16-tcp"] == pytest.approx(0.3 * 0.2)  # both ways
    assert of_kind["server"]["SC3-float16-tcp"] == pytest.approx(0.1 * 0.2)
    hatched = {bar.name: bar.marker.pattern.shape[0] for bar in drawn["next_token"].data}
    assert (hatched["device"], hatched["link"]) == ("/", "")
    assert [shape.name for shape in drawn["next_token"].layout.shapes] == ["limit-2"]


def test_curves_have_limits_where_these_are_and_both_axes_in_words(results):
    drawn = figures(results)["over_rate"]
    lines = {trace.name: trace for trace in drawn.data}
    assert list(lines) == [
        *("SC3-float16-tcp (recommended): TTFT p95", "SC3-float16-tcp (recommended): TPOT"),
        *("LC: TTFT p95", "LC: TPOT"),
    ]
    first = lines["SC3-float16-tcp (recommended): TTFT p95"]
    assert (first.line.color, first.line.dash, list(first.y)) == (COLOURS["SC"], "solid", [0.5, 0.2, None])
    assert lines["LC: TPOT"].line.dash == "dash"
    assert [drawn.layout.xaxis.type, drawn.layout.yaxis.type] == ["log", "log"]
    assert drawn.layout.xaxis.ticktext == ("100 kbit/s", "300 kbit/s", "1 Mbit/s")
    limits = {note.name: note.y for note in drawn.layout.annotations}
    assert limits == {"limit-1": pytest.approx(np.log10(0.4)), "limit-2": pytest.approx(np.log10(0.06))}
    now = [shape.x0 for shape in drawn.layout.shapes if shape.name is None]
    assert now == [3e5]
    assert len(figures(results)["over_delay"].data) == 2


def test_figures_without_curves_or_stable_plans_are_left_out():
    silent = checked(token_values([answered("LC", stable=False)], ["tpot <= 1 s"], token_curves=[]))
    assert {"first_token", "over_rate", "over_delay"}.isdisjoint(figures(silent))
    assert "next_token" in figures(silent)
    assert "Unstable, so that first tokens take without bound: LC." in tokens_words(silent)


def test_the_page_speaks_of_requests(results):
    page = report_html(results)
    head = page.partition("<script")[0]
    assert '<h2 id="tokens">Time to the first token, and from token to token</h2>' in head
    assert "How long requests take" in head
    assert "Mean time of a request" in head
    assert "Measured on its machine: server: network." in head
    assert "radio: up" not in head
    for name in ("first_token", "next_token", "over_rate", "over_delay"):
        assert f'<div id="figure-{name}" class="plot" role="img" aria-label="Figure: ' in head


def test_what_answers_take_is_said(results):
    said = tokens_words(results)
    assert "Of SC3-float16-tcp: 32 tokens answer a request, in the mean; 12 tokens a second are written" in said
    assert "377.6 B go over the link for each, prompts included" in said
    assert "a step of server makes those of 1.5 users" in said
    assert "keys and values of all contexts take 262.1 kB on camera and 4 MB on server." in said
    assert tokens_words(made_results(four_plans(), ["accuracy >= 90 %"])) == ""
    stuck = made_results([*three_answered()[:2], answered("LC", cannot_run=("too big",))], ["cut_depth >= 1"])
    assert "LC cannot run." in tokens_words(stuck)


def test_two_runs_are_compared_by_their_waits(results):
    quicker = checked(token_values([answered("SC3-float16-tcp", 0.1), three_answered()[2]]))
    both = compare(results, quicker)
    assert shown_metrics(both) == ["accuracy", "ttft_p95", "tpot", "fps"]
    pairs = {pair.id: pair for pair in both.pairs}
    assert change_of(pairs["SC3-float16-tcp"], "ttft_p95") == "-50 %"
    assert change_of(pairs["LC"], "ttft_p95") == change_of(pairs["LC"], "latency_p95")  # both without bound
    frames = made_results(four_plans(), ["accuracy >= 90 %"])
    assert shown_metrics(compare(frames, results)) == [
        *("accuracy", "latency_p95", "ttft_p95", "tpot"),
        *("fps", "payload_bytes"),
    ]
    assert ">ttft_p95</th>" in html_of_results(results)


def test_the_drawing_says_what_a_token_sends(results):
    drawn = design_svg(results).replace("\N{NO-BREAK SPACE}", " ")
    assert "378 B a token" in drawn
    assert ">TTFT p95, at most 400 ms<" in drawn
    assert "Each token comes back to camera" in responses_words(results)


def test_codecs_with_a_scale_a_token_are_called_so():
    plan = checked(token_values([answered("SC3-uint8:token+before-tcp")], ["tpot <= 1 s"], token_curves=[])).plans[0]
    assert plan_words(plan, {3: "blocks.0"}) == (
        "Split after blocks.0, 8-bit per token, lost values the token before's, over TCP"
    )


@pytest.mark.slow
@pytest.mark.parametrize("width", [1300, 400])
def test_in_a_browser_limits_move_on_the_figures(results, width, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(report_html(results))
    with chromium(tmp_path / "profile") as browser:
        page = browser.open(path.as_uri(), width)
        assert page.run("document.documentElement.scrollWidth") <= width
        page.run("document.getElementById('limit-1').focus()")
        page.press("Home")
        page.settle()
        limit = page.run("JSON.parse(document.getElementById('data').textContent).requirements[1].stops[0]")
        layout = "document.getElementById('figure-over_rate').layout"
        assert page.run(f"{layout}.shapes.find((s) => s.name === 'limit-1').y0") == limit
        assert page.run(f"{layout}.annotations.find((s) => s.name === 'limit-1').y") == pytest.approx(np.log10(limit))
        assert page.errors == []
        page.close()
