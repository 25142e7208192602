"""Ctrl-C in the middle of a simulation."""

from __future__ import annotations

import subprocess
import sys

import pytest

INTERRUPTED = """
import os, signal, subprocess, sys
import numpy as np
from splitimpera.net.transports import TRANSPORTS
from splitimpera.records.link import Link
from splitimpera.records.traffic import Workload

armed = False

def interrupt(*_):
    if armed:
        raise KeyboardInterrupt

frames = Workload(10.0, 1, frame_bytes=100).all_frames()
udp = TRANSPORTS["udp"](Link(rate_bps=1e6, loss=0.1), np.random.default_rng(0))
udp.transfer(frames)
signal.signal(signal.SIGINT, interrupt)
code = f"import os, signal, time\\nwhile True:\\n    time.sleep(0.001)\\n    os.kill({os.getpid()}, signal.SIGINT)"
other = subprocess.Popen([sys.executable, "-S", "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
came = 0
while came < 1000:
    try:
        armed = True
        while True:
            udp.transfer(frames)
    except KeyboardInterrupt:
        armed = False
        came += 1
other.kill()
other.wait()
print(came)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT")
def test_a_simulation_that_is_interrupted_raises_and_does_not_crash():
    found = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=120)
    assert (found.returncode, found.stdout) == (0, "1000\n"), found.stderr
