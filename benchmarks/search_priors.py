"""What is known of every candidate of a search before any training: a row each, for `search.py`.

    python benchmarks/search_priors.py [--reference ../shared/reference/cifar10]

Scores and codes are taken from training images. `closed_form` is the accuracy on validation images with a linear code
in the place of the bottleneck and the tail as it is: principal components of the channels, weighted with gradients,
over patches of 1, 2 or 4 positions to a side, whichever does best with at most as many elements as the latent has.
That takes one pass for activations and gradients, and up to three passes of the tail a candidate.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator
from math import ceil, prod
from pathlib import Path

import score_vs_accuracy
import torch
from cut_probes import as_logits, single_tensor, weighted_code
from score_vs_accuracy import CALIBRATION, CASES, Case
from search_truth import DATA, candidates, parts_of
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import splitimpera as sei
from splitimpera.graph.tracing import ModelGraph
from splitimpera.models.datasets import Samples
from splitimpera.partition.bottleneck import bottleneck_for
from splitimpera.records.graph import Cut
from splitimpera.saliency.hooks import gradients
from splitimpera.saliency.scores import by_channel

SIDES = (1, 2, 4)
COLUMNS = (
    *("network", "cut", "name", "ratio", "latent_elements", "bytes", "macs_head", "macs_encoder", "macs_decoder"),
    *("macs_tail", "cs", "gradient_agreement", "closed_form"),
)


def macs(module: nn.Module, *inputs: Tensor) -> int:
    """Multiply-accumulates by PyTorch's counter."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(*inputs)
    return int(counter.get_total_flops()) // 2


def seen(graph: ModelGraph, cuts: list[Cut], inputs: Tensor) -> dict[int, tuple[Tensor, Tensor]]:
    """Activations and the gradients of the predicted logit at each cut, channels first, from one pass."""
    specs = {cut.index: single_tensor(cut) for cut in cuts}
    kept: dict[int, list[tuple[Tensor, Tensor]]] = {index: [] for index in specs}

    def observe(index: int, _: str, activation: Tensor, gradient: Tensor) -> None:
        kept[index].append((by_channel(activation, specs[index]).clone(), by_channel(gradient, specs[index]).clone()))

    crossing = {cut.index: cut.crossing for cut in cuts}
    for x in torch.split(inputs, 100):
        gradients(graph, (x,), lambda result: result[0].amax(1).sum(), crossing, observe)
    return {
        index: (torch.cat([a for a, _ in parts]), torch.cat([g for _, g in parts])) for index, parts in kept.items()
    }


def closed_form(
    graph: ModelGraph, cut: Cut, elements: int, of_training: tuple[Tensor, Tensor], crossing: Tensor, labels: Tensor
) -> float:
    """The best accuracy with a linear code of at most `elements`; 0 where none fits."""
    tail, best = sei.split(graph, cut).tail, 0.0
    shape = single_tensor(cut).shape
    for side in SIDES:
        channels = min(shape[0], elements // prod(ceil(size / side) for size in shape[1:]))
        if channels < 1 or (side > 1 and min(shape[1:], default=1) < side):
            continue
        code = weighted_code(*of_training, channels, side)
        with torch.no_grad():
            logits = torch.cat([as_logits(tail((code(a),))) for a in torch.split(crossing, 256)])
        best = max(best, float((logits.argmax(1) == labels).float().mean()))
    return best


def rows_of(name: str, case: Case) -> Iterator[dict[str, object]]:
    samples = parts_of(name, case)
    graph = sei.trace(case.model, samples["train"].inputs[:1])
    calibration: Samples = samples["train"].take(slice(CALIBRATION))
    validation = samples["validation"]
    found = [*candidates(graph)]
    cuts = [*{cut.index: cut for cut, _, _ in found}.values()]
    curve = sei.cumulative_saliency(
        graph, (calibration.inputs, calibration.labels), scores=("gradient_agreement",), batch=100
    )
    of_training = seen(graph, cuts, calibration.inputs)
    for cut, ratio, elements in found:
        place = curve.cuts.index(cut.index)
        partition, bottleneck = sei.split(graph, cut), bottleneck_for(cut, ratio).eval()
        with torch.no_grad():
            crossing = torch.cat([partition.head(x)[0] for x in torch.split(validation.inputs, 256)])
            latents = bottleneck.encoder(crossing[:1])
        accuracy = closed_form(graph, cut, elements, of_training[cut.index], crossing, validation.labels)
        yield {
            "network": name,
            "cut": cut.index,
            "name": cut.name,
            "ratio": ratio,
            "latent_elements": elements,
            "bytes": cut.bytes,
            "macs_head": macs(partition.head, validation.inputs[:1]),
            "macs_encoder": macs(bottleneck.encoder, crossing[:1]),
            "macs_decoder": macs(bottleneck.decoder, *latents),
            "macs_tail": macs(partition.tail, (crossing[:1],)),
            "cs": f"{curve.scores['cs'][place]:.6g}",
            "gradient_agreement": f"{curve.scores['gradient_agreement'][place]:.6g}",
            "closed_form": f"{accuracy:.4f}",
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, default=score_vs_accuracy.REFERENCE)
    parser.add_argument("--out", type=Path, default=DATA / "search_priors.csv")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    score_vs_accuracy.REFERENCE = arguments.reference
    with arguments.out.open("w") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        for name, make in CASES.items():
            case = make()
            if case is None:
                print(f"{name}: skipped, the reference is absent")
                continue
            begun_s = time.process_time()
            table.writerows(rows_of(name, case))
            print(f"{name}: {time.process_time() - begun_s:.0f} CPU s", flush=True)


if __name__ == "__main__":
    main()
