"""The networks that users have, in the engine that devices have: exported from designs of the examples' data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import ROOT
from export.designs import designed

import splitimpera as sei
from splitimpera.export import export_bundle
from splitimpera.report import results_of

pytestmark = pytest.mark.slow

DIGITS = {
    "data": {"source": "digits"},
    "requirements": ["accuracy >= 50 %", "latency_p95 <= 1 s"],
}


@pytest.fixture(scope="module")
def vgg(tmp_path_factory):
    plans = {"cuts": ["features.13"], "codecs": ["uint8"], "transports": ["tcp"]}
    bottlenecks = {"ratios": [4], "cuts": ["features.13"], "codecs": ["uint8+zstd"], "epochs": [2, 2]}
    network = {"model": "digits-vgg16"}
    return designed(tmp_path_factory.mktemp("vgg"), network=network, plans=plans, bottlenecks=bottlenecks, **DIGITS)


@pytest.mark.parametrize(
    ("plan", "lossless", "more"),
    [
        ("RC-png-tcp", True, {}),
        ("SC06-uint8-tcp", False, {"engine": "onnx,torch"}),
        ("SC06-b4-uint8+zstd-tcp", True, {}),
    ],
)
def test_vgg(vgg, plan, lossless, more):
    exported = export_bundle(vgg, plan, **more)
    (proof,) = exported.manifest.proofs
    assert (proof.samples, proof.lossless) == (360, lossless)
    assert exported.proofs[0].proven.parts.equal == 1
    assert exported.proofs[0].proven.parts.difference < 1e-4
    assert exported.proofs[0].promised is not None
    assert abs(proof.accuracy - exported.proofs[0].promised) <= 2 / 360


def test_resnet_inside_a_block_and_quantised(tmp_path):
    plans = {"cuts": ["layer2.0.conv1"], "codecs": ["float32"], "transports": ["udp"]}
    run = designed(tmp_path, network={"model": "digits-resnet20"}, plans=plans, bottlenecks={}, **DIGITS)
    exported = export_bundle(run, "SC11-float32-udp", quantize="int8")
    assert len(exported.manifest.plan().hops[0].tensors) == 2
    before, (proof,) = exported.proofs[0].before, exported.manifest.proofs
    assert before is not None
    assert before.whole.difference < 1e-4
    assert proof.accuracy > before.accuracy - 0.02
    assert proof.float_accuracy == before.accuracy


MOBILENET = """
import torch


def data():
    x = torch.randint(0, 256, (36, 224, 224, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8).numpy()
    return x, torch.arange(36) % 1000
"""


def test_mobilenet(tmp_path):
    changes = {
        "network": {"model": "mobilenet_v2"},
        "data": {"source": "mine.py:data", "validation": 0.3, "test": 0.3},
        "plans": {"cuts": ["features.6"], "codecs": ["float32"], "transports": ["tcp"]},
        "bottlenecks": {},
    }
    torch.manual_seed(0)
    run = designed(tmp_path, MOBILENET, **changes)
    torch.manual_seed(0)  # its weights are random
    exported = export_bundle(run, "SC21-float32-tcp")
    sizes = {name: len(content) for name, content in exported.contents.items()}
    assert 13e6 < sum(sizes.values()) < 16e6
    assert exported.proofs[0].proven.parts.equal == 1


def test_the_raspberry_pi_of_the_examples_runs_a_split_and_what_export_asks_for_is_in_its_scenario(tmp_path):
    result = sei.design(ROOT / "examples" / "raspberry_pi" / "scenario.yaml", explore=False)
    chosen = result.recommendation.chosen
    assert chosen is not None
    assert chosen.evaluation.plan.configuration == "SC"
    assert chosen.certainty == "certain"
    (tmp_path / "results.json").write_bytes(results_of(result).to_json())
    exported = export_bundle(tmp_path, samples=5)
    assert exported.left_out == ()
    assert exported.proofs[0].proven.accuracy > 0.95
    assert np.isfinite(exported.proofs[0].proven.whole.difference)
