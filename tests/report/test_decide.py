"""The page's script decides as Python does."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest
from browser import chromium
from made import evaluation, made_results, random_evaluations, random_requirements

from splitimpera.qos.recommendation import recommend
from splitimpera.records.requirement import parse_requirement
from splitimpera.report.html import plan_table as table

pytestmark = pytest.mark.slow

SCRIPT = (files("splitimpera.report.html") / "decide.js").read_text()

ANSWER = """
(({plans, requirements, quality, choice}) => decide(plans, requirements, quality, choice).map((verdict) => ({
  id: verdict.id, feasible: verdict.feasible, certainty: verdict.certainty, pareto: verdict.pareto,
  met: verdict.judgements.map(({met}) => met), unbounded: verdict.judgements.map(({unbounded}) => unbounded),
  score: String(verdict.score), penalty: String(verdict.penalty),
})))
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        page = browser.open("about:blank")
        page.run(f"{SCRIPT}; 1")
        yield page


def asked(evaluations, requirements, objective="balanced"):
    """What a page would ask its script."""
    data = table.data(made_results(evaluations, requirements, objective))
    return {
        "plans": data["plans"],
        "quality": data["quality"],
        "choice": data["choice"],
        "requirements": [
            {key: wanted[key] for key in ("metric", "upper", "weight")} | {"limit": wanted["stops"][wanted["own"]]}
            for wanted in data["requirements"]
        ],
    }


def expected(evaluations, requirements, objective="balanced"):
    return [
        {
            "id": verdict.id,
            "feasible": verdict.feasible,
            "certainty": verdict.certainty,
            "pareto": verdict.pareto,
            "met": [judgement.met for judgement in verdict.judgements],
            "unbounded": [judgement.unbounded for judgement in verdict.judgements],
            "score": verdict.score,
            "penalty": verdict.penalty,
        }
        for verdict in recommend(evaluations, requirements, objective).verdicts
    ]


def answers(page, cases):
    found = page.run(f"{json.dumps([asked(*case) for case in cases])}.map({ANSWER})")
    for verdicts in found:
        for verdict in verdicts:
            for key in ("score", "penalty"):
                verdict[key] = float(verdict[key])
    return found


@pytest.mark.parametrize("count", [100, 300])
def test_hundreds_of_random_matches_come_out_alike(page, count):
    rng = np.random.default_rng(11)
    objectives = ["balanced", "balanced", "accuracy", "latency_p95", "energy", "payload_bytes"]
    cases = [
        (random_evaluations(rng, rng.integers(1, 13), True), random_requirements(rng), str(rng.choice(objectives)))
        for _ in range(count)
    ]
    wanted = [expected(*case) for case in cases]
    for case, found, verdicts in zip(cases, answers(page, cases), wanted, strict=True):
        assert found == verdicts, [requirement.text for requirement in case[1]]
    first = [verdicts[0] for verdicts in wanted]
    # the cases are not all of one kind
    assert count / 6 < sum(verdict["feasible"] for verdict in first) < count * 5 / 6
    assert {verdict["certainty"] for verdict in first} == {"certain", "likely", "unlikely"}
    assert any(any(verdict["unbounded"]) for verdicts in wanted for verdict in verdicts)
    assert any(verdict["penalty"] > 0 and verdict["feasible"] for verdict in first)


def test_an_error_is_better_when_it_is_smaller(page):
    plans = [
        evaluation(f"SC{i}-x-tcp", accuracy=error, quality_metric="rmse") for i, error in enumerate([0.3, 0.1, 0.2])
    ]
    case = plans, ["rmse <= 1", "fps >= 30"]
    found = answers(page, [case])[0]
    assert [verdict["id"] for verdict in found] == ["SC1-x-tcp", "SC2-x-tcp", "SC0-x-tcp"]
    assert found == expected(*case)


def test_errors_come_out_alike_on_random_matches(page):
    rng = np.random.default_rng(12)
    cases = []
    for _ in range(60):
        plans = [
            replace(
                one,
                quality_metric="rmse",
                quality=40 * one.quality,
                quality_ci=tuple(40 * end for end in one.quality_ci),
                on_time_quality=40 * one.on_time_quality,
                summarise=_error,
                intervals={name.replace("accuracy", "rmse"): ends for name, ends in one.intervals.items()}
                | {"rmse": (38 * one.quality, 42 * one.quality)},
            )
            for one in random_evaluations(rng, rng.integers(2, 9), True)
        ]
        others = [wanted for wanted in random_requirements(rng) if "accuracy" not in wanted.metric]
        wanted = parse_requirement(f"rmse <= {rng.choice([20, 36, 36.4, 40])}", rng.choice([None, 2.0]))
        cases.append((plans, [wanted, *others], str(rng.choice(["balanced", "rmse"]))))
    expectations = [expected(*case) for case in cases]
    assert answers(page, cases) == expectations
    best = [
        {one.plan.id: one.quality for one in case[0]}[verdicts[0]["id"]]
        for case, verdicts in zip(cases, expectations, strict=True)
    ]
    assert len(set(best)) > 2


def _error(total):
    return 40 * total[..., 0] / total[..., 1]


def test_of_equal_plans_the_name_decides(page):
    case = [evaluation(f"SC{i}-x-tcp") for i in (10, 9, 2)], ["accuracy >= 90 %"]
    found = answers(page, [case])[0]
    assert [verdict["id"] for verdict in found] == ["SC10-x-tcp", "SC2-x-tcp", "SC9-x-tcp"]
    assert found == expected(*case)
