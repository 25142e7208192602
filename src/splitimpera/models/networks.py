"""The network that a scenario names: built-in and trained at first use, or the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from splitimpera.core.errors import ModelError, shown
from splitimpera.core.progress import Track, no_progress
from splitimpera.core.registry import nearest
from splitimpera.models.imports import contained, is_factory, run_factory, telling
from splitimpera.models.kinds import check_network
from splitimpera.models.libraries import is_library_name, load_from_library
from splitimpera.models.recipes import RECIPES, trained
from splitimpera.models.reference import REFERENCE
from splitimpera.models.weights import fill

OTHER_WAYS = "'package.module:factory', 'file.py:factory', 'torchvision/name', 'timm/name' or 'transformers/Class'"

if TYPE_CHECKING:
    from splitimpera.scenario import NetworkSection


def load_network(section: NetworkSection, folder: Path, track: Track[int] = no_progress) -> nn.Module:
    """The network, with its trained weights.

    Args:
        section: `model` is a built-in name, "torchvision/resnet50" and the like, `package.module:factory` or
            `file.py:factory`; the factory takes no arguments and returns an `nn.Module`. `weights` is a
            state dict (.safetensors, or .pt of tensors only), as `weights.fill` takes it.
        folder: what relative paths start from.

    Raises:
        ModelError: it cannot be found, made or filled with the weights.
    """
    name = section.model
    if name in RECIPES and section.weights is None:
        return trained(RECIPES[name], track)
    if name in RECIPES:
        model: object = RECIPES[name].build()
    elif name in REFERENCE:
        model = REFERENCE[name]()
    elif is_library_name(name):
        model = load_from_library(name)
    elif is_factory(name):
        model = run_factory(name, folder, ModelError)
    elif name.endswith(".py"):
        raise ModelError(
            f"'{shown(name)}' does not say which of its functions returns the network",
            where="network.model",
            hint=f"write for example {shown(name)}:make",
        )
    else:
        raise ModelError(
            f"no network is called '{shown(name)}'",
            where="network.model",
            hint=f"{nearest(name, network_names())}, or write {OTHER_WAYS}",
        )
    with contained(), telling(ModelError, f"what '{shown(name)}' returns cannot be used"):
        network = check_network(model, f"what '{shown(name)}' returns")
        if section.weights is not None:
            fill(network, folder / section.weights)
    return network


def network_names() -> tuple[str, ...]:
    """The built-in networks: those that are trained at first use, and those with random weights."""
    return (*RECIPES.names(), *REFERENCE.names())


def is_network_name(name: str) -> bool:
    """Whether `load_network` knows what a name means, without loading anything."""
    return name in network_names() or is_library_name(name) or is_factory(name)
