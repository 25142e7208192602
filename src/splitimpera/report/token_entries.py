"""What a results file holds of requests to a language model, as models."""

from __future__ import annotations

from typing import Literal

from splitimpera.report.entry import Configuration, Count, Entry, Maybe, Number


class TokensEntry(Entry):
    """How a plan answers requests: until the first token (`ttft`), and from each to its next (`tpot`).

    Means are over requests; p50 and p95 of `tpot` over all single tokens. None: infinite, or there is none.
    """

    ttft_mean_s: Maybe
    ttft_p50_s: Maybe
    ttft_p95_s: Maybe
    tpot_mean_s: Maybe
    tpot_p50_s: Maybe
    tpot_p95_s: Maybe
    tokens_per_s: Maybe
    token_energy_j: Maybe
    ttft_parts_s: dict[str, Number]
    tpot_parts_s: dict[str, Number]
    answer_tokens: Number
    bytes_per_token: Number
    together: Number
    cache_bytes: list[Count]


class TokenCurveEntry(Entry):
    """The same of one plan at other rates or delays of the link; `ttft` is None where requests come too fast."""

    plan: str
    configuration: Configuration
    parameter: Literal["rate", "delay"]
    now: Number
    values: list[Number]
    ttft_s: list[Maybe]
    ttft_p95_s: list[Maybe]
    tpot_s: list[Maybe]
    tpot_p95_s: list[Maybe]
