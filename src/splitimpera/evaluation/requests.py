"""What a plan asks of the data: payload sizes and predictions, of whole samples or of damaged ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np

from splitimpera.core.array_types import FloatArray, IntArray
from splitimpera.evaluation.testbed import Coding
from splitimpera.records.traffic import ByteRange

Route = tuple[Coding, ...]
"""How a frame is coded at each hop."""
Gap = tuple[ByteRange, ...]
Content = tuple[int, tuple[Gap, ...]]
"""What a frame carries: a sample, and what each hop so far has lost of it."""


@dataclass(frozen=True)
class Intact:
    """Asks for every sample's payload size at each hop of a route and its prediction's numbers, nothing lost."""

    route: Route


@dataclass(frozen=True, eq=False)
class Damaged:
    """Asks what some contents come to: the payload's size at the next hop, or after the last the prediction's numbers.

    Attributes:
        contents: all with as many gaps as hops were passed; an empty gap is none.
    """

    route: Route
    contents: tuple[Content, ...]


@dataclass(frozen=True)
class Looked:
    """Asks what the head of an early exit says of what frames carry there.

    Attributes:
        route: how a frame is coded at each hop before.
        cut: behind which the exit lies.
        contents: all with as many gaps as the route has hops; None: every sample, nothing lost.
    """

    route: Route
    cut: int
    contents: tuple[Content, ...] | None = None


@dataclass(frozen=True, eq=False)
class Answer:
    """What was asked for, row by row: of every sample, or of every content.

    Attributes:
        sizes: bytes of the payloads, shape (hops, rows); one hop for contents.
        counts: the quality's numbers, shape (rows, k); none where contents have not passed all hops.
        looks: how sure the head of an exit is and which class it found, shape (2, rows); none where none was asked.
    """

    sizes: IntArray
    counts: FloatArray
    looks: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))

    def packed(self) -> bytes:
        """As bytes, for `unpacked`."""
        file = BytesIO()
        arrays: dict[str, Any] = {"sizes": self.sizes, "counts": self.counts}
        np.savez(file, **arrays | ({"looks": self.looks} if len(self.looks) else {}))
        return file.getvalue()

    @classmethod
    def unpacked(cls, content: bytes) -> Answer:
        with np.load(BytesIO(content), allow_pickle=False) as arrays:
            return cls(*(arrays[name] for name in ("sizes", "counts", "looks") if name in arrays))


Request = Intact | Damaged | Looked


def contents_of(request: Request) -> tuple[Content, ...] | None:
    """The contents that a request asks about; None: every sample, nothing lost."""
    return None if isinstance(request, Intact) else request.contents
