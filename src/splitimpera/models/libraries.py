"""Networks of other packages, by name: "torchvision/resnet50", "timm/resnet18", "transformers/<class or id>".

The packages are optional. Weights are random; a name that ends in "@pretrained" asks the package for its published
ones, which it may have to download.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from torch import nn

from splitimpera.core.errors import ModelError, shown
from splitimpera.core.registry import Registry, nearest
from splitimpera.models.imports import contained, exception_text, telling

Maker = Callable[[str, bool], nn.Module]

LIBRARIES: Registry[Maker] = Registry("library")


def is_library_name(name: str) -> bool:
    library, slash, _ = name.partition("/")
    return bool(slash) and library in LIBRARIES


def load_from_library(name: str) -> nn.Module:
    """The network of a name such as "timm/resnet18" or "torchvision/vit_b_16@pretrained".

    Raises:
        ModelError: the package is not installed, does not go with PyTorch, or has no such network.
    """
    library, _, rest = name.partition("/")
    network, _, wish = rest.partition("@")
    if wish not in ("", "pretrained"):
        raise ModelError(f"'{shown(name)}' asks for '{shown(wish)}'", hint="only '@pretrained' may follow the name")
    with contained(), telling(ModelError, f"{library} cannot make '{shown(network)}'"):
        try:
            return LIBRARIES[library](network, bool(wish))
        except ImportError as failure:
            words = f"'{shown(name)}' needs the package {library}: {exception_text(failure)}"
            raise ModelError(words, hint=f"pip install {library}") from None
        except RuntimeError as failure:
            if "operator torchvision::" not in str(failure):
                raise
            words = f"'{shown(name)}': the installed torchvision was built for another torch"
            raise ModelError(words, hint="pip install --force-reinstall torch torchvision, from one index") from None


@LIBRARIES.register("torchvision")
def _torchvision(name: str, pretrained: bool) -> nn.Module:
    models = import_module("torchvision.models")
    known = models.list_models()
    if name not in known:
        raise ModelError(f"torchvision has no network '{shown(name)}'", hint=nearest(name, known))
    model: nn.Module = models.get_model(name, weights="DEFAULT" if pretrained else None)
    return model


@LIBRARIES.register("timm")
def _timm(name: str, pretrained: bool) -> nn.Module:
    timm = import_module("timm")
    if not timm.is_model(name):
        raise ModelError(f"timm has no network '{shown(name)}'", hint="timm.list_models() lists them")
    model: nn.Module = timm.create_model(name, pretrained=pretrained)
    return model


@LIBRARIES.register("transformers")
def _transformers(name: str, pretrained: bool) -> nn.Module:
    """A class with its default configuration ("ViTForImageClassification"), or a hub's id with its weights."""
    transformers = import_module("transformers")
    if pretrained:
        model: nn.Module = transformers.AutoModelForImageClassification.from_pretrained(name)
        return model
    kind = getattr(transformers, name, None)
    if not isinstance(kind, type) or not issubclass(kind, nn.Module):
        known = [key for key in dir(transformers) if key.endswith("ForImageClassification")]
        raise ModelError(f"transformers has no network class '{shown(name)}'", hint=nearest(name, known))
    made: nn.Module = kind(kind.config_class())  # type: ignore[attr-defined]
    return made
