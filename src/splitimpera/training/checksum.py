"""What decides which weights come out of a training, as one checksum."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from splitimpera.graph.tracing import ModelGraph
from splitimpera.models.accelerators import rounding
from splitimpera.models.samples import Samples
from splitimpera.models.targets import one_by_one
from splitimpera.records.graph import Cut
from splitimpera.tasks.classification import Classification
from splitimpera.tasks.identity import identity
from splitimpera.tasks.task import Task
from splitimpera.training.settings import Training
from splitimpera.training.trained import weights_of
from splitimpera.training.weight_files import digest

VERSION = 2
"""Goes up whenever other weights come out of the same arguments, so that old files are not taken for new ones."""
_CHUNK = 256


def training_key(
    graph: ModelGraph,
    cut: Cut,
    samples: Samples,
    training: Training,
    device: torch.device | None = None,
    autocast: torch.dtype | None = None,
    task: Task | None = None,
) -> str:
    """A checksum of all that decides which weights come out of a training: network, cut, data and arguments, and the
    kind of device where it is no CPU.

    Args:
        task: What the network is for, fitted to its outputs; None: classification.
    """
    aim = Classification().fitted(graph.outputs) if task is None else task
    return digest(
        f"{VERSION} {torch.__version__}{rounding(device, autocast)}",
        *source_parts(graph, [cut], samples, aim),
        *(repr(sorted(training.numbers().items())), training.order),
    )


def source_parts(graph: ModelGraph, cuts: Sequence[Cut], samples: Samples, task: Task) -> Iterator[Tensor | str]:
    """What is trained at some cuts, on which samples and for what, as parts of a checksum."""
    yield graph.program.code
    modules = (node for node in graph.program.graph.nodes if node.op == "call_module")
    yield "\n".join(f"{node.target}: {graph.program.get_submodule(str(node.target))!r}" for node in modules)
    yield from (repr(graph.out_spec), weights_of(graph))
    yield from (repr((cut.index, cut.crossing)) for cut in cuts)
    yield from target_parts(samples, task)
    yield from map(digest, samples.batches(_CHUNK))


def target_parts(samples: Samples, task: Task) -> Iterator[Tensor | str]:
    """What the targets of samples are, and what they are for, as parts of a checksum."""
    yield identity(task)
    if samples.labelled:
        yield samples.labels
        return
    for row in one_by_one(samples.targets):
        yield digest(*(torch.from_numpy(np.asarray(part)) for part in row))
