"""The bottlenecks of some plans, trained or from the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Unpack

import torch

from splitimpera.codec.framing import IP_UDP_HEADER_BYTES
from splitimpera.core.errors import DataError
from splitimpera.core.progress import Track
from splitimpera.graph.tracing import ModelGraph
from splitimpera.models.datasets import Samples
from splitimpera.partition.bottleneck import bottleneck_for
from splitimpera.records.plan import Plan
from splitimpera.setting import Setting
from splitimpera.tasks.qualities import QUALITIES
from splitimpera.tasks.task import Task
from splitimpera.training.cached import trained_split
from splitimpera.training.settings import TrainingArguments
from splitimpera.training.trained import TrainedSplit


def bottlenecks_of(plans: Iterable[Plan]) -> list[tuple[int, float]]:
    """Cut and ratio of each bottleneck that some plans have, each once."""
    return [*dict.fromkeys((hop.cut, hop.bottleneck) for plan in plans for hop in plan.hops if hop.bottleneck)]


def trained_for(
    places: Iterable[tuple[int, float]],
    setting: Setting,
    graph: ModelGraph,
    samples: Samples,
    track: Track[Any],
    say: Callable[[str], object],
    device: torch.device | None = None,
    autocast: torch.dtype | None = None,
    task: Task | None = None,
    **others: Unpack[TrainingArguments],
) -> dict[tuple[int, float], TrainedSplit]:
    """Train bottlenecks, or take them from the cache; by cut and ratio.

    Args:
        places: Cuts and ratios, as `bottlenecks_of` finds them.
        samples: the training part of the data.
        say: takes a line of news for each.
        device: Where to train; None: where the network lies.
        autocast: Mixed precision, as `split.train_split` has it.
        task: What the network is for, as there.
        others: Fields of `Training` that are not the scenario's.

    Raises:
        DataError: there is nothing to train with.
    """
    wanted = setting.scenario.bottlenecks
    places = dict.fromkeys(places)
    if not places:
        return {}
    if len(samples) < 2:
        raise DataError(
            "bottlenecks are trained, and there are no training samples",
            where="data.source",
            hint="leave some of the data to training, or remove bottlenecks.ratios",
        )
    # an element takes a byte or less; the packets of narrower codecs carry more, and hurt more
    room = min(link.mtu_bytes - IP_UDP_HEADER_BYTES - link.app_header_bytes for link in setting.links)
    found = {}
    for cut, ratio in places:
        elements = bottleneck_for(graph.cuts[cut], ratio).latent_elements
        divided = elements > room
        if wanted.packet_loss and not divided:
            say(
                f"The latent of ratio {ratio:g} at cut {cut} has {elements} elements and travels in one packet: "
                "over UDP no more predictions can be right than packets arrive, whatever the training. TCP, or a codec "
                "with '+fec', helps."
            )
        training: TrainingArguments = {
            "ratio": ratio,
            "epochs": wanted.epochs,
            "bits": wanted.bits,
            "finetune_head": wanted.finetune_head,
            "packet_loss": wanted.packet_loss if divided else 0.0,
            "packet_elements": room if wanted.packet_loss and divided else None,
            "seed": setting.scenario.seed,
            **others,
        }
        where: dict[str, Any] = {"device": device, "autocast": autocast, "task": task, "track": track}
        split = trained_split(graph, graph.cuts[cut], samples, **where, **training)
        found[cut, ratio] = split
        before, after = split.held_out.unsplit, split.held_out.trained
        name = "accuracy" if task is None else task.quality.name
        write = QUALITIES[name].format
        say(
            f"Bottleneck of ratio {ratio:g} at cut {cut} ({split.cut.name}): {name} {write(after)} on the held-out "
            f"training samples, {write(before)} without it."
        )
    return found
