"""Which cuts of a traced language model lie between whole blocks."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from splitimpera.core.errors import CutError, ModelError, shown
from splitimpera.graph.subprograms import program_between
from splitimpera.graph.tracing import ModelGraph
from splitimpera.language.decoder import Decoder, gap_between, probe
from splitimpera.records.graph import Cut


def block_cuts(graph: ModelGraph, decoder: Decoder) -> dict[int, int]:
    """The cuts at which runs of blocks can take over from the traced network, and how many blocks are in front of each.

    Cut 0, where the ids cross, and each cut behind a block at which its hidden states cross and nothing else: the
    network is run on some ids, and what crosses there is compared with what the blocks make of them. A cut behind the
    last block is not among them where the traced network has joined the final normalisation to that block.

    Args:
        graph: The network as `trace` has it, of a window of ids (N, T).
        decoder: The same network, of `decoder_of`.

    Returns:
        Number of blocks by index of the cut, ascending.

    Raises:
        ModelError: the traced network takes something else than a window of ids, or is another one.
    """
    given = graph.cuts[0].tensors
    if len(given) != 1 or len(given[0].shape) != 1 or given[0].dtype != "int64":
        takes = ", ".join(f"{spec.dtype} {spec.shape}" for spec in given)
        raise ModelError(f"the traced network takes {takes}, ids as int64 (T,) are expected")
    (tokens,) = given[0].shape
    if tokens > decoder.context:
        raise ModelError(f"a window of {tokens} tokens is longer than the context of {decoder.context}")
    behind = [
        (cut, blocks)
        for blocks, name in enumerate(decoder.names, start=1)
        for cut in graph.cuts
        if f".{cut.name}".endswith(f".{name}")
    ]
    alone = [
        (cut, blocks) for cut, blocks in behind if [spec.shape for spec in cut.tensors] == [(tokens, decoder.width)]
    ]
    ids = probe(tokens).to(next(decoder.head.parameters()).device)
    with torch.inference_mode():
        made = _hidden_states(decoder, ids)
        crossing = _crossing(graph, [cut for cut, _ in alone], ids)
    found = {
        cut.index: blocks for (cut, blocks), x in zip(alone, crossing, strict=True) if not gap_between(x, made[blocks])
    }
    if len(found) < len(decoder.blocks) - 1:
        raise _none_found(decoder, behind, alone, found)
    return {0: 0} | found


def blocks_before(graph: ModelGraph, cuts: Mapping[int, int], cut: int) -> int:
    """How many blocks are in front of a cut.

    Args:
        cuts: What `block_cuts` found.

    Raises:
        CutError: a block is cut through there; the message names the nearest cuts between blocks.
    """
    if cut in cuts:
        return cuts[cut]
    known = sorted(cuts)
    place = bisect(known, cut)
    near = [f"{index} ('{shown(graph.cuts[index].name)}')" for index in known[max(place - 1, 0) : place + 1]]
    raise CutError(
        f"cut {cut} ('{shown(graph.cut(cut).name)}') is not between two blocks, where a language model that keeps keys "
        "and values can be split",
        hint=f"take cut {' or '.join(near)}",
    )


def _none_found(
    decoder: Decoder, behind: Sequence[tuple[Cut, int]], alone: Sequence[tuple[Cut, int]], found: Mapping[int, int]
) -> ModelError:
    """Why a block does not end at a cut."""
    blocks = min(set(range(1, len(decoder.blocks))) - set(found.values()))
    name = shown(decoder.names[blocks - 1])
    if blocks in {number for _, number in alone}:
        return ModelError(
            f"the traced network's block '{name}' computes something else than the decoder's",
            hint="give one and the same network",
        )
    crosses = [spec.shape for cut, number in behind if number == blocks for spec in cut.tensors]
    return ModelError(
        f"behind block '{name}' the hidden states do not cross alone, but {shown(crosses)}"
        if crosses
        else f"the traced network has no cut behind block '{name}'",
        hint="what all blocks need must come from positions and sizes (torch.zeros(ids.shape[0], ...)), not from "
        "hidden states",
    )


def _hidden_states(decoder: Decoder, ids: Tensor) -> list[Tensor]:
    """What the embedding makes of ids, then what each block makes of that."""
    positions = torch.arange(ids.shape[1], device=ids.device)
    made = [decoder.embed(ids, positions)]
    for block in decoder.blocks:
        made.append(block(made[-1], positions, *decoder.empty())[0])
    return made


def _crossing(graph: ModelGraph, cuts: list[Cut], ids: Tensor) -> tuple[Tensor, ...]:
    nodes = {node.name: node for node in graph.program.graph.nodes}
    wanted = tuple(nodes[cut.crossing[0]] for cut in cuts)
    program = program_between(graph.program, [nodes[name] for name in graph.cuts[0].crossing], wanted)
    made: tuple[Tensor, ...] = program.eval()(ids)
    return made
