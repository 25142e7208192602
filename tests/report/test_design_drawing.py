"""The drawing of a design: what it says, that all of it is well-formed, and how plans stand beside each other."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.resources import files
from xml.etree import ElementTree

import pytest
from made import CHAIN, chain_values, evaluation, four_plans, made_results, made_values

from splitimpera.report.design_drawing import design_html, design_svg
from splitimpera.report.design_words import plan_words_of, responses_words, times_words
from splitimpera.report.html.page import report_html
from splitimpera.report.notebook import html_of_results
from splitimpera.report.palette import SCHEMES, contrast
from splitimpera.report.reading import checked
from splitimpera.report.selection import compared_plans, drawn_plan
from splitimpera.report.svg import fitted, text_width

REQUIREMENTS = ["accuracy >= 90 %", "latency_p95 <= 60 ms", "fps >= 20"]
SVG = "{http://www.w3.org/2000/svg}"


def words_of(drawing):
    texts = ElementTree.fromstring(drawing).iter(f"{SVG}text")
    return [str(element.text).replace("\N{NO-BREAK SPACE}", " ") for element in texts]


def test_the_chosen_plan_from_its_input_to_its_outcome():
    results = made_results(four_plans(), REQUIREMENTS)
    assert results.recommendation.plan == "SC3-uint8-udp"
    words = words_of(design_svg(results))
    assert words[:3] == ["Split after block.add, 8-bit, over UDP", "SC", "recommended"]
    camera, server = words.index("camera"), words.index("server")
    assert words[camera + 1 : server] == ["3 of 5 layers", "stem to block.add", "30 ms"]
    assert words[server + 1 : server + 4] == ["2 of 5 layers", "pool to head", "3 ms"]
    link = words.index("radio")
    assert words[link : link + 4] == [
        "radio",
        "300 kbit/s, 20 ms delay, 3 % loss",
        "10 ms, 1 kB",
        "over UDP, 8-bit",
    ]
    assert {"50 ms", "latency p95, at most 60 ms", "95 %", "accuracy, at least 90 %"} <= set(words)


def test_lc_and_rc_stand_beside_it_with_what_they_miss():
    results = made_results(four_plans(), REQUIREMENTS)
    assert [plan.id for plan in compared_plans(results)] == ["LC", "RC-uint8-udp"]
    words = words_of(design_svg(results))
    assert "Run everything on camera" in words
    assert "latency p95 unstable" in words
    assert "violates latency_p95 <= 60 ms (unbounded); violates fps >= 20 (5 fps)" in words
    assert "violates accuracy >= 90 % (85 %)" in words


def test_times_are_those_of_the_results_and_add_up():
    results = made_results(four_plans(), REQUIREMENTS)
    plan = drawn_plan(results)
    said = plan_words_of(plan, results)
    taken = [*(device.costs[0] for device in said.devices), *(link.costs[0] for link in said.links)]
    assert sum(float(time.split("\N{NO-BREAK SPACE}")[0]) for time in taken) == pytest.approx(
        1000 * sum(plan.parts_s.values())
    )


def test_packets_and_bytes_of_each_hop_where_they_are_known():
    sent = replace(four_plans()[0], crossing=((312.4, 4.0),))
    assert "in 4 packets over UDP, 8-bit" in words_of(design_svg(made_results([sent], REQUIREMENTS)))
    again = replace(sent, crossing=((312.4, 1.0),))
    assert "in 1 packet over UDP, 8-bit" in words_of(design_svg(made_results([again], REQUIREMENTS)))


def test_memory_and_energy_stand_where_they_are_known():
    plan = evaluation("SC3-uint8-udp", memory_bytes=(549_000, 1_000_000), energy_j=0.00424)
    words = words_of(design_svg(made_results([plan], REQUIREMENTS)))
    assert "30 ms, 549 kB, 4.24 mJ" in words
    assert "3 ms, 1 MB" in words


def test_where_all_is_on_one_device_nothing_crosses():
    results = made_results([evaluation("LC", p95_s=0.01)], REQUIREMENTS)
    words = words_of(design_svg(results))
    assert "all 5 layers" in words
    assert "radio" not in words
    assert not responses_words(results)


def test_beside_lc_stands_the_best_that_splits():
    plans = [evaluation("LC", p95_s=0.01), evaluation("SC3-uint8-udp", p95_s=0.5)]
    results = made_results(plans, ["latency_p95 <= 60 ms"])
    assert [plan.id for plan in compared_plans(results)] == ["SC3-uint8-udp"]
    assert "violates latency_p95 <= 60 ms (500 ms)" in words_of(design_svg(results))


def test_a_plan_that_cannot_run_says_why():
    plans = [*four_plans()[:1], evaluation("LC", cannot_run=("too big for camera",))]
    assert "cannot run: too big for camera" in words_of(design_svg(made_results(plans, REQUIREMENTS)))


def test_where_none_is_feasible_the_nearest_is_drawn_with_what_it_misses():
    results = made_results(four_plans(), ["accuracy >= 100 %"])
    assert results.recommendation.plan is None
    words = words_of(design_svg(results))
    assert words[0] == "No plan is feasible"
    assert "nearest, not feasible" in words
    assert any(line.startswith("violates accuracy >= 100 %") for line in words)


def test_a_chain_says_how_many_and_who_runs_nothing():
    words = words_of(design_svg(checked(chain_values())))
    camera = words.index("camera")
    assert words[camera + 1] == "no layers"
    assert "one of 8" in words
    assert "8 sensors" in words
    assert {"link 0", "link 1"} <= set(words)


def test_exits_stand_on_their_device_and_times_are_of_those_that_come():
    values = chain_values(cuts=(2, 3))
    best = next(plan for plan in values["plans"] if plan["id"] == values["recommendation"]["plan"])
    leaves = {"thresholds": [0.9], "quality": None, "latency_s": []}
    best |= {
        "configuration": "EE",
        "exits": [{"cut": 2, "share": 0.5} | leaves, {"cut": 3, "share": 0.25} | leaves],
        "parts_s": {"camera: network": 0.01, "link 0": 0.01, "server: network": 0.01},
    }
    results = checked(values)
    said = plan_words_of(drawn_plan(results), results)
    assert "50 % leave after block.conv" in said.devices[0].notes
    assert "25 % leave after block.add" in said.devices[1].notes
    assert "for 50 % of frames" in said.devices[1].notes
    assert "for 25 % of frames" in said.devices[2].notes
    assert [said.devices[0].costs[0], said.links[0].costs[0], said.devices[2].costs[0]] == [
        *("10\N{NO-BREAK SPACE}ms", "20\N{NO-BREAK SPACE}ms", "40\N{NO-BREAK SPACE}ms")
    ]
    assert "of the frames that come there" in times_words(results)


def test_responses_are_drawn_where_they_are_sent():
    values = chain_values()
    silent = checked(values)
    assert 'class="way back"' not in design_svg(silent)
    assert "No responses are sent back" in responses_words(silent)
    values["scenario"]["workload"]["response"] = 42
    answering = checked(values)
    assert design_svg(answering).count('class="way back"') == 2
    assert "responses of 42 B, which return to camera" in responses_words(answering)
    values["scenario"]["workload"]["answers"] = {"direct": {"rate": 1e7, "delay": 0.02}}
    directly = checked(values)
    assert 'class="way back"' not in design_svg(directly)
    assert "Responses of 42 B return to camera directly, past the devices in between" in responses_words(directly)
    assert "answers direct rate 10 Mbit/s delay 20 ms" in report_html(directly)


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("count", [3, 4, 16])
def test_however_many_devices_each_has_its_box(count, narrow):
    cuts = [min(place, 5) for place in range(count - 1)]
    drawn = ElementTree.fromstring(design_svg(checked(chain_values(count, cuts)), narrow=narrow))
    left, top, width, height = map(float, drawn.attrib["viewBox"].split())
    boxes = [
        tuple(float(each.attrib[key]) for key in ("x", "y", "width", "height"))
        for each in drawn.iter(f"{SVG}rect")
        if each.get("class") == "machine"
    ]
    assert len(boxes) == count
    for place, (x, y, wide, high) in enumerate(boxes):
        assert left <= x
        assert x + wide <= left + width
        assert top <= y
        assert y + high <= top + height
        for a, b, c, d in boxes[:place]:
            assert a + c <= x or x + wide <= a or b + d <= y or y + high <= b


def evil_values():
    values = chain_values()
    evil = "<script>alert(1)</script>&\x00\x1b[31m"
    values["scenario"]["devices"][0]["name"] = values["links"][0]["name"] = evil
    for plan in values["plans"]:
        plan["devices"] = [evil, *CHAIN[1:]]
        plan["hops"][0]["link"] = evil
        plan["utilisation"] = {evil: 3.0}
    for cut in values["cuts"]:
        cut["name"] = f"{evil}{cut['index']}"
    return values


def test_names_are_no_markup_and_what_xml_cannot_hold_is_written_out():
    results = checked(evil_values())
    for page in (report_html(results), html_of_results(results)):
        assert "<script>alert" not in page
    for narrow in (False, True):
        drawing = design_svg(results, narrow=narrow)
        assert r"\x00" in "".join(words_of(drawing))
        assert not re.search(r"\bnan\b|\binf\b|None", drawing)


def test_it_says_to_those_who_do_not_see_it_what_it_shows():
    drawn = ElementTree.fromstring(design_svg(made_results(four_plans(), REQUIREMENTS)))
    assert drawn.get("role") == "img"
    assert drawn[0].tag == f"{SVG}title"
    assert drawn[0].text == "The design: Split after block.add, 8-bit, over UDP"
    said = str(drawn[1].text).replace("\N{NO-BREAK SPACE}", " ")
    for part in ("camera runs 3 of 5 layers, 30 ms", "3 % loss, 10 ms, 1 kB", "accuracy 95 %", "Beside it LC"):
        assert part in said


def test_a_page_has_it_wide_and_narrow_and_shows_one():
    html = design_html(made_results(four_plans(), REQUIREMENTS))
    assert html.count("<svg") == 2
    assert "@container" in html
    assert html_of_results(made_results(four_plans(), REQUIREMENTS)).startswith("<div")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_words_are_told_from_what_they_stand_on(scheme):
    colours = SCHEMES[scheme]
    for ground in ("paper", "raised"):
        for words in ("ink", "soft", "feasible", "violates", "accent"):
            assert contrast(colours[words], colours[ground]) >= 4.5, (words, ground)


def test_pages_and_drawings_have_the_same_colours():
    css = (files("splitimpera.report.html") / "page.css").read_text()
    found = re.findall(r":root \{([^}]*--ink[^}]*)\}", css)[:2]
    for written, scheme in zip(found, SCHEMES.values(), strict=True):
        of_page = {name: _long(colour) for name, colour in re.findall(r"--(\w+): (#\w+)", written)}
        assert of_page == scheme


def _long(colour):
    return colour if len(colour) == 7 else "#" + "".join(2 * letter for letter in colour[1:])


def test_words_are_broken_where_there_is_room_and_the_end_of_long_ones_is_kept():
    assert fitted("a few words", 500) == ["a few words"]
    lines = fitted("encoder.layers.encoder_layer_0.self_attention", 150)
    assert "".join(lines) == "encoder.layers.encoder_layer_0.self_attention"
    for words in ("x" * 5000, "w " * 3000, "a.b" * 500, "", "W" * 40):
        for name in (False, True):
            lines = fitted(words, 100, most=2, name=name)
            assert len(lines) <= 2
            assert all(text_width(line) <= 100 for line in lines)
    assert fitted("one.two.three.four.five", 70, most=1, name=True)[0].endswith(".five")
    assert fitted("the first words of many that follow", 120, most=1)[0].startswith("the first")


def test_unknown_values_are_said_to_be_so():
    values = made_values(four_plans(), REQUIREMENTS)
    for plan in values["plans"]:
        plan["metrics"] |= {"latency_p95": None, "accuracy": None}
    words = words_of(design_svg(checked(values)))
    assert "not computed" in words
