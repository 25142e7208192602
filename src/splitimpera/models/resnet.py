"""The CIFAR ResNets (He et al., CVPR 2016, section 4.2): option-A shortcuts, which have no parameters.

Parameter names follow the widespread CIFAR implementation: `conv1`, `bn1`, `layer1.0.conv1`, ..., `linear`.
"""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812  (the name everybody knows it by)
from torch import Tensor, nn


class CifarBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut, which subsamples and pads channels with zeros where the size changes."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride = stride
        self.padding = (channels - in_channels) // 2

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.stride != 1 or self.padding:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.padding, self.padding))
        return F.relu(y + x)


class CifarResNet(nn.Module):
    """ResNet of 6 n + 2 layers for small pictures: a stem, three stages of n blocks, pool, linear.

    Args:
        blocks: n, the blocks of each stage (3 for ResNet-20).
        width: channels of the first stage (16 in the paper); the next ones have two and four times as many.

    `forward` takes float (N, in_channels, H, W) and returns logits (N, num_classes).
    """

    def __init__(self, blocks: int = 3, *, num_classes: int = 10, in_channels: int = 3, width: int = 16) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _stage(width, width, blocks, 1)
        self.layer2 = _stage(width, 2 * width, blocks, 2)
        self.layer3 = _stage(2 * width, 4 * width, blocks, 2)
        self.linear = nn.Linear(4 * width, num_classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        x = F.avg_pool2d(x, x.shape[-2:]).flatten(1)
        logits: Tensor = self.linear(x)
        return logits


def _stage(in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = CifarBlock(in_channels, channels, stride)
    return nn.Sequential(first, *(CifarBlock(channels, channels, 1) for _ in range(blocks - 1)))
