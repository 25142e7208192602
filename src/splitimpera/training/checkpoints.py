"""What a training that is interrupted leaves behind, read and checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from splitimpera.core.errors import OutputError
from splitimpera.training.weight_files import unpack

KIND = "checkpoint of a training"


def read_checkpoint(path: Path, key: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """What a checkpoint of the training `key` holds; None where there is none.

    Raises:
        OutputError: the file is damaged, or something else.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutputError(f"'{path}' cannot be read: {error.strerror or error}", where="checkpoint") from None
    hint = "remove it to start anew, or name another file"
    try:
        tensors, facts = unpack(KIND, content)
    except ValueError as failure:
        raise OutputError(f"'{path}' is no checkpoint: {failure}", where="checkpoint", hint=hint) from None
    if facts.get("key") != key:
        raise OutputError(
            f"'{path}' belongs to a training with another network, other data or other arguments",
            where="checkpoint",
            hint=hint,
        )
    return tensors, facts


def restore(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Give an optimizer the state that a checkpoint holds, its tensors named "index.name"."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, _, entry = name.partition(".")
        state.setdefault(int(index), {})[entry] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def without_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those of a checkpoint's tensors whose names begin so, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
