"""Where the data of a scenario come from, and how they are read."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from splitimpera.core.bounds import MOST_PIXELS, check_pixels
from splitimpera.scenario.base_section import Section
from splitimpera.scenario.quantities import Fraction, Frequency, Row, Seconds, Text


class AudioSection(Section):
    """How WAV files become log-mel spectrograms: sampling rate, length of a clip, bands, frames."""

    rate: Annotated[Frequency, Field(ge=1000, le=384_000)] = 16_000.0
    seconds: Annotated[Seconds, Field(gt=0, le=3600)] = 1.0
    mels: Annotated[int, Field(ge=1, le=512)] = 40
    window: Annotated[Seconds, Field(gt=0, le=1)] = 0.025
    hop: Annotated[Seconds, Field(gt=0, le=1)] = 0.01

    @model_validator(mode="after")
    def _something_to_hear(self) -> AudioSection:
        if self.rate % 1:
            raise ValueError(f"the rate is {self.rate:g} Hz, a whole number of samples a second is expected")
        window, hop = round(self.window * self.rate), round(self.hop * self.rate)
        if window < 2 or hop < 1:
            raise ValueError(f"window and hop have {window} and {hop} samples at {self.rate:g} Hz; at least 2 and 1")
        if window > round(self.seconds * self.rate):
            raise ValueError(f"a window of {self.window:g} s is longer than a clip of {self.seconds:g} s")
        return self


class TokensSection(Section):
    """How texts become samples: tokens of a window, and what makes them, "bytes" or a folder with a tokenizer."""

    window: Annotated[int, Field(ge=2, le=2**20)] = 256
    tokenizer: Text = "bytes"


class DataSection(Section):
    """Data; unless it is already divided, it is shuffled once with `seed` and divided.

    `limit` is how many of the samples are used, `workers` how many threads or processes read them; `skip_broken` leaves
    out files that cannot be decoded, and boxes that no image can have. `audio` says how WAV files are heard, `tokens`
    how texts are cut.
    """

    source: Text
    validation: Annotated[Fraction, Field(gt=0, lt=1)] = 0.3
    test: Annotated[Fraction, Field(gt=0, lt=1)] = 0.5
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    size: (
        Row[tuple[Annotated[int, Field(gt=0, le=MOST_PIXELS)], Annotated[int, Field(gt=0, le=MOST_PIXELS)]]] | None
    ) = None
    mean: Row[tuple[Annotated[float, Field(ge=-1000, le=1000)], ...]] | None = None
    std: Row[tuple[Annotated[float, Field(ge=1e-6, le=1000)], ...]] | None = None
    limit: Annotated[int, Field(ge=1, le=2**31)] | None = None
    workers: Annotated[int, Field(ge=0, le=64)] = 2
    skip_broken: bool = False
    audio: AudioSection = AudioSection()
    tokens: TokensSection = TokensSection()

    @field_validator("size")
    @classmethod
    def _size_fits(cls, size: tuple[int, int] | None) -> tuple[int, int] | None:
        if size is not None:
            check_pixels(*size)
        return size

    @model_validator(mode="after")
    def _something_left(self) -> DataSection:
        if self.validation + self.test > 1:
            raise ValueError("validation and test together are more than all of the data")
        return self
