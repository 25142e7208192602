"""The machines of a scenario and the links between them, in the order in which data passes them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from splitimpera.core.bounds import BOUNDS
from splitimpera.records.device import QueuePolicy
from splitimpera.records.link import Jitter
from splitimpera.scenario.base_section import Section as _Section
from splitimpera.scenario.quantities import (
    BitRate,
    Bytes,
    Factor,
    FilePath,
    Fraction,
    Name,
    Names,
    Seconds,
    Text,
    Watts,
    whole_bytes,
)

MOST_DEVICES = 16


def within(field: str) -> Any:
    """The bounds of a record's field."""
    return Field(**BOUNDS[field].limits())


class RadioSection(_Section):
    """Energy and power of a transmitter."""

    joule_per_byte: Annotated[float, Field(ge=0, le=1)]
    power: Annotated[Watts, Field(ge=0, le=1e6)] = 0.0


class DeviceSection(_Section):
    """A device. Its times are those of a `profile` or a `preset`, or of the machine that runs the design.

    `slowdown` 40 means forty times slower than that. `preset` and `radio` are looked up by the costs' stage, which
    also reads the profile. `count`: how many of it there are side by side.
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
    count: Annotated[int, within("senders")] = 1

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
    all three up. `codecs` and `transports` are its own; None: those of `plans`.
    """

    name: Name = "link"
    preset: Text | None = None
    trace: FilePath | None = None
    trace_start: Annotated[Seconds, within("trace_start_s")] | None = None
    drops: FilePath | None = None
    rate: Annotated[BitRate, within("rate_bps")] | None = Field(default=None, validate_default=True)
    delay: Annotated[Seconds, within("delay_s")] | None = Field(default=None, validate_default=True)
    loss: Annotated[Fraction, within("loss")] = 0.0
    loss_burst: Annotated[Factor, within("loss_burst")] | None = None
    downlink_rate: Annotated[BitRate, within("downlink_rate_bps")] | None = None
    downlink_delay: Annotated[Seconds, within("downlink_delay_s")] | None = None
    downlink_loss: Annotated[Fraction, within("downlink_loss")] = 0.0
    jitter: Annotated[Seconds, within("jitter_s")] = 0.0
    jitter_distribution: Jitter = "uniform"
    reorder: bool = False
    queue: Annotated[Bytes, within("queue_bytes")] | None = None
    queue_packets: Annotated[int, within("queue_packets")] | None = None
    mtu: Annotated[Bytes, within("mtu_bytes")] = 1500
    link_header: Annotated[int | Text, BeforeValidator(_header)] = 2
    framing: Literal["sei", "none"] = "sei"
    security: Literal["none", "tls", "dtls"] = "none"
    codecs: Annotated[Names, Field(min_length=1)] | None = None
    transports: Annotated[Names, Field(min_length=1)] | None = None

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

    @property
    def called(self) -> str:
        """Its name, its preset's where it has none of its own."""
        return self.name if "name" in self.model_fields_set else self.preset or self.name

    def given(self) -> dict[str, Any]:
        """What the file says, by the names of the record's fields; a link layer still by its name."""
        keys = self.model_fields_set & LINK_FIELDS.keys()
        values = {LINK_FIELDS[key]: getattr(self, key) for key in sorted(keys)}
        return {field: value for field, value in values.items() if value is not None}

    def plain(self) -> dict[str, Any]:
        """All keys, with their defaults, as plain values in SI units, for display; its own codecs where it has some."""
        own = {key for key in ("codecs", "transports") if getattr(self, key) is None}
        values = {key: getattr(self, key) for key in type(self).model_fields if key not in own}
        return {key: str(value) if isinstance(value, Path) else value for key, value in values.items()}


class DirectSection(_Section):
    """The way of answers that pass no machine in the middle: nothing is lost on it."""

    rate: Annotated[BitRate, within("rate_bps")]
    delay: Annotated[Seconds, within("delay_s")]


class AnswersSection(_Section):
    """How answers come back, where not along the way."""

    direct: DirectSection


def _along_or_not(value: object) -> str:
    return "text" if isinstance(value, str) else "mapping"


def _written_out(value: object) -> object:
    if value == "direct":
        raise ValueError("direct answers have a rate and a delay: write {direct: {rate: 10 Mbit/s, delay: 20 ms}}")
    return value


Answers = Annotated[
    Annotated[Literal["along"], Tag("text")] | Annotated[AnswersSection, Tag("mapping")],
    Discriminator(_along_or_not),
    BeforeValidator(_written_out),
]
