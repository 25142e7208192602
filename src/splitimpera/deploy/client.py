"""The device half: runs its layers, sends what crosses, and hands out what the server says.

The session lives in an event loop in a thread of its own, which the layers do not hold up: the engine lets go of
Python's lock. Whoever asks runs the layers in its own thread, so that one frame's come after those of the frame before.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from itertools import count
from math import inf, isfinite
from time import monotonic
from typing import TYPE_CHECKING, Self

from splitimpera.bundle.opened import Bundle
from splitimpera.core.array_types import Array
from splitimpera.core.errors import LinkError
from splitimpera.deploy.answer_session import AnswerSession, check_answers, open_answers
from splitimpera.deploy.connection import Connection, Exchange, connect
from splitimpera.deploy.frame_log import Outcome
from splitimpera.deploy.halves import Coded, device_half
from splitimpera.deploy.hops import pace
from splitimpera.deploy.inferred import OUTCOMES, Inference
from splitimpera.deploy.lent_loop import LentLoop
from splitimpera.deploy.messages import Hello, Response, Status, least_patience_s
from splitimpera.deploy.result_reading import named, read_response
from splitimpera.deploy.sessions import Limits

if TYPE_CHECKING:
    from splitimpera.deploy.security import ClientSecurity

TIMEOUT_S = 5.0
"""A response that takes longer counts as lost, where nothing else was said."""
GRACE_S = 1.0
"""How long after its deadline: a frame with gaps is run when it strikes, and then its response is on its way."""


class Client:
    """The device half of a bundle, joined to a server.

    Args:
        address: "host:port" of the server; None for a plan that runs on the device alone.
        plan: Its name; None: the recommended one.
        security: Whom to trust and what to show.
        insecure: Nothing is encrypted; without this, and without `security`, no server is asked.
        threads: How many threads the engine has.
        timeout_s: A response that takes longer counts as lost, where the frame has no deadline.
        answers: "host:port" of the last machine, where answers come from there directly.
        answers_name: Name in its certificate; None: its host.

    Raises:
        BundleError: the bundle has no such plan, or its files are not what was exported.
        LinkError: there is no address, or neither `security` nor `insecure`; or it is not said where direct answers
            come from, or said where they come along the way.

    Example:
        with Client(open_bundle("bundle"), "10.0.0.2:7433", security=security) as client:
            print(client.infer(image).name)
    """

    def __init__(
        self,
        bundle: Bundle,
        address: str | tuple[str, int] | None = None,
        plan: str | None = None,
        *,
        security: ClientSecurity | None = None,
        insecure: bool = False,
        threads: int = 1,
        timeout_s: float = TIMEOUT_S,
        limits: Limits | None = None,
        answers: str | tuple[str, int] | None = None,
        answers_name: str | None = None,
    ) -> None:
        self.bundle = bundle
        self.plan = bundle.manifest.plan(plan)
        self.hop = self.plan.hops[0] if self.plan.hops else None
        if self.hop is not None:
            if address is None:
                raise LinkError(f"plan '{self.plan.id}' needs a server", hint="say where it listens, as 'host:port'")
            check_trust(security, insecure)
            self.address = parsed_address(address) if isinstance(address, str) else address
        check_answers(bundle.manifest, self.plan, answers is not None)
        self.answers = parsed_address(answers) if isinstance(answers, str) else answers
        self.security = security
        self._answers_security = security and replace(security, server_name=answers_name)
        self.half = device_half(bundle, self.plan.id, threads)
        self.half.warm_up()
        self.threads = threads
        self.timeout_s = timeout_s
        self.limits = limits or Limits()
        self.responding = bundle.manifest.responding
        self._numbers = count()
        self._loop: LentLoop | None = None
        self._connection: Connection | None = None
        self._direct: AnswerSession | None = None

    # Life ------------------------------------------------------------------------------------------------------------

    def open(self) -> Self:
        """Join the server, where the plan has one; `with` does it as well.

        Raises:
            LinkError: nobody is there, somebody else answers, its certificate is not trusted, or it refuses.
        """
        if self.hop is None or self._connection is not None:
            return self
        if self._loop is None:
            self._loop = LentLoop()
        token = (self.security.token if self.security is not None else None) or ""
        hello = Hello(bytes.fromhex(self.bundle.manifest.bundle), token=token.encode())
        try:
            if self.answers is not None:
                to_last = self.answers, self.plan.hops[-1], hello, self._answers_security, self.limits
                self._direct, hello = self._loop.wait(open_answers(*to_last))
            self._connection = self._loop.wait(connect(*self.address, self.hop, hello, self.security, self.limits))
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Leave the server; frames that wait for a response count as lost."""
        if self._loop is None:
            return
        for session in filter(None, (self._connection, self._direct)):
            with contextlib.suppress(LinkError, TimeoutError):
                self._loop.wait(asyncio.wait_for(session.close(), GRACE_S))
        self._loop.wait(all_ended())
        self._loop.close()
        self._loop = self._connection = self._direct = None

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *failure: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.open)

    async def __aexit__(self, *failure: object) -> None:
        await asyncio.to_thread(self.close)

    @property
    def failure(self) -> LinkError | None:
        """Why the session with the server has ended; None: it has not."""
        return None if self._connection is None else self._connection.failure

    @property
    def round_trip_s(self) -> float:
        """The smallest round trip seen; infinite before the first."""
        return inf if self._connection is None else self._connection.session.round_trip_s

    # Frames ----------------------------------------------------------------------------------------------------------

    def infer(
        self, x: Array | Sequence[Array], deadline_s: float | None = None, timeout_s: float | None = None
    ) -> Inference:
        """Run one frame, and wait for what comes of it.

        Args:
            x: The input as `input_preparation.prepared` has it: float32 (C, H, W), or an image uint8 (H, W, C).
            deadline_s: From now on: work on it is not begun later than this, and with gaps it is used then. None: no
                deadline, but for UDP the time that the design allows for gaps.
            timeout_s: After so long no response is waited for. None: a second after the deadline, or without one what
                the client was made with.

        Raises:
            DataError: this is no input of the network.
            LinkError: the session has ended, or what the server sends is no result.
        """
        return self._begin(x, deadline_s, timeout_s, None, waits=True).result()

    async def infer_async(
        self, x: Array | Sequence[Array], deadline_s: float | None = None, timeout_s: float | None = None
    ) -> Inference:
        """`infer`, for event loops; the layers run in a thread."""
        future = await asyncio.to_thread(self.submit, x, deadline_s, timeout_s)
        return await asyncio.wrap_future(future)

    def submit(
        self,
        x: Array | Sequence[Array],
        deadline_s: float | None = None,
        timeout_s: float | None = None,
        since_s: float | None = None,
    ) -> Future[Inference]:
        """Run a frame's layers and send it; what comes of it is in the future. Several may be on their way.

        Args:
            since_s: When the deadline began to count, by `time.monotonic`; None: now.
        """
        return self._begin(x, deadline_s, timeout_s, since_s, waits=False)

    def _begin(
        self,
        x: Array | Sequence[Array],
        deadline_s: float | None,
        timeout_s: float | None,
        since_s: float | None,
        waits: bool,
    ) -> Future[Inference]:
        """`submit`; where the caller waits, it runs the session meanwhile."""
        self.open()
        begun_s = monotonic()
        coded = self.half(x)
        frame, found = next(self._numbers), Future[Inference]()
        if coded.payload is None:
            found.set_result(self._alone(frame, begun_s, coded))
            return found
        assert self._loop is not None
        assert self._connection is not None
        since_s = begun_s if since_s is None else since_s
        strikes_s = since_s + (self.deadline_s if deadline_s is None else deadline_s)
        if deadline_s is None and self.hop is not None and self.hop.deadline_s is None:
            strikes_s = max(strikes_s, monotonic() + self._way_s(len(coded.payload.data)))
        if timeout_s is not None:
            give_up_s = since_s + timeout_s
        else:
            give_up_s = monotonic() + self.timeout_s if strikes_s == inf else strikes_s + GRACE_S
        asked = deadline_s is not None or (self.hop is not None and self.hop.deadline_s is not None)
        stands_in_s = strikes_s if asked and coded.said is not None else inf
        sending = (self._send, self._connection, frame, coded, begun_s, strikes_s, give_up_s, stands_in_s, found)
        if not (waits and self._loop.run(found, self._waits, *sending)):
            self._loop.call(*sending)
        return found

    def _waits(self) -> bool:
        """Whether frames are on their way, or answers."""
        return any(each.waits() for each in (self._connection, self._direct) if each is not None)

    @property
    def deadline_s(self) -> float:
        """What frames have as deadline where none is asked for: over UDP, what the design allows for gaps."""
        if self.hop is None or self.hop.transport == "tcp":
            return inf
        return 1 / self.plan.fps if self.hop.deadline_s is None else self.hop.deadline_s

    def _way_s(self, size: int) -> float:
        """What a frame of so many bytes has until it is used, at least, where nobody asked for a deadline."""
        assert self.hop is not None
        packets = -(-size // self.hop.packet_bytes)
        wire_bytes = size + packets * pace(self.hop, self.security is not None).header_bytes
        way_s = self.round_trip_s / 2 if isfinite(self.round_trip_s) else 0.0
        patience_s: float = least_patience_s(wire_bytes, self.hop.link.rate_bps)
        return way_s + patience_s

    def _send(
        self,
        connection: Connection,
        frame: int,
        coded: Coded,
        begun_s: float,
        deadline_s: float,
        give_up_s: float,
        stands_in_s: float,
        found: Future[Inference],
    ) -> None:
        """Send a frame; in the loop. At `stands_in_s` its last exit's answer does for a response that is not there."""
        assert coded.payload is not None
        direct, word = self._direct, Future[Response | None]()

        def done(exchange: Exchange, directly: bool = False) -> None:
            self._told(exchange, found, frame, begun_s, coded, word if directly else None)

        def said(response: Response | None) -> None:
            if word.set_running_or_notify_cancel():  # nobody gave it up
                word.set_result(response)

        def told(exchange: Exchange) -> None:
            if direct is None:
                done(exchange)
            else:
                direct.came_along(frame, exchange)

        def stand_in() -> None:
            if not found.done():
                done(connection.so_far(frame))

        if direct is not None:
            direct.expect(frame, give_up_s, lambda: connection.so_far(frame), done, said)
        try:
            connection.send(frame, coded.payload, deadline_s - monotonic(), give_up_s, told)
        except LinkError as failure:
            if direct is not None:
                direct.forget(frame)
            found.set_exception(failure)
        if stands_in_s < inf and not found.done():
            asyncio.get_running_loop().call_at(stands_in_s, stand_in)

    def _told(
        self,
        exchange: Exchange,
        found: Future[Inference],
        frame: int,
        begun_s: float,
        coded: Coded,
        word: Future[Response | None] | None = None,
    ) -> None:
        """Make of what came back what became of the frame; in the loop."""
        if found.done():  # it was cancelled, or an exit's answer stood in
            return
        try:
            found.set_result(self._became(exchange, frame, begun_s, coded, word))
        except BaseException as failure:
            found.set_exception(failure)

    def _became(
        self, exchange: Exchange, frame: int, begun_s: float, coded: Coded, word: Future[Response | None] | None
    ) -> Inference:
        response, result, said = exchange.response, None, None
        outcome: Outcome = "lost" if response is None else OUTCOMES[response.status]
        if response is not None and response.status is Status.OK:
            result = read_response(self.responding, response.tensors)
        elif coded.said is not None:
            outcome, said, result = "stood-in", coded.said, self.half.named_by(coded.said)
        return Inference(
            frame,
            outcome,
            result,
            *named(self.bundle.manifest, result),
            begun_s,
            coded.head_s,
            coded.encode_s,
            exchange.sent_s,
            exchange.response_s,
            exchange.payload_bytes,
            exchange.packets,
            response,
            exit=said,
            word=word,
        )

    def _alone(self, frame: int, begun_s: float, coded: Coded) -> Inference:
        """Of a frame that is not sent."""
        result = coded.result
        return Inference(
            frame,
            "ok",
            result,
            *named(self.bundle.manifest, result),
            begun_s,
            coded.head_s,
            coded.encode_s,
            response_s=monotonic(),
            exit=coded.left,
        )


def parsed_address(address: str, where: str = "", port: int | None = None) -> tuple[str, int]:
    """Host and port of "host:port", "[::1]:7433" or, where a port is given, of a host alone.

    Raises:
        LinkError: it is none; `where` is the option that it came by.
    """
    host, colon, digits = address.rpartition(":")
    if not colon or (address.endswith("]") and address.startswith("[")):
        host, digits = address, "" if port is None else str(port)
    named = host.removeprefix("[").removesuffix("]")
    if (
        not named
        or (":" in host and host == named)
        or not (digits.isascii() and digits.isdecimal() and len(digits) < 6)
    ):
        raise LinkError(f"'{address[:200]}' is no address", where=where, hint="write for example 10.0.0.2:7433")
    if int(digits) > 65535:
        raise LinkError(f"there is no port {digits}, the last one is 65535", where=where)
    return named, int(digits)


def check_trust(security: ClientSecurity | None, insecure: bool) -> None:
    """Whoever asks a server says whom to trust, or that nothing is encrypted.

    Raises:
        LinkError: neither is said, or both.
    """
    if (security is None) == insecure:
        return
    raise LinkError(
        "security and insecure exclude each other"
        if insecure
        else "what is sent would not be encrypted, and the server could be anybody",
        hint="give one of security and insecure=True; 'splitimpera keys' makes certificates",
    )


async def all_ended() -> None:
    """Let what was just cancelled or closed come to its end."""
    await asyncio.sleep(0)
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
