"""What is timed on this machine: paced and hot, once, and kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from beds import known_bed, plan

from splitimpera.core.errors import DataError
from splitimpera.cost.pacing import FRAMES
from splitimpera.evaluation import stopwatch
from splitimpera.evaluation.costing import plan_costs
from splitimpera.evaluation.stopwatch import busy_line, measure
from splitimpera.evaluation.testbed import coding_of
from splitimpera.records.device import Device, Roofline
from splitimpera.records.measurements import Measurements

HERE = Device("here"), Device("there")


@pytest.fixture(scope="module")
def bed():
    return known_bed()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SPLITIMPERA_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def counted(monkeypatch):
    """How often anything was timed."""
    calls = []
    both_ways = stopwatch.both_ways
    monkeypatch.setattr(stopwatch, "both_ways", lambda *given: calls.append(given) or both_ways(*given))
    return calls


def test_every_segment_and_codec_has_its_samples(bed, cache):
    plans = [plan(cut, "uint8", devices=HERE) for cut in (1, 3)]
    times = measure(plans, bed, fps=200.0)
    assert times.fps == 200.0
    assert {(time.start, time.end) for time in times.segments} == {(0, 1), (1, 5), (0, 3), (3, 5)}
    assert all(len(time.samples_s) >= FRAMES == len(time.hot_samples_s) for time in (*times.segments, *times.codings))
    assert times.coding_s("encode", *coding_of(plans[0].hops[0])[:4]) > 0
    # the same passes: a head's and its tail's samples add up to those of any other cut
    sums = [np.add(times.segment_samples_s(0, cut), times.segment_samples_s(cut, 5)) for cut in (1, 3)]
    np.testing.assert_allclose(*sums, rtol=1e-9)


def test_programs_are_timed_on_one_thread_as_they_are_deployed(bed, cache, monkeypatch):
    seen, both_ways, before = [], stopwatch.both_ways, torch.get_num_threads()
    monkeypatch.setattr(
        stopwatch, "both_ways", lambda *given: seen.append(torch.get_num_threads()) or both_ways(*given)
    )
    try:
        for threads in (3, 2):  # the second finds the first one's times
            torch.set_num_threads(threads)
            times = measure([plan(1, devices=HERE)], bed, fps=500.0, budget_s=0.5)
            assert (times.threads, times.values_threads, torch.get_num_threads()) == (1, threads, threads)
    finally:
        torch.set_num_threads(before)
    assert seen == [1]


@pytest.mark.slow
def test_times_are_kept_by_what_was_timed_and_how(bed, cache, counted):
    plans = [plan(1, devices=HERE)]
    first = measure(plans, bed, fps=500.0, budget_s=0.5)
    assert measure(plans, bed, fps=500.0, budget_s=0.5) == first
    assert len(counted) == 1
    measure(plans, bed, fps=400.0, budget_s=0.5)
    measure([plan(3, devices=HERE)], bed, fps=500.0, budget_s=0.5)
    other_task = bed.task.fitted(bed.graph.outputs, "top5_accuracy")
    measure(plans, bed.with_task(other_task), fps=500.0, budget_s=0.5)
    assert len(counted) == 4
    assert measure(plans, bed, fps=500.0, budget_s=0.5, fresh=True) != first
    assert len(counted) == 5


def test_a_damaged_file_is_measured_anew(bed, cache, counted):
    plans = [plan(1, devices=HERE)]
    measure(plans, bed, fps=500.0, budget_s=0.5)
    (kept,) = cache.glob("times-*.json")
    kept.write_bytes(kept.read_bytes()[:-10])
    measure(plans, bed, fps=500.0, budget_s=0.5)
    assert len(counted) == 2


def test_nothing_is_timed_where_every_device_is_known(bed, cache, counted):
    known = tuple(replace(device, roofline=Roofline("r", 1e9, 1e9, 1e-6, 1, 1.0, "test")) for device in HERE)
    assert measure([plan(1, devices=known)], bed).segments == ()
    assert not counted


def test_the_spread_of_samples_goes_into_the_costs(bed):
    class Uneven(Measurements):
        def segment_samples_s(self, *_, **__):
            return (0.010, 0.012, 0.011, 0.020)

        def coding_samples_s(self, *_):
            return (0.001,)

    slow = replace(HERE[0], slowdown=3.0)
    camera, server = plan_costs(plan(1, devices=(slow, HERE[1])), bed, Uneven())
    assert camera.network[0].seconds == pytest.approx(3 * 0.0115)
    np.testing.assert_allclose(np.array(camera.network[0].spread) * 0.0115, [0.010, 0.012, 0.011, 0.020])
    assert camera.network[0].spread == server.network[0].spread
    assert camera.encode.spread == ()


@pytest.mark.parametrize("fps", [0, -1.0, float("nan"), 1e9])
def test_a_frame_rate_out_of_range(bed, fps):
    with pytest.raises(DataError, match=r"^fps: .* frames a second are out of range, they must be 1e-05 to 1e\+06"):
        measure([plan(1, devices=HERE)], bed, fps=fps)


def test_times_of_a_busy_machine_are_told_of(bed, cache, monkeypatch):
    monkeypatch.setattr(stopwatch, "waited_share", lambda run: (run(), 0.27))
    plans = [plan(1, devices=HERE)]
    times = measure(plans, bed, fps=500.0, budget_s=0.5)
    assert "27% of the timing went into waiting" in busy_line(times)
    assert busy_line(measure(plans, bed, fps=500.0, budget_s=0.5)) == busy_line(times)  # and of those that were kept
    assert busy_line(replace(times, waited=0.05)) is None
