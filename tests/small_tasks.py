"""Small networks of every task with data for them, as a user's file has them."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

SIDE, CLASSES = 16, 3


def pictures(count=60, seed=0):
    """Noise with a bright rectangle in one of three colors; where it is, left, top, right, bottom; and its color."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 80, (count, SIDE, SIDE, 3), dtype=np.uint8)
    boxes, kinds = [], rng.integers(0, CLASSES, count)
    for image, kind in zip(images, kinds, strict=True):
        left, top = rng.integers(0, SIDE // 2, 2)
        right, bottom = left + rng.integers(5, SIDE // 2 + 1), top + rng.integers(5, SIDE // 2 + 1)
        image[top:bottom, left:right, kind] = 240
        boxes.append((left, top, right, bottom))
    return images, np.array(boxes), kinds


def classes():
    images, _, kinds = pictures()
    return images, kinds


def labels():
    images, _, kinds = pictures()
    return images, np.eye(CLASSES, dtype=np.int64)[kinds]


def centres():
    images, boxes, _ = pictures()
    return images, ((boxes[:, :2] + boxes[:, 2:]) / 2 / SIDE).astype(np.float32)


def brightness():
    images, _, _ = pictures()
    return images, (images.max(3) / 255).astype(np.float32)


def masks():
    images, boxes, kinds = pictures()
    made = np.zeros((len(images), SIDE, SIDE), np.uint8)
    for mask, (left, top, right, bottom), kind in zip(made, boxes, kinds, strict=True):
        mask[top:bottom, left:right] = kind + 1
    return images, made


def boxed():
    images, boxes, kinds = pictures()
    found = [
        {"boxes": box[None].astype(np.float32), "labels": np.array([kind])}
        for box, kind in zip(boxes, kinds, strict=True)
    ]
    return images, found


def empty():
    images, _, _ = pictures()
    return images, [{"boxes": [], "labels": []}] * len(images)


def alone():
    return pictures()[0]


class Bright(nn.Module):
    """How bright each color is above 0.6, (N, 3, H, W)."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 3, 1)
        self.first.weight.data, self.first.bias.data = torch.eye(3)[..., None, None], torch.full((3,), -0.6)

    def forward(self, x):
        return self.first(x).relu()


def classifier():
    """The color of which there is most; above 0 where there is a good deal."""
    last = nn.Linear(3, CLASSES)
    last.weight.data, last.bias.data = 10 * torch.eye(3), torch.full((3,), -0.15)
    return nn.Sequential(Bright(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), last)


def locator():
    """The mean place of what is bright."""

    class Centre(nn.Module):
        def __init__(self):
            super().__init__()
            self.bright = Bright()
            self.register_buffer("places", (torch.arange(SIDE) + 0.5) / SIDE)

        def forward(self, x):
            there = self.bright(x).sum(1) + 1e-6
            across, down = there.sum(1), there.sum(2)
            total = there.sum((1, 2))
            return torch.stack([(across * self.places).sum(1) / total, (down * self.places).sum(1) / total], 1)

    return Centre()


def mapper():
    """One number a pixel: how bright the brightest color is there."""

    class Brightest(nn.Module):
        def __init__(self):
            super().__init__()
            self.smooth = nn.Conv2d(3, 3, 1, bias=False)
            self.smooth.weight.data = torch.eye(3)[..., None, None]

        def forward(self, x):
            return self.smooth(x).relu().amax(1, keepdim=True)

    return Brightest()


def segmenter():
    """What is bright in a color is of its class; beside the logits it returns what it saw first."""

    class Colors(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(3, 3, 1)
            self.first.weight.data, self.first.bias.data = torch.eye(3)[..., None, None], torch.zeros(3)
            self.last = nn.Conv2d(3, CLASSES + 1, 1)
            self.last.weight.data = torch.cat([torch.zeros(1, 3), torch.eye(3)])[..., None, None]
            self.last.bias.data = torch.tensor([0.6, 0.0, 0.0, 0.0])

        def forward(self, x):
            seen = self.first(x).relu()
            return {"features": seen, "logits": self.last(seen)}

    return Colors()


def detector():
    """A box around all that is bright in each color, which scores as much as there is of it."""

    class Boxes(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(3, 3, 1)
            self.first.weight.data, self.first.bias.data = torch.eye(3)[..., None, None], torch.zeros(3)
            self.register_buffer("places", torch.arange(SIDE, dtype=torch.float32))

        def forward(self, x):
            bright = (20 * (self.first(x) - 0.6)).sigmoid()
            sides = []
            for columns in (bright.amax(2), bright.amax(3)):
                there = columns > 0.5
                first = torch.where(there, self.places, SIDE - 1.0).amin(2)
                last = torch.where(there, self.places, -1.0).amax(2) + 1
                sides += [first, torch.maximum(last, first + 1)]
            left, right, top, bottom = sides
            amount = bright.flatten(2).mean(2)  # (N, 3)
            logits = torch.diag_embed(100 * amount - 5) - 50 * (1 - torch.eye(3))
            return {"boxes": torch.stack([left, top, right, bottom], 2), "logits": logits}

    return Boxes()
