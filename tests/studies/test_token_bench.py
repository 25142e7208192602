"""What is said and refused of a language model before anything is computed."""

from __future__ import annotations

import pytest
import torch
from small_decoders import CONTEXT, VOCABULARY, Own

import splitimpera as sei
from splitimpera.core.errors import ModelError, ScenarioError
from splitimpera.scenario import Scenario
from splitimpera.studies.bench import token_blocks


def asked(context=CONTEXT):
    return Scenario.model_validate(
        {
            "network": {"model": "digits-vgg16"},
            "data": {"source": "digits"},
            "devices": [{"name": "phone"}, {"name": "server"}],
            "links": [{"rate": "1 Mbit/s", "delay": "5 ms"}],
            "workload": {"fps": 1, "tokens": {"prompt": 8, "output": 8, "context": context}},
            "requirements": ["ttft <= 1 s"],
        }
    )


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Own().eval()


@pytest.fixture(scope="module")
def graph(model):
    return sei.trace(model, torch.randint(0, VOCABULARY, (2, 8)))


def test_weights_that_embedding_and_head_share_are_said(model, graph):
    said = []
    token_blocks(model, graph, asked(), said.append)
    assert not said
    own = model.head[-1].weight
    model.head[-1].weight = model.embed.weight
    try:
        token_blocks(model, sei.trace(model, torch.randint(0, VOCABULARY, (2, 8))), asked(), said.append)
    finally:
        model.head[-1].weight = own
    assert len(said) == 1
    assert "share weights" in said[0]
    assert "4.8 kB on both sides" in said[0]  # 50 rows of 24 numbers of 4 bytes


def test_a_context_beyond_the_positions_is_refused(model, graph):
    with pytest.raises(ScenarioError, match=r"workload\.tokens\.context"):
        token_blocks(model, graph, asked(CONTEXT + 1))


def test_a_network_without_blocks_is_refused(graph):
    with pytest.raises(ModelError, match=r"network\.model: Linear is no language model"):
        token_blocks(torch.nn.Linear(2, 2), graph, asked())
