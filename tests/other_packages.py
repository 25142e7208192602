"""Packages that some tests need: skip without them, mend torchvision where it meets a torch without CUDA."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

import pytest
import torch

_libraries: list[torch.library.Library] = []  # an operator lives as long as the library that defined it


def package(name: str) -> ModuleType:
    """Import a package, or skip the test that asks for it."""
    if name != "torchvision":
        torchvision_if_there()
    return torchvision() if name == "torchvision" else pytest.importorskip(name)


def torchvision_if_there() -> None:
    """timm and transformers import torchvision by themselves where it is installed, and break where that fails."""
    try:
        torchvision()
    except pytest.skip.Exception:
        return


def torchvision() -> ModuleType:
    try:
        return import_module("torchvision")
    except ModuleNotFoundError:
        pytest.skip("torchvision is not installed")
    except RuntimeError as failure:
        if "torchvision::nms" not in str(failure):
            raise
    for module in [key for key in sys.modules if key.partition(".")[0] == "torchvision"]:
        del sys.modules[module]
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _libraries.append(library)
    return import_module("torchvision")
