"""A study as its users run it: from a file, interrupted, changed, with cells that fail."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT

import splitimpera as sei
from splitimpera.core.errors import OutputError, ScenarioError
from splitimpera.studies.maps import Pool
from splitimpera.studies.study_files import read_study, write_tables

pytestmark = pytest.mark.alone

PARTS = """
from training.splits import Tiny, samples_of

def network():
    import torch
    torch.manual_seed(0)
    return Tiny().eval()

def pictures():
    samples = samples_of(300)
    return samples.inputs, samples.labels
"""

STUDY = """
name: small
replications: 2
scenario:
  network: {model: "parts.py:network"}
  data: {source: "parts.py:pictures", validation: 40 %, test: 30 %}
  devices: [{name: camera, preset: cortex-m7}, {name: server, preset: t4}]
  links: [{rate: 1 Mbit/s, delay: 5 ms}]
  workload: {fps: 10}
  plans: {cuts: all, codecs: [uint8, float32], transports: [tcp, udp]}
  requirements: [accuracy >= 10 %, latency_p95 <= 40 ms]
ranges:
  links[0].rate: {log: [100 kbit/s, 10 Mbit/s], count: 3}
  links[0].loss: [0 %, 5 %]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "training"))
    (tmp_path / "parts.py").write_text(PARTS)
    (tmp_path / "small.yaml").write_text(STUDY)
    return tmp_path


def tables(folder):
    write_tables(folder, read_study(folder))
    return [(folder / name).read_bytes() for name in ("cells.csv", "plans.csv")]


@pytest.mark.slow
def test_every_cell_is_found_once_and_stands_in_a_frame(folder):
    said = []
    found = sei.study(folder / "small.yaml", folder / "out", say=said.append)
    assert [cell.state for cell in found.cells] == ["done"] * 6
    assert found.cells[1].values == {"links[0].rate": "100000.0 bit/s", "links[0].loss": "5 %"}
    frame = found.frame()
    assert len(frame) == sum(cell.row.plans for cell in found.cells)
    assert (frame[frame.transport == "tcp"].groupby("cell").latency_p95.min().diff()[::2].dropna() <= 0).all()
    for cell in found.cells:
        best = cell.row.chosen
        assert best is None or best == found.plans_of(cell.index)[0]
    # nothing is done twice
    size, told = (folder / "out" / "study.journal").stat().st_size, []

    def track(steps, said, total):
        told.append(said)
        return steps

    again = sei.study(folder / "small.yaml", folder / "out", track=track)
    assert (folder / "out" / "study.journal").stat().st_size == size
    assert again.cells == found.cells
    assert "Evaluating the cells" not in told
    assert "Learning what frames carry" not in told


@pytest.mark.slow
def test_a_cell_is_what_a_design_finds(folder):
    found = sei.study(folder / "small.yaml", folder / "out")
    scenario = (folder / "small.yaml").read_text().split("scenario:\n")[1].split("ranges:")[0]
    (folder / "alone.yaml").write_text("\n".join(line[2:] for line in scenario.splitlines()))
    design = sei.design(folder / "alone.yaml", replications=2, explore=False, every_accuracy=True)
    alone = {verdict.id: verdict for verdict in design.recommendation.verdicts}
    cell = next(
        cell for cell in found.cells if cell.values == {"links[0].rate": "1000000.0 bit/s", "links[0].loss": "0 %"}
    )
    for plan in found.plans_of(cell.index):
        verdict = alone[plan.id]
        assert plan.feasible == verdict.feasible
        metrics = verdict.evaluation.metrics()
        for name in ("latency_p50", "latency_p95", "payload_bytes", "fps"):
            assert plan.metrics[name] == pytest.approx(metrics[name], rel=1e-9), (plan.id, name)
        if plan.metrics["accuracy"] is not None:
            assert plan.metrics["accuracy"] == pytest.approx(metrics["accuracy"], abs=1e-9)
    assert cell.row.chosen.id == design.recommendation.chosen.id


@pytest.mark.slow
def test_what_damage_does_is_near_what_a_design_finds(folder):
    text = STUDY.replace("[0 %, 5 %]", "[10 %]").replace("count: 3", "count: 2").replace("40 ms", "400 ms")
    (folder / "small.yaml").write_text(text)
    found = sei.study(folder / "small.yaml", folder / "out")
    scenario = (
        text.split("scenario:\n")[1]
        .split("ranges:")[0]
        .replace("{rate: 1 Mbit/s, delay: 5 ms}", "{rate: 10 Mbit/s, delay: 5 ms, loss: 10 %}")
    )
    (folder / "alone.yaml").write_text("\n".join(line[2:] for line in scenario.splitlines()))
    design = sei.design(folder / "alone.yaml", replications=2, explore=False, every_accuracy=True)
    alone = {verdict.id: verdict.evaluation for verdict in design.recommendation.verdicts}
    compared = 0
    for plan in found.plans_of(len(found.cells) - 1):
        if plan.transport == "udp" and plan.metrics["accuracy"] is not None:
            low, high = alone[plan.id].quality_ci
            assert low - 0.02 <= plan.metrics["accuracy"] <= high + 0.02, plan.id
            compared += 1
    assert compared > 3


@pytest.mark.slow
def test_cells_and_plans_that_fail_stop_nothing(folder):
    text = STUDY.replace("[0 %, 5 %]", "[0 %]") + '  plans.codecs: [[uint8], ["uint8+fec:no"]]\n'
    (folder / "small.yaml").write_text(text)
    with pytest.raises(ScenarioError, match=r"fec:no"):
        sei.study(folder / "small.yaml", folder / "out")
    # values that fit alone, and not together
    text = STUDY.replace("[0 %, 5 %]", "[0 %]").replace("transports: [tcp, udp]", "transports: [udp]")
    text += "  links[0].security: [none, dtls]\n  plans.transports: [[udp], [udp, tcp]]\n"
    (folder / "small.yaml").write_text(text)
    found = sei.study(folder / "small.yaml", folder / "out")
    states = [cell.state for cell in found.cells]
    assert states.count("failed") == 3
    assert states.count("done") == 9
    failed = next(cell for cell in found.cells if cell.state == "failed")
    assert "dtls works over UDP" in failed.reason


def test_a_folder_of_another_study_and_a_second_driver_are_refused(folder):
    sei.study(folder / "small.yaml", folder / "out")
    (folder / "small.yaml").write_text(STUDY.replace("name: small", "name: other"))
    with pytest.raises(OutputError, match="a journal of another study"):
        sei.study(folder / "small.yaml", folder / "out")
    from splitimpera.studies.study_files import open_journal

    (folder / "small.yaml").write_text(STUDY)
    with open_journal(folder / "out", "small", write=True), pytest.raises(OutputError, match="another run"):
        sei.study(folder / "small.yaml", folder / "out")
    with pytest.raises(OutputError, match="study run"):
        read_study(folder)


@pytest.mark.slow
def test_time_that_is_over_leaves_cells_for_the_next_run(folder):
    found = sei.study(folder / "small.yaml", folder / "out", max_time_s=0.0)
    assert {cell.state for cell in found.cells} == {"left"}
    assert {cell.state for cell in sei.study(folder / "small.yaml", folder / "out").cells} == {"done"}


@pytest.mark.slow
def test_several_processes_find_the_same_to_the_byte(folder):
    sei.study(folder / "small.yaml", folder / "one")
    sei.study(folder / "small.yaml", folder / "two", using=Pool(2))
    assert tables(folder / "one") == tables(folder / "two")


@pytest.mark.slow
def test_a_study_on_ray_finds_the_same_to_the_byte(folder):
    pytest.importorskip("ray")
    from splitimpera.studies.ray_map import Ray

    sei.study(folder / "small.yaml", folder / "one")
    with (ray := Ray(workers=2)).joined():
        sei.study(folder / "small.yaml", folder / "two", using=ray)
    assert tables(folder / "one") == tables(folder / "two")


@pytest.mark.slow
def test_a_study_on_a_cluster_that_loses_a_node_finds_the_same_to_the_byte(folder):
    pytest.importorskip("ray")
    (folder / "small.yaml").write_text(STUDY.replace("count: 3", "count: 12"))
    path = os.pathsep.join([str(ROOT / "tests"), str(ROOT / "tests" / "training")])
    driver = [sys.executable, ROOT / "tests" / "studies" / "ray_drivers.py", "a_study_loses_a_node", folder]
    ran = subprocess.run(driver, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=200)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout.splitlines()[-1]) == ["done"] * 24
    assert len(read_study(folder / "out").workers) > 1
    sei.study(folder / "small.yaml", folder / "one")
    assert tables(folder / "out") == tables(folder / "one")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_study_that_is_killed_again_and_again_ends_as_if_it_were_not(folder):
    sei.study(folder / "small.yaml", folder / "whole")
    path = os.pathsep.join([str(ROOT / "tests"), str(ROOT / "tests" / "training")])
    command = [sys.executable, "-m", "splitimpera", "study", "run", "small.yaml", "--out", "killed", "--workers", "1"]
    rng, kills = random.Random(0), 0
    while kills < 30:
        run = subprocess.Popen(command, cwd=folder, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.DEVNULL)
        time.sleep(rng.uniform(0.5, 3.5))
        if run.poll() is not None:
            assert run.returncode == 0
            break
        run.send_signal(signal.SIGKILL)
        run.wait()
        kills += 1
    assert kills > 0
    subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": path}, check=True, timeout=120)
    assert tables(folder / "killed") == tables(folder / "whole")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="files have no limit there")
def test_a_study_on_a_full_disk_ends_with_a_message_and_goes_on_where_there_is_room(folder):
    import resource

    sei.study(folder / "small.yaml", folder / "whole")
    path = os.pathsep.join([str(ROOT / "tests"), str(ROOT / "tests" / "training")])
    command = [sys.executable, "-m", "splitimpera", "study", "run", "small.yaml", "--out", "full", "--workers", "1"]
    values, size = ((folder / "whole" / name).stat().st_size for name in ("values.sqlite", "study.journal"))

    def ran(limit):
        return subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY)),
            capture_output=True,
            text=True,
        )

    assert values < size
    for limit, name in ((values // 2, "values.sqlite"), ((values + size) // 2, "study.journal")):
        stopped = ran(limit)
        assert stopped.returncode == 2
        assert f"{name}' cannot be written" in " ".join(stopped.stderr.split())
        assert "the same command goes on" in stopped.stdout
    assert ran(resource.RLIM_INFINITY).returncode == 0
    assert tables(folder / "full") == tables(folder / "whole")


@pytest.mark.slow
def test_bottlenecks_that_were_not_to_be_trained_are_trained_by_the_next_run(folder):
    text = STUDY.replace("[0 %, 5 %]", "[0 %]").replace("count: 3", "count: 2").replace("cuts: all", "cuts: [stem.0]")
    text = text.replace("  requirements:", "  bottlenecks: {ratios: [2], epochs: [1, 1]}\n  requirements:")
    (folder / "small.yaml").write_text(text)
    few = sei.study(folder / "small.yaml", folder / "out", max_trainings=0)
    rows = [plan for plan in few.plans_of(0) if plan.bottleneck]
    assert rows
    assert all("not to be trained" in " ".join(plan.misses) or "no more bottlenecks" in plan.misses[0] for plan in rows)
    every = sei.study(folder / "small.yaml", folder / "out")
    assert all(plan.metrics for plan in every.plans_of(0))
    # a run with the limit again finds what it found before
    again = sei.study(folder / "small.yaml", folder / "out", max_trainings=0)
    assert again.cells == every.cells


def test_a_study_of_which_nothing_can_be_evaluated_is_an_error(folder):
    text = STUDY.replace("parts.py:pictures", "parts.py:none_such")
    (folder / "small.yaml").write_text(text)
    with pytest.raises(sei.SplitImperaError, match="none_such"):
        sei.study(folder / "small.yaml", folder / "out")


SEARCH = (
    STUDY.replace("[0 %, 5 %]", "[0 %]")
    .replace("count: 3", "count: 2")
    .replace("  requirements:", "  bottlenecks: {ratios: [2, 8], epochs: [1, 4]}\n  requirements:")
    + "goal: search\nsearch: {budget: 60 %}\n"
)


@pytest.mark.slow
def test_a_search_trains_some_and_recommends_among_them(folder):
    (folder / "small.yaml").write_text(SEARCH)
    said = []
    found = sei.study(folder / "small.yaml", folder / "out", say=said.append)
    assert found.goal == "search"
    assert {cell.state for cell in found.cells} == {"done"}
    steps = found.search
    assert [step.rung for step in steps].count(0) >= [step.rung for step in steps].count(1) > 0
    best = [step.best for step in steps if step.best is not None]
    assert best == sorted(best)
    trained = {(plan.cut, plan.bottleneck) for plan in found.plans_of(0) if plan.bottleneck and plan.metrics}
    named = {tuple(step.candidate.replace("cut ", "").split(", ratio ")) for step in steps if step.rung == 1}
    assert trained == {(int(cut), float(ratio)) for cut, ratio in named}
    assert any("trained fully" in line for line in said)
    # the same again is told by the journal alone
    size = (folder / "out" / "study.journal").stat().st_size
    again = sei.study(folder / "small.yaml", folder / "out")
    assert again.cells == found.cells
    assert again.search == found.search
    assert (folder / "out" / "study.journal").stat().st_size == size


@pytest.mark.slow
def test_a_search_for_a_small_metric_and_for_a_front(folder):
    # of the two rates the slow one rules out what sends much: a cell without anything is worth less than any other
    text = SEARCH.replace("latency_p95 <= 40 ms]", "latency_p95 <= 20 ms]\n  objective: latency_p95")
    (folder / "small.yaml").write_text(text.replace("budget: 60 %", "budget: 100 %, rungs: [4]"))
    found = sei.study(folder / "small.yaml", folder / "one")
    assert found.searched == ("latency_p95",)
    best = max(found.search, key=lambda step: step.value or 0.0)
    worst = min(found.search, key=lambda step: step.value or 0.0)
    by_place = {}
    for _, plan in found.every_plan():
        if plan.bottleneck and plan.metrics:
            by_place.setdefault(f"cut {plan.cut}, ratio {plan.bottleneck:g}", []).append(plan)
    counts = {name: len([plan for plan in plans if plan.feasible]) for name, plans in by_place.items()}
    assert counts[best.candidate] > counts.get(worst.candidate, 0)
    assert all(step.value is None or 0 < step.value < 1 for step in found.search)
    # several objectives
    asked = "objectives: [on_time_accuracy, payload_bytes], budget: 60 %"
    (folder / "small.yaml").write_text(SEARCH.replace("budget: 60 %", asked))
    said = []
    found = sei.study(folder / "small.yaml", folder / "front", say=said.append)
    assert found.searched == ("on_time_accuracy", "payload_bytes")
    (front,) = (line for line in said if "none is better than" in line)
    assert len(front.split(";")) >= 2
    again = sei.study(folder / "small.yaml", folder / "front")
    assert again.search == found.search
    (folder / "small.yaml").write_text(SEARCH.replace("budget: 60 %", "objectives: [latenzy_p95]"))
    with pytest.raises(ScenarioError, match="latency_p95"):
        sei.study(folder / "small.yaml", folder / "wrong")


@pytest.mark.slow
def test_a_search_trains_no_more_than_it_may_and_nothing_that_is_hopeless(folder):
    (folder / "small.yaml").write_text(SEARCH)
    found = sei.study(folder / "small.yaml", folder / "few", max_trainings=2)
    assert len({step.candidate for step in found.search}) == 2
    (folder / "small.yaml").write_text(SEARCH.replace("latency_p95 <= 40 ms", "latency_p95 <= 1 us"))
    said = []
    found = sei.study(folder / "small.yaml", folder / "none", say=said.append)
    assert not found.search
    assert any("in no cell" in line for line in said)
    (folder / "small.yaml").write_text(STUDY + "goal: search\n")
    with pytest.raises(ScenarioError, match="no bottlenecks to search for"):
        sei.study(folder / "small.yaml", folder / "without")
    (folder / "small.yaml").write_text(SEARCH.replace("budget: 60 %", "strategy: halving+nonsense"))
    with pytest.raises(sei.SplitImperaError, match="no prior 'nonsense'"):
        sei.study(folder / "small.yaml", folder / "wrong")
