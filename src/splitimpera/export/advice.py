"""What to know of an exported plan: where it cannot run, what to install, what the prediction left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from splitimpera.codec.codec_names import extras_of
from splitimpera.core.errors import ModelError
from splitimpera.cost.device_presets import DEVICES
from splitimpera.deploy.messages import RESPONSE_BYTES
from splitimpera.net.workloads import build_workload
from splitimpera.records.device import Device
from splitimpera.records.plan import Plan
from splitimpera.setting import Setting


def check_machines(plan: Plan) -> None:
    """Refuse machines on which neither engine runs.

    Raises:
        ModelError: names them.
    """
    without = [device for device in plan.devices if _preset_without_engines(device)]
    if without:
        names = " and ".join(f"'{device.name}' ({_preset(device)})" for device in without)
        raise ModelError(
            f"neither ONNX Runtime nor PyTorch runs on {names}: it has no operating system",
            where=f"plan {plan.id}",
            hint="design for a machine that has one, such as the preset raspberry-pi-4, or write that machine's half "
            "yourself after docs/bundle.md and docs/protocol.md",
        )


def _preset(device: Device) -> str:
    return "" if device.roofline is None else device.roofline.name


def _preset_without_engines(device: Device) -> bool:
    return _preset(device) in DEVICES and not DEVICES[_preset(device)].engines


def extras(codecs: Iterable[str]) -> list[str]:
    """The extras of the package that some codecs need."""
    return sorted({extra for codec in codecs for extra in extras_of(codec)})


def left_out(setting: Setting, plans: Iterable[Plan], result_bytes: int) -> Iterator[str]:
    """The keys of the scenario that a prediction needs to know what the two programs add, each with its value.

    Args:
        result_bytes: Mean size of what a response carries.
    """
    plans = [plan for plan in plans if plan.hops]
    if not plans:
        return
    for place, section in enumerate(setting.scenario.links):
        carriers = {plan.hops[place].transport.partition("-")[0] for plan in plans if len(plan.hops) > place}
        if carriers and section.framing == "none":
            yield f"links[{place}].framing: sei"
        if len(carriers) == 1 and section.security == "none":  # a scenario has either
            yield f"links[{place}].security: {'tls' if carriers == {'tcp'} else 'dtls'}"
    if build_workload(setting.scenario.workload, result_bytes).response_bytes != RESPONSE_BYTES + result_bytes:
        yield "workload.response: runtime"
