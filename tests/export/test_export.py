"""A small design becomes bundles: what is in them, what they compute, and what is refused."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from export.designs import TINY, designed

from splitimpera.bundle.opened import open_bundle
from splitimpera.core.errors import BundleError, DataError, ModelError, OutputError, PlanError, UnknownNameError
from splitimpera.deploy.halves import Received, device_half, server_half
from splitimpera.deploy.input_preparation import prepared
from splitimpera.evaluation.testbed import Testbed
from splitimpera.export import bundling, export_bundle, lacking, sample_file, write_bundle
from splitimpera.export.advice import extras
from splitimpera.export.part_modules import part_of
from splitimpera.export.placing import check_place, files_of
from splitimpera.graph.tracing import trace
from splitimpera.models.datasets import Dataset, Samples
from splitimpera.records.spans import Span
from splitimpera.records.traffic import Workload

BOTTLENECK = "SC1-b4-uint8-tcp"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The results folder of a design, with a cache of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPLITIMPERA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield designed(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def split(run):
    """A plan at whose cut two tensors cross, exported once."""
    return export_bundle(run, "SC2-float32-tcp", samples=10)


def answers(bundle, images, plan=None):
    device, server = device_half(bundle, plan), server_half(bundle, plan)
    payloads = [device(image).payload for image in images]
    return np.stack([result[0] for result in server([Received(payload.data) for payload in payloads]).results])


def network_of(run):
    """The network in PyTorch, on images (N, H, W, C)."""
    space = {}
    exec((run.parent / "mine.py").read_text(), space)
    model = space["network"]()

    def logits(images):
        with torch.no_grad():
            return model(torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32) / 255)).numpy()

    return logits


# What is written -----------------------------------------------------------------------------------------------------


def test_both_halves_of_a_folder_compute_what_the_network_does(run, split, tmp_path):
    write_bundle(files_of(split.manifest, split.contents), tmp_path / "bundle")
    bundle = open_bundle(tmp_path / "bundle")
    samples = np.load(io.BytesIO(bundle.read("samples.npz")))
    assert samples["x"].shape == (10, 8, 8, 1)
    assert samples["x"].dtype == np.uint8
    wanted = network_of(run)(samples["x"])
    assert np.abs(answers(bundle, samples["x"]) - wanted).max() < 1e-4
    assert (wanted.argmax(1) == samples["y"]).all()


def test_the_manifest_says_what_the_design_said(run, split):
    manifest, results = split.manifest, json.loads((run / "results.json").read_text())
    entry = next(plan for plan in results["plans"] if plan["id"] == "SC2-float32-tcp")
    plan = manifest.plan()
    assert plan.predicted == entry["metrics"]
    assert [wanted.text for wanted in plan.requirements] == [wanted["text"] for wanted in results["requirements"]]
    assert [wanted.weight for wanted in plan.requirements] == [None, 1]
    hop = plan.hops[0]
    assert len(hop.tensors) == 2
    assert (hop.cut, hop.layer, hop.transport, hop.deadline_s) == (2, "conv", "tcp", None)
    assert hop.packet_bytes == 1500 - 28 - 20
    assert (hop.link.rate_bps, hop.link.delay_s, hop.link.mtu_bytes) == (20e6, 0.002, 1500)
    assert manifest.input.pixels is not None
    assert [part.machine for part in manifest.parts] == ["camera", "server"]
    assert [segment.span[:2] for part in manifest.parts for segment in part.segments] == [(0, 2), (2, manifest.last)]
    (proof,) = manifest.proofs
    assert (proof.samples, proof.lossless, proof.equal) == (36, True, 1)
    assert proof.largest_difference < 1e-4


def test_nothing_of_this_machine_is_in_the_files(run, split):
    for name, content in split.contents.items():
        assert str(Path.home()).encode() not in content, name
        assert str(run.parent).encode() not in content, name
        assert b"site-packages" not in content, name


def test_a_zip_is_the_same_bundle_and_the_same_file_each_time(split, tmp_path):
    files = files_of(split.manifest, split.contents)
    for name in ("one.zip", "two.zip"):
        write_bundle(files, tmp_path / name)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    bundle = open_bundle(tmp_path / "one.zip")
    assert bundle.manifest == split.manifest
    assert {name: bundle.read(name) for name in bundle.manifest.files} == dict(split.contents)


@pytest.mark.parametrize(("only", "machine"), [("device", "camera"), ("server", "server"), ("camera", "camera")])
def test_one_machine_gets_its_own_files_and_the_whole_manifest(split, tmp_path, only, machine):
    write_bundle(files_of(split.manifest, split.contents, only), tmp_path / "bundle")
    bundle = open_bundle(tmp_path / "bundle")
    assert bundle.manifest.bundle == split.manifest.bundle
    there = {path.relative_to(tmp_path / "bundle").as_posix() for path in (tmp_path / "bundle").rglob("*.*")}
    assert there == {"manifest.json", *bundle.manifest.part(machine).files}
    mine, others = (device_half, server_half) if machine == "camera" else (server_half, device_half)
    assert mine(bundle).plan.id == "SC2-float32-tcp"
    with pytest.raises(BundleError, match="does not exist"):
        others(bundle)


@pytest.mark.slow
def test_local_and_remote_plans(run):
    local = export_bundle(run, "LC", engine="torch")
    bundle = bundling.held(local.manifest, local.contents)
    images = np.random.default_rng(5).integers(0, 256, (3, 8, 8, 1), np.uint8)
    results = np.stack([device_half(bundle)(image).result[0] for image in images])
    assert np.abs(results - network_of(run)(images)).max() < 1e-4
    with pytest.raises(BundleError, match="device alone"):
        server_half(bundle)
    assert local.left_out == ()
    remote = export_bundle(run, "RC-uint8+rans-tcp")
    assert [len(part.segments) for part in remote.manifest.parts] == [0, 1]
    assert remote.proofs[0].proven.lossless
    assert remote.extras == ("ans",)
    bundle = bundling.held(remote.manifest, remote.contents)
    assert np.abs(answers(bundle, images) - network_of(run)(images)).max() < 1e-4
    hop = remote.manifest.plan().hops[0]
    numbers = {bundle.codec(hop) and hop.number for _ in range(10)}  # each time its constants are read anew
    assert numbers == {hop.number}


@pytest.mark.slow
def test_a_bottleneck_is_inside_and_is_trained_again_where_it_is_gone(run, tmp_path, monkeypatch):
    said = []
    first = export_bundle(run, BOTTLENECK, engine="torch", say=said.append)
    assert not any("again" in line for line in said)
    assert [name.rpartition(".")[2] for name in first.contents] == ["safetensors", "pt2", "pt2"]
    assert first.proofs[0].proven.parts.equal == 1
    hop = first.manifest.plan().hops[0]
    assert hop.bottleneck == 4
    assert hop.tensors[0].spec.elements == 4 * 4 * 4 / 4
    monkeypatch.setenv("SPLITIMPERA_CACHE", str(tmp_path))
    export_bundle(run, BOTTLENECK, engine="torch", say=said.append)
    assert sum("no longer in the cache: it is trained again" in line for line in said) == 1


def test_pytorch_files_hold_no_pickle(run):
    exported = export_bundle(run, "LC", engine="torch")
    with zipfile.ZipFile(io.BytesIO(exported.contents[exported.manifest.part("camera").files[0]])) as archive:
        heads = {name: archive.read(name)[:2] for name in archive.namelist()}
    assert not [name for name, head in heads.items() if head in (b"\x80\x02", b"\x80\x04", b"PK")]
    assert all(b"stack_trace" not in content for content in exported.contents.values())


@pytest.mark.slow
def test_quantised_parts_stand_beside_floats(run):
    exported = export_bundle(run, "SC1-float32-tcp", quantize="int8")
    (proof,) = exported.manifest.proofs
    assert proof.float_accuracy == 1
    assert proof.float_seconds is not None
    assert proof.accuracy is not None
    assert 0.5 < proof.accuracy <= 1
    assert proof.largest_difference > 1e-4  # these are other numbers
    import onnx

    for name, content in exported.contents.items():
        kinds = {node.op_type for node in onnx.load_model_from_string(content).graph.node}
        assert "QuantizeLinear" in kinds, name


def test_samples_that_are_no_images_are_tensors(run, monkeypatch):
    monkeypatch.setattr(sample_file, "_images", lambda *_: None)
    exported = export_bundle(run, "LC", engine="torch", samples=1000)
    samples = np.load(io.BytesIO(exported.contents["samples.npz"]))
    assert samples["x"].shape == (27, 1, 8, 8)
    assert prepared(samples["x"][0], exported.manifest.input)[0].dtype == np.float32


def test_what_the_prediction_left_out_is_named_with_its_keys(split):
    assert split.left_out == ("links[0].security: tls", "workload.response: runtime")


# What is refused -----------------------------------------------------------------------------------------------------


def test_halves_that_compute_something_else_are_not_written(run, monkeypatch):
    written = bundling.file_of

    def tampered(part, engine):
        with torch.no_grad():
            for weight in part.module.parameters():
                weight.mul_(-1.0)
            try:
                return written(part, engine)
            finally:
                for weight in part.module.parameters():
                    weight.mul_(-1.0)

    monkeypatch.setattr(bundling, "file_of", tampered)
    with pytest.raises(BundleError, match=r"of 36 validation samples, at least 99\.5 % .* Nothing was written"):
        export_bundle(run, "SC1-float32-tcp", engine="torch")


def test_flips_of_what_is_nearly_the_same_do_not_count():
    from splitimpera.tasks.sameness import ComparedClasses

    compared = ComparedClasses()
    for _ in range(10):
        compared.add(np.array([1.0, 1.0 + 1e-7]), np.array([1.0 + 2e-7, 1.0]))
    assert compared.equal == 0
    assert compared.as_good_as_equal == 1
    for _ in range(10):
        compared.add(np.array([1.0, 2.0]), np.array([2.0, 1.0]))
    assert compared.as_good_as_equal == 0.5


def test_plans_engines_and_machines_that_there_are_not(run, split):
    with pytest.raises(PlanError, match="no plan 'SC9'"):
        export_bundle(run, "SC9")
    with pytest.raises(UnknownNameError, match=r"no engine is called 'onx'; did you mean 'onnx'\?"):
        export_bundle(run, engine="onx")
    with pytest.raises(ModelError, match="3 engines are named, the plan has 2 machines"):
        export_bundle(run, "SC1-float32-tcp", engine="onnx,torch,onnx")
    with pytest.raises(BundleError, match=r"no machine 'sever'; known: device, server, camera"):
        files_of(split.manifest, split.contents, "sever")


def test_no_plan_is_recommended(run, tmp_path):
    results = json.loads((run / "results.json").read_text())
    decision = results["recommendation"]
    decision["nearest"], decision["plan"] = decision["plan"], None
    (tmp_path / "results.json").write_text(json.dumps(results))
    with pytest.raises(PlanError, match=f"'--plan {decision['nearest']}' exports the nearest"):
        export_bundle(tmp_path)


def test_results_that_are_damaged(run, tmp_path):
    with pytest.raises(DataError, match=r"there is no results\.json"):
        export_bundle(tmp_path)
    (tmp_path / "results.json").write_bytes((run / "results.json").read_bytes()[:-100])
    with pytest.raises(DataError):
        export_bundle(tmp_path)


def test_a_machine_without_an_engine_is_named_before_anything_is_loaded(run, tmp_path, monkeypatch):
    results = json.loads((run / "results.json").read_text())
    results["scenario"]["devices"][0]["preset"] = "cortex-m4"
    (tmp_path / "results.json").write_text(json.dumps(results))
    monkeypatch.setattr(bundling, "load_again", None)
    with pytest.raises(ModelError, match=r"neither ONNX Runtime nor PyTorch runs on 'camera' \(cortex-m4\)"):
        export_bundle(tmp_path, "SC1-float32-tcp")


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("manual_seed(3)", "manual_seed(4)", "has other weights"),
        ("nn.Conv2d(4, 4, 3, padding=1)", "nn.Conv2d(4, 4, 1)", "another network"),
        ("(90, 8, 8, 1)", "(80, 8, 8, 1)", "in the design there were 27, 36 and 27"),
    ],
)
def test_another_network_or_other_data_than_in_the_design(run, tmp_path, before, after, words):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    # data are labelled by the network as it was
    changed = TINY.replace(before, after).replace("network()(x).argmax(1)", "labels(x)")
    changed += "\n\ndef labels(x):\n    torch.manual_seed(3)\n    made = Tiny().eval()\n    return made(x).argmax(1)\n"
    (tmp_path / "mine.py").write_text(changed)
    results = (folder / "results.json").read_text().replace(str(run.parent), str(tmp_path))
    (folder / "results.json").write_text(results)
    with pytest.raises((ModelError, DataError), match=words):
        export_bundle(folder, "LC")


def test_what_is_no_bundle_is_left_alone(split, tmp_path):
    files = files_of(split.manifest, split.contents)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"holds other things than a bundle \('thesis.txt'\)"):
        write_bundle(files, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "mine"
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="is no folder"):
        check_place(tmp_path / "file")
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    with pytest.raises(OutputError, match="is no folder"):
        check_place(tmp_path / "link")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link", "mine"]


def test_an_earlier_bundle_gives_way_and_one_that_cannot_be_written_does_not(split, tmp_path, monkeypatch):
    files = files_of(split.manifest, split.contents)
    write_bundle(files, tmp_path / "bundle")
    write_bundle(files_of(split.manifest, split.contents, "server"), tmp_path / "bundle")
    assert not (tmp_path / "bundle" / "camera").exists()
    before = {path: path.read_bytes() for path in (tmp_path / "bundle").rglob("*.*")}

    def full(self, mode):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OutputError, match="No space left on device"):
        write_bundle(files, tmp_path / "bundle")
    monkeypatch.undo()
    assert {path: path.read_bytes() for path in (tmp_path / "bundle").rglob("*.*")} == before
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


# What an engine lacks ------------------------------------------------------------------------------------------------


def bed(model, x):
    part = Samples(x, torch.zeros(len(x), dtype=torch.int64))
    return Testbed(trace(model, x), Dataset(part, part, part), Workload(20.0))


@pytest.fixture(scope="module")
def twisted():
    """A network whose third layer is an operation that ONNX does not have."""
    library = torch.library.Library("exported", "DEF")
    library.define("twist(Tensor x) -> Tensor")
    library.impl("twist", lambda x: x.flip(1) * 2, "CompositeExplicitAutograd")
    library.impl("twist", torch.empty_like, "Meta")

    class Twisted(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
            self.three = torch.nn.Linear(4, 3)

        def forward(self, x):
            return self.three(torch.ops.exported.twist(self.two(self.one(x).relu())))

    yield bed(Twisted().eval(), torch.rand(6, 4))
    library._destroy()


@pytest.mark.slow
def test_a_layer_that_the_engine_lacks_is_named_with_the_nearest_cut_that_works(twisted):
    Span = bundling.Span  # noqa: N806
    last = twisted.last
    head = Span(0, 3), Span(3, last)
    error = lacking.refusal(twisted, head, ["onnx", "torch"], 0, "why")
    assert "cannot run the layer 'twist' (operation twist): why" in str(error)
    assert "the nearest cut that works is cut 2 (two)" in str(error)
    error = lacking.refusal(twisted, head, ["onnx", "onnx"], 0, "why")
    assert "no cut helps where both machines run ONNX; take '--engine torch'" in str(error)
    assert "'--engine onnx,torch' works at cut 2 (two)" in str(error)


def test_tensors_that_do_not_stack():
    class Mixed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = torch.nn.Linear(4, 6), torch.nn.Linear(3, 5)

        def forward(self, x):
            rows = self.one(x).reshape(-1, 3)  # frames are mixed with another dimension
            return self.two(rows.relu()).reshape(x.shape[0], -1)

    x = torch.rand(6, 4)
    testbed = bed(Mixed().eval(), x)
    cut = next(cut for cut in testbed.graph.cuts if any(spec.batch_dim is None for spec in cut.tensors))
    from splitimpera.deploy.inference import load_program
    from splitimpera.export.engine_files import file_of

    head, tail = (part_of(testbed, bundling.Span(*ends)) for ends in ((0, cut.index), (cut.index, testbed.last)))
    assert not head.together
    assert head.inputs[0].shape == (4,)
    programs = [load_program("torch", file_of(part, "torch")) for part in (head, tail)]
    (found,) = programs[1](programs[0]([x[1].numpy()]))
    (wanted,) = testbed.call(Span(0, testbed.last), (x[1:2],))
    assert np.abs(found - wanted[0].numpy()).max() < 1e-5


def test_bfloat16_is_float32_outside():
    from splitimpera.deploy.inference import load_program
    from splitimpera.export.engine_files import file_of

    class Narrow(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.one = torch.nn.Linear(4, 6, dtype=torch.bfloat16)
            self.two = torch.nn.Linear(6, 3)

        def forward(self, x):
            return self.two(self.one(x.to(torch.bfloat16)).relu().to(torch.float32))

    x = torch.rand(6, 4)
    model = Narrow().eval()
    testbed = bed(model, x)
    cut = next(cut for cut in testbed.graph.cuts[1:] if cut.tensors[0].dtype == "bfloat16")
    testbed._examples[cut.index, 0.0] = (np.zeros(cut.tensors[0].shape, np.float32),)  # as codecs hand it on
    head, tail = (part_of(testbed, bundling.Span(*ends)) for ends in ((0, cut.index), (cut.index, testbed.last)))
    crossing = load_program("torch", file_of(head, "torch"))([x.numpy()])
    assert crossing[0].dtype == np.float32
    (found,) = load_program("torch", file_of(tail, "torch"))(crossing)
    assert np.abs(found - model(x).detach().numpy()).max() < 1e-5


def test_extras_that_codecs_need():
    assert extras(["uint8", "uint4:channel+rans-packets+fec:20"]) == ["ans", "fec"]
    assert extras(["uint8+zstd"]) == []


# The command ---------------------------------------------------------------------------------------------------------


def test_the_command_says_what_it_found_and_what_to_do_next(run, tmp_path, monkeypatch):
    from cli.test_cli import here

    monkeypatch.chdir(tmp_path)
    done = here(
        "export",
        run,
        "--plan",
        "SC2-float32-tcp",
        "--out",
        "out.zip",
        *("--samples 5 --only device --engine torch".split()),
    )
    assert done.returncode == 0, done.stderr
    for words in (
        "36 validation samples through all parts in their engine",
        "100 % equal predictions",
        "float32, lossless",
        "accuracy     100 %, the design promised 100 %",
        "camera needs manifest.json, camera/layers-0-2.pt2",
        "links[0].security: tls; workload.response: runtime",
        "Written: out.zip (what 'device' needs)",
        "First splitimpera keys KEYS --host SERVER; then, with --keys KEYS in each line:",
        "On camera: splitimpera infer out.zip --server HOST:PORT --input samples",
    ):
        assert words in done.stdout, words
    assert open_bundle("out.zip").manifest.samples == "samples.npz"
    refused = here("export", run, "--plan", "LC", "--out", "x", "--only", "server")
    assert refused.returncode == 2
    assert refused.stderr == "error: --only: the plan has no machine 'server'; known: device, camera\n"
    assert [path.name for path in tmp_path.iterdir()] == ["out.zip"]
