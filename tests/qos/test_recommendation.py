from __future__ import annotations

import math
from functools import cmp_to_key

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import splitimpera as sei
from splitimpera.core.errors import RequirementError
from splitimpera.records.device import Device
from splitimpera.records.link import Link
from splitimpera.records.outcome import Evaluation
from splitimpera.records.plan import Hop, Plan
from splitimpera.records.requirement import parse_requirement

DEVICES = (Device("camera"), Device("server"))
REQUIREMENTS = ["accuracy >= 0.9", "latency_p95 <= 50 ms", "fps >= 20"]


def evaluation(name, accuracy=0.95, latency=0.04, fps=30.0, payload=100.0, stable=True, cut=None, **more):
    """A plan whose frames all take as long; LC without a cut, RC at cut 0."""
    hops = () if cut is None else (Hop(cut, "float32", "tcp", Link()),)
    samples = np.full((2, 5), latency)
    return Evaluation(
        Plan(name, DEVICES[: len(hops) + 1], hops),
        accuracy,
        (0.0, 1.0),
        samples,
        payload_bytes=payload,
        fps=fps,
        stable=stable,
        **more,
    )


def prefer(text, weight=1.0):
    return parse_requirement(text, weight)


def test_the_largest_smallest_margin_wins():
    decision = sei.recommend([evaluation("a", latency=0.045), evaluation("b", latency=0.048)], REQUIREMENTS)
    assert decision.chosen.id == "a"
    assert decision.chosen.score == pytest.approx((0.95 - 0.9) / 0.9)
    assert [verdict.id for verdict in decision.verdicts] == ["a", "b"]
    assert "a meets every requirement" in decision.reasons[0]


def test_equal_smallest_margins_are_parted_by_the_next():
    """Both have 5.6 % of margin in accuracy; a sends less, b is faster."""
    plans = [evaluation("a", latency=0.045, payload=1), evaluation("b", latency=0.04, payload=9)]
    decision = sei.recommend(plans, REQUIREMENTS)
    assert [verdict.id for verdict in decision.verdicts] == ["b", "a"]
    assert (
        "the next best, a, is as tight, but then has a margin of 10 % in latency_p95 <= 50 ms." in decision.reasons[1]
    )


@pytest.mark.parametrize(
    ("best", "second", "why"),
    [
        ({}, {"cut": 0}, "is as good in all that is required, but needs a network"),
        ({"latency": 0.03}, {}, "but its 95th percentile of latency is larger"),
        ({"energy_j": 1.0}, {"energy_j": 2.0}, "but takes more energy"),
        ({"payload": 5}, {"payload": 9}, "is as good in all that is required, but sends more"),
        ({}, {}, "is as good in all that is required; the names decide"),
    ],
)
def test_equal_margins_go_to_the_simpler_the_quicker_the_more_sparing_plan_then_the_lower_id(best, second, why):
    """Of nothing but frames a second is anything required."""
    decision = sei.recommend([evaluation("b", **second), evaluation("a", **best)], ["fps >= 20"])
    assert [verdict.id for verdict in decision.verdicts] == ["a", "b"]
    assert why in decision.reasons[1]
    if best or second:
        assert sei.recommend([evaluation("a", **second), evaluation("b", **best)], ["fps >= 20"]).chosen.id == "b"


def test_a_small_error_is_a_good_quality():
    plans = [
        evaluation(name, accuracy=rmse, quality_metric="rmse") for name, rmse in (("a", 2.0), ("b", 1.0), ("c", 1.5))
    ]
    decision = sei.recommend(plans, ["rmse <= 3"])
    assert [verdict.id for verdict in decision.verdicts] == ["b", "c", "a"]
    assert [verdict.pareto for verdict in decision.verdicts] == [True, False, False]
    assert sei.recommend(plans, ["rmse <= 1.2"]).verdicts[1].violations[0].margin == pytest.approx(-0.25)


def test_every_miss_is_named_with_its_margin():
    decision = sei.recommend([evaluation("good"), evaluation("bad", accuracy=0.45, latency=0.1)], REQUIREMENTS)
    bad = decision.verdicts[1]
    assert [(miss.requirement.metric, round(miss.margin, 9)) for miss in bad.violations] == [
        ("accuracy", -0.5),
        ("latency_p95", -1.0),
    ]
    assert not bad.feasible


def test_nothing_fits_is_a_result_with_a_way_out():
    decision = sei.recommend([evaluation("a", latency=0.06), evaluation("b", latency=0.08)], REQUIREMENTS)
    assert decision.chosen is None
    assert decision.nearest.id == "a"
    assert decision.relax == ("latency_p95 <= 60 ms",)
    relaxed = sei.recommend([evaluation("a", latency=0.06)], ["accuracy >= 0.9", *decision.relax, "fps >= 20"])
    assert relaxed.chosen.id == "a"


@pytest.mark.parametrize(
    "limit",
    ["latency_p50 <= 1 h", "latency_max <= 50 ms", "latency_mean <= 1 s", "fps >= 10", "on_time_accuracy >= 50 %"],
)
def test_an_unstable_plan_meets_no_requirement_on_time(limit):
    """However good the simulated frames look, more of them would look worse."""
    decision = sei.recommend([evaluation("unbounded", latency=0.01, stable=False, on_time_quality=0.9)], [limit])
    (verdict,) = decision.verdicts
    assert not verdict.feasible
    assert verdict.violations[0].unbounded
    assert verdict.violations[0].margin == -1
    assert decision.chosen is None
    assert decision.relax == ()
    assert "its latency is unbounded" in decision.reasons[0]
    assert "Send fewer a second" in decision.reasons[1]
    for reason in decision.reasons:
        assert "10 ms" not in reason


def test_an_unstable_plan_names_how_many_frames_a_second_it_lacks():
    decision = sei.recommend([evaluation("unbounded", fps=15.0, stable=False)], REQUIREMENTS)
    latency, fps = decision.verdicts[0].violations
    assert latency.unbounded
    assert not fps.unbounded
    assert fps.margin == pytest.approx(-0.25)
    assert decision.relax == ()


def test_unstable_plans_come_last_and_are_never_nearest_to_stable_ones():
    plans = [evaluation("unbounded", latency=0.01, stable=False), evaluation("slow", latency=0.5)]
    decision = sei.recommend(plans, REQUIREMENTS)
    assert [verdict.id for verdict in decision.verdicts] == ["slow", "unbounded"]
    assert decision.nearest.id == "slow"
    assert decision.relax


def test_an_unstable_plan_may_meet_what_does_not_speak_of_time():
    decision = sei.recommend([evaluation("unbounded", stable=False)], ["accuracy >= 0.9"])
    assert decision.chosen.id == "unbounded"
    assert "unstable" in decision.reasons[-1]


def test_an_unstable_plan_that_misses_but_its_accuracy_has_a_way_out():
    decision = sei.recommend([evaluation("unbounded", accuracy=0.8, stable=False)], ["accuracy >= 0.9"])
    assert not decision.nearest.unsatisfiable
    assert decision.relax == ("accuracy >= 80 %",)


def test_of_plans_that_do_not_fit_the_hard_miss_decides_and_then_what_is_preferred():
    """a misses less of what is required, though more of what is preferred; b and c miss as much."""
    plans = [
        evaluation("b", latency=0.06, fps=25),
        evaluation("c", latency=0.06, fps=29),
        evaluation("a", latency=0.055, fps=20),
    ]
    decision = sei.recommend(plans, ["latency_p95 <= 50 ms", prefer("fps >= 30")])
    assert [verdict.id for verdict in decision.verdicts] == ["a", "c", "b"]


def test_a_plan_whose_energy_is_known_goes_before_one_whose_is_not():
    plans = [evaluation("a"), evaluation("b", energy_j=2.0)]
    assert sei.recommend(plans, ["fps >= 20"]).chosen.id == "b"


def test_an_unstable_plan_comes_behind_an_equal_one_however_quick_its_frames_were():
    plans = [evaluation("a", latency=0.01, stable=False), evaluation("b", latency=0.04)]
    decision = sei.recommend(plans, ["accuracy >= 0.9"])
    assert decision.chosen.id == "b"
    assert "the next best, a, is as good in all that is required, but its 95th percentile of latency is larger" in str(
        decision.reasons
    )


def test_no_requirements_or_no_plans_are_refused():
    with pytest.raises(RequirementError, match="no requirement"):
        sei.recommend([evaluation("a")], [])
    with pytest.raises(RequirementError, match="no plan"):
        sei.recommend([], REQUIREMENTS)


def test_a_soft_requirement_decides_among_plans_that_fit():
    """Without it b's larger smallest margin wins; the preference costs b 0.5 x 40 %, and a nothing."""
    plans = [evaluation("a", latency=0.019, accuracy=0.91), evaluation("b", latency=0.028, accuracy=0.99)]
    assert sei.recommend(plans, REQUIREMENTS).chosen.id == "b"
    decision = sei.recommend(plans, [*REQUIREMENTS, prefer("latency_p95 <= 20 ms", 0.5)])
    a, b = decision.verdicts
    assert (a.id, a.penalty, a.soft_violations) == ("a", 0.0, ())
    assert b.feasible
    assert b.violations == ()
    assert [miss.requirement.text for miss in b.soft_violations] == ["latency_p95 <= 20 ms"]
    assert b.penalty == pytest.approx(0.2)
    assert b.score == pytest.approx(0.1)
    assert "falls further short of what is preferred: it misses latency_p95 <= 20 ms with 28 ms (-40 %)" in str(
        decision.reasons
    )


def test_weights_say_which_preference_matters():
    """a misses one preference by 30 %, b another one by 20 %; without weights b's smallest margin would be larger."""
    plans = [evaluation("a", fps=21, latency=0.02), evaluation("b", latency=0.036)]
    for weights, best in (((0.5, 1.0), "a"), ((1.0, 1.0), "b"), ((0.5, 0.7), "b")):
        fps, latency = prefer("fps >= 30", weights[0]), prefer("latency_p95 <= 30 ms", weights[1])
        decision = sei.recommend(plans, ["accuracy >= 0.9", fps, latency])
        assert decision.chosen.id == best
        assert {verdict.id: round(verdict.penalty, 9) for verdict in decision.verdicts} == {
            "a": round(0.3 * weights[0], 9),
            "b": round(0.2 * weights[1], 9),
        }


def test_a_soft_requirement_never_outweighs_a_hard_one():
    plans = [evaluation("wanted", latency=0.051), evaluation("fits", latency=0.04, fps=20)]
    decision = sei.recommend(plans, [*REQUIREMENTS, prefer("fps >= 25", 1e6)])
    assert decision.chosen.id == "fits"
    assert "Of what is preferred it misses fps >= 25 with 20 fps (-20 %)." in decision.reasons


def test_only_soft_requirements_always_have_a_choice():
    plans = [evaluation("a", latency=0.06), evaluation("b", latency=0.055)]
    missed = sei.recommend(plans, [prefer("latency_p95 <= 50 ms")])
    assert missed.chosen.id == "b"
    assert missed.chosen.score == pytest.approx(-0.1)
    assert missed.chosen.certainty == "certain"
    assert missed.reasons[0] == "Nothing is required, and b falls least short of what is preferred."
    met = sei.recommend(plans, [prefer("latency_p95 <= 100 ms")])
    assert met.reasons[0] == (
        "b meets all that is preferred; its tightest one is latency_p95 <= 100 ms, which it meets with 55 ms, "
        "a margin of 45 %."
    )


def test_a_plan_that_cannot_run_is_never_chosen_and_never_nearest_to_one_that_can():
    stuck = "the head needs 3 MB, and camera has 2 MB"
    plans = [
        evaluation("too-large", accuracy=0.99, latency=0.01, cannot_run=(stuck,), cut=5),
        evaluation("slow", latency=0.5),
        evaluation("unbounded", latency=0.01, stable=False, cut=0),
    ]
    decision = sei.recommend(plans, REQUIREMENTS)
    assert decision.chosen is None
    assert [verdict.id for verdict in decision.verdicts] == ["slow", "unbounded", "too-large"]
    too_large = decision.verdicts[-1]
    assert not too_large.feasible
    assert not too_large.pareto
    assert too_large.certainty == "unlikely"
    assert f"too-large cannot run: {stuck}." in decision.reasons


def test_the_reasons_count_plans_that_cannot_run():
    plans = [
        evaluation("a", cannot_run=("no memory",), cut=5),
        evaluation("b", cannot_run=("no memory",), cut=5),
        evaluation("c"),
    ]
    reasons = sei.recommend(plans, REQUIREMENTS).reasons
    assert "2 of 3 plans cannot run, a among them: no memory." in reasons
    assert "No SC plan is feasible: the nearest, a, cannot run." in reasons
    nothing = sei.recommend(plans[:2], REQUIREMENTS)
    assert nothing.nearest.id == "a"
    assert nothing.relax == ()
    assert nothing.reasons == ("No plan can run.", "2 of 2 plans cannot run, a among them: no memory.")


def test_each_configuration_without_a_feasible_plan_names_its_nearest():
    plans = [evaluation("LC"), evaluation("RC-1", latency=0.1, cut=0), evaluation("RC-2", latency=0.06, cut=0)]
    assert "No RC plan is feasible: the nearest, RC-2, violates latency_p95 <= 50 ms with 60 ms (-20 %)." in (
        sei.recommend(plans, REQUIREMENTS).reasons
    )


def test_privacy_is_a_floor_on_the_cuts_depth():
    plans = [evaluation("RC", latency=0.01, cut=0), evaluation("SC", cut=4, cut_depth=4)]
    assert sei.recommend(plans, REQUIREMENTS).chosen.id == "RC"
    assert sei.recommend(plans, [*REQUIREMENTS, "cut_depth >= 1"]).chosen.id == "SC"
    alone = sei.recommend(plans[:1], [*REQUIREMENTS, "cut_depth >= 1"])
    assert alone.relax == ("no limit on cut_depth",)
    assert "violates cut_depth >= 1 with 0 layers (-100 %)" in alone.reasons[0]


def test_frames_that_a_full_queue_dropped_have_no_latency():
    some, none = evaluation("some"), evaluation("none")
    some.latency_s[0] = np.nan
    none.latency_s[:] = np.nan
    decision = sei.recommend([none, some], ["latency_p95 <= 50 ms"])
    assert decision.chosen.id == "some"
    (miss,) = decision.verdicts[1].violations
    assert (miss.value, miss.margin) == (math.inf, -math.inf)
    assert str(miss) == "latency_p95 <= 50 ms, for no frame gets a response"
    assert sei.recommend([none], ["latency_p95 <= 50 ms"]).relax == ("no limit on latency_p95",)


@pytest.mark.parametrize(
    ("value", "interval", "certainty", "undecided"),
    [
        (0.04, (0.03, 0.05), "certain", False),  # the limit itself is met
        (0.04, (0.03, 0.0501), "likely", True),
        (0.05, (0.05, 0.05), "certain", False),
        (0.05, None, "certain", False),
        (0.05, (0.045, 0.055), "likely", True),
        (0.0501, (0.05, 0.06), "unlikely", True),
        (0.06, (0.0501, 0.07), "unlikely", False),
        (0.06, None, "unlikely", False),
        (0.04, (0.03, math.inf), "likely", True),
    ],
)
def test_how_sure_an_upper_limit_is_met(value, interval, certainty, undecided):
    intervals = {} if interval is None else {"latency_p95": interval}
    decision = sei.recommend([evaluation("a", latency=value, intervals=intervals)], ["latency_p95 <= 50 ms"])
    (verdict,) = decision.verdicts
    (judgement,) = verdict.judgements
    assert (judgement.certainty, judgement.open) == (certainty, undecided)
    assert (verdict.certainty, verdict.open) == (certainty, undecided)
    assert verdict.feasible == (certainty != "unlikely")


@pytest.mark.parametrize(
    ("value", "interval", "certainty", "undecided"),
    [
        (0.95, (0.9, 0.97), "certain", False),
        (0.95, (0.899, 0.97), "likely", True),
        (0.89, (0.85, 0.9), "unlikely", True),
        (0.85, (0.80, 0.899), "unlikely", False),
    ],
)
def test_how_sure_a_lower_limit_is_met(value, interval, certainty, undecided):
    plan = evaluation("a", accuracy=value, intervals={"accuracy": interval})
    (verdict,) = sei.recommend([plan], ["accuracy >= 0.9"]).verdicts
    assert (verdict.certainty, verdict.open) == (certainty, undecided)


def test_a_plan_is_as_sure_as_its_least_sure_hard_requirement():
    intervals = {"accuracy": (0.93, 0.97), "latency_p95": (0.035, 0.055)}
    wanted = ["accuracy >= 0.9", "latency_p95 <= 50 ms"]
    plan = evaluation("a", intervals=intervals)
    decision = sei.recommend([plan], wanted)
    assert [judgement.certainty for judgement in decision.chosen.judgements] == ["certain", "likely"]
    assert decision.chosen.certainty == "likely"
    assert decision.reasons[1] == "It is likely, not certain: the 95 % interval of latency_p95 is 35 ms to 55 ms."
    certain = sei.recommend([plan], ["accuracy >= 0.9", prefer("latency_p95 <= 50 ms")])
    assert certain.chosen.certainty == "certain"
    assert not certain.chosen.open
    assert certain.reasons[1] == "It is certain: the worse ends of all 95 % intervals meet their limits, too."


def test_no_seeds_are_spent_on_what_is_ruled_out():
    """The latency is open, but the accuracy is missed whatever chance does."""
    straddling = {"latency_p95": (0.045, 0.055)}
    wanted = ["accuracy >= 0.9", "latency_p95 <= 50 ms"]

    def still_open(**values):
        return sei.recommend([evaluation("a", intervals=straddling, **values)], wanted).verdicts[0].open

    assert still_open(latency=0.049)
    assert still_open(latency=0.051)
    assert not still_open(accuracy=0.8)
    assert not still_open(stable=False)
    assert not still_open(cannot_run=("no memory",))


def test_a_near_miss_says_that_more_seeds_may_let_it_in():
    plan = evaluation("a", latency=0.051, intervals={"latency_p95": (0.045, 0.055)})
    assert sei.recommend([plan], REQUIREMENTS).reasons == (
        "No plan meets every requirement; a comes nearest and violates latency_p95 <= 50 ms with 51 ms (-2 %).",
        "That is close: the 95 % interval of latency_p95 is 45 ms to 55 ms. More replications may let it in.",
        "It would be feasible if the requirements read: latency_p95 <= 51 ms.",
    )


def test_contradictions_and_unknown_metrics_are_refused():
    with pytest.raises(RequirementError, match="'fps >= 10' never counts"):
        sei.recommend([evaluation("a")], [*REQUIREMENTS, "fps >= 10"])
    with pytest.raises(RequirementError, match="this task has no energy"):
        sei.recommend([evaluation("a")], ["energy <= 1 J"])
    with pytest.raises(RequirementError, match="judged by rmse; write 'rmse <= "):
        sei.recommend([evaluation("a", quality_metric="rmse")], ["accuracy >= 0.9"])
    assert sei.recommend([evaluation("a", energy_j=0.5)], ["energy <= 1 J"]).chosen.id == "a"


# Against brute force: random plans on coarse grids, so that ties and dominated plans are frequent.

QUALITIES = {"accuracy": (0.85, 0.9, 0.91, 0.95, 0.99), "rmse": (0.5, 1.0, 1.5, 2.0)}
LATENCIES = (0.01, 0.02, 0.04, 0.05, 0.06, 0.1, math.nan)


@st.composite
def result_sets(draw):
    """Evaluations of 1 to 8 plans, and 1 to 5 requirements that are hard or soft."""
    quality = draw(st.sampled_from(sorted(QUALITIES)))
    plans = [
        evaluation(
            f"p{index}",
            accuracy=draw(st.sampled_from(QUALITIES[quality])),
            latency=draw(st.sampled_from(LATENCIES) | st.floats(0.001, 0.2)),
            fps=draw(st.sampled_from((10.0, 20.0, 30.0))),
            on_time_quality=draw(st.sampled_from((0.5, 0.8, 0.9))),
            payload=draw(st.sampled_from((0.0, 50.0, 100.0))),
            stable=draw(st.sampled_from((True, True, True, False))),
            cannot_run=draw(st.sampled_from(((), (), (), ("no memory",)))),
            cut_depth=draw(st.integers(0, 2)),
            quality_metric=quality,
        )
        for index in range(draw(st.integers(1, 8)))
    ]
    limits = {
        "quality": "accuracy >= 0.9" if quality == "accuracy" else "rmse <= 1.2",
        **{"p95": "latency_p95 <= 50 ms", "p50": "latency_p50 <= 45 ms", "fps": "fps >= 20"},
        **{"bytes": "payload_bytes <= 60 B", "depth": "cut_depth >= 1"},
        "on time": "on_time_accuracy >= 80 %" if quality == "accuracy" else "on_time_rmse <= 0.8",
    }
    chosen = draw(st.lists(st.sampled_from(sorted(limits)), min_size=1, max_size=5, unique=True))
    weights = st.sampled_from((None, 0.2, 0.5, 2.0))
    return plans, [parse_requirement(limits[name], draw(weights)) for name in chosen]


class Facts:
    """What the rules look at, for one plan and some requirements, computed by their definitions."""

    def __init__(self, plan, requirements):
        metrics = plan.metrics()
        self.id, self.bytes = plan.plan.id, plan.payload_bytes
        self.margins = [self._margin(plan, metrics, requirement) for requirement in requirements]
        pairs = list(zip(self.margins, requirements, strict=True))
        self.hard = [margin for margin, requirement in pairs if requirement.weight is None]
        self.fits = not plan.cannot_run and all(margin >= 0 for margin in self.hard)
        self.penalty = sum(r.weight * -margin for margin, r in pairs if r.weight is not None and margin < 0)
        self.quality = -plan.quality if plan.quality_metric == "rmse" else plan.quality
        self.speed = -metrics["latency_p95"] if plan.stable else -math.inf
        self.goods = [*self.margins, self.quality, self.speed]

    @staticmethod
    def _margin(plan, metrics, requirement):
        value, limit = metrics[requirement.metric], requirement.limit
        if math.isinf(value):
            margin = -math.inf
        elif requirement.metric in ("accuracy", "on_time_accuracy", "fps", "cut_depth"):
            margin = (value - limit) / limit
        else:
            margin = (limit - value) / limit
        if not plan.stable and requirement.metric not in ("accuracy", "rmse", "payload_bytes", "cut_depth"):
            margin = margin if requirement.metric == "fps" and margin < 0 else min(margin, -1)
        return margin

    def goes_before(self, other):
        """Whether this feasible plan is to be preferred to another."""
        if self.penalty != other.penalty:
            return self.penalty < other.penalty
        for a, b in zip(sorted(self.margins), sorted(other.margins), strict=True):
            if a != b:
                return a > b
        if self.speed != other.speed:
            return self.speed > other.speed
        return (self.bytes, self.id) < (other.bytes, other.id)

    def dominates(self, other):
        return all(a >= b for a, b in zip(self.goods, other.goods, strict=True)) and self.goods != other.goods


@pytest.mark.slow
@settings(max_examples=200)
@given(result_sets())
def test_the_choice_is_the_one_that_brute_force_finds(result_set):
    plans, requirements = result_set
    decision = sei.recommend(plans, requirements, tolerance=0.0)
    feasible = [facts for plan in plans if (facts := Facts(plan, requirements)).fits]
    ordered = sorted(feasible, key=cmp_to_key(lambda one, other: -1 if one.goes_before(other) else 1))
    assert [verdict.id for verdict in decision.verdicts if verdict.feasible] == [facts.id for facts in ordered]
    assert [verdict.feasible for verdict in decision.verdicts] == [index < len(ordered) for index in range(len(plans))]
    assert decision.chosen is (decision.verdicts[0] if feasible else None)
    assert decision.nearest is (None if feasible else decision.verdicts[0])


@pytest.mark.slow
@settings(max_examples=200)
@given(result_sets())
def test_the_choice_is_never_dominated(result_set):
    plans, requirements = result_set
    decision = sei.recommend(plans, requirements)
    possible = [Facts(plan, requirements) for plan in plans if not plan.cannot_run]
    front = {facts.id for facts in possible if not any(other.dominates(facts) for other in possible)}
    assert {verdict.id for verdict in decision.verdicts if verdict.pareto} == front
    strict = sei.recommend(plans, requirements, tolerance=0.0)
    if strict.chosen:
        chosen = Facts(strict.chosen.evaluation, requirements)
        rivals = [facts for plan in plans if (facts := Facts(plan, requirements)).fits]
        assert not any(
            all(a >= b for a, b in zip(rival.margins, chosen.margins, strict=True)) and rival.margins != chosen.margins
            for rival in rivals
        )


@settings(max_examples=100)
@given(result_sets(), st.randoms())
def test_the_plans_order_does_not_matter(result_set, random):
    plans, requirements = result_set
    expected = [verdict.id for verdict in sei.recommend(plans, requirements).verdicts]
    shuffled = random.sample(plans, len(plans))
    assert [verdict.id for verdict in sei.recommend(shuffled, requirements).verdicts] == expected


@pytest.mark.slow
@settings(max_examples=100)
@given(result_sets())
def test_what_is_said_of_each_plan_hangs_together(result_set):
    plans, requirements = result_set
    decision = sei.recommend(plans, requirements)
    for verdict in decision.verdicts:
        facts = Facts(verdict.evaluation, requirements)
        assert [judgement.margin for judgement in verdict.judgements] == facts.margins
        assert [judgement.requirement for judgement in verdict.judgements] == requirements
        for judgement in verdict.judgements:
            assert judgement.met == (judgement.margin >= 0)
            assert judgement.met == (judgement.certainty == "certain")  # these evaluations have no intervals
        assert verdict.score == min(facts.hard or facts.margins)
        assert verdict.penalty == facts.penalty
        assert (verdict.certainty == "certain") == facts.fits
        assert not verdict.open
    kinds = [(v.feasible, v.can_run and not v.unsatisfiable, v.can_run) for v in decision.verdicts]
    assert kinds == sorted(kinds, reverse=True)
    assert all(reason.endswith(".") and "nan" not in reason for reason in decision.reasons)


@settings(max_examples=100)
@given(result_sets())
def test_the_way_out_is_one(result_set):
    """Where nothing fits and other requirements would help, the nearest plan fits with those that are named."""
    plans, requirements = result_set
    decision = sei.recommend(plans, requirements)
    if not decision.relax:
        return
    named = {
        miss.requirement.metric: text for miss, text in zip(decision.nearest.violations, decision.relax, strict=True)
    }
    relaxed = [parse_requirement(text) for text in named.values() if not text.startswith("no limit on")]
    kept = [requirement for requirement in requirements if requirement.metric not in named or not requirement.hard]
    if relaxed + kept:
        again = sei.recommend([decision.nearest.evaluation], relaxed + kept)
        assert again.chosen.id == decision.nearest.id
