"""The drawing of a design: devices, links, layers, exits; and the map of both cuts of a chain of three devices."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from made import evaluation, four_plans, made_results, made_values

from splitimpera.report.html.page import report_html
from splitimpera.report.interactive import figures
from splitimpera.report.notebook import html_of_results
from splitimpera.report.reading import checked
from splitimpera.report.tier_drawing import COLUMNS, tiers_svg, tiers_words
from splitimpera.report.tier_figures import cut_pairs, cuts_figure

REQUIREMENTS = ["accuracy >= 90 %", "latency_p95 <= 60 ms", "fps >= 20"]
SVG = "{http://www.w3.org/2000/svg}"
CHAIN = ["camera", "gateway", "server"]


def hop(cut, link, codec="uint8"):
    return {"cut": cut, "codec": codec, "bottleneck": 0.0, "transport": "udp", "link": link}


def chain_values(count=3, cuts=(0, 3)):
    """Results whose recommended plan runs on a chain of devices, as many as wanted."""
    values = made_values(four_plans(), REQUIREMENTS)
    names = CHAIN if count == 3 else [f"device {place}" for place in range(count)]
    values["scenario"]["devices"] = [{"name": name, "count": 1 + 7 * (not place)} for place, name in enumerate(names)]
    values["links"] = [
        {"name": f"link {place}", "rate": 1e6, "delay": 0.005, "loss": 0.02} for place in range(count - 1)
    ]
    for plan in values["plans"]:
        plan["devices"] = names
        plan["hops"] = [hop(cut, f"link {place}") for place, cut in enumerate(cuts)]
    return values


def words_of(drawing):
    return [element.text for element in ElementTree.fromstring(drawing).iter(f"{SVG}text")]


def test_two_devices_with_what_each_runs_and_what_crosses():
    results = made_results(four_plans(), REQUIREMENTS)
    assert results.recommendation.plan == "SC3-uint8-udp"
    words = words_of(tiers_svg(results))
    camera, server = words.index("camera"), words.index("server")
    assert words[camera + 1 : server] == ["3 layers:", "stem", "to block.add", "60 k MACs (99 %)"]
    assert words[server + 1 : server + 6] == ["2 layers:", "pool", "to head", "320 MACs (0.53 %)", "answers"]
    assert words[-5:] == ["radio", "300 kbit/s, 20 ms", "loses 3 %", "8-bit, over UDP", "1 kB a frame"]


def test_all_on_one_device_has_no_links():
    results = made_results([evaluation("LC", p95_s=0.01)], REQUIREMENTS)
    drawn = ElementTree.fromstring(tiers_svg(results))
    assert [element.text for element in drawn.iter(f"{SVG}text")][:2] == ["camera", "5 layers:"]
    assert not list(drawn.iter(f"{SVG}path"))
    assert tiers_words(results) == "The recommended plan, LC."


def test_a_chain_says_how_many_who_runs_nothing_and_what_all_links_carry():
    results = checked(chain_values())
    words = words_of(tiers_svg(results))
    assert words[:3] == ["camera (one of 8)", "runs no layers", "gateway"]
    assert {"link 0", "link 1", "8 x 8 x 8", "2.048 kB uncoded"} <= set(words)
    assert "1 kB a frame cross all links together" in tiers_words(results)


def test_exits_stand_on_the_device_that_runs_the_layer_in_front_of_them():
    values = chain_values(cuts=(2, 3))
    best = next(plan for plan in values["plans"] if plan["id"] == values["recommendation"]["plan"])
    leaves = {"thresholds": [0.9], "quality": None, "latency_s": []}
    best |= {
        "configuration": "EE",
        "exits": [{"cut": 2, "share": 0.5} | leaves, {"cut": 3, "share": 0.25} | leaves],
    }
    words = words_of(tiers_svg(checked(values)))
    at = [words.index(name) for name in ("camera (one of 8)", "gateway", "server")]
    assert "50 % leave" in words[at[0] : at[1]]
    assert "25 % leave" in words[at[1] : at[2]]
    assert "answers the other 25 %" in words[at[2] :]


def test_responses_are_drawn_where_they_are_sent():
    values = chain_values()
    silent = checked(values)
    assert "stroke-dasharray" not in tiers_svg(silent)
    assert "No responses are sent back" in tiers_words(silent)
    values["scenario"]["workload"]["response"] = 42
    answering = checked(values)
    assert tiers_svg(answering).count("stroke-dasharray") == 2
    assert "responses of 42 B, which return to camera" in tiers_words(answering)


def test_responses_that_come_directly_pass_no_link():
    values = chain_values()
    way = {"direct": {"rate": 1e7, "delay": 0.02}}
    values["scenario"]["workload"] |= {"response": 42, "answers": way}
    results = checked(values)
    assert "stroke-dasharray" not in tiers_svg(results)
    assert "Responses of 42 B return to camera directly, past the devices in between" in tiers_words(results)
    assert "answers direct rate 10 Mbit/s delay 20 ms" in report_html(results)


def test_where_none_is_feasible_the_nearest_is_drawn():
    results = made_results(four_plans(), ["accuracy >= 100 %"])
    assert results.recommendation.plan is None
    assert tiers_words(results).startswith(
        f"No plan is feasible; this is the nearest one, {results.recommendation.nearest}"
    )
    assert words_of(tiers_svg(results))


@pytest.mark.parametrize("count", [2, 3, 4, 16])
def test_however_many_devices_they_lie_apart_and_within_the_drawing(count):
    cuts = [min(place, 5) for place in range(count - 1)]
    drawn = ElementTree.fromstring(tiers_svg(checked(chain_values(count, cuts))))
    left, top, width, height = map(float, drawn.attrib["viewBox"].split())
    boxes = [
        tuple(float(each.attrib[key]) for key in ("x", "y", "width", "height")) for each in drawn.iter(f"{SVG}rect")
    ]
    assert len(boxes) == count
    for place, (x, y, wide, high) in enumerate(boxes):
        assert left <= x
        assert x + wide <= left + width
        assert top <= y
        assert y + high <= top + height
        for a, b, c, d in boxes[:place]:
            assert a + c <= x or x + wide <= a or b + d <= y or y + high <= b
    assert width <= COLUMNS * 400  # what a page has room for, however many they are
    assert len(list(drawn.iter(f"{SVG}path"))) == count - 1


def test_names_are_no_markup():
    values = chain_values()
    values["scenario"]["devices"][0]["name"] = values["plans"][0]["devices"][0] = "<script>alert(1)</script>"
    results = checked(values)
    page = report_html(results)
    assert "<script>alert" not in page
    assert "<script>alert" not in html_of_results(results)


def test_a_notebook_shows_the_drawing():
    assert html_of_results(made_results(four_plans(), REQUIREMENTS)).startswith('<svg class="tiers"')


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
