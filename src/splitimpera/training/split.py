"""Train a split: first the bottleneck alone, then end to end with its own head and tail, for lost packets as well."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Unpack

import torch
from torch import Tensor

from splitimpera.core.array_types import FloatArray
from splitimpera.core.errors import DataError, OutputError, ScenarioError
from splitimpera.core.files import write_atomically
from splitimpera.core.progress import Track, no_progress
from splitimpera.graph.moving import device_of, moved
from splitimpera.graph.tracing import ModelGraph
from splitimpera.models.accelerators import mixed, torch_device
from splitimpera.models.datasets import Samples
from splitimpera.models.threads import torch_threads
from splitimpera.partition.bottleneck import Bottleneck, bottleneck_for, check_apart
from splitimpera.partition.cutter import split
from splitimpera.records.graph import Cut
from splitimpera.tasks.classification import Classification
from splitimpera.tasks.task import Task
from splitimpera.training.aims import Aims
from splitimpera.training.checkpoints import KIND, read_checkpoint, restore, without_prefix
from splitimpera.training.checksum import training_key
from splitimpera.training.crossing import Crossing, Tensors
from splitimpera.training.packet_loss import lose_packets, packets_of
from splitimpera.training.settings import Training, TrainingArguments
from splitimpera.training.trained import Epoch, HeldOut, Parts, TrainedSplit, made, weights_of
from splitimpera.training.weight_files import pack

CACHED_BYTES = 1 << 30
"""What crosses the cut is computed once where it is not larger than this, else anew for each batch."""
_CHUNK = 256


def train_split(
    graph: ModelGraph,
    cut: Cut | int | str,
    samples: Samples,
    *,
    checkpoint: Path | None = None,
    device: str | torch.device | None = None,
    autocast: torch.dtype | None = None,
    task: Task | None = None,
    track: Track[int] = no_progress,
    **arguments: Unpack[TrainingArguments],
) -> TrainedSplit:
    """Train a bottleneck at a cut, and the network around it for the bottleneck. The user's network is not changed.

    Stage 1, the bottleneck alone:       distance(unsplit, split) + mean (A - decoded)^2 / variance of A
    Stage 2, end to end:                 (1 - distill) loss(targets, split) + distill distance(unsplit, split)

    Where several tensors A cross, the second term is its mean over those that are compressed.

    Loss and distance are the task's; of a classifier cross-entropy and the Kullback-Leibler divergence. Without targets
    stage 2 is distillation alone.

    The two stages are I-SPLIT's; distillation is BottleFit's (Matsubara et al., 2022), the reconstruction loss ours.
    Stage 2 trains the bottleneck with a copy of the tail, and of the head where `finetune_head` is set. Normalisations
    of these copies keep their statistics, as the network has them in eval mode; dropout is off. Weights that the user
    froze are trained in the copies as all others.

    With `packet_loss`, packets of the latents are lost while training, in stage 2 and the second half of stage 1:
    COMtune and SI-NR (Itahara et al.) drop single elements; here whole packets, as a transport does.

    Args:
        samples: Samples to train on, a part of which is held out for early stopping. Never give test samples.
        checkpoint: a file that the training writes after every epoch and goes on from when called again; the result
            is then the same as without the interruption. It stays when the training is done. With the schedule
            "constant", one with more epochs of stage 2 goes on from it.
        task: What the network is for, fitted to its outputs; None: classification.
        device: Where to train: "auto", "cpu", "cuda" or "mps", as `models.accelerators.torch_device` has them; None:
            where the network lies. The result lies where the network does.
        autocast: Mixed precision for the networks, torch.bfloat16 or None; losses and weights stay as they are.
        arguments: the fields of `Training`.

    The same arguments give the same weights on the same machine: PyTorch uses one thread, since sums in another order
    would be other weights. For bottlenecks of small networks that is hardly slower. An accelerator rounds in other
    places, and perhaps in others each time.

    Raises:
        CutError: no such cut, none that a bottleneck can be made for, or a ratio that leaves no channel.
        DataError: too few samples, or targets that do not fit the network.
        ModelError: the network does not return what the task expects.
        ScenarioError: an argument is out of range, or this machine has no such device.
        OutputError: the checkpoint cannot be written, or is not one of this training.
    """
    training = Training(**arguments)
    if not isinstance(cut, Cut):
        cut = graph.cut(cut)
    place = device_of(graph) if device is None else torch_device(device)
    if autocast not in (None, torch.bfloat16):
        raise ScenarioError(f"gradients of {autocast} vanish", where="autocast", hint="give torch.bfloat16 or None")
    aim: Task = Classification().fitted(graph.outputs) if task is None else task
    key = training_key(graph, cut, samples, training.begun, place, autocast, aim) if checkpoint else ""
    with torch_threads(1):
        run = _Run(graph, cut, samples, training, aim, place, autocast)
        if checkpoint:
            run.resume(checkpoint, key)
        for stage in (1, 2):
            if run.state.stage == stage:
                run.train_stage(stage, track, checkpoint, key)
        return run.result(graph)


@dataclass
class _State:
    """How far a training has come, apart from its weights."""

    stage: int = 1
    epoch: int = 0
    stale: int = 0
    best_loss: float = math.inf
    stage_1: float = math.nan
    history: list[Epoch] = field(default_factory=list)


class _Run:
    def __init__(
        self,
        graph: ModelGraph,
        cut: Cut,
        samples: Samples,
        training: Training,
        task: Task,
        device: torch.device,
        autocast: torch.dtype | None,
    ) -> None:
        self.training = training
        self.aims = Aims(task, samples)
        self.picked = graph.picked
        self.result_specs = graph.cuts[-1].tensors
        self.device = device
        self.autocast = autocast
        self.cut = cut
        self.samples = samples
        check_apart(graph)
        self.partition = split(moved(graph, device), cut)
        bottleneck = self._bottleneck(graph)
        self.generator = torch.Generator().manual_seed(training.seed)
        self.train_rows, self.held_rows = self._divide()
        self.packets = self._packets(bottleneck)
        self.parts = Parts(self.partition, bottleneck, training.bits, training.finetune_head)
        self.crosses = Crossing(cut.tensors, bottleneck.coded)
        self.aims.check()
        self.crossing, self.wanted, self.variances = self._unsplit()
        self.parts.bottleneck.to(device)  # the quantiser stays: its numbers are read at every step
        self.state = _State()
        self.best: dict[str, Tensor] = {}
        self._resumed: dict[str, Tensor] | None = None

    def _bottleneck(self, graph: ModelGraph) -> Bottleneck:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.training.seed)
            return bottleneck_for(self.cut, self.training.ratio, graph.cuts)

    def _divide(self) -> tuple[Tensor, Tensor]:
        count = round(self.training.held_out * len(self.samples))
        if count < 1 or len(self.samples) - count < 2:
            raise DataError(
                f"{len(self.samples)} samples are too few to hold {self.training.held_out:.0%} out and train on two "
                "or more",
                hint="give more samples",
            )
        rows = torch.randperm(len(self.samples), generator=self.generator)
        return rows[count:], rows[:count]

    def _packets(self, bottleneck: Bottleneck) -> Tensor | None:
        training, elements = self.training, bottleneck.latent_elements
        if training.packet_elements is None:
            return None
        packets = packets_of(elements, training.packet_elements, training.order)
        if training.packet_loss and int(packets.max()) == 0:
            raise DataError(
                f"the latents' {elements} elements fit into one packet, no part of them can be lost",
                where="packet_elements",
                hint=f"give less than {elements}, or no loss",
            )
        return packets

    def _unsplit(self) -> tuple[Tensors | None, Tensors | None, Tensors]:
        """What crosses and the unsplit network's results for all samples (None where that is too much to keep), and
        the variance of each tensor that is compressed over those that are trained on."""
        keep = self.cut.bytes * len(self.samples) <= CACHED_BYTES
        result_bytes = sum(spec.bytes for spec in self.result_specs)
        keep_results = result_bytes * len(self.samples) <= CACHED_BYTES
        trained_on = torch.zeros(len(self.samples), dtype=torch.bool)
        trained_on[self.train_rows] = True
        kept, outputs, sums = list[Tensors](), list[Tensors](), list[Tensor]()
        with torch.no_grad():
            every = torch.split(torch.arange(len(self.samples)), _CHUNK)
            for rows, inputs in zip(every, self.samples.batches(_CHUNK), strict=True):
                a = self.partition.head(*self._there(inputs))
                outputs += [self.picked(self.partition.tail(a))] if keep_results else []
                sums += [self.crosses.sums(self.crosses.take(a, trained_on[rows].nonzero()[:, 0]))]
                kept += [a] if keep else []
        wanted = tuple(map(torch.cat, zip(*outputs, strict=True))) if keep_results else None
        variances = self.crosses.variances(sum(sums[1:], sums[0]), a)
        return self.crosses.joined(kept) if keep else None, wanted, variances

    def _inputs(self, rows: Tensor) -> tuple[Tensor, ...]:
        return self._there(self.samples.read(rows))

    def _there(self, read: Tensor) -> tuple[Tensor, ...]:
        return tuple(x.to(self.device) for x in self.samples.tensors(read))

    # One batch ------------------------------------------------------------------------------------------------------

    def _crossing(self, rows: Tensor, stage: int) -> Tensors:
        if stage == 2 and self.training.finetune_head:
            return self.parts.head.forward(*self._inputs(rows))
        if self.crossing is not None:
            return self.crosses.take(self.crossing, rows)
        with torch.no_grad():
            return self.partition.head.forward(*self._inputs(rows))

    def _objective(
        self, rows: Tensor, stage: int, rates: Tensor | None, generator: torch.Generator
    ) -> tuple[Tensor, Tensors, Tensors]:
        """The loss of a batch, its mean over the samples; the results; and those of the unsplit network."""
        bottleneck = self.parts.bottleneck
        with mixed(self.device, self.autocast):
            a = self._crossing(rows, stage)
            latents = self.parts.quantiser(*self._full(bottleneck.encoder(*a)))
            if rates is not None and self.packets is not None:
                latents = lose_packets(latents, self.packets, rates, generator, bottleneck.coded)
            decoded = bottleneck.decoder(*latents)
            made = self.picked(self.parts.tail(decoded))
        a, decoded, made = map(self._full, (a, decoded, made))
        distill = 1.0 if stage == 1 else self.training.distill
        wanted = self._wanted(rows)
        loss = self.aims.loss(made, wanted, rows, distill)
        return loss + self.crosses.error(a, decoded, self.variances) if stage == 1 else loss, made, wanted

    def _wanted(self, rows: Tensor) -> Tensors:
        """What the unsplit network returns for some samples."""
        if self.wanted is not None:
            return tuple(tensor[rows.to(tensor.device)] for tensor in self.wanted)
        with torch.no_grad():
            return self.picked(self.partition.tail(self.partition.head.forward(*self._inputs(rows))))

    def _full(self, tensors: Tensors) -> Tensors:
        """What mixed precision made, in float32."""
        if self.autocast is None:
            return tensors
        return tuple(x.float() if x.is_floating_point() else x for x in tensors)

    def _batches(self) -> list[Tensor]:
        """A shuffled epoch; a last batch of one sample is left out, since BatchNorm cannot train on it."""
        order = self.train_rows[torch.randperm(len(self.train_rows), generator=self.generator)]
        return [rows for rows in torch.split(order, self.training.batch) if len(rows) > 1]

    def _loses(self, stage: int, epoch: int) -> bool:
        return self.training.packet_loss > 0 and (stage == 2 or 2 * epoch >= self.training.epochs[0])

    def _train_epoch(self, stage: int, optimizer: torch.optim.Optimizer, parameters: list[Tensor]) -> float:
        training, epoch = self.training, self.state.epoch
        batches = self._batches()
        steps = len(batches) * training.epochs[stage - 1]
        total = 0.0
        self.parts.bottleneck.train()
        self.parts.quantiser.train()
        for place, rows in enumerate(batches):
            rates = None
            if self._loses(stage, epoch):
                rates = (torch.rand(1, generator=self.generator) * training.packet_loss).expand(len(rows))
            for group in optimizer.param_groups:
                group["lr"] = training.rate(stage, epoch * len(batches) + place, steps)
            loss, *_ = self._objective(rows, stage, rates, self.generator)
            optimizer.zero_grad()
            # The network's own weights may require gradients; `inputs` keeps them from getting any.
            torch.autograd.backward(loss, inputs=parameters)
            optimizer.step()
            total += float(loss.detach()) * len(rows)
        self.parts.eval()
        return total / sum(map(len, batches))

    # Held-out samples -----------------------------------------------------------------------------------------------

    def _held_out(self, stage: int, lossy: bool) -> tuple[float, float]:
        """Mean loss and quality over the held-out samples; the same packets are lost every time, at rates that go
        evenly from 0 to `packet_loss`."""
        generator = torch.Generator().manual_seed(self.training.seed)
        rates = torch.linspace(0, self.training.packet_loss, len(self.held_rows)) if lossy else None
        total, counts = 0.0, list[FloatArray]()
        with torch.no_grad():
            for places in torch.split(torch.arange(len(self.held_rows)), _CHUNK):
                rows = self.held_rows[places]
                lossy_rates = None if rates is None else rates[places]
                loss, made, wanted = self._objective(rows, stage, lossy_rates, generator)
                total += float(loss) * len(rows)
                counts += self.aims.counts(made, wanted, rows)
        return total / len(self.held_rows), self.aims.quality(counts)

    def _note(self, stage: int, train_loss: float | None) -> None:
        """Take down how the epoch went, and keep its weights if they are the best so far."""
        state = self.state
        # always as lossy as the stage will ever be, or losses before and after could not be compared
        loss, accuracy = self._held_out(stage, self.training.packet_loss > 0)
        state.history.append(Epoch(stage, state.epoch, train_loss, loss, accuracy))
        if loss < state.best_loss or not self.best:
            state.best_loss, state.stale = loss, 0
            self.best = {name: value.detach().clone() for name, value in self.parts.state_dict().items()}
        elif not self.training.packet_loss or self._loses(stage, state.epoch - 1):
            state.stale += 1  # what has not been trained for yet cannot have got better

    # Stages and checkpoints -----------------------------------------------------------------------------------------

    def train_stage(self, stage: int, track: Track[int], checkpoint: Path | None, key: str) -> None:
        """Train until the epochs are over or patience is; then go back to the best weights."""
        modules = [self.parts.bottleneck, *([self.parts.tail, self.parts.own_head] if stage == 2 else [])]
        parameters = [p for module in modules if module is not None for p in module.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(parameters, lr=self.training.learning_rates[stage - 1])
        if self._resumed is not None:
            restore(optimizer, self._resumed)
            self._resumed = None
        else:
            self.best = {}
            self._note(stage, None)
        for _ in self._epochs(stage, track):
            train_loss = self._train_epoch(stage, optimizer, list(parameters))
            self.state.epoch += 1
            self._note(stage, train_loss)
            if checkpoint is not None:
                self._save(checkpoint, key, optimizer)
            if self.state.stale >= self.training.patience:
                break
        self.parts.load_state_dict(self.best)
        if stage == 1:
            self.state.stage_1 = self._held_out(1, False)[1]
            self.state = _State(2, stage_1=self.state.stage_1, history=self.state.history)

    def _epochs(self, stage: int, track: Track[int]) -> Iterator[int]:
        done, epochs = self.state.epoch, self.training.epochs[stage - 1]
        if done >= epochs or self.state.stale >= self.training.patience:
            return
        description = f"Training the split at {self.cut.name}, stage {stage} of 2"
        yield from track(range(done, epochs), description, epochs - done)

    def _save(self, path: Path, key: str, optimizer: torch.optim.Optimizer) -> None:
        tensors = {f"now.{name}": value for name, value in self.parts.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        for index, values in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in values.items()}
        tensors["generator"] = self.generator.get_state()
        try:
            write_atomically(path, pack(KIND, tensors, {"key": key, **asdict(self.state)}))
        except OSError as error:
            raise OutputError(f"'{path}' cannot be written: {error.strerror or error}", where="checkpoint") from None

    def resume(self, path: Path, key: str) -> None:
        """Go on from a checkpoint, if there is one."""
        found = read_checkpoint(path, key)
        if found is None:
            return
        tensors, facts = found
        try:
            history = [Epoch(**epoch) for epoch in facts.pop("history")]
            del facts["key"]
            state = _State(**facts, history=history)
            if state.epoch > self.training.epochs[state.stage - 1]:
                raise OutputError(
                    f"'{path}' has come to epoch {state.epoch} of stage {state.stage}, "
                    f"{self.training.epochs[state.stage - 1]} are asked for",
                    where="checkpoint",
                    hint="ask for as many or more, or name another file",
                )
            self.state = state
            self.best = without_prefix(tensors, "best.")
            self.parts.load_state_dict(without_prefix(tensors, "now."))
            self.generator.set_state(tensors["generator"])
        except (KeyError, TypeError, RuntimeError) as failure:
            raise OutputError(f"'{path}' is no checkpoint of this training: {failure}", where="checkpoint") from None
        self._resumed = without_prefix(tensors, "optimizer.")

    def result(self, graph: ModelGraph) -> TrainedSplit:
        counts = list[FloatArray]()
        for rows in torch.split(self.held_rows, _CHUNK):
            wanted = self._wanted(rows)
            counts += self.aims.counts(wanted, wanted, rows)
        held_out = HeldOut(self.aims.quality(counts), self.state.stage_1, self._held_out(2, False)[1])
        history = tuple(self.state.history)
        parts = self.parts
        if self.device.type != device_of(graph).type:
            training = self.training
            parts = Parts(split(graph, self.cut), self._bottleneck(graph), training.bits, training.finetune_head)
            parts.load_state_dict(self.parts.state_dict())
        return made(self.cut, parts, self.training.ratio, history, held_out, weights_of(graph))
