"""`splitimpera study`, as a newcomer runs it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from browser import chromium
from conftest import ROOT
from hostile.harness import command as called

from splitimpera.studies.study_files import read_study

pytestmark = pytest.mark.alone


def command(*arguments, cwd):
    ran = subprocess.run(
        [sys.executable, "-m", "splitimpera", "study", *map(str, arguments)], cwd=cwd, capture_output=True, text=True
    )
    return ran.returncode, ran.stdout, ran.stderr


@pytest.mark.parametrize(
    ("ranges", "said"),
    [
        ("links[0].rat: [1 Mbit/s]", "did you mean 'rate'"),
        ("links[0].rate: []", "at least 1 expected"),
        ("links[0].rate: [1 Mbits]", "'1 Mbits' is not a bit rate"),
        ("links[2].rate: [1 Mbit/s]", "'links' has 1 entries"),
        ("links[0].rate: {log: [0 bit/s, 1 Mbit/s], count: 3}", "write linear"),
        ("links[0].rate: {log: [1 ms, 1 Mbit/s], count: 3}", "not two quantities of one kind"),
        ("links[0].rate: {log: [1 kbit/s, 1 Mbit/s], cout: 3}", "did you mean 'count'"),
        ("devices[0].preset: [cortex-m99]", "cortex-m99"),
        ("plans.codecs: [[uint9]]", "uint9"),
        (
            "workload.fps: {linear: [1, 9], count: 9000}\n  links[0].rate: {log: [1 kbit/s, 1 Mbit/s], count: 9000}",
            "9000 x 9000 = 81000000 cells, at most 10000000 plans are looked at",
        ),
    ],
)
def test_ranges_that_cannot_be_are_told_before_anything_begins(ranges, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inside = f"\n  {ranges}" if not ranges.startswith("{") else f" {ranges}"
    (tmp_path / "study.yaml").write_text(
        f"scenario: {ROOT / 'examples' / 'study' / 'scenario.yaml'}\nranges:{inside}\n"
    )
    code, _, errors = called("study", "run", "study.yaml", "--out", "out")
    assert code == 2
    assert said in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "out" / "study.json").exists()


def test_other_mistakes_have_messages(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for arguments, said in (
        (["run", "none.yaml"], "does not exist"),
        (["status", "."], "study run"),
        (["page", "."], "study run"),
        (["run", ROOT / "examples" / "study" / "study.yaml", "--max-time", "soon"], "--max-time"),
        (["run", ROOT / "examples" / "study" / "scenario.yaml"], "this is a scenario, a study is expected"),
    ):
        code, _, errors = called("study", *map(str, arguments))
        assert code == 2, arguments
        assert said in errors, arguments
    assert not list(tmp_path.iterdir())
    code, _, errors = called("scenario", "check", str(ROOT / "examples" / "study" / "study.yaml"))
    assert (code, "this is a study, a scenario is expected" in errors) == (2, True)
    (tmp_path / "study.journal").write_text("")
    code, _, errors = called("study", "status", ".")
    assert (code, "has not got as far as its cells" in errors) == (2, True)


@pytest.mark.slow
def test_the_example_of_a_study_and_its_page_in_a_browser(tmp_path):
    code, said, errors = command("run", ROOT / "examples" / "study" / "study.yaml", cwd=tmp_path)
    assert (code, errors) == (0, "")
    assert "Written to runs/digits-radios: cells.csv, plans.csv, study.html" in " ".join(said.split())
    folder = tmp_path / "runs" / "digits-radios"
    found = read_study(folder)
    assert [cell.state for cell in found.cells] == ["done"] * 64
    winners = {cell.row.chosen.configuration for cell in found.cells if cell.row.chosen}
    assert winners == {"LC", "RC", "SC"}
    assert (folder / "study.html").stat().st_size < 6_000_000
    with chromium(tmp_path / "profile") as browser:
        page = browser.open((folder / "study.html").as_uri())
        assert "designs win" in page.run("document.body.textContent")
        assert page.run("document.querySelectorAll('#panels svg').length") == 2
        page.close()
        assert page.errors == []
    # the same command does nothing again
    size = (folder / "study.journal").stat().st_size
    code, said, _ = command("run", ROOT / "examples" / "study" / "study.yaml", cwd=tmp_path)
    assert code == 0
    assert "Evaluating the cells" not in said
    assert (folder / "study.journal").stat().st_size == size
