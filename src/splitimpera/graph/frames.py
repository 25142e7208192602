"""Whether the output for a sample depends on the other samples in its batch; tried once, on a few real ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from splitimpera.core.errors import ShapeError, TraceError
from splitimpera.models.imports import telling

SAMPLES = 4
TOLERANCE = 1e-4
"""Of a result's largest value: rounding differs with the size of a batch, since other kernels sum in another order."""
MIXED = (
    "The network's output for a sample depends on the others in its batch (batch statistics in eval mode, for instance,"
    " or a step over dimension 0): samples are run one by one, as a device would see them."
)


def samples_apart(
    model: Callable[..., Any], program: fx.GraphModule, given: tuple[Tensor, ...], hint: str = ""
) -> bool:
    """Whether a traced program gives for a few samples together what the network gives for each of them alone.

    Args:
        model: The network, in eval mode, called on inputs in order.
        given: any number of samples; a single one gets its mirror image beside it.
        hint: What to do where the network refuses one.

    Raises:
        ShapeError: the network refuses a single sample, or gives another shape for it.
        TraceError: the program gives something else for a single sample than the network.
    """
    samples = _some(given)
    count = max((len(x) for x in samples if x.ndim), default=0)
    singles = [tuple(x[row : row + 1] if x.ndim else x for x in samples) for row in range(count)]
    with telling(ShapeError, "the network refuses a single sample", hint=hint):
        alone = [pytree.tree_leaves(model(*single)) for single in singles]
    together = pytree.tree_leaves(program(*samples))
    output = next(iter(reversed(program.graph.nodes)))
    results = {
        place: dim
        for place, node in enumerate(pytree.tree_leaves(output.args[0]))
        if (dim := _batch_dim(node)) is not None
    }
    for place, dim in results.items():
        for row in range(count):
            expected, found = alone[row][place], together[place].narrow(dim, row, 1)
            if expected.shape != found.shape:
                raise ShapeError(
                    f"the network's result for a single sample has shape {tuple(expected.shape)}, "
                    f"{tuple(found.shape)} is expected",
                    hint="squeeze(), for instance, drops the batch of one: write squeeze(dim)",
                )
            if not _close(found, expected):
                _check_single(program, singles[row], alone[row], results)
                return False
    return True


def _check_single(
    program: fx.GraphModule, single: tuple[Tensor, ...], expected: list[Any], results: dict[int, int]
) -> None:
    made = pytree.tree_leaves(program(*single))
    if not all(
        made[place].shape == expected[place].shape and _close(made[place], expected[place]) for place in results
    ):
        raise TraceError(
            "the network takes another way for a single sample than for several, which a trace cannot follow",
            hint="no step may depend on the number of samples",
        )


def _some(given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """A few samples, evenly spread over those that are given."""
    count = max((len(x) for x in given if x.ndim), default=0)
    if count == 1:  # its mirror image holds values that the network may meet, in other places
        return tuple(torch.cat([x, x.flip(tuple(range(1, x.ndim)))]) if x.ndim else x for x in given)
    rows = torch.linspace(0, count - 1, min(count, SAMPLES)).round().long()
    return tuple(x[rows.to(x.device)] if x.ndim else x for x in given)


def _batch_dim(node: object) -> int | None:
    """Where a result's samples are counted; None where it is no tensor, or mixes them with another dimension."""
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    if not isinstance(value, Tensor):
        return None
    sizes: list[Any] = list(value.shape)
    symbolic = [dim for dim, size in enumerate(sizes) if isinstance(size, torch.SymInt)]
    plain = len(symbolic) == 1 and sizes[symbolic[0]].node.expr.is_Symbol
    return symbolic[0] if plain else None


def _close(found: Tensor, expected: Tensor) -> bool:
    if not (found.is_floating_point() or found.is_complex()):
        return torch.equal(found, expected)
    tolerance = max(TOLERANCE, 8 * torch.finfo(found.dtype).eps)
    found, expected = (x.to(torch.complex128 if x.is_complex() else torch.float64) for x in (found, expected))
    finite = expected.abs()[torch.isfinite(expected)]
    largest = float(finite.max()) if finite.numel() else 0.0
    return torch.allclose(found, expected, rtol=0, atol=tolerance * largest, equal_nan=True)
