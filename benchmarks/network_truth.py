"""How near the simulated TCP is to the Linux kernel's, by recordings of it (see docs/validation.md).

    python benchmarks/network_truth.py [recordings.json] [--ns3 FILE] [--worst 5] [--markdown FILE]

F and G being the distributions of recorded and simulated latency, their distance is the largest of F(x) - G(x + e) and
G(x) - F(x + e), with a tolerance of e(x) = 0.2 ms or 5 % of x, whichever is more. The first frame of a connection is
left out, and so are cases in which more than a tenth of the recorded frames take longer than a frame period.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from splitimpera.core.array_types import FloatArray
from splitimpera.core.statistics import tolerance_s, tolerant_distance
from splitimpera.net.tcp import LINUX_CUBIC, LINUX_RENO, Event, TcpLink
from splitimpera.records.link import Link
from splitimpera.records.traffic import Deliveries, Workload

RECORDINGS = Path(__file__).parents[2] / "shared" / "reference" / "network" / "linux_tcp.json"
NS3 = Path(__file__).parents[1] / "runs" / "ns3_reference.json"
SEEDS = 20
KEYS = ("rate", "delay", "N", "fps", "loss", "cc", "F")

Run = dict[str, Any]
Case = tuple[Any, ...]


def distance(recorded: FloatArray, simulated: FloatArray) -> float:
    """`tolerant_distance`, of latencies in ms."""
    return tolerant_distance(recorded * 1e-3, simulated * 1e-3)


def near(recorded: FloatArray, simulated: FloatArray) -> Any:
    return np.abs(simulated - recorded) <= 1e3 * tolerance_s(recorded * 1e-3)


def trusted(runs: Sequence[Run]) -> list[Run]:
    return [
        run
        for run in runs
        if run["relay_late_max_us"] < 1500 and run["send_late_max_us"] < 500 and run["done"] == run["F"]
    ]


def case_of(run: Run) -> Case:
    return tuple(run[key] for key in KEYS)


def name_of(case: Case) -> str:
    rate, delay, size, fps, loss, cc, _ = case
    return f"{cc} {rate / 1e6:g} Mbit/s {delay * 1e3:g} ms {loss:.0%} {size} B {fps}/s"


def after_first(run: Run) -> FloatArray:
    return np.array(run["lat"][1:])


def set_up(case: Case, drops: Sequence[int] | None, seed: int, response_bytes: int = 0) -> tuple[TcpLink, Workload]:
    of = dict(zip(KEYS, case, strict=True))
    link = Link(rate_bps=of["rate"], delay_s=of["delay"], loss=of["loss"])
    if drops is not None:
        link = replace(link, loss=0.0, drops=tuple(drops))
    parameters = LINUX_RENO if of["cc"] == "reno" else LINUX_CUBIC
    workload = Workload(of["fps"], of["F"], None, of["N"], response_bytes=response_bytes)
    return TcpLink(link, np.random.default_rng([seed, 11]), parameters), workload


def simulate(
    case: Case, drops: Sequence[int] | None, seed: int, response_bytes: int = 0
) -> tuple[Deliveries, FloatArray]:
    """The deliveries, and the latencies in ms after the first frame."""
    tcp, workload = set_up(case, drops, seed, response_bytes)
    sent = tcp.transfer(workload.all_frames())
    return sent, ((sent.complete_s - workload.due_s()) * 1e3)[1:]


@dataclass
class Replay:
    """One recorded run against the simulation with the same drops."""

    run: Run
    distance: float
    same: float
    repaired: bool  # as many retransmissions as drops
    departure: int | None  # the first frame that departs


def replay(run: Run, ahead: int = 0) -> Replay:
    """Simulate with a run's drops; `ahead`: packets of an earlier connection that were counted before the first."""
    drops = [drop - ahead for drop in run["dropped"] if drop >= ahead]
    sent, simulated = simulate(case_of(run), drops, run["seed"], run.get("response", 0))
    recorded = after_first(run)
    same = near(recorded, simulated)
    repaired = int(sent.retransmissions.sum()) == int(sent.lost_packets.sum())
    departure = None if same.all() else int(np.argmin(same)) + 1
    return Replay(run, distance(recorded, simulated), float(same.mean()), repaired, departure)


def best_replay(run: Run) -> Replay:
    return max((replay(run, ahead) for ahead in range(3)), key=lambda found: found.same)


def events_of(run: Run, frame: int) -> list[str]:
    """What the simulated sender did about a frame, beside sending it."""
    tcp, workload = set_up(case_of(run), run["dropped"], run["seed"])
    sent, events = tcp.transcript(workload.all_frames(), 500_000)
    start = workload.due_s()[frame]
    until = max(sent.complete_s[frame], start)

    def told(event: Event) -> bool:
        return start <= event.at_s <= until and event.end == 0 and (event.what != "sent" or event.dropped)

    return [
        f"{(event.at_s - start) * 1e3:.2f} ms {event.what}"
        + (f" {event.packet}" if event.packet is not None else "")
        + (", dropped" if event.dropped else "")
        + f" ({event.state}, cwnd {event.cwnd})"
        for event in events
        if told(event)
    ]


@dataclass
class Row:
    """One case with independent seeds."""

    case: Case
    overloaded: bool
    distance: float
    ns3: float | None
    recorded: FloatArray
    simulated: FloatArray
    stable: float

    def cells(self) -> list[str]:
        def pair(of: Any, digits: int = 1) -> str:
            return f"{of(self.recorded):.{digits}f} / {of(self.simulated):.{digits}f}"

        return [
            name_of(self.case) + (" (overloaded)" if self.overloaded else ""),
            f"{self.distance:.3f}",
            "" if self.ns3 is None else f"{self.ns3:.3f}",
            pair(lambda x: np.quantile(x, 0.5), 2),
            pair(lambda x: np.quantile(x, 0.95)),
            pair(lambda x: (x > 200).mean() * 100),
            f"{1 - self.stable:.0%}",
        ]


COLUMNS = ["case", "distance", "ns-3", "p50 ms", "p95 ms", "% beyond 200 ms", "called unstable"]


def independent(case: Case, runs: Sequence[Run], overloaded: bool, ns3: dict[Case, FloatArray]) -> Row:
    recorded = np.concatenate([after_first(run) for run in runs if case_of(run) == case])
    results = [simulate(case, None, 1000 + seed) for seed in range(SEEDS)]
    simulated = np.concatenate([latency for _, latency in results])
    return Row(
        case,
        overloaded,
        distance(recorded, simulated),
        distance(recorded, ns3[case]) if case in ns3 else None,
        recorded,
        simulated,
        float(np.mean([sent.stable for sent, _ in results])),
    )


def load_ns3(path: Path) -> dict[Case, FloatArray]:
    if not path.exists():
        return {}
    entries = json.loads(path.read_text())
    entries = entries["cases"] if isinstance(entries, dict) else entries
    return {case_of(entry): np.concatenate([lat[1:] for lat in entry["lat"] if len(lat) > 1]) for entry in entries}


class Report:
    """Prints, keeps the Markdown, and remembers whether all limits hold."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.holds = True

    def say(self, line: str = "") -> None:
        print(line)
        self.lines.append(line)

    def limit(self, what: str, value: float, limit: float, least: bool = False) -> None:
        holds = value >= limit if least else value <= limit
        self.holds &= holds
        side = "at least" if least else "at most"
        self.say(f"| {what} | {value:.3f} | {side} {limit:g} | {'holds' if holds else 'MISSED'} |")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        self.say("| " + " | ".join(columns) + " |")
        self.say("|" + " --- |" * len(columns))
        for row in rows:
            self.say("| " + " | ".join(row) + " |")
        self.say()


def quantile(values: Sequence[float], q: float) -> float:
    return float(np.quantile(values, q))


def main(path: Path, ns3_path: Path, worst: int) -> Report:
    runs = trusted(json.loads(path.read_text()))
    ns3 = load_ns3(ns3_path)
    cases = sorted({case_of(run) for run in runs}, key=name_of)
    overloaded = {}
    for case in cases:
        pooled = np.concatenate([after_first(run) for run in runs if case_of(run) == case])
        overloaded[case] = bool((pooled > 1e3 / case[KEYS.index("fps")]).mean() > 0.1)
    lossless = [run for run in runs if run["loss"] == 0]
    stable = [run for run in runs if run["loss"] > 0 and not overloaded[case_of(run)]]
    with ThreadPoolExecutor() as pool:
        replays = list(pool.map(replay, stable))
        shifted = list(pool.map(best_replay, stable))
        rows = list(
            pool.map(
                lambda case: independent(case, runs, overloaded[case], ns3),
                [case for case in cases if case[KEYS.index("loss")] > 0],
            )
        )
    out = Report()

    out.say("### Limits")
    out.say()
    out.say("| what | value | limit | |")
    out.say("| --- | --- | --- | --- |")
    identity, windows, errors = [], [], []
    for case in sorted({case_of(run) for run in lossless}, key=name_of):
        recorded = np.median(np.concatenate([after_first(run) for run in lossless if case_of(run) == case]))
        gap = abs(np.median(simulate(case, [], 1)[1]) - recorded)
        errors.append(float(min(gap / 0.15, gap / (0.03 * recorded))))
    for run in lossless:
        rate, delay, size, *_ = case_of(run)
        tcp, workload = set_up(case_of(run), [], 1)
        sent, events = tcp.transcript(workload.all_frames(), 1_000_000)
        windows.append((run, next(event.cwnd for event in reversed(events) if event.end == 0)))
        if any(event.what == "idle restart" and event.at_s > 0 for event in events):
            continue  # the window never stays open
        formula = ((size + 54 * -(-size // 1448)) * 8 / rate + delay) * 1e3
        identity.append(abs(float(((sent.complete_s - workload.due_s()) * 1e3).min()) - formula))
    out.limit("lossless: worst case's p50 against the kernel, in units of 3 % or 0.15 ms", max(errors), 1)
    out.limit("lossless: largest difference from the identity, ms", max(identity), 0.01)
    out.limit("replay: median distance", quantile([r.distance for r in replays], 0.5), 0.06)
    out.limit("replay: distance of 90 % of the runs", quantile([r.distance for r in replays], 0.9), 0.15)
    out.limit("replay: median share of frames as recorded", quantile([r.same for r in replays], 0.5), 0.7, least=True)
    out.limit(
        "replay: runs with as many retransmissions as drops", float(np.mean([r.repaired for r in replays])), 1, True
    )
    for cc in ("cubic", "reno"):
        mine = [row for row in rows if row.case[KEYS.index("cc")] == cc and not row.overloaded]
        out.limit(f"independent seeds, {cc}: median distance", quantile([row.distance for row in mine], 0.5), 0.1)
        out.limit(
            f"independent seeds, {cc}: distance of 90 % of the cases", quantile([r.distance for r in mine], 0.9), 0.2
        )
        errors = [abs(np.median(row.simulated) / np.median(row.recorded) - 1) for row in mine]
        out.limit(f"independent seeds, {cc}: median error of p50", quantile(errors, 0.5), 0.07)
        others = [row.ns3 for row in mine if row.ns3 is not None]
        if others:
            out.say(f"| ns-3, {cc}: median distance | {quantile(others, 0.5):.3f} | | |")
            out.say(f"| ns-3, {cc}: distance of 90 % of the cases | {quantile(others, 0.9):.3f} | | |")
    out.say()

    pairs = [(a, b) for a, b in combinations(stable, 2) if case_of(a) == case_of(b) and a["seed"] == b["seed"]]
    itself = [(distance(after_first(a), after_first(b)), near(after_first(a), after_first(b)).mean()) for a, b in pairs]
    out.say(
        f"The kernel against itself, same drops ({len(pairs)} pairs): median distance "
        f"{quantile([d for d, _ in itself], 0.5):.3f}, 90 % {quantile([d for d, _ in itself], 0.9):.3f}, same frames "
        f"{quantile([s for _, s in itself], 0.5):.2f}."
    )
    out.say()
    out.say(
        "With the drops counted from the connection's own first packet (the best of 0, 1 or 2 packets of an earlier "
        f"connection ahead): median distance {quantile([r.distance for r in shifted], 0.5):.3f}, 90 % "
        f"{quantile([r.distance for r in shifted], 0.9):.3f}, same frames "
        f"{quantile([r.same for r in shifted], 0.5):.2f}."
    )
    out.say()

    out.say(f"### Independent seeds ({SEEDS} a case; recorded / simulated)")
    out.say()
    out.table(COLUMNS, [row.cells() for row in rows])

    out.say("### Lossless runs")
    out.say()
    out.table(
        ["case", "p50 recorded ms", "p50 simulated ms", "last window recorded", "simulated"],
        [
            [
                name_of(case_of(run)),
                f"{np.median(after_first(run)):.3f}",
                f"{np.median(simulate(case_of(run), [], 1)[1]):.3f}",
                str(run["cwnd"]),
                str(window),
            ]
            for run, window in windows
        ],
    )

    out.say(f"### The {worst} worst replays: the first frame that departs")
    out.say()
    for found in sorted(replays, key=lambda found: -found.distance)[:worst]:
        run, frame = found.run, found.departure
        out.say(
            f"- {name_of(case_of(run))}, seed {run['seed']}, repeat {run['repeat']}: distance {found.distance:.3f}, "
            f"{found.same:.0%} of the frames as recorded"
        )
        if frame is not None:
            simulated = simulate(case_of(run), run["dropped"], run["seed"])[1]
            out.say(f"  - frame {frame}: recorded {run['lat'][frame]:.2f} ms, simulated {simulated[frame - 1]:.2f} ms")
            for line in events_of(run, frame)[:8]:
                out.say(f"    - {line}")
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recordings", nargs="?", type=Path, default=RECORDINGS)
    parser.add_argument("--ns3", type=Path, default=NS3, help="what benchmarks/network_ns3.py wrote")
    parser.add_argument("--worst", type=int, default=5)
    parser.add_argument("--markdown", type=Path, help="write the tables here too")
    given = parser.parse_args()
    if not given.recordings.exists():
        sys.exit(f"{given.recordings} does not exist: give the path of the recordings")
    found = main(given.recordings, given.ns3, given.worst)
    if given.markdown:
        given.markdown.write_text("\n".join(found.lines) + "\n")
    sys.exit(0 if found.holds else 1)
