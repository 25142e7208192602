"""A run's page and a policy's in a browser: walked through by keys and mouse, dark, narrow and on paper."""

from __future__ import annotations

import re

import pytest
from browser import chromium
from made_run import frame_lines, plain_line, plain_lines, run_line
from made_study import two_ranges
from test_policy_page import three_ranges
from test_study_browser import AT, FIGURE, facts, text

from splitimpera.report import policy_html, run_html
from splitimpera.report.run_history import history_of
from splitimpera.studies.policy_study import policy_of

pytestmark = pytest.mark.slow

CHARTS = "document.querySelector('#charts svg')"
PLACE = """(() => {{
  const box = {charts}.querySelector('g.band').getBoundingClientRect();
  {charts}.scrollIntoView({{block: 'center'}});
  const seen = {charts}.querySelector('g.band').getBoundingClientRect();
  return [seen.left + {share} * seen.width, seen.top + seen.height / 2, box.width];
}})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def shown(browser, tmp_path):
    """Opens a page; afterwards no page may have had an error or asked for anything from elsewhere."""
    pages = []

    def show(content, width=1100):
        path = tmp_path / f"page{len(pages)}.html"
        path.write_text(content)
        pages.append(browser.open(path.as_uri(), width))
        return pages[-1]

    yield show
    for page in pages:
        page.close()
        assert page.errors == []
        assert [url for url in page.requests if not url.startswith(("file:", "data:", "blob:"))] == []


@pytest.fixture(scope="module")
def run():
    return run_html(history_of(run_line(), frame_lines()))


def test_keys_walk_through_a_run(shown, run):
    page = shown(run)
    page.run(f"{CHARTS}.focus()")
    page.press("Home")
    assert text(page, "#said").startswith("0 s: plan SC4-uint8-tcp, goodput")
    page.press("ArrowRight", "ArrowRight", "ArrowRight")
    assert text(page, "#said").startswith("0.1 s:")
    page.press("End")
    assert text(page, "#said").startswith("1:59.97 min:")
    assert "on-time accuracy" in text(page, "#said")
    assert page.run("document.activeElement.tagName") == "svg"
    assert page.run(f"{CHARTS}.querySelector('.now').getAttribute('visibility')") == "visible"


def test_the_mouse_tells_an_outage(shown, run):
    page = shown(run)
    x, y, _ = page.run(PLACE.format(charts=CHARTS, share=71.5 / 120))
    page.point(x, y)
    said = text(page, "#said")
    assert "plan LC" in said
    assert "outage of the link" in said
    assert "by the device" in said


def test_a_row_of_the_table_shows_its_moment(shown, run):
    page = shown(run)
    before = page.run(f"{CHARTS}.innerHTML")
    page.run("document.querySelectorAll('button.go')[1].focus()")
    page.press("Enter")
    assert text(page, "#said").startswith("1:10.5 min: plan LC")
    assert "Fallback to LC: nothing comes over the link." in text(page, "#said")
    assert page.run(f"{CHARTS}.innerHTML") != before
    assert re.match(r"1:00.5 min to 1:20.5 min", text(page, "#shown"))
    page.run("document.getElementById('whole').click()")
    assert text(page, "#shown") == ""


def test_nearer_and_further(shown, run):
    page = shown(run)
    assert page.run("document.getElementById('further').disabled")
    for _ in range(3):
        page.run("document.getElementById('nearer').click()")
    assert text(page, "#shown") == "0 s to 15 s"
    page.run(f"{CHARTS}.focus()")
    page.press("End")  # what is walked to comes into view
    assert text(page, "#shown").endswith("to 2:00 min")
    for _ in range(20):
        page.run("document.getElementById('nearer').click()")
    assert page.run("document.getElementById('nearer').disabled")
    for _ in range(20):
        page.run("document.getElementById('further').click()")
    assert text(page, "#shown") == ""


PAGES = {
    "run": lambda: run_html(history_of(run_line(), frame_lines())),
    "long run": lambda: run_html(history_of(run_line(), frame_lines(700))),
    "run of one plan": lambda: run_html(history_of(plain_line(), plain_lines())),
    "one frame": lambda: run_html(history_of(plain_line(fps=None, deadline_s=None), plain_lines(1 / 20))),
    "policy": lambda: policy_html(policy_of(two_ranges(), 3)),
    "policy of three ranges": lambda: policy_html(policy_of(three_ranges(), 4)),
}


@pytest.mark.parametrize("width", [1100, 420])
@pytest.mark.parametrize("kind", PAGES)
def test_wide_and_narrow_light_and_dark_and_on_paper(shown, kind, width, tmp_path):
    page = shown(PAGES[kind](), width)
    assert page.run("document.documentElement.scrollWidth") <= width
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.run(ground)
    page.emulate(prefers_color_scheme="dark")
    assert page.run(ground) != light
    page.emulate("print")
    assert not page.run("document.querySelector('nav').checkVisibility()")
    assert page.pdf(tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    page.emulate()
    unnamed = page.run("[...document.querySelectorAll('input, select')].filter((it) => !it.labels?.length).length")
    assert unnamed == 0
    assert page.run("[...document.querySelectorAll('svg.figure')].every((it) => it.getAttribute('aria-label'))")


def test_the_map_of_a_policy_tells_what_a_change_gains(shown):
    policy = policy_of(two_ranges(), 3)
    page = shown(policy_html(policy))
    page.run(f"{FIGURE.format(0)}.focus()")
    page.press("Home", *["ArrowDown"] * 6)
    for rate in policy.rates_bps:
        cell = policy.at(rate, 0.0, 0.0).cell
        chosen = policy.plans[policy.chosen[cell]]
        told = facts(page)
        assert told[chosen.id].startswith(f"{chosen.values[cell]:.3f}")
        assert told[chosen.id].endswith("used here")
        for place, plan in enumerate(policy.plans):
            gain = chosen.values[cell] - plan.values[cell]
            if policy.better(place, cell) is not None:
                assert f"a change from it gains {gain:.3f}" in told[plan.id]
            elif plan is not chosen:
                assert f"no change from it: they differ by {abs(gain):.3f}" in told[plan.id]
        page.press("ArrowRight")
    assert page.run("document.querySelectorAll('.rim').length") > 0


def test_where_nothing_is_feasible_the_map_is_hatched(shown):
    policy = policy_of(two_ranges(), 3)
    cell = policy.at(policy.rates_bps[0], 0.0, policy.losses[0]).cell
    plans = []
    for plan in policy.plans:
        values = [0.0 if place == cell else value for place, value in enumerate(plan.values)]
        plans.append(plan.model_copy(update={"values": values}))
    chosen = [None if place == cell else plan for place, plan in enumerate(policy.chosen)]
    page = shown(policy_html(policy.model_copy(update={"plans": plans, "chosen": chosen})))
    page.point(*page.run(AT.format(panel=0, x=0.5 / 13, y=0.5 / 6)))
    assert text(page, "#cell h3") == "No plan at hand is feasible"
    fills = page.run("[...document.querySelectorAll('#panels path[fill]')].map((path) => path.getAttribute('fill'))")
    assert "url(#hatch)" in fills
    assert "no plan at hand is feasible" in text(page, "ul.legend")
