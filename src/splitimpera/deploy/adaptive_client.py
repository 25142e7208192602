"""The device half with several plans: what policy, link, server and deadline make of each frame.

Every frame has one outcome. The rules are `Adapting` (by which plan), `Answering` (who answers) and `Servers` (which
server); here they meet engines, sessions and timers. Layers run in the thread of whoever submits a frame; what the
device finishes because no answer comes, in a thread beside it; sessions and timers live in an event loop of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from math import inf
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Self

from splitimpera.bundle.manifest import HopEntry, PlanEntry
from splitimpera.bundle.opened import Bundle
from splitimpera.bundle.task_entry import Responding
from splitimpera.core.array_types import Array, Row
from splitimpera.core.errors import LinkError, PlanError, SplitImperaError, UnreachableError
from splitimpera.deploy.adaptive_frame import AdaptiveFrame
from splitimpera.deploy.adaptive_plans import AdaptivePlans
from splitimpera.deploy.answer_session import check_one_server
from splitimpera.deploy.answering import Answering, Mode
from splitimpera.deploy.breaker import Circuit
from splitimpera.deploy.client import GRACE_S, TIMEOUT_S, check_trust, parsed_address
from splitimpera.deploy.connection import Exchange
from splitimpera.deploy.event_log import tell
from splitimpera.deploy.frame_rules import FrameRules
from splitimpera.deploy.inferred import Inference
from splitimpera.deploy.input_preparation import prepared
from splitimpera.deploy.lent_loop import LentLoop
from splitimpera.deploy.messages import Hello, Status
from splitimpera.deploy.result_reading import read_response
from splitimpera.deploy.servers import Address
from splitimpera.deploy.sessions import Limits
from splitimpera.deploy.ways import Way, carrier_of

if TYPE_CHECKING:
    from splitimpera.deploy.security import ClientSecurity

log = logging.getLogger(__name__)

STALE_S = 1.0
"""For so long the last answer is given once more."""


class AdaptiveClient:
    """The device half of a bundle with several plans, and a list of servers.

    Args:
        servers: "host:port" of each, the preferred first; none: everything runs on the device.
        plan: The plan to begin with, and without a policy the only one that is sent by; None: the policy's, or the
            recommended one.
        mode: Who is to answer; None: the server, and the device where no answer comes in time.
        pin: The policy's proposals are passed over.
        hedge: The device begins beside the server where the link's 95th percentile passes the deadline.
        stale_s: The last answer is given once more for so long, marked stale, where a frame gets none; 0: never.
        slowdown: The device's layers take so many times as long, to stand in for a slower one.
        security, insecure, threads, timeout_s, limits: As of `Client`.

    Raises:
        BundleError: the bundle lacks the plan, or its files are not what was exported.
        PlanError: mode, privacy floor and plans leave no frame an answer.
        LinkError: a plan needs a server and there is none, or several for direct answers; no `security` nor `insecure`.

    Example:
        with AdaptiveClient(open_bundle("bundle"), ["10.0.0.2:7433"], security=security) as client:
            found = client.infer(image, deadline_s=0.05)
            print(found.answered.by, found.answered.plan, found.name)
    """

    def __init__(
        self,
        bundle: Bundle,
        servers: Sequence[str | Address] = (),
        plan: str | None = None,
        *,
        mode: Mode | None = None,
        pin: bool = False,
        hedge: bool = False,
        stale_s: float = STALE_S,
        security: ClientSecurity | None = None,
        insecure: bool = False,
        threads: int = 1,
        timeout_s: float = TIMEOUT_S,
        limits: Limits | None = None,
        slowdown: float = 1.0,
    ) -> None:
        addresses = [parsed_address(each) if isinstance(each, str) else each for each in servers]
        if mode is Mode.DEVICE_ONLY:
            addresses = []
        elif mode is None:
            mode = Mode.PREFER_SERVER if addresses else Mode.DEVICE_ONLY
        elif not addresses:
            raise LinkError(f"mode '{mode}' needs a server", hint="say where it listens, as 'host:port'")
        check_one_server(bundle.manifest, bundle.manifest.plan(plan), len(addresses))
        if addresses:
            check_trust(security, insecure)
        self.bundle, self.security, self.threads, self.timeout_s = bundle, security, threads, timeout_s
        self.limits, self.mode = limits or Limits(), mode
        self.plans = AdaptivePlans(bundle, plan, mode, bool(addresses), threads, slowdown)
        if not self.plans.hops:
            addresses = []
        self.answering = Answering(mode, bundle.manifest.floor, hedge, stale_s)
        self.answering.check(self.plans.depths, self.plans.local is not None)
        self.rules = FrameRules(self.plans, self.answering, addresses, self._soon)
        if pin:
            self.rules.adapting.switching.pin(self.rules.adapting.switching.chosen, monotonic())
        self._lock = Lock()
        self._loop: LentLoop | None = None
        self._finishing: ThreadPoolExecutor | None = None
        self._keeping: list[asyncio.Task[None]] = []
        self._last: Row | None = None
        self.unreachable: LinkError | None = None
        """Why no server could be reached when it was opened; None: one was, or none is needed."""

    # Life ------------------------------------------------------------------------------------------------------------

    def open(self) -> Self:
        """Join the servers; `with` does it as well. Without a server it goes on where the device can answer.

        Raises:
            LinkError: nobody is there and the device cannot do without, somebody else answers, a certificate is not
                trusted, or the server refuses.
        """
        if self._loop is not None:
            return self
        self._loop, self._finishing = LentLoop(), ThreadPoolExecutor(1, "splitimpera-device")
        try:
            self.unreachable = self._loop.wait(self._join())
        except BaseException:
            self.close()
            raise
        if self.unreachable is not None and not self.plans.can_finish and self.plans.early is None:
            self.close()
            raise self.unreachable
        return self

    async def _join(self) -> LinkError | None:
        """Open every way, and keep it; returns why none is open."""
        if self.rules.servers is None:
            return None
        token = (self.security.token if self.security is not None else None) or ""
        hello = Hello(bytes.fromhex(self.bundle.manifest.bundle), token=token.encode())
        for server in self.rules.servers.all:
            patience_s = server.breaker.rules.probe_s
            self.rules.ways[server.address] = Way(
                server, self.plans.hops, hello, self.security, self.limits, self._lock, patience_s, self.plans.window_s
            )
        ways = list(self.rules.ways.values())
        failures = await asyncio.gather(*(way.open_first() for way in ways), return_exceptions=True)
        for failure in failures:
            if failure is not None and not isinstance(failure, UnreachableError):
                raise failure
        self._keeping = [asyncio.create_task(way.keep()) for way in ways]
        reached = any(failure is None for failure in failures)
        return None if reached else next(each for each in failures if isinstance(each, LinkError))

    def close(self) -> None:
        """Leave the servers; frames that wait for an answer get what there is."""
        if self._loop is None:
            return
        with contextlib.suppress(LinkError, TimeoutError):
            self._loop.wait(asyncio.wait_for(self._leave(), GRACE_S))
        if self._finishing is not None:
            self._finishing.shutdown()
        self._loop.close()
        self._loop = self._finishing = None
        self.rules.ways.clear()

    async def _leave(self) -> None:
        for task in self._keeping:
            task.cancel()
        await asyncio.gather(*self._keeping, *(way.close() for way in self.rules.ways.values()), return_exceptions=True)
        await asyncio.sleep(0)  # what was closed says so

    def _soon(self, work: Callable[[], object]) -> None:
        if self._loop is not None:
            self._loop.call(work)

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *failure: object) -> None:
        self.close()

    @property
    def plan(self) -> PlanEntry:
        """The one that is chosen now."""
        return self.plans.entry(self.rules.adapting.switching.chosen)

    @property
    def hop(self) -> HopEntry | None:
        """Of a plan that is sent by: the chosen one, where it is; None: nothing is ever sent."""
        return (
            self.plans.hop(self.plan.id) or next(iter(self.plans.hops), None)
            if self.rules.servers is not None
            else None
        )

    @property
    def deadline_s(self) -> float:
        """What frames have as deadline where none is asked for."""
        return inf

    @property
    def responding(self) -> Responding:
        """What responses are held to."""
        return self.plans.responding

    @property
    def round_trip_s(self) -> float:
        """The smallest round trip seen; infinite before the first."""
        return min((way.round_trip_s for way in self.rules.ways.values()), default=inf)

    # Frames ----------------------------------------------------------------------------------------------------------

    def infer(self, x: Array | Sequence[Array], deadline_s: float | None = None) -> Inference:
        """Run one frame, and wait for what comes of it; as `submit`."""
        return self.submit(x, deadline_s).result()

    async def infer_async(self, x: Array | Sequence[Array], deadline_s: float | None = None) -> Inference:
        """`infer`, for event loops; the layers run in a thread."""
        return await asyncio.wrap_future(await asyncio.to_thread(self.submit, x, deadline_s))

    def submit(
        self, x: Array | Sequence[Array], deadline_s: float | None = None, *, since_s: float | None = None
    ) -> Future[Inference]:
        """Begin a frame; what comes of it is in the future, at the deadline at the latest.

        Args:
            x: The input as `input_preparation.prepared` has it.
            deadline_s: When the answer has to be there; None: there is no deadline.
            since_s: When the deadline began to count, by `time.monotonic`; None: now.

        Raises:
            DataError: this is no input of the network.
        """
        self.open()
        begun_s = monotonic()
        tensors = prepared(x, self.bundle.manifest.input)
        since_s = begun_s if since_s is None else since_s
        coded = None if self.plans.early is None else self.plans.head(self.plans.early, tensors)
        if coded is not None and coded.payload is None:
            with self._lock:
                self._last = coded.result
                return self.rules.alone(coded, begun_s, monotonic(), self.bundle.manifest)
        with self._lock:
            until_s = inf if deadline_s is None else since_s + deadline_s
            frame = self.rules.begin(tensors, begun_s if coded is None else monotonic(), until_s)
        frame.begun_s = begun_s
        frame.coded, frame.stand_in = coded, self.plans.stand_in(coded)
        assert self._loop is not None
        assert self._finishing is not None
        if frame.answer.sends:
            assert frame.plan is not None
            frame.coded = frame.coded or self.plans.head(frame.plan, tensors)
            self._loop.call(self._send, frame)
            if frame.answer.computes:
                self._finishing.submit(self._compute, frame)
        elif frame.answer.computes:
            self._compute(frame)
        self._settle(frame)
        return frame.found

    # In the loop, and in the thread beside ----------------------------------------------------------------------------

    def _send(self, frame: AdaptiveFrame) -> None:
        """Send a frame; in the loop."""
        hop, lane, coded = self.plans.hop(frame.plan), frame.lane, frame.coded
        assert hop is not None
        assert lane is not None
        assert coded is not None
        assert coded.payload is not None
        now_s = monotonic()
        if frame.deadline_s == inf:
            left_s = inf if carrier_of(hop) == "tcp" else hop.deadline_s or 1 / self.plans.entry(frame.plan).fps
            give_up_s = now_s + self.timeout_s
        else:
            left_s, give_up_s = frame.deadline_s - now_s, frame.deadline_s + GRACE_S
        try:
            if hop.depth < self.bundle.manifest.floor:
                raise PlanError(f"'{frame.plan}' sends after {hop.depth} layers, beneath the privacy floor")
            if lane.connection is None:
                raise LinkError("the session is closed")
            lane.watched.trial = frame.choice.trial
            lane.connection.send(
                frame.number, coded.payload, left_s, give_up_s, lambda told: self._told(frame, told), hop.number
            )
            with self._lock:
                pings = self.rules.adapting.ping_due(monotonic())
            if pings:
                lane.connection.session.ping()
        except SplitImperaError as failure:
            self._missed(frame, failure.problem)
            self._settle(frame)
            return
        self._watch(frame)

    def _watch(self, frame: AdaptiveFrame) -> None:
        """Call again when time alone decides something."""
        wake_s = frame.answer.wake_s
        if wake_s < inf:
            asyncio.get_running_loop().call_at(wake_s, self._passed, frame)

    def _passed(self, frame: AdaptiveFrame) -> None:
        to_begin_s = frame.answer.wake_s
        with self._lock:
            begins = frame.answer.passed(monotonic())
        if begins:
            self._finish(frame, to_begin_s)
        self._settle(frame)
        if not frame.found.done():
            self._watch(frame)

    def _told(self, frame: AdaptiveFrame, exchange: Exchange) -> None:
        """Take what became of a frame that was sent; in the loop."""
        frame.exchange = exchange
        response, now_s = exchange.response, monotonic()
        if response is not None and response.status is Status.OK:
            try:
                frame.of_server = read_response(self.plans.responding, response.tensors)
            except LinkError as failure:
                self._missed(frame, failure.problem)
            else:
                with self._lock:
                    self._succeeded(frame, now_s)
                    frame.answer.server_answered(exchange.response_s or now_s)
        elif response is None:
            self._missed(frame, "no answer came")
        else:
            self._missed(
                frame,
                f"the server answers '{response.status.name.lower()}'",
                response.status,
                response.retry_s,
            )
        self._settle(frame)

    def _succeeded(self, frame: AdaptiveFrame, now_s: float) -> None:
        if frame.way is not None and frame.attempt is not None:
            frame.way.server.succeeded(frame.attempt, now_s)

    def _missed(self, frame: AdaptiveFrame, reason: str, status: Status | None = None, wait_s: float = 0.0) -> None:
        """The server has no answer to a frame; in the loop."""
        now_s, way = monotonic(), frame.way
        with self._lock:
            away = status in (None, Status.BUSY, Status.STOPPING, Status.UNREACHABLE) or wait_s > 0
            if away and way is not None and frame.attempt is not None:
                was = way.server.breaker.circuit
                way.server.failed(frame.attempt, now_s, reason, wait_s)
                if status is None and was is Circuit.CLOSED and way.server.breaker.circuit is Circuit.OPEN:
                    asyncio.get_running_loop().call_soon(way.reset)
            else:
                self._succeeded(frame, now_s)  # it is there, and has said so
            begins = frame.answer.server_failed(now_s)
        if begins:
            self._finish(frame)

    def _finish(self, frame: AdaptiveFrame, to_begin_s: float | None = None) -> None:
        assert self._finishing is not None
        with contextlib.suppress(RuntimeError):  # it is being closed
            self._finishing.submit(self._compute, frame, to_begin_s)

    def _compute(self, frame: AdaptiveFrame, to_begin_s: float | None = None) -> None:
        """Finish a frame on the device; `to_begin_s`: when it was to begin at the latest, where nobody answered."""
        begun_s = monotonic()
        try:
            frame.of_device = self.plans.finished(
                frame.plan if frame.answer.sends else None, frame.tensors, frame.coded
            )
        except Exception as failure:
            tell(log, logging.ERROR, "the device failed", frame=frame.number, failure=str(failure))
            with self._lock:
                frame.answer.device_failed(monotonic())
        else:
            answered_s = monotonic()
            frame.computed_s = answered_s - begun_s
            with self._lock:
                frame.answer.device_answered(answered_s)
                if to_begin_s is not None:
                    self.plans.late.add(begun_s - to_begin_s)
        self._settle(frame)

    def _settle(self, frame: AdaptiveFrame) -> None:
        """Hand out what became of a frame, once it is known."""
        with self._lock:
            if frame.settled or frame.answer.answered_by is None:
                return
            frame.settled = True
            result = frame.result(self._last)
            if result is not None:
                self._last = result
        frame.found.set_result(frame.inference(self.bundle.manifest, result))
