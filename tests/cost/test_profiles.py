"""Profiles as files, and those that are refused."""

from __future__ import annotations

import json

import pytest
import torch
from networks import inputs, make
from torch import nn

from splitimpera.core.errors import DataError, OutputError
from splitimpera.cost.devices import build_device
from splitimpera.cost.profiles import check_profile, fingerprint, input_shape, read_profile, write_profile
from splitimpera.graph.tracing import trace
from splitimpera.records.device import CodecTime, CutTime, LayerTime, PacedTimes, Profile
from splitimpera.scenario import DeviceSection

LAYER = {"name": "a", "operation": "b", "seconds": 1.0, "spread_s": 0.0}
TIMES = ("encode_start_s", "encode_per_byte_s", "decode_start_s", "decode_per_byte_s")


def profile_of(graph, network="tiny"):
    return Profile(
        machine="a machine",
        network=network,
        input_shape=input_shape(graph),
        fingerprint=fingerprint(graph),
        engine="eager",
        threads=2,
        call_s=1e-6,
        layers=tuple(LayerTime(layer.name, layer.operation, 1e-3, 1e-5) for layer in graph.layers),
        cuts=(CutTime(1, 1e-3, 1e-5, 2e-3, 1e-5),),
        codecs=(CodecTime("float32", 1e-5, 1e-10, 2e-5, 2e-10),),
        peak_bytes=123_456_789,
    )


@pytest.fixture(scope="module")
def graph():
    return trace(make("Chain"), inputs("Chain", 1))


@pytest.fixture
def file(graph, tmp_path):
    path = tmp_path / "profile.json"
    write_profile(profile_of(graph), path)
    return path


def test_round_trip(graph, file):
    assert read_profile(file) == profile_of(graph)
    assert [other.name for other in file.parent.iterdir()] == ["profile.json"]
    device = build_device(DeviceSection(name="d", profile="profile.json"), file.parent)
    assert device.profile == profile_of(graph)


def test_version_1_is_read_with_what_it_has(graph, file):
    """Without samples and paced times."""
    content = json.loads(file.read_text())
    del content["paced"]
    for entry in (*content["layers"], *content["cuts"], *content["codecs"]):
        for key in [key for key in entry if "samples" in key or key.endswith("code_spread")]:
            assert not entry.pop(key)
    file.write_text(json.dumps(content | {"schema_version": 1}))
    assert read_profile(file) == profile_of(graph)


def test_weights_do_not_count():
    first, second = (trace(nn.Sequential(nn.Linear(4, 2)), torch.zeros(1, 4)) for _ in range(2))
    assert fingerprint(first) == fingerprint(second)
    check_profile(profile_of(first), second)


def test_another_input_size(graph, file):
    other = trace(make("Chain"), torch.randn(1, 3, 16, 16))
    with pytest.raises(
        DataError,
        match=r"^this profile of 'tiny' was taken with inputs of 3 x 8 x 8, here they are 3 x 16 x 16; "
        r"profile the machine again with --input 1,3,16,16$",
    ):
        check_profile(read_profile(file), other)


def test_another_network(graph):
    other = trace(make("Dense"), inputs("Dense", 1))
    with pytest.raises(DataError, match=r"of 'tiny', another network than the scenario's: layer 1 is 'body\.0' there"):
        check_profile(profile_of(graph), other)
    wide, narrow = (trace(nn.Sequential(nn.Linear(4, width)), torch.zeros(1, 4)) for width in (2, 3))
    with pytest.raises(DataError, match="1 layers there, 1 here"):
        check_profile(profile_of(wide), narrow)


def test_a_profile_that_contradicts_itself(graph):
    from dataclasses import replace

    short = replace(profile_of(graph), layers=profile_of(graph).layers[:-1])
    far = replace(profile_of(graph), cuts=(CutTime(99, 1e-3, 0.0, 1e-3, 0.0),))
    paced = replace(profile_of(graph), paced=PacedTimes(10.0, 0.0, short.layers))
    for wrong in (short, far, paced):
        with pytest.raises(DataError, match="other layers or cuts than the network that it says it is of"):
            check_profile(wrong, graph)


def changed(file, **keys):
    file.write_text(json.dumps(json.loads(file.read_text()) | keys))
    return file


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"schema_version": 3},
            "a profile of version 3, this program reads versions 1 and 2; profile the machine again",
        ),
        ({"schema_version": "1"}, "is no profile: it has no schema_version"),
        ({"schema_version": True}, "is no profile: it has no schema_version"),
        ({"call_s": -1e-6}, "is no profile: call_s: input should be greater than or equal to 0"),
        (
            {"layers": [LAYER | {"samples_s": [1.0, -1.0]}]},
            "layers.0.samples_s.1: input should be greater than or equal to 0",
        ),
        (
            {"layers": [LAYER | {"samples_s": [1.0] * 10_001}]},
            "samples_s: list should have at most 10000 items",
        ),
        (
            {"layers": [LAYER | {"samples_s": [1.0]}, LAYER]},
            "value error, layers have 0 to 1 samples, one a pass",
        ),
        ({"paced": {"fps": 0.0}}, "paced.call_s: field required"),
        ({"paced": 10.0}, "paced: "),
        ({"call_s": float("nan")}, "call_s: input should be a"),
        ({"call_s": "1"}, "call_s: input should be a valid number"),
        ({"threads": 0}, "threads: "),
        ({"layers": [{"name": "a", "operation": "b", "seconds": float("inf"), "spread_s": 0.0}]}, "layers.0.seconds: "),
        ({"layers": 3}, "layers: "),
        ({"fingerprint": "../../etc"}, "fingerprint: "),
        ({"input_shape": [10**12]}, "input_shape.0: "),
        ({"more": 1}, "more: extra inputs are not permitted"),
        ({"machine": "x" * 1000}, "machine: "),
        (
            {"codecs": [dict.fromkeys(TIMES, 0.0) | {"codec": "uint9"}]},
            "codecs that there are not here: no codec is called",
        ),
    ],
)
def test_what_is_refused(file, keys, message):
    with pytest.raises(DataError) as caught:
        read_profile(changed(file, **keys))
    assert message in str(caught.value)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "null", "[" * 100_000, "\udcff"])
def test_no_json_at_all(tmp_path, content):
    path = tmp_path / "p.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match="is no profile"):
        read_profile(path)


def test_too_large_missing_and_a_folder(tmp_path):
    path = tmp_path / "p.json"
    with path.open("wb") as handle:
        handle.truncate(30_000_000)
    with pytest.raises(DataError, match="larger than 20 MB"):
        read_profile(path)
    with pytest.raises(DataError, match="does not exist"):
        read_profile(tmp_path / "q.json")
    with pytest.raises(DataError, match="is a folder, a profile is expected"):
        read_profile(tmp_path)
    with pytest.raises(OutputError, match="cannot be written"):
        write_profile(read_profile_like(), path / "below.json")


def read_profile_like():
    return profile_of(trace(nn.Sequential(nn.Linear(4, 2)), torch.zeros(1, 4)))
