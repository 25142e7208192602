"""results.json as it may come: of another version, damaged, or whole."""

from __future__ import annotations

import copy
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from made import SENSITIVITY, four_plans, made_values
from rich.console import Console

from splitimpera.core.errors import DataError, SplitImperaError, printable
from splitimpera.report.comparison import compare, comparison_tables
from splitimpera.report.html.comparison_page import comparison_html
from splitimpera.report.reading import checked, read
from splitimpera.report.static_figures import plans_png, saliency_png
from splitimpera.report.tables import plans_csv, show

REQUIREMENTS = ["accuracy >= 90 %", "latency_p95 <= 60 ms"]


@pytest.fixture
def results():
    change = {
        "parameter": "rate",
        "before": 3e5,
        "after": 6e5,
        "ratio": 2.0,
        "plan": "LC",
        "text": "rate at least 1 Mbit/s",
    }
    made = made_values(
        four_plans(),
        REQUIREMENTS,
        sensitivity=[copy.deepcopy(SENSITIVITY)],
        capacity={"senders": 3, "busiest_stage": "radio"},
        loss_curves=[
            {"plan": "SC3-uint8-udp", "configuration": "SC"}
            | {"loss": [0.0, 0.1], "quality": [0.9, 0.8], "quality_low": [0.8, 0.7], "quality_high": [0.95, 0.9]}
        ],
    )
    made["recommendation"] |= {"change": change, "changes": [change]}
    return json.loads(json.dumps(made))


def test_what_was_written_is_read(results, tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert json.loads(read(tmp_path).to_json()) == results


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not valid JSON: Expecting property name"),
        ('{"schema_version": NaN}', "NaN is no number in JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "not the results of a design"),
        ('{"schema_version": "4"}', "not the results of a design"),
        ('{"schema_version": true}', "not the results of a design"),
        ('{"schema_version": 3}', "schema version 3, only 7 and 8 can be read: older results lack"),
        ('{"schema_version": 1' + "0" * 400 + "}", "schema version 1" + "0" * 79 + "..., only 7 and 8 can be read"),
        (
            '{"schema_version": 9}',
            "schema version 9, only 7 and 8 can be read: a newer splitimpera wrote it; use that one",
        ),
        ('{"schema_version": 8}', "it is damaged: splitimpera_version: Field required"),
        ('{"schema_version": 7}', "it is damaged: splitimpera_version: Field required"),
        (b"\xff\xfe", "not text in UTF-8"),
    ],
)
def test_other_files_are_refused_with_the_reason(content, words, tmp_path):
    (tmp_path / "results.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as error:
        read(tmp_path)
    assert words in str(error.value)
    assert "run 'splitimpera design' again" in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "results.json"))


def test_what_is_no_design_is_said(tmp_path):
    with pytest.raises(DataError, match=r"there is no results\.json in"):
        read(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="is a file, the folder of a design is expected"):
        read(tmp_path / "file")
    (tmp_path / "results.json").mkdir()
    with pytest.raises(DataError, match="is a folder, a results file is expected"):
        read(tmp_path)


def test_a_file_that_no_design_writes_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("splitimpera.report.reading.LARGEST_BYTES", 10)
    (tmp_path / "results.json").write_text('{"schema_version": 7}')
    with pytest.raises(DataError, match="is larger than 10 B"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("plans", 1, "metrics", "fps"), "fast", "plans[1].metrics.fps: Input should be a valid number"),
        (("plans", 0, "id"), "LC", "plans: two have one id"),
        (("plans", 2, "certainty"), "sure", "plans[2].certainty: Input should be 'certain', 'likely' or 'unlikely'"),
        (("plans", 0, "metrics"), {}, "plans[0].metrics: accuracy is missing"),
        (("plans", 0, "judgements"), [], "plans[0].judgements: not one a requirement"),
        (("plans", 0, "latency_quantiles_s"), [0.1], "plans[0].latency_quantiles_s: not one value a share"),
        (("plans", 0, "latency_quantiles_low_s"), None, "plans[0].latency_quantiles_s: its band is missing"),
        (("requirements", 0, "metric"), "beauty", "requirements[0].metric: 'beauty' is not known"),
        (("requirements", 0, "limit"), 0, "requirements[0].limit: Input should be greater than or equal to"),
        (("requirements", 0, "kind"), "upper", "requirements[0].kind: higher accuracy is better"),
        (("recommendation", "plan"), "SC99", "recommendation: it names no plan"),
        (("curve", "cuts"), [1, 2, 3, 77], "curve.cuts: one of them is not there"),
        (("sensitivity", 0, "plans"), [], "sensitivity: not one plan a value"),
        (("samples", "test"), 1.5, "samples.test: Input should be a valid integer"),
    ],
)
def test_a_damaged_value_is_named(results, place, value, words):
    inner = results
    for part in place[:-1]:
        inner = inner[part]
    inner[place[-1]] = value
    with pytest.raises(DataError) as error:
        checked(results, "results.json")
    assert f"results.json: it is damaged: {words}" in str(error.value)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("base_quality",), 10**400, "base_quality: 1000000000"),
        (("layers", 0, "macs"), -(10**400), "layers[0].macs: -1000000000"),
        (
            ("plans", 0, "metrics", "fps"),
            1e300,
            "plans[0].metrics.fps: 1e+300 is out of range, it must be at most 1e+40",
        ),
        (("scenario", "workload", "fps"), 10**41, "scenario.workload.fps: 1000000000"),
        (("nobody", "looks"), [1, {"here": -1e41}], "nobody.looks[1].here: -1e+41 is out of range"),
        (("cuts", 0, "name"), "\ud800", "cuts[0].name: '\\ud800' has half of a character"),
        (("curve", "per_class", "\udfff"), [], "curve.per_class.\\udfff: '\\udfff' has half of a character"),
        (("plans", 0, "busiest_stage"), "x" * 10_001, "plans[0].busiest_stage: it has 10001 characters"),
        (("scenario", "more"), json.loads("[" * 30 + "]" * 30), "it is nested deeper than 20 levels"),
    ],
    ids=str,
)
def test_what_nothing_could_be_drawn_from_is_named(results, place, value, words, tmp_path):
    inner = results
    for part in place[:-1]:
        inner = inner.setdefault(part, {}) if isinstance(inner, dict) else inner[part]
    inner[place[-1]] = value
    (tmp_path / "results.json").write_text(json.dumps(results))
    with pytest.raises(DataError) as error:
        read(tmp_path)
    assert f"it is damaged: {words}" in str(error.value) or words in str(error.value)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("digits", [400, 5000])
def test_long_integers_are_refused(digits, tmp_path):
    (tmp_path / "results.json").write_text('{"schema_version": 5, "seed": ' + "9" * digits + "}")
    with pytest.raises(DataError) as error:
        read(tmp_path)
    assert len(str(error.value)) < 500


def test_many_small_values_are_refused_before_they_are_made(tmp_path, monkeypatch):
    monkeypatch.setattr("splitimpera.core.results_json.MOST_VALUES", 1000)
    (tmp_path / "results.json").write_text("[" + "[]," * 1000 + "[]]")
    with pytest.raises(DataError, match="there are more than 1000 values in it"):
        read(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_and_devices_are_refused(tmp_path):
    os.mkfifo(tmp_path / "results.json")
    with pytest.raises(DataError, match="is a pipe or a device, a results file is expected"):
        read(tmp_path)
    (tmp_path / "device").mkdir()
    (tmp_path / "device" / "results.json").symlink_to("/dev/zero")
    with pytest.raises(DataError, match="is a pipe or a device"):
        read(tmp_path / "device")


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b"])
def test_impossible_folders_are_refused(name):
    with pytest.raises(DataError, match=r"there is no results\.json in"):
        read(Path(name))


@pytest.mark.parametrize("name", ["[/bold]", "[red]x", "$a$ $\\frac$", "\x1b[2J", "", "x" * 10_000])
def test_any_name_is_drawn_as_it_is(results, name):
    results["plans"][0]["id"] = results["recommendation"]["plan"] = name or "LC2"
    results["candidates"][0]["reasons"] = [name]
    results["cuts"][2]["name"] = results["candidates"][0]["name"] = name
    results["requirements"][0]["text"] = name
    for plan in results["plans"]:
        plan["judgements"][0]["requirement"] = name
    results = checked(results)
    told = Console(file=io.StringIO(), width=200)
    show(results, told)
    told.print(comparison_tables(compare(results, results.model_copy(update={"seed": 5}))))
    assert "\x1b" not in told.file.getvalue()
    if 0 < len(name) < 10:
        assert printable(name) in told.file.getvalue()
    assert plans_png(results)
    assert saliency_png(results)


def places(value, path=()):
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield (*path, key)
        yield from places(inner, (*path, key))


@pytest.mark.parametrize("cases", [20, pytest.param(80, marks=pytest.mark.slow)])
def test_whatever_is_broken_in_a_file_there_is_a_report_or_a_reason(results, monkeypatch, cases):
    from splitimpera.report.html import page

    monkeypatch.setattr(page, "get_plotlyjs", str)
    rng = np.random.default_rng(1)
    every = list(places(results))
    odd = [None, -1, 0, 1e9, "x", True, [], {}, [None], "<b>$"]
    refused = 0
    for _ in range(cases):
        broken = copy.deepcopy(results)
        *path, last = every[rng.integers(len(every))]
        inner = broken
        for part in path:
            inner = inner[part]
        if rng.random() < 0.3:
            del inner[last]
        else:
            inner[last] = odd[rng.integers(len(odd))]
        try:
            taken = checked(broken)
        except SplitImperaError:
            refused += 1
            continue
        page.report_html(taken)
        comparison_html(compare(checked(results), taken))
        plans_csv(taken)
    plans_png(checked(results))
    assert cases / 4 < refused < 0.95 * cases
