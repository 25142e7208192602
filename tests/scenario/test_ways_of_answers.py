"""How answers come back, in scenarios: along the way or directly, and what is said where that cannot be."""

from __future__ import annotations

import pytest
import yaml

from splitimpera.core.errors import ScenarioError, SplitImperaError
from splitimpera.records.traffic import DirectAnswers, Workload
from splitimpera.scenario import Scenario, load_scenario
from splitimpera.scenario.loading import validated
from splitimpera.setting import resolve

WAY = {"direct": {"rate": "10 Mbit/s", "delay": "20 ms"}}


def document(devices=3, **workload):
    presets = [
        {"name": "sensor", "preset": "cortex-m7"},
        {"name": "gateway", "preset": "raspberry-pi-4"},
        {"name": "cloud", "preset": "t4"},
    ]
    return {
        "network": {"model": "digits-vgg16"},
        "data": {"source": "digits"},
        "devices": presets[:devices],
        "links": [{"preset": "wifi-6"}, {"preset": "lte"}][: devices - 1],
        "workload": {"fps": 5, "response": "runtime"} | workload,
        "requirements": ["latency_p95 <= 1 s"],
    }


def test_direct_answers_have_a_rate_and_a_delay():
    scenario = Scenario.model_validate(document(answers=WAY))
    assert Scenario.model_validate(scenario.document()) == scenario
    setting = resolve(scenario)
    assert setting.workload.direct == DirectAnswers(1e7, 0.02)
    known = setting.workload_for(40)
    assert (known.response_bytes, known.direct) == (72, setting.workload.direct)
    assert known.direct_s(2) == pytest.approx(0.02 + 8 * 72 / 1e7)
    assert [known.direct_s(hops) for hops in (0, 1)] == [0, 0]
    assert [known.along_bytes(hops) for hops in (1, 2)] == [72, 0]


def test_along_is_what_nobody_needs_to_write():
    said, silent = (resolve(Scenario.model_validate(document(**more))) for more in ({"answers": "along"}, {}))
    assert said.workload == silent.workload
    assert silent.workload.direct is None
    assert "answers" not in silent.scenario.document()["workload"]


def test_settings_are_told_apart_by_it_and_others_are_what_they_were():
    settings = [resolve(Scenario.model_validate(document(**more))) for more in ({}, {"answers": WAY})]
    assert settings[0].digest != settings[1].digest
    assert "direct" not in settings[0].workload.plain()
    assert Workload(5.0).plain().keys() == Workload.__dataclass_fields__.keys() - {"direct", "tokens"}


def test_a_transport_without_responses_may_carry_frames_behind_the_first_link():
    """Plans that end at the gateway have theirs along the first one."""
    made = document(answers=WAY, response="1 kB")
    made["links"][1]["transports"] = ["udp-arq"]
    assert resolve(Scenario.model_validate(made)).workload.direct is not None
    made["workload"].pop("answers")
    with pytest.raises(SplitImperaError, match="udp-arq simulates no responses"):
        resolve(Scenario.model_validate(made))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"answers": "direct"},
            "direct answers have a rate and a delay: write {direct: {rate: 10 Mbit/s, delay: 20 ms",
        ),
        ({"answers": "both"}, "input should be 'along', given 'both'"),
        ({"answers": {"direct": {"rate": "1 Mbit/s"}}}, "workload.answers.direct.delay: this key is missing"),
        ({"answers": {"direct": {"delay": "1 ms"}}}, "workload.answers.direct.rate: this key is missing"),
        ({"answers": {"direct": WAY["direct"] | {"rate": "0 bit/s"}}}, "is out of range, it must be at least 1"),
        ({"answers": {"direct": WAY["direct"] | {"loss": "1 %"}}}, "loss: this key is unknown"),
        ({"answers": WAY, "response": 0}, "response does not say that there are any; write response: runtime"),
        ({"answers": WAY, "devices": 2}, "workload.answers: with 2 devices no machine is in the middle"),
        ({"answers": WAY, "exits": True}, "workload.answers: with early exits answers come from several machines"),
    ],
)
def test_what_does_not_fit_is_said(changed, message, tmp_path):
    changed = dict(changed)
    devices, exits = changed.pop("devices", 3), changed.pop("exits", False)
    made = document(devices, **changed) | ({"exits": {}} if exits else {})
    path = tmp_path / "scenario.yaml"
    path.write_text(yaml.safe_dump(made))
    with pytest.raises(ScenarioError) as caught:
        load_scenario(path)
    assert message in str(caught.value)
    with pytest.raises(ScenarioError):
        validated(Scenario, made)
