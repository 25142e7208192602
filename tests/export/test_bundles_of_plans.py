"""Several plans in one bundle: what they share is stored and loaded once, and each computes what it does alone."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from hashlib import sha256

import numpy as np
import pytest
from export.designs import designed
from export.loopback_runs import inferred

from splitimpera.bundle.manifest import identified
from splitimpera.bundle.opened import Bundle, open_bundle
from splitimpera.core.errors import BundleError, ModelError, PlanError
from splitimpera.deploy import machine_layers
from splitimpera.deploy.halves import Received, device_halves, server_halves
from splitimpera.deploy.hops import halves_by_number
from splitimpera.export import bundling, export_bundle, lacking, write_bundle
from splitimpera.export.bundling import held
from splitimpera.export.engine_files import CannotRunError
from splitimpera.export.placing import files_of
from splitimpera.records.policy import LARGEST_BYTES, Policy, PolicyPlan, load_policy, written_policy
from splitimpera.records.spans import Span

PLANS = ["SC2-float32-tcp", "RC-float32-tcp", "SC1-float32-tcp", "LC"]
BOTTLENECK = "SC1-b4-uint8-tcp"
CODED = "RC-uint8+rans-tcp"
IMAGES = np.random.default_rng(5).integers(0, 256, (4, 8, 8, 1), np.uint8)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The results folder of a design."""
    return designed(tmp_path_factory.mktemp("several"), bottlenecks={})


@pytest.fixture(scope="module", params=["torch", pytest.param("onnx", marks=pytest.mark.slow)])
def engine(request):
    return request.param


def policy_for(run, plans):
    """A policy with one link condition for each of some plans of a design."""
    known = {plan["id"]: plan for plan in json.loads((run / "results.json").read_text())["plans"]}
    keys = ("id", "configuration", "cut", "codec", "bottleneck", "transport")
    cells = len(plans)
    return Policy(
        name="made",
        objective="on_time_accuracy",
        prior="all conditions equally often",
        rates_bps=[1e5 * 10**cell for cell in range(cells)],
        delays_s=[],
        losses=[],
        weights=[1 / cells] * cells,
        plans=[
            PolicyPlan(
                **{key: known[id][key] for key in keys},
                values=[0.9 if cell == place else 0.5 for cell in range(cells)],
                errors=[0.0] * cells,
            )
            for place, id in enumerate(plans)
        ],
        chosen=[*range(cells)],
        expected=0.9,
        of_all=0.9,
        bound=0.9,
    )


@pytest.fixture(scope="module")
def several(run, engine):
    return export_bundle(run, policy=policy_for(run, PLANS), engine=engine, samples=5)


@pytest.fixture(scope="module")
def bundle(several):
    return held(several.manifest, several.contents)


@pytest.fixture(scope="module")
def alone(run, engine):
    """Each plan's own bundle."""
    return cache(lambda plan: export_bundle(run, plan, engine=engine))


def answers(bundle, plan):
    device = device_halves(bundle, [plan])[plan]
    coded = [device(image) for image in IMAGES]
    if device.codec is None:
        return np.stack([one.result[0] for one in coded])
    server = server_halves(bundle, [plan])[plan]
    return np.stack([row[0] for row in server([Received(one.payload.data) for one in coded]).results])


# What is stored, and what it computes --------------------------------------------------------------------------------


def test_what_plans_share_is_stored_once(several):
    manifest = several.manifest
    ends = {part.machine: [segment.span[:2] for segment in part.segments] for part in manifest.parts}
    assert ends == {"camera": [(0, 1), (1, 2), (2, 5)], "server": [(0, 1), (1, 2), (2, 5)]}
    assert [plan.id for plan in manifest.plans] == PLANS
    assert [len(manifest.chain(plan, 0)) for plan in manifest.plans] == [2, 0, 1, 3]
    assert [len(manifest.chain(plan, 1)) for plan in manifest.plans if plan.hops] == [1, 3, 2]
    for part in manifest.parts:
        contents = [several.contents[segment.file] for segment in part.segments]
        assert len(set(contents)) == len(contents) == len({segment.file for segment in part.segments})
        assert set(part.files) >= {segment.file for segment in part.segments} | {"policy.json"}


@pytest.mark.parametrize("plan", PLANS)
def test_each_plan_computes_what_it_does_alone(bundle, alone, plan):
    single = alone(plan)
    wanted = answers(held(single.manifest, single.contents), plan)
    assert np.abs(answers(bundle, plan) - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_there_is_proof_of_each_plan(several):
    proofs = several.manifest.proofs
    assert [proof.plan for proof in proofs] == PLANS
    assert all((proof.samples, proof.equal, proof.lossless) == (36, 1, True) for proof in proofs)


def test_four_plans_take_little_more_than_the_largest(several, alone):
    def weights(exported, machine):
        return sum(len(exported.contents[segment.file]) for segment in exported.manifest.part(machine).segments)

    for machine, largest in (("camera", "LC"), ("server", "RC-float32-tcp")):
        singles = [alone(plan) for plan in PLANS if plan != "LC" or machine == "camera"]
        assert weights(several, machine) < sum(weights(each, machine) for each in singles)
        # files of a network this small are mostly structure, which each of three segments has
        assert weights(several, machine) < 3 * weights(alone(largest), machine)


@pytest.fixture
def loads(monkeypatch):
    """How often each program is loaded."""
    counts, load = Counter(), machine_layers.load_program

    def counted(engine, content, threads):
        counts[content] += 1
        return load(engine, content, threads)

    monkeypatch.setattr(machine_layers, "load_program", counted)
    return counts


def test_programs_are_loaded_once(bundle, loads):
    assert list(device_halves(bundle)) == PLANS
    assert sorted(loads.values()) == [1, 1, 1]
    loads.clear()
    served = halves_by_number(bundle, None, 1)
    assert {half.plan.id for half in served.values()} == {plan for plan in PLANS if plan != "LC"}
    assert sorted(loads.values()) == [1, 1, 1]


def test_only_what_is_asked_for_is_loaded(bundle, loads):
    assert list(device_halves(bundle, ["SC1-float32-tcp"])) == ["SC1-float32-tcp"]
    assert sum(loads.values()) == 1


@pytest.mark.slow
def test_bottlenecks_have_programs_and_each_codec_constants_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("SPLITIMPERA_CACHE", str(tmp_path / "cache"))
    run = designed(tmp_path)
    plans = ["SC1-float32-tcp", BOTTLENECK, CODED, "LC"]
    exported = export_bundle(run, plans, engine="torch")
    write_bundle(files_of(exported.manifest, exported.contents), tmp_path / "bundle")
    bundle = open_bundle(tmp_path / "bundle")
    spans = [segment.span for segment in bundle.manifest.part("camera").segments]
    assert spans == [Span(0, 1), Span(1, 5), Span(0, 1, 0, 4)]
    constants = {plan.id: plan.hops[0].constants for plan in bundle.manifest.plans if plan.hops}
    assert constants["SC1-float32-tcp"] is None
    assert len({constants[BOTTLENECK], constants[CODED]}) == 2
    for plan in plans:
        single = export_bundle(run, plan, engine="torch")
        wanted = answers(held(single.manifest, single.contents), plan)
        assert np.abs(answers(bundle, plan) - wanted).max() <= 1e-5 * np.abs(wanted).max(), plan


@pytest.mark.slow
def test_quantised_plans_are_calibrated_on_what_arrives(run):
    exported = export_bundle(run, PLANS, quantize="int8")
    for proof in exported.manifest.proofs:
        assert proof.float_accuracy == 1
        assert proof.accuracy > 0.5
    import onnx

    for segment in (each for part in exported.manifest.parts for each in part.segments):
        model = onnx.load_model_from_string(exported.contents[segment.file])
        assert "QuantizeLinear" in {node.op_type for node in model.graph.node}, segment.file


# The policy and the privacy floor ------------------------------------------------------------------------------------


def test_the_policy_goes_with_the_bundle_and_is_part_of_its_id(run, bundle, several):
    policy = policy_for(run, PLANS)
    assert bundle.policy() == policy
    assert several.contents["policy.json"] == written_policy(policy)
    known = several.manifest.model_dump(mode="json")
    known["files"]["policy.json"]["sha256"] = "0" * 64
    assert identified(known).bundle != several.manifest.bundle


def test_a_bundle_without_one_has_none(alone):
    single = alone("LC")
    assert held(single.manifest, single.contents).policy() is None
    assert single.manifest.policy is None


def test_a_policy_of_other_plans_is_no_policy_of_a_bundle(bundle, several, run):
    other = written_policy(policy_for(run, [CODED]))
    known = several.manifest.model_dump(mode="json")
    known["files"]["policy.json"] = {"sha256": sha256(other).hexdigest(), "bytes": len(other)}
    changed = held(identified(known), dict(several.contents) | {"policy.json": other})
    with pytest.raises(BundleError, match=r"the policy is for other plans: there is no 'RC-uint8\+rans-tcp'"):
        changed.policy()
    known["files"]["policy.json"]["bytes"] = LARGEST_BYTES + 1
    with pytest.raises(BundleError, match="larger than any"):
        held(identified(known), several.contents).policy()


def test_a_policy_of_another_design_is_refused(run):
    policy = policy_for(run, PLANS)
    known = policy.model_dump()
    known["plans"][0]["id"] = "SC9-float32-tcp"
    with pytest.raises(BundleError, match=r"there is no 'SC9-float32-tcp'.*make it again with 'splitimpera policy'"):
        export_bundle(run, policy=Policy.model_validate(known))
    known = policy.model_dump()
    known["plans"][0]["cut"] = 1
    with pytest.raises(BundleError, match="another plan 'SC2-float32-tcp'"):
        export_bundle(run, policy=Policy.model_validate(known))


def test_no_plan_that_sends_before_the_privacy_floor_is_exported(tmp_path, monkeypatch):
    run = designed(tmp_path, bottlenecks={}, requirements=["cut_depth >= 2"])
    assert export_bundle(run, ["SC2-float32-tcp", "LC"], engine="torch").manifest.floor == 2
    monkeypatch.setattr(bundling, "load_again", None)  # before anything is loaded
    words = "plan 'RC-float32-tcp': it sends after 0 layers, the design requires 'cut_depth >= 2'"
    with pytest.raises(PlanError, match=words):
        export_bundle(run, policy=policy_for(run, PLANS))
    with pytest.raises(PlanError, match="it sends after 1 layer,"):
        export_bundle(run, "SC1-float32-tcp")


# What is refused -----------------------------------------------------------------------------------------------------


def test_plans_for_other_machines(run, tmp_path, monkeypatch):
    results = json.loads((run / "results.json").read_text())
    by_id = {plan["id"]: plan for plan in results["plans"]}
    by_id["LC"]["devices"] = ["server"]
    monkeypatch.setattr(bundling, "load_again", None)
    (tmp_path / "results.json").write_text(json.dumps(results))
    with pytest.raises(PlanError, match="plan 'LC': it is for server, plan 'SC2-float32-tcp' is for camera, server"):
        export_bundle(tmp_path, PLANS)


def test_more_than_the_device_holds(run, tmp_path):
    results = json.loads((run / "results.json").read_text())
    results["scenario"]["devices"][0]["memory"] = "2 kB"
    (tmp_path / "results.json").write_text(json.dumps(results))
    with pytest.raises(PlanError, match=r"the programs of 2 plans take .* on camera, it has 2 kB"):
        export_bundle(tmp_path, ["SC1-float32-tcp", "SC2-float32-tcp"], engine="torch")


def test_a_layer_that_the_engine_lacks_is_named_whichever_plan_has_it(run, monkeypatch):
    write = lacking.file_of

    def without_the_last(part, engine):
        if part.outputs[0].shape == (5,):
            raise CannotRunError("no such operator")
        return write(part, engine)

    for module in (bundling, lacking):
        monkeypatch.setattr(module, "file_of", without_the_last)
    with pytest.raises(ModelError, match=r"PyTorch cannot run the layer 'head' \(operation linear\): no such operator"):
        export_bundle(run, PLANS, engine="torch")


# Over sockets and from the command line ------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", ["SC2-float32-tcp", "RC-float32-tcp"])
def test_one_server_serves_each_plan(bundle, tmp_path, plan):
    log = tmp_path / "log.jsonl"
    inferred(bundle, log, frames=6, plan=plan)
    run, *frames = map(json.loads, log.read_text().splitlines())
    assert run["plan"] == plan
    assert [frame["outcome"] for frame in frames] == ["ok"] * 6
    assert [frame["predicted"] for frame in frames] == [frame["label"] for frame in frames]


@pytest.mark.slow
def test_the_command(run, tmp_path, monkeypatch):
    from cli.test_cli import here

    policy = policy_for(run, ["SC2-float32-tcp", "LC"])
    (tmp_path / "policy.json").write_bytes(written_policy(policy))
    assert load_policy(tmp_path / "policy.json") == policy
    monkeypatch.chdir(tmp_path)
    done = here("export", run, "--policy", "policy.json", *"--out out.zip --only server --engine torch".split())
    assert done.returncode == 0, done.stderr
    for words in ("Plan SC2-float32-tcp: 36", "Plan LC: 36", "policy.json", "On server: splitimpera serve out.zip"):
        assert words in done.stdout, words
    opened = open_bundle("out.zip")
    assert isinstance(opened, Bundle)
    assert opened.policy() == policy
    (tmp_path / "policy.json").write_text("{}")
    refused = here("export", run, "--policy", "policy.json", "--out", "x")
    assert refused.returncode == 2
    assert "policy.json: the policy has version none" in refused.stderr
