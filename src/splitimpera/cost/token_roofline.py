"""What the blocks of a language model take on a machine of which only the roofline is known."""

from __future__ import annotations

from splitimpera.cost.spread import lognormal
from splitimpera.cost.work import LayerWork, Work
from splitimpera.records.device import Roofline
from splitimpera.records.token_times import TokenTimes


def roofline_tokens(
    roofline: Roofline, work: Work, window: int, cache_bytes: int, context: int, together: int = 1
) -> TokenTimes:
    """Times of a run of blocks, from its work on a window of tokens.

    A step takes of each layer the longer of computing and moving its bytes, and a bit, as `devices.roofline_s` has it:
    what is computed and moved grows with the tokens, the weights are moved once a step. Each token moves the keys and
    values of all before it besides. Attention is counted as in the window, where each token looks at all.

    Args:
        work: Of the layers, on one window.
        window: its tokens.
        cache_bytes: Keys and values of one token in these layers.
        context: The most tokens that may be before one.
        together: For how many users at most a step makes a token each.

    Example:
        >>> from splitimpera.cost.work import LayerWork
        >>> work = Work(0, 1, 2, (LayerWork(macs=1000, weight_bytes=400, moved_bytes=80),), 100, 400, 80)
        >>> machine = Roofline("board", 1e6, 1e6, 0.0, memory_bytes=0, power_w=1.0, source="made up", p95_ratio=1.0)
        >>> times = roofline_tokens(machine, work, window=10, cache_bytes=8, context=100)
        >>> float(times.decode_s(0)), float(times.decode_s(100)), float(times.prefill_s(10))
        (0.000408, 0.001208, 0.001)
    """

    def layer_s(layer: LayerWork, tokens: int) -> float:
        share = tokens / window
        # what computes nothing looks rows of a table up
        moved = (layer.weight_bytes if layer.macs else 0) + share * layer.moved_bytes
        return max(share * layer.macs / roofline.macs_per_s, moved / roofline.bytes_per_s) + roofline.layer_s

    def step_s(tokens: int, past: int = 0) -> float:
        return sum(layer_s(layer, tokens) for layer in work.layers) + tokens * past * cache_bytes / roofline.bytes_per_s

    prompts = sorted({1, *(max(1, window * share // 4) for share in (1, 2, 4)), max(window, context)})
    half = context // 2
    users = sorted({1, *(2**power for power in range(together.bit_length())), together})
    return TokenTimes(
        prefill=tuple((tokens, step_s(tokens)) for tokens in prompts),
        decode=tuple((past, step_s(1, past)) for past in (0, context)),
        how="estimated",
        together=tuple((count, step_s(count, half) / step_s(1, half)) for count in users),
        spread=lognormal(roofline.p95_ratio),
    )
