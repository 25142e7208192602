"""When each token of some requests to a language model is written, without torch: one replication.

Each user has a first device of its own, which works on its requests one at a time, in their order. A prompt is read
whole (prefill), then one token is written after the other (decode):

- LC: the device does it all.
- RC: the prompt's tokens cross once; the server reads it and writes by itself, and sends each token to the user.
- SC: the device's blocks read the prompt, what crosses of all its tokens is sent, the server's blocks read that and
  send the first token back; from then on each token pays the device's step, the way there, the server's step and the
  way back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from splitimpera.core.array_types import FloatArray, IntArray
from splitimpera.cost.spread import Spread, drawn
from splitimpera.deploy.messages import RESPONSE_BYTES
from splitimpera.deploy.token_steps import STEP_BYTES, TOKEN
from splitimpera.evaluation.pipeline import serve
from splitimpera.net.tcp import TcpParameters
from splitimpera.net.turns import Turns, take_turns
from splitimpera.records.link import Link
from splitimpera.records.token_times import TokenTimes
from splitimpera.records.token_workload import Requests

TOKEN_BYTES = RESPONSE_BYTES + TOKEN.size
"""What the deployed server sends with a token of its choice."""

PARTS = ("device queue", "device", "up", "server queue", "server", "down")
"""Where the time of a token goes: waiting for the user's request before, what the device takes, the way to the server,
waiting for it, what it takes, the way back."""


@dataclass(frozen=True, eq=False)
class Crossing:
    """What goes from device to server.

    Attributes:
        whole: Whether the server runs the whole model (RC), so that the prompt alone crosses.
        bytes_per_token: What crosses for each token; of request i entry i, repeated as far as needed.
        encode_s, decode_s: What coding takes for each of these.
    """

    link: Link
    parameters: TcpParameters
    whole: bool
    bytes_per_token: float | FloatArray
    encode_s: float = 0.0
    decode_s: float = 0.0


@dataclass(frozen=True, eq=False)
class TokenRun:
    """What became of each token; arrays of shape (tokens,), user by user, in the order in which they are written.

    Attributes:
        request: Whose answer it is part of, a number in the order of arrival.
        first: Whether it is the first of that.
        begun_s: When the device began to work on it.
        written_s: When the user has it; infinite: never.
        parts_s: Its time in each of `PARTS`, shape (6, tokens), from the one before it, or the request's arrival.
        device_s, server_s: How long it kept its device, and the server; what tokens do together is shared among them.
        together: How many tokens the server made in that step; 0 where it did not.
        up_bytes: Payload to the server.
        up_wire_bytes, down_wire_bytes, packets, lost_packets: as `TurnTimes` has them.
    """

    requests: Requests
    request: IntArray
    first: npt.NDArray[np.bool_]
    begun_s: FloatArray
    written_s: FloatArray
    parts_s: FloatArray
    device_s: FloatArray
    server_s: FloatArray
    together: IntArray
    up_bytes: IntArray
    up_wire_bytes: IntArray
    down_wire_bytes: IntArray
    packets: IntArray
    lost_packets: IntArray

    def of_requests(self, values: FloatArray) -> FloatArray:
        """Sums over the tokens of each request, in the order of arrival; the last axis is that of the tokens."""
        sums: FloatArray = np.add.reduceat(values, np.flatnonzero(self.first), axis=-1)
        return self.in_order(sums)

    def in_order(self, values: FloatArray) -> FloatArray:
        """What is known of each request, user by user, in the order of arrival; the last axis is that of requests."""
        return values[..., np.argsort(self.request[self.first])]


def token_run(
    requests: Requests,
    times: Sequence[TokenTimes],
    crossing: Crossing | None,
    together: int,
    device_rngs: Sequence[np.random.Generator],
    link_rng: np.random.Generator,
) -> TokenRun:
    """Simulate requests.

    Args:
        times: What each device takes.
        crossing: What goes between the two; None: the device does it all.
        together: The most users' tokens that the server makes in one step (`take_turns` says in which order).
        device_rngs: what each device's times vary by.
        link_rng: the randomness of the link.
    """
    order = np.argsort(requests.user, kind="stable")
    output = requests.output[order]
    request = np.repeat(order, output)
    place = np.arange(len(request)) - np.repeat(np.cumsum(output) - output, output)
    first, prompt = place == 0, requests.prompt[request]
    draws = [_drawn(each.spread, rng, len(request)) for each, rng in zip(times, device_rngs, strict=True)]
    alone_s = [np.where(first, each.prefill_s(prompt), each.decode_s(prompt + place - 1)) for each in times]
    shared: dict[str, Any] = {"requests": requests, "request": request, "first": first}
    if crossing is None:
        return _alone(shared, alone_s[0] * draws[0])

    counted = np.where(first, prompt, 1)  # tokens of which something crosses
    sends = first | (not crossing.whole)
    each_bytes = np.resize(np.asarray(crossing.bytes_per_token, dtype=np.float64), len(output))[request]
    up_bytes = np.where(sends, np.maximum(np.ceil(counted * each_bytes), 1), 0).astype(np.int64)
    device_s = np.where(sends, counted * crossing.encode_s, 0.0)
    if not crossing.whole:
        device_s += alone_s[0] * draws[0]
    arrival_s = requests.arrival_s[request]
    turns = Turns(
        user=requests.user[request],
        arrival_s=np.where(first, arrival_s, np.nan),
        device_s=device_s,
        up_bytes=np.where(sends, up_bytes + STEP_BYTES, 0),
        server_s=alone_s[1],
        slower=draws[1],
        coding_s=np.where(sends, counted * crossing.decode_s, 0.0),
        down_bytes=np.full(len(request), TOKEN_BYTES),
    )
    factors = times[1].slower_together(np.arange(1, together + 1)).tolist()
    took = take_turns(crossing.link, link_rng, turns, factors, crossing.parameters)
    begun_s, written_s = np.maximum(took.begun_s, np.where(first, arrival_s, 0.0)), took.back_s
    with np.errstate(invalid="ignore"):  # what never was, at both ends
        came_s = np.where(sends, took.came_s, begun_s)
        parts_s = np.stack(
            [
                np.where(first, begun_s - arrival_s, 0.0),
                np.where(sends, np.maximum(took.sent_s - begun_s, 0.0), 0.0),  # in whole nanoseconds
                np.where(sends, took.came_s - took.sent_s, 0.0),
                took.started_s - came_s,
                took.ended_s - took.started_s,
            ]
        )
        down_s = _since(first, arrival_s, written_s) - parts_s.sum(axis=0)
        served_s = parts_s[4] / np.maximum(took.together, 1)
    return TokenRun(
        **shared,
        begun_s=begun_s,
        written_s=written_s,
        parts_s=np.concatenate([parts_s, down_s[None]]),
        device_s=device_s,
        server_s=np.where(np.isfinite(served_s), served_s, 0.0),
        together=took.together,
        up_bytes=up_bytes,
        up_wire_bytes=took.up_wire_bytes,
        down_wire_bytes=took.down_wire_bytes,
        packets=took.packets,
        lost_packets=took.lost_packets,
    )


def _drawn(spread: Spread, rng: np.random.Generator, count: int) -> FloatArray:
    """How many times longer each step takes, each user's one after another."""
    return drawn(spread, rng.random(count)) if spread else np.ones(count)


def _alone(shared: dict[str, Any], device_s: FloatArray) -> TokenRun:
    """The device does it all."""
    requests, request, first = shared["requests"], shared["request"], shared["first"]
    starts = np.flatnonzero(first)
    whole_s = np.add.reduceat(device_s, starts)
    arrival_s, users = requests.arrival_s[request[starts]], requests.user[request[starts]]
    begun_s = np.empty(len(starts))
    for mine in map(slice, *_bounds(users)):
        begun_s[mine] = serve(arrival_s[mine], [whole_s[mine]]) - whole_s[mine]
    begun_s = np.maximum(begun_s, arrival_s)  # by the rounding of sums
    counts = np.diff(np.append(starts, len(request)))
    done_s = np.cumsum(device_s)
    within_s = done_s - np.repeat((done_s - device_s)[starts], counts)
    written_s = np.repeat(begun_s, counts) + within_s
    parts_s = np.zeros((len(PARTS), len(request)))
    parts_s[0, starts] = begun_s - arrival_s
    parts_s[1] = _since(first, requests.arrival_s[request], written_s) - parts_s[0]
    none = np.zeros(len(request), dtype=np.int64)
    return TokenRun(
        **shared,
        begun_s=np.where(first, np.repeat(begun_s, counts), written_s - device_s),
        written_s=written_s,
        parts_s=parts_s,
        device_s=device_s,
        server_s=np.zeros(len(request)),
        together=none,
        up_bytes=none,
        up_wire_bytes=none,
        down_wire_bytes=none,
        packets=none,
        lost_packets=none,
    )


def _bounds(users: IntArray) -> tuple[IntArray, IntArray]:
    """Where each user's entries begin and end."""
    each = np.searchsorted(users, np.arange(users[-1] + 2))
    return each[:-1], each[1:]


def _since(first: npt.NDArray[np.bool_], arrival_s: FloatArray, written_s: FloatArray) -> FloatArray:
    """From the token before, or the request's arrival, to each token."""
    since_s: FloatArray = written_s - np.where(first, arrival_s, np.roll(written_s, 1))
    return np.where(np.isinf(written_s), np.inf, since_s)
