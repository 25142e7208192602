"""The bounds of links, workloads and traces: one table, and nothing that passes it overflows."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from splitimpera.core.bounds import BOUNDS, MOST_FRAMES
from splitimpera.core.errors import SimulationError
from splitimpera.net.transports import simulate
from splitimpera.records.link import Link, Trace
from splitimpera.records.traffic import Deliveries, Frames, Workload
from splitimpera.scenario import LINK_FIELDS, LinkSection, WorkloadSection

TRANSPORTS = ("tcp-cubic", "tcp-reno", "udp", "udp-interleaved", "udp-arq")
LINK = [field.name for field in fields(Link) if field.name in BOUNDS and field.name != "drops"]
WORKLOAD = [field.name for field in fields(Workload) if field.name in BOUNDS and field.name != "times_s"]


def around(name: str) -> st.SearchStrategy[float]:
    """Values at a bound's ends, a little inside, outside, and between."""
    bound = BOUNDS[name]
    low, high = bound.low, bound.high
    if bound.whole:
        inside = st.integers(int(low), min(int(high), 2000))
        return st.sampled_from([int(low), int(low) - 1, int(low) + 1, int(high), int(high) + 1]) | inside
    ends = [
        low,
        high,
        np.nextafter(low, -1),
        np.nextafter(low, high),
        np.nextafter(high, low),
        np.nextafter(high, 1e300),
    ]
    return st.sampled_from([float(end) for end in ends]) | st.floats(max(low, 1e-12), high).map(float)


@pytest.mark.parametrize("name", LINK)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, 1e300, True, "1", None, 10**400])
def test_no_link_has_such_a_value(name, value):
    optional = Link.__dataclass_fields__[name].default is None
    if value is None and optional:
        assert getattr(Link(**{name: None}), name) is None
        return
    with pytest.raises(SimulationError, match=rf"^{name}: .* is out of range, it must be"):
        Link(**{name: value})


@pytest.mark.parametrize("name", WORKLOAD)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, 1e300, True, "1", 10**400])
def test_no_workload_has_such_a_value(name, value):
    with pytest.raises(SimulationError, match=rf"^{name}: .* is out of range, it must be"):
        Workload(**{"fps": 10.0, name: value})


@pytest.mark.parametrize("key", [key for key, field in LINK_FIELDS.items() if field in BOUNDS])
def test_a_scenarios_links_have_the_bounds_of_the_records(key):
    bound, plain = BOUNDS[LINK_FIELDS[key]], {"rate": "1 Gbit/s", "delay": "1 ms"}
    times = dict.fromkeys(("delay", "downlink_delay", "jitter", "trace_start"), " s")
    unit = ({"rate": " bit/s", "downlink_rate": " bit/s"} | times).get(key, "")

    def section(value):
        return LinkSection.model_validate(plain | {key: f"{value!r}{unit}" if unit else value})

    section(bound.high if key == "mtu" else bound.low)  # the end that no other key forbids
    for beyond in (bound.low - 1, bound.high + 1 if bound.whole else bound.high * 1.01):
        with pytest.raises(ValidationError, match=r"out of range|greater than|less than"):
            section(beyond)


@pytest.mark.parametrize("key", ["fps", "deadline_s", "senders", "response_bytes"])
def test_a_scenarios_workload_has_the_bounds_of_the_records(key):
    bound, name = BOUNDS[key], key.removesuffix("_s").removesuffix("_bytes")
    unit = " s" if key == "deadline_s" else ""
    for value in (bound.high * 1.01, bound.low - 1):
        value = int(value) if bound.whole else value
        with pytest.raises(ValidationError):
            WorkloadSection.model_validate({"fps": 20, name: f"{value!r}{unit}" if unit else value})


def test_what_values_come_to_together_is_bounded_too():
    with pytest.raises(SimulationError, match=r"^fps: 1000 frames at 1e-05 a second take 1e\+08 s"):
        Workload(1e-5, 1000)
    with pytest.raises(ValidationError, match="1000 frames at 1e-05 a second"):
        WorkloadSection.model_validate({"fps": 1e-5})
    with pytest.raises(SimulationError, match="too many"):
        Workload(10.0, MOST_FRAMES, senders=2)


@pytest.mark.parametrize(
    "change",
    [
        {"ready_s": np.array([-1.0, 1.0])},
        {"ready_s": np.array([0.0, 1e10]), "deadline_s": np.array([1.0, 2e10])},
        {"ready_s": np.array([0.0, np.nan])},
        {"ready_s": np.array([0.0])},
        {"deadline_s": np.array([1.0, np.inf])},
        {"size_bytes": np.array([1, 2**62])},
        {"size_bytes": np.array([1, 0])},
        {"sender": np.array([0, 10**9])},
        {"sender": np.array([0])},
        {"response_bytes": 10**12},
        {"element_bytes": 0},
    ],
)
def test_no_frames_have_such_values(change):
    plain = {"ready_s": np.array([0.0, 1.0]), "size_bytes": np.array([9, 9]), "deadline_s": np.array([5.0, 6.0])}
    Frames(**plain)
    with pytest.raises(SimulationError, match="must be"):
        Frames(**(plain | change))


@pytest.mark.parametrize(
    "change",
    [
        {"time_s": (0.0, 1e-12)},
        {"period_s": 1.0 + 1e-12},
        {"period_s": 1e300},
        {"rate_bps": (1e-300, 1e6)},
        {"rate_bps": (1e6, 1e300)},
        {"rate_bps": (0.0, 0.0)},
        {"rate_bps": (1e6, float("nan"))},
        {"rate_bps": ("x", "y")},
        {"delay_s": (0.0, 1e9)},
        {"loss": (0.0, 1.5)},
        {"opportunity_bytes": 10**12},
        {"time_s": ()},
        {"time_s": ((0.0,), (1.0,))},
    ],
)
def test_no_trace_has_such_values(change):
    plain = {"name": "t", "time_s": (0.0, 1.0), "period_s": 2.0, "rate_bps": (0.0, 1e6)}
    Trace(**plain)
    with pytest.raises(SimulationError, match="must be"):
        Trace(**(plain | change))


links = st.fixed_dictionaries(
    {},
    optional={name: around(name) for name in LINK}
    | {"jitter": st.sampled_from(["uniform", "exponential", "normal"]), "reorder": st.booleans()},
)
workloads = st.fixed_dictionaries(
    {"fps": around("fps"), "frames": st.integers(1, 5), "frame_bytes": st.integers(1, 60_000) | around("frame_bytes")},
    optional={
        "deadline_s": around("deadline_s"),
        "response_bytes": st.integers(1, 5000),
        "element_bytes": around("element_bytes"),
    }
    | {"senders": st.integers(1, 3), "times_s": st.lists(around("times_s"), min_size=1, max_size=5).map(tuple)},
)
TINY = 300_000


@settings(max_examples=120, deadline=None, derandomize=True)
@given(links, workloads, st.sampled_from(TRANSPORTS), st.integers(0, 100))
def test_at_the_bounds_it_is_refused_or_no_time_is_negative(link, workload, transport, seed):
    workload.setdefault("times_s", ())
    if workload["times_s"]:
        workload["frames"] = len(workload["times_s"])
    try:
        made, work = Link(**link), Workload(**workload)
        few = work.frame_bytes + work.response_bytes < TINY * min(1.0, (made.mtu_bytes - 52) / 1448)
        few &= (1 - made.loss) * (1 - made.downlink_loss) > 1e-3
        work = work if few else replace(work, frame_bytes=1, response_bytes=0)
        delivered = simulate(made, work, transport, rng(seed))
    except SimulationError:
        return
    holds(delivered, work)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([1e-6, 1e-3, 1.0, 1e3, 1e6]),
            st.sampled_from([0.0, 1.0, 1e6, 1e16]),
            around("delay_s"),
            st.floats(0, 1),
        ),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from([0, 1, 1504, 10**9]),
    workloads,
    st.sampled_from(TRANSPORTS[:-1]),
)
def test_no_trace_makes_a_time_negative_either(rows, opportunity, workload, transport):
    lengths, rates, delays, losses = zip(*rows, strict=True)
    times = tuple(np.cumsum([0.0, *lengths[:-1]]).tolist())
    columns = {"rate_bps": rates, "delay_s": delays, "loss": losses} if not opportunity else {}
    workload |= {"frame_bytes": min(workload["frame_bytes"], 3000), "times_s": ()}
    try:
        trace = Trace("t", times, times[-1] + lengths[-1], opportunity_bytes=opportunity, **columns)
        work = Workload(**workload)
        delivered = simulate(Link(trace=trace), work, transport, rng(0))
    except SimulationError:
        return
    holds(delivered, work)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def holds(delivered: Deliveries, work: Workload) -> None:
    """What every delivery holds to, whatever the link."""
    ready, lossy = work.all_frames().ready_s, np.array([bool(ranges) for ranges in delivered.erased])
    complete, sent, first = delivered.complete_s, delivered.sent_s, delivered.first_s
    assert (complete >= ready).all()  # no latency is negative; infinite where a connection was given up
    assert (sent >= ready).all()
    # a frame with gaps is used at its deadline, though it may still wait in front of the link
    whole = ~lossy & delivered.arrived
    assert (complete[whole] >= sent[whole] - 1e-6).all()
    assert np.isfinite(complete[whole]).all()
    assert (complete[whole] < 4.5e9).all()
    known = ~np.isnan(first)
    assert (first[known] >= ready[known] - 1e-6).all()
    assert np.isfinite(first[known]).all()
    answered = ~np.isnan(delivered.response_s)
    assert (delivered.response_s[answered] >= complete[answered]).all()
    assert np.isfinite(delivered.response_s[answered]).all()
    for counts in (delivered.packets, delivered.lost_packets, delivered.retransmissions, delivered.wire_bytes):
        assert (counts >= 0).all()
    assert (delivered.lost_packets <= delivered.packets).all()
