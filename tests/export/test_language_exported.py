"""A language model exported: programs of whole blocks with caches, proven, and deployed with the same tokens."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from conftest import ROOT
from torch import nn

sys.path.insert(0, str(ROOT / "tests" / "deploy"))

from small_decoders import CONTEXT, Own, small
from small_language import plan
from test_client import running

from splitimpera.bundle.entries import tensor_entry
from splitimpera.bundle.manifest import PlanEntry
from splitimpera.bundle.opened import open_bundle
from splitimpera.codec.constants import Constants
from splitimpera.core.errors import BundleError
from splitimpera.deploy.writing_client import WritingClient
from splitimpera.export.language_parts import LanguageParts, exported_language
from splitimpera.export.placing import files_of, write_bundle
from splitimpera.language.block_runs import BlockRun
from splitimpera.language.decoder import decoder_of
from splitimpera.language.greedy import write_greedily
from splitimpera.records.graph import TensorSpec

PROMPT, TOKENS, WINDOW = [3, 1, 4, 1, 5], 12, 16


def of_bytes(seed=0):
    """An own network whose tokens are bytes."""
    torch.manual_seed(seed)
    network = Own()
    network.embed = nn.Embedding(256, 24)
    network.head = nn.Sequential(nn.RMSNorm(24), nn.Linear(24, 256, bias=False))
    with torch.no_grad():
        for weight in network.parameters():
            if weight.ndim > 1:
                weight.mul_(3.0)
    return network.eval()


def sc(parts, cut):
    spec = parts.specs[cut]
    hop = {
        "cut": cut,
        "layer": f"cut {cut}",
        "bottleneck": 0.0,
        "tensors": [tensor_entry(spec).model_dump()],
        "codec": "float32",
        "constants": None,
        "packet_bytes": 1400,
        "number": Constants("float32", (spec,), 1400).plan_id,
        "transport": "tcp",
        "deadline_s": None,
        "link": {"name": "lan", "rate_bps": 1e9, "delay_s": 0.0, "loss": 0.0, "mtu_bytes": 1500},
    }
    name, kind = ("rc", "RC") if cut == 0 else (f"sc{cut}", "SC")
    return PlanEntry.model_validate(plan(name, kind, [hop]))


def deployed(model, cuts, folder):
    decoder = decoder_of(model)
    hidden = {cut: TensorSpec(f"cut{cut}", (WINDOW, decoder.width)) for cut in (1, 2, 3)}
    ends = {0: TensorSpec("ids", (WINDOW,), "int64"), 4: TensorSpec("logits", (WINDOW, decoder.vocabulary))}
    parts = LanguageParts(decoder, {0: 0, 1: 1, 2: 2, 3: 3, 4: 3}, hidden | ends)
    lone = PlanEntry.model_validate(plan("lc", "LC", []))
    rng = np.random.default_rng(0)
    prompts = [rng.integers(0, decoder.vocabulary, 7), [0] * (2 * CONTEXT)]
    manifest, contents, _ = exported_language(parts, [*(sc(parts, cut) for cut in cuts), lone], {}, prompts, 8)
    write_bundle(files_of(manifest, contents), folder)
    return open_bundle(folder), decoder


@pytest.mark.slow
def test_the_same_tokens_as_the_network_at_every_cut(tmp_path):
    bundle, decoder = deployed(of_bytes(), (0, 1, 3), tmp_path / "bundle")
    wanted = write_greedily([BlockRun(decoder, 0, 3)], PROMPT, TOKENS)
    assert len(set(wanted)) > 3
    with running(bundle) as (_, address):
        for name in ("rc", "sc1", "sc3"):
            with WritingClient(bundle, address, name, insecure=True) as client:
                assert list(client.write(PROMPT, TOKENS)) == wanted
    with WritingClient(bundle, plan="lc") as client:
        assert list(client.write(PROMPT, TOKENS)) == wanted
    assert [(proof.equal, proof.lossless, proof.samples) for proof in bundle.manifest.proofs] == [(1.0, True, 16)] * 4
    assert all(proof.largest_difference < 1e-4 for proof in bundle.manifest.proofs)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_models_of_transformers(kind, tmp_path):
    bundle, decoder = deployed(small(kind, vocab_size=256), (1,), tmp_path / "bundle")
    with running(bundle) as (_, address), WritingClient(bundle, address, "sc1", insecure=True) as client:
        wanted = write_greedily([BlockRun(decoder, 0, 3)], PROMPT, TOKENS)
        assert list(client.write(PROMPT, TOKENS)) == wanted


@pytest.mark.slow
def test_parts_of_another_network_are_not_written(tmp_path, monkeypatch):
    from splitimpera.export import language_parts

    other = decoder_of(of_bytes(seed=1))
    program = language_parts.block_program
    monkeypatch.setattr(
        language_parts, "block_program", lambda run: program(BlockRun(other, run.start, run.stop, run.last))
    )
    with pytest.raises(BundleError, match=r"the parts write the network's token .* Nothing was written"):
        deployed(of_bytes(), (), tmp_path / "bundle")


def test_a_vocabulary_that_no_byte_fits(tmp_path):
    with pytest.raises(BundleError, match=r"cannot be deployed: .*bytes are more than the tokens"):
        deployed(small("own"), (), tmp_path / "bundle")
