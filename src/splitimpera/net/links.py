"""A scenario's link section -> the link: presets and link layers looked up, files read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from splitimpera.core.errors import ScenarioError, SplitImperaError
from splitimpera.net.link_presets import link_header_bytes, link_preset
from splitimpera.net.traces import load_drops, load_trace
from splitimpera.records.link import Link, Trace
from splitimpera.scenario import LINK_FIELDS, LinkSection, Scenario, check_room

KEYS = {field: key for key, field in LINK_FIELDS.items()}
"""The scenario's key behind each field of the record."""


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
    given = section.given() | {"app_header_bytes": section.app_header}
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
    if section.drops is not None:
        with _key(f"{where}.drops"):
            given["drops"] = load_drops(folder / section.drops)
    try:
        link = replace(base, **given)
    except SplitImperaError as error:
        raise error.at(f"{where}.{KEYS.get(error.where, error.where)}") from None
    try:
        check_room(link.mtu_bytes, link.app_header_bytes)
    except ValueError as error:
        raise ScenarioError(str(error), where=where) from None
    return link


def with_plain_links(scenario: Scenario) -> Scenario:
    """The scenario with the numbers that its presets and traces stand for, for those who show it.

    Raises:
        SplitImperaError: as `build_link`.
    """
    sections = []
    for index, section in enumerate(scenario.links):
        link = build_link(section, scenario.folder, f"links[{index}]")
        numbers = {KEYS[field.name]: getattr(link, field.name) for field in fields(link) if field.name in KEYS}
        # what the file says stays marked as such, so that the section still gives the same link
        values = section.model_dump() | numbers
        sections.append(LinkSection.model_construct(_fields_set=set(section.model_fields_set), **values))
    return scenario.model_copy(update={"links": sections})


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
