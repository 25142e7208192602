"""ns-3 as another engine for the same links: a second opinion on TCP and UDP, where its package is installed.

ns-3 (https://www.nsnam.org) is a discrete-event simulator in C++ with its own TCP: CUBIC or Linux' Reno, SACK, PRR,
delayed acknowledgements, but neither RACK nor tail loss probes, so that its tails under loss are longer than those of
the Linux kernel. Its package from PyPI is used through cppyy, which compiles `ns3_driver.h` when the engine is first
used. That takes some three seconds a process.

Frames, packets and what counts as complete are those of `tcp.py` and `udp.py`. The connection is established before the
first frame and stays; an idle one keeps its window. Packets of a frame are those whose first byte belongs to it.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np

from splitimpera.core.array_types import FloatArray
from splitimpera.core.errors import SimulationError, UnknownNameError
from splitimpera.core.registry import nearest
from splitimpera.net.budget import check_work
from splitimpera.net.stability import keeps_up
from splitimpera.net.udp import patience_s, payload_bytes
from splitimpera.records.link import Link
from splitimpera.records.traffic import ByteRange, Deliveries, Frames

INSTALL = "pip install 'split-et-impera[ns3]'"
CONGESTION = {"tcp": "ns3::TcpCubic", "tcp-cubic": "ns3::TcpCubic", "tcp-reno": "ns3::TcpLinuxReno", "udp": ""}
PPP_HEADER_BYTES = 2
IP_TCP_HEADER_BYTES = 52
LONGEST_S = 8e6  # picoseconds in 64 bits end a little later
PATIENCE_S = 3600.0
WORKER = Path(__file__).with_name("ns3_worker.py")


def available() -> bool:
    """Whether ns-3 is installed; it is looked for, not imported."""
    return _home() is not None


def _home() -> Path | None:
    """The folder of ns-3's package: it has no `__init__.py`, so that any folder of that name would answer to it."""
    spec = find_spec("ns3")
    if spec is None or find_spec("cppyy") is None:
        return None
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    return next((folder for folder in folders if (folder / "include" / "ns3" / "core-module.h").is_file()), None)


class Ns3Link:
    """TCP or UDP over a link that ns-3 simulates; a `Transport`.

    Rates are rounded to whole bits a second, times to picoseconds.

    Args:
        rng: gives the seed of each simulation.
        transport: "udp", "tcp-cubic", "tcp-reno", or "tcp", which is "tcp-cubic".

    Raises:
        UnknownNameError: there is no such transport.
        SimulationError: the link has what ns-3 cannot simulate here, or ns-3 is not installed.
    """

    def __init__(self, link: Link, rng: np.random.Generator, transport: str = "tcp") -> None:
        if transport not in CONGESTION:
            raise UnknownNameError(f"no transport is called '{transport}'", hint=nearest(transport, CONGESTION))
        _check_link(link)
        if not available():
            raise SimulationError("the engine ns-3 is not installed", hint=INSTALL)
        self.link = link
        self.rng = rng
        self.transport = transport

    def transfer(self, frames: Frames) -> Deliveries:
        """Simulate all frames, which queue for the link in their order.

        Raises:
            SimulationError: the MTU leaves no room for data, ns-3 cannot simulate these frames, or it failed.
        """
        udp = self.transport == "udp"
        payload = (
            payload_bytes(self.link, frames.element_bytes) if udp else payload_bytes(self.link, 1, IP_TCP_HEADER_BYTES)
        )
        _check_frames(frames)
        header = self.link.link_header_bytes + self.link.mtu_bytes - payload
        if len(frames.size_bytes):
            check_work(self.link, frames, frames.size_bytes, payload, header)
        origin = float(frames.ready_s[0]) if len(frames.ready_s) else 0.0
        ready = np.maximum.accumulate(frames.ready_s - origin)
        waits_s = patience_s(self.link, frames)
        answer = _ask(self._request(frames, ready, waits_s, payload))
        times = {name: np.array(answer[name], dtype=float) for name in ("sent_s", "first_s", "complete_s")}
        sent, first, complete = (np.where(time < 0, np.nan, time + origin) for time in times.values())
        packets, lost, again, wire = (
            np.array(answer[name], dtype=np.int64) for name in ("packets", "lost", "again", "wire_bytes")
        )
        # datagrams only wait for the link; a stream also for its window and for what is sent again
        busy_until = sent + wire * 8 / self.link.rate_bps if udp else complete
        arrived = np.ones(len(ready), dtype=bool)
        erased: tuple[tuple[ByteRange, ...], ...] = ((),) * len(ready)
        if udp:
            with_gaps = np.where(np.isnan(first), frames.deadline_s, first + waits_s)
            complete = np.where(lost > 0, with_gaps, complete)
            missing: list[list[int]] = [[] for _ in ready]
            for frame, packet in zip(answer["missing_frame"], answer["missing_packet"], strict=True):
                if lost[frame]:  # one that is late counts as missing only where the deadline is waited for
                    missing[frame].append(packet)
            arrived = np.array([len(gone) < n for gone, n in zip(missing, packets, strict=True)], dtype=bool)
            first = np.where(arrived, first, np.nan)
            sizes = frames.size_bytes.tolist()
            erased = tuple(_ranges(gone, payload, size) for gone, size in zip(missing, sizes, strict=True))
        return Deliveries(
            sent_s=sent,
            complete_s=complete,
            packets=packets,
            lost_packets=lost,
            retransmissions=again,
            wire_bytes=wire,
            erased=erased,
            arrived=arrived,
            first_s=first,
            response_s=np.full(len(ready), np.nan),
            stable=keeps_up(ready, busy_until - origin),
        )

    def _request(self, frames: Frames, ready: FloatArray, waits_s: FloatArray, payload: int) -> dict[str, Any]:
        """The fields of `Setup` in the driver."""
        link = self.link
        seed, run = self.rng.integers(1, 2**31, 2).tolist()
        after_arrived = after_lost = link.loss
        if link.loss_burst is not None:
            after_arrived = link.loss / (1 - link.loss) / link.loss_burst
            after_lost = 1 - 1 / link.loss_burst
        end = float(ready[-1]) if len(ready) else 0.0
        horizon = end + PATIENCE_S + 1000 * link.delay_s + 100 * 8 * float(frames.size_bytes.sum()) / link.rate_bps
        return {
            "congestion": CONGESTION[self.transport],
            "rate_bps": round(link.rate_bps),
            "downlink_rate_bps": round(link.rate_bps if link.downlink_rate_bps is None else link.downlink_rate_bps),
            "delay_s": float(link.delay_s),
            "lost_after_arrived": float(after_arrived),
            "lost_after_lost": float(after_lost),
            "downlink_loss": float(link.downlink_loss),
            "mtu_bytes": link.mtu_bytes,
            "payload_bytes": payload,
            "app_header_bytes": link.app_header_bytes,
            "seed": seed,
            "run": run,
            "horizon_s": min(horizon, LONGEST_S),
            "ready_s": ready.tolist(),
            "patience_s": waits_s.tolist(),
            "size_bytes": frames.size_bytes.tolist(),
        }


def _refuse(where: str, what: str) -> None:
    raise SimulationError(f"ns-3 cannot simulate {what} here", where=where, hint="use the native engine")


def _check_link(link: Link) -> None:
    if link.jitter_s > 0:
        _refuse("jitter_s", "jitter")
    if link.trace is not None:
        _refuse("trace", "a link that changes with time")
    if link.drops is not None:
        _refuse("drops", "given drops")
    if link.stream_record_bytes:
        _refuse("stream_record_bytes", "TLS")
    if link.queue_bytes is not None:
        _refuse("queue_bytes", "a queue with a limit")
    if link.queue_packets is not None:
        _refuse("queue_packets", "a queue with a limit")
    if link.downlink_delay_s not in (None, link.delay_s):
        _refuse("downlink_delay_s", "another delay on the downlink")
    if link.link_header_bytes != PPP_HEADER_BYTES:
        _refuse("link_header_bytes", f"{link.link_header_bytes} bytes of link header, its own has {PPP_HEADER_BYTES},")


def _check_frames(frames: Frames) -> None:
    if frames.sender is not None and len(np.unique(frames.sender)) > 1:
        _refuse("senders", "several senders")
    if frames.response_bytes:
        _refuse("response_bytes", "answers")
    if len(frames.ready_s) and float(np.ptp(frames.ready_s)) > LONGEST_S / 2:
        _refuse("ready_s", f"more than {LONGEST_S / 2:.0f} s")


def _ranges(missing: list[int], payload: int, size: int) -> tuple[ByteRange, ...]:
    """The bytes that the missing packets of one frame carried, neighbours joined."""
    ranges: list[ByteRange] = []
    for packet in missing:
        start, end = packet * payload, min((packet + 1) * payload, size)
        if ranges and ranges[-1][1] == start:
            start = ranges.pop()[0]
        ranges.append((start, end))
    return tuple(ranges)


class _Worker:
    """The process in which ns-3 lives: its state is global, and where it fails it ends the process."""

    def __init__(self, home: Path) -> None:
        self.owner = os.getpid()
        self.log = TemporaryFile()  # noqa: SIM115 (closed in `close`)
        self.process = subprocess.Popen(
            # without its own folder on the path, where a module is called ns3 too
            [sys.executable, "-P", str(WORKER), str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            start_new_session=True,  # the keyboard's interrupt is for us; we end it and its forks
        )
        atexit.register(self.close)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.log.seek(0, os.SEEK_END)
        start = self.log.tell()
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = b""
        except BaseException:
            self.close()
            raise
        answer: dict[str, Any] = json.loads(line) if line else {"error": "its process ended"}
        if "error" in answer:
            self.log.seek(start)
            said = " ".join(self.log.read().decode(errors="replace").split())[-500:]
            if not line:
                self.close()
            raise SimulationError(f"ns-3 failed: {answer['error']}" + (f" ({said})" if said else ""))
        return answer

    def close(self) -> None:
        """End the process, also while it works; not from a fork of the one that started it."""
        atexit.unregister(self.close)
        if self.owner != os.getpid():
            return
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()
        self.log.close()


_LOCK = threading.Lock()
_WORKERS: dict[int, _Worker] = {}  # by process, since a fork must not write into the pipes of its parent


def _ask(request: dict[str, Any]) -> dict[str, Any]:
    """Simulate one request, in a worker that is kept for the next one."""
    home = _home()
    if home is None:
        raise SimulationError("the engine ns-3 is not installed", hint=INSTALL)
    with _LOCK:
        worker = _WORKERS.get(os.getpid())
        if worker is None or worker.process.poll() is not None:
            if worker is not None:
                worker.close()
            worker = _WORKERS[os.getpid()] = _Worker(home)
        return worker.ask(request)
