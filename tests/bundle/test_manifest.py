"""The manifest: it is read as it was written, and nothing that was changed, is doubled or makes no sense is."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
from bundle.small import entry, keys, manifest

from splitimpera.bundle.entries import TENSOR_BYTES, TensorEntry
from splitimpera.bundle.manifest import WITH_DIRECT_ANSWERS as DIRECT
from splitimpera.bundle.manifest import WITH_LANGUAGE as NEWEST
from splitimpera.bundle.manifest import canonical, identified, read_manifest, spans, written
from splitimpera.bundle.segments import Span
from splitimpera.bundle.task_entry import first_entry
from splitimpera.core.errors import BundleError

PAGE = Path(__file__).parents[2] / "docs" / "bundle.md"


def changed(**changes):
    """A manifest's file with some keys changed and its id as it was."""
    return json.dumps(json.loads(written(manifest())) | changes).encode()


def test_it_is_read_as_it_was_written():
    assert read_manifest(written(manifest())) == manifest()
    loose = json.dumps(json.loads(written(manifest())), indent=3).encode()  # blanks and order do not count
    assert read_manifest(loose) == manifest()


def test_the_page_tells_how_to_compute_its_id(tmp_path, monkeypatch):
    (tmp_path / "pi").mkdir()
    (tmp_path / "pi" / "manifest.json").write_bytes(written(manifest(name="Köln 0.002")))
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    found = {}
    exec(example, found)  # which asserts it
    assert found["id"] == manifest(name="Köln 0.002").bundle


def test_its_id_is_the_same_for_the_same_keys_and_another_for_others():
    assert manifest().bundle == manifest(last=5).bundle
    assert manifest().bundle != manifest(name="other").bundle
    assert identified(keys() | {"bundle": "f" * 64}).bundle == manifest().bundle


def test_spans_and_names():
    found = manifest()
    assert spans(found.plan(), found.last) == [Span(0, 2), Span(2, 5)]
    assert found.plan("SC2") is found.plan()
    assert found.part("server").segments[0].span == Span(2, 5)
    with pytest.raises(BundleError, match="no plan 'SC3'; it has SC2"):
        found.plan("SC3")
    with pytest.raises(BundleError, match="no part for 'phone'; it has camera, server"):
        found.part("phone")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (changed(name="other"), "it was changed"),
        (changed(bundle="0" * 64), "it was changed"),
        (changed(schema_version=NEWEST + 1), f"schema version is {NEWEST + 1}, this version reads 1 to {NEWEST}"),
        (changed(schema_version=True), "Input should be a valid integer"),
        (changed(schema_version=2), "the task is a name in schema version 1, a section in later ones"),
        (b"{}", "schema version is none"),
        (b"[1]", "a JSON object is expected"),
        (b"\xff\xfe", "no JSON"),
        (b'{"schema_version": 1', "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (written(manifest()).replace(b'{"bundle"', b'{"name":"x","bundle"', 1), "a key stands there twice"),
        (changed(last=float("nan")), "NaN is no number"),
        (written(manifest()).replace(b'"fps":20.0', b'"fps":1e999'), "finite"),
        (changed(more=1), "more: Extra inputs are not permitted"),
    ],
)
def test_files_that_are_refused(content, words):
    with pytest.raises(BundleError, match=words):
        read_manifest(content)


def test_a_plan_may_be_run_by_programs_one_after_another():
    part = keys()["parts"][0]
    (segment,) = part["segments"]
    apart = [segment | {"end": 1}, segment | {"start": 1}]
    found = manifest(parts=[part | {"segments": apart[::-1]}, keys()["parts"][1]])
    assert [each.span for each in found.chain(found.plan(), 0)] == [Span(0, 1), Span(1, 2)]
    assert [each.span for each in found.chain(found.plan(), 1)] == [Span(2, 5)]
    other = [apart[0] | {"outputs": [entry("other")]}, apart[1]]
    with pytest.raises(BundleError, match="the programs of plan 'SC2' on 'camera' do not fit together"):
        manifest(parts=[part | {"segments": other}, keys()["parts"][1]])


def tails(version=5, **last):
    """Three machines with a bottleneck on the first hop; `last`: what the last one's segment says besides."""
    (plan,), (camera, server) = keys()["plans"], keys()["parts"]
    (head,), (tail,) = camera["segments"], server["segments"]
    hops = [plan["hops"][0] | {"bottleneck": 4.0}, plan["hops"][0] | {"cut": 3}]
    result = keys()["result"]
    task = first_entry([TensorEntry.model_validate(each) for each in result]).model_dump(mode="json")
    return keys(
        schema_version=version,
        task=task,
        plans=[plan | {"hops": hops, "machines": ["camera", "gateway", "server"]}],
        parts=[
            camera | {"segments": [head | {"leaving": 4.0}]},
            camera | {"machine": "gateway", "segments": [head | {"start": 2, "end": 3, "arriving": 4.0}]},
            server | {"segments": [tail | {"start": 3} | last]},
        ],
    )


def test_answers_of_tails_may_come_directly():
    behind = {"cut": 2, "ratio": 4.0}
    found = identified(tails(DIRECT, behind=behind) | {"answers": "direct"})
    assert found.answered_directly(found.plan())
    with pytest.raises(BundleError, match=f"this bundle has to be of {DIRECT}"):
        identified(tails(behind=behind) | {"answers": "direct"})


def test_a_segment_says_whose_tail_its_layers_are():
    behind = {"cut": 2, "ratio": 4.0}
    found = identified(tails(behind=behind))
    assert [each.span for each in found.chain(found.plan(), 2)] == [Span(3, 5, behind=(2, 4.0))]
    assert read_manifest(written(found)) == found
    assert [b"behind" in written(each) for each in (found, manifest())] == [True, False]
    for other in ({}, {"behind": None}, {"behind": behind | {"ratio": 8.0}}, {"behind": behind | {"cut": 1}}):
        with pytest.raises(BundleError, match="plan 'SC2' lacks a program for machine 'server'"):
            identified(tails(**other))
    for wrong in ({"cut": 2}, {"cut": -1, "ratio": 4.0}, {"cut": 2, "ratio": 0.0}, [2, 4.0]):
        with pytest.raises(BundleError, match="behind"):
            identified(tails(behind=wrong))
    for other in (3, 4):
        with pytest.raises(BundleError, match="layers of a bottleneck's tail on several machines of 5, direct"):
            identified(tails(other, behind=behind))
    with pytest.raises(BundleError, match="this bundle has to be of 3"):
        manifest(schema_version=5, task=tails()["task"])


def tiers(**changes):
    """The keys of a bundle for three machines, whose middle one forwards."""
    known = keys()
    (plan,), parts = known["plans"], known["parts"]
    plan = plan | {"machines": ["camera", "gateway", "server"], "hops": plan["hops"] * 2}
    middle = {"machine": "gateway", "segments": [], "files": ["codec.safetensors"]}
    named = first_entry([TensorEntry.model_validate(entry("head", (2,)))]).model_dump(mode="json")
    made = {"plans": [plan], "parts": [parts[0], middle, parts[1]], "schema_version": DIRECT, "task": named}
    return known | made | changes


def test_answers_come_back_directly_where_the_manifest_says_so():
    found = identified(tiers(answers="direct"))
    assert read_manifest(written(found)) == found
    assert found.answered_directly(found.plan())
    assert b'"answers":"direct"' in written(found)
    along = identified(tiers(schema_version=3))
    assert not along.answered_directly(along.plan())
    assert b"answers" not in written(along)
    assert identified(tiers(schema_version=3, answers="along")).bundle == along.bundle != found.bundle


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "this bundle has to be of 3"),
        (
            {"answers": "direct", "schema_version": 3},
            f"direct answers of {DIRECT}, language models of {NEWEST}: this bundle has to be of {DIRECT}",
        ),
        ({"answers": "by post"}, "answers: Input should be 'along' or 'direct'"),
        ({"answers": "direct", "plans": keys()["plans"]}, "no plan has a machine in the middle"),
        ({"answers": "direct", "policy": "codec.safetensors"}, "which neither a policy nor early exits allow"),
    ],
)
def test_direct_answers_that_cannot_be(changes, words):
    with pytest.raises(BundleError, match=words):
        identified(tiers(**changes))


def test_no_plan_sends_before_the_privacy_floor():
    found = manifest(floor=2)
    assert (found.floor, found.plan().hops[0].depth) == (2, 2)
    with pytest.raises(BundleError, match="plan 'SC2' sends after 2 layers, the privacy floor is 3"):
        manifest(floor=3)


def test_manifests_of_earlier_versions_have_neither_policy_nor_floor():
    earlier = json.loads(written(manifest()))
    for key in ("bundle", "policy", "floor"):
        del earlier[key]
    earlier["bundle"] = hashlib.sha256(canonical(earlier)).hexdigest()
    found = read_manifest(json.dumps(earlier).encode())
    assert (found.policy, found.floor, found.bundle) == (None, 0, earlier["bundle"])


def without(name):
    return {file: known for file, known in keys()["files"].items() if file != name}


def plan_with(**changes):
    return [keys()["plans"][0] | changes]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"files": without("server/tail.onnx")}, "the file 'server/tail.onnx' is not listed"),
        ({"files": without("codec.safetensors")}, "'codec.safetensors' is not listed"),
        ({"samples": "samples.npz"}, "'samples.npz' is not listed"),
        ({"policy": "policy.json"}, "'policy.json' is not listed"),
        ({"plans": keys()["plans"] * 2}, "two parts or plans have the same name"),
        ({"parts": keys()["parts"][:1]}, "lacks a program for machine 'server'"),
        ({"last": 6}, "lacks a program for machine 'server'"),
        ({"plans": plan_with(machines=["camera"])}, "one hop between two machines"),
        ({"plans": plan_with(machines=["camera", "camera"])}, "one hop between two machines"),
        ({"plans": []}, "plans"),
        ({"result": [entry(shape=(TENSOR_BYTES, 1))]}, "larger than any that is sent"),
        ({"result": [entry() | {"dtype": "object"}]}, "dtype"),
        ({"fingerprint": "x"}, "fingerprint"),
        ({"task": "detection"}, "task"),
    ],
)
def test_keys_that_make_no_sense(changes, words):
    with pytest.raises(BundleError, match=words):
        identified(keys(**changes))


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../b", "a\\b", ".hidden", "a//b", "C:x", "a/b/c/d/e/f", ""])
def test_paths_that_climb_out_are_none(path):
    with pytest.raises(BundleError):
        identified(keys(files=keys()["files"] | {path: {"sha256": "0" * 64, "bytes": 1}}))
