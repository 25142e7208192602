"""Which programs a machine has for the plans of a bundle: what plans share is stored once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

from splitimpera.bundle.segments import Span


def segments_of(spans: Iterable[Span], stacks: Callable[[int], bool] = lambda _: True) -> list[Span]:
    """The segments of which some spans are made, each once.

    Spans are divided where others begin or end, so that a deeper head is a shallower one and the layers between.
    What has a bottleneck at an end stays whole; layers behind one are those of its tail, and no other's.

    Args:
        spans: What one machine runs for each plan.
        stacks: Whether frames are run together at a cut. What begins or ends where they are not is not divided, lest
            others run them one by one as well.

    Example:
        >>> [span[:4] for span in segments_of([Span(0, 3), Span(0, 7), Span(0, 3, 0.0, 4.0)])]
        [(0, 3, 0.0, 0.0), (3, 7, 0.0, 0.0), (0, 3, 0.0, 4.0)]
    """
    wanted = dict.fromkeys(span for span in spans if not span.empty)
    divided = [
        span for span in wanted if not span.arriving and not span.leaving and stacks(span.start) and stacks(span.end)
    ]
    borders = sorted({(border, span.behind) for span in divided for border in (span.start, span.end)})
    pieces = {
        Span(start, end, behind=span.behind)
        for span in divided
        for start, end in pairwise(
            border for border, behind in borders if behind == span.behind and span.start <= border <= span.end
        )
    }
    return [*sorted(pieces), *(span for span in wanted if span not in divided)]
