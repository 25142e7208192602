"""The least that a design has to compute: `python benchmarks/scale_floor.py SCENARIO RESULTS` prints it as JSON.

Each image goes once through the network, decoded from its file; of the validation images, what crosses each cut is
coded, decoded and run to the end where the decoded tensors differ from those of another codec at that cut; and for each
UDP plan those frames of one showing of the validation images that the link damages are run to the end, batched. RESULTS
is the `results.json` of a design of this scenario; only its plans are taken from it. CPU seconds; importing, tracing
and calibrating are not counted.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scale_pictures import MEAN, STD, as_inputs
from torch import Tensor

from splitimpera.codec.codecs import Calibration, make_codec
from splitimpera.codec.elements import image_scale
from splitimpera.graph.tracing import ModelGraph, trace
from splitimpera.models.networks import load_network
from splitimpera.net.transports import TRANSPORTS
from splitimpera.partition.cutter import segment
from splitimpera.records.link import Link
from splitimpera.records.traffic import Codec, Deliveries, Frames, Payload
from splitimpera.setting import resolve

CHUNK = 32
CALIBRATION = 16
Row = tuple[np.ndarray, ...]
Hop = tuple[int, str, str]
"""Cut, codec, transport."""


class Floor:
    """What one network, one link and the hops of some plans need.

    Attributes:
        spent_s: CPU seconds by what they were spent on.
    """

    def __init__(self, graph: ModelGraph, link: Link, hops: Sequence[Hop], examples: Tensor) -> None:
        self.graph = graph
        self.link = link
        self.rng = np.random.default_rng(0)
        self.spent_s: dict[str, float] = defaultdict(float)
        self.right = self.images = self.damaged = 0
        last = len(graph.cuts) - 1
        cuts = sorted({cut for cut, _, _ in hops} - {0})
        self.cuts = [0, *cuts, last]
        self.segments = [segment(graph, graph.cuts[a], graph.cuts[b]) for a, b in pairwise(self.cuts)]
        self.tails = {cut: segment(graph, graph.cuts[cut], graph.cuts[last]) for cut in self.cuts[:-1]}
        crossing = self.through(examples)
        self.codecs = {(cut, name): self._codec(cut, name, crossing[cut]) for cut, name, _ in hops}
        self.distinct = [key for key in self.codecs if self._differs(key, crossing)]
        self.lossy = [hop for hop in hops if hop[2].startswith("udp") and self.codecs[hop[:2]].tolerates_loss]
        for hop in self.lossy:  # compiles
            self._erased(hop, [self.codecs[hop[:2]].encode([tensor[0].numpy() for tensor in crossing[hop[0]]])])

    def _codec(self, cut: int, name: str, crossing: tuple[Tensor, ...]) -> Codec:
        specs = self.graph.cuts[cut].tensors
        calibration = Calibration(specs, tuple(tensor.numpy() for tensor in crossing))
        if cut == 0:
            calibration = replace(calibration, images=image_scale((MEAN,) * 3, (STD,) * 3))
        return make_codec(name, calibration)

    def _differs(self, key: tuple[int, str], crossing: dict[int, tuple[Tensor, ...]]) -> bool:
        """Whether no codec before gives the same tensors at that cut; the network itself is one without loss."""
        sent: Row = tuple(tensor[0].numpy() for tensor in crossing[key[0]])
        before = [other for other in self.codecs if other[0] == key[0]]
        earlier = before[: before.index(key)]
        known = [sent, *(_decoded(self.codecs[other], sent) for other in earlier)]
        decoded = _decoded(self.codecs[key], sent)
        return not any(all(map(_same, decoded, row)) for row in known)

    @contextmanager
    def spending(self, what: str) -> Iterator[None]:
        begun_s = time.process_time()
        yield
        self.spent_s[what] += time.process_time() - begun_s

    def through(self, x: Tensor) -> dict[int, tuple[Tensor, ...]]:
        """What crosses each cut."""
        crossing = {0: (x,)}
        for (before, cut), program in zip(pairwise(self.cuts), self.segments, strict=True):
            crossing[cut] = program(*crossing[before])
        return crossing

    def chunk(self, paths: Sequence[Path], labels: Sequence[int], validates: bool) -> None:
        with self.spending("reading"):
            x = torch.from_numpy(as_inputs([np.asarray(Image.open(path)) for path in paths]))
        with self.spending("passes"):
            crossing = self.through(x)
        self.images += len(paths)
        self.right += int((crossing[self.cuts[-1]][0].argmax(1) == torch.tensor(labels)).sum())
        if not validates:
            return
        coded: dict[tuple[int, str], list[Payload]] = {}
        for key in {**dict.fromkeys(self.distinct), **{hop[:2]: None for hop in self.lossy}}:
            with self.spending("coding"):
                frames = zip(*(tensor.numpy() for tensor in crossing[key[0]]), strict=True)
                coded[key] = [self.codecs[key].encode(frame) for frame in frames]
        for key in self.distinct:
            self._tail(key, [(payload, ()) for payload in coded[key]], "tails")
        for hop in self.lossy:
            erased = self._erased(hop, coded[hop[:2]])
            gaps = [(payload, lost) for payload, lost in zip(coded[hop[:2]], erased, strict=True) if lost]
            self.damaged += len(gaps)
            self._tail(hop[:2], gaps, "damaged")

    def _tail(self, key: tuple[int, str], frames: list[tuple[Payload, tuple]], what: str) -> None:
        if not frames:
            return
        with self.spending("coding"):
            rows = [self.codecs[key].decode(payload.data, lost) for payload, lost in frames]
            batch = [torch.from_numpy(np.stack(tensors)) for tensors in zip(*rows, strict=True)]
        with self.spending(what):
            self.tails[key[0]](*batch)

    def _erased(self, hop: Hop, payloads: list[Payload]) -> tuple[tuple, ...]:
        """The bytes of each payload that the link loses."""
        ready_s = np.arange(len(payloads), dtype=float)
        sizes = np.array([len(payload.data) for payload in payloads])
        frames = Frames(ready_s, sizes, ready_s + 1, payloads[0].element_bytes)
        found: Deliveries = TRANSPORTS[hop[2]](self.link, self.rng).transfer(frames)
        return found.erased


def _decoded(codec: Codec, row: Row) -> Row:
    return codec.decode(codec.encode(row).data)


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    """But for the rounding of float32."""
    return bool(np.allclose(one, other, rtol=1e-5, atol=1e-6 * float(np.abs(other).max())))


def main(scenario: Path, results: Path) -> None:
    torch.set_num_threads(1)
    setting = resolve(scenario)
    section = setting.scenario.data
    folder = setting.scenario.folder / section.source
    labels = {place.name: label for label, place in enumerate(sorted(folder.iterdir()))}
    paths = sorted(folder.glob("*/*.jpg"))
    np.random.default_rng(0).shuffle(paths)
    validating = round(section.validation * len(paths))
    plans = json.loads(results.read_text())["plans"]
    hops = [(hop["cut"], hop["codec"], hop["transport"]) for plan in plans for hop in plan["hops"]]
    examples = torch.from_numpy(as_inputs([np.asarray(Image.open(path)) for path in paths[:CALIBRATION]]))
    graph = trace(load_network(setting.scenario.network, setting.scenario.folder), examples)
    with torch.inference_mode():
        floor = Floor(graph, setting.link, hops, examples)
        for part, validates in ((paths[:validating], True), (paths[validating:], False)):
            for first in range(0, len(part), CHUNK):
                some = part[first : first + CHUNK]
                floor.chunk(some, [labels[path.parent.name] for path in some], validates)
    print(
        json.dumps(
            {
                "spent_s": floor.spent_s,
                "floor_s": sum(floor.spent_s.values()),
                "pass_ms": 1e3 * floor.spent_s["passes"] / floor.images,
                "accuracy": floor.right / floor.images,
                "plans": len(plans),
                "tails": len(floor.distinct),
                "lossy_plans": len(floor.lossy),
                "damaged_frames": floor.damaged,
            }
        )
    )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
