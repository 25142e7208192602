"""A bundle of a language model of three blocks, made without torch, and what it writes unsplit."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import safetensors.numpy
from onnx import TensorProto, helper, numpy_helper

from splitimpera.bundle.entries import tensor_entry
from splitimpera.bundle.manifest import WITH_LANGUAGE, identified, written
from splitimpera.bundle.opened import Bundle, open_bundle
from splitimpera.codec.codecs import Calibration, calibrate
from splitimpera.records.graph import TensorSpec

VOCABULARY, CONTEXT, BLOCKS, WIDTH, HEADS = 256, 48, 3, 16, 2
SIZE, WINDOW, LAST = WIDTH // HEADS, 32, 9
CUTS = {0: 0, 2: 1, 5: 2, 8: 3, LAST: 3}
"""How many blocks are in front of each cut; behind cut 8 is the head alone."""
PROMPT = list(b"a quick brown fox")


def weights():
    rng = np.random.default_rng(3)

    def drawn(*shape, scale):
        return (scale * rng.normal(size=shape)).astype(np.float32)

    found = {"embed": drawn(VOCABULARY, WIDTH, scale=1), "place": drawn(CONTEXT, WIDTH, scale=0.5)}
    for block in range(BLOCKS):
        found |= {f"{name}{block}": drawn(WIDTH, WIDTH, scale=0.35) for name in ("q", "k", "v", "o", "in", "out")}
    return found | {"head": drawn(WIDTH, VOCABULARY, scale=1)}


def logits(ids):
    """What the whole network says of ids (n,), without caches."""
    w, n = weights(), len(ids)
    hidden = w["embed"][ids] + w["place"][:n]
    unseen = np.arange(n) > np.arange(n)[:, None]
    for block in range(BLOCKS):
        q, k, v = ((hidden @ w[f"{name}{block}"]).reshape(n, HEADS, SIZE).transpose(1, 0, 2) for name in "qkv")
        scores = np.where(unseen, -1e9, q @ k.transpose(0, 2, 1))
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        seen = (scores / scores.sum(-1, keepdims=True)) @ v
        hidden = hidden + seen.transpose(1, 0, 2).reshape(n, WIDTH) @ w[f"o{block}"]
        hidden = hidden + np.tanh(hidden @ w[f"in{block}"]) @ w[f"out{block}"]
    return hidden @ w["head"]


def unsplit(prompt, tokens):
    """What the network writes behind a prompt."""
    ids = list(prompt)
    for _ in range(tokens):
        ids.append(int(logits(np.array(ids))[-1].argmax()))
    return ids[len(prompt) :]


def program(start, stop, last):
    """The blocks from one to before another as an ONNX program."""
    nodes, constants = [], {}

    def add(op, *inputs, **attributes):
        for name in inputs:
            if name in stored:
                constants[name] = stored[name]
        nodes.append(helper.make_node(op, list(inputs), [f"t{len(nodes)}"], **attributes))
        return f"t{len(nodes) - 1}"

    stored = weights() | {
        "split": np.array([0, 0, HEADS, SIZE]),
        "joined": np.array([0, 0, WIDTH]),
        "low": np.float32(-1e9),
        "zero": np.int64(0),
        "one": np.int64(1),
        "two": np.int64(2),
        "first": np.array([0]),
        "second": np.array([1]),
    }
    stored |= {f"at{block}": np.int64(block) for block in range(BLOCKS)}
    hidden = "x"
    if start == 0:
        hidden = add("Add", add("Gather", "embed", "x"), add("Gather", "place", "positions"))
    kept = {"keys": [], "values": []}
    for place, block in enumerate(range(start, stop)):
        heads = [
            add("Transpose", add("Reshape", add("MatMul", hidden, f"{name}{block}"), "split"), perm=[0, 2, 1, 3])
            for name in "qkv"
        ]
        keys, values = (
            add("Concat", add("Transpose", add("Gather", past, f"at{place}", axis=1), perm=[1, 2, 0, 3]), new, axis=2)
            for past, new in (("keys", heads[1]), ("values", heads[2]))
        )
        scores = add("MatMul", heads[0], add("Transpose", keys, perm=[0, 1, 3, 2]))
        all_places = add("Range", "zero", add("Gather", add("Shape", keys), "two"), "one")
        seen = add("LessOrEqual", add("Unsqueeze", all_places, "first"), add("Unsqueeze", "positions", "second"))
        found = add("MatMul", add("Softmax", add("Where", seen, scores, "low"), axis=-1), values)
        found = add("Reshape", add("Transpose", found, perm=[0, 2, 1, 3]), "joined")
        hidden = add("Add", hidden, add("MatMul", found, f"o{block}"))
        wide = add("Tanh", add("MatMul", hidden, f"in{block}"))
        hidden = add("Add", hidden, add("MatMul", wide, f"out{block}"))
        kept["keys"].append(add("Unsqueeze", heads[1], "first"))
        kept["values"].append(add("Unsqueeze", heads[2], "first"))
    made = [add("MatMul", hidden, "head") if last else hidden]
    for parts in kept.values():
        if not parts:  # as many places of no block
            stored["nowhere"] = np.zeros((1, 0, 1, HEADS, SIZE), np.float32)
            made.append(add("Expand", "nowhere", add("Concat", *_shape_of_none(add, stored), axis=0)))
        else:
            made.append(add("Transpose", add("Concat", *parts, axis=0), perm=[3, 0, 1, 2, 4]))
    names = ["y", "new_keys", "new_values"]
    nodes += [helper.make_node("Identity", [one], [name]) for one, name in zip(made, names, strict=True)]
    floats, whole = TensorProto.FLOAT, TensorProto.INT64
    cache = ["p", stop - start, 1, HEADS, SIZE]
    given = [("x", whole, [1, "n"]) if start == 0 else ("x", floats, [1, "n", WIDTH]), ("positions", whole, ["n"])]
    given += [("keys", floats, cache), ("values", floats, cache)]
    grown = ["new", stop - start, 1, HEADS, SIZE]
    out = [("y", floats, [1, "n", VOCABULARY if last else WIDTH]), *((name, floats, grown) for name in names[1:])]
    graph = helper.make_graph(
        nodes,
        "part",
        *([helper.make_tensor_value_info(*each) for each in some] for some in (given, out)),
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _shape_of_none(add, stored):
    stored["sides"] = np.array([0, 1, HEADS, SIZE])
    return add("Shape", "positions"), "sides"


def spec(cut):
    if cut == 0:
        return TensorSpec("ids", (WINDOW,), "int64", 0, 0)
    return TensorSpec(f"hidden{cut}", (WINDOW, VOCABULARY if cut == LAST else WIDTH), "float32", 0, 1)


def hop(cut, codec, files, **more):
    if cut:
        examples = np.random.default_rng(0).normal(0, 2, (20, *spec(cut).shape)).astype(np.float32)
    else:
        examples = np.random.default_rng(0).integers(0, VOCABULARY, (20, WINDOW))
    constants = calibrate(codec, Calibration((spec(cut),), (examples,), packet_bytes=1400))
    constants = type(constants)(codec, (spec(cut),), 1400, dict(sorted(constants.arrays.items())))
    name = f"codec-{cut}.safetensors" if constants.arrays else None
    if name is not None:
        files[name] = safetensors.numpy.save(
            {key: np.asarray(array, order="C") for key, array in constants.arrays.items()}
        )
    link = {"name": "lan", "rate_bps": 1e9, "delay_s": 0.0, "loss": 0.0, "mtu_bytes": 1500}
    return {
        "cut": cut,
        "layer": f"blocks.{cut}",
        "bottleneck": 0.0,
        "tensors": [tensor_entry(spec(cut)).model_dump()],
        "codec": codec,
        "constants": name,
        "packet_bytes": 1400,
        "number": constants.plan_id,
        "transport": "tcp",
        "deadline_s": None,
        "link": link,
    } | more


def plan(id, configuration, hops):
    machines = ["pi", "server"] if hops else ["pi"]
    none = {"requirements": [], "predicted": {}}
    return {"id": id, "configuration": configuration, "machines": machines, "hops": hops, "fps": 1.0} | none


def content(codec="float32", cuts=(0, 2, 5, 8), **keys):
    """The files and the keys of the manifest of a bundle with plans "rc", "lc" and "sc2", "sc5", "sc8"."""
    files: dict[str, bytes] = {}
    plans, parts = [], {"pi": {}, "server": {}}

    def segment(machine, start, end):
        file = f"{machine}/blocks-{start}-{end}.onnx"
        if file not in files:
            files[file] = program(CUTS[start], CUTS[end], end == LAST)
        spans = {"start": start, "end": end, "arriving": 0.0, "leaving": 0.0, "engine": "onnx", "file": file}
        tensors = {
            "inputs": [tensor_entry(spec(start)).model_dump()],
            "outputs": [tensor_entry(spec(end)).model_dump()],
        }
        parts[machine][file] = spans | tensors

    for cut in cuts:
        name = f"sc{cut}" if cut else "rc"
        plans.append(plan(name, "SC" if cut else "RC", [hop(cut, codec if cut else "float32", files)]))
        segment("server", cut, LAST)
        if cut:
            segment("pi", 0, cut)
    plans.append(plan("lc", "LC", []))
    segment("pi", 0, LAST)
    logits_ = {"name": f"hidden{LAST}", "shape": [WINDOW, VOCABULARY], "dtype": "float32"}
    task = {"kind": "raw", "options": {}, "metric": "agreement", "outputs": ["0"], "mask": None}
    return files, {
        "schema_version": WITH_LANGUAGE,
        "name": "small",
        "made_by": "a test",
        "network": "three blocks",
        "fingerprint": "0" * 16,
        "task": task | {"response": [logits_], "most": None, "result_bytes": 4},
        "classes": [],
        "input": {"tensors": [tensor_entry(spec(0)).model_dump()], "pixels": None},
        "result": [tensor_entry(spec(LAST)).model_dump()],
        "last": LAST,
        "plans": plans,
        "parts": [
            {"machine": machine, "segments": list(own.values()), "files": sorted(own)} for machine, own in parts.items()
        ],
        "proofs": [],
        "samples": None,
        "files": {
            name: {"sha256": hashlib.sha256(each).hexdigest(), "bytes": len(each)} for name, each in files.items()
        },
        "language": {
            "vocabulary": VOCABULARY,
            "context": CONTEXT,
            "width": WIDTH,
            "key_value_shape": [HEADS, SIZE],
            "blocks": [{"cut": cut, "blocks": blocks} for cut, blocks in CUTS.items()],
            "tokenizer": None,
            "end": None,
        },
    } | keys


def make_language_bundle(folder: Path, codec="float32", **options) -> Bundle:
    """The bundle in a folder."""
    files, keys = content(codec, **options)
    for name, each in {**files, "manifest.json": written(identified(keys))}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(each)
    return open_bundle(folder)
