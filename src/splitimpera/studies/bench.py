"""A setting's network, data and task, read and held to each other: where its plans are tried out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from splitimpera.core.errors import DataError
from splitimpera.core.progress import Track, no_progress
from splitimpera.core.units import format_bytes
from splitimpera.evaluation.plan_space import check_cuts
from splitimpera.evaluation.testbed import Testbed
from splitimpera.evaluation.token_blocks import TokenBlocks
from splitimpera.evaluation.truths import check_targets, example_of, response_bytes, with_truths
from splitimpera.graph.frames import SAMPLES
from splitimpera.graph.sampled import trace_on
from splitimpera.graph.tracing import ModelGraph
from splitimpera.language.decoder import decoder_of
from splitimpera.models.datasets import Dataset, load_data
from splitimpera.models.networks import load_network
from splitimpera.scenario import Scenario
from splitimpera.setting import Setting, located
from splitimpera.studies.early_exits import network_of_plans
from splitimpera.tasks.qualities import QUALITIES
from splitimpera.tasks.quality import value_of
from splitimpera.tasks.task import Task
from splitimpera.training.checksum import target_parts
from splitimpera.training.trained import weights_of
from splitimpera.training.weight_files import digest


def read_testbed(
    setting: Setting,
    device: torch.device | None = None,
    autocast: torch.dtype | None = None,
    track: Track[Any] = no_progress,
    say: Callable[[str], object] = str,
) -> Testbed:
    """Read a setting's network and data; nothing is computed but the trace, and what trains it jointly with exits.

    Args:
        device: Where the network is run on samples; None: where it lies.
        autocast: Mixed precision there; None: full precision.
        say: Takes a line of news.

    Raises:
        SplitImperaError: network, data, task, profiles and cuts that do not exist, or do not fit each other.
    """
    scenario = setting.scenario
    with located("network.model"):
        model = load_network(scenario.network, scenario.folder, track)
    with located("data.source"):
        data = load_data(scenario.data, scenario.folder, setting.task.targets)
    with located("network.model"):
        graph = trace_on(model, data.validation, say=say)
    task = setting.fitted_task(graph, example_of(data))
    check_targets(task, data)
    setting.check_profiles(graph)  # before anything is computed
    blocks = token_blocks(model, graph, scenario, say) if scenario.workload.tokens else None
    check_cuts(scenario, graph, blocks)
    graph = network_of_plans(setting, graph, data.train, task, track)
    return Testbed(graph, data, setting.workload, device, autocast, task, blocks)


def token_blocks(
    model: nn.Module, graph: ModelGraph, scenario: Scenario, say: Callable[[str], object] = str
) -> TokenBlocks:
    """The blocks of a language model that is asked for tokens.

    Args:
        say: Takes a line where embedding and head share weights.

    Raises:
        ModelError: the network is no such model, or knows fewer positions than are asked for.
    """
    with located("network.model"):
        blocks = TokenBlocks(decoder_of(model), graph)
    blocks.check_context(scenario.workload.record().tokens.context)  # type: ignore[union-attr]
    if blocks.decoder.tied:
        size = format_bytes(sum(each.numel() * each.element_size() for each in blocks.decoder.tied_weights))
        say(f"Embedding and head share weights: a split has these {size} on both sides, and they count on both.")
    return blocks


def judging(setting: Setting, testbed: Testbed, track: Track[Any] = no_progress) -> Testbed:
    """The same testbed with all that plans are judged by: what is expected of each sample, the size of responses.

    Raises:
        DataError: a part of the data has a quality that is no number, whatever is answered.
        ModelError: the network cannot be run.
    """
    testbed = with_truths(testbed, track)
    if setting.scenario.workload.response == "runtime":
        testbed = testbed.with_workload(setting.workload_for(response_bytes(testbed)))
    _check_countable(testbed.task, testbed.data)
    return testbed


def content_of(setting: Setting, testbed: Testbed) -> str:
    """A digest of network, task and samples: of the inputs a few, and of images in a folder their sizes and times."""
    data, samples = setting.scenario.data, testbed.data.validation
    folder = setting.scenario.folder / data.source
    files = sorted(folder.rglob("*")) if folder.is_dir() else []
    listing = [(str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    known = repr((listing, data.model_dump(), torch.__version__, torch.get_num_threads()))
    targets = target_parts(samples, testbed.task)
    return digest(weights_of(testbed.graph), known, *targets, samples.spread(SAMPLES))


def _check_countable(task: Task, data: Dataset) -> None:
    """Refuse parts whose quality is no number whatever is answered: without any object nothing can be found."""
    quality = task.quality
    for part, samples in {"validation": data.validation, "test": data.test}.items():
        places = range(len(samples))
        lost = (quality.count_lost(*samples.targets.rows([place])) for place in places)
        if not any(np.isfinite(value_of(quality, quality.vectors(counts[None]))) for counts in lost):
            raise DataError(
                f"in the part '{part}' there is nothing to be found, of which {QUALITIES[quality.name].title} could be",
                where="data.source",
                hint="give samples with objects; without labels, the network itself must find some",
            )
