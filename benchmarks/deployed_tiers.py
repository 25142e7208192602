"""How true a design of three machines is: sensor, gateway and cloud run plans over two emulated links.

    python benchmarks/deployed_tiers.py [--combinations 6] [--frames 600] [--only NAME] [--folder DIR] [--markdown FILE]

As deployed.py does it for two: each combination is designed, exported, timed over loopback, designed anew with these
times, run in three network namespaces that two relays join, and verified. `splitimpera serve` is the cloud's program
and, with --machine and --next, the gateway's; `infer` is the sensor's. On two cores sensor and cloud share one: each
frame is through before the next one is due. Needs root and a C compiler; ends with 1 where a limit is missed: p50
within 5 % or 0.5 ms and p95 within 10 % or 2 ms of the prediction, in each of at least four combinations.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployed import (
    CALIBRATING_FRAMES,
    PORT,
    PRIORITY,
    RELAY,
    Outcome,
    calibrated,
    command,
    serving,
    splitimpera,
    verified,
    with_times,
)
from namespaces import Ends, Wire, chained
from network_truth import Report
from tier_times import times_of_hops

from splitimpera.deploy.frame_log import FrameLine, RunLine, read_log
from splitimpera.records.measurements import Measurements
from splitimpera.records.plan import Plan
from splitimpera.report.schema import PlanEntry, Results
from splitimpera.scenario import Scenario

FEWEST = 4
"""Combinations that the limits are asked of."""
MACHINES = ("sensor", "gateway", "cloud")
LINKS = ("radio", "uplink")
NEXT_PORT = PORT + 1
PARTS = {
    "sensor": ("device_wait", "device"),
    "radio and programs": ("encode", "link", "server_wait", "decode", "rest"),
    "gateway": ("server",),
    "uplink and programs": ("encode_2", "link_2", "server_wait_2", "decode_2"),
    "cloud": ("server_2",),
}
"""What the loopback run told apart."""


@dataclass(frozen=True)
class Way:
    """What crosses a link, and how.

    Attributes:
        after: The layer after which the network is cut there; "input" where nothing was computed.
    """

    after: str
    codec: str
    transport: str
    rate_bps: float
    delay_s: float
    loss: float = 0.0

    @property
    def words(self) -> str:
        link = f"{self.transport} {self.rate_bps / 1e6:g} Mbit/s {self.delay_s * 1e3:g} ms {self.loss:.0%}"
        return f"{self.after} {self.codec} {link}"


@dataclass(frozen=True)
class Chain:
    """What is tried: a network over two links.

    Attributes:
        deadline_s: When a UDP frame with gaps is used as it is; None: when the next one is due.
    """

    network: str
    radio: Way
    uplink: Way
    fps: float = 10.0
    deadline_s: float | None = None

    @property
    def ways(self) -> tuple[Way, Way]:
        return self.radio, self.uplink

    @property
    def name(self) -> str:
        return f"{self.network}: {self.radio.words}, {self.uplink.words}, {self.fps:g}/s"


VGG, RESNET = "digits-vgg16", "digits-resnet20"
COMBINATIONS = (
    Chain(VGG, Way("features.3", "uint8", "tcp", 10e6, 0.005), Way("features.13", "uint8", "tcp", 5e6, 0.010)),
    Chain(VGG, Way("input", "uint8", "udp", 5e6, 0.005), Way("features.33", "uint8", "tcp", 2e6, 0.010)),
    # the gateway forwards
    Chain(VGG, Way("features.13", "uint8", "tcp", 10e6, 0.005), Way("features.13", "uint8", "tcp", 20e6, 0.010)),
    # it codes anew, and computes nothing
    Chain(VGG, Way("features.10", "uint8", "tcp", 5e6, 0.005), Way("features.10", "uint4", "tcp", 2e6, 0.010)),
    # three packets a frame: 3 % of the frames have a gap, fewer than p95 sees
    Chain(
        VGG,
        Way("features.10", "uint8", "udp", 5e6, 0.005, 0.01),
        Way("features.33", "uint8", "tcp", 2e6, 0.010),
        10.0,
        0.06,
    ),
    # six packets: more than a quarter of the frames have one
    Chain(
        RESNET,
        Way("layer1.2", "uint8", "udp", 20e6, 0.005, 0.05),
        Way("layer3.0", "uint8", "udp", 5e6, 0.010),
        10.0,
        0.06,
    ),
)


# Designing ------------------------------------------------------------------------------------------------------------


def scenario_of(of: Chain) -> Scenario:
    links = [
        {
            "name": name,
            "rate": f"{way.rate_bps:.0f} bit/s",
            "delay": f"{way.delay_s * 1e3:g} ms",
            "loss": way.loss,
            "security": "tls" if way.transport == "tcp" else "dtls",
            "codecs": [way.codec],
            "transports": [way.transport],
        }
        for name, way in zip(LINKS, of.ways, strict=True)
    ]
    workload: dict[str, Any] = {"fps": of.fps, "frames": 1000, "response": "runtime"}
    if of.deadline_s is not None:
        workload["deadline"] = f"{of.deadline_s * 1e3:g} ms"
    content: dict[str, Any] = {
        "name": "deployed_tiers",
        "network": {"model": of.network},
        "data": {"source": "digits"},
        "devices": [{"name": name} for name in MACHINES],
        "links": links,
        "workload": workload,
        "plans": {"cuts": list(dict.fromkeys(way.after for way in of.ways if way.after != "input"))},
        "requirements": ["latency_p95 <= 100 s"],
    }
    return Scenario.model_validate(content)


def plan_of(of: Chain, results: Results) -> PlanEntry:
    """The combination's plan among those of the design."""
    cuts = {cut.name: cut.index for cut in results.cuts} | {"input": 0}
    wanted = [(cuts[way.after], way.codec, way.transport) for way in of.ways]
    for plan in results.plans:
        if [(hop.cut, hop.codec, hop.transport) for hop in plan.hops] == wanted:
            return plan
    raise SystemExit(f"{of.name}: the design has no such plan, only {', '.join(plan.id for plan in results.plans)}")


# Running --------------------------------------------------------------------------------------------------------------


def run_chain(
    bundle: Path, of: Chain, frames: int, folder: Path, name: str, links: Sequence[Ends] = ()
) -> tuple[RunLine, list[FrameLine]]:
    """Frames of a bundle over three processes, over loopback or between namespaces; all have ended when it returns."""
    log, keys = folder / f"{name}.jsonl", ["--keys", str(folder.parent / "keys")]
    hosts = [ends.far.address for ends in links] or ["127.0.0.1", "127.0.0.1"]
    gateway, cloud = (f"{host}:{port}" for host, port in zip(hosts, (PORT, NEXT_PORT), strict=True))

    def placed(place: int, *words: str) -> list[str]:
        """A machine's command line."""
        core, program = place % (os.cpu_count() or 1), ["chrt", "-f", str(PRIORITY), *splitimpera(*words)]
        if not links:
            return ["taskset", "-c", str(core), *program]
        return [links[0].near, *(ends.far for ends in links)][place].command(program, core)

    last = placed(2, "serve", str(bundle), "--listen", cloud, *keys)
    onward = ["--machine", MACHINES[1], "--next", cloud, "--next-name", "localhost"]
    middle = placed(1, "serve", str(bundle), "--listen", gateway, *onward, *keys)
    source = ["--input", "samples", "--fps", f"{of.fps:g} fps", "--frames", str(frames), "--log", str(log), "--json"]
    sensor = placed(0, "infer", str(bundle), "--server", gateway, "--server-name", "localhost", *source, *keys)
    with serving(last, folder / f"{name}-cloud.txt"), serving(middle, folder / f"{name}-gateway.txt"):
        done = subprocess.run(sensor, capture_output=True, text=True, timeout=frames / of.fps + 120)
    if done.returncode:
        raise SystemExit(f"{of.name}: infer ended with {done.returncode}: {done.stderr[-2000:]}")
    return read_log(log)


def measured_times(known: Measurements, plan: Plan, frames: Sequence[FrameLine], last: int) -> Measurements:
    """What the three programs took over loopback, in place of what a design has of this plan."""
    done = [line for line in frames[1:] if line.outcome == "ok" and line.hops]
    if len(done) < len(frames) / 2:
        raise SystemExit(f"of {len(frames)} frames over loopback {len(done)} came back from the cloud")
    return with_times(known, *times_of_hops(plan, done, last))


def tried(of: Chain, number: int, folder: Path, frames: int, level: float) -> Outcome:
    """Design, export, measure, design again with what was measured, run, verify."""
    place = folder / f"{number:02}"
    if (place / RELAY).exists():
        return verified(of, place, level, PARTS)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    bundle = calibrated(
        scenario_of(of),
        place,
        lambda results: plan_of(of, results),
        lambda here: run_chain(here, of, min(frames, CALIBRATING_FRAMES), place, "loopback")[1],
        measured_times,
    )
    wires = [
        Wire(way.rate_bps, way.delay_s, way.loss, seed=2 * number + hop) for hop, way in enumerate(of.ways, start=1)
    ]
    with chained(wires) as links:
        run_chain(bundle, of, frames, place, "run", links)
    reports = [ends.report for ends in links]
    late_us = max(each.up.late_p99_us for each in reports), max(each.late_max_us for each in reports)
    (place / RELAY).write_text(json.dumps(late_us))
    return verified(of, place, level, PARTS)


def limit_each(out: Report, rows: Sequence[Outcome]) -> None:
    """Of both quantiles, in each combination."""
    out.limit("combinations", len(rows), FEWEST, least=True)
    for name, off in (("p50", [row.p50_off for row in rows]), ("p95", [row.p95_off for row in rows])):
        plain, outside = zip(*off, strict=True)
        out.limit(f"{name}: the worst combination, in limits", max(plain), 1)
        out.limit(f"{name}: the worst combination, counted from the measured one's interval", max(outside), 1)


if __name__ == "__main__":
    sys.exit(command(__doc__.splitlines()[0], COMBINATIONS, tried, limit_each))
