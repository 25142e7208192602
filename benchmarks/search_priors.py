"""What is known of every candidate of a search before any training: a row each, for `search.py`.

    python benchmarks/search_priors.py [--reference ../shared/reference/cifar10]

Scores and codes are taken from training images, the closed form's accuracy from validation images; `closed_form_s` is
its CPU time, divided evenly among the candidates.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator
from pathlib import Path

import score_vs_accuracy
import torch
from closed_form import closed_form
from score_vs_accuracy import CALIBRATION, CASES, Case
from search_truth import DATA, candidates, parts_of
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import splitimpera as sei
from splitimpera.models.datasets import Samples
from splitimpera.partition.bottleneck import bottleneck_for

COLUMNS = (
    *("network", "cut", "name", "ratio", "latent_elements", "bytes", "macs_head", "macs_encoder", "macs_decoder"),
    *("macs_tail", "cs", "gradient_agreement", "closed_form", "closed_form_s"),
)


def macs(module: nn.Module, *inputs: Tensor) -> int:
    """Multiply-accumulates by PyTorch's counter."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(*inputs)
    return int(counter.get_total_flops()) // 2


def rows_of(name: str, case: Case) -> Iterator[dict[str, object]]:
    samples = parts_of(name, case)
    graph = sei.trace(case.model, samples["train"].inputs[:1])
    calibration: Samples = samples["train"].take(slice(CALIBRATION))
    validation = samples["validation"]
    found = [*candidates(graph)]
    curve = sei.cumulative_saliency(
        graph, (calibration.inputs, calibration.labels), scores=("gradient_agreement",), batch=100
    )
    begun_s = time.process_time()
    qualities = closed_form(graph, [(cut.index, ratio) for cut, ratio, _ in found], calibration, validation)
    taken_s = (time.process_time() - begun_s) / len(found)
    for cut, ratio, elements in found:
        place = curve.cuts.index(cut.index)
        partition, bottleneck = sei.split(graph, cut), bottleneck_for(cut, ratio).eval()
        with torch.no_grad():
            crossing = partition.head(validation.inputs[:1])
            latents = bottleneck.encoder(*crossing)
        yield {
            "network": name,
            "cut": cut.index,
            "name": cut.name,
            "ratio": ratio,
            "latent_elements": elements,
            "bytes": cut.bytes,
            "macs_head": macs(partition.head, validation.inputs[:1]),
            "macs_encoder": macs(bottleneck.encoder, *crossing),
            "macs_decoder": macs(bottleneck.decoder, *latents),
            "macs_tail": macs(partition.tail, crossing),
            "cs": f"{curve.scores['cs'][place]:.6g}",
            "gradient_agreement": f"{curve.scores['gradient_agreement'][place]:.6g}",
            "closed_form": f"{qualities[cut.index, ratio]:.4f}",
            "closed_form_s": f"{taken_s:.4f}",
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
