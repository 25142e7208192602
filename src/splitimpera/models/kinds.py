"""What a network may be: modules with weights in floating point. What is none of these is refused by name."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn
from torch.nn.parameter import is_lazy

from splitimpera.core.errors import ModelError, shown


def check_network(model: object, name: str = "the network") -> nn.Module:
    """Raise ModelError where a network can be loaded, but not cut, or not truly.

    Args:
        name: what messages call it.
    """
    exported = isinstance(model, fx.GraphModule) and "train" in vars(model)
    if isinstance(model, torch.export.ExportedProgram) or exported:
        raise ModelError(
            f"{name} is an exported program, whose mode and batch size are fixed",
            hint="return the nn.Module that was exported",
        )
    if not isinstance(model, nn.Module):
        raise ModelError(f"{name} is {shown(type(model).__name__)}, an nn.Module is expected")
    for path, module in model.named_modules():
        place = f"layer '{shown(path)}' of {name}" if path else name
        if isinstance(module, torch.jit.ScriptModule):
            raise ModelError(f"{place} is a scripted module", hint="return the nn.Module that was scripted")
        if ".quantized." in type(module).__module__ and type(module).__module__.startswith("torch."):
            kind = shown(type(module).__name__)
            raise ModelError(
                f"{place} is quantised ({kind})",
                hint="return the network in floating point; codecs and bottlenecks quantise what crosses",
            )
    for key, tensor in (*model.named_parameters(), *model.named_buffers()):
        place = f"the tensor '{shown(key)}' of {name}"
        if is_lazy(tensor):
            raise ModelError(f"{place} is not initialised yet", hint="run the network once on a sample first")
        refused = strange_kind(tensor)
        if refused is not None:
            raise ModelError(f"{place} is {refused}, a plain tensor is expected")
    return model


def strange_kind(tensor: Tensor) -> str | None:
    """What a tensor is that is no plain array of numbers; None for one that is."""
    if tensor.is_nested:
        return "a nested tensor"
    if tensor.layout != torch.strided:
        return f"sparse ({tensor.layout})".replace("torch.", "")
    if tensor.is_quantized:
        return "quantised"
    if tensor.is_meta:
        return "on the device 'meta', where nothing is held"
    return None


def unwrapped(model: nn.Module) -> nn.Module:
    """The network inside what only runs it: several devices at once, or a compiler."""
    while True:
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        elif isinstance(inner := model._modules.get("_orig_mod"), nn.Module):  # what torch.compile returns
            model = inner
        else:
            return model
