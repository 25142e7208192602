"""What a trained bottleneck saves, and what it bears: accuracy against payload bytes, and against lost packets.

    python benchmarks/bottleneck_quality.py [--parts rate loss cifar] [--quick] [--markdown FILE]

Every accuracy is one of the test part. The unsplit network is fine-tuned as the split's stage 2 is: the same images,
as many epochs as both stages have together, Adam with the same one-cycle rate, the same loss, held-out part and
patience; the bar is the better of the fine-tuned network and the one that was given.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (the name everybody knows it by)
from torch import Tensor, nn

import splitimpera as sei
from splitimpera.codec.codecs import Calibration, make_codec
from splitimpera.codec.concealment import interleaved
from splitimpera.codec.framing import IP_UDP_HEADER_BYTES
from splitimpera.core.array_types import Array, FloatArray
from splitimpera.core.statistics import student_interval, wilson_interval
from splitimpera.evaluation.batches import Inputs
from splitimpera.evaluation.run import evaluate
from splitimpera.evaluation.stopwatch import measure
from splitimpera.evaluation.testbed import Testbed
from splitimpera.graph.tracing import ModelGraph
from splitimpera.models.datasets import Dataset, Pixels, Samples, load_data
from splitimpera.models.networks import load_network
from splitimpera.models.resnet import CifarResNet
from splitimpera.partition.bottleneck import bottleneck_for
from splitimpera.records.device import Device
from splitimpera.records.graph import Cut, TensorSpec
from splitimpera.records.link import Link
from splitimpera.records.outcome import Evaluation
from splitimpera.records.plan import Hop, Plan
from splitimpera.records.traffic import Workload
from splitimpera.scenario import load_scenario
from splitimpera.studies.loss_curve import LossCurve, quality_against_loss, with_loss
from splitimpera.training.cached import trained_split
from splitimpera.training.settings import Training, one_cycle

ROOT = Path(__file__).parents[1]
SCENARIO = ROOT / "examples" / "digits" / "scenario.yaml"
CIFAR = ROOT.parent / "shared" / "reference" / "cifar10"

CUT = 9
SMALLEST_SIDE = 8
COMPRESSION = 200
RATIOS = (16.0, 40.0, 64.0, 128.0)
CODECS = ("uint8+rans", "uint6+rans", "uint4+rans", "uint4:channel+rans")
IMAGES = ("png", "jpeg:1", "jpeg:10", "jpeg:50", "jpeg:90", "webp:1", "webp:10", "webp:50", "webp:90", "webp")
RATE_TRAINING = Training(ratio=40.0, epochs=(20, 60), bits=8)

LOSS_RATIO = 4.0
LEAST_MTU_BYTES = 68  # of IPv4
PACKET_ELEMENTS = 22  # of 8 bits: 24 packets a frame
LEAST_PACKETS = 20
LOSSES = (0.0, 0.1, 0.3, 0.5, 0.7)
LIMITS = {0.1: 0.02, 0.5: 0.05}
LOSS_TRAINING = Training(ratio=LOSS_RATIO, epochs=(20, 80), bits=8, finetune_head=True, patience=20)
PATTERNS = 5

CIFAR_CUT = "layer3.2"
CIFAR_POINTS = 0.05
CIFAR_TRAINING = Training(ratio=32.0, epochs=(4, 8), bits=8, batch=64, patience=4)

Right = FloatArray
"""For each image, the share of right answers over seeds."""


@dataclass
class Report:
    lines: list[str]

    def add(self, *lines: str) -> None:
        self.lines += lines
        for line in lines:
            print(line, flush=True)

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        self.add("| " + " | ".join(head) + " |", "|" + " --- |" * len(head))
        self.add(*("| " + " | ".join(row) + " |" for row in rows), "")


@dataclass
class Bench:
    """A traced network with its data."""

    model: nn.Module
    data: Dataset
    graph: ModelGraph

    @classmethod
    def of(cls, model: nn.Module, data: Dataset) -> Bench:
        return cls(model, data, sei.trace(model, data.validation.inputs[:1]))

    def testbed(self, fps: float = 10.0) -> Testbed:
        return Testbed(self.graph, self.data, Workload(fps=fps, frames=len(self.data.test)))

    def cut(self, index: int | str) -> Cut:
        cut = self.graph.cut(index)
        if min(cut.tensors[0].shape[1:]) < SMALLEST_SIDE:
            raise SystemExit(f"the maps at cut {cut.index} are smaller than {SMALLEST_SIDE} x {SMALLEST_SIDE}")
        return cut


@dataclass
class Point:
    """One codec at one ratio: payload bytes and right answers."""

    name: str
    payload_bytes: float
    of_seeds: list[float]
    right: Right

    @property
    def accuracy(self) -> float:
        return float(self.right.mean())

    def told(self) -> str:
        low, high = wilson_interval(self.accuracy, len(self.right))
        seeds = f"; seeds {100 * min(self.of_seeds):.2f} to {100 * max(self.of_seeds):.2f}" * (len(self.of_seeds) > 1)
        return f"{100 * self.accuracy:.2f} % ({100 * low:.1f} to {100 * high:.1f}{seeds})"


def verdict(holds: bool) -> str:
    return "holds" if holds else "MISSED"


def rights(answer: Callable[[Tensor], Tensor], inputs: Tensor, labels: Tensor) -> Right:
    with torch.no_grad():
        logits = torch.cat([answer(x) for x in torch.split(inputs, 256)])
    return (logits.argmax(1) == labels).double().numpy()


def lost_points(ours: Right, bar: Right) -> tuple[float, float, float]:
    """By how much `bar` is better, and the 95 % interval of that over images, which both have in common."""
    difference = bar - ours
    return float(difference.mean()), *student_interval(difference)


def fine_tuned(model: nn.Module, samples: Samples, training: Training) -> nn.Module:
    """A copy of the network, trained as a split's stage 2 is, for the epochs of both stages."""
    generator = torch.Generator().manual_seed(training.seed)
    rows = torch.randperm(len(samples), generator=generator)
    count = round(training.held_out * len(samples))
    held, trained = rows[:count], rows[count:]
    model = copy.deepcopy(model).eval()  # normalisations keep their statistics
    parameters = [parameter.requires_grad_() for parameter in model.parameters()]
    with torch.no_grad():
        wanted = torch.cat([model(x).log_softmax(1) for x in torch.split(samples.inputs, 256)])
    epochs, highest = sum(training.epochs), training.learning_rates[1]
    optimizer = torch.optim.Adam(parameters, lr=highest)

    def loss_of(rows: Tensor) -> Tensor:
        given = model(samples.inputs[rows]).log_softmax(1)
        distance = F.kl_div(given, wanted[rows], reduction="batchmean", log_target=True)
        return (1 - training.distill) * F.nll_loss(given, samples.labels[rows]) + training.distill * distance

    best_loss, best, stale, step = np.inf, copy.deepcopy(model.state_dict()), 0, 0
    steps = epochs * -(-len(trained) // training.batch)
    for _ in range(epochs):
        for batch in torch.split(trained[torch.randperm(len(trained), generator=generator)], training.batch):
            for group in optimizer.param_groups:
                group["lr"] = highest * one_cycle(step, steps)
            optimizer.zero_grad()
            loss_of(batch).backward()
            optimizer.step()
            step += 1
        with torch.no_grad():
            loss = sum(float(loss_of(part)) * len(part) for part in torch.split(held, 256)) / len(held)
        stale += 1
        if loss < best_loss:
            best_loss, best, stale = loss, copy.deepcopy(model.state_dict()), 0
        if stale >= training.patience:
            break
    model.load_state_dict(best)
    return model.requires_grad_(False)


def fine_tuned_rights(bench: Bench, training: Training, seeds: Sequence[int]) -> tuple[Point, nn.Module]:
    """What fine-tuning gives, and the network of the first seed."""
    test = bench.data.test
    networks = [fine_tuned(bench.model, bench.data.train, replace(training, seed=seed)) for seed in seeds]
    found = [rights(network, test.inputs, test.labels) for network in networks]
    return Point("fine-tuned", 0.0, [float(right.mean()) for right in found], np.mean(found, axis=0)), networks[0]


# Rate ---------------------------------------------------------------------------------------------------------------


def sent(testbed: Testbed, cut: int, codec_name: str, ratio: float = 0.0) -> tuple[float, Tensor]:
    """Mean payload bytes of the test images, framing included, and what the receiver makes of them."""
    codec = testbed.codec(cut, codec_name, ratio)
    payloads = [codec.encode(row) for row in testbed.run(0, cut, Inputs(testbed.data.test), ratio)]
    decoded: list[Array] = [codec.decode(payload.data)[0] for payload in payloads]
    return float(np.mean([len(payload.data) for payload in payloads])), torch.from_numpy(np.stack(decoded))


def bottleneck_points(
    bench: Bench, cut: Cut, training: Training, ratio: float, codecs: Sequence[str], seeds: Sequence[int]
) -> list[Point]:
    found: dict[str, list[tuple[float, Right]]] = {name: [] for name in codecs}
    for seed in seeds:
        arguments = vars(replace(training, ratio=ratio, seed=seed))
        split = trained_split(bench.graph, cut, bench.data.train, **arguments)
        testbed = bench.testbed()
        testbed.add_split(ratio, split)
        for name in codecs:
            size, latents = sent(testbed, cut.index, name, ratio)
            found[name].append((size, rights(split.predict, latents, bench.data.test.labels)))
    return [
        Point(
            f"ratio {ratio:g}, {name}",
            float(np.mean([size for size, _ in runs])),
            [float(right.mean()) for _, right in runs],
            np.mean([right for _, right in runs], axis=0),
        )
        for name, runs in found.items()
    ]


def image_points(bench: Bench, network: nn.Module, codecs: Sequence[str]) -> list[Point]:
    testbed, points = bench.testbed(), []
    for name in codecs:
        size, inputs = sent(testbed, 0, name)
        right = rights(network, inputs, bench.data.test.labels)
        points.append(Point(name, size, [float(right.mean())], right))
    return points


def shrunk_points(bench: Bench, network: nn.Module, factor: int, codecs: Sequence[str]) -> list[Point]:
    """The image made smaller by means over squares, and enlarged again by the receiver: the plainest bottleneck."""
    data, points = bench.data, []
    small, train = (F.avg_pool2d(samples.inputs, factor) for samples in (data.test, data.calibration()))
    spec = TensorSpec("smaller image", tuple(small.shape[1:]), "float32", batch_dim=0, channel_dim=0)
    for name in codecs:
        codec = make_codec(name, Calibration((spec,), (train.numpy(),)))
        payloads = [codec.encode((x,)).data for x in small.numpy()]
        decoded = torch.from_numpy(np.stack([codec.decode(payload)[0] for payload in payloads]))
        enlarged = F.interpolate(decoded, scale_factor=factor, mode="bilinear", align_corners=False)
        right = rights(network, enlarged, data.test.labels)
        size = float(np.mean([len(payload) for payload in payloads]))
        points.append(Point(f"image {factor} times smaller, {name}", size, [float(right.mean())], right))
    return points


def rate(report: Report, title: str, bench: Bench, cut: Cut, training: Training, points: float, curve: Curve) -> None:
    """Part 1 (and 3): payload and accuracy against the limits, and against image codecs."""
    test, tensor_bytes = bench.data.test, cut.bytes
    given_right = rights(bench.model, test.inputs, test.labels)
    given = Point("as given", 0.0, [float(given_right.mean())], given_right)
    tuned, network = fine_tuned_rights(bench, training, curve.seeds)
    bar = max(given, tuned, key=lambda point: point.accuracy)
    if bar is given:
        network = bench.model
    whole = "head trained as well" if training.finetune_head else "head as given"
    report.add(
        f"### {title}",
        "",
        f"Cut {cut.index} (`{cut.name}`), maps {' x '.join(map(str, cut.tensors[0].shape))}, {tensor_bytes} B in "
        f"float32; {len(bench.data.train)} training and {len(test)} test images; epochs up to {training.epochs[0]} "
        f"+ {training.epochs[1]}, {whole}; {len(curve.seeds)} seed(s). Intervals: 95 % over images (Wilson).",
        "",
        f"Unsplit network as given {given.told()}, fine-tuned equally {tuned.told()}. "
        + ("Fine-tuning does not help here; t" if bar is given else "T")
        + f"he bar is {100 * bar.accuracy:.2f} %.",
        "",
    )
    ours = [
        point
        for ratio in curve.ratios
        for point in bottleneck_points(bench, cut, training, ratio, curve.codecs, curve.seeds)
    ]
    chosen = next(point for point in ours if point.name == f"ratio {training.ratio:g}, uint8+rans")
    lost, low, high = lost_points(chosen.right, bar.right)
    best, worst = (100 * (bar.accuracy - of_seed) for of_seed in (max(chosen.of_seeds), min(chosen.of_seeds)))
    share = tensor_bytes / chosen.payload_bytes
    report.table(
        [f"{chosen.name}", "measured", "limit", "verdict"],
        [
            [
                "payload",
                f"{chosen.payload_bytes:.1f} B, 1/{share:.0f}",
                f"at most 1/{COMPRESSION}, {tensor_bytes / COMPRESSION:.1f} B",
                verdict(share >= COMPRESSION),
            ],
            [
                "points below the bar",
                f"{100 * lost:.2f} ({100 * low:.2f} to {100 * high:.2f}; seeds {best:.2f} to {worst:.2f})",
                f"at most {100 * points:g}",
                verdict(lost <= points),
            ],
        ],
    )
    images = image_points(bench, network, curve.images)
    codecs = ("uint8+rans", "uint4+rans")
    images += [point for factor in (2, 4) for point in shrunk_points(bench, network, factor, codecs)]
    raw = test.inputs[0].numel()
    report.add(f"The image itself has {raw} B in 8 bits. Decoded images feed the better unsplit network.", "")
    report.table(
        ["what is sent", "payload in B", "of the tensor", "accuracy"],
        [
            [point.name, f"{point.payload_bytes:.1f}", f"1/{tensor_bytes / point.payload_bytes:.0f}", point.told()]
            for point in [*ours, *images]
        ],
    )
    compare(report, ours, images, bar, points)


def compare(report: Report, ours: Sequence[Point], images: Sequence[Point], bar: Point, points: float) -> None:
    """Where the bottleneck wins and where it does not, in words that the figures decide."""

    def cheapest(among: Sequence[Point], least: float) -> Point | None:
        good = [point for point in among if point.accuracy >= least]
        return min(good, key=lambda point: point.payload_bytes, default=None)

    def told(point: Point | None) -> str:
        return "none" if point is None else f"{point.payload_bytes:.1f} B ({point.name})"

    levels = (("the bar", 0.0), ("half the allowed points below", points / 2), ("the allowed points below", points))
    rows = []
    for name, below in (*levels, ("five times as many", 5 * points)):
        a, b = (cheapest(among, bar.accuracy - below - 1e-9) for among in (ours, images))
        better = "neither" if a is None and b is None else "bottleneck"
        if b is not None and (a is None or b.payload_bytes <= a.payload_bytes):
            better = "image"
        rows.append([f"{name}: {100 * (bar.accuracy - below):.2f} %", told(a), told(b), better])
    report.table(["accuracy wanted", "smallest bottleneck", "smallest image", "fewer bytes"], rows)


@dataclass
class Curve:
    """Which points of the rate curve are taken."""

    seeds: Sequence[int]
    ratios: Sequence[float] = RATIOS
    codecs: Sequence[str] = CODECS
    images: Sequence[str] = IMAGES


# Loss ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Arm:
    """One set of measures against loss."""

    trained: bool
    spread: bool
    fec: bool = False

    @property
    def codec(self) -> str:
        return "uint8" + "+interleaved" * self.spread + "+fec:50" * self.fec

    def told(self) -> list[str]:
        return ["yes" if measure else "no" for measure in (self.trained, self.spread, self.fec)]


MAIN = Arm(trained=True, spread=True)
ARMS = (
    MAIN,
    Arm(trained=True, spread=False),
    Arm(trained=False, spread=True),
    Arm(trained=False, spread=False),
    Arm(trained=True, spread=True, fec=True),
    Arm(trained=False, spread=True, fec=True),
)
DEVICES = (Device("camera"), Device("server"))


def small_packets() -> Link:
    """A link on which a datagram carries `PACKET_ELEMENTS` values of 8 bits."""
    rest = LEAST_MTU_BYTES - IP_UDP_HEADER_BYTES - PACKET_ELEMENTS  # for plan, frame and offset
    return Link(rate_bps=1e6, delay_s=0.01, mtu_bytes=LEAST_MTU_BYTES, link_header_bytes=2, app_header_bytes=rest)


def loss_testbed(bench: Bench, cut: Cut, arm: Arm, seed: int) -> Testbed:
    training = replace(LOSS_TRAINING, seed=seed)
    if arm.trained:
        shape = bottleneck_for(cut, LOSS_RATIO).latent_specs[0].shape
        order = torch.from_numpy(interleaved(shape)) if arm.spread else None
        training = replace(training, packet_loss=0.7, packet_elements=PACKET_ELEMENTS, order=order)
    testbed = bench.testbed()
    testbed.add_split(LOSS_RATIO, trained_split(bench.graph, cut, bench.data.train, **vars(training)))
    return testbed


def loss_plan(cut: Cut, codec: str, transport: str, link: Link) -> Plan:
    hop = Hop(cut.index, codec, transport, link, bottleneck=LOSS_RATIO)
    return Plan(f"{codec} {transport}", DEVICES, (hop,))


def loss_curve(plan: Plan, testbed: Testbed, seed: Sequence[int]) -> LossCurve:
    times = measure([plan], testbed)

    def trial(lossy: Plan, frames: Workload) -> Evaluation:
        bench, rng = testbed.with_workload(frames), np.random.default_rng(seed)
        return evaluate(lossy, bench, times, rng, "test", PATTERNS, intervals=False)

    return quality_against_loss(plan, testbed.workload, trial, LOSSES)


def mean_curve(curves: Sequence[LossCurve], images: int) -> list[str]:
    of_seeds = np.array([curve.quality for curve in curves])
    cells = []
    for accuracy in of_seeds.T:
        low, high = wilson_interval(float(accuracy.mean()), images)
        cells.append(f"{100 * accuracy.mean():.2f} ({100 * low:.1f} to {100 * high:.1f})")
    return cells


def loss(report: Report, bench: Bench, seeds: Sequence[int]) -> None:
    """Part 2: accuracy against lost packets, without retransmission."""
    cut, test = bench.cut(CUT), len(bench.data.test)
    elements = bottleneck_for(cut, LOSS_RATIO).latent_elements
    packets = -(-elements // PACKET_ELEMENTS)
    own = small_packets()
    header = IP_UDP_HEADER_BYTES + own.link_header_bytes + own.app_header_bytes
    report.add(
        "### Loss: digits",
        "",
        f"Cut {cut.index} (`{cut.name}`), ratio {LOSS_RATIO:g}: {elements} values of 8 bits in {packets} UDP packets "
        f"of up to {PACKET_ELEMENTS} B after headers of {header} B (UDP/IP {IP_UDP_HEADER_BYTES}, "
        f"link {own.link_header_bytes}, application {own.app_header_bytes}), nothing is sent again. Epochs up to "
        f"{LOSS_TRAINING.epochs[0]} + {LOSS_TRAINING.epochs[1]}, loss training up to 70 %; {len(seeds)} seed(s), "
        f"{PATTERNS} loss patterns an image from the simulator; {test} test images. Accuracy in %, in brackets the "
        "95 % interval over images (Wilson).",
        "",
    )
    testbeds = {
        (arm.trained, arm.spread or not arm.trained, seed): loss_testbed(bench, cut, arm, seed)
        for arm in ARMS
        for seed in seeds
    }
    rows: dict[bool, list[list[str]]] = {False: [], True: []}
    main: list[LossCurve] = []
    for arm in ARMS:
        for bursty in (False, True):
            link = replace(small_packets(), loss_burst=4.0 if bursty else None)
            plan = loss_plan(cut, arm.codec, "udp", link)
            curves = [
                loss_curve(plan, testbeds[arm.trained, arm.spread or not arm.trained, seed], [seed, bursty])
                for seed in seeds
            ]
            if arm == MAIN and not bursty:
                main = curves
            room = link.mtu_bytes - IP_UDP_HEADER_BYTES - link.app_header_bytes
            testbed = testbeds[arm.trained, arm.spread or not arm.trained, seeds[0]]
            codec = testbed.codec(cut.index, arm.codec, LOSS_RATIO, room)
            row = next(testbed.run(0, cut.index, Inputs(bench.data.test), LOSS_RATIO))
            size = len(codec.encode(row).data)
            number = -(-size // room)
            wire = str(size + number * header)
            rows[bursty].append([*arm.told(), str(number), wire, *mean_curve(curves, test)])
    of_seeds = np.array([curve.quality for curve in main])
    limits = [
        ["packets a frame", str(packets), f"at least {LEAST_PACKETS}", verdict(packets >= LEAST_PACKETS)],
    ]
    for rate_, points in LIMITS.items():
        lost = of_seeds[:, 0] - of_seeds[:, LOSSES.index(rate_)]
        limits.append(
            [
                f"points lost at {rate_:.0%} independent loss",
                f"{100 * lost.mean():.2f} (seeds {100 * lost.min():.2f} to {100 * lost.max():.2f})",
                f"at most {100 * points:g}",
                verdict(float(lost.mean()) <= points),
            ]
        )
    report.table(["loss training and interleaving, no repair", "measured", "limit", "verdict"], limits)
    head = ["loss training", "interleaved", "+fec:50", "packets", "B on the wire"]
    for bursty, name in ((False, "Independent loss:"), (True, "Bursts of 4 packets on average:")):
        report.add(name, "")
        report.table([*head, *(f"{rate_:.0%}" for rate_ in LOSSES)], rows[bursty])
    one_packet(report, bench, cut, testbeds[True, True, seeds[0]])


def one_packet(report: Report, bench: Bench, cut: Cut, testbed: Testbed) -> None:
    """The whole latent in one datagram: it comes, or nothing does."""
    report.add(
        "The same latent in one packet (MTU 1500 B, first seed). Without a copy no accuracy can exceed the share of "
        "frames that arrive; `+fec:50` has nothing to repair with but a whole second packet. TCP sends again, and "
        "pays in time (10 ms delay, 1 Mbit/s, 10 frames/s).",
        "",
    )
    rates = LOSSES[:-1]
    rows = []
    for codec, transport, burst in (
        ("uint8+interleaved", "udp", None),
        ("uint8+interleaved+fec:50", "udp", None),
        ("uint8+interleaved+fec:50", "udp", 4.0),
        ("uint8+interleaved", "tcp", None),
    ):
        cells, size = [], 0.0
        for rate_ in rates:
            link = with_loss(replace(small_packets(), mtu_bytes=1500, loss_burst=burst), rate_)
            plan = loss_plan(cut, codec, transport, link)
            times = measure([plan], testbed)
            found = evaluate(plan, testbed, times, np.random.default_rng(7), "test", PATTERNS)
            size = found.payload_bytes
            slow = f", p95 {1e3 * float(np.quantile(found.latency_s, 0.95)):.0f} ms" * (transport == "tcp")
            unstable = ", unstable" * (transport == "tcp" and not found.stable)
            alone = transport == "udp" and "fec" not in codec
            arrived = f" ({100 * (1 - found.lost_packet_rate):.2f} arrived)" * alone
            cells.append(f"{100 * found.quality:.2f}{arrived}{slow}{unstable}")
        rows.append([f"`{codec}`, {transport}" + ", bursts" * (burst is not None), f"{size:.0f}", *cells])
    report.table(["one packet", "payload in B", *(f"{rate_:.0%}" for rate_ in rates)], rows)


# CIFAR-10 -----------------------------------------------------------------------------------------------------------


def cifar() -> Bench:
    """The public ResNet-20 with the reference images, which are sorted by class and are shuffled here."""
    stored = torch.load(CIFAR / "resnet20.th", weights_only=True, map_location="cpu")["state_dict"]
    model = CifarResNet().eval()
    model.load_state_dict({name.removeprefix("module."): value for name, value in stored.items()})
    pixels = Pixels((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    rng = np.random.default_rng(0)
    parts = []
    with np.load(CIFAR / "cifar10_jpeg_subset.npz", allow_pickle=False) as arrays:
        for part in ("train", "test"):
            order = rng.permutation(len(arrays[f"{part}_y"]))
            inputs = pixels.inputs(arrays[f"{part}_x"][order])
            parts.append(Samples(inputs, torch.from_numpy(arrays[f"{part}_y"][order].astype(np.int64))))
    train, test = parts
    data = Dataset(train=train, validation=train.take(slice(256)), test=test, pixels=pixels)
    return Bench.of(model.requires_grad_(False), data)


def digits() -> Bench:
    scenario = load_scenario(SCENARIO)
    return Bench.of(load_network(scenario.network, scenario.folder), load_data(scenario.data, scenario.folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=("rate", "loss", "cifar"), default=("rate", "loss", "cifar"))
    parser.add_argument("--quick", action="store_true", help="one seed")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file, too")
    parser.add_argument("--cifar-cut", default=CIFAR_CUT, help="where ResNet-20 is split (default: %(default)s)")
    parser.add_argument(
        "--cifar-epochs", nargs=2, type=int, default=CIFAR_TRAINING.epochs, help="of both stages (default: 4 8)"
    )
    parser.add_argument("--cifar-finetune-head", action="store_true", help="train a copy of the head, too")
    options = parser.parse_args()
    seeds = (0,) if options.quick else (0, 1, 2)
    report = Report([])
    if "rate" in options.parts:
        bench = digits()
        rate(report, "Rate: digits", bench, bench.cut(CUT), RATE_TRAINING, 0.01, Curve(seeds))
    if "loss" in options.parts:
        loss(report, digits(), seeds)
    if "cifar" in options.parts:
        if not CIFAR.is_dir():
            report.add("### Rate: CIFAR-10", "", "Left out: the reference images are not there.", "")
        else:
            bench = cifar()
            curve = Curve(seeds, (16.0, 32.0, 64.0), ("uint8+rans", "uint6+rans", "uint4+rans"))
            training = replace(
                CIFAR_TRAINING, epochs=tuple(options.cifar_epochs), finetune_head=options.cifar_finetune_head
            )
            rate(report, "Rate: CIFAR-10", bench, bench.cut(options.cifar_cut), training, CIFAR_POINTS, curve)
    if options.markdown:
        options.markdown.write_text("\n".join(report.lines))


if __name__ == "__main__":
    main()
