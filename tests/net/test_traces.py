"""Files of traces and of dropped packets: what they mean, and that nothing in them ends in a traceback."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitimpera.core.errors import SimulationError
from splitimpera.net import traces
from splitimpera.net.traces import load_drops, load_trace
from splitimpera.records.link import Trace


def write(folder: Path, content: str | bytes, name: str = "link.txt") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_one_opportunity_every_millisecond_is_twelve_megabits(tmp_path):
    trace = load_trace(write(tmp_path, "1\n"))
    assert trace == Trace("link.txt", (0.001,), 0.001, opportunity_bytes=1504)
    assert 8 * trace.opportunity_bytes / trace.period_s == pytest.approx(12.032e6)


def test_a_schedule_with_comments_repeats_and_windows_line_ends(tmp_path):
    trace = load_trace(write(tmp_path, "# recorded\r\n0\r\n3\r\n3\r\n\r\n10\r\n"))
    assert trace.time_s == (0.0, 0.003, 0.003, 0.01)
    assert trace.period_s == 0.01


def test_steps(tmp_path):
    text = "# a ride\ntime_s, loss ,rate_bps\n0,0.1,2e6\n\n1.5,0,0\n"
    trace = load_trace(write(tmp_path, "\ufeff" + text, "ride.csv"))
    assert trace == Trace("ride.csv", (0.0, 1.5), 3.0, rate_bps=(2e6, 0.0), loss=(0.1, 0.0))


def test_the_last_step_is_as_long_as_the_one_before(tmp_path):
    assert load_trace(write(tmp_path, "time_s,delay_s\n0,0.1\n1,0.2\n5,0.3\n")).period_s == 9
    assert load_trace(write(tmp_path, "time_s,delay_s\n0,0.1\n")).period_s == 1


def test_a_step_may_be_as_short_as_a_microsecond(tmp_path):
    rows = "".join(f"{index}e-6,{rate}\n" for index, rate in enumerate((1e6, 2e6, 1e6)))
    assert load_trace(write(tmp_path, f"time_s,rate_bps\n{rows}")).period_s == pytest.approx(3e-6)


def test_a_link_may_lose_everything_for_a_while(tmp_path):
    assert load_trace(write(tmp_path, "time_s,loss\n0,1\n1,0\n")).loss == (1.0, 0.0)


def test_the_content_tells_the_format_not_the_name(tmp_path):
    assert load_trace(write(tmp_path, "4\n", "link.csv")).opportunity_bytes == 1504
    assert load_trace(write(tmp_path, "time_s,rate_bps\n0,1\n", "link.trace")).rate_bps == (1.0,)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "link.txt: a trace is expected, this file is empty; write one whole number"),
        ("# nothing\n\n", "this file is empty"),
        ("hello\n", "link.txt:1: milliseconds or column names are expected, given 'hello'"),
        ("-1\n", "link.txt:1: milliseconds or column names are expected, given '-1'"),
        ("1\n2.5\n", "link.txt:2: a whole number of milliseconds is expected, given '2.5'"),
        ("1\n-2\n", "link.txt:2: a whole number of milliseconds is expected, given '-2'"),
        ("1\n٣\n", "link.txt:2: a whole number of milliseconds is expected"),
        ("# x\n5\n\n4\n", "link.txt:4: 5 or more is expected, given 4; sort the lines"),
        ("0\n0\n", "link.txt:2: the last line is when the trace starts again"),
        ("1\n99999999999999999\n", "link.txt:2: the last line is when the trace starts again"),
        (f"1\n{'9' * 100_000}\n", "link.txt:2: a whole number of milliseconds is expected, given '9999"),
        (b"1\n2\n\xff\xfe\n", "link.txt:3: text (UTF-8) is expected, this is binary"),
        (b"\x00\x01\x02", "milliseconds or column names are expected, given '\\x00\\x01\\x02'"),
        ("time_s\n0\n", "link.txt:1: a column beside 'time_s' is missing; add rate_bps"),
        ("rate_bps,loss\n1,0\n", "link.txt:1: the column 'time_s' is missing"),
        ("time_s,rate\n0,1\n", "link.txt:1: no column is called 'rate'; did you mean 'rate_bps'?"),
        ("0.5,1000\n", "link.txt:1: no column is called '0.5'; name the columns in the first line"),
        ("time_s,loss,loss\n0,0,0\n", "link.txt:1: the column 'loss' stands there 2 times"),
        ("time_s,loss\n", "link.txt:1: a row is expected behind the column names"),
        ("time_s,loss\n0\n", "link.txt:2: 2 values are expected (time_s,loss), given 1"),
        ("time_s,loss\n0,\n", "link.txt:2: loss: a plain number is expected, given ''"),
        ("time_s,delay_s\n0,20 ms\n", "link.txt:2: delay_s: a plain number is expected, given '20 ms'"),
        ("time_s,delay_s\n0,nan\n", "link.txt:2: delay_s: a plain number is expected, given 'nan'"),
        ("time_s,rate_bps\n0,1e999\n", "link.txt:2: rate_bps: '1e999' is out of range"),
        ("time_s,rate_bps\n0,-1\n", "link.txt:2: rate_bps: '-1' is out of range, it must be 0, or 1 to 1e+16"),
        ("time_s,loss\n0,1.5\n", "link.txt:2: loss: '1.5' is out of range, it must be 0 to 1"),
        ("time_s,loss\n-1,0\n", "link.txt:2: time_s: '-1' is out of range"),
        ("time_s,loss\n7,0\n8,0\n", "link.txt:2: the first time must be 0, given 7; subtract 7 from all of them"),
        ("time_s,loss\n0,0\n2,0\n2,0\n", "link.txt:4: a time above 2 is expected, given 2"),
        ("time_s,rate_bps\n0,0\n1,0\n", "link.txt:2: rate_bps is 0 all the time"),
        ("time_s,loss\n0,1\n1,1\n", "link.txt:2: loss is 1 all the time"),
    ],
)
def test_broken_traces(tmp_path, content, message):
    with pytest.raises(SimulationError) as caught:
        load_trace(write(tmp_path, content))
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


def test_files_that_are_none(tmp_path, monkeypatch):
    with pytest.raises(SimulationError, match=r"nowhere' does not exist"):
        load_trace(tmp_path / "nowhere")
    with pytest.raises(SimulationError, match="is a folder, a trace is expected"):
        load_trace(tmp_path)
    monkeypatch.setattr(traces, "MOST_BYTES", 1000)
    with pytest.raises(SimulationError, match="is larger than"):
        load_trace(write(tmp_path, "1\n" * 501))
    with pytest.raises(SimulationError, match="is larger than"):
        load_drops(write(tmp_path, " " * 1001))


@pytest.mark.parametrize("load", [load_trace, load_drops])
def test_pipes_and_devices_are_refused_without_waiting(load, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, "/dev/zero"):
        with pytest.raises(SimulationError, match="is a pipe or a device"):
            load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("time_s,rate_bps\n0,1e-300\n", "rate_bps: '1e-300' is out of range, it must be 0, or 1 to 1e+16"),
        ("time_s,rate_bps\n0,1\n1e-12,2\n", "link.txt:3: a step of 1e-06 s or more is expected, given 1e-12"),
        (f"time_s,rate_bps\n0,{'1' * 400_000}x\n", "rate_bps: a plain number is expected, given '1111"),
        (f"{'1' * 400_000}x,rate_bps\n0,1\n", "link.txt:1: no column is called '1111"),
        (f"time_s,rate_bps\n{'0,' * 400_000}\n", "2 values are expected (time_s,rate_bps), given 400001"),
        (f"time_s,rate_bps{',' * 400_000}\n", "link.txt:1: no column is called ''"),
        ("1\n" * 2_000_001, "the file has more than 2000000 lines"),
    ],
)
def test_what_would_never_end_is_refused_at_once(tmp_path, content, message):
    path = write(tmp_path, content)
    begun_s = time.process_time()
    with pytest.raises(SimulationError) as caught:
        load_trace(path)
    assert time.process_time() - begun_s < 1
    assert message in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


def test_many_drops_are_refused(tmp_path):
    with pytest.raises(SimulationError, match="2000001 packets are too many"):
        load_drops(write(tmp_path, f"[{'1,' * 2_000_000}1]"))
    deep = "[" * 900 + "]" * 900
    with pytest.raises(SimulationError, match=r"link.txt\[0\]: a whole number|not a list of packets"):
        load_drops(write(tmp_path, f"[{deep}]"))


@given(st.lists(st.integers(0, 10**6), min_size=1).map(sorted).filter(lambda times: times[-1] > 0))
def test_every_schedule_is_read_as_it_stands(tmp_path_factory, times):
    path = write(tmp_path_factory.mktemp("schedule"), "\n".join(map(str, times)))
    trace = load_trace(path)
    assert (np.array(trace.time_s) * 1000).round().astype(int).tolist() == times


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text("0123456789.,-+e\n\t #time_srblod", max_size=200).map(str.encode))
def test_any_bytes_are_a_trace_or_one_clear_error(tmp_path_factory, content):
    path = write(tmp_path_factory.mktemp("any"), content)
    for load in (load_trace, load_drops):
        message = "none"
        try:
            load(path)
        except SimulationError as error:
            message = str(error)
        assert len(message.splitlines()) == 1


def test_drops_are_sorted_and_stand_there_once(tmp_path):
    assert load_drops(write(tmp_path, "[7, 0, 7,\n 3]")) == (0, 3, 7)
    assert load_drops(write(tmp_path, "[]")) == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "link.txt:1: this is not valid JSON"),
        ("[0,\n 1,\n", "link.txt:3: this is not valid JSON"),
        ("{}", "link.txt: an array of packet ordinals is expected, this is an object"),
        ("7", "this is a number"),
        ("[0, -3]", "link.txt[1]: a whole number, 0 or more, is expected, given '-3'"),
        ("[1.5]", "link.txt[0]: a whole number, 0 or more, is expected, given '1.5'"),
        ("[2.0]", "given '2.0'"),
        ("[true]", "given 'true'"),
        ('["1"]', "link.txt[0]"),
        ("[NaN]", "given 'NaN'"),
        ("[9223372036854775808]", "given '9223372036854775808'"),
        (f"[{'9' * 5000}]", "this is not a list of packets"),
        ("[" * 200_000, "this is not a list of packets"),
        (b"[\xff]", "link.txt:1: text (UTF-8) is expected"),
    ],
)
def test_broken_drops(tmp_path, content, message):
    with pytest.raises(SimulationError) as caught:
        load_drops(write(tmp_path, content))
    assert message in str(caught.value)
