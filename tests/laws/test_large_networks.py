"""The laws on the networks that people use. Heads run cut by cut, so that the whole takes one pass and the tails."""

from __future__ import annotations

import pytest
import torch
from other_packages import package

import splitimpera as sei
from splitimpera.models.reference import REFERENCE
from splitimpera.partition.cutter import segment


def vit():
    models = package("torchvision").models
    return models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=6, num_heads=4, hidden_dim=64, mlp_dim=128, num_classes=10
    )


LARGE = {name: REFERENCE[name] for name in ("vgg16", "resnet50", "mobilenet_v2")} | {"vit": vit}


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_tail_of_head_equals_model_at_every_cut(name):
    torch.manual_seed(0)
    model = LARGE[name]().eval()
    x = torch.randn(2, 3, 32, 32)
    graph = sei.trace(model, x)
    with torch.no_grad():
        expected = model(x)
        crossing, before = (x,), graph.cuts[0]
        for cut in graph.cuts:
            crossing = segment(graph, before, cut)(*crossing)  # only the layers since the last cut
            torch.testing.assert_close(sei.split(graph, cut).tail(crossing), expected, rtol=1e-4, atol=1e-4)
            before = cut


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50", "vit"])
def test_halves_can_be_exported(name):
    model = LARGE[name]().eval()
    x = torch.randn(2, 3, 32, 32) if name == "vit" else torch.randn(2, 3, 64, 64)
    graph = sei.trace(model, x)
    partition = sei.split(graph, [cut for cut in graph.cuts if cut.single][4])
    batch = {0: torch.export.Dim.AUTO}
    with torch.no_grad():
        head = torch.export.export(partition.head, (x,), dynamic_shapes=((batch,),), strict=False).module()
        crossing = partition.head(x)
        shapes = ((batch,) * len(crossing),)
        tail = torch.export.export(partition.tail, (crossing,), dynamic_shapes=shapes, strict=False).module()
        torch.testing.assert_close(tail(head(x)), model(x), rtol=1e-4, atol=1e-4)
