"""A design of a language model, exported, deployed over loopback and verified: the same tokens as unsplit."""

from __future__ import annotations

import sys

import pytest
import torch
from cli.test_cli import here
from conftest import ROOT

sys.path.insert(0, str(ROOT / "tests" / "deploy"))

from test_client import running

from splitimpera.bundle.opened import open_bundle
from splitimpera.deploy.frame_clock import FrameClock
from splitimpera.deploy.token_log import written_line
from splitimpera.deploy.writing_client import WritingClient
from splitimpera.deploy.writing_run import WritingRun, writing_run_line
from splitimpera.language.block_runs import BlockRun
from splitimpera.language.decoder import decoder_of
from splitimpera.language.greedy import write_greedily
from splitimpera.verification.token_verification import verify_tokens

pytestmark = pytest.mark.slow

PLAN, PROMPT, TOKENS = "SC26-float32-tcp", list(b"docstrings"), 16
NETWORK = """
import torch
from small_decoders import Own
from torch import nn

def network():
    torch.manual_seed(0)
    made = Own()
    made.embed = nn.Embedding(256, 24)
    made.head = nn.Sequential(nn.RMSNorm(24), nn.Linear(24, 256, bias=False))
    with torch.no_grad():
        for weight in made.parameters():
            if weight.ndim > 1:
                weight.mul_(3.0)
    return made.eval()

def windows():
    ids = torch.randint(97, 123, (60, 17), generator=torch.Generator().manual_seed(1))
    return ids[:, :-1], ids[:, 1:]
"""
SCENARIO = """
name: small
task: language
network: {model: "network.py:network"}
data: {source: "network.py:windows"}
devices: [{name: board}, {name: server}]
links: [{name: lan, rate: 100 Mbit/s, delay: 0.2 ms}]
workload: {fps: 5, frames: 100, tokens: {prompt: 10, output: 16, context: 48}}
plans: {cuts: [blocks.0], codecs: [float32], transports: [tcp]}
requirements: [cut_depth >= 1, tpot <= 1 s]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("language")
    (folder / "network.py").write_text(NETWORK)
    (folder / "scenario.yaml").write_text(SCENARIO)
    found = here("design", folder / "scenario.yaml", "--out", folder / "run")
    assert found.returncode == 0, found.stderr
    return folder


def test_a_design_is_exported_deployed_and_verified(folder):
    found = here("export", folder / "run", "--out", folder / "bundle", "--plan", PLAN)
    assert found.returncode == 0, found.stderr
    assert "with codec   100 % of the network's tokens (float32, lossless)" in found.stdout
    assert "--prompt TEXT" in found.stdout
    bundle = open_bundle(folder / "bundle")
    assert (bundle.manifest.floor, bundle.manifest.language.context) == (1, 48)
    sys.path.insert(0, str(folder))
    try:
        import network
    finally:
        sys.path.remove(str(folder))
    with torch.no_grad():
        wanted = write_greedily([BlockRun(decoder_of(network.network()), 0, 3)], PROMPT, TOKENS)
    lines = []
    with running(bundle) as (_, address), WritingClient(bundle, address, insecure=True) as client:
        assert list(client.write(PROMPT, TOKENS)) == wanted
        lines.append(written_line(writing_run_line(client, 20.0, TOKENS)))
        run = WritingRun(
            client, [PROMPT], TOKENS, FrameClock(20.0, 30), lambda line: lines.append(written_line(line)), _nothing
        )
        run.run()
    (folder / "run.jsonl").write_text("".join(lines))
    verified = verify_tokens(folder / "run", [folder / "run.jsonl"])
    assert (verified.plan, verified.requests, verified.failed, verified.tokens) == (PLAN, 29, 0, 29 * TOKENS)
    assert [quantity.name for quantity in verified.quantities] == ["ttft", "ttft_p95", "tpot", "tpot_p95"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--engine", "torch"), "--engine: a language model's parts are run by ONNX Runtime alone"),
        (("--samples", "3"), "--samples: a language model's bundle has no samples"),
        (("--quantize", "int8"), "--quantize: a language model's parts keep their floats"),
    ],
)
def test_what_such_bundles_have_not(folder, options, problem):
    found = here("export", folder / "run", "--out", folder / "none", "--plan", PLAN, *options)
    assert (found.returncode, problem in found.stderr) == (2, True), found.stderr


def _nothing(request, token):
    pass
