"""Which programs are stored: chains of them are the plans' parts, and no layer is there twice."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from splitimpera.bundle.entries import tensor_entry
from splitimpera.bundle.segments import SegmentEntry, Span, chained, span_keys
from splitimpera.deploy.inference import in_a_row, load_program
from splitimpera.evaluation.testbed import Testbed
from splitimpera.export.engine_files import file_of
from splitimpera.export.part_modules import part_of
from splitimpera.export.segmenting import segments_of
from splitimpera.graph.tracing import trace
from splitimpera.models.datasets import Dataset, Samples
from splitimpera.records.graph import TensorSpec
from splitimpera.records.traffic import Workload

LAST = 9
CUTS = st.lists(st.integers(0, LAST), min_size=1, max_size=6)
PLAIN = [tensor_entry(TensorSpec("x", (4,)))]


def stored(spans):
    return [
        SegmentEntry(**span_keys(span), engine="onnx", file=f"{place}.onnx", inputs=PLAIN, outputs=PLAIN)
        for place, span in enumerate(spans)
    ]


@given(CUTS, st.sets(st.integers(1, LAST)), st.sets(st.integers(1, LAST)))
def test_chains_of_segments_are_the_spans_and_no_layer_is_stored_twice(cuts, narrow, alone):
    heads = [Span(0, cut) for cut in cuts] + [Span(0, cut, 0.0, 4.0) for cut in narrow]
    tails = [Span(cut, LAST) for cut in cuts]
    for spans in (heads, tails):
        found = segments_of(spans, lambda cut: cut not in alone)
        assert len(set(found)) == len(found)
        for span in spans:
            chain = [each.span for each in chained(stored(found), span)]
            assert bool(chain) is not span.empty
            assert [each.start for each in chain[1:]] == [each.end for each in chain[:-1]]
            if chain:
                assert (chain[0].start, chain[-1].end, chain[-1].leaving) == (span.start, span.end, span.leaving)
        shared = [each for each in found if not each.leaving and not {each.start, each.end} & alone]
        for one, other in combinations(sorted(shared), 2):
            assert one.end <= other.start


def test_a_single_plan_is_stored_as_it_is():
    for span in (Span(0, 4), Span(4, 9), Span(0, 4, 0.0, 16.0), Span(4, 9, 16.0)):
        assert segments_of([span]) == [span]
    assert segments_of([Span(0, 0), Span(9, 9)]) == []


def test_what_crosses_a_bottleneck_is_not_handed_on():
    """Else the whole network on the device would be run through one."""
    segments = stored([Span(0, 4, 0.0, 16.0), Span(4, 9, 16.0, 0.0)])
    assert chained(segments, Span(0, 9)) == []
    assert len(chained(segments, Span(0, 4, 0.0, 16.0))) == 1


def test_layers_of_a_tail_are_no_others():
    """Plans of the network and of two bottlenecks, all cut at 6; those of one share what is theirs."""
    tail, other = {"behind": (2, 16.0)}, {"behind": (2, 4.0)}
    spans = [
        Span(6, 9),
        Span(6, 9, **tail),
        Span(6, 7, **tail),
        Span(6, 9, **other),
        Span(2, 6, 16.0),
        Span(2, 9, 16.0),
    ]
    found = segments_of(spans)
    assert set(found) == {*spans, Span(7, 9, **tail)} - {Span(6, 9, **tail)}
    for span in spans:
        pieces = [each.span for each in chained(stored(found), span)]
        assert all(each.weights == span.weights for each in pieces)
        assert len(pieces) == 1 + (span == Span(6, 9, **tail))
    assert chained(stored([Span(6, 9)]), Span(6, 9, **tail)) == []
    assert chained(stored([Span(6, 9, **tail)]), Span(6, 9, **other)) == []
    handed_on = stored([Span(2, 6, 16.0), Span(6, 9, **tail), Span(6, 9)])
    assert [each.span for each in chained(handed_on, Span(2, 9, 16.0))] == [Span(2, 6, 16.0), Span(6, 9, **tail)]


def test_the_fewest_programs_are_taken():
    spans = [Span(0, 2), Span(2, 4), Span(0, 4), Span(4, 9)]
    assert [each.span for each in chained(stored(spans), Span(0, 9))] == [Span(0, 4), Span(4, 9)]


class Skips(nn.Module):
    """Two nested skips: up to three tensors cross, some of them several cuts."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in range(5))

    def forward(self, x):
        a, b, c, d, e = self.layers
        first = a(x).relu()
        second = b(first).tanh()
        third = c(second).relu() + second
        return e(d(third).relu() + first)


@pytest.mark.parametrize("engine", ["torch", pytest.param("onnx", marks=pytest.mark.slow)])
def test_segments_between_cuts_of_several_tensors_make_the_network(engine):
    x = torch.rand(6, 6)
    torch.manual_seed(1)
    part = Samples(x, torch.zeros(len(x), dtype=torch.int64))
    testbed = Testbed(trace(Skips().eval(), x), Dataset(part, part, part), Workload(20.0))
    cuts = [cut.index for cut in testbed.graph.cuts]
    crossing = [len(cut.tensors) for cut in testbed.graph.cuts]
    assert max(crossing) == 3
    assert any(one > 1 and other > 1 for one, other in pairwise(crossing))
    spans = segments_of([Span(0, cut) for cut in cuts])
    assert len(spans) == testbed.last
    programs = [load_program(engine, file_of(part_of(testbed, span), engine)) for span in spans]
    (found,) = in_a_row(programs)([x.numpy()])
    (wanted,) = testbed.call(Span(0, testbed.last), (x,))
    assert np.abs(found - wanted.numpy()).max() < 1e-5
