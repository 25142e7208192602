"""Plans of a language model, evaluated as a whole and replayed."""

from __future__ import annotations

import numpy as np
import pytest
from token_beds import LINK, language_bed, plans_for

import splitimpera as sei
from splitimpera.evaluation.plan_space import build_plans
from splitimpera.evaluation.replay import replay
from splitimpera.evaluation.run import evaluate_all
from splitimpera.evaluation.token_stopwatch import measure_tokens
from splitimpera.studies.token_sweep import token_curves
from splitimpera.studies.trial import Trials


@pytest.fixture(scope="module")
def bed():
    return language_bed()


@pytest.fixture(scope="module")
def times(bed):
    return measure_tokens(plans_for(bed), bed, budget_s=0.1)


@pytest.fixture(scope="module")
def evaluated(bed, times):
    plans = plans_for(bed)
    rngs = {plan.id: np.random.default_rng(3) for plan in plans}
    found = evaluate_all(plans, bed, times, rngs, replications=2, intervals=False)
    return {one.evaluation.plan.id: one for one in found}


def test_every_plan_tells_how_long_tokens_take(evaluated):
    for one in evaluated.values():
        metrics = one.evaluation.metrics()
        assert metrics["ttft"] <= metrics["latency_mean"]
        assert metrics["tpot"] > 0
        assert metrics["tokens_per_s"] > 0


def test_a_split_pays_a_round_trip_for_each_token_and_a_remote_model_none(evaluated, bed):
    metrics = {name: one.evaluation.metrics() for name, one in evaluated.items()}
    split = next(name for name in metrics if name.startswith("SC"))
    assert metrics[split]["tpot"] > 2 * LINK.delay_s
    assert metrics["RC"]["tpot"] < 2 * LINK.delay_s < metrics["RC"]["ttft"]


def test_bits_are_those_of_the_network_with_coded_hidden_states(evaluated):
    values = {name: one.evaluation.quality for name, one in evaluated.items()}
    assert values["LC"] == values["RC"]
    for name, value in values.items():
        assert value == pytest.approx(values["LC"], rel=1e-2), name


def test_a_replay_finds_the_same(evaluated, bed, times):
    for name, one in evaluated.items():
        plan = one.evaluation.plan
        again = replay(plan, bed, times, one.known, np.random.default_rng(3), 2)
        assert again.metrics() == one.evaluation.metrics(), name


def test_ids_are_sent_in_one_way_alone(bed):
    plans = build_plans(
        plans_for(bed)[1].devices, LINK, bed.graph.cuts, [], codecs=["float16", "uint8", "uint4"], transports=["tcp"]
    )
    assert [plan.id for plan in plans] == ["LC", "RC-float16-tcp"]


@pytest.mark.slow
def test_more_users_wait_for_one_another(times):
    few, many = (language_bed(fps=5.0, senders=users) for users in (1, 3))
    plan = plans_for(few)[2]
    alone, shared = (sei.evaluate(plan, one, times, np.random.default_rng(0), replications=2) for one in (few, many))
    assert shared.utilisation["server"] > 2 * alone.utilisation["server"]


def test_a_link_is_varied_before_and_after_predictions_are_known(bed, times):
    """Whatever was evaluated, each plan has its curves; what was evaluated is timed with the sizes of all samples."""
    plans = plans_for(bed)
    trials = Trials(bed, times, 0, 2)
    before = token_curves(plans[:3], bed.workload, trials.timing)
    trials.evaluated([plans[2]])
    after = token_curves(plans[:3], bed.workload, trials.timing)
    assert [curve.plan.id for curve in before] == 2 * [plan.id for plan in plans[:3]]
    for one, other in zip(before, after, strict=True):
        assert other.metrics == one.metrics  # float16 sends as much of each token
    split = before[5]
    assert np.diff(split.metrics["tpot"]) == pytest.approx(2 * np.diff(split.values), rel=0.05)
    assert not trials.timing(plans[0], bed.workload).valued
