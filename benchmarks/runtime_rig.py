"""What the benchmarks of the runtime stand on: bundles of any payload, keys, and servers in processes of their own."""

from __future__ import annotations

import asyncio
import hashlib
import multiprocessing
import multiprocessing.connection
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from splitimpera.bundle.entries import tensor_entry
from splitimpera.bundle.manifest import identified, written
from splitimpera.bundle.opened import Bundle, open_bundle
from splitimpera.codec.constants import Constants
from splitimpera.codec.framing import DTLS_RECORD_BYTES, HEADER_BYTES, IP_UDP_HEADER_BYTES
from splitimpera.core.array_types import FloatArray
from splitimpera.deploy.keys import KeyFiles
from splitimpera.deploy.security import ClientSecurity, ServerSecurity
from splitimpera.deploy.server import Server
from splitimpera.records.graph import TensorSpec

HOST = "127.0.0.1"
MTU_BYTES = 1500
PACKET_BYTES = MTU_BYTES - IP_UDP_HEADER_BYTES - DTLS_RECORD_BYTES - HEADER_BYTES
GAP_DEADLINE_S = 0.5
START_S, END_S = 30.0, 5.0
SPAWNED = multiprocessing.get_context("spawn")
"""A server that is forked would share its memory with the benchmark."""

Answer = multiprocessing.connection.Connection


@dataclass(frozen=True)
class Carrier:
    """How frames travel: a transport, encrypted or not."""

    name: str
    transport: str
    secure: bool


CARRIERS = {
    carrier.name: carrier
    for carrier in (
        Carrier("tls", "tcp", True),
        Carrier("dtls", "udp", True),
        Carrier("tcp", "tcp", False),
        Carrier("udp", "udp", False),
    )
}


def make_bundle(folder: Path, payload_bytes: int, transport: str, rate_bps: float, weights: int = 0) -> Bundle:
    """A bundle whose device sends float32 inputs as they are, and whose server takes their mean.

    Args:
        payload_bytes: Size of a frame.
        rate_bps: Rate of the link, at which datagrams are let out.
        weights: Where it is not 0, there are so many; the device half multiplies by them what it sends.
    """
    middle = TensorSpec("middle", (payload_bytes // 4,))
    given = TensorSpec("input", (weights // middle.elements,)) if weights else middle
    result = TensorSpec("mean", (1,))
    constants = Constants("float32", (middle,), PACKET_BYTES)
    files = {"server/tail.onnx": _mean(middle, result)}
    segments = {"device": [], "server": [_segment(1 if weights else 0, 2, "server/tail.onnx", middle, result)]}
    if weights:
        files["device/head.onnx"] = _dense(given, middle)
        segments["device"] = [_segment(0, 1, "device/head.onnx", given, middle)]
    hop = {
        "cut": 1 if weights else 0,
        "layer": middle.name if weights else given.name,
        "bottleneck": 0.0,
        "tensors": [tensor_entry(middle)],
        "codec": "float32",
        "constants": None,
        "packet_bytes": PACKET_BYTES,
        "number": constants.plan_id,
        "transport": transport,
        "deadline_s": GAP_DEADLINE_S,
        "link": {"name": "link", "rate_bps": rate_bps, "delay_s": 0.0, "loss": 0.0, "mtu_bytes": MTU_BYTES},
    }
    plan = {
        "id": "sent",
        "configuration": "SC" if weights else "RC",
        "machines": ["device", "server"],
        "hops": [hop],
        "fps": 50.0,
        "requirements": [],
        "predicted": {},
    }
    manifest = identified(
        {
            "schema_version": 1,
            "name": f"{payload_bytes} bytes",
            "made_by": "benchmarks/runtime_rig.py",
            "network": "a mean",
            "fingerprint": "0" * 16,
            "task": "classification",
            "classes": ["one"],
            "input": {"tensors": [tensor_entry(given)], "pixels": None},
            "result": [tensor_entry(result)],
            "last": 2,
            "plans": [plan],
            "parts": [
                {"machine": machine, "segments": some, "files": sorted(segment["file"] for segment in some)}
                for machine, some in segments.items()
            ],
            "proofs": [],
            "samples": None,
            "files": {
                name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
                for name, content in files.items()
            },
        }
    )
    for name, content in {**files, "manifest.json": written(manifest)}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return open_bundle(folder)


def _segment(start: int, end: int, file: str, given: TensorSpec, found: TensorSpec) -> dict[str, Any]:
    span = {"start": start, "end": end, "arriving": 0.0, "leaving": 0.0}
    return span | {"engine": "onnx", "file": file, "inputs": [tensor_entry(given)], "outputs": [tensor_entry(found)]}


def _mean(given: TensorSpec, found: TensorSpec) -> bytes:
    return _program("ReduceMean", given, found, np.array([1], np.int64), keepdims=1)


def _dense(given: TensorSpec, found: TensorSpec) -> bytes:
    drawn = np.random.default_rng(1).normal(size=(given.elements, found.elements))
    return _program("MatMul", given, found, drawn.astype(np.float32))


def _program(operator: str, given: TensorSpec, found: TensorSpec, constant: Any, **attributes: int) -> bytes:
    """One operator with a constant as an ONNX file."""
    from onnx import TensorProto, helper, numpy_helper  # not for servers: it would count as their memory

    def value(spec: TensorSpec) -> Any:
        return helper.make_tensor_value_info(spec.name, TensorProto.FLOAT, ["n", *spec.shape])

    node = helper.make_node(operator, [given.name, "constant"], [found.name], **attributes)
    stored = [numpy_helper.from_array(constant, "constant")]
    graph = helper.make_graph([node], "part", [value(given)], [value(found)], stored)
    content: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10
    ).SerializeToString()
    return content


def client_security(keys: Path) -> ClientSecurity:
    files = KeyFiles(keys)
    return ClientSecurity(files.authority, files.client, files.client_key)


def server_security(keys: Path) -> ServerSecurity:
    files = KeyFiles(keys)
    return ServerSecurity(files.server, files.server_key, files.authority)


@contextmanager
def started(target: Callable[..., None], *arguments: Any) -> Iterator[tuple[int, Answer]]:
    """A process, its id and the pipe by which it answers; it is ended on leaving, whatever happened.

    Args:
        target: A function of a module; gets its end of the pipe and the arguments.
    """
    here, there = SPAWNED.Pipe()
    process = SPAWNED.Process(target=target, args=(there, *arguments), daemon=True)
    process.start()
    there.close()
    try:
        assert process.pid is not None
        yield process.pid, here
    finally:
        process.terminate()
        process.join(END_S)
        if process.is_alive():
            process.kill()
            process.join()
        here.close()


def answered(answer: Answer, within_s: float = START_S) -> Any:
    """What a process says; RuntimeError where it does not in time or has ended."""
    if not answer.poll(within_s):
        raise RuntimeError(f"a process of the benchmark says nothing within {within_s:g} s")
    try:
        return answer.recv()
    except EOFError:
        raise RuntimeError("a process of the benchmark has failed, see above") from None


def serve(answer: Answer, folder: Path, keys: Path | None, queue: int = 64) -> None:
    """A server's process: serves a bundle until it is ended; answers with its address."""

    async def work() -> None:
        async with Server(open_bundle(folder), queue=queue) as server:
            answer.send(await server.start(HOST, 0, None if keys is None else server_security(keys)))
            await server.serve()

    asyncio.run(work())


@dataclass(frozen=True)
class Percentiles:
    """Of some seconds."""

    p50_s: float
    p95_s: float
    p99_s: float

    @classmethod
    def of(cls, seconds: FloatArray) -> Percentiles:
        good = seconds[np.isfinite(seconds)]
        return cls(*np.percentile(good, (50, 95, 99)).tolist()) if len(good) else cls(*3 * (float("nan"),))

    def __str__(self) -> str:
        return " / ".join(f"{1e3 * one:.2f}" for one in (self.p50_s, self.p95_s, self.p99_s))
