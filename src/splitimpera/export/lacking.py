"""Where an engine cannot run a part: which layer it is, and the nearest cut at which it can."""

from __future__ import annotations

from collections.abc import Sequence

from splitimpera.bundle.manifest import Span
from splitimpera.core.errors import ModelError, SplitImperaError, shown
from splitimpera.evaluation.testbed import Testbed
from splitimpera.export.engine_files import ENGINE_NAMES, CannotRunError, file_of
from splitimpera.export.part_modules import part_of

CUTS_TRIED = 12
"""How many cuts are tried at most: each may take seconds."""


def refusal(testbed: Testbed, spans: Sequence[Span], engines: Sequence[str], place: int, why: str) -> ModelError:
    """What to raise where the engine of a plan's machine cannot run its layers.

    Args:
        spans, engines: Of all machines of the plan.
        place: Which machine.
        why: What the engine says.
    """
    span, engine = spans[place], engines[place]
    layer = _layer(testbed, span, engine)
    if layer is None:
        what, operation = f"the bottleneck at '{shown(testbed.graph.cuts[spans[0].end].name)}'", ""
    else:
        found = testbed.graph.layers[layer]
        what, operation = f"the layer '{shown(found.name)}'", f" (operation {shown(found.operation)})"
    return ModelError(
        f"{ENGINE_NAMES[engine]} cannot run {what}{operation}: {why}",
        where="--engine",
        hint=_advice(testbed, spans[0].end, engines, engine, layer),
    )


def _layer(testbed: Testbed, span: Span, engine: str) -> int | None:
    """The first layer with which the part cannot be run; None: without its bottleneck it can."""
    low, high = span.start, span.end
    if _runs(testbed, Span(low, high), engine):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if _runs(testbed, Span(span.start, middle), engine):
            low = middle
        else:
            high = middle
    return low


def _advice(testbed: Testbed, now: int, engines: Sequence[str], lacking: str, layer: int | None) -> str:
    cut = _nearest(testbed, now, [*engines, *engines][:2], lacking, layer)
    if cut is not None:
        return f"the nearest cut that works is {_named(testbed, cut)}"
    if lacking == "torch":
        return "choose another plan"
    cut = _nearest(testbed, now, ("onnx", "torch"), lacking, layer)
    mixed = f", or PyTorch on the server alone: '--engine onnx,torch' works at {_named(testbed, cut)}" if cut else ""
    return f"no cut helps where both machines run ONNX; take '--engine torch'{mixed}"


def _nearest(testbed: Testbed, now: int, engines: Sequence[str], lacking: str, layer: int | None) -> int | None:
    """The cut nearest to a plan's at which these engines run both parts; None: none was found."""
    hopeless = layer is not None and not _runs(testbed, Span(layer, layer + 1), lacking)
    tried = 0
    for cut in sorted(range(1, testbed.last), key=lambda cut: (abs(cut - now), cut)):
        if hopeless and layer is not None and engines[layer >= cut] == lacking:
            continue
        parts = Span(0, cut), Span(cut, testbed.last)
        if all(_runs(testbed, part, engine) for part, engine in zip(parts, engines, strict=True)):
            return cut
        tried += 1
        if tried == CUTS_TRIED:
            break
    return None


def _named(testbed: Testbed, cut: int) -> str:
    return f"cut {cut} ({shown(testbed.graph.cuts[cut].name)})"


def _runs(testbed: Testbed, span: Span, engine: str) -> bool:
    try:
        file_of(part_of(testbed, span), engine)
    except (CannotRunError, SplitImperaError):
        return False
    return True
