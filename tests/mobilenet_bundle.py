"""A bundle of MobileNetV2 at 224 x 224 with random weights, cut after its eighth block."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch
from torch import nn

from splitimpera.bundle.manifest import identified, written
from splitimpera.codec.codecs import Calibration, calibrate
from splitimpera.export.engine_files import file_of
from splitimpera.export.part_modules import Part
from splitimpera.models.mobilenet import MobileNetV2
from splitimpera.records.graph import TensorSpec

BLOCKS, PACKET_BYTES, CODEC = 8, 1200, "uint8"
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


def entry(spec):
    keys = ("name", "dtype", "batch_dim", "channel_dim")
    return {key: getattr(spec, key) for key in keys} | {"shape": list(spec.shape)}


def segment(start, end, file, given, found):
    spans = {"start": start, "end": end, "arriving": 0.0, "leaving": 0.0}
    return spans | {"engine": "onnx", "file": file, "inputs": [entry(given)], "outputs": [entry(found)]}


def part(machine, *segments):
    return {"machine": machine, "segments": list(segments), "files": [each["file"] for each in segments]}


def write_mobilenet_bundle(folder: Path) -> None:
    """Write it to a folder, with ten labelled samples; its plan is "sc", by TCP."""
    torch.manual_seed(0)
    network = MobileNetV2().eval()
    first, rest = Piece(network.features[:BLOCKS]).eval(), Piece(Rest(network)).eval()
    x = torch.rand(10, *INPUT.shape)
    with torch.no_grad():
        (crossing,) = first(x)
        labels = network(x).argmax(1).numpy()
    constants = calibrate(CODEC, Calibration((MIDDLE,), (crossing.numpy(),), packet_bytes=PACKET_BYTES))
    samples = io.BytesIO()
    np.savez(samples, x=x.numpy(), y=labels)
    files = {
        "device/head.onnx": file_of(Part(first, (INPUT,), (MIDDLE,), (x[:2],)), "onnx"),
        "server/tail.onnx": file_of(Part(rest, (MIDDLE,), (RESULT,), (crossing[:2],)), "onnx"),
        "codecs/uint8.safetensors": safetensors.numpy.save(
            {name: np.asarray(array, order="C") for name, array in sorted(constants.arrays.items())}
        ),
        "samples.npz": samples.getvalue(),
    }
    hop = {
        "cut": 1,
        "layer": MIDDLE.name,
        "bottleneck": 0.0,
        "tensors": [entry(MIDDLE)],
        "codec": CODEC,
        "constants": "codecs/uint8.safetensors",
        "packet_bytes": PACKET_BYTES,
        "number": constants.plan_id,
        "transport": "tcp",
        "deadline_s": 10.0,
        "link": {"name": "lan", "rate_bps": 1e9, "delay_s": 0.0, "loss": 0.0, "mtu_bytes": 1500},
    }
    plan = {
        "id": "sc",
        "configuration": "SC",
        "machines": ["device", "server"],
        "hops": [hop],
        "fps": 10.0,
        "requirements": [],
        "predicted": {},
    }
    manifest = identified(
        {
            "schema_version": 1,
            "name": "mobilenet",
            "made_by": "a test",
            "network": "mobilenet_v2",
            "fingerprint": "0" * 16,
            "task": "classification",
            "classes": [],
            "input": {"tensors": [entry(INPUT)], "pixels": None},
            "result": [entry(RESULT)],
            "last": 2,
            "plans": [plan],
            "parts": [
                part("device", segment(0, 1, "device/head.onnx", INPUT, MIDDLE)),
                part("server", segment(1, 2, "server/tail.onnx", MIDDLE, RESULT)),
            ],
            "proofs": [],
            "samples": "samples.npz",
            "files": {
                name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
                for name, content in files.items()
            },
        }
    )
    for name, content in {**files, "manifest.json": written(manifest)}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
