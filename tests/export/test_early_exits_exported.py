"""Plans with early exits become bundles: pieces and heads, held to the network and its heads in PyTorch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from export.designs import designed
from studies.test_early_exits import NETWORK
from torch import nn

from splitimpera.core.errors import BundleError, PlanError
from splitimpera.core.progress import no_progress
from splitimpera.deploy.halves import Received, device_half, server_half
from splitimpera.evaluation.batches import stack, unstack
from splitimpera.export import bundling, export_bundle
from splitimpera.export.bundling import held
from splitimpera.export.designed import load_again, read_designs
from splitimpera.records.exits import confidences
from splitimpera.records.plan import Exit
from splitimpera.records.policy import Policy
from splitimpera.records.spans import Span

THRESHOLD = 0.6
CHANGES = {
    "data": {"source": "mine.py:data", "validation": 0.4, "test": 0.2},
    "plans": {"cuts": ["2", "4"], "codecs": ["uint8"], "transports": ["tcp", "udp"]},
    "bottlenecks": {"ratios": [2], "cuts": ["2"], "codecs": ["uint8"], "epochs": [1, 1]},
    "exits": {"at": ["0", "2"], "train": {"epochs": 10}, "threshold": THRESHOLD},
    "requirements": ["accuracy >= 50 %", "latency_p95 <= 10 s"],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The results folder of a design with exits behind cuts 1 and 2, with a cache of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPLITIMPERA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield designed(tmp_path_factory.mktemp("early"), source=NETWORK, **CHANGES)


def exported(run, plan, **how):
    found = export_bundle(run, plan, **how)
    return held(found.manifest, found.contents), found


def segments(bundle):
    return [segment.span[:2] for segment in bundle.manifest.parts[0].segments]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plan", "pieces", "engine"),
    [
        ("EE-LC", [(0, 1), (1, 2), (2, 5)], "onnx"),
        ("EE-LC", [(0, 1), (1, 2), (2, 5)], "torch"),
        ("EE-SC2-uint8-tcp", [(0, 1), (1, 2)], "onnx"),
        ("EE-SC3-uint8-udp", [(0, 1), (1, 2), (2, 3)], "onnx"),
        ("EE-SC2-b2-uint8-tcp", [(0, 1), (1, 2), (2, 2)], "onnx"),
    ],
)
def test_answers_are_the_networks_where_no_exit_is_taken_and_the_heads_where_one_is(run, plan, pieces, engine):
    bundle, found = exported(run, plan, engine=engine)
    assert segments(bundle) == pieces
    assert [head.cut for head in bundle.manifest.parts[0].heads] == [1, 2]
    testbed = load_again(read_designs(run, [plan]), no_progress, str)
    device = device_half(bundle)
    shut = replace(device, exits=None)
    specs = testbed.specs(0, 0.0)
    rows = [row for x in testbed.data.test.batches(32) for row in unstack(testbed.inputs(x), specs)]
    left = 0
    for row in rows:
        coded, through, at, place = device(row), shut(row), 0, 0
        crossing = stack([row], specs)
        for exit in bundle.manifest.plan().exits:
            crossing, at = testbed.call(Span(at, exit.cut), crossing), exit.cut
            logits = testbed.look(exit.cut, crossing).numpy()[0]
            sure, _ = confidences(logits)
            assert abs(sure - THRESHOLD) > 1e-5
            if sure >= THRESHOLD:
                place = exit.cut
                break
        assert (coded.left.cut if coded.left else 0) == place
        if place:
            left += 1
            assert coded.payload is None
            np.testing.assert_allclose(coded.result[0], logits, atol=1e-4)
        elif coded.payload is None:
            np.testing.assert_array_equal(coded.result[0], through.result[0])
        else:
            assert coded.payload.data == through.payload.data
            (result,) = server_half(bundle)([Received(coded.payload.data)]).results
            assert len(result[0]) == 4
    assert 0 < left < len(rows)
    (proof,) = bundle.manifest.proofs
    assert len(proof.left) == 2
    shares = [exit.share for exit in read_designs(run, [plan])[0].entry.exits]
    assert proof.left == pytest.approx(shares, abs=0.02)
    assert proof.equal > 0.98
    assert proof.quality == pytest.approx(found.proofs[0].promised, abs=0.02)


@pytest.mark.slow
def test_heads_that_decide_otherwise_are_refused(run, monkeypatch):
    class Louder(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def forward(self, *crossing):
            return tuple(3 * logits for logits in self.module(*crossing))

    right = bundling.head_of

    def louder(testbed, cut):
        part = right(testbed, cut)
        return replace(part, module=Louder(part.module).eval())

    monkeypatch.setattr(bundling, "head_of", louder)
    with pytest.raises(
        BundleError, match=r"the heads of the early exits decide otherwise than in PyTorch on \d+ of 120"
    ):
        exported(run, "EE-LC")


@pytest.mark.slow
def test_with_8_bit_numbers_heads_stay_as_they_are(run):
    floats, _ = exported(run, "EE-SC2-uint8-tcp")
    bundle, found = exported(run, "EE-SC2-uint8-tcp", quantize="int8")
    for head in bundle.manifest.parts[0].heads:
        assert bundle.read(head.file) == floats.read(head.file)
    assert bundle.manifest.proofs[0].float_quality == floats.manifest.proofs[0].quality
    assert len(found.proofs[0].proven.exits.left) == 2


@pytest.mark.slow
def test_what_no_bundle_can_hold_is_refused_with_what_to_do(run, monkeypatch):
    with pytest.raises(PlanError, match=r"--plan: plan 'EE-LC' has early exits, and a bundle with exits has no other"):
        read_designs(run, ["EE-LC", "LC"])
    policy = Policy.model_construct(plans=[])
    with pytest.raises(PlanError, match="export it alone, or export a plan without, such as 'LC'"):
        read_designs(run, ["EE-LC"], policy)

    from splitimpera.export import designed as module

    monkeypatch.setattr(module, "Exit", lambda cut, thresholds: Exit(cut + 2, thresholds))  # behind the hop's cut
    with pytest.raises(PlanError, match="'EE-SC2-uint8-tcp' has early exits behind its first device"):
        read_designs(run, ["EE-SC2-uint8-tcp"])
