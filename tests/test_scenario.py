from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import ROOT

import splitimpera as sei
from splitimpera.core.errors import ScenarioError
from splitimpera.cost.devices import build_device
from splitimpera.net.links import build_link
from splitimpera.records.device import Device
from splitimpera.records.link import Link
from splitimpera.records.traffic import Workload

MINIMAL = """
network: {model: digits-vgg16}
data: {source: digits}
devices: [{name: a, slowdown: 40}, {name: b}]
links: [{rate: 100 Mbit/s, delay: 5 ms}]
workload: {fps: 20}
requirements: [accuracy >= 95 %]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "my_case.yaml"
    path.write_text(text)
    return path


def test_quantities_become_si_and_defaults_are_filled_in(tmp_path):
    scenario = sei.load_scenario(write(tmp_path, MINIMAL))
    assert build_link(scenario.links[0], tmp_path) == Link("link", 1e8, 0.005, 0.0, 1500, 2, 20)
    assert build_device(scenario.devices[0], scenario.folder) == Device("a", 40.0)
    assert scenario.workload.record() == Workload(20.0, 1000, None)
    assert scenario.requirements[0].limit == pytest.approx(0.95)
    assert scenario.name == "my_case"
    assert scenario.folder == tmp_path


def test_a_file_called_scenario_takes_its_folders_name(tmp_path):
    path = tmp_path / "pump" / "scenario.yaml"
    path.parent.mkdir()
    path.write_text(MINIMAL)
    assert sei.load_scenario(path).name == "pump"


def test_faults_name_line_and_key(tmp_path):
    path = write(tmp_path, MINIMAL.replace("5 ms", "5 parsec").replace("fps: 20", "fps: -3"))
    with pytest.raises(ScenarioError) as caught:
        sei.load_scenario(path)
    first, second = str(caught.value).splitlines()
    assert f"{path}:5: links[0].delay: '5 parsec' is not a time" in first
    assert f"{path}:6: workload.fps: -3 is out of range, it must be at least 1e-05" in second


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: b", "name: a", "two devices are called 'a'"),
        ("name: b", "name: a/b", "is not a name"),
        ("{source: digits}", "{source: digits, validation: 60 %, test: 60 %}", "more than all of the data"),
        (
            "{source: digits}",
            "{source: x, size: [16384, 16384]}",
            "16384 x 16384 are 268.4 M pixels per image, at most 50",
        ),
        ("{source: digits}", "{source: x, size: [0, 8]}", "size[0]: 0 is out of range"),
        ("{source: digits}", "{source: x, mean: [.nan]}", "data.mean[0]: a number is expected, given '.nan'"),
        ("{source: digits}", "{source: x, mean: [1.0e+300]}", "data.mean[0]: 1e+300 is out of range"),
        ("{source: digits}", "{source: x, std: [1.0e-300]}", "data.std[0]: 1e-300 is out of range"),
        (
            "{source: digits}",
            "{source: x, seed: 9223372036854775808}",
            "data.seed: 9223372036854775808 is out of range",
        ),
        ("{source: digits}", "digits", "is not a mapping of keys"),
        ("rate: 100 Mbit/s", "rate: 100 Mbit/s, mtu: 10.5 B", "not a whole number of bytes"),
        ("[accuracy >= 95 %]", "[accuracy >= 95 %, latency_p95 <= 5]", "requirements[1]"),
        ("delay: 5 ms", "delay: 5 ms, app_header: 12 B", "app_header: this key is unknown"),
        ("delay: 5 ms", "delay: 5 ms, framing: grpc", "links[0].framing: input should be 'sei' or 'none'"),
        ("delay: 5 ms", "delay: 5 ms, security: tls", "links[0].security: tls works over TCP, and plans.transports"),
        ("delay: 5 ms", "delay: 5 ms, security: dtls", "names tcp; leave these out, or write security: none"),
        ("delay: 5 ms}]", "delay: 5 ms, security: tls}]\nplans: {transports: [tcp-reno, udp-arq]}", "names udp-arq;"),
    ],
)
def test_other_faults(tmp_path, old, new, message):
    assert old in MINIMAL
    with pytest.raises(ScenarioError) as caught:
        sei.load_scenario(write(tmp_path, MINIMAL.replace(old, new)))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("security", "transports"),
    [("tls", "tcp, tcp-reno"), ("dtls", "udp, udp-arq, udp-interleaved"), ("none", "tcp, udp")],
)
def test_security_that_fits_its_transports(tmp_path, security, transports):
    text = MINIMAL.replace("delay: 5 ms", f"delay: 5 ms, security: {security}")
    scenario = sei.load_scenario(write(tmp_path, text + f"plans: {{transports: [{transports}]}}\n"))
    assert scenario.links[0].security == security


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(ScenarioError, match=r"nowhere\.yaml' does not exist; 'splitimpera scenario init'"):
        sei.load_scenario(tmp_path / "nowhere.yaml")
    with pytest.raises(ScenarioError, match="is a folder, a scenario file is expected"):
        sei.load_scenario(tmp_path)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"name: a\n\xff\xfe\x00")
    with pytest.raises(ScenarioError, match=r"binary\.yaml:2: this is not text in UTF-8"):
        sei.load_scenario(binary)


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*/scenario.yaml")), ids=lambda path: path.parent.name)
def test_the_examples_are_valid(path):
    from splitimpera.setting import resolve

    resolve(sei.load_scenario(path))


def test_every_key_is_documented():
    """By the page that shows the keys of its section, each with the text below its field (tests/docs/test_site.py)."""
    from splitimpera.scenario import Scenario, loading

    text = (ROOT / "docs" / "scenario.md").read_text()
    shown = set(re.findall(r"^```\{keys\} (\w+)$", text, re.MULTILINE))
    for section in (Scenario, *loading._SECTIONS.values()):
        assert section.__name__ in shown
