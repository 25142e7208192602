"""Times of tokens that were measured beside those that a design predicts."""

from __future__ import annotations

import json

import pytest
from cli.test_cli import here
from deployed import SPLIT_TCP, gate

from splitimpera.core.errors import DataError
from splitimpera.deploy.token_log import RequestLine, WritingRunLine, written_line
from splitimpera.verification.token_verification import compared_tokens, verify_tokens

PREDICTED = {"ttft": 0.1, "ttft_p95": 0.1, "tpot": 0.02, "tpot_p95": 0.02}


def request(number, ttft_s=0.1, gap_s=0.02, tokens=5, **more):
    due_s = float(number)
    times = tuple(due_s + ttft_s + place * gap_s for place in range(tokens))
    return RequestLine(request=number, prompt=8, due_s=due_s, begun_s=due_s, token_s=times, **more)


def run_line(**changes):
    given = {"bundle": "5e" * 32, "plan": SPLIT_TCP, "made_by": "a test", "machine": "camera", "threads": 1}
    given |= {"carrier": "tcp", "secure": "tls", "fps": 1.0, "begun": "now", "round_trip_s": 0.001, "most_tokens": 5}
    return WritingRunLine(**given | changes)


def written(path, requests, **changes):
    path.write_text("".join(map(written_line, [run_line(**changes), *requests])))
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Results of a design that predicts tokens."""
    folder = tmp_path_factory.mktemp("run")
    results = json.loads((gate() / "results.json").read_text())
    for plan in results["plans"]:
        plan["metrics"] |= PREDICTED
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def agreeing(**changes):
    found = compared_tokens(PREDICTED, [request(number, **changes) for number in range(30)])
    return {quantity.name: quantity.agrees for quantity in found}


def test_what_is_as_predicted():
    assert set(agreeing().values()) == {True}
    assert set(agreeing(ttft_s=0.110, gap_s=0.0219).values()) == {True}


def test_what_differs():
    assert agreeing(ttft_s=0.12) == {"ttft": False, "ttft_p95": False, "tpot": True, "tpot_p95": True}
    assert agreeing(gap_s=0.023) == {"ttft": True, "ttft_p95": True, "tpot": False, "tpot_p95": False}


def test_single_gaps_make_the_percentile_and_means_of_requests_the_mean():
    slow = RequestLine(request=0, prompt=1, due_s=0.0, begun_s=0.0, token_s=(0.1, 0.12, 0.14, 0.26))
    found = {quantity.name: quantity.measured_s for quantity in compared_tokens(PREDICTED, [slow])}
    assert found["tpot"] == pytest.approx(0.16 / 3)
    assert 0.1 < found["tpot_p95"] < 0.12


def test_one_token_has_no_gap():
    found = compared_tokens(PREDICTED, [request(0, tokens=1)])
    assert [quantity.name for quantity in found] == ["ttft", "ttft_p95"]


def test_a_log_beside_its_design(run, tmp_path):
    failed = request(40, tokens=1, failure="the server is gone", resumed=3)
    log = written(tmp_path / "run.jsonl", [request(0, ttft_s=9.0), *map(request, range(1, 31)), failed])
    found = verify_tokens(run, [log])
    assert (found.plan, found.requests, found.failed, found.resumed, found.agrees) == (SPLIT_TCP, 31, 1, 3, True)
    assert found.cautions == ("something was sent again 3 times, which no design counts",)
    assert here("verify", str(run), str(log), "--out", str(tmp_path / "out")).returncode == 0
    kept = json.loads((tmp_path / "out" / "token-verification.json").read_text())
    assert [quantity["agrees"] for quantity in kept["quantities"]] == [True] * 4


@pytest.mark.parametrize(
    ("changes", "requests", "problem"),
    [
        ({"plan": "SC9"}, [request(0)], "which the design 'gate' has not"),
        ({}, [], "the logs have no requests"),
        ({}, [request(0, failure="gone")], "no request came to an end"),
        ({}, [request(0, gap_s=-0.01)], "its times do not follow each other"),
    ],
)
def test_logs_that_cannot_be_compared(run, tmp_path, changes, requests, problem):
    with pytest.raises(DataError, match=problem):
        verify_tokens(run, [written(tmp_path / "run.jsonl", requests, **changes)])


def test_a_design_without_tokens(tmp_path):
    with pytest.raises(DataError, match="the design predicts no times of tokens"):
        verify_tokens(gate(), [written(tmp_path / "run.jsonl", [request(0)])])


def test_logs_of_two_plans(run, tmp_path):
    one = written(tmp_path / "one.jsonl", [request(0)])
    other = written(tmp_path / "other.jsonl", [request(0)], plan="another")
    with pytest.raises(DataError, match="another plan is expected"):
        verify_tokens(run, [one, other])
