"""Traces in both formats and lists of drops: mutated bytes, structured nonsense; a small run over what passes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from harness import attack, refused_or_taken
from hypothesis import strategies as st

from splitimpera.net.traces import load_drops, load_trace
from splitimpera.net.transports import simulate
from splitimpera.records.link import Link
from splitimpera.records.traffic import Deliveries, Workload

SEEDS = [
    b"1\n2\n5\n5\n1000\n",
    b"# a ride\n0\n3\n3\n10\n",
    b"time_s,rate_bps\n0,1e6\n1,2e6\n2.5,0\n3,5e6\n",
    b"time_s, loss ,rate_bps,delay_s\n0,0.1,2e6,0.01\n1.5,0,0,3600\n2,1,1e16,0\n",
    b"[0, 17, 18]",
    b"[]",
]

numbers = st.one_of(
    st.sampled_from(
        [
            "0",
            "1",
            "-1",
            "1e-300",
            "1e300",
            "1e-12",
            "1e7",
            "1e16",
            "1e999",
            "nan",
            "inf",
            "",
            ".",
            "1e",
            "0x1",
            "٣",
            "1_0",
        ]
    ),
    st.floats(allow_nan=True).map(repr),
    st.integers(-(10**20), 10**20).map(str),
    st.tuples(st.sampled_from("019.e- x"), st.integers(1, 100_000)).map(lambda pair: pair[0] * pair[1]),
)
names = st.sampled_from(["time_s", "rate_bps", "delay_s", "loss", "loss ", "rate", "", "time_s\x1b[2J", "a" * 5000])
tables = st.tuples(
    st.lists(names, min_size=1, max_size=5).map(",".join)
    | st.permutations(["time_s", "rate_bps", "loss"]).map(",".join),
    st.lists(st.lists(numbers, min_size=1, max_size=4).map(",".join), max_size=6),
).map(lambda parts: "\n".join([parts[0], *parts[1]]).encode())
rows = st.lists(
    st.tuples(
        st.sampled_from([1e-6, 1e-3, 0.5, 1e3, 1e6]),
        st.sampled_from([0, 1, 1e3, 1e16]),
        st.sampled_from([0, 0.01, 3600]),
    ),
    min_size=1,
    max_size=20,
)


def plausible(steps: list[tuple[float, float, float]]) -> bytes:
    """A table that is well formed, of extreme values."""
    time, lines = 0.0, ["time_s,rate_bps,delay_s"]
    for length, rate, delay in steps:
        lines.append(f"{time!r},{rate},{delay}")
        time += length
    return "\n".join(lines).encode()


schedules = (
    st.lists(st.integers(0, 2**40), min_size=1, max_size=30)
    .map(sorted)
    .map(lambda times: "\n".join(map(str, times)).encode())
)
nested = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
).map(
    lambda value: (
        repr(value).replace("'", '"').replace("None", "null").replace("True", "true").encode("utf-8", "replace")
    )
)
deep = st.tuples(st.sampled_from(["[", "{", "9", "[[],", '"\\u']), st.integers(1, 60_000)).map(
    lambda pair: (pair[0] * pair[1]).encode()
)


def mutated(parts: tuple[bytes, list[tuple[int, bytes]]]) -> bytes:
    """A good file with some bytes put in, or in the place of others."""
    content = parts[0]
    for place, piece in parts[1]:
        at = place % (len(content) + 1)
        content = content[:at] + piece + content[at + place % 3 :]
    return content


mutations = st.tuples(
    st.sampled_from(SEEDS),
    st.lists(
        st.tuples(st.integers(0, 10_000), st.binary(max_size=3) | st.sampled_from([b"\n", b",", b"0" * 5000])),
        max_size=4,
    ),
).map(mutated)
contents = st.one_of(mutations, tables, rows.map(plausible), schedules, nested, deep, st.binary(max_size=100))
transports = st.sampled_from(["udp", "udp-interleaved", "udp-arq", "tcp-cubic", "tcp-reno"])
WORK = Workload(20.0, 5, frame_bytes=4000, senders=2)


def check(content: bytes, transport: str) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "link\x1b[2J.csv"
        path.write_bytes(content)
        trace = refused_or_taken(lambda: load_trace(path))
        drops = refused_or_taken(lambda: load_drops(path))
    link = replace(Link(delay_s=0.005), trace=trace, drops=drops)
    delivered = refused_or_taken(lambda: simulate(link, WORK, transport, np.random.default_rng(0)))
    if delivered is not None:
        sane(delivered)


def sane(delivered: Deliveries) -> None:
    assert (delivered.complete_s >= WORK.all_frames().ready_s).all()  # infinite where it never arrives
    assert (delivered.packets >= delivered.lost_packets).all()


test_traces, test_traces_long = attack(check, contents, transports, quick=50, long=1700)
