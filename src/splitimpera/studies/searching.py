"""A study's search: which bottlenecks are trained, and how far, told by what each is worth over all cells."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import inf
from time import monotonic
from typing import Any

from splitimpera.saliency.curve import SaliencyCurve
from splitimpera.studies.journal import Journal
from splitimpera.studies.maps import Done
from splitimpera.studies.search import Budget, Candidate, Search, by_maxima, make_search
from splitimpera.studies.study_results import SearchStep
from splitimpera.studies.study_work import Ground, Place, Worths, scouting, trying

ROUND = 8
"""So many trainings are asked for at once, whoever does them: the next depend on what these come to."""

LARGE = 1e300
"""Stands for infinity in the journal."""

Doing = Callable[[Callable[[Ground], Any], Ground, Sequence[Any], str], Iterator[Done]]


@dataclass
class PlaceSearch:
    """The search among the bottlenecks of some cells, which goes on from what the journal holds of it.

    Args:
        ground: What the cells share, with all places that may be trained.
        epochs: Epochs of both stages, as the scenario has them; the last rung has all of them.
        curve: Cumulative saliency, where the strategy asks for it.
        bytes_of: The elements of a place's latent.
        name: What the search follows from, in a word.
        objectives: The metrics that it is for.
        most: Most candidates that are begun; None: all.
        do: Does tasks.
    """

    ground: Ground
    epochs: tuple[int, int]
    curve: SaliencyCurve | None
    bytes_of: Mapping[Place, int]
    name: str
    objectives: tuple[str, ...]
    most: int | None
    journal: Journal
    do: Doing
    say: Callable[[str], object]

    def run(self) -> Ground:
        """Search, and return the ground with those bottlenecks that were trained fully."""
        wanted = self.ground.study.search
        rungs = wanted.rungs or sorted({max(1, self.epochs[1] // 4), self.epochs[1]})
        costs = tuple(float(self.epochs[0] + epochs) for epochs in rungs)
        candidates = self._candidates(costs)
        budget = Budget(self.most, wanted.budget * sum(costs[-1] for _ in candidates))
        search = make_search(wanted.strategy, candidates, self.ground.seed, budget, eta=wanted.eta)
        steps = self._replayed(search)
        begun_s = monotonic() - (steps[-1].elapsed_s if steps else 0.0)
        while jobs := search.ask(ROUND):
            tasks = [((job.cut, job.ratio), (self.epochs[0], rungs[rung])) for job, rung in jobs]
            found: dict[int, Worths | None] = dict.fromkeys(range(len(jobs)))
            for done in self.do(trying, self.ground, tasks, f"Training bottlenecks, {len(steps)} done"):
                if done.failure:
                    self.say(f"The bottleneck at cut {tasks[done.place][0][0]} failed: {done.failure.splitlines()[-1]}")
                else:
                    found[done.place] = done.value
            for place, (candidate, rung) in enumerate(jobs):  # in their order, whoever was first
                worths = found[place]
                search.tell(candidate, rung, worths)
                steps.append(self._step(search, candidate, rung, worths, monotonic() - begun_s))
                kept = {"key": candidate.key, "worths": worths}
                self.journal.add(f"step:{self.name}:{len(steps)}", asdict(steps[-1]) | kept)
        return self._trained(search, (self.epochs[0], rungs[-1]))

    def _candidates(self, costs: tuple[float, ...]) -> list[Candidate]:
        """The candidates, each with what it cannot exceed by its timeline, and with what is free to know of it."""
        key = f"bounds:{self.name}"
        places = self.ground.places
        if key not in self.journal:
            found: list[Worths | None] = [None] * len(places)
            for done in self.do(scouting, self.ground, places, "Simulating what may be trained"):
                if done.failure:
                    self.say(f"A bottleneck cannot be tried: {done.failure.splitlines()[-1]}")
                else:
                    found[done.place] = done.value
            # JSON knows no infinity
            self.journal.add(key, [None if each is None else [min(bound, LARGE) for bound in each] for each in found])
        bounds = [None if each is None else tuple(map(_unbound, each)) for each in self.journal[key]]
        made = []
        for place, bound in zip(places, bounds, strict=True):
            cut, ratio = place
            priors = {"depth": float(cut), "bytes": -float(self.bytes_of[place])} | self._of_curve(cut)
            made.append(Candidate(cut, ratio, costs=costs, priors=priors, at_most=bound))
        hopeless = sum(candidate.at_most is None for candidate in made)
        if hopeless:
            self.say(
                f"{hopeless} of {len(made)} bottlenecks can meet the requirements in no cell, and are not trained."
            )
        return made

    def _of_curve(self, cut: int) -> dict[str, float]:
        if self.curve is None:
            return {}
        maxima = dict(zip(self.curve.cuts, by_maxima(self.curve.cs.tolist()), strict=True))
        height = self.curve.at_cut(cut)
        return {"cs": -inf if height is None else float(height), "cs_maxima": maxima.get(cut, -1.0)}

    def _replayed(self, search: Search) -> list[SearchStep]:
        """Tell the search again what the journal holds."""
        by_key = {candidate.key: candidate for candidate in search.candidates}
        steps: list[SearchStep] = []
        while (key := f"step:{self.name}:{len(steps) + 1}") in self.journal:
            kept = dict(self.journal[key])
            candidate = by_key[kept.pop("key")]
            worths = kept.pop("worths")
            steps.append(SearchStep(**kept))
            search.tell(candidate, steps[-1].rung, None if worths is None else tuple(worths))
        return steps

    def _step(self, search: Search, candidate: Candidate, rung: int, worths: Worths | None, at_s: float) -> SearchStep:
        best = search.best.value if search.best is not None else None
        first, first_best = (each[0] if isinstance(each, tuple) else None for each in (worths, best))
        return SearchStep(round(at_s, 3), search.spent, _words(candidate), rung, first, first_best)

    def _trained(self, search: Search, epochs: tuple[int, int]) -> Ground:
        """The ground with the bottlenecks that reached the last rung, of so many epochs."""
        last = search.rungs[-1]
        reached = {(each.candidate.cut, each.candidate.ratio): each for each in search.found}
        trained = [place for place, each in reached.items() if each.rung == last and each.value is not None]
        failed: dict[Any, str] = {}
        for place in self.ground.places:
            if place not in trained:
                begun = place in reached
                failed[place] = "others were worth more after some epochs" if begun else "the search did not train it"
        whole = search.spent / sum(each.costs[-1] for each in search.candidates) if search.candidates else 0.0
        self.say(
            f"{search.trainings} of {len(search.candidates)} bottlenecks were begun and {len(trained)} trained fully, "
            f"{100 * whole:.0f} % of all that might have been trained."
        )
        if len(self.objectives) > 1:
            front = "; ".join(_words(each.candidate) for each in search.front)
            self.say(f"Of {', '.join(self.objectives)} none is better than {front}.")
        return replace(self.ground, places=tuple(trained), failed=failed, epochs=epochs)


def _words(candidate: Candidate) -> str:
    return f"cut {candidate.cut}, ratio {candidate.ratio:g}"


def _unbound(bound: float) -> float:
    return inf if bound == LARGE else bound
