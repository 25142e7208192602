"""Labelled samples of the test part as a bundle's file, and how inputs follow from images."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import torch

from splitimpera.bundle.entries import tensor_entry
from splitimpera.bundle.manifest import InputEntry, PixelsEntry
from splitimpera.bundle.stored_targets import stored_targets
from splitimpera.core.array_types import Array
from splitimpera.deploy.input_preparation import prepared
from splitimpera.evaluation.testbed import Testbed
from splitimpera.models.pixels import Pixels


def input_entry(testbed: Testbed) -> InputEntry:
    """What the network takes for one frame."""
    pixels = testbed.data.pixels
    known = None if pixels is None else PixelsEntry(mean=list(pixels.mean), std=list(pixels.std))
    return InputEntry(tensors=list(map(tensor_entry, testbed.specs(0, 0.0))), pixels=known)


def sample_file(testbed: Testbed, count: int) -> bytes:
    """So many samples from all over the test part, as images where the network takes these."""
    data = testbed.data
    rows = torch.linspace(0, len(data.test) - 1, min(count, len(data.test))).round().long()
    some = data.test.take(rows)
    x, *more = (each.numpy() for each in some.tensors(torch.cat(list(some.batches(testbed.chunk([]))))))
    images = None if data.pixels is None else _images(x, data.pixels, input_entry(testbed))
    file, targets = BytesIO(), stored_targets(some.targets.rows(range(len(some))))
    within = getattr(testbed.task, "within", None)
    inputs = {f"x{place}": each for place, each in enumerate((x, *more))} if more else {"x": x}
    arrays = (inputs if images is None else {"x": images}) | targets
    if within is not None:
        arrays["near"] = np.asarray(within)
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # no array is called as an option of it
    return file.getvalue()


def _images(x: Array, pixels: Pixels, wanted: InputEntry) -> Array | None:
    """The 8-bit images (N, H, W, C) that some inputs were made of; None where others would come of them."""
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (pixels.mean, pixels.std))
    images = np.clip(np.round((x * std + mean) * 255), 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
    same = all(np.array_equal(prepared(image, wanted)[0], one) for image, one in zip(images, x, strict=True))
    return np.ascontiguousarray(images) if same else None
