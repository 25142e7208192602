"""A saliency curve by itself: as a table, as JSON, as a figure."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from splitimpera.core import units
from splitimpera.core.array_types import FloatArray
from splitimpera.report.drawing import draw_curve, harmless, layer_labels, png
from splitimpera.report.tables import name_cell, sparkline
from splitimpera.saliency.curve import SaliencyCurve, log10_or_gap


def curve_table(curve: SaliencyCurve, score: str = "cs") -> RenderableType:
    """One row a cut, the candidates with their reasons; then what is wrong, if anything is."""
    reasons = {candidate.cut: candidate.reasons for candidate in curve.candidates}
    values = log10_or_gap(curve.scores[score])
    title = f"Where the network may be split ({curve.samples} samples)"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("cut", justify="right")
    table.add_column("after layer", overflow="fold")
    for name in ("bytes", "MACs before", f"log10 {score}"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("candidate")
    for place, (cut, name) in enumerate(zip(curve.cuts, curve.names, strict=True)):
        why = reasons.get(cut, ())
        table.add_row(
            str(cut),
            name_cell(name),
            units.format_bytes(curve.bytes[place]),
            units.format_count(curve.macs_head[place]),
            f"{values[place]:.2f}",
            ", ".join(why),
            style="bold" if why else "",
        )
    lines: list[RenderableType] = [table]
    if np.isfinite(values).any():
        lines.append(Text.assemble(f"log10 {score}  ", (sparkline(values), "cyan")))
    for names, words in ((curve.dead, "CS is 0 for all samples"), (curve.not_finite, "CS is not finite")):
        if names:
            lines.append(Text(f"Warning: {words} after {', '.join(names[:5])}", "yellow"))
    return Group(*lines)


def curve_json(curve: SaliencyCurve) -> bytes:
    """All numbers; NaN becomes null."""
    values: dict[str, Any] = {
        "cuts": list(curve.cuts),
        "names": list(curve.names),
        "bytes": list(curve.bytes),
        "macs_head": list(curve.macs_head),
        "on_curve": list(curve.on_curve),
        "samples": curve.samples,
        "scores": {name: _plain(numbers) for name, numbers in curve.scores.items()},
        "cs": _plain(curve.cs),
        "maxima": [curve.cuts[place] for place in curve.maxima],
        "ranking": [curve.cuts[place] for place in curve.ranking],
        "candidates": [
            {"cut": candidate.cut, "name": candidate.name, "reasons": list(candidate.reasons)}
            for candidate in curve.candidates
        ],
        "per_class": {curve.class_name(label): _plain(numbers) for label, numbers in curve.per_class.items()},
        "dead": list(curve.dead),
        "not_finite": list(curve.not_finite),
    }
    return (json.dumps(values, indent=1, allow_nan=False) + "\n").encode()


def curves_png(curve: SaliencyCurve, score: str = "cs") -> bytes:
    """The curve with sizes and starred candidates, and below it the classes' curves."""
    figure = Figure(figsize=(10, 8 if curve.per_class else 5), layout="constrained")
    panels = figure.subplots(2 if curve.per_class else 1, 1, sharex=True, squeeze=False)[:, 0]
    starred = [curve.cuts.index(candidate.cut) for candidate in curve.candidates]
    values = log10_or_gap(curve.scores[score])
    draw_curve(panels[0], curve.names, curve.cuts, values, curve.bytes, starred, f"log10 {score}")
    if curve.per_class:
        for label, values in curve.per_class.items():
            panels[1].plot(
                range(len(values)), log10_or_gap(values), ".-", label=harmless(curve.class_name(label)), linewidth=1
            )
        panels[1].set_ylabel("log10 cs of each class")
        panels[1].set_xticks(range(len(curve.names)), layer_labels(curve.names, curve.cuts), rotation=60, ha="right")
        panels[1].legend(fontsize="small", ncols=5, frameon=False)
        panels[1].grid(alpha=0.3)
        panels[0].tick_params(labelbottom=False)
        panels[0].set_xlabel("")
    return png(figure)


def _plain(values: FloatArray) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]
