"""Bits per byte of the example's language model over UDP, by what stands where a packet with hidden states is lost.

    python benchmarks/language_losses.py [--losses 0.01 0.03 0.1] [--codecs NAME ...] [--cuts NAME ...]
        [--mtu "1500 B"] [--frames 1000] [--replications 1] [--markdown FILE]

Designs of the network of examples/language without `workload.tokens`: a frame is a window of 256 bytes that is read
once. Every frame is decoded with the gaps that the simulated link tears into it, and read by the layers behind.
"""

from __future__ import annotations

import argparse
import tempfile
from itertools import product
from pathlib import Path

import yaml

import splitimpera as sei

EXAMPLE = Path(__file__).parents[1] / "examples" / "language"
CONCEALMENTS = ("zero", "mean", "before")


def scenario(folder: Path, loss: float, mtu: str, cuts: list[str], codecs: list[str], frames: int) -> Path:
    """The file of a scenario in which every plan keeps up and windows are late by nothing but their losses."""
    content = {
        "name": "language-udp",
        "task": "language",
        "network": {"model": f"{EXAMPLE}/network.py:build"},
        "data": {"source": f"{EXAMPLE}/data.py:windows"},
        "devices": [{"name": "board", "preset": "raspberry-pi-4"}, {"name": "server", "preset": "laptop-cpu"}],
        "links": [{"name": "radio", "rate": "10 Mbit/s", "delay": "8 ms", "loss": loss, "mtu": mtu}],
        "workload": {"fps": 1, "frames": frames},
        "plans": {
            "cuts": cuts,
            "codecs": [f"{codec}+{fill}" for codec in codecs for fill in CONCEALMENTS],
            "transports": ["udp"],
        },
        "requirements": ["bits_per_byte <= 100"],
    }
    path = folder / "scenario.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--losses", nargs="+", type=float, default=[0.01, 0.03, 0.1])
    parser.add_argument("--mtu", default="1500 B", help="200 B: one token of uint8:token a packet")
    parser.add_argument("--cuts", nargs="+", default=["blocks.0", "blocks.2"], help="in the network's order")
    parser.add_argument("--codecs", nargs="+", default=["uint8:token"])
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--replications", type=int, default=1)
    parser.add_argument("--markdown", type=Path)
    given = parser.parse_args()
    lines = [
        "| loss | codec | behind | unsplit | " + " | ".join(f"`+{fill}`" for fill in CONCEALMENTS) + " |",
        "| ---: | --- | --- |" + " ---: |" * (1 + len(CONCEALMENTS)),
    ]
    print("\n".join(lines), flush=True)
    for loss in given.losses:
        with tempfile.TemporaryDirectory() as folder:
            path = scenario(Path(folder), loss, given.mtu, given.cuts, given.codecs, given.frames)
            found = sei.design(path, replications=given.replications, explore=False, every_accuracy=True)
        whole = next(one.quality for one in found.evaluations if not one.plan.hops)
        hops = {one.plan.hops[0]: one.quality for one in found.evaluations if one.plan.hops}
        by_hop = {(hop.cut, hop.codec): quality for hop, quality in hops.items()}
        cuts = sorted({hop.cut for hop in hops} - {0})
        for codec, (cut, name) in product(given.codecs, zip(cuts, given.cuts, strict=True)):
            values = " | ".join(f"{by_hop[cut, f'{codec}+{fill}']:.3f}" for fill in CONCEALMENTS)
            lines.append(f"| {100 * loss:g} % | `{codec}` | `{name}` | {whole:.3f} | {values} |")
            print(lines[-1], flush=True)
    if given.markdown:
        given.markdown.write_text("\n".join([*lines, ""]))


if __name__ == "__main__":
    main()
