"""What cells have in common, as text: what their networks and trainings follow from, and what their plans do."""

from __future__ import annotations

from typing import Any

from splitimpera.setting import Setting


def training_of(setting: Setting) -> dict[str, Any]:
    """What trained bottlenecks follow from, apart from network, data and task."""
    wanted = setting.scenario.bottlenecks.model_dump(mode="json")
    return {key: value for key, value in wanted.items() if key not in ("ratios", "cuts", "codecs")}


def ground_key(setting: Setting) -> str:
    """What network, data, task and training follow from."""
    scenario = setting.scenario
    parts = [scenario.network, scenario.data, scenario.task]
    quality = setting.task.metrics, sorted(set(setting.asked) & set(setting.task.metrics))
    sizes = setting.link.mtu_bytes, setting.link.app_header_bytes
    known = (
        [part.model_dump_json() for part in parts],
        training_of(setting),
        scenario.seed,
        quality,
        sizes,
        setting.files,
    )
    return repr(known)


def plan_key(setting: Setting) -> str:
    """What the names of plans, their cuts and codecs follow from."""
    scenario = setting.scenario
    return scenario.plans.model_dump_json() + scenario.bottlenecks.model_dump_json()
