"""What a scenario may say: its sections, their keys and bounds.

The names of networks, data sets, codecs and transports are resolved by the stages that own them. Every key is described
in docs/scenario.md.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    TypeAdapter,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from splitimpera.core import units
from splitimpera.core.bounds import BOUNDS
from splitimpera.core.errors import listed, shown
from splitimpera.core.files import LONGEST_NAME_BYTES
from splitimpera.records.device import QueuePolicy
from splitimpera.records.link import Jitter
from splitimpera.records.requirement import (
    BALANCED,
    METRICS,
    TOLERANCE,
    Requirement,
    check_consistent,
    check_objective,
    parse_requirement,
)
from splitimpera.records.traffic import Workload


def _quantity(dimension: units.Dimension) -> BeforeValidator:
    return BeforeValidator(lambda value: units.parse(value, dimension))


def _within(field: str) -> Any:
    """The bounds that a record's field has everywhere."""
    return Field(**BOUNDS[field].limits())


def _whole_bytes(value: object) -> int:
    size = units.parse(value, units.SIZE)
    if not size.is_integer():
        raise ValueError(f"'{shown(value)}' is not a whole number of bytes")
    return int(size)


Seconds = Annotated[float, _quantity(units.TIME)]
BitRate = Annotated[float, _quantity(units.BIT_RATE)]
Fraction = Annotated[float, _quantity(units.FRACTION)]
Frequency = Annotated[float, _quantity(units.FREQUENCY)]
Watts = Annotated[float, _quantity(units.POWER)]
Factor = Annotated[float, _quantity(units.FACTOR)]
Bytes = Annotated[int, BeforeValidator(_whole_bytes)]


def _usable(text: str) -> str:
    """Text that can be shown, and looked for as a file."""
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in text):
        raise ValueError(f"'{shown(text)}' has control characters, which no name may have")
    longest = max(len(part.encode()) for part in text.split("/"))
    if longest > LONGEST_NAME_BYTES:
        raise ValueError(f"'{shown(text)}' has a name of {longest} bytes, {LONGEST_NAME_BYTES} at most are possible")
    return text


def _path(value: object) -> object:
    return Path(_TEXT.validate_python(str(value))) if isinstance(value, (str, Path)) else value


MOST_ENTRIES = 100
MOST_CUTS = 10_000

Kind = TypeVar("Kind")
Row = Annotated[Kind, Field(strict=False)]
"""A tuple, which the file writes as a list; its entries are as strict as all else."""

Text = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_usable)]
Name = Annotated[Text, Field(max_length=100, pattern=r"^[A-Za-z0-9][\w.-]*$")]
Names = Annotated[list[Text], Field(max_length=MOST_ENTRIES)]
Cuts = Annotated[list[Text | int], Field(max_length=MOST_CUTS)]
FilePath = Annotated[Path, BeforeValidator(_path)]
_TEXT = TypeAdapter(Text)


class _Section(BaseModel):
    # true is no number, 1.0 no count, 5 no text
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class NetworkSection(_Section):
    """The trained network.

    `model` is a built-in name, `package.module:factory` or `file.py:factory`; `weights` a state dict beside it.
    """

    model: Text
    weights: FilePath | None = None


MOST_PIXELS = 50_000_000
"""Of one image."""


def check_pixels(height: int, width: int) -> None:
    """Refuse an image that is too large, before it is decoded or made.

    Raises:
        ValueError: it has more than MOST_PIXELS.
    """
    if height * width > MOST_PIXELS:
        raise ValueError(
            f"{height} x {width} are {units.format_count(height * width)} pixels per image, at most "
            f"{units.format_count(MOST_PIXELS)} are loaded"
        )


class DataSection(_Section):
    """Labelled data; what is not given in splits is shuffled once with `seed` and divided."""

    source: Text
    validation: Annotated[Fraction, Field(gt=0, lt=1)] = 0.3
    test: Annotated[Fraction, Field(gt=0, lt=1)] = 0.5
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    size: (
        Row[tuple[Annotated[int, Field(gt=0, le=MOST_PIXELS)], Annotated[int, Field(gt=0, le=MOST_PIXELS)]]] | None
    ) = None
    mean: Row[tuple[Annotated[float, Field(ge=-1000, le=1000)], ...]] | None = None
    std: Row[tuple[Annotated[float, Field(ge=1e-6, le=1000)], ...]] | None = None

    @field_validator("size")
    @classmethod
    def _size_fits(cls, size: tuple[int, int] | None) -> tuple[int, int] | None:
        if size is not None:
            check_pixels(*size)
        return size

    @model_validator(mode="after")
    def _something_left(self) -> DataSection:
        if self.validation + self.test > 1:
            raise ValueError("validation and test together take more than all of the data")
        return self


class RadioSection(_Section):
    """What a transmitter draws."""

    joule_per_byte: Annotated[float, Field(ge=0, le=1)]
    power: Annotated[Watts, Field(ge=0, le=1e6)] = 0.0


class DeviceSection(_Section):
    """A machine. Its times are those of a `profile` or a `preset`, else those of the machine that runs the design.

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
            raise ValueError("queue_frames limits a queue that drops frames, this one waits; give queue, too")
        if self.queue != "wait" and self.batch > 1:
            raise ValueError("a device that drops frames runs them one by one; leave out batch or queue")
        return self


LINK_FIELDS = {
    **{"name": "name", "rate": "rate_bps", "delay": "delay_s", "loss": "loss", "loss_burst": "loss_burst"},
    **{"downlink_rate": "downlink_rate_bps", "downlink_delay": "downlink_delay_s", "downlink_loss": "downlink_loss"},
    **{"jitter": "jitter_s", "jitter_distribution": "jitter", "reorder": "reorder"},
    **{"queue": "queue_bytes", "queue_packets": "queue_packets"},
    **{"mtu": "mtu_bytes", "link_header": "link_header_bytes"},
}
"""The record's field of each key of a link that is a plain value."""


def _header(value: object) -> int | str:
    """A size, or the name of a link layer, which the simulator knows."""
    if isinstance(value, str) and value[:1].isalpha():
        return value
    size = _whole_bytes(value)
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


class WorkloadSection(_Section):
    """The frames: how many a second, how many are simulated, how long a receiver waits for a damaged one."""

    fps: Annotated[Frequency, _within("fps")]
    frames: Annotated[int, Field(ge=1000, le=int(BOUNDS["frames"].high))] = 1000
    deadline: Annotated[Seconds, _within("deadline_s")] | None = None
    senders: Annotated[int, _within("senders")] = 1
    response: Annotated[Bytes, _within("response_bytes")] = 0

    @model_validator(mode="after")
    def _bounded(self) -> WorkloadSection:
        self.record()  # which knows what its values may come to together
        return self

    def record(self) -> Workload:
        return Workload(self.fps, self.frames, self.deadline, senders=self.senders, response_bytes=self.response)


class PlansSection(_Section):
    """Which designs are built."""

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
    """A requirement that a plan may miss; a miss counts by its margin and its weight."""

    prefer: Text
    weight: Annotated[Factor, Field(gt=0, le=1e6)] = 1.0


def _requirement(value: object) -> Requirement:
    if isinstance(value, Requirement):
        return value
    if isinstance(value, dict):
        soft = SoftSection.model_validate(value)
        return parse_requirement(soft.prefer, weight=soft.weight)
    return parse_requirement(value)


def _consistent(requirements: list[Requirement]) -> list[Requirement]:
    check_consistent(requirements)
    return requirements


def _known_objective(objective: str) -> str:
    check_objective(objective, METRICS)
    return objective


class Scenario(_Section):
    """Network, data, devices, links, workload, requirements: what a design is made for."""

    name: Name = "scenario"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    network: NetworkSection
    data: DataSection
    devices: Annotated[list[DeviceSection], Field(min_length=2, max_length=2)]
    links: Annotated[list[LinkSection], Field(min_length=1, max_length=1)]
    workload: WorkloadSection
    plans: PlansSection = PlansSection()
    bottlenecks: BottlenecksSection = BottlenecksSection()
    requirements: Annotated[
        list[Annotated[Requirement, BeforeValidator(_requirement)]],
        Field(min_length=1, max_length=MOST_ENTRIES),
        AfterValidator(_consistent),
    ]
    objective: Annotated[Text, AfterValidator(_known_objective)] = BALANCED
    tolerance: Annotated[Fraction, Field(ge=0, le=1)] = TOLERANCE

    _folder: Path = PrivateAttr(default_factory=Path.cwd)

    @property
    def folder(self) -> Path:
        """What relative paths start from: the scenario file's folder."""
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
            raise ValueError(f"links: a device is called '{self.links[0].name}', too; give the link another name")
        return self

    def summary(self) -> dict[str, Any]:
        """The scenario as plain values in SI units, for the results file."""
        values = self.model_dump(mode="json", exclude={"requirements"})
        texts = [
            requirement.text if requirement.hard else {"prefer": requirement.text, "weight": requirement.weight}
            for requirement in self.requirements
        ]
        return values | {"requirements": texts}
