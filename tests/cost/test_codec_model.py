"""What codecs cost on a machine that is not at hand: a table, and the rule that makes seconds of it."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from conftest import ROOT

from splitimpera.codec.codec_names import CODECS, CODERS, CONCEALMENTS, parsed
from splitimpera.core.errors import CodecError, SplitImperaError
from splitimpera.cost.codec_model import DIRECTIONS, modelled_s, reference, stage
from splitimpera.cost.device_presets import DEVICES

HERE = replace(reference(), bytes_per_s=1e30)


def every_codec():
    """Each base, argument and modifier, and each pair of modifiers that goes together."""
    for base, kind in ((name, CODECS[name]) for name in CODECS.names()):
        written = [
            modifier + argument
            for modifier in kind.modifiers
            for argument in (
                {"fec": (":1", ":200"), "zstd": ("", *(f":{level}" for level in range(1, 20)))}.get(modifier)
                or (("", ":channel") if modifier in CODERS else ("",))
            )
        ]
        arguments = {"jpeg": ("", ":30"), "webp": ("", ":30")}.get(base, ("", ":channel"))
        for argument, first, second in product(arguments, ("", *written), ("", *written)):
            name = "+".join(part for part in (base + argument, first, second) if part)
            try:
                parsed(name)
            except SplitImperaError:
                continue
            yield name


def test_every_codec_has_a_cost_and_it_grows_with_the_tensors():
    names = set(every_codec())
    assert len(names) > 1000
    for name, direction in product(sorted(names), DIRECTIONS):
        times_s = [modelled_s(name, direction, size, reference()) for size in (400, 40_000, 4_000_000)]
        assert 0 < times_s[0] < times_s[1] < times_s[2] < 2, name
        assert modelled_s(name, "encode", 4e5, reference()) != modelled_s(name, "decode", 4e5, reference())


def test_fillings_cost_nothing_where_nothing_is_lost():
    for name in CONCEALMENTS:
        assert modelled_s(f"uint8+{name}", "decode", 4e4, HERE) == modelled_s("uint8", "decode", 4e4, HERE)


def test_stages_add_up():
    own, packed = stage("uint4", "encode"), stage("+zstd:9", "encode")
    expected = own.start_s + 1000 * own.unit_s + packed.start_s + 500 * packed.unit_s
    assert modelled_s("uint4+zstd:9", "encode", 4000, HERE) == pytest.approx(expected)
    coded, models = stage("uint2+rans", "decode"), stage("channel model", "decode")
    expected = coded.start_s + 1000 * coded.unit_s + 64 * models.unit_s
    assert modelled_s("uint2+rans:channel", "decode", 4000, HERE, channels=64) == pytest.approx(expected)


def test_repair_packets_cost_what_they_are_multiplied_from():
    """28000 bytes are 20 packets of 1400; of these 5 repair packets are made, in one group."""
    plain, packet, repair = stage("uint8", "encode"), stage("packet", "encode"), stage("repair", "encode")
    expected = plain.start_s + 28_000 * plain.unit_s
    expected += packet.start_s + 25 * packet.unit_s + 28_000 * 5 * repair.unit_s
    assert modelled_s("uint8+fec:25", "encode", 112_000, HERE) == pytest.approx(expected)
    ratio = modelled_s("uint8+fec:200", "encode", 4e8, HERE) / modelled_s("uint8+fec:200", "encode", 4e7, HERE)
    assert ratio == pytest.approx(10, rel=0.05)  # groups keep what a byte costs


def test_a_slower_core_and_a_slower_memory():
    twice = replace(HERE, core=2.0)
    assert modelled_s("webp+fec:10", "encode", 4e6, twice) == pytest.approx(
        2 * modelled_s("webp+fec:10", "encode", 4e6, HERE)
    )
    narrow = replace(HERE, bytes_per_s=1000.0)
    own = stage("float16", "decode")
    assert modelled_s("float16", "decode", 4e6, narrow) == pytest.approx(own.start_s + 1e6 * own.moved_bytes / 1000)


def test_codecs_that_there_are_not_have_no_cost():
    with pytest.raises(CodecError):
        modelled_s("float32+rans", "encode", 100, HERE)


@pytest.mark.parametrize("name", DEVICES.names())
def test_cores_are_documented(name):
    rows = (ROOT / "docs" / "devices.md").read_text().splitlines()
    row = next(row for row in rows if row.startswith(f"| `{name}` |"))
    assert f"| {DEVICES[name].roofline.core:g} |" in row
