"""What is said of a simulated link."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from splitimpera.net.replication import replicate
from splitimpera.net.transports import simulate
from splitimpera.records.link import Link, Trace
from splitimpera.records.traffic import Workload
from splitimpera.report.simulation import sentences, settings_line, simulation_json

LINK = Link("wire", 1e8, 0.005, loss=0.02)
WORK = Workload(10.0, 100, frame_bytes=9000)


def run(link=LINK, work=WORK, transport="udp", stable=(), **options):
    """Simulated, with `stable` in place of what the transport says."""
    said = iter(stable)

    def engine(*setting):
        sent = simulate(*setting)
        return replace(sent, stable=next(said)) if stable else sent

    return replicate(link, work, transport, run=engine, **options)


def test_several_runs_have_an_interval_and_few_frames_have_no_upper_end():
    assert "95 % interval: " in sentences(run())[0]
    assert "too few frames for an upper end" in sentences(run(work=replace(WORK, frames=40), replications=1))[0]
    assert "too few frames for an interval" in sentences(run(work=replace(WORK, frames=1), replications=1))[0]


def test_a_few_unstable_runs_are_a_warning_and_most_are_the_result():
    few = sentences(run(stable=[True, False, True], replications=3))
    assert few[0].startswith("95 % of the frames arrive within")
    assert few[1].startswith("Warning: in 1 of 3 runs the load exceeds")
    most = sentences(run(stable=[True, False, False], replications=3))
    assert most[0].startswith("Unstable: the load exceeds")
    assert not any("arrive within" in sentence for sentence in most)
    values = json.loads(simulation_json(run(stable=[True, False, False], replications=3)))
    assert values["stable"] == [True, False, False]
    assert values["p50_mean_s"] is values["p99_ci_s"] is None


def test_gaps_are_said_of_udp_only():
    assert sum("have gaps" in sentence for sentence in sentences(run())) == 1
    assert not any("have gaps" in sentence for sentence in sentences(run(transport="tcp")))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "udp over wire: 100 Mbit/s, 5 ms one way, 2 % loss, MTU 1500 B; 9 kB a frame, 10 a second, 100 frames"),
        ({"loss_burst": 3.0}, "2 % loss in bursts of 3"),
        ({"downlink_loss": 0.01}, "1 % loss back"),
        ({"jitter_s": 0.002}, "2 ms jitter"),
        ({"queue_packets": 20}, "queue of 20 packets"),
        ({"queue_bytes": 3000}, "queue of 3 kB"),
        ({"drops": (1, 2)}, "2 packets dropped by ordinal"),
        ({"trace": Trace("steps", (0.0,), 1.0, rate_bps=(1e7,), loss=(0.1,))}, "rate from the trace steps"),
    ],
)
def test_the_setting_in_one_line(changes, words):
    result = run(replications=1)
    assert words in settings_line(replace(result, link=replace(LINK, **changes)))


def test_what_goes_back_and_who_sends_are_said():
    work = replace(WORK, senders=3, response_bytes=40, deadline_s=0.02)
    line = settings_line(replace(run(replications=1), workload=work), "ns3")
    for words in ("from each of 3 senders", "responses of 40 B", "deadline 20 ms", "1 run;", "by ns3"):
        assert words in line
