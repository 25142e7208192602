"""A run whose answers came back directly, as its design has it: the parts are told from each other."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from deployed import designed, run_line
from test_tiers_verified import FRAMES, MS, PLAN, SCENARIO

from splitimpera.deploy.frame_log import FrameLine, HopLine, line_of
from splitimpera.report import read
from splitimpera.verification.comparing import verify
from splitimpera.verification.measured import _share_there
from splitimpera.verification.predicted import predict

pytestmark = pytest.mark.slow

ANSWERS = "response: 64 B, answers: {direct: {rate: 1 Mbit/s, delay: 15 ms}}"
DIRECT_S = 0.015 + 8 * 64 / 1e6


@cache
def directly():
    return designed(SCENARIO.replace("response: 64 B", ANSWERS))


def drawn():
    """What is predicted of a run with other randomness, and the share of a word's round trip that is there."""
    results = read(directly())
    other = results.model_copy(update={"seed": 1001})
    entry, further = results.by_id[PLAN], [np.array([4 * 5 * 5])]
    found = predict(directly(), other, entry, FRAMES + 1, np.array([8 * 7 * 7]), None, further)
    return found, _share_there(found.plan.hops[1].link, 0)


def frame_lines(add=None, direct=True):
    """What a log says of so many frames; `add`: seconds more of some parts."""
    found, share = drawn()
    parts = {key: values[0] + (add or {}).get(key, 0.0) for key, values in found.parts_s.items()}
    for frame in range(FRAMES):
        of = {key: values[frame] for key, values in parts.items()}
        due_s = frame / 20
        begun_s = due_s + of["device_wait"]
        ready_s = begun_s + of["device"] + of["encode"]
        told = {
            **{"frame": frame, "sample": frame % 90, "due_s": due_s, "begun_s": begun_s, "head_s": of["device"]},
            **{"encode_s": of["encode"], "sent_s": ready_s + 1e-4, "payload_bytes": 8 * 7 * 7},
            **{"packets": int(found.packets[0, frame]), "label": 0, "predicted": 0 if frame % 10 else 1},
        }
        if not np.isfinite(found.latency_s[0, frame]):
            yield FrameLine(**told | {"predicted": None}, outcome="lost")
            continue
        there_s = sum(of[key] for key in ("server_wait_2", "decode_2", "server_2"))
        assembled_s = [max(0.0, of["up"] - 2.5 * MS), max(0.0, of["up_2"] - 4.3 * MS)]
        word_s = (of["link_2"] - assembled_s[1]) * (1 - share) / share
        before_s = sum(of[key] for key in ("server_wait", "decode", "server", "encode_2", "rest"))
        away_s = of["link_2"] + there_s
        hop = HopLine(
            **{"encode_s": of["encode_2"], "away_s": away_s + word_s, "payload_bytes": 4 * 5 * 5, "packets": 1},
            **{"lost_packets": 0, "missing_bytes": 0, "assembled_s": assembled_s[1], "queued_s": of["server_wait_2"]},
            **{"decode_s": of["decode_2"], "run_s": of["server_2"], "server_s": assembled_s[1] + there_s, "batch": 1},
        )
        lost, inside_s = int(found.lost[0, frame]), assembled_s[0] + before_s + away_s + word_s
        yield FrameLine(
            **told,
            **{"outcome": "ok", "response_s": ready_s + of["link"] + before_s + away_s, "lost_packets": lost},
            **{"missing_bytes": lost * 252, "assembled_s": assembled_s[0], "queued_s": of["server_wait"]},
            **{"decode_s": of["decode"], "run_s": of["server"], "server_s": inside_s, "batch": 1},
            hops=(hop,),
            direct=direct,
        )


def logged(path, **more):
    first = run_line(PLAN, carrier="udp", transport="udp", schema_version=6)
    path.write_text(line_of(first) + "".join(map(line_of, frame_lines(**more))))
    return path


def test_the_prediction_adds_up_with_the_way_back_on_the_first_link():
    found, _ = drawn()
    known = np.isfinite(found.latency_s)
    whole = sum(values for key, values in found.parts_s.items() if key.removesuffix("_2") not in ("up", "back"))
    np.testing.assert_allclose(whole[known], found.latency_s[known])
    np.testing.assert_allclose(found.parts_s["back"][known], DIRECT_S)
    assert not found.parts_s["back_2"].any()


def test_a_run_as_it_was_predicted_is_called_right(tmp_path):
    found = verify(directly(), [logged(tmp_path / "run.jsonl")])
    assert found.agrees, found.headline
    assert found.findings == []
    measured_s = sum(part.measured.mean_s for part in found.parts if part.within is None)
    latency_s = [line.response_s - line.due_s for line in frame_lines() if line.outcome == "ok"]
    assert measured_s == pytest.approx(np.mean(latency_s[1:]))
    assert any("counts as the first link's" in said for said in found.warnings)
    assert not any("came along the way" in said for said in found.warnings)


@pytest.mark.parametrize(("part", "words"), [
    ("link", "The link radio, there and back, takes"),
    ("server_2", "The layers on cloud take"),
    ("link_2", "The link fibre, there and back, takes"),
])  # fmt: skip
def test_what_takes_a_millisecond_more_is_named(part, words, tmp_path):
    found = verify(directly(), [logged(tmp_path / "run.jsonl", add={part: MS})])
    assert [one.key for one in found.parts if one.off and one.within is None] == [part]
    (told,) = found.findings
    assert told.startswith(words)


def test_answers_that_came_along_the_way_all_the_same_are_counted(tmp_path):
    found = verify(directly(), [logged(tmp_path / "run.jsonl", direct=False)])
    assert any(
        "answers came along the way, where the design has all of them come directly" in s for s in found.warnings
    )
