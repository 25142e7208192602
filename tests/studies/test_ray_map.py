"""The map on Ray: the same results as the others, whatever dies."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from threading import Thread
from uuid import uuid4

import numpy as np
import pytest
import ray_drivers
from test_maps import broken, told, worker

from splitimpera.core.errors import DataError, LinkError, MissingExtraError
from splitimpera.models.threads import torch_threads
from splitimpera.studies.maps import Done, Pool, in_process
from splitimpera.studies.ray_cluster import SHIP_BYTES, misfit, own_versions, reached
from splitimpera.studies.ray_map import Ray

pytestmark = pytest.mark.alone

pytest.importorskip("ray", reason="Ray is not installed: pip install 'split-et-impera[ray]'")

DRIVERS = Path(ray_drivers.__file__)


@pytest.fixture(scope="module")
def two():
    """Two workers; Ray is started once for all tests."""
    made = Ray(workers=2)
    with made.joined():
        yield made


@pytest.fixture
def mark():
    """A mark in the environment by which a driver's processes are known, however far they have gone from it."""
    return f"split-{uuid4().hex}"


def driven(name, folder, timeout_s=120):
    """What a driver has printed last."""
    done = subprocess.run(
        [sys.executable, DRIVERS, name, folder], capture_output=True, text=True, timeout=timeout_s, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def marked(mark):
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (process / "environ").read_bytes():
                found.append((int(process.name), (process / "cmdline").read_bytes().decode().split("\0")[0]))
        except OSError:
            continue
    return found


# here ----------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_tasks_that_fail_stop_nothing(two):
    found = told(two(worker, [3, "fails", "breaks", 4]))
    assert [done.place for done in found] == [0, 1, 2, 3]
    assert [done.value for done in found] == [9, None, None, 16]
    assert found[1].failure == "task: no such thing"
    assert "ZeroDivisionError" in found[2].failure
    assert {done.failure for done in two(broken, [1, 2])} == {"network.model: no such network"}
    assert list(two(worker, [])) == []


@pytest.mark.slow
def test_results_that_cannot_be_sent_fail_alone(two):
    found = told(two(lambda: lambda task: (lambda: task) if task == 2 else task, range(5)))
    assert [done.value for done in found] == [0, 1, None, 3, 4]
    assert "pickle" in found[2].failure.lower()


@pytest.mark.slow
def test_tiny_tasks_go_together_and_the_worker_is_made_once(two):
    found = told(two(ray_drivers.settings, [["OMP_NUM_THREADS", "MKL_NUM_THREADS"]] * 3000))
    assert len(found) == 3000
    assert len({done.value[0] for done in found}) <= 4  # a process may be replaced
    assert {done.value[1] for done in found} == {1}
    assert {tuple(done.value[2].values()) for done in found} == {("1", "1")}


@pytest.mark.slow
def test_the_driver_may_stop_in_the_middle(two):
    found = iter(two(worker, iter(range(10**9))))
    assert isinstance(next(found), Done)
    found.close()
    assert [done.value for done in two(worker, [5])] == [25]


def exact(found):
    """Results to the last bit; what pickle makes of them depends on which objects they share, too."""
    return [
        (done.place, done.failure, y.dtype, y.shape, y.tobytes(), total.hex(), some.tobytes())
        for done in told(found)
        for y, total, some in [done.value]
    ]


@pytest.mark.slow
def test_all_maps_give_the_same_bytes(two):
    with torch_threads(1):
        expected = exact(in_process(ray_drivers.numeric, range(24)))
    assert exact(Pool(2)(ray_drivers.numeric, range(24))) == expected
    found = [*two(ray_drivers.numeric, range(24))]
    assert exact(found) == expected
    assert found[0].value[0].flags.writeable


@pytest.mark.slow
def test_tasks_that_no_node_has_the_memory_for(two):
    with pytest.raises(LinkError, match=r"a task needs 1e\+06 GB, no node gives more than "):
        next(iter(Ray(memory_bytes=10**15)(worker, [1])))
    assert [done.value for done in Ray(memory_bytes=10**6)(worker, [3])] == [9]


# what dies -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_processes_that_die_cost_nothing_but_time(two, tmp_path):
    tasks = [*range(6), "kills", *range(6), "kills once", *range(6)]
    found = told(two(partial(worker, tmp_path), tasks))
    assert [done.place for done in found] == [*range(20)]
    expected = [place * place for place in range(6)]
    assert [done.value for done in found] == [*expected, None, *expected, "at last", *expected]
    assert "died 3 times" in found[6].failure


@pytest.mark.slow
def test_twenty_kills_of_workers_change_no_result(two, tmp_path):
    killing, hit = ray_drivers.kill_some(tmp_path, 20, 0.4)
    found = told(two(ray_drivers.Squares(tmp_path, 0.1), range(200)))
    killing.join(1)
    assert sum(hit.values()) == 20
    assert found == [Done(place, place * place) for place in range(200)]


@pytest.mark.slow
def test_a_node_that_dies_costs_nothing_but_time(tmp_path):
    found = sorted(driven("a_node_dies", tmp_path))
    assert found == [[place, place * place, ""] for place in range(100)]


@pytest.mark.slow
def test_a_node_that_joins_takes_part(tmp_path):
    assert driven("a_node_joins", tmp_path) == [150, 1, 2]


@pytest.mark.slow
@pytest.mark.parametrize(("part", "says"), [("raylet", "Ray failed: "), ("gcs_server", "has not answered for 20 s")])
def test_ray_itself_dies(part, says, mark, tmp_path):
    environment = os.environ | {"SPLIT_MARK": mark}
    command = [sys.executable, "-u", DRIVERS, "endless", tmp_path]
    driver = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True, start_new_session=True
    )
    for line in driver.stdout:
        if line.strip() == "running":
            break
    (victim,) = [pid for pid, name in marked(mark) if Path(name).name == part]
    os.kill(victim, signal.SIGKILL)
    _, errors = driver.communicate(timeout=50)
    assert driver.returncode == 1
    assert says in errors.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["started", "running"])
def test_ctrl_c_leaves_no_process_behind(moment, mark, tmp_path):
    command = [sys.executable, "-u", DRIVERS, "endless", tmp_path]
    environment = os.environ | {"SPLIT_MARK": mark}
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True, start_new_session=True)
    for line in driver.stdout:
        if line.strip() == moment:
            break
    if moment == "started":
        time.sleep(3)  # in the middle of Ray's start
    assert len(marked(mark)) > 3
    os.killpg(driver.pid, signal.SIGINT)  # as a terminal sends it, to all that are in the foreground
    assert driver.wait(30) == 130
    deadline_s = time.monotonic() + 10
    while (left := marked(mark)) and time.monotonic() < deadline_s:
        time.sleep(0.2)
    assert left == []


# a cluster -----------------------------------------------------------------------------------------------------------


def test_an_address_where_nothing_listens():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        begun_s = time.monotonic()
        with pytest.raises(LinkError, match=rf"nothing can be reached at '127.0.0.1:{port}': Connection refused"):
            reached(f"127.0.0.1:{port}")
        assert time.monotonic() - begun_s < 5


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_an_address_where_something_else_listens(says, monkeypatch):
    monkeypatch.setattr("splitimpera.studies.ray_cluster.PATIENCE_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"

        def answer():
            stream, _ = server.accept()
            with stream:
                stream.sendall(says)
                time.sleep(1)

        Thread(target=answer, daemon=True).start()
        with pytest.raises(LinkError, match=r"is not Ray|does not answer within"):
            reached(address)


@pytest.mark.parametrize("address", ["", "6379", "host", "host:", "host:0", "host:99999", "ray://host:10001"])
def test_addresses_that_are_none(address):
    with pytest.raises(LinkError, match="is no address of Ray; HOST:6379, or auto"):
        reached(address)


def test_auto_is_where_the_environment_says(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert reached("auto") == "auto"
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(LinkError, match=r"127\.0\.0\.1:1"):
        reached("auto")


def test_without_ray_the_message_says_the_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'split-et-impera\[ray\]'"):
        next(iter(Ray()(worker, [1])))


def test_what_a_misfit_is_told():
    own = own_versions()
    other = own | {"splitimpera": "0.0.9", "its source": "1", "torch": "2.6.0"}
    said = str(misfit("10.0.0.7", other, own))
    assert f"node 10.0.0.7 has splitimpera 0.0.9, here {own['splitimpera']}; torch 2.6.0, here {own['torch']};" in said
    assert "its source" not in said
    assert "no splitimpera, here" in str(misfit("n", own | {"splitimpera": "", "its source": ""}, own))
    assert f"its source 1, here {own['its source']}" in str(misfit("n", own | {"its source": "1"}, own))


@pytest.mark.slow
def test_a_node_with_another_version_is_named(tmp_path):
    said = driven("another_version", tmp_path)
    assert "has splitimpera 0.0.9, here " in said
    assert "pip install 'split-et-impera[design,ray]==" in said


@pytest.mark.slow
def test_a_folder_and_the_package_are_shipped(tmp_path):
    assert driven("shipped", tmp_path) == ["7", ""]


def test_a_folder_that_is_too_large_stays(tmp_path):
    with (tmp_path / "large").open("wb") as file:
        file.truncate(SHIP_BYTES + 1)
    with pytest.raises(DataError, match="put it on every node at the same path"):
        Ray(ship=tmp_path)._environment()
    with pytest.raises(DataError, match="is no folder"):
        Ray(ship=tmp_path / "none")._environment()


@pytest.mark.slow
def test_a_session_that_exists_ships_nothing(two, tmp_path):
    with pytest.raises(LinkError, match="joined Ray already"):
        next(iter(Ray(ship=tmp_path)(worker, [1])))
    assert np.array_equal([done.value for done in told(Ray()(worker, [2, 3]))], [4, 9])
