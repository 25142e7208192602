"""Folders of WAV files, `class name/file.wav`, read as log-mel spectrograms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from splitimpera.core.errors import DataError, shown, shown_path
from splitimpera.core.files import read_file
from splitimpera.models.class_folders import class_listing, entries, folders, list_classes, list_unlabelled
from splitimpera.models.file_sets import Listing, in_threads
from splitimpera.models.image_files import SUFFIXES as IMAGE_SUFFIXES
from splitimpera.models.numbers import check_amount
from splitimpera.models.samples import indices, read_ahead
from splitimpera.models.spectrograms import LogMel
from splitimpera.models.targets import Nothing, Rows, check_kind
from splitimpera.models.wave_files import SUFFIXES, read_wave
from splitimpera.tasks.task import TargetKind

LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
"""Google Speech Commands' lists of what is not for training."""
MOST_LIST_BYTES = 100_000_000
LEVELS = 2
"""Sub-folders of parts and of classes."""


@dataclass(frozen=True, eq=False)
class WaveFiles:
    """Spectrograms of WAV files, float32 (n, 1, mels, frames).

    Attributes:
        threads: how many files are read at the same time; 0: by the caller, and nothing is read ahead.
    """

    paths: Sequence[Path]
    log_mel: LogMel
    threads: int

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, rows: Rows) -> Tensor:
        """Read some files.

        Raises:
            DataError: a file cannot be read; they are too many.
        """
        places = indices(rows, len(self)).tolist()
        check_amount(len(places), self.log_mel.shape)
        found = np.empty((len(places), *self.log_mel.shape), np.float32)

        def decode(place: int) -> None:
            clip = read_wave(self.paths[places[place]], self.log_mel.rate, self.log_mel.samples)
            found[place] = self.log_mel.of(clip)

        try:
            for _ in in_threads(decode, range(len(places)), self.threads):
                pass
        except DataError as error:
            raise error.at(error.where or "data.source") from None
        return torch.from_numpy(found)

    def stream(self, batches: Iterable[Rows]) -> Iterator[Tensor]:
        return read_ahead(self.read, batches) if self.threads else map(self.read, batches)


def is_wave_folder(folder: Path) -> bool:
    """Whether the first file of sound or image in a folder, its parts and its classes is one of sound."""
    try:
        return _first(folder, LEVELS) in SUFFIXES
    except (OSError, ValueError, DataError):
        return False


def list_waves(folder: Path, kind: TargetKind) -> Listing:
    """The files of a folder `class name/file.wav`, or of parts `train/class name/file.wav`, `val/...` and `test/...`,
    or with Google Speech Commands' lists of validation and test files.

    Args:
        kind: "class"; or "none", for which a folder needs no classes.

    Raises:
        DataError: the folder cannot be read, or is not such a one, or a list does not go with it.
    """
    check_kind(kind, f"the folder '{shown_path(folder)}'", "class")
    lists = [name for name in LISTS.values() if (folder / name).is_file()]
    if lists:
        listing = _by_lists(folder)
        return listing if kind == "class" else replace(listing, targets=Nothing(len(listing.paths)), classes=())
    return (list_unlabelled if kind == "none" else list_classes)(folder, _waves_in, "WAV files")


def _by_lists(folder: Path) -> Listing:
    classes = {place.name: _waves_in(place) for place in folders(folder)}
    owners = {f"{name}/{path.name}": "train" for name, paths in classes.items() for path in paths}
    for part, name in LISTS.items():
        path = folder / name
        text = read_file(path, MOST_LIST_BYTES, DataError, what="list of files").decode(errors="replace")
        for number, line in enumerate(text.splitlines(), 1):
            file = line.strip()
            if file and owners.get(file) != "train":
                why = f"is in the part '{owners[file]}' already" if file in owners else "does not exist"
                raise DataError(f"'{shown_path(path)}', line {number}: the file '{shown(file)}' {why}")
            if file:
                owners[file] = part
    found = {
        part: {
            name: [path for path in paths if owners[f"{name}/{path.name}"] == part] for name, paths in classes.items()
        }
        for part in ("train", *LISTS)
    }
    return class_listing(folder, found, "WAV files")


def _waves_in(folder: Path) -> list[Path]:
    """The WAV files right in a folder."""
    return [path for path in entries(folder) if path.suffix.lower() in SUFFIXES]


def _first(folder: Path, levels: int) -> str:
    """The suffix of the first file of sound or image; '' where there is none."""
    places = entries(folder)
    for path in places:
        if (suffix := path.suffix.lower()) in SUFFIXES or suffix in IMAGE_SUFFIXES:
            return suffix
    below = (_first(place, levels - 1) for place in places if place.is_dir()) if levels else ()
    return next(filter(None, below), "")
