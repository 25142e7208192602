"""One WAV file, as samples of one channel at the sampling rate that is wanted.

The files are hostile until they are read: no more is read than a clip is long, whatever a header claims.
"""

from __future__ import annotations

import os
import wave
from importlib.util import find_spec
from math import ceil, gcd
from pathlib import Path
from typing import BinaryIO

import numpy as np

from splitimpera.core.array_types import Array, FloatArray
from splitimpera.core.errors import BrokenFileError, DataError, shown, shown_path
from splitimpera.core.files import open_file

SUFFIXES = frozenset((".wav", ".wave"))
RATES = (1000, 384_000)
MOST_CHANNELS = 64
MOST_FACTOR = 2000
"""Rates that differ by no simpler fraction would need a filter too long to be worth it."""
MARGIN = 64
"""Samples more than a clip needs, for the filter at its end."""


def read_wave(path: Path, rate: int, samples: int) -> FloatArray:
    """The begin of a file, float64 (samples,), from -1 to 1: channels averaged, resampled, filled with zeros.

    Integers of 8, 16, 24 and 32 bits are read; other kinds of WAV files where `soundfile` is installed.

    Raises:
        DataError: the file cannot be resampled; BrokenFileError where it cannot be decoded.
    """
    with open_file(path, DataError, what="WAV file") as file:
        try:
            clip, own = _integers(file, path, samples / rate)
        except DataError:
            raise
        except Exception as failure:  # readers of hostile files fail with more kinds of errors than are documented
            if find_spec("soundfile") is None or not str(failure).startswith("unknown format"):
                raise _broken(
                    path, str(failure) or "it ends in its header, or its parts are not where it says"
                ) from None
            file.seek(0)
            clip, own = _by_soundfile(file, path, samples / rate)
    if not np.isfinite(clip).all():
        raise _broken(path, "it has samples that are not finite")
    clip = _resampled(clip.mean(1), own, rate, path)[:samples]
    return np.pad(clip, (0, samples - len(clip)))


def _integers(file: BinaryIO, path: Path, seconds: float) -> tuple[FloatArray, int]:
    """Samples (n, channels), and their rate."""
    with wave.open(file, "rb") as sound:
        channels, width, own, count = sound.getparams()[:4]
        _check(channels, own, path)
        if width not in (1, 2, 3, 4):
            raise _broken(path, f"it has {8 * width} bits a sample, 8, 16, 24 or 32 are read")
        if not count:
            raise _broken(path, "it has no samples")
        if count * channels * width > os.fstat(file.fileno()).st_size:
            raise _broken(path, f"it claims {count} samples, for which it is too small")
        wanted = min(count, ceil(seconds * own) + MARGIN)
        content = sound.readframes(wanted)
        if len(content) != wanted * channels * width:
            raise _broken(path, f"it claims {count} samples, for which it is too small")
    return _values(content, width).reshape(-1, channels), own


def _values(content: bytes, width: int) -> FloatArray:
    if width == 1:
        return (np.frombuffer(content, np.uint8).astype(np.float64) - 128) / 128
    if width == 3:  # as the upper bytes of 32 bits
        wide = np.zeros((len(content) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(content, np.uint8).reshape(-1, 3)
        whole: Array = wide.view("<i4")[:, 0]
    else:
        whole = np.frombuffer(content, f"<i{width}")
    return whole / float(1 << (15 if width == 2 else 31))


def _by_soundfile(file: BinaryIO, path: Path, seconds: float) -> tuple[FloatArray, int]:
    import soundfile  # type: ignore[import-not-found, unused-ignore]

    try:
        with soundfile.SoundFile(file) as sound:
            own = int(sound.samplerate)
            _check(sound.channels, own, path)
            clip = np.asarray(sound.read(ceil(seconds * own) + MARGIN, dtype="float64", always_2d=True))
    except soundfile.SoundFileError as failure:
        raise _broken(path, str(failure)) from None
    if not len(clip):
        raise _broken(path, "it has no samples")
    return clip, own


def _check(channels: int, rate: int, path: Path) -> None:
    if not 1 <= channels <= MOST_CHANNELS or not RATES[0] <= rate <= RATES[1]:
        raise _broken(
            path,
            f"it claims {channels} channels at {rate} Hz, 1 to {MOST_CHANNELS} at {RATES[0]} to {RATES[1]} are read",
        )


def _resampled(clip: FloatArray, own: int, rate: int, path: Path) -> FloatArray:
    if own == rate:
        return clip
    shared = gcd(own, rate)
    if max(own, rate) // shared > MOST_FACTOR:
        raise DataError(
            f"'{shown_path(path)}' has {own} samples a second, from which {rate} are no simple fraction",
            hint="resample the file, or choose another `rate` under `data.audio`",
        )
    from scipy.signal import resample_poly

    return np.asarray(resample_poly(clip, rate // shared, own // shared), np.float64)


def _broken(path: Path, why: str) -> BrokenFileError:
    return BrokenFileError(
        f"the WAV file '{shown_path(path)}' cannot be read: {shown(why, 200)}",
        hint="`skip_broken: true` under `data` leaves out what cannot be decoded",
    )
