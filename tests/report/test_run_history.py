"""What is said of a run over time is what its log says, however long, odd or damaged the log."""

from __future__ import annotations

import io
import json
from collections import Counter

import numpy as np
import pytest
from made_run import DEADLINE_S, FPS, LOCAL, NARROW, WIDE, frame_lines, plain_line, plain_lines, run_line, write_run
from rich.console import Console
from test_study_page import EVIL, SURROGATE, data_of, text_of
from verification.test_judged import line as judged_line
from verification.test_judged import task_of

from splitimpera.core.errors import DataError
from splitimpera.deploy.answering import AnsweredBy
from splitimpera.deploy.frame_log import FrameLine, PlanMove
from splitimpera.deploy.switching import Cause
from splitimpera.report import run_account, run_html
from splitimpera.report.run_history import KINDS, history_of, read_history
from splitimpera.report.run_marks import MOST_MARKS, band, marks
from splitimpera.report.run_words import clock, headline, sentences

MOST_BYTES = 6_000_000


@pytest.fixture(scope="module")
def lines():
    return frame_lines()


@pytest.fixture(scope="module")
def history(lines):
    return history_of(run_line(), lines)


def told(history, width=100):
    file = io.StringIO()
    Console(file=file, width=width).print(run_account(history))
    return file.getvalue()


def in_time(line):
    return line.outcome == "ok" and line.response_s - line.due_s <= DEADLINE_S


def test_kinds_plans_and_outages_are_those_of_the_log(history, lines):
    counts = Counter(KINDS[kind] for kind in history.kinds)
    answered = Counter(line.answered_by for line in lines)
    late = sum(line.outcome == "ok" and not in_time(line) for line in lines)
    assert counts["late"] == late
    assert counts["stale"] == answered[AnsweredBy.STALE] > 0
    assert counts["server"] + counts["device"] == answered[AnsweredBy.SERVER] + answered[AnsweredBy.DEVICE] - late
    assert [history.plans[place] for place in history.plan] == [line.plan for line in lines]
    assert [(stay.from_s, history.plans[stay.plan]) for stay in history.stays] == [
        (0, WIDE),
        (41, NARROW),
        (70.5, LOCAL),
        (73, NARROW),
        (101, WIDE),
    ]
    assert [(span.from_s, span.to_s) for span in history.outages] == [(70.5, 73)]
    assert [move.cause for move in history.moves] == ["switch", "fallback", "return", "switch"]


def test_windows_and_the_worst_second_are_counted_frame_by_frame(history, lines):
    windows = history.windows()
    assert windows.width_s == 1
    for at_s, frames, shares, quality in list(
        zip(windows.at_s, windows.frames, windows.shares, windows.quality, strict=True)
    )[::7]:
        within = [place for place, line in enumerate(lines) if at_s - 1 - 1e-6 <= line.due_s < at_s - 1e-6]
        assert frames == len(within)
        counts = Counter(KINDS[history.kinds[place]] for place in within)
        assert shares == pytest.approx([counts[kind] / len(within) for kind in KINDS])
        right = [lines[place].predicted == lines[place].label and in_time(lines[place]) for place in within]
        assert quality == pytest.approx(np.mean(right))
    span, share = history.worst()
    seconds = [
        np.mean([in_time(lines[place]) for place in range(first, first + round(FPS))])
        for first in range(len(lines) - round(FPS) + 1)
    ]
    assert share == min(seconds)
    assert span.from_s == lines[int(np.argmin(seconds))].due_s


def test_the_sentences_say_it(history):
    said = " ".join(sentences(history))
    assert headline(history).endswith("of 3600 frames answered within 100 ms")
    assert "2 switches, 1 fallback, 1 return" in said
    assert "One outage of the link: 2.5 s, from 1:10.5 min on." in said
    assert "mode prefer-server" in said
    account = told(history)
    assert "nothing comes over the link" in account
    assert max(map(len, told(history, 80).splitlines())) <= 80
    page = text_of(run_html(history))
    for line in sentences(history):
        assert line in page


def test_bins_are_the_ends_and_the_middle_of_their_frames():
    history = history_of(run_line(), frame_lines(3 * MOST_MARKS / FPS))
    found = marks(history)
    assert len(found["at"]) <= MOST_MARKS
    for place in range(0, len(found["at"]), 211):
        since_s = history.due_s - found["at"][place]
        own = (since_s >= -1e-6) & (since_s < found["width"] - 1e-6)
        assert found["frames"][place] == own.sum()
        latencies = history.latency_s[own]
        known = latencies[np.isfinite(latencies)]
        drawn = [found["latency"][name][place] for name in ("low", "mid", "high")]
        if len(known):
            assert drawn == pytest.approx([known.min(), np.median(known), known.max()], rel=1e-3)
        else:
            assert drawn == [None] * 3
        assert found["missed"][place] == (history.kinds[own] >= 2).sum()


@pytest.mark.slow
def test_an_hour_makes_a_small_page(tmp_path):
    log = write_run(tmp_path / "run.jsonl", run_line(), frame_lines(3600))
    page = run_html(read_history(log))
    assert len(page.encode()) < MOST_BYTES
    assert data_of(page)["windows"]["width"] == 1


def test_a_plan_that_changes_with_every_frame_is_drawn_as_what_is_used_most():
    lines = [
        FrameLine(
            **{"frame": i, "sample": 0, "outcome": "ok", "due_s": i / 30, "response_s": i / 30 + 0.01},
            **{"answered_by": AnsweredBy.SERVER, "plan": "LC" if i % 3 == 1 else WIDE},
            move=PlanMove(before="LC", after=WIDE, cause=Cause.SWITCH, reason="x" * 500),
        )
        for i in range(2 * MOST_MARKS)
    ]
    history = history_of(run_line(), lines)
    assert len(history.stays) > MOST_MARKS
    assert len(band(history)) <= MOST_MARKS
    page = run_html(history)
    assert len(page.encode()) < MOST_BYTES
    assert f"And {len(lines) - 500} more, in the log." in page


def test_a_run_of_one_plan_has_a_page_too():
    history = history_of(plain_line(), plain_lines())
    assert history.outages == history.moves == ()
    assert history.quality is None
    assert "One plan: SC4-uint8-tcp." in sentences(history)
    charts = [chart["key"] for chart in data_of(run_html(history))["charts"]]
    assert charts == ["band", "latency", "shares"]
    local = history_of(plain_line(carrier="none", transport="none", secure="none", plan="LC"), plain_lines())
    assert {KINDS[kind] for kind in local.kinds} == {"device", "none"}


@pytest.mark.parametrize(
    "lines",
    [
        plain_lines(1 / 20),
        [line for line in plain_lines() if line.outcome == "lost"],
        [FrameLine(frame=i, sample=i, outcome="ok", due_s=due, response_s=due) for i, due in enumerate([5, -3, 1e300])],
        [FrameLine(frame=i, sample=i, outcome="ok", due_s=0.0, response_s=0.01) for i in range(MOST_MARKS + 5)],
        [FrameLine(frame=i, sample=i, outcome="ok", due_s=i, response_s=i - 1.0) for i in range(3)],
        [FrameLine(frame=i, sample=i, outcome="ok", due_s=i, goodput_bps=0.0, link_loss=2.0) for i in range(3)],
    ],
    ids=["one frame", "all lost", "at odd times", "all at once", "answered before they were due", "no answer, no link"],
)
@pytest.mark.parametrize("deadline_s", [None, 0.1])
def test_odd_runs_have_a_page_and_words(lines, deadline_s):
    history = history_of(plain_line(deadline_s=deadline_s, fps=None), lines)
    told(history)
    data = data_of(run_html(history))  # finite numbers only, or it would not have been written
    assert len(data["marks"]["at"]) == len(data["marks"]["frames"]) > 0


def test_the_quality_of_any_task_is_followed(rng):
    task, by = task_of("segmentation", "miou", (3, 4, 4))
    targets = rng.integers(0, 3, (60, 4, 4)).astype(np.uint8)
    answers = np.where(rng.random(targets.shape) < 0.3, 1, targets).astype(np.uint8)
    lines = []
    for i, (x, y) in enumerate(zip(answers, targets, strict=True)):
        lost = i % 5 == 2
        line = judged_line(i, i, task.quality, None if lost else x, y, "lost" if lost else "ok")
        lines.append(line.model_copy(update={"response_s": None if lost else line.due_s + 0.01}))
    history = history_of(plain_line(fps=10.0, judged_by=by), lines)
    windows = history.windows()
    for at_s, value in list(zip(windows.at_s, windows.quality, strict=True))[::9]:
        within = [line for line in lines if at_s - 1 - 1e-6 <= line.due_s < at_s - 1e-6]
        total = np.zeros(within[0].counts_lost[0])
        for line in within:
            for place, number in (line.counts or line.counts_lost)[1]:
                total[place] += number
        assert value == pytest.approx(float(task.quality.value(total)))
    assert "On-time mIoU" in told(history)
    lines[2] = lines[2].model_copy(update={"counts_lost": (3, [(2, 1.0)])})
    with pytest.raises(DataError, match="numbers"):
        history_of(plain_line(judged_by=by), lines)


def test_names_that_would_do_harm_are_words(lines):
    plan = f"{EVIL}{SURROGATE}"
    move = PlanMove(before=None, after=plan, cause=Cause.PIN, reason=plan)
    frames = [line.model_copy(update={"plan": plan, "why": plan, "move": move}) for line in lines[:50]]
    history = history_of(run_line(source=plan, machine=plan, begun=plan, bundle=plan), frames)
    page = run_html(history)
    assert "<img" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "\x1b" not in told(history)


def test_the_page_loads_nothing(history):
    page = run_html(history)
    assert "default-src 'none'" in page
    assert page.count("http") == page.count("http://www.w3.org/2000/svg") + page.count("http-equiv")
    json.dumps(data_of(page), allow_nan=False)


def test_damaged_logs_are_refused_in_words(tmp_path):
    empty = write_run(tmp_path / "empty.jsonl", run_line(), [])
    with pytest.raises(DataError, match=r"empty\.jsonl': the run has no frames"):
        read_history(empty)
    with pytest.raises(DataError, match="does not exist"):
        read_history(tmp_path / "none.jsonl")
    broken = write_run(tmp_path / "broken.jsonl", run_line(), plain_lines())
    broken.write_text(broken.read_text().replace('"frame":7', '"frame":"x"', 1))
    with pytest.raises(DataError, match=r"line 9: frame"):
        read_history(broken)


def test_times_are_written_as_clocks_have_them():
    assert [clock(time_s) for time_s in (0, 0.25, 59.999, 60, 119.999, 3599.999, 7322.5, 1e9)] == [
        "0 s",
        "0.25 s",
        "1:00 min",
        "1:00 min",
        "2:00 min",
        "1:00:00 h",
        "2:02:02.5 h",
        "1e+09 s",
    ]
