"""A client with a policy, over links that change: which plan it takes, and what it never sends."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise
from time import monotonic

import numpy as np
import pytest
from small_bundle import (
    INPUT,
    MIDDLE,
    RESULT,
    entry,
    head,
    hop,
    network,
    plan,
    samples,
    segment,
    tail,
    whole,
    write_bundle,
)
from test_client import running

from splitimpera.core.errors import PlanError
from splitimpera.deploy.adaptive_client import AdaptiveClient
from splitimpera.deploy.answering import Mode
from splitimpera.deploy.emulated_link import ChangingLink, EmulatedLink
from splitimpera.deploy.switching import Cause
from splitimpera.records.link import Trace
from splitimpera.records.policy import Policy, PolicyPlan, written_policy

pytestmark = pytest.mark.alone

RATES = [2e4, 2e5, 2e6]


def policy_of(plans, values):
    """A policy over three rates: what each plan is worth at each."""
    made = [
        PolicyPlan(
            id=each["id"],
            configuration=each["configuration"],
            cut=each["hops"][0]["cut"] if each["hops"] else None,
            codec=each["hops"][0]["codec"] if each["hops"] else None,
            bottleneck=0.0,
            transport=each["hops"][0]["transport"] if each["hops"] else None,
            values=values[each["id"]],
            errors=[0.0] * 3,
        )
        for each in plans
    ]
    best = [int(np.argmax([each.values[cell] for each in made])) for cell in range(3)]
    facts = {"name": "", "objective": "", "prior": "", "delays_s": [], "losses": [], "weights": [0.4, 0.3, 0.3]}
    return Policy(**facts, rates_bps=RATES, plans=made, chosen=best, expected=0.8, of_all=0.8, bound=0.8)


@pytest.fixture(scope="module", params=["udp", "tcp"])
def bundle(request, tmp_path_factory):
    """Plans "sc", 128 bytes a frame, "rc", 256, and "lc"; the larger is worth more where the link bears it."""
    files = {"pi/head.onnx": head(), "pi/rest.onnx": tail(), "server/tail.onnx": tail(), "server/whole.onnx": whole()}
    plans = [
        plan("sc", "SC", ["pi", "server"], [hop("uint8", request.param, 1, files, 0.1)]),
        plan("rc", "RC", ["pi", "server"], [hop("float32", request.param, 0, files, 0.1)]),
        plan("lc", "LC", ["pi"], []),
    ]
    values = {"sc": [0.6, 0.6, 0.6], "rc": [0.0, 0.9, 0.9], "lc": [0.1, 0.1, 0.1]}
    files["policy.json"] = written_policy(policy_of(plans, values))
    parts = {
        "pi": [segment(0, 1, "pi/head.onnx", INPUT, MIDDLE), segment(1, 2, "pi/rest.onnx", MIDDLE, RESULT)],
        "server": [
            segment(1, 2, "server/tail.onnx", MIDDLE, RESULT),
            segment(0, 2, "server/whole.onnx", INPUT, RESULT),
        ],
    }
    return write_bundle(
        tmp_path_factory.mktemp("policy") / "bundle",
        files,
        parts,
        name="small",
        network="two layers",
        classes=["cat", "dog", "emu"],
        input={"tensors": [entry(INPUT)], "pixels": {"mean": [0.0], "std": [1.0]}},
        result=[entry(RESULT)],
        plans=plans,
        policy="policy.json",
        samples=None,
    )


def drive(client, seconds, fps=20.0, deadline_s=0.2):
    """Frames at a rate; what became of each, and when it began."""
    x, begun_s, found = samples(), monotonic(), []
    for frame in range(round(seconds * fps)):
        time.sleep(max(begun_s + frame / fps - monotonic(), 0.0))
        found.append((frame / fps, client.submit(x[frame % len(x)], deadline_s)))
    return [(at_s, future.result(10)) for at_s, future in found]


@pytest.mark.slow
def test_the_larger_plan_is_taken_where_the_link_bears_it_and_left_where_it_does_not(bundle):
    trace = Trace("steps", (0.0, 5.0, 11.0), 60.0, rate_bps=(4e6, 4.2e4, 4e6), delay_s=(0.01,) * 3)
    with (
        running(bundle) as (_, address),
        EmulatedLink(address, ChangingLink(trace, np.random.default_rng(0))) as relay,
        AdaptiveClient(bundle, [relay.address], insecure=True) as client,
    ):
        found = drive(client, 16)
    x = samples()
    for frame, (_, one) in enumerate(found):
        if one.outcome == "ok":
            expected = network(x[frame % len(x)][None])[0]
            np.testing.assert_allclose(one.result[0], expected, atol=0.3 if one.answered.sent_by == "sc" else 1e-4)

    def share(plan, begin_s, end_s):
        return np.mean([one.answered.plan == plan for at_s, one in found if begin_s <= at_s < end_s])

    assert share("rc", 3.0, 5.0) > 0.8
    # over TCP, frames of one segment hardly tell what the link bears
    assert share("sc", 8.0, 11.0) > (0.6 if bundle.manifest.plan("sc").hops[0].transport == "udp" else 0.2)
    assert share("rc", 14.0, 16.0) > 0.8
    moves = [one.answered.change for _, one in found if one.answered.change is not None]
    switched_s = [each.now_s for each in moves if each.cause is Cause.SWITCH]
    assert all(after - before >= 1.0 for before, after in pairwise(switched_s))
    assert all(each.reason for each in moves)
    assert np.mean([one.outcome == "ok" for _, one in found]) >= 0.97


@pytest.mark.slow
def test_a_pinned_plan_stays(bundle):
    with running(bundle) as (_, address), AdaptiveClient(bundle, [address], "sc", pin=True, insecure=True) as client:
        found = drive(client, 1.5)
    assert {one.answered.plan for _, one in found} == {"sc"}


def test_the_rules_are_told_what_the_latest_frames_came_to(bundle):
    with running(bundle) as (_, address), AdaptiveClient(bundle, [address], "sc", pin=True, insecure=True) as client:
        assert client.rules.adapting._on_time(monotonic()) == 0.0
        drive(client, 0.6)
        assert client.rules.adapting._on_time(monotonic()) >= 0.8  # all, but where other programs hold the machine


@pytest.mark.slow
def test_the_rest_of_a_frame_is_finished_from_the_cut(bundle):
    gone = Trace("gone", (0.0, 0.8), 60.0, rate_bps=(4e6, 0.0))
    with (
        running(bundle) as (_, address),
        EmulatedLink(address, ChangingLink(gone, np.random.default_rng(0))) as relay,
        AdaptiveClient(bundle, [relay.address], "sc", pin=True, insecure=True) as client,
    ):
        assert client.plans.halves["sc"].rest is not None
        found = drive(client, 2)
    assert np.mean([one.outcome == "ok" for _, one in found]) >= 0.9  # all, but where other programs hold the device up
    begun = [one for _, one in found if one.answered.by == "device" and one.answered.sent_by == "sc"]
    assert begun
    for one in (each for each in begun if each.outcome == "ok"):
        np.testing.assert_allclose(one.result[0], network(samples()[one.frame % 20][None])[0], rtol=1e-4)


def attacked(bundle, floor):
    """The bundle as an attacker would like it: its floor is said, and not kept."""
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"floor": floor}))


@pytest.mark.parametrize("mode", [each for each in Mode if each is not Mode.DEVICE_ONLY])
def test_nothing_is_sent_from_before_the_privacy_floor(bundle, mode, monkeypatch):
    sent = []
    from splitimpera.deploy.connection import Connection

    real = Connection.send

    def send(self, frame, payload, *arguments, **options):
        sent.append(arguments[-1] if arguments else options.get("number"))
        return real(self, frame, payload, *arguments, **options)

    monkeypatch.setattr(Connection, "send", send)
    rc = bundle.manifest.plan("rc").hops[0].number
    with running(bundle) as (_, address):
        client = AdaptiveClient(attacked(bundle, 1), [address], mode=mode, insecure=True)
        with client:
            assert client.plans.hop("rc") is None
            found = drive(client, 0.5)
    assert rc not in sent
    assert {one.answered.sent_by for _, one in found} <= {"sc", None}
    for frame, (_, one) in enumerate(found):
        if one.outcome == "ok" and one.answered.by == "device":
            np.testing.assert_allclose(one.result[0], network(samples()[frame % 20][None])[0], rtol=1e-4)


def test_a_floor_above_every_cut_leaves_the_device_alone(bundle):
    deep = attacked(bundle, 2)
    with running(bundle) as (_, address):
        with AdaptiveClient(deep, [address], insecure=True) as client:
            assert {one.answered.by for _, one in drive(client, 0.5)} == {"device"}
        with pytest.raises(PlanError, match="privacy floor 2"):
            AdaptiveClient(deep, [address], mode=Mode.SERVER_ONLY, insecure=True)
