"""Semantic segmentation: a logit a class and pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from splitimpera.core.array_types import Array, FloatArray, Row
from splitimpera.core.errors import ModelError
from splitimpera.tasks.painting import Drawing, draw_mask
from splitimpera.tasks.quality import Sums
from splitimpera.tasks.sameness import ComparedAnswers, Comparison
from splitimpera.tasks.task import Chosen, Output, Plain, Response, TargetKind, only, real

if TYPE_CHECKING:
    from torch import Tensor

IGNORE = 255


@dataclass(frozen=True)
class Overlap(Sums):
    """Mean intersection over union of the classes ("miou"), or the share of right pixels ("pixel_accuracy").

    Pixels are counted over all samples together, as PASCAL VOC and Cityscapes do. Classes that occur neither in targets
    nor in predictions are left out of the mean. A frame without a response has no class anywhere. Pixels whose target
    is `ignore` do not count.
    """

    name: str = "miou"
    classes: int = 2
    ignore: int = IGNORE

    def count(self, answer: Row, target: Row) -> FloatArray:
        (given,), (wanted,) = answer, target
        seen = wanted != self.ignore
        return self._count(given[seen], wanted[seen])

    def count_lost(self, target: Row) -> FloatArray:
        wanted = target[0][target[0] != self.ignore]
        return self._count(np.full_like(wanted, self.classes, dtype=np.int64), wanted)

    def _count(self, given: Array, wanted: Array) -> FloatArray:
        one_more = self.classes + 1
        both = np.bincount(wanted[given == wanted], minlength=one_more)[: self.classes]
        of_given, of_wanted = (np.bincount(some, minlength=one_more)[: self.classes] for some in (given, wanted))
        return np.concatenate([both, of_given + of_wanted - both, of_wanted]).astype(np.float64)

    def value(self, total: Any) -> Any:
        both, either, wanted = np.split(np.asarray(total), 3, axis=-1)
        if self.name == "pixel_accuracy":
            return both.sum(-1) / wanted.sum(-1)
        known = either > 0
        return (both / np.where(known, either, 1)).sum(-1) / np.maximum(known.sum(-1), 1)


@dataclass(frozen=True)
class Segmentation(Plain):
    """Which class each pixel belongs to; targets are class indices (H, W).

    Logits of a part of the targets' size, such as a quarter, are enlarged to it first, bilinearly.

    Attributes:
        output: Key or position of the logits (classes, H, W), where the network returns several tensors.
        ignore: The label of pixels that do not count.
        background: The class of what is no object, which saliency leaves out; None: there is none.
    """

    output: str | int | None = None
    ignore: int = IGNORE
    background: int | None = 0
    place: int = 0
    shape: tuple[int, ...] = (2, 1, 1)
    size: tuple[int, ...] = (1, 1)
    quality: Overlap = Overlap()

    name = "segmentation"
    targets: TargetKind = "mask"
    metrics = ("miou", "pixel_accuracy")
    keys = ("output", "ignore", "background")

    def fitted(
        self,
        outputs: Sequence[Output],
        metric: str = "miou",
        inputs: Sequence[Output] = (),
        example: Row | None = None,
    ) -> Segmentation:
        place = only(outputs, self.output, (3,), "one logit a class and pixel (classes, H, W)")
        real(outputs[place])
        shape = outputs[place].shape
        if shape[0] < 2:
            raise ModelError(
                f"the network's result has shape {shape} a sample, logits of two classes or more are expected",
                where="task",
                hint="let it return a second map of zeros for the background, so that a sigmoid becomes a softmax",
            )
        size = shape[1:] if example is None else _enlarged(shape[1:], example[0].shape)
        return replace(self, place=place, shape=shape, size=size, quality=Overlap(metric, shape[0], self.ignore))

    def check(self, target: Row) -> str:
        (mask,) = target
        if mask.shape != self.size:
            return f"a mask of shape {mask.shape}, the network's is {self.size}"
        seen = mask[mask != self.ignore]
        if not seen.size:
            return f"a mask in which no pixel counts (all are {self.ignore}, 'ignore')"
        if int(seen.max()) >= self.shape[0]:
            return f"a mask with class {int(seen.max())}, the network tells {self.shape[0]} classes apart"
        return ""

    def answer(self, row: Row) -> Row:
        """The class of each pixel, uint8 (H, W), int32 where there are more than 256 classes."""
        logits = row[self.place]
        if self.size != self.shape[1:]:
            height, width = self.size
            planes = [Image.fromarray(plane.astype(np.float32)) for plane in logits]
            logits = np.stack(
                [np.asarray(plane.resize((width, height), Image.Resampling.BILINEAR)) for plane in planes]
            )
        return (logits.argmax(0).astype(np.uint8 if self.shape[0] <= 256 else np.int32),)

    def expected(self, answer: Row) -> Row:
        return answer

    @property
    def target_shape(self) -> tuple[int, ...]:
        return self.size

    def response(self) -> Response:
        return Response((("mask", self.size, "uint8" if self.shape[0] <= 256 else "int32"),))

    def problem(self, answer: Row) -> str:
        largest = int(answer[0].max(initial=0))
        if largest >= self.shape[0] or int(answer[0].min(initial=0)) < 0:
            return f"a mask with class {largest}, there are {self.shape[0]}"
        return ""

    def sameness(self) -> Comparison:
        return ComparedAnswers("equal pixels", self.answer, Overlap("pixel_accuracy", self.shape[0], ignore=-1))

    def scalar(self, outputs: Sequence[Tensor], targets: Sequence[Row] | None, chosen: Chosen) -> Tensor:
        """The sum, over the objects' pixels, of the logits of the class that is predicted there, or labelled.

        Source: K. Vinogradova et al., "Towards interpretable semantic segmentation via gradient-weighted class
        activation mapping" (Seg-Grad-CAM), AAAI 2020.
        """
        logits = outputs[self.place]
        if chosen == "predicted":
            chosen_class = logits.argmax(1)
            counted = chosen_class != (-1 if self.background is None else self.background)
        else:
            logits = self._large(logits)
            chosen_class = self._masks(logits, targets)
            counted = chosen_class != self.ignore
            if self.background is not None:
                counted &= chosen_class != self.background
            chosen_class = chosen_class.where(counted, 0)
        none = ~counted.flatten(1).any(1)
        counted = counted | none[:, None, None]  # no object anywhere: then what is seen is the background
        return (logits.gather(1, chosen_class[:, None])[:, 0] * counted).flatten(1).sum(1)

    def loss(
        self, outputs: Sequence[Tensor], wanted: Sequence[Tensor], targets: Sequence[Row] | None, distill: float
    ) -> Tensor:
        """Cross-entropy, and the Kullback-Leibler divergence of the unsplit network's probabilities, means over the
        pixels."""
        from torch.nn.functional import cross_entropy, kl_div

        given, before = (some[self.place].log_softmax(1) for some in (outputs, wanted))
        pixels = given.shape[2] * given.shape[3]
        distance = kl_div(given, before, reduction="batchmean", log_target=True) / pixels
        if targets is None:
            return distance
        logits = self._large(outputs[self.place])
        on_targets = cross_entropy(logits, self._masks(logits, targets), ignore_index=self.ignore)
        return (1 - distill) * on_targets + distill * distance

    def group(self, target: Row) -> int:
        """The class with most pixels but for the background."""
        seen = target[0][
            (target[0] != self.ignore) & (target[0] != (-1 if self.background is None else self.background))
        ]
        return int(np.bincount(seen.astype(np.int64)).argmax()) if seen.size else -1

    def draw(self, image: Array, row: Row, names: Sequence[str] = (), expected: bool = False) -> Drawing:
        """The mask, but for the background."""
        return draw_mask(image, row[0], self.background, self.ignore)

    def _large(self, logits: Tensor) -> Tensor:
        from torch.nn.functional import interpolate

        if self.size == self.shape[1:]:
            return logits
        return interpolate(logits, self.size, mode="bilinear", align_corners=False)

    def _masks(self, logits: Tensor, targets: Sequence[Row] | None) -> Tensor:
        import torch

        return torch.from_numpy(np.stack([mask.astype(np.int64) for (mask,) in targets or ()])).to(logits.device)


def _enlarged(own: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[int, ...]:
    """The wanted size where it is a multiple of one's own, else one's own, which `check` finds wanting."""
    fits = len(wanted) == 2 and all(size % side == 0 for side, size in zip(own, wanted, strict=True))
    return wanted if fits and wanted[0] * own[1] == wanted[1] * own[0] else own
