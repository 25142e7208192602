"""All tensors that cross a pyramid's cuts go through one payload, each by constants of its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from task_networks import FeaturePyramid

import splitimpera as sei
from splitimpera.codec.codecs import Calibration, calibrate, codec_from
from splitimpera.graph.tracing import evaluating


@pytest.fixture(scope="module")
def crossings():
    """The specs and the tensors, 8 frames each, of every cut where several cross."""
    torch.manual_seed(0)
    model, x = FeaturePyramid(), torch.rand(8, 3, 32, 32)
    graph = sei.trace(model, x)
    several = [cut for cut in graph.cuts[:-1] if not cut.single]
    assert max(len(cut.tensors) for cut in several) >= 4
    assert any(spec.dtype == "int64" for cut in several for spec in cut.tensors)
    with torch.no_grad(), evaluating(model):
        return [(cut.tensors, tuple(y.numpy() for y in sei.split(graph, cut).head(x))) for cut in several]


def decoded(name, specs, tensors):
    """Each frame, and what comes back of it from a decoder that is made of the constants alone."""
    constants = calibrate(name, Calibration(specs, tensors))
    encoder, decoder = codec_from(constants), codec_from(constants, specs)
    for given in zip(*tensors, strict=True):
        frame = [np.asarray(y) for y in given]
        yield frame, decoder.decode(encoder.encode(frame).data)


def test_float32_is_exact(crossings):
    for specs, tensors in crossings:
        for given, made in decoded("float32", specs, tensors):
            for ours, theirs in zip(made, given, strict=True):
                np.testing.assert_array_equal(ours, theirs, strict=True)


@pytest.mark.parametrize("codec", ["uint8", "uint8:channel"])
def test_quantised_floats_are_within_half_a_step_of_their_own_tensor_and_integers_exact(crossings, codec):
    for specs, tensors in crossings:
        steps = [(float(y.max()) - float(y.min())) / 255 for y in tensors]
        for given, made in decoded(codec, specs, tensors):
            for spec, step, ours, theirs in zip(specs, steps, made, given, strict=True):
                assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
                error = np.abs(ours.astype(np.float64) - theirs).max()
                assert error == 0 if spec.dtype == "int64" else error <= step * 0.501


def test_each_tensor_has_constants_of_its_own(crossings):
    specs, tensors = max(crossings, key=lambda crossing: len(crossing[0]))
    scaled = tuple(y * y.dtype.type(10**place) for place, y in enumerate(tensors))
    for given, made in decoded("uint8", specs, scaled):
        for spec, whole, ours, theirs in zip(specs, scaled, made, given, strict=True):
            if spec.dtype != "int64":  # the largest of them would swallow the smallest
                step = (float(whole.max()) - float(whole.min())) / 255
                assert np.abs(ours.astype(np.float64) - theirs).max() <= step * 0.501
