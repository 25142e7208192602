"""The scores of a network's cuts over data, one forward and one backward pass a batch."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from math import prod
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from splitimpera.core.array_types import FloatArray
from splitimpera.core.errors import DataError, ModelError, ShapeError, UnknownNameError
from splitimpera.core.memory import free_bytes, hand_back
from splitimpera.core.progress import Track, no_progress
from splitimpera.core.registry import nearest
from splitimpera.core.units import format_bytes
from splitimpera.graph.finite import check_finite
from splitimpera.graph.moving import device_of, moved
from splitimpera.graph.tracing import ModelGraph, trace
from splitimpera.models.accelerators import mixed, torch_device
from splitimpera.models.imports import telling
from splitimpera.records.graph import Cut, TensorSpec
from splitimpera.saliency.curve import SaliencyCurve, counted, curve_points
from splitimpera.saliency.feed import Batch, Data, Inputs, again, batches_of
from splitimpera.saliency.hooks import gradients
from splitimpera.saliency.running_sums import RunningSums
from splitimpera.saliency.scores import SCORES, STATISTICS, by_channel
from splitimpera.tasks.task import Task

Target = Literal["predicted", "label"] | Callable[[Any, Tensor | None], Tensor]


SAYS = "Cumulative saliency"
BATCH, BATCH_BYTES = 32, 256 << 20


def cumulative_saliency(
    model: nn.Module | ModelGraph,
    data: Data,
    *,
    target: Target = "predicted",
    task: Task | None = None,
    classes: Sequence[int | str] | None = None,
    class_names: Sequence[str] = (),
    scores: Sequence[str] = (),
    output: str | int | None = None,
    batch: int | None = None,
    device: str | torch.device | None = None,
    autocast: torch.dtype | None = None,
    kept: MutableMapping[str, Any] | None = None,
    track: Track[Batch] = no_progress,
) -> SaliencyCurve:
    """Cumulative saliency, and other scores on request, of every cut.

    Where several tensors cross, a score is that of all their elements together; what `saliency.curve.counted` leaves
    out counts as bytes alone.

    Memory does not depend on the number of samples: `Samples` and iterables are read batch by batch, and scores are
    summed up class by class.

    Args:
        model: Network, or its traced graph. It may lie on any device, and is left there as it is.
        data: `Samples`; inputs (N, ...), alone or with labels (N,); or an iterable of batches of these, of any length.
            Several inputs of a network go in a tuple.
        target: Scalar that is differentiated: the task's for what is "predicted" (of a classifier the logit of the
            predicted class, as in I-SPLIT's released code) or for the "label" (as its abstract says); or a function
            (result, labels) -> scores (samples,) or their sum.
        task: What the network is for, fitted to its outputs; None: classification.
        classes: Classes over whose samples the curve is taken, by label or by name; None: all. The curves of single
            classes, and `of_classes` for any group, come from the same pass.
        class_names: Names of the classes, in the order of the labels.
        scores: Names of more scores, taken in the same pass.
        output: Key or position of the result that is differentiated, where the network returns several.
        batch: Number of samples in a pass; the result does not depend on it. None: as many of `BATCH` as keep their
            activations within `BATCH_BYTES`, as far as the network was traced before.
        device: Where to compute: "auto", "cpu", "cuda" or "mps", as `models.accelerators.torch_device` has them; a copy
            of the network and the data, batch by batch, are moved there. None: where the network lies.
        autocast: Type of mixed precision (torch.bfloat16); None: full precision.
        kept: Sums of the batches by their numbers, such as "0": values that JSON can write. Each batch is noted here
            when it is done, and not computed again where it is noted, so that an interrupted call can be repeated. The
            caller keeps apart what belongs to other networks, data and arguments.
        track: Progress display that wraps the batches.

    Raises:
        ModelError: no logits, or logits that are not finite, several results and no `output`, half precision on a CPU,
            or a cut that no gradient reaches.
        ScenarioError: this machine has no such device.
        ShapeError: the network refuses the data.
        DataError: no data, no labels where they are needed, labels out of range, or sums in `kept` that are damaged.
        UnknownNameError: a score, a class or a device that does not exist.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> convolutions = nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.ReLU()
        >>> model = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(4 * 4 * 4, 10))
        >>> curve = cumulative_saliency(model, torch.rand(20, 3, 8, 8))
        >>> curve.names, curve.cs.shape, curve.samples
        (('0', '2'), (2,), 20)
    """
    # to trace a network, inputs of the first batch are needed
    done = tuple(kept or ()) if isinstance(model, ModelGraph) else ()
    group = None if task is None else task.group
    batches, total = batches_of(data, _fitting(model) if batch is None else batch, frozenset(done), group)
    first = next(batches, None)
    if first is None:
        raise DataError("cumulative saliency needs at least one sample, the data set is empty")
    graph = model if isinstance(model, ModelGraph) else trace(model, _beside(model, first.read()))
    if device is not None:
        graph = moved(graph, torch_device(device))
    points, on_curve = curve_points(graph.cuts)
    tensors = [counted(cut, graph.cuts[0].crossing) for cut in points]
    collector = _Collector(points, tensors, scores, _labels_of(classes, class_names), output)
    if kept is not None and collector.statistics:
        names = ", ".join(collector.statistics)
        raise DataError(f"{names} cannot be summed up batch by batch", where="kept", hint="leave `kept` or them out")
    one_pass = _Pass(graph, _target(target, output, task, graph), collector, autocast)
    sums = RunningSums(collector.shape)
    batches = again(first, batches)
    del first  # or its inputs would stay in memory to the end
    for each in track(batches, SAYS, total):
        collector.check(each.labels)
        key = str(each.number)
        if kept is not None and key in kept:
            sums.merge(RunningSums.of_batch(kept[key], collector.shape, each.samples, each.labels))
            continue
        of_batch = one_pass.sums(each)
        if kept is not None:
            kept[key] = of_batch.plain()
        sums.merge(of_batch)
    hand_back()
    return collector.curve(sums, on_curve, class_names, graph.cuts[0].bytes)


def _fitting(model: nn.Module | ModelGraph) -> int:
    """How many samples fit; besides a layer's output its normalisation and activation are kept for the way back."""
    if not isinstance(model, ModelGraph):
        return BATCH
    of_one = 3 * sum(layer.output.bytes for layer in model.layers)
    return max(1, min(BATCH, BATCH_BYTES // max(of_one, 1)))


class _Collector:
    """What is kept of a batch while it passes, and the curve that all make in the end."""

    def __init__(
        self,
        points: Sequence[Cut],
        tensors: Sequence[dict[str, TensorSpec]],
        scores: Sequence[str],
        wanted: set[int] | None,
        output: str | int | None,
    ) -> None:
        self.points = points
        self.wanted = wanted
        self.output = output
        self.watched = {cut.index: of_point for cut, of_point in zip(points, tensors, strict=True)}
        unknown = [name for name in scores if name not in SCORES and name not in STATISTICS]
        if unknown:
            known = nearest(unknown[0], (*SCORES.names(), *STATISTICS.names()))
            raise UnknownNameError(f"no score is called '{unknown[0]}'", hint=known)
        names = dict.fromkeys(("cs", *scores))
        self.functions = {name: SCORES[name] for name in names if name in SCORES}
        self.statistics = {
            name: {cut: {node: STATISTICS[name]() for node in of_cut} for cut, of_cut in self.watched.items()}
            for name in names
            if name in STATISTICS
        }
        self.shape = len(self.functions), len(points)
        self.columns: dict[tuple[int, str], list[Tensor]] = {}
        self.sizes: dict[str, tuple[int, int]] = {}

    def check(self, labels: Tensor | None) -> None:
        if self.wanted is not None and labels is None:
            raise DataError("curves of classes need labels", hint="give (inputs, labels)")

    def start(self, batch: Batch) -> None:
        self.samples = batch.samples
        self.columns.clear()
        self.chosen: Tensor | None = None
        if self.wanted is not None and batch.labels is not None:
            self.chosen = torch.isin(batch.labels.cpu(), torch.tensor(sorted(self.wanted)))

    def see_result(self, whole: Any) -> None:
        """Called with the network's result, before any gradient is known."""
        if self.statistics:
            self.logits = _logits(whole, self.output).detach()

    def observe(self, cut: int, name: str, activation: Tensor, gradient: Tensor) -> None:
        a, g = (by_channel(tensor, self.watched[cut][name]) for tensor in (activation, gradient))
        self.columns[cut, name] = [score.formula(a, g) for score in self.functions.values()]
        self.sizes[name] = a.shape[1], prod(a.shape[2:])
        if not self.statistics:
            return
        logits = self.logits
        if self.chosen is not None:
            rows = self.chosen.to(a.device)
            a, g, logits = a[rows], g[rows], logits[rows]
        if len(a):
            for statistic in self.statistics.values():
                statistic[cut][name].update(a, g, logits)

    def values(self) -> FloatArray:
        """The batch's scores, (samples, scores, points)."""
        reached = [
            [(cut, name) for name in names if (cut, name) in self.columns] for cut, names in self.watched.items()
        ]
        unreached = [cut for cut, keys in zip(self.points, reached, strict=True) if not keys]
        if unreached:
            listing = ", ".join(f"{cut.index} ({cut.name})" for cut in unreached[:3])
            raise ModelError(
                f"no gradient reaches cut {listing}", hint="the path from there to the result must be differentiable"
            )
        if not self.points:
            return np.zeros((self.samples, *self.shape))
        found = [
            torch.stack(
                [
                    score.together([self.columns[key][place] for key in keys], [self.sizes[name] for _, name in keys])
                    for keys in reached
                ]
            )
            for place, score in enumerate(self.functions.values())
        ]
        return np.asarray(torch.stack(found).permute(2, 0, 1).cpu().numpy(), dtype=np.float64)

    def curve(
        self, sums: RunningSums, on_curve: Sequence[bool], class_names: Sequence[str], input_bytes: int
    ) -> SaliencyCurve:
        if self.wanted is not None and not sums.samples(self.wanted):
            raise DataError(f"no sample belongs to the classes {sorted(self.wanted)}", where="classes")
        counts = {label: sums.counts[label] for label in sums.labels()}
        scores = dict(zip(self.functions, sums.mean(self.wanted), strict=True))
        for name, statistics in self.statistics.items():
            of_points = [tuple(of_cut.values()) for of_cut in statistics.values()]
            scores[name] = np.array([first.value(*others) for first, *others in of_points])
        return SaliencyCurve(
            cuts=tuple(cut.index for cut in self.points),
            names=tuple(cut.name for cut in self.points),
            scores=scores,
            bytes=tuple(cut.bytes for cut in self.points),
            macs_head=tuple(cut.macs_head for cut in self.points),
            per_class={label: sums.mean([label])[0] for label in counts},
            class_counts=counts,
            class_names=tuple(class_names),
            on_curve=tuple(on_curve),
            samples=sums.samples(self.wanted),
            input_bytes=input_bytes,
        )


class _Pass:
    """One forward and one backward pass."""

    def __init__(
        self,
        graph: ModelGraph,
        score: Callable[[Any, Batch, Tensor | None], Tensor],
        collector: _Collector,
        autocast: torch.dtype | None,
    ) -> None:
        self.graph = graph
        self.score = score
        self.collector = collector
        self.autocast = autocast
        self.device = device_of(graph)
        _check_precision(graph, self.device)
        _check_room(graph, self.device)
        self.together = graph.stacks(spec for of_cut in collector.watched.values() for spec in of_cut.values())

    def sums(self, batch: Batch) -> RunningSums:
        """The scores of a batch."""
        sums = RunningSums(self.collector.shape)
        for part in [batch] if self.together else batch.single():
            self.collector.start(part)
            self._run(part)
            sums.add(self.collector.values(), part.labels)
        return sums

    def _run(self, batch: Batch) -> None:
        inputs = tuple(x.to(self.device) for x in batch.read())
        labels = None if batch.labels is None else batch.labels.to(self.device)

        def scored(result: tuple[Any, ...]) -> Tensor:
            whole = pytree.tree_unflatten(list(result), self.graph.out_spec)
            self.collector.see_result(whole)
            total = self.score(whole, batch, labels)
            if not bool(torch.isfinite(total)):
                check_finite(self.graph, inputs, result)
            return total

        shapes = ", ".join(str(tuple(x.shape)) for x in inputs)
        refusing = f"the network cannot be run and differentiated for inputs of shape {shapes}"
        with telling(ShapeError, refusing), mixed(self.device, self.autocast):
            gradients(self.graph, inputs, scored, self.collector.watched, self.collector.observe)


def _beside(model: nn.Module, inputs: Inputs) -> Inputs:
    """Inputs where a network's weights lie."""
    weight = next(model.parameters(), None) if isinstance(model, nn.Module) else None  # else `trace` says what it is
    return inputs if weight is None else tuple(x.to(weight.device) for x in inputs)


def _check_precision(graph: ModelGraph, device: torch.device) -> None:
    if device.type == "cpu" and any(parameter.dtype == torch.float16 for parameter in graph.program.parameters()):
        raise ModelError(
            "the network is in half precision, which a CPU does not differentiate",
            hint="call model.float(), or give autocast=torch.bfloat16",
        )


def _check_room(graph: ModelGraph, device: torch.device) -> None:
    """The way back needs the output of every layer."""
    needed, free = sum(layer.output.bytes for layer in graph.layers), free_bytes()
    if device.type == "cpu" and needed > free:
        raise ModelError(
            f"the gradients of one sample take {format_bytes(needed)} of memory or more, and {format_bytes(free)} are "
            "free",
            hint="give smaller inputs ('size' under 'data', for images), or take a machine with more memory",
        )


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
    target: Target, output: str | int | None, task: Task | None, graph: ModelGraph
) -> Callable[[Any, Batch, Tensor | None], Tensor]:
    """(result, batch, labels) -> what is differentiated; samples do not mix in eval mode, so one sum serves all."""
    if target not in ("predicted", "label") and not callable(target):
        raise UnknownNameError(f"no target is called '{target}'", where="target", hint="write 'predicted' or 'label'")

    def score(result: Any, batch: Batch, labels: Tensor | None) -> Tensor:
        if callable(target):
            return target(result, labels).sum()
        if task is not None:
            expected = batch.expected()
            if target == "label" and expected is None:
                raise DataError("target 'label' needs targets", hint="give them, or take 'predicted'")
            return task.scalar(graph.picked(result), expected, target).sum()
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
            hint="give the task that the network is for",
        )
    return result
