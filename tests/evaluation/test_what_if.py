"""Parameters, saturation, queues and costs on a testbed whose times are known."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from beds import CAMERA, SERVER, TIMES, known_bed, plan, run, trial_in

import splitimpera as sei
from splitimpera.core.statistics import wilson_interval
from splitimpera.net.budget import WorkError
from splitimpera.qos.recommendation import recommend
from splitimpera.records.device import Device, Radio
from splitimpera.records.link import Trace
from splitimpera.records.plan import Plan
from splitimpera.records.requirement import parse_requirement
from splitimpera.records.traffic import Workload
from splitimpera.studies.capacity import Capacity, find_capacity
from splitimpera.studies.sensitivity import changes, sensitivity
from splitimpera.studies.sweeps import decider, shortlist, sweeps_of


@pytest.fixture(scope="module")
def testbed():
    return known_bed()


def fixed_rng(_=None):
    return np.random.default_rng(0)


def by_name(plans, workload=None):
    return {sweep.parameter.name: sweep for sweep in sweeps_of(plans, workload or Workload(10.0))}


def test_what_may_be_swept_is_what_the_scenario_has():
    assert list(by_name([Plan("LC", (CAMERA,))])) == ["speed of camera", "frames a second"]
    both = [Plan("LC", (CAMERA,)), plan(1)]
    assert list(by_name(both)) == ["loss", "rate", "delay", "speed of camera", "speed of server", "frames a second"]
    assert "loss" not in by_name([plan(1, drops=(3,))])
    traced = plan(1, trace=Trace("t", (0.0,), 1.0, rate_bps=(1e6,)))
    assert "rate" not in by_name([traced])


def test_sweeping_a_parameter_changes_that_and_nothing_else():
    split = plan(1, loss=0.1, rate_bps=1e6, delay_s=0.01)
    found = by_name([split])

    def varied(name, value):
        return found[name].apply(split, Workload(10.0), value)

    assert varied("loss", 0.05) == (plan(1, loss=0.05, rate_bps=1e6, delay_s=0.01), Workload(10.0))
    assert varied("rate", 2e6)[0].hops[0].link.rate_bps == 2e6
    assert varied("delay", 0.0)[0].hops[0].link.delay_s == 0
    assert varied("speed of server", 4.0)[0].devices == (CAMERA, replace(SERVER, slowdown=0.25))
    assert varied("frames a second", 5.0) == (split, Workload(5.0))


def test_the_smallest_rate_is_the_one_that_theory_gives(testbed):
    """A head of 20 ms, coding of 1.1 ms, a tail of 3 ms, and (144 + 30) bytes at the rate."""
    split = plan(2, rate_bps=1e5, delay_s=0.0)
    wanted = [parse_requirement("latency_p95 <= 30 ms")]
    assert recommend([run(testbed, split)], wanted).chosen is None
    parameters = sweeps_of([split], testbed.workload)
    decide = decider([split], parameters, testbed.workload, trial_in(testbed), wanted)
    found = {change.parameter: change for change in changes([sweep.parameter for sweep in parameters], decide)}
    needed = (144 + 30) * 8 / (0.030 - 0.0241)
    assert needed <= found["rate"].after < needed * 1.02
    assert found["rate"].before == 1e5
    assert found["rate"].plan == "p"
    # the link takes 13.92 ms, the server 3.1, so that the camera has 12.98 of its 21 ms
    assert found["speed of camera"].after == pytest.approx(21 / 12.98, rel=0.02)
    assert set(found) == {"rate", "speed of camera"}  # neither delay nor loss, nor a faster server, helps by itself


def test_where_the_choice_flips_is_what_theory_gives(testbed):
    """Locally 50 ms, or 21 ms, 3.1 ms and the link: the split is the better one above 53.6 kbit/s."""
    plans = [Plan("LC", (CAMERA,)), plan(2, rate_bps=1e5, delay_s=0.0)]
    parameters = by_name(plans)
    wanted = [parse_requirement("latency_p95 <= 60 ms")]
    decide = decider(plans, list(parameters.values()), testbed.workload, trial_in(testbed), wanted)
    found = sensitivity(parameters["rate"].parameter, parameters["rate"].values, decide, bisections=8)
    (flip,) = found.flips
    assert (flip.before, flip.after) == ("LC", "p")
    assert flip.value == pytest.approx(174 * 8 / 0.0259, rel=0.02)


def test_what_a_value_overloads_is_not_tried_at_worse_ones(testbed):
    """174 bytes ten times a second need 13.92 kbit/s; two are far from it, one at most, and LC needs none."""
    plans = [Plan("LC", (CAMERA,)), plan(2, rate_bps=1e5, delay_s=0.0)]
    swept = by_name(plans)
    rate = swept["rate"].parameter
    wanted = [parse_requirement("latency_p95 <= 60 ms")]
    tried, trial = [], trial_in(testbed)

    def counted(one, workload):
        tried.append((one.id, one.hops[0].link.rate_bps if one.hops else None))
        return trial(one, workload)

    decide = decider(plans, list(swept.values()), testbed.workload, counted, wanted)
    values = [1e5, 1e4, 2e4, 5e3, 1e3]
    choices = [decide(rate, value) for value in values]
    assert [value for name, value in tried if name == "p"] == [1e5, 1e4, 2e4]
    for value, choice in zip(values, choices, strict=True):
        alone = decider(plans, list(swept.values()), testbed.workload, trial, wanted)(rate, value)
        assert choice is not None
        assert alone is not None
        assert choice.id == alone.id


def test_a_busy_server_says_nothing_of_the_link(testbed):
    """A tail of 30 ms on a server ten times slower than one frame in 100 ms allows."""
    slow = replace(SERVER, slowdown=SERVER.slowdown * 100)
    overloaded = run(testbed, plan(2, devices=(CAMERA, slow), rate_bps=1e5, delay_s=0.0))
    swept = by_name([overloaded.plan])
    assert not overloaded.stable
    assert [name for name, sweep in swept.items() if sweep.overloads(overloaded)] == ["speed of server"]
    narrow = run(testbed, plan(2, rate_bps=1e4, delay_s=0.0))
    assert {name for name, sweep in swept.items() if sweep.overloads(narrow)} == {
        "loss", "rate", "delay", "frames a second"
    }  # fmt: skip


def test_the_shortlist_has_the_best_of_each_configuration(testbed):
    plans = [Plan("LC", (CAMERA,)), *(replace(plan(cut), id=f"p{cut}") for cut in range(6))]
    verdicts = recommend([run(testbed, each) for each in plans], ["latency_p95 <= 60 ms"]).verdicts
    short = shortlist(verdicts)
    assert [each.configuration for each in short].count("SC") == 4
    assert {each.configuration for each in short} == {"LC", "RC", "SC"}
    assert [each.id for each in short] == [verdict.id for verdict in verdicts if verdict.id in {e.id for e in short}]


def test_where_nothing_is_feasible_the_shortlist_has_each_way_to_fail(testbed):
    """Five plans are late by a tenth; one is in time, with a third of the layers that the device is to have."""
    evaluations = [run(testbed, replace(plan(3), id=f"late{n}")) for n in range(5)]
    evaluations.append(run(testbed, replace(plan(1, rate_bps=1e9), id="shallow")))
    limit = evaluations[0].metrics()["latency_p95"] / 1.1
    assert evaluations[-1].metrics()["latency_p95"] < limit
    verdicts = recommend(evaluations, [f"latency_p95 <= {limit * 1e3} ms", "cut_depth >= 3 layers"]).verdicts
    assert [verdict.feasible for verdict in verdicts] == [False] * 6
    assert [each.id for each in shortlist(verdicts)] == [*(verdict.id for verdict in verdicts[:4]), "shallow"]


def test_the_sensors_that_a_server_carries_and_what_gives_way(testbed):
    """The server takes 3.1 ms a frame; at 10 frames a second 32 sensors fill 99.2 % of it, 33 fill 102.3 %."""
    split = plan(2, rate_bps=1e9)
    found = find_capacity(split, testbed, TIMES, fixed_rng)
    assert (found.senders, found.busiest_stage) == (32, "server")
    crowded = testbed.with_workload(replace(testbed.workload, senders=33))
    result = run(crowded, split)
    assert not result.stable
    assert result.busiest_stage == "server"
    assert result.utilisation["server"] == pytest.approx(1.023)
    assert result.utilisation["camera"] == pytest.approx(0.21)  # each has its own


def test_the_link_gives_way_where_it_is_the_narrowest(testbed):
    found = find_capacity(plan(2, rate_bps=1e5), testbed, TIMES, fixed_rng)
    # 1392 bits a frame, 10 frames a second: 7 sensors fill 97.4 %
    assert (found.senders, found.busiest_stage) == (7, "link")


def test_a_plan_may_carry_no_sensor_at_all_or_more_than_are_tried(testbed):
    assert find_capacity(plan(2, rate_bps=1e4), testbed, TIMES, fixed_rng).senders == 0
    local = find_capacity(Plan("LC", (CAMERA,)), testbed, TIMES, fixed_rng)
    assert (local.senders, local.busiest_stage) == (200, None)  # as many as are simulated: they share nothing


def test_no_more_senders_are_named_than_can_be_simulated(testbed, monkeypatch):
    def timeline(plan, workload, *rest):
        if workload.senders > 5:
            raise WorkError("too many packets")
        return SimpleNamespace(stable=True)

    monkeypatch.setattr("splitimpera.studies.capacity.timeline", timeline)
    assert find_capacity(plan(2), testbed, TIMES, fixed_rng) == Capacity(4, None)


def test_batches_let_a_server_carry_more(testbed):
    """Two frames together take 4.5 ms and twice 0.1 ms: 2.35 ms each instead of 3.1."""
    batched = plan(2, rate_bps=1e9, devices=(CAMERA, replace(SERVER, batch=2)))
    found = find_capacity(batched, testbed, TIMES, fixed_rng)
    assert (found.senders, found.busiest_stage) == (42, "server")


def test_a_full_queue_drops_frames_instead_of_letting_them_wait(testbed):
    """20 frames a second at 60 ms each: the newest waits until the one before is done, and the plan is stable."""
    slow = Device("camera", 12.0)
    busy = testbed.with_workload(Workload(20.0, 1000))
    waiting = run(busy, Plan("LC", (slow,)))
    assert not waiting.stable
    dropping = run(busy, Plan("LC", (replace(slow, queue="drop-oldest"),)))
    assert dropping.stable
    assert dropping.dropped_frames == pytest.approx(1 - 1 / 1.2, abs=0.005)
    assert dropping.metrics()["latency_max"] < 0.12 + 1e-9
    # a frame that was dropped has no answer
    assert dropping.quality == pytest.approx(1 / 1.2, abs=0.005)
    assert np.isnan(dropping.latency_s).mean() == pytest.approx(dropping.dropped_frames)
    assert dropping.fps == pytest.approx(1 / 0.06)
    split = run(busy, plan(4, devices=(replace(slow, slowdown=15.0, queue="drop-newest"), SERVER)))
    assert split.stable
    assert split.dropped_frames > 0.1
    assert split.utilisation["camera"] <= 1


def test_energy_is_power_by_time_and_the_radios_bytes_and_airtime(testbed):
    radio = Radio("r", joule_per_byte=1e-6, power_w=2.0)
    camera = replace(CAMERA, power_w=5.0, radio=radio)
    local = run(testbed, Plan("LC", (camera,)))
    assert local.metrics()["energy"] == pytest.approx(5 * 0.05)
    split = run(testbed, plan(2, devices=(camera, SERVER), rate_bps=1e6))
    sent = 144 + 30
    assert split.metrics()["energy"] == pytest.approx(5 * 0.021 + sent * 1e-6 + 2 * sent * 8 / 1e6)
    assert "energy" not in run(testbed, plan(2)).metrics()


def test_intervals_say_what_chance_touches(testbed):
    steady = run(testbed, plan(1), replications=5)
    assert steady.intervals["latency_p95"] == (steady.metrics()["latency_p95"],) * 2
    # 20 right samples of 20 are no proof of more than five sixths
    assert steady.intervals["accuracy"] == steady.quality_ci == wilson_interval(1.0, 20)
    lossy = run(testbed, plan(1, loss=0.2, mtu_bytes=100), replications=5)
    low, high = lossy.intervals["accuracy"]
    assert low < lossy.quality < high
    tcp = run(testbed, plan(1, transport="tcp", loss=0.2), replications=5)
    low, high = tcp.intervals["latency_p95"]
    assert low <= tcp.metrics()["latency_p95"] <= high
    assert low < high


def test_the_depth_of_the_cut_is_the_privacy_floor(testbed):
    depths = [run(testbed, each).metrics()["cut_depth"] for each in (plan(0), plan(2), Plan("LC", (CAMERA,)))]
    assert depths == [0, 2, testbed.last]
    found = recommend([run(testbed, replace(plan(cut), id=f"p{cut}")) for cut in (0, 2)], ["cut_depth >= 1"])
    assert found.chosen.id == "p2"


def test_a_testbed_with_other_frames_knows_what_the_first_has_computed(testbed):
    other = testbed.with_workload(Workload(5.0, 2000))
    assert run(other, plan(1)).latency_s.shape == (1, 2000)
    assert testbed.workload.frames == 1000
    assert isinstance(other, sei.Testbed)
