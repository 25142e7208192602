"""Users and a server that answer each other over TCP: what is sent next follows from what has come.

Each user has turns, one after the other. A turn begins at the user, who works on it and sends a message; the server
works on what has come, and sends its own message back. A turn without a message of the user begins at the server, as
soon as it is through with the turn before.
"""

from __future__ import annotations

from collections import namedtuple

import numpy as np

from splitimpera.net.kernels.compiling import compiled, inlined, record
from splitimpera.net.kernels.tcp_state import NONE
from splitimpera.net.kernels.wire import NEVER

TURN = record("arrival device up coding down begun started ended together", "alone slower")
"""What a turn takes and when it was where; `arrival` is NONE where it belongs to the request of the turn before, `up`
and `down` are its messages. The server takes `alone` times `slower` for it alone, and `coding`."""

Talk = namedtuple("Talk", "turns first current factors waiting batch state")
"""`first`: the first turn of each user, and behind the last; `current`: the one that each is at; `factors`: how
much longer a step of so many turns takes than of one; `waiting`: two rings of users, of those whose request begins and
of all others; `batch`: whose turns the server does now; `state`: how many these are, when it is through, the heads of
both rings, their tails."""

DOING, FREE, HEAD, TAIL = 0, 1, 2, 4


@inlined
def next_write(w, tp):
    if tp.answers or tp.next_item == tp.items:
        return NEVER
    return w.items[tp.item + tp.next_item].due


@inlined
def reschedule(w, soonest, i):
    """Note when an end's next timer or write is."""
    tp = w.socks[i]
    time = NEVER
    if tp.dead == 0:
        time = min(min(tp.fires, tp.delack_fires), min(tp.comp_fires, next_write(w, tp)))
    place = (len(soonest) >> 1) + i
    while soonest[place] != time:
        soonest[place] = time
        if place == 1:
            break
        time = min(time, soonest[place ^ 1])
        place >>= 1


@compiled
def begin(w, soonest, talk, user, place, now):
    """The user begins a turn."""
    turn = talk.turns[place]
    talk.current[user] = place
    turn.begun = max(now, turn.arrival)
    w.items[turn.up].due = turn.begun + turn.device
    reschedule(w, soonest, 2 * user)


@compiled
def wait(talk, user):
    """The user's turn waits for the server: in front of further ones where it is a request's first, and steps are
    taken together."""
    first = talk.turns[talk.current[user]].arrival != NONE
    ring = 0 if first and len(talk.factors) > 1 else 1
    talk.waiting[ring, talk.state[TAIL + ring] % len(talk.current)] = user
    talk.state[TAIL + ring] += 1


@compiled
def take(talk, now):
    """The server, which is free, takes the turns that it does next."""
    state = talk.state
    ring = 0 if state[HEAD] < state[TAIL] else 1
    most = 1 if ring == 0 else len(talk.factors)
    count = min(state[TAIL + ring] - state[HEAD + ring], most)
    if count == 0:
        return
    alone, coding, slower = 0.0, 0, 1.0
    for i in range(count):
        user = talk.waiting[ring, (state[HEAD + ring] + i) % len(talk.current)]
        turn = talk.turns[talk.current[user]]
        talk.batch[i] = user
        turn.started, turn.together = now, count
        alone += turn.alone
        coding += turn.coding
        if i == 0:
            slower = turn.slower
    state[HEAD + ring] += count
    state[DOING] = count
    state[FREE] = now + np.int64(alone / count * talk.factors[count - 1] * slower + 0.5) + coding


@compiled
def finish(w, soonest, talk, now):
    """The server is through: it sends what it made, and goes on where no user is needed for it."""
    count = talk.state[DOING]
    talk.state[DOING], talk.state[FREE] = 0, NEVER - 1
    for i in range(count):
        user = talk.batch[i]
        place = talk.current[user]
        turn = talk.turns[place]
        turn.ended = now
        w.items[turn.down].due = now
        reschedule(w, soonest, 2 * user + 1)
        if place + 1 < talk.first[user + 1] and talk.turns[place + 1].up == NONE:
            talk.current[user] = place + 1
            talk.turns[place + 1].begun = now
            wait(talk, user)
    take(talk, now)


@compiled
def hear(w, soonest, talk, i, now):
    """An end has read what its peer sent, or its connection was given up."""
    user = i >> 1
    if w.socks[i].dead == 0:
        place = talk.first[user] + w.socks[i].read_item
        if i & 1:
            wait(talk, user)
        elif place < talk.first[user + 1] and talk.turns[place].up != NONE:
            begin(w, soonest, talk, user, place, now)
    if talk.state[DOING] == 0:
        take(talk, now)
