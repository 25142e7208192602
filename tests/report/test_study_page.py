"""A study's page and tables: what they say is true, whatever the study; they stay small, and names are harmless."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_study import (
    DESIGNS,
    LOSSES,
    RATES,
    axis,
    made_study,
    many_designs,
    plan,
    row_of,
    searched,
    spread,
    three_ranges,
    two_ranges,
)
from rich.console import Console

from splitimpera.qos.pareto import pareto_front
from splitimpera.report.html.study_page import study_html
from splitimpera.report.study_axes import read_axes, round_linear, round_log
from splitimpera.report.study_front import charts, gathered
from splitimpera.report.study_tables import study_account
from splitimpera.report.study_wins import wins_of
from splitimpera.report.study_words import headline, rest_words, where_words, win_words
from splitimpera.scenario.ranges import Axis
from splitimpera.studies.study_results import Cell

MOST_BYTES = 6_000_000
EVIL = "</script><img src=x onerror=window.hurt=1><b>\"'`$name\x1b[31m\x00\u202e"
SURROGATE = "\ud800"


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def text_of(page):
    """What stands between the tags, scripts and styles left out."""

    class Texts(HTMLParser):
        found: list[str]
        hidden = ""

        def handle_starttag(self, tag, attrs):
            self.hidden = tag if tag in ("script", "style") else self.hidden

        def handle_endtag(self, tag):
            self.hidden = "" if tag == self.hidden else self.hidden

        def handle_data(self, data):
            if not self.hidden:
                self.found.append(data)

    parser = Texts()
    parser.found = []
    parser.feed(page)
    return " ".join(" ".join(parser.found).split())


def on_paper(results):
    """What the terminal shows, 80 columns wide."""
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(study_account(results))
    return console.export_text()


def won_by(pattern, rates=("1 Mbit/s", "2 Mbit/s", "4 Mbit/s", "8 Mbit/s"), losses=(0, 0.01, 0.02)):
    """A study of rate x loss with a winner for each cell: a design's number, None: none is feasible, or a state."""
    results = made_study([axis("links[0].rate", rates), axis("links[0].loss", losses)])

    def cell(index, winner):
        if isinstance(winner, str):
            return Cell(index, {}, winner, "too large" if winner == "failed" else "")
        made = [plan(DESIGNS[number], 1e9, 0.0, 1.0, feasible=number == winner) for number in range(3)]
        made.sort(key=lambda one: not one.feasible)
        return Cell(index, {}, "done", row=row_of(made))

    return replace(results, cells=[cell(index, winner) for index, winner in enumerate(pattern)])


def test_the_words_at_the_top_say_what_wins_where():
    results = won_by([0, 0, 0, 0, 0, 1, 2, 2, 2, 2, 2, 2])
    wins = wins_of(results)
    assert headline(wins) == "3 designs win somewhere, SC04-uint8-tcp most often: in 6 of 12 cells"
    assert [win_words(design, wins) for design in wins.designs] == [
        "wins in 6 of 12 cells: wherever the link rate is at least 4 Mbit/s, nowhere else",
        "wins in 5 of 12 cells: wherever the link rate is 1 Mbit/s, and only where the link rate is at most 2 Mbit/s",
        "wins in 1 of 12 cells: wherever the link rate is 2 Mbit/s and the link loss is 2 %, nowhere else",
    ]
    told = text_of(study_html(results))
    assert "All on the device LC wins in 5 of 12 cells: wherever" in told


def test_a_design_that_wins_along_both_axes_is_told_with_both():
    wins = wins_of(won_by([0, 0, 0, 0, 1, 1, 0, 1, 2, 0, 2, 1]))
    assert win_words(wins.designs[0], wins) == (
        "wins in 6 of 12 cells: wherever the link rate is 1 Mbit/s, or wherever the link loss is 0 %"
    )


def test_what_is_not_done_is_not_claimed():
    pattern = [0, 0, 0, 0, 0, "left", 1, "failed", 1, None, None, None]
    wins = wins_of(won_by(pattern))
    words = [win_words(design, wins) for design in wins.designs]
    assert words[0] == (
        "wins in 5 of 12 cells: wherever the link rate is 1 Mbit/s, "
        "and so far only where the link rate is at most 2 Mbit/s"
    )
    assert words[1].startswith(
        "wins in 2 of 12 cells: wherever the link rate is 4 Mbit/s and the link loss is 0 % or 2 %"
    )
    assert rest_words(wins) == [
        "In 3 of 12 cells no plan is feasible: wherever the link rate is 8 Mbit/s, so far nowhere else.",
        "In 1 of 12 cells the evaluation failed: wherever the link rate is 4 Mbit/s and the link loss is 1 %, "
        "so far nowhere else.",
        "In 1 of 12 cells nothing is known yet: left to do.",
    ]


def places_meant(condition, axes):
    """The places of which 'the link rate is at most 2 Mbit/s and the link loss is 1 %' is true."""
    meant = [set(range(len(axis))) for axis in axes]
    for name, span in re.findall(r"the (link \w+) is (.+?)(?= and the |$)", condition):
        number = next(i for i, axis in enumerate(axes) if axis.name == name)
        label = axes[number].labels.index
        if found := re.fullmatch("at most (.+)", span):
            meant[number] = set(range(label(found[1]) + 1))
        elif found := re.fullmatch("at least (.+)", span):
            meant[number] = set(range(label(found[1]), len(axes[number])))
        elif found := re.fullmatch("from (.+) to (.+)", span):
            meant[number] = set(range(label(found[1]), label(found[2]) + 1))
        else:
            meant[number] = {label(name) for name in re.split(", | or ", span)}
    return {(x, y) for x in meant[0] for y in meant[1]}


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([0, 0, 1, 2, None, "failed", "left"]), min_size=12, max_size=12))
def test_whatever_wins_the_words_are_true(pattern):
    wins = wins_of(won_by(pattern))
    assert wins.done == sum(not isinstance(winner, str) for winner in pattern)
    every = {(x, y) for x in range(4) for y in range(3)}
    undone = {*wins.failed, *wins.left}
    for places in ({*design.wins} for design in wins.designs):
        words = where_words(places, wins).replace("so far ", "")
        if found := re.fullmatch("wherever (.+), nowhere else", words):
            assert places_meant(found[1], wins.axes) == places
            continue
        for kind, condition in re.findall(r"(wherever|only where) (.+?)(?=, or wherever|, and only|$)", words):
            meant = places_meant(condition, wins.axes)
            assert meant != every
            if kind == "wherever":
                assert meant <= places
            else:
                assert places <= meant
    assert {*wins.infeasible}.isdisjoint(undone)
    assert sum(len(design.wins) for design in wins.designs) + len(wins.infeasible) == wins.done


def test_axes_are_read_as_people_write_them():
    axes = [
        spread("links[0].rate", log=["10 kbit/s", "1 Gbit/s"], count=100),
        axis("links[0].loss", [0.1, 0, "1 %"]),
        axis("devices[0].preset", ["pi4", "jetson"]),
        Axis(("links[1].rate", "links[1].delay"), (("2 Mbit/s", "20 ms"), ("1 Mbit/s", "50 ms"))),
        axis("workload.fps", [10, 20]),
    ]
    read = read_axes(made_study(axes, ("log", "listed", "listed", "listed", "listed"), cells=()))
    assert [each.name for each in read] == ["link rate", "link loss", "device preset", "link 1 rate", "fps"]
    assert [label for _, label in read[0].ticks] == [
        *("10 kbit/s", "100 kbit/s", "1 Mbit/s", "10 Mbit/s", "100 Mbit/s", "1 Gbit/s")
    ]
    assert read[0].ticks[1][0] == pytest.approx(99 / 5)
    assert read[1].labels == ("0 %", "1 %", "10 %")  # in rising order
    assert read[1].rank == (2, 0, 1)
    assert read[2].numbers is None
    assert read[2].labels == ("pi4", "jetson")
    assert read[3].full == ("link 1 rate 1 Mbit/s; link 1 delay 50 ms", "link 1 rate 2 Mbit/s; link 1 delay 20 ms")
    assert read[4].labels == ("10 fps", "20 fps")
    assert read[1].span({0, 1}) == "at most 1 %"
    assert read[1].span({0, 2}) == "0 % or 10 %"
    assert read[1].span({0, 1, 2}) is None
    assert read[0].span(set(range(0, 40, 3))) is None


def test_keys_of_one_short_name_keep_their_own():
    axes = [axis("links[0].rate", ["1 Mbit/s"]), axis("link.rate", ["1 Mbit/s"])]
    assert [each.name for each in read_axes(made_study(axes, cells=()))] == ["links[0].rate", "link.rate"]


@given(st.floats(1e-6, 1e6), st.floats(1.01, 1e9))
def test_ticks_lie_between_the_ends(low, factor):
    high = low * factor
    for found in (round_log(low, high), round_linear(low, high)):
        assert all(low * (1 - 1e-6) <= each <= high * (1 + 1e-6) for each in found)
        assert found == sorted(set(found))
        assert len(found) <= 18
    assert len(round_linear(low, high)) >= 2


def test_cells_of_the_map_are_those_of_the_study():
    results = three_ranges()
    data = data_of(study_html(results))
    cells, axes = data["cells"], data["axes"]
    assert [len(each["labels"]) for each in axes] == [13, 6, 3]
    assert {len(column) for column in cells.values()} == {13 * 6 * 3}
    for place, (index, state, number) in enumerate(zip(cells["index"], cells["state"], cells["plan"], strict=True)):
        assert place == index  # all ranges rise
        cell = results.cells[index]
        if cell.row and cell.row.chosen:
            assert (state, data["names"][number][0]) == ("w", cell.row.chosen.id)
            assert cells["certainty"][place] == cell.row.certainty
        elif cell.row:
            assert (state, data["names"][number][0]) == ("n", cell.row.closest.id)
            assert data["texts"][cells["why"][place]] == "; ".join(cell.row.closest.misses)
        else:
            assert state == {"failed": "f", "left": "l"}[cell.state]
    assert {"w", "n", "f", "l"} == set(cells["state"])


def test_falling_ranges_are_turned_round():
    results = made_study([axis("links[0].rate", RATES[::-1]), axis("links[0].loss", LOSSES)])
    data = data_of(study_html(results))
    assert data["axes"][0]["labels"][0] == "100 kbit/s"
    assert data["cells"]["index"][:6] == list(range(72, 78))


@pytest.mark.parametrize("quality", ["accuracy", "rmse"])
def test_nothing_beats_the_front(quality):
    rng = np.random.default_rng(4)
    made = [
        plan(DESIGNS[1], 1e6, 0.0, 1.0, id=f"SC{i}", metrics={quality: float(a), "latency_p95": float(b)})
        for i, (a, b) in enumerate(rng.uniform(0.1, 1, (300, 2)))
    ]
    results = made_study([], plans_of=lambda _: made, quality=quality)
    chart = charts(results, wins_of(results), gathered(results))[0]
    sign = 1 if quality == "accuracy" else -1
    expected = pareto_front([(sign * one.metrics[quality], -one.metrics["latency_p95"]) for one in made])
    mark = chart["mark"]
    rows = gathered(results).rows
    found = {rows[design].id for design, on in zip(mark["design"], mark["front"], strict=True) if on}
    assert found == {one.id for one, best in zip(made, expected, strict=True) if best}
    assert len(mark["x"]) == 300
    if quality == "accuracy":
        box = chart["box"]
        inside = [
            x <= box["right"] and box["low"] <= y <= box["high"] for x, y in zip(mark["x"], mark["y"], strict=True)
        ]
        assert sum(inside) == sum(
            one.metrics["accuracy"] >= 0.93 and one.metrics["latency_p95"] <= 0.05 for one in made
        )


def test_many_plans_are_binned_and_none_is_forgotten():
    axes = [spread("links[0].rate", log=["100 kbit/s", "100 Mbit/s"], count=10), axis("links[0].loss", [0, 0.01, 0.02])]
    results = made_study(axes, ("log", "listed"), designs=many_designs(100))
    chart = charts(results, wins_of(results), gathered(results))[0]
    mark = chart["mark"]
    binned = sum(count for count, on in zip(mark["count"], mark["front"], strict=True) if not on)
    assert binned == chart["points"] == sum(one.stable for _, one in results.every_plan())
    assert len(mark["x"]) < 2000
    assert all(0 <= share <= 1 for share in mark["x"] + mark["y"])


def test_requirements_that_a_range_changes_make_no_box():
    results = made_study([axis("requirements[0]", ["accuracy >= 90 %", "accuracy >= 93 %"])])
    assert {chart["box"] for chart in data_of(study_html(results))["front"]} == {None}


def test_a_search_is_told_over_time():
    best, spent = data_of(study_html(searched()))["progress"]
    heights = [y for _, y in best["line"]]
    assert heights == sorted(heights)
    assert len(best["mark"]["x"]) == 60 - 5  # the others were not feasible
    assert [y for _, y in spent["line"]][-1] == 1.0
    assert data_of(study_html(two_ranges()))["progress"] == []
    assert "How the search went" not in study_html(two_ranges())


SHAPES = {
    "no range": made_study([]),
    "one cell that failed": made_study([], failed=[0]),
    "one cell to do": made_study([], left=[0]),
    "one range": made_study([axis("links[0].rate", RATES)]),
    "one value": made_study([axis("links[0].rate", ["1 Mbit/s"])]),
    "two ranges": two_ranges(),
    "three ranges": three_ranges(),
    "four ranges": made_study([axis(f"devices[0].{key}", [1, 2]) for key in ("a", "b", "c", "d")]),
    "none feasible": made_study([axis("links[0].rate", RATES)], designs=[DESIGNS[0] | {"accuracy": 0.5}]),
    "all failed": made_study([axis("links[0].rate", RATES)], failed=range(13)),
    "nothing done": made_study([axis("links[0].rate", RATES)], left=range(13)),
    "no cells told": made_study([axis("links[0].rate", RATES)], cells=()),
    "no plans": made_study([axis("links[0].rate", RATES)], plans_of=lambda _: ()),
    "nothing required": made_study([axis("links[0].rate", RATES)], requirements=()),
    "an objective": made_study([axis("links[0].rate", RATES)], objective="latency_p95"),
    "a search": searched(),
}
HEADLINES = {
    "no range": "SC04-uint8-tcp is the choice",
    "one cell that failed": "Every cell failed",
    "one cell to do": "No cell is done yet",
    "none feasible": "No plan is feasible in any of the 13 cells",
    "all failed": "Every cell failed",
    "nothing done": "No cell is done yet",
    "no cells told": "No cell is done yet",
}


@pytest.mark.parametrize("shape", SHAPES)
def test_studies_of_any_shape_have_a_page_and_tables(shape):
    results = SHAPES[shape]
    page = study_html(results)
    wins = wins_of(results)
    assert headline(wins) == HEADLINES.get(shape, headline(wins))
    assert headline(wins) in text_of(page)
    data = data_of(page)
    assert len(data["cells"]["state"]) == wins.total
    assert "NaN" not in page.partition('id="data">')[2]
    told = on_paper(results)
    lines = told.splitlines()
    assert headline(wins) in " ".join(" ".join(lines).split())
    assert all(len(line) <= 80 for line in lines)


@pytest.mark.slow
def test_ten_thousand_cells_fit():
    axes = [
        spread("links[0].rate", log=["10 kbit/s", "1 Gbit/s"], count=100),
        spread("links[0].loss", linear=[0, 0.2], count=100),
    ]
    page = study_html(made_study(axes, ("log", "linear")))
    assert len(page.encode()) <= MOST_BYTES
    assert len(data_of(page)["cells"]["state"]) == 10_000


@pytest.mark.slow
def test_ten_thousand_cells_of_long_names_and_reasons_of_their_own_fit():
    axes = [
        axis("links[0].name", [f"{'long name ' * 30}{i}" for i in range(100)]),
        spread("b", linear=[0, 1], count=100),
    ]
    results = made_study(axes, cells=[])
    row = row_of([plan(DESIGNS[0] | {"accuracy": 0.5}, 1e6, 0, 1)])
    closest = row.closest
    assert closest is not None
    cells = [
        Cell(
            i,
            {},
            "done",
            row=row.model_copy(update={"closest": closest.model_copy(update={"misses": (f"{i} " * 200,)})}),
        )
        if i % 2
        else Cell(i, {}, "failed", f"{i} " * 300)
        for i in range(10_000)
    ]
    page = study_html(replace(results, cells=cells))
    assert len(page.encode()) <= MOST_BYTES
    assert -2 in data_of(page)["cells"]["why"]


@pytest.mark.slow
def test_of_more_cells_than_fit_every_so_many_values_are_drawn():
    axes = [spread("links[0].rate", log=["1 kbit/s", "1 Gbit/s"], count=1550), axis("b", list(range(20)))]
    row = row_of([plan(DESIGNS[0], 1e6, 0, 1)])
    results = replace(
        made_study(axes, ("log", "listed"), cells=[]), cells=[Cell(i, {}, "done", row=row) for i in range(31_000)]
    )
    page = study_html(replace(results, plans_of=lambda _: ()))
    assert len(page.encode()) <= MOST_BYTES
    data = data_of(page)
    assert [len(each["labels"]) for each in data["axes"]] == [775, 20]
    assert data["cells"]["index"][:21] == [*range(20), 40]
    assert {label: at for at, label in data["axes"][0]["ticks"]}["1 Mbit/s"] == pytest.approx(1549 / 4, abs=0.01)
    assert "Of link rate the map has one value in 2." in text_of(page)
    assert "LC wins in all 31000 cells" in text_of(page)


def test_ten_thousand_plans_fit():
    axes = [
        spread("links[0].rate", log=["100 kbit/s", "100 Mbit/s"], count=10),
        axis("links[0].loss", [0, 0.01, 0.02, 0.05, 0.1]),
    ]
    page = study_html(made_study(axes, ("log", "listed"), designs=many_designs(200)))
    assert len(page.encode()) <= MOST_BYTES
    assert "10000 plans evaluated" in text_of(page)


def hostile():
    """A study of which every name is made to do harm."""
    designs = [design | {"id": f"{EVIL}-{number}-x"} for number, design in enumerate(DESIGNS)]
    axes = [axis(f"links[0].{EVIL}", [EVIL + SURROGATE, f"{EVIL}2"]), axis(f"{EVIL}[1].loss", [EVIL, 1, None])]
    results = made_study(
        axes, designs=designs, name=EVIL + SURROGATE, requirements=(EVIL + SURROGATE,), failed=[5], left=[4]
    )
    changed = []
    for cell in results.cells:
        row = cell.row
        if row is not None and row.chosen is not None:
            evil = {"cut_name": EVIL, "transport": EVIL, "codec": EVIL, "configuration": EVIL}
            row = row.model_copy(update={"chosen": row.chosen.model_copy(update=evil), "reasons": (EVIL,)})
        changed.append(replace(cell, row=row, reason=EVIL + SURROGATE if cell.state == "failed" else ""))
    steps = tuple(replace(step, candidate=EVIL + SURROGATE) for step in searched().search)
    return replace(results, cells=changed, search=steps)


def test_names_that_would_do_harm_are_words():
    page = study_html(hostile())
    page.encode()

    class Tags(HTMLParser):
        found: list[str]

        def handle_starttag(self, tag, attrs):
            self.found.append(tag)
            assert not [name for name, _ in attrs if name.startswith("on") or name in ("src", "srcdoc")]

    tags = Tags()
    tags.found = []
    tags.feed(page)
    assert "img" not in tags.found
    assert tags.found.count("script") == 4
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e]", page)
    assert "\\x1b[31m" in text_of(page)
    told = on_paper(hostile())
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e]", told)


def test_the_page_loads_nothing():
    page = study_html(three_ranges())
    assert "default-src 'none'" in page
    assert not re.findall(r"<(?:link|img|iframe|object|embed|audio|video|source)\b", page)
    assert set(re.findall(r"https?://[^\s\"'<>)]+", page)) == {"http://www.w3.org/2000/svg"}  # a name, not a place
    assert sorted(set(re.findall(r'href="([^#"]+)"', page))) == ["cells.csv", "plans.csv"]
    assert not re.findall(r"@import|url\((?!#)", page.replace("url(#", "URL(#"))


def test_the_terminal_says_the_same_and_keeps_to_eighty_columns():
    designs = [DESIGNS[0] | {"id": "SC04-" + "a_very_long_codec+" * 6 + "udp"}, *DESIGNS[1:]]
    results = three_ranges(designs=designs)
    told = on_paper(results)
    assert max(map(len, told.splitlines())) <= 80
    assert "…" not in told
    words = " ".join(told.split())
    assert "the network does not" in words
    assert "234 cells: 226 done, 3 failed, 5 left to do" in words
    rows = [line for line in told.splitlines() if "RC-png-tcp" in line and "%" in line]
    count = sum(
        cell.row is not None and cell.row.chosen is not None and cell.row.chosen.id == "RC-png-tcp"
        for cell in results.cells
    )
    assert rows[0].split()[1] == str(count)
