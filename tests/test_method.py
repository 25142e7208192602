"""The whole method on a network and data of the user's own."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch

import splitimpera as sei
from splitimpera.core.errors import CutError, DataError, ModelError, ScenarioError
from splitimpera.core.kept import KeptFile
from splitimpera.report import results_of

NETWORK = """
import torch
from torch import nn

torch.manual_seed(0)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, stride=2, padding=1)
        self.conv1 = nn.Conv2d(8, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(8, 4)
    def forward(self, x):
        x = self.stem(x).relu()
        x = (x + self.conv2(self.conv1(x).relu())).relu()
        return self.head(self.pool(x).mean((2, 3)))

net = Net().eval()

def network():
    return net

def data():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(300, 1, 16, 16, generator=generator) + 3 * torch.randn(300, 1, 1, 1, generator=generator)
    with torch.no_grad():
        return x, net(x).argmax(1)

def unlabelled():
    x, y = data()
    return x, y + 7

def segmenter():
    return nn.Conv2d(1, 4, 3)
"""

SCENARIO = """
network: {model: "mine.py:network"}
data: {source: "mine.py:data", validation: 40 %, test: 40 %}
devices: [{name: camera, slowdown: 0.001}, {name: server, slowdown: 0.001}]
links: [{rate: 5 Mbit/s, delay: 2 ms, loss: 2 %}]
workload: {fps: 20}
plans: {cuts: all, codecs: [float32]}
requirements: [accuracy >= 90 %, latency_p95 <= 10 s]
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(NETWORK)
    return tmp_path


def design(folder, *changes, explore=False, **options):
    text = SCENARIO
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "scenario.yaml").write_text(text)
    return sei.design(folder / "scenario.yaml", explore=explore, **options)


@pytest.mark.slow
def test_every_cut_of_a_users_residual_network_becomes_a_plan(folder):
    result = design(folder)
    assert result.base.value == 1.0
    plans = [evaluation.plan for evaluation in result.evaluations]
    assert {plan.hops[0].cut for plan in plans if plan.configuration == "SC"} == set(
        range(1, len(result.graph.cuts) - 1)
    )
    by_tcp = [e for e in result.evaluations if e.plan.hops and e.plan.hops[0].transport == "tcp"]
    assert all(e.quality == 1.0 for e in by_tcp if e.plan.hops[0].codec == "float32")
    assert result.recommendation.chosen is not None
    assert result.chosen_on_test is not None


@pytest.mark.slow
def test_results_are_plain_and_the_same_seed_gives_the_same_accuracies(folder):
    first, again, other = (design(folder, seed=seed, replications=2) for seed in (3, 3, 4))
    accuracies = [
        {e.plan.id: (e.quality, e.lost_packet_rate) for e in run.evaluations} for run in (first, again, other)
    ]
    assert accuracies[0] == accuracies[1]
    assert accuracies[0] != accuracies[2]
    results = json.loads(results_of(first).to_json())
    assert results["seed"] == 3
    assert results["replications"] == 2
    inside = next(cut for cut in results["cuts"] if len(cut["shapes"]) == 2)
    assert inside["cs"] > 0  # inside a block, where two tensors cross


@pytest.mark.slow
def test_the_cpu_by_name_and_mixed_precision(folder, tmp_path):
    """What is kept for one is not taken for the other."""
    changes = ("cuts: all", "cuts: [1, 3]"), ("5 Mbit/s", "50 Mbit/s")

    def designed(**where):
        with KeptFile(tmp_path / "work.sqlite") as kept:
            result = design(folder, *changes, replications=2, kept=kept, **where)
            entries = {key for (key,) in kept.connection.execute("SELECT key FROM kept")}
        return {e.plan.id: (e.quality, e.lost_packet_rate) for e in result.evaluations}, result.curve.cs, entries

    plain, curve, entries = designed()
    named, named_curve, same = designed(device="cpu")
    assert named == plain
    assert named_curve.tolist() == curve.tolist()
    assert same == entries
    mixed, mixed_curve, more = designed(device="cpu", autocast="bfloat16")
    assert len(more) == 2 * len(entries)
    assert all(abs(mixed[plan][0] - plain[plan][0]) <= 0.1 for plan in plain)
    np.testing.assert_allclose(mixed_curve, curve, rtol=0.1, atol=1e-3)
    assert mixed_curve.tolist() != curve.tolist()


def test_gradients_in_float16_are_refused_before_anything_is_computed(folder):
    with_bottlenecks = "plans:", "bottlenecks: {ratios: [2]}\nplans:"
    with pytest.raises(ScenarioError, match=r"^autocast: bottlenecks are trained.*give bfloat16"):
        design(folder, with_bottlenecks, ("mine.py:network", "missing.py:network"), autocast="float16")


@pytest.mark.slow
def test_distributions_come_from_several_seeds(folder):
    result = design(folder, ("cuts: all", "cuts: [1]"), replications=3)
    results = results_of(result)
    shares = results.latency_shares
    for evaluation, plan in zip(result.recommendation.verdicts, results.plans, strict=True):
        samples = evaluation.evaluation.latency_s
        assert samples.shape == (3, 1000)
        assert len(plan.latency_p95_replications_s) == 3
        np.testing.assert_allclose(plan.latency_quantiles_s, np.quantile(samples, shares), rtol=1e-4)
        for low, middle, high in zip(
            plan.latency_quantiles_low_s, plan.latency_quantiles_s, plan.latency_quantiles_high_s, strict=True
        ):
            assert low <= middle <= high
    with pytest.raises(ScenarioError, match="replications: 0 is out of range"):
        design(folder, replications=0)


@pytest.mark.slow
def test_an_unstable_plan_is_shown_as_such_everywhere(folder, capsys):
    from rich.console import Console

    from splitimpera.report import plans_csv, show
    from splitimpera.report.plan_figures import latency_figure, plans_figure
    from splitimpera.report.selection import latency_plans

    # a frame of 8 x 8 x 8 float32 values is 16 kbit, 20 of them are 330 kbit/s
    changes = ("5 Mbit/s", "200 kbit/s"), ("cuts: all", "cuts: [1]")
    result = design(folder, *changes, replications=2)
    results = results_of(result)
    unstable = [plan for plan in results.plans if not plan.stable]
    assert {"SC1-float32-udp", "SC1-float32-tcp"} <= {plan.id for plan in unstable}
    for plan in unstable:
        assert not plan.feasible
        assert any(violation.unbounded for violation in plan.violations)
        assert plan.latency_quantiles_s is None
    drawn = {plan.id for plan, _ in latency_plans(results)}
    assert drawn == {plan.id for plan in results.plans if plan.stable}
    in_figures = latency_figure(results).to_json() + plans_figure(results).to_json()
    rows = {row["id"]: row for row in csv.DictReader(plans_csv(results).splitlines())}
    for plan in unstable:
        assert plan.id not in in_figures
        assert rows[plan.id]["stable"] == "false"
        assert rows[plan.id]["latency_p95_s"] == ""
    show(results, Console(width=80))
    assert "unstable" in capsys.readouterr().out
    sei.save(result, folder / "out")
    page = (folder / "out" / "report.html").read_text()
    assert "unstable and not drawn" in page
    assert "(unbounded)" in page
    assert len(page) < 6_000_000


@pytest.mark.slow
def test_the_latency_figure_shows_the_best_of_each_kind_first(folder):
    from splitimpera.report.plan_figures import latency_figure

    results = results_of(design(folder, ("cuts: all", "cuts: [1]"), replications=2))
    lines = [trace for trace in latency_figure(results).data if trace.mode == "lines"]
    assert [line.legendgroup for line in lines] == [plan.id for plan in results.plans if plan.stable]
    shown = {line.legendgroup for line in lines if line.visible is True}
    assert results.recommendation.plan in shown
    kinds = [(plan.configuration, plan.transport) for plan in results.plans if plan.id in shown]
    assert len(kinds) == len(set(kinds)) == 5


@pytest.mark.slow
def test_nothing_fits_is_a_result(folder, capsys):
    from rich.console import Console

    from splitimpera.report.tables import show

    result = design(folder, ("latency_p95 <= 10 s", "latency_p95 <= 1 ns"))
    assert result.recommendation.chosen is None
    results = results_of(result)
    assert results.recommendation.plan is None
    assert results.recommendation.nearest
    assert results.recommendation.relax
    show(results, Console(width=80))
    assert "No plan is feasible" in capsys.readouterr().out
    names = {path.name for path in sei.save(result, folder / "out")}
    assert "report.html" in names
    assert "No plan is feasible" in (folder / "out" / "report.html").read_text()


@pytest.mark.slow
def test_cuts_by_name_and_by_index(folder):
    result = design(folder, ("cuts: all", "cuts: [conv1, 1]"))
    cuts = {e.plan.hops[0].cut for e in result.evaluations if e.plan.configuration == "SC"}
    assert cuts == {1, result.graph.cut("conv1").index}
    assert len(result.graph.cut("conv1").tensors) == 2


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (("cuts: all", "cuts: [0]"), CutError, r"plans\.cuts\[0\]: a split lies between input and result"),
        (("mine.py:data", "mine.py:unlabelled"), DataError, "the network tells 4 classes apart"),
        (("mine.py:network", "mine.py:segmenter"), ModelError, "one logit a class is expected"),
        (("fps: 20}", "fps: 20, deadlin: 1 s}"), ScenarioError, "did you mean 'deadline'"),
    ],
)
def test_what_does_not_fit_together(folder, change, error, message):
    with pytest.raises(error, match=message):
        design(folder, change)


@pytest.mark.slow
def test_lossy_plans_use_the_values_that_came(folder):
    """UDP accuracy lies between all right and what losing whole frames would leave."""
    result = design(folder, ("loss: 2 %", "loss: 30 %, mtu: 200 B"))
    losses = {e.plan.id: e for e in result.evaluations}
    split = losses["SC1-float32-udp"]
    packets = -(-8 * 8 * 8 * 4 // 160)
    assert split.quality > 0.7**packets + 0.05
    assert split.quality < 1.0
    assert split.lost_packet_rate == pytest.approx(0.3, abs=0.02)


def test_the_whole_package_names_only_what_it_has():
    for name in sei.__all__:
        assert getattr(sei, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'desing'"):
        sei.desing  # noqa: B018
    assert torch.is_grad_enabled()


SHORT = ("requirements:", "bottlenecks: {ratios: [4, 1000], epochs: [2, 2]}\nrequirements:")


@pytest.mark.slow
def test_bottlenecks_make_plans_of_their_own(folder, monkeypatch):
    monkeypatch.setenv("SPLITIMPERA_CACHE", str(folder / "cache"))
    said = []
    result = design(folder, SHORT, say=said.append)
    plans = {evaluation.plan.id: evaluation for evaluation in result.evaluations}
    stem = next(cut for cut in result.graph.cuts if cut.name == "stem")
    shrunk = plans[f"SC{stem.index}-b4-uint8-udp"]
    assert shrunk.payload_bytes == plans[f"SC{stem.index}-float32-udp"].payload_bytes / 4 / 4
    assert shrunk.plan.hops[0].bottleneck == 4
    # two tensors cross behind conv1, together no larger than asked for
    assert plans["SC2-b4-uint8-udp"].payload_bytes <= plans["SC2-float32-udp"].payload_bytes / 4 / 4
    assert any("No bottleneck of ratio 1000" in line and "conv1" in line for line in said)
    assert not any("-b1000" in plan for plan in plans)
    again = []
    monkeypatch.setattr("splitimpera.training.cached.train_split", lambda *_, **__: pytest.fail("trained twice"))
    design(folder, SHORT, say=again.append)
    assert [line for line in again if "held-out" in line] == [line for line in said if "held-out" in line] != []


@pytest.mark.slow
def test_a_latent_of_one_packet_is_said_to_need_something_else(folder, monkeypatch):
    monkeypatch.setenv("SPLITIMPERA_CACHE", str(folder / "cache"))
    said = []
    design(
        folder,
        ("requirements:", "bottlenecks: {ratios: [4], epochs: [1, 1], packet_loss: 30 %, cuts: [stem]}\nrequirements:"),
        say=said.append,
    )
    assert any("travels in one packet" in line and "TCP" in line for line in said)


def test_bottlenecks_that_cannot_be_are_refused(folder, monkeypatch):
    monkeypatch.setenv("SPLITIMPERA_CACHE", str(folder / "cache"))
    several = ("requirements:", "bottlenecks: {ratios: [1000], cuts: [conv1]}\nrequirements:")
    with pytest.raises(CutError, match="leaves no channel of each of the 2 tensors that cross"):
        design(folder, several)
    no_channel = ("requirements:", "bottlenecks: {ratios: [100000], cuts: [stem]}\nrequirements:")
    with pytest.raises(CutError, match="ratio"):
        design(folder, no_channel)
    untrained = ("validation: 40 %, test: 40 %", "validation: 50 %, test: 50 %")
    with pytest.raises(DataError, match="no training samples"):
        design(folder, SHORT, untrained)


FEW = (("cuts: all", "cuts: [conv2]"),)


@pytest.mark.slow
def test_what_may_change_is_explored(folder):
    result = design(folder, *FEW, explore=True, replications=2)
    assert [found.parameter for found in result.sensitivities] == ["loss", "rate", "speed of camera", "speed of server"]
    for found in result.sensitivities:
        # the choice that was made is the one that is found where nothing is turned
        assert found.plans[found.values.index(found.now)] == result.recommendation.chosen.id
    assert result.changes == ()
    assert result.capacity.senders >= 1


@pytest.mark.slow
def test_exploring_that_would_take_long_is_left_out_and_said_to_be(folder, monkeypatch):
    monkeypatch.setattr("splitimpera.method.EXPLORING_S", 0.0)
    lines = []
    result = design(folder, *FEW, explore=None, replications=1, say=lines.append)
    assert result.sensitivities == ()
    assert result.capacity is None
    assert "design --explore" in "".join(lines)


@pytest.mark.slow
def test_the_smallest_change_makes_a_plan_fit(folder):
    """The way out is tried: with the scenario changed as it says, a plan does fit."""
    strict = (*FEW, ("latency_p95 <= 10 s", "latency_p95 <= 1.2 ms"), ("{name: camera, slowdown: 0.001}", CAMERA))
    result = design(folder, *strict, explore=True, replications=2)
    assert result.recommendation.chosen is None
    assert result.capacity is None
    by_lever = {change.parameter: change for change in result.changes}
    limit = by_lever["latency_p95"].after
    assert result.change == min(result.changes, key=lambda change: change.ratio)
    relaxed = design(folder, *FEW, ("latency_p95 <= 10 s", f"latency_p95 <= {limit} s"), strict[-1], replications=2)
    assert relaxed.recommendation.chosen.id == by_lever["latency_p95"].plan
    faster = by_lever["speed of camera"].after
    quick = (strict[-1][0], CAMERA.replace("slowdown: 1}", f"slowdown: {1 / faster}}}"))
    again = design(folder, *strict[:-1], quick, replications=2)
    assert again.recommendation.chosen.id == by_lever["speed of camera"].plan


CAMERA = "{name: camera, preset: cortex-m4, slowdown: 1}"


@pytest.mark.slow
def test_more_replications_where_chance_on_the_link_decides(folder, monkeypatch):
    """At 2 % loss the p95 of some plans lies about 12 ms: those, and none that is sure, are simulated four times as
    often."""
    stricter = ("latency_p95 <= 10 s", "latency_p95 <= 12 ms")
    result = design(folder, stricter, replications=2)
    replications = {e.plan.id: len(e.latency_s) for e in result.evaluations}
    assert set(replications.values()) == {2, 8}
    assert replications["LC"] == 2
    monkeypatch.setattr("splitimpera.method.MORE_REPLICATIONS", 1)
    first = design(folder, stricter, replications=2).recommendation
    left_open = {verdict.id for verdict in first.verdicts if verdict.open}
    assert {name for name, count in replications.items() if count == 8} == left_open


@pytest.mark.slow
def test_no_more_replications_where_the_samples_are_too_few(folder):
    result = design(folder, ("accuracy >= 90 %", "accuracy >= 98 %"), replications=2)
    lossy = {verdict.id for verdict in result.recommendation.verdicts if verdict.open and "udp" in verdict.id}
    assert lossy
    assert {len(e.latency_s) for e in result.evaluations} == {2}


@pytest.mark.slow
def test_a_head_that_does_not_fit_the_device_is_impossible_and_says_so(folder):
    result = design(folder, *FEW, ("{name: camera, slowdown: 0.001}", "{name: camera, memory: 2 kB}"), replications=1)
    verdicts = {verdict.id: verdict for verdict in result.recommendation.verdicts}
    assert "camera has 2 kB" in verdicts["LC"].evaluation.cannot_run[0]
    assert not verdicts["LC"].feasible
    assert result.recommendation.chosen.evaluation.plan.configuration == "RC"


@pytest.mark.slow
def test_times_are_measured_once_unless_fresh_ones_are_wanted(folder):
    quick = (*FEW, ("fps: 20", "fps: 200"), ("5 Mbit/s", "500 Mbit/s"))
    first, again = (design(folder, *quick, replications=1).measurements for _ in range(2))
    assert again == first
    fresh = design(folder, *quick, replications=1, fresh_times=True).measurements
    assert fresh != first
    assert design(folder, *quick, replications=1).measurements == fresh


@pytest.mark.slow
def test_times_that_were_not_measured_are_marked(folder):
    result = design(folder, *FEW, ("{name: camera, slowdown: 0.001}", CAMERA), replications=1)
    for evaluation in result.evaluations:
        assert {name for name in evaluation.estimates if name.startswith("camera")} == {
            name for name in evaluation.parts_s if name.startswith("camera") and not name.endswith("queue")
        }
    assert "server: network" in result.evaluations[1].estimates  # scaled by its time factor


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            [("{name: camera, slowdown: 0.001}", "{name: camera, preset: cortex-m77}")],
            r"devices\[0\].preset: .*cortex-m7",
        ),
        ([("{name: camera, slowdown: 0.001}", "{name: camera, radio: wify}")], r"devices\[0\].radio: .*wifi"),
        ([("{name: camera, slowdown: 0.001}", "{name: camera, profile: no.json}")], r"devices\[0\].profile: "),
        ([("latency_p95 <= 10 s", "energy <= 1 J")], r"requirements: .*energy.*power"),
        ([("latency_p95 <= 10 s", "miou >= 0.5")], "miou"),
        ([("latency_p95 <= 10 s", "accuracy >= 95 %")], "accuracy >= 9"),
    ],
)
def test_a_device_or_requirement_that_cannot_be_used_is_refused_first(folder, changes, message):
    with pytest.raises(sei.SplitImperaError, match=message):
        design(folder, *changes)
