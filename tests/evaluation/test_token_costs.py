"""What devices take for requests to a language model."""

from __future__ import annotations

from dataclasses import replace

import pytest
from token_beds import ASKED, CONTEXT, WINDOW, language_bed, plans_for

from splitimpera.core.errors import CutError, DataError, ScenarioError
from splitimpera.cost.device_presets import DEVICES
from splitimpera.evaluation.costing import plan_costs
from splitimpera.evaluation.token_stopwatch import measure_tokens
from splitimpera.language.block_runs import cache_bytes
from splitimpera.records.device import Device
from splitimpera.records.measurements import Measurements


@pytest.fixture(scope="module")
def bed():
    return language_bed(replace(ASKED, together=2), senders=3)


@pytest.fixture(scope="module")
def timed(bed):
    return measure_tokens(plans_for(bed), bed, budget_s=0.1)


def test_what_is_timed_is_what_plans_need(bed, timed):
    runs = {(run.start, run.end, run.together) for run in timed.runs}
    one, two = sorted(bed.blocks.cuts)[1:3]
    last = bed.last
    assert runs == {(0, last, 1), (0, last, 2), (0, one, 1), (one, last, 2), (0, two, 1), (two, last, 2)}
    assert {coding.tokens for coding in timed.codings} == {1, WINDOW}
    assert not timed.segments


def test_a_slower_device_takes_as_many_times_as_long(bed, timed):
    local = plans_for(bed)[0]
    slow = plan_costs(local, bed, timed)[0].tokens
    fast = timed.run_times(0, bed.last, CONTEXT, 1)
    assert slow.decode_s(5) == pytest.approx(10 * fast.decode_s(5))
    assert (slow.how, fast.how) == ("scaled", "measured")


def test_parts_hold_their_weights_and_the_caches_of_those_they_serve(bed, timed):
    local, _, first, _ = plans_for(bed)
    whole = plan_costs(local, bed, timed)[0].memory_bytes
    head, tail = (costs.memory_bytes for costs in plan_costs(first, bed, timed))
    cut = first.hops[0].cut
    decoder = bed.blocks.decoder
    assert whole == bed.work(0, bed.last).memory_bytes + cache_bytes(decoder, 0, 3, CONTEXT)
    assert head == bed.work(0, cut).memory_bytes + cache_bytes(decoder, 0, 1, CONTEXT)
    assert tail == bed.work(cut, bed.last).memory_bytes + cache_bytes(decoder, 1, 3, CONTEXT, users=3)


def test_who_sends_ids_computes_nothing_and_the_server_reads_them_once(bed, timed):
    remote = plans_for(bed)[1]
    phone, server = plan_costs(remote, bed, timed)
    assert phone.tokens.decode_s(9) == 0
    assert 0 < phone.tokens.prefill_s(9) < 1e-3
    whole = timed.run_times(0, bed.last, CONTEXT, 2)
    assert server.tokens.decode_s(9) == whole.decode_s(9)
    assert server.tokens.prefill_s(9) > whole.prefill_s(9)


def test_presets_need_no_times_of_this_machine(bed):
    machines = tuple(Device(name, roofline=DEVICES["raspberry-pi-4"].roofline) for name in ("board", "box"))
    plan = plans_for(bed, devices=machines)[2]
    assert not measure_tokens([plan], bed).runs
    head, tail = plan_costs(plan, bed, Measurements())
    assert head.tokens.how == tail.tokens.how == "estimated"
    assert 0 < head.tokens.decode_s(0) < head.tokens.decode_s(CONTEXT) < head.tokens.prefill_s(CONTEXT)


def test_times_that_were_not_taken_are_missing(bed):
    with pytest.raises(DataError, match="token by token"):
        plan_costs(plans_for(bed)[0], bed, Measurements())


def test_a_cut_inside_a_block_is_refused(bed):
    with pytest.raises(CutError, match="not between two blocks"):
        bed.blocks.before(sorted(bed.blocks.cuts)[1] + 1)


def test_a_context_beyond_the_positions_is_refused(bed):
    with pytest.raises(ScenarioError, match="knows 64 positions"):
        bed.blocks.check_context(65)
