"""Plans with bottlenecks on several hops become bundles: whose weights each program has, and what is proven."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch
from export.designs import designed
from identities import RATIO, identity
from torch import nn

from splitimpera.bundle.manifest import read_manifest, written
from splitimpera.core.errors import BundleError
from splitimpera.deploy.halves import Received, device_half, receiving_halves
from splitimpera.export import bundling, export_bundle
from splitimpera.export.designed import Designed, read_designs
from splitimpera.records.device import Device
from splitimpera.records.link import Link
from splitimpera.records.plan import Exit, Hop, Plan
from splitimpera.records.spans import spans_between

pytestmark = pytest.mark.slow

LINKS = Link("radio", rate_bps=20e6, delay_s=0.002), Link("fibre", rate_bps=1e9, delay_s=0.001)
THRESHOLD = 0.24
"""How sure an exit has to be."""
FACTORS = {1: 1.5, 2: 0.5}
"""Of the parameters of the tail behind each cut."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPLITIMPERA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield designed(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def exported(run):
    """Exports plans of three machines, by id the places of each; bottlenecks change nothing but the weights behind."""
    load_again, beds, known = bundling.load_again, [], {}

    def export(codecs=("float32", "float32"), engine="torch", exits=(), **plans):
        asked = repr((codecs, engine, exits, plans))
        if asked not in known:
            known[asked] = anew(codecs, engine, exits, plans)
        return known[asked]

    def anew(codecs, engine, exits, plans):
        (design,) = read_designs(run, ["SC2-float32-tcp"])
        camera, server = design.plan.devices

        def made(id, places):
            hops = tuple(
                Hop(cut, codec, "tcp", link, ratio)
                for (cut, ratio), codec, link in zip(places, codecs, LINKS, strict=True)
            )
            plan = Plan(id, (camera, Device("gateway"), server), hops, exits)
            return Designed(design.results, design.setting, plan, design.entry)

        def loaded(*arguments):
            bed = load_again([design], *arguments[1:])
            for cut, factor in FACTORS.items():
                bed.add_split(RATIO, identity(bed.graph, cut, factor))
            for exit in exits:
                bed.add_exit(exit.cut, head_of(bed, exit.cut))
            beds.append(bed)
            return bed

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bundling, "read_designs", lambda *_: [made(id, places) for id, places in plans.items()])
            patch.setattr(bundling, "load_again", loaded)
            found = export_bundle(run, list(plans), engine=engine)
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
    return {part.machine: {Path(segment.file).stem for segment in part.segments} for part in bundle.manifest.parts}


def head_of(bed, cut):
    """A head of an exit that is sure of some frames only."""
    (spec,) = bed.specs(cut, 0.0)
    (result,) = bed.specs(bed.last, 0.0)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        linear = nn.Linear(prod(spec.shape), *result.shape)
    with torch.no_grad():
        linear.weight *= 20
    return nn.Sequential(nn.Flatten(), linear).eval()


def images(count=6):
    return np.random.default_rng(7).integers(0, 256, (count, 8, 8, 1), np.uint8)


def of_the_testbed(bed, places, images):
    x = (torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32) / 255),)
    for span in spans_between(places, bed.last):
        x = bed.call(span, x)
    return x[0].numpy()


@pytest.mark.parametrize(
    ("places", "engine"),
    [
        ([(1, RATIO), (2, RATIO)], "torch"),
        ([(1, RATIO), (2, 0.0)], "torch"),
        ([(1, RATIO), (2, 0.0)], "onnx"),
        ([(1, 0.0), (2, RATIO)], "torch"),
    ],
)
def test_the_halves_are_the_testbeds(exported, places, engine):
    bundle, bed = exported(engine=engine, tiers=places)
    (proof,) = bundle.manifest.proofs
    assert (proof.lossless, proof.equal) == (True, 1)
    whole = answers(bundle, "tiers", images())
    np.testing.assert_allclose(whole, of_the_testbed(bed, places, images()), atol=1e-4)
    alone = answers(bundle, "tiers", images(), "gateway")
    np.testing.assert_allclose(alone, of_the_testbed(bed, places[:1], images()), atol=1e-4)
    assert np.abs(whole - of_the_testbed(bed, [], images())).max() > 0.01


def test_frames_may_leave_early_in_front_of_a_bottleneck(exported):
    """Those that go on are answered by its tail, on all machines behind."""
    places = [(1, RATIO), (2, 0.0)]
    bundle, bed = exported(exits=(Exit(1, (THRESHOLD,)),), tiers=places)
    assert (bundle.manifest.schema_version, bundle.manifest.plan().configuration) == (5, "EE")
    assert read_manifest(written(bundle.manifest)) == bundle.manifest
    assert programs(bundle)["camera"] == {"layers-0-1", "layers-1-1-b2"}
    device, given = device_half(bundle, "tiers"), images(40)
    found = [device(image) for image in given]
    assert 0 < sum(each.left is not None for each in found) < len(found)
    assert all((each.payload is None) is (each.left is not None) for each in found)
    wait = [place for place, each in enumerate(found) if each.left is None]
    wanted = of_the_testbed(bed, places, given[wait])
    np.testing.assert_allclose(answers(bundle, "tiers", given[wait]), wanted, atol=1e-4)
    (proof,) = bundle.manifest.proofs
    assert 0 < proof.left[0] < 1
    assert proof.equal == 1


def test_files_say_whose_weights_they_hold(exported):
    bundle, bed = exported(tiers=[(1, RATIO), (2, 0.0)])
    last = bed.last
    assert programs(bundle) == {
        "camera": {"layers-0-1-b2"},
        "gateway": {"layers-1b2-2", f"layers-1-{last}-b2"},
        "server": {f"layers-2-{last}-of-1b2"},
    }
    both, _ = exported(tiers=[(1, RATIO), (2, RATIO)])
    assert programs(both) == {
        "camera": {"layers-0-1-b2"},
        "gateway": {"layers-1b2-2-b2", f"layers-1-{last}-b2"},
        "server": {f"layers-2-{last}-b2"},
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
    assert programs(bundle)["server"] == {f"layers-2-{last}-of-1b2", f"layers-2-{last}"}
    assert len({hop.number for plan in bundle.manifest.plans for hop in plan.hops[1:]}) == 2
