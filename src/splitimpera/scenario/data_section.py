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
    """Sampling rate, a whole number of Hz; files of others are resampled."""
    seconds: Annotated[Seconds, Field(gt=0, le=3600)] = 1.0
    """Length of a clip."""
    mels: Annotated[int, Field(ge=1, le=512)] = 40
    """Number of mel bands."""
    window: Annotated[Seconds, Field(gt=0, le=1)] = 0.025
    """Length of a frame."""
    hop: Annotated[Seconds, Field(gt=0, le=1)] = 0.01
    """Distance of two frames."""

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
    """Tokens of a sample."""
    tokenizer: Text = "bytes"
    """`bytes`, each byte a token from 0 to 255; or a local folder with a fast tokenizer's `tokenizer.json`."""


class DataSection(Section):
    """Data; unless it is already divided, it is shuffled once with `seed` and divided.

    `limit` is how many of the samples are used, `workers` how many threads or processes read them; `skip_broken` leaves
    out files that cannot be decoded, and boxes that no image can have. `audio` says how WAV files are heard, `tokens`
    how texts are cut.
    """

    source: Text
    """`digits`, a folder, a file, or a factory."""
    validation: Annotated[Fraction, Field(gt=0, lt=1)] = 0.3
    """Share of the samples on which plans are compared."""
    test: Annotated[Fraction, Field(gt=0, lt=1)] = 0.5
    """Share on which the quality of the whole network and of the recommended plan is reported."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Random seed of `limit`, and of the one shuffle before the data is divided."""
    size: (
        Row[tuple[Annotated[int, Field(gt=0, le=MOST_PIXELS)], Annotated[int, Field(gt=0, le=MOST_PIXELS)]]] | None
    ) = None
    """`[height, width]` to which image files are resized; boxes are scaled along, and masks take the class of the
    nearest pixel.
    Default: unchanged."""
    mean: Row[tuple[Annotated[float, Field(ge=-1000, le=1000)], ...]] | None = None
    """One value a channel, for images: input = (image / 255 - `mean`) / `std`, with 65535 in place of 255 for 16 bits.
    Default: 0."""
    std: Row[tuple[Annotated[float, Field(ge=1e-6, le=1000)], ...]] | None = None
    """One value a channel, as for `mean`. Default: 1."""
    limit: Annotated[int, Field(ge=1, le=2**31)] | None = None
    """Number of samples to use: drawn at random from all, each part and each class in proportion. Default: all."""
    workers: Annotated[int, Field(ge=0, le=64)] = 2
    """Threads that decode images and sounds, or processes that read a dataset's items; 0: everything is read where it
    is used.
    Default: 2, or a `DataLoader`'s `num_workers`."""
    skip_broken: bool = False
    """Leave out image and WAV files that cannot be decoded, and boxes that no image can have, with a warning that
    counts and names them; `false`: the first one ends the run."""
    audio: AudioSection = AudioSection()
    """How WAV files become log-mel spectrograms."""
    tokens: TokensSection = TokensSection()
    """How texts become windows of tokens; for a folder it says that there are texts in it."""

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
