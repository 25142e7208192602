"""The scores of a network's cuts over data, one forward and one backward pass a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import nullcontext
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from splitimpera.errors import DataError, ModelError, ShapeError, SplitImperaError, UnknownNameError
from splitimpera.graph.tracing import ModelGraph, trace
from splitimpera.models.datasets import Samples
from splitimpera.models.imports import where_it_failed
from splitimpera.plugins import nearest
from splitimpera.records import Cut, FloatArray, Track, no_progress
from splitimpera.saliency.curve import SaliencyCurve, curve_points
from splitimpera.saliency.hooks import gradients
from splitimpera.saliency.scores import SCORES, by_channel

Inputs = Tensor | tuple[Tensor, ...]
Batch = tuple[Inputs, Tensor | None]
Data = Samples | Tensor | tuple[Inputs, Tensor] | Iterable[Any]
Target = Literal["predicted", "label"] | Callable[[Any, Tensor | None], Tensor]


def cumulative_saliency(
    model: nn.Module | ModelGraph,
    data: Data,
    *,
    target: Target = "predicted",
    classes: Sequence[int | str] | None = None,
    class_names: Sequence[str] = (),
    scores: Sequence[str] = (),
    output: str | int | None = None,
    batch: int = 32,
    autocast: torch.dtype | None = None,
    track: Track[Batch] = no_progress,
) -> SaliencyCurve:
    """Cumulative saliency, and other scores on request, of every single-tensor cut.

    Args:
        model: a network, or its traced graph. It may lie on any device; the data are moved there batch by batch.
        data: inputs (N, ...), alone or with labels (N,); or an iterable of batches of these, of any length. Several
            inputs of a network go in a tuple.
        target: what is differentiated: the logit of the "predicted" class (as the released code does) or of the "label"
            (as the abstract says), or for other tasks a function (result, labels) -> scores (pictures,) or their sum.
        classes: take the curve over the pictures of these classes only, by label or by name. The curves of single
            classes, and `of_classes` for any group, come from the same pass.
        class_names: the classes' names, in the order of the labels.
        scores: more scores, by name, from the same pass.
        output: which of the network's results is differentiated, where it returns several: a key or a position.
        batch: pictures a pass; the result does not depend on it.
        autocast: run in mixed precision of this type (torch.bfloat16).

    Raises:
        ModelError: no logits, several results and no `output`, half precision on a CPU, or a cut that no gradient
            reaches.
        ShapeError: the network refuses the data.
        DataError: no data, no labels where they are needed, or labels out of range.
        UnknownNameError: a score or a class that does not exist.
    """
    names = tuple(dict.fromkeys(("cs", *scores)))
    functions = [SCORES[name] for name in names]
    batches, total = _batches(data, batch)
    first = next(batches, None)
    if first is None:
        raise DataError("cumulative saliency needs at least one picture, the data set is empty")
    graph = model if isinstance(model, ModelGraph) else trace(model, first[0])
    device = _device(graph)
    points, on_curve = curve_points(graph.cuts)
    specs = {cut.crossing[0]: cut.tensors[0] for cut in points}
    wanted = _labels_of(classes, class_names)
    score = _target(target, output, graph)
    columns: dict[str, list[Tensor]] = {}
    rows: list[FloatArray] = []
    labels: list[Tensor] = []

    def observe(name: str, activation: Tensor, gradient: Tensor) -> None:
        a, g = by_channel(activation, specs[name]), by_channel(gradient, specs[name])
        columns[name] = [function(a, g) for function in functions]

    one_by_one = any(spec.batch_dim is None for spec in specs.values())
    for x, y in track(_again(first, batches), "Cumulative saliency", total):
        for inputs, known in _single(x, y) if one_by_one else [(x, y)]:
            columns.clear()
            _one_pass(graph, _on(inputs, device), score, known, tuple(specs), observe, autocast)
            rows.append(_collected(columns, points, len(known) if known is not None else _count(inputs), len(names)))
            if known is not None:
                labels.append(known)
    return _curve(graph, points, on_curve, names, np.concatenate(rows), labels, wanted, class_names)


def _one_pass(
    graph: ModelGraph,
    inputs: tuple[Tensor, ...],
    score: Callable[[tuple[Any, ...], Tensor | None], Tensor],
    labels: Tensor | None,
    points: tuple[str, ...],
    observe: Callable[[str, Tensor, Tensor], None],
    autocast: torch.dtype | None,
) -> None:
    device = inputs[0].device
    labels = None if labels is None else labels.to(device)
    mixed = torch.autocast(device.type, dtype=autocast) if autocast is not None else nullcontext()
    try:
        with mixed:
            gradients(graph, inputs, lambda result: score(result, labels), points, observe)
    except SplitImperaError:
        raise
    except RuntimeError as failure:
        shapes = ", ".join(str(tuple(x.shape)) for x in inputs)
        raise ShapeError(
            f"the network cannot be run and differentiated for inputs of shape {shapes}: {where_it_failed(failure)}"
        ) from failure


def _collected(columns: dict[str, list[Tensor]], points: Sequence[Cut], pictures: int, scores: int) -> FloatArray:
    """One batch's scores, shape (pictures, scores, points)."""
    unreached = [cut for cut in points if cut.crossing[0] not in columns]
    if unreached:
        listing = ", ".join(f"{cut.index} ({cut.name})" for cut in unreached[:3])
        raise ModelError(
            f"no gradient reaches cut {listing}", hint="the path from there to the result must be differentiable"
        )
    if not points:
        return np.zeros((pictures, scores, 0))
    stacked = torch.stack([torch.stack(columns[cut.crossing[0]]) for cut in points])  # (points, scores, pictures)
    return stacked.permute(2, 1, 0).double().cpu().numpy()


def _curve(
    graph: ModelGraph,
    points: Sequence[Cut],
    on_curve: Sequence[bool],
    names: Sequence[str],
    values: FloatArray,
    labels: Sequence[Tensor],
    wanted: set[int] | None,
    class_names: Sequence[str],
) -> SaliencyCurve:
    """Averages of the pictures' values, shape (pictures, scores, points)."""
    known = torch.cat(list(labels)).numpy() if labels else None
    chosen = np.ones(len(values), dtype=bool)
    if wanted is not None:
        if known is None:
            raise DataError("curves of classes need labels", hint="give (inputs, labels)")
        chosen = np.isin(known, list(wanted))
        if not chosen.any():
            raise DataError(f"no picture belongs to the classes {sorted(wanted)}", where="classes")
    counts: dict[int, int] = {}
    per_class: dict[int, FloatArray] = {}
    if known is not None:
        counts = {int(label): int((known == label).sum()) for label in np.unique(known)}
        per_class = {label: values[known == label, 0].mean(0) for label in counts}
    means = values[chosen].mean(0)
    return SaliencyCurve(
        cuts=tuple(cut.index for cut in points),
        names=tuple(cut.name for cut in points),
        scores=dict(zip(names, means, strict=True)),
        bytes=tuple(cut.bytes for cut in points),
        macs_head=tuple(cut.macs_head for cut in points),
        per_class=per_class,
        class_counts=counts,
        class_names=tuple(class_names),
        on_curve=tuple(on_curve),
        pictures=int(chosen.sum()),
        input_bytes=graph.cuts[0].bytes,
    )


def _batches(data: Data, batch: int) -> tuple[Iterator[Batch], int]:
    """The data in batches, and how many there are (0 where nobody knows)."""
    if isinstance(data, Samples):
        data = (data.inputs, data.labels)
    if isinstance(data, tuple) and len(data) == 2 and not _is_batch_list(data):
        inputs, labels = data
        labels = Samples(_first(inputs), labels).labels
        return _sliced(inputs, labels, batch), -(-len(labels) // batch)
    if isinstance(data, Tensor):
        return _sliced(data, None, batch), -(-len(data) // batch)
    total = len(data) if isinstance(data, Sized) else 0
    return (_as_batch(entry) for entry in data), total


def _is_batch_list(data: tuple[Any, ...]) -> bool:
    return not isinstance(data[1], Tensor)


def _sliced(inputs: Inputs, labels: Tensor | None, batch: int) -> Iterator[Batch]:
    for start in range(0, _count(inputs), batch):
        rows = slice(start, start + batch)
        part = inputs[rows] if isinstance(inputs, Tensor) else tuple(x[rows] for x in inputs)
        yield part, None if labels is None else labels[rows]


def _as_batch(entry: Any) -> Batch:
    if isinstance(entry, Tensor):
        return entry, None
    if isinstance(entry, Samples):
        return entry.inputs, entry.labels
    if isinstance(entry, (tuple, list)) and len(entry) == 2 and isinstance(entry[1], Tensor):
        inputs = tuple(entry[0]) if isinstance(entry[0], (tuple, list)) else entry[0]
        return inputs, Samples(_first(inputs), entry[1]).labels
    raise DataError(f"a batch is inputs, or (inputs, labels); this one is {type(entry).__name__}")


def _again(first: Batch, rest: Iterator[Batch]) -> Iterator[Batch]:
    yield first
    yield from rest


def _single(inputs: Inputs, labels: Tensor | None) -> Iterator[Batch]:
    """The pictures of a batch one by one, for networks that mix pictures with another dimension."""
    yield from _sliced(inputs, labels, 1)


def _first(inputs: Inputs) -> Tensor:
    return inputs if isinstance(inputs, Tensor) else inputs[0]


def _count(inputs: Inputs) -> int:
    return len(_first(inputs))


def _on(inputs: Inputs, device: torch.device) -> tuple[Tensor, ...]:
    return tuple(x.to(device) for x in ((inputs,) if isinstance(inputs, Tensor) else inputs))


def _device(graph: ModelGraph) -> torch.device:
    """Where the network lies; refuses what cannot be computed there."""
    parameters = list(graph.program.parameters())
    device = parameters[0].device if parameters else torch.device("cpu")
    if device.type == "cpu" and any(parameter.dtype == torch.float16 for parameter in parameters):
        raise ModelError(
            "the network is in half precision, which a CPU does not differentiate",
            hint="call model.float(), or give autocast=torch.bfloat16",
        )
    return device


def _labels_of(classes: Sequence[int | str] | None, names: Sequence[str]) -> set[int] | None:
    if classes is None:
        return None
    found = set()
    for entry in classes:
        if isinstance(entry, str) and entry in names:
            found.add(list(names).index(entry))
        elif isinstance(entry, str) and not entry.isdecimal():
            raise UnknownNameError(f"no class is called '{entry}'", where="classes", hint=nearest(entry, names))
        else:
            found.add(int(entry))
    return found


def _target(
    target: Target, output: str | int | None, graph: ModelGraph
) -> Callable[[tuple[Any, ...], Tensor | None], Tensor]:
    """(flat result, labels) -> what is differentiated; pictures do not mix in eval mode, so one sum serves them all."""
    if target not in ("predicted", "label") and not callable(target):
        raise UnknownNameError(f"no target is called '{target}'", where="target", hint="write 'predicted' or 'label'")

    def score(result: tuple[Any, ...], labels: Tensor | None) -> Tensor:
        whole = pytree.tree_unflatten(list(result), graph.out_spec)
        if callable(target):
            return target(whole, labels).sum()
        logits = _logits(whole, output)
        if target == "predicted":
            return logits.gather(1, logits.argmax(1, keepdim=True)).sum()
        if labels is None:
            raise DataError("target 'label' needs labels", hint="give (inputs, labels)")
        if not 0 <= int(labels.min()) <= int(labels.max()) < logits.shape[1]:
            raise DataError(
                f"labels go from {int(labels.min())} to {int(labels.max())}, the network has {logits.shape[1]} classes"
            )
        return logits.gather(1, labels[:, None]).sum()

    return score


def _logits(result: Any, output: str | int | None) -> Tensor:
    """The logits (N, classes) among what the network returns."""
    if isinstance(result, dict):
        key = "logits" if output is None and "logits" in result else output
        keys = ", ".join(map(str, result))
        if key is None or key not in result:
            given = "a dict" if output is None else f"no '{output}'"
            raise ModelError(f"the network returns {given} with keys {keys}", where="output", hint="name one of them")
        result = result[key]
    elif isinstance(result, (tuple, list)):
        if output is None and len(result) == 1:
            output = 0
        if not isinstance(output, int) or not -len(result) <= output < len(result):
            raise ModelError(
                f"the network returns {len(result)} results", where="output", hint=f"name one, 0 to {len(result) - 1}"
            )
        result = result[output]
    if not isinstance(result, Tensor) or result.ndim != 2:
        shape = f"shape {tuple(result.shape)}" if isinstance(result, Tensor) else type(result).__name__
        raise ModelError(
            f"the network returns {shape}, logits of shape (pictures, classes) are expected",
            where="output",
            hint="give a target function for other tasks",
        )
    return result
