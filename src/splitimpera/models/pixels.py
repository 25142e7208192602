"""How images of 8 or 16 bits become what a network takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from splitimpera.core.array_types import Array
from splitimpera.models.samples import Source, layout_in, stream
from splitimpera.models.several import Field, Layout
from splitimpera.models.targets import Rows

LEVEL_ERROR = 0.1
"""How far, in 8-bit levels, inputs may be from those of 8-bit images: more than float32 rounds, less than matters."""


@dataclass(frozen=True)
class Pixels:
    """How inputs follow from images: input = (image / white - mean) / std, one value per channel.

    White is 255, or 65535 for images of 16 bits.

    Example:
        >>> pixels = Pixels(mean=(0.5,), std=(0.5,))
        >>> pixels.inputs(np.full((1, 2, 2, 1), 255, np.uint8)).unique()
        tensor([1.])
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def inputs(self, images: Array) -> Tensor:
        """uint8 or uint16 (N, H, W, C) -> float32 (N, C, H, W)."""
        x = torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32, order="C"))
        mean, std = self._columns()
        # in place: this may be most of the memory there is
        return x.div_(float(np.iinfo(images.dtype).max)).sub_(mean).div_(std)

    def images(self, inputs: Tensor) -> Array:
        """float (N, C, H, W) -> uint8 (N, H, W, C): the images that inputs were made of, in 8 bits."""
        mean, std = self._columns()
        levels = (inputs.to(torch.float32) * std + mean) * 255
        found: Array = levels.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
        return found

    def made(self, inputs: Tensor) -> bool:
        """Whether inputs (N, C, H, W) are those of some 8-bit images."""
        if inputs.ndim != 4 or inputs.shape[1] != len(self.mean) or not inputs.is_floating_point():
            return False
        mean, std = self._columns()
        for some in torch.split(inputs, 256):
            levels = (some.to(torch.float32) * std + mean) * 255
            if not bool(((levels - levels.round().clamp(0, 255)).abs() < LEVEL_ERROR).all()):
                return False
        return True

    def _columns(self) -> tuple[Tensor, Tensor]:
        mean, std = (torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1) for values in (self.mean, self.std))
        return mean, std


@dataclass(frozen=True, eq=False)
class Normalised:
    """Images, uint8 or uint16 (N, H, W, C), which become float32 (n, C, H, W) as they are read."""

    images: Source
    pixels: Pixels

    def __len__(self) -> int:
        return len(self.images)

    def read(self, rows: Rows) -> Tensor:
        return self.pixels.inputs(self.images.read(rows).numpy())

    def stream(self, batches: Iterable[Rows]) -> Iterator[Tensor]:
        return (self.pixels.inputs(images.numpy()) for images in stream(self.images, batches))


@dataclass(frozen=True, eq=False)
class NormalisedSeveral:
    """Several inputs, of which those that are images become float32 (n, C, H, W) as they are read.

    Attributes:
        images: A source of rows of bytes.
        pixels: of each input; None where it stays as it is.
    """

    images: Source
    pixels: tuple[Pixels | None, ...]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def layout(self) -> Layout:
        """How the inputs lie in the rows that are read."""
        fields = zip(self._raw.fields, self.pixels, strict=True)
        return self._raw.with_fields([field if made is None else _of_image(field, made) for field, made in fields])

    @property
    def _raw(self) -> Layout:
        found = layout_in(self.images)
        assert found is not None
        return found

    def read(self, rows: Rows) -> Tensor:
        return self._inputs(self.images.read(rows))

    def stream(self, batches: Iterable[Rows]) -> Iterator[Tensor]:
        return map(self._inputs, stream(self.images, batches))

    def _inputs(self, rows: Tensor) -> Tensor:
        found = zip(self._raw.tensors(rows), self.pixels, strict=True)
        return self.layout.packed([x if made is None else made.inputs(x.numpy()) for x, made in found])


def _of_image(field: Field, pixels: Pixels) -> Field:
    height, width, channels = field.shape
    known = pixels if field.dtype == torch.uint8 else None
    return replace(field, dtype=torch.float32, shape=(channels, height, width), pixels=known)
