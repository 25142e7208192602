"""What each frame's prediction is worth, given which bytes of it are missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import chain

import numpy as np
import numpy.typing as npt

from splitimpera.core.array_types import FloatArray, IntArray
from splitimpera.evaluation.batches import Inputs, Row
from splitimpera.evaluation.damage import DamagedRows, Gap, survives
from splitimpera.evaluation.quality import Quality
from splitimpera.evaluation.testbed import Part, Testbed, around, coding_of
from splitimpera.evaluation.timeline import Sent
from splitimpera.records.plan import Hop, Plan
from splitimpera.records.traffic import Payload


class Values:
    """The tensors of a plan's frames on their way; frames of one content share one row.

    Undamaged frames of one sample share one computation; frames of one sample with the same gap share one, whichever
    replication damaged them. A frame of which nothing came is a wrong prediction, and so is one with a gap that its
    codec cannot bear.

    Attributes:
        samples_of: which sample each frame shows, shape (replications, frames).
        content: which row each frame carries, shape (replications, frames).
        alive: whether what it carries can still be decoded, shape (replications, frames).
    """

    def __init__(self, plan: Plan, testbed: Testbed, part: Part, quality: Quality, shape: tuple[int, int]) -> None:
        self.plan = plan
        self.testbed = testbed
        self.part = part
        self.quality = quality
        self.samples = testbed.samples(part)
        self.targets = self.samples.labels.numpy()
        self.samples_of: IntArray = np.broadcast_to(np.arange(shape[1]) % len(self.samples), shape)
        self.content: IntArray = self.samples_of.copy()
        self.alive: npt.NDArray[np.bool_] = np.ones(shape, dtype=bool)
        self._shown: IntArray = np.arange(len(self.samples))  # which sample each row is of
        self._rows: Iterable[Row] = Inputs(self.samples)
        self._damaged: Iterable[Row] = ()
        self._payloads: Sequence[Payload] = ()
        self._arriving: Hop | None = None

    def payloads(self, hop: Hop) -> Sequence[Payload]:
        """What the device in front of a hop writes, row by row."""
        if self._arriving is None:
            self._payloads = self.testbed.payloads(self.part, *coding_of(hop))
        else:
            self._payloads = self.testbed.run(
                self._arriving.cut,
                hop.cut,
                chain(self._rows, self._damaged),
                self.testbed.codec(*coding_of(hop)).encode,
                **around(self._arriving, hop),
            )
        return self._payloads

    def receive(self, hop: Hop, sent: Sequence[Sent], sizes: IntArray, alive: npt.NDArray[np.bool_]) -> None:
        """What arrives after a hop.

        Args:
            sent: what happened to the payloads, one entry a replication.
            sizes: the payloads' bytes, shape (replications, frames).
            alive: the frames that can still be responded to, shape (replications, frames).
        """
        codec, payloads = self.testbed.codec(*coding_of(hop)), self._payloads
        damaged: dict[Gap, list[tuple[int, int]]] = {}
        for replication, run in enumerate(sent):
            for frame, erased in zip(run.order, run.deliveries.erased, strict=True):
                if not erased:
                    continue
                if not survives(codec, int(sizes[replication, frame]), erased):
                    self.alive[replication, frame] = False
                elif alive[replication, frame] and self.alive[replication, frame]:
                    gap = int(self.content[replication, frame]), erased
                    damaged.setdefault(gap, []).append((replication, frame))
        gaps = sorted(damaged)
        for row, gap in enumerate(gaps, len(payloads)):
            for place in damaged[gap]:
                self.content[place] = row
        self._shown = self._shown[[*range(len(payloads)), *(source for source, _ in gaps)]]
        self._rows, self._damaged = (
            (codec.decode(payload.data) for payload in payloads),
            DamagedRows(codec, payloads, gaps),
        )
        self._arriving = hop

    def counts(self) -> FloatArray:
        """The quality's numbers of each row, as the last device predicts it, shape (rows, k)."""
        if len(self.plan.hops) > 1:
            return self._counted(chain(self._rows, self._damaged), self._shown)
        # what is predicted where nothing was lost is the same on every link
        samples = len(self.samples)
        key = (self.part, self.quality, self._arriving and coding_of(self._arriving))
        intact = self.testbed.kept_predictions(key, lambda: self._counted(self._rows, self._shown[:samples]))
        return np.concatenate([intact, self._counted(self._damaged, self._shown[samples:])])

    def of_samples(self, counts: FloatArray, alive: npt.NDArray[np.bool_]) -> FloatArray:
        """The numbers of each sample, means over the frames that show it, shape (replications, samples, k).

        Args:
            counts: What `counts` returned.
            alive: which frames get their response, shape (replications, frames).
        """
        of_frames = np.where(alive[..., None], counts[self.content], self._lost_counts[self.samples_of])
        shown, samples = self.samples_of[0], len(self.samples)
        sums = [[np.bincount(shown, weights=column, minlength=samples) for column in run.T] for run in of_frames]
        return np.moveaxis(np.array(sums), 1, 2) / np.bincount(shown)[:, None]

    def _counted(self, rows: Iterable[Row], shown: Iterable[int]) -> FloatArray:
        places, arriving, last = iter(shown), self._arriving, self.testbed.last
        counts = self.testbed.run(
            arriving.cut if arriving else 0,
            last,
            rows,
            lambda row: self.quality.count(row[0], self.targets[next(places)]),
            **around(arriving, None),
        )
        return np.array(counts).reshape(len(counts), self._lost_counts.shape[1])

    @cached_property
    def _lost_counts(self) -> FloatArray:
        """The quality's numbers of each sample without a response, shape (samples, k)."""
        return np.array([self.quality.count_lost(target) for target in self.targets])
