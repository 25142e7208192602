"""The device half at a frame rate, and its log."""

from __future__ import annotations

import threading
import time

import pytest
from small_bundle import make_bundle, network, samples
from test_client import hold, running

from splitimpera.core.errors import DataError, LinkError
from splitimpera.deploy.adaptive_client import AdaptiveClient
from splitimpera.deploy.answering import Mode
from splitimpera.deploy.client import Client
from splitimpera.deploy.device_run import DeviceRun, Tally, run_line
from splitimpera.deploy.frame_clock import FrameClock
from splitimpera.deploy.frame_log import FrameLine, line_of, read_log
from splitimpera.deploy.sample_stream import Sample, Source
from splitimpera.deploy.sources import open_source


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("bundle"))


class Clock:
    """A time that goes on only where somebody sleeps or works."""

    def __init__(self, monkeypatch):
        self.now_s = 100.0
        monkeypatch.setattr("splitimpera.deploy.frame_clock.time", self)

    def monotonic(self):
        return self.now_s

    def sleep(self, duration_s):
        self.now_s += duration_s


def played(monkeypatch, works_s, fps=10.0, **options):
    """Which frames are begun when, and which are dropped, of a device that takes so long for each."""
    clock, works = Clock(monkeypatch), iter(works_s)
    begun, dropped = {}, []
    frames = FrameClock(fps, len(works_s), begun_s=clock.now_s, **options)
    for frame, due_s, runs in frames:
        assert due_s == pytest.approx(100 + frame / fps)
        if runs:
            begun[frame] = round(clock.now_s - 100, 3)
            clock.now_s += next(works)
        else:
            dropped.append(frame)
    return begun, dropped


def test_a_device_in_time_begins_each_frame_when_it_is_due(monkeypatch):
    assert played(monkeypatch, [0.02] * 4) == ({0: 0.0, 1: 0.1, 2: 0.2, 3: 0.3}, [])


def test_frames_wait_for_a_busy_device(monkeypatch):
    assert played(monkeypatch, [0.25, 0.01, 0.01, 0.01]) == ({0: 0.0, 1: 0.25, 2: 0.26, 3: 0.3}, [])


@pytest.mark.parametrize(("policy", "dropped"), [("drop-oldest", [1, 2]), ("drop-newest", [2, 3])])
def test_or_are_dropped_as_the_policy_says(monkeypatch, policy, dropped):
    begun, gone = played(monkeypatch, [0.35, 0.01, 0.01, 0.01, 0.01], policy=policy)
    assert gone == dropped
    assert begun[0] == 0.0
    assert begun[4] == 0.4
    assert sorted([*begun, *gone]) == [0, 1, 2, 3, 4]


def test_each_frame_has_its_line(bundle, tmp_path):
    with running(bundle) as (_, address), Client(bundle, address, insecure=True) as client:
        source, lines = open_source("samples", bundle), []
        first = run_line(client, source, 200.0, None)
        tally = DeviceRun(client, source, FrameClock(200.0, 30), told=lines.append).run()
    (tmp_path / "log").write_text("".join(map(line_of, [first, *lines])))
    run, frames = read_log(tmp_path / "log")
    assert (run.carrier, run.transport, run.secure, run.engine, run.source) == ("tcp", "tcp", "none", "onnx", "samples")
    assert run.round_trip_s > 0
    assert run.deadline_s is None
    assert [line.frame for line in frames] == list(range(30))
    assert [line.sample for line in frames] == [*range(20), *range(10)]
    assert {line.outcome for line in frames} == {"ok"}
    for line in frames:
        assert line.due_s == pytest.approx(line.frame / 200)
        assert line.due_s <= line.begun_s < line.sent_s <= line.response_s
        assert line.begun_s + line.head_s + line.encode_s <= line.sent_s
        within_s = line.assembled_s + line.queued_s + line.decode_s + line.run_s
        assert within_s <= line.server_s + 1e-5
        assert (line.lost_packets, line.missing_bytes, line.batch, line.payload_bytes) == (0, 0, 1, 512)
        assert line.label == line.predicted
    assert (tally.frames, tally.accuracy, tally.payload_bytes) == (30, 1.0, 30 * 512)


def test_a_plan_without_a_server(bundle):
    with Client(bundle, plan="lc") as client:
        source, lines = open_source("samples", bundle), []
        first = run_line(client, source, None, None)
        tally = DeviceRun(client, source, FrameClock(None, None), told=lines.append).run()
    assert (first.carrier, first.secure, first.round_trip_s) == ("none", "none", None)
    assert len(lines) == 20
    assert {line.sent_s for line in lines} == {line.server_s for line in lines} == {None}
    assert [line.predicted for line in lines] == network(samples()).argmax(1).tolist()
    assert tally.accuracy == 1.0


def test_frames_that_are_late_are_told_and_missed(bundle):
    with running(bundle) as (server, address), Client(bundle, address, insecure=True) as client:
        gate = threading.Event()
        for half in server.halves.values():
            hold(half, gate)
        lines = []
        run = DeviceRun(client, open_source("samples", bundle), FrameClock(500.0, 5), 0.01, lines.append)
        opener = threading.Timer(0.05, gate.set)
        opener.start()
        tally = run.run()
        opener.join()
    assert [line.outcome for line in lines] == ["ok", "late", "late", "late", "late"]
    assert tally.missed == 5  # the first one came after its deadline


def test_an_answer_given_once_more_is_not_right(bundle):
    with running(bundle) as (_, address):
        client = AdaptiveClient(bundle, [address], mode=Mode.SERVER_ONLY, insecure=True, stale_s=60.0).open()
        before, after = [], []
        DeviceRun(client, open_source("samples", bundle), FrameClock(50.0, 3), 1.0, before.append).run()
    with client:
        tally = DeviceRun(client, open_source("samples", bundle), FrameClock(50.0, 20), 0.02, after.append).run()
    assert {line.outcome for line in before} == {"ok"}
    assert before[-1].label in {line.label for line in after}  # by its number alone it would be right
    assert {(line.outcome, line.predicted) for line in after} == {("stale", None)}
    assert (tally.labelled, tally.accuracy) == (20, 0.0)


def test_a_session_that_breaks_ends_the_run_with_every_line(bundle):
    with running(bundle) as (server, address), Client(bundle, address, insecure=True) as client:
        lines = []

        def told(line):
            lines.append(line)
            if line.frame == 3:
                (session,) = server._clients
                session._loop.call_soon_threadsafe(session.close)

        run = DeviceRun(client, open_source("samples", bundle), FrameClock(100.0, 50), told=told)
        with pytest.raises(LinkError):
            run.run()
    assert [line.frame for line in lines] == list(range(len(lines)))
    assert 4 < len(lines) < 50
    assert lines[-1].outcome == "lost"


def test_an_input_that_is_none_ends_the_run(bundle):
    source = Source("strange", [Sample(samples()[0], 0), Sample(samples()[0][:, :3], 1)], 2)
    with Client(bundle, plan="lc") as client, pytest.raises(DataError, match="the network takes"):
        DeviceRun(client, source, FrameClock(None)).run()


def test_a_live_source_is_read_when_its_frame_is_due(bundle):
    read_s = []

    def now():
        while True:
            read_s.append(time.monotonic())
            yield Sample(samples()[0])

    clock = FrameClock(50.0, 4)
    with Client(bundle, plan="lc") as client:
        tally = DeviceRun(client, Source("camera", now(), live=True), clock).run()
    assert tally.frames == 4
    assert all(at_s >= clock.begun_s + frame / 50 for frame, at_s in enumerate(read_s))


def test_ctrl_c_leaves_a_line_for_each_frame_that_was_begun(bundle):
    lines = []

    def told(line):
        lines.append(line)
        if len(lines) == 3:
            raise KeyboardInterrupt

    with running(bundle) as (_, address), Client(bundle, address, insecure=True) as client:
        run = DeviceRun(client, open_source("samples", bundle), FrameClock(100.0, 50), told=told)
        with pytest.raises(KeyboardInterrupt):
            run.run()
    assert 3 <= len(lines) < 50
    assert run.tally.frames == len(lines)


def test_a_tally_of_losses():
    tally = Tally(deadline_s=0.1)
    for line in (
        FrameLine(frame=0, sample=0, outcome="ok", due_s=0.0, response_s=0.05, packets=4, lost_packets=1, label=1),
        FrameLine(
            frame=1, sample=1, outcome="ok", due_s=0.0, response_s=0.2, packets=4, lost_packets=0, label=1, predicted=1
        ),
        FrameLine(frame=2, sample=2, outcome="lost", due_s=0.0, packets=4),
        FrameLine(frame=3, sample=3, outcome="dropped", due_s=0.0),
    ):
        tally.add(line)
    assert (tally.frames, tally.packets, tally.told_packets, tally.lost_packets, tally.missed) == (4, 12, 8, 1, 3)
    assert tally.accuracy == 0.5
    assert tally.percentile_s(0.5) == pytest.approx(0.125)
