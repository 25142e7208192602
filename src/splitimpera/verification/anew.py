"""The scenario of the next design: the same, with what has drifted as it was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from splitimpera.core.bounds import BOUNDS
from splitimpera.core.errors import DataError, OutputError, shown_path
from splitimpera.core.files import check_writable, write_output
from splitimpera.cost.profiles import write_profile
from splitimpera.records.device import Device
from splitimpera.records.link import Link
from splitimpera.report.schema import PlanEntry, Results
from splitimpera.report.verified import DriftEntry
from splitimpera.verification.calibration import FEWEST, calibrated
from splitimpera.verification.matching import WARM_UP, Log
from splitimpera.verification.measured import measured
from splitimpera.verification.predicted import Prediction

SCENARIO = "scenario.yaml"
OF_MACHINES = ("device", "encode"), ("decode", "server")
"""Of the first and of the last device of a plan."""
OF_LINK = ("round_trip", "goodput", "lost_packets")
MENDED = {*OF_MACHINES[0], *OF_LINK, *OF_MACHINES[1]}
ELSEWHERE = {
    "server_wait": "frames that wait for the server are no matter of the design: let it serve fewer clients, or add a "
    "server",
    "payload": "payloads of another size come with other inputs: let 'data' of the scenario be what devices see now",
    "confidence": "less sure answers come with other inputs: let 'data' of the scenario be what devices see now, with "
    "their labels",
    "lost_frames": "where nothing comes back, the link or the server was away: the log says when",
}
"""What measurements alone do not mend."""


def how_anew(drifted: Sequence[DriftEntry], logs: Sequence[Log]) -> str:
    """The commands that design anew with what was measured; empty where nothing holds on that has drifted."""
    keys = list(dict.fromkeys(one.key for one in drifted if one.until_frame is None))
    told = []
    if any(key in MENDED for key in keys):
        names = " ".join(log.path.name for log in logs)
        told.append(
            f"design anew with these measurements: 'splitimpera verify RUN {names} --anew FOLDER', then "
            f"'splitimpera design FOLDER/{SCENARIO}'"
        )
    told += [ELSEWHERE[key] for key in keys if key in ELSEWHERE]
    text = "; ".join(told)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def write_anew(
    folder: Path,
    results: Results,
    entry: PlanEntry,
    logs: Sequence[Log],
    prediction: Prediction,
    drifted: Sequence[DriftEntry],
) -> list[Path]:
    """Write a scenario, and profiles of the machines whose times have drifted beside it.

    Everything is measured in the frames of which all holds that has drifted: those since the last change.

    Returns:
        The files, the scenario first.

    Raises:
        DataError: nothing has drifted that a design takes into account, or too few frames are known since.
        OutputError: there is a scenario already, or it cannot be written.
    """
    path = folder / SCENARIO
    if len(entry.devices) > 2 or entry.exits:
        what = "early exits" if entry.exits else f"{len(entry.devices)} machines"
        known = "plans without" if entry.exits else "one or two"
        raise DataError(
            f"plan '{entry.id}' has {what}, a scenario is made anew of runs of {known}",
            where="--anew",
            hint="measure each machine by 'splitimpera profile', and change the scenario by hand",
        )
    if path.exists():
        raise OutputError(f"'{shown_path(path)}' exists already", where="--anew", hint="name another folder")
    lasting = [one for one in drifted if one.until_frame is None and one.key in MENDED]
    if not lasting:
        raise DataError(
            "nothing has drifted that a design takes into account",
            where="--anew",
            hint="to design with measured times all the same, take the profiles of --calibrate",
        )
    keys = {one.key for one in lasting}
    since = _since(logs, lasting)
    document = _document(prediction, results)
    files = [path]
    slow = [name for name, of in zip(entry.devices, OF_MACHINES, strict=False) if keys & set(of)]
    check_writable(folder, "--anew")
    if slow:
        result_bytes = logs[0].run.result_bytes or results.cuts[-1].bytes
        profiles = calibrated(results, entry, since, measured(since, prediction.plan.hops, result_bytes))
        for place, (name, device) in enumerate(zip(entry.devices, prediction.plan.devices, strict=True)):
            if name in slow:
                files.append(folder / f"profile-{name}.json")
                write_profile(profiles[name], files[-1], "--anew")
                document["devices"][place] = _device(document["devices"][place], device, files[-1])
    if prediction.link is not None:
        document["links"][0] |= _link(lasting, prediction.link)
    write_output(path, yaml.safe_dump(document, sort_keys=False, allow_unicode=True).encode(), "--anew")
    return files


def _since(logs: Sequence[Log], lasting: Sequence[DriftEntry]) -> list[Log]:
    """The logs from the last change on; a log in which nothing has drifted is left out."""
    begun: dict[str, int] = {}
    for one in lasting:
        begun[one.log] = max(one.since_frame, begun.get(one.log, 0))
    kept = []
    for log in logs:
        if log.path.name in begun:
            frames = tuple(line for line in log.frames if line.frame >= begun[log.path.name])
            # one more, for the first of a log is left out
            kept.append(replace(log, frames=log.frames[:WARM_UP] + frames))
    count = sum(len(log.compared) for log in kept)
    if count < FEWEST:
        raise DataError(
            f"{count} frames are known since the last change, a design needs {FEWEST} or more",
            where="--anew",
            hint="let 'splitimpera infer' run on, and take its longer log",
        )
    return kept


def _document(prediction: Prediction, results: Results) -> dict[str, Any]:
    document: dict[str, Any] = prediction.scenario.document()
    return document | {"name": f"{results.scenario.name}-anew"}


def _device(section: Mapping[str, Any], device: Device, profile: Path) -> dict[str, Any]:
    """A device with a profile; what its preset says besides of times, it goes on to have."""
    kept = {key: value for key, value in section.items() if key not in ("preset", "slowdown", "profile")}
    if device.roofline is not None:
        if device.roofline.memory_bytes:
            kept.setdefault("memory", device.roofline.memory_bytes)
        if device.roofline.power_w:
            kept.setdefault("power", device.roofline.power_w)
    return kept | {"profile": str(profile.absolute())}


def _link(lasting: Sequence[DriftEntry], link: Link) -> dict[str, float]:
    """What a link's section says anew. Keys that a trace or recorded drops say stay as they are."""
    by_key = {one.key: one for one in lasting}
    traced, told = link.trace is not None, {}
    if (trip := by_key.get("round_trip")) and not traced:
        more_s = (trip.measured - trip.predicted) / 2
        told["delay"] = max(BOUNDS["delay_s"].low, link.delay_s + more_s)
        if link.downlink_delay_s is not None:
            told["downlink_delay"] = max(BOUNDS["delay_s"].low, link.downlink_delay_s + more_s)
    if (rate := by_key.get("goodput")) and not traced:
        told["rate"] = link.rate_bps * rate.measured / rate.predicted
    if (loss := by_key.get("lost_packets")) and link.drops is None and not traced:
        told["loss"] = loss.measured
    return told
