"""Does a score predict how accurate the network is after a split? Measured at every cut of the curve in turn.

At each cut a bottleneck is trained, briefly and equally, several times from different first weights; accuracy and
cross-entropy on test images are then held against each score that was taken before any training. Two sizes of latent:
the papers', which differs from depth to depth, and one that is the same at every cut.

Run: `.venv/bin/python benchmarks/score_vs_accuracy.py`. The CIFAR-10 network is skipped where `../shared/reference` is
absent. Raw numbers go to `--out`, one JSON file a network, after every seed; a later run takes up what is there.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (the name everybody knows it by)
from cut_probes import fit_bottleneck, fit_linear_code, outputs, pool, principal_components, single_tensor
from torch import Tensor, nn

import splitimpera as sei
from splitimpera.core.array_types import FloatArray
from splitimpera.graph.tracing import ModelGraph
from splitimpera.models.datasets import DATASETS, Pixels, Samples
from splitimpera.models.recipes import RECIPES, trained
from splitimpera.models.resnet import CifarResNet
from splitimpera.partition.autoencoder import Autoencoder
from splitimpera.records.graph import Cut
from splitimpera.saliency.curve import curve_points, local_maxima
from splitimpera.saliency.hooks import gradients
from splitimpera.saliency.scores import SCORES, STATISTICS, by_channel

REFERENCE = Path(__file__).resolve().parents[2] / "shared" / "reference" / "cifar10"
CIFAR_PIXELS = Pixels((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
Outcomes = dict[str, list[dict[str, list[float]]]]
"""By size of latent: for each cut, `right` and `nats` of each test image."""
SIZES = ("papers", "equal")
CALIBRATION = 800
"""Images of the training part from which scores are taken and linear codes fitted."""
DRAWS = 2000
Estimate = tuple[float, float, float]
"""A value and the ends of its 95 % interval."""

PREDICTORS = {  # is a high or a low value taken for a good place to split?
    "depth": "high",
    "bytes": "low",
    "cs": "high",
    "gradient_activation": "high",
    "taylor": "high",
    "fisher": "low",
    "pooling_loss": "low",
    "code_loss": "low",
    "gradient_agreement": "high",
    "logit_alignment": "high",
    "probe accuracy": "high",
    "probe cross-entropy": "low",
}


@dataclass(frozen=True, eq=False)
class Case:
    """A network with the data that it is measured on, and two groups of its classes."""

    model: nn.Module
    train: Samples
    test: Samples
    groups: dict[str, tuple[int, ...]]
    epochs: int
    batch: int


def digits(recipe: str) -> Case:
    data = DATASETS["digits"]()
    groups = {"0 to 4": (0, 1, 2, 3, 4), "5 to 9": (5, 6, 7, 8, 9)}
    return Case(trained(RECIPES[recipe]), data.train, data.test, groups, epochs=15, batch=64)


def cifar(most: int = 2000) -> Case | None:
    """The reference ResNet-20 with that many of the 5000 training images and all test images; None where absent."""
    weights, images = REFERENCE / "resnet20.th", REFERENCE / "cifar10_jpeg_subset.npz"
    if not (weights.exists() and images.exists()):
        return None
    model = CifarResNet()
    state = torch.load(weights, weights_only=True, map_location="cpu")["state_dict"]
    model.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
    arrays = np.load(images)
    parts = {}
    for part in ("train", "test"):
        rows = np.random.default_rng(0).permutation(len(arrays[f"{part}_y"]))  # they are sorted by class
        inputs, labels = arrays[f"{part}_x"][rows], arrays[f"{part}_y"][rows].astype(np.int64)
        parts[part] = Samples(CIFAR_PIXELS.inputs(inputs), torch.from_numpy(labels))
    groups = {"animals": (2, 3, 4, 5, 6, 7), "vehicles": (0, 1, 8, 9)}
    return Case(model.eval(), parts["train"].take(slice(most)), parts["test"], groups, epochs=4, batch=32)


CASES: dict[str, Callable[[], Case | None]] = {
    "digits-vgg16": lambda: digits("digits-vgg16"),
    "digits-resnet20": lambda: digits("digits-resnet20"),
    "cifar-resnet20": cifar,
}


# What is to be predicted ----------------------------------------------------------------------------------------------


def cuts_of(graph: ModelGraph) -> list[Cut]:
    points, on_curve = curve_points(graph.cuts)
    return [cut for cut, on in zip(points, on_curve, strict=True) if on and cut.single]


def latent_channels(cuts: Sequence[Cut]) -> dict[str, list[int]]:
    """Channels of the latent at each cut, for either size.

    "equal" has as many elements everywhere as one channel of the largest latent map: the least that every cut can have.
    """
    shapes = [Autoencoder(single_tensor(cut)).latent_shape for cut in cuts]
    positions = [int(np.prod(shape[1:])) for shape in shapes]
    return {
        "papers": [shape[0] for shape in shapes],
        "equal": [max(1, round(max(positions) / here)) for here in positions],
    }


def measure_seed(graph: ModelGraph, case: Case, epochs: int, seed: int) -> Outcomes:
    """For either size and each cut: is each test image answered rightly (0 or 1), and its cross-entropy (nats)."""
    cuts = cuts_of(graph)
    channels = latent_channels(cuts)
    found: Outcomes = {size: [] for size in SIZES}
    for place, cut in enumerate(cuts):
        for size in SIZES:
            if size == "equal" and channels["equal"][place] == channels["papers"][place]:
                found[size].append(found["papers"][place])  # the same bottleneck
                continue
            start = time.perf_counter()
            bottleneck = fit_bottleneck(
                graph,
                cut,
                case.train,
                epochs=epochs,
                latent_channels=channels[size][place],
                seed=seed,
                batch=case.batch,
            )
            found[size].append(outcome(outputs(sei.split(graph, cut), bottleneck, case.test.inputs), case.test.labels))
            right, nats = (np.mean(found[size][-1][key]) for key in ("right", "nats"))
            print(
                f"seed {seed} {size:6} {cut.name:12} latent {bottleneck.latent_shape} accuracy {right:.3f} "
                f"cross-entropy {nats:.3f}  {time.perf_counter() - start:.1f} s",
                flush=True,
            )
    return found


def outcome(logits: Tensor, labels: Tensor) -> dict[str, list[float]]:
    nats = F.cross_entropy(logits, labels, reduction="none")
    return {
        "right": (logits.argmax(1) == labels).int().tolist(),
        "nats": [round(value, 4) for value in nats.tolist()],
    }


def measure(name: str, case: Case, graph: ModelGraph, epochs: int, seeds: int, path: Path) -> dict[str, Any]:
    """The raw numbers of a network, those in `path` taken over, missing seeds measured and written there."""
    made = {"network": name, "epochs": epochs, "train": len(case.train), "test": len(case.test)}
    known = json.loads(path.read_text()) if path.exists() else {}
    raw = known if {key: known.get(key) for key in made} == made else {**made, "seeds": {}}
    made_now = sei.split(graph, 1)
    raw["unsplit"] = outcome(outputs(made_now, nn.Identity(), case.test.inputs), case.test.labels)
    for seed in range(seeds):
        if str(seed) not in raw["seeds"]:
            raw["seeds"][str(seed)] = measure_seed(graph, case, epochs, seed)
            path.write_text(json.dumps(raw))
    if "probe" not in raw:
        raw["probe"] = probe(graph, case)
        path.write_text(json.dumps(raw))
    return raw


def probe(graph: ModelGraph, case: Case) -> Outcomes:
    """As `measure_seed`, with the linear code of `cut_probes` in place of the bottleneck: nothing is trained."""
    cuts = cuts_of(graph)
    found: Outcomes = {size: [] for size in SIZES}
    for size, channels in latent_channels(cuts).items():
        for cut, kept in zip(cuts, channels, strict=True):
            partition = sei.split(graph, cut)
            code = fit_linear_code(partition, case.train.inputs[:CALIBRATION], kept)
            found[size].append(outcome(outputs(partition, code, case.test.inputs), case.test.labels))
    return found


# What predicts it -----------------------------------------------------------------------------------------------------


def code_loss(graph: ModelGraph, inputs: Tensor, channels: dict[str, list[int]]) -> dict[str, FloatArray]:
    """For either size, (cuts,): mean over images of |<G, A - code(A)>|, a first-order change of the predicted logit.

    The code is that of `cut_probes`, with blocks in place of bilinear decoding. One forward and one backward pass.
    """
    cuts = cuts_of(graph)
    specs = {cut.index: cut.tensors[0] for cut in cuts}
    columns: dict[int, list[tuple[Tensor, ...]]] = {index: [] for index in specs}

    def observe(index: int, _: str, activation: Tensor, gradient: Tensor) -> None:
        a, g = by_channel(activation, specs[index]), by_channel(gradient, specs[index])
        sums = F.avg_pool2d(g, 4, ceil_mode=True, divisor_override=1)
        columns[index].append((pool(a, 4), sums, (g * a).flatten(1).sum(1)))

    for x in torch.split(inputs, 100):
        gradients(
            graph, (x,), lambda result: result[0].amax(1).sum(), {cut.index: cut.crossing for cut in cuts}, observe
        )
    found: dict[str, list[float]] = {f"code_loss {size}": [] for size in SIZES}
    for place, index in enumerate(specs):
        pooled, sums, product = (torch.cat(parts) for parts in zip(*columns[index], strict=True))
        for size in SIZES:
            mean, directions = principal_components(pooled.movedim(1, -1).flatten(0, -2), channels[size][place])
            mean, directions = mean.to(pooled)[:, None], directions.to(pooled)
            code = torch.einsum("kl,ml,nmp->nkp", directions, directions, pooled.flatten(2) - mean) + mean
            lost = product - (sums.flatten(2) * code).sum((1, 2))
            found[f"code_loss {size}"].append(float(lost.abs().mean()))
    return {name: np.array(values) for name, values in found.items()}


def predictors(graph: ModelGraph, samples: Samples) -> dict[str, FloatArray]:
    """Every predictor that needs no test image, (cuts,); names that end in a size belong to that size alone."""
    cuts = cuts_of(graph)
    curve = sei.cumulative_saliency(
        graph, (samples.inputs, samples.labels), scores=(*SCORES.names(), *STATISTICS.names()), batch=100
    )
    places = [curve.cuts.index(cut.index) for cut in cuts]
    found = {name: values[places] for name, values in curve.scores.items()}
    found["depth"] = np.arange(len(cuts), dtype=float)
    found["bytes"] = np.array([cut.bytes for cut in cuts], dtype=float)
    return found | code_loss(graph, samples.inputs, latent_channels(cuts))


# How well it predicts -------------------------------------------------------------------------------------------------


def signs(x: FloatArray) -> FloatArray:
    """Of all differences, (draws, n) -> (draws, n, n)."""
    return np.sign(x[:, :, None] - x[:, None, :])


def spearman(x: FloatArray, y: FloatArray) -> FloatArray:
    """Row by row, (draws, n) -> (draws,); ties share their mean rank. NaN where all values of a row are equal."""
    rank_x, rank_y = signs(x).sum(2), signs(y).sum(2)  # these have mean 0
    return (rank_x * rank_y).sum(1) / np.sqrt((rank_x**2).sum(1) * (rank_y**2).sum(1))


def kendall(x: FloatArray, y: FloatArray) -> FloatArray:
    """tau-b, as `spearman`."""
    sign_x, sign_y = signs(x), signs(y)
    return (sign_x * sign_y).sum((1, 2)) / np.sqrt((sign_x**2).sum((1, 2)) * (sign_y**2).sum((1, 2)))


def given_depth(x: FloatArray, y: FloatArray, depth: FloatArray) -> FloatArray:
    """Partial Spearman correlation of x and y given depth."""
    xy, xd, yd = spearman(x, y), spearman(x, depth), spearman(y, depth)
    return (xy - xd * yd) / np.sqrt((1 - xd**2) * (1 - yd**2))


def adjacent(x: FloatArray, y: FloatArray) -> FloatArray:
    """Share of adjacent cuts that x orders as y does; a tie is half right."""
    return (1 + np.sign(np.diff(x)) * np.sign(np.diff(y))).mean(1) / 2


class Bootstrap:
    """Draws of seeds (for each cut anew), of test images and, where it makes sense, of cuts; the same for all scores.

    Args:
        values: an outcome, (seeds, cuts, images), the higher the better.
    """

    def __init__(self, values: FloatArray, draws: int = DRAWS) -> None:
        rng = np.random.default_rng(0)
        seeds, cuts, images = values.shape
        self.found = values.mean((0, 2))[None]
        weights = rng.multinomial(images, np.full(images, 1 / images), size=draws) / images
        means = np.einsum("scp,dp->dsc", values, weights, optimize=True)
        chosen = rng.integers(seeds, size=(draws, seeds, cuts))
        self.outcomes = np.take_along_axis(means, chosen, 1).mean(1)
        self.cuts = rng.integers(cuts, size=(draws, cuts))

    @classmethod
    def together(cls, parts: Sequence[Bootstrap], units: Sequence[float]) -> Bootstrap:
        """The cuts of several networks as one, each network's outcome in a unit of its own."""
        whole = copy.copy(parts[0])
        whole.found = np.concatenate([part.found / unit for part, unit in zip(parts, units, strict=True)], 1)
        whole.outcomes = np.concatenate([part.outcomes / unit for part, unit in zip(parts, units, strict=True)], 1)
        whole.cuts = np.random.default_rng(0).integers(whole.found.shape[1], size=whole.outcomes.shape)
        return whole

    def over_cuts(self, statistic: Callable[..., FloatArray], *predictors: FloatArray) -> Estimate:
        """Of statistic(predictor, outcome, more predictors ...); seeds, images and cuts are drawn."""
        first, *more = ([x[None], x[self.cuts]] for x in predictors)
        drawn = np.take_along_axis(self.outcomes, self.cuts, 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            at = statistic(first[0], self.found, *(x[0] for x in more))
            return estimate(at[0], statistic(first[1], drawn, *(x[1] for x in more)))

    def over_seeds(self, statistic: Callable[..., FloatArray], x: FloatArray) -> Estimate:
        """The same with the cuts as they are, for what speaks of neighbours."""
        return estimate(statistic(x[None], self.found)[0], statistic(x[None], self.outcomes))

    def gain(self, place: int, other: int, sign: int) -> Estimate:
        """By how much the outcome at one cut is higher (sign 1) or lower (-1) than at another."""
        found, drawn = (sign * (values[:, place] - values[:, other]) for values in (self.found, self.outcomes))
        return estimate(found[0], drawn)


def estimate(value: float, draws: FloatArray) -> Estimate:
    """The value and its 95 % interval; a predictor without ties or spread in a draw says nothing there."""
    low, high = np.nanpercentile(draws, [2.5, 97.5]) if np.isfinite(draws).any() else (np.nan, np.nan)
    return float(value), float(low), float(high)


def better(over: FloatArray, outcome: FloatArray, other: FloatArray) -> FloatArray:
    """By how much `over` has the higher Spearman correlation than `other`."""
    return spearman(over, outcome) - spearman(other, outcome)


# The report -----------------------------------------------------------------------------------------------------------


def outcomes(entries: Sequence[list[dict[str, list[float]]]], rows: FloatArray) -> dict[str, FloatArray]:
    """(seeds, cuts, images) each, the higher the better, of the images `rows`."""
    take = {key: np.array([[cut[key] for cut in entry] for entry in entries])[..., rows] for key in ("right", "nats")}
    return {"accuracy": take["right"].astype(float), "cross-entropy": -take["nats"]}


def oriented(name: str, values: FloatArray) -> FloatArray:
    return values if PREDICTORS[name] == "high" else -values


def for_size(found: dict[str, FloatArray], raw: dict[str, Any], size: str, rows: FloatArray) -> dict[str, FloatArray]:
    """The predictors that hold for a size of latent, the higher the better, the probe's among them."""
    probed = outcomes([raw["probe"][size]], rows)
    merged = found | {"code_loss": found[f"code_loss {size}"]}
    merged |= {"probe accuracy": probed["accuracy"].mean((0, 2))}
    merged |= {"probe cross-entropy": -probed["cross-entropy"].mean((0, 2))}
    return {name: oriented(name, merged[name]) for name in PREDICTORS if name in merged}


def report(raw: dict[str, Any], case: Case, graph: ModelGraph) -> tuple[str, dict[str, Any]]:
    """Markdown tables, and the same as numbers."""
    cuts = cuts_of(graph)
    everything = np.arange(len(case.test))
    calibration = case.train.take(slice(CALIBRATION))
    found = predictors(graph, calibration)
    text = [f"## {raw['network']}", "", _settings(raw, case), "", *_accuracies(raw, cuts, found)]
    numbers: dict[str, Any] = {"predictors": {name: values.tolist() for name, values in found.items()}}
    for size in SIZES:
        lines, numbers[size] = _correlations(raw, found, size, everything)
        text += ["", f"### {raw['network']}, {SIZE_NAMES[size]}", "", *lines, "", *_maxima(raw, cuts, found, size)]
    text += ["", f"### {raw['network']}, groups of classes", "", *_groups(raw, case, graph, found, calibration)]
    return "\n".join(text), numbers


SIZE_NAMES = {"papers": "the papers' latent", "equal": "equal latent bytes"}


def _settings(raw: dict[str, Any], case: Case) -> str:
    unsplit = {key: np.mean(raw["unsplit"][key]) for key in ("right", "nats")}
    return (
        f"Unsplit: accuracy {unsplit['right']:.2%}, cross-entropy {unsplit['nats']:.3f}. {len(raw['seeds'])} seeds, "
        f"{raw['epochs']} epochs of {raw['train']} images in batches of {case.batch}, {raw['test']} test images."
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(header)} |", "|---|" + "---:|" * (len(header) - 1), *(f"| {' | '.join(r)} |" for r in rows)]


def _interval(value: Estimate) -> str:
    return "-" if np.isnan(value[0]) else f"{value[0]:.2f} [{value[1]:.2f}, {value[2]:.2f}]"


def _accuracies(raw: dict[str, Any], cuts: Sequence[Cut], found: dict[str, FloatArray]) -> list[str]:
    header = ["cut", "maps", "log10 CS", "agreement"]
    columns = []
    for size in SIZES:
        values = outcomes([seed[size] for seed in raw["seeds"].values()], np.arange(raw["test"]))
        elements = [
            int(np.prod(Autoencoder(single_tensor(cut), channels).latent_shape))
            for cut, channels in zip(cuts, latent_channels(cuts)[size], strict=True)
        ]
        columns.append((elements, values["accuracy"].mean(2), -values["cross-entropy"].mean((0, 2))))
        header += [f"{size}: latent", "accuracy (range)", "cross-entropy"]
    rows = []
    for place, cut in enumerate(cuts):
        shape = " x ".join(map(str, cut.tensors[0].shape))
        row = [cut.name, shape, f"{np.log10(found['cs'][place]):.2f}", f"{found['gradient_agreement'][place]:.2f}"]
        for elements, accuracy, nats in columns:
            a = accuracy[:, place]
            row += [str(elements[place]), f"{a.mean():.3f} ({a.min():.3f} to {a.max():.3f})", f"{nats[place]:.3f}"]
        rows.append(row)
    return _table(header, rows)


def _correlations(
    raw: dict[str, Any], found: dict[str, FloatArray], size: str, rows: FloatArray
) -> tuple[list[str], dict[str, Any]]:
    here = for_size(found, raw, size, rows)
    values = outcomes([seed[size] for seed in raw["seeds"].values()], rows)
    draws = {key: Bootstrap(value) for key, value in values.items()}
    nats, depth = draws["cross-entropy"], here["depth"]
    numbers, lines = {}, []
    for name, x in here.items():
        numbers[name] = {
            "spearman accuracy": draws["accuracy"].over_cuts(spearman, x),
            "kendall accuracy": draws["accuracy"].over_cuts(kendall, x),
            "spearman": nats.over_cuts(spearman, x),
            "kendall": nats.over_cuts(kendall, x),
            "given depth": (np.nan,) * 3 if name == "depth" else nats.over_cuts(given_depth, x, depth),
            "adjacent": nats.over_seeds(adjacent, x),
            "above depth": nats.over_cuts(better, x, depth),
            "above depth, accuracy": draws["accuracy"].over_cuts(better, x, depth),
        }
        lines.append([f"{name} ({PREDICTORS[name]})", *map(_interval, numbers[name].values())])
    header = ["score (good is)", "Spearman, accuracy", "Kendall, accuracy", "Spearman, cross-entropy"]
    header += ["Kendall, cross-entropy", "given depth", "adjacent pairs", "Spearman above depth's", "same, accuracy"]
    return [*_table(header, lines), "", _ceiling(values)], numbers


def _ceiling(values: dict[str, FloatArray]) -> str:
    """How well one training's order of the cuts predicts that of the others: no score can be expected to do better."""
    parts = []
    for key, value in values.items():
        means = value.mean(2)
        if len(means) < 2:
            return "One seed: the order of the cuts cannot be held against another training's."
        others = [np.delete(means, seed, 0).mean(0) for seed in range(len(means))]
        parts.append(f"{key} {float(np.mean(spearman(means, np.stack(others)))):.3f}")
    return f"Spearman of one seed's order with the other seeds' mean: {', '.join(parts)}."


def _maxima(raw: dict[str, Any], cuts: Sequence[Cut], found: dict[str, FloatArray], size: str) -> list[str]:
    """Each local maximum of CS against either neighbour."""
    values = outcomes([seed[size] for seed in raw["seeds"].values()], np.arange(raw["test"]))
    draws = {key: Bootstrap(value) for key, value in values.items()}
    rows = []
    for place in local_maxima(np.log10(found["cs"])):
        for other in (place - 1, place + 1):
            row = [cuts[place].name, f"{cuts[other].name} ({'before' if other < place else 'after'})"]
            for key, sign in (("accuracy", 1), ("cross-entropy", -1)):
                gain = draws[key].gain(place, other, sign)
                row.append(f"{gain[0]:+.3f} [{gain[1]:+.3f}, {gain[2]:+.3f}]")
            rows.append(row)
    if not rows:
        return ["CS has no local maximum here."]
    return _table(["local maximum of CS", "neighbour", "accuracy gained", "cross-entropy gained (less is good)"], rows)


def _groups(
    raw: dict[str, Any], case: Case, graph: ModelGraph, found: dict[str, FloatArray], calibration: Samples
) -> list[str]:
    """A group's own scores, and the general ones, against the group's outcomes."""
    header = ["group", "latent", "score", "own: Spearman, accuracy", "own: Spearman, cross-entropy"]
    header += ["own above general, accuracy", "same, cross-entropy", "own: given depth"]
    rows = []
    for group, labels in case.groups.items():
        own_samples = calibration.take(torch.isin(calibration.labels, torch.tensor(labels)))
        own = predictors(graph, own_samples)
        images = np.flatnonzero(np.isin(case.test.labels.numpy(), labels))
        for size in SIZES:
            values = outcomes([seed[size] for seed in raw["seeds"].values()], images)
            accuracy, nats = (Bootstrap(values[key]) for key in ("accuracy", "cross-entropy"))
            mine = for_size(own, raw, size, images)
            general = for_size(found, raw, size, np.arange(raw["test"]))
            for name in ("depth", "cs", "gradient_agreement", "logit_alignment", "probe cross-entropy"):
                row = [group, size, name]
                row += [_interval(draws.over_cuts(spearman, mine[name])) for draws in (accuracy, nats)]
                if name == "depth":
                    row += ["-"] * 3
                else:
                    row += [_interval(d.over_cuts(better, mine[name], general[name])) for d in (accuracy, nats)]
                    row.append(_interval(nats.over_cuts(given_depth, mine[name], mine["depth"])))
                rows.append(row)
    return _table(header, rows)


def across(results: dict[str, tuple[dict[str, Any], dict[str, Any]]]) -> str:
    """All cuts of all networks in one order: accuracy as a share of the unsplit network's, depth as a share of all."""
    rows = []
    for size in SIZES:
        parts, units, scores = [], [], []
        for raw, numbers in results.values():
            everything = np.arange(raw["test"])
            parts.append(Bootstrap(outcomes([seed[size] for seed in raw["seeds"].values()], everything)["accuracy"]))
            units.append(float(np.mean(raw["unsplit"]["right"])))
            found = {name: np.array(values) for name, values in numbers["predictors"].items()}
            here = for_size(found, raw, size, everything)
            scores.append(here | {"depth": here["depth"] / here["depth"].max()})
        draws = Bootstrap.together(parts, units)
        whole = {name: np.concatenate([score[name] for score in scores]) for name in scores[0]}
        for name, x in whole.items():
            statistics = draws.over_cuts(spearman, x), draws.over_cuts(kendall, x)
            above = draws.over_cuts(better, x, whole["depth"])
            rows.append([SIZE_NAMES[size], f"{name} ({PREDICTORS[name]})", *map(_interval, (*statistics, above))])
    return "\n".join(_table(["latent", "score (good is)", "Spearman", "Kendall", "Spearman above depth's"], rows))


def draw(results: dict[str, tuple[dict[str, Any], dict[str, Any]]], path: Path) -> None:
    """Accuracy after the split over CS (above) and over gradient agreement (below), one column a network."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        2, len(results), figsize=(3.6 * len(results), 6), sharey="col", squeeze=False, layout="constrained"
    )
    for column, (name, (raw, numbers)) in enumerate(results.items()):
        for row, (score, label) in enumerate((("cs", "CS"), ("gradient_agreement", "gradient agreement"))):
            axis = axes[row, column]
            x = np.array(numbers["predictors"][score])
            for size, marker in zip(SIZES, ("o", "s"), strict=True):
                y = outcomes([seed[size] for seed in raw["seeds"].values()], np.arange(raw["test"]))["accuracy"]
                means = y.mean(2)
                axis.vlines(x, means.min(0), means.max(0), color="0.75", lw=1, zorder=1)
                points = axis.scatter(
                    x, means.mean(0), c=np.arange(len(x)), marker=marker, s=28, zorder=2, label=SIZE_NAMES[size]
                )
            axis.axhline(np.mean(raw["unsplit"]["right"]), color="0.4", lw=0.8, ls=":")
            axis.set_xlabel(label)
            if score == "cs":
                axis.set_xscale("log")
                axis.set_title(name, fontsize=10)
            if column == 0:
                axis.set_ylabel("test accuracy after the split")
    axes[0, 0].legend(fontsize=7, loc="lower right")
    figure.colorbar(points, ax=axes[:, -1], label="cut, from the input on", ticks=[])
    figure.savefig(path, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--seeds", type=int, default=3, help="bottlenecks trained at each cut")
    parser.add_argument("--epochs", type=int, help="epochs of each bottleneck (15 for digits, 4 for CIFAR-10)")
    parser.add_argument("--out", type=Path, default=Path("runs/score_vs_accuracy"), help="results go there")
    parser.add_argument("--quick", action="store_true", help="one epoch, one seed, few images: does it run?")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folder = arguments.out / "quick" if arguments.quick else arguments.out
    folder.mkdir(parents=True, exist_ok=True)
    results, text = {}, []
    for name in arguments.networks:
        case = CASES[name]()
        if case is None:
            print(f"{name}: skipped, ../shared/reference/cifar10 is absent")
            continue
        seeds, epochs = arguments.seeds, arguments.epochs or case.epochs
        if arguments.quick:
            seeds, epochs = 1, 1
            case = replace(case, train=case.train.take(slice(200)), test=case.test.take(slice(100)))
        graph = sei.trace(case.model, case.train.inputs[:1])
        raw = measure(name, case, graph, epochs, seeds, folder / f"{name}.json")
        tables, numbers = report(raw, case, graph)
        (folder / f"{name}-correlations.json").write_text(json.dumps(numbers))
        results[name] = raw, numbers
        text.append(tables)
        print(tables, flush=True)
    if results:
        text.append(f"## All networks together\n\n{across(results)}")
        print(text[-1])
        (folder / "report.md").write_text("\n\n".join(text) + "\n")
        draw(results, folder / "score_vs_accuracy.png")


if __name__ == "__main__":
    main()
