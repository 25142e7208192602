"""How true a design is: plans are designed, exported, run by both programs over an emulated link, and verified.

    python benchmarks/deployed.py [--combinations 16] [--frames 600] [--only NAME] [--folder DIR] [--markdown FILE]

Each combination is a network, a plan, a link and a frame rate. Device and server are processes of their own, each on a
core, with real-time priority, and in a network namespace; relay.c joins them. What the programs take is measured first,
over loopback at the same frame rate, and given to the design as its measurements; the link is simulated. Then
`splitimpera serve` and `infer` run the plan, and what their log says is held to the design. Needs root and a C
compiler; ends with 1 where a limit is missed. What was run in the folder already is judged again, and not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from namespaces import Ends, Wire, hindrance, joined
from network_truth import Report
from scale_pictures import MEAN, STD, fitted_weights, write_images

import splitimpera as sei
from splitimpera.bundle.manifest import MANIFEST, identified, read_manifest, written
from splitimpera.core.errors import SplitImperaError
from splitimpera.core.statistics import Interval, LatencyDraws, ends, wilson_interval
from splitimpera.cost.measured_times import measurements_from
from splitimpera.deploy.frame_log import FrameLine, RunLine, read_log
from splitimpera.evaluation.testbed import coding_of
from splitimpera.export import export_bundle
from splitimpera.export.designed import read_design
from splitimpera.export.placing import files_of, write_bundle
from splitimpera.records.measurements import CodingTime, Measurements, SegmentTime
from splitimpera.records.plan import Plan
from splitimpera.report.building import results_of
from splitimpera.report.reading import read
from splitimpera.report.schema import PlanEntry, Results
from splitimpera.report.writing import write_results
from splitimpera.scenario import Scenario
from splitimpera.verification.comparing import compared, matched
from splitimpera.verification.frame_times import FrameTimes
from splitimpera.verification.shares import clustered_interval, newcombe_same

PYTHON = sys.executable
PORT = 7433
DEVICE_CORE, SERVER_CORE = 0, 1
SAMPLES = 400
IMAGES = 150
CALIBRATING_FRAMES = 150
FAMILY_LEVEL = 0.99
UNLIMITED_BPS = 1e12
START_S = 60.0
PRIORITY = 20
"""Real-time, below the relay's: other programs of this machine do not take the cores of these two."""
P50, P95 = (0.05, 0.5e-3), (0.10, 2e-3)
"""How far a quantile may be off in the median combination: this share, or so many seconds; thrice in any."""
WORST = 3.0
RELAY = "relay.json"
"""What is written last of a run: by how much the relay was late."""


@dataclass(frozen=True)
class Combination:
    """What is tried.

    Attributes:
        after: The layer after which the network is cut; "" for LC, "input" for RC.
        ratio: Of the bottleneck there; 0: none.
    """

    network: str
    after: str
    codec: str = ""
    transport: str = "tcp"
    loss: float = 0.0
    rate_bps: float = 20e6
    delay_s: float = 0.005
    fps: float = 20.0
    ratio: float = 0.0

    @property
    def name(self) -> str:
        if not self.after:
            return f"{self.network} LC {self.fps:g}/s"
        place = "RC" if self.after == "input" else f"SC {self.after}" + (f" b{self.ratio:g}" if self.ratio else "")
        link = f"{self.transport} {self.rate_bps / 1e6:g} Mbit/s {self.delay_s * 1e3:g} ms {self.loss:.0%}"
        return f"{self.network} {place} {self.codec} {link} {self.fps:g}/s"


VGG, RESNET, MOBILENET = "digits-vgg16", "digits-resnet20", "mobilenet_v2"
COMBINATIONS = (
    Combination(VGG, "features.13", "uint8", "tcp", 0.01, 10e6, 0.005, 20),
    Combination(RESNET, "layer1.0", "float32", "udp", 0.05, 50e6, 0.005, 20),
    Combination(MOBILENET, "features.6", "uint8", "tcp", 0.0, 20e6, 0.005, 10),
    Combination(VGG, "", fps=30),
    Combination(VGG, "input", "float32", "udp", 0.01, 5e6, 0.010, 20),
    Combination(MOBILENET, "input", "uint8", "udp", 0.01, 100e6, 0.005, 10),
    Combination(VGG, "features.13", "uint8", "udp", 0.05, 5e6, 0.010, 30, ratio=16),
    Combination(RESNET, "layer2.0", "float32", "tcp", 0.0, 100e6, 0.001, 30),
    Combination(MOBILENET, "input", "uint8", "tcp", 0.01, 100e6, 0.005, 5),
    Combination(VGG, "input", "uint8", "tcp", 0.0, 20e6, 0.005, 30),
    Combination(VGG, "features.13", "uint8", "tcp", 0.05, 5e6, 0.010, 20, ratio=16),
    Combination(RESNET, "", fps=20),
    Combination(RESNET, "input", "uint8", "udp", 0.05, 20e6, 0.005, 30),
    Combination(RESNET, "layer3.0", "uint8", "tcp", 0.05, 20e6, 0.005, 20),
    Combination(VGG, "features.23", "float32", "udp", 0.0, 10e6, 0.020, 20),
    Combination(MOBILENET, "features.13", "uint8", "udp", 0.05, 50e6, 0.005, 10),
    Combination(MOBILENET, "", fps=10),
    Combination("segmentation", "down2.0.0", "uint4:channel", "udp", 0.03, 20e6, 0.005, 20),
    Combination("detection", "stage1.1.0", "uint8", "udp", 0.02, 20e6, 0.005, 20),
)
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
TASKS = {"segmentation": "miou", "detection": "map50"}
"""The networks of the examples of these names, and what they are judged by."""


# Designing ------------------------------------------------------------------------------------------------------------


def scenario_of(of: Combination, folder: Path) -> Scenario:
    data: dict[str, Any] = {"source": "digits"}
    network: dict[str, Any] = {"model": of.network}
    if of.network == MOBILENET:
        data = {"source": str(folder / "images"), "validation": 0.4, "test": 0.4, "mean": [MEAN] * 3, "std": [STD] * 3}
        network["weights"] = str(folder / "weights.safetensors")
    if of.network in TASKS:
        data = {"source": str(EXAMPLES / of.network / "data.py:data")}
        network = {"model": str(EXAMPLES / of.network / "network.py:build")}
    link = {"rate": f"{of.rate_bps:.0f} bit/s", "delay": f"{of.delay_s * 1e3:g} ms", "loss": of.loss}
    content: dict[str, Any] = {
        "name": "deployed",
        "network": network,
        "data": data,
        "devices": [{"name": "device"}, {"name": "server"}],
        "links": [link | {"security": "tls" if of.transport == "tcp" else "dtls"}],
        "workload": {"fps": of.fps, "frames": 1000, "response": "runtime"},
        "plans": {
            "cuts": [of.after] if of.after not in ("", "input") else [],
            "codecs": [of.codec or "uint8"],
            "transports": [of.transport],
        },
        "requirements": ["latency_p95 <= 100 s"],
    }
    if of.ratio:
        epochs = {"epochs": [15, 30]}
        content["bottlenecks"] = {"ratios": [of.ratio], "cuts": [of.after], "codecs": [of.codec]} | epochs
    if of.network in TASKS:
        content["task"] = of.network
    if not content["plans"]["cuts"]:
        del content["plans"]["cuts"]
    return Scenario.model_validate(content)


def designed(scenario: Scenario, folder: Path, measurements: Measurements | None = None) -> Results:
    found = sei.design(scenario, explore=False, measurements=measurements, every_accuracy=True)
    write_results(results_of(found), folder)
    return read(folder)


def plan_of(of: Combination, results: Results) -> PlanEntry:
    """The combination's plan among those of the design."""
    cuts = {cut.name: cut.index for cut in results.cuts}
    for plan in results.plans:
        if not of.after:
            if not plan.hops:
                return plan
        elif plan.hops and (plan.cut, plan.codec, plan.transport, plan.bottleneck) == (
            0 if of.after == "input" else cuts[of.after],
            of.codec,
            of.transport,
            of.ratio,
        ):
            return plan
    raise SystemExit(f"{of.name}: the design has no such plan, only {', '.join(plan.id for plan in results.plans)}")


# Running --------------------------------------------------------------------------------------------------------------


def splitimpera(*words: str) -> list[str]:
    return [PYTHON, "-m", "splitimpera", *words]


@contextmanager
def serving(command: Sequence[str], log: Path) -> Iterator[None]:
    """A server that says where it serves, for as long as the block lasts."""
    with log.open("w") as errors:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            assert server.stdout
            line = server.stdout.readline()
            if not line.startswith("serving"):
                server.wait(START_S)
                raise SystemExit(f"the server does not start: {line}{log.read_text()[-2000:]}")
            yield
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(START_S)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
            if server.stdout:
                server.stdout.close()


def run_plan(
    bundle: Path, of: Combination, frames: int, folder: Path, name: str, ends: Ends | None = None
) -> tuple[RunLine, list[FrameLine]]:
    """Frames of a bundle, from a process on one core to a process on the other, over loopback or between namespaces."""
    log = folder / f"{name}.jsonl"
    host = "127.0.0.1" if ends is None else ends.far.address
    keys = ["--keys", str(folder.parent / "keys")]
    device = splitimpera("infer", str(bundle), "--input", "samples", "--fps", f"{of.fps:g} fps")
    device += ["--frames", str(frames), "--log", str(log), "--json"]
    if of.after:
        device += ["--server", f"{host}:{PORT}", "--server-name", "localhost", *keys]
    limit_s = frames / of.fps + 120

    def placed(words: list[str], core: int, near: bool) -> list[str]:
        words = ["chrt", "-f", str(PRIORITY), *words]
        if ends is None:
            return ["taskset", "-c", str(core), *words]
        return (ends.near if near else ends.far).command(words, core)

    def infer() -> None:
        done = subprocess.run(placed(device, DEVICE_CORE, True), capture_output=True, text=True, timeout=limit_s)
        if done.returncode:
            raise SystemExit(f"{of.name}: infer ended with {done.returncode}: {done.stderr[-2000:]}")

    if of.after:
        server = splitimpera("serve", str(bundle), "--listen", f"{host}:{PORT}", *keys)
        with serving(placed(server, SERVER_CORE, False), folder / f"{name}-server.txt"):
            infer()
    else:
        infer()
    return read_log(log)


def without_link(bundle: Path, out: Path) -> Path:
    """The same bundle, whose datagrams are put onto the link as fast as they can be."""
    shutil.copytree(bundle, out)
    manifest = read_manifest((bundle / MANIFEST).read_bytes())
    content = manifest.model_dump(mode="json")
    for hop in content["plans"][0]["hops"]:
        hop["link"]["rate_bps"] = UNLIMITED_BPS
    (out / MANIFEST).write_bytes(written(identified(content)))
    return out


# Measuring ------------------------------------------------------------------------------------------------------------


def measured_times(known: Measurements, plan: Plan, frames: Sequence[FrameLine], last: int) -> Measurements:
    """What both programs took for each frame over loopback, in place of what a design has of this plan.

    The device's layers and the server's are themselves. With the encoder goes all else that the device does until a
    frame is with the system, with the decoder all else from then on: sealing, the system's loopback, waking, answering.
    """
    done = [line for line in frames[1:] if line.outcome == "ok"]
    if len(done) < len(frames) / 2:
        raise SystemExit(f"of {len(frames)} frames over loopback {len(done)} were answered")
    heads = tuple(line.head_s or 0.0 for line in done)
    if not plan.hops:
        # preparing the input and telling the result are part of what it takes
        whole = tuple((line.response_s or 0.0) - (line.begun_s or 0.0) for line in done)
        return with_times(known, [SegmentTime(0, last, 0.0, 0.0, 1, whole)], [])
    coding = coding_of(plan.hops[0])
    tails = tuple(line.run_s or 0.0 for line in done)
    handed = tuple((line.sent_s or 0.0) - (line.begun_s or 0.0) - (line.head_s or 0.0) for line in done)
    answered = tuple((line.response_s or 0.0) - (line.sent_s or 0.0) - (line.run_s or 0.0) for line in done)
    segments = [
        SegmentTime(0, coding.cut, 0.0, coding.bottleneck, 1, _above_0(heads)),
        SegmentTime(coding.cut, last, coding.bottleneck, 0.0, 1, _above_0(tails)),
    ]
    place = (coding.cut, coding.codec, coding.bottleneck, coding.packet_bytes)
    codings = [CodingTime("encode", *place, _above_0(handed)), CodingTime("decode", *place, _above_0(answered))]
    return with_times(known, segments, codings)


def with_times(known: Measurements, segments: Sequence[SegmentTime], codings: Sequence[CodingTime]) -> Measurements:
    """Measurements in which some times stand in place of those of the same parts."""
    parts = {segment_key(time): time for time in (*known.segments, *segments)}
    codecs = {coding_key(time): time for time in (*known.codings, *codings)}
    return replace(known, segments=tuple(parts.values()), codings=tuple(codecs.values()))


def segment_key(time: SegmentTime) -> tuple[object, ...]:
    return time.start, time.end, time.arriving, time.leaving, time.batch


def coding_key(time: CodingTime) -> tuple[object, ...]:
    return time.direction, time.cut, time.codec, time.bottleneck, time.packet_bytes


def _above_0(samples: Sequence[float]) -> tuple[float, ...]:
    return tuple(np.maximum(samples, 1e-9).tolist())


# A combination --------------------------------------------------------------------------------------------------------


class Tried(Protocol):
    """A combination, as far as what all have in common goes."""

    @property
    def name(self) -> str: ...

    @property
    def network(self) -> str: ...


@dataclass(frozen=True)
class Outcome:
    """What was predicted and what happened; seconds, and shares: of packets that are missing in frames with a response,
    of frames without one, of right answers (mIoU of a segmentation, AP50 of a detection).

    Attributes:
        p50_at_s, p95_at_s: Where the measured quantile lies at 95 %; beside a step, where losses begin, it jumps.
        late_us: By how much the relay was late, at p99 and at most.
    """

    of: Tried
    p50_s: tuple[float, float]
    p95_s: tuple[float, float]
    p50_at_s: Interval
    p95_at_s: Interval
    lost: tuple[float, float] | None
    lost_holds: bool | None
    gone: tuple[float, float] | None
    gone_holds: bool | None
    accuracy: tuple[float, float] | None
    accuracy_holds: bool | None
    off: str
    late_us: tuple[float, float] | None
    outcomes: dict[str, int]

    @property
    def p50_off(self) -> tuple[float, float]:
        return _off(self.p50_s, self.p50_at_s, P50)

    @property
    def p95_off(self) -> tuple[float, float]:
        return _off(self.p95_s, self.p95_at_s, P95)

    def cells(self) -> list[str]:
        def pair(values: tuple[float, float] | None, factor: float, digits: int, holds: bool | None = None) -> str:
            if values is None:
                return ""
            mark = " MISSED" if holds is False else ""
            return f"{values[0] * factor:.{digits}f} / {values[1] * factor:.{digits}f}{mark}"

        return [
            self.of.name,
            pair(self.p50_s, 1e3, 2),
            "{:.2f} ({:.2f})".format(*self.p50_off),
            pair(self.p95_s, 1e3, 2),
            "{:.2f} ({:.2f})".format(*self.p95_off),
            pair(self.lost, 100, 2, self.lost_holds),
            pair(self.gone, 100, 2, self.gone_holds),
            pair(self.accuracy, 100, 1, self.accuracy_holds),
            self.off,
            "" if self.late_us is None else "{:.0f}, {:.0f}".format(*self.late_us),
        ]


COLUMNS = [
    *(
        "combination",
        "p50 ms",
        "in limits",
        "p95 ms",
        "in limits",
        "lost packets %",
        "frames without response %",
        "accuracy (mIoU, AP50) %",
    ),
    *("parts off by ms, typical and slow frames", "relay late us: p99, max"),
]


def _off(values: tuple[float, float], interval: Interval, limit: tuple[float, float]) -> tuple[float, float]:
    """How far the prediction is from what was measured, and from its interval, in limits."""
    predicted, measured = values
    unit_s = max(limit[0] * predicted, limit[1])
    outside_s = max(interval[0] - predicted, predicted - interval[1], 0.0)
    return abs(measured - predicted) / unit_s, outside_s / unit_s


def calibrated(
    scenario: Scenario,
    place: Path,
    plan_of: Callable[[Results], PlanEntry],
    run: Callable[[Path], list[FrameLine]],
    times: Callable[[Measurements, Plan, Sequence[FrameLine], int], Measurements],
) -> Path:
    """Design, export, run a plan's bundle over loopback, and design again with what that took; the bundle.

    Args:
        plan_of: The plan among those of the design.
        run: Frames of a bundle over loopback.
        times: What these took, in place of what a design has of this plan.
    """
    results = designed(scenario, place / "first")
    entry = plan_of(results)
    exported = export_bundle(place / "first", entry.id, samples=SAMPLES)
    bundle = place / "bundle"
    write_bundle(files_of(exported.manifest, exported.contents), bundle)
    lines = run(without_link(bundle, place / "unlimited"))
    plan, known = read_design(place / "first", entry.id).plan, measurements_from(results.measurements.model_dump())
    designed(scenario, place / "design", times(known, plan, lines, results.cuts[-1].index))
    return bundle


def tried(of: Combination, number: int, folder: Path, frames: int, level: float) -> Outcome:
    """Design, export, measure, design again with what was measured, run, verify."""
    place = folder / f"{number:02}"
    if (place / RELAY).exists():
        return verified(of, place, level)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    bundle = calibrated(
        scenario_of(of, folder),
        place,
        lambda results: plan_of(of, results),
        lambda here: run_plan(here, of, min(frames, CALIBRATING_FRAMES), place, "loopback")[1],
        measured_times,
    )
    late_us = None
    if of.after:
        with joined(Wire(of.rate_bps, of.delay_s, of.loss, seed=number + 1)) as link:
            run_plan(bundle, of, frames, place, "run", link)
        late_us = link.report.up.late_p99_us, link.report.late_max_us
    else:
        run_plan(bundle, of, frames, place, "run")
    (place / RELAY).write_text(json.dumps(late_us))
    return verified(of, place, level)


PARTS = {
    "device": ("device_wait", "device"),
    "link and programs": ("encode", "link", "server_wait", "decode", "rest"),
    "server": ("server",),
}
"""What the loopback run told apart: the layers on either side, and all else."""


def verified(of: Tried, place: Path, level: float, parts: Mapping[str, Sequence[str]] = PARTS) -> Outcome:
    """What the log says beside the design; shares agree within intervals of `level`."""
    results, entry, logs, prediction, found = matched(place / "design", [place / "run.jsonl"])
    account = compared(results, entry, logs, prediction, found)
    (place / "verification.json").write_text(account.model_dump_json(indent=1))
    of_name = {quantity.name: quantity for quantity in account.quantities}

    def both(name: str) -> tuple[float, float]:
        values = of_name[name].predicted, of_name[name].measured
        return tuple(np.nan if value is None else float(value) for value in values)  # type: ignore[return-value]

    def quantiles(share: float) -> tuple[float, float]:
        # of frames with a response: the design's own metrics count one of which nothing came as done at its deadline
        return tuple(float(np.nanquantile(times.latency_s, share)) for times in (prediction, found))  # type: ignore[return-value]

    lost = lost_holds = accuracy = accuracy_holds = None
    if "lost_packet_rate" in of_name:
        lost, counted = both("lost_packet_rate"), found.packets > 0
        low, high = clustered_interval(found.lost[counted].astype(int), found.packets[counted].astype(int), level)
        lost_holds = bool(low <= lost[0] <= high)
    gone = gone_holds = None
    if "frames_lost" in of_name:
        gone, silent = both("frames_lost"), found.having(lambda line: line.outcome == "lost").astype(int)
        low, high = clustered_interval(silent, np.ones(len(silent), int), level)
        gone_holds = bool(low <= gone[0] <= high)
    if results.quality in TASKS.values():
        accuracy, accuracy_holds = both(results.quality), of_name[results.quality].agrees is not False
    elif results.quality in of_name:
        accuracy, samples = both(results.quality), len({line.sample for line in found.lines})
        intervals = (
            wilson_interval(share, count, level)
            for share, count in zip(accuracy, (results.samples.validation, samples), strict=True)
        )
        accuracy_holds = newcombe_same(accuracy[0], next(intervals), accuracy[1], next(intervals))
    done = LatencyDraws(found.latency_s[None])
    late_us = json.loads((place / RELAY).read_text())
    return Outcome(
        of,
        quantiles(0.5),
        quantiles(0.95),
        ends(done.quantile(0.5)),
        ends(done.quantile(0.95)),
        lost,
        lost_holds,
        gone,
        gone_holds,
        accuracy,
        accuracy_holds,
        parts_off(prediction, found, parts),
        None if late_us is None else tuple(late_us),
        account.outcomes,
    )


def parts_off(predicted: FrameTimes, measured: FrameTimes, parts: Mapping[str, Sequence[str]]) -> str:
    """By how many ms each part was off, in typical frames and in the slowest tenth; the largest first."""

    def mean_s(times: FrameTimes, names: Sequence[str], frames: Any) -> float:
        return sum(float(np.nanmean(times.parts_s[name][frames])) for name in names if name in times.parts_s)

    differences = {
        part: [
            1e3 * (mean_s(measured, names, some(measured)) - mean_s(predicted, names, some(predicted)))
            for some in (FrameTimes.typical, FrameTimes.slow)
        ]
        for part, names in parts.items()
    }
    order = sorted(differences, key=lambda part: -abs(differences[part][0]))
    return "; ".join(f"{part} {differences[part][0]:+.2f}, {differences[part][1]:+.2f}" for part in order)


# All of them ----------------------------------------------------------------------------------------------------------


def prepare(folder: Path, combinations: Sequence[Tried]) -> None:
    """Keys, and images where a network takes some."""
    if not (folder / "keys").exists():
        subprocess.run(splitimpera("keys", str(folder / "keys")), check=True, capture_output=True)
    if any(of.network == MOBILENET for of in combinations) and not (folder / "images").exists():
        write_images(folder / "images", IMAGES)
        fitted_weights(folder / "weights.safetensors")


def limit_medians(out: Report, rows: Sequence[Outcome]) -> None:
    """Of both quantiles, in the median combination and in the worst."""
    for name, off in (("p50", [row.p50_off for row in rows]), ("p95", [row.p95_off for row in rows])):
        plain, outside = zip(*off, strict=True)
        out.limit(f"{name}: the median combination, in limits", float(np.median(plain)), 1)
        out.limit(f"{name}: the worst combination, in limits", max(plain), WORST)
        out.limit(f"{name}: the worst combination, counted from the measured one's interval", max(outside), WORST)


def all_tried(
    combinations: Sequence[Any],
    frames: int,
    folder: Path,
    outcome_of: Callable[[Any, int, Path, int, float], Outcome] = tried,
    limit_latencies: Callable[[Report, Sequence[Outcome]], None] = limit_medians,
) -> Report:
    """Try all combinations, and tell of them.

    Args:
        outcome_of: Of a combination, by its number, the folder, how many frames, and the level of intervals.
    """
    out = Report()
    out.say(f"{frames} frames each; load when it began: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.")
    out.say()
    prepare(folder, combinations)
    # of accuracies, of lost packets and of frames without a response
    level = 1 - (1 - FAMILY_LEVEL) / (3 * len(combinations))
    rows: list[Outcome] = []
    failed: list[str] = []
    for number, of in enumerate(combinations):
        begun_s = time.monotonic()
        try:
            rows.append(outcome_of(of, number, folder, frames, level))
        except SplitImperaError as error:
            failed.append(f"{of.name}: {error}")
            print(failed[-1], file=sys.stderr)
            continue
        took_s = time.monotonic() - begun_s
        print(f"{took_s:.0f} s, load {os.getloadavg()[0]:.1f}: {' | '.join(rows[-1].cells())}", file=sys.stderr)
    out.holds = not failed
    for line in failed:
        out.say(f"- Not run: {line}")
    if not rows:
        return out
    out.table(COLUMNS, [row.cells() for row in rows])
    out.say(
        'Predicted / measured. "In limits": how far the prediction is from what was measured, 1 being 5 % or 0.5 ms of '
        "p50 and 10 % or 2 ms of p95; in brackets, from the measured quantile's 95 % interval."
    )
    out.say()
    out.say("| what | value | limit | |")
    out.say("| --- | --- | --- | --- |")
    limit_latencies(out, rows)
    words = f"outside their intervals ({FAMILY_LEVEL:.0%} familywise)"
    astray = sum(row.lost_holds is False or row.gone_holds is False for row in rows)
    out.limit(f"combinations whose lost packets or frames lie {words}", astray, 0)
    out.limit(f"combinations whose accuracy lies {words}", sum(row.accuracy_holds is False for row in rows), 0)
    out.say()
    for row in rows:
        others = {outcome: count for outcome, count in row.outcomes.items() if outcome != "ok"}
        if others:
            told = ", ".join(f"{count} {outcome}" for outcome, count in others.items())
            out.say(f"- {row.of.name}: of the frames {told}.")
    return out


def command(
    description: str,
    combinations: Sequence[Any],
    outcome_of: Callable[[Any, int, Path, int, float], Outcome] = tried,
    limit_latencies: Callable[[Report, Sequence[Outcome]], None] = limit_medians,
) -> int:
    """The command line; the exit status. Arguments as of `all_tried`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--combinations", type=int, default=len(combinations), help="the first so many")
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--only", default="", help="those whose name contains this")
    parser.add_argument("--folder", type=Path, help="keep designs, bundles and logs here")
    parser.add_argument("--markdown", type=Path, help="write the tables here too")
    given = parser.parse_args()
    reason = hindrance()
    if reason is not None:
        print(f"skipped: {reason}")
        return 0
    chosen = [of for of in combinations if given.only in of.name][: given.combinations]
    with tempfile.TemporaryDirectory(prefix="deployed-") as temporary:
        place = given.folder or Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        found = all_tried(chosen, given.frames, place.resolve(), outcome_of, limit_latencies)
    if given.markdown:
        given.markdown.write_text("\n".join(found.lines) + "\n")
    return 0 if found.holds else 1


if __name__ == "__main__":
    sys.exit(command(__doc__.splitlines()[0], COMBINATIONS))
