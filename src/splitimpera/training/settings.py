"""What may be chosen about the training of a split."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, TypedDict, get_args

from torch import Tensor

from splitimpera.core.errors import ScenarioError

Schedule = Literal["one_cycle", "constant"]
WARM_UP = 10
"""Steps in which a constant learning rate is reached."""


class TrainingArguments(TypedDict, total=False):
    """The fields of `Training`, as keyword arguments."""

    ratio: float | None
    epochs: tuple[int, int]
    learning_rates: tuple[float, float]
    schedule: Schedule
    batch: int
    held_out: float
    patience: int
    distill: float
    finetune_head: bool
    bits: int | None
    packet_loss: float
    packet_elements: int | None
    order: Tensor | None
    seed: int


@dataclass(frozen=True, eq=False)
class Training:
    """How a split is trained.

    Attributes:
        ratio: Elements of the tensors that cross / elements of the latents; None: the papers' layers.
        epochs: Most epochs of stage 1 (the bottleneck alone) and of stage 2 (end to end).
        learning_rates: Highest learning rate of each stage (Adam).
        schedule: How the learning rate goes: "one_cycle" over all epochs of a stage, or "constant" after `WARM_UP`
            steps. With "constant" a training does at first what a longer one does, so that it can go on.
        batch: Number of samples in a batch, 2 or more.
        held_out: Share of the samples that is not trained on; early stopping looks at these.
        patience: Number of epochs in a row without a lower loss on held-out samples after which a stage ends.
        distill: Weight of KL(unsplit || split) in stage 2; the labels' cross-entropy has the rest, 1 - distill.
        finetune_head: True: stage 2 trains a copy of the head, too.
        bits: Number of bits to which latents are rounded while training; None: they are not rounded.
        packet_loss: Highest rate at which packets are lost while training; each batch draws one from 0 to this.
        packet_elements: Number of elements of the latents in one packet; needed where `packet_loss` is above 0.
        order: Order in which a codec sends the latents' elements, as `packet_loss.packets_of` takes it.
        seed: Seed of the first weights, the held-out part, the order of the samples and the losses.

    Raises:
        ScenarioError: a value is out of range.
    """

    ratio: float | None = None
    epochs: tuple[int, int] = (20, 60)
    learning_rates: tuple[float, float] = (0.01, 0.002)
    schedule: Schedule = "one_cycle"
    batch: int = 32
    held_out: float = 0.15
    patience: int = 12
    distill: float = 0.5
    finetune_head: bool = False
    bits: int | None = None
    packet_loss: float = 0.0
    packet_elements: int | None = None
    order: Tensor | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        _require(len(self.epochs) == 2 and min(self.epochs) >= 0, "epochs", self.epochs, "two numbers, 0 or more")
        rates = self.learning_rates
        fine = len(rates) == 2 and all(math.isfinite(rate) and rate > 0 for rate in rates)
        _require(fine, "learning_rates", rates, "two numbers above 0")
        _require(self.schedule in get_args(Schedule), "schedule", self.schedule, "one_cycle or constant")
        _require(self.batch >= 2, "batch", self.batch, "2 or more")
        _require(0 < self.held_out < 1, "held_out", self.held_out, "above 0 and below 1")
        _require(self.patience >= 1, "patience", self.patience, "1 or more")
        _require(0 <= self.distill <= 1, "distill", self.distill, "0 to 1")
        _require(self.bits is None or 1 <= self.bits <= 16, "bits", self.bits, "1 to 16")
        _require(0 <= self.packet_loss < 1, "packet_loss", self.packet_loss, "at least 0 and below 1")
        _require(
            self.packet_elements is None or self.packet_elements >= 1, "packet_elements", self.packet_elements, "1"
        )
        if self.packet_loss and self.packet_elements is None:
            raise ScenarioError(
                "packet_loss needs the number of elements in a packet",
                where="packet_elements",
                hint="give it, or no packet_loss",
            )

    def numbers(self) -> dict[str, object]:
        """All but `order`, as JSON can write it."""
        return {name: value for name, value in vars(self).items() if name != "order"}

    @property
    def begun(self) -> Training:
        """The shortest training that this one goes on from: what a checkpoint is known by."""
        return replace(self, epochs=(self.epochs[0], 0)) if self.schedule == "constant" else self

    def rate(self, stage: int, step: int, steps: int) -> float:
        """The learning rate of a step, counted from 0, of a stage, 1 or 2, that has so many `steps`."""
        share = one_cycle(step, steps) if self.schedule == "one_cycle" else constant(step)
        return self.learning_rates[stage - 1] * share


def constant(step: int) -> float:
    """The learning rate of a step as a share of the highest: up along a line in `WARM_UP` steps, then the highest.

    >>> [constant(step) for step in (0, 4, 9, 1000)]
    [0.1, 0.5, 1.0, 1.0]
    """
    return min(1.0, (step + 1) / WARM_UP)


def one_cycle(step: int, steps: int) -> float:
    """The learning rate of a step as a share of the highest: up from 1/25 within the first three tenths, then down to
    nearly nothing, along cosines (Smith and Topin, 2018). A function of the step, so that nothing need be stored."""
    top = max(1.0, 0.3 * steps - 1)
    if step <= top:
        return 1 / 25 + (1 - 1 / 25) * (1 - math.cos(math.pi * step / top)) / 2
    down = (step - top) / max(1.0, steps - 1 - top)
    return 1e-5 + (1 - 1e-5) * (1 + math.cos(math.pi * min(1.0, down))) / 2


def _require(holds: bool, where: str, given: object, expected: str) -> None:
    if not holds:
        raise ScenarioError(f"{given} is out of range, it must be {expected}", where=where)
