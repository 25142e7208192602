"""One WAV file, as samples of one channel at the sampling rate that is wanted.

The files are hostile until they are read: no more is read than a clip is long, whatever a header claims.
"""

from __future__ import annotations

import os
from math import ceil, gcd
from pathlib import Path
from struct import Struct
from typing import BinaryIO, NamedTuple

import numpy as np

from splitimpera.core.array_types import Array, FloatArray
from splitimpera.core.errors import BrokenFileError, DataError, shown, shown_path
from splitimpera.core.files import open_file

SUFFIXES = frozenset((".wav", ".wave"))
RATES = (1000, 384_000)
MOST_CHANNELS = 64
MOST_CHUNKS = 1000
"""Before the samples; most files have one or two."""
MOST_FACTOR = 2000
"""Rates that differ by no simpler fraction would need a filter too long to be worth it."""
MARGIN = 64
"""Samples more than a clip needs, for the filter at its end."""

CHUNK = Struct("<4sI")
FORM = Struct("<HHIIHH")
INTEGERS, FLOATS, EXTENSIBLE = 1, 3, 0xFFFE
SUBFORM = slice(24, 26)
"""Where an extensible format says which one it is."""


class Form(NamedTuple):
    """What a file says of its samples; `width`: bytes of one."""

    floats: bool
    channels: int
    rate: int
    width: int


def read_wave(path: Path, rate: int, samples: int) -> FloatArray:
    """The begin of a file, float64 (samples,), from -1 to 1: channels averaged, resampled, filled with zeros.

    Integers of 8, 16, 24 and 32 bits are read, and floats of 32 and 64.

    Raises:
        DataError: the file has another format, or cannot be resampled; BrokenFileError where it cannot be decoded.
    """
    with open_file(path, DataError, what="WAV file") as file:
        try:
            clip, own = _samples(file, path, samples / rate)
        except OSError as failure:
            raise _broken(path, str(failure)) from None
    if not np.isfinite(clip).all():
        raise _broken(path, "it has samples that are not finite")
    clip = _resampled(clip.mean(1), own, rate, path)[:samples]
    return np.pad(clip, (0, samples - len(clip)))


def _samples(file: BinaryIO, path: Path, seconds: float) -> tuple[FloatArray, int]:
    """Samples (n, channels), and their rate."""
    form, length = _header(file, path)
    frame = form.channels * form.width
    count = length // frame
    if not count:
        raise _broken(path, "it has no samples")
    if length > os.fstat(file.fileno()).st_size - file.tell():
        raise _broken(path, f"it claims {count} samples, for which it is too small")
    content = file.read(frame * min(count, ceil(seconds * form.rate) + MARGIN))
    return _values(content, form).reshape(-1, form.channels), form.rate


def _header(file: BinaryIO, path: Path) -> tuple[Form, int]:
    """The format of the samples, and how many bytes they claim to have; the file is where they begin."""
    begin = file.read(12)
    if len(begin) < 12:
        raise _broken(path, "it ends in its header")
    if begin[:4] != b"RIFF" or begin[8:] != b"WAVE":
        raise _broken(path, "it does not begin as WAV files do")
    form: Form | None = None
    for _ in range(MOST_CHUNKS):
        head = file.read(CHUNK.size)
        if len(head) < CHUNK.size:
            raise _broken(path, "it ends in its header, or its parts are not where it says")
        kind, length = CHUNK.unpack(head)
        if kind == b"data":
            if form is None:
                raise _broken(path, "it does not say what its samples are")
            return form, length
        end = file.tell() + length + length % 2
        if kind == b"fmt ":
            form = _form(file.read(min(length, SUBFORM.stop)), path)
        file.seek(end)
    raise _broken(path, f"it has more than {MOST_CHUNKS} parts before its samples")


def _form(content: bytes, path: Path) -> Form:
    if len(content) < FORM.size:
        raise _broken(path, "it ends in its header")
    kind, channels, rate, _, frame, bits = FORM.unpack_from(content)
    if kind == EXTENSIBLE:
        kind = int.from_bytes(content[SUBFORM], "little")
    width = -(-bits // 8)
    if width not in {INTEGERS: (1, 2, 3, 4), FLOATS: (4, 8)}.get(kind, ()):
        raise DataError(
            f"the WAV file '{shown_path(path)}' has samples of {bits} bits in format {kind}; integers (1) of 8, 16, 24 "
            "and 32 bits and floats (3) of 32 and 64 are read",
            hint="convert it, with `ffmpeg -i FILE -c:a pcm_s16le NEW.wav` for example",
        )
    if not 1 <= channels <= MOST_CHANNELS or not RATES[0] <= rate <= RATES[1]:
        raise _broken(
            path,
            f"it claims {channels} channels at {rate} Hz, 1 to {MOST_CHANNELS} at {RATES[0]} to {RATES[1]} are read",
        )
    if frame != channels * width:
        raise _broken(path, f"it claims {frame} bytes for {channels} samples of {width}")
    return Form(kind == FLOATS, channels, rate, width)


def _values(content: bytes, form: Form) -> FloatArray:
    if form.floats:
        return np.frombuffer(content, f"<f{form.width}").astype(np.float64)
    if form.width == 1:
        return (np.frombuffer(content, np.uint8).astype(np.float64) - 128) / 128
    if form.width == 3:  # as the upper bytes of 32 bits
        wide = np.zeros((len(content) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(content, np.uint8).reshape(-1, 3)
        whole: Array = wide.view("<i4")[:, 0]
    else:
        whole = np.frombuffer(content, f"<i{form.width}")
    return whole / float(1 << (15 if form.width == 2 else 31))


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
