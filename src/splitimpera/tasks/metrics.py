"""The numbers that predictions are judged by, as requirements name them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from splitimpera.core import units


@dataclass(frozen=True)
class Metric:
    """A number that an evaluation yields: its dimension, which direction is better, how to write it."""

    dimension: units.Dimension
    better: Literal["higher", "lower"]
    format: Callable[[float], str]


SHARE = Metric(units.FRACTION, "higher", units.format_fraction)
ERROR = Metric(units.FACTOR, "lower", lambda value: f"{value:.4g}")

QUALITIES: dict[str, Metric] = {}
"""What predictions are judged by, by name; a design has one of them, which its task knows."""


def register_quality(name: str, metric: Metric) -> None:
    """Let requirements name a quality, and the same in time as `on_time_NAME`.

    >>> register_quality("accuracy", SHARE)
    >>> QUALITIES["accuracy"].better
    'higher'
    """
    QUALITIES[name] = metric


for _name in ("accuracy", "top5_accuracy", "miou", "pixel_accuracy", "f1", "map50", "map", "agreement"):
    register_quality(_name, SHARE)
for _name in ("mae", "rmse"):
    register_quality(_name, ERROR)
