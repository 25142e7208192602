"""How near the simulated TCP and UDP are to this machine's kernel, over an emulated link (see docs/validation.md).

    python benchmarks/linux_link.py [--frames 100] [--seeds 1] [--only tcp] [--response 72] [--markdown FILE]

Frames go at a fixed rate from one network namespace to another over relay.c, which drops packets and says which. The
simulator is given the same link and the same dropped packets. A run in which the relay or the sender was late is made
again, at most twice; what is still late is left out and named. With `--response` the receiver answers each frame over
TCP with so many bytes, its buffer being the system's own, as deployed programs do. Needs root and a C compiler; ends
with 1 where a limit is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from frame_ends import NUMBERS
from namespaces import RelayReport, Wire, hindrance, joined
from network_truth import KEYS, Report, Run, best_replay, case_of, distance, name_of, near, simulate, trusted

from splitimpera.net.udp import UdpLink, payload_bytes
from splitimpera.records.link import Link
from splitimpera.records.traffic import Workload

ENDS = str(Path(__file__).with_name("frame_ends.py"))
PORT = 9009
TRIES = 3
LOSSES = (0.0, 0.01, 0.05)


@dataclass(frozen=True)
class Case:
    rate_bps: float
    delay_s: float
    size_bytes: int
    fps: float


GRID = (
    Case(10e6, 0.030, 8192, 5),
    Case(20e6, 0.020, 25088, 10),
    Case(50e6, 0.010, 25088, 10),
    Case(100e6, 0.005, 100352, 5),
    Case(100e6, 0.001, 150528, 20),
)
SMALL = Case(20e6, 0.005, 2090, 20)
"""With responses, besides: two packets a frame, the second of which nothing follows."""


def measure(case: Case, loss: float, protocol: str, frames: int, seed: int, response: int) -> Run:
    """One run, as `reference/network/linux_tcp.json` has it; `came` besides, over UDP."""
    run: Run = {}
    for _ in range(TRIES):
        # over TCP bare acknowledgements and the handshake get through, as in the recordings
        wire = Wire(case.rate_bps, case.delay_s, loss, seed, small_bytes=100 if protocol == "tcp" else 0)
        last = str(udp_room(case)) if protocol == "udp" else "cubic"
        with joined(wire) as ends:
            numbers = [PORT, case.size_bytes, case.fps, frames, last, response]
            words = [sys.executable, "-E", "-S", ENDS]
            rest = [protocol, ends.far.address, *map(str, numbers)]
            limit_s = frames / case.fps + 120
            with subprocess.Popen(
                ends.far.command([*words, "receive", *rest], core=0), stdout=subprocess.PIPE, text=True
            ) as receiver:
                assert receiver.stdout
                receiver.stdout.readline()
                sent = subprocess.run(
                    ends.near.command([*words, "send", *rest], core=1),
                    stdout=subprocess.PIPE,
                    text=True,
                    timeout=limit_s,
                    check=True,
                )
                received = json.loads(receiver.communicate(timeout=limit_s)[0])
        run = as_recorded(case, loss, frames, seed, json.loads(sent.stdout), received, ends.report)
        run["response"] = response
        if trusted([run]):
            break
    return run


def as_recorded(case: Case, loss: float, frames: int, seed: int, sent: Any, received: Any, relay: RelayReport) -> Run:
    due = np.array(sent["due"])
    run: Run = {"rate": case.rate_bps, "delay": case.delay_s, "N": case.size_bytes, "fps": case.fps, "loss": loss}
    run |= {"cc": "cubic", "F": frames, "seed": seed, "repeat": 0, "dropped": list(relay.dropped)}
    run |= {"relay_late_max_us": relay.late_max_us, "send_late_max_us": sent["send_late_max_us"]}
    run |= {"relay_late_p99_us": relay.up.late_p99_us, "real_time": relay.real_time, "packets": relay.up.packets}
    if "came" in received:
        packets = -(-case.size_bytes // udp_room(case))
        at = np.full((frames, packets), np.nan)
        for frame, place, time_s in received["came"]:
            at[frame, place] = time_s
        return run | {"done": frames, "came": (at - due[:, None]) * 1e3}
    done = np.array(received["done"])
    return run | {"done": len(done), "lat": ((done - due[: len(done)]) * 1e3).tolist()}


def udp_link(case: Case, loss: float, drops: list[int] | None) -> Link:
    link = Link(rate_bps=case.rate_bps, delay_s=case.delay_s, loss=loss, app_header_bytes=NUMBERS.size)
    return link if drops is None else replace(link, loss=0.0, drops=tuple(drops))


def udp_room(case: Case) -> int:
    return payload_bytes(udp_link(case, 0.0, None), 1)


def compare_udp(case: Case, run: Run) -> tuple[float | None, str, int]:
    """Distance of whole frames' latencies, their medians in ms, and in how many frames other packets were lost."""
    workload = Workload(case.fps, run["F"], 1e3, case.size_bytes)
    sent = UdpLink(udp_link(case, 0.0, run["dropped"]), np.random.default_rng(1)).transfer(workload.all_frames())
    missing = np.isnan(run["came"])
    whole = ~missing.any(1)
    other = int((missing.sum(1) != sent.lost_packets).sum())
    both = whole & (sent.lost_packets == 0)
    if not both.any():
        return None, "none is whole", other
    recorded = run["came"][both].max(1)
    simulated = ((sent.complete_s - workload.due_s()) * 1e3)[both]
    return distance(recorded, simulated), f"{np.median(recorded):.3f} / {np.median(simulated):.3f}", other


def main(frames: int, seeds: int, only: str | None, response: int) -> Report:
    out = Report()
    out.say(f"Load when it began: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, Linux {os.uname().release}.")
    out.say()
    tcp_rows, udp_rows, left_out, lates, real_time = [], [], [], [], True
    lossless, distances, shares, udp_distances, udp_other = [], [], [], [], 0
    for protocol in ("tcp", "udp"):
        grid = (SMALL, *GRID) if response else GRID
        for case in grid if only in (None, protocol) else ():
            for loss in LOSSES:
                for seed in range(1, 2 if loss == 0 else seeds + 1):
                    run = measure(case, loss, protocol, frames, seed, response if protocol == "tcp" else 0)
                    name = f"{protocol} {name_of(tuple(run[key] for key in KEYS)).removeprefix('cubic ')}"
                    print(f"{name}: relay late {run['relay_late_p99_us']:.0f} us at p99", file=sys.stderr)
                    lates.append(run["relay_late_p99_us"])
                    real_time &= run["real_time"]
                    if not trusted([run]):
                        left_out.append(
                            f"{name}: relay {run['relay_late_max_us']:.0f} us, sender {run['send_late_max_us']:.0f} us "
                            f"late, {run['done']} of {run['F']} frames"
                        )
                        continue
                    if protocol == "udp":
                        whole_apart, medians, other = compare_udp(case, run)
                        udp_distances += [] if whole_apart is None else [whole_apart]
                        udp_other += other
                        told = "" if whole_apart is None else f"{whole_apart:.3f}"
                        udp_rows.append([name, str(len(run["dropped"])), medians, told, str(other)])
                        continue
                    lat = np.array(run["lat"][1:])
                    if loss == 0:
                        simulated_ms = simulate(case_of(run), [], 1, response)[1]
                        gap = abs(float(np.median(simulated_ms) - np.median(lat)))
                        lossless.append(min(gap / 0.15, gap / (0.03 * float(np.median(lat)))))
                        apart, share = distance(lat, simulated_ms), float(near(lat, simulated_ms).mean())
                    else:
                        found = best_replay(run)
                        simulated_ms = simulate(case_of(run), run["dropped"], seed, response)[1]
                        apart, share = found.distance, found.same
                        distances.append(apart)
                        shares.append(share)
                    quantiles = [f"{np.quantile(lat, q):.2f} / {np.quantile(simulated_ms, q):.2f}" for q in (0.5, 0.95)]
                    tcp_rows.append([name, str(len(run["dropped"])), *quantiles, f"{apart:.3f}", f"{share:.0%}"])
    out.table(["case", "dropped", "p50 ms", "p95 ms", "distance", "frames as measured"], tcp_rows)
    out.table(["case", "dropped", "p50 ms of whole frames", "distance", "frames with other losses"], udp_rows)
    out.say("| what | value | limit | |")
    out.say("| --- | --- | --- | --- |")
    out.limit("relay: lateness at p99, worst run, us", max(lates), 200)
    if lossless:
        out.limit("TCP, lossless: worst p50, in units of 3 % or 0.15 ms", max(lossless), 1)
    if distances:
        out.limit("TCP, same drops: median distance", float(np.median(distances)), 0.06)
        out.limit("TCP, same drops: distance of 90 % of the runs", float(np.quantile(distances, 0.9)), 0.15)
        out.limit("TCP, same drops: median share of frames as measured", float(np.median(shares)), 0.7, least=True)
    if udp_distances:
        out.limit("UDP: worst distance", max(udp_distances), 0.05)
        out.limit("UDP: frames with other losses", udp_other, 0)
    out.say()
    out.say(f"The relay {'had' if real_time else 'did not have'} real-time priority. Left out: {len(left_out)}.")
    for line in left_out:
        out.say(f"- {line}")
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=1, help="runs of each lossy case")
    parser.add_argument("--only", choices=("tcp", "udp"))
    parser.add_argument("--response", type=int, default=0, help="bytes that answer each frame over TCP")
    parser.add_argument("--markdown", type=Path, help="write the tables here too")
    given = parser.parse_args()
    reason = hindrance()
    if reason is not None:
        print(f"skipped: {reason}")
        sys.exit(0)
    found = main(given.frames, given.seeds, given.only, given.response)
    if given.markdown:
        given.markdown.write_text("\n".join(found.lines) + "\n")
    sys.exit(0 if found.holds else 1)
