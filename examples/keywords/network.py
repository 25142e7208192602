"""A small convolutional network that recognizes keywords; trained at first use, then cached."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from data import WORDS, spoken
from torch import Tensor, nn

from splitimpera.models.recipes import trained_once, weights_name

TRAINED_ON, EPOCHS, BATCH, LEARNING_RATE = 3000, 8, 32, 1e-2


class KeywordNet(nn.Module):
    """A convolution, then blocks of a depthwise and a pointwise one; every other halves the spectrogram.

    `forward` takes spectrograms float (N, 1, mels, frames) and returns logits (N, words).
    """

    def __init__(self, words: int = len(WORDS), width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.blocks = nn.Sequential(
            block(width, 2 * width, stride=2),
            block(2 * width, 2 * width),
            block(2 * width, 4 * width, stride=2),
            block(4 * width, 4 * width),
        )
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.linear = nn.Linear(4 * width, words)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.pool(self.blocks(self.stem(x))))
        return logits


def block(in_channels: int, channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, 3, stride, padding=1, groups=in_channels, bias=False),
        nn.BatchNorm2d(in_channels),
        nn.ReLU(),
        nn.Conv2d(in_channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    )


def build() -> nn.Module:
    """The network with its weights."""
    sources = [Path(__file__), Path(__file__).with_name("data.py")]
    return trained_once(weights_name("keywords", *(file.read_text() for file in sources)), KeywordNet, fit)


def fit(model: nn.Module) -> None:
    """Cross-entropy and AdamW with a one-cycle learning rate."""
    sys.stderr.write("Training the keyword network, once: about half a minute\n")
    spectrograms, labels = (torch.from_numpy(values) for values in spoken("train", TRAINED_ON))
    steps = -(-len(labels) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, EPOCHS * steps)
    loss = nn.CrossEntropyLoss()
    model.train()
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(labels)).split(BATCH):
            optimizer.zero_grad()
            loss(model(spectrograms[rows]), labels[rows]).backward()
            optimizer.step()
            schedule.step()
