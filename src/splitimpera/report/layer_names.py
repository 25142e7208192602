"""Names where room is short: without the prefix that all share, wrapped where their parts join; never cut off."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

LINE_CHARACTERS = 24
FEW = 30
"""So many labels have room for several lines on an axis."""

MOST_CHARACTERS = 120
AXIS_CHARACTERS = 44
"""Of a name that is longer than this the end is kept, which tells layers apart; on an axis there is less room."""


def common_prefix(names: Sequence[str]) -> str:
    """The path that all names but the input's begin with: "features." of "features.0" and "features.13".

    >>> common_prefix(["input", "features.0", "features.13"])
    'features.'
    """
    paths = [name.split(".") for name in names if name != "input"]
    if len(paths) < 2:
        return ""
    shortest = min(len(path) for path in paths) - 1
    same = next((n for n in range(shortest) if len({path[n] for path in paths}) > 1), shortest)
    return "".join(f"{part}." for part in paths[0][:same])


def wrapped(name: str, characters: int = LINE_CHARACTERS, most: int = MOST_CHARACTERS) -> list[str]:
    """A layer's name or a plan's id in lines, broken where its parts join; at underscores where need be.

    >>> wrapped("encoder.layers.encoder_layer_0.self_attention", 24)
    ['encoder.layers.', 'encoder_layer_0.', 'self_attention']
    """
    lines = [""]
    for path in re.findall(r"[^./+-]*[./+-]?", _end(name, most)):
        parts = [path] if len(path) <= characters else re.findall(r"[^_]*_?", path)
        for part in parts:
            if lines[-1] and len(lines[-1]) + len(part) > characters:
                lines.append("")
            lines[-1] += part
    return lines


def _end(name: str, most: int) -> str:
    """Of a name that is too long the end, from where one of its parts begins."""
    if len(name) <= most:
        return name
    end = name[-most:]
    joint = re.search(r"[./_+-](?=.)", end)
    return "..." + (end[joint.end() :] if joint else end)


def short_labels(names: Sequence[str], indices: Sequence[int]) -> list[str]:
    """A label a layer, in lines: without the common prefix, with its index where another one reads the same."""
    prefix = common_prefix(names)
    characters = LINE_CHARACTERS if len(names) <= FEW else AXIS_CHARACTERS  # lines of many would lie on each other
    labels = ["\n".join(wrapped(name.removeprefix(prefix), characters, AXIS_CHARACTERS)) for name in names]
    times = Counter(labels)
    return [label if times[label] == 1 else f"{label} ({i})" for label, i in zip(labels, indices, strict=True)]


def axis_words(title: str, names: Sequence[str]) -> str:
    """An axis's title, with the prefix that its labels leave out."""
    prefix = common_prefix(names)
    return f"{title} ({prefix}...)" if prefix else title
