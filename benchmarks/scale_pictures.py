"""Ten classes of images in a folder, and a MobileNetV2 whose classifier tells most of them apart.

    python benchmarks/scale_pictures.py images FOLDER COUNT [FIRST]     # COUNT images, written by two processes
    python benchmarks/scale_pictures.py weights FILE                    # a state dict of `mobilenet_v2`

A class is the direction of a grating in a coloured blob, under noise. An image depends on its class and number alone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

CLASSES = 10
SIDE = 224
MEAN, STD = 0.5, 0.25
PROCESSES = 2
FITTED = 400
FIRST_FITTED = 1_000_000
"""Images that the classifier is fitted to are in no folder."""
RIDGE = 0.1
BATCH = 16


def image(number: int) -> npt.NDArray[np.uint8]:
    """An image of class `number % CLASSES`, (SIDE, SIDE, 3)."""
    label = number % CLASSES
    rng = np.random.default_rng(number)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    angle = np.pi * (label + rng.normal(0, 0.15)) / CLASSES
    wave = np.sin(2 * np.pi * (rng.uniform(14, 18) * (x * np.cos(angle) + y * np.sin(angle)) + rng.random()))
    left, top = rng.uniform(-0.3, 0.3, 2)
    blob = np.exp(-((x - left) ** 2 + (y - top) ** 2) / rng.uniform(0.15, 0.4) ** 2)
    hue = 2 * np.pi * (label / CLASSES + np.arange(3) / 3)
    colour = 0.5 * rng.uniform(-1, 1, 3) + 0.7 * np.cos(hue)
    values = 128 + blob[..., None] * (50 * wave[..., None] + 40 * colour) + rng.normal(0, 15, (SIDE, SIDE, 3))
    return values.clip(0, 255).astype(np.uint8)


def write_images(folder: Path, count: int, first: int = 0) -> None:
    """Write images `first` and on as `class/number.jpg`."""
    for label in range(CLASSES):
        (folder / f"class {label}").mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(PROCESSES) as pool:
        for _ in pool.map(partial(_write, folder), range(first, first + count), chunksize=50):
            pass


def _write(folder: Path, number: int) -> None:
    from PIL import Image

    Image.fromarray(image(number)).save(folder / f"class {number % CLASSES}" / f"{number:07}.jpg", quality=90)


def as_inputs(images: list[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
    """What the network takes, (N, 3, SIDE, SIDE)."""
    x = np.stack(images).transpose(0, 3, 1, 2).astype(np.float32)
    return (x / 255 - MEAN) / STD


def fitted_weights(path: Path) -> None:
    """Random weights, and a classifier from ridge regression on the pooled features of FITTED images."""
    import torch
    from safetensors.torch import save_file

    from splitimpera.models.mobilenet import MobileNetV2

    torch.manual_seed(0)
    model = MobileNetV2().eval()
    numbers = range(FIRST_FITTED, FIRST_FITTED + FITTED)
    with torch.inference_mode():
        batches = (torch.from_numpy(x) for x in _batches(numbers))
        features = torch.cat([model.features(x).mean((2, 3)) for x in batches]).double()
    mean, spread = features.mean(0), features.std(0).mean()
    centred = (features - mean) / spread  # the features of random weights are tiny
    targets = torch.eye(CLASSES, dtype=torch.double)[[number % CLASSES for number in numbers]] - 1 / CLASSES
    kernel = centred @ centred.T
    ridge = RIDGE * kernel.diagonal().mean() * torch.eye(FITTED)
    weight = (centred.T @ torch.linalg.solve(kernel + ridge, targets)).T / spread
    state = model.state_dict()
    state["classifier.1.weight"].zero_()[:CLASSES] = weight
    state["classifier.1.bias"].fill_(-10.0)[:CLASSES] = -weight @ mean  # no image is of a class beyond these
    save_file(state, path)


def _batches(numbers: range) -> Iterator[npt.NDArray[np.float32]]:
    for first in range(0, len(numbers), BATCH):
        yield as_inputs([image(number) for number in numbers[first : first + BATCH]])


if __name__ == "__main__":
    what, place, *counts = sys.argv[1:]
    if what == "images":
        write_images(Path(place), *map(int, counts))
    else:
        fitted_weights(Path(place))
