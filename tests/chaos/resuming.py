"""Runs a design, is killed at random moments, goes on; prints what was found each time and what was computed twice.

As a program: FOLDER TIMES SEED. FOLDER holds `s.yaml`.
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

import splitimpera as sei
from splitimpera.core.kept import KeptFile
from splitimpera.report import results_of
from splitimpera.report.tables import plans_csv


def designed(folder, store, log):
    """One design, whose plans are written when it is done; what it keeps is noted in a log, line by line."""
    handler = logging.FileHandler(log)
    logger = logging.getLogger("splitimpera.core.kept")
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.DEBUG)
    with KeptFile(store) as kept:
        found = sei.design(folder / "s.yaml", replications=2, explore=True, kept=kept)
    (folder / "plans.csv").write_text(plans_csv(results_of(found)))


def in_a_child(folder, store, log, after_s=None):
    """Run it in a process of its own, which is killed after so many seconds; whether it was."""
    child = os.fork()
    if not child:
        try:
            designed(folder, store, log)
        finally:
            os._exit(0)
    if after_s is not None:
        time.sleep(after_s)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1] != 0


def kept(log):
    """The keys that a run kept."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [key for line in lines for key in line.removeprefix("kept ").split()]


def main(folder, times, seed):
    torch.set_num_threads(1)
    chance = random.Random(seed)
    designed(folder, folder / "warm.sqlite", folder / "warm.log")  # compiles and loads what all share
    begun_s = time.monotonic()
    in_a_child(folder, folder / "whole.sqlite", folder / "whole.log")
    whole_s, wanted, keys = time.monotonic() - begun_s, (folder / "plans.csv").read_text(), kept(folder / "whole.log")
    found = []
    for turn in range(times):
        store, logs = folder / f"{turn}.sqlite", [folder / f"{turn}-{part}.log" for part in ("killed", "resumed")]
        (folder / "plans.csv").unlink()
        killed = in_a_child(folder, store, logs[0], chance.uniform(0.05, 0.95) * whole_s)
        first = kept(logs[0])
        in_a_child(folder, store, logs[1])
        second = kept(logs[1])
        same = (folder / "plans.csv").read_text() == wanted
        twice = len(set(first) & set(second)) + len(first) - len(set(first)) + len(second) - len(set(second))
        found.append(
            {
                "killed": killed,
                "first": len(first),
                "second": len(second),
                "same": same,
                "twice": twice,
                "all": sorted({*first, *second}) == sorted(set(keys)),
            }
        )
    sys.stdout.write(json.dumps({"keys": len(keys), "runs": found}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
