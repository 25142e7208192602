"""What a server says to one step, token by token, for whoever waits for it."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future

from splitimpera.core.errors import LinkError
from splitimpera.deploy.connection import Exchange
from splitimpera.deploy.messages import Status
from splitimpera.deploy.token_steps import PLACE, TOKEN


class TokenAnswers:
    """The responses to one step, as they come; all in the loop, but for `expects`.

    Args:
        writes: How many tokens it asks for.
        end: The token behind which none follows.
    """

    def __init__(self, writes: int, end: int | None = None) -> None:
        self.expects, self._end = writes, end
        self._came: deque[Exchange] = deque()
        self._wanted: Future[Exchange] | None = None
        self._closed = False

    def want(self, found: Future[Exchange]) -> None:
        """Have the next one put there."""
        if self._came:
            found.set_result(self._came.popleft())
        else:
            self._wanted = found

    def further(self, exchange: Exchange) -> bool:
        """Whether another one follows this; then it is taken."""
        if self.expects < 2 or not _goes_on(exchange, self._end):
            return False
        self.expects -= 1
        self._hand(exchange)
        return True

    def take(self, exchange: Exchange) -> None:
        """The last one."""
        self.expects = 0
        self._hand(exchange)

    def close(self) -> None:
        """Nobody waits for what comes any more."""
        self.expects, self._closed = 0, True

    def _hand(self, exchange: Exchange) -> None:
        if self._wanted is not None:
            self._wanted.set_result(exchange)
            self._wanted = None
        elif not self._closed:
            self._came.append(exchange)


def _goes_on(exchange: Exchange, end: int | None) -> bool:
    response = exchange.response
    if response is None or response.status is not Status.OK or len(response.tensors) != TOKEN.size:
        return False
    return TOKEN.unpack(response.tensors) != (end,)


def place_of(said: bytes) -> int:
    """From which position on the server lacks tokens, as it says.

    Raises:
        LinkError: it says no such thing.
    """
    if len(said) != PLACE.size:
        raise LinkError("the server does not say which tokens it lacks")
    (place,) = PLACE.unpack(said)
    return int(place)
