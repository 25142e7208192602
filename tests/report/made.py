"""Results without a run: made-up evaluations, matched as a design matches them."""

from __future__ import annotations

import io
from base64 import b64encode
from dataclasses import replace
from math import nan

import numpy as np
from PIL import Image

from splitimpera import __version__
from splitimpera.designs import Accuracy
from splitimpera.qos.recommendation import recommend
from splitimpera.records.device import Device
from splitimpera.records.link import Link
from splitimpera.records.outcome import Evaluation
from splitimpera.records.plan import Hop, Plan
from splitimpera.records.requirement import parse_requirement
from splitimpera.report.building import SHARES, decision_entry, plan_entry, requirement_entry
from splitimpera.report.reading import checked
from splitimpera.report.schema import SCHEMA_VERSION

LAYERS = [
    {"index": 1, "name": "stem", "operation": "conv2d", "macs": 20_000, "parameters": 80, "bytes": 2048},
    {"index": 2, "name": "block.conv", "operation": "conv2d", "macs": 40_000, "parameters": 584, "bytes": 2048},
    {"index": 3, "name": "block.add", "operation": "add", "macs": 0, "parameters": 0, "bytes": 2048},
    {"index": 4, "name": "pool", "operation": "max_pool2d", "macs": 0, "parameters": 0, "bytes": 512},
    {"index": 5, "name": "head", "operation": "linear", "macs": 320, "parameters": 330, "bytes": 40},
]
CAMERA, SERVER = Device("camera"), Device("server")
RADIO = Link("radio")


def evaluation(
    name="SC3-uint8-udp",
    *,
    accuracy=0.95,
    p95_s=0.05,
    fps=30.0,
    size=1000.0,
    cut=3,
    stable=True,
    intervals=(),
    quality_ci=None,
    **more,
):
    """One plan. All frames take `p95_s`; LC has no hop."""
    _, codec, transport, *_ = [*name.split("-"), "", ""]
    plan = Plan(name, (CAMERA,)) if name == "LC" else Plan(name, (CAMERA, SERVER), (Hop(cut, codec, transport, RADIO),))
    time_s = 0.0 if np.isnan(p95_s) else p95_s
    parts = {"camera: queue": 0.0, "camera: network": time_s / 2}
    if plan.hops:
        parts |= {"camera: encode": time_s / 10, "radio": time_s / 5, "server: decode": 0.001, "server: network": 0.002}
    return Evaluation(
        plan,
        quality=accuracy,
        quality_ci=quality_ci or (max(0.0, accuracy - 0.02), min(1.0, accuracy + 0.02)),
        latency_s=np.full((2, 4), p95_s),
        parts_s=parts,
        payload_bytes=size if plan.hops else 0.0,
        fps=fps,
        stable=stable,
        cut_depth=cut if plan.hops else 5,
        utilisation={"camera": 0.5, "radio": 0.8} if plan.hops else {"camera": 0.9},
        busiest_stage="radio" if plan.hops else "camera",
        device_p50_s={device.name: 0.002 for device in plan.devices},
        device_p95_s={device.name: 0.0031 for device in plan.devices},
        intervals=dict(intervals),
        **more,
    )


def random_evaluations(rng, count, energy=False):
    """Coarse values, so that ties and values on a limit are common; some endless, unknown, unstable or impossible."""
    found = []
    for place in range(count):
        kind = rng.choice(["LC", "RC", "SC"]) if place else "LC"
        name = "LC" if kind == "LC" and place == 0 else f"{'RC' if kind == 'RC' else 'SC'}{place}-uint8-udp"
        p95_s = float(rng.choice([0.01, 0.02, 0.03, 0.04, 0.0401, 0.1, 7.0]))
        accuracy = float(rng.choice([0.5, 0.8, 0.9, 0.91, 0.95, 1.0]))
        one = evaluation(
            name,
            accuracy=accuracy,
            p95_s=p95_s,
            fps=float(rng.choice([5.0, 20.0, 25.0, 100.0])),
            size=float(rng.choice([100.0, 1000.0, 1024.5])),
            cut=0 if kind == "RC" else int(rng.integers(1, 5)),
            stable=bool(rng.random() < 0.8),
            cannot_run=("the weights do not fit into camera's memory",) if rng.random() < 0.1 else (),
            energy_j=float(rng.choice([0.001, 0.002, 0.01])) if energy else None,
            memory_bytes=(int(rng.integers(1, 4)) * 100_000, 1_000_000),
            on_time_quality=accuracy if rng.random() < 0.5 else 0.5,
            lost_packet_rate=float(rng.choice([0.0, 0.03])),
        )
        if rng.random() < 0.1:
            one = replace(one, latency_s=np.full((2, 4), np.nan))  # no frame is answered
        elif rng.random() < 0.3:
            one = replace(one, latency_s=p95_s * rng.uniform(0.9, 1.1, (2, 4)))
        if rng.random() < 0.5:
            one = with_answers(one, rng.random((1 if rng.random() < 0.5 else 2, 20)) < accuracy)
        found.append(replace(one, intervals=_intervals(rng, one.metrics())))
    return found


def with_answers(evaluation, right):
    """The evaluation with what each sample contributes, (replications, samples)."""
    counts = np.stack([right, np.ones_like(right)], axis=2).astype(float)
    return replace(
        evaluation,
        quality=float(right.mean()),
        contributions=counts,
        on_time_contributions=counts,
        summarise=_share_right,
    )


def _share_right(total):
    return total[..., 0] / total[..., 1]


def _intervals(rng, metrics):
    return {
        name: (value * float(rng.choice([0.9, 0.99, 1.0])), value * float(rng.choice([1.0, 1.01, 1.2])))
        for name, value in metrics.items()
        if name not in ("payload_bytes", "cut_depth", "device_memory")
    }


CHOICES = {
    "accuracy": ["accuracy >= 50 %", "accuracy >= 90 %", "accuracy >= 0.91", "accuracy >= 1"],
    "latency_p95": ["latency_p95 <= 40 ms", "latency_p95 <= 20 ms", "latency_p95 <= 1 s", "latency_p95 <= 5 ms"],
    "fps": ["fps >= 20", "fps >= 30"],
    "payload_bytes": ["payload_bytes <= 1000 B", "payload_bytes <= 150 B"],
    "energy": ["energy <= 2 mJ"],
    "device_memory": ["device_memory <= 200 kB"],
    "cut_depth": ["cut_depth >= 1", "cut_depth >= 3"],
    "on_time_accuracy": ["on_time_accuracy >= 80 %"],
    "lost_packet_rate": ["lost_packet_rate <= 1 %"],
}


def random_requirements(rng):
    """One to five on different metrics, soft ones among them."""
    metrics = rng.choice(list(CHOICES), size=int(rng.integers(1, 6)), replace=False)
    weights = [None, None, 0.5, 2.0]
    return [
        parse_requirement(str(rng.choice(CHOICES[metric])), weights[int(rng.integers(len(weights)))])
        for metric in metrics
    ]


def made_results(evaluations, requirements, objective="balanced", **changes):
    """Results for a network of five layers."""
    return checked(made_values(evaluations, requirements, objective, **changes))


def made_values(evaluations, requirements, objective="balanced", **changes):
    """What `results.json` would hold of them."""
    wanted = [parse_requirement(r) if isinstance(r, str) else r for r in requirements]
    decision = recommend(evaluations, wanted, objective)
    names = ["input", *(layer["name"] for layer in LAYERS)]
    chosen = decision.chosen
    return {
        "schema_version": SCHEMA_VERSION,
        "splitimpera_version": __version__,
        "scenario": {
            "name": "made",
            "seed": 0,
            "network": {"model": "mine.py:network"},
            "data": {"source": "digits"},
            "devices": [{"name": "camera", "slowdown": 40.0}, {"name": "server", "slowdown": 1.0}],
            "links": [{"rate": 3e5, "delay": 0.02, "loss": 0.03, "mtu": 127, "name": "radio"}],
            "workload": {"fps": 20.0, "frames": 1000, "deadline": None},
        },
        "links": [{"name": "radio", "rate": 3e5, "delay": 0.02, "loss": 0.03, "mtu": 127}],
        "seed": 0,
        "replications": 2,
        "quality": evaluations[0].quality_metric,
        "requirements": [requirement_entry(requirement).model_dump() for requirement in wanted],
        "samples": {"train": 100, "validation": 50, "test": 60},
        "measurements": {
            "machine": "here",
            "fingerprint": "",
            "threads": 1,
            "segments": [],
            "codings": [],
            "fps": 0.0,
            "values_threads": 0,
            "waited": 0.0,
            "runs": [],
        },
        "base_quality": 0.97,
        "base_quality_ci": [0.95, 0.99],
        "layers": LAYERS,
        "uncosted": [],
        "presets": [{"device": "camera", "preset": "cortex-m4", "error": -0.41}],
        "cuts": [
            {
                "index": index,
                "name": name,
                "shapes": [[8, 8, 8]],
                "bytes": 2048 if index < 4 else 512,
                "macs_head": sum(layer["macs"] for layer in LAYERS[:index]),
                "macs_tail": sum(layer["macs"] for layer in LAYERS[index:]),
                "parameters_head": 0,
                "parameters_tail": 0,
                "single": True,
                "block": True,
                "cs": {1: 0.01, 2: 0.1, 3: 0.05, 4: 0.5}.get(index),
            }
            for index, name in enumerate(names)
        ],
        "candidates": [{"cut": 2, "name": "block.conv", "reasons": ["local maximum of CS"]}],
        "curve": {
            "cuts": [1, 2, 3, 4],
            "on_curve": [True] * 4,
            "samples": 50,
            "per_class": {"cat": [0.01, 0.2, 0.05, 0.5], "dog": [0.01, 0.05, None, 0.5]},
        },
        "latency_shares": list(SHARES),
        "plans": [plan_entry(verdict).model_dump() for verdict in decision.verdicts],
        "loss_curves": [],
        "recommendation": decision_entry(
            decision, on_test=Accuracy(chosen.evaluation.quality, chosen.evaluation.quality_ci) if chosen else None
        ).model_dump(),
        "sensitivity": [],
        "capacity": None,
        "shown": None,
        "exit_curves": [],
        "token_curves": [],
    } | changes


SENSITIVITY = {
    "parameter": "rate",
    "unit": "bit/s",
    "now": 3e5,
    "values": [1e5, 3e5, 1e6],
    "plans": [None, "SC3-uint8-udp", "LC"],
    "flips": [
        {"value": 2e5, "before": None, "after": "SC3-uint8-udp"},
        {"value": 5e5, "before": "SC3-uint8-udp", "after": "LC"},
    ],
    "text": "Rate (now 300 kbit/s): up to 200 kbit/s nothing fits, beyond it something does.",
}


def shown(classes=("cat", "dog"), size=(16, 16)):
    """Two samples of random pixels, as `results.json` holds them."""

    def image(seed):
        file = io.BytesIO()
        pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file, "PNG" if seed % 2 else "JPEG")
        return b64encode(file.getvalue()).decode()

    views = ["input", "expected", "network", "plan", "plan_lossy"]
    return {
        "plan": "SC3-uint8-udp",
        "loss": 0.03,
        "note": "Small boxes are left out.",
        "classes": [{"name": name, "colour": f"#E69F0{place}"} for place, name in enumerate(classes)],
        "samples": [
            {"place": place, "missing": 0.0625, "images": {view: image(place + i) for i, view in enumerate(views)}}
            for place in (0, 59)
        ],
    }


def errors_and_latencies():
    """Four plans of a network that predicts numbers: their root mean squared errors are far above 1."""
    made = []
    for name, error, p95_s in (("SC3-uint8-udp", 12.5, 0.05), ("SC4-uint8-tcp", 11.0, 0.07), ("RC-png-tcp", 10.0, 0.3)):
        more = {"quality_metric": "rmse", "quality_ci": (0.9 * error, 1.1 * error)}
        ends = {"rmse": (0.9 * error, 1.1 * error)}
        made.append(
            evaluation(name, accuracy=error, p95_s=p95_s, cut=0 if name[0] == "R" else 3, intervals=ends, **more)
        )
    slow = evaluation("RC-uint8-udp", accuracy=nan, p95_s=0.4, cut=0, quality_metric="rmse", on_time_quality=nan)
    return [*made, slow]


def four_plans():
    """A fast one that is often wrong, two good ones, one that is right but slow, one unstable."""
    ends = {"accuracy": (0.93, 0.97)}
    return [
        evaluation("SC3-uint8-udp", accuracy=0.95, p95_s=0.05, intervals=ends),
        evaluation("SC4-uint8-tcp", accuracy=0.96, p95_s=0.07, cut=4, size=512.0, intervals={"accuracy": (0.89, 0.98)}),
        evaluation("RC-uint8-udp", accuracy=0.85, p95_s=0.02, cut=0),
        evaluation("RC-png-tcp", accuracy=0.99, p95_s=0.3, cut=0, size=4000.0),
        evaluation("LC", accuracy=0.97, p95_s=9.0, fps=5.0, stable=False),
    ]


CHAIN = ["camera", "gateway", "server"]


def hop(cut, link, codec="uint8"):
    return {"cut": cut, "codec": codec, "bottleneck": 0.0, "transport": "udp", "link": link}


def chain_values(count=3, cuts=(0, 3)):
    """Results whose recommended plan runs on a chain of devices, as many as wanted."""
    values = made_values(four_plans(), ["accuracy >= 90 %", "latency_p95 <= 60 ms", "fps >= 20"])
    names = CHAIN if count == 3 else [f"device {place}" for place in range(count)]
    values["scenario"]["devices"] = [{"name": name, "count": 1 + 7 * (not place)} for place, name in enumerate(names)]
    values["links"] = [
        {"name": f"link {place}", "rate": 1e6, "delay": 0.005, "loss": 0.02} for place in range(count - 1)
    ]
    for plan in values["plans"]:
        plan["devices"] = names
        plan["hops"] = [hop(cut, f"link {place}") for place, cut in enumerate(cuts)]
    return values
