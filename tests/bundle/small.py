"""A bundle's manifest and files that no network was needed for."""

from __future__ import annotations

from hashlib import sha256

import numpy as np
from safetensors.numpy import save

from splitimpera.bundle.manifest import identified
from splitimpera.codec.constants import Constants
from splitimpera.records.graph import TensorSpec

SPEC = TensorSpec("relu", (2, 3))
ARRAYS = {"0.low": np.array(0.0), "0.step": np.array(0.1)}


def entry(name="relu", shape=(2, 3)):
    return {"name": name, "shape": list(shape), "dtype": "float32", "batch_dim": 0, "channel_dim": 0}


def files():
    return {"camera/head.onnx": b"a head", "server/tail.onnx": b"a tail", "codec.safetensors": save(ARRAYS)}


def keys(**changes):
    """The keys of a manifest but for its id."""
    tensors, contents = [entry()], files()
    segments = [
        {
            **{"start": start, "end": end, "arriving": 0.0, "leaving": 0.0, "engine": "onnx"},
            **{"file": file, "inputs": tensors, "outputs": tensors},
        }
        for start, end, file in ((0, 2, "camera/head.onnx"), (2, 5, "server/tail.onnx"))
    ]
    hop = {
        **{"cut": 2, "layer": "relu", "bottleneck": 0.0, "tensors": tensors, "codec": "uint8"},
        **{"constants": "codec.safetensors", "packet_bytes": 1400, "transport": "tcp", "deadline_s": 0.05},
        "number": Constants("uint8", (SPEC,), 1400, ARRAYS).plan_id,
        "link": {"name": "wifi", "rate_bps": 2e7, "delay_s": 0.002, "loss": 0.0, "mtu_bytes": 1500},
    }
    plan = {
        **{"id": "SC2", "configuration": "SC", "machines": ["camera", "server"], "hops": [hop], "fps": 20.0},
        **{"requirements": [{"text": "fps >= 20", "weight": None}], "predicted": {"fps": 30.0, "energy": None}},
    }
    return {
        **{"schema_version": 1, "name": "small", "made_by": "a test", "network": "none", "fingerprint": "0" * 16},
        **{"task": "classification", "classes": ["a", "b"], "input": {"tensors": tensors, "pixels": None}},
        **{"result": [entry("head", (2,))], "last": 5, "plans": [plan], "proofs": [], "samples": None},
        **{"policy": None, "floor": 0},
        "parts": [
            {"machine": machine, "segments": [segment], "files": [segment["file"], "codec.safetensors"]}
            for machine, segment in zip(("camera", "server"), segments, strict=True)
        ],
        "files": {
            name: {"sha256": sha256(content).hexdigest(), "bytes": len(content)} for name, content in contents.items()
        },
    } | changes


def manifest(**changes):
    return identified(keys(**changes))
