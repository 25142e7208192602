"""Ray, started on this machine or joined where it runs, and what is made sure of before work goes there."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from splitimpera.core.errors import DataError, LinkError, shown, shown_path
from splitimpera.core.extras import needed
from splitimpera.core.version import __version__
from splitimpera.studies.maps import ONE_THREAD

WHERE = "--ray-address"
PATIENCE_S = 5.0
"""How long an address may take to answer."""
CHECK_S = 120.0
"""How long a node may take to start the process that says its versions."""
SHIP_BYTES = 100 * 10**6
"""The largest folder that is sent to all nodes."""
NOT_SHIPPED = (".git", ".venv", "venv", "__pycache__")
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_RUNTIME_ENV_IGNORE_GITIGNORE": "1",
    "RAY_DEDUP_LOGS_SKIP_REGEX": "^",
}
"""Nothing is reported to anybody; what git does not keep, weights say, is shipped all the same; and what Ray has to say
of a worker's death it keeps from standard output."""
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_SETTINGS = 4

Versions = dict[str, str]


@dataclass(frozen=True)
class Cluster:
    """Ray on this machine, or on those of a cluster.

    Args:
        address: Where a cluster listens, `HOST:PORT`, or `auto`: the one that this machine is part of. None: one is
            started here, and ends with the block.
        workers: Processes that are started here, or tasks that may run on the cluster at once; None: one a CPU.
        ship: A folder of at most `SHIP_BYTES` that becomes the working directory of all workers.
        package: Whether this package is sent along, to nodes that have the libraries that it needs, but not itself.
        memory_bytes: Memory that each task needs; so many run on a node at once as it has. None: it is not asked.
    """

    address: str | None = None
    workers: int | None = None
    ship: Path | None = None
    package: bool = False
    memory_bytes: int | None = None
    _checked: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Ray, to the end of the block: what is done within shares it, and pays for its start once.

        A session of Ray's that the caller has is used, and stays.

        Raises:
            MissingExtraError: Ray is not installed.
            LinkError: nothing listens at the address, it is not Ray, or of another version.
            DataError: the folder is too large to be sent.
        """
        global _session
        needed("ray", "a map on Ray")
        with _quietly():
            import ray

        if ray.is_initialized():
            if _session != self and (self.ship is not None or self.package):
                raise LinkError("this process has joined Ray already, so nothing can be shipped", hint="leave it first")
            yield
            return
        terminated = signal.getsignal(signal.SIGTERM)
        with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
            try:
                self._join(folder)  # a short path of our own: sockets lie there, and nobody else's files
                self._checked.clear()
                _session = self
                yield
            finally:
                _session = None
                ray.shutdown()
                if threading.current_thread() is threading.main_thread():
                    signal.signal(signal.SIGTERM, terminated)  # Ray has put its own in place

    def options(self) -> dict[str, Any]:
        """What a task needs to say where the session is the caller's."""
        return {} if _session == self else {"runtime_env": {"env_vars": ONE_THREAD}}

    def cpus(self) -> int:
        """How many tasks run at once now; nodes that are new have said their versions.

        Raises:
            LinkError: a node has other versions than this process, or none has the memory for a task.
        """
        import ray

        nodes = [node for node in ray.nodes() if node["Alive"]]
        new = {node["NodeID"] for node in nodes} - self._checked
        if new and (self.address is not None or _session != self):
            _check(sorted(new), self.options())
        self._checked.update(new)
        there = sum(self._room(node["Resources"]) for node in nodes)
        with_cpus = [node["Resources"].get("memory", 0) for node in nodes if node["Resources"].get("CPU", 0) >= 1]
        if not there and with_cpus:
            needed_gb, most_gb = (self.memory_bytes or 0) / 1e9, max(with_cpus) / 1e9
            raise LinkError(f"a task needs {needed_gb:.3g} GB, no node gives more than {most_gb:.3g} GB", where=WHERE)
        return there

    def _room(self, resources: dict[str, float]) -> int:
        cpus = int(resources.get("CPU", 0))
        return cpus if self.memory_bytes is None else min(cpus, int(resources.get("memory", 0) // self.memory_bytes))

    def answers(self) -> bool:
        """Whether the cluster's first machine does: Ray waits a minute for it, and then ends this process."""
        import ray

        return _listens(*_parts(ray.get_runtime_context().gcs_address), PATIENCE_S)

    def raylet_lives(self) -> bool:
        """Whether this machine's part of the cluster does: without it, Ray ends this process after some seconds."""
        import ray

        own = ray.get_runtime_context().get_node_id()
        (path,) = [node["RayletSocketName"] for node in ray.nodes() if node["NodeID"] == own]
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(PATIENCE_S)
            try:
                stream.connect(path)
            except (ConnectionRefusedError, FileNotFoundError):
                return False
            except OSError:  # it is busy, say
                return True
        return True

    def _join(self, folder: str) -> None:
        import ray

        settings: dict[str, Any] = {"runtime_env": self._environment(), "log_to_driver": False}
        if self.address is None:
            settings |= {"address": "local", "num_cpus": self.workers, "include_dashboard": False, "_temp_dir": folder}
        else:
            settings["address"] = reached(self.address)
        try:
            with _quietly(), _uninterrupted() if self.address is None else nullcontext():
                ray.init(logging_level="ERROR", **settings)
        except Exception as failure:  # of many kinds, and all of them in words
            ray.shutdown()
            what = "Ray cannot be started here" if self.address is None else f"'{shown(self.address)}' cannot be joined"
            raise LinkError(f"{what}: {shown(failure, 600)}", where=WHERE, hint=_HINT) from None

    def _environment(self) -> dict[str, Any]:
        """What Ray is to make of the workers."""
        made: dict[str, Any] = {"env_vars": ONE_THREAD}
        if self.ship is not None:
            if (size := _folder_bytes(self.ship)) > SHIP_BYTES:
                raise DataError(
                    f"'{shown_path(self.ship)}' has {size / 1e6:.0f} MB, and {SHIP_BYTES / 1e6:.0f} MB can be sent to "
                    "the nodes",
                    where="ship",
                    hint="put it on every node at the same path, and ship nothing",
                )
            made["working_dir"] = str(self.ship)
        if self.package:
            made["py_modules"] = [str(Path(__file__).parents[1])]
        return made


_session: Cluster | None = None
"""Whose session this process has, where it is one of ours."""
_HINT = "the driver runs on a machine of the cluster, which 'ray start --address HOST:6379' joins"


@contextmanager
def _quietly() -> Iterator[None]:
    """Ray reads some of its settings when it is imported, others when it starts."""
    before = {name: os.environ.get(name) for name in QUIET}
    os.environ.update(QUIET)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C is heard at the end of the block, for nobody ends what Ray has half started; the second one at once."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is None:
        yield
        return
    heard = False

    def hear(number: int, frame: object) -> None:
        nonlocal heard
        heard = True
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, hear)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if heard:
            signal.raise_signal(signal.SIGINT)


def own_versions() -> Versions:
    """What must be the same wherever results are to be the same."""
    return sent_versions()()


def sent_versions() -> Callable[[], Versions]:
    """A function that says the versions of where it runs; Ray sends its code, since this package may lack there."""

    def versions() -> Versions:
        import hashlib
        import sys
        from importlib.metadata import PackageNotFoundError, version
        from importlib.util import find_spec
        from pathlib import Path

        found = {"Python": "{}.{}".format(*sys.version_info)}
        for name in ("torch", "numpy", "scipy"):
            try:
                found[name] = version(name).split("+")[0]
            except PackageNotFoundError:
                found[name] = ""
        found["splitimpera"] = found["its source"] = ""
        spec = find_spec("splitimpera")
        if spec is not None and spec.origin is not None:
            from splitimpera.core.version import __version__

            folder, digest = Path(spec.origin).parent, hashlib.sha256()
            for path in sorted(folder.rglob("*.py")):
                digest.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
            found["splitimpera"], found["its source"] = __version__, digest.hexdigest()[:8]
        return found

    return versions


def misfit(node: str, found: Versions, own: Versions) -> LinkError:
    """What to say of a node that has other versions."""
    other = [name for name in reversed(own) if name in found and found[name] != own[name]]
    if "splitimpera" in other:
        other.remove("its source")  # goes without saying
    told = "; ".join(
        f"{name} {found[name]}, here {own[name]}" if found[name] else f"no {name}, here {own[name]}" for name in other
    )
    hint = f"run on every node\npip install 'split-et-impera[design,ray]=={__version__}'"
    if torch := own["torch"]:
        hint += f" 'torch=={torch}'"
    return LinkError(f"node {shown(node)} has {told}", where=WHERE, hint=hint)


def _check(nodes: list[str], options: dict[str, Any]) -> None:
    """Hold the versions of nodes to those of this process; one that dies meanwhile is no node any longer."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    versions = sent_versions()

    def asked() -> tuple[str, Versions]:
        import ray

        return ray.util.get_node_ip_address(), versions()

    ask = ray.remote(asked)
    asking = {}
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node, soft=False)
        asking[ask.options(num_cpus=0, max_retries=0, scheduling_strategy=there, **options).remote()] = node
    own = own_versions()
    for answer, node in asking.items():
        try:
            name, found = ray.get(answer, timeout=CHECK_S)
        except ray.exceptions.GetTimeoutError:
            raise LinkError(f"node {node} has not answered for {CHECK_S:g} s", where=WHERE) from None
        except (ray.exceptions.RayTaskError, ray.exceptions.RuntimeEnvSetupError) as failure:
            raise LinkError(f"node {node} cannot be asked for its versions: {failure}", where=WHERE) from None
        except ray.exceptions.RayError:
            continue
        if found != own:
            raise misfit(name, found, own)


def reached(address: str) -> str:
    """The address, where something listens that may be Ray: Ray itself takes minutes to say that it is not.

    Raises:
        LinkError: nothing listens, or it does not speak as Ray does.
    """
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", "auto")
    if address == "auto":
        return address
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16 or "/" in host:
        raise LinkError(f"'{shown(address)}' is no address of Ray", where=WHERE, hint="HOST:6379, or auto")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), PATIENCE_S) as stream:
            if os.environ.get("RAY_USE_TLS", "0") == "0":
                stream.sendall(_GREETING)  # as every server of gRPC does, it says its settings first
                answer = stream.recv(9)
                if len(answer) < 4 or answer[3] != _SETTINGS:
                    raise LinkError(f"what listens at '{shown(address)}' is not Ray", where=WHERE, hint=_ASK)
    except TimeoutError:
        raise LinkError(f"'{shown(address)}' does not answer within {PATIENCE_S:g} s", where=WHERE, hint=_ASK) from None
    except OSError as failure:
        reason = failure.strerror or str(failure)
        raise LinkError(f"nothing can be reached at '{shown(address)}': {reason}", where=WHERE, hint=_ASK) from None
    return address


_ASK = "'ray status' on the cluster's first machine says whether it runs, and 'ray start --head' starts it"


def _parts(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _listens(host: str, port: int, timeout_s: float) -> bool:
    try:
        socket.create_connection((host, port), timeout_s).close()
    except OSError:
        return False
    return True


def _folder_bytes(folder: Path) -> int:
    if not folder.is_dir():
        raise DataError(f"'{shown_path(folder)}' is no folder", where="ship")
    files = (path for path in folder.rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files if not {*path.relative_to(folder).parts} & {*NOT_SHIPPED})
