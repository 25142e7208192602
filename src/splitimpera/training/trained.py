"""A trained split: a cut with a bottleneck, and a head and tail whose weights are its own."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from splitimpera.core.errors import ModelError, OutputError, SplitImperaError
from splitimpera.core.files import write_atomically
from splitimpera.graph.moving import device_of
from splitimpera.graph.tracing import ModelGraph
from splitimpera.models.imports import telling
from splitimpera.partition.bottleneck import Bottleneck, bottleneck_for
from splitimpera.partition.cutter import Head, Partition, Tail, split
from splitimpera.records.graph import Cut, TensorSpec
from splitimpera.training.quantisation import Quantiser
from splitimpera.training.weight_files import digest, pack, unpack

KIND = "trained split"


@dataclass(frozen=True)
class Epoch:
    """One line of a training's history.

    Attributes:
        stage: Number of the stage, 1 or 2.
        epoch: Number of the epoch, from 1 on; 0 is the stage's start.
        train_loss: Mean loss over the batches as they were trained on; None at the start.
        held_out_loss: Mean loss over the held-out samples; with lost packets where these are trained for, every time
            the same ones.
        held_out_accuracy: The quality of the held-out samples, with the same losses: a classifier's share of right
            predictions; without targets, the agreement with the network unsplit.
    """

    stage: int
    epoch: int
    train_loss: float | None
    held_out_loss: float
    held_out_accuracy: float


@dataclass(frozen=True)
class HeldOut:
    """Quality of the held-out part of the training samples, no packet lost; a classifier's share of right predictions.

    Attributes:
        unsplit: That of the network as it was given.
        stage_1: That with the bottleneck alone trained.
        trained: That of the result.
    """

    unsplit: float
    stage_1: float
    trained: float


class Parts(nn.Module):
    """All that a split may train: bottleneck, quantiser and copies of the network's head and tail.

    Args:
        finetune_head: whether a copy of the head belongs to it; else the head is the network's own and is not
            registered here.
    """

    def __init__(self, partition: Partition, bottleneck: Bottleneck, bits: int | None, finetune_head: bool) -> None:
        super().__init__()
        self.bottleneck = bottleneck
        self.quantiser = Quantiser(bits, bottleneck.coded)
        # copied one by one: deep copies of the structure of the results make torch warn
        self.tail = Tail(copied(partition.tail.program), partition.tail.out_spec)
        self.own_head = Head(copied(partition.head.program)) if finetune_head else None
        self.given_head = (partition.head,)  # in a tuple, which nn.Module does not look into
        self.eval()

    @property
    def head(self) -> Head:
        return self.own_head or self.given_head[0]

    def predict(self, *latents: Tensor) -> Any:
        return self.tail(self.bottleneck.decoder(*latents))


def copied(program: fx.GraphModule) -> fx.GraphModule:
    """A program with parameters and buffers of its own; all may be trained, whatever the model's user froze."""
    own = copy.deepcopy(program)
    for parameter in own.parameters():
        parameter.grad = None
        parameter.requires_grad_(parameter.is_floating_point())
    return own


@dataclass(frozen=True, eq=False)
class TrainedSplit:
    """A cut, the bottleneck there, and the head and tail on either side; everything in eval mode.

    Attributes:
        cut: Cut at which the network is split.
        latents: Tensors that are sent, for one frame: a latent for each tensor that crosses, or that tensor itself.
        ratio: Compression ratio that was asked for; None: the papers' layers.
        bits: Number of bits to which latents are rounded; None: they are not rounded.
        finetune_head: True: the head's weights are its own as well; False: they are the network's.
        history: Losses and accuracies of each epoch.
        held_out: Accuracies before and after.
        network: Checksum of the weights that it started from.
        parts: Modules of head, bottleneck and tail.
    """

    cut: Cut
    latents: tuple[TensorSpec, ...]
    ratio: float | None
    bits: int | None
    finetune_head: bool
    history: tuple[Epoch, ...]
    held_out: HeldOut
    network: str
    parts: Parts

    @property
    def head(self) -> Head:
        """Takes what the network takes, returns the tuple of tensors that cross."""
        return self.parts.head

    @property
    def encoder(self) -> nn.Module:
        """The tensors that cross -> the tuple of latents before they are rounded."""
        return self.parts.bottleneck.encoder

    @property
    def decoder(self) -> nn.Module:
        """The latents -> the tuple of tensors that cross."""
        return self.parts.bottleneck.decoder

    @property
    def tail(self) -> Tail:
        """Takes the tuple of tensors that cross, returns what the network returns."""
        return self.parts.tail

    @property
    def highs(self) -> tuple[float | None, ...]:
        """The largest of each latent's 2^bits levels, the smallest of which is 0; None where nothing is rounded."""
        return self.parts.quantiser.highs

    def encode(self, *crossing: Tensor) -> tuple[Tensor, ...]:
        """What crosses, frames stacked as the network does -> `latents`, each (N, *shape), rounded to `bits`."""
        with torch.no_grad():
            made = zip(self.encoder(*crossing), self.latents, strict=True)
            exact = (latent.to(getattr(torch, spec.dtype)) for latent, spec in made)  # mixed precision has fewer bits
            latents: tuple[Tensor, ...] = self.parts.quantiser(*exact)
            return latents

    def predict(self, *latents: Tensor) -> Any:
        """Latents, lost elements being 0 -> what the network returns."""
        with torch.no_grad():
            return self.parts.predict(*latents)

    def __call__(self, *inputs: Tensor) -> Any:
        """Head, bottleneck and tail, nothing lost."""
        with torch.no_grad():
            return self.predict(*self.encode(*self.head(*inputs)))

    def beside(self, graph: ModelGraph) -> TrainedSplit:
        """The same split where a copy of its network lies (`graph.moving.moved`); itself where it lies there already.

        Raises:
            ModelError: it does not fit there, or the device lacks its element type.
        """
        device, bottleneck = device_of(graph), self.parts.bottleneck
        if next((weight.device for weight in self.parts.parameters()), device) == device:
            return self
        with telling(ModelError, f"the bottleneck cannot be moved to {device}"):
            bottleneck = copy.deepcopy(bottleneck).to(device)
            # the quantiser stays: its numbers are read at every call
            parts = Parts(split(graph, self.cut), bottleneck, self.bits, self.finetune_head)
            parts.load_state_dict(self.parts.state_dict())
        return replace(self, parts=parts.requires_grad_(False))

    def to_bytes(self) -> bytes:
        """A safetensors file's content: its own weights, and what `load` needs to know."""
        facts = {
            "version": 1,
            "cut": self.cut.index,
            "tensors": [asdict(spec) for spec in self.cut.tensors],
            "ratio": self.ratio,
            "bits": self.bits,
            "finetune_head": self.finetune_head,
            "history": [asdict(epoch) for epoch in self.history],
            "held_out": asdict(self.held_out),
            "network": self.network,
        }
        return pack(KIND, self.parts.state_dict(), facts)

    def save(self, path: Path) -> None:
        """Write it to a safetensors file, at once or not at all.

        Raises:
            OutputError: that cannot be written.
        """
        try:
            write_atomically(path, self.to_bytes())
        except OSError as error:
            raise OutputError(f"'{path}' cannot be written: {error.strerror or error}") from None

    @classmethod
    def from_bytes(cls, content: bytes, graph: ModelGraph) -> TrainedSplit:
        """What `to_bytes` wrote, for the network that it was trained for.

        Raises:
            ModelError: the content is damaged, or belongs to another network.
        """
        try:
            tensors, facts = unpack(KIND, content)
        except ValueError as failure:
            raise ModelError(f"this is no trained split: {failure}") from None
        if facts.get("network") != weights_of(graph):
            raise ModelError("this split was trained for a network of other weights", hint="give the network it had")
        try:
            partition = split(graph, int(facts["cut"]))
            bottleneck = bottleneck_for(partition.cut, facts["ratio"])
            tensors_then = facts["tensors"] if "tensors" in facts else [facts["tensor"]]  # older files have one
            if [_plain(spec) for spec in tensors_then] != [_plain(asdict(spec)) for spec in partition.cut.tensors]:
                raise ValueError(f"cut {partition.cut.index} is another one in this network")
            parts = Parts(partition, bottleneck, facts["bits"], bool(facts["finetune_head"]))
            parts.load_state_dict(tensors)
            history = tuple(Epoch(**epoch) for epoch in facts["history"])
            held_out = HeldOut(**facts["held_out"])
        except (SplitImperaError, KeyError, TypeError, ValueError, RuntimeError) as failure:
            words = (str(failure).splitlines() or [""])[0]
            raise ModelError(f"this trained split does not fit the network: {words}") from None
        return made(partition.cut, parts, facts["ratio"], history, held_out, facts["network"])

    @classmethod
    def load(cls, path: Path, graph: ModelGraph) -> TrainedSplit:
        """Read a file that `save` wrote.

        Args:
            graph: the network for which it was trained.

        Raises:
            ModelError: there is no such file, it is damaged, or it belongs to another network.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ModelError(f"'{path}' cannot be read: {error.strerror or error}") from None
        try:
            return cls.from_bytes(content, graph)
        except ModelError as error:
            raise error.at(f"'{path}'") from None


def made(
    cut: Cut, parts: Parts, ratio: float | None, history: tuple[Epoch, ...], held_out: HeldOut, network: str
) -> TrainedSplit:
    """The record of trained parts; they can no longer be trained by accident."""
    parts.eval().requires_grad_(False)
    bits, finetune_head = parts.quantiser.bits, parts.own_head is not None
    latents = parts.bottleneck.latent_specs
    return TrainedSplit(cut, latents, ratio, bits, finetune_head, history, held_out, network, parts)


def weights_of(graph: ModelGraph) -> str:
    """A checksum of every parameter and constant of a traced network, under the names that the program knows."""
    program = graph.program
    found: dict[str, Tensor] = {**dict(program.named_parameters()), **dict(program.named_buffers())}
    for node in program.graph.nodes:
        if node.op == "get_attr":
            value = attrgetter(str(node.target))(program)
            if isinstance(value, Tensor):
                found[str(node.target)] = value
    return digest(found)


def _plain(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in spec.items()}
