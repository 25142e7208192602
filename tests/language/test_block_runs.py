"""The law of runs of blocks: at every cut, and every two, with caches, they write what the whole network writes."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from small_decoders import BLOCKS, CONTEXT, KINDS, VOCABULARY, small

from splitimpera.core.errors import CutError
from splitimpera.language.block_runs import BlockRun, cache_bytes, runs_between
from splitimpera.language.decoder import decoder_of
from splitimpera.language.greedy import write_greedily

PROMPTS = 1, 5, 17
TOKENS = 12
CUTS = [(cut,) for cut in range(BLOCKS + 1)] + list(combinations(range(BLOCKS + 1), 2))


@pytest.fixture(scope="module", params=KINDS)
def network(request):
    model = small(request.param)
    return model, decoder_of(model)


def prompt_of(length):
    return torch.randint(0, VOCABULARY, (length,), generator=torch.Generator().manual_seed(length))


def whole_logits(model, ids):
    with torch.inference_mode():
        result = model(ids)
    return getattr(result, "logits", result)


def whole_writing(model, prompt, tokens):
    """What the network writes by itself: with its own `generate`, or read anew from the start for each token."""
    if hasattr(model, "generate"):
        ids = prompt[None]
        written = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, use_cache=True, max_new_tokens=tokens
        )
        return written[0, len(prompt) :].tolist()
    ids = prompt
    for _ in range(tokens):
        ids = torch.cat([ids, whole_logits(model, ids[None])[0, -1].argmax()[None]])
    return ids[len(prompt) :].tolist()


def logits_in_steps(runs, ids, steps):
    """What the last run says of ids (N, T) that are read in so many steps."""
    caches = [run.empty(len(ids)) for run in runs]
    made = []
    with torch.inference_mode():
        for places in torch.arange(ids.shape[1]).tensor_split(steps):
            x = ids[:, places]
            for number, run in enumerate(runs):
                x, *kept = run(x, places, *caches[number])
                caches[number] = kept
            made.append(x)
    return torch.cat(made, dim=1), caches


@pytest.mark.parametrize("length", PROMPTS)
def test_parts_write_what_the_network_writes(network, length):
    model, decoder = network
    prompt = prompt_of(length)
    expected = whole_writing(model, prompt, TOKENS)
    assert len(set(expected)) > 1
    for cuts in CUTS:
        assert write_greedily(runs_between(decoder, *cuts), prompt, TOKENS) == expected, cuts


@pytest.mark.parametrize("length", PROMPTS)
def test_logits_are_the_networks_however_the_prompt_is_read(network, length):
    model, decoder = network
    ids = torch.stack([prompt_of(length), prompt_of(length).flip(0)])
    expected = whole_logits(model, ids)
    for cuts in CUTS:
        for steps in {1, 2, length}:
            logits, caches = logits_in_steps(runs_between(decoder, *cuts), ids, min(steps, length))
            torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
    assert sum(keys.shape[0] for keys, _ in caches) == BLOCKS


def test_caches_have_the_stated_size(network):
    _, decoder = network
    for start, stop in combinations(range(BLOCKS + 1), 2):
        run = BlockRun(decoder, start, stop)
        ids = torch.zeros(2, CONTEXT, dtype=torch.int64)
        x = ids if run.first else torch.zeros(2, CONTEXT, decoder.width)
        with torch.inference_mode():
            _, keys, values = run(x, torch.arange(CONTEXT), *run.empty(2))
        assert keys.shape == (stop - start, 2, decoder.key_value_shape[0], CONTEXT, decoder.key_value_shape[1])
        assert keys.nbytes + values.nbytes == cache_bytes(decoder, start, stop, CONTEXT, users=2)


def test_a_run_holds_the_weights_of_its_blocks_alone(network):
    model, decoder = network
    device, server = runs_between(decoder, 2)
    total = sum(each.numel() for each in model.parameters())
    shared = {id(each) for each in device.parameters()} & {id(each) for each in server.parameters()}
    both = [sum(each.numel() for each in run.parameters()) for run in (device, server)]
    counted_twice = sum(each.numel() for each in device.parameters() if id(each) in shared)
    assert sum(both) == total + counted_twice
    assert bool(shared) == decoder.tied


def test_the_head_alone_keeps_nothing(network):
    _, decoder = network
    run = BlockRun(decoder, BLOCKS, BLOCKS)
    keys, values = run.empty()
    logits, keys, values = run(torch.zeros(1, 4, decoder.width), torch.arange(4), keys, values)
    assert logits.shape == (1, 4, VOCABULARY)
    assert keys.shape[0] == 0
    assert keys.shape[3] == values.shape[3] == 4


def test_all_blocks_without_the_head(network):
    _, decoder = network
    run = BlockRun(decoder, 0, BLOCKS, head=False)
    hidden, _, _ = run(torch.zeros(1, 4, dtype=torch.int64), torch.arange(4), *run.empty())
    assert hidden.shape == (1, 4, decoder.width)
    assert (run.first, run.last) == (True, False)


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (2, 1), (0, 0), (1, 1), (0, BLOCKS + 1)])
def test_runs_that_are_none(network, start, stop):
    with pytest.raises(CutError, match="blocks 0 to 2"):
        BlockRun(network[1], start, stop)
