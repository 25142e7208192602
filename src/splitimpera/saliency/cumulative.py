"""The scores of a network's cuts over data, one forward and one backward pass a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import nullcontext
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from splitimpera.core.array_types import FloatArray
from splitimpera.core.errors import DataError, ModelError, ShapeError, UnknownNameError
from splitimpera.core.progress import Track, no_progress
from splitimpera.core.registry import nearest
from splitimpera.graph.finite import check_finite
from splitimpera.graph.tracing import ModelGraph, trace
from splitimpera.models.datasets import Samples
from splitimpera.models.imports import telling
from splitimpera.records.graph import Cut
from splitimpera.saliency.curve import SaliencyCurve, curve_points
from splitimpera.saliency.hooks import gradients
from splitimpera.saliency.scores import SCORES, STATISTICS, by_channel

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
        model: Network, or its traced graph. It may lie on any device; the data are moved there batch by batch.
        data: Inputs (N, ...), alone or with labels (N,); or an iterable of batches of these, of any length. Several
            inputs of a network go in a tuple.
        target: Scalar that is differentiated: the logit of the "predicted" class (as the released code does) or of the
            "label" (as the abstract says), or for other tasks a function (result, labels) -> scores (samples,) or their
            sum.
        classes: Classes over whose samples the curve is taken, by label or by name; None: all. The curves of single
            classes, and `of_classes` for any group, come from the same pass.
        class_names: Names of the classes, in the order of the labels.
        scores: Names of more scores, taken in the same pass.
        output: Key or position of the result that is differentiated, where the network returns several.
        batch: Number of samples in a pass; the result does not depend on it.
        autocast: Type of mixed precision (torch.bfloat16); None: full precision.
        track: Progress display that wraps the batches.

    Raises:
        ModelError: no logits, or logits that are not finite, several results and no `output`, half precision on a CPU,
            or a cut that no gradient reaches.
        ShapeError: the network refuses the data.
        DataError: no data, no labels where they are needed, or labels out of range.
        UnknownNameError: a score or a class that does not exist.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> convolutions = nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.ReLU()
        >>> model = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(4 * 4 * 4, 10))
        >>> curve = cumulative_saliency(model, torch.rand(20, 3, 8, 8))
        >>> curve.names, curve.cs.shape, curve.samples
        (('0', '2'), (2,), 20)
    """
    batches, total = _batches(data, batch)
    first = next(batches, None)
    if first is None:
        raise DataError("cumulative saliency needs at least one sample, the data set is empty")
    graph = model if isinstance(model, ModelGraph) else trace(model, first[0])
    device = _device(graph)
    points, on_curve = curve_points(graph.cuts)
    collector = _Collector(points, scores, _labels_of(classes, class_names), output, graph)
    score = _target(target, output)
    one_by_one = not graph.stacks(cut.tensors[0] for cut in points)
    for x, y in track(_again(first, batches), "Cumulative saliency", total):
        for inputs, known in _single(x, y) if one_by_one else [(x, y)]:
            collector.start(_count(inputs), known)
            _one_pass(graph, _on(inputs, device), score, known, collector, autocast)
            collector.finish()
    return collector.curve(on_curve, class_names)


class _Collector:
    """What is kept of each batch, and the curve that it makes in the end."""

    def __init__(
        self,
        points: Sequence[Cut],
        scores: Sequence[str],
        wanted: set[int] | None,
        output: str | int | None,
        graph: ModelGraph,
    ) -> None:
        self.points = points
        self.wanted = wanted
        self.output = output
        self.graph = graph
        self.specs = {cut.crossing[0]: cut.tensors[0] for cut in points}
        unknown = [name for name in scores if name not in SCORES and name not in STATISTICS]
        if unknown:
            known = nearest(unknown[0], (*SCORES.names(), *STATISTICS.names()))
            raise UnknownNameError(f"no score is called '{unknown[0]}'", hint=known)
        names = dict.fromkeys(("cs", *scores))
        self.functions = {name: SCORES[name] for name in names if name in SCORES}
        self.statistics = {
            name: {node: STATISTICS[name]() for node in self.specs} for name in names if name in STATISTICS
        }
        self.columns: dict[str, list[Tensor]] = {}
        self.rows: list[FloatArray] = []
        self.labels: list[Tensor] = []

    def start(self, samples: int, labels: Tensor | None) -> None:
        self.samples = samples
        self.columns.clear()
        self.chosen: Tensor | None = None
        if self.wanted is not None:
            if labels is None:
                raise DataError("curves of classes need labels", hint="give (inputs, labels)")
            self.chosen = torch.isin(labels.cpu(), torch.tensor(sorted(self.wanted)))
        if labels is not None:
            self.labels.append(labels.cpu())

    def see_result(self, whole: Any) -> None:
        """Called with the network's result, before any gradient is known."""
        if self.statistics:
            self.logits = _logits(whole, self.output).detach()

    def observe(self, name: str, activation: Tensor, gradient: Tensor) -> None:
        a, g = by_channel(activation, self.specs[name]), by_channel(gradient, self.specs[name])
        self.columns[name] = [function(a, g) for function in self.functions.values()]
        if not self.statistics:
            return
        logits = self.logits
        if self.chosen is not None:
            rows = self.chosen.to(a.device)
            a, g, logits = a[rows], g[rows], logits[rows]
        if len(a):
            for statistic in self.statistics.values():
                statistic[name].update(a, g, logits)

    def finish(self) -> None:
        """One batch is through: keep its scores, shape (samples, scores, points)."""
        unreached = [cut for cut in self.points if cut.crossing[0] not in self.columns]
        if unreached:
            listing = ", ".join(f"{cut.index} ({cut.name})" for cut in unreached[:3])
            raise ModelError(
                f"no gradient reaches cut {listing}", hint="the path from there to the result must be differentiable"
            )
        if not self.points:
            self.rows.append(np.zeros((self.samples, len(self.functions), 0)))
            return
        stacked = torch.stack([torch.stack(self.columns[cut.crossing[0]]) for cut in self.points])
        self.rows.append(stacked.permute(2, 1, 0).double().cpu().numpy())

    def curve(self, on_curve: Sequence[bool], class_names: Sequence[str]) -> SaliencyCurve:
        values = np.concatenate(self.rows)
        known = torch.cat(self.labels).numpy() if self.labels else None
        chosen = np.ones(len(values), dtype=bool)
        if self.wanted is not None and known is not None:
            chosen = np.isin(known, list(self.wanted))
            if not chosen.any():
                raise DataError(f"no sample belongs to the classes {sorted(self.wanted)}", where="classes")
        counts: dict[int, int] = {}
        if known is not None:
            counts = {int(label): int((known == label).sum()) for label in np.unique(known)}
        scores = dict(zip(self.functions, values[chosen].mean(0), strict=True))
        for name, statistics in self.statistics.items():
            scores[name] = np.array([statistics[cut.crossing[0]].value() for cut in self.points])
        return SaliencyCurve(
            cuts=tuple(cut.index for cut in self.points),
            names=tuple(cut.name for cut in self.points),
            scores=scores,
            bytes=tuple(cut.bytes for cut in self.points),
            macs_head=tuple(cut.macs_head for cut in self.points),
            per_class={label: values[known == label, 0].mean(0) for label in counts},
            class_counts=counts,
            class_names=tuple(class_names),
            on_curve=tuple(on_curve),
            samples=int(chosen.sum()),
            input_bytes=self.graph.cuts[0].bytes,
        )


def _one_pass(
    graph: ModelGraph,
    inputs: tuple[Tensor, ...],
    score: Callable[[Any, Tensor | None], Tensor],
    labels: Tensor | None,
    collector: _Collector,
    autocast: torch.dtype | None,
) -> None:
    device = inputs[0].device
    labels = None if labels is None else labels.to(device)
    mixed = torch.autocast(device.type, dtype=autocast) if autocast is not None else nullcontext()

    def scored(result: tuple[Any, ...]) -> Tensor:
        whole = pytree.tree_unflatten(list(result), graph.out_spec)
        collector.see_result(whole)
        total = score(whole, labels)
        if not bool(torch.isfinite(total)):
            check_finite(graph, inputs, result)
        return total

    shapes = ", ".join(str(tuple(x.shape)) for x in inputs)
    with telling(ShapeError, f"the network cannot be run and differentiated for inputs of shape {shapes}"), mixed:
        gradients(graph, inputs, scored, tuple(collector.specs), collector.observe)


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
    """The samples of a batch one by one, for networks that mix samples with another dimension."""
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


def _target(target: Target, output: str | int | None) -> Callable[[Any, Tensor | None], Tensor]:
    """(result, labels) -> what is differentiated; samples do not mix in eval mode, so one sum serves them all."""
    if target not in ("predicted", "label") and not callable(target):
        raise UnknownNameError(f"no target is called '{target}'", where="target", hint="write 'predicted' or 'label'")

    def score(result: Any, labels: Tensor | None) -> Tensor:
        if callable(target):
            return target(result, labels).sum()
        logits = _logits(result, output)
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
            f"the network returns {shape}, logits of shape (samples, classes) are expected",
            where="output",
            hint="give a target function for other tasks",
        )
    return result
