"""When each frame is due, and which are dropped because the device is busy."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from splitimpera.records.device import QueuePolicy

FINE_S = 0.002
"""The last stretch of a wait: systems wake a sleeper late by up to about this much."""


@dataclass
class FrameClock:
    """Frames at a fixed rate, which wait where the device is busy, or are dropped as the policy says.

    Frame i is due i / fps after the start; it is begun when the one before is through. What `evaluation.pipeline.serve`
    predicts for these policies happens here.

    Attributes:
        fps: None: each is due when the one before is through.
        frames: How many; None: no end.
        policy: Of a frame that finds the device busy and `room` others waiting.
        begun_s: The start, by `time.monotonic`.
    """

    fps: float | None
    frames: int | None = None
    policy: QueuePolicy = "wait"
    room: int = 1
    begun_s: float = field(default_factory=time.monotonic)

    def due_s(self, frame: int) -> float:
        """When a frame is due, by `time.monotonic`."""
        return self.begun_s + frame / self.fps if self.fps else time.monotonic()

    def __iter__(self) -> Iterator[tuple[int, float, bool]]:
        """Each frame when its turn has come: its number, when it was due, and whether it is run or dropped."""
        waiting: deque[tuple[int, float]] = deque()
        coming, free_s = 0, self.begun_s
        while True:
            # those that became due while the device was busy
            now_s = time.monotonic()
            while self._more(coming) and self.fps and self.due_s(coming) <= now_s:
                due_s = self.due_s(coming)
                busy = bool(waiting) or due_s < free_s
                if self.policy == "wait" or not busy or len(waiting) < self.room:
                    waiting.append((coming, due_s))
                elif self.policy == "drop-oldest":
                    yield *waiting.popleft(), False
                    waiting.append((coming, due_s))
                else:
                    yield coming, due_s, False
                coming += 1
            if waiting:
                yield *waiting.popleft(), True
                free_s = time.monotonic()
            elif not self._more(coming):
                return
            elif self.fps:
                sleep_until(self.due_s(coming))
            else:
                yield coming, time.monotonic(), True
                coming += 1

    def _more(self, frame: int) -> bool:
        return self.frames is None or frame < self.frames


def sleep_until(due_s: float) -> None:
    """Sleep until a time of `time.monotonic`: long, then short, for systems wake sleepers late."""
    while (left_s := due_s - time.monotonic()) > 0:
        time.sleep(left_s - FINE_S if left_s > 2 * FINE_S else left_s)
