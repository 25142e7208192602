"""What a device makes of some work: seconds, how they are known, joules, memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from splitimpera.core.errors import DataError, UnknownNameError
from splitimpera.cost.codec_model import modelled_s, reference
from splitimpera.cost.devices import (
    build_device,
    codec_cost,
    network_cost,
    roofline_s,
)
from splitimpera.cost.spending import energy_j, fits, memory_bytes, power_w
from splitimpera.cost.work import LayerWork, Work
from splitimpera.records.costs import Cost
from splitimpera.records.device import CodecTime, CutTime, Device, LayerTime, Profile, Radio, Roofline
from splitimpera.scenario import DeviceSection

HERE = Path()
ROOFLINE = Roofline("slow", 1000.0, 100.0, 0.5, 4096, 2.0, "nowhere")
LAYERS = (LayerWork(2000, 40, 60), LayerWork(0, 0, 300), LayerWork(500, 80, 10))
PROFILE = Profile(
    machine="somewhere",
    network="tiny",
    input_shape=(3,),
    fingerprint="0" * 16,
    engine="eager",
    threads=1,
    call_s=0.5,
    layers=tuple(LayerTime(f"l{place}", "linear", seconds, 0.0) for place, seconds in enumerate((4.0, 2.0, 1.0))),
    cuts=(CutTime(1, 5.0, 0.0, 3.25, 0.0), CutTime(3, 8.0, 0.0, 0.0, 0.0)),
    codecs=(CodecTime("float32", 1.0, 0.01, 2.0, 0.02), CodecTime("uint8", 3.0, 0.03, 4.0, 0.04)),
)


def work(start, end, **more):
    return Work(start, end, 3, LAYERS[start:end], 0, 0, 0, **more)


def not_asked():
    raise AssertionError("measured here, though the device is known")


def test_a_roofline_takes_the_longer_of_computing_and_moving():
    """2 s of MACs against 1 s of bytes; 3 s of bytes; 0.9 s of bytes against 0.5 s of MACs; and 0.5 s each."""
    assert roofline_s(ROOFLINE, work(0, 1)) == 2.0 + 0.5
    assert roofline_s(ROOFLINE, work(1, 2)) == 3.0 + 0.5
    assert roofline_s(ROOFLINE, work(0, 3)) == pytest.approx(2.0 + 3.0 + 0.9 + 1.5)
    assert roofline_s(ROOFLINE, work(0, 0)) == 0


def test_a_batch_moves_its_weights_once():
    """Of the last layer: 80 B of weights and 4 x 10 B, against 4 x 500 MACs."""
    assert roofline_s(ROOFLINE, work(2, 3, batch=4)) == pytest.approx(2.0 + 0.5)
    narrow = replace(ROOFLINE, macs_per_s=1e9)
    assert roofline_s(narrow, work(2, 3, batch=4)) == pytest.approx((80 + 4 * 10) / 100 + 0.5)


def test_the_halves_of_a_bottleneck_are_layers_of_the_roofline():
    assert roofline_s(ROOFLINE, work(0, 1, bottleneck_parts=(LAYERS[2],))) == pytest.approx(2.5 + 1.4)


def test_without_knowledge_of_the_device_it_is_measured_here():
    assert network_cost(Device("d"), work(0, 1), lambda: (2.0,)) == Cost(2.0, "measured")
    assert network_cost(Device("d", slowdown=40), work(0, 1), lambda: (2.0,)) == Cost(80.0, "scaled")
    assert codec_cost(Device("d"), "uint8", "encode", 100, lambda: (2.0,)) == Cost(2.0, "measured")


def test_a_roofline_estimates():
    assert network_cost(Device("d", roofline=ROOFLINE), work(0, 1), not_asked) == Cost(2.5, "estimated")
    assert network_cost(Device("d", 2.0, ROOFLINE), work(0, 1), not_asked) == Cost(5.0, "estimated")


def test_a_profile_without_samples_has_the_spread_of_its_quartiles():
    """As version 1 of the file has it; what slows one layer down slows its neighbours."""
    layers = tuple(replace(layer, spread_s=0.1 * layer.seconds) for layer in PROFILE.layers)
    cuts = (CutTime(1, 5.0, 0.5, 3.25, 0.0),)
    device = Device("d", profile=replace(PROFILE, layers=layers, cuts=cuts, call_s=0.0))
    head, tail, between = (network_cost(device, work(*ends), not_asked) for ends in ((0, 1), (1, 3), (1, 2)))
    for cost in (head, between):
        low, middle, high = np.percentile(cost.spread, [25, 50, 75])
        assert middle == pytest.approx(1.0, rel=0.01)
        assert (high - low) / 2 == pytest.approx(0.1, rel=0.05)
    assert tail.spread == ()


def test_a_roofline_has_the_spread_that_it_says():
    device = Device("d", roofline=replace(ROOFLINE, p95_ratio=1.2))
    network = network_cost(device, work(0, 1), not_asked)
    assert network.seconds == 2.5
    assert np.percentile(network.spread, 95) == pytest.approx(1.2, rel=0.01)
    assert codec_cost(device, "uint8", "encode", 100, not_asked).spread == network.spread


def test_a_profile_gives_what_it_measured_and_adds_up_what_it_did_not():
    device = Device("d", profile=PROFILE)
    assert network_cost(device, work(0, 1), not_asked) == Cost(5.0, "measured")
    assert network_cost(device, work(1, 3), not_asked) == Cost(3.25, "measured")
    assert network_cost(device, work(0, 3), not_asked) == Cost(8.0, "measured")
    assert network_cost(device, work(0, 2), not_asked) == Cost(0.5 + 4.0 + 2.0, "estimated")
    assert network_cost(device, work(2, 3), not_asked) == Cost(0.5 + 1.0, "estimated")
    assert network_cost(device, work(1, 2), not_asked) == Cost(0.5 + 2.0, "estimated")
    assert network_cost(device, work(0, 1, batch=3), not_asked) == Cost(15.0, "estimated")
    assert network_cost(replace(device, slowdown=2.0), work(0, 1), not_asked) == Cost(10.0, "scaled")


def test_a_profile_of_one_half_with_its_bottleneck_says_nothing_of_the_other_half():
    cuts = (CutTime(1, 7.0, 0.0, None, 0.0, bottleneck=16.0),)
    device, half = Device("d", profile=replace(PROFILE, cuts=cuts)), LayerWork(1000, 20, 40)
    with_encoder = work(0, 1, bottleneck_parts=(half,), leaving=16.0)
    assert network_cost(device, with_encoder, not_asked) == Cost(7.0, "measured")
    assert network_cost(device, work(0, 1), not_asked) == Cost(4.5, "estimated")
    tail = work(1, 3, bottleneck_parts=(half,), arriving=16.0)
    assert network_cost(device, tail, not_asked).how == "estimated"


def test_a_bottleneck_that_a_profile_does_not_know_runs_at_the_rate_of_the_layers_beside_it():
    """4 s for 2000 MACs; where no layer multiplies, 2 s for 300 bytes."""
    device, half = Device("d", profile=PROFILE), LayerWork(1000, 20, 40)
    assert network_cost(device, work(0, 1, bottleneck_parts=(half,), leaving=16.0), not_asked) == Cost(
        0.5 + 4.0 + 2.0, "estimated"
    )
    assert network_cost(device, work(1, 2, bottleneck_parts=(half,), leaving=16.0), not_asked) == Cost(
        0.5 + 2.0 + 2 / 300 * 60, "estimated"
    )


def test_codecs_of_a_profile():
    device = Device("d", profile=PROFILE)
    assert codec_cost(device, "float32", "encode", 100, not_asked) == Cost(1.0 + 1.0, "measured")
    assert codec_cost(device, "uint8", "decode", 100, not_asked) == Cost(4.0 + 4.0, "measured")


def test_a_codec_that_a_profile_does_not_know_is_as_much_slower_as_one_that_it_does():
    def model_s(name, direction):
        return modelled_s(name, direction, 100, reference())

    device = Device("d", profile=PROFILE)
    expected = model_s("uint8+rans", "encode") * 6.0 / model_s("uint8", "encode")
    assert codec_cost(device, "uint8+rans", "encode", 100, not_asked) == Cost(pytest.approx(expected), "estimated")
    expected = model_s("png", "decode") * 4.0 / model_s("float32", "decode")
    assert codec_cost(device, "png", "decode", 100, not_asked) == Cost(pytest.approx(expected), "estimated")
    without = Device("d", profile=replace(PROFILE, codecs=()))
    assert codec_cost(without, "uint8", "encode", 100, not_asked) == Cost(model_s("uint8", "encode"), "estimated")


def test_a_codec_on_a_roofline_is_modelled():
    device = Device("d", 2.0, replace(ROOFLINE, core=3.0))
    expected = 2.0 * modelled_s("uint4:channel+rans", "decode", 4000, device.roofline, 8)
    assert codec_cost(device, "uint4:channel+rans", "decode", 4000, not_asked, 8) == Cost(expected, "estimated")


def test_memory():
    assert fits(Device("d"), 10**12) is None
    assert fits(Device("d", roofline=ROOFLINE), 4096) is None
    assert (
        fits(Device("cortex", roofline=replace(ROOFLINE, memory_bytes=512_000)), 553_430_176, "the head")
        == "the head needs 553.4 MB of weights and activations, cortex has 512 kB"
    )
    own = Device("d", roofline=ROOFLINE, memory_bytes=100, power_w=7.0)
    assert (memory_bytes(own), power_w(own)) == (100, 7.0)
    assert "its part needs 101 B" in fits(own, 101)


def test_energy():
    radio = Radio("r", joule_per_byte=0.001, power_w=3.0)
    device = Device("d", power_w=2.0, radio=radio)
    assert energy_j(device, 4.0, 0, 0.0) == 8.0
    assert energy_j(device, 4.0, 1000, 0.5) == pytest.approx(8.0 + 1.0 + 1.5)
    assert energy_j(Device("d", roofline=ROOFLINE, radio=radio), 4.0, 1000, 0.5) == pytest.approx(10.5)
    assert energy_j(Device("d", radio=radio), 0.0, 1000, 0.5) == pytest.approx(2.5)


def test_energy_that_is_not_known():
    assert energy_j(Device("d"), 4.0, 0, 0.0) is None
    assert energy_j(Device("d", power_w=2.0), 4.0, 1000, 0.5) is None
    assert energy_j(Device("d", power_w=2.0), 4.0, 0, 0.0) == 8.0


def section(**keys):
    return DeviceSection.model_validate({"name": "d"} | keys)


def test_every_key_reaches_the_device():
    device = build_device(
        section(preset="cortex-m7", memory="1 MB", power="90 mW", radio="ble", slowdown=2, queue="drop-oldest"), HERE
    )
    assert device.roofline is not None
    assert (device.roofline.name, device.memory_bytes, device.power_w) == ("cortex-m7", 1_000_000, 0.09)
    assert device.radio is not None
    assert (device.radio.name, device.slowdown, device.queue) == ("ble", 2.0, "drop-oldest")
    own = build_device(section(radio={"joule_per_byte": 1e-6, "power": "1 W"}, batch=4), HERE)
    assert own.radio == Radio("d", 1e-6, 1.0)
    assert own.batch == 4


def test_what_does_not_exist_is_named_with_its_key():
    with pytest.raises(
        UnknownNameError, match=r"^preset: no device preset is called 'jetson-nan'; did you mean 'jetson"
    ):
        build_device(section(preset="jetson-nan"), HERE)
    with pytest.raises(UnknownNameError, match=r"^radio: no radio is called 'LTE5'; did you mean 'lte'"):
        build_device(section(radio="LTE5"), HERE)
    with pytest.raises(
        DataError, match=r"^profile: the profile '.*nowhere.json' does not exist; 'splitimpera profile'"
    ):
        build_device(section(profile="nowhere.json"), HERE)
