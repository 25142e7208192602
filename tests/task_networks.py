"""Small networks of the shapes that segmentation and detection have: open skips, pyramids, heads that remember."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


def conv(channels: int, out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    layer = nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(out), nn.SiLU())


class UNet(nn.Module):
    """Two levels, whose skips are open over all that lies between."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.deepest = conv(3, 4), conv(4, 8), conv(8, 16)
        self.up2, self.join2 = nn.ConvTranspose2d(16, 8, 2, 2), conv(16, 8)
        self.up1, self.join1 = nn.ConvTranspose2d(8, 4, 2, 2), conv(8, 4)
        self.masks = nn.Conv2d(4, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        second = self.second(F.max_pool2d(first, 2))
        x = self.up2(self.deepest(F.max_pool2d(second, 2)))
        x = self.up1(self.join2(torch.cat([second, x], 1)))
        return self.masks(self.join1(torch.cat([first, x], 1)))


class FeaturePyramid(nn.Module):
    """Three levels, a head that they share, results in a dict; integers that do not depend on a weight cross, too."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList([conv(3, 4, stride=2), conv(4, 6, stride=2), conv(6, 8, stride=2)])
        self.lateral = nn.ModuleList([nn.Conv2d(channels, 4, 1) for channels in (4, 6, 8)])
        self.smooth = nn.ModuleList([nn.Conv2d(4, 4, 3, padding=1) for _ in range(3)])
        self.classes, self.boxes = nn.Conv2d(4, 3, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        brightest = x.flatten(1).argmax(1)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        above: Tensor | None = None
        levels = []
        for lateral, smooth, level in zip(*map(reversed, (self.lateral, self.smooth, maps)), strict=True):
            merged = lateral(level)
            if above is not None:
                merged = merged + F.interpolate(above, scale_factor=2.0, mode="nearest")
            above = merged
            levels.insert(0, smooth(merged))
        return {
            "scores": torch.cat([self.classes(level).flatten(2) for level in levels], 2),
            "boxes": torch.cat([self.boxes(level).flatten(2) for level in levels], 2),
            "brightest": brightest,
        }


class CrossStage(nn.Module):
    """A part of the channels goes through residual blocks; all that comes of it is joined."""

    def __init__(self, channels: int, out: int, shortcut: bool = True) -> None:
        super().__init__()
        self.half, self.shortcut = out // 2, shortcut
        self.into, self.join = conv(channels, out, 1), conv(3 * self.half, out, 1)
        self.block = nn.Sequential(conv(self.half, self.half), conv(self.half, self.half))

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.into(x).split((self.half, self.half), 1))
        made = self.block(parts[-1])
        parts.append(parts[-1] + made if self.shortcut else made)
        return self.join(torch.cat(parts, 1))


class PoolingPyramid(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.into, self.join = conv(channels, channels // 2, 1), conv(2 * channels, channels, 1)
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        pooled = [self.into(x)]
        for _ in range(3):
            pooled.append(self.pool(pooled[-1]))
        return self.join(torch.cat(pooled, 1))


class RememberingDetect(nn.Module):
    """Boxes from distributions over distances, about a grid that is made again only where the shape changes."""

    def __init__(self, classes: int, channels: tuple[int, ...], strides: tuple[int, ...], bins: int = 4) -> None:
        super().__init__()
        self.bins, self.steps, self.shape = bins, strides, None
        self.distances = nn.ModuleList([nn.Sequential(conv(c, 8), nn.Conv2d(8, 4 * bins, 1)) for c in channels])
        self.scores = nn.ModuleList([nn.Sequential(conv(c, 8), nn.Conv2d(8, classes, 1)) for c in channels])

    def forward(self, levels: list[Tensor]) -> tuple[Tensor, dict[str, Tensor | list[Tensor]]]:
        if self.shape != levels[0].shape:  # the batch counts, as if the grid depended on it
            self.shape = levels[0].shape
            self.points, self.scale = self.grid(levels)
        rows = levels[0].shape[0]
        both = zip(levels, self.distances, self.scores, strict=True)
        made = [(distances(x).view(rows, 4 * self.bins, -1), scores(x).flatten(2)) for x, distances, scores in both]
        distances, scores = (torch.cat(parts, 2) for parts in zip(*made, strict=True))
        shares = distances.view(rows, 4, self.bins, -1).softmax(2)
        near, far = (shares * torch.arange(self.bins).view(1, 1, -1, 1)).sum(2).chunk(2, 1)
        corners = torch.cat([self.points - near, self.points + far], 1) * self.scale
        return torch.cat([corners, scores.sigmoid()], 1), {"boxes": distances, "scores": scores, "feats": levels}

    def grid(self, levels: list[Tensor]) -> tuple[Tensor, Tensor]:
        points, scale = [], []
        for level, step in zip(levels, self.steps, strict=True):
            height, width = level.shape[-2:]
            y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
            points.append(torch.stack([x.flatten(), y.flatten()]))
            scale.append(torch.full((1, height * width), float(step)))
        return torch.cat(points, 1), torch.cat(scale, 1)


class Yolo(nn.Module):
    """YOLOv8n's shape with two levels: cross-stage blocks, paths down and up the pyramid, a head that remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 4, stride=2)
        self.level1 = nn.Sequential(conv(4, 8, stride=2), CrossStage(8, 8))
        self.level2 = nn.Sequential(conv(8, 16, stride=2), CrossStage(16, 16), PoolingPyramid(16))
        self.up = nn.Upsample(scale_factor=2)
        self.from_above, self.down = CrossStage(24, 8, shortcut=False), conv(8, 8, stride=2)
        self.from_below = CrossStage(24, 16, shortcut=False)
        self.detect = RememberingDetect(3, (8, 16), (4, 8))

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor | list[Tensor]]]:
        near = self.level1(self.stem(x))
        far = self.level2(near)
        near = self.from_above(torch.cat([self.up(far), near], 1))
        far = self.from_below(torch.cat([self.down(near), far], 1))
        return self.detect([near, far])
