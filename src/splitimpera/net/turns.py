"""Messages that follow from those that came: many users and one server in turns, over TCP connections on one link."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from splitimpera.core.array_types import FloatArray, IntArray
from splitimpera.net import kernels
from splitimpera.net.directions import NS, nanoseconds
from splitimpera.net.tcp import (
    LINUX_CUBIC,
    STANDING_S,
    TcpLink,
    TcpParameters,
    messages,
    nothing_due,
    standing,
    stream_bytes,
)
from splitimpera.records.checks import require
from splitimpera.records.link import Link
from splitimpera.records.traffic import Frames


@dataclass(frozen=True, eq=False)
class Turns:
    """What users and server take for their turns, and send; arrays of shape (turns,), user by user, each in order.

    Attributes:
        user: Whose turn it is, 0 and up, each with a turn at least.
        arrival_s: When a turn's request comes, which is before it begins; NaN where it belongs to that of the turn
            before.
        device_s: What the user's device takes before it sends.
        up_bytes: The size of what it sends; 0: nothing, the turn begins at the server once that is through with the one
            before.
        server_s: What the server takes for this turn alone, without coding.
        slower: How many times longer it takes by chance; of turns together that of the first holds.
        coding_s: What reading and writing takes it, which is the same for each of some turns together.
        down_bytes: The size of what it sends back.
    """

    user: IntArray
    arrival_s: FloatArray
    device_s: FloatArray
    up_bytes: IntArray
    server_s: FloatArray
    slower: FloatArray
    coding_s: FloatArray
    down_bytes: IntArray

    def __post_init__(self) -> None:
        counts = {len(getattr(self, each.name)) for each in fields(self)}
        require(len(counts) == 1 and len(self.user), "user", f"arrays of {sorted(counts)} turns", "one entry a turn")
        steps = np.diff(self.user, prepend=-1)
        require(((steps == 0) | (steps == 1)).all(), "user", self.user.tolist()[:20], "user by user, from 0 on")
        opens = ~np.isnan(self.arrival_s)
        require((opens | (steps == 0)).all(), "arrival_s", "NaN in a user's first turn", "when its request comes")
        require((self.up_bytes[opens] > 0).all(), "up_bytes", 0, "above 0 in the first turn of a request")
        require((self.down_bytes > 0).all() and (self.up_bytes >= 0).all(), "down_bytes", 0, "above 0")
        for name in ("device_s", "server_s", "slower", "coding_s"):
            values = getattr(self, name)
            require(np.isfinite(values).all() and (values >= 0).all(), name, values.tolist()[:20], "not below 0")


@dataclass(frozen=True, eq=False)
class TurnTimes:
    """When each turn was where, and what its messages met, arrays of shape (turns,); infinite where it never was.

    Attributes:
        begun_s: When the user's device began with it, or the server was through with the one before.
        sent_s, came_s: When the user's message was handed to its socket, and when the server had it; NaN where the turn
            has none.
        started_s, ended_s: When the server began with it, and was through.
        back_s: When the user had what the server sent.
        together: How many turns the server did in that step; 0 where it never did.
        packets, lost_packets: Data packets sent, both ways, those sent again included, and those that were lost.
        up_wire_bytes, down_wire_bytes: What its messages put onto the link, headers included.
    """

    begun_s: FloatArray
    sent_s: FloatArray
    came_s: FloatArray
    started_s: FloatArray
    ended_s: FloatArray
    back_s: FloatArray
    together: IntArray
    packets: IntArray
    lost_packets: IntArray
    up_wire_bytes: IntArray
    down_wire_bytes: IntArray


def take_turns(
    link: Link,
    rng: np.random.Generator,
    turns: Turns,
    together: Sequence[float] = (1.0,),
    parameters: TcpParameters = LINUX_CUBIC,
) -> TurnTimes:
    """Simulate the turns of all users, each over a connection of its own, with a server that all share.

    The server does one step at a time. Where it may take turns together, it takes as many as wait, up to the most, as
    soon as it is free, and never waits for more; a request's first turn is done alone, and before all others. Where it
    may not, all turns are done in the order in which they come.

    Args:
        rng: the randomness of the link.
        together: How much longer one turn each of so many users takes than one of one user; 1.0 first.

    Raises:
        SimulationError: it is too much work, as `TcpLink.check` says.

    Example:
        >>> two = np.array([0, 0])
        >>> turns = Turns(two, np.array([0.0, np.nan]), two + 0.01, two + 1000, two + 0.02, two + 1.0, two, two + 4)
        >>> times = take_turns(Link(rate_bps=1e8, delay_s=0.005), np.random.default_rng(0), turns)
        >>> np.round(times.back_s, 3)
        array([0.04, 0.08])
    """
    require(len(together) and together[0] == 1.0, "together", list(together)[:1], "1.0 for one")
    tcp = TcpLink(link, rng, parameters)
    tcp.check(_as_frames(turns, together))
    before = rng.bit_generator.state
    room = 1
    while True:
        talk, world = _begun(tcp, turns, together, room)
        kernels.run_tcp(world, nothing_due(world), talk)
        if not world.counters[1]:
            return _times(turns, talk, world)
        rng.bit_generator.state = before
        room *= 2


def _as_frames(turns: Turns, together: Sequence[float]) -> Frames:
    """The same messages as frames with responses, for what they are as work."""
    arrival_s = np.nan_to_num(turns.arrival_s)
    busy_s = float((turns.device_s + turns.server_s * turns.slower * max(together) + turns.coding_s).sum())
    return Frames(
        ready_s=arrival_s,
        size_bytes=np.maximum(turns.up_bytes, 1),
        deadline_s=arrival_s + busy_s,
        sender=turns.user,
        response_bytes=int(turns.down_bytes.max()),
    )


def _begun(tcp: TcpLink, turns: Turns, together: Sequence[float], room: int) -> tuple[kernels.Talk, kernels.World]:
    """The kernel's arrays before the first event."""
    origin = nanoseconds(STANDING_S - float(np.nanmin(turns.arrival_s)))
    opens, sends = ~np.isnan(turns.arrival_s), turns.up_bytes > 0
    senders = turns.user[sends]
    items = messages(len(senders) + len(turns.user))
    items["size"] = stream_bytes(tcp.link, np.concatenate([turns.up_bytes[sends], turns.down_bytes]))
    users = int(turns.user[-1]) + 1
    ends = np.concatenate([2 * senders, 2 * turns.user + 1])
    each = np.zeros(len(turns.user), kernels.TURN)
    each["arrival"] = np.where(opens, origin + nanoseconds(np.nan_to_num(turns.arrival_s)), kernels.NONE)
    each["up"] = np.where(sends, np.cumsum(sends) - 1, kernels.NONE)
    each["down"] = len(senders) + np.arange(len(each))
    each["device"], each["coding"] = nanoseconds(turns.device_s), nanoseconds(turns.coding_s)
    each["alone"], each["slower"] = turns.server_s * NS, turns.slower
    for field in ("begun", "started", "ended"):
        each[field] = kernels.NEVER
    first = np.searchsorted(turns.user, np.arange(users + 1))
    talk = kernels.Talk(
        turns=each,
        first=first,
        current=first[:-1].copy(),
        factors=np.array(together, dtype=np.float64),
        waiting=np.zeros((2, users), dtype=np.int64),
        batch=np.zeros(len(together), dtype=np.int64),
        state=np.array([0, kernels.NEVER - 1, 0, 0, 0, 0]),
    )
    return talk, standing(tcp, items, ends, 2 * users, origin, 0, room)


def _times(turns: Turns, talk: kernels.Talk, world: kernels.World) -> TurnTimes:
    origin = nanoseconds(STANDING_S - float(np.nanmin(turns.arrival_s)))
    each, sends = talk.turns, turns.up_bytes > 0
    up, down = world.items[: int(sends.sum())], world.items[int(sends.sum()) :]

    def seconds(times: IntArray) -> FloatArray:
        return np.where(times == kernels.NEVER, np.inf, (times - origin) / NS)

    def sent(field: str) -> IntArray:
        of_turns = np.zeros(len(each), dtype=np.int64)
        of_turns[sends] = up[field]
        return of_turns

    def came(field: str) -> FloatArray:
        times_s = np.full(len(each), np.nan)
        times_s[sends] = seconds(up[field])
        return times_s

    return TurnTimes(
        begun_s=seconds(each["begun"]),
        sent_s=came("due"),
        came_s=came("complete"),
        started_s=seconds(each["started"]),
        ended_s=seconds(each["ended"]),
        back_s=seconds(down["complete"]),
        together=each["together"].copy(),
        packets=sent("packets") + down["packets"],
        lost_packets=sent("lost") + down["lost"],
        up_wire_bytes=sent("wire_bytes"),
        down_wire_bytes=down["wire_bytes"].copy(),
    )
