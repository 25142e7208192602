"""What is said of requests to a language model: of the tokens that answer them, and of the figures that show them."""

from __future__ import annotations

from splitimpera.core import units
from splitimpera.report.schema import PlanEntry, Results
from splitimpera.report.selection import token_metrics, token_plans
from splitimpera.report.words import WORDS

TITLES = {"ttft": "TTFT", "ttft_p95": "TTFT p95", "tpot": "TPOT", "tpot_p95": "TPOT p95"}
"""What metrics are called in figures and headings of tables; what names no percentile is a mean."""


def frame_word(results: Results) -> str:
    """What a frame of the workload is called."""
    return "request" if results.asks_tokens else "frame"


def sender_word(results: Results) -> str:
    """What a sender is called."""
    return "user" if results.asks_tokens else "sensor"


def tokens_words(results: Results) -> str:
    """What the figures of tokens show, and what answers take in the first plan that is drawn; empty without any."""
    drawn = token_plans(results)
    if not drawn:
        return ""
    said = [
        "TTFT is the time from a request to its first token, TPOT that from each token to its next. Bars are means of "
        f"{', '.join(plan.id for plan in drawn)}, hatched what is estimated; broken lines are limits."
    ]
    boundless = [plan.id for plan in drawn if not plan.stable]
    if boundless:
        said.append(
            f"{WORDS['unstable'].capitalize()}, so that first tokens take without bound: {', '.join(boundless)}."
        )
    stuck = [plan.id for plan in drawn if plan.cannot_run]
    if stuck:
        said.append(f"{' and '.join(stuck)} {WORDS['cannot_run']}.")
    return " ".join([*said, *_answers(drawn[0])])


def _answers(plan: PlanEntry) -> list[str]:
    """What answers of a plan take besides time."""
    tokens = plan.tokens
    if tokens is None:
        return []
    said = [f"Of {plan.id}: {tokens.answer_tokens:.3g} tokens answer a request, in the mean"]
    if tokens.tokens_per_s is not None:
        said.append(f"{tokens.tokens_per_s:.3g} tokens a second are written for all users together")
    if plan.hops:
        said.append(f"{units.format_bytes(tokens.bytes_per_token)} go over the link for each, prompts included")
    if tokens.together:
        together = f"{tokens.together:.3g}"
        said.append(f"a step of {plan.devices[-1]} makes those of {together} user{'' if together == '1' else 's'}")
    if tokens.token_energy_j is not None:
        said.append(f"{plan.devices[0]} spends {units.format_energy(tokens.token_energy_j)} on each")
    caches = [
        f"{units.format_bytes(size)} on {device}"
        for device, size in zip(plan.devices, tokens.cache_bytes, strict=False)
        if size
    ]
    if caches:
        said.append(f"keys and values of all contexts take {' and '.join(caches)}")
    return [f"{'; '.join(said)}."]


def waits_words(results: Results) -> str:
    """What the figures over rate and delay show."""
    first, following = (TITLES[metric] for metric in token_metrics(results))
    return (
        f"{first} (full lines) and {following} (broken lines) of the same plans, were the link's rate or delay another "
        "one and all else as it is; the grey line is where it is now. Each point is one replication. A line ends where "
        "requests come faster than they are answered."
    )
