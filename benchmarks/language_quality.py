"""Bits per byte of the example's language model against the bits that a hidden element takes, by codec and cut.

    python benchmarks/language_quality.py [--windows 120] [--codecs NAME ...] [--markdown FILE]

The network of examples/language reads windows of held-out docstrings, teacher-forced. What crosses a cut is coded
window by window, as a prompt is; the codecs are calibrated on training windows.

Hidden states of large language models have a few channels far larger than the others. This network is too small to
have them, so that all is done twice: with the network as it is, and with the same function in other coordinates. Norms
see only the length of a hidden state, so that all of them may be turned: weights of norms go into the matrices behind
them, and an orthogonal matrix into all that reads or writes a hidden state (S. Ashkboos et al., QuaRot, 2024, do so to
be rid of such channels). Turned to the principal axes of what crosses the cut, most of its energy is in a few channels.
"""

from __future__ import annotations

import argparse
import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (the name everybody knows it by)
from torch import Tensor, nn

import splitimpera as sei
from splitimpera.codec.codecs import Calibration, make_codec
from splitimpera.core.array_types import FloatArray
from splitimpera.core.errors import DataError, ModelError
from splitimpera.core.statistics import student_interval
from splitimpera.graph.tracing import ModelGraph
from splitimpera.models.imports import run_factory

EXAMPLE = Path(__file__).parents[1] / "examples" / "language"
CUTS = ("blocks.0", "blocks.2")
CALIBRATION = 64
BATCH = 40
BITS = (8, 6, 4, 2)
CODECS = (
    "float32",
    "float16",
    "bfloat16",
    *(f"uint{bits}{argument}" for bits in BITS for argument in ("", ":channel", ":token")),
    *(f"uint{bits}:channel+rans" for bits in BITS),
)


@dataclass(frozen=True)
class Windows:
    """Ids that are read, and those that follow them, each int64 (N, T)."""

    ids: Tensor
    targets: Tensor

    @classmethod
    def of(cls, arrays: Sequence[FloatArray], count: int) -> Windows:
        return cls(*(torch.from_numpy(array[:count]) for array in arrays))


@dataclass(frozen=True)
class Read:
    """What a network made of windows.

    Attributes:
        bits: Of each window's bytes, their mean; (N,).
        chosen: The byte that it holds most likely after each, (N, T).
    """

    bits: FloatArray
    chosen: FloatArray


def read(tail: Callable[[Tensor], Tensor], given: Tensor, targets: Tensor) -> Read:
    bits, chosen = [], []
    with torch.inference_mode():
        for x, y in zip(given.split(BATCH), targets.split(BATCH), strict=True):
            logits = tail(x)
            nats = F.cross_entropy(logits.transpose(1, 2), y, reduction="none")
            bits.append(nats.double().mean(1) / math.log(2))
            chosen.append(logits.argmax(2))
    return Read(torch.cat(bits).numpy(), torch.cat(chosen).numpy())


def crossing(head: nn.Module, ids: Tensor) -> Tensor:
    """Hidden states float32 (N, T, C)."""
    with torch.inference_mode():
        return torch.cat([head(x)[0] for x in ids.split(BATCH)])


def turned(model: Any, axes: Tensor) -> nn.Module:
    """The same function with hidden states h @ axes in place of h, for orthogonal `axes` (C, C)."""
    made = copy.deepcopy(model)

    def behind(norm: nn.RMSNorm, *readers: nn.Linear) -> None:
        for reader in readers:
            reader.weight.copy_(reader.weight * norm.weight @ axes)
        norm.weight.fill_(1)

    with torch.no_grad():
        every = torch.arange(made.embed[0].num_embeddings)
        made.embed = nn.Embedding.from_pretrained(made.embed(every) @ axes)
        for block in made.blocks:
            behind(block.attention_norm, block.queries, block.keys, block.values)
            behind(block.inner_norm, block.widen)
            for writer in (block.out, block.narrow):
                writer.weight.copy_(axes.T @ writer.weight)
        behind(made.head[0], made.head[1])
    return made.eval()


def principal_axes(hidden: Tensor) -> Tensor:
    """Orthogonal (C, C): column k is the direction with the k-th most energy of hidden states (N, T, C)."""
    flat = hidden.flatten(0, 1).double()
    _, axes = torch.linalg.eigh(flat.T @ flat)
    return axes.flip(1).float()


def coded(graph: ModelGraph, cut_name: str, name: str, test: Windows, calibration: Tensor) -> tuple[float, Read]:
    """Bits that a hidden element takes as a codec writes it, and what the tail makes of what is read."""
    cut = graph.cut(cut_name)
    partition = sei.split(graph, cut)
    examples = crossing(partition.head, calibration).numpy()
    codec = make_codec(name, Calibration(cut.tensors, (examples,)))
    hidden = crossing(partition.head, test.ids).numpy()
    payloads = [codec.encode((window,)).data for window in hidden]
    decoded = torch.from_numpy(np.stack([codec.decode(payload)[0] for payload in payloads]))
    return 8 * sum(map(len, payloads)) / hidden.size, read(lambda x: partition.tail((x,)), decoded, test.targets)


def table(
    title: str, model: nn.Module, cut_name: str, test: Windows, calibration: Tensor, codecs: Sequence[str]
) -> list[str]:
    """One network at one cut, as a table in Markdown; bits more than unsplit have their 95 % interval over windows."""
    graph = sei.trace(model, test.ids[:1])
    whole = read(model, test.ids, test.targets)
    hidden = crossing(sei.split(graph, graph.cut(cut_name)).head, calibration)
    sizes = hidden.square().mean((0, 1)).sqrt()
    lines = [
        f"#### {title}, cut behind `{cut_name}`",
        "",
        f"Unsplit {whole.bits.mean():.3f} bits a byte. Root mean square of a channel: median {sizes.median():.2f}, "
        f"largest {sizes.max():.2f}, so {sizes.max() / sizes.median():.1f} times as much.",
        "",
        "| codec | bits an element | bits a byte | perplexity | more than unsplit | equal next bytes |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in codecs:
        element_bits, found = coded(graph, cut_name, name, test, calibration)
        bits = float(found.bits.mean())
        low, high = student_interval(found.bits - whole.bits)
        more = f"{bits - whole.bits.mean():+.4f} ({low:+.4f} to {high:+.4f})"
        same = f"{100 * (found.chosen == whole.chosen).mean():.1f} %"
        lines.append(f"| `{name}` | {element_bits:.2f} | {bits:.3f} | {2**bits:.2f} | {more} | {same} |")
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=120)
    parser.add_argument("--cuts", nargs="+", default=CUTS)
    parser.add_argument("--codecs", nargs="+", default=CODECS)
    parser.add_argument("--markdown", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = run_factory("network.py:build", EXAMPLE, ModelError)
    parts = run_factory("data.py:windows", EXAMPLE, DataError)
    test, calibration = Windows.of(parts["test"], given.windows), Windows.of(parts["train"], CALIBRATION).ids
    graph, lines = sei.trace(model, test.ids[:1]), []
    for cut_name in given.cuts:
        axes = principal_axes(crossing(sei.split(graph, graph.cut(cut_name)).head, calibration))
        for title, network in (("As it is", model), ("With outlying channels", turned(model, axes))):
            lines += table(title, network, cut_name, test, calibration, given.codecs)
            print("\n".join(lines[-len(given.codecs) - 7 :]), flush=True)
    if given.markdown:
        given.markdown.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
