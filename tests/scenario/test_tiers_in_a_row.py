"""Scenarios of three devices and more: what fits together, and what is said where it does not."""

from __future__ import annotations

import copy

import pytest

from splitimpera.core.errors import ScenarioError, SplitImperaError
from splitimpera.scenario import Scenario
from splitimpera.scenario.loading import validated
from splitimpera.setting import resolve

DOCUMENT = {
    "network": {"model": "digits-vgg16"},
    "data": {"source": "digits"},
    "devices": [
        {"name": "sensor", "preset": "cortex-m7", "count": 6},
        {"name": "gateway", "preset": "raspberry-pi-4", "count": 2},
        {"name": "cloud", "preset": "t4"},
    ],
    "links": [{"preset": "wifi-6", "codecs": ["uint8"]}, {"preset": "lte", "transports": ["tcp"]}],
    "workload": {"fps": 5},
    "requirements": ["latency_p95 <= 1 s"],
}


def with_values(**values):
    """The document with some values changed: 'links[1].name' by links_1_name."""
    made = copy.deepcopy(DOCUMENT)
    for key, value in values.items():
        *way, last = [int(part) if part.isdigit() else part for part in key.split("_")]
        inner = made
        for part in way:
            inner = inner[part]
        if value is None:
            inner.pop(last)
        else:
            inner[last] = value
    return made


def test_each_link_has_its_own_codecs_and_transports_or_those_of_all():
    scenario = Scenario.model_validate(DOCUMENT)
    assert [scenario.codecs_of(place) for place in (0, 1)] == [
        ("links[0].codecs", ["uint8"]),
        ("plans.codecs", ["float32", "uint8"]),
    ]
    assert [scenario.transports_of(place)[1] for place in (0, 1)] == [["tcp", "udp"], ["tcp"]]


def test_as_many_senders_as_first_devices():
    scenario = Scenario.model_validate(DOCUMENT)
    assert scenario.workload.senders == 6
    assert Scenario.model_validate(scenario.document()) == scenario
    assert Scenario.model_validate(with_values(workload_senders=6)).workload.senders == 6
    assert Scenario.model_validate(with_values(devices_0_count=None, workload_senders=3)).workload.senders == 3


def test_it_is_resolved_in_the_order_of_the_way():
    setting = resolve(Scenario.model_validate(DOCUMENT))
    assert [device.name for device in setting.devices] == ["sensor", "gateway", "cloud"]
    assert [device.count for device in setting.devices] == [6, 2, 1]
    assert [link.name for link in setting.links] == ["wifi-6", "lte"]
    assert setting.link is setting.links[0]
    assert setting.workload.senders == 6


def test_two_devices_are_written_as_before():
    two = with_values(devices_2=None, devices_1_count=None, devices_0_count=None, links_1=None, links_0_codecs=None)
    scenario = Scenario.model_validate(two)
    assert "count" not in str(scenario.document())
    assert not {"codecs", "transports"} & scenario.links[0].plain().keys()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"links_1": None}, "links: 1 given, 3 devices have 2 links, one from each to the next"),
        ({"devices_2": None}, "links: 2 given, 2 devices have 1 link"),
        ({"devices_2_name": "sensor"}, "devices: two devices are called 'sensor'"),
        ({"links_0_preset": "lte"}, "links: two links are called 'lte'; give each a name of its own"),
        ({"links_1_name": "gateway"}, "links: a device is also called 'gateway'"),
        ({"devices_2_count": 3}, "devices[2].count: 3 given, only 2 send to them"),
        ({"devices_1_count": 7}, "devices[1].count: 7 given, only 6 send to them"),
        ({"workload_senders": 5}, "devices[0].count: 6 given, workload.senders says 5"),
        ({"devices_1_count": 0}, "devices[1].count: 0 is out of range"),
        ({"links_1_security": "dtls"}, "links[1].security: dtls works over UDP, and links[1].transports names tcp"),
        ({"links_0_security": "tls"}, "links[0].security: tls works over TCP, and plans.transports names udp"),
        ({"links_1_transports": []}, "links[1].transports: 0 entries are given, at least 1"),
        ({"devices": [{"name": f"d{place}"} for place in range(17)]}, "devices: 17 entries are given, at most 16"),
    ],
)
def test_what_does_not_fit(values, message):
    with pytest.raises(ScenarioError) as caught:
        validated(Scenario, with_values(**values))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"links_0_codecs": ["uint8", "uint9"]}, r"links\[0\]\.codecs\[1\].*uint9"),
        ({"links_0_codecs": ["png"]}, r"links\[0\]\.codecs\[0\]: 'png' writes images only"),
        ({"links_1_transports": ["tcp", "quic"]}, r"links\[1\]\.transports\[1\].*quic"),
        ({"links_1_preset": "lt"}, r"links\[1\]\.preset"),
        ({"devices_2_preset": "t44"}, r"devices\[2\]\.preset"),
    ],
)
def test_names_are_looked_up_for_every_link_and_device(values, message):
    with pytest.raises(SplitImperaError, match=message):
        resolve(Scenario.model_validate(with_values(**values)))
