"""Networks that this package trains itself, at first use, and keeps in the cache: the examples need no download."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from splitimpera.core.cache import made_once, read_cached, usable_cache, write_cached
from splitimpera.core.progress import Track, no_progress
from splitimpera.core.registry import Registry
from splitimpera.models.datasets import DATASETS
from splitimpera.models.resnet import CifarResNet
from splitimpera.models.samples import Samples
from splitimpera.models.threads import torch_threads
from splitimpera.models.vgg import VGG


@dataclass(frozen=True)
class Recipe:
    """How a built-in network is made: on one thread, since with another number of them other weights come out.

    `version` goes up whenever `build` or the training changes, so that old weights are not taken for new ones.
    """

    name: str
    build: Callable[[], nn.Module]
    data: str
    epochs: int
    learning_rate: float
    version: int = 2

    def file_name(self) -> str:
        return weights_name(self.name, self.data, self.epochs, self.learning_rate, self.version)


def weights_name(name: str, *made_of: str | float) -> str:
    """What a network's weights are filed under in the cache: another name whenever `made_of` or PyTorch changes."""
    recipe = json.dumps([name, *made_of, torch.__version__])
    return f"{name}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}.weights"


RECIPES: Registry[Recipe] = Registry("network")

for _recipe in (
    Recipe(
        "digits-vgg16",
        lambda: VGG(in_channels=1, num_classes=10, width=8, hidden=64, pooled=1, batch_norm=True, dropout=0.2),
        data="digits",
        epochs=60,
        learning_rate=0.02,
    ),
    Recipe(
        "digits-resnet20",
        lambda: CifarResNet(in_channels=1, width=8),
        data="digits",
        epochs=40,
        learning_rate=0.05,
    ),
):
    RECIPES.register(_recipe.name)(_recipe)


def trained(recipe: Recipe, track: Track[int] = no_progress) -> nn.Module:
    """The recipe's network with trained weights, from the cache or trained now; in eval mode."""
    return trained_once(
        recipe.file_name(), recipe.build, lambda model: _fit(model, DATASETS[recipe.data]().train, recipe, track)
    )


def trained_once(file_name: str, build: Callable[[], nn.Module], fit: Callable[[nn.Module], None]) -> nn.Module:
    """A network with trained weights, from the cache or trained now; in eval mode.

    Args:
        file_name: what its weights are filed under: `weights_name` makes one.
        build: makes the network.
        fit: trains it in place, on one thread, with gradients and after `torch.manual_seed(0)`.
    """
    with made_once(file_name), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build()
        stored = read_cached(file_name)
        if stored is not None:
            try:
                model.load_state_dict(load_tensors(stored))
                return model.eval()
            except (SafetensorError, RuntimeError):
                model = build()  # a file of that name by another hand: make it anew
        kept = usable_cache() is not None
        with torch_threads(1), torch.enable_grad():
            fit(model)
        if kept:
            tensors = {key: value.contiguous() for key, value in model.state_dict().items()}
            write_cached(file_name, save_tensors(tensors))
    return model.eval()


def _fit(model: nn.Module, samples: Samples, recipe: Recipe, track: Track[int]) -> None:
    """Cross-entropy, SGD with momentum, one-cycle learning rate, images shifted by up to two pixels."""
    batch = 64
    steps = -(-len(samples) // batch)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=recipe.learning_rate, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=recipe.learning_rate, total_steps=recipe.epochs * steps
    )
    loss = nn.CrossEntropyLoss(label_smoothing=0.05)
    model.train()
    for _ in track(range(recipe.epochs), f"Training {recipe.name}", recipe.epochs):
        for rows in torch.split(torch.randperm(len(samples)), batch):
            optimizer.zero_grad()
            loss(model(_shifted(samples.read(rows))), samples.labels[rows]).backward()
            optimizer.step()
            schedule.step()


def _shifted(x: Tensor, by: int = 2) -> Tensor:
    """Move every image of a batch (N, C, H, W) by the same random step; the edge is repeated."""
    height, width = x.shape[-2:]
    top, left = (int(step) for step in torch.randint(0, 2 * by + 1, (2,)))
    return nn.functional.pad(x, (by, by, by, by), mode="replicate")[..., top : top + height, left : left + width]
