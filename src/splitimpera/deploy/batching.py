"""Frames of many clients that wait for one program: how many may, who gives way, and which are run together."""

from __future__ import annotations

from collections import Counter, deque
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
    """A queue with room for so many frames, in order of arrival.

    Where it is full, the client with the most frames in it loses its oldest or its newest one; so does a client that
    has as many as one may. Nobody's flood takes another's place.

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
        self._frames: deque[Waiting] = deque()
        self._held: Counter[Hashable] = Counter()

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, frame: Waiting) -> Waiting | None:
        """Take a frame in; returns the one that has to go for it, which may be itself."""
        self._frames.append(frame)
        self._held[frame.client] += 1
        owner = frame.client
        if self._held[owner] <= self.each:
            if len(self._frames) <= self.room:
                return None
            owner = max(self._held, key=self._held.__getitem__)
        own = [waiting for waiting in self._frames if waiting.client is owner]
        victim = own[0 if self.policy == "drop-oldest" else -1]
        self._remove([victim])
        return victim

    def take(self, most: int) -> list[Waiting]:
        """The oldest frame, and up to `most` with it that the same program can run at once."""
        if not self._frames:
            return []
        half = self._frames[0].half
        if most == 1 or not half.batches:
            taken = [self._frames.popleft()]
            self._count_out(taken)
            return taken
        fitting = [frame for frame in self._frames if frame.half is half]
        if half.remembers:  # the second of one client would need what comes of its first
            fitting = list({frame.client: frame for frame in reversed(fitting)}.values())[::-1]
        taken = fitting[:most]
        self._remove(taken)
        return taken

    def ready(self, most: int) -> bool:
        """Whether to wait would not make the next batch larger."""
        half = self._frames[0].half
        return not half.batches or sum(frame.half is half for frame in self._frames) >= most

    @property
    def oldest_s(self) -> float:
        """When the oldest frame was complete."""
        return self._frames[0].message.last_s

    def leave(self, client: Hashable) -> list[Waiting]:
        """Take out what a client has in it, for it is gone."""
        own = [waiting for waiting in self._frames if waiting.client is client]
        self._remove(own)
        return own

    def _remove(self, frames: list[Waiting]) -> None:
        gone = set(map(id, frames))
        self._frames = deque(frame for frame in self._frames if id(frame) not in gone)
        self._count_out(frames)

    def _count_out(self, frames: list[Waiting]) -> None:
        for frame in frames:
            self._held[frame.client] -= 1
            if not self._held[frame.client]:
                del self._held[frame.client]


def deadline(message: Message, round_trip_s: float) -> float:
    """When a frame's deadline strikes, by this machine's `time.monotonic`.

    It counts from the first packet, which had half of the smallest round trip behind it.
    """
    way_s = round_trip_s / 2 if isfinite(round_trip_s) else 0.0
    left_s = message.frame.time_left_s
    return inf if left_s == inf else message.first_s + left_s - way_s
