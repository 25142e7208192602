"""What was measured comes round through a results file, and nothing else passes for it."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitimpera.core.errors import DataError
from splitimpera.cost.measured_times import measurements_document, measurements_from, read_measurements
from splitimpera.records.measurements import CodingTime, Measurements, SegmentTime

SEGMENT = SegmentTime(0, 3, 0.0, 16.0, 1, (0.004, 0.002, 0.003))
CODING = CodingTime("encode", 3, "uint8", 16.0, 1472, (0.0001,))
KNOWN = Measurements("a machine, 2 cores", "0" * 16, 2, (SEGMENT,), (CODING,))

ratios, seconds = st.floats(0, 1e6), st.floats(1e-9, 1e4)
samples = st.lists(seconds, min_size=1, max_size=5).map(tuple)
cuts = st.integers(0, 300)
heads = st.lists(cuts, max_size=3).map(tuple)
segments = st.builds(SegmentTime, cuts, cuts, ratios, ratios, st.integers(1, 64), samples, heads=heads)
codings = st.builds(
    CodingTime, st.sampled_from(["encode", "decode"]), cuts, st.text(max_size=20), ratios, st.integers(1, 9000), samples
)


@given(
    st.builds(
        Measurements, st.text(max_size=50), st.text(max_size=16), st.integers(1, 64),
        st.lists(segments, max_size=4).map(tuple), st.lists(codings, max_size=4).map(tuple),
    )
)  # fmt: skip
def test_they_come_round_through_json(known):
    assert measurements_from(json.loads(json.dumps(measurements_document(known)))) == known


def test_what_was_not_timed_before_is_added():
    slower, with_heads = replace(SEGMENT, samples_s=(0.1,)), replace(SEGMENT, samples_s=(0.2,), heads=(2,))
    both = KNOWN.joined(replace(KNOWN, segments=(slower, with_heads), fps=20.0))
    assert (both.segments, both.codings, both.fps) == ((SEGMENT, with_heads), KNOWN.codings, 20.0)
    assert both.segment_s(0, 3, 0.0, 16.0, heads=(2,)) == 0.2


def test_they_are_read_from_a_results_file(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"schema_version": 5, "measurements": measurements_document(KNOWN)}))
    found = read_measurements(path)
    assert found.segment_s(0, 3, leaving=16.0) == 0.003
    assert found.coding_s("encode", 3, "uint8", 16.0, 1472) == 0.0001
    with pytest.raises(DataError, match="codec 'uint8' was not timed at cut 4"):
        found.coding_s("encode", 4, "uint8", 16.0, 1472)
    with pytest.raises(DataError, match="cut 0 to cut 3 were not timed, 8 frames together"):
        found.segment_s(0, 3, leaving=16.0, batch=8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threads": 0}, "0 threads are out of range"),
        ({"values_threads": -1}, "-1 threads are out of range"),
        ({"waited": 1.5}, "waited: 1.5 is no share"),
        ({"threads": True}, "threads: input should be a valid integer"),
        ({"segments": [measurements_document(KNOWN)["segments"][0] | {"samples_s": [0.1, -0.1]}]}, "not between 0"),
        ({"segments": [measurements_document(KNOWN)["segments"][0] | {"samples_s": []}]}, "a time is missing"),
        ({"segments": [measurements_document(KNOWN)["segments"][0] | {"leaving": math.inf}]}, "no measurements"),
        ({"segments": [{}]}, "segments.0.start: "),
        ({"codings": [measurements_document(KNOWN)["codings"][0] | {"direction": "sideways"}]}, "codings.0.direction"),
        ({"codings": "none"}, "codings: "),
    ],
)
def test_what_is_wrong_is_named(change, message):
    with pytest.raises(DataError, match=message):
        measurements_from(measurements_document(KNOWN) | change)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"measurements": []}', "[" * 100_000])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"not valid JSON|no measurements in it"):
        read_measurements(path)
