"""YAML of the documents, held against the models: a whole scenario or study, some of its keys, or a section."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from splitimpera.core.errors import ScenarioError
from splitimpera.scenario.document import read_document
from splitimpera.scenario.loading import _SECTIONS, validated
from splitimpera.scenario.sections import Scenario
from splitimpera.scenario.study_section import StudySection

BASES: list[dict[str, Any]] = [
    {
        "network": {"model": "digits-vgg16"},
        "data": {"source": "digits"},
        "devices": [{"name": "camera", "slowdown": 40}, {"name": "server"}],
        "links": [{"rate": "1 Mbit/s", "delay": "5 ms"}],
        "workload": {"fps": 20},
        "requirements": ["fps >= 1"],
    }
]
BASES.append(
    BASES[0]
    | {
        "network": {"model": "network.py:make"},
        "data": {"source": "texts", "tokens": {"window": 256, "tokenizer": "bytes"}},
        "task": "language",
        "requirements": ["bits_per_byte <= 3"],
    }
)
BASES.append(BASES[0] | {"devices": [{"name": name} for name in ("sensor", "gateway", "cloud")]})
"""A scenario that a fragment is put into: of a classifier, of a language model, of three machines."""

STUDY: dict[str, Any] = {"scenario": "scenario.yaml"}


def check_fragment(text: str) -> None:
    """Whether a text is, or would be in its place, part of a scenario or a study.

    Raises:
        ScenarioError: it is not.
    """
    keys, _ = read_document(text, "a block")
    assert isinstance(keys, Mapping), "a fragment is a mapping of keys"
    if keys.keys() <= Scenario.model_fields.keys():
        _fits_one(keys)
    elif keys.keys() <= StudySection.model_fields.keys():
        validated(StudySection, STUDY | keys)
    else:
        kinds = [kind for kind in _SECTIONS.values() if keys.keys() <= kind.model_fields.keys()]
        assert kinds, f"no section has the keys {', '.join(keys)}"
        validated(kinds[0], keys)


def _fits_one(keys: Mapping[str, Any]) -> None:
    faults = []
    for base in BASES:
        try:
            validated(Scenario, _of_one_length(base, keys))
        except ScenarioError as error:
            faults.append(error)
        else:
            return
    raise faults[0]


def _of_one_length(base: Mapping[str, Any], keys: Mapping[str, Any]) -> dict[str, Any]:
    """The base with these keys, and as many links as go with the devices."""
    found = dict(base)
    for key, value in keys.items():
        mappings = isinstance(value, Mapping) and isinstance(base.get(key), Mapping)
        found[key] = {**base[key], **value} if mappings else value
    if "links" not in keys:
        found["links"] = [{**base["links"][0], "name": f"link{place}"} for place in range(len(found["devices"]) - 1)]
    elif "devices" not in keys:
        found["devices"] = [{"name": f"device{place}"} for place in range(len(found["links"]) + 1)]
    return found
