from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from splitimpera.codec.concealment import interleaved

SHAPES = [(16, 8, 8), (64, 20, 20), (32, 14, 14), (8, 7, 7), (196, 48), (3, 32, 32), (1000,), (21, 13, 34)]


@given(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9))
def test_every_element_is_sent_once(shape):
    order = interleaved(shape)
    np.testing.assert_array_equal(np.sort(order), np.arange(np.prod(shape, dtype=int)))


def packet_of(shape, packets):
    order = interleaved(shape)
    found = np.empty(len(order), dtype=int)
    found[order] = np.arange(len(order)) * packets // len(order)
    return found.reshape(shape)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("packets", [8, 20])
def test_neighbours_travel_in_different_packets(shape, packets):
    found = packet_of(shape, packets)
    for axis in range(len(shape)):
        assert (np.diff(found, axis=axis) != 0).all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("packets", [2, 3, 8])
def test_a_lost_packet_thins_out_every_part_alike(shape, packets):
    for packet in range(packets):
        lost = (packet_of(shape, packets) == packet).reshape(-1)
        windows = np.lib.stride_tricks.sliding_window_view(lost, 100).mean(axis=1)
        assert np.abs(windows - 1 / packets).max() < 0.08
