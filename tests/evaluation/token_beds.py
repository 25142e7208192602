"""A testbed of a small language model that is asked for tokens, and plans for it."""

from __future__ import annotations

import torch
from small_decoders import BLOCKS, VOCABULARY, Own

import splitimpera as sei
from splitimpera.evaluation.token_blocks import TokenBlocks
from splitimpera.language.decoder import decoder_of
from splitimpera.models.datasets import Dataset, Samples
from splitimpera.models.targets import targets_of
from splitimpera.records.device import Device
from splitimpera.records.link import Link
from splitimpera.records.plan import Hop, Plan
from splitimpera.records.token_workload import Lengths, TokenWorkload
from splitimpera.records.traffic import Workload
from splitimpera.tasks.language import Language

WINDOW, CONTEXT = 16, 64
PHONE, SERVER = Device("phone", 10.0), Device("server", 1.0)
LINK = Link(rate_bps=1e7, delay_s=0.01)
ASKED = TokenWorkload(Lengths(12), Lengths(8), CONTEXT)


def language_bed(asked=ASKED, fps=0.5, frames=100, senders=1):
    """Three blocks, on random texts."""
    torch.manual_seed(0)
    model = Own().eval()
    ids = torch.randint(0, VOCABULARY, (24, WINDOW + 1))
    samples = Samples(ids[:, :-1], targets_of(ids[:, 1:], "array", len(ids)))
    data = Dataset(samples.take(slice(8)), samples.take(slice(8, 16)), samples.take(slice(16, 24)))
    graph = sei.trace(model, ids[:2, :-1])
    task = Language().fitted(graph.outputs, "bits_per_byte")
    blocks = TokenBlocks(decoder_of(model), graph)
    workload = Workload(fps, frames, senders=senders, tokens=asked)
    return sei.Testbed(graph, data, workload, task=task, blocks=blocks)


def plans_for(bed, codec="float16", link=LINK, devices=(PHONE, SERVER)):
    """LC, RC, and a split behind each block but the last."""
    split = [Plan(f"SC{cut}", devices, (Hop(cut, codec, "tcp", link),)) for cut in bed.blocks.cuts if cut][: BLOCKS - 1]
    return [Plan("LC", devices[:1]), Plan("RC", devices, (Hop(0, "uint8", "tcp", link),)), *split]
