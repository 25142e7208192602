"""What a plan does for requests to a language model, token by token."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from splitimpera.core.array_types import FloatArray


@dataclass(frozen=True, eq=False)
class TokenOutcome:
    """How long requests wait for tokens, and what these cost.

    What is never written, because a connection was given up, takes infinitely long.

    Attributes:
        ttft_s: From each request's arrival until its user has the first token, shape (replications, requests), in the
            order in which they come; the wait for the user's request before it included.
        tpot_s: The mean time from each token of a request to its next, of the same shape; NaN for requests that are
            answered with a single token.
        gaps_s: The time from each token to its next, shape (replications, most gaps), user by user; NaN where there are
            no more.
        tokens_per_s: Tokens that all users together get in a second, from the first arrival to the last token, shape
            (replications,).
        ttft_parts_s, tpot_parts_s: Mean seconds of a finished request in each part; they add up to the mean of
            `ttft_s` and of `tpot_s` of these.
        tokens: How many tokens a request is answered with, in the mean.
        bytes_per_token: Payload that the users send for each token that is written, prompts included.
        energy_j: What the first device spends for each of them; None: its power is not known.
        together: How many users' tokens a step of the server makes, in the mean; 0 where there is no server, or where
            all requests are answered with a single token.
        cache_bytes: What keys and values take at the context asked for, on each device.
    """

    ttft_s: FloatArray
    tpot_s: FloatArray
    gaps_s: FloatArray
    tokens_per_s: FloatArray
    ttft_parts_s: dict[str, float] = field(default_factory=dict)
    tpot_parts_s: dict[str, float] = field(default_factory=dict)
    tokens: float = 0.0
    bytes_per_token: float = 0.0
    energy_j: float | None = None
    together: float = 0.0
    cache_bytes: tuple[int, ...] = ()

    def metrics(self) -> dict[str, float]:
        """The numbers that a requirement may speak of, in SI units; those that are not known are left out."""
        known = {"ttft": float(self.ttft_s.mean()), "ttft_p95": _p95(self.ttft_s)}
        if not np.isnan(self.tpot_s).all():
            known |= {"tpot": float(np.nanmean(self.tpot_s)), "tpot_p95": _p95(self.gaps_s)}
        known["tokens_per_s"] = float(self.tokens_per_s.mean())
        return known if self.energy_j is None else known | {"token_energy": self.energy_j}


def _p95(values_s: FloatArray) -> float:
    """Of all that are; infinite where one of the two values around it is."""
    with np.errstate(invalid="ignore"):
        found = float(np.percentile(values_s[~np.isnan(values_s)], 95))
    return np.inf if np.isnan(found) else found
