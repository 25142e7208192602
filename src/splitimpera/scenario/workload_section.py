"""The scenario's section on the frames: how many, how often, and what comes back."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticKnownError

from splitimpera.core.bounds import BOUNDS
from splitimpera.records.traffic import DirectAnswers, Workload
from splitimpera.scenario.base_section import Section
from splitimpera.scenario.quantities import Frequency, ResponseBytes, Seconds
from splitimpera.scenario.tier_sections import Answers, AnswersSection, within
from splitimpera.scenario.token_section import RequestsSection

LEAST_FRAMES, LEAST_REQUESTS = 1000, 100


class WorkloadSection(Section):
    """Frame rate, number of simulated frames, how long a receiver waits for an incomplete one, and what comes back.

    With `tokens` a frame is a request to a language model.
    """

    fps: Annotated[Frequency, within("fps")]
    """Frames per second of each sender."""
    tokens: RequestsSection | None = None
    """What each frame asks of a language model, as a request. Default: frames are no requests."""
    frames: Annotated[int, Field(le=int(BOUNDS["frames"].high))] = 1000
    """Number of simulated frames, at least 1000, or of requests, at least 100; where there are more validation samples,
    their number."""
    deadline: Annotated[Seconds, within("deadline_s")] | None = None
    """Time after a frame was due at which it is used with gaps, if it has not come whole over UDP.
    Default: one frame period, but no less than a frame takes to pass the link."""
    senders: Annotated[int, within("senders")] = 1
    """Number of devices that send such frames, evenly staggered; at most 1000000 frames in total.
    Default: the first device's `count`."""
    response: ResponseBytes = 0
    """Size of the response that is sent over the downlink for each frame; `runtime`: what the deployed server sends, 32
    B and the network's result."""
    answers: Answers = "along"
    """How responses come back where there are three devices or more: `along` the way that the frames came, or `direct`,
    from the last device to the first one."""

    @field_validator("frames")
    @classmethod
    def _enough(cls, frames: int, known: ValidationInfo) -> int:
        """Requests of many tokens each say more than as many frames."""
        least = LEAST_REQUESTS if known.data.get("tokens") else LEAST_FRAMES
        if frames < least:
            raise PydanticKnownError("greater_than_equal", {"ge": least})
        return frames

    @model_validator(mode="after")
    def _bounded(self) -> WorkloadSection:
        if self.answers != "along" and not self.response:
            raise ValueError(
                "answers says how responses come back, and response does not say that there are any; "
                "write response: runtime, or their size"
            )
        if self.tokens is not None and (self.response or self.deadline is not None):
            key = "response" if self.response else "deadline"
            raise ValueError(f"with tokens the answer to a request is tokens, one by one; leave out {key}")
        self.record()  # which knows what its values may come to together
        return self

    def record(self) -> Workload:
        size = 0 if self.response == "runtime" else self.response
        direct = None
        if isinstance(self.answers, AnswersSection):
            direct = DirectAnswers(self.answers.direct.rate, self.answers.direct.delay)
        tokens = None if self.tokens is None else self.tokens.record()
        return Workload(
            self.fps,
            self.frames,
            self.deadline,
            senders=self.senders,
            response_bytes=size,
            direct=direct,
            tokens=tokens,
        )
