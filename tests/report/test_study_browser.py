"""A study's page in a browser: walked through by keys and mouse, other axes, dark and narrow, on paper."""

from __future__ import annotations

import pytest
from browser import chromium
from made_study import RATES, axis, made_study, many_designs, searched, spread, three_ranges, two_ranges
from test_study_page import hostile

from splitimpera.report.html.study_page import study_html

pytestmark = pytest.mark.slow

FIGURE = "document.querySelectorAll('#panels svg')[{}]"
PATHS = "[...document.querySelectorAll('#panels svg path[fill]')].map((path) => path.getAttribute('d')).join()"
AT = """(() => {{
  const view = document.querySelectorAll('#panels svg')[{panel}];
  view.scrollIntoView({{block: 'center'}});
  const frame = view.querySelector('.frame').getBoundingClientRect();
  return [frame.left + {x} * frame.width, frame.top + (1 - {y}) * frame.height];
}})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def shown(browser, tmp_path):
    """Opens a study's page; afterwards no page may have had an error or asked for anything from elsewhere."""
    pages = []

    def show(results, width=1100):
        path = tmp_path / f"study{len(pages)}.html"
        path.write_text(study_html(results))
        pages.append(browser.open(path.as_uri(), width))
        return pages[-1]

    yield show
    for page in pages:
        page.close()
        assert page.errors == []
        assert [url for url in page.requests if not url.startswith(("file:", "data:", "blob:"))] == []


def text(page, selector):
    return page.run(f"document.querySelector({selector!r}).textContent")


def facts(page):
    """What the panel says of the cell that is pointed at."""
    made = page.run(
        "[...document.querySelectorAll('#cell dt')].map((title) => [title.textContent, title.nextSibling.textContent])"
    )
    return dict(made)


def choose(page, role, value):
    page.run(
        f"(() => {{ const list = document.getElementById('axis-{role}'); list.value = '{value}';"
        "list.dispatchEvent(new Event('change')); })()"
    )
    page.settle()


def test_keys_walk_through_the_map_and_tell_each_cell(shown):
    results = two_ranges()
    page = shown(results)
    page.run(f"{FIGURE.format(0)}.focus()")
    page.press("Home", *["ArrowDown"] * 6)
    for place in (0, 1, 2):
        row = results.cells[6 * place].row
        found = facts(page)
        assert text(page, "#cell .at").startswith(f"link rate {['100', '178', '316'][place]} kbit/s, link loss 0 %")
        assert found["plan"] == row.chosen.id
        assert found["certainty"] == row.certainty
        assert found["feasible"] == f"{row.feasible} of 6 plans"
        assert row.runner_up.id in found["runner-up"]
        accuracy = 100 * row.chosen.metrics["accuracy"]
        assert found["accuracy"].startswith(f"{accuracy:.4g} % (")
        page.press("ArrowRight")
    page.press("End", "ArrowUp", "ArrowUp")
    assert text(page, "#cell .at") == "link rate 100 Mbit/s, link loss 1 %"
    assert facts(page)["plan"] == "RC-png-tcp"
    page.press("ArrowRight", *["ArrowUp"] * 9)  # not beyond the edge
    assert text(page, "#cell .at") == "link rate 100 Mbit/s, link loss 10 %"
    assert page.run(f"{FIGURE.format(0)}.querySelector('[visibility=visible] .cursor') !== null")
    assert page.run("document.activeElement.tagName") == "svg"
    page.press("Tab")
    assert page.run(f"{FIGURE.format(0)}.querySelector('[visibility=visible] .cursor')") is None


def test_the_mouse_tells_cells_and_leaves_them(shown):
    results = two_ranges()
    page = shown(results)
    before = text(page, "#cell")
    page.point(*page.run(AT.format(panel=0, x=0.5 / 13, y=0.5 / 6)))
    assert text(page, "#cell .at") == "link rate 100 kbit/s, link loss 0 %"
    assert text(page, "#cell h3") == "All on the device"
    page.point(*page.run(AT.format(panel=0, x=12.5 / 13, y=2.5 / 6)))
    assert text(page, "#cell .at") == "link rate 100 Mbit/s, link loss 1 %"
    assert text(page, "#cell") != before
    page.point(5, 5)
    assert page.run(f"{FIGURE.format(0)}.querySelector('[visibility=visible] .cursor')") is None


def test_every_state_is_told_and_hatched(shown):
    page = shown(three_ranges())
    fills = page.run("[...document.querySelectorAll('#panels path[fill]')].map((path) => path.getAttribute('fill'))")
    assert {"url(#hatch)", "url(#crosses)", "url(#dots)"} <= set(fills)
    # the first cell of the slowest device, one that failed, one that is left
    page.point(*page.run(AT.format(panel=2, x=0.5 / 13, y=5.5 / 6)))
    assert text(page, "#cell h3") == "No plan is feasible"
    assert "latency_p95 <= 50 ms" in facts(page)["it misses"]
    page.point(*page.run(AT.format(panel=0, x=3.5 / 13, y=2.5 / 6)))
    assert text(page, "#cell h3") == "Failed"
    assert facts(page) == {"reason": "devices[0]: the network does not fit into 512 kB of memory"}
    page.point(*page.run(AT.format(panel=2, x=12.5 / 13, y=5.5 / 6)))
    assert text(page, "#cell h3") == "Left to do"


def test_other_axes_redraw_the_map(shown):
    results = three_ranges()
    page = shown(results)
    panels = "document.querySelectorAll('#panels svg').length"
    captions = "[...document.querySelectorAll('#panels figcaption')].map((it) => it.textContent)"
    assert page.run(panels) == 3
    assert page.run(captions) == ["device slowdown 0.5", "device slowdown 1", "device slowdown 2"]
    before = page.run(PATHS)
    choose(page, "y", 2)  # device upright, so that losses are side by side
    assert page.run(PATHS) != before
    assert page.run(panels) == 6
    assert page.run(captions)[0] == "link loss 0 %"
    page.run(f"{FIGURE.format(5)}.focus()")
    page.press("End", *["ArrowUp"] * 3)
    assert text(page, "#cell .at") == "link rate 100 Mbit/s, link loss 10 %, device slowdown 2"
    choose(page, "facet", "")
    assert page.run(panels) == 1
    whole = page.run(PATHS)
    label = text(page, "#axes label:last-child")
    assert label.startswith("link loss")
    slider = "document.querySelector('#axes input[type=range]')"
    page.run(f"{slider}.focus()")
    page.press("Home", "ArrowRight", "ArrowRight")
    assert page.run(f"{slider}.getAttribute('aria-valuetext')") == "1 %"
    page.press("End")
    page.settle()
    assert page.run(PATHS) != whole
    assert "link loss 10 %" in text(page, "#cell .at")
    choose(page, "x", 2)
    choose(page, "y", "")
    assert page.run(panels) == 1
    assert text(page, "#cell .at").count(",") == 2


def test_cells_agree_with_the_study_whatever_the_axes(shown):
    results = three_ranges()
    page = shown(results)
    choose(page, "x", 1)
    choose(page, "y", 2)
    assert page.run("document.querySelectorAll('#panels svg').length") == 1  # 13 rates do not stand side by side
    page.run("document.querySelector('#axes input[type=range]').focus()")
    page.press("End")
    page.run(f"{FIGURE.format(0)}.focus()")
    page.press("Home", *["ArrowDown"] * 3)
    for loss in range(5):  # the last is left to do
        row = results.cells[12 * 18 + loss * 3].row
        assert facts(page)["plan"] == row.chosen.id
        page.press("ArrowRight")


def test_the_front_is_walked_through_and_redrawn(shown):
    page = shown(two_ranges())
    view = "document.querySelector('#chart-front svg')"
    page.run(f"{view}.focus()")
    page.press("Home")
    first = text(page, "#front-said")
    assert "On the front." in first
    page.press("End")
    last = text(page, "#front-said")
    assert last != first
    assert "RC-png-tcp" in last  # what is best
    drawn = page.run(f"{view}.innerHTML")
    page.run(
        "(() => { const list = document.querySelectorAll('#front-axes select')[1]; list.value = 'payload_bytes';"
        "list.dispatchEvent(new Event('change')); })()"
    )
    assert page.run(f"{view}.innerHTML") != drawn
    page.run(f"{view}.focus()")
    page.press("Home")
    assert "(LC)" in text(page, "#front-said")  # sends nothing
    assert "0 B" in text(page, "#chart-front")


def test_a_search_is_drawn(shown):
    page = shown(searched())
    assert page.run("document.querySelectorAll('#chart-best circle.best').length") >= 5
    page.run("document.querySelector('#chart-best svg').focus()")
    page.press("Home")
    first = text(page, "#progress-said")
    page.press("ArrowRight")
    assert text(page, "#progress-said") != first


SHAPES = {
    "one range": lambda: made_study([axis("links[0].rate", RATES)], ("log",)),
    "no range": lambda: made_study([]),
    "three ranges": three_ranges,
    "ten thousand plans": lambda: made_study(
        [
            spread("links[0].rate", log=["100 kbit/s", "100 Mbit/s"], count=10),
            axis("links[0].loss", [0, 0.01, 0.02, 0.05, 0.1]),
        ],
        ("log", "listed"),
        designs=many_designs(200),
    ),
    "names that would do harm": hostile,
}


@pytest.mark.parametrize("width", [1100, 420])
@pytest.mark.parametrize("shape", SHAPES)
def test_wide_and_narrow_light_and_dark_and_on_paper(shown, shape, width, tmp_path):
    page = shown(SHAPES[shape](), width)
    assert page.run("document.documentElement.scrollWidth") <= width
    assert page.run("window.hurt") is None
    assert page.run("document.querySelectorAll('img').length") == 0
    style = "['backgroundColor', 'color'].map((name) => getComputedStyle(document.body)[name])"
    ground = "getComputedStyle(document.querySelector('#hatch .ground')).fill"
    light = [*page.run(style), page.run(ground)]
    page.emulate(prefers_color_scheme="dark")
    dark = [*page.run(style), page.run(ground)]
    assert all(before != after for before, after in zip(light, dark, strict=True))
    assert dark[0] == dark[2]
    axis_names = "[...document.querySelectorAll('svg.figure text.name')].map((it) => getComputedStyle(it).fill)"
    assert "rgb(0, 0, 0)" not in page.run(axis_names)
    page.emulate("print")
    assert not page.run("document.querySelector('nav').checkVisibility()")
    assert page.pdf(tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    page.emulate()
    assert page.screenshot(tmp_path / "page.png").stat().st_size > 20_000


def test_a_map_of_ten_thousand_cells_answers_keys(shown):
    axes = [
        spread("links[0].rate", log=["10 kbit/s", "1 Gbit/s"], count=100),
        spread("links[0].loss", linear=[0, 0.2], count=100),
    ]
    page = shown(made_study(axes, ("log", "linear")))
    page.run(f"{FIGURE.format(0)}.focus()")
    page.press("End", "ArrowLeft")
    assert text(page, "#cell .at").startswith("link rate 890 Mbit/s")


def test_a_page_that_grows_wider_is_drawn_anew(shown):
    page = shown(two_ranges(), 500)
    drawn = "document.querySelector('#panels svg').clientWidth"
    narrow = page.run(drawn)
    page.resize(1100)
    page.settle()
    assert page.run(drawn) > narrow
    box = "document.querySelector('#panels svg').viewBox.baseVal.width"
    assert abs(page.run(box) - page.run(drawn)) <= 1


def test_every_control_has_a_name(shown):
    page = shown(three_ranges())
    unnamed = page.run(
        "[...document.querySelectorAll('input, select, button')].filter((it) => !it.labels?.length).length"
    )
    assert unnamed == 0
    assert page.run("[...document.querySelectorAll('svg.figure')].every((it) => it.getAttribute('aria-label'))")
    handlers = "[...document.querySelectorAll('*')].flatMap((e) => e.getAttributeNames()).filter((n) => /^on/.test(n))"
    assert page.run(handlers) == []
