"""Networks and data that a scenario cannot use, for the scenarios beside this file."""

import torch
from torch import nn

from splitimpera.models.recipes import RECIPES


class Undecided(nn.Module):
    def forward(self, x):
        if x.sum() > 0:
            return x.mean((2, 3))
        return -x.mean((2, 3))


def untrained():
    """The built-in network, for whom a minute of training adds nothing."""
    return RECIPES["digits-vgg16"].build()


def undecided():
    return Undecided()


def three_channels():
    return nn.Sequential(nn.Conv2d(3, 10, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def failing():
    return 1 / 0


def number():
    return 7


def many_classes():
    return torch.rand(200, 1, 32, 32), torch.arange(200) % 100
