"""A first scenario for somebody's own network and data: what they tell is filled in, what they do not is an example."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from math import floor, isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from splitimpera.core.errors import DataError, ModelError, SplitImperaError, shown
from splitimpera.core.progress import Track, no_progress
from splitimpera.evaluation.testbed import Testbed
from splitimpera.evaluation.truths import check_targets, example_of, outputs_of
from splitimpera.graph.sampled import trace_on
from splitimpera.graph.tracing import ModelGraph, trace
from splitimpera.models.datasets import Dataset, is_source, load_data
from splitimpera.models.libraries import is_library_name
from splitimpera.models.networks import load_network
from splitimpera.records.traffic import Workload
from splitimpera.scenario import DataSection, NetworkSection
from splitimpera.tasks.making import make_task
from splitimpera.tasks.qualities import QUALITIES
from splitimpera.tasks.quality import value_of
from splitimpera.tasks.task import Output, Task, numbers_of

TASKS = "detection", "segmentation", "classification", "language", "multilabel", "regression", "agreement"
"""In the order in which they are tried: the first that network and data fit. Without labels there is agreement."""
SIDES = 224, 256, 299, 384, 512, 192, 160, 128, 96, 64, 48, 32, 28
"""To which squares images are resized that are of different sizes, or of one that the network does not take: the first
that it takes."""
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of the pixels that most published networks were trained with."""
LOOKED_AT = 200
"""Samples by which the network's quality is judged."""
KEPT, MORE = 0.98, 1.05
"""Of a quality this much is asked for; of an error so many times as much is allowed."""
MOST_BLOCKS = 30


@dataclass(frozen=True, eq=False)
class Fit:
    """Network and data, and the task that they fit."""

    graph: ModelGraph
    data: Dataset
    task: Task
    section: DataSection


def draft(
    model: str,
    source: str,
    folder: Path,
    track: Track[Any] = no_progress,
    say: Callable[[str], object] = str,
) -> str:
    """The text of a scenario that runs as it is.

    The task is the first whose targets the data have and whose outputs the network returns. The quality that is
    required is nearly the network's own, on a few validation samples. Machines, link and latency are examples.

    Args:
        model: As a scenario's `network.model`.
        source: As its `data.source`.
        folder: What relative paths start from.
        say: Takes a line of what was found.

    Raises:
        SplitImperaError: there is no such network or data, or no task fits both; says why.
    """
    if not is_source(source, folder):
        raise DataError(
            f"no data are found at '{shown(source)}', or none of a known kind",
            where="--data",
            hint="name a folder of images or sounds, an .npz or .txt file, or file.py:factory",
        )
    network = load_network(NetworkSection(model=model), folder, track)
    fit = _fitting(network, source, folder, say)
    value, count = _quality(fit)
    metric = fit.task.quality.name
    said = f"{QUALITIES[metric].format(value)} {QUALITIES[metric].title}" if isfinite(value) else "of unknown quality"
    say(
        f"Task {fit.task.name}: {_listed(fit.graph.inputs)} -> {_listed(fit.graph.outputs)}, {said} on {count} samples."
    )
    return _text(model, fit, _requirement(metric, value), f"{said} on {count} validation samples")


def _fitting(network: nn.Module, source: str, folder: Path, say: Callable[[str], object]) -> Fit:
    """The first task that fits; what kept the likeliest ones from it is said where none does, or only agreement."""
    failures: dict[str, _Failure] = {}
    for size in _sizes(network, source, folder):
        section = DataSection(source=source) if size is None else DataSection(source=source, size=size)
        for name in TASKS:
            found = _fit(network, name, section, folder)
            if isinstance(found, _Failure):
                failures[name] = max(failures.get(name, found), found, key=lambda failure: failure.got_to)
                continue
            if name == "agreement":
                say(f"No labels are used: {_reasons(failures, 2) or failures['classification'].problem}.")
            return found
    furthest = max(failure.got_to for failure in failures.values())
    if furthest == 0:
        failures = {"agreement": failures["agreement"]}  # it needs the inputs alone: there are none
    raise ModelError(
        f"no task fits both network and data ({_reasons(failures, furthest)})",
        hint="a function of yours can return the data as the network takes them: --data file.py:factory; "
        "docs/tasks.md says what each task takes",
    )


@dataclass(frozen=True)
class _Failure:
    """Why a task does not fit.

    Attributes:
        got_to: 0: the data cannot be read for it; 1: the network does not take them; 2: what it returns is not what the
            task takes, or not what the targets are.
    """

    got_to: int
    problem: str


def _fit(network: nn.Module, name: str, section: DataSection, folder: Path) -> Fit | _Failure:
    task, got_to = make_task(name, {}), 0
    try:
        data = load_data(section, folder, task.targets)
        got_to = 1
        graph = trace_on(network, data.validation, say=str)
        got_to, example = 2, example_of(data)
        fitted = task.fitted(graph.outputs, task.metrics[0], graph.inputs, example)
        check_targets(fitted, data)
    except SplitImperaError as failure:
        return _Failure(got_to, failure.problem)
    return Fit(graph, data, fitted, section)


def _reasons(failures: dict[str, _Failure], got_to: int) -> str:
    """What kept the tasks that got so far from going further; what several have in common is said once."""
    tasks: dict[str, list[str]] = {}
    for name, failure in failures.items():
        if failure.got_to == got_to:
            tasks.setdefault(failure.problem, []).append(name)
    return "; ".join(f"{', '.join(names)}: {problem}" for problem, names in tasks.items())


def _sizes(network: nn.Module, source: str, folder: Path) -> Iterator[tuple[int, int] | None]:
    """To what images are to be resized: first to nothing."""
    yield None
    try:
        data = load_data(DataSection(source=source, size=(SIDES[0], SIDES[0])), folder, "none")
    except SplitImperaError:  # these data have no size to be chosen
        return
    channels = data.validation.read(slice(0, 1)).shape[1]
    for side in SIDES:
        with suppress(SplitImperaError):
            trace(network, torch.zeros(1, channels, side, side), say=str)
            yield side, side
            return
    yield SIDES[0], SIDES[0]  # whose failure says more than that of images of different sizes


def _quality(fit: Fit) -> tuple[float, int]:
    """The network's own, and on how many validation samples; not a number where none tells it."""
    if fit.task.targets == "none":
        return 1.0, len(fit.data.validation)
    testbed = Testbed(fit.graph, fit.data, Workload(10.0), task=fit.task)
    every = len(fit.data.validation)
    samples = fit.data.validation.take(torch.linspace(0, every - 1, min(every, LOOKED_AT)).long())
    targets = samples.targets.rows([*range(len(samples))])
    counts = [
        numbers_of(fit.task, row, target) for row, target in zip(outputs_of(testbed, samples), targets, strict=True)
    ]
    quality = fit.task.quality
    return float(value_of(quality, quality.vectors(np.stack(counts)))), len(samples)


def _requirement(metric: str, value: float) -> str:
    """What is asked for, or a comment where the network has none of it."""
    better = QUALITIES[metric].better
    if not isfinite(value) or (better == "higher" and value <= 0.01):
        return f"# - {metric} >= 90 %        # the network as it is has none of it: are its weights loaded?"
    if better == "higher":
        return f"- {metric} >= {floor(1000 * KEPT * value) / 10:g} %"
    return f"- {metric} <= {MORE * max(value, 1e-6):.4g}"


def _text(model: str, fit: Fit, requirement: str, quality: str) -> str:
    graph, section = fit.graph, fit.section
    blocks = [cut for cut in graph.cuts[1:-1] if cut.block]
    cuts = "blocks" if 1 < len(blocks) <= MOST_BLOCKS else "candidates"
    names = ", ".join(cut.name for cut in blocks[:6]) + (", ..." if len(blocks) > 6 else "")
    size = f"\n  size: [{section.size[0]}, {section.size[1]}]" if section.size else ""
    if fit.data.pixels is not None and is_library_name(model):
        mean, std = IMAGENET
        size += f"\n  # mean: {list(mean)}  # uncomment where the network was trained so, as most published ones are"
        size += f"\n  # std: {list(std)}"
    classes = f", {len(fit.data.classes)} classes" if fit.data.classes else ""
    parts = (
        f"{len(fit.data.train)} samples for training, {len(fit.data.validation)} validation, {len(fit.data.test)} test"
    )
    transports = "[tcp]" if fit.task.name == "language" else "[tcp, udp]"
    codecs = "[float16, 'uint8:token']" if fit.task.name == "language" else "[float32, uint8]"
    count = len(graph.cuts) - 2
    between = f"{len(blocks)} between blocks: {names}" if blocks else "none between blocks"
    return f"""\
# A first scenario for {json.dumps(model)}: what network and data tell is filled in, machines, link and limits are
# examples. Quantities carry their units: "100 Mbit/s", "5 ms", "3 %", "1500 B". Every key: docs/scenario.md.

task: {fit.task.name}

network:
  model: {json.dumps(model)}   # {_listed(graph.inputs)} -> {_listed(graph.outputs)}

data:
  source: {json.dumps(section.source)}   # {parts}{classes}{size}

devices:                       # from the sensor to the server
  - name: device
    preset: raspberry-pi-4     # an estimate; others: docs/devices.md. Leave it out, and this machine is timed
    # profile: device.json     # better: measured on the device by 'splitimpera profile'
  - name: server
    preset: laptop-cpu

links:
  - name: network
    preset: wifi-5             # or rate, delay and loss of your own

workload:
  fps: 5                       # frames a second from the sensor

plans:
  cuts: {cuts:<22} # {count} {"cut" if count == 1 else "cuts"}, {between}
  codecs: {codecs}
  transports: {transports}

requirements:
  {requirement}   # the network has {quality}
  - latency_p95 <= 500 ms
"""


def _listed(tensors: tuple[Output, ...]) -> str:
    return ", ".join(_said(tensors))


def _said(tensors: tuple[Output, ...]) -> Iterator[str]:
    for tensor in tensors:
        yield f"{tensor.dtype} {tensor.shape}"
