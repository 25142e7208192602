"""What becomes of requests to a language model -> what a results file holds of it."""

from __future__ import annotations

import numpy as np

from splitimpera.core.array_types import FloatArray
from splitimpera.records.token_outcome import TokenOutcome
from splitimpera.report.entry import finite
from splitimpera.report.token_entries import TokenCurveEntry, TokensEntry
from splitimpera.studies.token_sweep import TokenCurve


def tokens_entry(outcome: TokenOutcome) -> TokensEntry:
    """How a plan answers requests."""
    known = outcome.metrics()
    return TokensEntry(
        ttft_mean_s=finite(known["ttft"]),
        ttft_p50_s=_median(outcome.ttft_s),
        ttft_p95_s=finite(known["ttft_p95"]),
        tpot_mean_s=finite(known.get("tpot")),
        tpot_p50_s=_median(outcome.gaps_s),
        tpot_p95_s=finite(known.get("tpot_p95")),
        tokens_per_s=finite(known["tokens_per_s"]),
        token_energy_j=finite(outcome.energy_j),
        ttft_parts_s=outcome.ttft_parts_s,
        tpot_parts_s=outcome.tpot_parts_s,
        answer_tokens=outcome.tokens,
        bytes_per_token=outcome.bytes_per_token,
        together=outcome.together,
        cache_bytes=list(outcome.cache_bytes),
    )


def _median(values_s: FloatArray) -> float | None:
    """Of all that are; None where there are none, or it is infinite."""
    there = values_s[~np.isnan(values_s)]
    return finite(float(np.median(there))) if len(there) else None


def token_curve_entry(curve: TokenCurve) -> TokenCurveEntry:
    """What a plan does at other rates or delays."""
    return TokenCurveEntry.model_validate(
        {
            "plan": curve.plan.id,
            "configuration": curve.plan.configuration,
            "parameter": curve.parameter,
            "now": curve.now,
            "values": list(curve.values),
            **{f"{name}_s": list(map(finite, values_s)) for name, values_s in curve.metrics.items()},
        }
    )
