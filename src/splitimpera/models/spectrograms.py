"""Log-mel spectrograms: what networks that hear take as an image.

A clip is cut into frames of `window` seconds, one every `hop` seconds, all of them inside the clip. Each is multiplied
by a periodic Hann window and filled with zeros to the next power of two, n; its power is |FFT|^2. Band m of M sums the
power, weighted by a triangle of height 1 between the frequencies of the mels m, m + 1 and m + 2, of M + 2 mels evenly
from 0 to that of half the sampling rate; mel(f) = 2595 log10(1 + f / 700), as HTK has it. The value is
ln(power + 1e-6).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from splitimpera.core.array_types import FloatArray
from splitimpera.core.errors import DataError

FLOOR = 1e-6
"""What is added to a power: silence has a logarithm, too."""


@dataclass(frozen=True)
class LogMel:
    """How clips become spectrograms.

    Attributes:
        rate: samples of a clip in a second, Hz.
        seconds: length of a clip.
        mels: number of bands.
        window, hop: length of a frame and distance of two, in seconds.
    """

    rate: int
    seconds: float
    mels: int
    window: float
    hop: float

    @property
    def samples(self) -> int:
        """How many samples a clip has."""
        return round(self.seconds * self.rate)

    @property
    def frames(self) -> int:
        """How many frames a clip has."""
        return 1 + (self.samples - self._length) // self._step

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of a spectrogram: one channel, bands, frames."""
        return 1, self.mels, self.frames

    def of(self, clip: FloatArray) -> FloatArray:
        """The spectrogram of a clip, float32 (1, mels, frames).

        Args:
            clip: as many samples as `samples` says, from -1 to 1.
        """
        frames = np.lib.stride_tricks.sliding_window_view(clip, self._length)[:: self._step]
        power = np.abs(np.fft.rfft(frames * self._taper, self._size)) ** 2
        bands: FloatArray = np.log(power @ self.filters.T + FLOOR)
        return bands.T[None].astype(np.float32)

    @cached_property
    def filters(self) -> FloatArray:
        """The weight of each frequency in each band, (mels, n / 2 + 1).

        Raises:
            DataError: a band lies between two frequencies, and would always be silent.
        """
        highest = 2595 * np.log10(1 + self.rate / 2 / 700)
        corners = 700 * (10 ** (np.linspace(0, highest, self.mels + 2) / 2595) - 1)
        left, middle, right = (corners[begin : begin + self.mels, None] for begin in range(3))
        frequencies = np.fft.rfftfreq(self._size, 1 / self.rate)
        filters = np.clip(
            np.minimum((frequencies - left) / (middle - left), (right - frequencies) / (right - middle)), 0, None
        )
        if not filters.any(1).all():
            raise DataError(
                f"{self.mels} bands are too many for frames of {self._length} samples: in some there is no frequency",
                where="data.audio.mels",
                hint="ask for fewer, or for a longer window",
            )
        return filters

    @property
    def _length(self) -> int:
        return round(self.window * self.rate)

    @property
    def _step(self) -> int:
        return round(self.hop * self.rate)

    @property
    def _size(self) -> int:
        return 1 << (self._length - 1).bit_length()

    @property
    def _taper(self) -> FloatArray:
        return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self._length) / self._length)
