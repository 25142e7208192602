"""Time to the first token and for each further one, of the example's language model, against its link's rate and delay.

    python benchmarks/language_links.py [--replications 5] [--markdown FILE]

Timelines alone, of the text that is sent to the server and of splits, with the devices of examples/language, whose
times are estimated. What the network writes does not depend on the link.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

import splitimpera as sei
from splitimpera.evaluation.costing import plan_costs
from splitimpera.evaluation.testbed import Testbed, route_of
from splitimpera.evaluation.timeline import timeline
from splitimpera.evaluation.token_timeline import TokenTimeline
from splitimpera.records.costs import DeviceCosts
from splitimpera.records.link import Link
from splitimpera.records.plan import Plan
from splitimpera.studies.bench import read_testbed

SCENARIO = Path(__file__).parents[1] / "examples" / "language" / "scenario.yaml"
CUTS = ("blocks.0", "blocks.1")
CODEC = "uint8:channel"
RATES_BPS = (100e3, 500e3, 5e6)
DELAYS_S = (0.002, 0.008, 0.02, 0.05, 0.1)


def times_over(
    plan: Plan, link: Link, testbed: Testbed, costs: tuple[DeviceCosts, ...], replications: int
) -> tuple[str, ...]:
    """Of a plan over another link: ttft, its 95th percentile, tpot, its 95th percentile; or that it cannot keep up."""
    hops = tuple(replace(hop, link=link) for hop in plan.hops)
    sizes = [testbed.provisional(key).sizes for key in route_of(plan.hops)]
    found = timeline(
        replace(plan, hops=hops), testbed.workload, costs, sizes, [1], np.random.default_rng(0), replications
    )
    assert isinstance(found, TokenTimeline)
    if not found.stable:
        return ("cannot keep up", "", "", "")
    values = found.tokens.metrics()
    return tuple(f"{1e3 * values[name]:.1f}" for name in ("ttft", "ttft_p95", "tpot", "tpot_p95"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replications", type=int, default=5)
    parser.add_argument("--markdown", type=Path)
    given = parser.parse_args()
    setting = sei.resolve(SCENARIO)
    testbed = read_testbed(setting)
    cuts = [testbed.graph.cut(name).index for name in CUTS]
    plans = sei.build_plans(
        setting.devices, setting.links[0], testbed.graph.cuts, cuts, codecs=[CODEC], transports=["tcp"]
    )
    sent = [plan for plan in plans if plan.hops]
    plans = [next(plan for plan in sent if not plan.hops[0].cut), *(plan for plan in sent if plan.hops[0].cut)]
    measured = sei.measure(plans, testbed)
    testbed.prepare(key for plan in plans for key in route_of(plan.hops))
    costs = {plan.id: tuple(plan_costs(plan, testbed, measured)) for plan in plans}
    lines = [
        "| rate | delay | plan | ttft ms | ttft p95 ms | tpot ms | tpot p95 ms |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for rate_bps, delay_s, plan in product(RATES_BPS, DELAYS_S, plans):
        link = replace(setting.links[0], rate_bps=rate_bps, delay_s=delay_s)
        values = times_over(plan, link, testbed, costs[plan.id], given.replications)
        name = "text to the server" if not plan.hops[0].cut else f"behind `{testbed.graph.cuts[plan.hops[0].cut].name}`"
        lines.append(f"| {rate_bps / 1e3:g} kbit/s | {1e3 * delay_s:g} ms | {name} | " + " | ".join(values) + " |")
        print(lines[-1], flush=True)
    if given.markdown:
        given.markdown.write_text("\n".join([*lines, ""]))


if __name__ == "__main__":
    main()
