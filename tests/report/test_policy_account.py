"""What the terminal says of a policy."""

from __future__ import annotations

import io

from made_study import axis, made_study, two_ranges
from rich.console import Console

from splitimpera.report import policy_account
from splitimpera.studies.policy_study import policy_of


def told(policy, width=100):
    file = io.StringIO()
    Console(file=file, width=width).print(policy_account(policy))
    return file.getvalue()


def test_plans_and_their_bounds_are_told():
    policy = policy_of(two_ranges(), 3)
    said = told(policy)
    assert f"3 plans are worth {policy.expected:.4g} in the mean over 78 link conditions" in " ".join(said.split())
    for plan in policy.plans:
        assert plan.id in said
    assert "below" in said
    assert "conditions: all conditions equally often" in " ".join(said.split())
    assert "no local plan" not in said
    assert max(map(len, told(policy, 80).splitlines())) <= 80


def test_what_no_plan_can_is_told():
    loss = axis("links[0].loss", [0, 0.5])
    slow = made_study([axis("links[0].rate", ["100 kbit/s", "100 Mbit/s"]), loss, axis("devices[0].slowdown", [2])])
    said = told(policy_of(slow, 4))
    assert "none is feasible" in said
    assert "nowhere the best, at hand to fall back to: LC" in " ".join(said.split())


def test_names_from_outside_move_no_terminal():
    policy = policy_of(two_ranges(), 3)
    plans = [plan.model_copy(update={"id": f"\x1b[31m[red]{plan.id}"}) for plan in policy.plans]
    said = told(policy.model_copy(update={"plans": plans, "prior": "\x1b[2J"}))
    assert "\x1b" not in said
    assert "[red]" in said
