"""Where an engine cannot run a part: which layer it is, and the nearest cut at which it can."""

from __future__ import annotations

from collections.abc import Sequence

from splitimpera.bundle.segments import Span
from splitimpera.core.errors import ModelError, SplitImperaError, shown
from splitimpera.evaluation.testbed import Testbed
from splitimpera.export.engine_files import CannotRunError, file_of, title_of_engine
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
    search, span, engine, cut = _Search(testbed), spans[place], engines[place], spans[0].end
    squeezed = span.start if span.arriving else span.end
    layer = search.layer(span, engine)
    if layer is None:
        what = f"the bottleneck at '{search.name(squeezed)}'"
        hint = "choose a plan without a bottleneck" + ("" if engine == "torch" else ", or take '--engine torch'")
    else:
        found = testbed.graph.layers[layer]
        what = f"the layer '{shown(found.name)}' (operation {shown(found.operation)})"
        hint = "take '--engine torch', or choose another plan" if engine == "onnx" else "choose another plan"
        if len(spans) < 3:
            hint = _advice(search, cut, [*engines, *engines][:2], engine, layer)
    return ModelError(f"{title_of_engine(engine)} cannot run {what}: {why}", where="--engine", hint=hint)


def _advice(search: _Search, now: int, engines: Sequence[str], lacking: str, layer: int) -> str:
    cut = search.nearest(now, engines, lacking, layer)
    if cut is not None:
        return f"the nearest cut that works is cut {cut} ({search.name(cut)})"
    if lacking == "torch":
        return "choose another plan"
    cut = search.nearest(now, ("onnx", "torch"), lacking, layer)
    mixed = f", or PyTorch on the server alone: '--engine onnx,torch' works at cut {cut} ({search.name(cut)})"
    return "no cut helps where both machines run ONNX; take '--engine torch'" + (mixed if cut else "")


class _Search:
    """Tries parts in their engines, none twice."""

    def __init__(self, testbed: Testbed) -> None:
        self.testbed = testbed
        self._known: dict[tuple[Span, str], bool] = {}

    def name(self, cut: int | None) -> str:
        return "" if cut is None else shown(self.testbed.graph.cuts[cut].name)

    def layer(self, span: Span, engine: str) -> int | None:
        """The first layer with which a part cannot be run; None: without its bottleneck it can."""
        low, high = span.start, span.end
        if self.runs(Span(low, high), engine):
            return None
        while high - low > 1:
            middle = (low + high) // 2
            if self.runs(Span(span.start, middle), engine):
                low = middle
            else:
                high = middle
        return low

    def nearest(self, now: int, engines: Sequence[str], lacking: str, layer: int) -> int | None:
        """The cut nearest to a plan's at which these engines run both parts; None: none was found."""
        last = self.testbed.last
        alone = self.runs(Span(layer, layer + 1), lacking)
        able = [cut for cut in range(1, last) if alone or engines[layer >= cut] != lacking]
        for cut in sorted(able, key=lambda cut: (abs(cut - now), cut))[:CUTS_TRIED]:
            parts = Span(0, cut), Span(cut, last)
            if all(self.runs(part, engine) for part, engine in zip(parts, engines, strict=True)):
                return cut
        return None

    def runs(self, span: Span, engine: str) -> bool:
        if (span, engine) not in self._known:
            try:
                file_of(part_of(self.testbed, span), engine)
                self._known[span, engine] = True
            except (CannotRunError, SplitImperaError):
                self._known[span, engine] = False
        return self._known[span, engine]
