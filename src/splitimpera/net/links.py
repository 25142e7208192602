"""A scenario's link section -> the link: presets and link layers looked up, files read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from splitimpera.codec.framing import DTLS_RECORD_BYTES, HEADER_BYTES, IP_UDP_HEADER_BYTES, TLS_RECORD_BYTES
from splitimpera.core.errors import ScenarioError, SplitImperaError
from splitimpera.net.link_presets import link_header_bytes, link_preset
from splitimpera.net.traces import load_drops, load_trace
from splitimpera.records.link import LARGEST_RECORD_BYTES, Link, Trace
from splitimpera.scenario import LINK_FIELDS, LinkSection

KEYS = {field: key for key, field in LINK_FIELDS.items()}
"""The scenario's key of each field of the record."""

LEAST_ROOM_BYTES = 16
"""One element of the widest type."""


def build_link(section: LinkSection, folder: Path, where: str = "links[0]") -> Link:
    """The link that a section of a scenario describes.

    What the section says goes before what its preset says. Where a trace gives rate, delay or loss, the link's own is
    their mean over time.

    Args:
        folder: what relative paths start from.
        where: the section's place in the scenario, for messages.

    Raises:
        SplitImperaError: a preset, link layer or file that does not exist or cannot be used, or values that do not fit
            each other; names the key, and the line in the file.
    """
    given = section.given() | overheads(section)
    base = Link()
    if section.preset is not None:
        with _key(f"{where}.preset"):
            base = link_preset(section.preset)
    if "link_header_bytes" in given:
        with _key(f"{where}.link_header"):
            given["link_header_bytes"] = link_header_bytes(given["link_header_bytes"])
    if section.trace is not None:
        with _key(f"{where}.trace"):
            trace = load_trace(folder / section.trace)
        given |= {"trace": trace} | _means(section, trace, where)
    elif section.trace_start is not None:
        raise ScenarioError("there is no trace to start", where=f"{where}.trace_start", hint="add 'trace'")
    if section.drops is not None:
        with _key(f"{where}.drops"):
            given["drops"] = load_drops(folder / section.drops)
    try:
        link = replace(base, **given)
    except SplitImperaError as error:
        raise error.at(f"{where}.{KEYS.get(error.where, error.where)}") from None
    _check_room(link, section, where)
    return link


def overheads(section: LinkSection) -> dict[str, int]:
    """What a link's framing and security add to the data, by the names of the record's fields."""
    datagram_bytes = DTLS_RECORD_BYTES if section.security == "dtls" else 0
    return {
        "app_header_bytes": datagram_bytes + (HEADER_BYTES if section.framing == "sei" else 0),
        "stream_record_bytes": TLS_RECORD_BYTES if section.security == "tls" else 0,
    }


def link_values(section: LinkSection, link: Link) -> dict[str, Any]:
    """A link's keys with the numbers that its preset and trace stand for, for display.

    Args:
        link: what `build_link` made of the section.
    """
    numbers = {KEYS[field.name]: getattr(link, field.name) for field in fields(link) if field.name in KEYS}
    return section.plain() | numbers


def _check_room(link: Link, section: LinkSection, where: str) -> None:
    """Refuse packets without room for data after 52 bytes of IP and TCP headers, or beyond what DTLS takes."""
    if link.mtu_bytes - 52 - link.app_header_bytes < LEAST_ROOM_BYTES:
        raise ScenarioError(
            f"an mtu of {link.mtu_bytes} B leaves no room for data after 52 B of IP and TCP headers and "
            f"{link.app_header_bytes} B of framing and security",
            where=where,
            hint=f"{52 + link.app_header_bytes + LEAST_ROOM_BYTES} B are enough",
        )
    largest = IP_UDP_HEADER_BYTES + DTLS_RECORD_BYTES + LARGEST_RECORD_BYTES
    if section.security == "dtls" and link.mtu_bytes > largest:
        raise ScenarioError(
            f"an mtu of {link.mtu_bytes} B is more than a DTLS record holds", where=where, hint=f"take {largest} B"
        )


def _means(section: LinkSection, trace: Trace, where: str) -> dict[str, Any]:
    """The means of what a trace gives; nobody else may give it, and what it leaves out must come from elsewhere."""
    lengths = np.diff([*trace.time_s, trace.period_s])
    columns = {"rate": trace.rate_bps, "delay": trace.delay_s, "loss": trace.loss}
    means = {key: float(np.average(column, weights=lengths)) for key, column in columns.items() if column}
    if trace.opportunity_bytes:
        means["rate"] = len(trace.time_s) * trace.opportunity_bytes * 8 / trace.period_s
    for key in means.keys() & section.model_fields_set:
        raise ScenarioError(f"the trace '{trace.name}' gives it", where=f"{where}.{key}", hint="leave it out")
    for key in ("rate", "delay"):
        if key not in means and getattr(section, key) is None and section.preset is None:
            problem = f"this key is missing, the trace '{trace.name}' does not give it"
            raise ScenarioError(problem, where=f"{where}.{key}")
    return {LINK_FIELDS[key]: mean for key, mean in means.items()}


@contextmanager
def _key(key: str) -> Iterator[None]:
    """Errors from inside name the scenario's key, and then the place in the file."""
    try:
        yield
    except SplitImperaError as error:
        raise error.at(f"{key}: {error.where}" if error.where else key) from None
