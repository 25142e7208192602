"""Requests to a language model, as a scenario asks for them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from splitimpera.core.errors import RequirementError
from splitimpera.records.token_workload import Lengths, TokenWorkload
from splitimpera.scenario import Scenario
from splitimpera.setting import resolve

TOKENS = {"prompt": 64, "output": {"mean": 32, "shape": "geometric"}, "context": 256}


def document(tokens=TOKENS, **more):
    return {
        "network": {"model": "digits-vgg16"},
        "data": {"source": "digits"},
        "devices": [{"name": "phone"}, {"name": "server"}],
        "links": [{"rate": "1 Mbit/s", "delay": "5 ms"}],
        "workload": {"fps": 1, "tokens": tokens},
        "requirements": ["latency_p95 <= 50 s"],
    } | more


def problem(tokens=TOKENS, **more):
    with pytest.raises(ValidationError) as caught:
        Scenario.model_validate(document(tokens, **more))
    return str(caught.value)


def test_a_number_is_a_length_of_all_requests():
    workload = Scenario.model_validate(document()).workload.record()
    assert workload.tokens == TokenWorkload(Lengths(64), Lengths(32, "geometric"), 256)


def test_it_holds_its_round_trip():
    scenario = Scenario.model_validate(document(TOKENS | {"together": 4, "arrivals": "poisson"}))
    assert Scenario.model_validate(scenario.model_dump()) == scenario
    assert Scenario.model_validate_json(scenario.model_dump_json()) == scenario


def test_transports_are_tcp_unless_the_scenario_says_otherwise():
    assert Scenario.model_validate(document()).transports_of(0) == ("plans.transports", ["tcp"])
    assert "write transports: [tcp]" in problem(plans={"transports": ["tcp", "udp"]})


def test_fewer_requests_than_frames_are_enough():
    workload = {"fps": 1, "frames": 100}
    assert Scenario.model_validate(document(workload=workload | {"tokens": TOKENS})).workload.frames == 100
    assert "greater than or equal to 1000" in problem(workload=workload)


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (TOKENS | {"prompt": 64.5}, "64.5 tokens are no whole number"),
        (TOKENS | {"prompt": 256}, "fewer than the context of 256"),
        (TOKENS | {"prompt": 240}, "272 tokens in the mean"),
        (TOKENS | {"output": {"mean": 3, "sigma": 1}}, "sigma is the spread of a lognormal shape"),
        (TOKENS | {"together": 0}, "greater than or equal to 1"),
    ],
)
def test_lengths_that_make_no_sense_are_refused(tokens, said):
    assert said in problem(tokens)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"workload": {"fps": 1, "tokens": TOKENS, "response": 4}}, "leave out response"),
        ({"workload": {"fps": 1, "tokens": TOKENS, "deadline": "1 s"}}, "leave out deadline"),
        ({"bottlenecks": {"ratios": [4]}}, "leave out bottlenecks"),
        ({"exits": {"at": "auto"}}, "leave out exits"),
        ({"devices": [{"name": "phone"}, {"name": "server", "batch": 4}]}, "workload.tokens.together"),
        ({"devices": [{"name": "phone", "profile": "phone.json"}, {"name": "server"}]}, "times of single tokens"),
        ({"devices": [{"name": "phone", "queue": "drop-newest"}, {"name": "server"}]}, "devices[0].queue"),
        (
            {
                "devices": [{"name": "a"}, {"name": "b"}, {"name": "c"}],
                "links": [{"name": name, "rate": "1 Mbit/s", "delay": "5 ms"} for name in ("one", "two")],
            },
            "2 devices",
        ),
    ],
)
def test_what_requests_do_not_go_with_is_refused(more, said):
    assert said in problem(**more)


@pytest.mark.parametrize("metric", ["ttft", "ttft_p95", "tpot", "tpot_p95", "tokens_per_s", "token_energy"])
def test_metrics_of_tokens_need_requests(metric):
    sign = ">=" if metric == "tokens_per_s" else "<="
    unit = {"tokens_per_s": "tokens/s", "token_energy": "J"}.get(metric, "s")
    asked = document(requirements=[f"{metric} {sign} 1 {unit}"])
    with pytest.raises(RequirementError, match=r"workload\.tokens"):
        resolve(Scenario.model_validate(asked | {"workload": {"fps": 1}}))
