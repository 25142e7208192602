"""Machines and radios by name, each with the source of its figures; the data are in the YAML files beside this one."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import yaml

from splitimpera.core import units
from splitimpera.core.registry import Registry
from splitimpera.records.device import Radio, Roofline


@dataclass(frozen=True)
class Published:
    """What others have measured on a machine: a whole network, one frame."""

    network: str
    input_shape: tuple[int, ...]
    seconds: float
    source: str


@dataclass(frozen=True)
class DevicePreset:
    """A machine with a name.

    Attributes:
        published: What its roofline is compared with.
        engines: Whether ONNX Runtime or PyTorch, and Python, run there.
    """

    name: str
    description: str
    roofline: Roofline
    published: tuple[Published, ...] = ()
    engines: bool = True


@dataclass(frozen=True)
class RadioPreset:
    """A transmitter with a name."""

    name: str
    description: str
    radio: Radio


def _content(file: str) -> dict[str, dict[str, Any]]:
    content: dict[str, dict[str, Any]] = yaml.safe_load((files("splitimpera.cost") / file).read_bytes())
    return content


def _devices() -> Registry[DevicePreset]:
    presets: Registry[DevicePreset] = Registry("device preset")
    for name, values in _content("presets.yaml").items():
        roofline = Roofline(
            name=name,
            macs_per_s=float(values["macs_per_s"]),
            bytes_per_s=units.parse(values["bandwidth"], units.BIT_RATE) / 8,
            layer_s=units.parse(values["layer"], units.TIME),
            memory_bytes=round(units.parse(values["memory"], units.SIZE)),
            power_w=units.parse(values["power"], units.POWER),
            source=values["source"],
            note=values["note"],
            error=values.get("error"),
            core=float(values["core"]),
            p95_ratio=float(values["p95_ratio"]),
        )
        published = tuple(
            Published(entry["network"], tuple(entry["input"]), units.parse(entry["time"], units.TIME), entry["source"])
            for entry in values.get("published", ())
        )
        engines = bool(values.get("engines", True))
        presets.register(name)(DevicePreset(name, values["description"], roofline, published, engines))
    return presets


def _radios() -> Registry[RadioPreset]:
    presets: Registry[RadioPreset] = Registry("radio")
    for name, values in _content("radios.yaml").items():
        radio = Radio(
            name=name,
            # mW for each Mbit/s is nJ for each bit
            joule_per_byte=float(values["milliwatt_per_mbps"]) * 8e-9,
            power_w=units.parse(values["power"], units.POWER),
            source=values["source"],
        )
        presets.register(name)(RadioPreset(name, values["description"], radio))
    return presets


DEVICES: Registry[DevicePreset] = _devices()
RADIOS: Registry[RadioPreset] = _radios()
