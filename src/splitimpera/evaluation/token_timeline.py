"""When a plan's requests to a language model are answered, without torch: what `Timeline` is to frames."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from splitimpera.core.array_types import FloatArray, IntArray
from splitimpera.core.errors import PlanError, shown
from splitimpera.cost.spending import energy_j, fits
from splitimpera.evaluation.stages import NOTHING_SENT, Sent
from splitimpera.evaluation.token_run import PARTS, Crossing, TokenRun, token_run
from splitimpera.net.budget import WorkError
from splitimpera.net.directions import mean_rate_bps
from splitimpera.net.replication import mostly
from splitimpera.net.tcp import TcpLink
from splitimpera.net.transports import TRANSPORTS
from splitimpera.records.checks import require
from splitimpera.records.costs import Cost, DeviceCosts
from splitimpera.records.exits import GOES_ON
from splitimpera.records.plan import Plan
from splitimpera.records.token_outcome import TokenOutcome
from splitimpera.records.token_times import TokenTimes
from splitimpera.records.token_workload import TokenWorkload, draw_requests
from splitimpera.records.traffic import Workload

MOST_WRITTEN = 5_000_000
"""That are simulated at once, in all replications: some 200 bytes each."""


class TokenTimeline:
    """A plan's requests on their way, once a replication; arrays (replications, requests) in order of arrival.

    A request is what a frame is elsewhere: `workload.fps` of each user a second, `workload.frames` in all, and
    `workload.senders` users, each with a first device of its own, that share link and server. How it goes `token_run`
    says. Every replication draws requests and service times by randomness of its own, which is not the link's.

    Args:
        times: What each device takes for its blocks; of a plan that sends the prompt itself, the first one's count for
            nothing.
        bytes_per_token: What crosses for each token; of request i entry i, repeated as far as needed.
        encode_s, decode_s: What coding takes for each token that crosses.
        memory_bytes, cache_bytes: What weights, activations and caches take on each device, and the caches alone.

    Attributes:
        due_s, now_s: When each request comes, and when it is answered whole; infinite: never.
        costs: The cost of one more token on each device, halfway through a usual answer, and its memory.
        runs: What became of each token, one entry a replication.

    Raises:
        PlanError: more than two devices, early exits, or a transport that is no TCP.
        SimulationError: it is too much work.
    """

    def __init__(
        self,
        plan: Plan,
        workload: Workload,
        times: Sequence[TokenTimes],
        bytes_per_token: float | FloatArray,
        rngs: Sequence[np.random.Generator],
        encode_s: float = 0.0,
        decode_s: float = 0.0,
        memory_bytes: Sequence[int] = (),
        cache_bytes: Sequence[int] = (),
    ) -> None:
        tokens = workload.tokens
        require(tokens is not None, "tokens", tokens, "what requests ask for")
        assert tokens is not None
        self.plan, self.workload, self.rngs = plan, workload, rngs
        self.cache_bytes = tuple(cache_bytes)
        crossing = _crossing(plan, bytes_per_token, encode_s, decode_s)
        self.whole = crossing is not None and crossing.whole
        together = min(tokens.together, workload.senders)
        runs = []
        for rng in rngs:
            *of_devices, asking = rng.spawn(len(plan.devices) + 1)
            requests = draw_requests(tokens, workload.fps, workload.frames, workload.senders, asking)
            written = int(requests.output.sum()) * len(rngs)
            if written > MOST_WRITTEN:
                raise WorkError(
                    f"{written:,} tokens are too many, at most {MOST_WRITTEN:,} are simulated at once",
                    where="tokens",
                    hint="take fewer frames, senders or replications, or shorter outputs",
                )
            runs.append(token_run(requests, times, crossing, together, of_devices, rng))
        self.runs: tuple[TokenRun, ...] = tuple(runs)
        self.due_s: FloatArray = np.stack([run.requests.arrival_s for run in runs])
        self.now_s: FloatArray = np.stack([run.of_requests(np.where(_last(run), run.written_s, 0.0)) for run in runs])
        self.left_at: IntArray = np.full(self.now_s.shape, GOES_ON)
        self.costs = _costs(plan, tokens, times, memory_bytes)
        used = list(zip(plan.devices, times, strict=True))[1 if self.whole else 0 :]
        self.estimates = tuple(f"{device.name}: network" for device, each in used if each.how != "measured")
        part = ("the head", "the tail") if plan.hops else ("the model",)
        reasons = [fits(*each) for each in zip(plan.devices, memory_bytes, part, strict=False)]
        self.cannot_run = [reason for reason in reasons if reason is not None]

    @classmethod
    def of(
        cls,
        plan: Plan,
        workload: Workload,
        costs: Sequence[DeviceCosts],
        sizes: Sequence[IntArray],
        rngs: Sequence[np.random.Generator],
    ) -> TokenTimeline:
        """The timeline of a plan whose costs and payloads are known.

        Args:
            costs: One entry a device, each with its `tokens`.
            sizes: The bytes of each sample, a window of tokens, for the hop; each of its tokens has its share.
        """
        return cls(
            plan,
            workload,
            [each.tokens for each in costs if each.tokens is not None],
            sizes[0] / costs[0].window if plan.hops else 0.0,
            rngs,
            memory_bytes=[each.memory_bytes for each in costs],
            cache_bytes=[each.cache_bytes for each in costs],
        )

    @property
    def sent(self) -> list[tuple[Sent, ...]]:
        """What the hop's transport did to payloads, one entry a replication: TCP loses nothing."""
        return [(Sent(np.zeros(0, dtype=np.int64), NOTHING_SENT),) * len(self.runs)] * len(self.plan.hops)

    @property
    def latency_s(self) -> FloatArray:
        """From each request's arrival to its last token."""
        return self.now_s - self.due_s

    @property
    def alive(self) -> npt.NDArray[np.bool_]:
        """Which requests are answered whole."""
        return np.isfinite(self.now_s)

    @property
    def on_time(self) -> npt.NDArray[np.bool_]:
        """Which of them are so by the workload's deadline, or within the time between two requests of a user."""
        deadline_s = self.workload.deadline_s
        on_time: npt.NDArray[np.bool_] = self.latency_s <= (1 / self.workload.fps if deadline_s is None else deadline_s)
        return on_time

    @property
    def in_hand(self) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """No device has another answer at hand."""
        return np.zeros(self.now_s.shape, dtype=bool), np.zeros(self.now_s.shape, dtype=bool)

    @property
    def dropped_frames(self) -> FloatArray:
        """No request is dropped, shape (replications,)."""
        return np.zeros(len(self.runs))

    @property
    def parts_s(self) -> dict[str, float]:
        """Mean seconds of a finished request in each part; they add up to the mean latency."""
        return self._named(np.stack([run.of_requests(run.parts_s) for run in self.runs]), self.alive)

    @cached_property
    def tokens(self) -> TokenOutcome:
        """What becomes of the tokens."""
        counts = np.stack([run.requests.output for run in self.runs])
        parts_s = np.stack([run.of_requests(run.parts_s) for run in self.runs])
        first_parts_s = np.stack([run.in_order(run.parts_s[:, run.first]) for run in self.runs])
        ttft_s = np.stack([run.in_order(run.written_s[run.first]) for run in self.runs]) - self.due_s
        with np.errstate(invalid="ignore", divide="ignore"):
            per_token_s = (parts_s - first_parts_s) / (counts - 1)[:, None]
            tpot_s = np.where(counts > 1, (self.latency_s - ttft_s) / (counts - 1), np.nan)
        tpot_s[~self.alive & (counts > 1)] = np.inf  # also where there is no first one
        written = counts.sum()
        spent_j, steps = self.energy_j, [run.together[~run.first & (run.together > 0)] for run in self.runs]
        made = sum(map(len, steps))
        return TokenOutcome(
            ttft_s=ttft_s,
            tpot_s=tpot_s,
            gaps_s=_gaps(self.runs),
            tokens_per_s=np.array([_rate(run) for run in self.runs]),
            ttft_parts_s=self._named(first_parts_s, np.isfinite(ttft_s)),
            tpot_parts_s=self._named(per_token_s, np.isfinite(tpot_s)),
            tokens=float(counts.mean()),
            bytes_per_token=float(sum(run.up_bytes.sum() for run in self.runs) / written),
            energy_j=None if spent_j is None else spent_j / float(counts.mean()),
            together=made / float(sum((1 / of_run).sum() for of_run in steps)) if made else 0.0,
            cache_bytes=self.cache_bytes,
        )

    @property
    def crossing(self) -> list[tuple[float, float]]:
        """Packets are not counted a token; see `tokens` for the bytes."""
        return []

    @property
    def payload_bytes(self) -> float:
        """What a request sends to the server, in the mean."""
        return float(np.mean([run.up_bytes.sum() for run in self.runs]) / len(self.due_s[0]))

    @property
    def lost_packet_rate(self) -> FloatArray:
        """The share of data packets that the link lost, both ways, shape (replications,)."""
        return np.array([lost / max(packets, 1) for lost, packets in self._packets()])

    @property
    def mean_lost_packet_rate(self) -> float:
        """The same over all replications."""
        lost, packets = (float(sum(counts)) for counts in zip(*self._packets(), strict=True))
        return lost / packets if packets else 0.0

    @property
    def energy_j(self) -> float | None:
        """What the first device spends on a request; None: its power is not known."""
        busy_s = float(np.mean([run.device_s.sum() for run in self.runs])) / self.now_s.shape[1]
        wire_bytes = float(np.mean([run.up_wire_bytes.sum() for run in self.runs])) / self.now_s.shape[1]
        airtime_s = wire_bytes * 8 / mean_rate_bps(self.plan.hops[0].link) if self.plan.hops else 0.0
        return energy_j(self.plan.devices[0], busy_s, wire_bytes, airtime_s)

    @property
    def utilisation(self) -> dict[str, float]:
        """The busy share of each stage at the rate at which requests come; of a link that of its busier way."""
        users, fps = self.workload.senders, self.workload.fps
        shares = dict(zip(self._names, (fps, fps * users, fps * users), strict=False))
        return {name: float(busy_s.mean()) * shares[name] for name, busy_s in self._busy_s().items()}

    @property
    def busiest_stage(self) -> str:
        shares = self.utilisation
        return max(shares, key=lambda name: shares[name])

    @property
    def sustained_fps(self) -> FloatArray:
        """Requests a second of each user that all stages keep up with, shape (replications,).

        The server's as it is with the load at hand; more load may bring more tokens together. And no user gets more
        than its requests take, of which one is answered after the other.
        """
        users = self.workload.senders
        sharing = dict(zip(self._names, (1, users, users), strict=False))
        taken_s = [busy_s * sharing[name] for name, busy_s in self._busy_s().items()]
        with np.errstate(divide="ignore"):
            sustained: FloatArray = 1 / np.max([*taken_s, self._held_s().mean(1)], axis=0)
        return sustained

    @property
    def stable(self) -> bool:
        """False where, in most replications, a user's requests take longer than the time until its next one comes."""
        return mostly([_keeps_up(run, held_s) for run, held_s in zip(self.runs, self._held_s(), strict=True)])

    @property
    def device_quantiles_s(self) -> dict[str, tuple[float, float]]:
        """Median and 95th percentile of what each device takes for a request, without any queue."""
        busy = {self.plan.devices[0].name: [run.of_requests(run.device_s) for run in self.runs]}
        if self.plan.hops:
            busy[self.plan.devices[1].name] = [run.of_requests(run.server_s) for run in self.runs]
        quantiles = {name: np.percentile(np.stack(times_s), (50, 95)) for name, times_s in busy.items()}
        return {name: (float(p50), float(p95)) for name, (p50, p95) in quantiles.items()}

    @property
    def _names(self) -> tuple[str, ...]:
        """Of the stages."""
        devices = [device.name for device in self.plan.devices]
        return (devices[0], self.plan.hops[0].link.name, devices[1]) if self.plan.hops else (devices[0],)

    def _packets(self) -> list[tuple[int, int]]:
        """Lost and all packets, one entry a replication."""
        return [(int(run.lost_packets.sum()), int(run.packets.sum())) for run in self.runs]

    def _busy_s(self) -> dict[str, FloatArray]:
        """How long each stage is busy for a request, in the mean, shape (replications,) each."""
        count = self.now_s.shape[1]
        busy_s = [np.array([run.device_s.sum() for run in self.runs]) / count]
        if self.plan.hops:
            link = self.plan.hops[0].link
            up_bps, down_bps = mean_rate_bps(link), link.downlink_rate_bps or link.rate_bps
            ways = [(run.up_wire_bytes.sum() / up_bps, run.down_wire_bytes.sum() / down_bps) for run in self.runs]
            busy_s += [np.array(ways).max(1) * 8 / count, np.array([run.server_s.sum() for run in self.runs]) / count]
        return dict(zip(self._names, busy_s, strict=True))

    def _held_s(self) -> FloatArray:
        """From when each request's turn comes until it is answered, shape (replications, requests)."""
        begun_s = np.stack([run.in_order(run.begun_s[run.first]) for run in self.runs])
        with np.errstate(invalid="ignore"):
            return np.where(self.alive, self.now_s - begun_s, np.inf)

    def _named(self, parts_s: FloatArray, finished: npt.NDArray[np.bool_]) -> dict[str, float]:
        """Means of (replications, parts, requests) over the finished requests, by the names of parts that there are."""
        device, *others = self._names
        names = [f"{device}: queue", f"{device}: network"]
        if others:
            link, server = others
            names += [f"{link}: up", f"{server}: queue", f"{server}: network", f"{link}: down"]
        if not finished.any():
            return dict.fromkeys(names, 0.0)
        means = {
            name: parts_s[:, place][finished].mean() for place, name in zip(range(len(PARTS)), names, strict=False)
        }
        return {name: float(mean_s) for name, mean_s in means.items()}


def _crossing(plan: Plan, bytes_per_token: float | FloatArray, encode_s: float, decode_s: float) -> Crossing | None:
    place = f"plan '{shown(plan.id)}'"
    if len(plan.hops) > 1 or plan.exits:
        problem = "tokens go from one device to one server, without early exits"
        raise PlanError(problem, where=place, hint="take two devices and no exits")
    if not plan.hops:
        return None
    hop = plan.hops[0]
    over = TRANSPORTS[hop.transport](hop.link, np.random.default_rng(0))
    if not isinstance(over, TcpLink):
        problem = f"tokens go over TCP, not over {shown(hop.transport)}: each follows from those before it"
        raise PlanError(problem, where=place, hint="write 'transport: tcp'")
    return Crossing(hop.link, over.parameters, hop.cut == 0, bytes_per_token, encode_s, decode_s)


def _costs(
    plan: Plan, tokens: TokenWorkload, times: Sequence[TokenTimes], memory_bytes: Sequence[int]
) -> tuple[DeviceCosts, ...]:
    halfway = min(tokens.prompt.mean + tokens.output.mean / 2, tokens.context)
    memory = [*memory_bytes, *[0] * (len(plan.devices) - len(memory_bytes))]
    steps = [Cost(float(each.decode_s(halfway)), each.how, each.spread) for each in times]
    return tuple(DeviceCosts((step,), None, None, taken) for step, taken in zip(steps, memory, strict=True))


def _last(run: TokenRun) -> npt.NDArray[np.bool_]:
    """Which tokens end an answer."""
    return np.append(run.first[1:], True)


def _gaps(runs: Sequence[TokenRun]) -> FloatArray:
    """From each token to its next, shape (replications, most gaps); NaN behind the last."""
    each = []
    for run in runs:
        with np.errstate(invalid="ignore"):
            gaps_s = np.diff(run.written_s)[~run.first[1:]]
        each.append(np.where(np.isnan(gaps_s), np.inf, gaps_s))
    gaps_s = np.full((len(runs), max([1, *map(len, each)])), np.nan)
    for row, of_run in zip(gaps_s, each, strict=True):
        row[: len(of_run)] = of_run
    return gaps_s


def _rate(run: TokenRun) -> float:
    """Tokens a second, from the first arrival to the last token."""
    written_s = run.written_s[np.isfinite(run.written_s)]
    span_s = float(written_s.max(initial=-np.inf) - run.requests.arrival_s[0])
    return len(written_s) / span_s if span_s > 0 else 0.0


def _keeps_up(run: TokenRun, held_s: FloatArray) -> bool:
    """Whether requests take less than the time between those of a user, all users' last requests aside."""
    if not np.isfinite(held_s).all():
        return False
    order = np.argsort(run.requests.user, kind="stable")
    same = np.diff(run.requests.user[order]) == 0
    if not same.any():
        return True
    between_s = np.diff(run.requests.arrival_s[order])[same]
    return bool(held_s[order][:-1][same].sum() < between_s.sum())
