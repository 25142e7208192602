"""Two runs side by side."""

from __future__ import annotations

import pytest
from made import evaluation, four_plans, made_results, made_values
from rich.console import Console

from splitimpera.records.requirement import parse_requirement
from splitimpera.report.comparison import (
    change_of,
    compare,
    comparison_tables,
    requirements_of,
)
from splitimpera.report.html.comparison_page import comparison_html
from splitimpera.report.reading import checked
from splitimpera.report.words import decision_words, value_words, verdict_words

REQUIREMENTS = ["accuracy >= 90 %", "latency_p95 <= 60 ms"]


@pytest.fixture
def runs():
    first = made_results(four_plans(), REQUIREMENTS)
    plans = [
        evaluation("SC3-uint8-udp", accuracy=0.92, p95_s=0.04),
        evaluation("SC4-uint8-tcp", accuracy=0.96, p95_s=0.9, stable=False, cut=4),
        evaluation("SC1-uint8-udp", p95_s=0.045, cut=1, energy_j=0.02),
    ]
    wanted = [parse_requirement("accuracy >= 90 %"), parse_requirement("latency_p95 <= 50 ms", 2.0)]
    second = made_values(plans, wanted, seed=7)
    second["scenario"]["links"][0]["rate"] = 6e5
    second["scenario"]["devices"][0]["power"] = 2.0
    return first, checked(second)


def test_what_differs_is_named_in_full(runs):
    found = {entry.name: (entry.first, entry.second) for entry in compare(*runs).settings}
    assert found == {
        "links[0].rate": (3e5, 6e5),
        "devices[0].power": (None, 2.0),
        "run seed": (0, 7),
    }
    assert compare(runs[0], runs[0]).settings == ()


def test_requirements_are_in_both_or_in_one(runs):
    assert requirements_of(compare(*runs)) == [
        ("accuracy >= 90 %", "both"),
        ("latency_p95 <= 60 ms", "first"),
        ("latency_p95 <= 50 ms (preferred, weight 2)", "second"),
    ]


def test_every_plan_of_either_with_its_change(runs):
    pairs = {pair.id: pair for pair in compare(*runs).pairs}
    assert list(pairs) == [*(plan.id for plan in runs[0].plans), "SC1-uint8-udp"]
    both = pairs["SC3-uint8-udp"]
    assert [value_words(plan, "latency_p95") for plan in (both.first, both.second)] == ["50 ms", "40 ms"]
    assert change_of(both, "latency_p95") == "-20 %"
    assert change_of(both, "accuracy") == "-3 points"
    assert change_of(both, "fps") == "same"
    unstable = pairs["SC4-uint8-tcp"]
    assert value_words(unstable.second, "latency_p95") == "unstable"
    assert change_of(unstable, "latency_p95") == ""
    alone = pairs["SC1-uint8-udp"]
    assert verdict_words(alone.first) == "not evaluated"
    assert value_words(alone.first, "energy") == "-"
    assert value_words(alone.second, "energy") == "20 mJ"


def test_decisions_in_words(runs):
    chosen = "Split after block.add, 8-bit, over UDP (SC3-uint8-udp): feasible, certain"
    assert decision_words(runs[0]) == f"{chosen}; accuracy 95 % on the test samples"
    none = made_results(four_plans(), ["accuracy >= 100 %"])
    nearest = "Send the input as PNG over TCP to server (RC-png-tcp)"
    assert decision_words(none) == f"No plan is feasible. Nearest: {nearest}."


def test_the_account_fits_a_terminal(runs, capsys):
    Console(width=80).print(comparison_tables(compare(*runs)))
    said = capsys.readouterr().out
    assert all(len(line) <= 80 for line in said.splitlines())
    for words in ("links[0].rate", "300000", "600000", "SC1-uint8-udp", "not evaluated", "-20 %", "requirement"):
        assert words in said
    assert "Warning" not in said
    Console(width=80).print(comparison_tables(compare(runs[0], runs[0])))
    assert "Settings and requirements are the same." in capsys.readouterr().out


def test_runs_of_different_networks_are_not_taken_for_alike(runs, capsys):
    fewer = runs[1].model_copy(update={"layers": runs[1].layers[:-1]})
    comparison = compare(runs[0], fewer)
    Console(width=80).print(comparison_tables(comparison))
    assert "Warning: The networks differ" in capsys.readouterr().out
    assert "The networks differ" in comparison_html(comparison)


def test_tasks_of_different_qualities(runs):
    errors = made_results([evaluation("SC3-uint8-udp", accuracy=0.1, quality_metric="rmse")], ["rmse <= 1"])
    comparison = compare(runs[0], errors)
    pair = next(pair for pair in comparison.pairs if pair.id == "SC3-uint8-udp")
    assert value_words(pair.second, "rmse") == "0.1"
    assert change_of(pair, "accuracy") == ""
    assert "rmse" in comparison_html(comparison)


def test_names_are_harmless(runs):
    values = runs[1].model_dump()
    values["scenario"]["name"] = "<script>[bold]"
    values["scenario"]["network"]["model"] = "[/red]<img src=x>"
    runs = runs[0], checked(values)
    page = comparison_html(compare(*runs))
    assert "<script" not in page
    assert "<img" not in page
    Console(width=80).print(comparison_tables(compare(*runs)))
