"""A bundle for three machines, made without torch: a convolution, a pooling and a dense layer, one on each."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from onnx import helper
from small_bundle import (
    CLASSES,
    INPUT,
    MIDDLE,
    RESULT,
    SIDE,
    entry,
    head,
    hop_of,
    middle,
    plan,
    program,
    samples,
    write_bundle,
)
from small_bundle import segment as segment_of

from splitimpera.bundle.entries import TensorEntry
from splitimpera.bundle.manifest import WITH_DIRECT_ANSWERS
from splitimpera.bundle.opened import Bundle
from splitimpera.bundle.task_entry import first_entry
from splitimpera.records.graph import TensorSpec

POOLED = TensorSpec("pool", (MIDDLE.shape[0], SIDE // 2, SIDE // 2))
LAST = 3
SENSOR, GATEWAY, CLOUD = MACHINES = ["sensor", "gateway", "cloud"]
PLACES = [INPUT, MIDDLE, POOLED, RESULT]
"""What crosses each cut."""


def dense():
    return np.random.default_rng(5).normal(size=(int(np.prod(POOLED.shape)), CLASSES)).astype(np.float32)


def pooled(x):
    """What crosses the second cut, of inputs (n, 1, 8, 8)."""
    maps = middle(x)
    return maps.reshape(*maps.shape[:2], SIDE // 2, 2, SIDE // 2, 2).max((3, 5))


def network(x):
    """What the whole network makes of inputs (n, 1, 8, 8)."""
    return pooled(x).reshape(len(x), -1) @ dense()


def pool():
    node = helper.make_node("MaxPool", ["relu"], ["pool"], kernel_shape=[2, 2], strides=[2, 2])
    return program([node], MIDDLE, POOLED, {})


def tail():
    nodes = [helper.make_node("Flatten", ["pool"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["dense"])]
    return program(nodes, POOLED, RESULT, {"w": dense()})


def crossing(cut):
    """What crosses a cut of some samples, and its specification."""
    x = samples()
    return PLACES[cut], (x, middle(x), pooled(x))[cut]


def make_tiers(
    folder: Path, finishes=False, codec="float32", transports=("tcp", "tcp"), deadline_s=0.5, direct=False
) -> Bundle:
    """A bundle with plans of three machines, and one for the sensor alone.

    "each": a layer on each machine. "past": the gateway only forwards. "two": it is the last machine. "lc".

    Args:
        finishes: Whether the gateway has all layers behind the first one.
        codec: Of "each" in front of the gateway, and of "past".
        direct: Whether answers come from the cloud directly.
    """
    file, x = io.BytesIO(), samples()
    np.savez(file, x=x, y=network(x).argmax(1))
    files = {"samples.npz": file.getvalue()}
    programs = {(0, 1): head(), (1, 2): pool(), (2, 3): tail()}

    def part(machine, *spans):
        found = []
        for start, end in spans:
            name = f"{machine}/layers-{start}-{end}.onnx"
            files[name] = programs[start, end]
            found.append(segment_of(start, end, name, PLACES[start], PLACES[end]))
        return found

    def hop(cut, codec, place):
        spec, examples = crossing(cut)
        made = hop_of(spec, examples, codec, transports[place], cut, files, deadline_s, 64)
        return made | {"link": made["link"] | {"name": ("radio", "fibre")[place]}}

    plans = [
        plan("each", "SC", MACHINES, [hop(1, codec, 0), hop(2, "float32", 1)]),
        plan("past", "SC", MACHINES, [hop(1, "float16", place) for place in (0, 1)]),
        plan("filled", "SC", MACHINES, [hop(1, "uint8+mean", place) for place in (0, 1)]),
        plan("two", "SC", MACHINES[:2], [hop(1, "uint4", 0)]),
        plan("lc", "LC", MACHINES[:1], []),
    ]
    if not finishes:
        plans = [each for each in plans if each["id"] != "two"]
    parts = {
        SENSOR: part(SENSOR, (0, 1), (1, 2), (2, 3)),
        GATEWAY: part(GATEWAY, (1, 2), *([(2, 3)] if finishes else [])),
        CLOUD: part(CLOUD, (1, 2), (2, 3)),
    }
    named = first_entry([TensorEntry.model_validate(entry(RESULT))]).model_dump(mode="json")
    way = {"schema_version": WITH_DIRECT_ANSWERS, "task": named, "answers": "direct"} if direct else {}
    return write_bundle(
        folder,
        files,
        parts,
        **way,
        name="tiers",
        network="three layers",
        classes=["cat", "dog", "emu"],
        input={"tensors": [entry(INPUT)], "pixels": {"mean": [0.0], "std": [1.0]}},
        result=[entry(RESULT)],
        plans=plans,
        last=LAST,
    )
