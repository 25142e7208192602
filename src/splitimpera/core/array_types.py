"""Types of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Array = npt.NDArray[Any]
Row = tuple[Array, ...]
"""The tensors of one sample: what crosses a cut, what the network returns, what is expected of it."""
