"""The drawings in a browser: words that lie on each other or leave their place, narrow screens, light and dark."""

from __future__ import annotations

import pytest
from browser import chromium
from made import chain_values, evaluation, four_plans, made_results
from made_tokens import token_values
from test_design_drawing import evil_values
from test_network_drawing import deep_values

from splitimpera.report.design_drawing import design_html, design_svg
from splitimpera.report.html.rendering import asset
from splitimpera.report.network_drawing import network_html, network_svg
from splitimpera.report.reading import checked

pytestmark = pytest.mark.slow

REQUIREMENTS = ["accuracy >= 90 %", "latency_p95 <= 60 ms", "fps >= 20"]
AMISS = """
[...document.querySelectorAll("svg")].flatMap((drawing) => {
  const of = drawing.parentElement.id;
  const found = [];
  const sides = ({ x, y, width, height }) => ({ left: x, right: x + width, top: y, bottom: y + height });
  const [, , wide, high] = drawing.getAttribute("viewBox").split(" ").map(Number);
  const texts = [...drawing.querySelectorAll("text")].map((it) => ({ words: it.textContent, ...sides(it.getBBox()) }));
  const cards = [...drawing.querySelectorAll(".machine")].map((it) => sides(it.getBBox()));
  texts.forEach((one, i) => {
    if (one.left < -0.5 || one.right > wide + 0.5 || one.top < -3 || one.bottom > high + 3) {
      found.push(`${of}: "${one.words}" leaves the drawing`);
    }
    for (const other of texts.slice(0, i)) {
      const over = Math.min(one.right, other.right) - Math.max(one.left, other.left);
      const below = Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top);
      if (over > 1 && below > 2) found.push(`${of}: "${one.words}" lies on "${other.words}"`);
    }
    for (const card of cards) {
      const over = Math.min(one.right, card.right) - Math.max(one.left, card.left);
      const below = Math.min(one.bottom, card.bottom) - Math.max(one.top, card.top);
      const inside = one.left > card.left && one.right < card.right && one.top > card.top && one.bottom < card.bottom;
      if (over > 1 && below > 2 && !inside) found.push(`${of}: "${one.words}" leaves its box`);
    }
  });
  return found;
})
"""


def long_names():
    values = chain_values()
    names = ["a_camera_with_a_very_long_name_and.a.path", "gateway of the third floor, by the stairs", "server" * 9]
    for device, name in zip(values["scenario"]["devices"], names, strict=True):
        device["name"] = name
    for plan in values["plans"]:
        plan["devices"] = names
        plan["memory_bytes"] = [123_456_789.0] * 3
        plan["energy_j"] = 0.0012345
        plan["parts_s"] = {f"{name}: network": 0.0123456 for name in names}
        plan["utilisation"] = {names[0]: 23.456}
        for place, hop in enumerate(plan["hops"]):
            hop |= {
                "codec": "uint4:channel+rans-packets+interleaved+fec:20",
                "bottleneck": 16.0,
                "payload_bytes": 1234.5,
            }
            hop |= {"packets": 123.4, "link": f"a radio link with a name {place}" * 3}
    for place, link in enumerate(values["links"]):
        link["name"] = f"a radio link with a name {place}" * 3
    for cut in values["cuts"]:
        cut["name"] = "encoder.layers.encoder_layer_0.self_attention." * 5 + str(cut["index"])
    return values


def every_result():
    exits = chain_values(cuts=(2, 3))
    leaves = {"thresholds": [0.9], "quality": None, "latency_s": []}
    for plan in exits["plans"][:1]:
        plan["configuration"] = "EE"
        plan["exits"] = [{"cut": 2, "share": 0.523} | leaves, {"cut": 3, "share": 0.2512} | leaves]
    stuck = [evaluation("SC3-uint8-udp", energy_j=0.1), evaluation("LC", cannot_run=("the network does not fit " * 9,))]
    yield "two", made_results(four_plans(), REQUIREMENTS)
    yield "none feasible", made_results(four_plans(), ["accuracy >= 100 %", "latency_p95 <= 1 ms", "fps >= 1000"])
    yield "alone", made_results([evaluation("LC", p95_s=0.01)], REQUIREMENTS)
    yield "stuck", made_results(stuck, REQUIREMENTS)
    yield "tokens", checked(token_values())
    yield "exits", checked(exits)
    yield "evil", checked(evil_values())
    yield "long", checked(long_names())
    for count in (2, 3, 5, 16):
        yield f"{count} devices", checked(chain_values(count, [min(place, 5) for place in range(count - 1)]))
    for layers in (20, 160):
        yield f"{layers} layers", checked(deep_values(layers))


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def test_no_words_lie_on_each_other_or_leave_their_place(browser, tmp_path):
    drawn = [
        f'<div id="{name} {kind}">{drawing}</div>'
        for name, results in every_result()
        for kind, drawing in {
            "across": design_svg(results),
            "down": design_svg(results, narrow=True),
            **{f"network {width}": network_svg(results, width=width) for width in (1168, 640, 360)},
        }.items()
    ]
    path = tmp_path / "all.html"
    path.write_text(f"<!doctype html><meta charset=utf-8>{''.join(drawn)}")
    page = browser.open(path.as_uri(), 1300)
    assert page.run(AMISS) == []
    assert page.run("document.querySelectorAll('svg').length") == len(drawn)
    page.close()


def test_one_of_two_is_shown_as_there_is_room_and_the_page_gets_no_wider(browser, tmp_path):
    results, path = checked(chain_values()), tmp_path / "report.html"
    path.write_text(f"<!doctype html><style>{asset('page.css')}</style>{design_html(results)}{network_html(results)}")
    page = browser.open(path.as_uri(), 1280)
    shown = "[...document.querySelectorAll('.design')].map((it) => it.checkVisibility())"
    assert page.run(shown) == [True, False]
    for width, place in ((1280, 0), (900, 1), (390, 2)):
        page.resize(width)
        assert page.run(shown) == [width == 1280, width < 1280]
        assert page.run(shown.replace("design", "network")) == [place == each for each in range(3)]
        assert page.run("document.documentElement.scrollWidth") <= width
    named = page.run("[...document.querySelectorAll('.sei-drawing')].every((it) => it.querySelector('title, desc'))")
    assert named
    assert page.errors == []
    page.close()


def test_colours_follow_the_system_and_what_a_page_says(browser, tmp_path):
    results = made_results(four_plans(), REQUIREMENTS)
    path = tmp_path / "drawing.html"
    path.write_text(f"<!doctype html>{design_html(results)}<div data-theme=dark>{design_svg(results)}</div>")
    page = browser.open(path.as_uri(), 1280)
    inks = (
        "[...document.querySelectorAll('svg')].map((it) => getComputedStyle(it.querySelector('.head:not(.good)')).fill)"
    )
    light, dark = "rgb(34, 34, 34)", "rgb(232, 232, 232)"
    assert page.run(inks) == [light, light, dark][: len(page.run(inks))]
    page.emulate(prefers_color_scheme="dark")
    assert set(page.run(inks)) == {dark}
    page.emulate("print", prefers_color_scheme="dark")
    assert page.run(inks)[0] == light
    page.close()
    alone = tmp_path / "design.svg"
    alone.write_text(design_svg(results), encoding="utf-8")
    page = browser.open(alone.as_uri(), 1280)
    assert page.run("document.documentElement.tagName") == "svg"
    assert page.errors == []
    page.close()
