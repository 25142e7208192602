"""Text files as windows of tokens, each with the tokens that come next: bytes, or a tokenizer's of a local folder."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from splitimpera.core.array_types import IntArray
from splitimpera.core.errors import DataError, SplitImperaWarning, listed, shown, shown_path
from splitimpera.core.extras import needed
from splitimpera.core.files import read_file
from splitimpera.core.units import format_bytes
from splitimpera.models.assembling import LOOKS, Found, dataset_of, refuse, refuse_shares
from splitimpera.models.class_folders import PART_FOLDERS, check_parts_folders, entries, folders
from splitimpera.models.imports import telling
from splitimpera.models.parts import Dataset
from splitimpera.models.samples import Samples
from splitimpera.models.targets import NextOnes, Nothing, check_kind
from splitimpera.tasks.language import NO_TOKEN
from splitimpera.tasks.task import TargetKind

if TYPE_CHECKING:
    from splitimpera.scenario import DataSection

SUFFIX = ".txt"
MOST_TEXT_BYTES = 200_000_000
"""Of all files together: their tokens stay in memory, 8 bytes each."""
MOST_TOKENIZER_BYTES = 100_000_000
BYTES = "bytes"
TOKENIZER_FILE = "tokenizer.json"
NAMED = 3


@dataclass(frozen=True, eq=False)
class Tokens:
    """A text as tokens.

    Attributes:
        ids: int64 (n,).
        sizes: The bytes of the text that each of them stands for, int32 (n,), the whole text together; None: one each.
    """

    ids: IntArray
    sizes: IntArray | None = None


class Tokenizer:
    """What turns a text into tokens: bytes as they are, or a fast tokenizer of `transformers`, read from a folder.

    Args:
        name: "bytes", or the folder with its `tokenizer.json`; nothing is ever downloaded.
        folder: What relative paths start from.

    Raises:
        DataError: there is none, or it cannot be read.
        MissingExtraError: the library that reads it is not installed.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self._own: Any = None
        if name == BYTES:
            return
        path = folder / name
        path = path / TOKENIZER_FILE if path.is_dir() else path
        hint = f"name a folder with a fast tokenizer's '{TOKENIZER_FILE}', or '{BYTES}'"
        try:
            content = read_file(path, MOST_TOKENIZER_BYTES, DataError, what="tokenizer", hint=hint)
        except DataError as error:
            raise error.at("data.tokens.tokenizer") from None
        needed("tokenizers", "a tokenizer other than 'bytes'")
        import tokenizers

        try:
            with telling(DataError, f"'{shown_path(path)}' is no tokenizer"):
                self._own = tokenizers.Tokenizer.from_str(content.decode())
        except DataError as error:
            raise error.at("data.tokens.tokenizer") from None
        self._own.no_truncation()
        self._own.no_padding()

    def __call__(self, content: bytes, path: Path) -> Tokens:
        """The tokens of a file.

        Raises:
            DataError: it is no UTF-8, or the tokenizer cannot read it.
        """
        if self._own is None:
            return Tokens(np.frombuffer(content, np.uint8).astype(np.int64))
        try:
            text = content.decode()
        except UnicodeDecodeError as failure:
            raise DataError(
                f"'{shown_path(path)}' is no UTF-8 (byte {failure.start})", hint="convert it, or take 'bytes'"
            ) from None
        with telling(DataError, f"'{shown_path(path)}' cannot be made tokens"):
            encoded = self._own.encode(text, add_special_tokens=False)
        begins = np.array([begin for begin, _ in encoded.offsets], dtype=np.int64)
        return Tokens(np.array(encoded.ids, dtype=np.int64), _sizes(text, begins))


def _sizes(text: str, begins: IntArray) -> IntArray:
    """The bytes from where each token begins to where the next one does; what stands before the first is the first's.

    >>> _sizes("a\\u00e4b c", np.array([0, 1, 3])).tolist()
    [1, 3, 2]
    """
    points = np.frombuffer(text.encode("utf-32-le"), "<u4")
    widths = 1 + (points > 0x7F).astype(np.int64) + (points > 0x7FF) + (points > 0xFFFF)
    up_to = np.concatenate([[0], np.cumsum(widths)])
    bounds = np.maximum.accumulate(np.concatenate([begins, [len(text)]]))
    bounds[:1] = 0
    return np.diff(up_to[bounds]).astype(np.int32)


def is_text(place: Path, asked: bool) -> bool:
    """Whether a place is a text file, or a folder that is asked to be one of them."""
    try:
        return place.is_file() if place.suffix == SUFFIX else asked and place.is_dir()
    except (OSError, ValueError):
        return False


def text_data(place: Path, section: DataSection, folder: Path, kind: TargetKind = "array") -> Dataset:
    """Windows of the texts in a file or a folder, inputs int64 (T,).

    Args:
        place: A `.txt` file; or a folder, whose `.txt` files count wherever they lie below it, or those of its parts
            `train`, `validation` and `test`.
        folder: What the tokenizer's path starts from.

    Raises:
        DataError: there is no text, or it cannot be read.
    """
    for why, keys in (
        ("texts are no images", ("size", *LOOKS)),
        ("texts are in memory", ("workers",)),
        ("texts are never broken", ("skip_broken",)),
        ("texts are no sounds", ("audio",)),
    ):
        refuse(section, why, *keys)
    whose = f"'{shown_path(place)}'"
    check_kind(kind, whose, "array")
    tokenizer = Tokenizer(section.tokens.tokenizer, folder)
    parts = _parts(place)
    if {*parts} != {""}:
        refuse_shares(section, whose)
    window = section.tokens.window
    listing = {part: [*_texts(path)] for part, path in parts.items()}
    if not any(listing.values()):
        raise DataError(f"the folder {whose} has no text files (*{SUFFIX})")
    left, found, short = MOST_TEXT_BYTES, dict[str, Found](), list[Path]()
    for part, paths in listing.items():
        texts = []
        for path in paths:
            content = read_file(path, MOST_TEXT_BYTES, DataError, what="text file")
            left -= len(content)
            if left < 0:
                raise DataError(
                    f"the texts of {whose} are more than {format_bytes(MOST_TEXT_BYTES)}, the most that is read",
                    hint="give fewer of them",
                )
            texts.append(tokenizer(content, path))
            if len(texts[-1].ids) < window:
                short.append(path)
        found[part] = (windows_of(texts, window, kind), None)
    if short:
        _say_short(short, sum(map(len, listing.values())), window)
    if not any(len(samples) for samples, _ in found.values()):
        raise DataError(f"no text of {whose} has {window} tokens", where="data.tokens.window", hint="take fewer")
    return dataset_of(found if {*found} != {""} else found[""], section)


def windows_of(texts: Sequence[Tokens], window: int, kind: TargetKind = "array") -> Samples:
    """Texts cut into windows that do not overlap; what is left at the end of a text is what comes next at most.

    Args:
        window: Tokens of each, T.
        kind: "array", or "none" for windows whose next tokens nobody asks for.

    >>> made = windows_of([Tokens(np.arange(8)), Tokens(np.arange(3))], 3)
    >>> made.read(slice(None)).tolist(), [row[0].tolist() for row in made.targets.rows([0, 1, 2])]
    ([[0, 1, 2], [3, 4, 5], [0, 1, 2]], [[1, 2, 3], [4, 5, 6], [1, 2, -1]])
    """
    cut, behind, sizes = list[IntArray](), list[IntArray](), list[IntArray]()
    sized = any(text.sizes is not None for text in texts)
    for text in texts:
        count = len(text.ids) // window
        cut.append(text.ids[: count * window].reshape(count, window))
        behind.append(np.append(text.ids, NO_TOKEN)[window::window][:count])
        if text.sizes is not None:
            sizes.append(np.append(text.sizes, 0)[1 : count * window + 1].reshape(count, window))
    windows = _tensor(cut, (0, window))
    if kind == "none":
        return Samples(windows, Nothing(len(windows)))
    index = torch.arange(len(windows))
    of_bytes = _tensor(sizes, (0, window)) if sized else None
    return Samples(windows, NextOnes(windows, _tensor(behind, (0,)), of_bytes, index))


def _tensor(arrays: Sequence[IntArray], empty: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(np.concatenate([np.zeros(empty, np.int64), *arrays]))


def _parts(place: Path) -> dict[str, Path]:
    """The folders of parts, or '' for a place that has none."""
    below = folders(place) if place.is_dir() else []
    named = [path for path in below if path.name in PART_FOLDERS]
    return check_parts_folders(below) if len(named) > 1 else {"": place}


def _texts(place: Path) -> Iterator[Path]:
    """The text files of a place, in order of names; links to folders are not followed."""
    if not place.is_dir():
        yield place
        return
    for path in entries(place):
        if path.is_dir():
            if not path.is_symlink():
                yield from _texts(path)
        elif path.suffix == SUFFIX:
            yield path


def _say_short(short: Sequence[Path], count: int, window: int) -> None:
    names = listed((shown("/".join(path.parts[-2:])) for path in short), NAMED)
    warnings.warn(
        f"{len(short)} of {count} text files have fewer than {window} tokens and are left out: {names}",
        SplitImperaWarning,
        stacklevel=3,
    )
