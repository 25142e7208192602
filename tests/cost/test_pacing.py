"""Frames as they come in the field: how many, how far apart, and in which order they are timed."""

from __future__ import annotations

import time

import numpy as np
import pytest
from networks import inputs, make

from splitimpera.cost.pacing import FEWEST_FRAMES, FRAMES, LEAST_IDLE_S, MOST_FRAMES, both_ways, in_frames, pace
from splitimpera.cost.waking import wake_s, waking_timers
from splitimpera.graph.tracing import trace


@pytest.mark.parametrize(
    ("fps", "own_s", "all_s", "budget_s", "idle_s", "frames"),
    [
        (10.0, 0.02, 0.03, 8.0, 0.08, FRAMES),  # as the workload does
        (100.0, 0.002, 0.002, 8.0, 0.008, MOST_FRAMES),  # more where they are short
        (10.0, 0.2, 0.2, 8.0, 0.0, FRAMES),  # no idle time where there is none
        (0.01, 0.02, 0.05, 8.0, 8.0 / FRAMES - 0.05, FRAMES),  # faster than the workload
        (0.01, 0.02, 0.5, 8.0, LEAST_IDLE_S, 14),  # fewer frames, but still idle time
        (10.0, 3.0, 3.0, 8.0, 0.0, FEWEST_FRAMES),
    ],
)
def test_pace(fps, own_s, all_s, budget_s, idle_s, frames):
    found = pace(fps, own_s, all_s, budget_s)
    assert found == (pytest.approx(idle_s), frames)


def test_frames_begin_with_the_first_and_all_else_takes_turns():
    said = []
    calls = {name: lambda name=name: said.append(name) or len(said) for name in "abcd"}
    taken = in_frames(calls, 0.0, 4)
    assert "".join(said) == "abcd" + "acdb" + "adbc" + "abcd"
    assert taken["a"].tolist() == [1, 5, 9, 13]
    assert in_frames({"a": lambda: [0.0, 1.0]}, 0.0, 3)["a"].shape == (3, 2)


def test_what_is_woken_idles_by_itself():
    said = []
    calls, woken = (
        {name: lambda name=name: said.append((name, time.perf_counter())) for name in names} for names in ("ab", "x")
    )
    in_frames(calls, 0.02, 2, woken=woken)
    assert "".join(name for name, _ in said) == "xabxab"
    gaps = np.diff([at_s for _, at_s in said])
    assert (gaps[[0, 2, 3]] >= 0.02).all()
    assert pace(10.0, 0.0, 0.0, 60.0, idles=2) == (0.1, FRAMES)
    assert pace(10.0, 0.0, 0.0, 4.5, idles=2) == (pytest.approx(0.075), FRAMES)


def test_waking_is_what_the_end_of_a_network_takes_longer_than_in_a_pass():
    layers_s, call_s = np.tile([5.0, 3.0, 1.0], (10, 1)), np.full(10, 0.25)
    assert wake_s({("woken", 2): np.full(10, 1.75)}, layers_s, call_s) == 0.5
    assert wake_s({("woken", 1): np.full(10, 3.0)}, layers_s, call_s) == 0.0
    assert wake_s({("call",): call_s}, layers_s, call_s) == 0.0
    graph, x = trace(make("Chain"), inputs("Chain", 1)), inputs("Chain", 1)
    ((kind, cut),) = waking_timers(graph, x, np.array([8.0, 1.0, 1.0, 0.6, 0.6]))
    assert (kind, cut) == ("woken", 3)
    assert waking_timers(graph, x, np.array([8.0, 0.1, 0.1, 0.1, 0.1])) == {}


def test_paced_frames_are_as_far_apart_as_the_workloads():
    begun = []
    hot, paced = both_ways({"a": lambda: begun.append(time.perf_counter())}, lambda: 0.0, fps=50.0, budget_s=2.0)
    assert len(paced["a"]) >= FRAMES
    assert len(hot["a"]) >= FEWEST_FRAMES
    gaps = np.diff(begun)
    assert (gaps[-len(paced["a"]) :] >= 0.02).all()
    assert np.median(gaps[: len(hot["a"])]) < 0.01
