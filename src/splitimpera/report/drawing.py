"""A Matplotlib figure as a file's content."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def png(figure: Figure) -> bytes:
    """The figure as PNG, 120 dots an inch."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        # letters that the font lacks are drawn as boxes; whoever reads this cannot help it
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure.savefig(file, format="png", dpi=120)
    return file.getvalue()
