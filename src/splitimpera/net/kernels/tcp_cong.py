"""The congestion window: how it grows, shrinks after a loss (PRR, RFC 9937) and is kept while it is not used."""

from __future__ import annotations

from splitimpera.net.kernels.compiling import compiled, inlined
from splitimpera.net.kernels.tcp_cubic import CUBIC_BETA, cubic_reset, cubic_update
from splitimpera.net.kernels.tcp_state import (
    CUBIC,
    CWR,
    IDLE_RESTART,
    INFINITE_SSTHRESH,
    LOSS,
    NONE,
    OPEN,
    RENO,
    SND_UNA_ADVANCED,
    STATE,
    in_cwnd_reduction,
    in_flight,
    in_slow_start,
    jiffies,
    note,
)


@compiled
def is_cwnd_limited(tp):
    return tp.is_cwnd_limited == 1 or (in_slow_start(tp) and tp.snd_cwnd < 2 * tp.max_packets_out)


@compiled
def current_ssthresh(tp):
    if in_cwnd_reduction(tp):
        return tp.snd_ssthresh
    return max(tp.snd_ssthresh, (tp.snd_cwnd >> 1) + (tp.snd_cwnd >> 2))


@compiled
def cwnd_validate(tp, now, cwnd_limited):
    """Remember how much of the window was used; an application that does not fill it does not keep it."""
    packets_out = tp.snd_nxt - tp.snd_una
    if (
        tp.snd_una >= tp.cwnd_usage_seq
        or cwnd_limited
        or (tp.is_cwnd_limited == 0 and packets_out > tp.max_packets_out)
    ):
        tp.is_cwnd_limited = 1 if cwnd_limited else 0
        tp.max_packets_out = packets_out
        tp.cwnd_usage_seq = tp.snd_nxt
    ticks = jiffies(tp, now)
    if is_cwnd_limited(tp):
        tp.snd_cwnd_used = 0
        tp.snd_cwnd_stamp = ticks
        return
    tp.snd_cwnd_used = max(tp.snd_cwnd_used, packets_out)
    if tp.idle_restart and ticks - tp.snd_cwnd_stamp >= tp.rto:
        if tp.ca_state == OPEN:
            used = max(tp.snd_cwnd_used, tp.initial_window)
            if used < tp.snd_cwnd:
                tp.snd_ssthresh = current_ssthresh(tp)
                tp.snd_cwnd = (tp.snd_cwnd + used) >> 1
            tp.snd_cwnd_used = 0
        tp.snd_cwnd_stamp = ticks


@compiled
def cwnd_restart(w, tp, now, idle):
    """Halve the window for every timeout that the sender was idle (RFC 2861)."""
    tp.snd_ssthresh = current_ssthresh(tp)
    least = min(tp.initial_window, tp.snd_cwnd)
    cwnd = tp.snd_cwnd
    idle -= tp.rto
    while idle > 0 and cwnd > least:
        cwnd >>= 1
        idle -= tp.rto
    tp.snd_cwnd = max(cwnd, least)
    tp.snd_cwnd_stamp = jiffies(tp, now)
    tp.snd_cwnd_used = 0
    note(w, tp, now, IDLE_RESTART, NONE, False)


@compiled
def set_ca_state(w, tp, now, state):
    if state == LOSS and tp.cc == CUBIC:
        cubic_reset(tp, now)
    if tp.ca_state != state:
        tp.ca_state = state
        note(w, tp, now, STATE, NONE, False)


@compiled
def ssthresh_after_loss(tp):
    if tp.cc == RENO:
        return max(tp.snd_cwnd >> 1, 2)
    tp.epoch_start = 0
    if tp.snd_cwnd < tp.last_max_cwnd:  # fast convergence
        tp.last_max_cwnd = tp.snd_cwnd * (1024 + CUBIC_BETA) // 2048
    else:
        tp.last_max_cwnd = tp.snd_cwnd
    return max(tp.snd_cwnd * CUBIC_BETA // 1024, 2)


@inlined
def cong_avoid(tp, now, acked):
    tp.snd_cwnd_stamp = jiffies(tp, now)
    if not is_cwnd_limited(tp):
        return
    if in_slow_start(tp):
        cwnd = min(tp.snd_cwnd + acked, tp.snd_ssthresh)
        acked -= cwnd - tp.snd_cwnd
        tp.snd_cwnd = cwnd
        if acked == 0:
            return
    if tp.cc == CUBIC:
        cubic_update(tp, now, acked)
        step = tp.cnt
    else:
        step = tp.snd_cwnd
    if tp.snd_cwnd_cnt >= step:
        tp.snd_cwnd_cnt = 0
        tp.snd_cwnd += 1
    tp.snd_cwnd_cnt += acked
    if tp.snd_cwnd_cnt >= step:
        delta = tp.snd_cwnd_cnt // step
        tp.snd_cwnd_cnt -= delta * step
        tp.snd_cwnd += delta


@compiled
def init_cwnd_reduction(tp):
    tp.high_seq = tp.snd_nxt
    tp.tlp_high_seq = NONE
    tp.snd_cwnd_cnt = 0
    tp.prior_cwnd = tp.snd_cwnd
    tp.prr_delivered = 0
    tp.prr_out = 0
    tp.snd_ssthresh = ssthresh_after_loss(tp)


@compiled
def cwnd_reduction(tp, acked, lost):
    """Proportional rate reduction."""
    if acked <= 0 or tp.prior_cwnd == 0:
        return
    flight = in_flight(tp)
    delta = tp.snd_ssthresh - flight
    tp.prr_delivered += acked
    if delta < 0:
        count = (tp.snd_ssthresh * tp.prr_delivered + tp.prior_cwnd - 1) // tp.prior_cwnd - tp.prr_out
    else:
        count = max(tp.prr_delivered - tp.prr_out, acked)
        if tp.flag & SND_UNA_ADVANCED and lost == 0:
            count += 1
        count = min(delta, count)
    tp.snd_cwnd = flight + max(count, 0 if tp.prr_out else 1)


@compiled
def end_cwnd_reduction(tp, now):
    if tp.snd_ssthresh < INFINITE_SSTHRESH and (tp.ca_state == CWR or tp.undo_marker != NONE):
        tp.snd_cwnd = tp.snd_ssthresh
        tp.snd_cwnd_stamp = jiffies(tp, now)


@inlined
def update_pacing_rate(tp):
    percent = 200 if tp.snd_cwnd < tp.snd_ssthresh // 2 else 120
    rate = tp.mss * 80_000 * percent * max(tp.snd_cwnd, tp.snd_nxt - tp.snd_una)
    tp.pacing_rate = rate // max(tp.srtt_us, 1)
