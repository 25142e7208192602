"""Link presets, and the link that a scenario's section makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import ROOT
from pydantic import ValidationError

from splitimpera.core import units
from splitimpera.core.errors import ScenarioError, SimulationError, UnknownNameError
from splitimpera.net.link_presets import LINK_HEADERS, PRESETS, link_header_bytes, link_preset
from splitimpera.net.links import build_link, link_values
from splitimpera.records.link import Link
from splitimpera.scenario import LinkSection, Scenario, load_scenario

HERE = Path()


def section(**keys) -> LinkSection:
    return LinkSection.model_validate(keys)


@pytest.mark.parametrize("name", PRESETS.names())
def test_presets_are_documented_with_their_numbers_and_sources(name):
    preset = PRESETS[name]
    rows = (ROOT / "docs" / "scenario.md").read_text().splitlines()
    row = next(row for row in rows if row.startswith(f"| `{name}` |"))
    assert units.format_rate(preset.link.rate_bps) in row
    assert units.format_time(preset.link.delay_s) in row
    assert preset.description in row
    assert preset.source in row
    assert preset.link.name == name


@pytest.mark.parametrize("name", PRESETS.names())
def test_presets_leave_room_for_data(name):
    link = link_preset(name)
    assert build_link(section(preset=name), HERE).rate_bps == link.rate_bps
    assert link.mtu_bytes - 52 - 20 >= 16


def test_the_released_framework():
    link = link_preset("framework")
    assert (link.rate_bps, link.loss, link.link_header_bytes) == (1e9, 0.0, 2)
    assert link.delay_s == pytest.approx(1e-4)


def test_what_3gpp_asks_of_split_inference():
    """TS 22.261, table 7.10.1-1: the payloads fit into the latencies at the rates."""
    images, media, robots = (
        PRESETS[f"3gpp-{name}"] for name in ("image-recognition", "media-recognition", "robot-control")
    )
    assert (images.frame_bytes, images.response_bytes) == (270_000, None)
    assert images.frame_bytes * 8 / images.link.rate_bps == pytest.approx(images.latency_s)
    assert (media.frame_bytes, media.response_bytes, media.link.downlink_rate_bps) == (None, 1_500_000, 150e6)
    assert media.response_bytes * 8 / media.link.downlink_rate_bps < media.latency_s == pytest.approx(0.1)
    assert (robots.response_bytes, robots.link.downlink_rate_bps) == (40_000, 320e6)
    assert robots.response_bytes * 8 / robots.link.downlink_rate_bps < robots.latency_s == pytest.approx(0.012)


def test_lora_takes_as_long_as_its_data_sheet_says():
    """SX1276: symbols of 1.024 ms, 12.25 of them before a packet; within the rounding to whole blocks of symbols."""
    link = link_preset("lora-sf7")
    for size in range(20, link.mtu_bytes + 1):
        blocks = -(-(8 * (size + 13) - 28 + 28 + 16) // 28)
        on_air_s = (12.25 + 8 + 5 * blocks) * 1.024e-3
        assert (size + link.link_header_bytes) * 8 / link.rate_bps == pytest.approx(on_air_s, abs=0.003)


def test_unknown_names_get_the_nearest():
    with pytest.raises(UnknownNameError, match="no link preset is called 'wifi5'; did you mean 'wifi-5'"):
        link_preset("wifi5")
    with pytest.raises(UnknownNameError, match="no link layer is called 'ether'; did you mean"):
        link_header_bytes("ether")


def test_link_headers_by_name():
    assert link_header_bytes(5) == 5
    assert build_link(section(rate="1 Mbit/s", delay=0, link_header="ethernet"), HERE).link_header_bytes == 14
    assert LINK_HEADERS["ethernet-wire"] == LINK_HEADERS["ethernet-fcs"] + 7 + 1 + 12


def test_keys_go_before_the_preset():
    link = build_link(section(preset="lte", rate="1 Mbit/s", loss="2 %", link_header=14), HERE)
    assert (link.name, link.rate_bps, link.loss, link.link_header_bytes) == ("lte", 1e6, 0.02, 14)
    assert link.downlink_rate_bps == 13e6
    assert link.delay_s == pytest.approx(0.0245)
    assert link.app_header_bytes == 20
    assert build_link(section(preset="lte", name="radio"), HERE).name == "radio"


def test_every_key_reaches_the_link():
    link = build_link(
        section(
            name="radio",
            rate="8 Mbit/s",
            delay="5 ms",
            loss="2 %",
            loss_burst=3,
            downlink_rate="1 Mbit/s",
            downlink_delay="7 ms",
            downlink_loss="1 %",
            jitter="2 ms",
            jitter_distribution="exponential",
            reorder=True,
            queue="64 kB",
            queue_packets=100,
            mtu=1400,
            link_header=14,
            framing="none",
        ),
        HERE,
    )
    assert link == Link(
        **{"name": "radio", "rate_bps": 8e6, "delay_s": 0.005, "loss": 0.02, "mtu_bytes": 1400},
        **{"link_header_bytes": 14, "app_header_bytes": 0, "loss_burst": 3.0, "downlink_loss": 0.01},
        **{"downlink_rate_bps": 1e6, "downlink_delay_s": 0.007, "jitter_s": 0.002, "jitter": "exponential"},
        **{"reorder": True, "queue_bytes": 64_000, "queue_packets": 100},
    )


@pytest.mark.parametrize(
    ("framing", "security", "datagram_bytes", "record_bytes"),
    [
        ("none", "none", 0, 0),
        ("sei", "none", 20, 0),
        ("sei", "dtls", 57, 0),
        ("none", "dtls", 37, 0),
        ("sei", "tls", 20, 22),
    ],
)
def test_what_framing_and_security_add(framing, security, datagram_bytes, record_bytes):
    link = build_link(section(rate="1 Mbit/s", delay=0, framing=framing, security=security), HERE)
    assert (link.app_header_bytes, link.stream_record_bytes) == (datagram_bytes, record_bytes)


def test_a_datagram_is_one_dtls_record():
    most = 28 + 37 + 16384
    assert build_link(section(rate="1 Mbit/s", delay=0, security="dtls", mtu=most), HERE).mtu_bytes == most
    with pytest.raises(ScenarioError, match="more than a DTLS record holds; take 16449 B"):
        build_link(section(rate="1 Mbit/s", delay=0, security="dtls", mtu=most + 1), HERE)


def test_files_are_found_beside_the_scenario(tmp_path):
    (tmp_path / "ride.csv").write_text("time_s,rate_bps,delay_s,loss\n0,1e6,0.01,0\n1,3e6,0.03,0.5\n")
    (tmp_path / "drops.json").write_text("[1, 2]")
    link = build_link(section(trace="ride.csv", drops="drops.json"), tmp_path)
    assert link.trace.rate_bps == (1e6, 3e6)
    assert link.drops == (1, 2)
    assert (link.rate_bps, link.delay_s, link.loss) == (2e6, 0.02, 0.25)


def test_the_mean_of_steps_counts_how_long_they_last(tmp_path):
    (tmp_path / "t.csv").write_text("time_s,rate_bps,loss\n0,4e6,0.1\n3,0,0.5\n4,1e6,0\n")
    link = build_link(section(delay=0, trace="t.csv"), tmp_path)
    assert link.rate_bps == pytest.approx((3 * 4e6 + 0 + 1e6) / 5)
    assert link.loss == pytest.approx((3 * 0.1 + 0.5) / 5)


def test_the_mean_rate_of_a_schedule(tmp_path):
    (tmp_path / "schedule").write_text("1\n1\n2\n")
    link = build_link(section(preset="lte", trace="schedule"), tmp_path)
    assert link.rate_bps == pytest.approx(3 * 1504 * 8 / 0.002)


def test_who_gives_what(tmp_path):
    (tmp_path / "t.csv").write_text("time_s,rate_bps\n0,1e6\n")
    with pytest.raises(ScenarioError, match=r"links\[0\].rate: the trace 't.csv' gives it; leave it out"):
        build_link(section(rate="1 Mbit/s", delay=0, trace="t.csv"), tmp_path)
    with pytest.raises(
        ScenarioError, match=r"links\[0\].delay: this key is missing, the trace 't.csv' does not give it"
    ):
        build_link(section(trace="t.csv"), tmp_path)
    with pytest.raises(ValidationError, match="leave out loss"):
        section(rate="1 Mbit/s", delay=0, drops="d.json", loss=0.1)
    with pytest.raises(
        ScenarioError,
        match=r"links\[0\]: an mtu of 120 B leaves no room for data .* 57 B of framing and security; 125 B are enough",
    ):
        build_link(section(preset="lora-sf7", security="dtls", mtu=120), HERE)
    (tmp_path / "t.csv").write_text("time_s,rate_bps\n0,slow\n")
    with pytest.raises(SimulationError, match=r"^links\[0\].trace: .*t.csv:2: rate_bps: a plain number is expected"):
        build_link(section(trace="t.csv", delay=0), tmp_path)


def test_a_shown_link_has_numbers(tmp_path):
    (tmp_path / "schedule").write_text("1\n")
    path = tmp_path / "scenario.yaml"
    path.write_text(
        "network: {model: digits-vgg16}\ndata: {source: digits}\ndevices: [{name: a}, {name: b}]\n"
        "links: [{preset: lte, trace: schedule}]\nworkload: {fps: 20, senders: 3, response: 1 kB}\n"
        "requirements: [accuracy >= 95 %]\n"
    )
    scenario = load_scenario(path)
    link = link_values(scenario.links[0], build_link(scenario.links[0], tmp_path))
    assert (link["name"], link["rate"], link["preset"], link["trace"]) == ("lte", 12.032e6, "lte", "schedule")
    assert link["delay"] == pytest.approx(0.0245)
    assert Scenario.model_validate(scenario.document()) == scenario
    assert (scenario.workload.record().senders, scenario.workload.record().response_bytes) == (3, 1000)
