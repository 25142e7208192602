"""A codec: 8 bits on a logarithmic scale, finer near zero, where most activations are (mu-law, ITU-T G.711)."""

from __future__ import annotations

import numpy as np

from splitimpera.codec.arguments import no_argument
from splitimpera.codec.codec_names import CODECS, CodecKind
from splitimpera.codec.given import array_dtype
from splitimpera.core.errors import CodecError

MU = 255.0
LEVELS = 127


class MuLaw:
    """Numbers of one tensor: y = sign(x) ln(1 + mu |x| / peak) / ln(1 + mu), rounded to 255 steps."""

    bits = 8
    stored = np.dtype(np.uint8)

    def __init__(self, spec, peak):
        self.spec = spec
        self.peak = peak
        self.own = array_dtype(spec)

    def write(self, tensor):
        """A tensor of the spec's shape -> numbers, uint8 (elements,); NaN becomes 0."""
        share = np.clip(np.nan_to_num(tensor.reshape(-1) / self.peak), -1.0, 1.0)
        bent = np.sign(share) * np.log1p(MU * np.abs(share)) / np.log1p(MU)
        return (np.rint(bent * LEVELS) + LEVELS).astype(np.uint8)

    def read(self, numbers):
        """Numbers, shape (elements,) -> values of the spec's type."""
        bent = (numbers.astype(np.float32) - LEVELS) / LEVELS
        return (np.sign(bent) * np.expm1(np.abs(bent) * np.log1p(MU)) / MU * self.peak).astype(self.own)


def calibrated(spec, argument, tensors):
    """The constants: the largest magnitude among the examples, shape (n, *spec.shape)."""
    peak = np.abs(tensors).max(initial=0.0)
    if not np.isfinite(peak):
        raise CodecError("the calibration data contain NaN or infinite values", where=spec.name)
    return {"peak": np.float32(peak or 1.0).reshape(())}


def numbers(spec, argument, stored):
    """How a tensor is written; what is stored may come from anybody's bundle, so it is checked."""
    peak = stored("peak", "f")
    if peak.shape != () or peak <= 0:
        raise CodecError("the constant 'peak' is not one number above 0", where=spec.name)
    return MuLaw(spec, float(peak))


LOSS = ("zero", "mean", "last", "interleaved", "fec")
CODECS.register("mulaw8")(CodecKind("own", no_argument, ("zstd", "rans", *LOSS), numbers, calibrated, like="uint8"))
