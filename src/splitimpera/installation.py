"""What is installed here and how it does: versions, extras, cores, clock, caches, accelerators."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, Literal

from splitimpera.core.extras import EXTRAS
from splitimpera.core.units import format_bytes, format_time
from splitimpera.core.version import __version__

State = Literal["ok", "note", "missing"]

PACKAGES = {"cv2": "opencv-python-headless", "sklearn": "scikit-learn", "yaml": "pyyaml"}
"""What a library is called where it is installed from, if not as it is imported."""
USES = {
    "design": "design, study, policy, export, profile, saliency, simulate, report, compare and verify need it",
    "ans": "codecs with +rans and +rans-packets need it",
    "fec": "codecs with +fec need it",
    "language": "language models of transformers need it",
    "text": "tokenizers other than bytes need it",
    "video": "cameras and video files as the input of infer need it",
    "ray": "studies on a Ray cluster need it",
}
"""What each extra is for; `docs/install.md` has them all."""
SLEEP_S = 1e-3
LATE_S = 1e-3
"""A machine that wakes so much too late paces frames badly."""
LITTLE_BYTES = 1 << 30
"""Less than this on the disk of the cache is soon full."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What it is.
        state: "ok"; "note": it works, with something to know; "missing": something needs it and does not have it.
        found: What was found.
        advice: What to do, or what it means; empty where nothing is.
    """

    name: str
    state: State
    found: str
    advice: str = ""

    def plain(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def checks() -> Iterator[Check]:
    """Look at everything, one thing after the other; nothing is changed, and nothing asked from the network."""
    yield Check("splitimpera", "ok", f"{__version__}, Python {platform.python_version()}, {platform.platform()}")
    yield _cores()
    yield _clock()
    yield _engine()
    for extra in dict.fromkeys(EXTRAS.values()):
        yield _extra(extra)
    if _there("torch"):
        yield _torch()
    if all(map(_there, ("filelock", "platformdirs"))):
        yield _cache()
    if _there("numba"):
        yield _kernels()


def _cores() -> Check:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        memory = f", {format_bytes(os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE'))} of memory"
    except (AttributeError, OSError, ValueError):
        memory = ""
    return Check("machine", "ok", f"{count} {'core' if count == 1 else 'cores'} for this process{memory}")


def _clock() -> Check:
    """How late this machine wakes from a short sleep, the median of a few."""
    late_s = []
    for _ in range(20):
        begun_s = time.perf_counter()
        time.sleep(SLEEP_S)
        late_s.append(time.perf_counter() - begun_s - SLEEP_S)
    usual_s = max(median(late_s), 0.0)
    found = f"wakes {format_time(usual_s)} late from a sleep of {format_time(SLEEP_S)}"
    if usual_s < LATE_S:
        return Check("clock", "ok", found)
    return Check("clock", "note", found, "frames cannot be paced well here, and measured times will spread")


def _engine() -> Check:
    try:
        import onnxruntime
    except ImportError as failure:
        return Check("ONNX Runtime", "missing", str(failure), "serve and infer need it: pip install onnxruntime")
    runs_on = ", ".join(name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers())
    return Check("ONNX Runtime", "ok", f"{onnxruntime.__version__} ({runs_on})")


def _extra(extra: str) -> Check:
    libraries = [library for library, brings in EXTRAS.items() if brings == extra]
    lacking = [PACKAGES.get(library, library) for library in libraries if not _there(library)]
    if not lacking:
        found = ", ".join(f"{PACKAGES.get(library, library)} {_version(library)}" for library in libraries)
        return Check(f"[{extra}]", "ok", found)
    advice = f"{USES[extra]}: pip install 'split-et-impera[{extra}]'"
    return Check(f"[{extra}]", "missing", f"without {', '.join(lacking)}", advice)


def _torch() -> Check:
    try:
        import torch
    except Exception as failure:  # a broken installation may raise anything
        return Check("PyTorch", "missing", f"{type(failure).__name__}: {failure}", "install it anew")
    found = f"{torch.__version__}, {torch.get_num_threads()} threads"
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return Check("accelerator", "ok", f"{found}, cuda: {', '.join(names)}")
    if torch.backends.mps.is_available():
        return Check("accelerator", "ok", f"{found}, mps")
    return Check("accelerator", "ok", f"{found}, none: everything is computed on the processor")


def _cache() -> Check:
    from splitimpera.core.cache import VARIABLE, cache_folder
    from splitimpera.core.errors import OutputError
    from splitimpera.core.files import check_writable

    folder = cache_folder()
    try:
        check_writable(folder, VARIABLE)
    except OutputError as failure:
        advice = f"what is trained and timed is made anew each time; let {VARIABLE} name a folder that can be written"
        return Check("cache", "note", f"{folder}: {failure.problem}", advice)
    taken = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
    free = shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.exists())).free
    found = f"{folder}: {format_bytes(taken)}, {format_bytes(free)} free"
    return (
        Check("cache", "ok", found) if free > LITTLE_BYTES else Check("cache", "note", found, "the disk is nearly full")
    )


def _kernels() -> Check:
    from splitimpera.net.kernels.compiling import cache_folder, is_kept

    try:
        folder: Path = cache_folder()
    except OSError as failure:
        advice = "each start compiles it anew; let NUMBA_CACHE_DIR name a folder that can be written"
        return Check("simulator", "note", str(failure), advice)
    if is_kept("run_tcp"):
        return Check("simulator", "ok", f"compiled, in {folder}")
    return Check("simulator", "note", "not compiled yet", "the first simulation takes some 20 s longer")


def _there(library: str) -> bool:
    return sys.modules.get(library, False) is not None and find_spec(library) is not None


def _version(library: str) -> str:
    try:
        return version(PACKAGES.get(library, library))
    except PackageNotFoundError:
        return "of unknown version"
