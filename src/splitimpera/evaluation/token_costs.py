"""What the devices of a plan take for requests to a language model, and what its caches fill there."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Literal

from splitimpera.cost.devices import codec_cost
from splitimpera.cost.token_roofline import roofline_tokens
from splitimpera.evaluation.codings import coding_of
from splitimpera.evaluation.testbed import Testbed
from splitimpera.evaluation.token_blocks import TokenBlocks
from splitimpera.records.costs import Cost, DeviceCosts
from splitimpera.records.device import Device
from splitimpera.records.measurements import Measurements
from splitimpera.records.plan import Hop
from splitimpera.records.token_times import TokenTimes
from splitimpera.records.token_workload import TokenWorkload


def token_costs(
    device: Device,
    testbed: Testbed,
    measurements: Measurements,
    arriving: Hop | None,
    leaving: Hop | None,
) -> DeviceCosts:
    """The costs of one device, by the hops on either side.

    Its memory holds the weights, twice those that embedding and head share where it has both, the activations of a
    window, and the caches of a whole context: its user's on a first device, those of all users on a server.

    Raises:
        DataError: a time was not measured on this machine.
        CutError: a hop is inside a block.
    """
    asked, blocks = requests_of(testbed)
    start, end = arriving.cut if arriving else 0, leaving.cut if leaving else testbed.last
    users = testbed.workload.senders if arriving else 1
    work = testbed.work(start, end)
    together = asked.together if arriving else 1
    if start == end:  # what sends the prompt on
        times = TokenTimes(((1, 0.0),), ((0, 0.0),), "measured")
    elif device.roofline is not None:
        of_token = blocks.cache_bytes(start, end, 1)
        times = roofline_tokens(device.roofline, work, blocks.window, of_token, asked.context, together)
    else:
        times = measurements.run_times(start, end, asked.context, together)
    times = times.scaled(device.slowdown)
    for direction, hop in (("decode", arriving), ("encode", leaving)):
        if hop is not None:
            times = _with_coding(times, direction, device, testbed, measurements, hop)  # type: ignore[arg-type]
    cache_bytes = blocks.cache_bytes(start, end, asked.context, users) if start < end else 0
    one = Cost(float(times.decode_s(asked.prompt.mean)), times.how, times.spread)
    needed_bytes = work.memory_bytes + blocks.laid_out_bytes(start, end) + cache_bytes
    return DeviceCosts((one,), None, None, needed_bytes, (), times, blocks.window, cache_bytes)


def requests_of(testbed: Testbed) -> tuple[TokenWorkload, TokenBlocks]:
    """What is asked of a testbed's language model, and its blocks."""
    asked, blocks = testbed.workload.tokens, testbed.blocks
    if asked is None or blocks is None:
        raise TypeError("frames that are no requests have no tokens")
    return asked, blocks


def _with_coding(
    times: TokenTimes,
    direction: Literal["encode", "decode"],
    device: Device,
    testbed: Testbed,
    measurements: Measurements,
    hop: Hop,
) -> TokenTimes:
    """The same with what coding takes: of one token, and of each more of a prompt. Ids cross once, with the prompt."""
    key, window = coding_of(hop), requests_of(testbed)[1].window
    size, channels = testbed.coded(key.cut, key.bottleneck)

    def coding_s(tokens: int) -> float:
        here = partial(measurements.coding_samples_s, direction, *key[:4], tokens)
        return codec_cost(device, key.codec, direction, size * tokens / window, here, channels).seconds

    one_s, window_s = coding_s(1), coding_s(window)
    more_s = max(window_s - one_s, 0.0) / max(window - 1, 1)
    prefill = tuple((tokens, seconds + one_s + (tokens - 1) * more_s) for tokens, seconds in times.prefill)
    decode = tuple((past, seconds + one_s) for past, seconds in times.decode)
    return replace(times, prefill=prefill, decode=decode if hop.cut else times.decode)
