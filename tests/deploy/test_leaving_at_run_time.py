"""Frames leave early on the device: at which exit, with which answer, and what is done where no response comes."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from early_bundle import left_at, looks, make_early, network, wanted
from small_bundle import samples
from test_client import running

from splitimpera.cli import infer
from splitimpera.core.errors import BundleError
from splitimpera.deploy.adaptive_client import AdaptiveClient
from splitimpera.deploy.answering import AnsweredBy
from splitimpera.deploy.client import Client
from splitimpera.deploy.device_run import DeviceRun, run_line
from splitimpera.deploy.emulated_link import ChangingLink, EmulatedLink
from splitimpera.deploy.frame_clock import FrameClock
from splitimpera.deploy.frame_log import line_of, read_log
from splitimpera.deploy.halves import Received, ServerHalf, device_half, server_half
from splitimpera.deploy.sources import open_source
from splitimpera.records.link import Trace
from splitimpera.report.run_history import KINDS, history_of

X = samples(40, seed=9)


@pytest.fixture(scope="module", params=["tcp", "udp"])
def bundle(request, tmp_path_factory):
    return make_early(tmp_path_factory.mktemp("bundle"), transport=request.param)


def test_the_samples_leave_everywhere():
    assert {0, 1, 2} == set(left_at(X).tolist())


@pytest.mark.parametrize("how", [{}, {"cut": 1}, {"alone": True}])
def test_answers_are_the_exits_or_the_networks(tmp_path, how):
    bundle = make_early(tmp_path, **how)
    device = device_half(bundle)
    places = left_at(X) if how != {"cut": 1} else np.where(left_at(X) == 2, 0, left_at(X))
    for x, place, of_network in zip(X, places, network(X), strict=True):
        coded = device(x)
        if place:
            assert coded.payload is None
            assert coded.left.cut == place
            np.testing.assert_allclose(coded.result[0], looks(place, x[None])[0], rtol=1e-5, atol=1e-5)
            continue
        assert coded.left is None
        if coded.payload is not None:
            (result,) = server_half(bundle)([Received(coded.payload.data)]).results
        else:
            result = coded.result
        np.testing.assert_allclose(result[0], of_network, rtol=1e-5, atol=1e-5)


def test_a_client_gives_them_at_once_and_sends_nothing(bundle):
    with running(bundle) as (_, address), Client(bundle, address, insecure=True) as client:
        for x, place, result in zip(X, left_at(X), wanted(X), strict=True):
            found = client.infer(x)
            assert found.outcome == "ok"
            np.testing.assert_allclose(found.result[0], result, rtol=1e-5, atol=1e-5)
            assert (found.exit is None) == (place == 0)
            assert (found.payload_bytes > 0) == (place == 0)
            assert (found.response is None) == (place > 0)


def goes_on():
    return X[np.flatnonzero(left_at(X) == 0)[0]]


@pytest.fixture
def slow_server(monkeypatch):
    """Servers take a fifth of a second for a frame."""
    compute = ServerHalf.__call__

    def slowly(*given):
        time.sleep(0.2)
        return compute(*given)

    monkeypatch.setattr(ServerHalf, "__call__", slowly)


def stands_in(found, x):
    """Whether what became of a frame is the last exit's answer in place of the server's."""
    assert found.outcome == "stood-in"
    assert (found.exit.cut, found.exit.leaves) == (2, False)
    np.testing.assert_allclose(found.result[0], looks(2, x[None])[0], rtol=1e-5, atol=1e-5)
    assert found.answer == looks(2, x[None])[0].argmax()
    assert found.payload_bytes > 0
    return True


def test_the_last_exits_answer_stands_in_at_the_deadline(bundle, slow_server):
    x = goes_on()
    with running(bundle) as (_, address), Client(bundle, address, insecure=True) as client:
        begun_s = time.monotonic()
        assert stands_in(client.infer(x, deadline_s=0.1), x)
        assert time.monotonic() - begun_s >= 0.1
        futures = [client.submit(x, deadline_s=0.1) for _ in range(3)]
        assert all(stands_in(future.result(), x) for future in futures)
        assert client.infer(X[np.flatnonzero(left_at(X))[0]], deadline_s=0.1).outcome == "ok"


def test_over_a_link_that_loses_packets_every_frame_has_an_answer(tmp_path):
    bundle, some = make_early(tmp_path, transport="udp"), X[left_at(X) == 0]
    link = ChangingLink(Trace("lossy", (0.0,), 10.0, loss=(0.3,)), np.random.default_rng(5), rate_bps=1e9)
    with (
        running(bundle) as (_, address),
        EmulatedLink(address, link) as relay,
        Client(bundle, relay.address, insecure=True) as client,
    ):
        futures = [client.submit(x, deadline_s=0.3) for x in some]
        found = [future.result(2) for future in futures]
    assert "stood-in" in {one.outcome for one in found} <= {"ok", "stood-in"}
    for one, x in zip(found, some, strict=True):
        if one.outcome == "stood-in":
            assert stands_in(one, x)
        elif not one.response.missing_bytes:  # one with gaps may be used just before the deadline
            np.testing.assert_allclose(one.result[0], network(x[None])[0], rtol=1e-5, atol=1e-5)


def test_it_stands_in_where_the_session_ends(tmp_path, slow_server):
    bundle, x = make_early(tmp_path), goes_on()
    with running(bundle) as (_, address), Client(bundle, address, insecure=True) as client:
        future = client.submit(x)
        time.sleep(0.05)
        client._loop.call(client._connection.session.close)
        assert stands_in(future.result(2), x)


def test_clients_that_adapt_do_the_same(bundle, slow_server):
    x, early = goes_on(), X[np.flatnonzero(left_at(X))[0]]
    with running(bundle) as (_, address), AdaptiveClient(bundle, [address], insecure=True) as client:
        link = client.rules.adapting.estimate
        found = client.infer(early, deadline_s=0.1)
        assert (found.outcome, found.answered.by, found.answered.sent_by) == ("ok", AnsweredBy.DEVICE, None)
        assert found.exit.cut == left_at(early[None])[0]
        assert link.goodput(time.monotonic()) is None
        found = client.infer(x, deadline_s=0.1)
        assert stands_in(found, x)
        assert (found.answered.by, found.answered.sent_by) == (AnsweredBy.DEVICE, "early")
        found = client.infer(x, deadline_s=2.0)
        assert (found.outcome, found.answered.by) == ("ok", AnsweredBy.SERVER)
        np.testing.assert_allclose(found.result[0], network(x[None])[0], rtol=1e-5, atol=1e-5)


def test_without_a_server_exits_answer_all_frames(tmp_path):
    bundle, x = make_early(tmp_path), goes_on()
    with AdaptiveClient(bundle, ["127.0.0.1:9"], insecure=True) as client:
        assert client.unreachable is not None
        found = client.infer(x, deadline_s=0.2)
        assert (found.outcome, found.exit.cut, found.payload_bytes) == ("stood-in", 2, 0)
        assert client.infer(X[np.flatnonzero(left_at(X))[0]], deadline_s=0.2).outcome == "ok"


def test_a_device_alone_leaves_early_whatever_runs_it(tmp_path):
    bundle = make_early(tmp_path, alone=True)
    with Client(bundle) as client, AdaptiveClient(bundle) as adaptive:
        for x, result, place in zip(X, wanted(X), left_at(X), strict=True):
            for found in (client.infer(x), adaptive.infer(x)):
                assert found.outcome == "ok"
                np.testing.assert_allclose(found.result[0], result, rtol=1e-5, atol=1e-5)
                assert (0 if found.exit is None else found.exit.cut) == place


def logged(bundle, address, path, deadline_s=None):
    """The log of a run over the bundle's samples, and what it came to."""
    with Client(bundle, address, insecure=True) as client:
        source, lines = open_source("samples", bundle), []
        first = run_line(client, source, None, deadline_s)
        tally = DeviceRun(client, source, FrameClock(None, 20), deadline_s, told=lines.append).run()
    path.write_text("".join(map(line_of, [first, *lines])))
    return *read_log(path), tally


def test_a_log_says_where_frames_left(bundle, tmp_path):
    with running(bundle) as (_, address):
        run, frames, tally = logged(bundle, address, tmp_path / "log")
    x = samples()
    assert run.schema_version == 5
    assert [line.outcome for line in frames] == ["ok"] * 20
    assert [line.exit or 0 for line in frames] == left_at(x).tolist()
    assert [line.predicted for line in frames] == wanted(x).argmax(1).tolist()
    assert [line.payload_bytes > 0 for line in frames] == (left_at(x) == 0).tolist()
    assert all(line.server_s is None and line.sent_s is None and line.latency_s > 0 for line in frames if line.exit)
    assert tally.exits == Counter(left_at(x)[left_at(x) > 0].tolist())
    assert tally.as_json()["exits"] == {str(cut): count for cut, count in sorted(tally.exits.items())}
    assert tally.accuracy == (wanted(x).argmax(1) == network(x).argmax(1)).mean()
    said = ", ".join(f"{count} behind cut {cut}" for cut, count in sorted(tally.exits.items()))
    assert dict(infer._rows(tally))["left early"].startswith(f"{said} (")
    history = history_of(run, frames)
    assert [KINDS[kind] for kind in history.kinds] == np.where(left_at(x) > 0, "device", "server").tolist()


def test_answers_that_stood_in_count_as_right_or_wrong_and_as_missed(bundle, slow_server, tmp_path):
    with running(bundle) as (_, address):
        run, frames, tally = logged(bundle, address, tmp_path / "log", deadline_s=0.1)
    x = samples()
    on, last = left_at(x) == 0, looks(2, x).argmax(1)
    assert [line.outcome for line in frames] == np.where(on, "stood-in", "ok").tolist()
    assert [line.exit for line in frames] == np.where(on, 2, left_at(x)).tolist()
    found = np.where(on, last, wanted(x).argmax(1))
    assert [line.predicted for line in frames] == found.tolist()
    assert tally.outcomes["stood-in"] == tally.missed == on.sum()
    assert tally.exits.total() == 20 - on.sum()
    assert tally.accuracy == (found == network(x).argmax(1)).mean()
    assert all(line.latency_s is None for line in frames if line.outcome == "stood-in")
    history = history_of(run, frames)
    assert {KINDS[kind] for kind in history.kinds} == {"device"}
    assert history.quality.overall == pytest.approx(tally.accuracy)


def test_a_head_that_returns_something_else_is_named(tmp_path):
    bundle = make_early(tmp_path)
    half = device_half(bundle)
    gate = half.exits.gates[0]
    gate = replace(gate, head=replace(gate.head, program=lambda _: (np.zeros((1, 2), np.float32),)))
    with pytest.raises(BundleError, match=r"the head behind cut 1 returns \(2,\), \(3,\) are expected"):
        gate((X[0],))
