"""One pass over samples that answers what many plans ask; a chunk goes through the network once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b, sha256
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from splitimpera.core.array_types import IntArray, Row
from splitimpera.core.memory import hand_back
from splitimpera.core.progress import Track, no_progress
from splitimpera.evaluation.requests import Answer, Looked, Request, contents_of
from splitimpera.evaluation.testbed import Part, Testbed
from splitimpera.evaluation.visit import Visit, fills_with_last
from splitimpera.tasks.identity import identity


class Kept(Protocol):
    """What was computed before, by a digest of all that it follows from."""

    def get(self, key: str) -> bytes | None: ...

    def put(self, entries: Mapping[str, bytes]) -> None: ...


def answers(
    testbed: Testbed,
    part: Part,
    asked: Iterable[Request],
    kept: Kept | None = None,
    track: Track[Tensor] = no_progress,
    description: str = "Running the network",
) -> dict[Request, Answer]:
    """Answer requests in one pass over the samples that they need.

    Args:
        kept: what earlier calls answered, chunk by chunk, which is not computed again.
        track: shows progress, chunk by chunk.
        description: what it says is being done.

    Raises:
        ModelError: the network cannot be run, or its outputs are not finite.
    """
    samples = testbed.samples(part)
    gathered = {request: _Gathered(request, len(samples)) for request in asked}
    with_last = any(fills_with_last(testbed.codec(*coding)) for request in gathered for coding in request.route)
    needed = _needed(gathered, len(samples), with_last)
    exits = {request.cut for request in gathered if isinstance(request, Looked)}
    chunk = testbed.chunk({coding.cut for request in gathered for coding in request.route} | exits)
    wanted = samples if len(needed) == len(samples) else samples.take(torch.from_numpy(needed))
    before: tuple[int, Tensor, Row] | None = None
    batches = track(wanted.batches(chunk), description, -(-len(needed) // chunk))
    for place, x in enumerate(batches):
        ids = needed[place * chunk : (place + 1) * chunk].tolist()
        here = {request: rows for request, those in gathered.items() if (rows := those.within(ids))}
        targets = samples.targets.rows(ids)  # once: they may be files
        keys, found = {}, {}
        if kept is not None:
            content = _digest([(x.numpy(),), *targets])
            keys = {request: _key(testbed, content, ids, request, rows) for request, rows in here.items()}
            found = {request: stored for request, key in keys.items() if (stored := kept.get(key)) is not None}
        missing = {request: rows for request, rows in here.items() if request not in found}
        if missing:
            shown_ids, shown_x, shown_targets = ids, x, targets
            if before:
                last, last_x, last_target = before
                shown_ids, shown_x, shown_targets = [last, *ids], torch.stack([last_x, *x]), [last_target, *targets]
            made = Visit(testbed, shown_targets, shown_ids, missing).run(shown_x)
            if kept is not None:
                kept.put({keys[request]: answer.packed() for request, answer in made.items()})
            for request, answer in made.items():
                gathered[request].put(here[request], answer)
        for request, stored in found.items():
            gathered[request].put(here[request], Answer.unpacked(stored))
        before = (ids[-1], x[-1].clone(), targets[-1]) if with_last else None
        hand_back()
    return {request: those.answer for request, those in gathered.items()}


def _key(
    testbed: Testbed,
    content: str,
    ids: Sequence[int],
    request: Request,
    rows: Sequence[int],
) -> str:
    """What the answer for some rows follows from."""
    contents = contents_of(request)
    kind = "intact" if contents is None else repr([contents[row] for row in rows])
    if isinstance(request, Looked):
        kind += f" at exit {request.cut} {testbed.heads.digest(request.cut)}"
    parts = (
        testbed.digest(request.route),
        identity(testbed.task),
        content,
        ids,
        request.route,
        kind,
    )
    return sha256(repr(parts).encode()).hexdigest()


def _digest(rows: Iterable[Row]) -> str:
    """A digest of arrays, their types and shapes."""
    found = blake2b(digest_size=32)
    for array in (array for row in rows for array in row):
        found.update(f"{array.dtype.str}{array.shape}".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def _needed(asked: Iterable[Request], samples: int, with_last: bool) -> IntArray:
    """The samples that a pass has to read, ascending."""
    wanted: set[int] = set()
    for request in asked:
        contents = contents_of(request)
        if contents is None:
            return np.arange(samples)
        wanted |= {sample for sample, _ in contents}
    if with_last:
        wanted |= {sample - 1 for sample in wanted if sample}
    return np.array(sorted(wanted), dtype=np.int64)


class _Gathered:
    """A request's answer as it comes, chunk by chunk."""

    def __init__(self, request: Request, samples: int) -> None:
        self._places: dict[int, list[int]] = {}
        contents = contents_of(request)
        self._every = contents is None
        for place, (sample, _) in enumerate(contents or ()):
            self._places.setdefault(sample, []).append(place)
        self._rows = samples if contents is None else len(contents)
        self.answer = Answer(np.zeros((0, 0), dtype=np.int64), np.zeros((0, 0)))

    def within(self, ids: Sequence[int]) -> list[int]:
        """The rows that are of some samples."""
        if self._every:
            return list(ids)
        return [place for sample in ids for place in self._places.get(sample, ())]

    def put(self, rows: Sequence[int], answer: Answer) -> None:
        if not self.answer.sizes.size and not self.answer.counts.size:
            sizes, counts = (len(answer.sizes), self._rows), (self._rows, answer.counts.shape[1])
            looks = np.zeros((len(answer.looks), self._rows))
            self.answer = Answer(np.zeros(sizes, dtype=np.int64), np.zeros(counts), looks)
        self.answer.sizes[:, rows] = answer.sizes
        if len(answer.looks):
            self.answer.looks[:, rows] = answer.looks
        if len(answer.counts):
            self.answer.counts[rows] = answer.counts
