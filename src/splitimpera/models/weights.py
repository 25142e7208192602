"""State dicts from files: read without running what they contain, and put into a network where they truly fit."""

from __future__ import annotations

import os
import pickletools
import warnings
import zipfile
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor, nn

from splitimpera.core.errors import ModelError, listed, shown, shown_path
from splitimpera.core.files import open_file
from splitimpera.models.imports import exception_text
from splitimpera.models.kinds import strange_kind

WHERE = "network.weights"
HINT = "save model.state_dict() with torch.save or safetensors"

PICKLE_BYTES = 1 << 24
PICKLE_STEPS = 1_000_000
"""The most that the description of the tensors in a .pt file may take: some 30 000 tensors. Numbers lie beside it."""
LEGACY_PICKLES = 5
"""So many begin a file of PyTorch before 1.6; its numbers follow."""


def fill(model: nn.Module, path: Path) -> None:
    """Put the weights of a file into a network.

    Floating-point weights of another width are converted; what is another kind of number, not finite (where the
    network's own value is not the same), or no plain tensor, is refused.

    Raises:
        ModelError: the file cannot be read, or does not fit; the network is as it was then.
    """
    state = read_state(path)
    own = model.state_dict()
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or unexpected:
        lines = [f"{word} {listed(keys, 3)}" for word, keys in (("lacks", missing), ("adds", unexpected)) if keys]
        raise _unfit(path, " and ".join(f"it {line}" for line in lines).replace(" and it ", " and "))
    for key, value in state.items():
        problem = _misfit(value, own[key])
        if problem is not None:
            raise _unfit(path, f"{shown(key)} {problem}")
    model.load_state_dict(state)


def read_state(path: Path) -> dict[str, Tensor]:
    """A state dict, read without running anything that the file contains.

    Raises:
        ModelError: there is no such file, or it holds anything else than tensors by name.
    """
    try:
        with open_file(path, ModelError, what="weights file") as file:
            try:
                state = _safetensors(path) if path.suffix == ".safetensors" else _pickled(file)
            except (ModelError, KeyboardInterrupt):
                raise
            except BaseException as failure:  # pickles and their readers raise what they like
                words = exception_text(failure) or type(failure).__name__
                raise ModelError(f"'{shown_path(path)}' is no state dict of tensors: {words}", hint=HINT) from None
        for key, value in state.items():
            if not isinstance(key, str):
                raise ModelError(
                    f"'{shown_path(path)}' names a tensor {shown(repr(key))}, a text is expected", hint=HINT
                )
            strange = strange_kind(value) if isinstance(value, Tensor) else shown(type(value).__name__)
            if strange is not None:
                raise ModelError(
                    f"'{shown_path(path)}' is no state dict of tensors: '{shown(key)}' is {strange}, a plain tensor is "
                    "expected",
                    hint=HINT,
                )
    except ModelError as error:
        raise error.at(WHERE) from None
    return state


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(path)


def _pickled(file: BinaryIO) -> dict[str, Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about deprecated storages, of old files
        _check_pickle(file)
        file.seek(0)
        state = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(state, dict):
        kind = shown(type(state).__name__)
        raise ModelError(f"the weights file holds {kind}, a state dict of tensors is expected", hint=HINT)
    return state


def _check_pickle(file: BinaryIO) -> None:
    """Refuse what even a reader of weights alone would make far larger than the file.

    Raises:
        ModelError: it is compressed, or asks for anything but torch's own: buffers of any size, for instance.
        Exception: it is no pickle.
    """
    if file.read(4) != b"PK\x03\x04":
        file.seek(0)
        for _ in range(LEGACY_PICKLES):
            _check_names(file)
        return
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        size = os.fstat(file.fileno()).st_size
        if any(entry.compress_type for entry in entries) or sum(entry.file_size for entry in entries) > size:
            raise ModelError("the weights file is compressed", hint=HINT)
        described = [entry for entry in entries if entry.filename.rpartition("/")[2] == "data.pkl"]
        if len(described) != 1 or described[0].file_size > PICKLE_BYTES:
            raise ModelError("the weights file holds no state dict, or one that contains itself", hint=HINT)
        _check_names(archive.read(described[0]))


def _check_names(pickle: bytes | BinaryIO) -> None:
    for step, (operation, argument, _) in enumerate(pickletools.genops(pickle)):
        if step > PICKLE_STEPS:
            raise ModelError("the weights file holds a state dict that contains itself", hint=HINT)
        # those that name things in other ways are not used by torch.save
        if operation.name in ("STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4"):
            raise ModelError("the weights file was not written by torch.save", hint=HINT)
        name = str(argument)
        if operation.name == "GLOBAL" and not name.startswith("torch") and name != "collections OrderedDict":
            raise ModelError(f"the weights file is no state dict of tensors: it holds {shown(name)}", hint=HINT)


def _misfit(value: Tensor, own: object) -> str | None:
    """Why a file's tensor cannot take the place of the network's; None where it can."""
    if not isinstance(own, Tensor):
        return f"is a tensor, {shown(type(own).__name__)} is expected"
    if value.shape != own.shape:
        return f"has shape {_shape(value)}, {_shape(own)} is expected"
    if _kind(value.dtype) != _kind(own.dtype):
        return f"holds {_kind(value.dtype)} ({_name(value)}), {_kind(own.dtype)} ({_name(own)}) are expected"
    converted = value.to(own.dtype)
    if not (own.dtype.is_floating_point or own.dtype.is_complex):
        return None if torch.equal(converted.to(value.dtype), value) else f"holds numbers beyond {_name(own)}"
    found = _wide(converted)
    strange = ~torch.isfinite(found)
    if bool(strange.any()):  # masks are infinite in some networks, and the same in their files
        strange &= found != _wide(own.detach().cpu())
    if not bool(strange.any()):
        return None
    beyond = bool(torch.isfinite(_wide(value)[strange]).all())
    return f"holds numbers beyond {_name(own)}" if beyond else "holds NaN or infinite numbers"


def _wide(tensor: Tensor) -> Tensor:
    """Floats of eight bits know no comparison."""
    return tensor.float() if tensor.dtype.is_floating_point and tensor.dtype.itemsize < 2 else tensor


def _kind(dtype: torch.dtype) -> str:
    if dtype.is_complex:
        return "complex numbers"
    if dtype.is_floating_point:
        return "floating-point numbers"
    return "truth values" if dtype == torch.bool else "integers"


def _name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _shape(tensor: Tensor) -> str:
    return shown(tuple(tensor.shape))


def _unfit(path: Path, problem: str) -> ModelError:
    return ModelError(f"'{shown(path.name)}' does not fit the network: {problem}", where=WHERE)
