"""What does the runtime cost? Frames over loopback, less what layers and codecs take, against limits and bare loops.

    python benchmarks/runtime_overhead.py [--carriers tls dtls tcp udp] [--sizes 10000 100000 1000000] [--frames 300]
        [--fps 50] [--no-grpc] [--no-cold-start] [--soak MINUTES] [--realtime] [--awake] [--json FILE] [--markdown FILE]

The server is a process of its own. Overhead is what `Client.infer` takes, by the clock of its caller, less head,
encode, decode and run as the two sides report them: what is left is framing, encryption and the system's sockets.
The same frames go at a camera's rate, with idle time between, and back to back. In turn with them go frames through a
bare loop of blocking calls over the same carrier, and at 64 kB calls of gRPC (where grpcio is installed), so that all
see the same state of the machine.

A virtual machine whose cores have nothing to do gives them back, and waits for them when a frame comes. `--awake` keeps
them: a program on each core turns in a circle where no other wants to run.

`--soak` puts 64 clients with 20 frames of 4 kB a second each on one server, for so many minutes by each carrier.
Exit code 1 where a limit is missed. On a shared machine p95 and p99 belong to whoever else is running.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, sleep

import numpy as np
from bare_loops import Exchange, bare_loop, grpc_call
from many_clients import MB, Soaked, soak
from runtime_rig import CARRIERS, Carrier, Percentiles, answered, client_security, make_bundle, serve, started

from splitimpera.core.array_types import Array, FloatArray
from splitimpera.deploy.client import Client, Inference
from splitimpera.deploy.keys import make_keys

SIZES = (10_000, 100_000, 1_000_000)
LIMITS_S = {
    "tls": dict(zip(SIZES, (0.5e-3, 1e-3, 4e-3), strict=True)),
    "dtls": dict(zip(SIZES, (0.7e-3, 3e-3, 25e-3), strict=True)),
}
AGAINST_GRPC_BYTES = 1 << 16
OF_GRPC = 0.5
RATE_BPS = 1e10
ROUND = 25
"""Frames of one kind before the others have their turn."""
WARM_UP = 20
TIMEOUT_S = 2.0
CLIENTS, CLIENT_FPS, CLIENT_BYTES = 64, 20.0, 4096
SOAK_P99_S, SOAK_BYTES = 25e-3, 5 * MB
COLD_START_S, COLD_STARTS = 2.0, 5
TURNING = "import os; os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\nwhile True: pass"
DIGITS_BYTES, DIGITS_WEIGHTS = 4096, 1 << 18
"""A payload and a head as large as those of the digits network."""


@dataclass(frozen=True)
class Row:
    """A figure and its limit; None: it has none.

    Attributes:
        unit: "ms", "MB" or "frames".
        about: What else is to be said of it.
    """

    what: str
    measured: float
    unit: str
    limit: float | None = None
    about: str = ""

    @property
    def verdict(self) -> str:
        if self.limit is None:
            return ""
        return "holds" if self.measured <= self.limit else "missed"

    def cells(self) -> list[str]:
        limit = "" if self.limit is None else f"{self.limit:.3g} {self.unit}"
        return [self.what, f"{self.measured:.3g} {self.unit}", limit, self.verdict, self.about]


class Infers:
    """Frames through the runtime; counts those that did not come whole."""

    def __init__(self, client: Client, x: Array) -> None:
        self.client, self.x = client, x
        self.lost = self.torn = 0

    def __call__(self) -> float:
        begun_s = perf_counter()
        found = self.client.infer(self.x, timeout_s=TIMEOUT_S)
        return self._overhead_s(found, perf_counter() - begun_s)

    def _overhead_s(self, found: Inference, took_s: float) -> float:
        response = found.response
        if response is None or found.result is None:
            self.lost += 1
            return float("nan")
        if response.missing_bytes:
            self.torn += 1
            return float("nan")
        return took_s - found.head_s - found.encode_s - response.decode_s - response.run_s


def in_turn(callers: Mapping[str, Exchange], frames: int, fps: float | None) -> dict[str, FloatArray]:
    """Frames of each caller, some at a time; at a rate, or back to back."""
    found: dict[str, list[float]] = {name: [] for name in callers}
    for call in callers.values():
        for _ in range(WARM_UP):
            call()
    for _ in range(-(-frames // ROUND)):
        for name, call in callers.items():
            due_s = perf_counter()
            for _ in range(ROUND):
                if fps is not None:
                    due_s += 1 / fps
                    sleep(max(0.0, due_s - perf_counter()))
                found[name].append(call())
    return {name: np.array(seconds) for name, seconds in found.items()}


@contextmanager
def awake() -> Iterator[None]:
    """Cores that are never without work; Linux."""
    turning = [
        subprocess.Popen(["taskset", "-c", str(core), sys.executable, "-c", TURNING])
        for core in sorted(os.sched_getaffinity(0))
    ]
    try:
        yield
    finally:
        for one in turning:
            one.kill()
            one.wait()


@contextmanager
def runtime(folder: Path, carrier: Carrier, size: int, keys: Path) -> Iterator[Infers]:
    """A client of a server in a process of its own."""
    bundle = make_bundle(folder / f"{carrier.name}-{size}", size, carrier.transport, RATE_BPS)
    x = np.random.default_rng(0).random(size // 4, np.float32)
    with started(serve, bundle.path, keys if carrier.secure else None) as (_, answer):
        address = answered(answer)
        security = client_security(keys) if carrier.secure else None
        with Client(bundle, tuple(address), security=security, insecure=security is None) as client:
            yield Infers(client, x)


def overhead(folder: Path, keys: Path, carrier: Carrier, size: int, frames: int, fps: float) -> Iterator[Row]:
    """Rows of one size over one carrier."""
    payload = np.random.default_rng(0).bytes(size)
    limit_s = LIMITS_S.get(carrier.name, {}).get(size)
    with ExitStack() as stack:
        ours = stack.enter_context(runtime(folder, carrier, size, keys))
        bare = stack.enter_context(bare_loop(carrier, payload, keys))
        for pace, rate in ((f"{fps:g} frames/s", fps), ("back to back", None)):
            found = in_turn({"ours": ours, "bare": bare}, frames, rate)
            here, loop = Percentiles.of(found["ours"]), Percentiles.of(found["bare"])
            about = f"p50 / p95 / p99 {here} ms; a bare loop {loop} ms"
            yield Row(
                f"overhead, {carrier.name}, {size // 1000} kB, {pace}: p50",
                1e3 * here.p50_s,
                "ms",
                None if limit_s is None else 1e3 * limit_s,
                about,
            )
        if carrier.transport == "udp":
            yield Row(f"torn or lost, {carrier.name}, {size // 1000} kB", ours.torn + ours.lost, "frames", 0)


def against_grpc(folder: Path, keys: Path, frames: int, fps: float) -> Iterator[Row]:
    """Our overhead beside a call of gRPC, both over TLS; nothing where there is no gRPC."""
    if find_spec("grpc") is None:
        print("gRPC was not measured: grpcio is not installed")
        return
    payload = np.random.default_rng(0).bytes(AGAINST_GRPC_BYTES)
    with ExitStack() as stack:
        ours = stack.enter_context(runtime(folder, CARRIERS["tls"], AGAINST_GRPC_BYTES, keys))
        call = stack.enter_context(grpc_call(payload, keys))
        for pace, rate in ((f"{fps:g} frames/s", fps), ("back to back", None)):
            found = in_turn({"ours": ours, "gRPC": call}, frames, rate)
            here, there = Percentiles.of(found["ours"]), Percentiles.of(found["gRPC"])
            yield Row(
                f"overhead, tls, 64 KiB, {pace}: p50, at most half of gRPC's",
                1e3 * here.p50_s,
                "ms",
                1e3 * OF_GRPC * there.p50_s,
                f"p50 / p95 / p99 {here} ms; gRPC {there} ms",
            )


def cold_start(folder: Path, keys: Path) -> Iterator[Row]:
    """From starting `splitimpera infer` to its end after one frame: no less than to its first response."""
    bundle = make_bundle(folder / "digits", DIGITS_BYTES, "tcp", RATE_BPS, DIGITS_WEIGHTS)
    x = np.random.default_rng(0).random((1, *bundle.manifest.input.tensors[0].shape), np.float32)
    np.save(folder / "x.npy", x)
    with started(serve, bundle.path, keys) as (_, answer):
        host, port = answered(answer)
        command = [sys.executable, "-m", "splitimpera", "infer", str(bundle.path), "--server", f"{host}:{port}"]
        command += ["--input", str(folder / "x.npy"), "--frames", "1", "--keys", str(keys)]
        taken = []
        for _ in range(COLD_STARTS):
            begun_s = perf_counter()
            ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            taken.append(perf_counter() - begun_s)
            if ended.returncode:
                raise RuntimeError(f"infer ended with {ended.returncode}: {ended.stderr[-500:] or ended.stdout[-500:]}")
    median, most = float(np.median(taken)), max(taken)
    yield Row(
        "cold start of infer, to its end after one frame: median",
        1e3 * median,
        "ms",
        1e3 * COLD_START_S,
        f"at most {most:.2f} s",
    )


def soaks(folder: Path, keys: Path, carriers: list[Carrier], minutes: float) -> Iterator[Row]:
    """Rows of many clients on one server."""
    for carrier in carriers:
        found = soak(folder / f"soak-{carrier.name}", carrier, keys, CLIENTS, CLIENT_FPS, CLIENT_BYTES, 60 * minutes)
        yield from _soaked(f"{CLIENTS} clients, {carrier.name}", found)


def _soaked(who: str, found: Soaked) -> Iterator[Row]:
    times = Percentiles.of(found.latency_s)
    how = ", ".join(f"{count} {what}" for what, count in found.lost.items())
    yield Row(f"{who}: lost", found.lost.total(), "frames", 0, f"of {found.frames}" + (f": {how}" if how else ""))
    about = f"p50 / p95 / p99 {times} ms; the server takes {100 * found.busy:.0f} % of a core"
    yield Row(f"{who}: p99", 1e3 * times.p99_s, "ms", 1e3 * SOAK_P99_S, about)
    resident = f"resident at the end {found.resident_bytes[-1] / MB:.1f} MB"
    growth = found.growth_bytes
    if np.isfinite(growth):
        yield Row(f"{who}: memory, from the second minute to the last", growth / MB, "MB", SOAK_BYTES / MB, resident)
    else:
        yield Row(f"{who}: memory", found.resident_bytes[-1] / MB, "MB", about="too short to tell of growth")


def table(rows: list[Row]) -> list[str]:
    head = ["what", "measured", "limit", "", ""]
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *(row.cells() for row in rows))]


def rows(options: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """All that was asked for."""
    keys, carriers = folder / "keys", [CARRIERS[name] for name in options.carriers]
    make_keys(keys)
    for carrier in carriers:
        for size in options.sizes:
            yield from overhead(folder, keys, carrier, size, options.frames, options.fps)
    if not options.no_grpc:
        yield from against_grpc(folder, keys, options.frames, options.fps)
    if not options.no_cold_start:
        yield from cold_start(folder, keys)
    if options.soak:
        yield from soaks(folder, keys, [carrier for carrier in carriers if carrier.secure], options.soak)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--carriers", nargs="*", choices=CARRIERS, default=list(CARRIERS))
    parser.add_argument("--sizes", nargs="*", type=int, default=list(SIZES), help="of payloads, multiples of 4 bytes")
    parser.add_argument("--frames", type=int, default=300, help="of each kind")
    parser.add_argument("--fps", type=float, default=50.0)
    parser.add_argument("--no-grpc", action="store_true")
    parser.add_argument("--no-cold-start", action="store_true")
    parser.add_argument("--soak", type=float, default=0.0, metavar="MINUTES", help="10 is what the limits are for")
    parser.add_argument("--realtime", action="store_true", help="go before all other processes; Linux, root")
    parser.add_argument("--awake", action="store_true", help="let no core fall idle; Linux")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--markdown", type=Path, help="write the table to this file, too")
    options = parser.parse_args()
    if options.realtime:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    found = []
    with TemporaryDirectory() as folder, awake() if options.awake else nullcontext():
        for row in rows(options, Path(folder)):
            found.append(row)
            print(" | ".join(row.cells()), flush=True)
    from splitimpera.cost.measuring import machine_name  # not before: it may bring PyTorch

    priority = "real-time priority" if options.realtime else "no priority"
    cores = ", cores kept awake" if options.awake else ""
    lines = [f"{machine_name()}, load {os.getloadavg()[0]:.1f}, {priority}{cores}.\n", *table(found)]
    print("\n" + "\n".join(lines))
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n")
    if options.json:
        described = [asdict(row) | {"verdict": row.verdict} for row in found]
        options.json.write_text(json.dumps(described, indent=2) + "\n")
    return int(any(row.verdict == "missed" for row in found))


if __name__ == "__main__":
    sys.exit(main())
