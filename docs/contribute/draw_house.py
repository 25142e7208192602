"""Draws house.svg: the stages of the package, from the import contract. `python docs/contribute/draw_house.py`"""

from __future__ import annotations

import tomllib
from pathlib import Path

HERE = Path(__file__).parent
ROWS = (
    ("what all use", "core tasks records scenario", "#5C5C5C"),
    ("what is split", "models graph language saliency partition codec", "#0072B2"),
    ("what runs", "bundle deploy", "#9A4A00"),
    ("what is simulated", "cost net setting training evaluation", "#00705A"),
    ("what is decided", "qos studies designs", "#8A3F6B"),
    ("what is handed out", "report export verification method", "#0072B2"),
    ("what is typed", "drafting installation cli", "#5C5C5C"),
)
"""Title, stages, colour: white on each has a contrast of at least 4.5, as each has on white."""
WIDTH, STEP, BOX, TITLE, GAP = 760, 56, 36, 150, 8


def order() -> list[str]:
    """The stages from the lowest to the highest, as the import contract has them."""
    project = tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text())
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    return [layer.removeprefix("splitimpera.") for layer in reversed(layers)]


def drawing() -> str:
    """The SVG: one row a kind of stage, the lowest stage above all, left before right."""
    height = STEP * len(ROWS) + GAP
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" font-size="14"'
        ' font-family="system-ui, sans-serif">',
        "<title>The stages of the package</title>",
        f"<desc>From the lowest, which imports nothing of the package, to the highest: {', '.join(order())}.</desc>",
    ]
    for row, (title, names, colour) in enumerate(ROWS):
        top, stages = GAP + row * STEP, names.split()
        wide = (WIDTH - TITLE - GAP * len(stages)) / len(stages)
        lines.append(f'<rect y="{top}" width="{TITLE}" height="{BOX}" rx="4" fill="#F2F2F2"/>')
        lines.append(f'<text x="10" y="{top + 23}" fill="#333333">{title}</text>')
        for place, stage in enumerate(stages):
            left = TITLE + GAP + place * (wide + GAP)
            lines.append(f'<rect x="{left:.1f}" y="{top}" width="{wide:.1f}" height="{BOX}" rx="4" fill="{colour}"/>')
            middle = left + wide / 2
            lines.append(f'<text x="{middle:.1f}" y="{top + 23}" fill="#FFFFFF" text-anchor="middle">{stage}</text>')
    return "\n".join([*lines, "</svg>", ""])


if __name__ == "__main__":
    (HERE / "house.svg").write_text(drawing())
