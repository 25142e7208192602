"""The bundles that a server holds at a time: one as a rule, two while clients move from the old to the new one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from time import monotonic

from splitimpera.bundle.manifest import HopEntry
from splitimpera.bundle.opened import Bundle
from splitimpera.core.errors import BundleError
from splitimpera.deploy.halves import MiddleHalf, ReceivingHalf
from splitimpera.deploy.hops import halves_by_number, largest_frame, pace
from splitimpera.deploy.sessions import Limits, Pace
from splitimpera.deploy.token_room import TokenRoom

FRAMES_ON_THE_WAY = 4
"""So many of the largest frames of one client may be incomplete at once, and responses wait to be sent."""
SHORT_ID = 16
LOOK_S = 0.05
"""How often a bundle that drains is looked at."""


@dataclass(eq=False)
class ServedBundle:
    """A bundle with its programs, ready to run.

    Attributes:
        halves: What is served, by the number of the hop.
        below: Numbers of hops whose plans are cut before the privacy floor: nothing of them is ever run.
        limits: What one client may make the server hold.
        largest: The largest frame that any of its plans sends, in bytes.
        draining: No new client is taken in; those that are there are answered.
        closing: They have been long enough; new frames are not run.
        sessions: How many clients are there.
    """

    bundle: Bundle
    halves: dict[int, ReceivingHalf]
    below: frozenset[int]
    limits: Limits
    largest: int
    draining: bool = False
    closing: bool = False
    sessions: int = 0
    _paces: Mapping[bool, Mapping[int, Pace]] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return self.bundle.manifest.bundle

    @property
    def names(self) -> str:
        """Of its plans."""
        return ", ".join(half.plan.id for half in self.halves.values())

    @property
    def programs(self) -> list[ReceivingHalf]:
        """All halves, with those that finish frames here where the next machine is away."""
        here = [half.alone for half in self.halves.values() if isinstance(half, MiddleHalf)]
        return [*self.halves.values(), *(half for half in here if half is not None)]

    @property
    def onward(self) -> list[HopEntry]:
        """The hops that frames go on by, of plans that do not end here."""
        return [half.onward for half in self.halves.values() if isinstance(half, MiddleHalf)]

    def pace_of(self, secure: bool) -> Callable[[int], Pace]:
        """How datagrams of each hop are sent; of one that is not served as of the first one."""
        paces = self._paces[secure]
        first = next(iter(paces.values()))
        return lambda number: paces.get(number, first)


def load_bundle(
    bundle: Bundle,
    plans: Iterable[str] | None,
    threads: int,
    limits: Limits,
    machine: str | None = None,
    goes_on: bool = False,
    room: TokenRoom | None = None,
) -> ServedBundle:
    """Load a bundle's programs, and run each of them once.

    Args:
        plans, machine: As of `served_plans`.
        threads: How many threads the engine has.
        limits: What one client may make the server hold, at most; less where the bundle needs less.
        room: Where language models keep their caches.
        goes_on: Whether it is known where frames go on to, of plans that do not end here.

    Raises:
        BundleError: the bundle has no such plan, none that needs a server, none behind its privacy floor, or its files
            are not what was exported; or frames go on from here, and it is not known where.
    """
    floor = bundle.manifest.floor
    loaded = halves_by_number(bundle, plans, threads, machine, room)
    halves = {number: half for number, half in loaded.items() if half.hop.depth >= floor}
    if not halves:
        raise BundleError(
            f"all plans are cut before the privacy floor of {floor} layers", hint="export plans that keep to it"
        )
    onward = next((half for half in halves.values() if isinstance(half, MiddleHalf)), None)
    if onward is not None and not goes_on:
        raise BundleError(
            f"plan '{onward.plan.id}' does not end on '{machine}'", hint="say where its next machine is, by --next"
        )
    largest = max(largest_frame(half) for half in halves.values())
    # a frame, and several of them on their way, of what this bundle sends, and no more
    result = bundle.manifest.responding.most_bytes
    limits = replace(limits, most_bytes=min(limits.most_bytes, FRAMES_ON_THE_WAY * (largest + result)))
    return ServedBundle(
        bundle,
        halves,
        frozenset(loaded) - frozenset(halves),
        limits,
        min(limits.most_bytes, largest),
        _paces={
            secure: {number: pace(half.hop, secure) for number, half in halves.items()} for secure in (False, True)
        },
    )


async def drained(
    served: ServedBundle, has_frames: Callable[[], bool], dismiss: Callable[[], None], patience_s: float
) -> None:
    """Wait until the last client of a bundle has left and its last frame is answered.

    Args:
        has_frames: Whether frames of it wait or are run.
        dismiss: Sends away those that stayed for longer than `patience_s`, when no frame of theirs is left.
    """
    ends_s, dismissed = monotonic() + patience_s, False
    while served.sessions or has_frames():
        await asyncio.sleep(LOOK_S)
        served.closing = monotonic() >= ends_s
        if served.closing and not dismissed and not has_frames():
            dismissed = True
            dismiss()


class ServedBundles:
    """Bundles by their ids. There is always one that takes clients in."""

    def __init__(self, first: ServedBundle) -> None:
        self._here = {first.id: first}

    def __iter__(self) -> Iterator[ServedBundle]:
        return iter(tuple(self._here.values()))

    def get(self, id: str) -> ServedBundle | None:
        """The one with this id, draining or not."""
        return self._here.get(id)

    @property
    def open(self) -> list[ServedBundle]:
        """Those that take clients in, the newest last."""
        return [served for served in self._here.values() if not served.draining]

    @property
    def newest(self) -> ServedBundle:
        return self.open[-1]

    @property
    def ids(self) -> str:
        """Of those that take clients in, as people read them."""
        return ", ".join(served.id[:SHORT_ID] for served in self.open)

    def add(self, served: ServedBundle) -> None:
        """Take clients of it in from now on; one that was draining comes back as it was."""
        self._here.pop(served.id, None)
        served.draining = served.closing = False
        self._here[served.id] = served

    def drain(self, id: str) -> ServedBundle:
        """Take no new clients of it in.

        Raises:
            BundleError: it is not here, or is the last one that takes clients in.
        """
        served = self._here.get(id)
        if served is None:
            raise BundleError(f"the bundle {id[:SHORT_ID]} is not served", hint=f"those here are {self.ids}")
        if self.open == [served]:
            raise BundleError(
                f"the bundle {id[:SHORT_ID]} is the only one that takes clients in", hint="add another one first"
            )
        served.draining = True
        return served

    def remove(self, served: ServedBundle) -> None:
        """Let go of one that was drained."""
        self._here.pop(served.id, None)
