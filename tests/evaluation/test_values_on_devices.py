"""Values computed on a named device; times stay those of the CPU."""

from __future__ import annotations

import beds
import numpy as np
import pytest
import torch
from accelerators import ACCELERATORS
from training import splits

import splitimpera as sei
from splitimpera.core.errors import ScenarioError, UnknownNameError
from splitimpera.evaluation.programs import Programs
from splitimpera.evaluation.testbed import Coding
from splitimpera.graph.moving import moved
from splitimpera.models.datasets import Dataset
from splitimpera.records.spans import Span
from splitimpera.records.traffic import Workload
from splitimpera.training.split import train_split

META = torch.device("meta")
RATIO = 2.0
PLANS = beds.plan(2, "uint8", loss=0.1), beds.plan(2, "float32", "tcp")
pytestmark = pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")  # which `meta` is meant to do


@pytest.fixture(scope="module")
def bed():
    return beds.known_bed()


@pytest.fixture(scope="module", params=[False, True], ids=["tail", "finetune_head"])
def split(request):
    arguments = splits.ARGUMENTS | {"epochs": (1, 1), "ratio": RATIO, "finetune_head": request.param}
    return train_split(splits.traced(), splits.CUT, splits.samples_of(48), **arguments)


def on(bed, device=None, autocast=None):
    return sei.Testbed(bed.graph, bed.data, bed.workload, device, autocast)


def with_split(split, device=None, autocast=None):
    samples = splits.samples_of(96)
    bed = sei.Testbed(splits.traced(), Dataset(samples, samples, samples), Workload(10.0, 1000), device, autocast)
    bed.add_split(RATIO, split)
    return bed


def crossing(bed, split, x):
    """What a bottleneck sends, in one call and from what crosses its cut, and what is made of it."""
    cut = split.cut.index
    (sent,) = bed.call(Span(0, cut, 0.0, RATIO), (x,))
    (same,) = bed.encoded(cut, RATIO, (x,), bed.call(Span(0, cut), (x,)))
    (result,) = bed.call(Span(cut, bed.last, RATIO), (sent,))
    return sent, same, result


def test_the_cpu_by_name_changes_nothing(bed):
    named = on(bed, "cpu")
    for plan in PLANS:
        here, there = beds.run(bed, plan), beds.run(named, plan)
        assert (there.quality, there.quality_ci) == (here.quality, here.quality_ci)
        np.testing.assert_array_equal(there.latency_s, here.latency_s)
    assert named.digest([]) == bed.digest([])


def test_mixed_precision_gives_nearly_the_same(bed):
    mixed, x = on(bed, autocast="bfloat16"), bed.data.validation.inputs
    whole = Span(0, bed.last)
    (exact,), (rounded,) = bed.call(whole, (x,)), mixed.call(whole, (x,))
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.05)
    for plan in PLANS:
        assert abs(beds.run(mixed, plan).quality - beds.run(bed, plan).quality) <= 0.1


def test_a_bottleneck_in_mixed_precision_sends_its_own_levels(split):
    """Latents are rounded after they are float32 again: all are levels that the codec knows."""
    x = splits.samples_of(16).inputs
    exact, mixed = (crossing(with_split(split, autocast=autocast), split, x) for autocast in (None, "bfloat16"))
    step = split.highs[0] / (2**split.bits - 1)
    for sent, same, _ in (exact, mixed):
        assert torch.equal(sent, same)
        torch.testing.assert_close(sent / step, (sent / step).round(), rtol=0, atol=1e-4)
    torch.testing.assert_close(mixed[0], exact[0], rtol=0, atol=1.01 * step)
    assert mixed[2].dtype == torch.float32


def test_nothing_of_a_program_stays_behind(split):
    """On `meta`, which every machine has and which refuses tensors of other devices."""
    graph = splits.traced()
    programs, cut, last = Programs(moved(graph, META)), split.cut.index, len(graph.cuts) - 1
    programs.add_split(RATIO, split)
    x = torch.empty(3, *splits.samples_of(1).inputs.shape[1:], device=META)
    (sent,) = programs.between(Span(0, cut, 0.0, RATIO))(x)
    (result,) = programs.between(Span(cut, last, RATIO))(sent)
    assert (sent.device, sent.shape[1:], result.shape) == (META, split.latents[0].shape, (3, splits.CLASSES))
    assert programs.split(cut, RATIO).highs == split.highs
    assert {weight.device.type for weight in split.parts.parameters()} == {"cpu"}
    assert split.beside(graph) is split


def test_what_is_timed_runs_on_the_cpu(bed, split):
    elsewhere = on(bed, META)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(elsewhere, "_examples", {(0, 0.0): bed.example(0)})
        (result,) = elsewhere.caller(Span(0, bed.last), 2)()
    assert result.device.type == "cpu"
    here, cut = with_split(split), split.cut.index
    elsewhere = with_split(split, META)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(elsewhere, "_examples", {(cut, 0.0): here.example(cut)})
        (latent,) = elsewhere.bottleneck_caller("encoder", cut, RATIO, 2)()
        assert latent.device.type == "cpu"


@pytest.mark.slow
def test_what_is_kept_is_kept_for_each_device_and_precision(split):
    coding = Coding(split.cut.index, "uint8", RATIO, 1000)
    ways = [(None, None), (META, None), (None, "bfloat16"), (META, "bfloat16"), (None, "float16")]
    assert len({with_split(split, *way).digest([coding]) for way in ways}) == len(ways)
    assert with_split(split, "cpu").digest([coding]) == with_split(split).digest([coding])


def test_what_is_not_there_is_said(bed, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ScenarioError, match="device: 'cuda' is asked for"):
        on(bed, "cuda")
    with pytest.raises(UnknownNameError, match="autocast: no type of mixed precision is called 'int8'"):
        on(bed, autocast="int8")


@pytest.mark.parametrize("device", ACCELERATORS)
@pytest.mark.parametrize("autocast", [None, "bfloat16"])
def test_values_on_an_accelerator_are_near(bed, split, device, autocast):
    there = on(bed, device, autocast)
    for plan in PLANS:
        assert abs(beds.run(there, plan).quality - beds.run(bed, plan).quality) <= (0.1 if autocast else 0.02)
    x = splits.samples_of(16).inputs
    exact, far = (crossing(with_split(split, *way), split, x) for way in ((), (device, autocast)))
    assert {tensor.device.type for tensor in far} == {"cpu"}
    step = split.highs[0] / (2**split.bits - 1)
    torch.testing.assert_close(far[0], exact[0], rtol=0, atol=1.01 * step)
