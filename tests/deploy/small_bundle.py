"""A bundle of a network of two layers, made without torch: a convolution on the device, a dense layer on the server."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import safetensors.numpy
from onnx import TensorProto, helper, numpy_helper

from splitimpera.bundle.manifest import identified, written
from splitimpera.bundle.opened import Bundle, open_bundle
from splitimpera.codec.codecs import Calibration, calibrate
from splitimpera.records.graph import TensorSpec

SIDE, CHANNELS, CLASSES = 8, 2, 3
INPUT = TensorSpec("input", (1, SIDE, SIDE))
MIDDLE = TensorSpec("relu", (CHANNELS, SIDE, SIDE))
RESULT = TensorSpec("dense", (CLASSES,))
PACKET_BYTES = 64


def weights():
    rng = np.random.default_rng(1)
    return (
        rng.normal(size=(CHANNELS, 1, 3, 3)).astype(np.float32),
        rng.normal(size=(CHANNELS * SIDE * SIDE, CLASSES)).astype(np.float32),
    )


def samples(count=20, seed=2):
    """float32 (count, 1, 8, 8)."""
    return np.random.default_rng(seed).random((count, *INPUT.shape), np.float32)


def middle(x):
    """What crosses, of inputs (n, 1, 8, 8)."""
    kernel, _ = weights()
    padded = np.pad(x[:, 0], ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    return np.maximum(np.einsum("nhwij,cij->nchw", windows, kernel[:, 0]), 0).astype(np.float32)


def network(x):
    """What the whole network makes of inputs (n, 1, 8, 8)."""
    return middle(x).reshape(len(x), -1) @ weights()[1]


def program(nodes, given, found, constants):
    def value(spec):
        return helper.make_tensor_value_info(spec.name, TensorProto.FLOAT, ["n", *spec.shape])

    stored = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "part", [value(given)], [value(found)], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def head():
    conv = helper.make_node("Conv", ["input", "kernel"], ["conv"], pads=[1, 1, 1, 1])
    return program([conv, helper.make_node("Relu", ["conv"], ["relu"])], INPUT, MIDDLE, {"kernel": weights()[0]})


def tail():
    flat = helper.make_node("Flatten", ["relu"], ["flat"])
    return program([flat, helper.make_node("MatMul", ["flat", "w"], ["dense"])], MIDDLE, RESULT, {"w": weights()[1]})


def whole():
    conv = helper.make_node("Conv", ["input", "kernel"], ["conv"], pads=[1, 1, 1, 1])
    nodes = [conv, helper.make_node("Relu", ["conv"], ["relu"]), helper.make_node("Flatten", ["relu"], ["flat"])]
    nodes.append(helper.make_node("MatMul", ["flat", "w"], ["dense"]))
    return program(nodes, INPUT, RESULT, {"kernel": weights()[0], "w": weights()[1]})


def entry(spec):
    return {
        "name": spec.name,
        "shape": list(spec.shape),
        "dtype": spec.dtype,
        "batch_dim": spec.batch_dim,
        "channel_dim": spec.channel_dim,
    }


def segment(start, end, file, given, found):
    spans = {"start": start, "end": end, "arriving": 0.0, "leaving": 0.0}
    return spans | {"engine": "onnx", "file": file, "inputs": [entry(given)], "outputs": [entry(found)]}


def hop(codec, transport, cut, files, deadline_s):
    spec, examples = (INPUT, samples()) if cut == 0 else (MIDDLE, middle(samples()))
    return hop_of(spec, examples, codec, transport, cut, files, deadline_s, PACKET_BYTES)


def hop_of(spec, examples, codec, transport, cut, files, deadline_s, packet_bytes):
    """A hop, whose codec's constants go into the files."""
    constants = calibrate(codec, Calibration((spec,), (examples,), packet_bytes=packet_bytes))
    constants = replace(constants, arrays=dict(sorted(constants.arrays.items())))
    name = None
    if constants.arrays:
        name = f"codecs/{codec.replace('+', '_').replace(':', '_')}-{cut}.safetensors"
        files[name] = safetensors.numpy.save({key: np.asarray(a, order="C") for key, a in constants.arrays.items()})
    return {
        "cut": cut,
        "layer": spec.name,
        "bottleneck": 0.0,
        "tensors": [entry(spec)],
        "codec": codec,
        "constants": name,
        "packet_bytes": packet_bytes,
        "number": constants.plan_id,
        "transport": transport,
        "deadline_s": deadline_s,
        "link": {"name": "lan", "rate_bps": 1e9, "delay_s": 0.0, "loss": 0.0, "mtu_bytes": 1500},
    }


def plan(id, configuration, machines, hops, fps=20.0):
    return {
        "id": id,
        "configuration": configuration,
        "machines": machines,
        "hops": hops,
        "fps": fps,
        "requirements": [],
        "predicted": {},
    }


def make_bundle(folder: Path, codec="float32", transport="tcp", deadline_s=0.05, name="small") -> Bundle:
    """A bundle with plans "sc", "rc" and "lc", and labelled samples, in a folder."""
    x = samples()
    file = io.BytesIO()
    np.savez(file, x=x, y=network(x).argmax(1))
    files = {"pi/head.onnx": head(), "pi/whole.onnx": whole(), "server/tail.onnx": tail(), "server/whole.onnx": whole()}
    files["samples.npz"] = file.getvalue()
    plans = [
        plan("sc", "SC", ["pi", "server"], [hop(codec, transport, 1, files, deadline_s)]),
        plan("rc", "RC", ["pi", "server"], [hop("float32", transport, 0, files, deadline_s)]),
        plan("lc", "LC", ["pi"], []),
    ]
    parts = {
        "pi": [segment(0, 1, "pi/head.onnx", INPUT, MIDDLE), segment(0, 2, "pi/whole.onnx", INPUT, RESULT)],
        "server": [
            segment(1, 2, "server/tail.onnx", MIDDLE, RESULT),
            segment(0, 2, "server/whole.onnx", INPUT, RESULT),
        ],
    }
    return write_bundle(
        folder,
        files,
        parts,
        name=name,
        network="two layers",
        classes=["cat", "dog", "emu"],
        input={"tensors": [entry(INPUT)], "pixels": {"mean": [0.0], "std": [1.0]}},
        result=[entry(RESULT)],
        plans=plans,
    )


def write_bundle(folder: Path, files, parts, /, **keys) -> Bundle:
    """Write files and their manifest; of each machine `parts` has the segments, "samples.npz" are labelled samples."""
    manifest = identified(
        {
            "schema_version": 1,
            "made_by": "a test",
            "fingerprint": "0" * 16,
            "task": "classification",
            "last": 2,
            "parts": [
                {"machine": machine, "segments": segments, "files": sorted({each["file"] for each in segments})}
                for machine, segments in parts.items()
            ],
            "proofs": [],
            "samples": "samples.npz",
            "files": {
                place: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
                for place, content in files.items()
            },
        }
        | keys
    )
    for place, content in {**files, "manifest.json": written(manifest)}.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(content)
    assert json.loads((folder / "manifest.json").read_text())["bundle"] == manifest.bundle
    return open_bundle(folder)
