"""Runs that chose among plans: the frames of one of them are held to its prediction, and the others are told."""

from __future__ import annotations

import pytest
from deployed import LOCAL, SPLIT_TCP, SPLIT_UDP, frame_lines, gate, logged, write_log

from splitimpera.core.errors import DataError
from splitimpera.deploy.answering import AnsweredBy, Mode
from splitimpera.verification.comparing import verify

MS = 1e-3


def mixed(path, finished=0, mode=Mode.PREFER_SERVER, **changes):
    """A log whose frames go by TCP, in its second half by UDP; the device answers some that were sent by TCP."""
    tcp, udp = (frame_lines(gate(), plan, 701, add={"server": 5 * MS if plan == SPLIT_UDP else 0.0})
                for plan in (SPLIT_TCP, SPLIT_UDP))  # fmt: skip
    lines = []
    for place, (first, second) in enumerate(zip(tcp, udp, strict=True)):
        plan, line = (SPLIT_TCP, first) if place < 400 else (SPLIT_UDP, second)
        by = AnsweredBy.SERVER if line.outcome == "ok" else AnsweredBy.NONE
        told = {"plan": plan, "sent_by": plan, "answered_by": by}
        if 10 <= place < 10 + finished:
            told |= {"answered_by": AnsweredBy.DEVICE, "response_s": line.due_s + 9.0}
        lines.append(line.model_copy(update=told))
    return write_log(path, lines, plan=SPLIT_TCP, mode=mode, **changes)


def test_the_frames_of_the_plan_that_sent_most_are_compared(tmp_path):
    found = verify(gate(), [mixed(tmp_path / "run.jsonl")])
    assert found.plan == SPLIT_TCP
    assert found.agrees
    assert found.drift == []
    assert found.outcomes == {"ok": 399}
    assert [(log.frames, log.compared) for log in found.logs] == [(701, 399)]
    assert found.warnings[0].startswith("The run chose among plans: 400 of 701 frames were sent by SC1-uint8-tcp")


def test_another_plan_of_the_run_may_be_named(tmp_path):
    path = mixed(tmp_path / "run.jsonl")
    found = verify(gate(), [path], plan=SPLIT_UDP)
    assert found.plan == SPLIT_UDP
    (one,) = [one for one in found.drift if one.key == "server"]
    assert one.since_frame == 401  # the first of its frames that is compared
    with pytest.raises(DataError, match="no frame was sent by plan 'LC'"):
        verify(gate(), [path], plan=LOCAL)
    with pytest.raises(DataError, match="which the design 'gate' has not"):
        verify(gate(), [path], plan="SC9")


def test_what_the_device_answered_in_place_of_the_server_came_back_of_no_plan(tmp_path):
    found = verify(gate(), [mixed(tmp_path / "run.jsonl", finished=60)])
    assert found.outcomes == {"ok": 339, "lost": 60}
    assert "The device answered 60 of these frames itself" in found.warnings[1]
    assert "frames lost" in found.headline
    assert max(value for value in found.frames.latency_s if value is not None) < 1


def test_runs_of_one_plan_and_of_several_are_not_compared_as_one(tmp_path):
    alone, several = logged(tmp_path / "alone.jsonl"), mixed(tmp_path / "several.jsonl")
    with pytest.raises(DataError, match="another mode is expected"):
        verify(gate(), [alone, several])
    with pytest.raises(DataError, match="the log is of plan 'SC1-uint8-tcp', not of 'LC'"):
        verify(gate(), [alone], plan=LOCAL)


def test_a_run_that_sent_nothing_is_refused(tmp_path):
    lines = [
        line.model_copy(update={"plan": LOCAL, "answered_by": AnsweredBy.DEVICE})
        for line in frame_lines(gate(), LOCAL, 60)
    ]
    path = write_log(tmp_path / "run.jsonl", lines, plan=LOCAL, mode=Mode.DEVICE_ONLY)
    with pytest.raises(DataError, match="no frame was sent to a server"):
        verify(gate(), [path])
