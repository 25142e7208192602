"""The page of a verification in a browser."""

from __future__ import annotations

import pytest
from browser import chromium
from deployed import LOCAL, SPLIT_TCP, SPLIT_UDP, gate, logged

from splitimpera.report.html.verification_page import verification_html
from splitimpera.verification.comparing import verify


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.mark.slow
@pytest.mark.parametrize(
    "plan", [SPLIT_TCP, *(pytest.param(plan, marks=pytest.mark.slow) for plan in (SPLIT_UDP, LOCAL))]
)
def test_it_draws_everything_and_asks_for_nothing(browser, plan, tmp_path):
    found = verify(gate(), [logged(tmp_path / "run.jsonl", plan, add={"device": 0.002})])
    path = tmp_path / "verify.html"
    path.write_text(verification_html(found))
    page = browser.open(path.as_uri())
    assert page.run("document.getElementById('headline').textContent") == found.headline
    listed = page.run("[...document.querySelectorAll('#findings li')].map((line) => line.textContent)")
    assert listed == found.findings
    assert listed[0].startswith("The layers on camera take")
    drift = page.run("[...document.querySelectorAll('#drift li')].map((line) => line.textContent)")
    assert drift == [one.told for one in found.drift]
    assert drift[0].startswith("The layers on camera take 1.")
    assert page.run("document.getElementById('anew').textContent") == found.anew
    assert page.run("[...document.querySelectorAll('.plot')].every((plot) => plot.querySelector('svg.main-svg'))")
    # no figure is drawn over what follows it
    tops = page.run(
        "[...document.querySelectorAll('.plot')].map((plot) => plot.nextElementSibling"
        ".getBoundingClientRect().top - plot.querySelector('svg.main-svg').getBoundingClientRect().bottom)"
    )
    assert min(tops) >= 0
    names = page.run("[...document.querySelectorAll('#parts-table tbody th')].map((cell) => cell.textContent)")
    assert names == [*(part.name for part in found.parts), "all"]
    for emulated in ({"prefers_color_scheme": "dark"}, {"media": "print"}, {}):
        page.emulate(**emulated)
    narrow = browser.open(path.as_uri(), 400)
    assert narrow.run("document.documentElement.scrollWidth <= window.innerWidth")
    narrow.close()
    page.close()
    assert page.errors == []
    assert [url for url in page.requests if not url.startswith(("file:", "data:", "blob:"))] == []
