"""What a plan does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import isnan, nan
from typing import Any

import numpy as np

from splitimpera.core.array_types import FloatArray
from splitimpera.records.plan import Plan
from splitimpera.records.token_outcome import TokenOutcome

ANSWERED_SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Where the latency of those that one part of a plan answers is kept."""


@dataclass(frozen=True)
class ExitUse:
    """What an early exit does for the frames of a plan.

    Attributes:
        cut, thresholds: as the plan has them.
        share: of all frames, how many leave there.
        quality: that of the frames that do; NaN where none does, or it was not computed.
        latency_s: their latency at `ANSWERED_SHARES` of them; empty where none does.
    """

    cut: int
    thresholds: tuple[float, ...]
    share: float
    quality: float
    latency_s: tuple[float, ...] = ()


@dataclass(frozen=True)
class Evaluation:
    """What one plan does: its accuracy, its latency, its loss, what it costs.

    Attributes:
        quality: the value of `quality_metric`; for a classifier the share of right predictions, a mean over samples;
            NaN where it was not computed.
        quality_ci: its 95 % interval; samples are counted, not samples times loss patterns.
        on_time_quality: the same, where a response later than the workload's deadline is wrong.
        latency_s: time from a frame's due time to its response, shape (replications, frames); NaN for a frame that a
            full queue dropped.
        parts_s: mean seconds of a frame on the device, in the codec, on the link, on the server, and in each queue.
        estimates: the names of those parts whose time was not measured on the machine that has it.
        payload_bytes: mean size of a frame's payload, without headers.
        crossing: of each hop, the mean payload of a frame that it carries, and in how many packets it goes, those that
            are sent again counted too; empty where that is not known.
        fps: responses a second that the pipeline sustains.
        stable: False where work arrives faster than some stage can do it, so that latency is unbounded.
        dropped_frames: share of frames that a full queue dropped.
        energy_j: what the first device spends on a frame, computing and sending; None: its power is not known.
        memory_bytes: weights and activations on each device, in the order of the plan's.
        cut_depth: layers on the first device; 0 where the raw input leaves it.
        utilisation: busy share of each stage, by name.
        busiest_stage: the busiest stage.
        device_p50_s, device_p95_s: Median and 95th percentile of what each device itself takes for a frame (decode,
            network, encode; no queue), by its name.
        cannot_run: why the plan cannot run at all, in words; empty where it can.
        quality_metric: what `quality` is called: "accuracy", "miou", "rmse" or another of the tasks' metrics.
        intervals: the 95 % bootstrap interval of each metric that chance touches.
        contributions: what each sample contributes to the quality, vectors (samples, m) of each replication; None: not
            known.
        on_time_contributions: the same, where a late response counts as none.
        summarise: the quality of sums of contributions, (..., m) -> (...).
        of_replications: the metrics with one value a replication, each (replications,).
        loss_patterns: how many loss patterns of each sample the quality rests on; None: all that were simulated.
        exits: what each early exit does, in the order of the plan's.
        went_on_quality: the quality of all frames that leave at none of them; NaN as there.
        went_on_latency_s: their latency, as there.
        stood_in: share of frames whose response is lost or late, so that the last exit's answer on the first device
            stands in, which is given at the deadline. Latency and dropped frames are those of the responses.
        tokens: how requests to a language model are answered, of which each is then a frame; None: it is none.
    """

    plan: Plan
    quality: float
    quality_ci: tuple[float, float]
    latency_s: FloatArray
    parts_s: dict[str, float] = field(default_factory=dict)
    estimates: tuple[str, ...] = ()
    payload_bytes: float = 0.0
    crossing: tuple[tuple[float, float], ...] = ()
    lost_packet_rate: float = 0.0
    fps: float = 0.0
    stable: bool = True
    on_time_quality: float = 0.0
    dropped_frames: float = 0.0
    energy_j: float | None = None
    memory_bytes: tuple[int, ...] = ()
    cut_depth: int = 0
    utilisation: dict[str, float] = field(default_factory=dict)
    busiest_stage: str = ""
    device_p50_s: dict[str, float] = field(default_factory=dict)
    device_p95_s: dict[str, float] = field(default_factory=dict)
    cannot_run: tuple[str, ...] = ()
    quality_metric: str = "accuracy"
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    contributions: Any = None
    on_time_contributions: Any = None
    summarise: Callable[[Any], Any] | None = None
    of_replications: dict[str, FloatArray] = field(default_factory=dict)
    loss_patterns: int | None = None
    exits: tuple[ExitUse, ...] = ()
    went_on_quality: float = nan
    went_on_latency_s: tuple[float, ...] = ()
    stood_in: float = 0.0
    tokens: TokenOutcome | None = None

    @property
    def valued(self) -> bool:
        """Whether the quality was computed."""
        return not isnan(self.quality)

    def metrics(self) -> dict[str, float]:
        """The numbers that a requirement may speak of, in SI units; those that are not known are left out."""
        known = {self.quality_metric: self.quality, f"on_time_{self.quality_metric}": self.on_time_quality}
        known = {
            **(known if self.valued else {}),
            **latency_metrics(self.latency_s),
            "fps": self.fps,
            "payload_bytes": self.payload_bytes,
            "lost_packet_rate": self.lost_packet_rate,
            "dropped_frames": self.dropped_frames,
            "cut_depth": float(self.cut_depth),
        }
        if self.energy_j is not None:
            known["energy"] = self.energy_j
        if self.memory_bytes:
            known["device_memory"] = float(self.memory_bytes[0])
        return known if self.tokens is None else known | self.tokens.metrics()


def latency_metrics(latency_s: FloatArray) -> dict[str, float]:
    """Mean, percentiles and maximum of all frames with a response; infinite where none was."""
    done = latency_s[~np.isnan(latency_s)]
    if not len(done):
        return dict.fromkeys(LATENCIES, np.inf)
    p50, p95, p99 = np.percentile(done, [50, 95, 99])
    values = (done.mean(), p50, p95, p99, done.max())
    return {name: float(value) for name, value in zip(LATENCIES, values, strict=True)}


LATENCIES = ("latency_mean", "latency_p50", "latency_p95", "latency_p99", "latency_max")
