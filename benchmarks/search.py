"""How much training does a search save? Strategies of `studies.search` replay the table of `search_truth.py`.

    python benchmarks/search.py [--networks ...] [--seeds 20]

A scenario draws a device's slowdown, a link's rate and delay and loss, and a deadline. Each candidate's timeline, 10
frames a second over TCP with payloads in 8 bits, comes first: the value of a plan is the share of frames that are on
time times its accuracy; a plan with a load above 1 on some stage is not feasible. A strategy sees validation accuracies
of one training seed a candidate; what it hands over is worth the mean test accuracy over all seeds at the rung that it
was trained up to. Regret is what the best of all candidates, fully trained, is worth more, in points of value.

Printed as Markdown. Nothing is trained here.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from search_truth import DATA, RUNGS

from splitimpera.core.array_types import FloatArray
from splitimpera.evaluation.timeline import timeline
from splitimpera.records.costs import Cost, DeviceCosts
from splitimpera.records.device import Device
from splitimpera.records.link import Link
from splitimpera.records.plan import Hop, Plan
from splitimpera.records.traffic import Workload
from splitimpera.studies.search import Candidate, Job, by_maxima, make_search

SCENARIOS, SEEDS, DRAWS = 100, 20, 1000
KEPT = Path("runs/search")
"""Timelines that were simulated; remove the folder where the simulator changes."""
FRAMES, FPS = 200, 10.0
SERVER_MACS_PER_S = 2e10
HEADER_BYTES = 64
"""Of the application in front of every payload."""
SHARES = (0.05, 0.1, 0.2, 1.0)
"""Of the cost of all trainings, at which regret is taken."""
GOAL = 0.1
PRIORS = ("depth", "bytes", "cs_maxima", "cs", "agreement", "closed_form", "on_time", "value")
"""`on_time`: the share of frames on time, in whole percent; then the lower ratio, then the deeper cut. `value`:
that share times the closed form's accuracy."""
BESIDE = ("random", "depth", "on_time")
"""What every strategy is compared with."""
OF_CLOSED_FORM = ("closed_form", "value")
STRATEGIES = (
    *("exhaustive", "random", *PRIORS),
    *("halving", *(f"halving+{prior}" for prior in PRIORS)),
)


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known of a network's candidates; arrays have a row a candidate.

    Attributes:
        candidates: without bounds, which a scenario gives.
        validation, test: accuracies, (candidates, training seeds, rungs).
        head_macs, tail_macs, payload_bytes: (candidates,); those of encoder and decoder included.
        closed_form_s: What the closed forms of all candidates took: it counts as training spent where they are used.
    """

    network: str
    candidates: tuple[Candidate, ...]
    validation: FloatArray
    test: FloatArray
    head_macs: FloatArray
    tail_macs: FloatArray
    payload_bytes: FloatArray
    closed_form_s: float

    @property
    def cost(self) -> float:
        """Of training every candidate fully."""
        return sum(candidate.costs[-1] for candidate in self.candidates)


@dataclass(frozen=True)
class Scenario:
    """Everything drawn evenly on a log scale, loss evenly.

    Attributes:
        whole_s: What the whole network takes on the device: that sets its slowdown.
    """

    whole_s: float
    rate_bps: float
    delay_s: float
    loss: float
    deadline_s: float

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Scenario:
        return cls(
            whole_s=10 ** rng.uniform(-2, 0),
            rate_bps=10 ** rng.uniform(4.7, 6.7),
            delay_s=10 ** rng.uniform(-3, -1.5),
            loss=rng.uniform(0, 0.05),
            deadline_s=10 ** rng.uniform(-2, -0.7),
        )


def read_truths(networks: Sequence[str]) -> Iterator[Truth]:
    """The tables, network by network; training seeds of which a row is missing are left out."""
    rows: dict[tuple[str, int, float], dict[int, dict[str, str]]] = defaultdict(dict)
    with (DATA / "search_truth.csv").open() as file:
        for row in csv.DictReader(file):
            rows[row["network"], int(row["cut"]), float(row["ratio"])][int(row["seed"])] = row
    with (DATA / "search_priors.csv").open() as file:
        known = [*csv.DictReader(file)]
    for network in networks:
        here = [row for row in known if row["network"] == network]
        trained = [rows[network, int(row["cut"]), float(row["ratio"])] for row in here]
        seeds = sorted(set.intersection(*map(set, trained)))
        if not seeds:
            continue
        both = (
            np.array([[[float(of[seed][f"{part}_{rung}"]) for rung in RUNGS] for seed in seeds] for of in trained])
            for part in ("validation", "test")
        )
        # what other programs took from this one's cores is not the training's: the least of all seeds
        epoch_s = [min(float(row["epoch_s"]) for row in of.values()) for of in trained]
        columns = {name: np.array([float(row[name]) for row in here]) for name in here[0] if name not in _WORDS}
        yield Truth(
            network,
            tuple(
                _candidate(row, each_s, columns, place)
                for place, (row, each_s) in enumerate(zip(here, epoch_s, strict=True))
            ),
            *both,
            head_macs=columns["macs_head"] + columns["macs_encoder"],
            tail_macs=columns["macs_tail"] + columns["macs_decoder"],
            payload_bytes=columns["latent_elements"] + HEADER_BYTES,
            closed_form_s=float(columns["closed_form_s"].sum()),
        )


_WORDS = ("network", "name")


def _candidate(row: dict[str, str], epoch_s: float, columns: dict[str, FloatArray], place: int) -> Candidate:
    cuts, first = np.unique(columns["cut"], return_index=True)
    maxima = dict(zip(cuts, by_maxima(columns["cs"][first].tolist()), strict=True))
    priors = {
        "depth": columns["cut"][place],
        "bytes": -columns["latent_elements"][place],
        "cs_maxima": maxima[columns["cut"][place]],
        "cs": columns["cs"][place],
        "agreement": columns["gradient_agreement"][place],
        "closed_form": columns["closed_form"][place],
    }
    costs = tuple(epoch_s * rung for rung in RUNGS)
    return Candidate(int(row["cut"]), float(row["ratio"]), costs=costs, priors={k: float(v) for k, v in priors.items()})


# Timelines ------------------------------------------------------------------------------------------------------------


def on_time(truth: Truth, scenario: Scenario, seed: int) -> FloatArray:
    """The share of frames that are on time, of each candidate, (candidates,); NaN where a stage is overloaded."""
    link = Link(rate_bps=scenario.rate_bps, delay_s=scenario.delay_s, loss=scenario.loss)
    workload = Workload(FPS, FRAMES, scenario.deadline_s, frame_bytes=1)  # sizes are the plans'
    whole = float(truth.head_macs.max())  # the deepest cut's
    found = []
    for head, tail, payload in zip(truth.head_macs, truth.tail_macs, truth.payload_bytes, strict=True):
        head_s, tail_s = head / whole * scenario.whole_s, tail / SERVER_MACS_PER_S
        if head_s * FPS > 1 or payload * 8 * FPS > scenario.rate_bps:
            found.append(math.nan)
            continue
        if head_s + payload * 8 / scenario.rate_bps + scenario.delay_s + tail_s > scenario.deadline_s:
            found.append(0.0)  # at the least
            continue
        plan = Plan("SC", (Device("device"), Device("server")), (Hop(1, "uint8", "tcp", link),))
        costs = [DeviceCosts((Cost(seconds, "estimated"),), None, None, 0) for seconds in (head_s, tail_s)]
        sizes = [np.array([int(payload)])]
        simulated = timeline(plan, workload, costs, sizes, [1], np.random.default_rng(seed))
        share = float((simulated.on_time & simulated.alive).mean())
        found.append(share if simulated.stable else math.nan)
    return np.array(found)


def scenarios_of(truth: Truth, count: int) -> tuple[list[FloatArray], int]:
    """Shares on time of each scenario, and how many scenarios were drawn for it.

    Drawn again where fewer than five candidates have half of their frames on time: there is nothing to search.
    """
    kept = KEPT / f"{truth.network}-{count}.npz"
    if kept.exists() and (stored := np.load(kept))["made_of"].tolist() == _made_of(truth):
        return [*stored["shares"]], int(stored["drawn"])
    found: list[FloatArray] = []
    rng, drawn = np.random.default_rng(16), 0
    while len(found) < count:
        drawn += 1
        shares = on_time(truth, Scenario.drawn(rng), drawn)
        if (shares >= 0.5).sum() >= 5:
            found.append(shares)
    KEPT.mkdir(parents=True, exist_ok=True)
    np.savez(kept, shares=found, drawn=drawn, made_of=_made_of(truth))
    return found, drawn


def _made_of(truth: Truth) -> list[float]:
    """What the timelines follow from, but for the code."""
    columns = truth.head_macs, truth.tail_macs, truth.payload_bytes
    return [*np.concatenate(columns).tolist(), FRAMES, FPS, SERVER_MACS_PER_S]


# Replay ---------------------------------------------------------------------------------------------------------------


class Asking(Protocol):
    """What a replay needs of a search."""

    @property
    def spent(self) -> float: ...

    def ask(self) -> list[Job]: ...

    def tell(self, candidate: Candidate, rung: int, value: float) -> None: ...


def replay(
    truth: Truth, shares: FloatArray, search: Asking, seen: FloatArray, worth: FloatArray, most: float, before: float
) -> FloatArray:
    """Regret in points at each of `SHARES` of the cost of all trainings, (shares,).

    Args:
        seen: validation accuracies of one training seed a candidate, (candidates, rungs).
        worth: what handing a candidate over is worth, (candidates, rungs).
        most: the share of the cost after which the search ends.
        before: what was spent before any training.
    """
    places = {candidate.key: place for place, candidate in enumerate(truth.candidates)}
    best = (np.nan_to_num(shares) * truth.test.mean(1)[:, -1]).max()
    limits, regret, now = np.array(SHARES) * truth.cost - before, np.full(len(SHARES), best), best
    highest = -math.inf
    while search.spent <= most * truth.cost and (jobs := search.ask()):
        ((candidate, rung),) = jobs
        place = places[candidate.key]
        value = float(shares[place] * seen[place, rung])
        search.tell(candidate, rung, value)
        if value > highest:
            highest, now = value, best - worth[place, rung]
        regret[search.spent <= limits * (1 + 1e-9)] = now
    return 100 * regret


def bounded(truth: Truth, shares: FloatArray) -> list[Candidate]:
    """The candidates, each with the most that it can be worth in a scenario."""
    return [_with(candidate, float(share)) for candidate, share in zip(truth.candidates, shares, strict=True)]


def _with(candidate: Candidate, share: float) -> Candidate:
    at_most = share if share > 0 else None  # NaN is not above 0
    value = (at_most or 0.0) * candidate.priors["closed_form"]
    return replace(candidate, at_most=at_most, priors={**candidate.priors, "value": value})


def regrets(truth: Truth, scenarios: list[FloatArray], strategy: str, arguments: argparse.Namespace) -> FloatArray:
    """(scenarios, seeds, shares)."""
    found = np.empty((len(scenarios), arguments.seeds, len(SHARES)))
    every = np.arange(len(truth.candidates))
    before = truth.closed_form_s if strategy.removeprefix("halving+") in OF_CLOSED_FORM else 0.0
    for place, shares in enumerate(scenarios):
        candidates = bounded(truth, shares)
        for seed in range(arguments.seeds):
            drawn = np.random.default_rng([place, seed]).integers(truth.validation.shape[1], size=len(every))
            search = _started(strategy, candidates, seed, tuple(arguments.rungs), arguments.eta)
            accuracy = truth.test[every, drawn] if arguments.own else truth.test.mean(1)
            worth = np.nan_to_num(shares)[:, None] * accuracy
            seen = truth.validation[every, drawn]
            found[place, seed] = replay(truth, shares, search, seen, worth, arguments.most, before)
    return found


def _started(strategy: str, candidates: list[Candidate], seed: int, rungs: tuple[int, ...], eta: int) -> Asking:
    if strategy == "tpe":
        from search_tpe import Tpe  # optuna is needed here alone

        return Tpe(candidates, seed)
    return make_search(strategy, candidates, seed, rungs=rungs, eta=eta)


# The account ----------------------------------------------------------------------------------------------------------


def quantiles(values: Sequence[FloatArray], rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Median and 90th percentile over (scenarios, seeds) of all networks, and their 95 % intervals over draws of
    scenarios: (2,) and (2, 2)."""
    at = np.percentile(np.concatenate([each.ravel() for each in values]), (50, 90))
    drawn = []
    for _ in range(DRAWS):
        rows = [each[rng.integers(len(each), size=len(each))] for each in values]
        drawn.append(np.percentile(np.concatenate([each.ravel() for each in rows]), (50, 90)))
    return at, np.percentile(drawn, (2.5, 97.5), axis=0)


def table(found: dict[str, list[FloatArray]]) -> Iterator[str]:
    """Median and 90th percentile of regret at each share of the cost but the last."""
    place = SHARES.index(GOAL)
    head = [f"{share:.0%}: {which}" for share in SHARES[:-1] for which in ("median", "90 %")]
    yield f"| strategy | {' | '.join(head)} | {GOAL:.0%}: less than {' by | than '.join(BESIDE)} by |"
    yield "|---|" + "---:|" * (len(head) + len(BESIDE))
    for strategy, values in found.items():
        cells = []
        for index in range(len(SHARES) - 1):
            at, ends = quantiles([each[:, :, index] for each in values], np.random.default_rng(0))
            cells += [f"{at[which]:.2f} [{ends[0, which]:.2f}, {ends[1, which]:.2f}]" for which in (0, 1)]
        here = [each[:, :, place] for each in values]
        cells += [gain([each[:, :, place] for each in found[other]], here) for other in BESIDE]
        yield f"| {strategy} | {' | '.join(cells)} |"


def gain(others: list[FloatArray], values: list[FloatArray]) -> str:
    """Mean regret of another strategy less that of this one, with its interval over draws of scenarios."""
    rng = np.random.default_rng(0)
    apart = [(other - value).mean(1) for other, value in zip(others, values, strict=True)]
    drawn = [
        np.concatenate([each[rng.integers(len(each), size=len(each))] for each in apart]).mean() for _ in range(DRAWS)
    ]
    low, high = np.percentile(drawn, (2.5, 97.5))
    return f"{np.concatenate(apart).mean():.2f} [{low:.2f}, {high:.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["digits-vgg16", "digits-resnet20", "cifar-resnet20"])
    parser.add_argument("--strategies", nargs="+", default=STRATEGIES, help="also: tpe, which needs optuna")
    parser.add_argument("--scenarios", type=int, default=SCENARIOS)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--rungs", type=int, nargs="+", default=[2, 4], help="places in the table's rungs")
    parser.add_argument("--eta", type=int, default=2)
    parser.add_argument("--most", type=float, default=1.0, help="share of the cost after which a search ends")
    parser.add_argument("--own", action="store_true", help="what is handed over is worth its own test accuracy")
    parser.add_argument("--out", type=Path, help="Markdown goes there; else it is printed")
    arguments = parser.parse_args()
    found: dict[str, list[FloatArray]] = defaultdict(list)
    lines: list[str] = []
    for truth in read_truths(arguments.networks):
        begun_s = time.process_time()
        scenarios, drawn = scenarios_of(truth, arguments.scenarios)
        left = np.mean([(shares > 0).sum() for shares in scenarios])
        cost = np.mean([sum(c.costs[-1] for c in bounded(truth, s) if c.at_most is not None) for s in scenarios])
        lines.append(
            f"{truth.network}: {len(truth.candidates)} candidates, {truth.validation.shape[1]} training seeds, "
            f"{truth.cost:.0f} CPU s for all; {drawn} scenarios drawn for {len(scenarios)}; the timeline leaves "
            f"{left:.1f} candidates with {cost / truth.cost:.0%} of the cost."
        )
        print(f"{lines[-1]} ({time.process_time() - begun_s:.0f} s)", flush=True)
        for strategy in dict.fromkeys([*BESIDE, "exhaustive", *arguments.strategies]):
            begun_s = time.process_time()
            one = regrets(truth, scenarios, strategy, arguments)
            found[strategy].append(one)
            at = np.percentile(one[:, :, SHARES.index(GOAL)], (50, 90))
            print(f"{strategy:24} {at[0]:.2f} {at[1]:.2f} ({time.process_time() - begun_s:.0f} s)", flush=True)
    if arguments.most >= 1:
        at, _ = quantiles([each[:, :, -1] for each in found["exhaustive"]], np.random.default_rng(0))
        lines.append(f"Everything trained, the best by validation: regret {at[0]:.2f} (median), {at[1]:.2f} (90 %).")
    lines += ["", *table(found)]
    text = "\n".join(lines)
    if arguments.out:
        arguments.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
