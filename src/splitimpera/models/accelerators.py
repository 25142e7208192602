"""Where networks are computed: the CPU, or an accelerator that PyTorch knows."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from splitimpera.core.errors import ScenarioError, UnknownNameError, shown
from splitimpera.core.registry import nearest

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def torch_device(name: str | torch.device) -> torch.device:
    """The device of a name; a device stays as it is.

    Args:
        name: "cpu"; "cuda" (NVIDIA and AMD GPUs; "cuda:1" is the second one); "mps" (Apple's GPUs); or "auto", the
            first of cuda, mps and cpu that this machine has.

    Raises:
        UnknownNameError: it is none of these.
        ScenarioError: this machine has no such device, or PyTorch cannot use it.

    Example:
        >>> torch_device("cpu")
        device(type='cpu')
    """
    if isinstance(name, torch.device):
        return name
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if _count(kind)))
    kind, colon, number = name.partition(":")
    if kind not in DEVICES[1:] or (colon and not (kind == "cuda" and number.isdecimal() and number.isascii())):
        raise UnknownNameError(f"no device is called '{shown(name)}'", where="device", hint=nearest(kind, DEVICES))
    if not _count(kind):
        raise ScenarioError(
            f"'{name}' is asked for, and PyTorch {torch.__version__} finds no such device on this machine",
            where="device",
            hint="write auto or cpu, or install the driver and a PyTorch built for it",
        )
    if number and (len(number) > 4 or int(number) >= _count(kind)):
        raise ScenarioError(
            f"'{shown(name)}' is asked for, this machine has cuda:0 to cuda:{_count(kind) - 1}", where="device"
        )
    return torch.device(f"{kind}:{int(number)}" if number else kind)


def torch_precision(name: str | torch.dtype | None) -> torch.dtype | None:
    """The type of mixed precision of a name, "bfloat16" or "float16"; None for "", full precision; a type stays.

    Raises:
        UnknownNameError: it is none of these.
    """
    if not name or name in PRECISIONS.values():
        return name or None  # type: ignore[return-value]  # a type, or nothing
    if name not in PRECISIONS:
        raise UnknownNameError(
            f"no type of mixed precision is called '{shown(name)}'",
            where="autocast",
            hint=nearest(str(name), PRECISIONS),
        )
    return PRECISIONS[name]


def mixed(device: torch.device, autocast: torch.dtype | None) -> AbstractContextManager[object]:
    """Mixed precision for a while; None: as it is."""
    return nullcontext() if autocast is None else torch.autocast(device.type, dtype=autocast)


def rounding(device: torch.device | None, autocast: torch.dtype | None) -> str:
    """What rounds otherwise than a CPU in full precision, for keys of what is kept; '' for that.

    Example:
        >>> rounding(torch.device("cuda:1"), torch.bfloat16), rounding(torch.device("cpu"), None)
        (' cuda torch.bfloat16', '')
    """
    place = "" if device is None or device.type == "cpu" else device.type
    return f" {place} {autocast}" if place or autocast else ""


def to_float64(x: Tensor) -> Tensor:
    """The same numbers in float64; on the CPU where they lie on Apple's GPU, which has no such type."""
    return (x.cpu() if x.device.type == "mps" else x).double()


def _count(kind: str) -> int:
    """How many devices of a kind there are."""
    if kind == "cuda":
        return torch.cuda.device_count() if torch.cuda.is_available() else 0
    return int(torch.backends.mps.is_available()) if kind == "mps" else 1
