"""Requests to a language model at a rate, one after the other, and what they came to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import isfinite
from time import monotonic, sleep
from typing import Any

import numpy as np

from splitimpera.core.errors import LinkError
from splitimpera.core.version import __version__
from splitimpera.deploy.frame_clock import FrameClock
from splitimpera.deploy.token_log import RequestLine, WritingRunLine
from splitimpera.deploy.writing_client import Writing, WritingClient

ROUND_TRIP_S = 0.5
"""So long the first line of a log waits for a round trip."""


@dataclass
class WritingTally:
    """What a run came to so far.

    Attributes:
        lines: One a request.
    """

    lines: list[RequestLine] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        return sum(len(line.token_s) for line in self.lines)

    @property
    def tokens_per_s(self) -> float | None:
        """From when the first request was due to the last token; None where there is none."""
        ends = [line.token_s[-1] for line in self.lines if line.token_s]
        took_s = max(ends) - self.lines[0].due_s if ends else 0.0
        return self.tokens / took_s if took_s > 0 else None

    def ttft_s(self, share: float) -> float | None:
        """A percentile of the times to the first token; None where there are none."""
        return _percentile([line.ttft_s for line in self.lines if line.ttft_s is not None], share)

    def gap_s(self, share: float) -> float | None:
        """A percentile of the times from one token to the next."""
        return _percentile([gap_s for line in self.lines for gap_s in line.gaps_s], share)

    def as_json(self) -> dict[str, Any]:
        """All of it, for programs."""
        return {
            "requests": len(self.lines),
            "failed": sum(line.failure is not None for line in self.lines),
            "tokens": self.tokens,
            "tokens_per_s": self.tokens_per_s,
            "ttft_p50_s": self.ttft_s(0.5),
            "ttft_p95_s": self.ttft_s(0.95),
            "gap_p50_s": self.gap_s(0.5),
            "gap_p95_s": self.gap_s(0.95),
            "sent_bytes": sum(line.sent_bytes for line in self.lines),
            "resumed": sum(line.resumed for line in self.lines),
        }


def _percentile(values: Sequence[float], share: float) -> float | None:
    return float(np.percentile(values, 100 * share)) if values else None


@dataclass
class WritingRun:
    """Requests, each when its turn has come.

    Attributes:
        prompts: Ids of each; taken in turn, again from the first one on.
        heard: Called with the number of a request and each of its tokens, as they come; None for the token: it is over.
        told: Takes the line of each.
    """

    client: WritingClient
    prompts: Sequence[Sequence[int]]
    most_tokens: int
    clock: FrameClock
    told: Callable[[RequestLine], None]
    heard: Callable[[int, int | None], None]
    tally: WritingTally = field(default_factory=WritingTally)

    def run(self) -> None:
        """Write to all of them.

        Raises:
            SplitImperaError: a prompt cannot be, or the server is gone for good; the request is told before that.
        """
        for number, due_s, _ in self.clock:
            writing = self.client.write(self.prompts[number % len(self.prompts)], self.most_tokens)
            failure: str | None = "it was left"
            try:
                for token in writing:
                    self.heard(number, token)
                failure = None
            except LinkError as error:
                failure = error.problem
                raise
            finally:
                writing.close()
                self.heard(number, None)
                line = self._line(number, due_s, writing, failure)
                self.tally.lines.append(line)
                self.told(line)

    def _line(self, number: int, due_s: float, writing: Writing, failure: str | None) -> RequestLine:
        since_s = self.clock.begun_s
        begun_s = due_s if writing.begun_s is None else writing.begun_s
        return RequestLine(
            request=number,
            prompt=len(writing.prompt),
            due_s=due_s - since_s,
            begun_s=begun_s - since_s,
            token_s=tuple(token_s - since_s for token_s in writing.token_s),
            sent_bytes=writing.sent_bytes,
            resumed=writing.resumed,
            failure=failure,
        )


def writing_run_line(client: WritingClient, fps: float | None, most_tokens: int) -> WritingRunLine:
    """The first line of a run's log; waits a moment for the first round trip."""
    until_s = monotonic() + ROUND_TRIP_S
    while client.hop is not None and not isfinite(client.round_trip_s) and monotonic() < until_s:
        sleep(0.001)
    return WritingRunLine(
        bundle=client.bundle.manifest.bundle,
        plan=client.plan.id,
        made_by=f"splitimpera {__version__}",
        machine=client.plan.machines[0],
        threads=client.threads,
        carrier="none" if client.hop is None else "tcp",
        secure="none" if client.hop is None or client.security is None else "tls",
        fps=fps,
        begun=datetime.now(UTC).isoformat(timespec="milliseconds"),
        round_trip_s=client.round_trip_s if isfinite(client.round_trip_s) else None,
        most_tokens=most_tokens,
    )
