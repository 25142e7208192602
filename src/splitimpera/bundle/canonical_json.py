"""JSON in one way: as it is written, so that it has one hash, and as it is read, so that nothing has two meanings."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any


def canonical(content: Any) -> bytes:
    """The one way to write plain values down: keys sorted, no space, UTF-8."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def read_strictly(content: bytes) -> Any:
    """The plain values of a file; raises ValueError where it is no JSON, has NaN, or a key twice."""
    return json.loads(content, parse_constant=_no_number, object_pairs_hook=_once)


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    pairs = list(pairs)
    plain = dict(pairs)
    if len(plain) < len(pairs):
        raise ValueError("a key stands there twice")
    return plain
