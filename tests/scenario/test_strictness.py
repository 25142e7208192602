"""Every key of every section takes values of its own kind only, from a file and in Python alike."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from splitimpera.core.errors import ScenarioError
from splitimpera.scenario import (
    AudioSection,
    BottlenecksSection,
    DataSection,
    DeviceSection,
    ExitsSection,
    ExitTrainSection,
    LengthsSection,
    LinkSection,
    NetworkSection,
    PlansSection,
    RadioSection,
    RequestsSection,
    Scenario,
    SoftSection,
    TokensSection,
    WorkloadSection,
    load_scenario,
)

WRONG = {
    "text": [
        5,
        1.5,
        True,
        ["x"],
        {"x": 1},
        b"x",
        "",
        "a\0b",
        "a\x1b[2Jb",
        "a\nb",
        "\ud800",
        "x" * 1001,
        "x" * 256,
        "é" * 200,
    ],
    "path": [5, 1.5, True, ["x"], {"x": 1}, b"x", "", "a\0b", "\ud800", "x" * 1001, "folder/" + "x" * 256],
    "word": [5, 1.5, True, ["x"], {"x": 1}, "", "nonsense"],
    "count": ["5", "true", 2.0, 2.5, True, [2], {"x": 2}, math.inf, math.nan, -(10**400), 10**400],
    "flag": [0, 1, 1.0, "true", "yes", "on", [True], {}],
    "number": ["1", True, [1], {}, math.inf, -math.inf, math.nan, 10**400],
    "quantity": [True, [1], {}, "1:30 s", "1_000 s", "true", math.inf, math.nan, 10**400, "9" * 5000, " " * 10**6],
    "list": [5, True, {"x": 1}, "nonsense"],
    "section": [5, True, ["x"], "nonsense"],
    "task": [5, True, ["x"], {"kind": 5}, {"of": ["x"]}, {"of": {}}, {"of": "x" * 300}, "", "a\0b"],
}
OFTEN = dict.fromkeys
SECTIONS = {
    NetworkSection: ({"model": "x"}, {"model": "text", "weights": "path"}),
    DataSection: (
        {"source": "x"},
        {"source": "text", "validation": "quantity", "test": "quantity", "seed": "count"}
        | {"size": "list", "mean": "list", "std": "list", "limit": "count", "workers": "count", "skip_broken": "flag"}
        | {"audio": "section", "tokens": "section"},
    ),
    TokensSection: ({}, {"window": "count", "tokenizer": "text"}),
    AudioSection: ({}, {"mels": "count"} | OFTEN(("rate", "seconds", "window", "hop"), "quantity")),
    RadioSection: ({"joule_per_byte": 1e-6}, {"joule_per_byte": "number", "power": "quantity"}),
    DeviceSection: (
        {"name": "x"},
        {"name": "text", "preset": "text", "profile": "path", "radio": "text", "queue": "word"}
        | OFTEN(("slowdown", "memory", "power"), "quantity")
        | OFTEN(("queue_frames", "batch", "count"), "count"),
    ),
    LinkSection: (
        {"rate": "1 Mbit/s", "delay": "1 ms"},
        {"name": "text", "preset": "text", "trace": "path", "drops": "path", "jitter_distribution": "word"}
        | OFTEN(
            ("rate", "delay", "loss", "loss_burst", "downlink_rate", "downlink_delay", "downlink_loss", "jitter"),
            "quantity",
        )
        | OFTEN(("queue", "mtu", "trace_start"), "quantity")
        | OFTEN(("framing", "security"), "word")
        | {"link_header": "quantity", "reorder": "flag", "queue_packets": "count"}
        | OFTEN(("codecs", "transports"), "list"),
    ),
    WorkloadSection: (
        {"fps": 20},
        OFTEN(("fps", "deadline", "response"), "quantity")
        | OFTEN(("frames", "senders"), "count")
        | {"answers": "word", "tokens": "section"},
    ),
    LengthsSection: ({"mean": 5}, {"mean": "quantity", "shape": "word", "sigma": "quantity"}),
    RequestsSection: (
        {"prompt": 5, "output": 5, "context": 50},
        OFTEN(("prompt", "output"), "quantity") | OFTEN(("context", "together"), "count") | {"arrivals": "word"},
    ),
    PlansSection: ({}, OFTEN(("cuts", "codecs", "input_codecs", "transports"), "list")),
    BottlenecksSection: (
        {},
        OFTEN(("ratios", "cuts", "codecs", "epochs"), "list")
        | {"bits": "count", "packet_loss": "quantity", "finetune_head": "flag"},
    ),
    ExitTrainSection: (
        {},
        {"head": "word"}
        | OFTEN(("epochs", "batch", "patience"), "count")
        | {"distill": "quantity", "learning_rate": "number", "joint": "flag"},
    ),
    ExitsSection: ({}, {"at": "list", "train": "section", "threshold": "quantity"}),
    SoftSection: ({"prefer": "x"}, {"prefer": "text", "weight": "quantity"}),
    Scenario: (
        {
            "network": {"model": "x"},
            "data": {"source": "x"},
            "devices": [{"name": "a"}, {"name": "b"}],
            "links": [{"rate": "1 Mbit/s", "delay": "1 ms"}],
            "workload": {"fps": 20},
            "requirements": ["fps >= 20"],
        },
        {"name": "text", "seed": "count", "objective": "word", "tolerance": "quantity"}
        | OFTEN(("network", "data", "workload", "plans", "bottlenecks", "exits"), "section")
        | {"task": "task"}
        | OFTEN(("devices", "links", "requirements"), "list"),
    ),
}


def test_no_key_is_forgotten():
    for section, (_, kinds) in SECTIONS.items():
        assert kinds.keys() == section.model_fields.keys()


def refused(section, least, key, value):
    assert section.model_validate(least)
    with pytest.raises(ValidationError) as caught:
        section.model_validate(least | {key: value})
    assert {error["loc"][0] for error in caught.value.errors()} == {key}


@pytest.mark.parametrize(
    ("section", "key", "kind"),
    [(section, key, kind) for section, (_, kinds) in SECTIONS.items() for key, kind in kinds.items()],
    ids=lambda part: part if isinstance(part, str) else part.__name__,
)
def test_a_key_takes_values_of_its_kind_only(section, key, kind):
    for value in WRONG[kind]:
        if not (key in ("link_header", "radio") and value in ("true", {}, {"x": 1})):  # names and mappings of their own
            refused(section, SECTIONS[section][0], key, value)


@pytest.mark.parametrize(
    ("section", "key", "entry", "kind"),
    [
        (DataSection, "size", lambda x: [8, x], "count"),
        (DataSection, "mean", lambda x: [0.5, x], "number"),
        (DataSection, "std", lambda x: [0.5, x], "number"),
        (PlansSection, "codecs", lambda x: ["uint8", x], "text"),
        (PlansSection, "input_codecs", lambda x: [x], "text"),
        (PlansSection, "transports", lambda x: [x], "text"),
        (PlansSection, "cuts", lambda x: [x], "flag or list"),
        (BottlenecksSection, "cuts", lambda x: [x], "flag or list"),
        (BottlenecksSection, "ratios", lambda x: [x], "quantity"),
        (BottlenecksSection, "codecs", lambda x: [x], "text"),
        (BottlenecksSection, "epochs", lambda x: [1, x], "count"),
        (Scenario, "requirements", lambda x: ["fps >= 20", x], "text"),
    ],
)
def test_so_do_the_entries_of_lists(section, key, entry, kind):
    for value in WRONG.get(kind, [True, 1.0, [1], {}, "", "\ud800", "x" * 1001]):
        refused(section, SECTIONS[section][0], key, entry(value))


def test_lists_are_bounded():
    for key in ("codecs", "input_codecs", "transports"):
        refused(PlansSection, {}, key, ["x"] * 101)
    refused(PlansSection, {}, "cuts", [1] * 10_001)
    refused(BottlenecksSection, {}, "ratios", [2] * 101)
    refused(Scenario, SECTIONS[Scenario][0], "requirements", ["fps >= 20"] * 101)


@pytest.mark.parametrize("size", [255, 256])
def test_names_are_as_long_as_the_system_allows(size, tmp_path):
    name = "é" * 50 + "a" * (size - 100)
    least = SECTIONS[NetworkSection][0]
    if size > 255:
        refused(NetworkSection, least, "weights", f"folder/{name}")
    else:
        assert NetworkSection.model_validate(least | {"weights": f"folder/{name}"}).weights.name == name
    refused(Scenario, SECTIONS[Scenario][0], "name", "ａ" * 100)  # 100 characters of three bytes


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("senders: true", "workload.senders: a whole number is expected, given true"),
        ("senders: 2.0", "workload.senders: a whole number is expected, given 2.0"),
        ("senders: '2'", "workload.senders: a whole number is expected, given '2'"),
        ("senders: yes", "workload.senders: a whole number is expected, given 'yes'"),
        ("senders: 0x2", "workload.senders: a whole number is expected, given '0x2'"),
        ("senders: 02", "workload.senders: a whole number is expected, given '02'"),
        ("senders: 2_0", "workload.senders: a whole number is expected, given '2_0'"),
        ("senders: 1:30", "workload.senders: a whole number is expected, given '1:30'"),
        ("deadline: 1:30", "workload.deadline: '1:30' is not a time"),
        ("response: 1_000", "workload.response: '1_000' is not a size"),
        ("response: 0b11", "workload.response: '0b11' is not a size"),
        ("response: 2020-01-01", "workload.response: '2020-01-01' is not a size"),
    ],
)
def test_nothing_means_another_thing_than_is_seen(written, message, tmp_path):
    path = tmp_path / "case.yaml"
    path.write_text(FILE.replace("fps: 20", f"fps: 20, {written}"))
    with pytest.raises(ScenarioError) as caught:
        load_scenario(path)
    assert message in str(caught.value)


FILE = """
network: {model: digits-vgg16}
data: {source: digits}
devices: [{name: a}, {name: b}]
links: [{rate: 100 Mbit/s, delay: 5 ms}]
workload: {fps: 20}
requirements: [accuracy >= 95 %]
"""


@pytest.mark.parametrize("name", ["on", "no", "2020-01-01", "010", "1_000", "12e", "~x"])
def test_names_that_look_like_other_things_stay_text(name, tmp_path):
    path = tmp_path / "case.yaml"
    path.write_text(FILE.replace("source: digits", f"source: {name}"))
    assert load_scenario(path).data.source == name


def test_numbers_with_an_exponent_are_numbers(tmp_path):
    path = tmp_path / "case.yaml"
    path.write_text(FILE.replace("name: a", "name: a, radio: {joule_per_byte: 1e-6}").replace("fps: 20", "fps: 2e1"))
    scenario = load_scenario(path)
    assert (scenario.devices[0].radio.joule_per_byte, scenario.workload.fps) == (1e-6, 20.0)
