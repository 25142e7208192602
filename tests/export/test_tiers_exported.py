"""Plans of three machines become bundles: a part for each, what the middle one has besides, and what is proven."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from export.designs import designed

from splitimpera.bundle.manifest import WITH_DIRECT_ANSWERS
from splitimpera.core.errors import BundleError, PlanError
from splitimpera.deploy.halves import Received, ServerHalf, device_half, receiving_halves
from splitimpera.export import bundling, export_bundle
from splitimpera.export.bundling import held
from splitimpera.export.designed import read_designs
from splitimpera.export.engine_files import CannotRunError
from splitimpera.export.joining import answers_of
from splitimpera.records.device import Device
from splitimpera.records.link import Link
from splitimpera.records.plan import Hop, Plan
from splitimpera.records.traffic import DirectAnswers

pytestmark = pytest.mark.slow

LINKS = Link("radio", rate_bps=20e6, delay_s=0.002), Link("fibre", rate_bps=1e9, delay_s=0.001)
GATEWAY = Device("gateway")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The results folder of a design of two machines, with a cache of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPLITIMPERA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield designed(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def exported(run, monkeypatch):
    """Exports plans that are put together here, by id the hops of each."""

    def export(gateway=GATEWAY, samples=0, quantize=None, direct=None, **plans):
        (design,) = read_designs(run, ["SC2-float32-tcp"])
        workload = replace(design.setting.workload, direct=direct)
        design = replace(design, setting=replace(design.setting, workload=workload))
        sensor, server = design.plan.devices
        devices = sensor, gateway, server

        def made(id, hops):
            given = tuple(
                Hop(cut, codec, "tcp", link, *more) for (cut, codec, *more), link in zip(hops, LINKS, strict=False)
            )
            return replace(design, plan=Plan(id, devices[: len(given) + 1], given))

        designs = [made(id, hops) for id, hops in plans.items()]
        monkeypatch.setattr(bundling, "read_designs", lambda *_: designs)
        found = export_bundle(run, list(plans), samples=samples, quantize=quantize)
        return held(found.manifest, found.contents), found

    return export


def segments(bundle):
    return {part.machine: [segment.span[:2] for segment in part.segments] for part in bundle.manifest.parts}


def answers(bundle, plan, images, ends="server"):
    """What comes of images over all machines; `ends`: on which one they are finished."""
    device = device_half(bundle, plan)
    payloads = [device(image).payload for image in images]
    for machine in device.plan.machines[1:]:
        (half,) = receiving_halves(bundle, [plan], machine).values()
        half = half.alone if machine == ends != "server" else half
        found = half([Received(payload.data) for payload in payloads])
        if isinstance(half, ServerHalf):
            return np.stack([row[0] for row in found.results])
        payloads = found.payloads
    raise AssertionError


def images(count=6):
    return np.random.default_rng(7).integers(0, 256, (count, 8, 8, 1), np.uint8)


def test_every_machine_has_its_part_and_the_one_in_the_middle_can_finish(exported):
    bundle, found = exported(tiers=[(1, "float32"), (2, "float32")])
    last = bundle.manifest.last
    assert segments(bundle) == {"camera": [(0, 1)], "gateway": [(1, 2), (2, last)], "server": [(2, last)]}
    plan = bundle.manifest.plan()
    assert plan.machines == ["camera", "gateway", "server"]
    assert (bundle.manifest.schema_version, bundle.manifest.answers) == (3, "along")
    assert [(hop.cut, hop.link.name) for hop in plan.hops] == [(1, "radio"), (2, "fibre")]
    (proof,) = bundle.manifest.proofs
    assert (proof.samples, proof.lossless, proof.equal) == (36, True, 1)
    whole = answers(bundle, "tiers", images())
    np.testing.assert_allclose(answers(bundle, "tiers", images(), "gateway"), whole, atol=1e-4)
    assert found.left_out == ("links[0].security: tls", "workload.response: runtime")


def test_answers_come_back_as_the_scenario_says(exported):
    bundle, _ = exported(direct=DirectAnswers(1e7, 0.02), tiers=[(1, "float32"), (2, "float32")])
    assert (bundle.manifest.schema_version, bundle.manifest.answers) == (WITH_DIRECT_ANSWERS, "direct")


def test_plans_of_a_policy_have_their_answers_along_the_way(run):
    (design,) = read_designs(run, ["SC2-float32-tcp"])
    direct = replace(design.setting.workload, direct=DirectAnswers(1e7, 0.02))
    design = replace(design, setting=replace(design.setting, workload=direct))
    (sensor, server), (hop,) = design.plan.devices, design.plan.hops
    way = Plan("tiers", (sensor, GATEWAY, server), (hop, replace(hop, link=LINKS[1])))
    assert answers_of([design], policy=True) == "along"  # it has no machine in the middle
    with pytest.raises(PlanError, match="--policy: answers of plan 'tiers' come back directly"):
        answers_of([design, replace(design, plan=way)], policy=True)


def test_what_only_forwards_has_no_layers_of_its_own(exported):
    bundle, _ = exported(tiers=[(1, "uint8"), (1, "uint8")])
    last = bundle.manifest.last
    assert segments(bundle) == {"camera": [(0, 1)], "gateway": [(1, last)], "server": [(1, last)]}
    (half,) = receiving_halves(bundle, ["tiers"], "gateway").values()
    assert half.alike
    assert half.layers.program is None


def test_a_bottleneck_may_be_forwarded(exported):
    bundle, _ = exported(tiers=[(1, "uint8", 4.0), (1, "uint8", 4.0)])
    assert [hop.bottleneck for hop in bundle.manifest.plan().hops] == [4.0, 4.0]
    whole = answers(bundle, "tiers", images())
    np.testing.assert_allclose(answers(bundle, "tiers", images(), "gateway"), whole, atol=1e-4)


def test_where_there_is_no_room_for_them_the_layers_behind_are_left_out(exported):
    roomy, _ = exported(tiers=[(1, "float32"), (2, "float32")])
    sizes = {name: file.bytes for name, file in roomy.manifest.files.items() if name.startswith("gateway")}
    narrow, found = exported(
        Device("gateway", memory_bytes=sum(sizes.values()) - 1), tiers=[(1, "float32"), (2, "float32")]
    )
    assert segments(narrow)["gateway"] == [(1, 2)]
    assert [name for name in found.contents if name.startswith("gateway")] == ["gateway/layers-1-2.onnx"]
    (half,) = receiving_halves(narrow, ["tiers"], "gateway").values()
    assert half.alone is None


def test_layers_behind_that_the_engine_cannot_run_are_left_out(exported, monkeypatch):
    write, calls = bundling.file_of, []

    def file_of(part, engine):
        calls.append(part)
        if len(calls) == 3:  # after the camera's, and the one that the gateway needs
            raise CannotRunError("it cannot")
        return write(part, engine)

    monkeypatch.setattr(bundling, "file_of", file_of)
    bundle, _ = exported(tiers=[(1, "float32"), (2, "float32")])
    assert segments(bundle)["gateway"] == [(1, 2)]


def test_codecs_constants_go_where_they_are_needed(exported):
    bundle, _ = exported(tiers=[(1, "uint8"), (2, "uint4")])
    first, second = (hop.constants for hop in bundle.manifest.plan().hops)
    parts = {part.machine: part.files for part in bundle.manifest.parts}
    assert first != second
    assert [name in parts["camera"] for name in (first, second)] == [True, False]
    assert [name in parts["gateway"] for name in (first, second)] == [True, True]
    assert [name in parts["server"] for name in (first, second)] == [False, True]


def test_plans_that_end_on_several_machines_share_what_they_can(exported):
    bundle, _ = exported(tiers=[(1, "float32"), (2, "float32")], near=[(1, "float16")], LC=[])
    last = bundle.manifest.last
    assert segments(bundle) == {
        "camera": [(0, 1), (1, last)],
        "gateway": [(1, 2), (2, last)],
        "server": [(2, last)],
    }
    assert [proof.equal for proof in bundle.manifest.proofs] == [1, 1, 1]


def test_plans_that_come_alike_and_go_on_in_other_ways_are_refused(exported):
    with pytest.raises(BundleError, match="'near' and 'tiers' cannot be told apart by what they send"):
        exported(tiers=[(1, "float32"), (2, "float32")], near=[(1, "float32")])


def test_with_8_bit_numbers_all_of_it_is_calibrated(exported):
    bundle, _ = exported(tiers=[(1, "float32"), (2, "float32")], quantize="int8")
    (proof,) = bundle.manifest.proofs
    assert proof.float_seconds is not None
    assert segments(bundle)["gateway"] == [(1, 2), (2, bundle.manifest.last)]
    assert answers(bundle, "tiers", images(), "gateway").shape == (6, 5)
