"""Ten classes of images, and networks whose classifiers tell most of them apart.

    python benchmarks/scale_pictures.py images FOLDER COUNT [FIRST]     # COUNT images, written by two processes
    python benchmarks/scale_pictures.py weights FILE                    # a state dict of `mobilenet_v2`
    python benchmarks/scale_pictures.py small FOLDER COUNT              # 32 x 32: images.npz, and a ResNet-56 for them

A class is the direction of a grating in a coloured blob, under noise. An image depends on its class and number alone.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

CLASSES = 10
SIDE, CYCLES = 224, (14, 18)
SMALL_SIDE, SMALL_CYCLES = 32, (3, 5)
MEAN, STD = 0.5, 0.25
PROCESSES = 2
NUMBERS = range(1_000_000, 1_000_400)
"""Images that the classifiers are fitted to are in no folder."""
RESNET = """\
from splitimpera.models.resnet import CifarResNet


def resnet56():
    return CifarResNet(9)
"""
RIDGE = 0.1
BATCH = 16


def image(number: int, side: int = SIDE, cycles: tuple[int, int] = CYCLES) -> npt.NDArray[np.uint8]:
    """An image of class `number % CLASSES`, (side, side, 3)."""
    label = number % CLASSES
    rng = np.random.default_rng(number)
    y, x = np.mgrid[:side, :side] / side - 0.5
    angle = np.pi * (label + rng.normal(0, 0.15)) / CLASSES
    wave = np.sin(2 * np.pi * (rng.uniform(*cycles) * (x * np.cos(angle) + y * np.sin(angle)) + rng.random()))
    left, top = rng.uniform(-0.3, 0.3, 2)
    blob = np.exp(-((x - left) ** 2 + (y - top) ** 2) / rng.uniform(0.15, 0.4) ** 2)
    hue = 2 * np.pi * (label / CLASSES + np.arange(3) / 3)
    colour = 0.5 * rng.uniform(-1, 1, 3) + 0.7 * np.cos(hue)
    values = 128 + blob[..., None] * (50 * wave[..., None] + 40 * colour) + rng.normal(0, 15, (side, side, 3))
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
    """What the network takes, (N, 3, H, W)."""
    x = np.stack(images).transpose(0, 3, 1, 2).astype(np.float32)
    return (x / 255 - MEAN) / STD


def fitted_weights(path: Path) -> None:
    """A MobileNetV2 for these images."""
    import torch

    from splitimpera.models.mobilenet import MobileNetV2

    torch.manual_seed(0)
    model = MobileNetV2().eval()
    _fit(model, model.features, "classifier.1", [image(number) for number in NUMBERS], path)


def small(folder: Path, count: int) -> None:
    """Small images in `images.npz`, and for them a ResNet-56 in `network.py` and `weights.safetensors`."""
    import torch
    from torch import nn

    from splitimpera.models.resnet import CifarResNet

    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    images = np.stack([image(number, SMALL_SIDE, SMALL_CYCLES) for number in range(count)])
    np.savez(folder / "images.npz", x=images, y=np.arange(count) % CLASSES)
    (folder / "network.py").write_text(RESNET)
    model = CifarResNet(9).eval()
    body = nn.Sequential(model.conv1, model.bn1, nn.ReLU(), model.layer1, model.layer2, model.layer3)
    fitted = [image(number, SMALL_SIDE, SMALL_CYCLES) for number in NUMBERS]
    _fit(model, body, "linear", fitted, folder / "weights.safetensors")


def _fit(model: Any, body: Any, classifier: str, images: list[npt.NDArray[np.uint8]], path: Path) -> None:
    """Random weights, and a classifier from ridge regression on the pooled features of some images."""
    import torch
    from safetensors.torch import save_file

    with torch.inference_mode():
        batches = [torch.from_numpy(as_inputs(images[at : at + BATCH])) for at in range(0, len(images), BATCH)]
        features = torch.cat([body(x).mean((2, 3)) for x in batches]).double()
    mean, spread = features.mean(0), features.std(0).mean()
    centred = (features - mean) / spread  # the features of random weights are tiny
    targets = torch.eye(CLASSES, dtype=torch.double)[[number % CLASSES for number in NUMBERS]] - 1 / CLASSES
    kernel = centred @ centred.T
    ridge = RIDGE * kernel.diagonal().mean() * torch.eye(len(NUMBERS))
    weight = (centred.T @ torch.linalg.solve(kernel + ridge, targets)).T / spread
    state = model.state_dict()
    state[f"{classifier}.weight"].zero_()[:CLASSES] = weight
    state[f"{classifier}.bias"].fill_(-10.0)[:CLASSES] = -weight @ mean  # no image is of a class beyond these
    save_file(state, path)


if __name__ == "__main__":
    what, place, *counts = sys.argv[1:]
    if what == "images":
        write_images(Path(place), *map(int, counts))
    elif what == "small":
        small(Path(place), *map(int, counts))
    else:
        fitted_weights(Path(place))
