"""What the two programs say to each other besides tensors: greeting, response, round trips, acknowledgements.

Each is the payload of a frame, of a kind of its own. What comes from outside is read here or refused with a LinkError;
nothing that a message claims is believed beyond its own length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from math import ceil, prod
from struct import Struct, error
from typing import Any

import numpy as np

from splitimpera.codec.framing import VERSION
from splitimpera.codec.given import Described, array_dtype
from splitimpera.core.array_types import Array
from splitimpera.core.errors import LinkError, printable

MAGIC = b"SEI\x00"
HELLO = Struct("!4sBB32sH")
WELCOME = Struct("!BBHII")
REFUSAL = Struct("!HH")
PING = Struct("!I")
RESPONSE = Struct("!BBHIIIIIII")
RESPONSE_BYTES = RESPONSE.size
ONWARD = Struct("!IIII")
WENT_ON = 0x80
"""Set in the status of a response that another machine's follows."""
MACHINES_AT_MOST = 16
ACK = Struct("!IQ")
ACK_BITS = 64
TOKEN_BYTES = 512
ANSWER_KEY = Struct("!B16s")
KEY_BYTES = 16
TEXT_BYTES = 400
US = 1e6
MOST_US = (1 << 32) - 1
"""So long, or longer, or not known."""
RETRIES_PER_S = 10
MOST_RETRY_S = 255 / RETRIES_PER_S
"""A response tells when to come back in tenths of a second, in one byte."""


PASSING, SPARE_S = 1.5, 0.01


def least_patience_s(wire_bytes: Any, rate_bps: float) -> Any:
    """How long a receiver waits for a frame after its first packet, at least, where no deadline is asked for.

    Half as long again as the frame takes to pass the link, and 10 ms for the programs: what is not lost comes by then
    over a link that is free, however long its delay.

    Args:
        wire_bytes: Of the frame, headers included; or an array of them.
    """
    return PASSING * 8 * wire_bytes / rate_bps + SPARE_S


class Reason(IntEnum):
    """Why a server does not talk."""

    VERSION = 1
    BUNDLE = 2
    PLAN = 3
    TOKEN = 4
    BUSY = 5
    STOPPING = 6
    PROTOCOL = 7
    FLOOR = 8
    """What the plan sends lies before the bundle's privacy floor."""


class Status(IntEnum):
    """What became of a frame."""

    OK = 0
    LATE = 1
    """Its deadline passed before work on it could begin."""
    FULL = 2
    """The queue was full, and the policy dropped it."""
    DAMAGED = 3
    """It lacks parts that its codec cannot do without, or is no payload of this codec."""
    FAILED = 4
    """The program failed on it."""
    STOPPING = 5
    BUSY = 6
    """Its deadline could not be met behind what waits already, or its client sends more than it may."""
    UNREACHABLE = 7
    """The next machine could not be reached, or did not answer in time."""
    DIRECT = 8
    """It is answered, and the response went from the last machine directly to the session for answers."""
    LACKING = 9
    """A step of a language model behind tokens that are not there; the response says from which position on."""


_STATUSES = {status.value: status for status in Status}


class Answers(IntEnum):
    """What the key in a hello is for."""

    WANTED = 1
    """Frames of this session are answered in the session of this key."""
    TAKEN = 2
    """This session takes the answers of this key, and sends no frames."""


@dataclass(frozen=True)
class Hello:
    """What a client begins with.

    Attributes:
        bundle: The bundle's id, 32 bytes.
        lowest, highest: The versions of the protocol that the client speaks.
        token: What proves who it is, where certificates do not; empty: nothing.
        key: By which direct answers find their session, 16 bytes; empty: answers come along the way.
        answers: What the key is for; None: there is no key.

    Example:
        >>> hello = Hello(bytes(32), key=bytes(range(16)), answers=Answers.WANTED)
        >>> Hello.from_bytes(hello.to_bytes()) == hello
        True
    """

    bundle: bytes
    lowest: int = VERSION
    highest: int = VERSION
    token: bytes = b""
    key: bytes = field(default=b"", repr=False)
    answers: Answers | None = None

    def to_bytes(self) -> bytes:
        said = HELLO.pack(MAGIC, self.lowest, self.highest, self.bundle, len(self.token)) + self.token
        return said if self.answers is None else said + ANSWER_KEY.pack(self.answers, self.key)

    @classmethod
    def from_bytes(cls, data: bytes) -> Hello:
        """Raises LinkError where this is none."""
        magic, lowest, highest, bundle, length = _fields(HELLO, data, "hello")
        token, more = data[HELLO.size :][:length], data[HELLO.size + length :]
        if magic != MAGIC or lowest > highest or len(token) != length or length > TOKEN_BYTES:
            raise LinkError("the peer's greeting is none of this protocol")
        if not more:
            return cls(bundle, lowest, highest, token)
        answers, key = _fields(ANSWER_KEY, more, "greeting", exact=True)
        if answers not in list(Answers):
            raise LinkError("the peer's greeting is none of this protocol")
        return cls(bundle, lowest, highest, token, key, Answers(answers))


@dataclass(frozen=True)
class Welcome:
    """What a server takes a client in with.

    Attributes:
        version: The version that both speak from now on.
        most_bytes: The largest frame that it takes.
        most_frames: How many frames of one client it holds at once; more are answered with `Status.FULL`.
    """

    version: int
    most_bytes: int
    most_frames: int

    def to_bytes(self) -> bytes:
        return WELCOME.pack(self.version, 0, 0, self.most_bytes, self.most_frames)

    @classmethod
    def from_bytes(cls, data: bytes) -> Welcome:
        """Raises LinkError where this is none."""
        version, _, _, most_bytes, most_frames = _fields(WELCOME, data, "welcome", exact=True)
        return cls(version, most_bytes, most_frames)


@dataclass(frozen=True)
class Refusal:
    """What a server turns a client away with; the text is for people."""

    reason: Reason
    text: str = ""

    def to_bytes(self) -> bytes:
        text = self.text.encode()[:TEXT_BYTES]
        return REFUSAL.pack(self.reason, len(text)) + text

    @classmethod
    def from_bytes(cls, data: bytes) -> Refusal:
        """Raises LinkError where this is none."""
        reason, length = _fields(REFUSAL, data, "refusal")
        text = data[REFUSAL.size :]
        if length != len(text) or length > TEXT_BYTES or reason not in list(Reason):
            raise LinkError("the peer's refusal is none of this protocol")
        return cls(Reason(reason), printable(text.decode(errors="replace")))


@dataclass(frozen=True)
class Onward:
    """What a machine in the middle says of a frame that it sent on.

    Attributes:
        encode_s: What the codec of the next hop took.
        away_s: From then until the next machine's response was complete.
        payload_bytes, packets: What was sent.
        response: The next machine's, its tensors included.
    """

    encode_s: float
    away_s: float
    payload_bytes: int
    packets: int
    response: Response

    def to_bytes(self) -> bytes:
        times = map(microseconds, (self.encode_s, self.away_s))
        return ONWARD.pack(*times, self.payload_bytes, self.packets) + self.response.to_bytes()


@dataclass(frozen=True)
class Response:
    """What the server says of one frame.

    Attributes:
        lost_packets: How many of its packets never came.
        missing_bytes: How many of its bytes never came.
        batch: How many frames were run together.
        assembled_s: From its first packet to its last, or until it was used as it was.
        queued_s: From then until work on it began.
        decode_s, run_s: What its codec and its program took, those of the whole batch.
        total_s: From its first packet until this was handed to the system.
        tensors: The result as bytes, empty unless the status is OK; `result_of` reads them.
        retry_s: After so long it is worth while to send frames again, in tenths of a second, rounded up, 25.5 s at
            most; 0: not said.
        onward: Where the next machine answered: its own response, whose status and tensors are these, too.
    """

    status: Status
    batch: int = 1
    lost_packets: int = 0
    missing_bytes: int = 0
    assembled_s: float = 0.0
    queued_s: float = 0.0
    decode_s: float = 0.0
    run_s: float = 0.0
    total_s: float = 0.0
    tensors: bytes = b""
    retry_s: float = 0.0
    onward: Onward | None = None

    @property
    def hops(self) -> list[Onward]:
        """What machines in the middle say of the frame, in the order of its way."""
        return [] if self.onward is None else [self.onward, *self.onward.response.hops]

    def to_bytes(self) -> bytes:
        times = (self.assembled_s, self.queued_s, self.decode_s, self.run_s, self.total_s)
        start = RESPONSE.pack(
            self.status | (WENT_ON if self.onward is not None else 0),
            _tenths(self.retry_s),
            min(self.batch, 65535),
            self.lost_packets,
            self.missing_bytes,
            *map(microseconds, times),
        )
        return start + (self.tensors if self.onward is None else self.onward.to_bytes())

    @classmethod
    def from_bytes(cls, data: bytes, most_machines: int = MACHINES_AT_MOST) -> Response:
        """Raises LinkError where this is none.

        Args:
            most_machines: Responses of how many may be in it.
        """
        status, tenths, batch, lost_packets, missing, *times = _fields(RESPONSE, data, "response")
        went_on, status = status & WENT_ON, status & ~WENT_ON
        if status not in _STATUSES:
            raise LinkError(f"the server answers with status {status}, which this version does not know")
        assembled_s, queued_s, decode_s, run_s, total_s = (time / US for time in times)
        tensors, onward = data[RESPONSE.size :], None
        if went_on:
            if most_machines < 2:
                raise LinkError("the server's response is of more machines than there can be")
            encode_us, away_us, payload_bytes, packets = _fields(ONWARD, tensors, "response")
            behind = cls.from_bytes(tensors[ONWARD.size :], most_machines - 1)
            onward = Onward(encode_us / US, away_us / US, payload_bytes, packets, behind)
            tensors = behind.tensors
            if behind.status != status:
                raise LinkError(f"a response of status {status} has one of status {behind.status.value} in it")
        return cls(
            _STATUSES[status],
            batch,
            lost_packets,
            missing,
            assembled_s,
            queued_s,
            decode_s,
            run_s,
            total_s,
            tensors,
            tenths / RETRIES_PER_S,
            onward,
        )


def _tenths(seconds: float) -> int:
    """Rounded up: who comes back earlier comes in vain."""
    return ceil(round(max(min(seconds, MOST_RETRY_S), 0.0) * RETRIES_PER_S, 6)) if seconds else 0


def microseconds(seconds: float) -> int:
    """As messages carry times: whole microseconds within 32 bits."""
    return min(max(round(min(seconds, 1e6) * US), 0), MOST_US)


def result_bytes(tensors: Sequence[Array], specs: Sequence[Described]) -> bytes:
    """The tensors of one response, little endian, one after the other."""
    return b"".join(
        np.ascontiguousarray(tensor, array_dtype(spec).newbyteorder("<")).tobytes()
        for tensor, spec in zip(tensors, specs, strict=True)
    )


def result_of(data: bytes, specs: Sequence[Described], most: int | None = None) -> tuple[Array, ...]:
    """The inverse of `result_bytes`.

    Args:
        most: How large a side may be that is None.

    Raises:
        LinkError: the bytes are those of other tensors.
    """
    dtypes = [array_dtype(spec).newbyteorder("<") for spec in specs]
    each = [
        dtype.itemsize * prod(1 if side is None else side for side in spec.shape)
        for spec, dtype in zip(specs, dtypes, strict=True)
    ]
    varies = [None in spec.shape for spec in specs]
    fixed = sum(size for size, varying in zip(each, varies, strict=True) if not varying)
    an_object = sum(each) - fixed
    count, rest = divmod(len(data) - fixed, an_object) if an_object else (0, len(data) - fixed)
    if rest or not 0 <= count <= (most or 0):
        objects = f" and {an_object} for each of {most} objects at most" if an_object else ""
        raise LinkError(f"the result has {len(data)} bytes, {fixed}{objects} are expected")
    found, at = [], 0
    for spec, dtype in zip(specs, dtypes, strict=True):
        shape = [count if side is None else side for side in spec.shape]
        array = np.frombuffer(data, dtype, prod(shape), at).reshape(shape)
        found.append(array.astype(array_dtype(spec), copy=False))
        at += array.nbytes
    return tuple(found)


def _fields(form: Struct, data: bytes, what: str, exact: bool = False) -> tuple[Any, ...]:
    try:
        found = form.unpack_from(data)
    except error:
        raise LinkError(f"the peer's {what} is cut short") from None
    if exact and len(data) != form.size:
        raise LinkError(f"the peer's {what} is too long")
    return found
