"""Maps: the same results wherever they are made, whatever dies."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import ray_drivers

from splitimpera.core.errors import ScenarioError
from splitimpera.studies.maps import Done, Pool, in_process

pytestmark = pytest.mark.alone


def worker(folder=None):
    """Each task is a number, and some do harm."""

    def run(task):
        if task == "fails":
            raise ScenarioError("no such thing", where="task")
        if task == "breaks":
            return 1 / 0
        if task == "kills":
            os.kill(os.getpid(), signal.SIGKILL)
        if task == "kills once":
            try:
                (folder / "once").touch(exist_ok=False)
            except FileExistsError:
                return "at last"
            os.kill(os.getpid(), signal.SIGKILL)
        return task * task

    return run


def pids():
    """A worker that says which process it is."""

    def run(task):
        time.sleep(0.05)
        return os.getpid()

    return run


def told(found):
    return sorted(found, key=lambda done: done.place)


@pytest.mark.parametrize("made", [in_process, Pool(2)])
def test_tasks_that_fail_stop_nothing(made):
    found = told(made(worker, [3, "fails", "breaks", 4]))
    assert [done.place for done in found] == [0, 1, 2, 3]
    assert [done.value for done in found] == [9, None, None, 16]
    assert found[1].failure == "task: no such thing"
    assert "ZeroDivisionError" in found[2].failure
    assert not found[3].failure


def broken():
    raise ScenarioError("no such network", where="network.model")


@pytest.mark.parametrize("made", [in_process, Pool(2)])
def test_a_worker_that_cannot_be_made_says_why(made):
    assert {done.failure for done in made(broken, [1, 2, 3])} == {"network.model: no such network"}


def test_nothing_to_do():
    assert list(in_process(worker, [])) == []
    assert list(Pool(2)(worker, [])) == []


@pytest.mark.slow
def test_processes_that_die_cost_nothing_but_time(tmp_path):
    tasks = [*range(6), "kills", *range(6), "kills once", *range(6)]
    found = told(Pool(2)(partial(worker, tmp_path), tasks))
    assert [done.place for done in found] == [*range(20)]
    expected = [place * place for place in range(6)]
    assert [done.value for done in found] == [*expected, None, *expected, "at last", *expected]
    assert "died 3 times" in found[6].failure


def test_a_script_without_the_guard_is_told_so_at_once(tmp_path):
    script = "from operator import neg\nfrom functools import partial\nfrom splitimpera.studies.maps import Pool\n"
    (tmp_path / "script.py").write_text(f"{script}list(Pool(2)(partial(partial, neg), range(1000)))\n")
    ran = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 1
    assert "needs the guard" in ran.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
def test_twenty_kills_of_processes_change_no_result(tmp_path):
    killing, hit = ray_drivers.kill_some(tmp_path, 20, 0.4)
    found = told(Pool(2)(ray_drivers.Squares(tmp_path, 0.1), range(200)))
    killing.join(1)
    assert sum(hit.values()) == 20
    assert found == [Done(place, place * place) for place in range(200)]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
def test_processes_end_with_a_driver_that_is_killed(tmp_path):
    script = "import os, sys\nfrom splitimpera.studies.maps import Pool\nfrom test_maps import pids\n"
    script += "if __name__ == '__main__':\n    for done in Pool(2)(pids, range(1000)):\n"
    (tmp_path / "script.py").write_text(f"{script}        print(done.value, flush=True)\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    driver = subprocess.Popen([sys.executable, "script.py"], cwd=tmp_path, stdout=subprocess.PIPE, env=environment)
    workers = set()
    while len(workers) < 2:
        workers.add(int(driver.stdout.readline()))
    driver.kill()
    driver.wait()
    deadline_s = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


def test_the_driver_may_stop_in_the_middle():
    found = iter(Pool(2)(worker, iter(range(10**9))))
    assert isinstance(next(found), Done)
    found.close()


def large(content):
    return worker()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no signals are sent there")
def test_ctrl_c_while_processes_begin_prints_no_traceback(tmp_path):
    script = "from functools import partial\nfrom splitimpera.studies.maps import Pool\nfrom test_maps import large\n"
    script += "if __name__ == '__main__':\n    print('begins', flush=True)\n    try:\n"
    script += (
        "        list(Pool(2)(partial(large, bytes(10**7)), range(9)))\n    except KeyboardInterrupt:\n        pass\n"
    )
    (tmp_path / "script.py").write_text(script)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    driver = subprocess.Popen(
        [sys.executable, "script.py"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    driver.stdout.readline()
    time.sleep(0.3)
    driver.send_signal(signal.SIGINT)
    _, errors = driver.communicate(timeout=60)
    assert (driver.returncode, errors) == (0, b"")
