"""What a scenario may say: its sections, their keys and bounds.

The names of networks, data sets, codecs and transports are resolved by the stages that own them. Every key is described
in docs/scenario.md.
"""

from __future__ import annotations

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
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from splitimpera.core.bounds import BOUNDS
from splitimpera.core.errors import listed, shown
from splitimpera.records.device import QueuePolicy
from splitimpera.records.link import Jitter
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
from splitimpera.records.traffic import Workload
from splitimpera.scenario.base_section import Section as _Section
from splitimpera.scenario.data_section import DataSection as DataSection
from splitimpera.scenario.quantities import (
    MOST_ENTRIES,
    BitRate,
    Bytes,
    Cuts,
    Factor,
    FilePath,
    Folder,
    Fraction,
    Frequency,
    Name,
    Names,
    ResponseBytes,
    Row,
    Seconds,
    Text,
    Watts,
    can_be_kept,
    si_numbers,
    whole_bytes,
)


def _within(field: str) -> Any:
    """The bounds of a record's field."""
    return Field(**BOUNDS[field].limits())


class NetworkSection(_Section):
    """The trained network.

    `model` is a built-in name, `package.module:factory` or `file.py:factory`; `weights` a state dict beside it.
    """

    model: Text
    weights: FilePath | None = None


class TaskSection(_Section):
    """What the network is for: the task's name, or a factory's, and the task's own keys."""

    model_config = ConfigDict(extra="allow")

    kind: Text = "classification"

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


class RadioSection(_Section):
    """Energy and power of a transmitter."""

    joule_per_byte: Annotated[float, Field(ge=0, le=1)]
    power: Annotated[Watts, Field(ge=0, le=1e6)] = 0.0


class DeviceSection(_Section):
    """A device. Its times are those of a `profile` or a `preset`, or of the machine that runs the design.

    `slowdown` 40 means forty times slower than that. `preset` and `radio` are looked up by the costs' stage, which
    also reads the profile.
    """

    name: Name
    preset: Text | None = None
    profile: FilePath | None = None
    slowdown: Annotated[Factor, Field(gt=0, le=1e6)] = 1.0
    memory: Annotated[Bytes, Field(gt=0, le=10**15)] | None = None
    power: Annotated[Watts, Field(gt=0, le=1e6)] | None = None
    radio: Text | RadioSection | None = None
    queue: QueuePolicy = "wait"
    queue_frames: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    batch: Annotated[int, Field(ge=1, le=1024)] = 1

    @model_validator(mode="after")
    def _fits(self) -> DeviceSection:
        if self.preset is not None and self.profile is not None:
            raise ValueError("preset and profile both say how fast the device is; leave one out")
        if self.queue == "wait" and "queue_frames" in self.model_fields_set:
            raise ValueError(
                "queue_frames limits a queue that drops frames, but this device lets them wait; set queue as well"
            )
        if self.queue != "wait" and self.batch > 1:
            raise ValueError("a device that drops frames computes them one by one; leave out batch or queue")
        return self


LINK_FIELDS = {
    **{"name": "name", "rate": "rate_bps", "delay": "delay_s", "loss": "loss", "loss_burst": "loss_burst"},
    **{"downlink_rate": "downlink_rate_bps", "downlink_delay": "downlink_delay_s", "downlink_loss": "downlink_loss"},
    **{"jitter": "jitter_s", "jitter_distribution": "jitter", "reorder": "reorder"},
    **{"queue": "queue_bytes", "queue_packets": "queue_packets"},
    **{"mtu": "mtu_bytes", "link_header": "link_header_bytes", "trace_start": "trace_start_s"},
}
"""The record's field of each key of a link that is a plain value."""


def _header(value: object) -> int | str:
    """A size, or the name of a link layer, which the simulator knows."""
    if isinstance(value, str) and value[:1].isalpha():
        return value
    size = whole_bytes(value)
    if not BOUNDS["link_header_bytes"].holds(size):
        raise ValueError(f"{size} is out of range, it must be {BOUNDS['link_header_bytes']} (in SI units)")
    return size


class LinkSection(_Section):
    """The network between two devices.

    `preset` names a link whose values hold where a key is left out; `trace` and `drops` are files. The simulator looks
    all three up.
    """

    name: Name = "link"
    preset: Text | None = None
    trace: FilePath | None = None
    trace_start: Annotated[Seconds, _within("trace_start_s")] | None = None
    drops: FilePath | None = None
    rate: Annotated[BitRate, _within("rate_bps")] | None = Field(default=None, validate_default=True)
    delay: Annotated[Seconds, _within("delay_s")] | None = Field(default=None, validate_default=True)
    loss: Annotated[Fraction, _within("loss")] = 0.0
    loss_burst: Annotated[Factor, _within("loss_burst")] | None = None
    downlink_rate: Annotated[BitRate, _within("downlink_rate_bps")] | None = None
    downlink_delay: Annotated[Seconds, _within("downlink_delay_s")] | None = None
    downlink_loss: Annotated[Fraction, _within("downlink_loss")] = 0.0
    jitter: Annotated[Seconds, _within("jitter_s")] = 0.0
    jitter_distribution: Jitter = "uniform"
    reorder: bool = False
    queue: Annotated[Bytes, _within("queue_bytes")] | None = None
    queue_packets: Annotated[int, _within("queue_packets")] | None = None
    mtu: Annotated[Bytes, _within("mtu_bytes")] = 1500
    link_header: Annotated[int | Text, BeforeValidator(_header)] = 2
    framing: Literal["sei", "none"] = "sei"
    security: Literal["none", "tls", "dtls"] = "none"

    @field_validator("rate", "delay", mode="before")
    @classmethod
    def _needed(cls, value: object, info: ValidationInfo) -> object:
        # a preset gives both, what a trace gives is seen when it is read; a faulty one is not in the data
        if value is None and info.data.get("preset", "") is None and info.data.get("trace", "") is None:
            raise PydanticCustomError("missing", "this key is missing")
        return value

    @model_validator(mode="after")
    def _fits(self) -> LinkSection:
        if self.drops is not None:
            for key in ("loss", "loss_burst"):
                if key in self.model_fields_set:
                    raise ValueError(f"drops says which packets are lost; leave out {key}")
        return self

    def given(self) -> dict[str, Any]:
        """What the file says, by the names of the record's fields; a link layer still by its name."""
        keys = self.model_fields_set & LINK_FIELDS.keys()
        values = {LINK_FIELDS[key]: getattr(self, key) for key in sorted(keys)}
        return {field: value for field, value in values.items() if value is not None}

    def plain(self) -> dict[str, Any]:
        """All keys, with their defaults, as plain values in SI units, for display."""
        values = {key: getattr(self, key) for key in type(self).model_fields}
        return {key: str(value) if isinstance(value, Path) else value for key, value in values.items()}


class WorkloadSection(_Section):
    """Frame rate, number of simulated frames, and how long a receiver waits for an incomplete frame."""

    fps: Annotated[Frequency, _within("fps")]
    frames: Annotated[int, Field(ge=1000, le=int(BOUNDS["frames"].high))] = 1000
    deadline: Annotated[Seconds, _within("deadline_s")] | None = None
    senders: Annotated[int, _within("senders")] = 1
    response: ResponseBytes = 0

    @model_validator(mode="after")
    def _bounded(self) -> WorkloadSection:
        self.record()  # which knows what its values may come to together
        return self

    def record(self) -> Workload:
        size = 0 if self.response == "runtime" else self.response
        return Workload(self.fps, self.frames, self.deadline, senders=self.senders, response_bytes=size)


class PlansSection(_Section):
    """The plans to evaluate."""

    cuts: Literal["candidates", "blocks", "single", "all"] | Cuts = "candidates"
    codecs: Annotated[Names, Field(min_length=1)] = ["float32", "uint8"]
    input_codecs: Names = []
    transports: Annotated[Names, Field(min_length=1)] = ["tcp", "udp"]


class BottlenecksSection(_Section):
    """Trained autoencoders that shrink what crosses, and how they are trained."""

    ratios: Annotated[list[Annotated[Factor, Field(gt=1, le=1e6)]], Field(max_length=MOST_ENTRIES)] = []
    cuts: Cuts | None = None
    codecs: Annotated[Names, Field(min_length=1)] = ["uint8"]
    epochs: Row[tuple[Annotated[int, Field(ge=0, le=10_000)], Annotated[int, Field(ge=0, le=10_000)]]] = (20, 20)
    bits: Annotated[int, Field(ge=1, le=16)] | None = 8
    packet_loss: Annotated[Fraction, Field(ge=0, lt=1)] = 0.0
    finetune_head: bool = False


class SoftSection(_Section):
    """A soft requirement: a plan may violate it, and pays its margin times its weight."""

    prefer: Text
    weight: Annotated[Factor, Field(gt=0, le=1e6)] = 1.0


def _requirement(value: object) -> Requirement:
    if isinstance(value, Requirement):
        return value
    if isinstance(value, dict):
        soft = SoftSection.model_validate(value)
        return parse_requirement(soft.prefer, weight=soft.weight)
    return parse_requirement(value)


def _as_written(requirement: Requirement) -> str | dict[str, Any]:
    return requirement.text if requirement.hard else {"prefer": requirement.text, "weight": requirement.weight}


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
    folder: Folder | None = None


class Scenario(_Section):
    """Network, data, devices, links, workload, requirements: what a design is made for.

    `Scenario.model_validate(scenario.model_dump()) == scenario`, also through JSON.
    """

    name: Name = "scenario"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    network: NetworkSection
    data: DataSection
    task: TaskSection = TaskSection()
    devices: Annotated[list[DeviceSection], Field(min_length=2, max_length=2)]
    links: Annotated[list[LinkSection], Field(min_length=1, max_length=1)]
    workload: WorkloadSection
    plans: PlansSection = PlansSection()
    bottlenecks: BottlenecksSection = BottlenecksSection()
    requirements: Annotated[
        list[Annotated[Requirement, BeforeValidator(_requirement), PlainSerializer(_as_written)]],
        Field(min_length=1, max_length=MOST_ENTRIES),
        AfterValidator(_consistent),
    ]
    objective: Annotated[Text, AfterValidator(known_objective)] = BALANCED
    tolerance: Annotated[Fraction, Field(ge=0, le=1)] = TOLERANCE

    _folder: Path = PrivateAttr(default_factory=Path.cwd)

    @property
    def folder(self) -> Path:
        """Folder that relative paths start from, the scenario file's."""
        return self._folder

    @model_validator(mode="after")
    def _secured(self) -> Scenario:
        for index, link in enumerate(self.links):
            carrier = {"tls": "tcp", "dtls": "udp"}.get(link.security)
            others = [name for name in self.plans.transports if name.partition("-")[0] != carrier]
            if carrier is not None and others:
                raise ValueError(
                    f"links[{index}].security: {link.security} works over {carrier.upper()}, and "
                    f"plans.transports names {listed(others)}; leave these out, or write security: none"
                )
        return self

    @model_validator(mode="after")
    def _distinct(self) -> Scenario:
        first, second = self.devices
        if first.name == second.name:
            raise ValueError(f"devices: two devices are called '{first.name}'")
        if self.links[0].name in (first.name, second.name):
            raise ValueError(f"links: a device is also called '{self.links[0].name}'; give the link another name")
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
