"""Optuna's tree-structured Parzen estimator as a strategy of `search.py`, for comparison: it samples cut and ratio."""

from __future__ import annotations

from collections.abc import Sequence

import optuna

from splitimpera.studies.search import Candidate, Job, Value

TRIES = 50
"""Samples in a row that need no training, after which what is left is taken in order."""


class Tpe:
    """Asks for full trainings; what the timeline excludes, or bounds below the best, is told without one."""

    def __init__(self, candidates: Sequence[Candidate], seed: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=5)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._candidates = {(candidate.cut, candidate.ratio): candidate for candidate in candidates}
        self._cuts = sorted({candidate.cut for candidate in candidates})
        self._ratios = sorted({candidate.ratio for candidate in candidates})
        self._told: dict[str, float] = {}
        self._trial: optuna.Trial | None = None
        self.spent = 0.0

    def ask(self) -> list[Job]:
        for _ in range(TRIES):
            trial = self._study.ask()
            cut = self._cuts[trial.suggest_int("cut", 0, len(self._cuts) - 1)]
            candidate = self._candidates.get((cut, trial.suggest_categorical("ratio", self._ratios)))
            if candidate is not None and self._hopeful(candidate):
                self._trial = trial
                return [(candidate, len(candidate.costs) - 1)]
            known = 0.0 if candidate is None else self._told.get(candidate.key, candidate.at_most or 0.0)
            assert isinstance(known, float)
            self._study.tell(trial, known)
        left = [candidate for candidate in self._candidates.values() if self._hopeful(candidate)]
        return [(candidate, len(candidate.costs) - 1) for candidate in left[:1]]

    def tell(self, candidate: Candidate, rung: int, value: Value) -> None:
        assert isinstance(value, float)
        self._told[candidate.key] = value
        self.spent += candidate.costs[rung]
        if self._trial is not None:
            self._study.tell(self._trial, value)
            self._trial = None

    def _hopeful(self, candidate: Candidate) -> bool:
        best = max(self._told.values(), default=-1.0)
        at_most = candidate.at_most
        return isinstance(at_most, float) and at_most > best and candidate.key not in self._told
