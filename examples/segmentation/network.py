"""A small U-Net that says of every pixel which digit it belongs to; trained at first use, then cached."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from data import CLASSES, masked
from torch import Tensor, nn

from splitimpera.models.recipes import trained_once, weights_name

SKIPS = (2, 8)
"""Channels of the skips."""
TRAINED_ON, EPOCHS, BATCH, LEARNING_RATE = 4000, 5, 16, 5e-3


def convolution(in_channels: int, channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
    )


class UNet(nn.Module):
    """Features at 1/2, 1/4 and 1/8 of the image's side; a cut in the middle crosses two skips.

    The skips are narrow, so that few values cross.

    `forward` takes images float (N, 3, H, W) from 0 to 1, H and W divisible by 8; returns logits (N, classes, H, W).
    """

    def __init__(self, classes: int = len(CLASSES), width: int = 8) -> None:
        super().__init__()
        self.down1 = convolution(3, width, stride=2)
        self.skip1 = nn.Conv2d(width, SKIPS[0], 1)
        self.down2 = nn.Sequential(convolution(width, 4 * width, stride=2), convolution(4 * width, 4 * width))
        self.skip2 = nn.Conv2d(4 * width, SKIPS[1], 1)
        self.down3 = nn.Sequential(convolution(4 * width, 8 * width, stride=2), convolution(8 * width, 8 * width))
        self.bottom = convolution(8 * width, 4 * width)
        self.enlarge = nn.Upsample(scale_factor=2)
        self.up2 = convolution(4 * width + SKIPS[1], 4 * width)
        self.up1 = convolution(4 * width + SKIPS[0], 2 * width)
        self.head = nn.Sequential(nn.Conv2d(2 * width, 4 * classes, 1), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        half = self.down1(x)
        skip1 = self.skip1(half)
        quarter = self.down2(half)
        skip2 = self.skip2(quarter)
        x = self.bottom(self.down3(quarter))
        x = self.up2(torch.cat([self.enlarge(x), skip2], 1))
        x = self.up1(torch.cat([self.enlarge(x), skip1], 1))
        logits: Tensor = self.head(x)
        return logits


def build() -> nn.Module:
    """The network with its weights."""
    here = Path(__file__).parent
    sources = [here / "network.py", here / "data.py", here.parent / "digit_scenes.py"]
    return trained_once(weights_name("segmentation", *(file.read_text() for file in sources)), UNet, fit)


def fit(model: nn.Module) -> None:
    """Cross-entropy and AdamW with a one-cycle learning rate."""
    sys.stderr.write("Training the U-Net, once: about a minute\n")
    images, masks = (torch.from_numpy(values) for values in masked("train", TRAINED_ON))
    steps = -(-len(images) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, EPOCHS * steps)
    loss = nn.CrossEntropyLoss(torch.tensor([0.2] + [1.0] * 10))
    model.train().to(memory_format=torch.channels_last)  # a quarter less time on a processor
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(images)).split(BATCH):
            optimizer.zero_grad()
            loss(model(images[rows].permute(0, 3, 1, 2) / 255), masks[rows].long()).backward()
            optimizer.step()
            schedule.step()
    model.to(memory_format=torch.contiguous_format)
