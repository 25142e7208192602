"""What is refused before anything is written."""

from __future__ import annotations

import pytest
import torch
from small_decoders import CONTEXT, small

from splitimpera.core.errors import ModelError
from splitimpera.language.block_runs import BlockRun, runs_between
from splitimpera.language.decoder import decoder_of
from splitimpera.language.greedy import write_greedily


@pytest.fixture(scope="module")
def decoder():
    return decoder_of(small("own"))


def test_prompt_and_output_may_fill_the_context(decoder):
    runs = runs_between(decoder, 1)
    assert len(write_greedily(runs, [1] * (CONTEXT - 4), 4)) == 4
    with pytest.raises(ModelError, match="a prompt of 60 tokens and 5 written ones go beyond the context of 64"):
        write_greedily(runs, [1] * (CONTEXT - 4), 5)


@pytest.mark.parametrize(
    ("prompt", "words"), [([], "no tokens"), ([50], "no tokens of the network.*0 to 49"), ([-1], "0 to 49")]
)
def test_prompts_that_are_none(decoder, prompt, words):
    with pytest.raises(ModelError, match=words):
        write_greedily(runs_between(decoder, 1), prompt, 2)


def test_runs_that_do_not_make_a_network(decoder):
    for runs in ([], [BlockRun(decoder, 0, 2)], [BlockRun(decoder, 0, 1), BlockRun(decoder, 2, 3)]):
        with pytest.raises(ModelError, match="do not make one network"):
            write_greedily(runs, [1], 2)


def test_of_equally_likely_tokens_the_first(decoder):
    model = small("own")
    torch.nn.init.zeros_(model.head[1].weight)
    assert write_greedily(runs_between(decoder_of(model), 2), [5], 3) == [0, 0, 0]
