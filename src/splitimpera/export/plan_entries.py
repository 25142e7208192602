"""A design's plans as a manifest has them, and the files of their codecs' constants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from safetensors.numpy import save

from splitimpera.bundle.entries import tensor_entry
from splitimpera.bundle.manifest import SPOKEN, PlanEntry
from splitimpera.bundle.opened import read_arrays
from splitimpera.codec.constants import Constants
from splitimpera.core.errors import BundleError, listed, shown
from splitimpera.evaluation.testbed import Coding, Testbed, route_of
from splitimpera.export.designed import Designed
from splitimpera.records.plan import Hop
from splitimpera.records.spans import NETWORK, origins

CODEC = "codec.safetensors"


def plan_entries(designs: Sequence[Designed], testbed: Testbed) -> tuple[list[PlanEntry], dict[str, bytes]]:
    """The plans, and the files of their codecs' constants by name: equal ones are one file.

    Raises:
        BundleError: a server could not tell two of them apart.
    """
    codings = dict.fromkeys(coding for design in designs for coding in route_of(design.plan.hops))
    coded = {coding: _constants(testbed, coding) for coding in codings}
    numbers = {file: constants.plan_id for constants, file in coded.values() if file}
    names = {
        file: CODEC if len(numbers) == 1 else f"codec-{number:08x}.safetensors" for file, number in numbers.items()
    }
    entries = [
        PlanEntry.model_validate(
            {
                "id": design.plan.id,
                "configuration": design.plan.configuration,
                "machines": [device.name for device in design.plan.devices],
                "hops": [
                    _hop_entry(design, testbed, hop, *coded[coding], names)
                    for hop, coding in zip(design.plan.hops, route_of(design.plan.hops), strict=True)
                ],
                "fps": float(design.setting.workload.fps),
                "requirements": [
                    {"text": wanted.text, "weight": wanted.weight} for wanted in design.results.requirements
                ],
                "predicted": dict(design.entry.metrics),
                "exits": [
                    {"cut": exit.cut, "layer": testbed.graph.cuts[exit.cut].name, "thresholds": list(exit.thresholds)}
                    for exit in design.plan.exits
                ],
            }
        )
        for design in designs
    ]
    _check_numbers(entries)
    return entries, {name: file for file, name in names.items()}


def _constants(testbed: Testbed, coding: Coding) -> tuple[Constants, bytes]:
    """What a codec is fixed with, as its file gives it back, and that file; empty where there is nothing to store."""
    found = testbed.constants(*coding)
    file = save({key: np.asarray(array, order="C") for key, array in found.arrays.items()}) if found.arrays else b""
    return Constants(found.name, found.specs, found.packet_bytes, read_arrays(file) if file else {}), file


def _hop_entry(
    design: Designed, testbed: Testbed, hop: Hop, constants: Constants, file: bytes, names: Mapping[bytes, str]
) -> dict[str, Any]:
    link, transport = hop.link, "tcp" if hop.transport == "tcp-cubic" else hop.transport
    if transport not in SPOKEN:
        raise BundleError(
            f"{shown(transport)} is simulated alone: no program speaks it",
            hint=f"export a plan over one of {listed(SPOKEN)}",
        )
    return {
        "cut": hop.cut,
        "layer": testbed.graph.cuts[hop.cut].name,
        "bottleneck": float(hop.bottleneck),
        "tensors": [tensor_entry(spec).model_dump() for spec in testbed.specs(hop.cut, hop.bottleneck)],
        "codec": hop.codec,
        "constants": names[file] if file else None,
        "packet_bytes": constants.packet_bytes,
        "number": constants.plan_id,
        "transport": transport,
        "deadline_s": design.setting.workload.deadline_s,
        "link": {
            "name": link.name,
            "rate_bps": float(link.rate_bps),
            "delay_s": float(link.delay_s),
            "loss": float(link.loss),
            "mtu_bytes": link.mtu_bytes,
        },
    }


def _check_numbers(entries: Sequence[PlanEntry]) -> None:
    """Packets say their hop's number and nothing else of where they belong, and what they come by is told by that.

    So plans whose frames come to a machine by the same number go on from there alike.
    """
    known: dict[tuple[int, int], tuple[str, list[tuple[object, ...]]]] = {}
    for entry in entries:
        behind = origins((hop.cut, hop.bottleneck) for hop in entry.hops)
        for place, hop in enumerate(entry.hops):
            way: list[tuple[object, ...]] = [(hop.cut, hop.bottleneck, NETWORK if hop.bottleneck else behind[place])]
            way += [(each.number, each.cut, each.bottleneck, each.transport) for each in entry.hops[place + 1 :]]
            other, there = known.setdefault((place, hop.number), (entry.id, way))
            if there != way:
                raise BundleError(
                    f"plans '{entry.id}' and '{other}' cannot be told apart by what they send", hint="leave out one"
                )
