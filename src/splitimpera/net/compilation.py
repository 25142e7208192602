"""The simulator compiled once for all, in a process of its own, while something else is computed.

Numba holds the interpreter's lock while it compiles, so that a thread would gain nothing. The process writes what it
compiles to the cache on disk, from which every other process loads it in a fraction of a second.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from splitimpera.core.progress import Track, no_progress
from splitimpera.net.kernels.compiling import is_kept
from splitimpera.net.transports import simulate
from splitimpera.records.link import Link
from splitimpera.records.traffic import Workload

if TYPE_CHECKING:
    from splitimpera.scenario import Scenario

KERNELS = {
    **dict.fromkeys(("tcp", "tcp-cubic", "tcp-reno"), "run_tcp"),
    **dict.fromkeys(("udp", "udp-interleaved"), "run_udp"),
    "udp-arq": "run_arq",
}
FUNCTIONS = {"run_udp": 25, "run_arq": 35, "run_tcp": 138}
"""How many functions each kernel compiles by itself; progress is counted in them. Several share some."""
STARTED = "The simulator is being compiled, in the background: once, about 20 s."
STAGE = "Compiling the simulator"

_child: subprocess.Popen[bytes] | None = None
_expected = 0


def begin_compiling(transports: Iterable[str], say: Callable[[str], object] = str) -> None:
    """Start to compile what these transports are simulated with, as far as that was never done on this machine.

    The process that does it ends with this one, however this one ends.

    Args:
        say: Takes a line, where there is something to compile.
    """
    global _child, _expected
    lacking = {KERNELS[name]: name for name in transports if name in KERNELS and not is_kept(KERNELS[name])}
    if not lacking or not sys.executable or _child is not None:
        return
    command = [sys.executable, "-P", "-m", __name__, *lacking.values()]
    try:
        _child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        )
    except OSError:  # no room for another process: the first simulation compiles, as ever
        return
    _expected = sum(FUNCTIONS[kernel] for kernel in lacking)
    say(STARTED)


def transports_in(scenario: Scenario) -> set[str]:
    """The transports over all links of a scenario."""
    return {name for place in range(len(scenario.links)) for name in scenario.transports_of(place)[1]}


def wait_until_compiled(track: Track[Any] = no_progress) -> None:
    """Wait for what `begin_compiling` has started, if anything; before simulations, and before anything is timed."""
    global _child
    if _child is None:
        return
    child, _child = _child, None
    with child:  # which ends it, where waiting is interrupted
        if child.poll() is None:
            for _ in track(_functions(child), STAGE, _expected):
                pass


def _functions(child: subprocess.Popen[bytes]) -> Iterator[int]:
    """One item a compiled function; over when the process has written all to the cache."""
    assert child.stdout is not None
    for number in range(_expected):
        if not child.stdout.read(1):
            break
        yield number
    child.wait()


# In the other process ------------------------------------------------------------------------------------------------


def main(transports: Iterable[str]) -> None:
    """Compile, and write a byte after each function; end when standard input does."""
    from numba.core import event

    class Teller(event.Listener):
        def on_start(self, event: object) -> None: ...

        def on_end(self, event: object) -> None:
            os.write(1, b".")

    threading.Thread(target=_end_with_parent, daemon=True).start()
    event.register("numba:compile", Teller())
    for transport in transports:
        simulate(Link(), Workload(1.0, 1, frame_bytes=1), transport, np.random.default_rng(0))


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
