"""Early exits in a manifest: held to the first machine's programs and the task; no trace of them elsewhere."""

from __future__ import annotations

import json
from copy import deepcopy

import pytest
from early_bundle import CUTS, LOGITS, early_keys, make_early
from small_bundle import entry, make_bundle
from tier_bundle import POOLED

from splitimpera.bundle.manifest import WITH_DIRECT_ANSWERS, identified, pieces, read_manifest, written
from splitimpera.bundle.segments import Span
from splitimpera.core.errors import BundleError


@pytest.fixture(scope="module")
def early(tmp_path_factory):
    return make_early(tmp_path_factory.mktemp("bundle")).manifest


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return make_early(tmp_path_factory.mktemp("bundle"), alone=True).manifest


def changed(manifest, change):
    """The manifest again, after a change of its plain values."""
    plain = deepcopy(manifest.model_dump(mode="json"))
    change(plain)
    return identified(plain)


def test_it_is_read_as_it_was_written(early):
    assert read_manifest(written(early)) == early
    assert (early.schema_version, early.plan().configuration) == (4, "EE")
    assert pieces(early.plan(), early.last) == [Span(0, 1), Span(1, 2), Span(2, 2)]
    assert [head.cut for head in early.part("sensor").heads] == [*CUTS]
    assert early.part("cloud").heads == []


def test_a_bundle_without_exits_says_nothing_of_them(tmp_path, early):
    manifest = make_bundle(tmp_path).manifest
    for key in ("exits", "heads", "left"):
        assert f'"{key}":'.encode() not in written(manifest)
    assert b'"heads":' in written(early)
    assert b'"heads":[]' not in written(early)


def plan(key, value):
    return lambda plain: plain["plans"][0].update({key: value})


def part(key, value):
    return lambda plain: plain["parts"][0].update({key: value})


def exit(place, **changes):
    return lambda plain: plain["plans"][0]["exits"][place].update(changes)


def head(place, **changes):
    return lambda plain: plain["parts"][0]["heads"][place].update(changes)


def all_of(*changes):
    return lambda plain: [change(plain) for change in changes]


def whole(key, value):
    return lambda plain: plain.update({key: value})


def without_exits(plain):
    plain["plans"][0].pop("exits")
    plain["plans"][0]["configuration"] = "SC"


def without_heads(plain):
    plain["parts"][0].pop("heads")


def turned(place, key):
    return lambda plain: plain[place][0][key].reverse()


def in_one_piece(plain):
    first, second = plain["parts"][0]["segments"]
    plain["parts"][0]["segments"] = [{**first, "end": 2, "outputs": second["outputs"]}]


def own_task(plain):
    raw = {"kind": "raw", "options": {}, "response": [{"name": "dense", "shape": [3], "dtype": "float32"}]}
    plain["task"].update(raw)


def twice(plain):
    plain["plans"].append({**plain["plans"][0], "id": "other"})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (whole("schema_version", 3), "early exits are of schema version 4"),
        (
            all_of(whole("schema_version", WITH_DIRECT_ANSWERS), whole("answers", "direct")),
            "answers come back directly, which neither a policy nor early exits allow",
        ),
        (all_of(without_exits, without_heads), "early exits are of schema version 4"),
        (all_of(without_exits, whole("schema_version", 3)), "heads of early exits where no frame leaves"),
        (plan("configuration", "SC"), "and no other, is of the configuration EE"),
        (plan("exits", []), "and no other, is of the configuration EE"),
        (turned("plans", "exits"), "its early exits lie in order, on its first machine"),
        (exit(1, cut=1), "its early exits lie in order"),
        (exit(1, cut=3), "on its first machine"),
        (exit(0, cut=0), "greater than or equal to 1"),
        (exit(0, thresholds=[]), "at least 1"),
        (exit(0, thresholds=[1.5]), "less than or equal to 1"),
        (exit(0, thresholds=[float("nan")]), "less than or equal to 1"),
        (exit(0, thresholds=[0.5, 0.5]), "needs one threshold, or one for each class"),
        (exit(0, sure=True), "Extra inputs"),
        (twice, "a bundle with early exits has one plan"),
        (without_heads, "each early exit has one head"),
        (turned("parts", "heads"), "each early exit has one head, and the heads are in their order"),
        (head(0, file="sensor/other.onnx"), "'sensor/other.onnx' is not listed"),
        (head(0, inputs=[entry(POOLED)]), "the head behind cut 1 takes other tensors than cross there"),
        (head(1, outputs=[{**entry(LOGITS), "shape": [4]}]), r"the head behind cut 2 returns no logits of shape \[3\]"),
        (head(1, outputs=[entry(LOGITS)] * 2), "returns no logits"),
        (head(1, outputs=[{**entry(LOGITS), "dtype": "int64"}]), "returns no logits"),
        (in_one_piece, "there is no program of the layers from cut 0 to cut 1"),
        (own_task, "an early exit answers with a class, and the task names none"),
    ],
)
def test_manifests_that_are_refused(early, change, words):
    with pytest.raises(BundleError, match=words):
        changed(early, change)


def test_an_exit_has_layers_behind_it(alone):
    last = {**json.loads(written(alone))["plans"][0]["exits"][1], "cut": 3}
    with pytest.raises(BundleError, match="the exit behind cut 3 has no layers behind it"):
        changed(alone, plan("exits", [last]))


def test_programs_in_front_of_exits_fit_together():
    keys, _ = early_keys(alone=True)
    segments = keys["parts"][0]["segments"]
    other = {**entry(POOLED), "name": "other"}
    assert segments[2]["inputs"] == [entry(POOLED)]
    segments[2]["inputs"] = [other]
    keys |= {"made_by": "a test", "fingerprint": "0" * 16, "proofs": [], "samples": None}
    files = {name for part in keys["parts"] for name in part["files"]}
    keys["files"] = {name: {"sha256": "0" * 64, "bytes": 1} for name in files}
    with pytest.raises(BundleError, match="do not fit together"):
        identified(keys)
