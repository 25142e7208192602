"""Cuts of traced language models that lie between whole blocks."""

from __future__ import annotations

import pytest
import torch
from small_decoders import BLOCKS, CONTEXT, VOCABULARY, Own, small

import splitimpera as sei
from splitimpera.core.errors import CutError, ModelError
from splitimpera.language.block_cuts import block_cuts, blocks_before
from splitimpera.language.block_runs import runs_between
from splitimpera.language.decoder import decoder_of

WINDOW = 32
ENDINGS = {"gpt2": "h", "llama": "layers", "qwen3": "layers", "own": "blocks"}
JOINED = {"gpt2", "own"}  # whose final normalisation is traced as a part of the last block


@pytest.fixture(
    scope="module", params=[pytest.param(kind, marks=[pytest.mark.slow] * (kind == "qwen3")) for kind in ENDINGS]
)
def traced(request):
    more = {} if request.param == "own" else {"use_cache": False}
    model = small(request.param, **more)
    return request.param, sei.trace(model, torch.randint(0, VOCABULARY, (2, WINDOW))), decoder_of(model)


def test_every_block_ends_at_a_cut(traced):
    kind, graph, decoder = traced
    cuts = block_cuts(graph, decoder)
    assert list(cuts.values()) == list(range(BLOCKS + (kind not in JOINED)))
    for index, blocks in cuts.items():
        name = graph.cuts[index].name
        assert name.endswith(f"{ENDINGS[kind]}.{blocks - 1}") if blocks else name == "input"


def test_what_crosses_is_what_runs_of_blocks_hand_on(traced):
    _, graph, decoder = traced
    ids = torch.randint(0, VOCABULARY, (2, WINDOW))
    for index, blocks in block_cuts(graph, decoder).items():
        if not blocks:
            continue
        partition = sei.split(graph, index)
        device, server = runs_between(decoder, blocks)
        with torch.inference_mode():
            (crossing,) = partition.head(ids)
            hidden, _, _ = device(ids, torch.arange(WINDOW), *device.empty(2))
            logits, _, _ = server(hidden, torch.arange(WINDOW), *server.empty(2))
            expected = partition.tail((hidden,))
        torch.testing.assert_close(hidden, crossing, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(logits, getattr(expected, "logits", expected), rtol=1e-5, atol=1e-5)


def test_a_cut_through_a_block_names_the_nearest_ones(traced):
    _, graph, decoder = traced
    cuts = block_cuts(graph, decoder)
    first, second = sorted(cuts)[1:3]
    assert blocks_before(graph, cuts, second) == 2
    with pytest.raises(CutError) as failure:
        blocks_before(graph, cuts, first + 1)
    assert f"cut {first + 1} (" in str(failure.value)
    assert f"take cut {first} ('" in str(failure.value)
    assert f" or {second} ('" in str(failure.value)


def test_another_network(traced):
    kind, graph, _ = traced
    with pytest.raises(ModelError, match="give one and the same network"):
        block_cuts(graph, decoder_of(small(kind, seed=1)))


class WithMore(Own):
    """Whose empty past is made of hidden states, and so crosses every cut with them."""

    def forward(self, ids):
        hidden, positions = self.embed(ids), torch.arange(ids.shape[1])
        none = hidden.new_empty(ids.shape[0], self.shape[0], 0, self.shape[1])
        for block in self.blocks:
            hidden, _, _ = block(hidden, positions, none, none)
        return self.head(hidden)


def test_what_crosses_beside_the_hidden_states_is_named():
    model = WithMore().eval()
    graph = sei.trace(model, torch.zeros(2, WINDOW, dtype=torch.int64))
    with pytest.raises(ModelError, match=r"behind block 'blocks.0' .* but \[\(3, 0, 8\), \(32, 24\)\]"):
        block_cuts(graph, decoder_of(model))


def test_a_network_of_something_else():
    decoder = decoder_of(small("own"))
    with pytest.raises(ModelError, match=r"takes float32 \(4,\), ids as int64"):
        block_cuts(sei.trace(torch.nn.Linear(4, 2), torch.rand(2, 4)), decoder)


def test_a_window_beyond_the_context():
    graph = sei.trace(small("own"), torch.zeros(2, CONTEXT, dtype=torch.int64))
    with pytest.raises(ModelError, match="64 tokens is longer than the context of 32"):
        block_cuts(graph, decoder_of(small("own", context=32)))
