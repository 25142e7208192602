"""A small language model from the text to the report: saliency, codecs for hidden states, perplexity asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import splitimpera as sei
from splitimpera.models.samples import Samples
from splitimpera.models.targets import NextOnes
from splitimpera.models.texts import Tokens, windows_of
from splitimpera.tasks.language import Language
from splitimpera.tasks.task import Output

WINDOW, WORDS, WIDTH = 12, 256, 16

FILE = """
import sys
import torch
sys.path.insert(0, {folder!r})
from test_language_design import SmallDecoder

def network():
    torch.manual_seed(0)
    return SmallDecoder().eval()
"""


class Block(nn.Module):
    """Causal attention of one head, and a layer behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(
            nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH)
        )

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        x = x + self.out(nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True))
        return x + self.mlp(x)


class SmallDecoder(nn.Module):
    """Two blocks over bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, WIDTH)
        self.places = nn.Parameter(torch.randn(WINDOW, WIDTH) / 4)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.head = nn.Linear(WIDTH, WORDS)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids) + self.places
        for block in self.blocks:
            x = block(x)
        return self.head(x)


@pytest.fixture
def text():
    rng = np.random.default_rng(0)
    return "".join(rng.choice([*"abcdef \n"], 1200)).encode()


def samples(text) -> Samples:
    return windows_of([Tokens(np.frombuffer(text, np.uint8).astype(np.int64))], WINDOW)


@pytest.mark.parametrize("target", ["predicted", "label"])
def test_the_curve_has_candidates_at_the_blocks(text, target):
    torch.manual_seed(0)
    data = samples(text).take(slice(20))
    assert isinstance(data.targets, NextOnes)
    graph = sei.trace(SmallDecoder().eval(), data.read(slice(2)))
    task = Language().fitted([Output("logits", (WINDOW, WORDS))])
    curve = sei.cumulative_saliency(graph, data, task=task, target=target)
    assert np.isfinite(curve.cs).all()
    names = {name for name in curve.names if name.startswith("blocks")}
    assert {"blocks.0", "blocks.1"} <= {name[:8] for name in names}


@pytest.mark.slow
def test_a_design_of_texts(text, tmp_path):
    (tmp_path / "texts.txt").write_bytes(text)
    graph = sei.trace(SmallDecoder().eval(), samples(text).read(slice(2)))
    cuts = [cut.index for cut in graph.cuts if cut.block and cut.name.startswith("blocks")][:2]
    (tmp_path / "own.py").write_text(FILE.format(folder=str(Path(__file__).parent)))
    content = f"""
network: {{model: "own.py:network"}}
task: language
data: {{source: texts.txt, tokens: {{window: {WINDOW}}}}}
devices:
  - {{name: board, preset: cortex-m7}}
  - {{name: server, preset: t4}}
links: [{{rate: 1 Mbit/s, delay: 5 ms}}]
workload: {{fps: 5, frames: 1000}}
plans: {{cuts: {cuts}, codecs: [float16, "uint8:token"], transports: [tcp]}}
requirements: ["perplexity <= 400"]
"""
    (tmp_path / "scenario.yaml").write_text(content)
    found = sei.design(tmp_path / "scenario.yaml", replications=2, explore=False, every_accuracy=True)
    by_id = {one.plan.id: one.quality for one in found.evaluations}
    cut = cuts[0]
    assert by_id["LC"] == by_id["RC-float16-tcp"]  # token numbers are sent as they are
    assert by_id[f"SC{cut}-float16-tcp"] == pytest.approx(by_id["LC"], rel=1e-3)
    assert by_id[f"SC{cut}-uint8token-tcp"] == pytest.approx(by_id["LC"], rel=2e-2)
    names = {path.name for path in sei.save(found, tmp_path / "run")}
    assert {"report.html", "results.json"} <= names
    assert "perplexity" in (tmp_path / "run" / "report.html").read_text()
