"""A network trained on with its exits: early layers learn to serve them too."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from splitimpera.core.errors import ModelError
from splitimpera.core.progress import Track, no_progress
from splitimpera.graph.moving import device_of
from splitimpera.graph.tracing import ModelGraph
from splitimpera.models.accelerators import rounding
from splitimpera.models.samples import Samples
from splitimpera.models.threads import torch_threads
from splitimpera.records.graph import Cut
from splitimpera.tasks.classification import Classification
from splitimpera.tasks.task import Task
from splitimpera.training.checkpoints import without_prefix
from splitimpera.training.checksum import source_parts
from splitimpera.training.exit_heads import KIND, TrainedExits
from splitimpera.training.exit_settings import ExitTraining
from splitimpera.training.exit_taps import Taps, Tensors
from splitimpera.training.exit_training import DECAY, VERSION, ExitRun, from_cache_or_made, joined, trained_exits
from splitimpera.training.settings import one_cycle
from splitimpera.training.trained import copied
from splitimpera.training.weight_files import digest, unpack

_CHUNK = 256
_NETWORK = "network."


def jointly_trained(
    graph: ModelGraph,
    cuts: Sequence[Cut],
    samples: Samples,
    *,
    task: Task | None = None,
    training: ExitTraining | None = None,
    unseen: Samples | None = None,
    track: Track[int] = no_progress,
) -> tuple[ModelGraph, TrainedExits]:
    """A copy of a network, trained on together with its exits, and these exits; from the cache where they are there.

    loss = loss of the network + weight x mean of the losses of its exits

    as in BranchyNet (S. Teerapittayanon et al., ICPR 2016); each is cross-entropy and the distance to the answers of
    the network as it was given, as `trained_exits` has it, whose heads they start from. Normalisations keep their
    statistics, dropout is off. All plans of a run are then to be taken of the new network.

    Args, errors: as `trained_exits`.
    """
    training = replace(training or ExitTraining(), joint=True)
    task = Classification().fitted(graph.outputs) if task is None else task
    alone = trained_exits(graph, cuts, samples, task=task, training=training, unseen=unseen, track=track)
    every, held = joined(samples, unseen)
    own = f"joint exits {VERSION} {torch.__version__}{rounding(device_of(graph), None)}"
    numbers = repr(sorted(training.numbers().items()))
    key = digest(own, *source_parts(graph, cuts, every, task), numbers, str(held))
    return from_cache_or_made(
        f"joint-exits-{key[:24]}.weights",
        lambda content: _read(content, graph),
        lambda: _Joint(graph, alone, every, held, training, task).train(track),
        _written,
    )


def _written(made: tuple[ModelGraph, TrainedExits]) -> bytes:
    graph, exits = made
    return exits.to_bytes({_NETWORK + name: value for name, value in graph.program.state_dict().items()})


def _read(content: bytes, graph: ModelGraph) -> tuple[ModelGraph, TrainedExits]:
    own = _copy(graph)
    try:
        tensors, _ = unpack(KIND, content)
        own.program.load_state_dict(without_prefix(tensors, _NETWORK))
    except (ValueError, RuntimeError) as failure:
        raise ModelError(f"this is no network with exits: {failure}") from None
    own.program.requires_grad_(False)
    return own, TrainedExits.from_bytes(content, own)


def _copy(graph: ModelGraph) -> ModelGraph:
    """The same network with weights of its own."""
    return replace(graph, program=copied(graph.program))


class _Joint:
    def __init__(
        self,
        graph: ModelGraph,
        alone: TrainedExits,
        samples: Samples,
        held: int,
        training: ExitTraining,
        task: Task,
    ) -> None:
        self.given, self.graph, self.training = Taps(graph, ()), _copy(graph), training
        heads = [copy.deepcopy(each.head).requires_grad_() for each in alone.exits]
        for head in heads:
            head.temperature.fill_(1.0)
        self.run = ExitRun(self.graph, [each.cut for each in alone.exits], samples, held, training, task, heads)
        self.trained = torch.nn.ModuleList([self.graph.program, *heads])

    def train(self, track: Track[int]) -> tuple[ModelGraph, TrainedExits]:
        """Train until the epochs or the patience are over, and go back to the best weights."""
        training, run = self.training, self.run
        with torch_threads(1), torch.enable_grad():
            self.answers = self._answers()
            parameters = [p for p in self.trained.parameters() if p.requires_grad]
            optimizer = torch.optim.AdamW(parameters, weight_decay=DECAY)
            losses, stale, best = [self._held_out()], 0, self._weights()
            steps, step = training.epochs * -(-len(run.train_rows) // training.batch), 0
            for _ in track(range(training.epochs), f"Training the network with {len(run.cuts)} exits", training.epochs):
                for rows in run.batches():
                    for group in optimizer.param_groups:
                        group["lr"] = training.joint_learning_rate * one_cycle(step, steps)
                    optimizer.zero_grad()
                    torch.autograd.backward(self._losses(rows).sum())
                    optimizer.step()
                    step += 1
                losses.append(self._held_out())
                stale += 1
                if losses[-1].sum() < min(each.sum() for each in losses[:-1]):
                    stale, best = 0, self._weights()
                if stale >= training.patience:
                    break
            self.trained.load_state_dict(best)
            self.trained.zero_grad(set_to_none=True)
            self.graph.program.requires_grad_(False)
            of_heads = np.array([each.numpy() for each in losses])[:, 1:] * len(run.cuts) / training.weight
            return self.graph, run.result(of_heads.T.tolist())

    def _answers(self) -> Tensors:
        """What the network as it was given returns for all samples."""
        with torch.no_grad():
            made = [self.given(*self.run.samples.tensors(rows))[1] for rows in self.run.samples.batches(_CHUNK)]
        return tuple(map(torch.cat, zip(*made, strict=True)))

    def _losses(self, rows: Tensor) -> Tensor:
        """What is to be small: of the network, and of each exit by its weight; the mean over some samples."""
        run = self.run
        crossing, made = run.taps(*run.samples.tensors(run.samples.read(rows)))
        wanted = tuple(x[rows.to(x.device)] for x in self.answers)
        own = run.aims.loss(made, wanted, rows, self.training.distill)
        heads = zip(run.heads, crossing, strict=True)
        of_exits = [run.loss(head.logits(head.squeeze(*tensors)), wanted, rows) for head, tensors in heads]
        share = self.training.weight / len(of_exits)
        return torch.stack([own, *(share * loss for loss in of_exits)])

    def _held_out(self) -> Tensor:
        rows = self.run.held_rows
        with torch.no_grad():
            parts: Iterator[Tensor] = (self._losses(some) * len(some) for some in torch.split(rows, _CHUNK))
            return torch.stack([*parts]).sum(0).cpu() / len(rows)

    def _weights(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.trained.state_dict().items()}
