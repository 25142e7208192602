"""Which schema version a manifest needs: each has words that those before it have not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from splitimpera.records.spans import Span

if TYPE_CHECKING:
    from splitimpera.bundle.manifest import PlanEntry

Answers = Literal["along", "direct"]
SCHEMA_VERSION: Literal[3] = 3
WITH_EXITS: Literal[4] = 4
"""Of bundles whose plan has early exits."""
WITH_TAILS: Literal[5] = 5
"""Of bundles where several machines run layers of a bottleneck's tail; early exits may be there or not."""
WITH_DIRECT_ANSWERS = 6
"""Of bundles whose answers come back directly; tails may be there or not."""
WITH_LANGUAGE = 7
"""Of language models, whose programs have caches, the newest."""
FIRST_VERSION = 1
"""Bundles of it say "classification" in place of a task's section; those before 3 have neither policy nor floor."""


def version_of(
    plans: Iterable[PlanEntry], programs: Iterable[Span], answers: Answers = "along", language: bool = False
) -> int:
    """The first schema version that has words for some plans, the layers of all their programs, and their answers."""
    if language:
        return WITH_LANGUAGE
    if answers == "direct":
        return WITH_DIRECT_ANSWERS
    if any(ratio for _, ratio in (span.behind for span in programs)):
        return WITH_TAILS
    return WITH_EXITS if any(plan.exits for plan in plans) else SCHEMA_VERSION
