"""The numbers that predictions are judged by, as requirements name them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from splitimpera.core import units


@dataclass(frozen=True)
class Metric:
    """A number that an evaluation yields.

    Attributes:
        dimension: What limits on it are written in.
        better: which direction.
        format: how to write it.
        title: what people call it; empty where that is its name.
    """

    dimension: units.Dimension
    better: Literal["higher", "lower"]
    format: Callable[[float], str]
    title: str = ""

    def of_whole_network(self, value: float, interval: tuple[float, float], count: int) -> str:
        """What is said of a quality of the network unsplit, with its 95 % interval, on so many test samples.

        >>> QUALITIES["miou"].of_whole_network(0.789, (0.77, 0.81), 200)
        'The mIoU of the whole network is 78.9 % on 200 test samples (77 % to 81 %).'
        """
        low, high = interval
        if self.title == ACCURACY:
            return f"The whole network is right on {value:.2%} of {count} test samples ({low:.1%} to {high:.1%})."
        write = self.format
        said = f"{write(value)} on {count} test samples ({write(low)} to {write(high)})"
        return f"The {self.title} of the whole network is {said}."


ACCURACY = "accuracy"
QUALITIES: dict[str, Metric] = {}
"""What predictions are judged by, by name; a design has one of them, which its task knows."""


def title_of(metric: str) -> str:
    """What people call a metric: a quality by its title, all else by its name.

    >>> title_of("miou"), title_of("latency_p95")
    ('mIoU', 'latency_p95')
    """
    return QUALITIES[metric].title if metric in QUALITIES else metric


def _register(name: str, better: Literal["higher", "lower"] = "higher", title: str = "") -> None:
    """A share from 0 to 1 of which higher is better, or an error of which lower is."""
    write = units.format_fraction if better == "higher" else lambda value: f"{value:.4g}"
    dimension = units.FRACTION if better == "higher" else units.FACTOR
    QUALITIES[name] = Metric(dimension, better, write, title or name)


for _name, _title in {
    "accuracy": ACCURACY,
    "top5_accuracy": "top-5 accuracy",
    "f1": "F1 score",
    "miou": "mIoU",
    "pixel_accuracy": "pixel accuracy",
    "map50": "AP50",
    "map": "AP",
    "agreement": "agreement",
    "score": "score",  # of tasks of one's own
}.items():
    _register(_name, title=_title)
_register("mae", "lower", "mean absolute error")
_register("rmse", "lower", "RMSE")
_register("error", "lower", "error")
_register("bits_per_byte", "lower", "bits per byte")
_register("perplexity", "lower")
