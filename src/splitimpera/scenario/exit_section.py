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
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 40
    joint: bool = False
    distill: Annotated[Fraction, Field(ge=0, le=1)] = 0.5
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 0.01
    batch: Annotated[int, Field(ge=2, le=65_536)] = 64
    patience: Annotated[int, Field(ge=1, le=10_000)] = 10


class ExitsSection(Section):
    """Early exits, where a frame may leave: `at` names the layers behind which, or says that they are chosen.

    `threshold` is the confidence from which on it does: one, one for each class, or chosen under the requirements.
    """

    at: Literal["auto"] | Cuts = "auto"
    train: ExitTrainSection = ExitTrainSection()
    threshold: Threshold = "auto"
