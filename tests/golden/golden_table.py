"""The golden table: what a design says of each plan of the digits scenarios, kept to be compared with later ones.

    python tests/golden/golden_table.py             # writes digits_plans.csv anew

Every device has a preset, so that the speed of this machine plays no part. The networks and bottlenecks are trained at
first use; where that gives other weights than the table's, it does not hold.
"""

from __future__ import annotations

import csv
import hashlib
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

import splitimpera as sei
from splitimpera.models.networks import load_network
from splitimpera.records.outcome import Evaluation
from splitimpera.scenario import Scenario, load_scenario

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples" / "digits"
TABLE = HERE / "digits_plans.csv"
SCENARIOS = (
    HERE / "digits.yaml",
    HERE / "digits_resnet.yaml",
    EXAMPLES / "local.yaml",
    EXAMPLES / "remote.yaml",
    EXAMPLES / "infeasible.yaml",
)
REPLICATIONS = 5


@dataclass(frozen=True)
class Row:
    """One plan of one scenario.

    Attributes:
        network: the first digits of the SHA-256 of the unsplit network's weights.
        replications: how often its links were simulated.
        quality_low, quality_high: the 95 % interval.
        quality_se: the standard error of `quality` from the loss patterns alone, the samples being given.
    """

    scenario: str
    network: str
    plan: str
    replications: int
    quality: float
    quality_low: float
    quality_high: float
    quality_se: float
    payload_bytes: float
    latency_p95_s: float
    lost_packet_rate: float


def weights_digest(scenario: Scenario) -> str:
    """The first digits of the SHA-256 of a scenario's network, as it is on this machine."""
    digest = hashlib.sha256()
    for name, tensor in sorted(load_network(scenario.network, scenario.folder).state_dict().items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()[:12]


def evaluated(scenario: Scenario) -> tuple[Evaluation, ...]:
    """All plans of a scenario, as `splitimpera design --no-explore --all` evaluates them."""
    return sei.design(scenario, replications=REPLICATIONS, explore=False, every_accuracy=True).evaluations


def rows(path: Path) -> list[Row]:
    """A scenario's part of the table, made now."""
    scenario = load_scenario(path)
    network = weights_digest(scenario)
    return [_row(scenario.name, network, evaluation) for evaluation in evaluated(scenario)]


def _row(scenario: str, network: str, evaluation: Evaluation) -> Row:
    contributions, value = evaluation.contributions, evaluation.summarise
    of_patterns = [value(of_samples.sum(0)) for of_samples in contributions]
    return Row(
        scenario=scenario,
        network=network,
        plan=evaluation.plan.id,
        replications=len(of_patterns),
        quality=evaluation.quality,
        quality_low=evaluation.quality_ci[0],
        quality_high=evaluation.quality_ci[1],
        quality_se=float(np.std(of_patterns, ddof=1) / len(of_patterns) ** 0.5) if np.ptp(of_patterns) else 0.0,
        payload_bytes=evaluation.payload_bytes,
        latency_p95_s=evaluation.metrics()["latency_p95"],
        lost_packet_rate=evaluation.lost_packet_rate,
    )


def read() -> dict[str, dict[str, Row]]:
    """The table: scenario -> plan -> row."""
    kinds = {"scenario": str, "network": str, "plan": str, "replications": int}
    found: dict[str, dict[str, Row]] = {}
    with TABLE.open(newline="") as file:
        for line in csv.DictReader(file):
            row = Row(**{name: kinds.get(name, float)(text) for name, text in line.items()})
            found.setdefault(row.scenario, {})[row.plan] = row
    return found


def main() -> None:
    with TABLE.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        for path in SCENARIOS:
            writer.writerows(map(asdict, rows(path)))


if __name__ == "__main__":
    main()
