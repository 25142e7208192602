"""The process in which ns-3 lives: one JSON request a line on standard input, one answer a line on standard output.

It is started as a script by `ns3.py` and imports nothing of this package. For each request it forks: every simulation
finds ns-3's global state fresh, and where ns-3 ends the process, only the fork is gone.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

MODULES = ("core", "network", "internet", "point-to-point", "traffic-control")


def load(root: Path) -> Any:
    """The compiled driver.

    ns-3's own entry point loads all of its forty modules, which takes seconds; these are the ones that are needed.
    """
    cppyy = import_module("cppyy")
    libraries = next(folder for folder in (root / "lib64", root / "lib") if folder.is_dir())
    cppyy.add_include_path(str(root / "include"))
    for module in MODULES:
        cppyy.load_library(str(next(libraries.glob(f"libns3*-{module}.so"))))
        cppyy.include(f"ns3/{module}-module.h")
    cppyy.include(str(Path(__file__).with_name("ns3_driver.h")))
    driver = cppyy.gbl.splitimpera
    # an empty workload: what is compiled now need not be in each fork
    simulate(driver, {"congestion": "", "ready_s": [], "patience_s": [], "size_bytes": []})
    return driver


def simulate(driver: Any, request: dict[str, Any]) -> dict[str, Any]:
    setup = driver.Setup()
    for name, value in request.items():
        setattr(setup, name, value)
    outcome = driver.simulate(setup)
    names = "sent_s first_s complete_s packets lost again wire_bytes missing_frame missing_packet".split()
    return {name: list(getattr(outcome, name)) for name in names}


def in_fork(driver: Any, request: dict[str, Any]) -> bytes:
    """The answer, as a line of JSON."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reader)
            for number in (signal.SIGABRT, signal.SIGSEGV):
                signal.signal(number, signal.SIG_DFL)  # end at once, without the back trace of the C++ interpreter
            try:
                answer = simulate(driver, request)
            except Exception as error:
                answer = {"error": str(error)}
            with os.fdopen(writer, "wb") as pipe:
                pipe.write(json.dumps(answer).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        line = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        line = json.dumps({"error": f"it ended with status {status}"}).encode()
    return line + b"\n"


def main() -> None:
    # C++ prints where it likes; the answers have a descriptor of their own
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        driver = load(Path(sys.argv[1]))
        for line in sys.stdin.buffer:
            answers.write(in_fork(driver, json.loads(line)))
            answers.flush()


if __name__ == "__main__":
    main()
