"""Plans with a bottleneck under a skip: what is computed of them, a design, and its halves in the engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skipped_masks
import torch
from evaluation import beds
from export.designs import designed

from splitimpera.bundle.opened import Bundle
from splitimpera.bundle.segments import Span
from splitimpera.deploy.halves import Received, device_half, server_half
from splitimpera.evaluation.testbed import Testbed
from splitimpera.export import bundling, export_bundle
from splitimpera.export.part_modules import part_of
from splitimpera.graph.tracing import trace
from splitimpera.models.datasets import Dataset, Samples
from splitimpera.models.targets import Stacked
from splitimpera.records.traffic import Workload
from splitimpera.report import read
from splitimpera.tasks.quality import value_of
from splitimpera.tasks.segmentation import Segmentation
from splitimpera.training.split import train_split

PLAN = "SC2-b8-uint8-tcp"
CHANGES = {
    "data": {"source": "mine.py:data", "validation": 0.3, "test": 0.2},
    "task": "segmentation",
    "plans": {"cuts": ["second"], "codecs": ["uint8"], "transports": ["tcp"]},
    "bottlenecks": {"ratios": [8], "codecs": ["uint8"], "epochs": [10, 20]},
    "requirements": ["miou >= 20 %"],
}


@pytest.fixture(scope="module", params=[False, True], ids=["tail", "finetune_head"])
def bed(request):
    """A testbed with a bottleneck that was hardly trained."""
    x, y = skipped_masks.data()
    samples, graph = Samples(x[:32], Stacked(y[:32])), trace(skipped_masks.network(), x[:2])
    task = Segmentation().fitted(graph.outputs)
    made = Testbed(graph, Dataset(samples, samples, samples), Workload(20.0, 40), task=task)
    split = train_split(
        graph, "second", samples, task=task, epochs=(1, 1), ratio=8, bits=8, finetune_head=request.param
    )
    made.add_split(8.0, split)
    return made


def test_programs_modules_and_calls_agree(bed):
    """In one call, from what crosses without the bottleneck, and as the parts that are exported."""
    x, whole = bed.data.test.inputs[:4], bed.last
    sent = bed.call(Span(0, 2, 0.0, 8.0), (x,))
    again = bed.encoded(2, 8.0, (x,), bed.call(Span(0, 2), (x,)))
    head, tail = part_of(bed, Span(0, 2, 0.0, 8.0)), part_of(bed, Span(2, whole, 8.0, 0.0))
    with torch.no_grad():
        for made in (again, head.module(x)):
            assert len(made) == len(sent) == 2
            assert all(a.equal(b) for a, b in zip(made, sent, strict=True))
        (result,) = bed.call(Span(2, whole, 8.0), sent)
        (same,) = tail.module(*sent)
    assert same.equal(result)
    assert [spec.shape for spec in tail.inputs] == [tuple(a.shape[1:]) for a in sent]


def test_a_plan_with_several_latents_is_worth_what_its_split_returns(bed):
    samples, quality = bed.data.validation, bed.task.quality
    answers = [bed.task.answer((row,)) for row in bed.split(2, 8.0)(samples.inputs).numpy()]
    counts = [quality.count(*pair) for pair in zip(answers, samples.targets.rows(range(len(samples))), strict=True)]
    exact, lossy = beds.plan(2, bottleneck=8.0), beds.plan(2, "uint8", bottleneck=8.0, mtu_bytes=200, loss=0.3)
    found = beds.run(bed, exact)
    assert found.payload_bytes == 4 * 384
    assert found.quality == pytest.approx(value_of(quality, quality.vectors(np.array(counts))))
    assert abs(beds.run(bed, lossy).quality - found.quality) > 1e-6


def test_the_parts_of_several_latents_are_counted_and_can_be_timed(bed):
    split = bed.split(2, 8.0)
    head, tail = bed.work(0, 2, leaving=8.0), bed.work(2, bed.last, arriving=8.0)
    for work, part in ((head, split.encoder), (tail, split.decoder)):
        added = sum(parameter.numel() for parameter in part.parameters())
        assert work.parameters == bed.work(work.start, work.end).parameters + added
        assert len(work.bottleneck_parts) == 4  # two layers for each of two tensors
    assert bed.coded(2, 8.0)[0] == 4 * 384
    for part in ("encoder", "decoder"):
        assert len(bed.bottleneck_caller(part, 2, 8.0, 3)()) == 2


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Results and bundle."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPLITIMPERA_CACHE", str(tmp_path_factory.mktemp("cache")))
        run = designed(tmp_path_factory.mktemp("skipped"), Path(skipped_masks.__file__).read_text(), **CHANGES)
        yield read(run), export_bundle(run, PLAN, samples=4)


@pytest.mark.slow
def test_the_plan_is_designed_and_sends_as_many_elements_as_its_ratio_allows(exported):
    results, _ = exported
    plan, unsqueezed = results.by_id[PLAN], results.by_id["SC2-uint8-tcp"]
    assert plan.metrics["payload_bytes"] * 8 == unsqueezed.metrics["payload_bytes"] == 8 * 16 * 16 + 16 * 8 * 8
    assert plan.metrics["miou"] > 0.5


@pytest.mark.slow
def test_halves_with_several_latents_compute_in_the_engine_what_the_network_does(exported):
    _, bundle = exported
    (proof,) = bundle.manifest.proofs
    assert bundle.proofs[0].proven.parts.as_good_as_equal > 0.99
    assert proof.largest_difference < 0.1  # a level of the latent, where it is rounded the other way
    (hop,) = bundle.manifest.plan().hops
    assert len(hop.tensors) == 2
    assert sum(entry.spec.elements for entry in hop.tensors) * 8 == 8 * 16 * 16 + 16 * 8 * 8
    opened: Bundle = bundling.held(bundle.manifest, bundle.contents)
    device, server = device_half(opened), server_half(opened)
    images = skipped_masks.images()[:3].numpy()
    answers = server([Received(device([image]).payload.data) for image in images])
    with torch.no_grad():
        wanted = skipped_masks.network()(torch.from_numpy(images)).argmax(1).numpy()
    same = np.mean([np.mean(mask[0] == right) for mask, right in zip(answers.results, wanted, strict=True)])
    assert same > 0.6
