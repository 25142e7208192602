"""A small one-stage detector without anchors, on a feature pyramid of two levels; trained at first use, then cached."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (the name everybody knows it by)
from data import boxed
from torch import Tensor, nn

from splitimpera.models.recipes import trained_once, weights_name

SIDE = 64
STRIDES = (4, 8)
"""Pixels between the locations of each level."""
LARGE = 24
"""Digits with a side of so many pixels are found at the second level, smaller ones at the first."""
RADIUS = 1.5
"""How far from a digit's center, in strides, locations still have to find it."""
TRAINED_ON, EPOCHS, BATCH, LEARNING_RATE = 4000, 6, 16, 5e-3


def convolution(in_channels: int, channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
    )


class Detector(nn.Module):
    """At every location of both levels: how likely each class is there, and how far the box's four edges are.

    `forward` takes images float (N, 3, H, W) from 0 to 1 and returns, for all K locations (320 in 64 x 64 pixels),
    `boxes` (N, K, 4): left, top, right and bottom edge in pixels; and `logits` (N, K, classes), each class by itself.

    Args:
        size: Height and width of the images, multiples of 8.
    """

    def __init__(self, classes: int = 10, width: int = 16, size: tuple[int, int] = (SIDE, SIDE)) -> None:
        super().__init__()
        self.stem = convolution(3, width // 2, stride=2)
        self.stage1 = nn.Sequential(convolution(width // 2, 2 * width, stride=2), convolution(2 * width, 2 * width))
        self.stage2 = nn.Sequential(convolution(2 * width, 4 * width, stride=2), convolution(4 * width, 4 * width))
        self.lateral1 = nn.Conv2d(2 * width, 2 * width, 1)
        self.lateral2 = nn.Conv2d(4 * width, 2 * width, 1)
        self.enlarge = nn.Upsample(scale_factor=2)
        self.heads = nn.ModuleList(Head(2 * width, classes) for _ in STRIDES)
        centers, strides = locations(size)
        self.register_buffer("centers", centers, persistent=False)
        self.register_buffer("strides", strides, persistent=False)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        fine = self.stage1(self.stem(x))
        coarse = self.stage2(fine)
        coarse = self.lateral2(coarse)
        levels = [self.lateral1(fine) + self.enlarge(coarse), coarse]
        found = [head(level).flatten(2).transpose(1, 2) for head, level in zip(self.heads, levels, strict=True)]
        distances, logits = torch.cat(found, 1).split([4, found[0].shape[2] - 4], 2)
        before, after = (F.softplus(distances) * self.strides).chunk(2, 2)
        return {"boxes": torch.cat([self.centers - before, self.centers + after], 2), "logits": logits}


class Head(nn.Module):
    """(N, channels, H, W) -> (N, 4 + classes, H, W): distances of the edges, in strides before softplus, and logits."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.shared = convolution(channels, channels)
        self.found = nn.Conv2d(channels, 4 + classes, 3, padding=1)
        nn.init.constant_(self.found.bias[4:], -4)  # most locations have nothing to find

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.found(self.shared(x))
        return found


def locations(size: tuple[int, int] = (SIDE, SIDE)) -> tuple[Tensor, Tensor]:
    """The locations of both levels in pixels, x and y, (K, 2), and the stride of each, (K, 1)."""
    grids = []
    for stride in STRIDES:
        sides = (torch.arange(side // stride) * stride + stride / 2 for side in size)
        y, x = torch.meshgrid(*sides, indexing="ij")
        grids.append(torch.stack([x, y], 2).reshape(-1, 2))
    strides = [torch.full((len(grid), 1), float(stride)) for grid, stride in zip(grids, STRIDES, strict=True)]
    return torch.cat(grids), torch.cat(strides)


def build() -> nn.Module:
    """The network with its weights."""
    here = Path(__file__).parent
    sources = [here / "network.py", here / "data.py", here.parent / "digit_scenes.py"]
    return trained_once(weights_name("detection", *(file.read_text() for file in sources)), Detector, fit)


def fit(model: nn.Module) -> None:
    """Focal loss of the classes and GIoU loss of the boxes; AdamW with a one-cycle learning rate."""
    sys.stderr.write("Training the detector, once: less than a minute\n")
    found, targets = boxed("train", TRAINED_ON)
    images = torch.from_numpy(found)
    classes, boxes = (torch.stack(each) for each in zip(*(wanted(**target) for target in targets), strict=True))
    steps = -(-len(images) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, EPOCHS * steps)
    model.train().to(memory_format=torch.channels_last)  # a quarter less time on a processor
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(images)).split(BATCH):
            optimizer.zero_grad()
            loss(model(images[rows].permute(0, 3, 1, 2) / 255), classes[rows], boxes[rows]).backward()
            optimizer.step()
            schedule.step()
    model.to(memory_format=torch.contiguous_format)


def wanted(
    boxes: np.ndarray, labels: np.ndarray, size: tuple[int, int] = (SIDE, SIDE), large: float = LARGE
) -> tuple[Tensor, Tensor]:
    """What each location has to find: the class, int64 (K,), -1 where there is nothing; and its box, (K, 4)."""
    centers, strides = locations(size)
    edges = torch.from_numpy(boxes)
    middles, sides = (edges[:, :2] + edges[:, 2:]) / 2, (edges[:, 2:] - edges[:, :2]).amax(1)
    at_level = (sides >= large) == (strides == STRIDES[1])  # (K, n)
    inside = ((centers[:, None] > edges[:, :2]) & (centers[:, None] < edges[:, 2:])).all(2)
    near = ((centers[:, None] - middles).abs() < RADIUS * strides[:, None]).all(2)
    finds, which = (at_level & inside & near).max(1)  # boxes do not overlap: no location has two
    return torch.where(finds, torch.from_numpy(labels)[which], -1), edges[which]


def loss(found: dict[str, Tensor], classes: Tensor, boxes: Tensor) -> Tensor:
    """Focal loss (Lin et al., ICCV 2017) + GIoU loss (Rezatofighi et al., CVPR 2019) per location that finds something.

    Args:
        classes: int64 (N, K), -1 where there is nothing.
        boxes: float (N, K, 4).
    """
    something = classes >= 0
    count = something.sum().clamp(min=1)
    truth = F.one_hot(classes + 1, found["logits"].shape[2] + 1)[..., 1:].float()
    entropy = F.binary_cross_entropy_with_logits(found["logits"], truth, reduction="none")
    focal = entropy * (1 - torch.exp(-entropy)) ** 2
    return (focal.sum() + (1 - giou(found["boxes"][something], boxes[something])).sum()) / count


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalized intersection over union of boxes (n, 4) and as many others, (n,)."""
    overlap = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(1)
    union = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - overlap
    around = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(1)
    return overlap / union - (around - union) / around
