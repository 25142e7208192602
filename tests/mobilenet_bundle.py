"""A bundle of MobileNetV2 at 224 x 224 with random weights, cut after its eighth block."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from deploy.small_bundle import entry, hop_of, plan, segment, write_bundle
from torch import nn

from splitimpera.export.engine_files import file_of
from splitimpera.export.part_modules import Part
from splitimpera.models.mobilenet import MobileNetV2
from splitimpera.records.graph import TensorSpec

BLOCKS, PACKET_BYTES = 8, 1200
INPUT, RESULT = TensorSpec("input", (3, 224, 224), batch_dim=0), TensorSpec("classifier", (1000,), batch_dim=0)
MIDDLE = TensorSpec("features.7", (64, 14, 14), batch_dim=0, channel_dim=0)


class Piece(nn.Module):
    """Some layers, as a part takes and returns its tensors."""

    def __init__(self, layers):
        super().__init__()
        self.layers = layers

    def forward(self, *tensors):
        return (self.layers(tensors[0]),)


class Rest(nn.Module):
    """What follows the cut."""

    def __init__(self, network):
        super().__init__()
        self.features, self.classifier = network.features[BLOCKS:], network.classifier

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


def write_mobilenet_bundle(folder: Path) -> None:
    """Write it to a folder, with ten labelled samples; its plan is "sc", by TCP."""
    torch.manual_seed(0)
    network = MobileNetV2().eval()
    first, rest = Piece(network.features[:BLOCKS]).eval(), Piece(Rest(network)).eval()
    x = torch.rand(10, *INPUT.shape)
    with torch.no_grad():
        (crossing,) = first(x)
        labels = network(x).argmax(1).numpy()
    samples = io.BytesIO()
    np.savez(samples, x=x.numpy(), y=labels)
    files = {
        "device/head.onnx": file_of(Part(first, (INPUT,), (MIDDLE,), (x[:2],)), "onnx"),
        "server/tail.onnx": file_of(Part(rest, (MIDDLE,), (RESULT,), (crossing[:2],)), "onnx"),
        "samples.npz": samples.getvalue(),
    }
    hop = hop_of(MIDDLE, crossing.numpy(), "uint8", "tcp", 1, files, 10.0, PACKET_BYTES)
    write_bundle(
        folder,
        files,
        {
            "device": [segment(0, 1, "device/head.onnx", INPUT, MIDDLE)],
            "server": [segment(1, 2, "server/tail.onnx", MIDDLE, RESULT)],
        },
        name="mobilenet",
        network="mobilenet_v2",
        classes=[],
        input={"tensors": [entry(INPUT)], "pixels": None},
        result=[entry(RESULT)],
        plans=[plan("sc", "SC", ["device", "server"], [hop], fps=10.0)],
    )
