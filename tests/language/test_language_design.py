"""A small language model from the text to the report: saliency, codecs for hidden states, perplexity asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import splitimpera as sei
from splitimpera.core.errors import DataError, ShapeError
from splitimpera.models.samples import Samples
from splitimpera.models.targets import NextOnes
from splitimpera.models.texts import Tokens, windows_of
from splitimpera.studies.bench import read_testbed
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


def written(folder, data, *, task="language", requirement="perplexity <= 400"):
    """A scenario's file."""
    (folder / "own.py").write_text(FILE.format(folder=str(Path(__file__).parent)))
    (folder / "scenario.yaml").write_text(f"""
network: {{model: "own.py:network"}}
task: {task}
data: {data}
devices:
  - {{name: board, preset: cortex-m7}}
  - {{name: server, preset: t4}}
links: [{{rate: 1 Mbit/s, delay: 5 ms, loss: 20 %, mtu: 200 B}}]
workload: {{fps: 5, frames: 1000}}
plans: {{cuts: [blocks.0], codecs: ["uint8:token+before"], transports: [udp]}}
requirements: ["{requirement}"]
""")
    return folder / "scenario.yaml"


FACTORY = """
import numpy as np

def windows():
    ids = np.random.default_rng(0).integers(0, {most}, (60, 12))
    ids[:, 0], ids[{broken}, 4] = 1, {token}
    return ids, np.concatenate([ids[:, 1:], np.full((60, 1), -1)], 1)
"""


def test_a_factory_of_ids_and_targets(tmp_path):
    (tmp_path / "data.py").write_text(FACTORY.format(most=90, broken=7, token=3))
    testbed = read_testbed(sei.resolve(written(tmp_path, "{source: 'data.py:windows'}")))
    samples = testbed.data.everything()
    assert (len(samples), samples.read(slice(1)).dtype) == (60, torch.int64)
    (row,) = samples.targets.rows([5])[0]
    assert row.tolist() == [*samples.read(slice(5, 6))[0, 1:].tolist(), -1]
    assert testbed.task.quality.name == "perplexity"


@pytest.mark.parametrize("task", ["language", "{kind: agreement, of: language}"])
@pytest.mark.parametrize("token", [256, -1])
def test_an_id_that_the_network_does_not_know_is_said_before_anything_runs(tmp_path, task, token):
    """One in the midst of the data, which tracing does not see."""
    (tmp_path / "data.py").write_text(FACTORY.format(most=90, broken=20, token=token))
    requirement = "perplexity <= 400" if task == "language" else "agreement >= 0.5"
    path = written(
        tmp_path, "{source: 'data.py:windows', validation: 0.3, test: 0.3}", task=task, requirement=requirement
    )
    with pytest.raises(
        DataError, match=rf"sample \d+ of '\w+' has token {token}, the network's vocabulary has 256"
    ) as e:
        sei.design(path)
    assert "tokenizer" in e.value.hint


def test_a_tokenizer_larger_than_the_vocabulary_is_said_when_the_network_first_reads(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    text = " ".join(f"word{number % 500}" for number in range(900))
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({f"word{i}": i for i in range(500)}, unk_token="word0"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "all.txt").write_text(text)
    path = written(tmp_path, f"{{source: all.txt, tokens: {{window: {WINDOW}, tokenizer: tokenizer.json}}}}")
    with pytest.raises(ShapeError, match=r"network\.model: the network refuses .* embeddings have 256 rows, and"):
        sei.design(path)


@pytest.mark.slow
def test_lost_tokens_are_concealed_by_those_before(tmp_path):
    (tmp_path / "data.py").write_text(FACTORY.format(most=90, broken=7, token=3))
    path = written(tmp_path, "{source: 'data.py:windows'}")
    found = sei.design(path, replications=1, explore=False, every_accuracy=True)
    assert {one.plan.hops[0].codec for one in found.evaluations if one.plan.hops} == {"uint8:token+before"}
    sei.save(found, tmp_path / "run")
    assert "lost values the token before's" in (tmp_path / "run" / "report.html").read_text()
