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
    """Energy for a byte that is sent, in joule."""
    power: Annotated[Watts, Field(ge=0, le=1e6)] = 0.0
    """Power while sending."""


class DeviceSection(_Section):
    """A device. Its times are those of a `profile` or a `preset`, or of the machine that runs the design.

    `slowdown` 40 means forty times slower than that. `preset` and `radio` are looked up by the costs' stage, which
    also reads the profile. `count`: how many of it there are side by side.
    """

    name: Name
    """Name of the device."""
    preset: Text | None = None
    """A machine that is not at hand, by its peak rates: its times are estimates. Default: none."""
    profile: FilePath | None = None
    """A file that `splitimpera profile` wrote on the device, for this network and input size: its times are measured.
    Default: none."""
    slowdown: Annotated[Factor, Field(gt=0, le=1e6)] = 1.0
    """How many times slower it is than its preset or profile, or than the machine that runs the design if it has
    neither."""
    memory: Annotated[Bytes, Field(gt=0, le=10**15)] | None = None
    """Limit for weights and activations; a plan that needs more cannot run. Default: the preset's, or no limit."""
    power: Annotated[Watts, Field(gt=0, le=1e6)] | None = None
    """Power while computing. Default: the preset's, or unknown."""
    radio: Text | RadioSection | None = None
    """Energy of its transmitter: a name, or a mapping. Default: unknown."""
    queue: QueuePolicy = "wait"
    """What happens to a frame that arrives while the device is busy: `wait`; `drop-newest`, that frame is dropped once
    `queue_frames` are waiting; `drop-oldest`, the one that has waited longest is."""
    queue_frames: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """Number of frames that may wait, if frames are dropped."""
    batch: Annotated[int, Field(ge=1, le=1024)] = 1
    """Largest number of waiting frames that are computed together; the device never waits for a batch to fill."""
    count: Annotated[int, within("senders")] = 1
    """How many of this device there are side by side, each with its own queue: no more than of the device before it. Of
    the first device this is the number of senders, the same as `workload.senders`."""

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
    """Name of the link; no two links or devices have the same. Default: `link`, or the preset's."""
    preset: Text | None = None
    """A link with known values; the other keys override these. Default: none."""
    trace: FilePath | None = None
    """A file that says how the uplink changes over time; leave out the keys that it replaces. Default: none."""
    trace_start: Annotated[Seconds, within("trace_start_s")] | None = None
    """Where in the trace the simulation starts, `0 s` to reproduce a recording exactly.
    Default: each replication at a random place."""
    drops: FilePath | None = None
    """A file that lists the data packets to drop, a JSON array of indices (from 0, retransmissions included); replaces
    `loss`.
    Default: none."""
    rate: Annotated[BitRate, within("rate_bps")] | None = Field(default=None, validate_default=True)
    """Bits per second on the wire, headers included. Default: required without `preset` or `trace`."""
    delay: Annotated[Seconds, within("delay_s")] | None = Field(default=None, validate_default=True)
    """One-way propagation delay. Default: required without `preset` or `trace`."""
    loss: Annotated[Fraction, within("loss")] = 0.0
    """Probability that a data packet is lost, independently of all others."""
    loss_burst: Annotated[Factor, within("loss_burst")] | None = None
    """Mean number of packets lost in a row (Gilbert-Elliott: everything is lost in the bad state, nothing in the good
    one); 1 or more, and `loss` / (1 - `loss`) or more.
    Default: packets are lost independently."""
    downlink_rate: Annotated[BitRate, within("downlink_rate_bps")] | None = None
    """Rate of the downlink, which carries acknowledgements and responses. Default: the same as `rate`."""
    downlink_delay: Annotated[Seconds, within("downlink_delay_s")] | None = None
    """Delay of the downlink. Default: the same as `delay`."""
    downlink_loss: Annotated[Fraction, within("downlink_loss")] = 0.0
    """Probability that a packet on the downlink is lost."""
    jitter: Annotated[Seconds, within("jitter_s")] = 0.0
    """Mean of a random delay of each data packet, on top of `delay`."""
    jitter_distribution: Jitter = "uniform"
    """Its distribution: `uniform` (0 to twice the mean), `exponential`, `normal` (its positive half)."""
    reorder: bool = False
    """`true`: a packet with a shorter delay may overtake others; `false`: packets stay in order."""
    queue: Annotated[Bytes, within("queue_bytes")] | None = None
    """Size of the queue, link headers included, without the packet being sent; packets that do not fit are dropped.
    Default: no limit."""
    queue_packets: Annotated[int, within("queue_packets")] | None = None
    """Size of the queue in packets; both limits may be given. Default: no limit."""
    mtu: Annotated[Bytes, within("mtu_bytes")] = 1500
    """Largest IP packet."""
    link_header: Annotated[int | Text, BeforeValidator(_header, json_schema_input_type=str | int)] = 2
    """What the link layer adds to every IP packet: a size, or `none` (0 B), `ppp` (2 B), `ethernet` (14 B),
    `ethernet-fcs` (18 B), `ethernet-vlan` (22 B), `ethernet-wire` (38 B)."""
    framing: Literal["sei", "none"] = "sei"
    """`sei`: the header of the wire protocol, 20 B in every UDP packet, once a frame over TCP; `none`: no header."""
    security: Literal["none", "tls", "dtls"] = "none"
    """`tls`: TLS 1.3 over TCP, 22 B for each record of up to 16 KiB; `dtls`: DTLS 1.2 over UDP, 37 B in every packet;
    `none`. Every transport of the link must fit."""
    codecs: Annotated[Names, Field(min_length=1)] | None = None
    """Codecs for this link alone. Default: those of `plans`."""
    transports: Annotated[Names, Field(min_length=1)] | None = None
    """Transports for this link alone. Default: those of `plans`."""

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
    """Rate of the way back."""
    delay: Annotated[Seconds, within("delay_s")]
    """Delay of the way back."""


class AnswersSection(_Section):
    """How answers come back, where not along the way."""

    direct: DirectSection
    """Past the devices in between, over a way of this rate and delay."""


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
