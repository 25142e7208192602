"""What the Matplotlib figures share: a curve over the cuts, and a figure as a file's content."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from splitimpera.core.array_types import FloatArray
from splitimpera.core.errors import printable
from splitimpera.report.layer_names import axis_words, short_labels
from splitimpera.report.palette import CURVE_COLOUR, STAR_COLOUR

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def png(figure: Figure) -> bytes:
    """The figure as PNG, 120 dots an inch."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        # letters that the font lacks are drawn as boxes; whoever reads this cannot help it
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure.savefig(file, format="png", dpi=120)
    return file.getvalue()


def draw_curve(
    axes: Axes,
    names: Sequence[str],
    indices: Sequence[int],
    values: Sequence[float] | FloatArray,
    sizes: Sequence[int],
    starred: Sequence[int],
    label: str,
) -> None:
    """A score over the cuts, the bytes that cross there as bars behind it, stars at the candidates."""
    places = range(len(names))
    bars = axes.twinx()
    bars.bar(places, sizes, color="0.85", zorder=0, label="bytes that cross")
    bars.set_yscale("log")
    bars.set_ylabel("bytes")
    axes.set_zorder(bars.get_zorder() + 1)
    axes.patch.set_visible(False)
    axes.plot(places, values, "o-", color=CURVE_COLOUR, label=label)
    axes.plot(starred, [values[place] for place in starred], "*", markersize=16, color=STAR_COLOUR, label="candidate")
    axes.set_xticks(places, layer_labels(names, indices), rotation=60, ha="right", rotation_mode="anchor")
    axes.set_xlabel(harmless(axis_words("cut after layer", names)))
    axes.set_ylabel(label)
    axes.figure.legend(loc="outside upper center", ncols=3, frameon=False)


def layer_labels(names: Sequence[str], indices: Sequence[int]) -> list[str]:
    """The ticks of an axis of layers."""
    return [harmless(label) for label in short_labels(names, indices)]


def harmless(text: str) -> str:
    """Matplotlib reads mathematics between dollars, and leaves out of legends what begins with an underscore."""
    return (" " if text.startswith("_") else "") + printable(text).replace("$", r"\$")
