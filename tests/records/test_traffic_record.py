"""What frames are asked for, as plain values."""

from __future__ import annotations

from splitimpera.records.token_workload import Lengths, TokenWorkload
from splitimpera.records.traffic import Workload


def test_a_workload_without_tokens_does_not_speak_of_them():
    """Its plain values are part of digests of settings that know of no language model."""
    assert not {"tokens", "direct"} & set(Workload(1.0, 10).plain())


def test_a_workload_with_tokens_says_all_of_them():
    plain = Workload(1.0, 10, tokens=TokenWorkload(Lengths(64), Lengths(32, "geometric"), 256, 4)).plain()
    assert plain["tokens"]["output"] == {"mean": 32, "shape": "geometric", "sigma": 0.5}
    assert (plain["tokens"]["context"], plain["tokens"]["together"]) == (256, 4)
