"""results.json -> the scenario, seed and replications that it was made with, within the bounds of a scenario file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from splitimpera.core.errors import ScenarioError, shown
from splitimpera.core.results_json import parsed_results
from splitimpera.scenario.document import DEEPEST, MOST_VALUES, Place

MOST_REPLICATIONS = 1000


@dataclass(frozen=True)
class Recorded:
    """The inputs of a design, as its results file records them.

    Attributes:
        places: the place of every key and list entry, with line 0: JSON is not read line by line.
    """

    document: dict[str, object]
    places: dict[Place, int]
    seed: int
    replications: int


def looks_like_results(raw: bytes) -> bool:
    """Whether a file is a JSON object with the keys of a design's results, by what is seen before it is read."""
    return raw[:100].lstrip()[:1] == b"{" and b'"schema_version"' in raw and b'"scenario"' in raw


def read_recorded(raw: bytes, name: str) -> Recorded:
    """The inputs of the design that a results file was made by.

    Args:
        name: what messages call the file, its path.

    Raises:
        ScenarioError: it is not valid JSON, exceeds the bounds, or lacks the scenario, the seed or the replications.
    """
    values = parsed_results(raw, ScenarioError, name)
    assert isinstance(values, dict)  # it begins with a brace
    document = values.get("scenario")
    if not isinstance(document, dict):
        raise ScenarioError("this results file is damaged: its scenario is not a mapping of keys", where=name)
    if "units" not in document:
        raise ScenarioError(
            "this results file is from an older version, which did not keep the whole scenario",
            where=name,
            hint="run the scenario file itself",
        )
    places: dict[Place, int] = {}
    for place in _places(document):
        if len(place) > DEEPEST:
            raise ScenarioError(f"its scenario is nested deeper than {DEEPEST} levels", where=name)
        if len(places) > MOST_VALUES:
            raise ScenarioError(f"its scenario has more than {MOST_VALUES} values, the most that are read", where=name)
        places[place] = 0
    return Recorded(
        document,
        places,
        _count(values, "seed", 0, 2**63 - 1, name),
        _count(values, "replications", 1, MOST_REPLICATIONS, name),
    )


def _places(value: object, path: Place = ()) -> Iterator[Place]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield (*path, key)
        yield from _places(inner, (*path, key))


def _count(values: dict[str, object], key: str, low: int, high: int, name: str) -> int:
    value = values.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        given = shown(value) if isinstance(value, (str, int, float)) else type(value).__name__
        raise ScenarioError(
            f"this results file is damaged: a whole number from {low} to {high} is expected, given {given}",
            where=f"{name}: {key}",
            hint="run the scenario file itself",
        )
    return value
