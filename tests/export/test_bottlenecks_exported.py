"""Plans with bottlenecks on several hops become bundles: whose weights each program has, and what is proven."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from export.designs import designed
from identities import RATIO, identity

from splitimpera.bundle.manifest import read_manifest, written
from splitimpera.core.errors import BundleError
from splitimpera.deploy.halves import Received, device_half, receiving_halves
from splitimpera.export import bundling, export_bundle
from splitimpera.export.designed import Designed, read_designs
from splitimpera.records.device import Device
from splitimpera.records.link import Link
from splitimpera.records.plan import Hop, Plan
from splitimpera.records.spans import spans_between

pytestmark = pytest.mark.slow

LINKS = Link("radio", rate_bps=20e6, delay_s=0.002), Link("fibre", rate_bps=1e9, delay_s=0.001)
FACTORS = {1: 1.5, 2: 0.5}
"""Of the parameters of the tail behind each cut."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPLITIMPERA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield designed(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def exported(run, monkeypatch):
    """Exports plans of three machines, by id the places of each; bottlenecks change nothing but the weights behind."""
    load_again, beds = bundling.load_again, []

    def export(codecs=("float32", "float32"), **plans):
        (design,) = read_designs(run, ["SC2-float32-tcp"])
        camera, server = design.plan.devices

        def made(id, places):
            hops = tuple(
                Hop(cut, codec, "tcp", link, ratio)
                for (cut, ratio), codec, link in zip(places, codecs, LINKS, strict=True)
            )
            return Designed(
                design.results, design.setting, Plan(id, (camera, Device("gateway"), server), hops), design.entry
            )

        def loaded(*arguments):
            bed = load_again([design], *arguments[1:])
            for cut, factor in FACTORS.items():
                bed.add_split(RATIO, identity(bed.graph, cut, factor))
            beds.append(bed)
            return bed

        monkeypatch.setattr(bundling, "read_designs", lambda *_: [made(id, places) for id, places in plans.items()])
        monkeypatch.setattr(bundling, "load_again", loaded)
        found = export_bundle(run, list(plans))
        return bundling.held(found.manifest, found.contents), beds[-1]

    return export


def answers(bundle, plan, images, ends=None):
    """What comes of images over all machines; `ends`: on which one they are finished."""
    device = device_half(bundle, plan)
    payloads = [device(image).payload for image in images]
    for machine in device.plan.machines[1:]:
        (half,) = receiving_halves(bundle, [plan], machine).values()
        half = half.alone if machine == ends else half
        found = half([Received(payload.data) for payload in payloads])
        if machine in (ends, device.plan.machines[-1]):
            return np.stack([row[0] for row in found.results])
        payloads = found.payloads
    raise AssertionError


def programs(bundle):
    return {part.machine: {segment.file.split("/")[1] for segment in part.segments} for part in bundle.manifest.parts}


def images(count=6):
    return np.random.default_rng(7).integers(0, 256, (count, 8, 8, 1), np.uint8)


def of_the_testbed(bed, places, images):
    x = (torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32) / 255),)
    for span in spans_between(places, bed.last):
        x = bed.call(span, x)
    return x[0].numpy()


@pytest.mark.parametrize("places", [[(1, RATIO), (2, RATIO)], [(1, RATIO), (2, 0.0)], [(1, 0.0), (2, RATIO)]])
def test_the_halves_are_the_testbeds(exported, places):
    bundle, bed = exported(tiers=places)
    (proof,) = bundle.manifest.proofs
    assert (proof.lossless, proof.equal) == (True, 1)
    whole = answers(bundle, "tiers", images())
    np.testing.assert_allclose(whole, of_the_testbed(bed, places, images()), atol=1e-4)
    alone = answers(bundle, "tiers", images(), "gateway")
    np.testing.assert_allclose(alone, of_the_testbed(bed, places[:1], images()), atol=1e-4)
    assert np.abs(whole - of_the_testbed(bed, [], images())).max() > 0.01


def test_files_say_whose_weights_they_hold(exported):
    bundle, bed = exported(tiers=[(1, RATIO), (2, 0.0)])
    last = bed.last
    assert programs(bundle) == {
        "camera": {"layers-0-1-b2.onnx"},
        "gateway": {"layers-1b2-2.onnx", f"layers-1-{last}-b2.onnx"},
        "server": {f"layers-2-{last}-of-1b2.onnx"},
    }
    both, _ = exported(tiers=[(1, RATIO), (2, RATIO)])
    assert programs(both) == {
        "camera": {"layers-0-1-b2.onnx"},
        "gateway": {"layers-1b2-2-b2.onnx", f"layers-1-{last}-b2.onnx"},
        "server": {f"layers-2-{last}-b2.onnx"},
    }
    assert (bundle.manifest.schema_version, both.manifest.schema_version) == (5, 3)


def test_the_manifest_is_read_as_it_was_written(exported):
    bundle, _ = exported(tiers=[(1, RATIO), (2, 0.0)])
    content = written(bundle.manifest)
    assert read_manifest(content) == bundle.manifest
    plain = json.loads(content)
    (segment,) = next(part["segments"] for part in plain["parts"] if part["machine"] == "server")
    assert segment["behind"] == {"cut": 1, "ratio": RATIO}
    for part in plain["parts"]:
        assert part["machine"] == "server" or not any("behind" in segment for segment in part["segments"])
    with pytest.raises(BundleError, match="on several machines of 5"):
        bundling.identified({key: plain[key] for key in plain if key != "bundle"} | {"schema_version": 3})
    del segment["behind"]
    with pytest.raises(BundleError, match="plan 'tiers' lacks a program for machine 'server'"):
        bundling.identified({key: plain[key] for key in plain if key != "bundle"})


def test_plans_of_other_weights_that_come_alike_are_refused(exported):
    """The gateway can tell them apart by their constants, the server cannot."""
    with pytest.raises(BundleError, match="cannot be told apart by what they send"):
        exported(("uint8", "float32"), squeezed=[(1, RATIO), (2, 0.0)], plain=[(1, 0.0), (2, 0.0)])


def test_plans_of_other_weights_share_no_layers(exported):
    """Their codecs differ, as what the tail makes lies in another range."""
    bundle, _ = exported(("uint8", "uint8"), squeezed=[(1, RATIO), (2, 0.0)], plain=[(1, 0.0), (2, 0.0)])
    last = bundle.manifest.last
    assert programs(bundle)["server"] == {f"layers-2-{last}-of-1b2.onnx", f"layers-2-{last}.onnx"}
    assert len({hop.number for plan in bundle.manifest.plans for hop in plan.hops[1:]}) == 2
