"""A few test samples, and what is made of them, as images: by the network unsplit, by a plan, and with lost packets."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from splitimpera.codec.framing import carried_bytes
from splitimpera.core.array_types import Array, Row
from splitimpera.core.errors import ScenarioError, shown
from splitimpera.evaluation.batches import stack, unstack
from splitimpera.evaluation.damage import erased_share, survives
from splitimpera.evaluation.testbed import Testbed, route_of
from splitimpera.models.pixels import Pixels
from splitimpera.models.samples import Samples
from splitimpera.records.plan import Hop, Plan
from splitimpera.records.spans import Span, spans_between
from splitimpera.records.traffic import ByteRange, Codec, Payload
from splitimpera.tasks.painting import Drawing, colour_of, name_of

SHOWN = 4
OTHER_LOSS = 0.1
"""How many packets are lost where the link itself loses none."""
LOSING = ("udp", "udp-interleaved")
"""Transports that hand over frames with gaps."""
MOST_BYTES = 200_000
SIDES = (256, 192, 128, 96)
"""How large images are drawn, the longer side in pixels: as large as `MOST_BYTES` allow."""
LEAST_SIDE = 8
"""What is smaller is no image."""
HEAT = np.array([[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]])
"""Colours from the least to the largest number; by S. van der Walt and N. Smith (viridis)."""

INPUT, EXPECTED, NETWORK, PLAN, LOSSY = "input", "expected", "network", "plan", "plan_lossy"


@dataclass(frozen=True, eq=False)
class ShownSample:
    """One sample.

    Attributes:
        place: Its place among the test samples.
        missing: Share of what was sent that is missing in the view `plan_lossy`; 0 where there is none.
        images: PNG or JPEG by view: `input`, `expected`, `network`, `plan`, `plan_lossy`, as far as there are any.
    """

    place: int
    missing: float
    images: dict[str, bytes]


@dataclass(frozen=True, eq=False)
class Shown:
    """Some test samples.

    Attributes:
        loss: Share of packets lost in the view `plan_lossy`, beside the one that is lost in any case; None where there
            is no such view.
        note: what is left out, in words.
        classes: name and colour of each class that is seen.
    """

    plan: str | None
    loss: float | None
    note: str
    classes: tuple[tuple[str, str], ...]
    samples: tuple[ShownSample, ...]


@dataclass(frozen=True, eq=False)
class _Seen:
    """A sample, its image, and what is made of it: rows by view."""

    place: int
    image: Array
    missing: float
    rows: dict[str, Row]


def shown_samples(
    testbed: Testbed, plan: Plan | None, rng: np.random.Generator, say: Callable[[str], object] = str
) -> Shown | None:
    """Test samples from all over, drawn by the task; None where inputs are no images, or there is nothing to draw.

    Args:
        plan: whose responses are shown beside those of the network unsplit.
        rng: says which packets are lost.
        say: takes a line of news where a task of another's cannot draw: a design is worth more than its images.

    Raises:
        ModelError: the network cannot be run.
    """
    pen, names = _Pen(testbed), testbed.data.classes
    try:
        seen = list(_seen(testbed, plan, rng, pen))
        if not seen:
            return None
        files = bounded(lambda side: [pen.views(one, side) for one in seen])
        drawings = [drawing for one in seen for drawing in pen.views(one, SIDES[0]).values()]
    except ScenarioError as error:
        say(f"No samples are shown: {error.problem}.")
        return None
    lossy = [_loss(hop) for hop in plan.hops if hop.transport in LOSING] if plan else []
    labels = sorted({label for drawing in drawings for label in drawing.classes})
    return Shown(
        plan=plan.id if plan and plan.hops else None,
        loss=max(lossy) if any(LOSSY in one.rows for one in seen) else None,
        note=next((drawing.note for drawing in drawings if drawing.note), ""),
        classes=tuple((name_of(label, names), colour_of(label)) for label in labels),
        samples=tuple(ShownSample(one.place, one.missing, images) for one, images in zip(seen, files, strict=True)),
    )


class _Pen:
    """Draws as the task says.

    Raises:
        ScenarioError: the task, which may be another's, cannot.
    """

    def __init__(self, testbed: Testbed) -> None:
        self.draw = getattr(testbed.task, "draw", None)
        self.names = testbed.data.classes

    def drawn(self, image: Array, row: Row, expected: bool) -> Drawing | None:
        if self.draw is None:
            return None
        try:
            made = self.draw(image, row, self.names, expected)
        except Exception as failure:
            raise ScenarioError(f"the task's draw fails: {type(failure).__name__}: {shown(failure)}") from failure
        if made is None:
            return None
        if not isinstance(made, Drawing) or made.image.dtype != np.uint8 or made.image.shape[2:] != (3,):
            raise ScenarioError("the task's draw returns no Drawing with an image uint8 (H, W, 3)")
        return made

    def views(self, one: _Seen, side: int) -> dict[str, Drawing]:
        """The input and all that is drawn of a sample."""
        image = resized(one.image, side)
        made = {view: self.drawn(image, row, view == EXPECTED) for view, row in one.rows.items()}
        return {INPUT: Drawing(image, ())} | {view: drawing for view, drawing in made.items() if drawing is not None}


def _seen(testbed: Testbed, plan: Plan | None, rng: np.random.Generator, pen: _Pen) -> Iterator[_Seen]:
    """Samples whose inputs are images, with what the network and the plan make of them; none where none is drawn."""
    task, test, last = testbed.task, testbed.data.test, testbed.last
    for place in np.unique(np.linspace(0, len(test) - 1, min(len(test), SHOWN)).round().astype(int)).tolist():
        x = test.read(torch.tensor([place]))
        image = _first_image(test, x, testbed.data.pixels)
        if image is None:
            return
        inputs = testbed.inputs(x)
        rows: dict[str, Row] = {}
        if task.targets != "none":
            rows[EXPECTED] = test.targets.rows([place])[0]
        result = testbed.call(Span(0, last), inputs)
        rows[NETWORK] = task.answer(next(unstack(result, testbed.specs(last, 0.0))))
        if pen.drawn(resized(image, SIDES[-1]), rows[NETWORK], False) is None:
            return
        missing = 0.0
        if plan is not None and plan.hops:  # on one device it is the network unsplit
            rows[PLAN] = task.answer(_result(testbed, plan, inputs, _Lossless()))
            losing = _Losing(rng)
            row = _result(testbed, plan, inputs, losing)
            missing = erased_share(losing.gaps, losing.sizes)
            if missing:
                rows[LOSSY] = task.answer(row)
        yield _Seen(place, image, missing, rows)


def _first_image(samples: Samples, x: Tensor, pixels: Pixels | None) -> Array | None:
    """The first input of one sample that is an image; None where none is."""
    known = [pixels] if samples.layout is None else [field.pixels for field in samples.layout.fields]
    images = (image_of(one[0], made) for one, made in zip(samples.tensors(x), known, strict=True))
    return next((image for image in images if image is not None), None)


def _result(testbed: Testbed, plan: Plan, inputs: tuple[Tensor, ...], link: _Lossless) -> Row:
    """What the network returns for one sample at the end of a plan's route."""
    crossing, route = inputs, route_of(plan.hops)
    *spans, last = spans_between([(hop.cut, hop.bottleneck) for hop in plan.hops], testbed.last)
    for hop, coding, span in zip(plan.hops, route, spans, strict=True):
        specs, codec = testbed.specs(hop.cut, hop.bottleneck), testbed.codec(*coding)
        made = testbed.call(span, crossing)
        payload = codec.encode(next(unstack(made, specs)))
        erased = link.erased(hop, codec, payload, coding.packet_bytes)
        crossing = stack([codec.decode(payload.data, erased)], specs)
    result = testbed.call(last, crossing)
    return next(unstack(result, testbed.specs(testbed.last, 0.0)))


class _Lossless:
    """Links that lose nothing."""

    def erased(self, hop: Hop, codec: Codec, payload: Payload, packet_bytes: int) -> tuple[ByteRange, ...]:
        """Which bytes of a payload are lost."""
        return ()


class _Losing(_Lossless):
    """Links that lose one packet of each frame, and each other with the link's probability; all but one at most.

    Nothing is lost where a transport repairs it, or where the frame would get no response then.

    Attributes:
        gaps, sizes: what was lost at each hop, of how many bytes.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.gaps: list[tuple[ByteRange, ...]] = []
        self.sizes: list[int] = []

    def erased(self, hop: Hop, codec: Codec, payload: Payload, packet_bytes: int) -> tuple[ByteRange, ...]:
        size = len(payload.data)
        carried = carried_bytes(packet_bytes, payload.element_bytes)
        gaps: tuple[ByteRange, ...] = ()
        if hop.transport in LOSING and 0 < carried < size:
            lost = self.rng.random(-(-size // carried)) < _loss(hop)
            one, other = self.rng.permutation(len(lost))[:2]
            lost[one], lost[other] = True, False
            gaps = _ranges(np.flatnonzero(lost).tolist(), carried, size)
        if not survives(codec, size, gaps):
            gaps = ()
        self.gaps.append(gaps)
        self.sizes.append(size)
        return gaps


def _ranges(packets: list[int], carried: int, size: int) -> tuple[ByteRange, ...]:
    """The bytes that some packets carry, neighbours joined."""
    found: list[ByteRange] = []
    for packet in packets:
        start, end = packet * carried, min((packet + 1) * carried, size)
        if found and found[-1][1] == start:
            start = found.pop()[0]
        found.append((start, end))
    return tuple(found)


def _loss(hop: Hop) -> float:
    return hop.link.loss or OTHER_LOSS


def image_of(x: Tensor, pixels: Pixels | None) -> Array | None:
    """One input as an image uint8 (H, W, 3).

    Three channels are colours and one is grey, as `pixels` says or stretched from the least to the largest number; a
    matrix, or the mean of other channels, becomes a heat map. None where it is no image.
    """
    if x.ndim not in (2, 3) or min(x.shape[-2:]) < LEAST_SIDE or x.is_complex():
        return None
    if x.ndim == 3 and pixels is not None and len(pixels.mean) == x.shape[0] in (1, 3):
        return _colours(pixels.images(x[None])[0])
    numbers = x.to(torch.float64).numpy()
    numbers = np.nan_to_num(numbers if x.ndim == 2 or len(x) in (1, 3) else numbers.mean(0))
    span = float(np.ptp(numbers)) or 1.0
    shares = (numbers - numbers.min()) / span
    if shares.ndim == 3:
        return _colours((255 * shares).round().astype(np.uint8).transpose(1, 2, 0))
    places = np.linspace(0, 1, len(HEAT))
    return np.stack([np.interp(shares, places, channel) for channel in HEAT.T], axis=-1).round().astype(np.uint8)


def _colours(image: Array) -> Array:
    return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))


def resized(image: Array, side: int) -> Array:
    """An image with its longer side about so long: enlarged by whole factors, pixel by pixel, or made smaller."""
    height, width = image.shape[:2]
    factor = side // max(height, width)
    if factor:
        return image.repeat(factor, axis=0).repeat(factor, axis=1)
    sizes = [max(1, round(size * side / max(height, width))) for size in (width, height)]
    return np.asarray(Image.fromarray(image).resize((sizes[0], sizes[1]), Image.Resampling.BOX))


def bounded(views: Callable[[int], list[dict[str, Drawing]]]) -> list[dict[str, bytes]]:
    """Drawings as files of `MOST_BYTES` together: as large as possible, in PNG where that suffices, else JPEG.

    Args:
        views: makes the drawings with sides of so many pixels.
    """
    files: list[dict[str, bytes]] = []
    for side in SIDES:
        drawn = views(side)
        for kind in ("PNG", "JPEG"):
            files = [{view: _file(drawing.image, kind) for view, drawing in own.items()} for own in drawn]
            if sum(len(file) for own in files for file in own.values()) <= MOST_BYTES:
                return files
    return files


def _file(image: Array, kind: str) -> bytes:
    file = io.BytesIO()
    options = {"optimize": True} if kind == "PNG" else {"quality": 80}
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()
