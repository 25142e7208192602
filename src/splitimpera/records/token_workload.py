"""What is asked of a language model: prompts that come, and how many tokens it writes to each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from splitimpera.core.array_types import FloatArray, IntArray
from splitimpera.records.checks import require

MOST_TOKENS = 1 << 20
MOST_USERS_TOGETHER = 1024


@dataclass(frozen=True)
class Lengths:
    """A number of tokens, drawn anew for each request.

    Attributes:
        mean: their mean, rounded where all are the same.
        shape: "fixed"; "geometric": from 1 on, without memory; "lognormal", whose spread is `sigma`.
        sigma: Standard deviation of the logarithm, for "lognormal".

    >>> Lengths(64).drawn(np.random.default_rng(0), 3)
    array([64, 64, 64])
    """

    mean: float
    shape: Literal["fixed", "geometric", "lognormal"] = "fixed"
    sigma: float = 0.5

    def __post_init__(self) -> None:
        require(1 <= self.mean <= MOST_TOKENS, "mean", self.mean, f"1 to {MOST_TOKENS} tokens")
        require(0 < self.sigma <= 3, "sigma", self.sigma, "above 0 and at most 3")

    def drawn(self, rng: np.random.Generator, count: int) -> IntArray:
        """So many numbers of tokens, each at least 1, shape (count,)."""
        if self.shape == "fixed":
            return np.full(count, round(self.mean), dtype=np.int64)
        if self.shape == "geometric":
            return np.minimum(rng.geometric(1 / self.mean, count), MOST_TOKENS).astype(np.int64)
        middle = math.log(self.mean) - self.sigma**2 / 2
        return np.clip(np.rint(rng.lognormal(middle, self.sigma, count)), 1, MOST_TOKENS).astype(np.int64)


@dataclass(frozen=True)
class TokenWorkload:
    """What requests to a language model ask for.

    Attributes:
        prompt, output: Tokens that a request brings, and that it is answered with.
        context: The most that both may come to; what is drawn beyond is cut short, the output first.
        together: To how many requests at most the server makes a token each in one step (continuous batching); 1: it
            answers one at a time.
        arrivals: "regular": each user's requests come at the workload's fixed rate; "poisson": at random, as often.
    """

    prompt: Lengths
    output: Lengths
    context: int
    together: int = 1
    arrivals: Literal["regular", "poisson"] = "regular"

    def __post_init__(self) -> None:
        require(2 <= self.context <= MOST_TOKENS, "context", self.context, f"2 to {MOST_TOKENS} tokens")
        together = f"1 to {MOST_USERS_TOGETHER}"
        require(1 <= self.together <= MOST_USERS_TOGETHER, "together", self.together, together)
        for name in ("prompt", "output"):
            mean = getattr(self, name).mean
            require(mean < self.context, name, f"{mean:g} tokens", f"fewer than the context of {self.context}")


@dataclass(frozen=True, eq=False)
class Requests:
    """Requests in the order in which they come, each array of shape (requests,).

    Attributes:
        arrival_s: When each comes.
        user: Whose it is.
        prompt, output: Tokens that it brings, and that it is answered with; at least one each.
    """

    arrival_s: FloatArray
    user: IntArray
    prompt: IntArray
    output: IntArray


def draw_requests(workload: TokenWorkload, fps: float, requests: int, users: int, rng: np.random.Generator) -> Requests:
    """The requests of all users.

    Args:
        fps: Requests a second of each user.
        requests: Requests of each user.
        rng: draws lengths, and arrivals that come at random.
    """
    if workload.arrivals == "regular":
        due = np.arange(requests)[:, None] / fps + np.arange(users) / (users * fps)
    else:
        due = np.cumsum(rng.exponential(1 / fps, (requests, users)), axis=0)
    user = np.broadcast_to(np.arange(users), due.shape).ravel()
    order = np.lexsort((user, due.ravel()))
    count = requests * users
    prompt = np.minimum(workload.prompt.drawn(rng, count), workload.context - 1)
    output = np.minimum(workload.output.drawn(rng, count), workload.context - prompt)
    return Requests(due.ravel()[order], user[order], prompt, output)
