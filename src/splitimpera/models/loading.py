"""The network that a scenario names: built-in and trained at first use, or the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from splitimpera.errors import ModelError
from splitimpera.models.imports import call_factory, is_factory, load_factory
from splitimpera.models.libraries import is_library_name, load_from_library
from splitimpera.models.recipes import RECIPES, trained
from splitimpera.models.reference import REFERENCE
from splitimpera.plugins import nearest
from splitimpera.records import Track, no_progress

OTHER_WAYS = "'package.module:factory', 'file.py:factory', 'torchvision/name', 'timm/name' or 'transformers/Class'"

if TYPE_CHECKING:
    from splitimpera.scenario import NetworkSection


def load_network(section: NetworkSection, folder: Path, track: Track[int] = no_progress) -> nn.Module:
    """The network, with its trained weights.

    Args:
        section: `model` is a built-in name, "torchvision/resnet50" and the like, `package.module:factory` or
            `file.py:factory`; the factory takes no arguments and returns an `nn.Module`. `weights` is a
            state dict (.safetensors, or .pt of tensors only).
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
        model = call_factory(load_factory(name, folder, ModelError), name, ModelError)
    else:
        raise ModelError(
            f"no network is called '{name}'",
            where="network.model",
            hint=f"{nearest(name, network_names())}, or write {OTHER_WAYS}",
        )
    if not isinstance(model, nn.Module):
        raise ModelError(f"'{name}' returns {type(model).__name__}, an nn.Module is expected", where="network.model")
    if section.weights is not None:
        _fill(model, folder / section.weights)
    return model


def network_names() -> tuple[str, ...]:
    """The built-in networks: those that are trained at first use, and those with random weights."""
    return (*RECIPES.names(), *REFERENCE.names())


def is_network_name(name: str) -> bool:
    """Whether `load_network` knows what a name means, without loading anything."""
    return name in network_names() or is_library_name(name) or is_factory(name)


def _fill(model: nn.Module, path: Path) -> None:
    state = _read_state(path)
    own = model.state_dict()
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or unexpected:
        lines = [f"{word} {', '.join(keys[:3])}" for word, keys in (("lacks", missing), ("adds", unexpected)) if keys]
        raise ModelError(f"'{path.name}' does not fit the network: it {' and '.join(lines)}", where="network.weights")
    for key, value in state.items():
        if value.shape != own[key].shape:
            raise ModelError(
                f"'{path.name}' does not fit the network: {key} has shape {tuple(value.shape)}, "
                f"{tuple(own[key].shape)} is expected",
                where="network.weights",
            )
    model.load_state_dict(state)


def _read_state(path: Path) -> dict[str, Tensor]:
    """A state dict, read without running anything that the file contains."""
    if not path.is_file():
        raise ModelError(f"the file '{path}' does not exist", where="network.weights")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as failure:
        words = (str(failure).splitlines() or [type(failure).__name__])[0]
        raise ModelError(f"'{path}' is no state dict of tensors: {words}", where="network.weights") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"'{path}' is no state dict of tensors", where="network.weights")
    return state
