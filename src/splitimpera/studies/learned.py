"""What frames carry, learned once for all links: payload sizes, predictions, and what missing bytes do to them.

None of it depends on rates, delays, devices or frames a second. Gaps are those that the losses of a study's links make
in every sample's payload, sent by UDP over a link that is never full; a replay looks up what a gap of some size costs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from io import BytesIO
from typing import Any

import numpy as np

from splitimpera.core.array_types import FloatArray, IntArray
from splitimpera.core.bounds import BOUNDS
from splitimpera.core.progress import Track, no_progress
from splitimpera.evaluation.damage import DamageCurve, erased_share
from splitimpera.evaluation.passes import Kept
from splitimpera.evaluation.requests import Damaged, Intact, Request
from splitimpera.evaluation.run import side_by_side
from splitimpera.evaluation.stages import Sent
from splitimpera.evaluation.testbed import Testbed, coding_of
from splitimpera.evaluation.values import Asking, Known, Values
from splitimpera.evaluation.vectors import minus
from splitimpera.net.transports import TRANSPORTS
from splitimpera.records.device import Device
from splitimpera.records.link import Link
from splitimpera.records.plan import Hop, Plan
from splitimpera.records.traffic import Workload

MOST_LOSSES = 8
"""Of more that a study has, so many are tried, spread over all."""
UNKNOWN_LOSSES = (0.05, 0.3)
"""Where packets are dropped by a queue or a list, and nobody knows yet how many."""
_NEVER_FULL: dict[str, Any] = {
    **dict.fromkeys(("trace", "drops", "queue_bytes", "queue_packets", "downlink_rate_bps", "downlink_delay_s")),
    **dict.fromkeys(("trace_start_s",)),
    **dict.fromkeys(("delay_s", "jitter_s", "downlink_loss", "loss"), 0.0),
    "reorder": False,
    "rate_bps": BOUNDS["rate_bps"].high,
    "name": "link",
}
SENDER, RECEIVER = Device("sender"), Device("receiver")


@dataclass(frozen=True, eq=False)
class Learned:
    """What was learned of the frames that are coded in one way; arrays, which any process may read.

    Attributes:
        sizes: Bytes of the undamaged payloads, one row a hop, (hops, samples).
        element_bytes: The size of an element at each hop, (hops,).
        counts: The quality's numbers of each sample, nothing lost, (samples, k).
        sources: The sample of each damaged frame, (damaged,).
        shares: What is missing of each, (damaged,).
        damaged: The quality's numbers of each, (damaged, k).
    """

    sizes: IntArray
    element_bytes: IntArray
    counts: FloatArray
    sources: IntArray
    shares: FloatArray
    damaged: FloatArray

    def packed(self) -> bytes:
        """As bytes, for `unpacked`."""
        file = BytesIO()
        np.savez(file, **{field.name: getattr(self, field.name) for field in fields(self)})
        return file.getvalue()

    @classmethod
    def unpacked(cls, content: bytes) -> Learned:
        with np.load(BytesIO(content), allow_pickle=False) as arrays:
            return cls(**{field.name: arrays[field.name] for field in fields(cls)})

    def known(self, testbed: Testbed) -> Known:
        """The same as replays take it."""
        quality = testbed.task.quality
        intact = quality.vectors(self.counts)
        changes = minus(quality.vectors(self.damaged), intact[self.sources])
        return Known(
            tuple(self.sizes),
            tuple(self.element_bytes.tolist()),
            intact,
            quality.vectors(testbed.lost_counts("validation")),
            DamageCurve(self.shares, changes),
        )


def learn(
    hops: Iterable[Hop | None],
    testbed: Testbed,
    seed: int,
    kept: Kept | None = None,
    track: Track[object] = no_progress,
) -> dict[Hop | None, Learned]:
    """Learn what the frames of some hops carry, side by side: hops at one cut share the head.

    Args:
        hops: Their links' losses, bursts and packets count, and no other property of a link; several that code alike
            are one, with the losses of all. None: the whole network, nothing sent.
        testbed: The network and the samples; its splits are those of the hops' bottlenecks.
        kept: What earlier calls computed.

    Raises:
        SplitImperaError: a codec that does not fit, or a network that cannot be run.
    """
    hops = list(hops)
    alike: dict[object, list[Hop | None]] = {}
    for hop in hops:
        alike.setdefault(None if hop is None else coding_of(hop), []).append(hop)
    asking = {str(place): _learning(those, testbed, seed) for place, those in enumerate(alike.values())}
    found = side_by_side(asking, testbed, "validation", kept, track)
    return {hop: found[str(place)] for place, those in enumerate(alike.values()) for hop in those}


def _learning(hops: Sequence[Hop | None], testbed: Testbed, seed: int) -> Asking[Learned]:
    """What is learned of hops that code alike."""
    some = [hop for hop in hops if hop is not None]
    plan = Plan("whole", (SENDER,)) if not some else Plan("hop", (SENDER, RECEIVER), (some[0],))
    links = _losing([hop.link for hop in some if hop.transport.startswith("udp")])
    samples = len(testbed.samples("validation"))
    values = Values(plan, testbed, "validation", (max(1, len(links)), samples))
    empty, elements = len(values.contents), []
    if some:
        elements = [values.element_bytes(0)]
        sizes = yield from values.sizes(0)
        sent = [_sent(link, of_link, elements[0], seed) for link, of_link in zip(links, sizes, strict=False)]
        alive = np.array([each.deliveries.arrived for each in sent]) if sent else np.ones(sizes.shape, dtype=bool)
        values.receive(sent, sizes, alive)
    route, contents = values.route, tuple(values.contents[empty:])
    asked: list[Request] = [Intact(route), *([Damaged(route, contents)] if contents else [])]
    answers = yield asked
    intact, k = answers[asked[0]], testbed.lost_counts("validation").shape[1]
    of_samples = [[row[sample] for row in intact.sizes] for sample in range(samples)]
    return Learned(
        intact.sizes,
        np.array(elements, dtype=np.int64),
        intact.counts,
        np.array([sample for sample, _ in contents], dtype=np.int64),
        np.array([erased_share(gaps, of_samples[sample]) for sample, gaps in contents], dtype=np.float64),
        answers[asked[1]].counts if contents else np.zeros((0, k)),
    )


def plain(link: Link) -> tuple[Link, ...]:
    """What of a link gaps depend on: links that are never full, one for each loss that it may have, or one without."""
    losses = {link.loss, *(link.trace.loss if link.trace else ())}
    if link.drops is not None or link.queue_bytes is not None or link.queue_packets is not None:
        losses |= set(UNKNOWN_LOSSES)
    bare = replace(link, **_NEVER_FULL)
    return tuple(replace(bare, loss=loss) for loss in sorted(losses - {0.0})) or (bare,)


def bare(hop: Hop) -> tuple[Hop, ...]:
    """What has to be learned of a hop's frames: the hop with each of the links that `plain` finds."""
    links = plain(hop.link)
    losing = links if hop.transport.startswith("udp") else (replace(links[0], loss=0.0),)
    return tuple(replace(hop, link=link) for link in losing)


def _losing(links: Sequence[Link]) -> list[Link]:
    """Links that lose what these do and are never full, each once, `MOST_LOSSES` at the most."""
    found = {each for link in links for each in plain(link) if each.loss}
    every = sorted(found, key=lambda link: (link.loss, link.loss_burst or 0.0, link.mtu_bytes))
    places = np.linspace(0, max(len(every) - 1, 0), min(MOST_LOSSES, len(every))).round().astype(int)
    return [every[place] for place in places]


def _sent(link: Link, sizes: IntArray, element_bytes: int, seed: int) -> Sent:
    """One frame a sample, sent by UDP."""
    frames = Workload(1.0, len(sizes), frame_bytes=1).all_frames()
    given = replace(frames, size_bytes=sizes, element_bytes=element_bytes)
    rng = np.random.default_rng([seed, len(sizes)])
    return Sent(np.arange(len(sizes)), TRANSPORTS["udp"](link, rng).transfer(given))
