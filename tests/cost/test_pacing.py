"""Frames as they come in the field: how many, how far apart, and in which order they are timed."""

from __future__ import annotations

import time

import numpy as np
import pytest

from splitimpera.cost.pacing import FEWEST_FRAMES, FRAMES, LEAST_IDLE_S, MOST_FRAMES, both_ways, in_frames, pace


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


def test_paced_frames_are_as_far_apart_as_the_workloads():
    begun = []
    hot, paced = both_ways({"a": lambda: begun.append(time.perf_counter())}, lambda: 0.0, fps=50.0, budget_s=2.0)
    assert len(paced["a"]) >= FRAMES
    assert len(hot["a"]) >= FEWEST_FRAMES
    gaps = np.diff(begun)
    assert (gaps[-len(paced["a"]) :] >= 0.02).all()
    assert np.median(gaps[: len(hot["a"])]) < 0.01
