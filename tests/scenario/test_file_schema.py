"""The JSON Schemas of the files that people write: of the models, with every key described, true of the examples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from splitimpera.scenario.file_schema import FILES, file_schema, json_schema

ROOT = Path(__file__).parents[2]
WRITTEN = {
    "scenario": [path for path in (ROOT / "examples").glob("*/*.yaml") if "ranges" not in path.read_text()],
    "study": [path for path in (ROOT / "examples").glob("*/*.yaml") if "ranges" in path.read_text()],
}
jsonschema = pytest.importorskip("jsonschema")


def checker(name):
    return jsonschema.Draft202012Validator(file_schema(name))


@pytest.mark.parametrize("name", FILES)
def test_the_files_are_those_of_the_models(name):
    stored = (ROOT / "docs" / f"{name}.schema.json").read_text()
    assert stored == json_schema(name), f"docs/{name}.schema.json is stale: 'make schema' writes it anew"


@pytest.mark.parametrize("name", FILES)
def test_every_key_has_a_description(name):
    schema = json.loads(json_schema(name))
    for title, part in {name: schema, **schema["$defs"]}.items():
        without = [key for key, each in part["properties"].items() if not each.get("description")]
        assert without == [], title


@pytest.mark.parametrize("name", FILES)
@pytest.mark.slow
def test_the_examples_are_valid(name):
    assert WRITTEN[name]
    for path in WRITTEN[name]:
        wrong = [error.message for error in checker(name).iter_errors(yaml.safe_load(path.read_text()))]
        assert wrong == [], path


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("links", [{"rate": "5 Mbit", "delay": "5 ms"}]),
        ("links", [{"rate": 5, "delay": "5 ms"}]),
        ("links", [{"rate": "5 Mbit/s", "delay": "5 ms", "los": 0}]),
        ("workload", {"fps": 0}),
        ("task", 3),
        ("requirements", [5]),
        ("seed", -1),
    ],
)
def test_mistakes_are_seen(place, value):
    document = yaml.safe_load((ROOT / "examples" / "digits" / "scenario.yaml").read_text())
    assert checker("scenario").is_valid(document)
    assert not checker("scenario").is_valid(document | {place: value})


def test_defaults_and_bounds_are_written_as_in_a_file():
    keys = file_schema("scenario")["$defs"]
    assert keys["AudioSection"]["properties"]["window"]["default"] == "25 ms"
    assert keys["DataSection"]["properties"]["validation"]["default"] == "30 %"
    loss = keys["LinkSection"]["properties"]["loss"]
    assert (loss["minimum"], loss["exclusiveMaximum"]) == (0, 1)
