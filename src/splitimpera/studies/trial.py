"""What a study asks for again and again: a plan, evaluated anew."""

from __future__ import annotations

from collections.abc import Callable

from splitimpera.records.outcome import Evaluation
from splitimpera.records.plan import Plan
from splitimpera.records.traffic import Workload

Trial = Callable[[Plan, Workload], Evaluation]
"""Evaluates a plan under a workload, with randomness that is the plan's own at every call."""
