"""Keys and values of a text: further tokens, a step back, and no place left."""

from __future__ import annotations

import numpy as np
import pytest

from splitimpera.deploy.token_past import no_past

SHAPE = 2, 1, 3, 4
"""Of one token: 2 blocks, 3 heads of 4 numbers."""


def some(tokens, value):
    return np.full((tokens, *SHAPE), value, np.float32)


def test_tokens_come_behind_those_that_are_there():
    past = no_past(8, SHAPE).with_more(some(3, 1), some(3, 2)).with_more(some(1, 3), some(1, 4))
    keys, values = past.filled
    assert (past.tokens, keys[:, 0, 0, 0, 0].tolist()) == (4, [1, 1, 1, 3])
    assert values[:, 1, 0, 2, 3].tolist() == [2, 2, 2, 4]


def test_a_step_back_writes_over_what_was_there_and_gives_no_memory_back():
    whole = no_past(8, SHAPE).with_more(some(5, 1), some(5, 1))
    past = whole.first(2).with_more(some(1, 7), some(1, 7))
    assert past.filled[0][:, 0, 0, 0, 0].tolist() == [1, 1, 7]
    assert (past.tokens, past.bytes) == (3, whole.bytes) == (3, 5 * 2 * some(1, 0).nbytes)


@pytest.mark.parametrize("more", [some(3, 1), np.zeros((1, 2, 1, 3, 5), np.float32)])
def test_what_has_no_place_is_refused(more):
    with pytest.raises(ValueError, match="behind 6 of"):
        no_past(8, SHAPE).with_more(some(6, 1), some(6, 1)).with_more(more, more)
