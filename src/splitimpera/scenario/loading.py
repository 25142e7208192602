"""The scenario file -> Scenario: bounds on what is read, and one line per fault."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from splitimpera.core import results_json
from splitimpera.core.errors import LIST_ENTRIES, ScenarioError, SplitImperaError, shown, shown_path
from splitimpera.core.files import read_file
from splitimpera.core.registry import nearest
from splitimpera.core.units import format_bytes
from splitimpera.scenario.data_section import AudioSection, DataSection, TokensSection
from splitimpera.scenario.document import Place, key_words, read_document
from splitimpera.scenario.exit_section import ExitsSection, ExitTrainSection
from splitimpera.scenario.recorded import looks_like_results, read_recorded
from splitimpera.scenario.sections import (
    BottlenecksSection,
    NetworkSection,
    PlansSection,
    Scenario,
    SoftSection,
    WorkloadSection,
)
from splitimpera.scenario.tier_sections import (
    AnswersSection,
    DeviceSection,
    DirectSection,
    LinkSection,
    RadioSection,
)

S = TypeVar("S", bound=BaseModel)

log = logging.getLogger(__name__)

LARGEST_BYTES = 1_000_000
START = "'splitimpera scenario init' writes one to start from"


@dataclass(frozen=True)
class Run:
    """What a design is made from.

    Attributes:
        seed: the seed that a results file was made with; None for a scenario file.
        replications: how often each plan's links were simulated for it; None for a scenario file.
    """

    scenario: Scenario
    seed: int | None = None
    replications: int | None = None


def load_scenario(path: str | Path) -> Scenario:
    """Read and validate a scenario file, or the scenario in the results of a design.

    Raises:
        ScenarioError: the file is missing, too large or no YAML, or a key or value is wrong; the message has one line
            a fault, `LIST_ENTRIES` at most, each with the line in the file, the key, what was given and what to do.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import mkdtemp
        >>> path = Path(mkdtemp()) / "scenario.yaml"
        >>> _ = path.write_text('''
        ... network: {model: digits-vgg16}
        ... data: {source: digits}
        ... devices: [{name: camera, preset: cortex-m7}, {name: server, preset: t4}]
        ... links: [{rate: 1 Mbit/s, delay: 5 ms}]
        ... workload: {fps: 20}
        ... requirements: [latency_p95 <= 50 ms]
        ... ''')
        >>> scenario = load_scenario(path)
        >>> scenario.links[0].delay, scenario.plans.transports
        (0.005, ['tcp', 'udp'])
    """
    return load_run(path).scenario


def load_run(path: str | Path) -> Run:
    """The same, with what a results file says of its run.

    Raises:
        ScenarioError: as `load_scenario`.
    """
    inside = os.path.join(path, "results.json")  # noqa: PTH118 (Path.is_file raises where a name is too long)
    hint = f"name '{shown_path(inside)}' to run that design again" if os.path.isfile(inside) else START  # noqa: PTH113
    raw = read_file(path, results_json.LARGEST_BYTES, ScenarioError, what="scenario file", hint=hint)
    path = Path(path)
    if looks_like_results(raw):
        recorded = read_recorded(raw, str(path))
        scenario = validated(Scenario, recorded.document, recorded.places, path)
        log.info("read the scenario '%s' from the results in %s", scenario.name, shown_path(path))
        return Run(scenario, recorded.seed, recorded.replications)
    content, lines = mapping_in(raw, path, "scenario", START)
    scenario = validated(Scenario, content, lines, path)
    if "folder" not in content:
        scenario._folder = path.parent.resolve()
    log.info("read the scenario '%s' from %s", scenario.name, shown_path(path))
    return Run(scenario)


_OWN_KEY = {"scenario": "network", "study": "scenario"}
_COMMANDS = {
    "scenario": "'splitimpera design' takes it, or a study that names it (docs/studies.md)",
    "study": "'splitimpera study run' checks and runs it",
}


def mapping_in(raw: bytes, path: Path, what: str, hint: str) -> tuple[dict[str, Any], dict[Place, int]]:
    """The keys of a YAML file, with a name if it has none, and the line of each.

    Args:
        raw: What stands in the file, and not more of it than `LARGEST_BYTES` + 1.
        what: "scenario" or "study".

    Raises:
        ScenarioError: it is larger than `LARGEST_BYTES`, no YAML in UTF-8, or no mapping of keys.
    """
    if len(raw) > LARGEST_BYTES:
        most = format_bytes(LARGEST_BYTES)
        raise ScenarioError(f"the {what} file '{shown_path(path)}' is larger than {most}, the most that is read")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ScenarioError("this is not text in UTF-8", where=f"{path}:{line}") from None
    content, lines = read_document(text, str(path))
    if not isinstance(content, dict):
        kind = "empty" if content is None else "a list" if isinstance(content, list) else _written(content)
        raise ScenarioError(f"a {what} is a mapping of keys, this is {kind}", where=str(path), hint=hint)
    other = "study" if what == "scenario" else "scenario"
    if _OWN_KEY[what] not in content and _OWN_KEY[other] in content:
        raise ScenarioError(f"this is a {other}, a {what} is expected", where=str(path), hint=_COMMANDS[other])
    if "name" not in content:
        content["name"] = path.parent.resolve().name if path.stem == what else path.stem
    return content, lines


def validated(
    kind: type[S], content: Mapping[str, object], lines: dict[Place, int] | None = None, path: Path | None = None
) -> S:
    """A document as a section of some kind.

    Args:
        lines: The line of each key, for messages.
        path: The file, for messages; without it they name the keys alone.

    Raises:
        ScenarioError: a key or value is wrong; one line a fault, `LIST_ENTRIES` at most.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ScenarioError(_faults(error.errors(include_url=False), lines or {}, path, kind)) from None


def section_of(kind: type[S], options: Mapping[str, str], **values: object) -> S:
    """A section made from command-line values.

    Args:
        options: which option each value is from.

    Raises:
        ScenarioError: a value is wrong; names the option of the first.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        location = first["loc"] or ("",)
        problem, hint = _words(first, location, kind)
        raise ScenarioError(problem, where=options.get(str(location[0]), str(location[0])), hint=hint) from None


def _faults(details: list[ErrorDetails], lines: dict[Place, int], path: Path | None, kind: type[BaseModel]) -> str:
    """A line for each of the first faults, and how many there are besides."""
    at: dict[Place, list[ErrorDetails]] = {}
    for detail in details:
        at.setdefault(_place(detail, lines), []).append(detail)
    # where a value may be this or that, pydantic finds fault with either
    first = [_fault(detail, place, lines, path, kind) for place in islice(at, LIST_ENTRIES) for detail in at[place]]
    more = len(at) - LIST_ENTRIES
    return "\n".join([*dict.fromkeys(first), *([f"and {more} more"] if more > 0 else [])])


def _place(detail: ErrorDetails, lines: dict[Place, int]) -> Place:
    """Where a fault is in the file: a union's branches and tagged types appear in pydantic's location, too."""
    if not lines:
        return detail["loc"]
    *_, last = detail["loc"] or ("",)
    location: Place = ()
    for part in detail["loc"]:
        if (*location, part) in lines:
            location = (*location, part)
    return (*location, last) if detail["type"] == "missing" else location


def _fault(
    detail: ErrorDetails, location: Place, lines: dict[Place, int], path: Path | None, kind: type[BaseModel]
) -> str:
    """One line for one fault that pydantic found."""
    line = next((lines[location[:n]] for n in range(len(location), 0, -1) if location[:n] in lines), 1)
    problem, hint = _words(detail, location, kind)
    file = f"{path}:{line}" if line else str(path)
    places = [*([] if path is None else [file]), *([key_words(location)] if location else [])]
    where = ": ".join(places)
    return str(ScenarioError(problem, where=where, hint=hint)).replace("\n", " ")


def _words(detail: ErrorDetails, location: Place, kind: type[BaseModel]) -> tuple[str, str]:
    given, context = _written(detail["input"]), detail.get("ctx", {})
    cause = context.get("error")
    if isinstance(cause, SplitImperaError):
        return cause.problem, cause.hint
    match detail["type"]:
        case "missing":
            return "this key is missing", "'splitimpera scenario init' writes a file with every key"
        case "extra_forbidden":
            return "this key is unknown", nearest(str(location[-1]), _known_keys(location[:-1], kind))
        case "greater_than" | "greater_than_equal" | "less_than" | "less_than_equal":
            sign = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
            bounds = [f"{word} {context[short]:g}" for short, word in sign.items() if short in context]
            return f"{shown(detail['input'])} is out of range, it must be {' and '.join(bounds)} (in SI units)", ""
        case "too_short" | "too_long":
            low, high = context.get("min_length"), context.get("max_length")
            wanted = f"at least {low}" if low is not None else f"at most {high}"
            return f"{context['actual_length']} entries are given, {wanted} expected", ""
        case "model_type" | "dict_type":
            return f"{given} is not a mapping of keys", "the documentation's page 'The scenario file' has every key"
        case "string_pattern_mismatch":
            return f"{given} is not a name", "use letters, digits, '-', '_' and '.', no spaces or slashes"
        case "string_type":
            return f"text is expected, given {given}", "write it in quotes"
        case "bool_type":
            return f"true or false is expected, given {given}", ""
        case "int_type":
            return (
                f"a whole number is expected, given {given}",
                "write it without quotes, unit, decimal point or exponent",
            )
        case "float_type":
            return f"a number is expected, given {given}", "write it without quotes or unit"
        case _:
            message = detail["msg"].removeprefix("Value error, ")
            return f"{message[0].lower()}{message[1:]}" + ("" if cause else f", given {given}"), ""


def _written(value: object) -> str:
    """A value of the file as a message quotes it, much as the file writes it."""
    return f"'{shown(value)}'" if isinstance(value, str) else shown(json.dumps(value, ensure_ascii=False, default=str))


def _known_keys(location: Place, kind: type[BaseModel]) -> list[str]:
    """The keys that the section at `location` may have."""
    section = kind
    sections = getattr(kind, "SECTIONS", _SECTIONS)
    for above, part in pairwise(("", *location)):
        section = sections.get(f"{above}.{part}", sections.get(part, section))
    return list(section.model_fields)


_SECTIONS: dict[str, type[BaseModel]] = {
    "network": NetworkSection,
    "data": DataSection,
    "audio": AudioSection,
    "data.tokens": TokensSection,
    "devices": DeviceSection,
    "links": LinkSection,
    "workload": WorkloadSection,
    "answers": AnswersSection,
    "direct": DirectSection,
    "plans": PlansSection,
    "bottlenecks": BottlenecksSection,
    "exits": ExitsSection,
    "train": ExitTrainSection,
    "radio": RadioSection,
    "requirements": SoftSection,
}
