"""Does the choice of plans do over real sockets what `adaptation.py` simulates? The same traces, plans and rules.

    python benchmarks/adaptation_sockets.py RUN BUNDLE [--seconds 60] [--runs 2] [--markdown FILE]

RUN is a design's folder with its `policy.json`, BUNDLE what `splitimpera export RUN --policy` wrote. Server and client
are the package's own, unencrypted, the link is `deploy.emulated_link`, all in one process. Every plan is run by itself,
then the policy, without the device's own answers; the simulation takes what device and server were measured to take
here. A frame is worth its plan's accuracy where its answer is on time. Exit status 1 where both differ beyond chance
(95 %, over blocks of frames).
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import inf
from pathlib import Path
from time import monotonic

import numpy as np
from adaptation import BLOCK_S, DELAY_S, Case, keep_case, load_case
from adaptation_ways import Ours, Static
from changing_link import MADE, QUEUE_BYTES, Frame, World, worths

from splitimpera.bundle.opened import Bundle, open_bundle
from splitimpera.codec.given import array_dtype
from splitimpera.core.array_types import FloatArray
from splitimpera.deploy.adaptive_client import AdaptiveClient
from splitimpera.deploy.answering import Mode
from splitimpera.deploy.emulated_link import ChangingLink, EmulatedLink
from splitimpera.deploy.server import Server
from splitimpera.net.udp import headers_bytes
from splitimpera.records.link import Trace

DRAWS = 1000
WARM_FRAMES = 50


@contextmanager
def serving(bundle: Bundle) -> Iterator[tuple[str, int]]:
    """A server in a thread; yields its address."""
    started, loops = threading.Event(), []
    found: list[tuple[Server, tuple[str, int]]] = []

    async def serve() -> None:
        async with Server(bundle) as server:
            found.append((server, await server.start("127.0.0.1", 0)))
            loops.append(asyncio.get_running_loop())
            started.set()
            await server.serve()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    started.wait(10)
    try:
        yield found[0][1]
    finally:
        loops[0].call_soon_threadsafe(found[0][0].stop_soon)
        thread.join()


def drive(client: AdaptiveClient, fps: float, deadline_s: float, count: int) -> list[Frame]:
    """Frames at a rate; what became of each."""
    entries = client.bundle.manifest.input.tensors
    x = [np.zeros(entry.shape, array_dtype(entry.spec)) for entry in entries]
    begun_s, found = monotonic(), []
    for number in range(count):
        due_s = begun_s + number / fps
        time.sleep(max(due_s - monotonic(), 0.0))
        found.append((due_s, client.submit(x, deadline_s, since_s=due_s)))
    frames = []
    for due_s, future in found:
        one = future.result(10)
        plan = None if one.answered is None else one.answered.sent_by
        ok = one.outcome == "ok" and one.response_s is not None
        frames.append(Frame(due_s, plan, one.response_s if ok and one.response_s is not None else inf))
    return frames


def measured(case: Case, bundle: Bundle, address: tuple[str, int]) -> Case:
    """The case with what device and server take here."""
    plans = {}
    for name, facts in case.plans.items():
        if not facts.frame_bytes:
            continue  # without the device's own answers
        with AdaptiveClient(bundle, [address], name, pin=True, mode=Mode.SERVER_ONLY, insecure=True) as client:
            frames = drive(client, case.fps, 1.0, WARM_FRAMES)
            took_s = float(np.median([frame.answered_s - frame.due_s for frame in frames]))
            head_s = client.plans.head_s(name)
        plans[name] = replace(facts, device_s=head_s, server_s=max(took_s - head_s, 1e-4))
    return replace(case, plans=plans)


def compared(
    case: Case, bundle: Bundle, address: tuple[str, int], trace: Trace, seconds: float, seed: int
) -> dict[str, FloatArray]:
    """Worths of each frame by strategy, simulated and over sockets, (2, frames)."""
    count = int(seconds * case.fps)
    found: dict[str, FloatArray] = {}
    start_s = float(np.random.default_rng([17, seed]).random() * trace.period_s)
    for name in [*case.plans, "policy"]:
        plan = name if name in case.plans else None
        way = ChangingLink(trace, np.random.default_rng(seed), delay_s=DELAY_S, queue_bytes=QUEUE_BYTES)
        how = {"pin": plan is not None, "mode": Mode.SERVER_ONLY, "stale_s": 0.0, "insecure": True}
        with (
            EmulatedLink(address, way, start_s) as relay,
            AdaptiveClient(bundle, [relay.address], plan, **how) as client,  # type: ignore[arg-type]
        ):
            begun_s = relay.trace_s % trace.period_s  # opening takes time
            real = drive(client, case.fps, case.deadline_s, count)
        link = case.link(trace, begun_s)
        ours = Ours(case.policy, case.plans, case.fps, case.deadline_s, headers_bytes(link))
        world = World(link, case.plans, case.fps, case.deadline_s, seed)
        simulated = world.run(ours if plan is None else Static(plan), count)
        found[name] = np.array([worths(each, case.plans, case.deadline_s) for each in (simulated, real)])
    return found


def interval(differences: FloatArray) -> tuple[float, float, float]:
    """Mean and 95 % interval, of means of blocks."""
    rng = np.random.default_rng(0)
    drawn = differences[rng.integers(len(differences), size=(DRAWS, len(differences)))].mean(1)
    low, high = np.percentile(drawn, (2.5, 97.5))
    return float(differences.mean()), float(low), float(high)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--traces", nargs="+", default=[made().name for made in MADE])
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    bundle = open_bundle(arguments.bundle)
    with tempfile.TemporaryDirectory() as folder:
        keep_case(arguments.run, Path(folder))
        case = load_case(Path(folder))
    lines = ["| trace | strategy | simulated | over sockets | difference | |", "|---|---|---:|---:|---:|---|"]
    differ = False
    with serving(bundle) as address:
        case = measured(case, bundle, address)
        block = int(BLOCK_S * case.fps)
        for trace in (made() for made in MADE if made().name in arguments.traces):
            runs = [compared(case, bundle, address, trace, arguments.seconds, seed) for seed in range(arguments.runs)]
            for name in runs[0]:
                worth = np.concatenate([run[name] for run in runs], axis=1)
                blocks = worth[:, : worth.shape[1] // block * block].reshape(2, -1, block).mean(2)
                mean, low, high = interval(blocks[1] - blocks[0])
                agree = low <= 0 <= high
                differ |= not agree
                simulated, real = 100 * worth.mean(1)
                told = f"{100 * mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
                lines.append(
                    f"| {trace.name} | {name} | {simulated:.1f} | {real:.1f} | {told} | {'' if agree else 'differ'} |"
                )
                print(lines[-1], flush=True)
    if arguments.markdown:
        arguments.markdown.write_text("\n".join(lines) + "\n")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
