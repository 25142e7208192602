"""Tokens of language models on their way: exact times by hand, queues, batches, and what must add up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from splitimpera.core.errors import PlanError, SimulationError
from splitimpera.deploy.token_steps import STEP_BYTES
from splitimpera.evaluation.token_run import TOKEN_BYTES
from splitimpera.evaluation.token_timeline import TokenTimeline
from splitimpera.net.budget import WorkError
from splitimpera.net.tcp import LINUX_CUBIC
from splitimpera.records.device import Device, Radio
from splitimpera.records.exits import GOES_ON
from splitimpera.records.link import Link
from splitimpera.records.plan import Exit, Hop, Plan
from splitimpera.records.token_times import TokenTimes
from splitimpera.records.token_workload import Lengths, TokenWorkload
from splitimpera.records.traffic import Workload

RATE_BPS, DELAY_S, TURNAROUND_S = 1e8, 0.005, LINUX_CUBIC.turnaround_s
LINK = Link(rate_bps=RATE_BPS, delay_s=DELAY_S)
PHONE, SERVER = Device("phone"), Device("server")
SLOW = TokenTimes(prefill=((1, 0.010), (101, 0.110)), decode=((0, 0.008), (100, 0.010)), how="scaled")
FAST = TokenTimes(
    prefill=((1, 0.002), (101, 0.012)),
    decode=((0, 0.004), (100, 0.005)),
    how="measured",
    together=((1, 1.0), (2, 1.2), (4, 1.6)),
)
EXACT = 5e-9


def local(device=PHONE):
    return Plan("local", (device,))


def remote(cut=0, link=LINK, transport="tcp", device=PHONE):
    return Plan("p", (device, SERVER), (Hop(cut, "float32", transport, link),))


def asked(fps=0.1, requests=3, users=1, prompt=51, output=5, **more):
    lengths = [each if isinstance(each, Lengths) else Lengths(each) for each in (prompt, output)]
    return Workload(fps, requests, senders=users, frame_bytes=1, tokens=TokenWorkload(*lengths, 256, **more))


def run(plan, workload, times=(SLOW, FAST), bytes_per_token=1000.0, replications=1, seed=0, **more):
    rngs = np.random.default_rng(seed).spawn(replications)
    return TokenTimeline(plan, workload, times[: len(plan.devices)], bytes_per_token, rngs, **more)


def takes_s(size):
    packets = -(-size // 1448)
    return (size + (LINK.link_header_bytes + 52) * packets) * 8 / RATE_BPS + DELAY_S


def test_alone_a_device_reads_the_prompt_and_writes():
    """51 tokens are read in 60 ms; the four others follow after 8 ms and 20 us more for each token before them."""
    found = run(local(), asked())
    steps_s = 0.008 + 2e-5 * np.arange(51, 55)
    assert found.tokens.ttft_s == pytest.approx(np.full((1, 3), 0.06), abs=EXACT)
    assert found.tokens.tpot_s == pytest.approx(np.full((1, 3), steps_s.mean()), abs=EXACT)
    assert found.tokens.gaps_s == pytest.approx(np.tile(steps_s, 3)[None], abs=EXACT)
    assert found.latency_s == pytest.approx(np.full((1, 3), 0.06 + steps_s.sum()), abs=EXACT)
    assert found.now_s[0] == pytest.approx(found.latency_s[0] + [0, 10, 20])
    assert found.stable
    assert (found.payload_bytes, found.mean_lost_packet_rate, found.tokens.together) == (0.0, 0.0, 0.0)
    assert found.utilisation == {"phone": pytest.approx((0.06 + steps_s.sum()) * 0.1)}


def test_a_server_that_runs_the_whole_model_streams():
    """The first token pays both ways; the others come as fast as the server writes them."""
    found = run(remote(), asked(), bytes_per_token=4.0)
    steps_s = 0.004 + 1e-5 * np.arange(51, 55)
    first_s = takes_s(51 * 4 + STEP_BYTES) + 0.007 + takes_s(TOKEN_BYTES) + TURNAROUND_S
    assert found.tokens.ttft_s == pytest.approx(np.full((1, 3), first_s), abs=EXACT)
    assert found.tokens.tpot_s == pytest.approx(np.full((1, 3), steps_s.mean()), abs=EXACT)
    assert found.tokens.tpot_s.mean() < 2 * DELAY_S
    assert found.payload_bytes == 51 * 4
    assert found.tokens.bytes_per_token == pytest.approx(51 * 4 / 5)
    assert found.estimates == ()


def test_a_split_pays_the_round_trip_for_every_token():
    """METHOD 8: the time per token is no less than the round trip and what both sides take."""
    found = run(remote(cut=3), asked(), encode_s=1e-4, decode_s=2e-4)
    both_s = 0.012 + 3e-5 * np.arange(51, 55) + 3e-4
    round_trip_s = takes_s(1000 + STEP_BYTES) + takes_s(TOKEN_BYTES) + TURNAROUND_S
    first_s = 0.06 + 0.007 + 51 * 3e-4 + takes_s(51_000 + STEP_BYTES) + takes_s(TOKEN_BYTES) + TURNAROUND_S
    assert found.tokens.tpot_s == pytest.approx(np.full((1, 3), round_trip_s + both_s.mean()), abs=EXACT)
    assert found.tokens.gaps_s == pytest.approx(np.tile(round_trip_s + both_s, 3)[None], abs=EXACT)
    # the first prompt meets a window that is still small; the others come when it is open, or closed by idling
    assert (found.tokens.ttft_s >= first_s - EXACT).all()
    assert found.payload_bytes == 55 * 1000
    assert found.estimates == ("phone: network",)
    parts = found.tokens.tpot_parts_s
    assert parts["phone: network"] == pytest.approx(0.008 + 2e-5 * 52.5 + 1e-4, abs=EXACT)
    assert parts["link: up"] == pytest.approx(takes_s(1000 + STEP_BYTES), abs=EXACT)
    assert parts["server: network"] == pytest.approx(0.004 + 1e-5 * 52.5 + 2e-4, abs=EXACT)
    assert parts["link: down"] == pytest.approx(takes_s(TOKEN_BYTES) + TURNAROUND_S, abs=EXACT)
    assert parts["server: queue"] == pytest.approx(0, abs=EXACT)


def test_a_short_prompt_fits_the_first_window():
    found = run(remote(cut=3), asked(prompt=11))
    first_s = 0.02 + 0.003 + takes_s(11_000 + STEP_BYTES) + takes_s(TOKEN_BYTES) + TURNAROUND_S
    assert found.tokens.ttft_s == pytest.approx(np.full((1, 3), first_s), abs=EXACT)


def test_each_request_sends_what_its_sample_does():
    found = run(remote(cut=3), asked(requests=4, output=1), bytes_per_token=np.array([10.0, 20.5]))
    assert found.runs[0].up_bytes.tolist() == [510, 1046, 510, 1046]
    assert np.isnan(found.tokens.tpot_s).all()
    assert sorted(found.tokens.metrics()) == ["tokens_per_s", "ttft", "ttft_p95"]


@pytest.mark.parametrize("plan", [local(), remote(), remote(cut=3)])
def test_a_request_waits_while_the_one_before_is_written(plan):
    """A hundred requests a second are too many."""
    found = run(plan, asked(fps=100.0, requests=20))
    assert not found.stable
    assert (np.diff(found.tokens.ttft_s[0]) > 0).all()
    waiting = found.tokens.ttft_parts_s["phone: queue"]
    assert waiting > 0.5 * found.tokens.ttft_s.mean()
    assert found.sustained_fps[0] < 100.0
    assert run(plan, asked(fps=1.0, requests=20)).stable


@pytest.mark.parametrize("plan", [local(), remote(), remote(cut=3)])
@pytest.mark.parametrize("loss", [0.0, 0.03])
def test_parts_add_up(plan, loss):
    if plan.hops:
        plan = remote(plan.hops[0].cut, replace(LINK, loss=loss, downlink_loss=loss))
    work = asked(2.0, 30, users=4, output=Lengths(6, "geometric"), together=3, arrivals="poisson")
    found = run(plan, work, replications=2)
    several = found.tokens.tpot_s[~np.isnan(found.tokens.tpot_s)]
    assert sum(found.parts_s.values()) == pytest.approx(found.latency_s.mean())
    assert sum(found.tokens.ttft_parts_s.values()) == pytest.approx(found.tokens.ttft_s.mean())
    assert sum(found.tokens.tpot_parts_s.values()) == pytest.approx(several.mean())
    assert found.latency_s.shape == found.tokens.ttft_s.shape == found.due_s.shape == (2, 120)
    assert (np.diff(found.due_s) >= 0).all()
    assert (found.latency_s >= found.tokens.ttft_s).all()
    assert found.alive.all()
    assert (found.left_at == GOES_ON).all()
    assert (found.lost_packet_rate > 0).all() == (loss > 0 and bool(plan.hops))
    steps = sum(int((run.requests.output - 1).sum()) for run in found.runs)
    assert np.isfinite(found.tokens.gaps_s).sum() == steps


def test_utilisation_is_the_work_done():
    """What each stage did in all, over the time in which requests came at their rate."""
    work = asked(0.5, 40, users=6, together=4)
    found = run(remote(cut=3), work)
    (only,) = found.runs
    span_s = 40 / 0.5
    # what was done together was done once
    steps_s = only.parts_s[4] / only.together
    assert found.utilisation["server"] == pytest.approx(steps_s.sum() / span_s)
    assert found.utilisation["phone"] == pytest.approx(only.device_s.sum() / span_s / 6)
    assert found.utilisation["link"] == pytest.approx(only.up_wire_bytes.sum() * 8 / RATE_BPS / span_s)
    assert found.busiest_stage == max(found.utilisation, key=found.utilisation.get)


def test_steps_taken_together_bring_more_tokens():
    """16 users keep the server busy; four tokens a step take 1.6 times as long as one."""
    work = asked(20.0, 10, users=16, output=40)
    one, four = (run(remote(), replace(work, tokens=replace(work.tokens, together=most))) for most in (1, 4))
    assert one.tokens.together == 1
    assert 3.5 < four.tokens.together <= 4
    assert four.runs[0].together.max() == 4
    assert four.tokens.tokens_per_s[0] / one.tokens.tokens_per_s[0] == pytest.approx(4 / 1.6, rel=0.1)
    # a step of one takes 4.7 ms in the mean, a prompt 7
    assert one.tokens.tokens_per_s[0] == pytest.approx(40 / (0.007 + 39 * (0.004 + 1e-5 * 70)), rel=0.02)
    assert one.utilisation["server"] > four.utilisation["server"] > 1
    assert not one.stable


def test_no_step_makes_more_tokens_than_there_are_users():
    found = run(remote(), asked(20.0, 5, users=2, together=64))
    assert found.runs[0].together.max() == 2


def test_a_server_queues_as_theory_says():
    """M/D/1: prompts alone, at random, of so many users that hardly any waits for itself."""
    times = (SLOW, TokenTimes(((1, 0.001),), ((0, 0.0),), "measured"))
    rho, users = 0.7, 400
    link = Link(rate_bps=1e12, delay_s=0.0)
    work = asked(rho / 0.001 / users, 50, users=users, prompt=1, output=1, arrivals="poisson")
    waits_s = []
    for seed in range(3):
        found = run(remote(link=link), work, times, 1.0, seed=seed)
        (only,) = found.runs
        came_s = np.sort(only.begun_s)
        inner = only.begun_s < came_s[int(0.8 * len(came_s))]  # until the first users have had their last request
        waits_s.append(only.parts_s[3][inner].mean())
    assert np.mean(waits_s) == pytest.approx(rho * 0.001 / (2 * (1 - rho)), rel=0.08)
    assert found.utilisation["server"] == pytest.approx(rho)


def test_service_times_vary_by_their_spread():
    times = (replace(SLOW, spread=(0.5, 1.0, 2.0)), replace(FAST, spread=(1.0, 3.0)))
    found = run(remote(cut=3), asked(requests=100), times, replications=2)
    (one, other) = found.runs
    ratios = one.device_s[~one.first] / run(remote(cut=3), asked(requests=100)).runs[0].device_s[~one.first]
    assert set(np.round(ratios, 6)) == {0.5, 1.0, 2.0}
    assert (one.device_s != other.device_s).any()
    p50, p95 = found.device_quantiles_s["phone"]
    assert 0 < p50 < p95


def test_the_same_randomness_gives_the_same_times():
    link = replace(LINK, loss=0.02, jitter_s=0.001)
    work = asked(2.0, 10, users=3, output=Lengths(6, "lognormal"), arrivals="poisson")
    one, again, other = (run(remote(3, link), work, replications=2, seed=seed) for seed in (1, 1, 2))
    assert one.latency_s.tobytes() == again.latency_s.tobytes() != other.latency_s.tobytes()
    # another link has the same requests
    assert one.due_s.tobytes() == run(remote(3), work, replications=2, seed=1).due_s.tobytes()


def test_joules_are_those_of_computing_and_sending():
    phone = Device("phone", power_w=2.0, radio=Radio("radio", 1e-7, 0.5))
    found = run(remote(cut=3, device=phone), asked(prompt=11))
    wire_bytes = found.runs[0].up_wire_bytes.sum() / 3
    busy_s = 0.02 + (0.008 + 2e-5 * np.arange(11, 15)).sum()
    wanted_j = 2.0 * busy_s + 1e-7 * wire_bytes + 0.5 * wire_bytes * 8 / RATE_BPS
    assert found.energy_j == pytest.approx(wanted_j)
    assert found.tokens.energy_j == found.tokens.metrics()["token_energy"] == pytest.approx(wanted_j / 5)
    assert run(remote(cut=3), asked()).tokens.energy_j is None


def test_memory_is_held_to_what_there_is():
    small = Device("phone", memory_bytes=1000)
    found = run(remote(cut=3, device=small), asked(), memory_bytes=(2000, 10**9), cache_bytes=(500, 600))
    assert len(found.cannot_run) == 1
    assert "the head needs 2 kB" in found.cannot_run[0]
    assert [costs.memory_bytes for costs in found.costs] == [2000, 10**9]
    assert found.tokens.cache_bytes == (500, 600)


def test_a_connection_that_is_given_up_leaves_requests_unanswered():
    found = run(remote(3, replace(LINK, loss=0.98)), asked(requests=2, output=30), replications=2, seed=3)
    lost = ~found.alive
    assert lost.any()
    assert np.isinf(found.latency_s[lost]).all()
    assert np.isinf(found.tokens.tpot_s[lost]).all()
    assert not found.stable
    assert not found.on_time[lost].any()
    assert found.tokens.metrics()["tpot"] == np.inf


def test_what_cannot_be_simulated_is_refused():
    with pytest.raises(PlanError, match="over TCP, not over udp"):
        run(remote(transport="udp"), asked())
    hops = Hop(1, "float32", "tcp", LINK), Hop(2, "float32", "tcp", replace(LINK, name="far"))
    middle = Plan("p", (PHONE, Device("edge"), SERVER), hops)
    with pytest.raises(PlanError, match="one device to one server"):
        run(middle, asked(), (SLOW, FAST, FAST))
    with pytest.raises(PlanError, match="early exits"):
        run(Plan("p", (PHONE, SERVER), (Hop(2, "float32", "tcp", LINK),), (Exit(1, (0.5,)),)), asked())
    with pytest.raises(WorkError, match="10,200,000 tokens are too many"):
        run(local(), asked(requests=1000, users=100, output=51), replications=2)
    with pytest.raises(SimulationError, match="tokens"):
        run(remote(), Workload(1.0, 3, frame_bytes=1))
