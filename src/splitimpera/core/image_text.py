"""Images within JSON: small PNG and JPEG files in Base64, held to bounds before anybody draws them."""

from __future__ import annotations

import base64
import binascii
import io

from PIL import Image

IMAGE_CHARACTERS = 400_000
LONGEST_SIDE = 1024
"""More pixels than any report shows."""


def image_bytes(text: str) -> bytes:
    """The file that a text holds.

    Raises:
        ValueError: it is no PNG or JPEG file in Base64 that can be read, or larger than `LONGEST_SIDE` pixels.

    >>> image_bytes("aGVsbG8=")
    Traceback (most recent call last):
    ValueError: this is no PNG or JPEG file
    """
    try:
        file = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("this is not Base64") from None
    try:
        with Image.open(io.BytesIO(file), formats=("PNG", "JPEG")) as image:
            small = max(image.size) <= LONGEST_SIDE
            if small:
                image.load()
    except Exception:  # whatever the library finds wrong with it
        raise ValueError("this is no PNG or JPEG file") from None
    if not small:
        raise ValueError(f"this image has more than {LONGEST_SIDE} pixels a side")
    return file
