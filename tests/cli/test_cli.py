"""The command line as a newcomer meets it: real processes, exit codes, messages."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT

pytestmark = pytest.mark.alone

BROKEN = sorted((ROOT / "tests" / "broken_scenarios").glob("*.yaml"))


def splitimpera(*arguments, cwd=ROOT, **options):
    command = [sys.executable, "-m", "splitimpera", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=900, check=False, **options)


def here(*arguments):
    """The same within this process, which need not import torch again."""
    from splitimpera.cli import main

    handler, argv = signal.getsignal(signal.SIGINT), sys.argv
    out, errors = io.StringIO(), io.StringIO()
    sys.argv = ["splitimpera", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors), pytest.raises(SystemExit) as end:
            main()
    finally:
        sys.argv = argv
        signal.signal(signal.SIGINT, handler)
    return subprocess.CompletedProcess(arguments, end.value.code, out.getvalue(), errors.getvalue())


def test_version_and_help():
    import splitimpera as sei

    assert splitimpera("--version").stdout == f"splitimpera {sei.__version__}\n"
    assert splitimpera("--help").returncode == 0
    assert "scenario" in splitimpera("--help").stdout
    assert splitimpera("design", "--help").returncode == 0


def test_help_imports_nothing_heavy():
    heavy = ("torch", "numpy", "plotly", "pydantic", "matplotlib")
    code = f"import sys, splitimpera.cli.app; print([m for m in {heavy} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_wrong_arguments():
    for arguments in (["desing"], ["design"], ["design", "x.yaml", "--sed", "1"], ["design", "x.yaml", "--seed", "-1"]):
        run = splitimpera(*arguments)
        assert run.returncode == 2, arguments
        assert "Traceback" not in run.stderr
        assert run.stderr


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_a_broken_scenario_gives_one_clear_message(path, tmp_path):
    expected = path.read_text().splitlines()[0].removeprefix("# expects: ").split(" | ")
    run = here("design", path, "--out", tmp_path / "out")
    assert run.returncode == 2
    assert "Traceback" not in run.stdout + run.stderr
    message = run.stderr.strip()
    assert message.startswith("error: ")
    assert len(message.splitlines()) == 1
    for words in expected:
        assert words in message
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_broken_scenario_in_a_process_of_its_own(tmp_path):
    run = splitimpera("design", BROKEN[0].with_name("untraceable.yaml"), "--out", tmp_path / "out")
    assert run.returncode == 2
    assert len(run.stderr.strip().splitlines()) == 1
    assert "Traceback" not in run.stdout + run.stderr


def test_there_are_enough_broken_scenarios():
    assert len(BROKEN) >= 10


@pytest.mark.parametrize("name", ["wrong_unit", "unknown_codec", "missing_folder"])
def test_check_finds_the_same_faults_without_running(name):
    path = ROOT / "tests" / "broken_scenarios" / f"{name}.yaml"
    run = here("scenario", "check", path)
    assert run.returncode == 2
    assert path.read_text().splitlines()[0].removeprefix("# expects: ").split(" | ")[0] in run.stderr


@pytest.mark.slow
def test_init_writes_a_scenario_that_checks_and_never_overwrites(tmp_path):
    run = splitimpera("scenario", "init", cwd=tmp_path)
    assert run.returncode == 0
    assert "splitimpera design scenario.yaml" in run.stdout
    assert splitimpera("scenario", "check", "scenario.yaml", cwd=tmp_path).returncode == 0
    (tmp_path / "scenario.yaml").write_text("mine")
    again = splitimpera("scenario", "init", cwd=tmp_path)
    assert again.returncode == 2
    assert "exists already" in again.stderr
    assert (tmp_path / "scenario.yaml").read_text() == "mine"
    assert splitimpera("scenario", "init", "--force", cwd=tmp_path).returncode == 0
    assert (tmp_path / "scenario.yaml").read_text() != "mine"


def test_an_output_folder_that_is_a_file(tmp_path):
    (tmp_path / "out").write_text("mine")
    run = splitimpera("design", ROOT / "examples/digits/scenario.yaml", "--out", tmp_path / "out")
    assert run.returncode == 2
    assert "is a file, a folder is expected" in run.stderr
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_folder_that_cannot_be_written(tmp_path):
    tmp_path.chmod(0o500)
    run = splitimpera("design", ROOT / "examples/digits/scenario.yaml", "--out", tmp_path / "out")
    assert run.returncode == 2
    assert "cannot be written" in run.stderr


def test_an_output_folder_on_a_file_system_that_refuses_writes():
    run = splitimpera("design", ROOT / "examples/digits/scenario.yaml", "--out", "/proc/splitimpera")
    assert run.returncode == 2
    assert "Traceback" not in run.stderr
    assert "cannot be written" in run.stderr


@pytest.mark.slow
def test_ctrl_c_ends_with_130_and_leaves_earlier_results_whole(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "results.json").write_text("earlier")
    command = [sys.executable, "-m", "splitimpera", "design", "examples/digits/scenario.yaml", "--out", str(out)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert "digits" in process.stdout.readline()  # the work has begun
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert {path.name for path in out.iterdir()} <= {"results.json", "work.sqlite", "provisional.csv"}
    assert (out / "results.json").read_text() == "earlier"


def recommended(results):
    """The recommendation from plans, requirements and ties alone, as docs/results.md says it."""
    wanted, decision = results["requirements"], results["recommendation"]

    def margin(plan, requirement):
        name, limit = requirement["metric"], requirement["limit"]
        distance = limit - plan["metrics"][name] if requirement["kind"] == "upper" else plan["metrics"][name] - limit
        unstable = not plan["stable"] and name.startswith(("latency", "fps", "on_time"))
        return min(distance / limit, -1) if unstable else distance / limit

    def tied(plan, other, requirement):
        metric, ids = requirement["metric"], {plan["id"], other["id"]}
        chance = decision["ties"][metric]
        if ids & set(chance["touched"]):
            return any(ids == set(pair) for pair in chance["tied"])
        difference = abs(plan["metrics"][metric] - other["metrics"][metric])
        return difference <= decision["tolerance"] * requirement["limit"]

    def beats(plan, other):
        gains = [margin(plan, requirement) - margin(other, requirement) for requirement in wanted]
        return min(gains) >= 0 and any(
            gain > 0 and not tied(plan, other, requirement) for gain, requirement in zip(gains, wanted, strict=True)
        )

    def fits(plan):
        hard = [requirement for requirement in wanted if requirement["weight"] is None]
        known = all(plan["metrics"][requirement["metric"]] is not None for requirement in wanted)
        return not plan["cannot_run"] and known and all(margin(plan, requirement) >= 0 for requirement in hard)

    fitting = [plan for plan in results["plans"] if fits(plan)]
    best = [plan for plan in fitting if plan["certainty"] == "certain"] or fitting
    best = [plan for plan in best if not any(beats(other, plan) for other in best)]

    def levelled(plan, requirement):
        most = max(margin(other, requirement) for other in best)
        tops = [other for other in best if margin(other, requirement) == most]
        same = any(plan is other or tied(plan, other, requirement) for other in tops)
        return most if same else margin(plan, requirement)

    def key(plan):
        margins = [levelled(plan, requirement) for requirement in wanted]
        penalty = sum(
            (requirement["weight"] or 0) * max(0, -value) for requirement, value in zip(wanted, margins, strict=True)
        )
        last = (
            len(plan["hops"]),
            plan["metrics"]["latency_p95"],
            plan["energy_j"] or 0,
            plan["metrics"]["payload_bytes"],
        )
        return penalty, [-value for value in sorted(margins)], last, plan["id"]

    return min(best, key=key)["id"] if best else None


@pytest.fixture(
    scope="module",
    params=[  # they train a network, two of them bottlenecks, too
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("digits/remote --no-explore", "digits/scenario", "digits_resnet/scenario")
    ],
)
def finished(request, tmp_path_factory):
    """An example, run as it says itself; the quick one without looking further."""
    out = tmp_path_factory.mktemp("runs") / "out"
    name, *options = request.param.split()
    run = splitimpera("design", f"examples/{name}.yaml", "--out", out, *options)
    assert run.returncode == 0, run.stderr
    return request.param, run, out


def test_an_example_runs_and_prints_its_recommendation(finished):
    _, run, out = finished
    results = json.loads((out / "results.json").read_text())
    assert f"Recommended: {results['recommendation']['plan']}" in run.stdout
    assert run.stderr == ""
    # a line that names files is not broken
    assert all(
        len(line) <= 80 for line in run.stdout.splitlines() if not line.startswith(("Written", "Without accuracy"))
    )
    assert {path.name for path in out.iterdir()} == {
        "results.json",
        "plans.csv",
        "report.html",
        "saliency.png",
        "plans.png",
        "design.svg",
        "network.svg",
    }


def test_the_recommendation_follows_from_the_plans_alone(finished):
    results = json.loads((finished[2] / "results.json").read_text())
    assert results["recommendation"]["plan"] == recommended(results)


def test_an_example_has_every_configuration_and_every_fate(finished):
    results = json.loads((finished[2] / "results.json").read_text())
    assert {plan["configuration"] for plan in results["plans"]} == {"LC", "RC", "SC"}
    assert any(plan["violations"] for plan in results["plans"])
    assert any(plan["feasible"] for plan in results["plans"])
    assert results["base_quality"] >= 0.97
    assert results["samples"]["test"] >= 500


def test_results_have_the_promised_keys_and_types(finished):
    results = json.loads((finished[2] / "results.json").read_text())
    for cut in results["cuts"]:
        assert {"index", "name", "shapes", "bytes", "macs_head", "cs"} <= cut.keys()
    for plan in results["plans"]:
        for key in ("payload_bytes", "latency_p50", "latency_p95", "latency_p99", "lost_packet_rate"):
            assert isinstance(plan["metrics"][key], (int, float)), key
        assert plan["configuration"] in ("LC", "RC", "SC")
        if plan["metrics"]["accuracy"] is None:  # whatever it is, the plan misses something else
            assert plan["quality_ci"] is plan["score"] is None
            assert {miss["metric"] for miss in plan["violations"]} - {"accuracy"}
        else:
            assert isinstance(plan["score"], (int, float))
            low, high = plan["quality_ci"]
            assert 0 <= low <= plan["metrics"]["accuracy"] <= high <= 1
        assert plan["feasible"] == (not plan["violations"])
        assert len(plan["hops"]) == (plan["configuration"] != "LC")
        assert len(plan["latency_p95_replications_s"]) in ((5, 20) if plan["stable"] else (1, 5, 20))
        if plan["stable"]:
            assert len(plan["latency_quantiles_s"]) == len(results["latency_shares"])
    assert results["schema_version"] == 8
    assert results["candidates"]


def test_the_table_has_a_line_for_each_plan(finished):
    results = json.loads((finished[2] / "results.json").read_text())
    with Path(finished[2] / "plans.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [plan["id"] for plan in results["plans"]]
    assert float(rows[0]["latency_p95_s"]) == results["plans"][0]["metrics"]["latency_p95"]


def test_pictures_are_pictures(finished):
    from PIL import Image

    for name in ("saliency.png", "plans.png"):
        with Image.open(finished[2] / name) as image:
            assert image.width > 600


def test_the_report_opens_in_a_browser_without_script_errors(finished, tmp_path):
    from browser import open_page

    page = open_page(finished[2] / "report.html", tmp_path)
    results = json.loads((finished[2] / "results.json").read_text())
    assert page.errors == []
    assert page.text.count("<svg") > 6  # the figures were drawn
    assert f'class="id">{results["recommendation"]["plan"]}</span>' in page.text
    for plan in results["plans"]:
        assert plan["id"] in page.text
    assert page.screenshot.stat().st_size > 30_000
    assert (finished[2] / "report.html").stat().st_size < 6_000_000
