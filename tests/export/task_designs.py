"""Small networks of several tasks with data that they are mostly right on, as scenarios name them."""

from __future__ import annotations

SOURCE = '''
import numpy as np
import torch
from torch import nn

COUNT = 80


def images():
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(COUNT, 3, 8, 8, generator=generator)
    return nn.functional.interpolate(coarse, scale_factor=2.0)


class Masks(nn.Module):
    """Two outputs in a dict, of which the second is a segmentation's logits, half as large as the images."""

    def __init__(self):
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.aux, self.out = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x):
        x = self.body(self.stem(x).relu()).relu()
        return {"aux": self.aux(x), "out": self.out(x)}


class Boxes(nn.Module):
    """Two outputs: boxes (16, 4) around the places of a grid, and a logit for each of 3 classes."""

    def __init__(self):
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.sizes, self.classes = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 3, 1)
        y, x = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
        self.register_buffer("centres", torch.stack([4 * x + 2, 4 * y + 2], -1).reshape(16, 2))

    def forward(self, x):
        x = self.body(self.stem(x).relu()).relu()
        half = 2 + 3 * self.sizes(x).flatten(2).transpose(1, 2).sigmoid()
        boxes = torch.cat([self.centres - half[..., :2], self.centres + half[..., 2:]], -1)
        return boxes, self.classes(x).flatten(2).transpose(1, 2)


class Numbers(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Linear(8, 2)

    def forward(self, x):
        return self.head(self.stem(x).relu().mean((2, 3)))


def seeded(kind, **scaled):
    torch.manual_seed(5)
    made = kind().eval()
    with torch.no_grad():
        for name, factor in scaled.items():
            getattr(made, name).weight.mul_(factor)
            getattr(made, name).bias.zero_()
    return made


def masks():
    return seeded(Masks, out=20)


def boxes():
    return seeded(Boxes, classes=60)


def numbers():
    return seeded(Numbers, head=20)


def mask_data():
    x = images()
    with torch.no_grad():
        logits = masks()(x)["out"]
    y = nn.functional.interpolate(logits, (16, 16), mode="bilinear", align_corners=False).argmax(1)
    y[:, :3, :3] = 255  # which do not count
    y[::2, 3:6] = 1  # the network is wrong on some
    return x, y


def box_data():
    from splitimpera.tasks.detections import Detector

    x = images()
    detector = Detector("boxes_scores", 3, (16, 16))
    with torch.no_grad():
        found = [detector((one.numpy(), other.numpy())) for one, other in zip(*boxes()(x))]
    targets = []
    for place, (at, scores, kinds) in enumerate(found):
        sure = scores > (0.9 if place % 3 else 2.0)  # in every third image nothing is to be found
        targets.append({"boxes": at[sure], "labels": kinds[sure], "iscrowd": np.zeros(int(sure.sum()), np.int64)})
    return x, targets


def number_data():
    x = images()
    with torch.no_grad():
        y = numbers()(x)
    return x, y + 0.1 * torch.randn(y.shape, generator=torch.Generator().manual_seed(2))


def plain_data():
    return images()


def own_task():
    from splitimpera.tasks.segmentation import Segmentation

    return Segmentation(output="out")
'''
CASES = {
    "segmentation": ("masks", "mask_data", {"kind": "segmentation", "output": "out"}),
    "detection": ("boxes", "box_data", {"kind": "detection", "score_threshold": 0.3}),
    "regression": ("numbers", "number_data", "regression"),
    "agreement": ("numbers", "plain_data", {"kind": "agreement", "of": "regression"}),
    "classes": ("numbers", "plain_data", "agreement"),
    "own": ("masks", "mask_data", "mine.py:own_task"),
}
METRIC = {
    "segmentation": "miou",
    "detection": "map50",
    "regression": "rmse",
    "agreement": "agreement",
    "classes": "agreement",
    "own": "miou",
}


def changes_of(case):
    """Keys of the scenario for a case."""
    network, data, task = CASES[case]
    metric = METRIC[case]
    limit = f"{metric} <= 5" if metric == "rmse" else f"{metric} >= 20 %"
    return {
        "network": {"model": f"mine.py:{network}"},
        "data": {"source": f"mine.py:{data}", "validation": 0.4, "test": 0.3},
        "task": task,
        "links": [{"rate": "20 Mbit/s", "delay": "1 ms", "framing": "sei"}],
        "workload": {"fps": 20, "response": "runtime"},
        "plans": {"cuts": ["stem"], "codecs": ["uint8"], "transports": ["tcp"]},
        "bottlenecks": {"ratios": []},
        "requirements": [limit, "latency_p95 <= 1 s", f"on_time_{metric} {'<= 5' if metric == 'rmse' else '>= 10 %'}"],
    }
