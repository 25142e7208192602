"""How fast are studies? 10 000 plans of the digits VGG-16 over 50 links, the same on Ray, and the journal by itself.

Run: `.venv/bin/python benchmarks/study_speed.py`, with nothing beside it; `--only plans links ray journal` runs some.
What tasks that only sleep take on 1 to 8 workers is `ray_overhead.py`'s.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import splitimpera as sei
from splitimpera.core.progress import Track
from splitimpera.scenario.study_section import Study, load_study
from splitimpera.studies.journal import Journal
from splitimpera.studies.maps import Map, Pool

STUDY = """
name: speed
scenario:
  network: {{model: digits-vgg16}}
  data: {{source: digits}}
  devices: [{{name: camera, preset: raspberry-pi-4}}, {{name: server, preset: t4}}]
  links: [{{rate: 10 Mbit/s, delay: 5 ms}}]
  workload: {{fps: 20, frames: 1000}}
  plans: {{cuts: all, codecs: {codecs}, transports: [tcp, udp]}}
  requirements: [accuracy >= 90 %, latency_p95 <= 50 ms]
ranges:
  links[0].rate: {{log: [1 Mbit/s, 100 Mbit/s], count: {rates}}}
  links[0].loss: [0 %, 0.5 %, 1 %, 2 %, 5 %]
"""
CODECS = '[float32, uint8, "uint8:channel", "uint4:channel", "uint8+rans"]'
RECORDS, BODY_BYTES = 1_000_000, 1000


def made(folder: Path, rates: int, codecs: str = CODECS) -> Study:
    path = folder / f"speed{rates}.yaml"
    path.write_text(STUDY.format(rates=rates, codecs=codecs))
    return load_study(path)


def timed(study: Study, out: Path, using: Map) -> tuple[float, dict[str, float], int]:
    """Seconds in all, of each stage, and how many plans there were."""
    stages: dict[str, float] = {}

    def track(steps, said, total):  # type: ignore[no-untyped-def]
        begun_s = time.monotonic()
        yield from steps
        stages[said] = time.monotonic() - begun_s

    begun_s = time.monotonic()
    shown: Track[object] = track
    found = sei.study(study, out, using=using, track=shown)
    taken_s = time.monotonic() - begun_s
    assert all(cell.state == "done" for cell in found.cells)
    return taken_s, stages, sum(cell.row.plans for cell in found.cells if cell.row)


def peak_bytes() -> int:
    """The most that this process took, and two of its workers."""
    own, workers = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return 1024 * (own + 2 * workers)


def plans(folder: Path) -> None:
    taken_s, stages, count = timed(made(folder, 10), folder / "plans", Pool(2))
    print(
        f"{count} plans in 50 cells, two processes: {taken_s:.0f} s (limit 300), {peak_bytes() / 1e9:.2f} GB (limit 2)"
    )
    print("  " + ", ".join(f"{said}: {seconds:.1f} s" for said, seconds in stages.items()))


def links(folder: Path) -> None:
    found = []
    for rates in (2, 5, 10):
        _, stages, count = timed(made(folder, rates), folder / f"links{rates}", Pool(2))
        found.append((5 * rates, stages["Evaluating the cells"], stages["Learning what frames carry"], count))
    for cells, replay_s, learn_s, count in found:
        each_ms = 1e3 * replay_s / cells
        print(f"{cells} links, {count} plans: learned in {learn_s:.1f} s, ", end="")
        print(f"replayed in {replay_s:.1f} s, {each_ms:.0f} ms a link")


def on_ray(folder: Path) -> None:
    from splitimpera.studies.ray_map import Ray

    study = made(folder, 3)
    ray = Ray(workers=2)
    begun_s = time.monotonic()
    with ray.joined():
        started_s = time.monotonic() - begun_s
        for turn in range(2):
            pool_s, *_ = timed(study, folder / f"pool{turn}", Pool(2))
            ray_s, *_ = timed(study, folder / f"ray{turn}", ray)
            print(f"pool {pool_s:.1f} s, Ray {ray_s:.1f} s: {ray_s / pool_s:.2f} (limit 1.15); ", end="")
            print(f"its start {started_s:.1f} s")


def journal(folder: Path) -> None:
    path, body = folder / "journal", {"text": "x" * (BODY_BYTES - 12)}
    begun_s = time.monotonic()
    with Journal(path, "study", "speed", write=True) as written:
        for record in range(RECORDS):
            written.add(f"record-{record}", body)
    written_s = time.monotonic() - begun_s
    begun_s = time.monotonic()
    found = Journal(path, "study", "speed")
    opened_s = time.monotonic() - begun_s
    assert len(found) == RECORDS
    size = path.stat().st_size / RECORDS
    print(f"{RECORDS} records of {size:.0f} bytes: {RECORDS / written_s:.0f} a second written (limit 20000), ", end="")
    print(f"opened and checked in {opened_s:.1f} s (limit 10)")


PARTS: dict[str, Callable[[Path], None]] = {"plans": plans, "links": links, "ray": on_ray, "journal": journal}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=[*PARTS])
    chosen = parser.parse_args().only
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen:
            PARTS[name](Path(folder))


if __name__ == "__main__":
    main()
