"""From a design to a deployed run that is verified, for each kind of task."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from export.designs import designed
from export.loopback_runs import inferred, served
from export.task_designs import METRIC, SOURCE, changes_of

from splitimpera.bundle.manifest import identified
from splitimpera.bundle.opened import Bundle, open_bundle
from splitimpera.bundle.task_entry import Responding
from splitimpera.cli.export import _account
from splitimpera.cli.infer import _rows
from splitimpera.core.errors import BundleError, DataError, LinkError
from splitimpera.deploy.client import Client
from splitimpera.deploy.device_run import DeviceRun
from splitimpera.deploy.frame_clock import FrameClock
from splitimpera.deploy.frame_log import read_log
from splitimpera.deploy.halves import Received, device_half, server_half
from splitimpera.deploy.judging import judge_of
from splitimpera.deploy.messages import RESPONSE_BYTES
from splitimpera.deploy.sample_stream import Sample, Source
from splitimpera.deploy.sources import open_source
from splitimpera.export import bundling, export_bundle, write_bundle
from splitimpera.export.placing import files_of
from splitimpera.report import read
from splitimpera.report.verified_tables import verification_tables
from splitimpera.tasks.average_precision import AP50, average_precision
from splitimpera.tasks.qualities import QUALITIES
from splitimpera.verification.comparing import verify

pytestmark = pytest.mark.alone

PLAN = "SC1-uint8-tcp"
COMMAND = (sys.executable, "-m", "splitimpera")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Results folders and exports, each made when it is asked for first."""
    made = {}

    def run(case):
        if case not in made:
            folder = tmp_path_factory.mktemp(case)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("SPLITIMPERA_CACHE", str(folder / "cache"))
                found = designed(folder, SOURCE, **changes_of(case))
                engine = "onnx" if case in ("segmentation", "detection") else "torch"  # which is exported sooner
                exported = export_bundle(found, PLAN, engine=engine, samples=24)
            write_bundle(files_of(exported.manifest, exported.contents), folder / "bundle")
            made[case] = found, exported, open_bundle(folder / "bundle")
        return made[case]

    return run


def value_here(bundle):
    """The metric of the bundle's samples, each run once by both halves, without a link, log or sums."""
    device, server, source = device_half(bundle), server_half(bundle), open_source("samples", bundle)
    samples = list(source.samples)
    answers = [server([Received(device(one.x).payload.data)]).results[0] for one in samples]
    targets = [one.target for one in samples]
    if bundle.manifest.task.kind == "detection":
        return average_precision(answers, targets, classes=3, thresholds=AP50)
    pairs = [(answer[0], target[0]) for answer, target in zip(answers, targets, strict=True)]
    if bundle.manifest.task.kind == "segmentation":
        counted = np.concatenate([np.stack([mask[y != 255], y[y != 255]], 1) for mask, y in pairs])
        known = np.unique(counted)
        both = [((counted[:, 0] == kind) & (counted[:, 1] == kind)).sum() for kind in known]
        return np.mean([one / (counted == kind).any(1).sum() for one, kind in zip(both, known, strict=True)])
    if bundle.manifest.task.kind == "regression":
        return np.sqrt(np.mean([(answer - y) ** 2 for answer, y in pairs]))
    if source.near is None:
        return np.mean([answer.argmax() == label for answer, label in pairs])
    return np.mean([np.abs(answer - y) <= source.near for answer, y in pairs])


CASES = ("segmentation", "detection", "regression", "agreement", "classes")


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_design_is_exported_run_and_verified(runs, case, tmp_path):
    folder, exported, bundle = runs(case)
    metric, results = METRIC[case], read(folder)
    proof = exported.manifest.proofs[0]
    assert (proof.accuracy, proof.equal > 0.9) == (None, True)
    predicted = results.by_id[PLAN].metrics[metric]
    assert proof.quality == pytest.approx(predicted, rel=1e-3)
    assert "the design promised" in "\n".join(_account(exported))
    tally = inferred(bundle, tmp_path / "run.jsonl")
    assert tally.outcomes == {"ok": 48}
    assert tally.accuracy is None
    assert QUALITIES[metric].title in dict(_rows(tally))
    assert {line.label for line in read_log(tmp_path / "run.jsonl")[1]} == {None}
    found = verify(folder, [tmp_path / "run.jsonl"])
    (quality,) = (one for one in found.quantities if one.name == metric)
    assert quality.predicted == pytest.approx(predicted)
    assert quality.interval[0] <= quality.measured <= quality.interval[1]
    assert quality.agrees
    assert quality.measured == pytest.approx(value_here(bundle))
    if case != "detection":  # whose value is no matter of sums, and is left to verify
        assert tally.judge.value == pytest.approx(quality.measured, rel=0.1)
        assert tally.as_json()[metric] == tally.judge.value
    checks = {check.requirement.metric: check for check in found.requirements}
    assert checks[metric].met
    assert checks[metric].measured == quality.measured
    assert checks[f"on_time_{metric}"].measured is not None
    assert verification_tables(found)


@pytest.mark.slow
def test_what_the_server_responds_is_the_networks_answer_and_as_large_as_was_simulated(runs):
    _, exported, bundle = runs("segmentation")
    samples = np.load(io.BytesIO(bundle.read("samples.npz")))
    assert (samples["y"].dtype, samples["y"].shape) == (np.uint8, (24, 16, 16))
    entry = bundle.manifest.task
    assert (entry.outputs, entry.mask, entry.result_bytes) == (["aux", "out"], [16, 16], 256)
    assert exported.left_out == ("links[0].security: tls",)
    with served(bundle) as address, Client(bundle, address, insecure=True) as client:
        found = [client.infer(x) for x in samples["x"]]
    assert all((one.outcome, one.answer, one.name) == ("ok", None, None) for one in found)
    assert {len(one.response.to_bytes()) for one in found} == {RESPONSE_BYTES + entry.result_bytes}
    right = np.mean([(one.result[0] == y)[y != 255] for one, y in zip(found, samples["y"], strict=True)])
    assert 0.8 < right < 1


@pytest.mark.slow
def test_boxes_come_from_the_server_as_many_as_there_are(runs):
    _, exported, bundle = runs("detection")
    samples = np.load(io.BytesIO(bundle.read("samples.npz")))
    assert samples["offsets"][-1] == len(samples["boxes"]) > 0
    with served(bundle) as address, Client(bundle, address, insecure=True) as client:
        found = [client.infer(x) for x in samples["x"]]
    counts = [len(boxes) for boxes, _, _ in (one.result for one in found)]
    assert len(set(counts)) > 1
    for count, one in zip(counts, found, strict=True):
        boxes, scores, classes = one.result
        assert (boxes.shape, scores.shape, classes.shape) == ((count, 4), (count,), (count,))
        assert (boxes.dtype, scores.dtype, classes.dtype) == (np.float32, np.float32, np.int64)
        assert len(one.response.tensors) == 28 * count
    mean = exported.manifest.task.result_bytes
    assert mean == pytest.approx(28 * np.mean(counts), rel=0.4)


@pytest.mark.slow
def test_a_plan_without_a_server_makes_its_responses_itself(runs):
    folder, exported, bundle = runs("detection")
    local = export_bundle(folder, "LC", engine="torch")
    with served(bundle) as address, Client(bundle, address, insecure=True) as client:
        server_made = client.infer(np.zeros((3, 16, 16), np.float32)).result
    alone = bundling.held(local.manifest, local.contents)
    with Client(alone) as client:
        device_made = client.infer(np.zeros((3, 16, 16), np.float32)).result
    assert [part.dtype for part in device_made] == [part.dtype for part in server_made]
    assert len(device_made[0]) > 0
    np.testing.assert_allclose(device_made[0], server_made[0], atol=0.1)  # the codec rounds
    assert exported.manifest.task.most == local.manifest.task.most == 100


@pytest.mark.slow
def test_a_task_of_the_users_own_is_not_run_by_other_machines_and_that_is_said(runs, tmp_path):
    folder, exported, bundle = runs("own")
    assert bundle.manifest.task.kind == "raw"
    assert "responses are the network's outputs" in "\n".join(_account(exported))
    assert exported.manifest.proofs[0].quality == pytest.approx(read(folder).by_id[PLAN].metrics["miou"], rel=1e-3)
    assert judge_of(bundle.manifest) is None
    tally = inferred(bundle, tmp_path / "run.jsonl", frames=12)
    assert (tally.outcomes, tally.judge) == ({"ok": 12}, None)
    with served(bundle) as address, Client(bundle, address, insecure=True) as client:
        result = client.infer(np.zeros((3, 16, 16), np.float32)).result
    assert [part.shape for part in result] == [(4, 8, 8), (4, 8, 8)]
    found = verify(folder, [tmp_path / "run.jsonl"])
    assert "miou" not in {one.name for one in found.quantities}
    assert {check.requirement.metric: check.met for check in found.requirements}["miou"] is None


WITHOUT = """
import sys
from splitimpera.core.extras import EXTRAS
sys.modules.update(dict.fromkeys(EXTRAS))  # as if they were not installed
from splitimpera.bundle.opened import open_bundle
from splitimpera.deploy.halves import Received, device_half, server_half
from splitimpera.deploy.judging import judge_of
from splitimpera.deploy.sources import open_source
bundle = open_bundle(sys.argv[1])
device, server = device_half(bundle), server_half(bundle)
source = open_source("samples", bundle)
judge = judge_of(bundle.manifest, source.near)
for sample in source.samples:
    (answer,) = server([Received(device(sample.x).payload.data)]).results
    judge.counts(answer, sample.target)
print(judge.title, judge.told)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("case", "told"), [
    ("segmentation", r"mIoU \d\d.* % of 24 frames"),
    ("detection", "AP50 'splitimpera verify' says it, of 24 frames"),
])  # fmt: skip
def test_neither_program_needs_torch_or_scipy(runs, case, told):
    _, _, bundle = runs(case)
    command = [sys.executable, "-c", WITHOUT, str(bundle.path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert re.fullmatch(told, run.stdout.strip()), run.stdout + run.stderr


@pytest.mark.slow
def test_inputs_of_other_sources_are_judged_where_their_targets_are_known(runs, tmp_path):
    _, _, bundle = runs("segmentation")
    own = dict(np.load(io.BytesIO(bundle.read("samples.npz"))))
    np.savez(tmp_path / "mine.npz", **own)
    first = next(iter(open_source(str(tmp_path / "mine.npz"), bundle).samples))
    assert (first.label, first.target[0].shape) == (None, (16, 16))
    np.savez(tmp_path / "mine.npz", x=own["x"])
    assert next(iter(open_source(str(tmp_path / "mine.npz"), bundle).samples)).target is None
    np.savez(tmp_path / "mine.npz", x=own["x"], y=own["y"][:, :8])
    with pytest.raises(DataError, match=r"sample 0 has a mask of shape \(8, 16\), the network's is \(16, 16\)"):
        open_source(str(tmp_path / "mine.npz"), bundle)
    np.savez(tmp_path / "mine.npz", x=own["x"], y=np.full(24, 3))
    with pytest.raises(DataError, match="sample 0 has a mask of shape"):
        open_source(str(tmp_path / "mine.npz"), bundle)
    _, _, other = runs("detection")
    with pytest.raises(DataError, match="a target of 1 arrays"):
        open_source(str(tmp_path / "mine.npz"), other)


@pytest.mark.slow
def test_a_folders_classes_are_no_targets_of_masks(runs, tmp_path):
    _, _, bundle = runs("segmentation")
    images = Source("folder", [Sample(np.zeros((3, 16, 16), np.float32), 0, 1, (np.array(1),))], 1)
    lines = []
    with served(bundle) as address, Client(bundle, address, insecure=True) as client:
        judge = judge_of(bundle.manifest)
        DeviceRun(client, images, FrameClock(None, 2), None, lines.append, judge=judge).run()
    assert [(line.outcome, line.label, line.counts) for line in lines] == [("ok", None, None)] * 2
    assert judge.judged == 0


def boxes_of(*boxes, classes=0):
    count = len(boxes)
    return np.array(boxes, np.float32), np.full(count, 0.9, np.float32), np.full(count, classes, np.int64)


@pytest.mark.parametrize(("case", "wrong", "message"), [
    ("segmentation", (np.full((16, 16), 9, np.uint8),), "a mask with class 9, there are 4"),
    ("detection", boxes_of([0, 0, np.nan, 4]), "not finite"),
    ("detection", boxes_of([0, 0, 4, 400]), "outside the image of 16 x 16"),
    ("detection", boxes_of([0, 0, 4, 4], classes=7), "a box of class 7, there are 3"),
    ("detection", boxes_of(*[[0, 0, 4, 4]] * 101), "2828 bytes, 0 and 28 for each of 100 objects"),
])  # fmt: skip
def test_a_response_that_is_none_of_the_task_is_refused(runs, case, wrong, message):
    _, _, bundle = runs(case)

    class Wrong(Responding):
        def __call__(self, row):
            return wrong

    def change(server):
        for number, half in list(server.halves.items()):
            other = Wrong(half.responding.task, half.responding.response, half.responding.most)
            server.halves[number] = replace(half, responding=other)

    with (
        served(bundle, change) as address,
        Client(bundle, address, insecure=True) as client,
        pytest.raises(LinkError, match=message),
    ):
        client.infer(np.zeros((3, 16, 16), np.float32))


@pytest.mark.parametrize(("change", "message"), [
    ({"kind": "segmentatoin"}, r"the task 'segmentatoin' cannot be made: .*segmentation"),
    ({"kind": "mine.py:own_task"}, "cannot be made"),
    ({"kind": "detection", "options": {}}, "the task 'detection' cannot be made"),
    ({"options": {"outputs": "out"}}, "has no such key"),
    ({"options": {"output": "other"}}, "the network returns no 'other'"),
    ({"metric": "map50"}, "'map50' is no metric of it"),
    ({"outputs": ["out"]}, "names 1 outputs, the network's result has 2"),
    ({"mask": [1 << 20, 1 << 20]}, "larger than any that is sent"),
    ({"mask": [8, 8]}, "makes other responses of this result"),
    ({"most": 5}, "makes other responses of this result"),
    ({"kind": "agreement", "options": {"of": "agreement"}}, "there is no agreement of 'agreement'"),
])  # fmt: skip
def test_a_manifest_with_a_wrong_task_is_refused(runs, change, message):
    _, exported, bundle = runs("segmentation")
    plain = exported.manifest.model_dump(mode="json")
    del plain["bundle"]
    changed = identified(plain | {"task": plain["task"] | change})
    with pytest.raises(BundleError, match=message):
        server_half(Bundle(bundle.path, changed, bundle.place))


def test_a_log_of_other_numbers_is_refused(runs, tmp_path):
    folder, _, bundle = runs("detection")
    inferred(bundle, tmp_path / "run.jsonl", frames=12)
    lines = (tmp_path / "run.jsonl").read_text().splitlines()
    run, first = json.loads(lines[0]), json.loads(lines[1])
    of = first["counts"][0]

    def refused(message, run=run, **wrong):
        every = [json.dumps(json.loads(line) | wrong) for line in lines[1:]]
        (tmp_path / "wrong.jsonl").write_text("\n".join([json.dumps(run), *every, ""]))
        with pytest.raises(DataError, match=message):
            verify(folder, [tmp_path / "wrong.jsonl"])

    refused("none of this metric", counts=[of, [[3, 1e300]]])
    refused("none of this metric", counts=[of, [[3, -5.0]]])
    refused("a number beyond the", counts=[of, [[of, 1.0]]])
    refused("other numbers than each other", counts=[of + 1, []])
    for wrong, message in (
        ({"metric": "map"}, "judged by map, the design's by map50"),
        ({"kind": "x"}, "the log's task cannot be used"),
    ):
        judged_by = run["judged_by"] | {"task": run["judged_by"]["task"] | wrong}
        refused(message, run | {"judged_by": judged_by})


@pytest.mark.slow
@pytest.mark.parametrize(("case", "told", "verified"), [
    ("segmentation", r"mIoU: \d\S* % of 60 frames", "mIoU"),
    ("detection", "AP50: 'splitimpera verify' says it, of 60 frames", "AP50"),
])  # fmt: skip
def test_the_four_commands_over_loopback(runs, case, told, verified, tmp_path):
    folder, _, _ = runs(case)

    def ran(*arguments):
        run = subprocess.run(
            [*COMMAND, *map(str, arguments)], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stderr
        return run.stdout

    exported = ran("export", folder, "--plan", PLAN, "--out", "bundle", "--samples", 20)
    assert re.search(rf"  {verified} +\S+ %, the design promised \S+ %", exported)
    ran("keys", "keys")
    command = [*COMMAND, "serve", "bundle", "--listen", "127.0.0.1:0", "--keys", "keys"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as server:
        try:
            address = re.fullmatch(r"serving \S+ at (\S+) by TCP and UDP, encrypted\n", server.stdout.readline())[1]
            sent = ("--keys", "keys", "--input", "samples", "--fps", 20, "--frames", 60, "--log", "run.jsonl")
            assert re.search(rf"^{told}$", ran("infer", "bundle", "--server", address, *sent), re.MULTILINE)
        finally:
            server.terminate()
    assert re.search(rf"^ {verified} .* yes", ran("verify", folder, "run.jsonl", "--out", "."), re.MULTILINE)
    assert verified in (tmp_path / "verify.html").read_text()
