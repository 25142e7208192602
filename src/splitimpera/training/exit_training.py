"""Train the heads of a network's exits; the network stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from splitimpera.core.array_types import FloatArray, IntArray
from splitimpera.core.cache import made_once, read_cached, usable_cache, write_cached
from splitimpera.core.errors import DataError, ModelError
from splitimpera.core.progress import Track, no_progress
from splitimpera.graph.moving import device_of
from splitimpera.graph.tracing import ModelGraph
from splitimpera.models.accelerators import rounding
from splitimpera.models.samples import Samples, together
from splitimpera.models.threads import torch_threads
from splitimpera.partition.bottleneck import check_apart
from splitimpera.records.exits import ExitTable, confidences
from splitimpera.records.graph import Cut
from splitimpera.tasks.classification import Classification
from splitimpera.tasks.task import Task
from splitimpera.training.aims import Aims
from splitimpera.training.checksum import source_parts
from splitimpera.training.exit_head import ExitHead, Features
from splitimpera.training.exit_heads import TrainedExit, TrainedExits, ready, untrained
from splitimpera.training.exit_settings import ExitTraining
from splitimpera.training.exit_taps import Taps, Tensors, logits_place
from splitimpera.training.settings import one_cycle
from splitimpera.training.temperature import calibrated
from splitimpera.training.trained import weights_of
from splitimpera.training.weight_files import digest

VERSION = 1
"""Goes up whenever other weights come out of the same arguments, so that old files are not taken for new ones."""
CACHED_BYTES = 1 << 30
"""Features are computed once where they are not larger than this, else anew for each batch."""
SCALED = 1024
"""Samples that features are scaled to."""
_CHUNK = 256
_Made = TypeVar("_Made")


def trained_exits(
    graph: ModelGraph,
    cuts: Sequence[Cut],
    samples: Samples,
    *,
    task: Task | None = None,
    training: ExitTraining | None = None,
    unseen: Samples | None = None,
    track: Track[int] = no_progress,
) -> TrainedExits:
    """A head for each of some cuts, from the cache where the same were trained before. The network is not changed.

    loss = (1 - distill) cross-entropy(labels, head) + distill KL(network || head)

    Without labels it is distillation alone, and what the network answers is right. Each head is trained by itself, on
    features that are computed once; it is the same whichever others are trained beside it. Then its temperature is
    fitted to the held-out samples, as in Guo et al., ICML 2017.

    Args:
        cuts: Behind which exits lie, as `exit_cuts` finds them.
        samples: Samples to train on. Never give test samples.
        task: What the network is for, fitted to its outputs; None: classification.
        unseen: Samples that neither the network nor the heads are trained on, for early stopping and temperatures: on
            those that it knows a network is too sure. None: a part of `samples`.

    The same arguments give the same weights on the same machine: PyTorch uses one thread.

    Raises:
        ScenarioError: the task has not one class a sample.
        CutError: nothing that a head can read crosses a cut, or samples depend on each other.
        DataError: too few samples, or targets that do not fit the network.
    """
    training = (training or ExitTraining()).alone
    task = Classification().fitted(graph.outputs) if task is None else task
    logits_place(task, graph)
    every, held = joined(samples, unseen)
    own = f"exits {VERSION} {torch.__version__}{rounding(device_of(graph), None)}"
    numbers = repr(sorted(training.numbers().items()))
    key = digest(own, *source_parts(graph, cuts, every, task), numbers, str(held))
    return from_cache_or_made(
        f"exits-{key[:24]}.weights",
        lambda content: TrainedExits.from_bytes(content, graph),
        lambda: ExitRun(graph, cuts, every, held, training, task).train(track),
        TrainedExits.to_bytes,
    )


def from_cache_or_made(
    name: str, read: Callable[[bytes], _Made], make: Callable[[], _Made], write: Callable[[_Made], bytes]
) -> _Made:
    """What the cache holds under a name, or what is made now and kept there; a damaged file is made anew."""
    with made_once(name):
        stored = read_cached(name)
        if stored is not None:
            try:
                return read(stored)
            except ModelError:
                pass  # a file of that name by another hand
        kept = usable_cache() is not None
        made = make()
        if kept:
            write_cached(name, write(made))
        return made


def exit_table(graph: ModelGraph, trained: TrainedExits, samples: Samples, task: Task | None = None) -> ExitTable:
    """What each exit of a network, and last the network itself, says of some samples; nothing lost.

    Args:
        task: as `trained_exits` has it.
    """
    task = Classification().fitted(graph.outputs) if task is None else task
    run = ExitRun.of(graph, trained, samples, task)
    rights, sure, found = list[FloatArray](), list[FloatArray](), list[IntArray]()
    with torch_threads(1), torch.no_grad():
        for rows in torch.split(torch.arange(len(samples)), _CHUNK):
            features, wanted = run.read(rows)
            logits = [head.logits(own) / head.temperature for head, own in zip(run.heads, features, strict=True)]
            results = [run.in_place(wanted, made) for made in logits]
            counts = [np.array(run.aims.counts(made, wanted, rows)) for made in (*results, wanted)]
            rights.append(np.stack([run.value(of_samples) for of_samples in counts]))
            said = [confidences(made.cpu().numpy()) for made in logits]
            sure.append(np.stack([confidence for confidence, _ in said]))
            found.append(np.stack([answers for _, answers in said]))
    arrays = (np.concatenate(sure, axis=1), np.concatenate(found, axis=1), np.concatenate(rights, axis=1))
    return ExitTable(trained.cuts, *arrays, run.classes)


class ExitRun:
    """The heads of some exits, and the samples that they are trained on.

    Args:
        samples: those to train on, and behind them `held` that are held out; 0: a part is drawn.
    """

    def __init__(
        self,
        graph: ModelGraph,
        cuts: Sequence[Cut],
        samples: Samples,
        held: int,
        training: ExitTraining,
        task: Task,
        heads: Sequence[ExitHead] | None = None,
    ) -> None:
        check_apart(graph)
        self.graph, self.cuts, self.samples, self.training = graph, tuple(cuts), samples, training
        self.taps = Taps(graph, cuts)
        self.aims = Aims(task, samples)
        self.aims.check()
        self.place = logits_place(task, graph)
        self.classes = graph.outputs[self.place].shape[0]
        self.generator = torch.Generator().manual_seed(training.seed)
        self.train_rows, self.held_rows = self._divide(held)
        self.heads = [*map(self._new_head, cuts)] if heads is None else [*heads]
        self.kept: tuple[list[Features], Tensors] | None = None

    @classmethod
    def of(cls, graph: ModelGraph, trained: TrainedExits, samples: Samples, task: Task) -> ExitRun:
        """With heads that are trained already."""
        cuts, heads = [each.cut for each in trained.exits], [each.head for each in trained.exits]
        return cls(graph, cuts, samples, len(samples), ExitTraining(), task, heads)

    def _new_head(self, cut: Cut) -> ExitHead:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.training.seed)
            return untrained(cut, self.classes, self.training.head).to(device_of(self.graph))

    def _divide(self, held: int) -> tuple[Tensor, Tensor]:
        count = len(self.samples)
        if held:
            trained_on = torch.randperm(count - held, generator=self.generator)
            return trained_on, torch.arange(count - held, count)
        held = round(self.training.held_out * count)
        if held < 1 or count - held < 2:
            share = f"{self.training.held_out:.0%}"
            problem = f"{count} samples are too few to hold {share} out and train the heads of exits on two or more"
            raise DataError(problem, where="data.source", hint="give more samples, or remove exits")
        rows = torch.randperm(count, generator=self.generator)
        return rows[held:], rows[:held]

    # Features -------------------------------------------------------------------------------------------------------

    def keep_features(self) -> None:
        """Compute the features of all samples once, where they are not too large."""
        found = list[tuple[list[Features], Tensors]]()
        with torch.no_grad():
            for inputs in self.samples.batches(_CHUNK):
                found.append(self._run(inputs))
                features, wanted = found[0]
                size = sum(x.nbytes for of_head in (*features, wanted) for x in of_head) / len(inputs)
                if size * len(self.samples) > CACHED_BYTES:
                    return
        by_head = zip(*(features for features, _ in found), strict=True)
        features = [_joined_tensors(of_head) for of_head in by_head]
        self.kept = features, _joined_tensors([wanted for _, wanted in found])

    def _run(self, inputs: Tensor) -> tuple[list[Features], Tensors]:
        crossing, wanted = self.taps(*self.samples.tensors(inputs))
        return [head.squeeze(*own) for head, own in zip(self.heads, crossing, strict=True)], wanted

    def read(self, rows: Tensor) -> tuple[list[Features], Tensors]:
        """The features that each head reads of some samples, and what the network returns for them."""
        if self.kept is not None:
            features, wanted = self.kept
            return [tuple(x[rows] for x in own) for own in features], tuple(x[rows] for x in wanted)
        with torch.no_grad():
            return self._run(self.samples.read(rows))

    # Losses ---------------------------------------------------------------------------------------------------------

    def in_place(self, wanted: Tensors, logits: Tensor) -> Tensors:
        """The network's results with a head's logits in place of its own."""
        return (*wanted[: self.place], logits, *wanted[self.place + 1 :])

    def loss(self, logits: Tensor, wanted: Tensors, rows: Tensor) -> Tensor:
        """The loss of a head on some samples, their mean."""
        return self.aims.loss(self.in_place(wanted, logits), wanted, rows, self.training.distill)

    def value(self, counts: FloatArray) -> FloatArray:
        """How right each of some samples is, 0 to 1."""
        quality = self.aims.task.quality
        return np.asarray(quality.value(quality.vectors(counts)), dtype=np.float64)

    def held_out(self) -> tuple[list[Tensor], Tensors]:
        """The logits of each head on the held-out samples, not divided, and what the network returns."""
        made, results = list[list[Tensor]](), list[Tensors]()
        with torch.no_grad():
            for rows in torch.split(self.held_rows, _CHUNK):
                features, wanted = self.read(rows)
                made.append([head.logits(own) for head, own in zip(self.heads, features, strict=True)])
                results.append(wanted)
        return [torch.cat(own) for own in zip(*made, strict=True)], _joined_tensors(results)

    # Training -------------------------------------------------------------------------------------------------------

    def batches(self) -> list[Tensor]:
        """A shuffled epoch."""
        order = self.train_rows[torch.randperm(len(self.train_rows), generator=self.generator)]
        return [*torch.split(order, self.training.batch)]

    def train(self, track: Track[int]) -> TrainedExits:
        """Train every head until its epochs are over or its patience is, and go back to its best weights."""
        with torch_threads(1), torch.enable_grad():
            self.keep_features()
            features, _ = self.read(self.train_rows[:SCALED])
            for head, own in zip(self.heads, features, strict=True):
                head.scale_to(own)
            losses = self._train_heads(track)
            return self.result(losses)

    def _train_heads(self, track: Track[int]) -> list[list[float]]:
        training, heads = self.training, self.heads
        optimizer = torch.optim.AdamW([p for head in heads for p in head.parameters()], weight_decay=DECAY)
        best = [_Best(head) for head in heads]
        self._note(best)
        steps, step = training.epochs * -(-len(self.train_rows) // training.batch), 0
        for _ in track(range(training.epochs), f"Training {len(heads)} exits", training.epochs):
            for rows in self.batches():
                for group in optimizer.param_groups:
                    group["lr"] = training.learning_rate * one_cycle(step, steps)
                features, wanted = self.read(rows)
                optimizer.zero_grad()
                for head, own, state in zip(heads, features, best, strict=True):
                    if state.stale < training.patience:
                        torch.autograd.backward(self.loss(head.logits(own), wanted, rows))
                optimizer.step()
                step += 1
            self._note(best)
            if all(state.stale >= training.patience for state in best):
                break
        for state in best:
            state.head.load_state_dict(state.weights)
        return [state.losses for state in best]

    def _note(self, best: Sequence[_Best]) -> None:
        logits, wanted = self.held_out()
        for state, made in zip(best, logits, strict=True):
            if state.stale < self.training.patience:
                state.note(float(self.loss(made, wanted, self.held_rows)))

    def result(self, losses: Sequence[Sequence[float]]) -> TrainedExits:
        """The heads as they are, with temperatures."""
        logits, wanted = self.held_out()
        labels = np.array([int(target[0]) for target in self.aims.expected(wanted, self.held_rows)])
        exits = []
        for cut, head, made, own in zip(self.cuts, self.heads, logits, losses, strict=True):
            calibration = calibrated(made.cpu().numpy(), labels)
            head.temperature.fill_(calibration.temperature)
            accuracy = self.aims.quality(self.aims.counts(self.in_place(wanted, made), wanted, self.held_rows))
            exits.append(TrainedExit(cut, ready(head), accuracy, calibration, tuple(own)))
        network_accuracy = self.aims.quality(self.aims.counts(wanted, wanted, self.held_rows))
        return TrainedExits(tuple(exits), weights_of(self.graph), network_accuracy, len(self.held_rows))


DECAY = 0.01
"""Of the weights, per step and learning rate (AdamW): a head has more of them than samples."""


class _Best:
    """The best weights of one head so far."""

    def __init__(self, head: ExitHead) -> None:
        self.head, self.losses, self.stale = head, list[float](), 0
        self.weights = dict[str, Tensor]()

    def note(self, loss: float) -> None:
        self.stale += 1
        if not self.losses or loss < min(self.losses):
            self.stale = 0
            self.weights = {name: value.detach().clone() for name, value in self.head.state_dict().items()}
        self.losses.append(loss)


def joined(samples: Samples, unseen: Samples | None) -> tuple[Samples, int]:
    """All samples in one, and how many of them, the last ones, are held out; 0: none yet."""
    return (samples, 0) if unseen is None or not len(unseen) else (together([samples, unseen]), len(unseen))


def _joined_tensors(parts: Sequence[Tensors]) -> Tensors:
    return tuple(map(torch.cat, zip(*parts, strict=True)))
