"""Measurements as plain values, and read back from a results file."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from splitimpera.core.bounds import BOUNDS
from splitimpera.core.errors import DataError, shown, shown_path
from splitimpera.core.files import read_file
from splitimpera.core.results_json import LARGEST_BYTES, parsed_results
from splitimpera.records.measurements import CodingTime, Measurements, SegmentTime

LONGEST_S = 1e5
SAMPLES_AT_MOST = 10_000
"""Of one time."""

_RECORD = TypeAdapter(with_config(ConfigDict(extra="forbid"))(Measurements))


def measurements_document(measurements: Measurements) -> dict[str, Any]:
    """Measurements as plain values, which `measurements_from` reads."""
    return asdict(measurements)


def measurements_from(document: object) -> Measurements:
    """Measurements from plain values, every one of them checked.

    Raises:
        DataError: a value is missing, of another kind or out of range; names it.
    """
    try:
        found = _RECORD.validate_json(json.dumps(document, allow_nan=False), strict=True)
    except ValueError as error:
        problem = str(error)
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            problem = f"{'.'.join(str(part) for part in first['loc'])}: {first['msg'].lower()}"
        raise DataError(f"these are no measurements: {shown(problem)}") from None
    times: list[SegmentTime | CodingTime] = [*found.segments, *found.codings]
    for time in times:
        samples = (*time.samples_s, *time.hot_samples_s)
        if not time.samples_s or not all(0 < sample < LONGEST_S for sample in samples):
            raise DataError(f"a time is missing or not between 0 and {LONGEST_S:g} s")
        if not all(math.isfinite(value) for value in vars(time).values() if isinstance(value, float)):
            raise DataError("a ratio of a bottleneck is not finite")
        if len(samples) > SAMPLES_AT_MOST:
            raise DataError(f"a time has {len(samples)} samples, at most {SAMPLES_AT_MOST} are read")
    for run in found.runs:
        points = (*run.times.prefill, *run.times.decode)
        if len(points) > SAMPLES_AT_MOST or not all(second < LONGEST_S for _, second in points):
            raise DataError(f"a time of tokens is not between 0 and {LONGEST_S:g} s")
    if not 0 <= found.fps <= BOUNDS["fps"].high:
        raise DataError(f"{found.fps:g} frames a second are out of range, they must be 0 to {BOUNDS['fps'].high:g}")
    for threads, least in ((found.threads, 1), (found.values_threads, 0)):
        if not least <= threads <= 4096:
            raise DataError(f"{threads} threads are out of range, they must be {least} to 4096")
    if not 0 <= found.waited <= 1:
        raise DataError(f"waited: {found.waited:g} is no share")
    return found


def read_measurements(path: str | Path) -> Measurements:
    """The measurements that a design kept in its results.

    Raises:
        DataError: there is no such file, or it holds none; names what is wrong.
    """
    hint = "a results.json that 'splitimpera design' wrote holds them"
    name = shown_path(path)
    raw = read_file(path, LARGEST_BYTES, DataError, what="file of measurements", hint=hint)
    content = parsed_results(raw, DataError, name, hint)
    if not isinstance(content, dict) or not isinstance(content.get("measurements"), dict):
        raise DataError("there are no measurements in it", where=name, hint=hint)
    try:
        return measurements_from(content["measurements"])
    except DataError as error:
        raise DataError(error.problem, where=name, hint=hint) from None
