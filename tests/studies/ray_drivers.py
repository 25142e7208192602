"""Programs that drive Ray, each in a process of its own, for `test_ray_map`; and the work that they do."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np


def say(line):
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def numeric():
    """A worker whose results depend on the order of their sums."""
    import torch

    torch.set_num_threads(1)
    weights = torch.randn(16, 3, 3, 3, generator=torch.Generator().manual_seed(1))

    def run(task):
        rng = np.random.default_rng(task)
        x = rng.standard_normal((4, 3, 24, 24), dtype=np.float32)
        y = torch.nn.functional.conv2d(torch.from_numpy(x), weights)
        return y.numpy(), float(y.double().sum()), rng.random(task % 7)

    return run


def settings():
    """A worker that says how it was set."""
    import torch

    def run(task):
        return os.getpid(), torch.get_num_threads(), {name: os.environ.get(name) for name in task}

    return run


def slow_squares(folder, seconds):
    """Each task leaves a file with its process while it runs."""

    def run(task):
        note = Path(folder) / f"{task}-{os.getpid()}"
        note.touch()
        time.sleep(seconds)
        note.unlink()
        return task * task

    return run


def whereabouts():
    """A worker that says on which node it is."""
    import ray

    def run(task):
        time.sleep(0.1)
        return ray.get_runtime_context().get_node_id()

    return run


class Squares:
    """`slow_squares`, as work."""

    def __init__(self, folder, seconds):
        self.folder, self.seconds = folder, seconds

    def __call__(self):
        return slow_squares(self.folder, self.seconds)


@contextmanager
def two_nodes(other_path=None):
    """A cluster of two nodes on this machine, and the second of them; that one looks for packages elsewhere, first."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    before = os.environ.get("PYTHONPATH", "")
    try:
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [other_path, before]))
        second = cluster.add_node(num_cpus=1)
        os.environ["PYTHONPATH"] = before
        cluster.wait_for_nodes()
        yield cluster, second
    finally:
        cluster.shutdown()


def a_node_dies(folder):
    from splitimpera.studies.ray_map import Ray

    found = []
    with two_nodes() as (cluster, second):
        for done in Ray(cluster.address)(Squares(folder, 0.1), range(100)):
            found.append([done.place, done.value, done.failure])
            if len(found) == 20:
                cluster.remove_node(second, allow_graceful=False)
    say(json.dumps(found))


def a_node_joins(folder):
    from splitimpera.studies.ray_map import Ray

    nodes = []
    with two_nodes() as (cluster, second):
        cluster.remove_node(second)
        for done in Ray(cluster.address)(whereabouts, range(150)):
            nodes.append(done.value)
            if len(nodes) == 20:
                cluster.add_node(num_cpus=2)
    say(json.dumps([len(nodes), len({*nodes[:20]}), len({*nodes})]))


def another_version(folder):
    import splitimpera
    from splitimpera.core.errors import LinkError
    from splitimpera.studies.ray_map import Ray

    shutil.copytree(Path(splitimpera.__file__).parent, Path(folder) / "splitimpera")
    (Path(folder) / "splitimpera" / "core" / "version.py").write_text('__version__ = "0.0.9"\n')
    with two_nodes(folder) as (cluster, _):
        try:
            say(json.dumps([done.value for done in Ray(cluster.address)(settings, [[]] * 4)]))
        except LinkError as error:
            say(json.dumps(str(error)))


def shipped(folder):
    from splitimpera.studies.ray_map import Ray

    (Path(folder) / "network.py").write_text("pass\n")
    (Path(folder) / ".gitignore").write_text("*.pt\n")
    (Path(folder) / "weights.pt").write_text("7")
    with two_nodes() as (cluster, _):
        (done,) = Ray(cluster.address, ship=Path(folder), package=True)(
            lambda: lambda task: Path(task).read_text(), ["weights.pt"]
        )
        say(json.dumps([done.value, done.failure]))


def a_study_loses_a_node(folder):
    import splitimpera as sei
    from splitimpera.studies.ray_map import Ray

    with two_nodes() as (cluster, second):

        def track(steps, said, total):
            for count, step in enumerate(steps):
                if said == "Evaluating the cells" and count == 4:
                    cluster.remove_node(second, allow_graceful=False)
                yield step

        found = sei.study(Path(folder) / "small.yaml", Path(folder) / "out", using=Ray(cluster.address), track=track)
    say(json.dumps([cell.state for cell in found.cells]))


def endless(folder):
    """Says when it runs, and goes on until it is interrupted."""
    from splitimpera.studies.ray_map import Ray

    say("started")
    try:
        for _ in Ray(workers=2)(Squares(folder, 0.05), iter(range(10**9))):
            say("running")
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(130)


def kill_some(folder, kills, seconds):
    """A thread that kills processes in the middle of tasks, no task more than twice."""
    rng, hit = np.random.default_rng(3), {}

    def run():
        while sum(hit.values()) < kills:
            time.sleep(seconds)
            notes = [note.name.split("-") for note in Path(folder).iterdir()]
            victims = [
                (task, int(pid)) for task, pid in notes if hit.get(task, 0) < 2 and Path(f"/proc/{pid}").exists()
            ]
            if victims:
                task, pid = victims[rng.integers(len(victims))]
                hit[task] = hit.get(task, 0) + 1
                os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, hit


EVERY = (a_node_dies, a_node_joins, another_version, shipped, a_study_loses_a_node, endless)

if __name__ == "__main__":
    {each.__name__: each for each in EVERY}[sys.argv[1]](sys.argv[2])
