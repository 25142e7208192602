"""The device half with several plans against real servers on loopback: who answers when something fails."""

from __future__ import annotations

import time
from time import monotonic

import numpy as np
import pytest
from small_bundle import make_bundle, network, samples
from test_client import running

from splitimpera.core.errors import LinkError, PlanError
from splitimpera.deploy.adaptive_client import AdaptiveClient
from splitimpera.deploy.answering import AnsweredBy, Mode


@pytest.fixture(scope="module", params=["tcp", "udp"])
def bundle(request, tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("bundle"), transport=request.param)


def run_frames(client, count, deadline_s=1.0, every_s=0.02):
    """So many frames at a rate; what became of each."""
    x, begun_s, found = samples(), monotonic(), []
    for frame in range(count):
        time.sleep(max(begun_s + frame * every_s - monotonic(), 0.0))
        found.append(client.submit(x[frame % len(x)], deadline_s))
    return [each.result(10) for each in found]


def test_the_server_answers_as_long_as_it_is_there(bundle):
    x = samples()
    with running(bundle) as (_, address), AdaptiveClient(bundle, [address], insecure=True) as client:
        found = run_frames(client, 10)
    for sample, one in enumerate(found):
        assert (one.frame, one.outcome, one.answered.by) == (sample, "ok", AnsweredBy.SERVER)
        assert (one.answered.plan, one.answered.sent_by, one.answered.change) == ("sc", "sc", None)
        np.testing.assert_allclose(one.result[0], network(x[sample : sample + 1])[0], rtol=1e-5)


def test_the_device_answers_where_nobody_is_there(bundle):
    x = samples()
    with AdaptiveClient(bundle, [("127.0.0.1", 1)], insecure=True) as client:
        assert client.unreachable is not None
        found = run_frames(client, 5)
    for sample, one in enumerate(found):
        assert (one.outcome, one.answered.by, one.answered.sent_by) == ("ok", AnsweredBy.DEVICE, None)
        np.testing.assert_allclose(one.result[0], network(x[sample : sample + 1])[0], rtol=1e-5)


def test_without_the_device_a_server_has_to_be_there(bundle):
    client = AdaptiveClient(bundle, [("127.0.0.1", 1)], mode=Mode.SERVER_ONLY, insecure=True)
    with pytest.raises(LinkError, match=r"127\.0\.0\.1:1"):
        client.open()


def test_a_server_that_stops_and_comes_back_is_used_again(bundle):
    with running(bundle) as (_, address), AdaptiveClient(bundle, [address], insecure=True) as client:
        assert {one.answered.by for one in run_frames(client, 5)} == {AnsweredBy.SERVER}
        host, port = address
    # it is gone, and what the fixture leaves behind was closed
    with AdaptiveClient(bundle, [(host, port)], insecure=True) as client:
        assert {one.answered.by for one in run_frames(client, 5)} == {AnsweredBy.DEVICE}
        with running(bundle, port=port):
            until_s, by = monotonic() + 5, None
            while by is not AnsweredBy.SERVER and monotonic() < until_s:
                (one,) = run_frames(client, 1)
                by = one.answered.by
                time.sleep(0.02)
            assert by is AnsweredBy.SERVER
            assert {one.answered.by for one in run_frames(client, 5)} == {AnsweredBy.SERVER}


def test_a_server_that_dies_in_the_middle_leaves_no_frame_without_an_answer(bundle):
    with running(bundle) as (_, address):
        client = AdaptiveClient(bundle, [address], insecure=True).open()
        before = run_frames(client, 5)
    try:
        after = run_frames(client, 60, 0.2)
    finally:
        client.close()
    assert {one.answered.by for one in before} == {AnsweredBy.SERVER}
    assert np.mean([one.outcome == "ok" for one in after]) >= 0.9
    assert after[-1].answered.by is AnsweredBy.DEVICE
    assert after[-1].answered.plan == "lc"


def test_the_second_server_takes_over(bundle):
    with running(bundle) as (_, second):
        with running(bundle) as (_, first):
            client = AdaptiveClient(bundle, [first, second], insecure=True).open()
            assert {one.answered.by for one in run_frames(client, 5)} == {AnsweredBy.SERVER}
        try:
            found = run_frames(client, 60, 0.5)
        finally:
            client.close()
        assert np.mean([one.outcome == "ok" for one in found]) >= 0.9
        assert [one.answered.by for one in found[-10:]] == [AnsweredBy.SERVER] * 10


def test_a_device_that_was_held_up_once_sends_again(bundle, monkeypatch):
    monkeypatch.setattr("splitimpera.deploy.adaptive_plans.KEPT_S", 0.3)
    with running(bundle) as (_, address), AdaptiveClient(bundle, [address], insecure=True) as client:
        client.plans.late.add(2.0)  # as where other programs had the machine
        assert client.infer(samples()[0], 1.0).answered.by == AnsweredBy.DEVICE
        time.sleep(0.3)
        assert client.infer(samples()[0], 1.0).answered.by == AnsweredBy.SERVER
        client.plans._heads["sc"].add(2.0)
        assert client.infer(samples()[0], 1.0).answered.by == AnsweredBy.DEVICE
        time.sleep(0.3)
        assert client.infer(samples()[0], 1.0).answered.by == AnsweredBy.SERVER


def test_device_only_sends_nothing(bundle):
    with AdaptiveClient(bundle, ["127.0.0.1:1"], mode=Mode.DEVICE_ONLY) as client:
        assert [one.answered.by for one in run_frames(client, 3)] == [AnsweredBy.DEVICE] * 3
        assert client.round_trip_s == float("inf")


def test_what_was_answered_last_is_given_once_more_and_says_so(bundle):
    with running(bundle) as (_, address):
        client = AdaptiveClient(bundle, [address], mode=Mode.SERVER_ONLY, insecure=True, stale_s=60.0).open()
        before = run_frames(client, 5)
    try:
        after = run_frames(client, 5, 0.05)
    finally:
        client.close()
    assert [one.outcome for one in after] == ["stale"] * 5
    for one in after:
        np.testing.assert_array_equal(one.result[0], before[-1].result[0])
        assert one.latency_s is None


def test_modes_and_plans_that_leave_no_answer_are_refused(bundle):
    with pytest.raises(LinkError, match="needs a server"):
        AdaptiveClient(bundle, mode=Mode.SERVER_ONLY)
    with pytest.raises(LinkError, match="would not be encrypted"):
        AdaptiveClient(bundle, ["127.0.0.1:1"])
    with pytest.raises(PlanError, match="can be used"):
        AdaptiveClient(bundle, ["127.0.0.1:1"], "lc", mode=Mode.SERVER_ONLY, insecure=True)


@pytest.mark.alone
@pytest.mark.slow
def test_a_client_leaves_a_server_that_is_busy_alone_for_as_long_as_it_says(bundle):
    with (
        running(bundle, rate_limit_hz=5.0) as (_, address),
        AdaptiveClient(bundle, [address], insecure=True) as client,
    ):
        found = run_frames(client, 80, 0.2, every_s=0.025)
    assert np.mean([one.outcome == "ok" for one in found]) >= 0.9
    sent = [one for one in found if one.answered.sent_by is not None]
    by_server = [one for one in found if one.answered.by is AnsweredBy.SERVER]
    assert by_server
    assert len(sent) < 50  # 80 without being told
    assert any("asked to wait" in one.answered.reason or "circuit is open" in one.answered.reason for one in found)
