"""The protocol's document: every vector of it is what the programs send, and what they read back."""

from __future__ import annotations

import re
from math import inf
from pathlib import Path

import pytest

from splitimpera.codec.framing import HEADER_BYTES, Kind, Reassembler, StreamReader, packetise
from splitimpera.core.errors import LinkError
from splitimpera.deploy.base_session import GREETING_BYTES, MOST_OF_KIND
from splitimpera.deploy.messages import (
    PING,
    RETRIES_PER_S,
    US,
    Answers,
    Hello,
    Onward,
    Reason,
    Refusal,
    Response,
    Status,
    Welcome,
)
from splitimpera.deploy.repeating import Arrivals
from splitimpera.deploy.token_steps import PLACE, TOKEN, Piece, Step
from splitimpera.records.traffic import Payload

DOCUMENT = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
PLAN = 16909060


def vectors():
    (block,) = re.findall(r"```text\n(.*?)```", DOCUMENT.split("## Test vectors")[1], re.DOTALL)
    for text in block.strip().split("\n\n"):
        described, *lines = text.split("\n")
        name, *fields = described.split()
        given = dict(field.split("=") for field in fields)
        yield pytest.param(Kind[name], given, [bytes.fromhex(line.replace(" ", "")) for line in lines], id=name)


def message(kind: Kind, given: dict[str, str]) -> bytes:
    """A payload made of its fields."""
    number = {name: int(value) for name, value in given.items() if value.isdecimal()}
    match kind:
        case Kind.HELLO:
            direct = (bytes.fromhex(given["direct"]), Answers(number["answers"])) if "direct" in given else ()
            return Hello(
                bytes.fromhex(given["bundle"]),
                number["lowest"],
                number["highest"],
                given["token"].encode(),
                *direct,
            ).to_bytes()
        case Kind.WELCOME:
            return Welcome(number["version"], number["most_bytes"], number["most_frames"]).to_bytes()
        case Kind.REFUSAL:
            return Refusal(Reason(number["reason"]), given["text"]).to_bytes()
        case Kind.PING:
            return PING.pack(number["smallest"])
        case Kind.PONG:
            return b""
        case Kind.ACK:
            arrivals = Arrivals(number["total"], number["carried"])
            arrivals.add(number["came"] * number["carried"], number["total"])
            return arrivals.acknowledgement()
        case Kind.RESPONSE:
            return response(given, number).to_bytes()
        case Kind.FRAME:
            return bytes.fromhex(given["payload"])


def response(given: dict[str, str], number: dict[str, int], machine: str = "") -> Response:
    times = (number[machine + name] / US for name in ("assembled", "queued", "decode", "run", "server"))
    status, result = Status(number["status"]), bytes.fromhex(given["result"])
    told = status, *(number[machine + name] for name in ("batch", "lost", "missing")), *times
    onward = None
    if not machine and "away" in number:
        sent = number["encode"] / US, number["away"] / US, number["bytes"], number["packets"]
        onward = Onward(*sent, response(given, number, "next."))
    return Response(*told, result, number.get("retry", 0) / RETRIES_PER_S, onward)


@pytest.mark.parametrize(("kind", "given", "datagrams"), list(vectors()))
def test_the_documents_bytes_are_those_of_the_programs(kind, given, datagrams):
    payload = Payload(message(kind, given), int(given.get("element", 1)))
    left_s = int(given["left"]) / US if given.get("left", "none") != "none" else inf
    room = int(given["room"]) if "room" in given else None
    frame = int(given["frame"])
    assert datagrams == packetise(payload, frame=frame, plan=PLAN, kind=kind, packet_bytes=room, time_left_s=left_s)
    reassembler, stream = Reassembler(), StreamReader()
    (read,) = [read for datagram in datagrams for read in reassembler.add(datagram)]
    assert (read.id, read.data, read.time_left_s) == ((kind, PLAN, frame, len(payload.data)), payload.data, left_s)
    (whole,) = packetise(payload, frame=frame, plan=PLAN, kind=kind, time_left_s=left_s)
    assert stream.feed(whole) == [read]


def test_every_kind_has_a_vector():
    assert {vector.values[0] for vector in vectors()} == set(Kind)


def test_what_is_read_of_the_vectors_is_what_was_written():
    payloads = {vector.values[0]: b"".join(d[HEADER_BYTES:] for d in vector.values[2]) for vector in vectors()}
    hellos = [Hello.from_bytes(v.values[2][0][HEADER_BYTES:]) for v in vectors() if v.values[0] is Kind.HELLO]
    keyed = Hello(bytes(range(32)), 1, 1, b"key", bytes(range(32, 48)), Answers.WANTED)
    assert hellos == [Hello(bytes(range(32)), 1, 1, b"key"), keyed]
    assert Welcome.from_bytes(payloads[Kind.WELCOME]) == Welcome(1, 65536, 64)
    assert Refusal.from_bytes(payloads[Kind.REFUSAL]) == Refusal(Reason.BUNDLE, "other")
    responses = [Response.from_bytes(v.values[2][0][HEADER_BYTES:]) for v in vectors() if v.values[0] is Kind.RESPONSE]
    assert [each.run_s for each in responses] == pytest.approx([0.004, 0.004, 0.0, 0.004, 0.004, 0.004, 0.004, 0.0])
    assert (responses[2].status, responses[2].retry_s) == (Status.BUSY, 0.7)
    (onward,) = responses[3].hops
    assert (onward.away_s, onward.payload_bytes, onward.response.total_s) == pytest.approx((0.014, 128, 0.0018))
    assert responses[3].tensors == onward.response.tensors == responses[0].tensors
    assert [each.status for each in responses[4:]] == [Status.UNREACHABLE, Status.DIRECT, Status.OK, Status.LACKING]
    assert (TOKEN.unpack(responses[6].tensors), PLACE.unpack(responses[7].tensors)) == ((101,), (32,))
    assert Step.from_bytes(payloads[Kind.FRAME], 128) == Step(1, 64, 1, (Piece(1, b"abcd"),))


def test_a_response_within_another_is_held_to_it():
    def nested(depth):
        one = Response(Status.OK, tensors=b"12")
        for _ in range(depth - 1):
            one = Response(Status.OK, tensors=b"12", onward=Onward(0.0, 0.0, 1, 1, one))
        return one.to_bytes()

    assert len(Response.from_bytes(nested(16)).hops) == 15
    with pytest.raises(LinkError, match="more machines than there can be"):
        Response.from_bytes(nested(17))
    with pytest.raises(LinkError, match="cut short"):
        Response.from_bytes(nested(2)[:60])
    other = bytearray(nested(2))
    other[48] = Status.BUSY
    with pytest.raises(LinkError, match="a response of status 0 has one of status 6 in it"):
        Response.from_bytes(bytes(other))


def test_the_bounds_of_the_document_are_those_of_the_programs():
    (told,) = re.findall(r"(\d+) bytes of a hello, (\d+) of a welcome, (\d+) of a refusal, (\d+) of a ping", DOCUMENT)
    kinds = (Kind.HELLO, Kind.WELCOME, Kind.REFUSAL, Kind.PING)
    assert [int(size) for size in told] == [MOST_OF_KIND[kind] for kind in kinds]
    assert max(MOST_OF_KIND.values()) == GREETING_BYTES
