"""How long what is timed waited for a core."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from splitimpera.cost import timing
from splitimpera.cost.timing import waited_share

pytestmark = pytest.mark.skipif(timing._waited_s() == 0, reason="this system does not tell")


def computing():
    end_s = time.monotonic() + 0.4
    while time.monotonic() < end_s:
        sum(range(1000))
    return "done"


def test_beside_another_program_on_the_same_core_half_is_waiting():
    cores = os.sched_getaffinity(0)
    one = {min(cores)}
    endless = [sys.executable, "-c", "print(flush=True)\nwhile True: pass"]
    os.sched_setaffinity(0, one)
    try:
        with subprocess.Popen(endless, stdout=subprocess.PIPE) as other:
            other.stdout.readline()
            found, share = waited_share(computing)
            other.kill()
    finally:
        os.sched_setaffinity(0, cores)
    assert found == "done"
    assert share > 0.3


def test_where_the_system_does_not_tell_nothing_was_waited_for(monkeypatch):
    monkeypatch.setattr(timing, "_waited_s", lambda: 0.0)
    assert waited_share(lambda: 5) == (5, 0.0)
