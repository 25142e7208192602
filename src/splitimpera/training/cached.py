"""Trained splits kept in the cache folder: the same one is not trained twice, an interrupted training goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Unpack

import torch

from splitimpera.core.cache import made_once, read_cached, usable_cache, write_cached
from splitimpera.core.errors import ModelError, OutputError
from splitimpera.core.progress import Track, no_progress
from splitimpera.graph.moving import device_of
from splitimpera.graph.tracing import ModelGraph
from splitimpera.models.accelerators import torch_device
from splitimpera.models.datasets import Samples
from splitimpera.records.graph import Cut
from splitimpera.tasks.task import Task
from splitimpera.training.checkpoints import read_checkpoint
from splitimpera.training.checksum import training_key
from splitimpera.training.settings import Training, TrainingArguments
from splitimpera.training.split import train_split
from splitimpera.training.trained import TrainedSplit


def trained_split(
    graph: ModelGraph,
    cut: Cut | int | str,
    samples: Samples,
    *,
    device: str | torch.device | None = None,
    autocast: torch.dtype | None = None,
    task: Task | None = None,
    track: Track[int] = no_progress,
    **arguments: Unpack[TrainingArguments],
) -> TrainedSplit:
    """As `split.train_split`, from the cache where the same network, cut, data and arguments were trained before.

    An interrupted training leaves a checkpoint in the cache folder, from which the next call goes on; a finished one
    leaves its result alone. Two that ask for the same at the same time train it once. Damaged files are made anew.
    Where the folder cannot be written nothing is kept, with a warning.
    """
    training = Training(**arguments)
    if not isinstance(cut, Cut):
        cut = graph.cut(cut)
    place = device_of(graph) if device is None else torch_device(device)
    key = begun = training_key(graph, cut, samples, training, place, autocast, task)
    if training.begun is not training:
        begun = training_key(graph, cut, samples, training.begun, place, autocast, task)

    def train(checkpoint: Path | None) -> TrainedSplit:
        return train_split(
            graph,
            cut,
            samples,
            checkpoint=checkpoint,
            device=place,
            autocast=autocast,
            task=task,
            track=track,
            **arguments,
        )

    with made_once(_name(key)):
        return _from_cache_or_trained(key, begun, graph, train)


def _from_cache_or_trained(
    key: str, begun: str, graph: ModelGraph, train: Callable[[Path | None], TrainedSplit]
) -> TrainedSplit:
    """The training `key`, whose checkpoint says `begun`."""
    stored = read_cached(_name(key))
    if stored is not None:
        try:
            return TrainedSplit.from_bytes(stored, graph)
        except ModelError:
            pass  # a file of that name by another hand: train it anew
    folder = usable_cache()
    if folder is None:
        return train(None)
    checkpoint = folder / f"split-{key[:24]}.checkpoint"
    try:
        read_checkpoint(checkpoint, begun)
    except OutputError:
        checkpoint.unlink(missing_ok=True)
    result = train(checkpoint)
    write_cached(_name(key), result.to_bytes())
    checkpoint.unlink(missing_ok=True)
    return result


def _name(key: str) -> str:
    return f"split-{key[:24]}.weights"
