"""A chunk of samples on its way along all routes that are asked for.

At every cut that some plan needs its tensors are coded, decoded and run to the end while they are in memory; rows of
several plans that share a tail are run together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from torch import Tensor

from splitimpera.codec.elements import ElementCodec
from splitimpera.core.array_types import Array, FloatArray, IntArray, Row
from splitimpera.evaluation.batches import tensors, unstack
from splitimpera.evaluation.requests import Answer, Content, Gap, Intact, Looked, Request, Route, contents_of
from splitimpera.evaluation.testbed import LOGITS, Coding, Testbed
from splitimpera.graph.finite import check_finite
from splitimpera.records.exits import confidences
from splitimpera.records.spans import Span
from splitimpera.records.traffic import Codec, Payload
from splitimpera.tasks.task import numbers_of

Put = Callable[[Sequence[Array]], None]
"""Writes a row into arrays."""
Seen = dict[tuple[int, Content], tuple[FloatArray, tuple[float, float]]]
"""What the heads of exits, by cut, made of contents: the quality's numbers, how sure they were and of which class."""


class _Later:
    """Numbers that several wait for."""

    def __init__(self) -> None:
        self._value: FloatArray | None = None
        self._waiting: list[Callable[[FloatArray], None]] = []

    def then(self, take: Callable[[FloatArray], None]) -> None:
        if self._value is None:
            self._waiting.append(take)
        else:
            take(self._value)

    def set(self, value: FloatArray) -> None:
        self._value = value
        for take in self._waiting:
            take(value)


@dataclass(eq=False)
class _Node:
    """A hop of one or several routes: what is wanted of the frames that are coded there, and what was found.

    Attributes:
        visits: of each content that comes here, the gaps with which it goes on.
        ends: the contents after this hop whose prediction is wanted.
        intact: whether all samples go through here without a gap; `intact_end`: and whether that is a route's end.
        looks: the contents after this hop at which the head of an exit looks, by the exit's cut; `intact_looks`: the
            exits that look at all samples without a gap.
    """

    coding: Coding
    codec: Codec
    children: dict[Coding, _Node] = field(default_factory=dict)
    visits: dict[Content, set[Gap]] = field(default_factory=dict)
    ends: set[Content] = field(default_factory=set)
    intact: bool = False
    intact_end: bool = False
    looks: dict[int, set[Content]] = field(default_factory=dict)
    intact_looks: set[int] = field(default_factory=set)
    seen: Seen = field(default_factory=dict)
    sizes: dict[Content, int] = field(default_factory=dict)
    counts: dict[Content, FloatArray] = field(default_factory=dict)

    def comes(self, content: Content) -> bool:
        return content in self.visits or (self.intact and not any(content[1]))

    def goes_on(self, content: Content) -> list[Gap]:
        gaps = set(self.visits.get(content, ()))
        if self.intact and not any(content[1]):
            gaps.add(())
        return sorted(gaps)

    def ends_here(self, content: Content) -> bool:
        return content in self.ends or (self.intact_end and not any(content[1]))

    def looked_at(self, content: Content) -> list[int]:
        """The exits that look at a content on the device behind this hop."""
        wanted = {cut for cut, contents in self.looks.items() if content in contents}
        return sorted(wanted if any(content[1]) else wanted | self.intact_looks)


def _child(testbed: Testbed, children: dict[Coding, _Node], coding: Coding) -> _Node:
    if coding not in children:
        children[coding] = _Node(coding, testbed.codec(*coding))
    return children[coding]


class Visit:
    """A chunk of samples on its way along all routes."""

    def __init__(
        self,
        testbed: Testbed,
        targets: Sequence[Row],
        ids: Sequence[int],
        asked: dict[Request, list[int]],
    ) -> None:
        self.testbed = testbed
        self.targets = dict(zip(ids, targets, strict=True))
        self.ids = ids
        self.asked = asked
        self.before: dict[tuple[Coding, int], Row] = {}
        """What came of a sample at a hop whose codec fills gaps with the frame before."""
        self.roots: dict[Coding, _Node] = {}
        self.whole = {sample: _Later() for sample in ids}
        """What the whole network makes of each sample."""
        self.base: dict[int, FloatArray] = {}
        self.pools: dict[tuple[Span, bool], _Pool] = {}
        self.exits: set[int] = set()
        """The cuts of those on first devices, which look at every sample."""
        self.seen: Seen = {}
        self._wants_whole = False
        for request, rows in asked.items():
            self._plant(request, rows)

    def run(self, x: Tensor) -> dict[Request, Answer]:
        testbed = self.testbed
        cuts: dict[int, dict[float, list[_Node]]] = {}
        for node in self.roots.values():
            cuts.setdefault(node.coding.cut, {}).setdefault(node.coding.bottleneck, []).append(node)
        inputs = crossing = testbed.inputs(x)
        at = 0
        for cut in sorted(cuts.keys() | self.exits):
            crossing = testbed.call(Span(at, cut), crossing)
            at = cut
            if cut in self.exits:
                for sample, row in zip(self.ids, unstack((testbed.look(cut, crossing),), (LOGITS,)), strict=True):
                    self._see(self.seen, cut, (sample, ()), row)
            for ratio, nodes in sorted(cuts.get(cut, {}).items()):
                made = crossing if not ratio else testbed.encoded(cut, ratio, inputs, crossing)
                for sample, row in zip(self.ids, unstack(made, testbed.specs(cut, ratio)), strict=True):
                    self._at_first_hop(nodes, sample, row, ratio)
                del made
                self._flush()
        if self._wants_whole:
            result = testbed.call(Span(at, testbed.last), crossing)
            check_finite(testbed.graph, inputs, result)
            for sample, row in zip(self.ids, unstack(result, testbed.specs(testbed.last, 0.0)), strict=True):
                self.whole[sample].set(self._count(sample, row))
        return {request: self._harvest(request, rows) for request, rows in self.asked.items()}

    def _plant(self, request: Request, rows: Sequence[int]) -> None:
        children = self.roots
        exit = request.cut if isinstance(request, Looked) else None
        if exit is not None and not request.route:
            self.exits.add(exit)
            return
        contents = contents_of(request)
        if contents is None:
            node = None
            for coding in request.route:
                node = _child(self.testbed, children, coding)
                node.intact, children = True, node.children
            if exit is not None and node is not None:
                node.intact_looks.add(exit)
            elif node is None:
                self._wants_whole = True
                for sample in self.ids:
                    self.whole[sample].then(partial(self.base.__setitem__, sample))
            else:
                node.intact_end = True
            return
        later_last = any(fills_with_last(self.testbed.codec(*coding)) for coding in request.route[1:])
        for row in rows:
            sample, gaps = contents[row]
            children, node = self.roots, None
            for hop, coding in enumerate(request.route[: len(gaps) + 1]):
                node = _child(self.testbed, children, coding)
                visit = node.visits.setdefault((sample, gaps[:hop]), set())
                node.intact |= later_last  # the sample before has to come there too
                if hop < len(gaps):
                    visit.add(gaps[hop])
                children = node.children
            if node is not None and exit is not None:
                node.looks.setdefault(exit, set()).add((sample, gaps))
            elif node is not None and len(gaps) == len(request.route):
                node.ends.add((sample, gaps))

    def _at_first_hop(self, nodes: Sequence[_Node], sample: int, row: Row, ratio: float) -> None:
        # what codecs decode alike is predicted once; a codec that loses nothing shares with the whole network
        alike: list[tuple[Row, _Later]] = []
        if not ratio:
            alike.append((row, self.whole[sample]))
        for node in nodes:
            if node.comes((sample, ())) or fills_with_last(node.codec):
                self._cross(node, (sample, ()), node.codec.encode(row), alike)

    def _cross(self, node: _Node, content: Content, payload: Payload, alike: list[tuple[Row, _Later]]) -> None:
        """Send a payload over a node's hop, with all the gaps that are wanted."""
        (sample, gaps), codec = content, node.codec
        node.sizes[content] = len(payload.data)
        whole = codec.decode(payload.data)
        previous = self._previous(node, sample, whole)
        for gap in node.goes_on(content):
            after = sample, (*gaps, gap)
            if not gap:
                self._send(node, after, partial(_copy, whole), whole, alike, payload)
            elif isinstance(codec, ElementCodec):
                self._send(node, after, partial(_put_with_gap, codec, whole, gap, previous))
            else:
                damaged = codec.decode(payload.data, gap, *previous)
                self._send(node, after, partial(_copy, damaged), damaged, alike)

    def _send(
        self,
        node: _Node,
        content: Content,
        put: Put,
        whole: Row = (),
        alike: list[tuple[Row, _Later]] | None = None,
        payload: Payload | None = None,
    ) -> None:
        """Run a content to whatever is next; a payload that came whole is forwarded by what would code it alike."""
        if node.ends_here(content):
            later, known = _Later(), False
            if alike is not None:
                same = next((other for tensors, other in alike if _equal(tensors, whole)), None)
                later, known = (later, False) if same is None else (same, True)
                if same is None:
                    alike.append((whole, later))
                self._wants_whole |= later is self.whole[content[0]]
            later.then(partial(node.counts.__setitem__, content))
            if not known:
                self._pool(node.coding.onwards(self.testbed.last)).add(
                    put, lambda row: later.set(self._count(content[0], row))
                )
        for exit in node.looked_at(content):
            self._pool(node.coding.onwards(exit), head=True).add(put, partial(self._see, node.seen, exit, content))
        for child in node.children.values():
            if not child.comes(content):
                continue
            if payload is not None and child.coding == node.coding:
                self._cross(child, content, payload, [] if alike is None else alike)
            else:
                span = node.coding.onwards(child.coding.cut, child.coding.bottleneck)
                self._pool(span).add(put, partial(self._arrive, child, content))

    def _count(self, sample: int, row: Row) -> FloatArray:
        """The quality's numbers of what the network returned for a sample."""
        return numbers_of(self.testbed.task, row, self.targets[sample])

    def _see(self, seen: Seen, cut: int, content: Content, row: Row) -> None:
        """What the head of an exit found; its logits are taken for the network's."""
        (confidence,), (answer,) = confidences(row[0][None])
        counts = self._count(content[0], row * len(self.testbed.graph.outputs))
        seen[cut, content] = counts, (float(confidence), float(answer))

    def _arrive(self, node: _Node, content: Content, row: Row) -> None:
        self._cross(node, content, node.codec.encode(row), [])

    def _previous(self, node: _Node, sample: int, whole: Row) -> tuple[Row, ...]:
        """What a codec fills gaps with that takes the frame before: the sample before, as if it had come whole."""
        if not fills_with_last(node.codec):
            return ()
        self.before.setdefault((node.coding, sample), whole)  # the intact content comes first
        before = self.before.get((node.coding, sample - 1))
        return () if before is None else (before,)

    def _pool(self, span: Span, head: bool = False) -> _Pool:
        if (span, head) not in self.pools:
            self.pools[span, head] = _Pool(self.testbed, span, head)
        return self.pools[span, head]

    def _flush(self) -> None:
        while any(pool.waiting for pool in self.pools.values()):  # what comes out of one may go into another
            for pool in list(self.pools.values()):
                pool.flush()
        self.pools.clear()

    def _harvest(self, request: Request, rows: Sequence[int]) -> Answer:
        nodes = list(self._along(request.route))
        nothing: IntArray = np.zeros((0, len(rows)), dtype=np.int64)
        asked = contents_of(request)
        whole = ((),) * len(nodes)
        contents: list[Content] = [(row, whole) if asked is None else asked[row] for row in rows]
        if isinstance(request, Looked):
            seen = nodes[-1].seen if nodes else self.seen
            found = [seen[request.cut, content] for content in contents]
            counts, looks = (np.array(column) for column in zip(*found, strict=True))
            return Answer(nothing, counts, looks.T)
        if isinstance(request, Intact):
            of_hops = [[node.sizes[sample, gaps[:hop]] for sample, gaps in contents] for hop, node in enumerate(nodes)]
            sizes = np.array(of_hops, dtype=np.int64) if nodes else nothing
            ends = [nodes[-1].counts[content] for content in contents] if nodes else [self.base[s] for s in rows]
            return Answer(sizes, np.array(ends))
        passed = len(contents[0][1])
        if passed < len(nodes):
            return Answer(np.array([[nodes[passed].sizes[content] for content in contents]]), np.zeros((0, 0)))
        return Answer(nothing, np.array([nodes[-1].counts[content] for content in contents]))

    def _along(self, route: Route) -> Iterator[_Node]:
        children = self.roots
        for coding in route:
            if coding not in children:
                return
            yield children[coding]
            children = children[coding].children


class _Pool:
    """Rows that wait for the same layers, and where so for the head of the exit behind them."""

    def __init__(self, testbed: Testbed, span: Span, head: bool) -> None:
        self.testbed = testbed
        self.span = span
        self.head = head
        self.given = testbed.specs(span.start, span.arriving)
        self.made = (LOGITS,) if head else testbed.specs(span.end, span.leaving)
        self.room = testbed.chunk({span.start, span.end})
        example = testbed.example(span.start, span.arriving)
        self.stacked = tuple(np.empty((self.room, *tensor.shape), tensor.dtype) for tensor in example)
        self.finish: list[Callable[[Row], None]] = []

    @property
    def waiting(self) -> int:
        return len(self.finish)

    def add(self, put: Put, finish: Callable[[Row], None]) -> None:
        """Put a row, and say what is done with what the layers make of it."""
        put([array[self.waiting, ...] for array in self.stacked])
        self.finish.append(finish)
        if self.waiting == self.room:
            self.flush()

    def flush(self) -> None:
        if not self.finish:
            return
        finish, self.finish = self.finish, []
        batch = tensors(tuple(array[: len(finish)] for array in self.stacked), self.given)
        made = self.testbed.call(self.span, batch)
        if self.head:
            made = (self.testbed.look(self.span.end, made),)
        for take, row in zip(finish, unstack(made, self.made), strict=True):
            take(tuple(tensor.copy() for tensor in row))


def _copy(row: Row, into: Sequence[Array]) -> None:
    for target, tensor in zip(into, row, strict=True):
        target[...] = tensor


def _put_with_gap(codec: ElementCodec, whole: Row, gap: Gap, previous: tuple[Row, ...], into: Sequence[Array]) -> None:
    codec.put_with_gaps(into, whole, gap, *previous)


def _equal(one: Row, other: Row) -> bool:
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def fills_with_last(codec: Codec) -> bool:
    return "last" in codec.name.split("+")
