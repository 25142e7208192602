"""Where a design no longer fits: each thing by its name, with its figure, since the frame from which on it is so."""

from __future__ import annotations

import numpy as np
import pytest
from deployed import LOCAL, SPLIT_TCP, SPLIT_UDP, gate, logged, write_log

from splitimpera.deploy.frame_log import read_log
from splitimpera.report.verified_figures import verification_figures
from splitimpera.verification.comparing import matched, verify
from splitimpera.verification.drift import drift

MS = 1e-3
NOISE = {
    "quiet": lambda rng, shape: rng.normal(1, 0.02, shape),
    "lognormal": lambda rng, shape: rng.lognormal(0, 0.5, shape),
    "exponential": lambda rng, shape: rng.exponential(1 / np.log(2), shape),
    "two values": lambda rng, shape: 1 + rng.integers(0, 2, shape) * 1e-3 + (rng.random(shape) < 0.2),
    "heavy tail": lambda rng, shape: (rng.pareto(1, shape) + 1) / 2,
}


def after(change, more, frames=601):
    """So much more from a frame on."""
    return np.where(np.arange(frames) < change, 0.0, more)


def changed(path, change, **told):
    run, lines = read_log(path)
    given = run.model_dump(exclude={"schema_version"})
    return write_log(path, [line.model_copy(update=change(line)) for line in lines], **given, **told)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A run on the device alone, with its design."""
    path = logged(tmp_path_factory.mktemp("logs") / "run.jsonl", LOCAL)
    _, entry, logs, prediction, found = matched(gate(), [path])
    return entry, logs, prediction, found


def drifted(alone, values_s):
    """What is said of device times."""
    entry, logs, prediction, found = alone
    parts = dict(found.parts_s) | {"device": values_s}
    return drift(logs, type(found)(**vars(found) | {"parts_s": parts}), prediction, entry)


@pytest.mark.parametrize("kind", NOISE)
def test_stationary_noise_raises_no_warning(kind, alone):
    *_, prediction, found = alone
    level_s, rng = np.median(prediction.parts_s["device"]), np.random.default_rng(5)
    runs = NOISE[kind](rng, (100, len(found.lines))) * level_s
    assert sum(bool(drifted(alone, run)) for run in runs) == 0


@pytest.mark.parametrize(("kind", "factor", "within"), [
    ("quiet", 1.6, 2), ("quiet", 0.5, 2), ("lognormal", 3.0, 25), ("two values", 2.5, 8),
])  # fmt: skip
def test_a_change_in_noise_is_found_with_its_frame_and_figure(kind, factor, within, alone):
    *_, prediction, found = alone
    level_s, rng, since = np.median(prediction.parts_s["device"]), np.random.default_rng(6), []
    for _ in range(50):
        noise = NOISE[kind](rng, len(found.lines)) * np.where(np.arange(len(found.lines)) < 199, 1, factor)
        (one,) = drifted(alone, noise * level_s)
        assert (one.key, one.until_frame) == ("device", None)
        assert one.measured / one.predicted == pytest.approx(factor, rel=0.15)
        since.append(one.since_frame)
    assert np.percentile(np.abs(np.array(since) - 200), 90) <= within


@pytest.mark.parametrize("plan", [SPLIT_TCP, SPLIT_UDP, LOCAL])
def test_a_run_as_it_was_predicted_has_no_drift(plan, tmp_path):
    found = verify(gate(), [logged(tmp_path / "run.jsonl", plan)])
    assert found.drift == []
    assert found.anew == ""


@pytest.mark.parametrize(("part", "key", "words"), [
    ("device", "device", "The layers on camera take 1.7 times as long as predicted, 12"),
    ("encode", "encode", "Encoding takes 26 times as long as predicted, 5.2"),
    ("link", "round_trip", "A first packet and the response travel 2 times as long as predicted, 9.8"),
    ("server_wait", "server_wait", "Frames wait 5 ms on server, where 0 s were predicted"),
    ("decode", "decode", "Decoding takes 26 times as long as predicted, 5."),
    ("server", "server", "The layers on server take 3.5 times as long as predicted, 7.0"),
])  # fmt: skip
def test_what_has_changed_is_named_with_the_frame(part, key, words, tmp_path):
    (one,) = verify(gate(), [logged(tmp_path / "run.jsonl", add={part: after(120, 5 * MS)})]).drift
    assert one.key == key
    assert one.since_frame == pytest.approx(120, abs=1)
    assert one.since_s == one.since_frame / 20
    assert one.frames == 601 - one.since_frame
    assert one.told.startswith(words)
    assert one.told.endswith(f", since frame {one.since_frame} ({one.since_s:.4g} s).")


def test_the_page_draws_a_line_where_it_began(tmp_path):
    paths = [logged(tmp_path / f"{seed}.jsonl", seed=seed, add={"device": after(120, 5 * MS)}) for seed in (1, 2)]
    found = verify(gate(), paths[:1])
    (line,) = verification_figures(found)["frames"].layout.shapes
    assert line.x0 == line.x1 == found.drift[0].since_frame
    # of several logs a frame's number says less than where it stands
    assert verification_figures(verify(gate(), paths))["frames"].layout.shapes == ()


def test_what_is_over_is_told_and_asks_for_nothing(tmp_path):
    while_s = after(120, 5 * MS) - after(300, 5 * MS)
    found = verify(gate(), [logged(tmp_path / "run.jsonl", add={"device": while_s})])
    (one,) = found.drift
    assert (one.until_frame, one.until_s) == (300, 15.0)
    assert one.told.endswith("from frame 120 (6 s) to frame 300 (15 s), but no more at the end.")
    assert found.anew == ""


def test_a_slower_link_is_told_by_its_rate(tmp_path):
    def slower(line):
        more = 4 * line.assembled_s if line.frame >= 200 else 0.0
        return {key: getattr(line, key) + more for key in ("assembled_s", "server_s", "response_s")}

    (one,) = verify(gate(), [changed(logged(tmp_path / "run.jsonl", "SC1-float32-tcp"), slower)]).drift
    assert one.key == "goodput"
    assert one.measured / one.predicted == pytest.approx(0.35, rel=0.1)  # what was quick while the window was wide, too
    assert one.since_frame == pytest.approx(200, abs=12)
    assert one.told.startswith("Frames come in at 0.35 times the predicted rate, ")


def test_frames_that_come_in_one_piece_say_nothing_of_the_rate(tmp_path):
    log = changed(logged(tmp_path / "run.jsonl", "SC1-float32-tcp"), lambda _: {"assembled_s": 0.0})
    assert "goodput" not in [one.key for one in verify(gate(), [log]).drift]


def test_packets_and_frames_that_are_lost_more_often_are_told(tmp_path):
    def lossy(line):
        often = line.frame >= 240 and line.outcome == "ok" and line.frame % 3 == 0
        return {"lost_packets": 1, "missing_bytes": 252} if often else {}

    (one,) = verify(gate(), [changed(logged(tmp_path / "run.jsonl", SPLIT_UDP), lossy)]).drift
    assert one.key == "lost_packets"
    assert one.since_frame == pytest.approx(240, abs=12)
    assert one.measured > 2 * one.predicted

    def gone(line):
        nothing = {"outcome": "lost", "response_s": None, "server_s": None, "run_s": None, "lost_packets": None}
        return nothing if line.frame >= 300 and line.frame % 4 == 0 else {}

    (one,) = verify(gate(), [changed(logged(tmp_path / "run.jsonl", SPLIT_UDP), gone)]).drift
    assert one.key == "lost_frames"
    assert one.measured == pytest.approx(0.25, abs=0.03)
    assert one.since_frame == pytest.approx(300, abs=8)


def test_larger_payloads_and_less_sure_answers_are_told(tmp_path):
    rng = np.random.default_rng(7)

    def other(line):
        late = line.frame >= 350
        sure = float(rng.uniform(0.5, 0.7) if late else rng.uniform(0.8, 1.0))
        return {"payload_bytes": line.payload_bytes * (2 if late else 1), "confidence": sure}

    found = verify(gate(), [changed(logged(tmp_path / "run.jsonl"), other)])
    assert [one.key for one in found.drift] == ["payload", "confidence"]
    assert [one.since_frame for one in found.drift] == [350, 350]
    size, sure = (one.told for one in found.drift)
    assert size.startswith("Payloads are 2 times as large as predicted")
    assert sure.startswith("Answers are less sure than at the start of the run, 0.6")
    assert "'data' of the scenario" in found.anew
    assert "--anew" not in found.anew


def test_each_log_is_watched_by_itself(tmp_path):
    paths = [
        logged(tmp_path / "slow.jsonl", seed=1, add={"device": after(100, 5 * MS)}),
        logged(tmp_path / "right.jsonl", seed=2),
    ]
    (one,) = verify(gate(), paths).drift
    assert one.log == "slow.jsonl"
    assert one.told.endswith("(5 s) of slow.jsonl.") or one.told.endswith("(4.95 s) of slow.jsonl.")


def test_short_logs_say_nothing(tmp_path):
    assert verify(gate(), [logged(tmp_path / "run.jsonl", frames=30, add={"device": 5 * MS})]).drift == []
