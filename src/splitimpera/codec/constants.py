"""What a codec is fixed with once and for all frames, as plain arrays that both ends hold and files can carry."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import numpy as np

from splitimpera.codec.given import arrays_of
from splitimpera.core.array_types import Array
from splitimpera.core.errors import CodecError, shown
from splitimpera.records.graph import TensorSpec


@dataclass(frozen=True, eq=False)
class Constants:
    """Two ends with equal constants understand each other's payloads, which need no header then.

    Attributes:
        name: the codec, as the scenario calls it ("uint4:channel+rans").
        specs: the tensors of one frame.
        packet_bytes: what one datagram carries.
        arrays: ranges ("0.low", "0.step"), means ("0.mean"), counts of symbols ("0.counts"), each after the number of
            its tensor, and a "dictionary" for zstd.
    """

    name: str
    specs: tuple[TensorSpec, ...]
    packet_bytes: int = 1400
    arrays: Mapping[str, Array] = field(default_factory=dict)

    def array(self, key: str, kind: str, shape: tuple[int, ...] | None = None) -> Array:
        """One of the arrays, for whoever did not calibrate it and cannot trust it.

        Args:
            kind: the letter of NumPy's kind of type: "f" or "u".
            shape: what it must have; None: any.

        Raises:
            CodecError: it is missing, of another type or shape, or has NaN or infinite values.
        """
        if key not in self.arrays:
            raise CodecError(f"the constants lack '{key}'", where=shown(self.name))
        (array,) = arrays_of([self.arrays[key]])
        if array.dtype.kind != kind or (shape is not None and array.shape != shape):
            raise CodecError(
                f"the constant '{key}' is {array.dtype} of shape {array.shape}, not what the codec needs",
                where=shown(self.name),
            )
        if not np.isfinite(array).all():
            raise CodecError(f"the constant '{key}' contains NaN or infinite values", where=shown(self.name))
        return array

    def described(self) -> dict[str, object]:
        """All but the arrays' values, as plain values for JSON."""
        return {
            "codec": self.name,
            "packet_bytes": self.packet_bytes,
            "tensors": [asdict(spec) for spec in self.specs],
            "arrays": [
                {"key": key, "dtype": _little(array).dtype.str, "shape": list(array.shape)}
                for key, array in self.arrays.items()
            ],
        }

    def values(self) -> bytes:
        """The arrays' values one after the other, little endian."""
        return b"".join(_little(array).tobytes() for array in self.arrays.values())

    @property
    def plan_id(self) -> int:
        """A number below 2**32 that tells these constants from others: what every packet's header names them by."""
        text = json.dumps(self.described(), sort_keys=True).encode()
        return int.from_bytes(hashlib.sha256(text + b"\0" + self.values()).digest()[:4], "little")


def _little(array: Array) -> Array:
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(array.shape)
