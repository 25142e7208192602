"""Weights with the facts that belong to them, in one safetensors file with a checksum. Nothing is ever unpickled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

LARGEST_HEADER_BYTES = 1 << 24


def pack(kind: str, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> bytes:
    """The content of a file: `facts` (what JSON can write) stand in the header, with a checksum of everything."""
    own = {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    text = json.dumps(facts)
    return save_tensors(own, {"kind": kind, "facts": text, "sha256": digest(kind, text, own)})


def unpack(kind: str, content: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and facts of a file's content.

    Raises:
        ValueError: it is damaged, of another kind, or no such file at all.
    """
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(len(content) - 8, LARGEST_HEADER_BYTES):
        raise ValueError("it is no safetensors file, or a part of it is missing")
    try:
        header = json.loads(content[8 : 8 + length])["__metadata__"]
        tensors = load_tensors(content)
        if header["kind"] != kind:
            raise ValueError(f"it holds a {header['kind']}, not a {kind}")
        if header["sha256"] != digest(kind, header["facts"], tensors):
            raise ValueError("its checksum does not fit, it is damaged")
        facts = json.loads(header["facts"])
    except (SafetensorError, KeyError, TypeError, RecursionError, UnicodeDecodeError, json.JSONDecodeError) as failure:
        raise ValueError(f"it cannot be read ({type(failure).__name__})") from None
    if not isinstance(facts, dict):
        raise ValueError("its facts are no mapping")
    return tensors, facts


def digest(*parts: str | Tensor | Mapping[str, Tensor] | None) -> str:
    """SHA-256 of texts and tensors; names, types and shapes count as well as values."""
    found = hashlib.sha256()
    for part in parts:
        if part is None or isinstance(part, str):
            found.update(json.dumps(part).encode() + b"\n")
        elif isinstance(part, Tensor):
            found.update(json.dumps([str(part.dtype), list(part.shape)]).encode() + b"\n")
            if part.numel():  # an empty one may have strides that no view can have
                found.update(part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        else:
            for name in sorted(part):
                found.update(digest(name, part[name]).encode())
            found.update(b"\n")
    return found.hexdigest()
