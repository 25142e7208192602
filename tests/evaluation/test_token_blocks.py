"""What the blocks between two cuts take."""

from __future__ import annotations

import torch
from small_decoders import VOCABULARY, Own

import splitimpera as sei
from splitimpera.evaluation.token_blocks import TokenBlocks
from splitimpera.language.decoder import decoder_of


def blocks_of(model):
    torch.manual_seed(0)
    return TokenBlocks(decoder_of(model), sei.trace(model, torch.randint(0, VOCABULARY, (2, 8))))


def test_weights_that_embedding_and_head_share_lie_in_memory_twice_where_both_are():
    model = Own().eval()
    model.head[-1].weight = model.embed.weight
    blocks = blocks_of(model)
    cut, last = sorted(blocks.cuts)[1], len(blocks.graph.cuts) - 1
    assert blocks.laid_out_bytes(0, last) == model.embed.weight.nbytes > 0
    assert blocks.laid_out_bytes(0, cut) == blocks.laid_out_bytes(cut, last) == 0


def test_weights_of_their_own_lie_there_once():
    blocks = blocks_of(Own().eval())
    assert blocks.laid_out_bytes(0, len(blocks.graph.cuts) - 1) == 0
