"""Docstrings of Python's standard library, byte by byte: read from the files of the Python that runs this.

Modules are divided, not docstrings: what is held out is of packages that training has seen nothing of.
"""

from __future__ import annotations

import ast
import hashlib
import sys
import sysconfig
import warnings
from functools import cache
from pathlib import Path

import numpy as np

WINDOW = 256
"""Tokens, which are bytes, of a window."""
BETWEEN = b"\n\n\n"
"""What stands between one docstring and the next."""
SHARES = {"test": 10, "validation": 10, "train": 80}
"""Percent of the packages in each part."""
COUNTS = {"train": 400, "validation": 100, "test": 120}
"""Windows of each part that a design reads; training reads all of its part."""


LEFT_OUT = {"encodings", "pydoc_data", "distutils", "idlelib", "lib2to3", "tkinter", "turtledemo"}
"""Packages that were written by programs, and those that not every Python brings along."""


def windows() -> dict[str, object]:
    """Ids int64 (N, 256) of each part, and the ids that follow each of them, int64 (N, 256)."""
    return {part: cut_up(text(part), count) for part, count in COUNTS.items()}


def cut_up(stream: bytes, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows evenly spread over a text, none of which overlap: ids and the ids that follow them, (count, 256)."""
    ids = np.frombuffer(stream, np.uint8).astype(np.int64)
    there = (len(ids) - 1) // WINDOW
    starts = WINDOW * (np.arange(min(count, there)) * there // min(count, there))
    rows = starts[:, None] + np.arange(WINDOW)
    return ids[rows], ids[rows + 1]


def text(part: str) -> bytes:
    """All docstrings of "train", "validation" or "test"."""
    return BETWEEN.join(docstring.encode() for docstring in _by_part()[part])


def part_of(package: str) -> str:
    """Which part a package belongs to: by its name alone, so that no other package changes it."""
    place = int.from_bytes(hashlib.sha256(package.encode()).digest()[:4], "big") % 100
    for part, share in SHARES.items():
        if place < share:
            return part
        place -= share
    raise AssertionError("the shares come to 100")


def docstrings(source: str) -> list[str]:
    """Those of a file's module, classes and functions, in the order of the file, without their indentation."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about escapes, in old files
        tree = ast.parse(source)
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = sorted((node for node in ast.walk(tree) if isinstance(node, owners)), key=lambda n: getattr(n, "lineno", 0))
    return [docstring for node in found if (docstring := ast.get_docstring(node))]


@cache
def _by_part() -> dict[str, list[str]]:
    """Every docstring once, where it comes first."""
    parts: dict[str, list[str]] = {part: [] for part in COUNTS}
    seen: set[str] = set()
    for package, path in _files():
        try:
            found = docstrings(path.read_text("utf-8"))
        except (OSError, SyntaxError, ValueError):
            continue  # of an installation with broken files
        parts[part_of(package)] += [each for each in dict.fromkeys(found) if each not in seen]
        seen.update(found)
    return parts


def _files() -> list[tuple[str, Path]]:
    """The standard library's files, each with its package or module at the top; in the order of their names."""
    root = Path(sysconfig.get_path("stdlib"))
    tops = sorted(sys.stdlib_module_names - LEFT_OUT)
    paths = [(top, path) for top in tops for path in [root / f"{top}.py", *sorted((root / top).rglob("*.py"))]]
    inner = {"test", "tests"}
    return [(top, path) for top, path in paths if path.is_file() and not inner & set(path.relative_to(root).parts)]
