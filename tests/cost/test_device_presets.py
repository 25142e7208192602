"""Machines and radios by name."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import pytest
import torch
from conftest import ROOT
from torch import Tensor, nn

from splitimpera.core import units
from splitimpera.core.errors import UnknownNameError
from splitimpera.cost.device_presets import DEVICES, RADIOS
from splitimpera.cost.devices import roofline_s
from splitimpera.cost.work import NetworkWork
from splitimpera.graph.tracing import trace
from splitimpera.models.reference import REFERENCE

EXPECTED = {
    *("raspberry-pi-4", "raspberry-pi-5", "jetson-nano", "jetson-orin-nano", "jetson-agx-orin", "cortex-m4"),
    *("cortex-m7", "phone", "laptop-cpu", "t4", "l4", "a100", "h100"),
}


def rows():
    return (ROOT / "docs" / "devices.md").read_text().splitlines()


def test_the_devices_that_are_promised():
    assert set(DEVICES.names()) == EXPECTED


@pytest.mark.parametrize("name", DEVICES.names())
def test_devices_are_documented_with_their_numbers_and_sources(name):
    preset = DEVICES[name]
    roofline = preset.roofline
    assert min(roofline.macs_per_s, roofline.bytes_per_s, roofline.layer_s, roofline.memory_bytes, roofline.power_w) > 0
    assert roofline.source
    assert roofline.note
    row = next(row for row in rows() if row.startswith(f"| `{name}` |"))
    assert f"{roofline.macs_per_s / 1e9:g} G" in row
    assert f"{roofline.bytes_per_s / 1e9:.4g} GB/s" in row
    assert units.format_time(roofline.layer_s) in row
    assert roofline.p95_ratio >= 1
    assert f"| {roofline.p95_ratio:.2f} |" in row
    assert units.format_bytes(roofline.memory_bytes) in row
    assert f"{roofline.power_w:g} W" in row
    assert preset.description in row
    text = " ".join(" ".join(rows()).split())  # the lines are wrapped
    assert roofline.source in text
    assert roofline.note in text


@pytest.mark.parametrize("name", RADIOS.names())
def test_radios_are_documented_with_their_numbers_and_sources(name):
    radio = RADIOS[name].radio
    row = next(row for row in rows() if row.startswith(f"| `{name}` |"))
    assert f"{1e6 * radio.joule_per_byte:.4g} uJ" in row
    assert f"{radio.power_w:g} W" in row
    assert radio.source in row


def test_the_radios_of_huang_et_al():
    """mW a Mbit/s are nJ a bit."""
    assert RADIOS["lte"].radio.joule_per_byte == pytest.approx(438.39e-9 * 8)
    assert RADIOS["lte"].radio.power_w == pytest.approx(1.28804)
    assert RADIOS["wifi"].radio.joule_per_byte == pytest.approx(283.17e-9 * 8)
    assert RADIOS["3g"].radio.power_w == pytest.approx(0.81788)


def test_unknown_names_get_the_nearest():
    with pytest.raises(
        UnknownNameError, match="no device preset is called 'raspberry-pi4'; did you mean 'raspberry-pi-"
    ):
        DEVICES["raspberry-pi4"]
    with pytest.raises(UnknownNameError, match="no radio is called 'wi-fi'; did you mean 'wifi'"):
        RADIOS["wi-fi"]


def mobilenet_v1(width: float, classes: int) -> nn.Module:
    """Howard et al., 2017."""

    def conv(into: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
        made = nn.Conv2d(into, out, kernel, stride, kernel // 2, groups=groups, bias=False)
        return [made, nn.BatchNorm2d(out), nn.ReLU()]

    channels = [int(count * width) for count in (32, 64, 128, 128, 256, 256, *[512] * 6, 1024, 1024)]
    layers = conv(3, channels[0], 3, 2)
    for place, (into, out) in enumerate(pairwise(channels)):
        layers += conv(into, into, 3, 2 if place in (1, 3, 5, 11) else 1, into) + conv(into, out, 1)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels[-1], classes))


NETWORKS = {
    "mobilenet_v1": lambda: mobilenet_v1(1, 1000),
    "mobilenet_v1_025": lambda: mobilenet_v1(0.25, 2),
    **{name: REFERENCE[name] for name in ("mobilenet_v2", "resnet50")},
}


@cache
def whole(network, shape):
    work = NetworkWork(trace(NETWORKS[network](), torch.zeros(1, *shape)))
    return work.between(0, len(work.nodes))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name, marks=pytest.mark.slow if name in ("jetson-nano", "raspberry-pi-4", "phone", "cortex-m4") else ()
        )
        for name in DEVICES.names()
    ],
)
def test_the_estimates_are_as_far_from_published_times_as_is_said(name):
    preset = DEVICES[name]
    errors = [
        roofline_s(preset.roofline, whole(published.network, published.input_shape)) / published.seconds - 1
        for published in preset.published
    ]
    row = next(row for row in rows() if row.startswith(f"| `{name}` |"))
    if errors:
        assert preset.roofline.error == pytest.approx(max(errors, key=abs), abs=0.005)
        assert row.endswith(f" {preset.roofline.error:+.0%} |".replace("%", " %"))
    else:
        assert preset.roofline.error is None
        assert row.endswith(" ? |")


@pytest.mark.slow
def test_the_work_of_which_the_sources_speak():
    """569 M MACs of MobileNet v1, and 12.5 M of MLPerf Tiny's image classification, a ResNet with 8 layers."""

    class Block(nn.Module):
        def __init__(self, into: int, out: int, stride: int) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(into, out, 3, stride, 1), nn.ReLU(), nn.Conv2d(out, out, 3, 1, 1))
            self.skip = nn.Conv2d(into, out, 1, stride) if stride > 1 else nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(self.body(x) + self.skip(x))

    assert whole("mobilenet_v1", (3, 224, 224)).macs == 568_740_352
    blocks = [Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2)]
    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)]
    work = NetworkWork(trace(nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1), *blocks, *end), torch.zeros(1, 3, 32, 32)))
    macs = work.between(0, len(work.nodes)).macs
    assert macs == 12_501_632
    assert DEVICES["cortex-m4"].roofline.macs_per_s == pytest.approx(macs * 4.407, rel=0.001)
    assert DEVICES["cortex-m7"].roofline.macs_per_s == pytest.approx(macs * 18.401, rel=0.001)
    assert DEVICES["phone"].roofline.macs_per_s == pytest.approx(568_740_352 / 0.027, rel=0.005)
