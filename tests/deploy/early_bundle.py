"""A bundle whose frames may leave early, made without torch: a convolution, a pooling and a dense layer, two exits."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from onnx import helper
from small_bundle import CLASSES, INPUT, MIDDLE, RESULT, entry, head, hop_of, middle, plan, program, samples, segment
from small_bundle import write_bundle as write_any_bundle
from tier_bundle import LAST, PLACES, POOLED, network, pool, pooled, tail

from splitimpera.bundle.entries import TensorEntry
from splitimpera.bundle.opened import Bundle
from splitimpera.bundle.task_entry import first_entry
from splitimpera.records.graph import TensorSpec

LOGITS = TensorSpec("logits", (CLASSES,))
CUTS = (1, 2)
THRESHOLDS = {1: [0.9], 2: [0.5, 0.6, 0.99]}
"""One for all classes, and one for each."""


def directions(cut):
    """What the head behind a cut multiplies with."""
    spec = PLACES[cut]
    return 0.4 * np.random.default_rng(cut + 6).normal(size=(int(np.prod(spec.shape)), CLASSES)).astype(np.float32)


def looks(cut, x):
    """The logits of a head of inputs (n, 1, 8, 8)."""
    crossing = {1: middle, 2: pooled}[cut](x)
    return crossing.reshape(len(x), -1) @ directions(cut)


def sure(logits):
    """Softmax's largest value."""
    shares = np.exp(logits - logits.max(1, keepdims=True))
    return (shares / shares.sum(1, keepdims=True)).max(1)


def left_at(x):
    """At which cut each frame leaves; 0: at none."""
    found = np.zeros(len(x), int)
    for cut in reversed(CUTS):
        logits = looks(cut, x)
        needed = np.resize(THRESHOLDS[cut], CLASSES)[logits.argmax(1)]
        found = np.where(sure(logits) >= needed, cut, found)
    return found


def wanted(x):
    """The result of each frame: of the exit where it leaves, else of the network."""
    found = network(x)
    for cut in CUTS:
        found = np.where((left_at(x) == cut)[:, None], looks(cut, x), found)
    return found


def head_program(cut):
    given = PLACES[cut]
    nodes = [helper.make_node("Flatten", [given.name], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["logits"])]
    return program(nodes, given, LOGITS, {"w": directions(cut)})


def early_keys(codec="float32", transport="tcp", deadline_s=0.5, cut=2, alone=False):
    """The keys of a manifest, and the files.

    Args:
        cut: Behind which the sensor sends.
        alone: Whether it sends nothing, and has all layers.
    """
    file, x = io.BytesIO(), samples()
    np.savez(file, x=x, y=network(x).argmax(1))
    programs = {(0, 1): head(), (1, 2): pool(), (2, 3): tail()}
    files = {"samples.npz": file.getvalue()}

    def part(machine, start, end):
        found = []
        for before in range(start, end):
            name = f"{machine}/layers-{before}-{before + 1}.onnx"
            files[name] = programs[before, before + 1]
            found.append(segment(before, before + 1, name, PLACES[before], PLACES[before + 1]))
        return found

    places = [place for place in CUTS if alone or place <= cut]
    heads = []
    for place in places:
        files[f"sensor/head-{place}.onnx"] = head_program(place)
        tensors = {"inputs": [entry(PLACES[place])], "outputs": [entry(LOGITS)]}
        heads.append({"cut": place, "engine": "onnx", "file": f"sensor/head-{place}.onnx"} | tensors)
    spec, examples = {1: (MIDDLE, middle(x)), 2: (POOLED, pooled(x))}[cut]
    hops = [] if alone else [hop_of(spec, examples, codec, transport, cut, files, deadline_s, 64)]
    exits = [{"cut": place, "layer": PLACES[place].name, "thresholds": THRESHOLDS[place]} for place in places]
    machines = ["sensor"] if alone else ["sensor", "cloud"]
    parts = {"sensor": part("sensor", 0, LAST if alone else cut)}
    parts |= {} if alone else {"cloud": part("cloud", cut, LAST)}
    keys = {
        **{"schema_version": 4, "name": "early", "network": "three layers", "classes": ["cat", "dog", "emu"]},
        "input": {"tensors": [entry(INPUT)], "pixels": {"mean": [0.0], "std": [1.0]}},
        **{"result": [entry(RESULT)], "last": LAST},
        "task": first_entry([TensorEntry.model_validate(entry(RESULT))]).model_dump(),
        "plans": [plan("early", "EE", machines, hops) | {"exits": exits}],
        "parts": [
            {
                **{"machine": machine, "segments": segments},
                "files": [each["file"] for each in (*segments, *(heads if machine == "sensor" else []))],
                "heads": heads if machine == "sensor" else [],
            }
            for machine, segments in parts.items()
        ],
    }
    return keys, files


def make_early(folder: Path, **how) -> Bundle:
    """The bundle in a folder; arguments as of `early_keys`."""
    keys, files = early_keys(**how)
    return write_any_bundle(folder, files, {}, **keys)
