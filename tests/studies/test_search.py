from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitimpera.core.errors import ScenarioError, UnknownNameError
from splitimpera.studies.search import (
    DEFAULT_STRATEGY,
    Budget,
    Candidate,
    Search,
    by_maxima,
    make_search,
    ranking,
)

COSTS = (1.0, 4.0, 16.0)
NAMES = ("exhaustive", "random", "depth", "halving", "halving+depth", "halving+bytes", "on_time", "halving+on_time")


def made(count, costs=COSTS, **fields):
    return [
        Candidate(cut, 16.0, costs=costs, priors={"depth": cut, "bytes": -((cut * 7) % count)}, **fields)
        for cut in range(count)
    ]


def table(count, seed=0):
    """Values by cut and rung that rise with the rung."""
    return np.sort(np.random.default_rng(seed).random((count, len(COSTS))), axis=1)


def run(search, values, workers=1):
    """All that was asked for, in order, with `workers` trainings at a time that end in the order of their beginning."""
    asked, running = [], []
    while True:
        if len(running) < workers and (jobs := search.ask(workers - len(running))):
            running += jobs
            asked += [(candidate.cut, rung) for candidate, rung in jobs]
        elif running:
            candidate, rung = running.pop(0)
            search.tell(candidate, rung, float(values[candidate.cut][rung]))
        else:
            return asked


def test_halving_sends_the_best_of_each_rung_up():
    values = table(16)
    search = Search(made(16), eta=4)
    asked = []
    while len(search.found) < 16:  # until all have come in
        ((candidate, rung),) = search.ask()
        asked.append((candidate.cut, rung))
        search.tell(candidate, rung, values[candidate.cut][rung])
    assert [cut for cut, rung in asked if rung == 0] == [*range(16)]
    for place, (cut, rung) in enumerate(asked):
        if rung:
            below = {c: values[c][rung - 1] for c, r in asked[:place] if r == rung - 1}
            quota = len(below) // 4
            assert cut in sorted(below, key=below.get, reverse=True)[:quota]


def test_a_rung_is_climbed_as_soon_as_one_is_among_the_best_so_that_nobody_waits():
    search = Search(made(8), eta=2)
    first, second = search.ask(2)
    search.tell(*first, 0.5)
    assert search.ask()[0][1] == 0  # one of one is no half
    search.tell(*second, 0.6)
    assert [(candidate.cut, rung) for candidate, rung in search.ask()] == [(1, 1)]
    rest = [(candidate.cut, rung) for candidate, rung in search.ask(20)]  # those who are running do not come again
    assert rest == [*((cut, 0) for cut in range(3, 8)), (0, 1)]


def test_all_come_to_the_top_where_the_budget_allows_it():
    assert {cut for cut, rung in run(Search(made(9)), table(9)) if rung == 2} == {*range(9)}
    assert run(make_search("exhaustive", made(9)), table(9)) == [(cut, 2) for cut in range(9)]


def test_orders_are_those_of_the_priors():
    candidates = made(6)
    assert run(make_search("depth", candidates), table(6)) == [(cut, 2) for cut in (5, 4, 3, 2, 1, 0)]
    entered = [cut for cut, rung in run(make_search("halving+depth", candidates), table(6)) if rung == 0]
    assert entered == [5, 4, 3, 2, 1, 0]
    shuffled = {tuple(run(make_search("random", candidates, seed), table(6))) for seed in range(5)}
    assert len(shuffled) > 1
    alone, named = (make_search(name, candidates, 3) for name in ("halving", "halving+random"))
    assert run(alone, table(6)) == run(named, table(6))


def test_equal_priors_are_drawn_by_the_seed():
    flat = [replace(candidate, priors={"flat": 1.0}) for candidate in made(8)]
    orders = {tuple(run(make_search("flat", flat, seed), table(8))) for seed in range(5)}
    assert len(orders) == 5


def test_what_cannot_meet_the_requirements_is_never_trained():
    candidates = [replace(candidate, at_most=None) if candidate.cut % 2 else candidate for candidate in made(8)]
    for name in NAMES:
        assert {cut % 2 for cut, _ in run(make_search(name, candidates), table(8))} == {0}


def test_what_cannot_be_better_than_what_was_found_is_trained_no_further():
    candidates = [replace(candidate, at_most=0.5) for candidate in made(6)]
    candidates[0] = replace(candidates[0], at_most=1.0)
    search = Search(candidates)
    (job,) = search.ask()
    assert job[0].cut == 0
    search.tell(*job, 0.5)
    assert run(search, table(6)) == [(0, 1), (0, 2)]


def test_a_failure_goes_no_further_and_is_never_the_best():
    search = Search(made(2), eta=2)
    for candidate, rung in search.ask(2):
        search.tell(candidate, rung, None if candidate.cut == 0 else 0.1)
    assert run(search, np.full((2, 3), 0.2)) == [(1, 1), (1, 2)]
    assert search.best.candidate.cut == 1
    alone = Search(made(1))
    alone.tell(alone.candidates[0], 0, None)
    assert alone.best is None
    assert alone.ask() == []


def test_the_number_of_trainings_counts_candidates_not_rungs():
    search = Search(made(9), budget=Budget(trainings=2))
    asked = run(search, table(9))
    assert {cut for cut, _ in asked} == {0, 1}
    assert len(asked) == 6
    assert search.trainings == 2


@given(
    name=st.sampled_from(NAMES),
    count=st.integers(1, 25),
    share=st.floats(0, 1.2),
    seed=st.integers(0, 5),
    workers=st.integers(1, 4),
    eta=st.integers(2, 5),
)
@settings(deadline=None, max_examples=60)
def test_a_budget_is_never_exceeded_and_nothing_is_trained_twice(name, count, share, seed, workers, eta):
    rng = np.random.default_rng(seed)
    candidates = [replace(c, costs=tuple(np.array(COSTS) * rng.uniform(0.1, 3))) for c in made(count)]
    budget = share * sum(candidate.costs[-1] for candidate in candidates)
    search = make_search(name, candidates, seed, Budget(cost=budget), eta=eta)
    asked = run(search, table(count, seed), workers)
    reached = {cut: max(rung for c, rung in asked if c == cut) for cut, _ in asked}
    spent = sum(candidates[cut].costs[rung] for cut, rung in reached.items())
    assert search.spent == pytest.approx(spent)
    assert spent <= budget * (1 + 1e-6)
    assert len({*asked}) == len(asked)
    for cut in reached:
        rungs = [rung for c, rung in asked if c == cut]
        assert rungs == sorted(rungs)
    left = [candidate for candidate in candidates if reached.get(candidate.cut) != len(COSTS) - 1]
    if share >= 1:
        assert not left
    assert len(search.found) == len(reached)


@given(name=st.sampled_from(NAMES), stop=st.integers(0, 30), seed=st.integers(0, 3))
@settings(deadline=None, max_examples=40)
def test_told_the_same_again_it_asks_for_the_same(name, stop, seed):
    candidates, values = made(12), table(12, seed)
    search, told = make_search(name, candidates, seed), []
    for _ in range(stop):
        jobs = search.ask()
        for candidate, rung in jobs:
            search.tell(candidate, rung, values[candidate.cut][rung])
            told.append((candidate, rung))
    again = make_search(name, made(12), seed)
    for candidate, rung in told:
        again.tell(candidate, rung, values[candidate.cut][rung])
    assert again.spent == search.spent
    assert again.found == search.found
    assert run(again, values) == run(search, values)


def test_what_was_running_when_it_was_killed_is_asked_for_again():
    search = make_search("halving", made(12), 1)
    begun = search.ask(3)
    search.tell(*begun[0], 0.5)
    again = make_search("halving", made(12), 1)
    again.tell(*begun[0], 0.5)
    assert again.ask(2) == begun[1:]


def test_with_several_objectives_those_go_up_that_nothing_dominates():
    search = Search(made(4), eta=2)
    for candidate, rung in search.ask(4):
        search.tell(candidate, rung, [(0.9, -5.0), (0.5, -1.0), (0.4, -6.0), (0.8, -5.5)][candidate.cut])
    assert {candidate.cut for candidate, _ in search.ask(2)} == {0, 1}
    assert {found.candidate.cut for found in search.front} == {0, 1}
    assert search.best.candidate.cut == 0


def test_with_several_objectives_a_bound_counts_that_is_nowhere_better():
    candidates = [replace(c, at_most=(1.0, -1.0 - c.cut)) for c in made(3)]
    search = Search(candidates)
    (job,) = search.ask()
    search.tell(*job, (1.0, -2.0))
    assert {candidate.cut for candidate, _ in search.ask(3)} == {0}


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4)), max_size=20))
def test_nobody_is_ranked_behind_what_it_dominates(vectors):
    ranked = ranking(vectors)
    assert sorted(ranked) == [*range(len(vectors))]
    place = {index: rank for rank, index in enumerate(ranked)}
    for i, first in enumerate(vectors):
        for j, second in enumerate(vectors):
            if first != second and all(a >= b for a, b in zip(first, second, strict=True)):
                assert place[i] < place[j]


def test_maxima_come_first_and_the_others_by_height():
    prior = by_maxima([0.1, 0.9, 0.2, 0.5, 0.3, 0.95])
    assert sorted(range(6), key=lambda cut: -prior[cut]) == [1, 3, 5, 4, 2, 0]


def test_by_default_what_is_on_time_comes_first_then_the_lower_ratio_then_the_deeper_cut():
    shares, ratios = (0.994, 0.5, None, 0.99, 0.986), (16.0, 4.0, 4.0, 16.0, 4.0)
    candidates = [
        replace(candidate, at_most=share, ratio=ratio)
        for candidate, share, ratio in zip(made(5), shares, ratios, strict=True)
    ]
    search = make_search(DEFAULT_STRATEGY, candidates)
    assert [(candidate.cut, rung) for candidate, rung in search.ask(5)] == [(4, 0), (3, 0), (0, 0), (1, 0)]


def test_mistakes_are_refused():
    with pytest.raises(UnknownNameError, match=r"no prior 'dept'.*'depth'"):
        make_search("halving+dept", made(3))
    with pytest.raises(UnknownNameError, match="halved"):
        make_search("halved", made(3))
    with pytest.raises(UnknownNameError, match=r"halving\+"):
        make_search("halving+", made(3))
    with pytest.raises(ScenarioError, match="eta"):
        Search(made(3), eta=1)
    with pytest.raises(ScenarioError, match="each once"):
        Search([*made(2), *made(1)])
    with pytest.raises(ScenarioError, match="rungs"):
        Search(made(3), rungs=(0, 3))
    with pytest.raises(ScenarioError, match="order"):
        Search(made(3), order=(0, 1))
    with pytest.raises(ScenarioError, match="costs"):
        Search([*made(2), Candidate(7, 4.0, costs=(1.0,))])
    search = Search(made(3))
    with pytest.raises(ScenarioError, match="value"):
        search.tell(search.candidates[0], 0, math.nan)
    with pytest.raises(ScenarioError, match="candidate"):
        search.tell(Candidate(9, 4.0), 0, 1.0)
    with pytest.raises(ScenarioError, match="rung"):
        search.tell(search.candidates[0], 3, 1.0)
    with pytest.raises(ScenarioError, match="count"):
        search.ask(0)


def test_nothing_to_train_is_a_result():
    for name in ("random", "halving", "exhaustive"):
        search = make_search(name, [])
        assert search.ask() == []
        assert search.best is None
        assert search.spent == 0
