"""The CS curve of a network over data, one forward and one backward pass a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from splitimpera.errors import DataError, ModelError, ShapeError
from splitimpera.graph.tracing import ModelGraph, trace
from splitimpera.models.datasets import Samples
from splitimpera.models.imports import where_it_failed
from splitimpera.records import Track, no_progress
from splitimpera.saliency.curve import SaliencyCurve, curve_points
from splitimpera.saliency.hooks import gradients
from splitimpera.saliency.scores import cumulative_saliency_of

Target = Literal["predicted", "label"]


def cumulative_saliency(
    model: nn.Module | ModelGraph,
    data: Samples | Tensor | tuple[Tensor, Tensor],
    *,
    target: Target = "predicted",
    batch: int = 32,
    track: Track[tuple[Tensor, Tensor | None]] = no_progress,
) -> SaliencyCurve:
    """Cumulative saliency of every single-tensor cut.

    Args:
        model: a classifier, or its traced graph; it returns logits (N, classes).
        data: inputs (N, ...), with labels (N,) where `target` or the curves per class need them.
        target: differentiate the logit of the predicted class (as the released code does) or of the label (as the
            abstract says).
        batch: pictures a pass; the result does not depend on it.

    Raises:
        ModelError: the network has no logits, or a gradient does not reach one of its points.
        ShapeError: the network refuses the data.
        DataError: no data, no labels where they are needed, or labels out of range.
    """
    inputs, labels = _inputs_and_labels(data, target)
    graph = model if isinstance(model, ModelGraph) else trace(model, inputs[:1])
    points, on_curve = curve_points(graph.cuts)
    specs = {cut.crossing[0]: cut.tensors[0] for cut in points}
    total: dict[str, list[Tensor]] = {name: [] for name in specs}

    def observe(name: str, activation: Tensor, gradient: Tensor) -> None:
        total[name].append(cumulative_saliency_of(activation, gradient, specs[name]))

    step = batch if all(spec.batch_dim is not None for spec in specs.values()) else 1
    for x, y in track(_batches(inputs, labels, step), "Cumulative saliency", -(-len(inputs) // step)):
        try:
            gradients(graph, (x,), _logit_sum(y if target == "label" else None), tuple(specs), observe)
        except RuntimeError as failure:
            shape = tuple(x.shape)
            raise ShapeError(
                f"the network cannot be differentiated for inputs of shape {shape}: {where_it_failed(failure)}"
            ) from failure
    unreached = [specs[name].name for name, values in total.items() if not values]
    if unreached:
        raise ModelError(
            f"no gradient reaches {', '.join(unreached[:3])}", hint="the path to the result must be differentiable"
        )
    of_pictures = [torch.cat(values).double().numpy() for values in total.values()]
    pictures = np.array(of_pictures).reshape(len(points), len(inputs))
    per_class = {}
    if labels is not None:
        known = labels.numpy()
        per_class = {int(label): pictures[:, known == label].mean(1) for label in np.unique(known)}
    return SaliencyCurve(
        cuts=tuple(cut.index for cut in points),
        names=tuple(cut.name for cut in points),
        cs=pictures.mean(1),
        bytes=tuple(cut.bytes for cut in points),
        per_class=per_class,
        on_curve=tuple(on_curve),
        pictures=len(inputs),
    )


def _inputs_and_labels(data: Samples | Tensor | tuple[Tensor, Tensor], target: Target) -> tuple[Tensor, Tensor | None]:
    if isinstance(data, tuple):
        data = Samples(*data)
    inputs, labels = (data, None) if isinstance(data, Tensor) else (data.inputs, data.labels)
    if not len(inputs):
        raise DataError("cumulative saliency needs at least one picture, the data set is empty")
    if target == "label" and labels is None:
        raise DataError("target 'label' needs labels", hint="give (inputs, labels)")
    return inputs, labels


def _batches(inputs: Tensor, labels: Tensor | None, batch: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    for start in range(0, len(inputs), batch):
        rows = slice(start, start + batch)
        yield inputs[rows], None if labels is None else labels[rows]


def _logit_sum(labels: Tensor | None) -> Callable[[tuple[Any, ...]], Tensor]:
    """The sum over pictures of the chosen logit; pictures do not mix in eval mode, so one pass serves all."""

    def score(result: tuple[Any, ...]) -> Tensor:
        logits = result[0]
        if len(result) != 1 or not isinstance(logits, Tensor) or logits.ndim != 2:
            shapes = [tuple(value.shape) if isinstance(value, Tensor) else value for value in result]
            raise ModelError(f"the network returns {shapes}, logits of shape (pictures, classes) are expected")
        if labels is not None and not 0 <= int(labels.min()) <= int(labels.max()) < logits.shape[1]:
            raise DataError(
                f"labels go from {int(labels.min())} to {int(labels.max())}, the network has {logits.shape[1]} classes"
            )
        chosen = logits.argmax(1) if labels is None else labels
        return logits.gather(1, chosen[:, None]).sum()

    return score
