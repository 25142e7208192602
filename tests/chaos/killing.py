"""Writes the files of a run, and is killed before every line of the code that does; prints what was found each time.

As a program: FOLDER MODE, where MODE is "exchange" or "in place".
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

from splitimpera.core import files, folders

NAMES = ("results.json", "a.png", "b.png", "report.html", "plans.csv")
CODE = {files.__file__, folders.__file__}


def contents(run, size=5_000):
    return {name: f"run {run} ".encode() + name.encode() * (size // len(name)) for name in NAMES}


def runs_in(folder):
    """Of which run each file is: name -> its number; -1 where it is no run's whole file."""
    found = {}
    for name in NAMES:
        if (folder / name).exists():
            content = (folder / name).read_bytes()
            run = int(content.split()[1]) if content.startswith(b"run ") else -1
            found[name] = run if content == contents(run)[name] else -1
    return found


def written(folder, run, kill_at=None):
    """Write in a process of its own, which dies before it runs the line of number `kill_at`; whether it did."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] != 0
    lines = 0

    def trace(frame, event, argument):
        nonlocal lines
        if frame.f_code.co_filename not in CODE:
            return None
        if event == "line":
            lines += 1
            if lines == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    folders.write_together(folder, contents(run), "--out")
    sys.settrace(None)
    os._exit(0)


def main(folder, mode):
    if mode == "in place":
        folders._stays = lambda _: True
    os.fsync = lambda _: None  # for it is the process that ends, not the machine
    (folder.parent / "another.txt").write_text("another's")
    written(folder, 0)
    (folder / "notes.txt").write_text("mine")
    step, run, found = 0, 0, []
    while True:
        step += 1
        before, run = run, run + 1
        if not written(folder, run, step):
            break
        files_of = runs_in(folder)
        found.append({"before": before, "now": run, "files": files_of, "notes": (folder / "notes.txt").read_text()})
        for path in left_in(folder):  # tidying them up would be more lines each time
            shutil.rmtree(path)
        if set(files_of.values()) != {run}:
            written(folder, run)  # what a user would do
    assert runs_in(folder) == dict.fromkeys(NAMES, run)
    for part in range(1, 8):
        written(folder, run + part, part * step // 8)
    left = left_in(folder)
    for path in left:  # as if two minutes had passed
        os.utime(path, (path.stat().st_mtime - 2 * files.UNHELD_S,) * 2)
    written(folder, run + 8)
    report = {"moments": found, "left": len(left), "left_later": len(left_in(folder))}
    report["others"] = sorted(path.name for path in folder.parent.iterdir())
    sys.stdout.write(json.dumps(report))


def left_in(folder):
    return [path for place in (folder, folder.parent) for path in place.glob(f".*{files.TEMPORARY_SUFFIX}")]


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
