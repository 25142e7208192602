"""Frames of many clients that wait for one program: how many may, who gives way, and which are run together."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from math import inf, isfinite
from typing import Literal, get_args

from splitimpera.core.errors import LinkError, shown
from splitimpera.core.registry import nearest
from splitimpera.deploy.halves import ServerHalf
from splitimpera.deploy.sessions import Message

Policy = Literal["drop-oldest", "drop-newest"]
"""Which frame goes where one too many comes; the names are those of a device's queue in a scenario."""


@dataclass(eq=False)
class Waiting:
    """A frame that waits.

    Attributes:
        client: Whose it is.
        half: What is to run it.
        deadline_s: When its deadline strikes, by `time.monotonic`; infinite without one.
    """

    client: Hashable
    half: ServerHalf
    message: Message
    deadline_s: float

    def late(self, now_s: float) -> bool:
        """Whether its deadline passed while it waited; one that its deadline cut short is to be used as it is."""
        return now_s > self.deadline_s and self.message.frame.complete


class FrameQueue:
    """A queue with room for so many frames; clients take turns, the frames of one go in order of arrival.

    Where it is full, the client with the most frames in it loses its oldest or its newest one; so does a client that
    has as many as one may. Nobody's flood takes another's place, or keeps it waiting for more than a frame of each.

    Args:
        room: Frames of all clients.
        each: Frames of one client.
    """

    def __init__(self, room: int, each: int, policy: Policy = "drop-oldest") -> None:
        if policy not in get_args(Policy):
            raise LinkError(f"no queue policy is called '{shown(policy)}'", hint=nearest(policy, get_args(Policy)))
        self.room = room
        self.each = each
        self.policy = policy
        self._count = 0
        self._own: dict[Hashable, deque[Waiting]] = {}  # of each client that has some, in order of turns

    def __len__(self) -> int:
        return self._count

    def put(self, frame: Waiting) -> Waiting | None:
        """Take a frame in; returns the one that has to go for it, which may be itself."""
        owner = frame.client
        self._own.setdefault(owner, deque()).append(frame)
        self._count += 1
        if len(self._own[owner]) <= self.each:
            if self._count <= self.room:
                return None
            owner = max(self._own, key=lambda client: len(self._own[client]))
        return self._out(owner, 0 if self.policy == "drop-oldest" else -1)

    def take(self, most: int) -> list[Waiting]:
        """The frame whose turn it is, and up to `most` with it that the same program can run at once."""
        if not self._own:
            return []
        half = self._next.half
        if not half.batches:
            most = 1
        taken: list[Waiting] = []
        turns = deque(client for client, own in self._own.items() if own[0].half is half)
        while turns and len(taken) < most:
            client = turns.popleft()
            taken.append(self._out(client, 0))
            if client in self._own:  # after all others
                self._own[client] = self._own.pop(client)
                if not half.remembers:  # its second frame would need what comes of its first
                    turns.append(client)
        return taken

    def ready(self, most: int) -> bool:
        """Whether to wait would not make the next batch larger."""
        half = self._next.half
        return not half.batches or sum(len(own) for own in self._own.values() if own[0].half is half) >= most

    @property
    def oldest_s(self) -> float:
        """When the oldest frame was complete."""
        return min(own[0].message.last_s for own in self._own.values())

    def leave(self, client: Hashable) -> list[Waiting]:
        """Take out what a client has in it, for it is gone."""
        own = list(self._own.pop(client, ()))
        self._count -= len(own)
        return own

    @property
    def _next(self) -> Waiting:
        return next(iter(self._own.values()))[0]

    def _out(self, client: Hashable, place: int) -> Waiting:
        own = self._own[client]
        frame = own.popleft() if place == 0 else own.pop()
        self._count -= 1
        if not own:
            del self._own[client]
        return frame


def deadline(message: Message, round_trip_s: float) -> float:
    """When a frame's deadline strikes, by this machine's `time.monotonic`.

    It counts from the first packet, which had half of the smallest round trip behind it.
    """
    way_s = round_trip_s / 2 if isfinite(round_trip_s) else 0.0
    left_s = message.frame.time_left_s
    return inf if left_s == inf else message.first_s + left_s - way_s
