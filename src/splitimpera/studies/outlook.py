"""How much work the stages of a design are about to be, in multiply-accumulates, so that progress can be shown."""

from __future__ import annotations

from collections.abc import Sequence

from splitimpera.evaluation.run import said_of
from splitimpera.evaluation.testbed import route_of
from splitimpera.graph.tracing import ModelGraph
from splitimpera.models.datasets import Dataset
from splitimpera.records.plan import Plan
from splitimpera.saliency.cumulative import SAYS
from splitimpera.studies.loss_curve import LOSSES, MOST_CURVES
from splitimpera.studies.trial import CURVE_SAMPLES, LOSING

BACKWARD = 3
"""How much more a pass with gradients costs than one without."""
TYPICAL_CUTS = 8
DAMAGED = 0.5
"""The share of frames that a lossy link may damage."""


def expected_work(
    graph: ModelGraph, data: Dataset, plans: Sequence[Plan] | None = None, explores: bool = False
) -> dict[str, float]:
    """The work of each stage by its description.

    Args:
        plans: The plans; None where they are not known yet.
        explores: Whether curves over packet loss are drawn.

    Example:
        >>> import torch
        >>> from splitimpera.graph.tracing import trace
        >>> from splitimpera.models.datasets import Samples
        >>> part = Samples(torch.rand(10, 8), torch.arange(10) % 3)
        >>> network = torch.nn.Sequential(torch.nn.Linear(8, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))
        >>> graph = trace(network, part.inputs)
        >>> expected_work(graph, Dataset(part, part, part), [])["Cumulative saliency"]
        1650
    """
    whole, samples = graph.cuts[-1].macs_head, len(data.validation)
    tails = TYPICAL_CUTS * whole / 2
    if plans is not None:
        codings = {coding for plan in plans for coding in route_of(plan.hops)}
        lossy = [plan.hops[0].cut for plan in plans if plan.hops and plan.hops[0].transport.startswith("udp")]
        tails = sum(graph.cuts[coding.cut].macs_tail for coding in codings)
        tails += DAMAGED * sum(graph.cuts[cut].macs_tail for cut in lossy)
    work = {
        SAYS: BACKWARD * samples * whole,
        said_of("validation"): samples * (whole + tails),
        said_of("test"): len(data.test) * whole,
    }
    if explores:
        work[LOSING] = MOST_CURVES * len(LOSSES) * CURVE_SAMPLES * DAMAGED * whole / 2
    return work
