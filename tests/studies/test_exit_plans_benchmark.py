"""The benchmark of whole plans with early exits, on evaluations whose numbers are known."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from exit_plans import CASES, Tried, as_accurate, chosen, row, saving, scenario_of

from splitimpera.records.device import Device
from splitimpera.records.link import Link
from splitimpera.records.outcome import Evaluation, ExitUse
from splitimpera.records.plan import Exit, Hop, Plan
from splitimpera.training.exit_settings import ExitTraining

CAMERA, SERVER = Device("camera"), Device("server")
NAMES = {0: "input", 2: "conv2", 4: "conv4", 6: "conv6"}


def evaluation(id, cut, energy_j, quality=0.95, share=None):
    hops = () if cut is None else (Hop(cut, "uint8", "tcp", Link()),)
    exits = () if share is None else (Exit(2, (0.9,)),)
    plan = Plan(id, (CAMERA, SERVER)[: len(hops) + 1], hops, exits=exits)
    latency_s = np.full((1, 20), 10 * energy_j)
    payload_bytes = 0.0 if cut is None else 100.0 * (1 - (share or 0.0))
    used = () if share is None else (ExitUse(2, (0.9,), share, quality),)
    spent = {"energy_j": energy_j, "payload_bytes": payload_bytes, "exits": used}
    return Evaluation(plan, quality, (quality - 0.02, quality + 0.01), latency_s, **spent)


LC = evaluation("LC", None, 0.010)
EE_LC = evaluation("EE-LC", None, 0.004, 0.94, share=0.75)
RC = evaluation("RC-uint8-tcp", 0, 0.008)
SC4 = evaluation("SC4-uint8-tcp", 4, 0.006)
EE_SC4 = evaluation("EE-SC4-uint8-tcp", 4, 0.003, share=0.5)
SC6 = evaluation("SC6-uint8-tcp", 6, 0.005, quality=0.5)
ALL = [LC, EE_LC, RC, SC4, EE_SC4, SC6, evaluation("EE-SC6-uint8-tcp", 6, 0.001, quality=0.5, share=0.9)]


def test_the_best_accurate_plan_of_each_kind_is_told_of_and_the_same_with_exits():
    assert chosen(ALL, "energy") == ["LC", "EE-LC", "RC-uint8-tcp", "SC4-uint8-tcp", "EE-SC4-uint8-tcp"]


def test_the_best_with_exits_brings_the_same_without():
    better = evaluation("EE-SC6-uint8-tcp", 6, 0.001, share=0.9)
    found = [*ALL[:-1], better]
    assert chosen(found, "energy")[-2:] == ["SC6-uint8-tcp", "EE-SC6-uint8-tcp"]


def test_what_exits_save_is_said_of_each_pair():
    found = Tried(NAMES, {one.plan.id: one for one in (LC, EE_LC, RC, SC4, EE_SC4)}, len(ALL), (3, 2, 1))
    assert found.pairs == [(LC, EE_LC), (SC4, EE_SC4)]
    assert saving(SC4, EE_SC4) == (
        "- EE-SC4-uint8-tcp: 50% leave; mean latency -50 %, p95 -50 %, energy -50 %, bytes -50 %; "
        "accuracy +0.0 points, within the interval."
    )
    assert "bytes" not in saving(LC, EE_LC)


def test_a_plan_that_exits_make_less_accurate_is_missed():
    assert as_accurate(LC, EE_LC)
    worse = replace(EE_LC, quality=0.92)
    assert not as_accurate(LC, worse)
    assert saving(LC, worse).endswith("accuracy -3.0 points, BELOW the interval.")


def test_a_row_has_all_that_is_asked_of_a_plan():
    assert row(EE_SC4, NAMES) == [
        *("EE after conv4, uint8 tcp", "95.0 % (93.0 to 96.0)", "50% conv2", "30.0", "30.0", "3.00", "50"),
    ]
    assert row(replace(SC4, stable=False), NAMES)[3:5] == ["grows", "grows"]
    ranged = replace(LC, intervals={"latency_p95": (0.09, 0.12)})
    assert row(ranged, NAMES)[4] == "100.0 (90.0 to 120.0)"


@pytest.mark.parametrize("name", CASES)
def test_scenarios_are_whole(name):
    training = ExitTraining(head="conv", joint=True, epochs=12)
    scenario = scenario_of(CASES[name], training)
    assert scenario.exits is not None
    assert (scenario.exits.train.head, scenario.exits.train.joint, scenario.exits.train.epochs) == ("conv", True, 12)
    assert scenario.devices[0].radio == "lte"
