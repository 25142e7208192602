from __future__ import annotations

import numpy as np
import pytest

from splitimpera.codec.codec_names import codec_kind, parsed
from splitimpera.codec.codecs import Calibration, make_codec
from splitimpera.core.errors import CodecError, UnknownNameError
from splitimpera.records.graph import TensorSpec


def test_a_name_is_a_base_and_modifiers():
    name = parsed("uint4:channel+rans-packets:channel+interleaved+fec:20")
    assert (name.base, name.argument) == ("uint4", "channel")
    assert dict(name.modifiers) == {"rans-packets": "channel", "interleaved": "", "fec": "20"}
    assert name.concealment == "zero"
    assert parsed("float16+last").concealment == "last"


def test_the_order_of_modifiers_makes_no_difference():
    x = np.random.default_rng(0).normal(size=(4, 3, 10)).astype(np.float32)
    calibration = Calibration((TensorSpec("t", (3, 10)),), (x,), packet_bytes=24)
    first, second = (
        make_codec(name, calibration) for name in ("uint8+fec:50+mean+interleaved", "uint8+interleaved+fec:50+mean")
    )
    assert first.encode([x[0]]) == second.encode([x[0]])


def test_images_only():
    assert [codec_kind(name).images_only for name in ("png", "jpeg:9", "webp", "webp:7+fec:5", "uint8")] == [
        *(True, True, True, True),
        False,
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("float23", "did you mean 'float32'"),
        ("uint8+rand", "no codec modifier is called 'rand'; did you mean 'rans'"),
        ("", "no codec is called ''"),
        ("uint8+", "no codec modifier is called ''"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(UnknownNameError) as caught:
        codec_kind(name)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("float32:7", "'7' follows what takes no argument; leave ':7' out"),
        ("jpeg:0", "no quality from 1 to 95"),
        ("jpeg:²", "no quality from 1 to 95"),
        ("webp:101", "no quality from 1 to 100"),
        ("uint8:chanel", "':chanel' is not understood; write ':channel', ':token', or nothing"),
        ("uint8+fec", "no percentage from 1 to 200; write for example '+fec:20'"),
        ("uint8+fec:0", "no percentage"),
        ("uint8+zstd:20", "no level from 1 to 19"),
        ("uint8+mean:3", "takes no argument"),
        ("uint8+rans:4", "':4' is not understood"),
        ("float32+rans", "+rans does not go with float32; float32 takes +zstd, +zero"),
        ("png+interleaved", "+interleaved does not go with png; png takes +fec"),
        ("uint8+mean+mean", "+mean stands there twice"),
        ("uint8+rans+zstd", "+rans and +zstd exclude each other"),
        ("uint8+mean+last", "+mean and +last exclude each other"),
        ("uint8+interleaved+rans", "+interleaved is for frames with gaps, which +rans cannot read"),
        ("uint8+zstd+mean", "+mean is for frames with gaps, which +zstd cannot read"),
    ],
)
def test_names_that_make_no_sense(name, message):
    with pytest.raises(CodecError) as caught:
        codec_kind(name)
    assert message in str(caught.value)
    assert name in str(caught.value)


def test_packets_carry_something():
    x = np.zeros((1, 2), np.float32)
    with pytest.raises(CodecError, match="packets of 0 bytes carry nothing"):
        make_codec("uint8", Calibration((TensorSpec("t", (2,)),), (x,), packet_bytes=0))
