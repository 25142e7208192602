"""Caches of requests: what is kept, who gives way, and that bounds hold."""

from __future__ import annotations

import numpy as np
import pytest

from splitimpera.deploy.token_past import no_past
from splitimpera.deploy.token_room import REQUESTS_EACH, TokenRoom

TOKEN = 2 * 2 * 3 * 4 * 4
"""Bytes of one token: keys and values of 2 blocks, 3 heads of 4 numbers."""


def past(tokens, value=1.0):
    array = np.full((tokens, 2, 1, 3, 4), value, np.float32)
    return no_past(32, array.shape[1:]).with_more(array, array)


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


def keep(room, client, request, tokens):
    room.past(client, request, 0)
    room.keep(client, request, past(tokens))


def test_what_was_read_is_there_and_a_step_back_cuts_it_short():
    room = TokenRoom()
    keep(room, "ann", 1, 5)
    assert (room.held("ann", 1), room.bytes) == (5, 5 * TOKEN)
    assert room.past("ann", 1, 3).tokens == 3
    room.keep("ann", 1, past(4))
    assert (room.held("ann", 1), room.bytes) == (4, 4 * TOKEN)
    assert room.past("ann", 1, 0) is None


def test_what_lacks_is_told_and_nothing_is_kept_for_it():
    room = TokenRoom()
    keep(room, "ann", 1, 5)
    with pytest.raises(LookupError):
        room.past("ann", 1, 6)
    with pytest.raises(LookupError):
        room.past("bob", 1, 1)
    assert (len(room), room.held("bob", 1)) == (1, 0)


def test_the_same_number_of_another_client_is_another_request():
    room = TokenRoom()
    keep(room, "ann", 1, 5)
    keep(room, "bob", 1, 2)
    assert (room.held("ann", 1), room.held("bob", 1)) == (5, 2)


def test_who_leaves_takes_its_caches_along_even_while_a_step_is_run():
    room = TokenRoom()
    keep(room, "ann", 1, 5)
    keep(room, "ann", 2, 5)
    keep(room, "bob", 1, 2)
    room.past("ann", 1, 5)  # a step begins
    room.leave("ann")
    room.keep("ann", 1, past(6))  # and ends
    assert (len(room), room.bytes) == (1, 2 * TOKEN)


def test_a_request_that_is_over_leaves_nothing():
    room = TokenRoom()
    keep(room, "ann", 1, 5)
    room.drop("ann", 1)
    room.drop("ann", 1)
    assert (len(room), room.bytes) == (0, 0)


def test_idle_caches_go():
    clock = Clock()
    room = TokenRoom(idle_s=10, clock=clock)
    keep(room, "ann", 1, 5)
    clock.now_s = 8
    keep(room, "ann", 2, 5)
    clock.now_s = 11
    room.tidy()
    assert (room.held("ann", 1), room.held("ann", 2)) == (0, 5)


def test_the_one_that_was_used_longest_ago_gives_way():
    room = TokenRoom(most_bytes=12 * TOKEN, each_bytes=12 * TOKEN)
    keep(room, "ann", 1, 5)
    keep(room, "bob", 1, 5)
    room.past("ann", 1, 5)
    keep(room, "eve", 1, 5)
    assert [room.held(client, 1) for client in ("ann", "bob", "eve")] == [5, 0, 5]
    assert room.bytes == 10 * TOKEN


def test_a_client_with_many_requests_loses_its_own_before_others_theirs():
    room = TokenRoom(most_bytes=100 * TOKEN, each_bytes=12 * TOKEN)
    keep(room, "bob", 1, 5)
    for request in range(5):
        keep(room, "ann", request, 5)
    assert [room.held("ann", request) for request in range(5)] == [0, 0, 0, 5, 5]
    assert room.held("bob", 1) == 5


def test_many_small_requests_are_bounded_in_number():
    room = TokenRoom()
    for request in range(3 * REQUESTS_EACH):
        keep(room, "ann", request, 1)
    assert len(room) == REQUESTS_EACH


def test_one_that_is_larger_than_all_the_room_is_not_kept():
    room = TokenRoom(most_bytes=4 * TOKEN)
    keep(room, "ann", 1, 5)
    assert (len(room), room.bytes) == (0, 0)


def test_the_bound_holds_whatever_comes(rng):
    room = TokenRoom(most_bytes=40 * TOKEN, each_bytes=20 * TOKEN)
    for _ in range(2000):
        client, request = int(rng.integers(5)), int(rng.integers(4))
        first = int(rng.integers(room.held(client, request) + 1))
        room.past(client, request, first)
        room.keep(client, request, past(first + int(rng.integers(1, 8))))
        assert room.bytes <= 40 * TOKEN
        held = [sum(room.held(one, each) for each in range(4)) for one in range(5)]
        assert sum(held) * TOKEN == room.bytes
        for one, each in enumerate(held):
            assert each <= 20 or each in [room.held(one, request) for request in range(4)]
