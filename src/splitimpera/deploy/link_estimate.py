"""What a client knows of its link: goodput, round trip, loss and outages, from its own frames and pings.

No sockets, no clock: it is told what was sent and what came, each with its time, and says what follows.

What frames tell:

- Goodput: the server says how long a frame took from its first packet to its last (`assembled_s`); what came after the
  first packet, over that time, is what the link delivers while it is busy, payload alone. A frame says only "at least
  this much" where something else than the link may have set the pace: it took less than `SHORTEST_S`, which machines
  time badly; over UDP it came about as fast as it was sent, for senders keep to their plan's rate; over TCP it needed
  round trips for its window to grow (10 segments at first, RFC 6928, twice as many each round trip) that make up more
  than `WINDOW_SHARE` of the time; or it has gaps, which hold it up until its deadline. But where the next frame met a
  queue, the link was busy all the time between their first packets: what came, over that time or until the deadline,
  whichever is shorter, is its goodput.
  A frame that an outage held up is left out, the first one: the next such one says that the link is that slow.
- Goodput, by frames of one packet: see `lone_packets`; it needs pings.
- Round trip: a ping's, or that of a frame's first packet (its answer's time without the server's), where by the
  goodput that was known nothing of this client was still in front of it. The link's own delay, not one's own queue,
  and no outage.
- Loss: of the frames' packets, as the server counts them; not over TCP, which shows none. Of frames of which nothing
  came back nobody knows whether they were lost whole, or their responses: where they are a larger share than packets,
  the interval reaches from none of them to all; where they are so beyond chance, half of what they have more counts.
  Frames that met a queue, and those of an outage, are left out: what they lost says nothing of other frames.

Where it is poor: over UDP without a queue that stands (a buffer of few packets, or frames so rare that it drains), a
link that is too slow looks like loss, and goodput like a least one; over TCP loss makes goodput what TCP has of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, inf, isfinite, log2
from typing import Any, Literal

from splitimpera.core.errors import LinkError
from splitimpera.deploy.lone_packets import SHORTEST_S, LonePackets
from splitimpera.deploy.messages import Response
from splitimpera.deploy.recent_values import (
    Estimate,
    SmoothedLevel,
    SmoothedShare,
    WindowedLevel,
    WindowedShare,
)
from splitimpera.deploy.silence import Outage, Silence

PACED = 1.1
"""A frame that came no slower than this times as long as it was sent was held up by its sender."""
SEGMENT_BYTES = 1448
FIRST_WINDOW = 10
"""Segments that TCP sends at first (RFC 6928)."""
WARM_S = 0.2
"""After so long without data TCP may begin with the first window again: the least timeout for sending again, Linux."""
WINDOW_SHARE = 0.1
QUEUE_SHARE, QUEUE_S = 0.2, 0.005
"""A queue stands where a round trip is longer than the smallest by this share of a frame's time, and by so much."""
SMALLEST_KEPT_S = 60.0
"""The smallest round trip is that of the last one or two of these: a route may change."""
ROUND_TRIPS, LEAST_SILENCE_S, FIRST_SILENCE_S = 4.0, 0.5, 1.0
"""Silence is an outage after so many round trips, never sooner than this; and where none was seen."""
LEAST_OVERDUE = 2
"""So many frames that should be answered show that a link is slow; a single one may be lost."""
MOST_UNDER_WAY = 1024


@dataclass
class _Sent:
    """A frame under way: `clear_s` is when it should be through, `free`: nothing was in front of it."""

    size: int
    packets: int
    sent_s: float
    place: int
    clear_s: float
    free: bool
    warm: int


@dataclass(frozen=True)
class _Gaps:
    """A frame with gaps, judged when the next one is answered.

    Attributes:
        came, after_first: Its bytes that came, with and without those of its first packet.
        first_s: When its first packet came, by the client's clock, and the way back.
    """

    place: int
    came: int
    after_first: float
    spread_s: float
    first_s: float


class LinkEstimate:
    """What a client is told of its traffic, and what it knows of its link; `lone`: by its single packets.

    Args:
        carrier: "udp" or "tcp", as `Session.carrier` has it.
        kind: "smoothed" or "windowed". Over as many seconds the windowed one follows a step two to five times sooner;
            the smoothed one errs less where frames are short and the link works in bursts (figures: `recent_values`).
        seconds: Time constant, or window.

    Raises:
        LinkError: `seconds` is not positive and finite, or `kind` is none of the two.

    >>> from splitimpera.deploy.messages import Status
    >>> link = LinkEstimate("udp", "windowed", 10.0)
    >>> for frame in range(8):  # 20 packets of 1000 bytes, handed over in 1 ms, that came within 38 ms
    ...     link.sent(frame, 20_000, 20, frame / 10, deadline_s=0.1)
    ...     link.answered(frame, Response(Status.OK, assembled_s=0.038, total_s=0.04), frame / 10 + 0.06, frame / 10)
    >>> round(link.goodput(1.0).value), round(link.round_trip(1.0).value, 3), link.loss(1.0).value
    (4000000, 0.02, 0.0)
    >>> link.outage(1.0) is None
    True
    """

    def __init__(
        self,
        carrier: Literal["udp", "tcp"],
        kind: Literal["smoothed", "windowed"] = "windowed",
        seconds: float = 3.0,
    ) -> None:
        if not (seconds > 0 and isfinite(seconds)):
            raise LinkError(f"a positive number of seconds is expected, given {seconds:g}", where="seconds")
        if kind not in ("smoothed", "windowed"):
            raise LinkError(f"'smoothed' or 'windowed' is expected, given '{kind}'", where="kind")
        smoothed = kind == "smoothed"
        self._datagrams = carrier == "udp"
        self._goodput, self._round_trip, self._service = (
            SmoothedLevel(seconds, rate) if smoothed else WindowedLevel(seconds) for rate in (True, False, False)
        )
        self._loss, self._vanished = (SmoothedShare(seconds) if smoothed else WindowedShare(seconds) for _ in range(2))
        self._smallest_s = [inf, inf]
        self._smallest_since_s = -inf
        self.lone = LonePackets(seconds, lambda sent_s, came_s: bool(self._during(sent_s, came_s)))
        self._frames: dict[int, _Sent] = {}
        self._given_up: dict[int, _Sent] = {}
        self._queued = self._held = False
        self._probes: dict[int, tuple[float, bool, int]] = {}
        self._latest = _Sent(0, 0, -inf, 0, -inf, False, 0)
        self._gaps: _Gaps | None = None
        self._silence = Silence(self._datagrams)
        self._deadline_s = 0.0

    # What happened ---------------------------------------------------------------------------------------------------

    def sent(self, frame: int, size: int, packets: int, now_s: float, deadline_s: float = inf) -> None:
        """A frame of `size` bytes of payload is handed to the session; `deadline_s`: from now, infinite: none."""
        self._silence.sent(now_s)
        self._deadline_s = deadline_s
        warm = self._latest.size if now_s - self._latest.sent_s < WARM_S else 0
        clear_s = max(now_s, self._latest.clear_s) + self._passing_s(size, now_s)
        free = self._is_free(now_s)
        warm = max(warm, FIRST_WINDOW * SEGMENT_BYTES)
        self._latest = _Sent(size, packets, now_s, self._latest.place + 1, clear_s, free, warm)
        _keep(self._frames, frame, self._latest)

    def answered(self, frame: int, response: Response, now_s: float, handed_s: float | None = None) -> None:
        """The response to a frame came; one that comes too late for whoever waited tells as much as any.

        Args:
            response: What the server says: of it `assembled_s`, `total_s`, `missing_bytes`, `lost_packets`.
            handed_s: When the frame's last byte was with the system (`Exchange.sent_s`); None: not known.
        """
        self._silence.ends(now_s, self.patience_s(now_s))  # while the frame still counts as under way
        sent = self._frames.pop(frame, None) or self._given_up.pop(frame, None)
        self._silence.heard(now_s, len(self._frames))
        if sent is None:
            return
        under_way = sum(one.size for one in self._frames.values())
        self._latest.clear_s = min(self._latest.clear_s, now_s + self._passing_s(under_way, now_s))
        self._service.add(max(response.total_s - response.assembled_s, 1e-6), now_s)
        round_trip_s, spread_s = now_s - sent.sent_s - response.total_s, response.assembled_s
        self._took(sent.sent_s, round_trip_s, now_s, sent.free)
        queued = self._queued = round_trip_s - min(self._smallest_s) > max(QUEUE_S, QUEUE_SHARE * spread_s)
        self._judge_gaps(sent, now_s - response.total_s, queued, now_s)
        if self._datagrams and not queued:
            self._loss.add(sent.packets, min(response.lost_packets, sent.packets), now_s)
            self._vanished.add(1, 0, now_s)
        held = any(2 * spread_s > now_s - one.begun_s for one in self._during(sent.sent_s, now_s))
        if not held or self._held:
            self._delivered(sent, response, handed_s, now_s)
            self._single(sent, now_s - response.total_s, now_s)
        self._held = held
        self.lone.through(sent.place, now_s - response.total_s + spread_s)

    def lost(self, frame: int, now_s: float) -> None:
        """Nothing came back of a frame, and nobody waits for it any longer."""
        sent = self._frames.pop(frame, None)
        if sent is None:
            return
        _keep(self._given_up, frame, sent)
        if self._datagrams and not self._queued and not self._during(sent.sent_s, now_s):
            self._vanished.add(1, 1, now_s)

    def probed(self, number: int, now_s: float) -> None:
        """A ping was sent."""
        self._silence.sent(now_s)
        _keep(self._probes, number, (now_s, self._is_free(now_s), self._latest.place))

    def probe_answered(self, number: int, now_s: float) -> None:
        """Its answer came."""
        sent_s, free, place = self._probes.pop(number, (inf, False, 0))
        self.heard(now_s)
        self._took(sent_s, now_s - sent_s, now_s, free)
        if isfinite(sent_s):
            self.lone.pong(place, sent_s, now_s)

    def heard(self, now_s: float) -> None:
        """Anything came: an acknowledgement, an answer that nobody waits for. It ends an outage."""
        self._silence.ends(now_s, self.patience_s(now_s))
        self._silence.heard(now_s, len(self._frames))

    # What is known ---------------------------------------------------------------------------------------------------

    def goodput(self, now_s: float) -> Estimate | None:
        """Payload that the link delivers while it is busy, bit/s; None: nothing is known.

        Silence bounds it: had the link taken the oldest frame within it, an answer would be here.
        """
        found = self._goodput.estimate(now_s)
        most = self._most_bps(now_s)
        if found is None or found.value <= most:
            return found
        return replace(found, value=most, low=0.0, high=most)

    def round_trip(self, now_s: float) -> Estimate | None:
        """From sending the first packet until an answer could be here, without the server's time, s."""
        return self._round_trip.estimate(now_s)

    @property
    def least_round_trip_s(self) -> float:
        """The smallest of late: without any queue, and soon that of another route; infinite: none is known."""
        return min(self._smallest_s)

    def loss(self, now_s: float) -> Estimate | None:
        """Share of packets that never came, 0 to 1; None: nothing is known, as always over TCP."""
        of_packets, of_frames = self._loss.estimate(now_s), self._vanished.estimate(now_s)
        if of_packets is None or of_frames is None or of_frames.value <= of_packets.value:
            return of_packets
        beyond_chance = of_frames.low > of_packets.high
        value = (of_packets.value + of_frames.value) / 2 if beyond_chance else of_packets.value
        high = of_frames.high if beyond_chance else of_frames.value
        return replace(of_packets, value=value, high=max(of_packets.high, high))

    def goodput_quantile(self, share: float, now_s: float) -> float | None:
        """What a single frame's goodput exceeds with 1 - share, bit/s; see `Level.quantile`, and `goodput`."""
        found = self._goodput.quantile(share, now_s)
        return None if found is None else min(found, self._most_bps(now_s))

    def net_quantile(self, share: float, now_s: float) -> float | None:
        """As `goodput_quantile`, but gaps of the link, which small packets meet as well, are no low rate."""
        found = self.goodput_quantile(share, now_s)
        return None if found is None else self.lone.net(found, share, now_s)

    def round_trip_quantile(self, share: float, now_s: float) -> float | None:
        """What a single round trip exceeds with 1 - share, s."""
        return self._round_trip.quantile(share, now_s)

    def overdue(self, now_s: float) -> tuple[int, float]:
        """How many frames should be answered by now, and what goodput is at most while that is so, bit/s.

        A link is first in, first out: frames in front of one that was answered are lost, and not overdue.
        """
        service_s = self._service.quantile(0.95, now_s)
        waiting = self._waiting()
        if service_s is None or not waiting:
            return 0, inf
        usual_s = self.lone.way_quantile(0.95, now_s) or min(self._smallest_s)
        first, aside_s = waiting[0], usual_s + service_s + QUEUE_S
        if self._datagrams and first.packets > 1:
            aside_s += 8 * first.size / (self._goodput.quantile(0.5, now_s) or inf)
        late = sum(now_s > one.sent_s + aside_s for one in waiting)
        taken_s = now_s - max(self.lone.through_s, first.sent_s + usual_s) - service_s
        return (late, 8 * first.size / taken_s) if late and taken_s > SHORTEST_S else (0, inf)

    def queued_s(self, now_s: float) -> float:
        """How long the link should still be busy with this client's own frames; 0 where that is not known."""
        late, most_bps = self.overdue(now_s)
        held_up_s = 8 * sum(one.size for one in self._waiting()) / most_bps if late >= LEAST_OVERDUE else 0.0
        return max(self._latest.clear_s - now_s, held_up_s)

    def answer_s(self, size: int, now_s: float, share: float = 0.5) -> float | None:
        """How long this share of frames of `size` bytes that are sent now wait for their answers at most, behind all
        that is under way; None: not known yet."""
        goodput, round_trip_s = self.goodput_quantile(1 - share, now_s), self._round_trip.quantile(share, now_s)
        if goodput is None or round_trip_s is None:
            return None
        queued = sum(one.size for one in self._waiting())
        return 8 * (queued + size) / goodput + round_trip_s + (self._service.quantile(share, now_s) or 0.0)

    def outage(self, now_s: float) -> Outage | None:
        """The outage that lasts; None: there is none.

        It begins where nothing came for longer than `patience_s` though enough was sent; anything that comes ends it.
        """
        return self._silence.outage(now_s, self.patience_s(now_s))

    @property
    def outages(self) -> tuple[Outage, ...]:
        """The last ones, in order."""
        return self._silence.outages

    def patience_s(self, now_s: float) -> float:
        """How long silence is nothing unusual: several round trips, what the server and the link take for the
        frame under way, and the latest frame's deadline."""
        round_trip, service_s = self._round_trip.estimate(now_s), self._service.quantile(0.95, now_s)
        seen_s = min(*self._smallest_s, FIRST_SILENCE_S / ROUND_TRIPS) if round_trip is None else round_trip.value
        first = next(iter(self._frames.values()), None)  # its answer comes before those of all others
        passing_s = 0.0 if first is None else self._passing_s(first.size, now_s)
        usual_s = ROUND_TRIPS * seen_s + (service_s or 0.0) + passing_s
        return max(usual_s, LEAST_SILENCE_S, self._deadline_s if isfinite(self._deadline_s) else 0.0)

    # How --------------------------------------------------------------------------------------------------------------

    def _passing_s(self, size: int, now_s: float) -> float:
        """How long a frame should take to pass the link; 0 where that is not known."""
        goodput = self._goodput.estimate(now_s)
        return 0.0 if goodput is None else 8 * size / goodput.value

    def _most_bps(self, now_s: float) -> float:
        """What goodput is at most, since nothing comes; infinite: nothing says so."""
        service_s = self._service.quantile(0.95, now_s)
        since_s = self._silence.since_s
        if since_s is None or service_s is None or not self._frames or not self._silence.telling:
            return inf
        held_s = self._deadline_s if self._datagrams else 0.0  # over UDP one with gaps is answered then, not sooner
        silent_s = now_s - since_s - min(self._smallest_s) - service_s - held_s
        return 8 * next(iter(self._frames.values())).size / silent_s if silent_s > SHORTEST_S else inf

    def _is_free(self, now_s: float) -> bool:
        """Whether what is sent now should find nothing of this client in front of it."""
        return not self._frames or (now_s > self._latest.clear_s and self._goodput.estimate(now_s) is not None)

    def _took(self, sent_s: float, round_trip_s: float, now_s: float, free: bool) -> None:
        if round_trip_s <= 0:
            return
        if now_s - self._smallest_since_s > SMALLEST_KEPT_S:
            self._smallest_s, self._smallest_since_s = [self._smallest_s[1], inf], now_s
            self.lone.age()
        self._smallest_s[1] = min(self._smallest_s[1], round_trip_s)
        if free and not self._during(sent_s, now_s):
            self._round_trip.add(round_trip_s, now_s)

    def _delivered(self, sent: _Sent, response: Response, handed_s: float | None, now_s: float) -> None:
        """What a frame tells of goodput."""
        spread_s, came = response.assembled_s, sent.size - response.missing_bytes
        if self._datagrams:
            packets = sent.packets - response.lost_packets
            sending_s = 0.0 if handed_s is None else handed_s - sent.sent_s
            limited = spread_s > PACED * sending_s + SHORTEST_S
        else:
            packets = ceil(sent.size / SEGMENT_BYTES)
            rounds = ceil(log2(sent.size / sent.warm + 1)) - 1 if sent.size > sent.warm else 0
            limited = rounds == 0 or rounds * min(self._smallest_s) <= WINDOW_SHARE * spread_s
        if packets < 2 or came <= 0:
            return
        after_first = came - came / packets
        if response.missing_bytes:
            self._gaps = _Gaps(sent.place, came, after_first, spread_s, now_s - response.total_s)
            return
        at_least = not limited or spread_s < SHORTEST_S
        self._goodput.add(8 * after_first / (spread_s + SHORTEST_S * at_least), now_s, at_least)

    def _single(self, sent: _Sent, first_s: float, now_s: float) -> None:
        """What a frame of one packet tells of goodput; `first_s`: as in `_Gaps`."""
        if (sent.packets if self._datagrams else ceil(sent.size / SEGMENT_BYTES)) == 1:
            found = self.lone.came(sent.size, sent.sent_s, first_s, now_s)
            if found is not None:
                self._goodput.add(found[0], now_s, found[1])

    def _waiting(self) -> list[_Sent]:
        """The frames under way that are behind all that were answered: those in front are lost, not late."""
        return [one for one in self._frames.values() if one.place > self.lone.answered]

    def _judge_gaps(self, sent: _Sent, first_s: float, queued: bool, now_s: float) -> None:
        """What the frame before tells of goodput, if it had gaps; `first_s`: as in `_Gaps`."""
        gaps, self._gaps = self._gaps, None
        if gaps is None:
            return
        apart_s = first_s - gaps.first_s
        busy = queued and sent.place == gaps.place + 1 and apart_s > SHORTEST_S
        if busy and apart_s < gaps.spread_s:
            self._goodput.add(8 * gaps.came / apart_s, now_s)
        else:
            self._goodput.add(8 * gaps.after_first / max(gaps.spread_s, SHORTEST_S), now_s, not busy)

    def _during(self, from_s: float, until_s: float) -> list[Outage]:
        """The outages between two times."""
        self.outage(until_s)
        return [one for one in self.outages if one.begun_s <= until_s and (one.ended_s or inf) >= from_s]


def _keep(kept: dict[int, Any], number: int, what: Any) -> None:
    """Remember it; the oldest gives way where there are too many."""
    while len(kept) >= MOST_UNDER_WAY:
        del kept[next(iter(kept))]
    kept[number] = what
