"""Links by name, each with the source of its figures; the data are in presets.yaml beside this file."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import yaml

from splitimpera.core import units
from splitimpera.core.errors import UnknownNameError
from splitimpera.core.registry import Registry, nearest
from splitimpera.records.link import Link
from splitimpera.scenario import LinkSection

LINK_HEADERS = {
    "none": 0,
    "ppp": 2,
    "ethernet": 14,
    "ethernet-fcs": 18,
    "ethernet-vlan": 22,
    "ethernet-wire": 38,
}
"""Bytes that a link layer adds to every IP packet: PPP's protocol field (RFC 1661), as ns-3 sends it; Ethernet's header
alone, with its FCS, with FCS and an 802.1Q tag, with FCS, preamble and gap (IEEE 802.3)."""


@dataclass(frozen=True)
class Preset:
    """A link with a name.

    Attributes:
        source: The origin of its figures.
        frame_bytes: the frame that its source asks for; None: it names none.
        response_bytes: likewise the response.
        latency_s: likewise the longest time that the larger of the two may take.
    """

    name: str
    description: str
    source: str
    link: Link
    frame_bytes: int | None = None
    response_bytes: int | None = None
    latency_s: float | None = None


def link_preset(name: str) -> Link:
    """The link of a preset.

    Raises:
        UnknownNameError: there is no such preset; names the nearest.
    """
    return PRESETS[name].link


def link_header_bytes(header: int | str) -> int:
    """The size of a link layer's header, given as such or by name.

    Raises:
        UnknownNameError: there is no such link layer; names the nearest.
    """
    if isinstance(header, int):
        return header
    if header not in LINK_HEADERS:
        raise UnknownNameError(f"no link layer is called '{header}'", hint=nearest(header, LINK_HEADERS))
    return LINK_HEADERS[header]


def _load() -> Registry[Preset]:
    presets: Registry[Preset] = Registry("link preset")
    content: dict[str, dict[str, Any]] = yaml.safe_load((files("splitimpera.net") / "presets.yaml").read_bytes())
    for name, values in content.items():
        section = LinkSection.model_validate(values["link"])
        fields = section.given()
        fields["link_header_bytes"] = link_header_bytes(fields["link_header_bytes"])
        sizes = {key: values[key] for key in ("frame", "response") if key in values}
        preset = Preset(
            name=name,
            description=values["description"],
            source=values["source"],
            link=Link(**{**fields, "name": name}),
            latency_s=units.parse(values["latency"], units.TIME) if "latency" in values else None,
            **{f"{key}_bytes": round(units.parse(size, units.SIZE)) for key, size in sizes.items()},
        )
        presets.register(name)(preset)
    return presets


PRESETS: Registry[Preset] = _load()
