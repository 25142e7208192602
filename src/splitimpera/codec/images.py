"""PNG and JPEG for the network's input: what a split must beat to prove anything."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

from splitimpera.codec.elements import Scale
from splitimpera.errors import CodecError
from splitimpera.records import Array, ByteRange, Payload, TensorSpec


class ImageCodec:
    """Writes the input of one frame, shape (C, H, W) with C = 1 or 3, as an image file.

    A damaged image file cannot be read, so over UDP a lost packet is a lost frame.

    Args:
        format: Pillow's name, "PNG" or "JPEG".
        scale: from input values to 8-bit pictures and back.
        options: further arguments of Pillow's `save`.
    """

    tolerates_loss = False

    def __init__(self, name: str, spec: TensorSpec, format: str, scale: Scale, options: dict[str, int]) -> None:
        self.name = name
        self.spec = spec
        self.format = format
        self.scale = scale
        self.options = options

    def encode(self, tensors: Sequence[Array]) -> Payload:
        from PIL import Image

        (tensor,) = tensors
        picture = self.scale.to_integers(tensor).transpose(1, 2, 0)
        file = io.BytesIO()
        Image.fromarray(picture if picture.shape[2] == 3 else picture[:, :, 0]).save(file, self.format, **self.options)
        return Payload(file.getvalue())

    def decode(self, data: bytes, erased: Sequence[ByteRange] = ()) -> tuple[Array, ...]:
        """Raises CodecError for a damaged file, for one of another size, and wherever something is missing."""
        from PIL import Image

        if erased:
            raise CodecError(f"{self.name} cannot be read with parts missing")
        channels, height, width = self.spec.shape
        try:
            with Image.open(io.BytesIO(data), formats=[self.format]) as image:
                # the size stands in the header: refuse before anything is allocated for it
                if image.size != (width, height) or image.mode != ("RGB" if channels == 3 else "L"):
                    raise CodecError(f"an image of {image.size} {image.mode} is given, {(width, height)} is expected")
                picture = np.asarray(image).reshape(height, width, channels)
        except (OSError, SyntaxError, ValueError) as failure:
            raise CodecError(f"the {self.format} data are damaged: {failure}") from None
        return (self.scale.to_values(picture.transpose(2, 0, 1), self.spec.dtype),)
