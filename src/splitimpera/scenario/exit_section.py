"""The scenario's section on early exits: where they are, how their heads are trained, when a frame leaves."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from splitimpera.scenario.base_section import Section
from splitimpera.scenario.quantities import MOST_ENTRIES, Cuts, Fraction

Confidence = Annotated[Fraction, Field(ge=0, le=1)]


def _class_number(value: object) -> object:
    """Keys of a file are text."""
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 7 else value


def _kind(value: object) -> str:
    if isinstance(value, dict):
        return "classes"
    return "choice" if isinstance(value, str) and value[:1].isalpha() else "confidence"


OfClasses = Annotated[
    dict[Annotated[int, BeforeValidator(_class_number), Field(ge=0)], Confidence],
    Field(min_length=1, max_length=MOST_ENTRIES),
]
Threshold = Annotated[
    Annotated[Literal["auto", "per class"], Tag("choice")]
    | Annotated[Confidence, Tag("confidence")]
    | Annotated[OfClasses, Tag("classes")],
    Discriminator(_kind),
]


class ExitTrainSection(Section):
    """How the heads are trained; `training.exit_settings` says what each key does."""

    head: Literal["linear", "conv"] = "linear"
    """`linear`: means over space and one linear layer; `conv`: a convolution of 3 x 3 in front of that."""
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 40
    """Most epochs of each head, and once more of all with `joint`."""
    joint: bool = False
    """Train the network on, with its exits; all plans are then made of that network."""
    distill: Annotated[Fraction, Field(ge=0, le=1)] = 0.5
    """Weight of the distance to the network's own answers; the labels' cross-entropy has the rest."""
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 0.01
    """Highest learning rate of the heads (AdamW, one cycle)."""
    batch: Annotated[int, Field(ge=2, le=65_536)] = 64
    """Number of samples in a batch."""
    patience: Annotated[int, Field(ge=1, le=10_000)] = 10
    """Number of epochs in a row without a lower loss on held-out samples after which a training ends."""


class ExitsSection(Section):
    """Early exits, where a frame may leave: `at` names the layers behind which, or says that they are chosen.

    `threshold` is the confidence from which on it does: one, one for each class, or chosen under the requirements.
    """

    at: Literal["auto"] | Cuts = "auto"
    """Where exits are: `auto` (near 1/4, 2/4 and 3/4 of the multiply-accumulates), or a list of layer names or indices.
    """
    train: ExitTrainSection = ExitTrainSection()
    """How the heads are trained."""
    threshold: Threshold = "auto"
    """The confidence from which on a frame leaves: `auto` (one for each exit, chosen under the requirements), `per
    class` (one for each exit and class), a number, or one for each class: `{3: 0.9, 5: 80 %}`, where others never
    leave."""
