"""The simulator is compiled once, in a process that ends with the one that wanted it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from splitimpera.net import compilation
from splitimpera.net.kernels import compiling
from splitimpera.net.transports import TRANSPORTS

LINK = ["--rate", "1 Mbit/s", "--loss", "1 %", "--bytes", "3000", "--fps", "20", "--frames", "50"]


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Another program in place of the compiler: "compiles" three functions."""
    script = tmp_path / "python"
    script.write_text('#!/bin/sh\nsleep 0.2\nprintf ...\necho "$@" > "$0.arguments"\n')
    script.chmod(0o755)
    monkeypatch.setattr(compilation.sys, "executable", str(script))
    monkeypatch.setattr(compilation, "is_kept", lambda kernel: kernel == "run_udp")
    return tmp_path / "python.arguments"


@pytest.mark.skipif(os.name != "posix", reason="the stand-in is a shell script")
def test_what_is_not_kept_is_compiled_elsewhere_and_awaited(stand_in):
    said, stages = [], []

    def track(steps, description, total):
        stages.append((description, total, len(list(steps))))
        return []

    compilation.begin_compiling(["udp", "tcp", "tcp-reno", "of another package"], said.append)
    compilation.wait_until_compiled(track)
    assert said == ["The simulator is being compiled, in the background: once, about 20 s."]
    assert stages == [("Compiling the simulator", compilation.FUNCTIONS["run_tcp"], 3)]
    assert stand_in.read_text() == "-P -m splitimpera.net.compilation tcp-reno\n"
    compilation.wait_until_compiled(track)
    assert len(stages) == 1


@pytest.mark.skipif(os.name != "posix", reason="the stand-in is a shell script")
def test_what_is_kept_is_not_compiled_again(stand_in):
    said = []
    compilation.begin_compiling(["udp", "udp-interleaved"], said.append)
    compilation.wait_until_compiled()
    assert not said
    assert not stand_in.exists()


def test_where_nothing_can_be_kept_no_process_compiles(monkeypatch):
    def nowhere():
        raise OSError("no folder for compiled code can be written")

    monkeypatch.setattr(compiling, "cache_folder", nowhere)
    assert compiling.is_kept("run_tcp")


def test_every_transport_has_a_kernel_and_every_kernel_its_functions():
    assert set(compilation.KERNELS) == set(TRANSPORTS.names())
    assert set(compilation.KERNELS.values()) == set(compilation.FUNCTIONS)


def cold(tmp_path):
    return os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "numba")}


def simulate(transport):
    return [sys.executable, "-m", "splitimpera", "simulate", *LINK, "--transport", transport]


@pytest.mark.slow
def test_the_first_simulation_says_that_it_compiles_and_the_second_need_not(tmp_path):
    run = {"capture_output": True, "text": True, "env": cold(tmp_path), "check": True}
    first, second = (subprocess.run(simulate("udp"), **run).stdout.splitlines() for _ in range(2))
    assert first[0] == compilation.STARTED
    assert first[1].startswith("Compiling the simulator: ")
    assert [line for line in first[1:] if not line.startswith("Compiling the simulator: ")] == second


@pytest.mark.slow
@pytest.mark.parametrize(("transport", "kernel"), [("udp-arq", "run_arq"), ("tcp", "run_tcp")])
def test_progress_knows_how_much_there_is(tmp_path, transport, kernel):
    command = [sys.executable, "-m", "splitimpera.net.compilation", transport]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=cold(tmp_path)) as child:
        assert len(child.stdout.read()) == pytest.approx(compilation.FUNCTIONS[kernel], rel=0.2)  # as Numba has it


COMPILED = """
from splitimpera.net import compilation
from splitimpera.net.kernels.compiling import is_kept
compilation.begin_compiling(["udp"], print)
assert not is_kept("run_udp")
compilation.wait_until_compiled()
assert is_kept("run_udp")
compilation.begin_compiling(["udp"], print)
assert compilation._child is None
"""


@pytest.mark.slow
def test_whoever_waited_finds_it_compiled(tmp_path):
    run = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, env=cold(tmp_path))
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.splitlines() == [compilation.STARTED]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for child processes in /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_the_compiler_ends_with_the_command(tmp_path, how):
    with subprocess.Popen(simulate("tcp"), stdout=subprocess.PIPE, text=True, env=cold(tmp_path)) as command:
        assert command.stdout.readline().rstrip() == compilation.STARTED
        (child,) = Path(f"/proc/{command.pid}/task/{command.pid}/children").read_text().split()
        time.sleep(1)
        assert Path(f"/proc/{child}").exists()
        command.send_signal(how)
        assert command.wait(30) == (130 if how == signal.SIGINT else -how)
    until_s = time.monotonic() + 30
    while running(child):
        assert time.monotonic() < until_s
        time.sleep(0.05)


def running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
