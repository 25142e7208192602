"""The scenario's section on requests to a language model: how long prompts and outputs are, how requests come."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from splitimpera.records.token_workload import MOST_TOKENS, MOST_USERS_TOGETHER, Lengths, TokenWorkload
from splitimpera.scenario.base_section import Section
from splitimpera.scenario.quantities import Factor


class LengthsSection(Section):
    """A number of tokens: one for all requests, or drawn anew for each."""

    mean: Annotated[Factor, Field(ge=1, le=MOST_TOKENS)]
    """Mean number of tokens; a plain number in place of the mapping is the same for all requests."""
    shape: Literal["fixed", "geometric", "lognormal"] = "fixed"
    """`fixed`: all have the mean; `geometric` or `lognormal`: drawn anew for each."""
    sigma: Annotated[Factor, Field(gt=0, le=3)] = 0.5
    """Standard deviation of the logarithm, of a `lognormal` shape."""

    @model_validator(mode="before")
    @classmethod
    def _number(cls, value: object) -> object:
        return {"mean": value} if isinstance(value, (int, float)) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _fits(self) -> LengthsSection:
        if self.shape == "fixed" and self.mean % 1:
            raise ValueError(f"{self.mean:g} tokens are no whole number; round it, or give a shape")
        if self.shape != "lognormal" and "sigma" in self.model_fields_set:
            raise ValueError(f"sigma is the spread of a lognormal shape, this one is {self.shape}; leave it out")
        return self

    def record(self) -> Lengths:
        return Lengths(self.mean, self.shape, self.sigma)


class RequestsSection(Section):
    """What requests to a language model ask for; a frame of the workload is a request then.

    `context` is the most that prompt and output may come to, for which the caches of keys and values have room;
    `together`: to how many requests at most the server makes a token each in one step.
    """

    prompt: LengthsSection
    """Tokens of a request."""
    output: LengthsSection
    """Tokens of its answer."""
    context: Annotated[int, Field(ge=2, le=MOST_TOKENS)]
    """The most that both may come to; what is drawn beyond is cut short, the output first. The caches of keys and
    values have room for so many."""
    together: Annotated[int, Field(ge=1, le=MOST_USERS_TOGETHER)] = 1
    """For how many requests at most the server makes a token each in one step (continuous batching); 1: one request
    after the other."""
    arrivals: Literal["regular", "poisson"] = "regular"
    """`regular`: at the rate `fps`, the users evenly staggered; `poisson`: at random, as often."""

    @model_validator(mode="after")
    def _within(self) -> RequestsSection:
        for key, lengths in (("prompt", self.prompt), ("output", self.output)):
            if lengths.mean >= self.context:
                raise ValueError(
                    f"{key}: {lengths.mean:g} tokens given, fewer than the context of {self.context} are expected"
                )
        if self.prompt.mean + self.output.mean > self.context:
            raise ValueError(
                f"prompt and output have {self.prompt.mean + self.output.mean:g} tokens in the mean, the context has "
                f"room for {self.context}; make it longer, or them shorter"
            )
        return self

    def record(self) -> TokenWorkload:
        return TokenWorkload(self.prompt.record(), self.output.record(), self.context, self.together, self.arrivals)
