"""Results of requests to a language model, without a run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from made import evaluation, made_values

from splitimpera.records.token_outcome import TokenOutcome

WANTED = ["accuracy >= 90 %", "ttft_p95 <= 400 ms", "tpot <= 60 ms"]


def answered(name, ttft_s=0.2, tpot_s=0.03, energy_j=None, **more):
    """A plan all of whose requests wait alike: a tenth in the queue, half on the device, the rest on the way."""
    made = evaluation(name, cut=0 if name.startswith("RC") else 3, memory_bytes=(3_000_000, 9_000_000), **more)
    if made.plan.hops:
        parts = {
            "camera: queue": 0.1,
            "camera: network": 0.5,
            "radio: up": 0.2,
            "server: queue": 0.0,
            "server: network": 0.1,
            "radio: down": 0.1,
        }
    else:
        parts = {"camera: queue": 0.1, "camera: network": 0.9}
    finite_s = ttft_s if np.isfinite(ttft_s) else 0.0  # means of those that are answered
    tokens = TokenOutcome(
        ttft_s=np.full((2, 5), ttft_s),
        tpot_s=np.full((2, 5), tpot_s),
        gaps_s=np.full((2, 9), tpot_s),
        tokens_per_s=np.array([11.0, 13.0]),
        ttft_parts_s={part: share * finite_s for part, share in parts.items()},
        tpot_parts_s={part: share * tpot_s for part, share in parts.items()},
        tokens=32.0,
        bytes_per_token=377.6 if made.plan.hops else 0.0,
        energy_j=energy_j,
        together=1.5 if made.plan.hops else 0.0,
        cache_bytes=(262_144, 4_000_000)[: len(made.plan.devices)],
    )
    whole_s = {part: finite_s * share for part, share in parts.items()}
    ends = {"ttft_p95": (0.9 * ttft_s, 1.1 * ttft_s)}
    return replace(made, tokens=tokens, parts_s=whole_s, intervals=ends, estimates=("camera: network",))


def three_answered():
    """A split that is chosen, one that sends the prompt and is quicker and wrong, one that does it all and is slow."""
    return [
        answered("SC3-float16-tcp"),
        answered("RC-uint8-tcp", 0.02, 0.001, accuracy=0.5),
        answered("LC", 3.0, 0.07, stable=False),
    ]


def curve(plan, parameter="rate", values=(1e5, 3e5, 1e6), now=3e5, ttft_s=(0.5, 0.2, None), tpot_s=(0.1, 0.03, 0.02)):
    values = list(values)
    waits = {"ttft_s": list(ttft_s), "ttft_p95_s": list(ttft_s), "tpot_s": list(tpot_s), "tpot_p95_s": list(tpot_s)}
    kind = {"plan": plan, "configuration": plan[:2], "parameter": parameter, "now": now, "values": values}
    return kind | waits


def token_values(evaluations=None, wanted=WANTED, **changes):
    """What `results.json` would hold of them, curves over rate and delay included."""
    plans = three_answered() if evaluations is None else evaluations
    curves = [
        curve("SC3-float16-tcp"),
        curve("LC", tpot_s=(0.07,) * 3),
        curve("SC3-float16-tcp", "delay", (0.005, 0.02, 0.08), 0.02),
    ]
    return made_values(plans, wanted, **({"token_curves": curves} | changes))
