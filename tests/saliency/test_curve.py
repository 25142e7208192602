from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitimpera.records.graph import Cut, TensorSpec
from splitimpera.saliency.curve import SaliencyCurve, curve_points, global_maximum, local_maxima, shrinking


@pytest.mark.parametrize(
    ("curve", "maxima"),
    [
        ([1, 2, 1], (1,)),
        ([2, 1, 2], ()),  # ends have only one neighbour
        ([1, 2, 2, 1], ()),  # nor is a plateau a maximum
        ([1, 3, 2, 5, 4], (1, 3)),
        ([1, 2], ()),
        ([], ()),
    ],
)
def test_local_maxima(curve, maxima):
    assert local_maxima(np.array(curve, dtype=float)) == maxima


@given(st.lists(st.floats(-5, 5), max_size=20))
def test_no_two_maxima_are_neighbours(values):
    maxima = local_maxima(np.array(values))
    assert all(b - a > 1 for a, b in pairwise(maxima))


def test_the_global_maximum_leaves_the_last_point_aside():
    assert global_maximum(np.array([1.0, 3.0, 2.0, 9.0])) == (1,)
    assert global_maximum(np.array([1.0])) == ()


def test_what_is_not_finite_is_no_global_maximum():
    assert global_maximum(np.array([1.0, np.inf, np.nan, 2.0, 0.0])) == (3,)
    assert global_maximum(np.array([np.nan, np.inf, 2.0])) == ()


def test_less_crosses_than_ever_before_and_than_the_input():
    assert shrinking(np.array([100, 100, 80, 80, 90, 50]), 100) == (2, 5)
    assert shrinking(np.array([90, 80]), 70) == ()


def cut(index, *shapes, names=None):
    tensors = tuple(TensorSpec("t", shape) for shape in shapes)
    return Cut(index, f"layer{index}", tensors, names or tuple(f"n{index}{i}" for i in range(len(shapes))), 0, 0, 0, 0)


def test_the_curve_has_maps():
    cuts = [
        cut(0, (3, 8, 8)),
        cut(1, (4, 8, 8)),
        cut(2, (4, 8, 8), (4, 8, 8)),
        cut(3, (4, 1, 1)),
        cut(4, (9,)),
        cut(5, (2,)),
    ]
    points, on_curve = curve_points(cuts)
    assert [point.index for point in points] == [1, 2, 3, 4]
    assert on_curve == [True, True, True, False]


def test_vectors_make_the_curve_where_there_is_nothing_else():
    points, on_curve = curve_points([cut(0, (9,)), cut(1, (8,)), cut(2, (7,)), cut(3, (2,))])
    assert [point.index for point in points] == [1, 2]
    assert on_curve == [True, True]


def test_tokens_are_maps():
    points, on_curve = curve_points([cut(0, (3, 8, 8)), cut(1, (7, 3)), cut(2, (3,)), cut(3, (2,))])
    assert [point.index for point in points] == [1, 2]
    assert on_curve == [True, False]


def test_two_cuts_with_the_same_tensor_are_one_point():
    same = [cut(place, (4, 8, 8), names=("relu",)) for place in (1, 2)]
    points, on_curve = curve_points([cut(0, (3, 8, 8)), *same, cut(3, (2, 1, 1))])
    assert [point.index for point in points] == [1]
    assert on_curve == [True]


def five_points(**given):
    curve = SaliencyCurve(
        cuts=(1, 2, 4, 7, 9),
        names=tuple("abcde"),
        scores={"cs": np.array([1.0, 5.0, 2.0, 4.0, 3.0])},
        bytes=(90, 80, 80, 85, 40),
        macs_head=(1, 2, 3, 4, 5),
        per_class={0: np.full(5, 1.0), 1: np.full(5, 4.0)},
        class_counts={0: 1, 1: 2},
        class_names=("cat", "dog"),
        on_curve=(True,) * 5,
        samples=3,
        input_bytes=85,
    )
    return replace(curve, **given)


def test_equal_sizes_share_their_mean_rank():
    """By CS the last is first; by bytes it is fifth, and the others are 2.5th: 0 + 4 against 1.5 + 1, 2, 3 and 4."""
    curve = five_points(scores={"cs": np.array([4.0, 3.0, 2.0, 1.0, 5.0])}, bytes=(50, 50, 50, 50, 90))
    assert curve.ranking == (0, 1, 4, 2, 3)


def test_a_class_without_a_name_is_called_by_its_label():
    curve = five_points()
    assert [curve.class_name(label) for label in (0, 1, 2, -1)] == ["cat", "dog", "2", "-1"]


def test_candidates_say_why():
    curve = five_points()
    assert [(c.cut, c.reasons) for c in curve.candidates] == [
        (2, ("local maximum of CS", "global maximum of CS", "smallest output so far (CDE)")),
        (7, ("local maximum of CS",)),
        (9, ("smallest output so far (CDE)",)),
    ]
    assert curve.ranking[0] == 1  # first in CS, second in bytes
    np.testing.assert_allclose(curve.of_classes([0, 1]), 3.0)
    assert curve.dead == curve.not_finite == ()
    assert curve.maxima == (1, 3)
    assert curve.at_cut(4) == 2.0
    assert curve.at_cut(3) is None
