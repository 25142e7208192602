"""Plans with early exits: who leaves where, what that costs, what it is worth. Every number is found again by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from beds import CAMERA, SERVER, TIMES, bed_with_exits, known_bed, looks, plan, run

from splitimpera.core.errors import CutError, PlanError
from splitimpera.evaluation.replay import left_early, replay, timeline_alone
from splitimpera.evaluation.run import evaluate_all, side_by_side
from splitimpera.evaluation.stopwatch import measure
from splitimpera.records.device import Device, Radio
from splitimpera.records.link import Link
from splitimpera.records.plan import Exit, Hop, Plan
from splitimpera.records.traffic import Workload
from splitimpera.studies.capacity import find_capacity
from splitimpera.studies.trial import Trials

ALL, NONE = (0.0,), (1.0,)
HEAD_S = 0.0002
"""What a head takes in `TIMES`, before the slowdown."""
LOCAL = Plan("LC", (CAMERA,))


@pytest.fixture(scope="module")
def bed():
    return bed_with_exits()


def leaving_at(which, *exits):
    return replace(which, id=f"EE-{which.id}", exits=tuple(Exit(cut, thresholds) for cut, thresholds in exits))


def half(bed, cut):
    """A threshold that half of the samples reach."""
    return (float(np.median(looks(bed, cut)[0])),)


def of_frames(values, shape):
    """Samples' values on the frames that show them."""
    return np.broadcast_to(np.resize(values, shape[1]), shape)


def test_a_frame_that_leaves_takes_the_layers_and_heads_until_there(bed):
    found = run(bed, leaving_at(LOCAL, (2, ALL)))
    np.testing.assert_allclose(found.latency_s, 10 * (0.002 + HEAD_S))
    assert found.quality == pytest.approx(looks(bed, 2)[2].mean())
    (exit,) = found.exits
    assert (exit.cut, exit.thresholds, exit.share, exit.quality) == (2, ALL, 1.0, found.quality)
    assert np.isnan(found.went_on_quality)
    assert found.fps == pytest.approx(1 / (10 * (0.002 + HEAD_S)))


def test_where_nobody_leaves_a_plan_does_as_without_exits_but_for_the_heads(bed):
    for which in (LOCAL, plan(3, rate_bps=1e6), plan(1, "uint8", "tcp", loss=0.1, rate_bps=1e6)):
        inner = [cut for cut in (1, 2, 3) if not which.hops or cut <= which.hops[0].cut]
        without, found = run(bed, which), run(bed, leaving_at(which, *((cut, NONE) for cut in inner)))
        np.testing.assert_allclose(found.latency_s, without.latency_s + 10 * HEAD_S * len(inner), atol=1e-4)
        assert (found.quality, found.payload_bytes) == (without.quality, without.payload_bytes)
        assert found.went_on_quality == pytest.approx(found.quality)
        assert [exit.share for exit in found.exits] == [0.0] * len(inner)


def test_shares_latencies_and_answers_are_the_mixture(bed):
    first, last = half(bed, 1), half(bed, 3)
    found = run(bed, leaving_at(LOCAL, (1, first), (3, last)))
    (sure_1, _, right_1), (sure_3, _, right_3) = looks(bed, 1), looks(bed, 3)
    at_1 = sure_1 >= first[0]
    at_3 = ~at_1 & (sure_3 >= last[0])
    assert 0 < at_3.sum() < (~at_1).sum()  # some leave at either, some nowhere
    layers_s = np.where(at_1, 0.001, np.where(at_3, 0.003, 0.005))
    takes_s = 10 * (layers_s + np.where(at_1, 1, 2) * HEAD_S)
    np.testing.assert_allclose(found.latency_s, of_frames(takes_s, found.latency_s.shape))
    right = np.where(at_1, right_1, np.where(at_3, right_3, True))
    assert found.quality == pytest.approx(right.mean())
    assert [exit.share for exit in found.exits] == pytest.approx([at_1.mean(), at_3.mean()])
    assert [exit.quality for exit in found.exits] == pytest.approx([right_1[at_1].mean(), right_3[at_3].mean()])
    assert found.went_on_quality == 1.0
    assert found.contributions[0, :, 0].tolist() == right.tolist()


def test_who_leaves_costs_neither_link_nor_server(bed):
    camera = replace(CAMERA, power_w=2.0, radio=Radio("r", 1e-6, 1.0))
    split = plan(2, rate_bps=1e6, devices=(camera, SERVER))
    early, without = run(bed, leaving_at(split, (2, half(bed, 2)))), run(bed, split)
    goes_on = looks(bed, 2)[0] < half(bed, 2)[0]
    share = goes_on.mean()
    assert early.payload_bytes == pytest.approx(share * without.payload_bytes)
    assert early.crossing == without.crossing == ((without.payload_bytes, 1.0),)  # of those that cross
    for stage in ("link", "server"):
        assert early.utilisation[stage] == pytest.approx(share * without.utilisation[stage])
    on_camera_s = 10 * (0.002 + HEAD_S) + share * 0.001
    sent_j = without.energy_j - 2.0 * (10 * 0.002 + 0.001)
    assert early.energy_j == pytest.approx(2.0 * on_camera_s + share * sent_j)
    assert early.utilisation["camera"] == pytest.approx(10 * on_camera_s)
    latency_s = np.where(of_frames(goes_on, early.latency_s.shape), without.latency_s + 10 * HEAD_S, 0.0202 + 0.0018)
    np.testing.assert_allclose(early.latency_s, latency_s, atol=1e-9)
    assert sum(early.parts_s.values()) == pytest.approx(early.latency_s.mean())


def test_where_all_leave_nothing_is_sent(bed):
    found = run(bed, leaving_at(plan(3, rate_bps=1e6), (1, ALL)), replications=2)
    assert found.payload_bytes == found.lost_packet_rate == 0
    assert found.crossing == ((0, 0),)
    assert found.utilisation["link"] == found.utilisation["server"] == 0
    assert found.fps == pytest.approx(1 / (10 * (0.001 + HEAD_S)))
    assert found.stable
    assert found.quality == pytest.approx(looks(bed, 1)[2].mean())


def test_an_overloaded_link_is_freed_by_those_who_leave(bed):
    """Half of the frames take two thirds of what all of them overload."""
    slow = plan(1, rate_bps=0.75 * 8 * (576 + 30) * 10)  # floats with headers, ten times a second
    assert not run(bed, slow).stable
    early = run(bed, leaving_at(slow, (1, half(bed, 1))))
    assert early.stable
    assert early.fps == pytest.approx(10 * 0.75 / 0.5, rel=0.01)


def test_an_exits_answer_stands_in_for_a_response_that_is_lost(bed):
    """The tensor is one packet: lost, nothing comes, and the head's answer counts, though it was not sure."""
    early = leaving_at(plan(3, loss=0.3), (3, half(bed, 3)))
    sure, _, right = looks(bed, 3)
    goes_on = sure < half(bed, 3)[0]
    found = run(bed, early)
    lost = found.lost_packet_rate  # of the packets that are sent, which are the frames that go on
    expected = (right[~goes_on].sum() + (1 - lost) * goes_on.sum() + lost * right[goes_on].sum()) / len(right)
    assert found.quality == pytest.approx(expected, abs=0.03)
    assert found.stood_in == pytest.approx(lost * goes_on.mean(), abs=0.001)
    assert found.quality > run(bed, plan(3, loss=0.3)).quality - goes_on.mean()  # none of them counts as wrong for sure
    without_response = run(bed, leaving_at(plan(3, loss=0.999999), (3, half(bed, 3))))
    assert without_response.quality == pytest.approx(right.mean(), abs=0.01)


def test_an_exits_answer_stands_in_for_a_response_that_is_late(bed):
    """On time, where the response is late, is the head's answer; the response itself counts for what it is worth."""
    hurried = bed.with_workload(Workload(10.0, 1000, deadline_s=0.045))
    early = leaving_at(plan(3, delay_s=0.05), (3, half(bed, 3)))
    found, (sure, _, right) = run(hurried, early), looks(bed, 3)
    goes_on = sure < half(bed, 3)[0]
    assert found.on_time_quality == pytest.approx(right.mean())
    assert found.quality == pytest.approx(np.where(goes_on, True, right).mean())
    assert found.stood_in == pytest.approx(goes_on.mean())
    later = run(bed.with_workload(Workload(10.0, 1000, deadline_s=0.02)), early)  # not even the head is done by then
    assert (later.on_time_quality, later.stood_in) == (0.0, 0.0)


def test_one_that_leaves_on_a_later_device_is_answered_over_the_hops_behind_it(bed):
    edge = Device("edge", 1.0)
    hops = Hop(1, "float32", "tcp", Link("one", 1e6, 0.003)), Hop(4, "float32", "tcp", Link("two", 1e6, 0.01))
    responding = bed.with_workload(Workload(10.0, 1000, response_bytes=100))
    through = Plan("through", (CAMERA, edge, SERVER), hops)
    here = run(responding, Plan("here", (CAMERA, edge), hops[:1]))
    early = run(responding, leaving_at(through, (3, ALL)))
    fewer_layers_s = 2 * 0.001 - HEAD_S
    np.testing.assert_allclose(early.latency_s, here.latency_s - fewer_layers_s, atol=1e-9)
    assert early.utilisation["two"] == early.utilisation["server"] == 0
    assert sum(early.parts_s.values()) == pytest.approx(early.latency_s.mean())
    assert early.quality == pytest.approx(looks(bed, 3)[2].mean())


def test_a_gap_changes_what_a_later_exit_sees(bed):
    """Behind a lossy hop each frame is looked at as it came: the answers differ from those of whole frames."""
    edge = Device("edge", 1.0)
    hops = (
        Hop(1, "float32", "udp", Link("one", loss=0.5, mtu_bytes=100)),
        Hop(4, "float32", "tcp", Link("two")),
    )
    lossy = leaving_at(Plan("lossy", (CAMERA, edge, SERVER), hops), (2, ALL))
    whole = replace(lossy, hops=(replace(hops[0], link=replace(hops[0].link, loss=0.0)), hops[1]))
    found = run(bed, lossy)
    assert run(bed, whole).quality == pytest.approx(looks(bed, 2)[2].mean())
    assert found.quality != pytest.approx(looks(bed, 2)[2].mean(), abs=1e-3)
    assert found.exits[0].share == 1.0


def test_thresholds_of_classes(bed):
    _, answers, _ = looks(bed, 2)
    kind = int(answers[0])
    only = tuple(0.0 if number == kind else 1.0 for number in range(5))
    found = run(bed, leaving_at(LOCAL, (2, only)))
    assert found.exits[0].share == pytest.approx((answers == kind).mean())


def test_senders_drops_and_queues_know_who_left(bed):
    """A queue that drops has room for more where frames leave; what left is never dropped twice."""
    dropping = replace(SERVER, slowdown=60.0, queue="drop-newest")
    split = plan(2, rate_bps=1e7, devices=(CAMERA, dropping))
    several = bed.with_workload(Workload(10.0, 500, senders=2))
    without, early = run(several, split), run(several, leaving_at(split, (2, half(bed, 2))))
    assert 0 <= early.dropped_frames < without.dropped_frames
    answered = early.latency_s[np.isfinite(early.latency_s)]
    assert sum(early.parts_s.values()) == pytest.approx(answered.mean())


EARLY = [
    leaving_at(LOCAL, (1, (0.6,)), (3, (0.5,))),
    leaving_at(plan(3, "uint8", "tcp", rate_bps=1e6), (2, (0.5,))),
    leaving_at(plan(4, loss=0.2), (2, (0.5,)), (4, (0.6,))),
    leaving_at(
        Plan(
            "p",
            (CAMERA, replace(SERVER, name="edge"), SERVER),
            (Hop(1, "uint8", "tcp", Link()), Hop(4, "uint8", "tcp", Link(name="up"))),
        ),
        (1, (0.7,)),
        (3, (0.6,)),
    ),
]


@pytest.mark.parametrize("which", EARLY)
def test_a_replay_and_a_timeline_alone_know_who_leaves(bed, which):
    rngs = {which.id: np.random.default_rng(0)}
    (found,) = evaluate_all([which], bed, TIMES, rngs, replications=2)
    again = replay(which, bed, TIMES, found.known, np.random.default_rng(0), 2, intervals=True)
    before = found.evaluation
    assert 0 < sum(exit.share for exit in before.exits) < 1
    assert (again.quality, again.on_time_quality) == (before.quality, before.on_time_quality)
    assert (again.exits, again.stood_in) == (before.exits, before.stood_in)
    np.testing.assert_array_equal(again.latency_s, before.latency_s)
    table = side_by_side({which.id: left_early(which, bed)}, bed, "validation")[which.id]
    alone = timeline_alone(which, bed, TIMES, np.random.default_rng(0), 2, sizes=found.known.sizes, leaving=table)
    np.testing.assert_array_equal(alone.latency_s, before.latency_s)
    assert [exit.share for exit in alone.exits] == [exit.share for exit in before.exits]


def test_loss_patterns_by_rounds_find_the_same_mixture(bed):
    which = leaving_at(plan(1, loss=0.3, mtu_bytes=100), (1, half(bed, 1)))
    rngs = {which.id: np.random.default_rng(0)}
    (all_of_them,) = evaluate_all([which], bed, TIMES, rngs)
    rngs = {which.id: np.random.default_rng(0)}
    (some,) = evaluate_all([which], bed, TIMES, rngs, most_patterns=40)
    assert some.evaluation.quality == pytest.approx(all_of_them.evaluation.quality, abs=0.1)  # of few samples
    assert some.evaluation.exits[0].quality == pytest.approx(all_of_them.evaluation.exits[0].quality)
    assert some.evaluation.loss_patterns


def test_trials_take_the_best_exit_for_a_bound(bed):
    edge = replace(SERVER, name="edge")
    hops = Hop(1, "uint8", "tcp", Link(rate_bps=1e6)), Hop(4, "uint8", "tcp", Link("up", rate_bps=1e6))
    which = leaving_at(Plan("p", (CAMERA, edge, SERVER), hops), (1, half(bed, 1)), (3, (0.9,)))
    trials = Trials(bed, TIMES, 0, 2)
    (alone,) = trials.timelines([which])
    best = trials.at_best(alone)
    assert best.latency_s.mean() < alone.latency_s.mean()
    (found,) = trials.evaluated([which])
    assert best.latency_s.mean() <= found.latency_s.mean()
    assert best.exits[0].share == alone.exits[0].share  # what the first device sees is certain
    assert sum(exit.share for exit in best.exits) == 1.0
    (certain,) = trials.timelines([leaving_at(plan(2), (2, half(bed, 2)))])
    assert trials.at_best(certain) is certain


def test_more_senders_fit_where_frames_leave(bed):
    def fixed_rng():
        return np.random.default_rng(0)

    split = plan(1, rate_bps=8 * (576 + 30) * 10 * 3.5)
    early = leaving_at(split, (1, half(bed, 1)))
    table = side_by_side({early.id: left_early(early, bed)}, bed, "validation")[early.id]
    assert find_capacity(split, bed, TIMES, fixed_rng).senders == 3
    assert find_capacity(early, bed, TIMES, fixed_rng, leaving=table).senders in (6, 7)


def test_what_is_measured_here_has_the_heads(bed):
    here = Plan("here", (Device("here"),))
    early = leaving_at(here, (2, NONE), (3, NONE))
    times = measure([here, early], bed, fps=500.0, budget_s=0.3)
    last = bed.last
    assert 0 < times.segment_s(0, 2, heads=(2,)) < times.segment_s(0, last, heads=(2, 3))
    assert times.segment_s(0, last, heads=(2, 3)) > times.segment_s(0, last)
    found = run(bed, early, times=times)
    assert found.device_p50_s["here"] == pytest.approx(times.segment_s(0, last, heads=(2, 3)), rel=0.5)


def test_what_cannot_be_is_refused(bed):
    with pytest.raises(PlanError, match=r"devices\[0\]\.batch"):
        run(bed, leaving_at(Plan("LC", (replace(CAMERA, batch=4),)), (2, ALL)))
    with pytest.raises(CutError, match="no head for an exit behind cut 2"):
        run(known_bed(), leaving_at(LOCAL, (2, ALL)))


def test_a_few_frames_that_follow_each_other_do_not_overload_a_link(bed):
    """Two of twenty go on, one right after the other, over a link that takes longer than a frame period for each."""
    sure = looks(bed, 1)[0]
    order = torch.from_numpy(np.argsort(sure))
    few = bed_with_exits()
    few.data = replace(bed.data, validation=bed.data.validation.take(order))
    once = few.with_workload(Workload(10.0, 20))
    threshold = (float(np.sort(sure)[1:3].mean()),)
    early = leaving_at(plan(1, transport="tcp", rate_bps=8 * 700 * 8), (1, threshold))
    found = run(once, early)
    assert found.exits[0].share == 0.9
    assert found.stable
