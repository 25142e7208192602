"""The map of both cuts of a chain of three devices."""

from __future__ import annotations

import re

from made import CHAIN, chain_values, four_plans, hop, made_results

from splitimpera.report.html.page import report_html
from splitimpera.report.interactive import figures
from splitimpera.report.reading import checked
from splitimpera.report.tier_figures import cut_pairs, cuts_figure

REQUIREMENTS = ["accuracy >= 90 %", "latency_p95 <= 60 ms", "fps >= 20"]


def pairs_values():
    """Five plans at as many pairs, one of them on the first two devices alone, the worst unstable."""
    values = chain_values()
    places = [(0, 3), (0, 4), (2, 3), (2, 4), (3,)]
    for plan, cuts in zip(values["plans"], places, strict=True):
        plan["devices"] = CHAIN[: len(cuts) + 1]
        plan["hops"] = [hop(cut, f"link {place}") for place, cut in enumerate(cuts)]
    return values


def test_the_map_of_both_cuts_has_the_quickest_and_marks_the_chosen():
    results = checked(pairs_values())
    assert list(cut_pairs(results)) == [(0, 3), (0, 4), (2, 3), (2, 4), (3, 5)]
    figure = cuts_figure(results)
    said = {
        (x, y): cell for trace in figure.data for y, row in enumerate(trace.text) for x, cell in enumerate(row) if cell
    }
    by_id = results.by_id
    assert by_id[results.plans[0].id].feasible
    assert said[0, 0] == "<b>50 ms</b>"
    # the path that all layers of an axis share stands in its title
    ticks = [list(axis.ticktext) for axis in (figure.layout.xaxis, figure.layout.yaxis)]
    assert ticks == [["input", "conv", "add"], ["block.add", "pool", "nowhere"]]
    assert len(said) == 5
    assert sum("✕" in cell for cell in said.values()) == sum(p.stable and not p.feasible for p in results.plans)
    assert [cell for cell in said.values() if cell == "unstable"] == ["unstable"]
    (shape,) = figure.layout.shapes
    assert (shape.x0, shape.x1, shape.y0, shape.y1) == (-0.5, 0.5, -0.5, 0.5)


def test_at_one_pair_a_feasible_plan_goes_before_a_quicker_one():
    values = pairs_values()
    quick = next(plan for plan in values["plans"] if plan["metrics"]["latency_p95"] == 0.02)
    quick["hops"] = [hop(0, "link 0"), hop(3, "link 1")]
    values["plans"][-1] |= {"devices": CHAIN, "hops": [hop(4, "link 0"), hop(4, "link 1")]}
    results = checked(values)
    assert not quick["feasible"]
    assert len(cut_pairs(results)[0, 3]) == 2
    figure = cuts_figure(results)
    assert figure.data[0].text[0][0] == "<b>50 ms</b>"
    assert re.search(r"<b>SC3-uint8-udp</b>.*1 of 2 plans here are feasible", figure.data[0].customdata[0][0])


def test_fewer_than_four_pairs_or_other_chains_have_no_map():
    assert "cuts" in figures(checked(pairs_values()))
    three = pairs_values()
    three["plans"][0]["hops"] = three["plans"][1]["hops"]
    assert "cuts" not in figures(checked(three))
    four = pairs_values()
    four["scenario"]["devices"].append({"name": "cloud"})
    assert "cuts" not in figures(checked(four))
    assert "cuts" not in figures(made_results(four_plans(), REQUIREMENTS))


def test_the_page_says_what_the_map_shows_only_where_it_is():
    assert "Both cuts of the chain" in report_html(checked(pairs_values()))
    assert "Both cuts of the chain" not in report_html(made_results(four_plans(), REQUIREMENTS))
