"""What somebody hands in, an image for example, as the network takes it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from splitimpera.bundle.manifest import InputEntry
from splitimpera.core.array_types import Array
from splitimpera.core.errors import DataError
from splitimpera.deploy.inference import as_stored


def prepared(x: Array | Sequence[Array], wanted: InputEntry) -> tuple[Array, ...]:
    """The network's input for one frame.

    Args:
        x: The tensors themselves, without a batch dimension: one, or several in a list or tuple; or, where the network
            takes images, an image of 8 or 16 bits, (H, W, C) or, in grey, (H, W).

    Raises:
        DataError: it is none.
    """
    specs = tuple(entry.spec for entry in wanted.tensors)
    arrays = [np.asarray(one) for one in (x if isinstance(x, list | tuple) else [x])]
    if wanted.pixels is not None and len(arrays) == 1 and arrays[0].dtype in (np.uint8, np.uint16):
        arrays = [_normalised(arrays[0], wanted)]
    if len(arrays) != len(specs):
        raise DataError(f"the network takes {len(specs)} inputs, {len(arrays)} are given", where="input")
    for array, spec in zip(arrays, specs, strict=True):
        if array.shape != spec.shape or not np.can_cast(
            array.dtype, spec.dtype.replace("bfloat16", "float32"), "same_kind"
        ):
            raise DataError(
                f"{array.dtype} of shape {array.shape} is given, the network takes {spec.dtype} of shape {spec.shape}"
                + (", or an image of 8 or 16 bits" if wanted.pixels is not None else ""),
                where="input",
            )
    return as_stored(arrays, specs)


def _normalised(image: Array, wanted: InputEntry) -> Array:
    """uint8 or uint16 (H, W, C) -> float32 (C, H, W), to the bit what `models.pixels` makes of it."""
    assert wanted.pixels is not None
    grey = image[..., None] if image.ndim == 2 else image
    channels = wanted.tensors[0].shape[0] if wanted.tensors[0].shape else 0
    if grey.ndim != 3 or grey.shape[2] != channels or len(wanted.pixels.mean) != channels:
        raise DataError(f"an image of shape {image.shape} is given, {channels} channels are expected", where="input")
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (wanted.pixels.mean, wanted.pixels.std))
    x = grey.transpose(2, 0, 1).astype(np.float32, order="C")
    x /= np.float32(np.iinfo(image.dtype).max)
    x -= mean
    x /= std
    return x
