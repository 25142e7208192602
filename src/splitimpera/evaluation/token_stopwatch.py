"""The blocks of a language model timed on this machine, token by token, as far as plans need it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any, Literal

import torch

from splitimpera.codec.codecs import codec_from
from splitimpera.codec.token_rows import for_tokens
from splitimpera.core.progress import Track, no_progress
from splitimpera.cost.devices import measured_here
from splitimpera.cost.measuring import machine_name
from splitimpera.cost.profiles import fingerprint
from splitimpera.cost.timing import sample_together_s, waited_share
from splitimpera.cost.token_timer import time_tokens
from splitimpera.evaluation.codings import Coding, coding_of
from splitimpera.evaluation.stopwatch import BUDGET_S, SHORTEST_S, THREADS, kept_times
from splitimpera.evaluation.testbed import Testbed
from splitimpera.evaluation.token_costs import requests_of
from splitimpera.models.threads import torch_threads
from splitimpera.records.measurements import CodingTime, Measurements, RunTime
from splitimpera.records.plan import Plan

CODING_BUDGET_S = 0.02
"""For one codec."""

Coded = tuple[Literal["encode", "decode"], Coding, int]
"""A codec, and of how many tokens."""


def measure_tokens(
    plans: Iterable[Plan],
    testbed: Testbed,
    budget_s: float = BUDGET_S,
    fresh: bool = False,
    track: Track[Any] = no_progress,
) -> Measurements:
    """Time what some plans of a language model need on this machine, as `stopwatch.measure` does for frames.

    Steps follow one another at once, as those of a request do. A codec is timed on one token and on a window.

    Args:
        budget_s: roughly how long to time in all.
        fresh: whether to time anew what is in the cache folder.
        track: shows progress.
    """
    asked, blocks = requests_of(testbed)
    runs: dict[tuple[int, int, int], None] = {}
    coded: dict[Coded, None] = {}
    for plan in plans:
        hops = [None, *plan.hops, None]
        for device, (arriving, leaving) in zip(plan.devices, pairwise(hops), strict=True):
            if not measured_here(device):
                continue
            start, end = arriving.cut if arriving else 0, leaving.cut if leaving else testbed.last
            if start < end:
                runs |= {(start, end, asked.together if arriving else 1): None}
            for direction, hop in (("decode", arriving), ("encode", leaving)):
                if hop is not None:
                    coded |= {(direction, coding_of(hop), tokens): None for tokens in (1, blocks.window)}  # type: ignore[misc]
    about = Measurements(machine_name(), fingerprint(testbed.graph), THREADS, values_threads=torch.get_num_threads())
    if not runs and not coded:
        return about
    each_s = budget_s / max(len(runs), 1)

    def timed_runs() -> tuple[RunTime, ...]:
        return tuple(
            RunTime(
                *(start, end, asked.context, together),
                time_tokens(blocks.run(start, end), blocks.window, asked.context, together, each_s),
            )
            for start, end, together in track([*runs], "Timing the blocks token by token", len(runs))
        )

    def take() -> Measurements:
        with torch_threads(THREADS), torch.inference_mode():
            of_runs, waited = waited_share(timed_runs)
            codings = tuple(_coding_times(testbed, coded))
        return replace(about, runs=of_runs, codings=codings, waited=waited)

    names = [(direction, coding[:4], tokens) for direction, coding, tokens in coded]
    key = [about.machine, about.fingerprint, THREADS, asked.context, blocks.window, budget_s, [*runs], names]
    return replace(kept_times(key, take, fresh, track), values_threads=about.values_threads)


def _coding_times(testbed: Testbed, coded: Iterable[Coded]) -> Iterator[CodingTime]:
    """What is asked of each codec, those of a cut one after another: they are calibrated on the same samples."""
    for coding, alike in groupby(sorted(coded, key=itemgetter(1)), key=itemgetter(1)):
        window = testbed.constants(*coding)
        example = testbed.example(coding.cut, coding.bottleneck)
        for direction, _, tokens in alike:
            constants = for_tokens(window, tokens)
            codec = codec_from(constants, constants.specs)
            row = tuple(tensor[:tokens] for tensor in example)
            call = (
                partial(codec.encode, row) if direction == "encode" else partial(codec.decode, codec.encode(row).data)
            )
            (samples,) = sample_together_s([call], budget_s=CODING_BUDGET_S, least=10)
            samples_s = tuple(max(sample, SHORTEST_S) for sample in samples)
            yield CodingTime(
                *(direction, coding.cut, coding.codec, coding.bottleneck, coding.packet_bytes),
                samples_s,
                tokens=tokens,
            )
