"""What is read as a language model, and what is refused."""

from __future__ import annotations

import pytest
import torch
from other_packages import package
from small_decoders import BLOCKS, CONTEXT, KINDS, VOCABULARY, Own, OwnBlock, small
from torch import nn

from splitimpera.core.errors import ModelError
from splitimpera.language.decoder import decoder_of

SHAPES = {"gpt2": (4, 8), "llama": (2, 8), "qwen3": (2, 16), "mistral": (2, 8), "own": (3, 8)}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read(kind):
    decoder = decoder_of(small(kind))
    assert len(decoder.blocks) == len(decoder.names) == BLOCKS
    assert decoder.vocabulary == VOCABULARY
    assert decoder.width == (24 if kind == "own" else 32)
    assert decoder.context == CONTEXT
    assert decoder.key_value_shape == SHAPES[kind]
    assert decoder.tied == (kind == "gpt2")


def test_tied_weights_of_a_llama():
    assert decoder_of(small("llama", tie_word_embeddings=True)).tied
    assert decoder_of(small("gpt2", tie_word_embeddings=False)).tied is False


@pytest.mark.parametrize("kind", ["gpt2", "own"])
def test_the_network_is_left_as_it_was(kind):
    model = small(kind).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    decoder_of(model)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_the_names_are_those_of_the_network():
    model = small("llama")
    assert [model.get_submodule(name) for name in decoder_of(model).names] == list(model.model.layers)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_either_implementation_of_attention(kind, attention):
    assert decoder_of(small(kind, attn_implementation=attention)).vocabulary == VOCABULARY


def test_half_precision():
    decoder = decoder_of(small("llama").bfloat16())
    assert decoder.dtype == torch.bfloat16
    assert decoder.empty()[0].dtype == torch.bfloat16


def test_rope_that_is_stretched_evenly():
    scaled = {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}
    assert decoder_of(small("llama", rope_parameters=scaled)).context == CONTEXT


def test_a_window_as_long_as_the_context_is_none():
    assert decoder_of(small("mistral", sliding_window=CONTEXT)).context == CONTEXT


def refused(model, words):
    with pytest.raises(ModelError, match=words):
        decoder_of(model)


def test_a_sliding_window():
    refused(small("mistral", sliding_window=16), "does not reach all earlier tokens .a sliding window of 16 positions")


def test_rope_that_changes_with_the_length():
    scaled = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}
    refused(small("llama", rope_parameters=scaled), "rope type 'dynamic'")


def test_an_encoder_and_a_decoder():
    lib = package("transformers")
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "vocab_size": 20}
    refused(lib.T5ForConditionalGeneration(lib.T5Config(**sizes)), "has an encoder beside its decoder")


def test_a_model_without_a_cache():
    lib = package("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    refused(lib.ViTForImageClassification(lib.ViTConfig(image_size=8, patch_size=4, **sizes)), "without a cache")


def test_a_model_that_looks_both_ways():
    lib = package("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    refused(lib.BertForMaskedLM(lib.BertConfig(vocab_size=20, **sizes)), "BertForMaskedLM")


def test_a_model_without_an_output_projection():
    lib = package("transformers")
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    refused(lib.LlamaModel(lib.LlamaConfig(vocab_size=20, **sizes)), "no output projection.*ForCausalLM")


def test_a_model_that_does_more_than_its_parts():
    """Granite multiplies embeddings by a number: the parts alone would write something else."""
    lib = package("transformers")
    sizes = {"vocab_size": 20, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    config = lib.GraniteConfig(**sizes, num_attention_heads=2, num_key_value_heads=1, embedding_multiplier=3.0)
    refused(lib.GraniteForCausalLM(config).eval(), "compute something else than the whole: logits differ by up to")


def test_a_model_that_bends_its_logits():
    lib = package("transformers")
    sizes = {"vocab_size": 20, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "head_dim": 8}
    config = lib.Gemma2Config(**sizes, num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=64)
    refused(lib.Gemma2ForCausalLM(config), "final_logit_softcapping")


@pytest.mark.parametrize("name", ["Qwen2", "GPTNeoX", "Phi", "StableLm", "Olmo2"])
def test_others_with_standard_blocks(name):
    lib = package("transformers")
    sizes = {"vocab_size": 20, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2}
    more = {"num_attention_heads": 2, "num_key_value_heads": 2, "pad_token_id": 0, "max_position_embeddings": 64}
    config = getattr(lib, f"{name}Config")(**sizes, **more)
    assert len(decoder_of(getattr(lib, f"{name}ForCausalLM")(config)).blocks) == 2


class NoCache(nn.Module):
    def forward(self, hidden):
        return hidden


class Noncausal(OwnBlock):
    def forward(self, hidden, positions, keys, values):
        return super().forward(hidden, torch.full_like(positions, 10_000), keys, values)


class Forgetful(OwnBlock):
    def forward(self, hidden, positions, keys, values):
        return super().forward(hidden, positions, keys * 0, values)


class Short(OwnBlock):
    def forward(self, hidden, positions, keys, values):
        hidden, keys, values = super().forward(hidden, positions, keys, values)
        return hidden, keys[:, :, 1:], values


class Raising(OwnBlock):
    def forward(self, hidden, positions, keys, values):
        raise RuntimeError("nothing works")


def own_of(block):
    model = Own()
    model.blocks = nn.ModuleList([block(24, 3)] if issubclass(block, OwnBlock) else [block()])
    return model.eval()


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (NoCache, r"blocks are without a cache, they take 1 of \(hidden, positions, keys, values\)"),
        (Forgetful, "compute something else than the whole"),
        (Short, r"returns keys and values \(1, 3, \d, 8\) and"),
        (Raising, "give the network an attribute 'key_value_shape'"),
    ],
)
def test_own_blocks_that_do_not_do(block, words):
    refused(own_of(block), words)


def test_own_blocks_that_look_ahead():
    refused(own_of(Noncausal), "compute something else than the whole: logits differ")


def test_what_an_own_network_raises_is_told_with_its_line():
    model = own_of(Raising)
    model.key_value_shape = (3, 8)
    refused(model, r"RuntimeError: nothing works \(test_decoder.py, line \d+, in forward\)")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("embed", None, "'embed' is no nn.Module"),
        ("head", None, "'head' is no nn.Module"),
        ("blocks", nn.ModuleList(), "'blocks' is no nn.ModuleList of blocks"),
        ("context", None, "its 'context' is None"),
        ("context", True, "its 'context' is True"),
        ("key_value_shape", 5, r"its 'key_value_shape' is 5, \(heads, size of a head\) is expected"),
    ],
)
def test_own_networks_that_lack_something(name, value, words):
    model = Own()
    setattr(model, name, value)
    refused(model, words)


def test_a_network_that_is_none():
    refused(nn.Linear(2, 2), "Linear is no language model that can be split: it has no 'embed'; an own network has")


def test_an_own_network_that_returns_something_else():
    model = Own()
    model.forward = lambda ids: model.embed(ids).mean(1)
    refused(model, r"returns a tensor \(1, 24\) for ids \(1, 5\), logits \(N, n, V\) are expected")


class WithPositions(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.places = nn.Embedding(VOCABULARY, 24), nn.Embedding(CONTEXT, 24)

    def forward(self, ids, positions):
        return self.tokens(ids) + self.places(positions)


class Learned(Own):
    def __init__(self):
        super().__init__()
        self.embed = WithPositions()
        self.key_value_shape = 3, 8

    def forward(self, ids):
        positions = torch.arange(ids.shape[1])
        hidden, none = self.embed(ids, positions), torch.empty(ids.shape[0], 3, 0, 8)
        for block in self.blocks:
            hidden, _, _ = block(hidden, positions, none, none)
        return self.head(hidden)


def test_an_own_network_with_learned_positions():
    decoder = decoder_of(Learned().eval())
    assert decoder.key_value_shape == (3, 8)
    assert decoder.width == 24
