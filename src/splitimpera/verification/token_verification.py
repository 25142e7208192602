"""A language model's deployed run beside its design: times to the first token and from token to token."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from splitimpera.core.errors import DataError, listed, shown, shown_path
from splitimpera.core.units import format_time
from splitimpera.deploy.token_log import RequestLine, WritingRunLine, read_token_log
from splitimpera.report.reading import read

SHARE, SECONDS = 0.1, 0.002
"""A prediction of a time holds within this share of what was measured, or within so many seconds."""
FIRST = 1
"""So many requests at the start of a log do not count, where there are others: an engine's first runs take longer."""

Requests = Sequence[RequestLine]
TITLES = {
    "ttft": "time to the first token, mean",
    "ttft_p95": "time to the first token, 95th percentile",
    "tpot": "time for each further token, mean",
    "tpot_p95": "time for each further token, 95th percentile",
}


@dataclass(frozen=True)
class TokenQuantity:
    """A time that both have.

    Attributes:
        name: The metric; `title`: in words.
        predicted_s, measured_s: In seconds.
        agrees: Whether they are the same within `SHARE` or `SECONDS`.
    """

    name: str
    title: str
    predicted_s: float
    measured_s: float
    agrees: bool

    def __str__(self) -> str:
        word = "as predicted" if self.agrees else "differs"
        return f"{self.title}: {format_time(self.measured_s)} ({word}: {format_time(self.predicted_s)})"


@dataclass(frozen=True)
class TokenVerification:
    """What came of a comparison.

    Attributes:
        plan: Whose.
        quantities: Of those that were predicted and could be measured.
        requests: How many count; `failed`: how many of them came to no end, and are left out of the times.
        tokens: How many were written.
        resumed: How often something was sent again.
        cautions: What weakens the comparison, in words.
    """

    plan: str
    quantities: tuple[TokenQuantity, ...]
    requests: int
    failed: int
    tokens: int
    resumed: int
    cautions: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether all of them do."""
        return all(quantity.agrees for quantity in self.quantities)

    def as_json(self) -> dict[str, Any]:
        """All of it, for programs."""
        return {"kind": "tokens", "schema_version": 1, "agrees": self.agrees, **asdict(self)}


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _p95(values: Sequence[float]) -> float:
    return float(np.percentile(values, 95))


def _first_times(requests: Requests) -> list[float]:
    return [line.ttft_s for line in requests if line.ttft_s is not None]


def _means(requests: Requests) -> list[float]:
    return [line.tpot_s for line in requests if line.tpot_s is not None]


def _gaps(requests: Requests) -> list[float]:
    return [gap_s for line in requests for gap_s in line.gaps_s]


_MEASURES: dict[str, tuple[Callable[[Requests], list[float]], Callable[[Sequence[float]], float]]] = {
    "ttft": (_first_times, _mean),
    "ttft_p95": (_first_times, _p95),
    "tpot": (_means, _mean),
    "tpot_p95": (_gaps, _p95),
}


def compared_tokens(predicted: Mapping[str, float | None], requests: Requests) -> tuple[TokenQuantity, ...]:
    """The times of a run beside those that were predicted, where both are known.

    Args:
        predicted: Metrics by name, as results have them: ttft, ttft_p95, tpot, tpot_p95, in seconds.
        requests: Those that came to an end.

    Example:
        >>> line = RequestLine(request=0, prompt=4, due_s=0.0, begun_s=0.0, token_s=(0.1, 0.12, 0.14))
        >>> for found in compared_tokens({"ttft": 0.105, "tpot": 0.03}, [line]):
        ...     print(found)
        time to the first token, mean: 100 ms (as predicted: 105 ms)
        time for each further token, mean: 20 ms (differs: 30 ms)
    """
    found = []
    for name, (values_of, summed) in _MEASURES.items():
        expected_s, values = predicted.get(name), values_of(requests)
        if expected_s is None or not values:
            continue
        measured_s = summed(values)
        agrees = abs(measured_s - expected_s) <= max(SHARE * measured_s, SECONDS)
        found.append(TokenQuantity(name, TITLES[name], expected_s, measured_s, agrees))
    return tuple(found)


def verify_tokens(run: str | Path, logs: Sequence[str | Path]) -> TokenVerification:
    """Hold logs of `infer --prompt` against the design that they are of.

    Args:
        run: Results folder of the design.
        logs: Logs of one plan of one bundle.

    Raises:
        DataError: the results or a log cannot be read, or they are not of each other; or there is nothing to compare.
    """
    results = read(Path(run))
    first, requests, resumed = _read_all([Path(log) for log in logs])
    plans = results.by_id
    where = f"'{shown_path(logs[0])}'"
    if first.plan not in plans:
        raise DataError(
            f"the log is of plan '{shown(first.plan)}', which the design '{shown(results.scenario.name)}' has not",
            where=where,
            hint=f"its plans are {listed(plans)}; name the results folder that the bundle was exported from",
        )
    ended = [line for line in requests if line.failure is None]
    quantities = compared_tokens(dict(plans[first.plan].metrics), ended)
    if not quantities:
        raise DataError(
            "no request came to an end" if not ended else "the design predicts no times of tokens",
            where=where,
            hint="let 'splitimpera infer --prompts' run with the server at hand, of a design with workload.tokens",
        )
    tokens = sum(len(line.token_s) for line in requests)
    cautions = tuple(_cautions(first, requests, resumed))
    failed = len(requests) - len(ended)
    return TokenVerification(first.plan, quantities, len(requests), failed, tokens, resumed, cautions)


def _read_all(paths: Sequence[Path]) -> tuple[WritingRunLine, list[RequestLine], int]:
    """The first line of the first log, the requests of all, and how often something was sent again."""
    first, counted, resumed = None, list[RequestLine](), 0
    for path in paths:
        run, lines = read_token_log(path)
        first = first or run
        for key in ("bundle", "plan", "carrier"):
            if getattr(run, key) != getattr(first, key):
                raise DataError(
                    f"another {key} is expected: {shown(getattr(first, key))}, given {shown(getattr(run, key))}",
                    where=f"'{shown_path(path)}'",
                    hint="verify logs of one plan of one bundle at a time",
                )
        for line in lines:
            _check(line, path)
        counted += lines[FIRST:] if len(lines) > FIRST else lines
        resumed += sum(line.resumed for line in lines)
    if first is None or not counted:
        raise DataError("the logs have no requests", hint="let 'splitimpera infer --prompts' run for a while")
    return first, counted, resumed


def _check(line: RequestLine, path: Path) -> None:
    times = (line.due_s, line.begun_s, *line.token_s)
    if any(after < before - 1e-6 for before, after in pairwise(times)):
        raise DataError(f"request {line.request}: its times do not follow each other", where=f"'{shown_path(path)}'")


def _cautions(run: WritingRunLine, requests: Requests, resumed: int) -> list[str]:
    told = []
    if resumed:
        told.append(f"something was sent again {resumed} times, which no design counts")
    if run.fps is None:
        told.append("each request began when the one before was through: nobody waited, as in a design they may")
    if len(requests) < 20:
        told.append(f"{len(requests)} requests say little of a 95th percentile")
    return told
