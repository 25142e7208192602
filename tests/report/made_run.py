"""A run over a link that becomes slow and then fails for a while, as a client of three plans would write it down."""

from __future__ import annotations

import numpy as np

from splitimpera.deploy.answering import AnsweredBy, Mode
from splitimpera.deploy.frame_log import FrameLine, PlanMove, RunLine, line_of
from splitimpera.deploy.switching import Cause

WIDE, NARROW, LOCAL = "SC4-uint8-tcp", "SC13-uint4-tcp", "LC"
FPS, DEADLINE_S = 30.0, 0.1
PERIOD_S = 120.0
SLOW_S = (40.0, 100.0)
OUT_S = (70.0, 73.0)
NOTICED_S = 0.5
"""So late an outage is noticed; until then answers are stale."""


def run_line(**changes):
    """The first line of the log."""
    given = {
        **{"bundle": "5e" * 32, "plan": WIDE, "made_by": "splitimpera 0", "machine": "camera", "engine": "torch"},
        **{"threads": 1, "carrier": "tcp", "transport": "tcp", "secure": "tls", "source": "samples", "fps": FPS},
        **{"deadline_s": DEADLINE_S, "begun": "2026-11-20T10:00:00Z", "round_trip_s": 0.02},
        **{"mode": Mode.PREFER_SERVER},
    }
    return RunLine(**given | changes)


def plan_at(time_s):
    """The plan in use at a time of the period, and why it is."""
    if OUT_S[0] + NOTICED_S <= time_s < OUT_S[1]:
        return LOCAL, Cause.FALLBACK, "nothing comes over the link"
    if SLOW_S[0] + 1 <= time_s < SLOW_S[1] + 1:
        cause = Cause.RETURN if time_s >= OUT_S[1] and time_s < OUT_S[1] + 1 else Cause.SWITCH
        return NARROW, cause, "rate 600 kbit/s, delay 10 ms, loss 1 %: worth 0.12 more"
    return WIDE, Cause.SWITCH, "rate 5 Mbit/s, delay 10 ms, loss 0 %: worth 0.02 more"


def frame_lines(seconds=PERIOD_S, seed=1, labels=True):
    """The frames of so many seconds; what happens repeats itself every `PERIOD_S`."""
    rng = np.random.default_rng(seed)
    lines, before = [], WIDE
    for frame in range(round(seconds * FPS)):
        due_s = frame / FPS
        time_s = due_s % PERIOD_S
        plan, cause, reason = plan_at(time_s)
        slow = SLOW_S[0] <= time_s < SLOW_S[1]
        out, noticed = OUT_S[0] <= time_s < OUT_S[1], plan == LOCAL
        rate_bps = (6e5 if slow else 5e6) * rng.lognormal(0, 0.08)
        latency_s = {WIDE: 0.012 + (2e5 if slow else 1e5) / rate_bps, NARROW: 0.04, LOCAL: 0.085}[plan]
        latency_s *= rng.lognormal(0, 0.06)
        by = AnsweredBy.DEVICE if noticed else AnsweredBy.STALE if out or latency_s > DEADLINE_S else AnsweredBy.SERVER
        timely = by in (AnsweredBy.SERVER, AnsweredBy.DEVICE)
        label = frame % 10 if labels else None
        told = {
            "predicted": None if label is None else (label + (rng.random() < 0.05)) % 10,
            "response_s": due_s + latency_s if timely else None,
            "goodput_bps": rate_bps,
            "link_round_trip_s": 0.02 * rng.lognormal(0, 0.1) * (2.5 if slow else 1),
            "link_loss": 0.01 if slow else 0.0,
            "outage": noticed,
            "move": None if plan == before else PlanMove(before=before, after=plan, cause=cause, reason=reason),
        }
        before = plan
        lines.append(
            FrameLine(
                **{"frame": frame, "sample": frame % 90, "outcome": "ok" if timely else "stale", "due_s": due_s},
                **{"begun_s": due_s, "head_s": 0.004, "label": label, "answered_by": by, "plan": plan},
                **{"sent_by": None if noticed else plan, "why": "prefer-server"},
                **told,
            )
        )
    return lines


def plain_lines(seconds=20.0, fps=20.0):
    """Frames of a client with one plan, every seventh of them lost."""
    return [
        FrameLine(
            **{"frame": frame, "sample": frame, "due_s": frame / fps, "begun_s": frame / fps},
            **({"outcome": "lost"} if frame % 7 == 3 else {"outcome": "ok", "response_s": frame / fps + 0.03}),
        )
        for frame in range(round(seconds * fps))
    ]


def plain_line(**changes):
    """The first line of such a log."""
    return run_line(**{"mode": None, "fps": 20.0} | changes)


def write_run(path, first, lines):
    """A log of them."""
    path.write_text("".join(map(line_of, [first, *lines])))
    return path
