"""What a manifest says of how a plan's parts were proven."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from splitimpera.bundle.entries import Name, Number, Share, Whole
from splitimpera.bundle.exit_entries import MayBeEarly


class ProofEntry(MayBeEarly):
    """What export found when it ran all parts after one another, against the network with the plan's bottlenecks.

    Attributes:
        plan: Whose parts.
        samples: How many of the validation samples.
        lossless: Whether the codec gives back what it was given.
        largest_difference: Of any value of the result.
        equal: Share of samples with the same answer.
        accuracy: Share of right answers; None: there are no labels, or the metric is another.
        quality: The same by the task's metric; None: nobody knows.
        float_accuracy, float_quality, float_seconds: of the same parts before they were quantised; None: they are not.
        left: Share of samples that leave at each early exit. `accuracy` and `quality` are with them, all else is found
            with the exits shut.
    """

    plan: Name
    samples: Whole
    lossless: bool
    largest_difference: Annotated[Number, Field(ge=0)]
    equal: Share
    accuracy: Share | None
    seconds: Annotated[Number, Field(ge=0)]
    float_accuracy: Share | None = None
    float_seconds: Annotated[Number, Field(ge=0)] | None = None
    quality: Number | None = None
    float_quality: Number | None = None
    left: Annotated[list[Share], Field(max_length=1000)] = Field(default_factory=list)
