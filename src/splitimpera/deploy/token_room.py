"""The keys and values that a server keeps of what it has read, for each request of each client, within bounds.

A cache may go at any time: whoever misses it is told from which position on, and sends that again. So what is kept is
a matter of speed alone, and the oldest gives way.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from threading import Lock
from time import monotonic

from splitimpera.deploy.token_past import Past

CACHE_BYTES = 256 << 20
IDLE_S = 60.0
REQUESTS_EACH = 64
"""Requests of one client that are kept, however small they are."""
SHARE = 4
"""One client may fill this part of the room, and one cache in any case."""

Place = tuple[Hashable, Hashable]


@dataclass(eq=False, slots=True)
class _Cache:
    past: Past | None
    used_s: float

    @property
    def tokens(self) -> int:
        return 0 if self.past is None else self.past.tokens

    @property
    def bytes(self) -> int:
        return 0 if self.past is None else self.past.bytes


class TokenRoom:
    """Caches by client and request; threads may share it.

    Args:
        most_bytes: What all caches together may take.
        each_bytes: What those of one client may; None: a quarter of it.
        idle_s: A cache that was not used for so long goes.
        clock: What time it is, in seconds.

    Example:
        >>> import numpy as np
        >>> from splitimpera.deploy.token_past import no_past
        >>> room, keys = TokenRoom(), np.ones((3, 2, 1, 4, 8), np.float32)
        >>> room.past("client", 1, 0), room.held("client", 1)
        (None, 0)
        >>> room.keep("client", 1, no_past(16, (2, 1, 4, 8)).with_more(keys, keys))
        >>> room.held("client", 1), room.bytes, room.past("client", 1, 2).tokens
        (3, 1536, 2)
    """

    def __init__(
        self,
        most_bytes: int = CACHE_BYTES,
        each_bytes: int | None = None,
        idle_s: float = IDLE_S,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.most_bytes = most_bytes
        self.each_bytes = most_bytes // SHARE if each_bytes is None else each_bytes
        self.idle_s = idle_s
        self._clock, self._lock = clock, Lock()
        self._caches: OrderedDict[Place, _Cache] = OrderedDict()  # the one that was used last at the end
        self._bytes = 0

    def __len__(self) -> int:
        """How many requests have a cache."""
        return len(self._caches)

    @property
    def bytes(self) -> int:
        """What all caches take."""
        return self._bytes

    def held(self, client: Hashable, request: Hashable) -> int:
        """How many tokens the cache of a request holds."""
        with self._lock:
            cache = self._caches.get((client, request))
            return 0 if cache is None else cache.tokens

    def past(self, client: Hashable, request: Hashable, first: int) -> Past | None:
        """Keys and values of the first tokens of a request; None: of no tokens.

        Raises:
            LookupError: it lacks some of them.
        """
        with self._lock:
            cache = self._caches.get((client, request))
            if (0 if cache is None else cache.tokens) < first:
                raise LookupError(f"{first} tokens are not there")
            if cache is None:
                cache = self._caches[client, request] = _Cache(None, 0.0)
                self._make_room(client, request)
            cache.used_s = self._clock()
            self._caches.move_to_end((client, request))
            if cache.past is None or not first:
                return None
            return cache.past.first(first)

    def keep(self, client: Hashable, request: Hashable, past: Past) -> None:
        """Put a longer cache in the place of the one that `past` gave; not where that has gone meanwhile."""
        with self._lock:
            cache = self._caches.get((client, request))
            if cache is None:
                return
            self._bytes -= cache.bytes
            cache.past, cache.used_s = past, self._clock()
            self._bytes += cache.bytes
            self._make_room(client, request)

    def drop(self, client: Hashable, request: Hashable) -> None:
        """A request is over."""
        with self._lock:
            self._out((client, request))

    def leave(self, client: Hashable) -> None:
        """A client has left."""
        with self._lock:
            for place in [place for place in self._caches if place[0] == client]:
                self._out(place)

    def tidy(self) -> None:
        """Let go of what was not used for too long."""
        with self._lock:
            before_s = self._clock() - self.idle_s
            for place in [place for place, cache in self._caches.items() if cache.used_s < before_s]:
                self._out(place)

    def _make_room(self, client: Hashable, request: Hashable) -> None:
        """The oldest ones give way: the client's own where these are too many, then anybody's; not the one named."""
        own = [place for place in self._caches if place[0] == client and place != (client, request)]
        own_bytes = sum(self._caches[place].bytes for place in [*own, (client, request)])
        for count, place in enumerate(own):
            if own_bytes <= self.each_bytes and len(own) - count < REQUESTS_EACH:
                break
            own_bytes -= self._caches[place].bytes
            self._out(place)
        for place in list(self._caches):
            if self._bytes <= self.most_bytes:
                return
            if place != (client, request):
                self._out(place)
        if self._bytes > self.most_bytes:  # it alone is too large
            self._out((client, request))

    def _out(self, place: Place) -> None:
        cache = self._caches.pop(place, None)
        if cache is not None:
            self._bytes -= cache.bytes
