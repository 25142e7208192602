"""Designs of networks with several inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import splitimpera as sei
from splitimpera.core.errors import SplitImperaError
from splitimpera.scenario import Scenario

FILE = Path(__file__).with_name("paired_inputs.py")


def designed(network, data, task="classification", metric="accuracy", **more):
    scenario = Scenario.model_validate(
        {
            "network": {"model": f"{FILE}:{network}"},
            "data": {"source": f"{FILE}:{data}"},
            "task": task,
            "devices": [{"name": "camera", "preset": "cortex-m7"}, {"name": "server", "preset": "t4"}],
            "links": [{"rate": "10 Mbit/s", "delay": "2 ms", "loss": 0.2, "mtu": "200 B"}],
            "workload": {"fps": 20, "frames": 1000, "deadline": "30 ms"},
            "plans": {"cuts": [1], "codecs": ["float32", "uint8"], "transports": ["tcp", "udp"]},
            "requirements": ["latency_p95 <= 100 ms", f"{metric} >= 1 %"],
        }
        | more
    )
    return sei.design(scenario, replications=2, explore=False, every_accuracy=True)


@pytest.mark.slow
def test_a_picture_and_a_vector():
    """Both are sent where the input crosses, and what loses nothing is as good as the network."""
    design = designed("joining", "pairs", bottlenecks={"ratios": [2], "cuts": [5], "epochs": [1, 1]})
    found = {one.plan.id: one for one in design.evaluations}
    assert [tensor.shape for tensor in design.graph.cuts[0].tensors] == [(3, 8, 8), (5,)]
    assert {"RC-uint8-udp", "SC1-float32-tcp", "SC5-b2-uint8-tcp"} <= found.keys()
    assert not [name for name in found if "png" in name]
    assert found["LC"].quality == found["RC-float32-tcp"].quality == found["SC1-float32-tcp"].quality == 1.0
    assert found["RC-float32-tcp"].payload_bytes - found["RC-uint8-tcp"].payload_bytes == 3 * (3 * 8 * 8 + 5)
    assert found["SC1-float32-udp"].quality < 1.0
    assert np.isfinite(design.curve.cs).all()


def test_inputs_by_name_without_labels():
    """Given in another order than that of `forward`; the first of them that is an image is shown."""
    design = designed("tinted", "by_name", {"kind": "agreement", "of": "segmentation"}, "agreement")
    assert design.graph.names == ("picture", "vector")
    found = {one.plan.id: one.quality for one in design.evaluations}
    assert found["LC"] == found["RC-float32-tcp"] == 1.0
    assert design.shown is not None
    assert all("input" in sample.images for sample in design.shown.samples)


def test_numbers_of_words_and_which_of_them_count():
    design = designed("tokens", "words", requirements=["latency_p95 <= 100 ms"])
    assert [tensor.dtype for tensor in design.graph.cuts[0].tensors] == ["int64", "int64"]
    found = {one.plan.id: one for one in design.evaluations}
    assert found["RC-float32-tcp"].quality == found["LC"].quality
    assert found["RC-float32-tcp"].payload_bytes == 2 * 7 * 8


@pytest.mark.parametrize(
    ("network", "data", "message"),
    [
        ("joining", "vectors_alone", r"network.model: the network refuses inputs of shape \(2, 5\).*forward\(\)"),
        ("joining", "other_way_round", r"network.model: the network refuses inputs of shape \(2, 5\), \(2, 3, 8, 8\)"),
        ("tinted", "words", "network.model: the network refuses .* 'forward' takes vector, picture"),
        ("tokens", "words_and_more", "network.model: .* does not depend on its input 'token_type_ids'"),
    ],
)
def test_inputs_that_do_not_fit(network, data, message):
    with pytest.raises(SplitImperaError, match=message):
        designed(network, data)
