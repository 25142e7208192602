"""A small design, and logs as two programs would have written them: drawn from the timeline of one of its plans."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import torch

import splitimpera as sei
from splitimpera.cost.profiles import fingerprint
from splitimpera.deploy.frame_log import FrameLine, RunLine, line_of
from splitimpera.models.networks import load_network
from splitimpera.records.measurements import CodingTime, Measurements, SegmentTime
from splitimpera.report import read
from splitimpera.report.writing import save
from splitimpera.scenario import load_scenario
from splitimpera.verification.predicted import predict

NETWORK = """
import torch
from torch import nn

def network():
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(100, 3)
    return nn.Sequential(*layers).eval()

def data():
    x = torch.randn(300, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        y = network()(x).argmax(1)
    y[::10] = (y[::10] + 1) % 3  # the network is wrong on some
    return x, y
"""
SCENARIO = """
name: gate
network: {model: "mine.py:network"}
data: {source: "mine.py:data", validation: 40 %, test: 30 %}
devices: [{name: camera}, {name: server}]
links: [{name: radio, rate: 5 Mbit/s, delay: 2 ms, loss: 2 %, mtu: 300 B, framing: sei}]
workload: {fps: 20, response: 64 B}
plans: {cuts: [1], codecs: [uint8, float32], transports: [tcp, udp]}
requirements: [accuracy >= 60 %, latency_p95 <= 1 s, fps >= 20]
"""
CODECS = ("uint8", "float32", "png")
BUNDLE = "5e" * 32


def spread(median_s, seed, count=40):
    """Times as a quiet machine takes them."""
    turns = np.random.default_rng(seed).lognormal(0, 0.05, count)
    return tuple((median_s * turns / np.median(turns)).tolist())


def times(graph):
    """7 ms on the camera in front of the cut and 2 ms behind it, 9 ms for all; coding takes 0.2 ms."""
    segments = [(0, 1, 0.007), (1, 3, 0.002), (0, 3, 0.009), (0, 0, 1e-5)]
    codings = [(way, cut, codec) for way in ("encode", "decode") for cut in (0, 1) for codec in CODECS]
    return Measurements(
        "here",
        fingerprint(graph),
        1,
        tuple(SegmentTime(*ends, 0.0, 0.0, 1, spread(s, place)) for place, (*ends, s) in enumerate(segments)),
        tuple(CodingTime(*key, 0.0, 252, spread(2e-4, 10 + place)) for place, key in enumerate(codings)),
        20.0,
    )


def designed(scenario=SCENARIO, files=None):
    """The results folder of a design, its times injected.

    Args:
        files: content of further files in it, by name.
    """
    folder = Path(mkdtemp(prefix="verification-"))
    for name, content in {"mine.py": NETWORK, "scenario.yaml": scenario, **(files or {})}.items():
        (folder / name).write_text(content)
    asked = load_scenario(folder / "scenario.yaml")
    graph = sei.trace(load_network(asked.network, asked.folder), torch.zeros(2, 1, 16, 16))
    save(sei.design(asked, measurements=times(graph), explore=False), folder)
    return folder


@cache
def gate():
    """The design that most tests share."""
    return designed()


SPLIT_TCP, SPLIT_UDP, LOCAL, RAW = "SC1-uint8-tcp", "SC1-uint8-udp", "LC", "RC-uint8-tcp"


def run_line(plan, **changes):
    """The first line of a log of the gate."""
    carrier = "none" if plan == "LC" else plan.rpartition("-")[2]
    given = {
        **{"bundle": BUNDLE, "plan": plan, "made_by": "splitimpera 0", "machine": "here", "engine": "torch"},
        **{"threads": 1, "carrier": carrier, "transport": plan.rpartition("-")[2] if plan != "LC" else "none"},
        **{"secure": {"tcp": "tls", "udp": "dtls"}.get(carrier, "none"), "source": "samples", "fps": 20.0},
        **{"deadline_s": 0.05, "begun": "2026-11-20T10:00:00Z", "round_trip_s": 0.0043},
    }
    return RunLine(**given | changes)


def frame_lines(folder, plan, frames=601, seed=1, add=None, wrong=0.1):
    """What a log says of so many frames, drawn from the design's timeline with randomness of their own.

    Args:
        add: seconds by which a part takes longer than was predicted, by its key: a number, or one a frame.
        wrong: share of samples that get a wrong answer.
    """
    results = read(folder)
    entry = results.by_id[plan]
    # another seed: another day on the same link and machines
    other = results.model_copy(update={"seed": 1000 + seed})
    mean = entry.metrics["payload_bytes"]
    found = predict(folder, other, entry, frames + 1, np.array([mean]))
    parts = {key: values[0].copy() for key, values in found.parts_s.items()}
    for key, more_s in (add or {}).items():
        parts[key] = parts[key] + more_s
    lines = []
    for frame in range(frames):
        due_s = frame / 20
        begun_s = due_s + parts["device_wait"][frame]
        label = frame % 90 % 3
        told = {
            "frame": frame,
            "sample": frame % 90,
            "due_s": due_s,
            "begun_s": begun_s,
            "head_s": parts["device"][frame],
            "label": label,
            "predicted": (label + 1) % 3 if frame % 90 < wrong * 90 else label,
        }
        if not entry.hops:
            done_s = begun_s + told["head_s"] + parts["rest"][frame]
            lines.append(FrameLine(**told, outcome="ok", response_s=done_s))
            continue
        ready_s = begun_s + told["head_s"] + parts["encode"][frame]
        packets = int(found.packets[0, frame]) or 3
        told |= {"encode_s": parts["encode"][frame], "sent_s": ready_s + 1e-4, "payload_bytes": round(mean)}
        told |= {"packets": packets}
        if not np.isfinite(found.latency_s[0, frame]):
            lines.append(FrameLine(**told | {"predicted": None}, outcome="lost"))
            continue
        # the first packet takes some of the way; the rest comes after it
        assembled_s = max(0.0, parts["up"][frame] - 0.0025)
        inside_s = sum(parts[key][frame] for key in ("server_wait", "decode", "server", "rest"))
        lost = int(found.lost[0, frame])
        lines.append(
            FrameLine(
                **told,
                outcome="ok",
                response_s=ready_s + parts["link"][frame] + inside_s,
                lost_packets=lost if plan.endswith("udp") else None,
                missing_bytes=lost * 252 if plan.endswith("udp") else None,
                assembled_s=assembled_s,
                queued_s=parts["server_wait"][frame],
                decode_s=parts["decode"][frame],
                run_s=parts["server"][frame],
                server_s=assembled_s + inside_s,
                batch=1,
            )
        )
    return lines


def write_log(path, lines, **changes):
    """A log of these frames; `changes`: of its first line, its plan among them."""
    plan = changes.pop("plan", SPLIT_TCP)
    path.write_text(line_of(run_line(plan, **changes)) + "".join(map(line_of, lines)))
    return path


def logged(path, plan=SPLIT_TCP, frames=601, seed=1, add=None, **changes):
    """A log of the gate."""
    return write_log(path, frame_lines(gate(), plan, frames, seed, add), plan=plan, **changes)
