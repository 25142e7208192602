"""The models of `results.json`, and what is exported of them."""

from __future__ import annotations

import ast
import json

import pytest
from conftest import ROOT
from made import four_plans, made_results, made_values
from pydantic import ValidationError

from splitimpera import report
from splitimpera.report.reading import checked
from splitimpera.report.schema import Results, json_schema

REQUIREMENTS = ["accuracy >= 90 %", "latency_p95 <= 60 ms"]
SOURCE = ROOT / "src" / "splitimpera"


def test_the_exported_json_schema_is_that_of_the_models():
    exported = (ROOT / "docs" / "results.schema.json").read_text()
    assert exported == json_schema(), "docs/results.schema.json is stale: 'make schema' writes it anew"


def test_every_key_of_the_results_is_in_the_exported_schema_and_in_the_document():
    schema = json.loads(json_schema())
    values = made_values(four_plans(), REQUIREMENTS)
    document = (ROOT / "docs" / "results.md").read_text()
    for kind, found in (
        (schema, values),
        (schema["$defs"]["PlanEntry"], values["plans"][0]),
        (schema["$defs"]["DecisionEntry"], values["recommendation"]),
    ):
        assert list(kind["properties"]) == kind["required"] == list(found)
        assert [key for key in found if f"`{key}`" not in document] == []


def test_what_a_scenario_says_besides_is_kept():
    values = made_values(four_plans(), REQUIREMENTS)
    values["scenario"]["devices"][0]["radio"] = {"power": 1.0}
    values["scenario"]["mood"] = ["good"]
    assert checked(values).scenario.model_dump() == values["scenario"]


def test_results_stay_as_they_are():
    results = made_results(four_plans(), REQUIREMENTS)
    with pytest.raises(ValidationError, match="frozen"):
        results.seed = 3
    assert Results.model_validate_json(results.to_json()) == results


def test_the_report_exports_what_it_promises_and_no_module_bears_the_name():
    modules = {path.stem for path in (SOURCE / "report").rglob("*.py")}
    for name in report.__all__:
        assert getattr(report, name).__module__.startswith("splitimpera.report.")
        assert name not in modules
    with pytest.raises(AttributeError, match="no attribute 'draw'"):
        report.draw  # noqa: B018


def test_no_verdict_is_worded_elsewhere():
    """Scripts and templates get the words as data; the other modules call `words`."""
    telling = (
        "feasible, {",
        "feasible, $",
        "fits",
        "cannot run",
        "No plan is feasible",
        "times the limit",
        "not evaluated",
    )
    files = [path for kind in ("*.py", "*.js", "*.j2") for path in (SOURCE / "report").rglob(kind)]
    assert len(files) > 20
    for path in files:
        if path.name != "words.py":
            assert [words for words in telling if words in _code(path)] == [], path


def _code(path):
    """A file's content; of a module the texts that are no docstrings."""
    if path.suffix != ".py":
        return path.read_text()
    tree = ast.parse(path.read_text())
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docstrings)
    return "\n".join(node.value for node in texts if isinstance(node.value, str))
