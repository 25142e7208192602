"""What a client knows of its link, against a queue whose truth is known. `-s` prints the figures of both estimators."""

from __future__ import annotations

import sys
from itertools import pairwise
from math import inf

import numpy as np
import pytest
from queue_model import DATA, WIRE, Model, Rate, play

from splitimpera.core.errors import LinkError
from splitimpera.deploy.link_estimate import LEAST_SILENCE_S, MOST_UNDER_WAY, SHORTEST_S, LinkEstimate
from splitimpera.deploy.messages import Response, Status

SHARE = DATA / WIRE
"""Of the link's rate is payload."""
kinds = pytest.mark.parametrize("kind", ["smoothed", "windowed"])
carriers = pytest.mark.parametrize("carrier", ["udp", "tcp"])


def tell(figures):
    sys.stdout.write(f"{figures}\n")


def losing(share, seed=7):
    rng = np.random.default_rng(seed)
    return lambda _t: rng.random() < share


def losing_in_bursts(share, burst_s, seed):
    """Gaps at random, of `burst_s` on average, that are `share` of the time."""
    rng = np.random.default_rng(seed)
    good_s, bad_s = rng.exponential(burst_s * (1 - share) / share, 2000), rng.exponential(burst_s, 2000)
    edges = np.cumsum(np.column_stack([good_s, bad_s]))
    return lambda t: np.searchsorted(edges, t) % 2 == 1


def read(model, kind, what, seconds=3.0, after_s=6.0, every_s=0.25):
    """An estimate's answers over a run: [(time, answer)], and the estimate."""
    link, found = LinkEstimate(model.carrier, kind, seconds), []
    play(model, link, lambda t: found.append((t, what(link, t))) if t > after_s else None, every_s)
    return found, link


def answer(assembled_s=0.05, missing_bytes=0, lost_packets=0, after_s=0.0):
    total_s = assembled_s + after_s
    return Response(Status.OK, 1, lost_packets, missing_bytes, assembled_s, total_s=total_s)


# The link stands still ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@kinds
@pytest.mark.parametrize(
    ("rate_bps", "carrier", "fps", "packets"),
    [(5e6, "udp", 20, 20), (20e6, "udp", 20, 20), (1e6, "udp", 3, 20), (5e6, "tcp", 20, 20), (4e6, "udp", 20, 20)],
    ids=["88 % load", "22 % load", "few frames", "tcp", "110 % load"],
)
def test_goodput_lies_within_its_interval_about_as_often_as_it_says(kind, rate_bps, carrier, fps, packets):
    truth, found = rate_bps * SHARE, []
    for seed in range(2):
        model = Model(Rate([(0, rate_bps)]), 45, fps, packets, carrier, seed=seed)
        found += [one for _, one in read(model, kind, LinkEstimate.goodput)[0]]
    inside = np.mean([one.low <= truth <= one.high for one in found])
    error = np.median([abs(one.value / truth - 1) for one in found])
    width = np.median([one.high / one.low for one in found])
    tell(f"{kind}, {carrier}, {rate_bps / 1e6:g} Mbit/s: inside {inside:.3f}, error {error:.2%}, width {width:.4f}")
    assert inside >= 0.88
    assert error < 0.01
    assert width < 1.05


@kinds
def test_the_round_trip_is_that_of_an_empty_queue(kind):
    """Own frames fill the link to 88 %; pings are sent while they stand in the queue, for up to 45 ms."""
    model = Model(Rate([(0, 5e6)]), 60)
    truth = 2 * model.delay_s + 8 * WIRE / 5e6 + 2 * model.noise_s * (1.0 if kind == "smoothed" else 0.839)  # median
    found = [one for _, one in read(model, kind, LinkEstimate.round_trip)[0]]
    inside = np.mean([one.low <= truth <= one.high for one in found])
    tell(f"{kind}: inside {inside:.3f}, {np.median([one.value for one in found]) * 1e3:.2f} ms of {truth * 1e3:.2f}")
    assert inside >= 0.88
    assert np.median([one.value for one in found]) == pytest.approx(truth, rel=0.02)


@pytest.mark.slow
@kinds
@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.05])
def test_loss_lies_within_its_interval_and_is_no_goodput(kind, share):
    found, goodput = [], []
    for seed in range(3):
        model = Model(Rate([(0, 5e6)]), 60, lost=losing(share, seed), seed=seed)
        answers, _ = read(model, kind, lambda link, t: (link.loss(t), link.goodput(t)))
        found += [loss for _, (loss, _) in answers]
        goodput += [one.value / (5e6 * SHARE) for _, (_, one) in answers]
    inside = np.mean([one.low <= share <= one.high for one in found])
    tell(f"{kind}, {share:.1%}: inside {inside:.3f}, mean {np.mean([one.value for one in found]):.2%}")
    assert inside >= 0.85
    assert np.mean([one.value for one in found]) == pytest.approx(share, rel=0.3)
    assert np.abs(np.log(goodput)).max() < 0.1


@pytest.mark.slow
@kinds
def test_bursts_that_take_frames_whole_are_no_outage(kind):
    """Bursts of 30 ms, 3 % of the time, where a frame is sent within 2 ms: it comes, or nothing of it does."""
    found, outages = [], 0
    for seed in range(3):
        model = Model(Rate([(0, 5e6)]), 100, packets=8, lost=losing_in_bursts(0.03, 0.03, seed), seed=seed)
        answers, link = read(model, kind, LinkEstimate.loss, seconds=10.0, after_s=20.0)
        found, outages = found + [one for _, one in answers], outages + len(link.outages)
    inside = np.mean([one.low <= 0.03 <= one.high for one in found])
    tell(f"{kind}: inside {inside:.3f}, mean {np.mean([one.value for one in found]):.2%}, {outages} outages")
    assert inside >= 0.85
    assert 0.02 < np.mean([one.value for one in found]) < 0.04
    assert outages == 0


def test_over_tcp_there_is_no_loss():
    found, _ = read(Model(Rate([(0, 5e6)]), 10, carrier="tcp"), "windowed", LinkEstimate.loss)
    assert {one for _, one in found} == {None}


# It changes -----------------------------------------------------------------------------------------------------------


@carriers
@kinds
@pytest.mark.parametrize(("before", "after"), [(8e6, 2e6), (2e6, 8e6), (10e6, 5e6)])
def test_after_a_step_it_is_within_a_fifth_after_a_stated_time(kind, carrier, before, after):
    model = Model(Rate([(0, before), (20, after)]), 40, packets=5, carrier=carrier)
    found, link = read(model, kind, LinkEstimate.goodput, after_s=20.0, every_s=0.1)
    late = [t - 20.0 for t, one in found if abs(one.value / (after * SHARE) - 1) > 0.2]
    tell(
        f"{kind}, {carrier}, {before / 1e6:g} to {after / 1e6:g} Mbit/s: over 3 s: within 20 % after {max(late):.1f} s"
    )
    assert max(late) < (0.6 if kind == "windowed" else 2.7) * 3.0
    assert link.outages == ()


@kinds
@pytest.mark.parametrize(("shape", "most"), [("ramp", 0.12), ("sawtooth", 0.25)])
def test_it_follows_a_ramp_and_a_sawtooth(kind, shape, most):
    """2 to 10 Mbit/s in 20 s; 10 down to 3 Mbit/s in 8 s and back at once. Estimates over 1 s."""
    ramp = [(i * 0.5, 2e6 + i * 0.2e6) for i in range(41)]
    saw = [(8 * k + i * 0.5, 10e6 - i * 7e6 / 16) for k in range(8) for i in range(16)]
    rate = Rate(ramp if shape == "ramp" else saw)
    model = Model(rate, 20 if shape == "ramp" else 60, packets=8)
    found, _ = read(model, kind, LinkEstimate.goodput, seconds=1.0, after_s=3.0, every_s=0.1)
    errors = [abs(one.value / (rate.mean(t - 0.05, t + 0.05) * SHARE) - 1) for t, one in found]
    tell(f"{kind}, {shape}: error {np.mean(errors):.1%} on average, p90 {np.quantile(errors, 0.9):.1%}")
    assert np.mean(errors) < most


@carriers
@kinds
@pytest.mark.parametrize("fps", [20, 5])
def test_an_outage_of_3_s_is_seen_and_leaves_nothing_behind(kind, carrier, fps):
    model = Model(Rate([(0, 5e6), (10, 0), (13, 5e6)]), 20, fps, packets=8, carrier=carrier)
    found, link = read(model, kind, lambda link, t: (link.outage(t), link.goodput(t)), after_s=9.9, every_s=0.05)
    (outage,) = link.outages
    assert outage.begun_s == pytest.approx(10.0, abs=0.05)
    assert outage.ended_s == pytest.approx(13.0, abs=0.1)
    seen = [t for t, (lasts, _) in found if lasts is not None]
    tell(f"{kind}, {carrier}, {fps} frames/s: seen after {seen[0] - 10:.2f} s, over after {seen[-1] - 13:.2f} s")
    assert seen[0] - 10 < LEAST_SILENCE_S + 0.15
    assert seen[-1] < 13.1
    off = [t for t, (_, one) in found if t > 13.1 and abs(one.value / (5e6 * SHARE) - 1) > 0.05]
    assert off == []
    before_it_ends = next(one for t, (_, one) in found if t > 12.9)
    if before_it_ends is not None:  # a window may have nothing left
        assert before_it_ends.value == before_it_ends.high < 8 * model.packets * DATA / (2.7 - model.deadline_s)


@kinds
def test_a_link_that_gets_very_slow_is_no_outage_for_ever(kind):
    """10 Mbit/s, then 0.1: a frame takes 1 s. The first one is silence, those after it are slow frames."""
    model = Model(Rate([(0, 10e6), (10, 1e5)]), 120, fps=0.5, packets=8, carrier="tcp")
    found, link = read(model, kind, LinkEstimate.goodput, seconds=10.0, after_s=60.0)
    assert [one.value for _, one in found] == pytest.approx([1e5 * SHARE] * len(found), rel=0.05)
    assert sum(one.ended_s - one.begun_s for one in link.outages if one.begun_s > 40.0) == 0.0


# What is only "at least" ----------------------------------------------------------------------------------------------


@kinds
def test_udp_frames_that_came_as_fast_as_they_were_sent_say_at_least(kind):
    model = Model(Rate([(0, 50e6)]), 20, pace_bps=8e6)
    found, _ = read(model, kind, LinkEstimate.goodput)
    assert {one.at_least for _, one in found} == {True}
    assert {one.age_s for _, one in found} == {inf}
    assert all(0.7 * 8e6 * SHARE < one.value <= 1.02 * 8e6 * SHARE for _, one in found)


@kinds
def test_tcp_frames_that_waited_for_the_window_say_at_least(kind):
    """Two frames of 87 kB a second: the window grows anew for each, three round trips long, as long as the link is."""
    model = Model(Rate([(0, 10e6)]), 20, fps=2, packets=60, carrier="tcp")
    found, _ = read(model, kind, LinkEstimate.goodput)
    assert {one.at_least for _, one in found} == {True}
    assert all(one.value < 10e6 * SHARE for _, one in found)


def test_a_frame_that_came_too_fast_to_be_timed_says_at_least():
    link = LinkEstimate("udp")
    link.sent(0, 10_000, 10, 0.0)
    link.answered(0, answer(0.0001), 0.05, 0.0)
    found = link.goodput(0.1)
    assert found.at_least
    assert found.value == pytest.approx(8 * 9000 / (SHORTEST_S + 0.0001))


@pytest.mark.parametrize(("carrier", "packets", "size"), [("udp", 1, 1000), ("tcp", 1, 1000), ("udp", 10, 0)])
def test_one_packet_says_nothing_of_goodput(carrier, packets, size):
    link = LinkEstimate(carrier)
    link.sent(0, size, packets, 0.0)
    link.answered(0, answer(0.0, size and 0, packets - 1 if packets > 1 else 0), 0.05, 0.0)
    assert link.goodput(0.1) is None
    assert link.round_trip(0.1).value == pytest.approx(0.05)


def test_a_frame_with_gaps_says_at_least_until_the_next_one_met_a_queue():
    link = LinkEstimate("udp", "windowed", 10.0)
    link.probed(0, 0.0)
    link.probe_answered(0, 0.02)
    for frame, (sent_s, first_s) in enumerate([(1.0, 1.01), (1.1, 1.3), (1.2, 1.6), (1.3, 1.9)]):
        link.sent(frame, 20_000, 20, sent_s)
        link.answered(frame, answer(0.4, 5000, 5), first_s + 0.01 + 0.4, sent_s)
    assert link.goodput(3.0).value == pytest.approx(8 * 15_000 / 0.3)  # 15 kB came from one first packet to the next
    assert not link.goodput(3.0).at_least
    assert link.loss(3.0).value == 0.25  # of the first frame, which met none
    alone = LinkEstimate("udp", "windowed", 10.0)
    alone.sent(0, 20_000, 20, 0.0)
    alone.answered(0, answer(0.4, 5000, 5), 0.43, 0.0)
    alone.sent(1, 20_000, 20, 1.0)
    alone.answered(1, answer(0.4, 5000, 5), 1.43, 1.0)
    assert alone.goodput(2.0).at_least
    assert alone.goodput(2.0).value == pytest.approx(8 * 14_000 / 0.4)


# Silence --------------------------------------------------------------------------------------------------------------


def test_silence_without_anything_sent_is_no_outage():
    link = LinkEstimate("tcp")
    assert link.outage(1e6) is None
    link.sent(0, 1000, 1, 0.0)
    link.answered(0, answer(0.0), 0.05)
    assert link.outage(1e6) is None


def test_over_udp_one_thing_without_an_answer_is_no_outage():
    link = LinkEstimate("udp")
    link.sent(0, 1000, 1, 0.0)
    assert link.outage(60.0) is None
    link.probed(1, 60.0)
    link.probed(2, 61.0)
    assert link.outage(62.0).begun_s == 0.0


def test_an_outage_waits_for_what_the_deadline_allows():
    link = LinkEstimate("tcp")
    link.probed(0, 0.0)
    link.probe_answered(0, 0.05)
    link.sent(0, 1000, 1, 1.0, deadline_s=4.0)
    assert link.outage(4.9) is None
    assert link.outage(5.1).begun_s == 1.0


def test_an_outage_that_nobody_asked_about_is_known_afterwards():
    link = LinkEstimate("tcp")
    link.probed(0, 0.0)
    link.probe_answered(0, 0.05)
    link.sent(0, 1000, 1, 1.0)
    link.heard(6.0)
    (outage,) = link.outages
    assert (outage.begun_s, outage.ended_s) == (1.0, 6.0)
    assert link.outage(6.1) is None


def test_an_answer_that_comes_after_it_was_given_up_still_tells():
    link = LinkEstimate("udp")
    link.sent(0, 20_000, 20, 0.0)
    link.lost(0, 1.3)
    link.answered(0, answer(0.4), 1.4)
    assert link.goodput(1.5).value == pytest.approx(8 * 19_000 / 0.4)
    link.answered(0, answer(0.1), 1.6)  # twice, or of a frame that was never sent: nothing but a sign of life
    link.answered(99, answer(0.1), 1.6)
    link.lost(99, 1.6)
    assert link.goodput(1.7).count == 1


def test_what_is_remembered_is_bounded():
    link = LinkEstimate("udp")
    for frame in range(3 * MOST_UNDER_WAY):
        link.sent(frame, 1000, 1, frame / 100)
        link.probed(frame, frame / 100)
    assert max(map(len, (link._frames, link._probes, link._given_up))) <= MOST_UNDER_WAY


def test_outages_follow_each_other_in_time():
    """A link that is there for 2 s and away for 2 s."""
    steps = [(2.0 * i, 5e6 if i % 2 == 0 else 0) for i in range(20)]
    _, link = read(Model(Rate(steps), 40, packets=8), "windowed", LinkEstimate.outage)
    assert len(link.outages) == 10
    assert all(one.ended_s is None or one.begun_s < one.ended_s for one in link.outages)
    assert all(one.ended_s <= other.begun_s for one, other in pairwise(link.outages))


@pytest.mark.parametrize(("arguments", "where"), [(("windowed", 0.0), "seconds"), (("median", 1.0), "kind")])
def test_what_makes_no_estimate_is_said(arguments, where):
    with pytest.raises(LinkError) as told:
        LinkEstimate("udp", *arguments)
    assert told.value.where == where


@carriers
@kinds
@pytest.mark.parametrize("seed", range(5))
def test_whatever_it_is_told_its_answers_hold_together(carrier, kind, seed):
    """Times that stand still, numbers that were never sent, servers that claim what cannot be."""
    rng = np.random.default_rng(seed)
    link, t = LinkEstimate(carrier, kind, 1.0), 0.0
    for _ in range(2000):
        t += rng.choice([0.0, 0.001, 0.05, 0.05, 3.0], p=[0.2, 0.3, 0.24, 0.25, 0.01])
        frame = int(rng.integers(0, 50))
        size, packets = int(rng.choice([0, 1, 1000, 50_000])), int(rng.integers(0, 40))
        match int(rng.integers(0, 6)):
            case 0:
                link.sent(frame, size, packets, t, float(rng.choice([0.0, 0.1, inf])))
            case 1:
                lies = answer(float(rng.choice([0.0, 0.01, 4000.0])), size, packets, float(rng.choice([0.0, 0.1])))
                link.answered(frame, lies, t, None if frame % 2 else t - 1.0)
            case 2:
                link.lost(frame, t)
            case 3:
                link.probed(frame, t)
            case 4:
                link.probe_answered(frame, t)
            case 5:
                link.heard(t)
        link.outage(t)
        for one in (link.goodput(t), link.round_trip(t), link.loss(t)):
            assert one is None or (0.0 <= one.low <= one.value * (1 + 1e-9) and one.value <= one.high * (1 + 1e-9))
            assert one is None or (one.age_s >= 0.0 and one.value < inf)
        assert link.loss(t) is None or link.loss(t).high <= 1.0
        assert 0.0 < link.patience_s(t) < inf
    assert all(one.begun_s <= one.ended_s for one in link.outages if one.ended_s is not None)
