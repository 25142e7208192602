"""How good is the choice of plans while the link changes? Simulated frame by frame, against an oracle.

    python benchmarks/adaptation.py [--traces FILE ...] [--markdown FILE]

On each trace every plan is run by itself, then two rules of thumb, the runtime's own rules (`deploy.adapting` with
`link_estimate`, `switching`, `answering`), and an oracle that knows the trace (dynamic programming over plans and over
which frames are sent, with the same minimal stay). A frame is worth its plan's accuracy where its answer is on time, 0
where it is not: the mean is the on-time accuracy, which is the plan's value in DESIGN's sense. The device alone is
always late. Runs begin at places of the trace that the seeds draw, the same for all. Intervals are of 95 %, over blocks
of frames that follow each other, of all runs.

Goals: at least 95 % of the oracle; never below the best static plan beyond chance; and above it, beyond chance,
wherever the oracle gains 2 points or more. Exit status 1 where one is missed.

`--design RUN` makes the plans' facts and the policy anew, from a design's folder that `splitimpera policy` was run on.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from adaptation_ways import Ours, Plans, Scripted, Static, Thumb, oracle
from changing_link import MADE, PlanFacts, Strategy, World, worths

from splitimpera.core.array_types import FloatArray
from splitimpera.net.traces import load_trace
from splitimpera.net.udp import headers_bytes
from splitimpera.records.link import Link, Trace
from splitimpera.records.policy import Policy, load_policy

DATA = Path(__file__).parent / "data" / "adaptation"
BLOCK_S = 2.0
DRAWS = 1000
GOAL, POINTS = 0.95, 0.02
RATE_BPS, DELAY_S, HEADER_BYTES = 2e6, 0.015, 20


@dataclass(frozen=True)
class Case:
    """What is run: plans and policy, frames a second, deadline."""

    plans: Plans
    policy: Policy
    fps: float
    deadline_s: float

    def link(self, trace: Trace, start_s: float, loss: float = 0.0) -> Link:
        """A link with this trace; its own rate is the design's, by which the rules of thumb begin."""
        rate_bps = 2e6
        return Link(
            "uplink", rate_bps, DELAY_S, loss, app_header_bytes=HEADER_BYTES, trace=trace, trace_start_s=start_s
        )


def load_case(folder: Path) -> Case:
    """Facts and policy, as `keep_case` kept them."""
    kept = json.loads((folder / "plans.json").read_text())
    plans = {
        one["id"]: PlanFacts(**{k: tuple(v) if isinstance(v, list) else v for k, v in one.items()})
        for one in kept["plans"]
    }
    return Case(plans, load_policy(folder / "policy.json"), kept["fps"], kept["deadline_s"])


def keep_case(run: Path, folder: Path) -> None:
    """Take what is needed of a design and its policy into a folder."""
    policy = load_policy(run / "policy.json")
    results = json.loads((run / "results.json").read_text())
    rows = {plan["id"]: plan for plan in results["plans"]}
    curves = {curve["plan"]: curve for curve in results["loss_curves"]}
    facts = []
    for plan in policy.plans:
        row = rows[plan.id]
        times = row["device_p50_s"]
        curve = curves.get(plan.id, {"loss": [0.0], "quality": [row["metrics"]["accuracy"]]})
        server_s = sum(time_s for name, time_s in times.items() if name != row["devices"][0])
        losses, accuracies = tuple(curve["loss"]), tuple(curve["quality"])
        size = int(row["metrics"].get("payload_bytes") or 0)
        facts.append(asdict(PlanFacts(plan.id, size, times[row["devices"][0]], server_s, losses, accuracies)))
    workload = results["scenario"]["workload"]
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(run / "policy.json", folder / "policy.json")
    made = {"fps": workload["fps"], "deadline_s": workload["deadline"], "plans": facts}
    (folder / "plans.json").write_text(json.dumps(made, indent=1) + "\n")


# Running --------------------------------------------------------------------------------------------------------------


def strategies(case: Case, link: Link, count: int) -> Iterator[tuple[str, Strategy]]:
    """All that are compared, by name."""
    for name in case.plans:
        if case.plans[name].frame_bytes:
            yield name, Static(name)
    yield "thumb: fastest", Thumb(case.plans, link, case.deadline_s, accurate=False)
    yield "thumb: most accurate", Thumb(case.plans, link, case.deadline_s, accurate=True)
    yield "ours", Ours(case.policy, case.plans, case.fps, case.deadline_s, headers_bytes(link))
    yield "oracle", Scripted(oracle(link, case.plans, case.fps, case.deadline_s, count))


def run_trace(case: Case, trace: Trace, seconds: float, seeds: int, loss: float = 0.0) -> dict[str, FloatArray]:
    """What each frame of each run is worth, by strategy, (seeds, frames) each."""
    count = int(seconds * case.fps)
    found: dict[str, list[FloatArray]] = {}
    for seed in range(seeds):
        start_s = float(np.random.default_rng([17, seed]).random() * trace.period_s)
        link = case.link(trace, start_s, loss)
        for name, strategy in strategies(case, link, count):
            frames = World(link, case.plans, case.fps, case.deadline_s, seed).run(strategy, count)
            found.setdefault(name, []).append(worths(frames, case.plans, case.deadline_s))
    return {name: np.array(runs) for name, runs in found.items()}


# The account ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A trace's result; intervals as (low, high).

    Attributes:
        means: On-time accuracy by strategy.
        best: The best static plan in hindsight.
        of_oracle, gain: Ours over the oracle, and less the best static plan, with their intervals.
    """

    trace: str
    means: dict[str, float]
    best: str
    of_oracle: tuple[float, float, float]
    gain: tuple[float, float, float]

    @property
    def missed(self) -> list[str]:
        """The goals that are missed, in words."""
        told = []
        if self.of_oracle[0] < GOAL:
            told.append(f"{self.of_oracle[0]:.1%} of the oracle")
        if self.gain[2] < 0:
            told.append(f"{-100 * self.gain[0]:.1f} points below {self.best}")
        if self.means["oracle"] - self.means[self.best] >= POINTS and self.gain[1] <= 0:
            told.append(f"not above {self.best}")
        return told


def row_of(name: str, found: dict[str, FloatArray], block: int, static: Sequence[str]) -> Row:
    """Sum up a trace."""
    means = {each: float(worth.mean()) for each, worth in found.items()}
    best = max(static, key=means.__getitem__)
    blocks = {each: _blocks(found[each], block) for each in ("ours", "oracle", best)}
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(blocks["ours"]), size=(DRAWS, len(blocks["ours"])))
    ours, ideal, other = (blocks[each][drawn].mean(1) for each in ("ours", "oracle", best))
    ratio = means["ours"] / means["oracle"] if means["oracle"] else 1.0
    ratios = np.percentile(ours / np.maximum(ideal, 1e-12), (2.5, 97.5))
    gains = np.percentile(ours - other, (2.5, 97.5))
    return Row(name, means, best, (ratio, *map(float, ratios)), (means["ours"] - means[best], *map(float, gains)))


def _blocks(worth: FloatArray, block: int) -> FloatArray:
    """Means of frames that follow each other, (blocks,)."""
    whole = worth.shape[1] // block * block
    means: FloatArray = worth[:, :whole].reshape(-1, block).mean(1)
    return means


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Markdown."""
    names = list(rows[0].means)
    yield f"| trace | {' | '.join(names)} | ours / oracle | ours - best static | missed |"
    yield "|---|" + "---:|" * (len(names) + 2) + "---|"
    for row in rows:
        cells = [f"{'**' * (name == row.best)}{100 * row.means[name]:.1f}{'**' * (name == row.best)}" for name in names]
        ratio, low, high = (100 * each for each in row.of_oracle)
        gain, least, most = (100 * each for each in row.gain)
        cells += [f"{ratio:.1f} [{low:.1f}, {high:.1f}]", f"{gain:+.1f} [{least:+.1f}, {most:+.1f}]"]
        yield f"| {row.trace} | {' | '.join(cells)} | {'; '.join(row.missed) or '-'} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", type=Path, default=DATA / "digits", help="folder of plans.json and policy.json")
    parser.add_argument("--design", type=Path, help="a design's folder with its policy.json, to make the case anew of")
    parser.add_argument("--traces", type=Path, nargs="+", default=[], help="recordings in mahimahi's format, or CSV")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each run")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--loss", type=float, default=0.0, help="share of packets that the link drops")
    parser.add_argument("--markdown", type=Path, help="the table goes there as well")
    arguments = parser.parse_args()
    if arguments.design:
        keep_case(arguments.design, arguments.case)
    case = load_case(arguments.case)
    static = [name for name, facts in case.plans.items() if facts.frame_bytes]
    traces = [made() for made in MADE] + [load_trace(path) for path in arguments.traces]
    rows = []
    for trace in traces:
        begun_s = time.process_time()
        found = run_trace(case, trace, arguments.seconds, arguments.seeds, arguments.loss)
        name = trace.name if not arguments.loss else f"{trace.name}, {arguments.loss:.1%} lost"
        rows.append(row_of(name, found, int(BLOCK_S * case.fps), static))
        told = ", ".join(f"{each} {100 * mean:.1f}" for each, mean in rows[-1].means.items())
        print(f"{name}: {told} ({time.process_time() - begun_s:.0f} s)", flush=True)
    text = "\n".join(table(rows))
    print(f"\n{text}")
    if arguments.markdown:
        arguments.markdown.write_text(text + "\n")
    return 1 if any(row.missed for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
