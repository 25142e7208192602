"""A machine between two others: what it makes of frames, what it lets through, and what it finishes by itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_bundle import samples
from tier_bundle import CLOUD, GATEWAY, SENSOR, make_tiers, network

from splitimpera.core.errors import BundleError
from splitimpera.deploy.halves import MiddleHalf, Received, ServerHalf, device_half, receiving_halves, server_half
from splitimpera.deploy.hops import halves_by_number
from splitimpera.deploy.serving_bundles import load_bundle
from splitimpera.deploy.sessions import Limits


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_tiers(tmp_path_factory.mktemp("tiers"))


@pytest.fixture(scope="module")
def finishing(tmp_path_factory):
    return make_tiers(tmp_path_factory.mktemp("tiers"), finishes=True)


def halves(bundle, plan):
    (middle,) = receiving_halves(bundle, [plan], GATEWAY).values()
    return device_half(bundle, plan), middle, server_half(bundle, plan)


@pytest.mark.parametrize("plan", ["each", "past"])
def test_all_three_parts_compute_what_the_network_does(bundle, plan):
    device, middle, server = halves(bundle, plan)
    x = samples(5, seed=3)
    sent = [Received(device(each).payload.data) for each in x]
    passed = middle(sent)
    found = server([Received(payload.data) for payload in passed.payloads])
    tolerance = 1e-5 if plan == "each" else 1e-2
    np.testing.assert_allclose(np.stack([row[0] for row in found.results]), network(x), rtol=tolerance, atol=tolerance)
    assert (passed.run_s > 0) is (plan == "each")


def test_what_is_coded_alike_goes_on_as_it_came(bundle):
    device, middle, _ = halves(bundle, "past")
    payload = device(samples()[0]).payload
    assert middle.alike
    passed = middle([Received(payload.data)])
    assert passed.payloads[0] == payload
    assert passed.decode_s == passed.encode_s == [0.0]
    assert not halves(bundle, "each")[1].alike


def test_gaps_are_filled_where_they_are_found_and_the_rest_stays_as_it_was(bundle):
    device, middle, server = halves(bundle, "filled")
    data = bytearray(device(samples()[0]).payload.data)
    data[:8] = bytes(8)
    passed = middle([Received(bytes(data), ((0, 8),)), Received(bytes(data))])
    filled, whole = (payload.data for payload in passed.payloads)
    assert whole == bytes(data)
    assert len(filled) == len(data)
    assert filled[:8] != bytes(8)
    assert filled[8:] == bytes(data[8:])
    (expected,) = middle.codec.decode(bytes(data), ((0, 8),))
    np.testing.assert_allclose(server.codec.decode(filled)[0], expected, atol=np.abs(expected).max() / 255)


def test_what_its_codec_cannot_do_without_goes_no_further(bundle):
    device, middle, _ = halves(bundle, "each")
    payload = device(samples()[0]).payload
    passed = middle([Received(payload.data), Received(payload.data[:-4])])
    assert passed.payloads[0] is not None
    assert passed.payloads[1] is None


def test_with_all_layers_behind_it_it_can_finish_by_itself(bundle, finishing):
    assert halves(bundle, "each")[1].alone is None
    device, middle, _ = halves(finishing, "each")
    assert isinstance(middle.alone, ServerHalf)
    x = samples(3, seed=4)
    found = middle.alone([Received(device(each).payload.data) for each in x])
    np.testing.assert_allclose(np.stack([row[0] for row in found.results]), network(x), rtol=1e-5)


def test_each_machine_has_the_plans_whose_frames_come_to_it(finishing):
    served = {machine: halves_by_number(finishing, None, 1, machine).values() for machine in (GATEWAY, CLOUD)}
    kinds = {machine: {half.plan.id: type(half) for half in found} for machine, found in served.items()}
    assert kinds[GATEWAY] == {"each": MiddleHalf, "past": MiddleHalf, "filled": MiddleHalf, "two": ServerHalf}
    assert kinds[CLOUD] == dict.fromkeys(("each", "past", "filled"), ServerHalf)
    last = halves_by_number(finishing, None, 1)
    assert [half.plan.id for half in last.values()] == list(kinds[CLOUD])


@pytest.mark.parametrize(("plans", "machine", "words"), [
    (["two"], CLOUD, "no frame of plan 'two' comes to 'cloud'"),
    (["each"], SENSOR, "no frame of plan 'each' comes to 'sensor'; they come to gateway, cloud"),
    (None, SENSOR, "no frame of any plan comes to 'sensor'"),
    (None, "fog", "the bundle has no part for 'fog'"),
    (["lc"], None, "'lc' runs on the device alone"),
    (["one"], None, "the bundle has no plan 'one'"),
])  # fmt: skip
def test_a_machine_that_no_frame_comes_to_is_told_so(finishing, plans, machine, words):
    with pytest.raises(BundleError, match=words):
        halves_by_number(finishing, plans, 1, machine)


def test_a_machine_in_the_middle_has_to_know_where_frames_go_on_to(bundle):
    with pytest.raises(BundleError, match=r"plan 'each' does not end on 'gateway'.*--next"):
        load_bundle(bundle, None, 1, Limits(), GATEWAY)
    assert [hop.cut for hop in load_bundle(bundle, None, 1, Limits(), GATEWAY, goes_on=True).onward] == [2, 1, 1]


def test_plans_that_go_on_in_other_ways_are_told_apart(bundle):
    manifest = bundle.manifest
    each = manifest.plan("each")
    other = each.model_copy(update={"id": "other", "hops": [each.hops[0], manifest.plan("past").hops[1]]})
    both = replace(bundle, manifest=manifest.model_copy(update={"plans": [each, other]}))
    with pytest.raises(BundleError, match="'other' and 'each' cannot be told apart"):
        halves_by_number(both, None, 1, GATEWAY)
