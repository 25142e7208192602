"""What a scenario may say: its sections, their keys and bounds.

The names of networks, data sets, codecs and transports are resolved by the stages that own them. The text below a key
says what it means; `file_schema` and docs/scenario.md have it from here.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PlainSerializer,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from splitimpera.core.errors import listed, shown
from splitimpera.records.requirement import (
    BALANCED,
    LONGEST_TEXT,
    METRICS,
    TOLERANCE,
    Requirement,
    check_consistent,
    check_objective,
    parse_requirement,
)
from splitimpera.scenario.base_section import Section as _Section
from splitimpera.scenario.data_section import DataSection as DataSection
from splitimpera.scenario.exit_section import ExitsSection
from splitimpera.scenario.plans_section import BottlenecksSection as BottlenecksSection
from splitimpera.scenario.plans_section import PlansSection as PlansSection
from splitimpera.scenario.quantities import (
    MOST_ENTRIES,
    Factor,
    FilePath,
    Folder,
    Fraction,
    Name,
    Text,
    can_be_kept,
    si_numbers,
)
from splitimpera.scenario.tier_sections import (
    MOST_DEVICES,
    DeviceSection,
    LinkSection,
)
from splitimpera.scenario.workload_section import WorkloadSection as WorkloadSection


class NetworkSection(_Section):
    """The trained network.

    `model` is a built-in name, `package.module:factory` or `file.py:factory`; `weights` a state dict beside it.
    """

    model: Text
    """A built-in network, another package's, or a factory of yours: `digits-vgg16`, `timm/resnet18`,
    `package.module:factory`, `file.py:factory`."""
    weights: FilePath | None = None
    """Its state dict: `.safetensors`, or `.pt` with tensors only. Default: what the factory returns."""


class TaskSection(_Section):
    """What the network is for: the task's name, or a factory's, and the task's own keys."""

    model_config = ConfigDict(extra="allow")

    kind: Text = "classification"
    """A task's name, or a factory's, `file.py:factory`. The task's own keys stand beside it: `{kind: detection, format:
    yolo}`."""

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        return {"kind": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _plain_keys(self) -> TaskSection:
        for key, value in self.options().items():
            if not isinstance(value, (str, int, float, bool, type(None))) or len(str(value)) > LONGEST_TEXT:
                raise ValueError(f"{shown(key)} is {shown(value)}, a text or a number is expected")
        return self

    def options(self) -> dict[str, Any]:
        """The task's own keys."""
        return dict(self.model_extra or {})


class SoftSection(_Section):
    """A soft requirement: a plan may violate it, and pays its margin times its weight."""

    prefer: Text
    """A comparison, such as `latency_p95 <= 50 ms`."""
    weight: Annotated[Factor, Field(gt=0, le=1e6)] = 1.0
    """What a plan that violates it pays: the margin by which it misses the limit, times this."""


def _requirement(value: object) -> Requirement:
    if isinstance(value, Requirement):
        return value
    if isinstance(value, dict):
        soft = SoftSection.model_validate(value)
        return parse_requirement(soft.prefer, weight=soft.weight)
    return parse_requirement(value)


def _as_written(requirement: Requirement) -> str | dict[str, Any]:
    return requirement.text if requirement.hard else {"prefer": requirement.text, "weight": requirement.weight}


RequirementEntry = Annotated[
    Requirement,
    BeforeValidator(_requirement, json_schema_input_type=str | SoftSection),
    PlainSerializer(_as_written),
]


def _consistent(requirements: list[Requirement]) -> list[Requirement]:
    check_consistent(requirements)
    return requirements


def known_objective(objective: str) -> str:
    """The objective, if there is such a one."""
    check_objective(objective, METRICS)
    return objective


class _Origin(_Section):
    """Further keys of a dumped scenario: its numbers are in SI units, and its relative paths start from `folder`."""

    units: Literal["SI"]
    """Numbers without a unit are in SI units: seconds, bits per second, bytes, watts, shares."""
    folder: Folder | None = None
    """The folder that relative paths start from, as a full path. Default: the file's."""


class Scenario(_Section):
    """Network, data, devices, links, workload, requirements: what a design is made for.

    `Scenario.model_validate(scenario.model_dump()) == scenario`, also through JSON.
    """

    name: Name = "scenario"
    """Results go to `runs/<name>`. Default: the file's name, or its folder's if the file is `scenario.yaml`."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Random seed of training and simulation; `--seed` overrides the latter."""
    network: NetworkSection
    """The trained network."""
    data: DataSection
    """The samples on which plans are compared."""
    task: TaskSection = TaskSection()
    """What the network is for: `classification`, `multilabel`, `regression`, `segmentation`, `detection`, `language`,
    `agreement` (without labels), or `file.py:factory`.
    Default: classification."""
    devices: Annotated[list[DeviceSection], Field(min_length=2, max_length=MOST_DEVICES)]
    """The machines in a row, in the order in which data passes them: the one with the sensor first, the server last."""
    links: Annotated[list[LinkSection], Field(min_length=1, max_length=MOST_DEVICES - 1)]
    """The links between them, one from each device to the next."""
    workload: WorkloadSection
    """The frames."""
    plans: PlansSection = PlansSection()
    """Which plans are evaluated."""
    bottlenecks: BottlenecksSection = BottlenecksSection()
    """Trained autoencoders that compress what crosses a cut."""
    exits: ExitsSection | None = None
    """Early exits, at which frames leave whose class is certain enough. Default: none."""
    requirements: Annotated[
        list[
            Annotated[
                Requirement,
                BeforeValidator(_requirement, json_schema_input_type=str | SoftSection),
                PlainSerializer(_as_written),
            ]
        ],
        Field(min_length=1, max_length=MOST_ENTRIES),
        AfterValidator(_consistent),
    ]
    """What a plan must meet, at least one: comparisons such as `latency_p95 <= 50 ms`, or soft ones."""
    objective: Annotated[Text, AfterValidator(known_objective)] = BALANCED
    """What is optimised among the plans that meet the requirements: `balanced` (the largest smallest margin), or any
    metric."""
    tolerance: Annotated[Fraction, Field(ge=0, le=1)] = TOLERANCE
    """Values that differ by less than this share of the limit count as equal, if they are not random: 12.90 and 12.91
    ms."""

    _folder: Path = PrivateAttr(default_factory=Path.cwd)

    @property
    def folder(self) -> Path:
        """Folder that relative paths start from, the scenario file's."""
        return self._folder

    def transports_of(self, place: int) -> tuple[str, list[str]]:
        """The transports over a link, and the key that names them."""
        own = self.links[place].transports
        if own is None and self.workload.tokens is not None and "transports" not in self.plans.model_fields_set:
            return "plans.transports", ["tcp"]
        return ("plans.transports", self.plans.transports) if own is None else (f"links[{place}].transports", own)

    def codecs_of(self, place: int) -> tuple[str, list[str]]:
        """The codecs for what crosses a cut over a link, and the key that names them."""
        own = self.links[place].codecs
        return ("plans.codecs", self.plans.codecs) if own is None else (f"links[{place}].codecs", own)

    @model_validator(mode="before")
    @classmethod
    def _senders(cls, data: object) -> object:
        """As many devices send frames as there are first ones."""
        match data:
            case {"devices": [{"count": int(count)}, *_], "workload": {**workload}} if "senders" not in workload:
                return {**data, "workload": workload | {"senders": count}}  # type: ignore[dict-item]
        return data

    @model_validator(mode="after")
    def _in_a_row(self) -> Scenario:
        devices, links = len(self.devices), len(self.links)
        if links != devices - 1:
            between = "1 link" if devices == 2 else f"{devices - 1} links, one from each to the next"
            raise ValueError(f"links: {links} given, {devices} devices have {between}")
        senders = self.workload.senders
        if "count" in self.devices[0].model_fields_set and self.devices[0].count != senders:
            raise ValueError(
                f"devices[0].count: {self.devices[0].count} given, workload.senders says {senders}, which is the same "
                "number; leave one out"
            )
        counts = [senders, *(device.count for device in self.devices[1:])]
        for place, (before, count) in enumerate(pairwise(counts), 1):
            if count > before:
                raise ValueError(
                    f"devices[{place}].count: {count} given, only {before} send to them, each to one; so many at most"
                )
        return self

    @model_validator(mode="after")
    def _answered(self) -> Scenario:
        if self.workload.answers == "along":
            return self
        if len(self.devices) < 3:
            raise ValueError(
                f"workload.answers: with {len(self.devices)} devices no machine is in the middle, answers come along "
                "the link; leave it out, and give the link a downlink_rate and downlink_delay"
            )
        if self.exits is not None:
            raise ValueError(
                "workload.answers: with early exits answers come from several machines, and along the way; leave out "
                "answers or exits"
            )
        return self

    @model_validator(mode="after")
    def _written(self) -> Scenario:
        """Requests to a language model are simulated between a device and a server, over what loses no token."""
        if self.workload.tokens is None:
            return self
        if len(self.devices) > 2:
            raise ValueError(
                f"workload.tokens: requests are simulated between 2 devices, {len(self.devices)} are given; leave out "
                "the ones in the middle"
            )
        key, transports = self.transports_of(0)
        others = [name for name in transports if name.partition("-")[0] != "tcp"]
        if others:
            raise ValueError(
                f"workload.tokens: tokens that are lost would be lacking in all that follows, and {key} names "
                f"{listed(others)}; write transports: [tcp]"
            )
        if self.exits is not None or self.bottlenecks.ratios:
            raise ValueError(
                "workload.tokens: requests are simulated without early exits and bottlenecks; leave out "
                + ("exits" if self.exits is not None else "bottlenecks")
            )
        for place, device in enumerate(self.devices):
            if device.profile is not None:
                raise ValueError(
                    f"devices[{place}].profile: a profile has no times of single tokens; leave it out, and the device "
                    "is timed where the design runs, or give a preset"
                )
            if device.batch > 1 or device.queue != "wait":
                wrong = "batch" if device.batch > 1 else "queue"
                instead = "; workload.tokens.together says how many requests go together" if wrong == "batch" else ""
                raise ValueError(f"devices[{place}].{wrong}: requests to a language model wait{instead}; leave it out")
        return self

    @model_validator(mode="after")
    def _secured(self) -> Scenario:
        for index, link in enumerate(self.links):
            carrier = {"tls": "tcp", "dtls": "udp"}.get(link.security)
            key, transports = self.transports_of(index)
            others = [name for name in transports if name.partition("-")[0] != carrier]
            if carrier is not None and others:
                raise ValueError(
                    f"links[{index}].security: {link.security} works over {carrier.upper()}, and "
                    f"{key} names {listed(others)}; leave these out, or write security: none"
                )
        return self

    @model_validator(mode="after")
    def _distinct(self) -> Scenario:
        seen: set[str] = set()
        for device in self.devices:
            if device.name in seen:
                raise ValueError(f"devices: two devices are called '{device.name}'")
            seen.add(device.name)
        names = [link.called for link in self.links]
        for place, name in enumerate(names):
            if name in seen:
                raise ValueError(f"links: a device is also called '{name}'; give the link another name")
            if name in names[:place]:
                raise ValueError(f"links: two links are called '{name}'; give each a name of its own")
        return self

    def document(self) -> dict[str, Any]:
        """The scenario as plain values, from which `Scenario.model_validate` makes an equal one.

        Numbers are in SI units, as `units: SI` says; keys that were not given are left out.
        """
        return self.model_dump(mode="json")

    @model_serializer(mode="wrap")
    def _as_given(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        origin = {"units": "SI"} | ({"folder": str(self.folder)} if can_be_kept(self.folder) else {})
        # the default may be the file's name, which is not in the file
        return origin | {"name": self.name} | super()._as_given(dump)

    @model_validator(mode="wrap")
    @classmethod
    def _from_document(cls, data: object, make: ModelWrapValidatorHandler[Self]) -> Self:
        origin = data.keys() & _Origin.model_fields if isinstance(data, dict) else set()
        if not isinstance(data, dict) or not origin:
            return make(data)
        folder = _Origin.model_validate({key: data[key] for key in origin}).folder
        with si_numbers():
            scenario = make({key: value for key, value in data.items() if key not in origin})
        if folder is not None:
            scenario._folder = folder
        return scenario
