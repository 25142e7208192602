"""Frames of many clients that wait for one program: how many may, who gives way, which go first and which together."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf, isfinite
from typing import Literal, get_args

from splitimpera.core.errors import LinkError, shown
from splitimpera.core.registry import nearest
from splitimpera.deploy.halves import ReceivingHalf
from splitimpera.deploy.messages import Status
from splitimpera.deploy.sessions import Message

Policy = Literal["drop-oldest", "drop-newest"]
"""Which frame goes where one too many comes; the names are those of a device's queue in a scenario."""

SPARE_HEADS = 64
Head = tuple[int, float, float, int, "Waiting"]
"""A client's next frame, the lowest first: turn, deadline, when it was complete, order of arrival."""


@dataclass(eq=False, slots=True)
class Waiting:
    """A frame that waits.

    Attributes:
        client: Whose it is.
        half: What is to run it.
        deadline_s: When its deadline strikes, by `time.monotonic`; infinite without one.
        back_s: How long its response is on its way back, at least.
    """

    client: Hashable
    half: ReceivingHalf
    message: Message
    deadline_s: float
    back_s: float = 0.0

    def late(self, now_s: float) -> bool:
        """Whether its deadline passed while it waited; one that its deadline cut short is to be used as it is."""
        return now_s > self.deadline_s and self.message.frame.complete

    def hopeless(self, through_s: float) -> bool:
        """Whether its response comes too late if it is through then."""
        return through_s + self.back_s > self.deadline_s and self.message.frame.complete


class FrameQueue:
    """A queue with room for so many frames. Clients take turns; in each turn the earliest deadline goes first.

    In a turn every client that has frames gets one of them through, in their order of arrival, so nobody waits for
    more than two frames of each other client, whatever these send and however urgent they call it. Who comes anew
    takes part in the turn that is under way. Frames without a deadline are the last of their turn.

    Where it is full, the client with the most frames in it loses its oldest or its newest one; so does a client that
    has as many as one may.

    Args:
        room: Frames of all clients.
        each: Frames of one client.
        batch: How many frames are run together, where they can be.
        takes_s: How long a program takes for a batch; 0: not known yet.

    Example:
        >>> from types import SimpleNamespace
        >>> class Tail: batches = remembers = False
        >>> frame = SimpleNamespace(last_s=0.0)
        >>> queue = FrameQueue(room=8, each=4)
        >>> for client, deadline_s in (("calm", 0.5), ("calm", 0.6), ("late", 0.9), ("soon", 0.2)):
        ...     queue.put(Waiting(client, Tail, frame, deadline_s))
        >>> [queue.take(1)[0].client for _ in range(4)]
        ['soon', 'calm', 'late', 'calm']
    """

    def __init__(
        self,
        room: int,
        each: int,
        policy: Policy = "drop-oldest",
        batch: int = 1,
        takes_s: Callable[[ReceivingHalf], float] = lambda _: 0.0,
    ) -> None:
        if policy not in get_args(Policy):
            raise LinkError(f"no queue policy is called '{shown(policy)}'", hint=nearest(policy, get_args(Policy)))
        self.room, self.each, self.policy, self.batch = room, each, policy, batch
        self._takes_s = takes_s
        self._count = 0
        self._of_half: dict[ReceivingHalf, int] = {}  # frames that each is to run
        self._own: dict[Hashable, deque[Waiting]] = {}  # of each client that has some
        self._turn = 0
        self._served: dict[Hashable, int] = {}  # in which turn each client had a frame through last
        self._heads: list[Head] = []  # a heap; besides, frames that had to go and are passed over
        self._numbers = count()

    def __len__(self) -> int:
        return self._count

    def put(self, frame: Waiting) -> Waiting | None:
        """Take a frame in; returns the one that has to go for it, which may be itself."""
        owner, half = frame.client, frame.half
        own = self._own.get(owner)
        if own is None:
            own = self._own[owner] = deque()
        own.append(frame)
        if len(own) == 1:
            self._enter(frame)
        self._count += 1
        self._of_half[half] = self._of_half.get(half, 0) + 1
        if len(own) <= self.each:
            if self._count <= self.room:
                return None
            owner = max(self._own, key=lambda client: len(self._own[client]))
        return self._out(owner, 0 if self.policy == "drop-oldest" else -1)

    def take(self, most: int) -> list[Waiting]:
        """The frame that is next, and up to `most` with it that the same program can run at once."""
        if not self._own:
            return []
        first = self._first()
        self._turn, half = first[0], first[-1].half
        if not half.batches:
            most = 1
        taken, clients = [self._through(first)], {first[-1].client}
        others: list[Head] = []
        while self._own and len(taken) < most and len(others) < len(self._own):
            head = self._first()
            # where gaps are filled with the frame before, a second frame would need what comes of the first
            if head[-1].half is half and not (half.remembers and head[-1].client in clients):
                taken.append(self._through(head))
                clients.add(head[-1].client)
            else:
                others.append(heappop(self._heads))
        for head in others:
            heappush(self._heads, head)
        return taken

    def in_time(self, begin_s: float) -> tuple[list[Waiting], list[tuple[Waiting, Status]]]:
        """The frames to run next, as `take` finds them, and those of them that it is too late for, with what to say.

        The last one here is run as long as its deadline has not passed, however long programs took before: what that
        is now is learnt from nothing else.
        """
        frames: list[Waiting] = []
        gone: list[tuple[Waiting, Status]] = []
        for frame in self.take(self.batch):
            if frame.late(begin_s):
                gone.append((frame, Status.LATE))
            elif self._count and frame.hopeless(begin_s + self._takes_s(frame.half)):
                gone.append((frame, Status.BUSY))
            else:
                frames.append(frame)
        return frames, gone

    def ready(self, most: int) -> bool:
        """Whether to wait would not make the next batch larger."""
        half = self._first()[-1].half
        return not half.batches or sum(len(own) for own in self._own.values() if own[0].half is half) >= most

    @property
    def oldest_s(self) -> float:
        """When the oldest frame was complete."""
        return min(own[0].message.last_s for own in self._own.values())

    @property
    def backlog_s(self) -> float:
        """How long the programs take for all that waits."""
        return sum(self._batches(half, count) * self._takes_s(half) for half, count in self._of_half.items())

    def through_s(self, frame: Waiting) -> float:
        """How long the programs take until they are through with a frame that came now, of all that is before it."""
        own = self._own.get(frame.client, ())
        before = Counter({frame.half: 1})
        before.update(each.half for each in own)
        turn = self._next_turn(frame.client) + len(own)
        rank = (frame.deadline_s, frame.message.last_s)
        for client, others in self._own.items():
            turns = turn - self._next_turn(client)  # so many of its frames have theirs before
            if client == frame.client or turns < 0:
                continue
            for place, each in enumerate(others):
                if place < turns or (place == turns and (each.deadline_s, each.message.last_s) <= rank):
                    before[each.half] += 1
                else:
                    break
        return sum(self._batches(half, count) * self._takes_s(half) for half, count in before.items())

    def hopeless(self, frame: Waiting, free_s: float) -> bool:
        """Whether a frame that comes now would be through too late behind what is in front of it.

        Args:
            free_s: When the program is through with what it runs now.
        """
        if not frame.hopeless(free_s + self.backlog_s + self._takes_s(frame.half)):  # quick, and mostly enough
            return False
        return frame.hopeless(free_s + self.through_s(frame))

    def leave(self, client: Hashable) -> list[Waiting]:
        """Take out what a client has in it, for it is gone."""
        self._served.pop(client, None)
        return [self._out(client, -1) for _ in range(len(self._own.get(client, ())))]

    def waits_for(self, half: ReceivingHalf) -> bool:
        """Whether frames are there that this is to run."""
        return half in self._of_half

    def _batches(self, half: ReceivingHalf, frames: int) -> int:
        return -(-frames // (self.batch if half.batches else 1))

    def _next_turn(self, client: Hashable) -> int:
        return max(self._turn, self._served.get(client, -1) + 1)

    def _enter(self, frame: Waiting) -> None:
        """A frame became the next one of its client. Its turn stays: that under way is never a later one."""
        if len(self._heads) > 2 * len(self._own) + SPARE_HEADS:  # after many that had to go
            self._heads = [head for head in self._heads if self._waits(head)]
            heapify(self._heads)
        turn, message = self._next_turn(frame.client), frame.message
        heappush(self._heads, (turn, frame.deadline_s, message.last_s, next(self._numbers), frame))

    def _waits(self, head: Head) -> bool:
        own = self._own.get(head[-1].client)
        return own is not None and own[0] is head[-1]

    def _first(self) -> Head:
        """The frame that is next; there is one."""
        while not self._waits(self._heads[0]):
            heappop(self._heads)
        return self._heads[0]

    def _through(self, head: Head) -> Waiting:
        """Take the frame that is next out, to be run."""
        heappop(self._heads)
        client = head[-1].client
        self._served[client] = head[0]
        return self._out(client, 0)

    def _out(self, client: Hashable, place: int) -> Waiting:
        own = self._own[client]
        frame = own.popleft() if place == 0 else own.pop()
        self._count -= 1
        left = self._of_half[frame.half] - 1
        if left:
            self._of_half[frame.half] = left
        else:
            del self._of_half[frame.half]
        if not own:
            del self._own[client]
        elif place == 0:
            self._enter(own[0])
        return frame


def deadline(message: Message, round_trip_s: float) -> float:
    """When a frame's deadline strikes, by this machine's `time.monotonic`.

    It counts from the first packet, which had half of the smallest round trip behind it.
    """
    left_s = message.frame.time_left_s
    return inf if left_s == inf else message.first_s + left_s - way_s(round_trip_s)


def way_s(round_trip_s: float) -> float:
    """One way of the smallest round trip; 0 where none is known."""
    return round_trip_s / 2 if isfinite(round_trip_s) else 0.0
