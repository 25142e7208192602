"""The device half of a language model: a prompt goes out, tokens come back one after another, whatever happens between.

What has crossed is kept until a request is over. So whatever the server lacks, after a lost connection, an eviction or
its restart, is sent again, coded as it was, and the tokens are the same.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from itertools import count
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Self

from splitimpera.bundle.opened import Bundle
from splitimpera.core.errors import DataError, LinkError, UnreachableError
from splitimpera.deploy.adaptive_plans import slowed
from splitimpera.deploy.client import all_ended, check_trust, parsed_address
from splitimpera.deploy.connection import Connection, Exchange, connect
from splitimpera.deploy.lent_loop import LentLoop
from splitimpera.deploy.messages import Hello, Status
from splitimpera.deploy.sessions import Limits
from splitimpera.deploy.token_answers import TokenAnswers, place_of
from splitimpera.deploy.token_halves import Reading, TokenDeviceHalf, token_device_half
from splitimpera.deploy.token_programs import language_of
from splitimpera.deploy.token_steps import TOKEN, Step
from splitimpera.deploy.token_text import Tokenizer, checked_prompt, tokenizer_of
from splitimpera.records.traffic import Payload

if TYPE_CHECKING:
    from splitimpera.deploy.security import ClientSecurity

TIMEOUT_S = 30.0
"""A token that takes longer is asked for again, over another session."""
PATIENCE_S = 60.0
"""After so long without a token it is given up."""
FIRST_WAIT_S, LONGEST_WAIT_S = 0.05, 1.0
LEAVE_S = 1.0
AT_ONCE = 3
"""So often what the server lacks is sent again without a pause."""
WRONG = {
    Status.FAILED: "the server's program failed on it",
    Status.DAMAGED: "the server cannot read what was sent",
    Status.UNREACHABLE: "the server sends it on to a machine that is away",
    Status.DIRECT: "the server sends its answer elsewhere",
}


class WritingClient:
    """The device half of a language model's bundle, joined to a server. It writes the most likely tokens.

    Args:
        address: "host:port" of the server; None for a plan that runs on the device alone.
        plan: Its name; None: the recommended one.
        security: Whom to trust and what to show.
        insecure: Nothing is encrypted; without this, and without `security`, no server is asked.
        threads: How many threads the engine has.
        timeout_s: After so long without a token another session is opened.
        patience_s: After so long without a token, whatever was tried, it is given up.
        slowdown: The device takes so many times as long, to stand in for a slower one.

    Raises:
        BundleError: the bundle is no language model's, has no such plan, or its files are not what was exported.
        LinkError: there is no address, or neither `security` nor `insecure`.

    Example:
        with WritingClient(open_bundle("bundle"), "10.0.0.2:7433", security=security) as client:
            for token in client.write("def ", most_tokens=64):
                print(token)
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
        patience_s: float = PATIENCE_S,
        slowdown: float = 1.0,
        limits: Limits | None = None,
    ) -> None:
        self.bundle, self.language = bundle, language_of(bundle)
        self.plan = bundle.manifest.plan(plan)
        self.hop = self.plan.hops[0] if self.plan.hops else None
        self.address = ("", 0)
        if self.hop is not None:
            if address is None:
                raise LinkError(f"plan '{self.plan.id}' needs a server", hint="say where it listens, as 'host:port'")
            check_trust(security, insecure)
            self.address = parsed_address(address) if isinstance(address, str) else address
        self.security, self.timeout_s, self.patience_s = security, timeout_s, patience_s
        self.threads, self.slowdown = threads, slowdown
        self.half: TokenDeviceHalf = token_device_half(bundle, self.plan, threads)
        self.half.warm_up()
        self.limits = limits or Limits()
        self.loop: LentLoop | None = None
        self.frames, self._requests = count(), count()
        self._connection: Connection | None = None
        self._tokenizer: Tokenizer | None = None

    # Life ------------------------------------------------------------------------------------------------------------

    def open(self) -> Self:
        """Join the server, where the plan has one; `with` does it as well.

        Raises:
            LinkError: nobody is there, somebody else answers, its certificate is not trusted, or it refuses.
        """
        if self.hop is not None:
            self.connection()
        return self

    def connection(self) -> Connection:
        """A session that is open; a new one where the one before has ended.

        Raises:
            LinkError: as of `open`.
        """
        assert self.hop is not None
        if self.joined is not None:
            return self.joined
        if self.loop is None:
            self.loop = LentLoop()
        token = (self.security.token if self.security is not None else None) or ""
        hello = Hello(bytes.fromhex(self.bundle.manifest.bundle), token=token.encode())
        joining = connect(*self.address, self.hop, hello, self.security, self.limits)
        self._connection = self.loop.wait(joining)
        return self._connection

    @property
    def joined(self) -> Connection | None:
        """The session that is open; None: there is none."""
        return None if self._connection is None or self._connection.failure is not None else self._connection

    @property
    def round_trip_s(self) -> float:
        """The smallest round trip seen; infinite before the first."""
        return inf if self._connection is None else self._connection.session.round_trip_s

    def close(self) -> None:
        """Leave the server."""
        if self.loop is None:
            return
        if self._connection is not None:
            with suppress(LinkError, TimeoutError):
                self.loop.wait(asyncio.wait_for(self._connection.close(), LEAVE_S))
        self.loop.wait(all_ended())
        self.loop.close()
        self.loop = self._connection = None

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *failure: object) -> None:
        self.close()

    # Text ------------------------------------------------------------------------------------------------------------

    @property
    def tokenizer(self) -> Tokenizer:
        """What makes tokens of text.

        Raises:
            SplitImperaError: as `tokenizer_of`.
        """
        if self._tokenizer is None:
            self._tokenizer = tokenizer_of(self.bundle)
        return self._tokenizer

    def write(self, prompt: str | Sequence[int], most_tokens: int, temperature: float = 0.0) -> Writing:
        """Begin to write behind a prompt; tokens come from what is returned, which may be left at any time.

        Args:
            prompt: Text, or ids.
            most_tokens: How many are written, fewer where the text ends.
            temperature: 0, for nothing that is drawn could be drawn again after a lost connection.

        Raises:
            DataError: the prompt is empty, has strangers among its ids, is too long with what is asked for, or tokens
                are to be drawn.
        """
        if temperature:
            raise DataError(
                f"tokens cannot be drawn at a temperature of {temperature:g}, the most likely one is written",
                hint="leave the temperature out",
            )
        ids = self.tokenizer.ids(prompt) if isinstance(prompt, str) else prompt
        ids = checked_prompt(ids, most_tokens, self.language.vocabulary, self.language.context)
        return Writing(self, next(self._requests), ids, most_tokens)


class Writing:
    """A request under way: its tokens, one after the other.

    Attributes:
        prompt: Ids.
        tokens: What was written so far.
        begun_s: When it began, by `time.monotonic`; None: it has not.
        token_s: When each token was there.
        sent_bytes: Payloads, with those that were sent again.
        resumed: How often something was sent again.

    Iterating raises LinkError where no token comes any more, or what comes is none.
    """

    def __init__(self, client: WritingClient, request: int, prompt: list[int], most_tokens: int) -> None:
        self.request, self.prompt, self.most_tokens = request, prompt, most_tokens
        self.tokens: list[int] = []
        self.token_s: list[float] = []
        self.begun_s: float | None = None
        self.sent_bytes = self.resumed = 0
        self._client, self._reading, self._answers = client, Reading(), TokenAnswers(0)
        self._over, self._failure = False, None  # type: tuple[bool, LinkError | None]

    @property
    def ttft_s(self) -> float | None:
        """From when it began to the first token; None: there is none."""
        return None if self.begun_s is None or not self.token_s else self.token_s[0] - self.begun_s

    @property
    def gaps_s(self) -> list[float]:
        """From each token to the next."""
        return [after - before for before, after in zip(self.token_s, self.token_s[1:], strict=False)]

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        if self.begun_s is None:
            self.begun_s = monotonic()
        if self._over or len(self.tokens) == self.most_tokens:
            self.close()
            raise StopIteration
        token = self._token(self.tokens[-1:] or self.prompt)
        self.token_s.append(monotonic())
        self.tokens.append(token)
        if token == self._client.language.end or len(self.tokens) == self.most_tokens:
            self.close()
        return token

    def close(self) -> None:
        """Write no more, and let the server forget it."""
        if self._over:
            return
        self._over = True
        self._answers.close()
        client = self._client
        loop, connection = client.loop, client.joined
        if loop is not None and connection is not None and self.sent_bytes:
            over = Payload(Step(self.request, 0, 0, ()).to_bytes())
            loop.call(_sent_away, connection, next(client.frames), over, loop.loop.time() + LEAVE_S)

    def _token(self, ids: Sequence[int]) -> int:
        """The token behind some more."""
        reading = self._reading
        token = self._client.half.read(reading, ids)
        slowed(reading.head_s + reading.encode_s, self._client.slowdown)
        if token is not None:
            return token
        newest = reading.pieces[-1][0]
        until_s, wait_s, position = monotonic() + self._client.patience_s, FIRST_WAIT_S, newest
        tries = 0
        asks = not self._answers.expects  # where the server writes on, nothing is asked for
        while True:
            found = self._asked(position) if asks else self._answer()
            if isinstance(found, int):
                return found
            position, asks, tries = newest, True, tries + 1
            self.resumed += 1
            response, pause_s = None if found is None else found.response, 0.0
            if response is not None and response.status is Status.LACKING:
                position = place_of(response.tensors)
            if response is None or response.status is not Status.LACKING or tries > AT_ONCE:
                pause_s = wait_s if response is None else response.retry_s or wait_s
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            if monotonic() + pause_s > until_s:
                raise self._failure or UnreachableError(
                    f"no token came within {self._client.patience_s:g} s, whatever was tried",
                    hint="has the server too much to do?",
                )
            time.sleep(pause_s)

    def _asked(self, position: int) -> int | Exchange | None:
        """Send what has crossed from a position on; what comes back, as `_answer` has it."""
        client, reading = self._client, self._reading
        first, pieces = reading.since(position)
        writes = self.most_tokens - len(self.tokens) if client.half.writes_on else 1
        step = Step(self.request, first, writes, pieces)
        self._answers.close()
        self._answers = TokenAnswers(writes, client.language.end)
        try:
            connection = client.connection()
        except LinkError as failure:
            if not self.sent_bytes:
                raise
            self._failure = failure
            return None
        payload = Payload(step.to_bytes())
        self.sent_bytes += len(payload.data)
        return self._answer(connection, payload)

    def _answer(self, connection: Connection | None = None, payload: Payload | None = None) -> int | Exchange | None:
        """The next token; or why there is none, None where nothing came.

        Args:
            connection, payload: What is sent for it, if anything is.

        Raises:
            LinkError: the server says that it cannot be, or what it says is no token.
        """
        client, answers, found = self._client, self._answers, Future[Exchange]()
        assert client.loop is not None

        def begin() -> None:
            answers.want(found)
            if connection is None or payload is None:
                return
            loop = asyncio.get_running_loop()
            try:
                give_up_s = loop.time() + client.timeout_s
                frame = next(client.frames)
                connection.send(frame, payload, inf, give_up_s, answers.take, further=answers.further)
            except LinkError:
                answers.take(Exchange(0, 0, None, None, None))

        if not client.loop.run(found, lambda: answers.expects > 0, begin):
            client.loop.call(begin)
        exchange = found.result()
        response = exchange.response
        if response is None:
            self._give_up(connection)
            return None
        if response.status in WRONG:
            raise LinkError(f"{WRONG[response.status]}: step at token {self._reading.pieces[-1][0]}")
        if response.status is Status.STOPPING:
            self._give_up(connection)
        if response.status is not Status.OK:
            return exchange
        if len(response.tensors) != TOKEN.size:
            raise LinkError("the server answers a step with what is no token")
        (token,) = TOKEN.unpack(response.tensors)
        if token >= client.language.vocabulary:
            raise LinkError(f"the server answers with token {token}, the network has {client.language.vocabulary}")
        return int(token)

    def _give_up(self, connection: Connection | None) -> None:
        """End a session by which nothing comes, so that another is opened."""
        client = self._client
        connection = connection or client.joined
        if connection is not None and client.loop is not None and connection.failure is None:
            client.loop.wait(_closed(connection))


def _sent_away(connection: Connection, frame: int, payload: Payload, give_up_s: float) -> None:
    """Send what nobody waits for."""
    with suppress(LinkError):
        connection.send(frame, payload, inf, give_up_s, lambda _: None)


async def _closed(connection: Connection) -> None:
    connection.session.close()
    await asyncio.sleep(0)
    connection.failure = connection.failure or LinkError("the session was given up")
