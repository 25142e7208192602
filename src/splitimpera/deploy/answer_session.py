"""At the device: the session that direct answers come by, and frames that may be answered by either way.

Of an answer that comes directly the first server says a word along the way, before or after it. A frame is done with
the first answer that comes; where the word is all that has come, the answer itself is waited for until the frame is
given up, or its session ends. The word has what machines took, and may come when the frame is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from secrets import token_bytes
from typing import TYPE_CHECKING

from splitimpera.bundle.manifest import HopEntry, Manifest, PlanEntry
from splitimpera.codec.framing import WORD, Kind
from splitimpera.core.errors import LinkError
from splitimpera.deploy.connection import Connection, Exchange
from splitimpera.deploy.messages import KEY_BYTES, Answers, Hello, Response, Status
from splitimpera.deploy.sessions import Limits, Message, Session

if TYPE_CHECKING:
    from splitimpera.deploy.security import ClientSecurity

Told = Callable[[Exchange, bool], None]
"""Takes what became of a frame, and whether its answer came directly."""
Said = Callable[[Response | None], None]
"""Takes the word of a frame whose answer came directly; None: there was none in time."""


@dataclass(eq=False)
class _Awaited:
    """A frame whose answer may come by either way.

    Attributes:
        so_far: What was sent of it, as long as nothing came along the way.
        said: Takes what machines say of it along the way, once its answer is here.
        word: What came along the way where that was no answer; None: nothing yet.
        answered: Whether the answer came directly, and the word is still to come.
    """

    told: Told
    so_far: Callable[[], Exchange]
    said: Said
    give_up_s: float
    word: Exchange | None = None
    answered: bool = False
    timer: asyncio.TimerHandle | None = None


class AnswerSession(Connection):
    """A session with the last machine of a plan. All of it happens in one event loop.

    Args:
        hop: The last one of the plan.
    """

    def __init__(self, session: Session, hop: HopEntry) -> None:
        super().__init__(session, hop)
        self._awaited: dict[int, _Awaited] = {}
        self.on_end = self._ended

    def expect(self, frame: int, give_up_s: float, so_far: Callable[[], Exchange], told: Told, said: Said) -> None:
        """A frame is about to be sent along the way.

        Args:
            give_up_s: When its answer counts as lost, by the loop's clock.
            told: Called once with what became of it.
            said: Called once with the word along the way, after that, where its answer came directly.
        """
        self._awaited[frame % WORD] = _Awaited(told, so_far, said, give_up_s)

    def forget(self, frame: int) -> None:
        """It was not sent."""
        self._awaited.pop(frame % WORD, None)

    def came_along(self, frame: int, exchange: Exchange) -> None:
        """What came of a frame along the way: an answer, a word that it is answered, or nothing in time."""
        awaited = self._awaited.get(frame % WORD)
        if awaited is None:
            return  # it was given up
        if awaited.answered:
            del self._awaited[frame % WORD]
            awaited.said(exchange.response)
            return
        says = None if exchange.response is None else exchange.response.status
        if says is Status.DIRECT and self.failure is None:
            awaited.word = replace(exchange, response_s=None)
            awaited.timer = self._loop.call_at(awaited.give_up_s, self._gone, frame)
        elif says is Status.DIRECT:
            self._done(frame, replace(exchange, response_s=None), False)
        else:
            self._done(frame, exchange, False)

    def waits(self) -> bool:
        """Whether answers are on their way."""
        return bool(self._awaited)

    def _on_message(self, message: Message) -> None:
        if message.frame.id.kind is not Kind.RESPONSE or self.welcome is None:
            super()._on_message(message)
            return
        awaited = self._awaited.get(message.frame.id.frame)
        if awaited is None or awaited.answered:
            return  # it was given up, or answered before
        try:
            response = Response.from_bytes(message.frame.data)
        except LinkError as failure:
            self.session.close(failure)
            return
        if response.status is not Status.OK:
            return  # what is no answer comes along the way
        sent, now_s = awaited.word or awaited.so_far(), message.last_s
        sent_s = now_s if sent.sent_s is None else sent.sent_s  # it was quicker than the word that all was sent
        found = replace(sent, sent_s=sent_s, response=response, response_s=now_s)
        if awaited.word is not None:
            self._done(message.frame.id.frame, found, True)
            awaited.said(awaited.word.response)
        else:
            awaited.answered = True
            awaited.told(found, True)

    def _gone(self, frame: int) -> None:
        """No answer came."""
        awaited = self._awaited.get(frame % WORD)
        if awaited is not None and awaited.word is not None:
            self._done(frame, awaited.word, False)

    def _ended(self) -> None:
        """The session is over: of frames that were answered by it nothing comes any more."""
        for frame in list(self._awaited):
            self._gone(frame)

    def _done(self, frame: int, exchange: Exchange, direct: bool) -> None:
        awaited = self._awaited.pop(frame % WORD)
        if awaited.timer is not None:
            awaited.timer.cancel()
        awaited.told(exchange, direct)


async def open_answers(
    address: tuple[str, int], hop: HopEntry, hello: Hello, security: ClientSecurity | None, limits: Limits
) -> tuple[AnswerSession, Hello]:
    """Join the last machine of a plan, over TCP whatever carries its frames: nothing of an answer is lost.

    Args:
        hop: The last one of the plan.
        hello: As the first server gets it.

    Returns:
        the session, and the hello by which the first server learns where answers go.

    Raises:
        LinkError: nobody is there, somebody else answers, its certificate is not trusted, or it refuses.
    """
    from splitimpera.deploy.streams import open_stream

    key = token_bytes(KEY_BYTES)
    session = AnswerSession(await open_stream(*address, security, limits), hop)
    await session.greet(replace(hello, key=key, answers=Answers.TAKEN), limits)
    return session, replace(hello, key=key, answers=Answers.WANTED)


def check_answers(manifest: Manifest, plan: PlanEntry, told: bool, where: str = "answers") -> None:
    """Whoever runs a plan says where its direct answers come from, and of no other.

    Raises:
        LinkError: it is not said, or said of a plan whose answers come along the way.
    """
    if manifest.answered_directly(plan) is told:
        return
    if told:
        raise LinkError(f"answers of plan '{plan.id}' come back along the way", where=where, hint="leave it out")
    last = plan.machines[-1]
    raise LinkError(
        f"answers of plan '{plan.id}' come back from '{last}' directly, and it is not said where that is",
        where=where,
        hint=f"say where '{last}' listens, as 'host:port'",
    )


def check_one_server(manifest: Manifest, plan: PlanEntry, servers: int, where: str = "servers") -> None:
    """Direct answers are not known to runs that may send a frame to any of several servers.

    Raises:
        LinkError: there are several, and the plan's answers come back directly.
    """
    if servers > 1 and manifest.answered_directly(plan):
        raise LinkError(
            f"there are {servers} servers, and answers of plan '{plan.id}' come back directly, which takes one server",
            where=where,
            hint="name one server, or export a design without workload.answers",
        )
