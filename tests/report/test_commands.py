"""`splitimpera report` and `splitimpera compare` as they are called."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
from made import evaluation, four_plans, made_values

from splitimpera.cli import main

REQUIREMENTS = ["accuracy >= 90 %", "latency_p95 <= 60 ms"]


@pytest.fixture
def command(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["splitimpera", *map(str, arguments)])
        handler = signal.getsignal(signal.SIGINT)
        with pytest.raises(SystemExit) as end:
            main()
        signal.signal(signal.SIGINT, handler)
        return end.value.code, capsys.readouterr()

    return call


def run_folder(folder, *plans, **changes):
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps(made_values(plans or four_plans(), REQUIREMENTS, **changes)))
    return folder


@pytest.mark.slow
def test_a_report_is_made_anew_from_its_results(command, tmp_path):
    folder = run_folder(tmp_path / "run")
    before = (folder / "results.json").read_bytes()
    code, said = command("report", folder)
    assert code == 0
    assert "design.svg, network.svg, plans.csv, plans.png, report.html, saliency.png" in said.out
    assert "Split after block.add, 8-bit, over UDP</span>" in (folder / "report.html").read_text()
    assert (folder / "plans.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "results.json").read_bytes() == before


def test_only_the_page_is_written_where_a_file_is_named(command, tmp_path):
    folder = run_folder(tmp_path / "run")
    code, said = command("report", folder, "--out", tmp_path / "page.html")
    assert code == 0
    assert "Written:" in said.out
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    assert [path.name for path in folder.iterdir()] == ["results.json"]


@pytest.mark.parametrize("arguments", [["report", "RUN"], ["compare", "RUN", "RUN"], ["compare", "GOOD", "RUN"]])
@pytest.mark.parametrize("content", ["{", '{"schema_version": 3}', None])
def test_what_cannot_be_read_leaves_all_as_it_was(command, tmp_path, arguments, content):
    folders = {"RUN": tmp_path / "run", "GOOD": run_folder(tmp_path / "good")}
    folders["RUN"].mkdir()
    (folders["RUN"] / "report.html").write_text("mine")
    if content is not None:
        (folders["RUN"] / "results.json").write_text(content)
    code, said = command(*(folders.get(argument, argument) for argument in arguments))
    assert code == 2
    assert said.err.startswith("error: ")
    assert len(said.err.splitlines()) == 1
    assert "splitimpera design" in said.err
    assert (folders["RUN"] / "report.html").read_text() == "mine"


def test_a_page_that_cannot_be_written(command, tmp_path):
    folder = run_folder(tmp_path / "run")
    code, said = command("report", folder, "--out", tmp_path)
    assert code == 2
    assert "--out" in said.err
    code, said = command("compare", folder, folder, "--out", "/proc/nowhere/page.html")
    assert code == 2
    assert "--out" in said.err


def test_two_runs_are_compared(command, tmp_path):
    first = run_folder(tmp_path / "first")
    second = run_folder(tmp_path / "second", evaluation("SC3-uint8-udp", p95_s=0.04), replications=3)
    code, said = command("compare", first, second, "--out", tmp_path / "both.html")
    assert code == 0
    for words in ("run replications", "SC3-uint8-udp", "-20 %", "not evaluated", "both.html"):
        assert words in said.out
    assert "-20 %" in (tmp_path / "both.html").read_text()


def test_results_are_compared_without_torch_and_plotly(tmp_path):
    folder = run_folder(tmp_path / "run")
    code = (
        "import sys; from splitimpera.report.reading import read; "
        "from splitimpera.report.comparison import compare, comparison_tables; from pathlib import Path; "
        f"found = read(Path({str(folder)!r})); comparison_tables(compare(found, found)); "
        "print([name for name in ('torch', 'plotly', 'matplotlib') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
