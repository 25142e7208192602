"""Data by name: built-in sets, the user's own arrays and factories, files and folders in known formats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from splitimpera.core.array_types import FloatArray
from splitimpera.core.errors import DataError, shown, shown_path
from splitimpera.core.registry import Registry, nearest
from splitimpera.models.assembling import (
    LOOKS,
    Found,
    dataset_of,
    pixels_of,
    refuse,
    refuse_shares,
    rows_within,
    within_limit,
)
from splitimpera.models.coco import is_coco, list_coco
from splitimpera.models.file_sets import Listing
from splitimpera.models.image_files import SILENCE, read_image
from splitimpera.models.image_folders import list_images
from splitimpera.models.image_sets import look
from splitimpera.models.imports import contained, is_factory, run_factory, telling
from splitimpera.models.labelled import packed_data, returned_data, stored_data
from splitimpera.models.mask_folders import is_mask_folder, list_masked
from splitimpera.models.packed_images import is_packed
from splitimpera.models.parts import Dataset as Dataset
from splitimpera.models.parts import divide as divide
from splitimpera.models.pascal_voc import is_voc, list_voc
from splitimpera.models.pixels import Normalised
from splitimpera.models.pixels import Pixels as Pixels
from splitimpera.models.samples import Samples as Samples
from splitimpera.models.spectrograms import LogMel
from splitimpera.models.stored_arrays import is_stored
from splitimpera.models.targets import check_kind
from splitimpera.models.texts import is_text, text_data
from splitimpera.models.wave_files import read_wave
from splitimpera.models.wave_folders import WaveFiles, is_wave_folder, list_waves
from splitimpera.tasks.task import TargetKind

if TYPE_CHECKING:
    from splitimpera.scenario import DataSection

DATASETS: Registry[Callable[[], Dataset]] = Registry("data set")


@DATASETS.register("digits")
def digits() -> Dataset:
    """scikit-learn's handwritten digits: 1797 images of 8 x 8 pixels, enlarged to 32 x 32.

    897 images for training, 360 for validation, 540 for the test; shuffled once, with a fixed seed.
    """
    values = _digits()
    small = torch.from_numpy(values[:, :-1].reshape(-1, 8, 8) * (255 / 16)).to(torch.float32)[:, None]
    large = torch.nn.functional.interpolate(small, size=(32, 32), mode="bilinear", align_corners=False)
    images = large.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    pixels = Pixels((0.3,), (0.35,))
    samples = Samples(pixels.inputs(images), torch.from_numpy(values[:, -1].astype(np.int64)))
    rows = torch.from_numpy(np.random.default_rng(0).permutation(len(samples)))
    return Dataset(
        train=samples.take(rows[900:]),
        validation=samples.take(rows[540:900]),
        test=samples.take(rows[:540]),
        classes=tuple(str(digit) for digit in range(10)),
        pixels=pixels,
    )


def _digits() -> FloatArray:
    """64 pixels and the label of each digit, read from scikit-learn's own file: to import all of it takes a second."""
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise DataError("the digits come with scikit-learn, which is not installed", hint="pip install scikit-learn")
    path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    return np.loadtxt(path, delimiter=",")


def is_source(source: str, folder: Path) -> bool:
    """Whether `load_data` knows what a source means, without loading anything."""
    return (
        source in DATASETS
        or is_factory(source)
        or any(is_it(source, folder) for is_it in (_is_folder, _is_stored, _is_coco, _is_text_file))
    )


def load_data(section: DataSection, folder: Path, kind: TargetKind = "class") -> Dataset:
    """The data that a scenario names.

    Args:
        section: `source` is a built-in name; a folder `class name/image` or `class name/sound.wav`, or of such folders
            `train`, `validation` and `test`; a folder of IDX files or of CIFAR's binary batches; a folder with COCO's
            `annotations`, or such a `.json` file; a folder as Pascal VOC has it; one of `images` and `masks`; an `.npz`
            file or a folder of `.npy` files; a `.txt` file, or with `tokens` a folder of these;
            `package.module:factory` or `file.py:factory`. A factory returns (inputs, labels), a map-style dataset
            (anything with `__len__` and `__getitem__`) or a DataLoader; a mapping with "train", "validation" and
            "test", each one of these; or a Dataset. uint8 and uint16 inputs (N, H, W, C) are images and become float by
            `mean` and `std`.
        folder: what relative paths start from.
        kind: how targets are read, which a task says.

    Raises:
        DataError: nothing is found there, or its targets are of another kind.
    """
    try:
        return _loaded(section, folder, kind)
    except DataError as error:
        raise error.at(error.where or "data.source") from error.__cause__


def _loaded(section: DataSection, folder: Path, kind: TargetKind) -> Dataset:
    source = section.source
    named = source in DATASETS or is_factory(source)
    is_folder = not named and _is_folder(source, folder)
    packed = is_folder and is_packed(folder / source)
    stored = not named and _is_stored(source, folder)
    if not named and _is_text(source, folder, "tokens" in section.model_fields_set):
        return text_data(folder / source, section, folder, kind)
    refuse(section, f"'{shown(source)}' is no text", "tokens")
    if is_folder and not packed and not stored and is_wave_folder(folder / source):
        return _wave_data(list_waves(folder / source, kind), section)
    refuse(section, f"'{shown(source)}' is no folder of WAV files", "audio")
    if named:
        return _built_in(section, kind) if source in DATASETS else _made(section, folder, kind)
    if stored:
        return stored_data(folder / source, section, kind)
    if packed:
        return packed_data(folder / source, section, kind)
    if is_folder or _is_coco(source, folder):
        return _image_data(_listed(folder / source, kind, section), section)
    raise DataError(
        f"'{shown(source)}' is no built-in data set, no 'package.module:factory', no folder and no .npz, .json or "
        ".txt file",
        hint=nearest(source, DATASETS.names()),
    )


def _built_in(section: DataSection, kind: TargetKind) -> Dataset:
    source = section.source
    refuse_shares(section, f"'{source}'")
    refuse(section, f"'{source}' comes as a network takes it", "size", *LOOKS)
    refuse(section, f"'{source}' is in memory", "workers", "skip_broken")
    check_kind(kind, f"'{source}'", "class")
    data = within_limit(DATASETS[source](), section)
    return data if kind == "class" else _without_targets(data)


def _made(section: DataSection, folder: Path, kind: TargetKind) -> Dataset:
    made = run_factory(section.source, folder, DataError)
    # what a factory returns may run its user's code when it is read
    with contained(), telling(DataError, f"what '{shown(section.source)}' returns cannot be used"):
        return returned_data(made, section, kind)


def _listed(place: Path, kind: TargetKind, section: DataSection) -> Listing:
    """The images of a place, by whatever layout it has."""
    if is_coco(place):
        return list_coco(place, kind, section.size, section.skip_broken)
    if is_voc(place):
        return list_voc(place, kind, section.size, section.skip_broken)
    if is_mask_folder(place):
        return list_masked(place, kind, section.size)
    check_kind(kind, f"the folder '{shown_path(place)}'", "class")
    return list_images(place, kind)


def _without_targets(data: Dataset) -> Dataset:
    train, validation, test = (Samples(part.source) for part in (data.train, data.validation, data.test))
    return replace(data, train=train, validation=validation, test=test)


def _is_stored(source: str, folder: Path) -> bool:
    return bool(source.strip()) and is_stored(folder / source)


def _is_coco(source: str, folder: Path) -> bool:
    return bool(source.strip()) and is_coco(folder / source)


def _is_text(source: str, folder: Path, asked: bool) -> bool:
    return bool(source.strip()) and is_text(folder / source, asked)


def _is_text_file(source: str, folder: Path) -> bool:
    return _is_text(source, folder, asked=False)


def _is_folder(source: str, folder: Path) -> bool:
    try:
        return bool(source.strip()) and (folder / source).is_dir()
    except (OSError, ValueError):  # a name that is too long, or a place that may not be looked at
        return False


def _image_data(listing: Listing, section: DataSection) -> Dataset:
    """The images of a listing, read when they are asked for."""
    listing, divided = _chosen(listing, section)
    if section.skip_broken:
        with SILENCE:
            listing = listing.decoded(read_image, section.workers)
    files = look(listing.paths, section.size, section.workers, listing.claimed)
    pixels = pixels_of(files.shape[2], section)
    samples = Samples(Normalised(files, pixels), listing.targets)
    known = pixels if files.dtype == np.uint8 else None
    found = {part: (samples.take(own), known) for part, own in listing.parts.items()}
    return dataset_of(found if divided else found[""], section, listing.classes)


def _wave_data(listing: Listing, section: DataSection) -> Dataset:
    """The sounds of a listing as spectrograms, read when they are asked for."""
    refuse(section, "sounds are no images", "size", *LOOKS)
    audio = section.audio
    log_mel = LogMel(int(audio.rate), audio.seconds, audio.mels, audio.window, audio.hop)
    listing, divided = _chosen(listing, section)
    if section.skip_broken:
        listing = listing.decoded(
            partial(read_wave, rate=log_mel.rate, samples=log_mel.samples), section.workers, "WAV files"
        )
    samples = Samples(WaveFiles(listing.paths, log_mel, section.workers), listing.targets)
    found: dict[str, Found] = {part: (samples.take(own), None) for part, own in listing.parts.items()}
    return dataset_of(found if divided else found[""], section, listing.classes)


def _chosen(listing: Listing, section: DataSection) -> tuple[Listing, bool]:
    """What the section's limit leaves of a listing, and whether that is divided."""
    divided = listing.parts.keys() != {""}
    if divided:
        refuse_shares(section, "the folder")
    rows = rows_within(section, {part: listing.strata[own] for part, own in listing.parts.items()})
    if rows:
        listing = listing.take(torch.cat([own[rows[part]] for part, own in listing.parts.items()]))
    return listing, divided
