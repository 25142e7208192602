"""Logs that are damaged, empty, mixed or of something else: one clear message each, and nothing is written."""

from __future__ import annotations

import json

import pytest
from cli.test_cli import here
from deployed import LOCAL, SPLIT_TCP, SPLIT_UDP, frame_lines, gate, logged, write_log

from splitimpera.core.errors import BundleError, DataError
from splitimpera.deploy.frame_log import line_of, read_log
from splitimpera.verification.comparing import verify


@pytest.fixture(scope="module")
def lines():
    return frame_lines(gate(), SPLIT_TCP, 150)


def refused(*paths, run=None, **options):
    with pytest.raises(DataError) as found:
        verify(run or gate(), paths, **options)
    return str(found.value)


@pytest.mark.parametrize(("changes", "expected"), [
    ({"plan": "SC9-uint8-tcp"}, "which the design 'gate' has not; its plans are"),
    ({"carrier": "udp"}, "another carrier is expected: tcp, given udp"),
    ({"carrier": "none"}, "another carrier is expected: tcp, given none"),
])  # fmt: skip
def test_a_log_of_another_plan(changes, expected, lines, tmp_path):
    assert expected in refused(write_log(tmp_path / "run.jsonl", lines, **changes))


def test_logs_of_two_bundles_or_plans(lines, tmp_path):
    one = write_log(tmp_path / "one.jsonl", lines)
    other = write_log(tmp_path / "other.jsonl", lines, bundle="ab" * 32, begun="later")
    assert f"another bundle is expected: {'5e' * 32}, given {'ab' * 32}" in refused(one, other)
    udp = logged(tmp_path / "udp.jsonl", SPLIT_UDP, frames=20)
    assert f"another plan is expected: {SPLIT_TCP}, given {SPLIT_UDP}" in refused(one, udp)
    assert "it is the same log as" in refused(one, one)


def test_a_bundle_that_is_none_is_refused(lines, tmp_path):
    with pytest.raises(BundleError, match="is no bundle"):
        verify(gate(), [write_log(tmp_path / "run.jsonl", lines)], tmp_path / "nothing")


@pytest.mark.parametrize(("content", "expected"), [
    (b"", "the log is empty"),
    (b"{}\n", "line 1: bundle: Field required"),
    (b"\xff\xfe\x00", "line 1: Invalid JSON"),
    (b'{"schema_version": 7}\n', "line 1: schema_version"),
    (b"[1, 2]\n", "line 1"),
])  # fmt: skip
def test_a_file_that_is_no_log(content, expected, tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_bytes(content)
    assert expected in refused(path)


def test_a_log_without_frames_or_answers(lines, tmp_path):
    path = write_log(tmp_path / "run.jsonl", [])
    assert "the log has no frames" in refused(path)
    gone = {"outcome": "lost", "response_s": None}
    lost = write_log(tmp_path / "lost.jsonl", [line.model_copy(update=gone) for line in lines])
    assert "no frame after the first was answered: 149 lost" in refused(lost)
    assert "no frame after the first was answered: there is no other" in refused(write_log(path, lines[:1]))


@pytest.mark.parametrize(("change", "expected"), [
    ({"head_s": -1.0}, "frame 7: head_s is -1 s, it cannot be below 0"),
    ({"response_s": 0.0}, "frame 7: response_s after begun_s is -0.35 s"),
    ({"begun_s": 0.3}, "frame 7: begun_s after due_s is -0.05 s"),
    ({"frame": 8}, "frame 8 stands there twice: two runs wrote into it"),
    ({"due_s": 0.1, "begun_s": 0.4}, "frame 7 was due before the one in front of it"),
    ({"exit": 1}, f"frame 7 left at an exit behind cut 1, which plan '{SPLIT_TCP}' has not"),
])  # fmt: skip
def test_frames_that_cannot_be(change, expected, lines, tmp_path):
    wrong = [line.model_copy(update=change) if line.frame == 7 else line for line in lines]
    assert expected in refused(write_log(tmp_path / "run.jsonl", wrong))


def test_a_line_in_the_middle_that_is_none(lines, tmp_path):
    path = write_log(tmp_path / "run.jsonl", lines)
    whole = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*whole[:50], "{oops}\n", *whole[50:]]))
    assert "line 51: Invalid JSON" in refused(path)


def test_a_last_line_that_was_cut_short_is_passed_over(lines, tmp_path):
    path = write_log(tmp_path / "run.jsonl", lines)
    path.write_text(path.read_text() + line_of(lines[-1].model_copy(update={"frame": 150}))[:30])
    assert verify(gate(), [path]).outcomes == {"ok": 149}


def test_frames_in_any_order_and_of_which_little_is_known(lines, tmp_path):
    """A frame that the device dropped, one that the server refused, and one of which it says nothing."""
    bare = {"begun_s": None, "head_s": None, "encode_s": None, "sent_s": None, "response_s": None, "outcome": "dropped"}
    full = {"outcome": "full", "decode_s": None, "run_s": None}
    silent = dict.fromkeys(("assembled_s", "queued_s", "decode_s", "run_s", "server_s"))
    some = {20: bare, 30: full, 40: silent, 50: {"outcome": "damaged", "predicted": None}}
    given = [line.model_copy(update=some.get(line.frame, {})) for line in lines]
    found = verify(gate(), [write_log(tmp_path / "run.jsonl", given[::-1])])
    assert found.outcomes == {"ok": 146, "dropped": 1, "full": 1, "damaged": 1}
    assert "1 frames were dropped by the server's full queue: the measured latencies lack them." in found.warnings
    assert found.findings == []


def test_an_unstable_plan_and_a_run_that_is_none(tmp_path):
    from splitimpera.report import read
    from splitimpera.verification.predicted import unstable

    entry = read(gate()).by_id[LOCAL]
    with pytest.raises(DataError, match="the design calls plan 'LC' unstable"):
        unstable(entry.model_copy(update={"stable": False}))
    path = logged(tmp_path / "run.jsonl", LOCAL, frames=20)
    assert "there is no results.json" in refused(path, run=tmp_path)


def test_the_command_refuses_with_one_line_and_writes_nothing(lines, tmp_path):
    path = write_log(tmp_path / "run.jsonl", lines, plan="SC9-uint8-tcp")
    profile = tmp_path / "profile.json"
    run = here("verify", gate(), path, "--out", tmp_path / "out", "--calibrate", profile)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith("error: '")
    assert len(run.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
    assert not profile.exists()
    missing = here("verify", gate(), tmp_path / "nothing.jsonl")
    assert (missing.returncode, "does not exist" in missing.stderr) == (2, True)


def test_names_from_outside_move_no_terminal_and_no_page(lines, tmp_path):
    title = "\x1b]0;pwned\x07[red]</script><img src=x>"
    path = write_log(tmp_path / "run.jsonl", lines, machine=title, made_by=title)
    run = here("verify", gate(), path, "--out", tmp_path / "out")
    assert run.returncode == 0
    assert "\x1b" not in run.stdout
    page = (tmp_path / "out" / "verify.html").read_text()
    assert "<img src=x>" not in page
    assert "&lt;img src=x&gt;" in page


def test_numbers_beyond_all_bounds(lines, tmp_path):
    def one(**change):
        return [line.model_copy(update=change) if line.frame == 9 else line for line in lines]

    path = tmp_path / "run.jsonl"
    assert "frame 9: payload_bytes is 1.18059e+21" in refused(write_log(path, one(payload_bytes=2**70)))
    assert "frame 9: 5 of 3 packets are lost" in refused(write_log(path, one(packets=3, lost_packets=5)))
    assert "frame 9: response_s is 1e+300" in refused(write_log(path, one(response_s=1e300)))
    assert "line 1: fps is 0" in refused(write_log(path, lines, fps=0.0))
    late = [line.model_copy(update={"frame": line.frame + 10**15}) for line in lines]
    assert verify(gate(), [write_log(path, late)]).agrees  # a log of a day in the life of a camera


def test_logs_of_the_first_version_are_read(tmp_path):
    path = logged(tmp_path / "run.jsonl", frames=20)
    first, *lines = path.read_text().splitlines()
    known = json.loads(first)
    for key in ("judged_by", "result_bytes"):
        del known[key]
    path.write_text("\n".join([json.dumps(known | {"schema_version": 1}), *lines, ""]))
    run, frames = read_log(path)
    assert (run.schema_version, run.judged_by, len(frames)) == (1, None, 20)
    assert verify(gate(), [path]).plan == SPLIT_TCP
