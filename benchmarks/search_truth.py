"""What every training of a search comes to, found once: `search.py` replays this table.

    python benchmarks/search_truth.py [--reference ../shared/reference/cifar10] [--seeds 3]

Bottlenecks at all inner cuts of the curve with three ratios: 4, which every cut can have and which loses little; 64,
the papers'; and 16 between them. Trained for 16 epochs, the first of the bottleneck alone, the others end to end, from
several first weights (CIFAR-10: from one); with a learning rate that does not depend on how many epochs there will be,
so that the first epochs are those of a shorter training. No training is stopped early. A row a training holds the
accuracy, as it would be if the training ended there, after each of the `RUNGS`: on validation samples, which a search
may look at, and on test samples, which it may not. Latents are rounded to 8 bits.

The priors of each cut and the closed-form bottleneck of each cut and ratio, which need no training, have tables of
their own. The table of trainings grows row by row; a later run takes up what is there.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import score_vs_accuracy
import torch
from score_vs_accuracy import CASES, Case, cuts_of
from torch import Tensor

import splitimpera as sei
from splitimpera.core.errors import CutError
from splitimpera.graph.tracing import ModelGraph
from splitimpera.models.datasets import DATASETS, Samples
from splitimpera.partition.bottleneck import bottleneck_for
from splitimpera.records.graph import Cut
from splitimpera.training.checkpoints import KIND, without_prefix
from splitimpera.training.settings import Training
from splitimpera.training.split import train_split
from splitimpera.training.trained import Parts
from splitimpera.training.weight_files import unpack

DATA = Path(__file__).resolve().parent / "data"
RATIOS = (4.0, 16.0, 64.0)
RUNGS = (1, 2, 4, 8, 16)
"""Epochs in all; the first is stage 1."""
PARTS = ("validation", "test")
TRAINED_ON = 800
"""Images of CIFAR-10 for training; 1 000 others are for validation, and 1 000 for test."""
COLUMNS = (
    *("network", "cut", "name", "ratio", "seed", "latent_elements", "epoch_s", "unsplit_test"),
    *(f"{part}_{rung}" for part in PARTS for rung in RUNGS),
)


def parts_of(name: str, case: Case) -> dict[str, Samples]:
    """Training, validation and test samples of a network."""
    if name.startswith("digits"):
        data = DATASETS["digits"]()
        return {"train": data.train, "validation": data.validation, "test": data.test}
    train, test = case.train, case.test
    return {
        "train": train.take(slice(TRAINED_ON)),
        "validation": train.take(slice(1000, 2000)),
        "test": test.take(slice(1000)),
    }


def training_of(name: str, ratio: float, seed: int) -> Training:
    return Training(
        ratio=ratio,
        epochs=(1, RUNGS[-1] - 1),
        schedule="constant",
        batch=32 if name.startswith("digits") else 16,
        patience=RUNGS[-1] + 1,
        bits=8,
        seed=seed,
    )


def candidates(graph: ModelGraph) -> Iterator[tuple[Cut, float, int]]:
    """Cuts and ratios that a bottleneck can be made for, with the latent's elements."""
    for cut in cuts_of(graph):
        for ratio in RATIOS:
            try:
                yield cut, ratio, bottleneck_for(cut, ratio).latent_elements
            except CutError:
                continue


class Rungs:
    """Looks at a training's checkpoint between epochs: the best weights so far, at each rung."""

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        self.epochs = 0
        self.weights: dict[int, dict[str, Tensor]] = {}

    def track(self, steps: Any, description: str, total: int) -> Iterator[int]:
        for step in steps:
            yield step
            self.epochs += 1
            if self.epochs in RUNGS:
                # the generator goes on after the epoch's checkpoint was written
                tensors, _ = unpack(KIND, self.checkpoint.read_bytes())
                self.weights[self.epochs] = without_prefix(tensors, "best.")


def accuracy(parts: Parts, crossing: Tensor, labels: Tensor) -> float:
    right = 0
    with torch.no_grad():
        for a, wanted in zip(torch.split(crossing, 256), torch.split(labels, 256), strict=True):
            logits = parts.predict(*parts.quantiser(*parts.bottleneck.encoder(a)))
            right += int((logits.argmax(1) == wanted).sum())
    return right / len(labels)


def train(graph: ModelGraph, cut: Cut, samples: dict[str, Samples], training: Training) -> dict[str, float]:
    """Accuracies at each rung, and CPU seconds an epoch: those of the whole training divided by its epochs."""
    with TemporaryDirectory() as folder:
        rungs = Rungs(Path(folder) / "checkpoint")
        settings = {key: value for key, value in vars(training).items() if key != "order"}
        begun_s = time.process_time()
        trained = train_split(graph, cut, samples["train"], checkpoint=rungs.checkpoint, track=rungs.track, **settings)
        found = {"epoch_s": (time.process_time() - begun_s) / RUNGS[-1]}
    head = sei.split(graph, cut).head
    for part in PARTS:
        with torch.no_grad():
            crossing = torch.cat([head(x)[0] for x in torch.split(samples[part].inputs, 256)])
        for rung, weights in rungs.weights.items():
            trained.parts.load_state_dict(weights)
            found[f"{part}_{rung}"] = accuracy(trained.parts, crossing, samples[part].labels)
    return found


def known(path: Path) -> set[tuple[str, int, float, int]]:
    """Trainings that the table holds."""
    if not path.exists():
        return set()
    with path.open() as file:
        return {(r["network"], int(r["cut"]), float(r["ratio"]), int(r["seed"])) for r in csv.DictReader(file)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--reference", type=Path, default=score_vs_accuracy.REFERENCE)
    parser.add_argument("--out", type=Path, default=DATA / "search_truth.csv")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    score_vs_accuracy.REFERENCE = arguments.reference
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    done = known(arguments.out)
    with arguments.out.open("a") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if not done:
            table.writeheader()
        for seed in range(arguments.seeds):
            for name in arguments.networks:
                case = CASES[name]() if seed == 0 or name.startswith("digits") else None
                if case is None:
                    continue
                samples = parts_of(name, case)
                graph = sei.trace(case.model, samples["train"].inputs[:1])
                with torch.no_grad():
                    logits = case.model(samples["test"].inputs)
                unsplit = float((logits.argmax(1) == samples["test"].labels).float().mean())
                for cut, ratio, elements in candidates(graph):
                    if (name, cut.index, ratio, seed) in done:
                        continue
                    found = train(graph, cut, samples, training_of(name, ratio, seed))
                    row: dict[str, object] = {key: f"{value:.4f}" for key, value in found.items()}
                    row |= {"network": name, "cut": cut.index, "name": cut.name, "ratio": ratio, "seed": seed}
                    table.writerow(row | {"latent_elements": elements, "unsplit_test": f"{unsplit:.4f}"})
                    file.flush()
                    print(time.strftime("%H:%M:%S"), *row.values(), flush=True)


if __name__ == "__main__":
    main()
