"""The report in a browser: driven by its sliders and by keys, narrow, dark, on paper."""

from __future__ import annotations

import json

import numpy as np
import pytest
from browser import chromium
from made import (
    SENSITIVITY,
    errors_and_latencies,
    evaluation,
    four_plans,
    made_results,
    made_values,
    random_evaluations,
)
from made import shown as shown_samples

from splitimpera.qos.recommendation import recommend
from splitimpera.records.requirement import parse_requirement
from splitimpera.report.html.page import report_html
from splitimpera.report.limits import stops
from splitimpera.report.reading import checked
from splitimpera.report.words import plan_words

REQUIREMENTS = ["accuracy >= 90 %", "latency_p95 <= 60 ms", "fps >= 20"]

MOVE = """
(([slider, place]) => {
  const input = document.getElementById(`limit-${slider}`);
  input.value = place;
  input.dispatchEvent(new Event("input", {bubbles: true}));
  const rows = [...document.querySelectorAll("#plans tbody tr")];
  return {
    choice: document.getElementById("choice").textContent,
    id: document.getElementById("choice-id").textContent,
    status: document.getElementById("status").textContent,
    order: rows.map((row) => row.querySelector("th").textContent),
    feasible: rows.filter((row) => row.className !== "violates").length,
    chosen: rows.filter((row) => row.className === "chosen").map((row) => row.querySelector("th").textContent),
    said: input.getAttribute("aria-valuetext"),
  };
})
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def shown(browser, tmp_path):
    """Opens results; afterwards no page may have had an error or asked for anything from elsewhere."""
    pages = []

    def show(results, width=1200):
        path = tmp_path / f"report{len(pages)}.html"
        path.write_text(report_html(results))
        pages.append(browser.open(path.as_uri(), width))
        return pages[-1]

    yield show
    for page in pages:
        page.close()
        assert page.errors == []
        assert [url for url in page.requests if not url.startswith(("file:", "data:", "blob:"))] == []


def text(page, name):
    return page.run(f"document.getElementById('{name}').textContent")


def choice_for(decision, results):
    """What the page's headline says, and the id beside it."""
    if not decision.chosen:
        return "No plan is feasible", ""
    return plan_words(results.by_id[decision.chosen.id], results.cut_names), decision.chosen.id


@pytest.mark.slow
def test_every_slider_chooses_what_python_would(shown):
    rng = np.random.default_rng(3)
    # the better, the slower, and others that are neither
    trade = [
        evaluation(f"SC{40 + i}-uint8-tcp", accuracy=0.81 + i / 50, p95_s=0.01 * 1.4**i, energy_j=0.001)
        for i in range(9)
    ]
    evaluations = [*trade, *random_evaluations(rng, 16, energy=True)]
    wanted = [
        *map(parse_requirement, ["accuracy >= 80 %", "latency_p95 <= 40 ms", "fps >= 20"]),
        parse_requirement("energy <= 2 mJ", 2.0),
        parse_requirement("cut_depth >= 1"),
    ]
    results = made_results(evaluations, wanted)
    page = shown(results)
    own_order = [verdict.id for verdict in recommend(evaluations, wanted).verdicts]
    headlines = set()
    for slider, requirement in enumerate(wanted):
        found = stops(results.requirements[slider], results.plans)
        own = next(place for place, stop in enumerate(found) if stop.own)
        places = [*range(0, len(found), 3), len(found) - 1, own]
        outcomes = page.run(f"{json.dumps([[slider, place] for place in places])}.map({MOVE})")
        for place, outcome in zip(places, outcomes, strict=True):
            asked = parse_requirement(found[place].text, requirement.weight)
            decision = recommend(evaluations, [*wanted[:slider], asked, *wanted[slider + 1 :]])
            told, name = choice_for(decision, results)
            assert outcome["said"] == asked.text
            assert outcome["choice"] == (told if place == own else f"With these limits: {told}")
            assert outcome["id"] == name
            assert outcome["order"] == [verdict.id for verdict in decision.verdicts]
            assert outcome["feasible"] == sum(verdict.feasible for verdict in decision.verdicts)
            assert outcome["chosen"] == ([decision.chosen.id] if decision.chosen else [])
            assert f"{outcome['feasible']} of 25 plans are feasible." in outcome["status"]
            headlines.add((told, name))
        assert outcomes[-1]["order"] == own_order
    assert ("No plan is feasible", "") in headlines
    assert len(headlines) > 5


@pytest.mark.slow
def test_moving_the_latency_slider_by_keys_changes_the_recommendation(shown):
    page = shown(made_results(four_plans(), REQUIREMENTS))
    assert text(page, "headline") == "Split after block.add, 8-bit, over UDP SC3-uint8-udp"
    assert text(page, "certainty").startswith("Certain:")
    page.run("document.getElementById('limit-1').focus()")
    page.press("Home")
    page.settle()
    assert text(page, "choice") == "With these limits: No plan is feasible"
    assert text(page, "limit-1-meet") == "0 of 5 plans meet it"
    page.press("End")
    page.settle()
    # the tightest of its margins is larger than those of the others
    assert text(page, "choice") == "With these limits: Send the input as PNG over TCP to server"
    assert page.run("document.querySelector('#plans tbody tr').className") == "chosen"
    assert page.run("document.querySelector('.notice.only-moved').checkVisibility()")
    # the figure follows: its line for the limit, and which points fit
    limit = page.run("document.getElementById('figure-plans').layout.shapes.find((s) => s.name === 'limit-1').x0")
    assert limit == page.run("JSON.parse(document.getElementById('data').textContent).requirements[1].stops.at(-1)")
    fitting = page.run(
        "document.getElementById('figure-plans').data.filter((t) => t.meta?.feasible).flatMap((t) => t.customdata)"
        ".map((entry) => entry[0].split('<br>')[1])"
    )
    assert sorted(fitting) == ["RC-png-tcp", "SC3-uint8-udp", "SC4-uint8-tcp"]
    page.press("Tab")
    assert page.run("document.activeElement.id") == "limit-2"
    page.press("Tab")
    assert page.run("document.activeElement.className") == "back"
    page.press("Enter")
    page.settle()
    assert text(page, "choice-id") == "SC3-uint8-udp"
    assert not page.run("document.querySelector('.notice.only-moved').checkVisibility()")
    assert page.run("document.activeElement.id") == "limit-0"


@pytest.mark.slow
def test_plans_without_an_accuracy_are_told_from_those_that_violate_one(shown):
    hopeless = evaluation("SC2-uint8-udp", accuracy=np.nan, p95_s=0.2, cut=2, on_time_quality=np.nan)
    page = shown(made_results([*four_plans(), hopeless], REQUIREMENTS))
    assert text(page, "limit-0-meet") == "4 of 6 plans meet it (1 not computed)"
    assert "accuracy >= 90 %: 1 of 6 plans, 1 of them nothing else; not computed for 1" in page.run(
        "document.querySelector('header').textContent"
    )
    row = "[...document.querySelectorAll('#plans tbody tr')].find((row) => row.textContent.includes('SC2'))"
    assert "accuracy >= 90 %: not computedviolates latency_p95 <= 60 ms" in page.run(f"{row}.textContent")
    assert "1 stable plan" not in page.run("document.querySelector('main').textContent")
    assert "One stable plan is not drawn" in page.run("document.querySelector('main').textContent")
    assert "accuracy is not known" not in text(page, "status")
    page.run("document.getElementById('limit-1').focus()")
    page.press("End")
    page.settle()
    assert text(page, "status").endswith(
        "1 of the others may be feasible, too: only their accuracy is not known. "
        "'splitimpera design --all' computes it."
    )


@pytest.mark.slow
def test_a_choice_without_an_accuracy_says_so(shown):
    hopeless = evaluation("SC2-uint8-udp", accuracy=np.nan, p95_s=0.2, cut=2, size=10.0)
    page = shown(made_results([evaluation(), hopeless], ["latency_p95 <= 60 ms", "payload_bytes <= 2 kB"]))
    assert "not computed" not in text(page, "status")
    page.run(f"({MOVE})([1, 20])")  # some tens of bytes
    found = page.run(f"({MOVE})([0, document.getElementById('limit-0').max])")
    assert found["id"] == "SC2-uint8-udp"
    assert "Its accuracy was not computed; 'splitimpera design --all' computes it." in found["status"]


@pytest.mark.slow
def test_the_status_is_announced_and_every_control_has_a_name(shown):
    page = shown(made_results(four_plans(), REQUIREMENTS))
    assert page.run("document.getElementById('status').getAttribute('role')") == "status"
    unnamed = page.run(
        "[...document.querySelectorAll('input, button')].filter((e) => !(e.labels?.length || e.textContent.trim()))"
        ".length"
    )
    assert unnamed == 0
    assert page.run("[...document.querySelectorAll('.plot')].every((e) => e.getAttribute('aria-label'))")
    handlers = "[...document.querySelectorAll('*')].flatMap((e) => e.getAttributeNames()).filter((n) => /^on/.test(n))"
    assert page.run(handlers) == []


@pytest.mark.slow
def test_the_table_sorts_and_filters_by_keys(shown):
    page = shown(made_results(four_plans(), REQUIREMENTS))
    ids = "[...document.querySelectorAll('#plans tbody tr:not([hidden]) th')].map((cell) => cell.textContent)"
    sorting = "document.querySelector('#plans thead [data-key={}]').getAttribute('aria-sort')"
    button = "document.querySelector('#plans thead [data-key={}] button').focus()"
    assert page.run(sorting.format("rank")) == "ascending"
    page.run(button.format("latency_p95"))
    page.press("Enter")
    # an unstable plan has no latency and goes last, whichever way
    assert page.run(ids) == ["RC-uint8-udp", "SC3-uint8-udp", "SC4-uint8-tcp", "RC-png-tcp", "LC"]
    page.press("Enter")
    assert page.run(ids) == ["RC-png-tcp", "SC4-uint8-tcp", "SC3-uint8-udp", "RC-uint8-udp", "LC"]
    assert page.run(sorting.format("latency_p95")) == "descending"
    assert page.run(sorting.format("rank")) is None
    page.run(button.format("accuracy"))
    page.press(" ")
    assert page.run(ids)[:2] == ["RC-png-tcp", "LC"]  # more is better: the largest first
    page.run(button.format("busiest"))
    page.press("Enter")
    assert page.run(ids)[0] == "LC"  # its camera; all others' is the radio
    page.run(button.format("rank"))
    page.press("Enter")
    page.run("document.getElementById('filter').focus()")
    page.type("uint8 sc")
    assert page.run(ids) == ["SC3-uint8-udp", "SC4-uint8-tcp"]
    assert text(page, "shown") == "2 of 5 plans shown"
    page.press("Tab", " ")
    assert page.run("document.getElementById('feasible-only').checked")
    assert page.run(ids) == ["SC3-uint8-udp"]


@pytest.mark.slow
def test_the_script_changes_nothing_until_a_limit_is_moved(shown):
    rng = np.random.default_rng(5)
    wanted = [*map(parse_requirement, REQUIREMENTS), parse_requirement("payload_bytes <= 150 B", 1.0)]
    results = made_results(random_evaluations(rng, 40), wanted)
    page = shown(results)
    written = json.dumps(report_html(results))
    before, live = page.run(
        f"""(() => {{
          const made = new DOMParser().parseFromString({written}, "text/html");
          const texts = (page) => [
            ...[...page.querySelectorAll("#headline, #certainty, #status")].map((it) => it.textContent),
            ...[...page.querySelectorAll("#plans tbody tr")].map((row) => [
              row.className, ...[...row.cells].map((cell) => cell.textContent.trim()),
            ]),
          ];
          return [made, document].map(texts);
        }})()"""
    )
    assert live == before
    assert len(live) == 3 + 40


@pytest.mark.slow
def test_what_only_the_data_know_is_harmless(shown):
    evil = "</script><img src=x onerror=window.hurt=1><b>$name"
    layers = made_values(four_plans(), REQUIREMENTS)["layers"]
    sensitivity = SENSITIVITY | {"parameter": evil, "unit": evil, "text": evil}
    results = made_values(
        four_plans(),
        REQUIREMENTS,
        layers=[layer | {"name": f"{evil}{layer['index']}"} for layer in layers],
        sensitivity=[sensitivity],
        uncosted=[evil],
        loss_curves=[
            {"plan": evil, "configuration": "SC"}
            | {key: [0.1, 0.2] for key in ("loss", "quality", "quality_low", "quality_high")}
        ],
    )
    results["scenario"] |= {"name": evil, "network": {"model": evil}, "links": [{"name": evil}]}
    results["curve"]["per_class"] = {evil: [0.1] * 4, "cat": [0.2] * 4}
    results["cuts"][2]["name"] = evil
    results["shown"] = shown_samples([evil, f"{evil} "]) | {"note": evil, "plan": evil}
    results["recommendation"]["reasons"] = [evil]
    for plan in results["plans"]:
        plan["devices"] = [evil, "server"]
        plan["parts_s"] = {f"{evil}: network": 0.01, evil: 0.02}
        plan["estimates"] = [f"{evil}: network"]
        plan["busiest_stage"] = evil
    page = shown(checked(results))
    assert page.run("window.hurt") is None
    assert page.run("document.querySelectorAll('img').length") == 10  # those of samples
    assert page.run("document.querySelector('h1').textContent") == f"Split design for {evil}"
    assert page.run("document.title") == f"{evil}: split design"


@pytest.mark.slow
@pytest.mark.parametrize("width", [1400, 420])
def test_wide_and_narrow_light_and_dark_and_on_paper(shown, width, tmp_path):
    changes = {
        "parameter": "rate",
        "before": 3e5,
        "after": 6e5,
        "ratio": 2.0,
        "plan": "LC",
        "text": "rate at least 600 kbit/s",
    }
    results = made_values(
        four_plans(), [*REQUIREMENTS[:2], "fps >= 90"], sensitivity=[SENSITIVITY], shown=shown_samples()
    )
    results["recommendation"] |= {"change": changes, "changes": [changes]}
    page = shown(checked(results), width)
    assert page.run("document.documentElement.scrollWidth") <= width
    plots = page.run("[...document.querySelectorAll('.plot')].map((plot) => plot.querySelectorAll('svg').length > 0)")
    assert plots == [True] * 5
    images = page.run("[...document.querySelectorAll('.views img')].map((it) => [it.naturalWidth, it.clientWidth])")
    assert len(images) == 10
    assert all(natural == 16 and 100 < drawn < width for natural, drawn in images)
    widest = page.run("Math.max(...[...document.querySelectorAll('.main-svg')].map((e) => e.clientWidth))")
    assert widest <= width
    style = "['backgroundColor', 'color'].map((name) => getComputedStyle(document.body)[name])"
    light = page.run(style)
    page.emulate(prefers_color_scheme="dark")
    dark = page.run(style)
    assert dark[0] != light[0]
    assert page.run("document.getElementById('figure-plans').layout.font.color") == dark[1]
    page.emulate("print", prefers_color_scheme="dark")
    assert page.run(style) == ["rgb(255, 255, 255)", "rgb(0, 0, 0)"]
    assert not page.run("document.querySelector('nav').checkVisibility()")
    assert page.pdf(tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    page.emulate()
    assert "rate at least 600 kbit/s: then LC is feasible" in page.run("document.querySelector('.change').textContent")
    assert page.screenshot(tmp_path / "page.png").stat().st_size > 30_000


@pytest.mark.slow
def test_an_error_is_chosen_by_and_said_as_such(shown):
    page = shown(made_results(errors_and_latencies(), ["rmse <= 13", "latency_p95 <= 350 ms"], shown=shown_samples()))
    chosen = text(page, "choice-id")
    page.run("document.getElementById('limit-0').focus()")
    page.press("Home")
    page.settle()
    assert text(page, "choice") == "With these limits: No plan is feasible"
    page.press("End")
    page.settle()
    assert text(page, "choice-id") == chosen
    page.run("document.querySelector('#plans thead [data-key=rmse] button').focus()")
    page.press("Enter")
    order = page.run("[...document.querySelectorAll('#plans tbody th')].map((cell) => cell.textContent)")
    assert order == ["RC-png-tcp", "SC4-uint8-tcp", "SC3-uint8-udp", "RC-uint8-udp"]  # the smallest error first
    page.run("document.getElementById('limit-1').focus()")
    page.press("End")
    page.settle()
    assert "only their RMSE is not known" in text(page, "status")
    assert "ccuracy" not in page.run("document.querySelector('main').innerText")


@pytest.mark.slow
def test_two_designs_side_by_side_open_too(browser, tmp_path):
    from splitimpera.report.comparison import compare
    from splitimpera.report.html.comparison_page import comparison_html

    first = made_results(four_plans(), REQUIREMENTS)
    second = made_results([evaluation("SC3-uint8-udp", p95_s=0.04)], [*REQUIREMENTS[:2], "fps >= 25"])
    path = tmp_path / "both.html"
    path.write_text(comparison_html(compare(first, second)))
    page = browser.open(path.as_uri(), 420)
    assert page.errors == []
    assert page.run("document.documentElement.scrollWidth") <= 420
    row = page.run(
        "[...document.querySelectorAll('#plans tbody tr')].find((r) => r.textContent.includes('SC3')).innerText"
    )
    assert "50 ms\n40 ms\n-20 %" in row
