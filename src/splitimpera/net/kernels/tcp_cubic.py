"""CUBIC (RFC 9438) with HyStart."""

from __future__ import annotations

import numpy as np

from splitimpera.net.kernels.compiling import compiled, inlined
from splitimpera.net.kernels.tcp_state import CUBIC, GSO_MAX_BYTES, in_slow_start, jiffies, usecs_to_jiffies
from splitimpera.net.kernels.wire import NEVER

HYSTART_MIN_SAMPLES = 8
HYSTART_LOW_WINDOW = 16
HYSTART_ACK_DELTA_US = 2000
CUBIC_SCALE = 41
CUBIC_BETA = 717
BETA_SCALE = 8 * (1024 + CUBIC_BETA) // 3 // (1024 - CUBIC_BETA)


@compiled
def cubic_reset(tp, now):
    tp.cnt = tp.last_max_cwnd = tp.last_cwnd = tp.last_time = tp.origin_point = tp.k = 0
    tp.delay_min = tp.epoch_start = tp.ack_cnt = tp.tcp_cwnd = tp.found = 0
    hystart_reset(tp, now)


@compiled
def hystart_reset(tp, now):
    tp.round_start = tp.last_ack = now // 1000
    tp.end_seq = tp.snd_nxt
    tp.curr_rtt = NEVER
    tp.sample_cnt = 0


@compiled
def cwnd_event_tx_start(tp, now):
    """CUBIC's clock stands still while there is nothing to send."""
    ticks = jiffies(tp, now)
    idle = ticks - tp.lsndtime
    if tp.cc == CUBIC and tp.epoch_start and idle > 0:
        tp.epoch_start = min(tp.epoch_start + idle, ticks)


@compiled
def hystart_update(tp, now, delay):
    """Leave slow start when a train of acknowledgements gets long or the delay grows."""
    if tp.snd_una > tp.end_seq:
        hystart_reset(tp, now)
    if tp.snd_cwnd < HYSTART_LOW_WINDOW:
        return
    clock = now // 1000
    if clock - tp.last_ack <= HYSTART_ACK_DELTA_US:
        tp.last_ack = clock
        threshold = tp.delay_min
        if tp.pacing_rate:
            threshold += min(1000, GSO_MAX_BYTES * 4 * 1_000_000 // tp.pacing_rate)
        if clock - tp.round_start > threshold >> 1:  # not paced
            tp.found = 1
            tp.snd_ssthresh = tp.snd_cwnd
    tp.curr_rtt = min(tp.curr_rtt, delay)
    if tp.sample_cnt < HYSTART_MIN_SAMPLES:
        tp.sample_cnt += 1
    elif tp.curr_rtt > tp.delay_min + min(max(tp.delay_min >> 3, 4000), 16000):
        tp.found = 1
        tp.snd_ssthresh = tp.snd_cwnd


@inlined
def cubic_acked(tp, now, rtt_us):
    if rtt_us < 0 or (tp.epoch_start and jiffies(tp, now) - tp.epoch_start < tp.hz):
        return
    delay = max(rtt_us, 1)
    if tp.delay_min == 0 or tp.delay_min > delay:
        tp.delay_min = delay
    if tp.found == 0 and tp.hystart and in_slow_start(tp):
        hystart_update(tp, now, delay)


@compiled
def cubic_update(tp, now, acked):
    """bictcp_update: how many acknowledgements make the window grow by one."""
    cwnd = tp.snd_cwnd
    ticks = jiffies(tp, now)
    tp.ack_cnt += acked
    if tp.last_cwnd == cwnd and ticks - tp.last_time <= tp.hz // 32:
        return
    if not (tp.epoch_start and ticks == tp.last_time):
        tp.last_cwnd = cwnd
        tp.last_time = ticks
        if tp.epoch_start == 0:
            tp.epoch_start = ticks
            tp.ack_cnt = acked
            tp.tcp_cwnd = cwnd
            if tp.last_max_cwnd <= cwnd:
                tp.k = 0
                tp.origin_point = cwnd
            else:
                tp.k = np.int64(np.cbrt(2.0**40 / (CUBIC_SCALE * 10) * (tp.last_max_cwnd - cwnd)))
                tp.origin_point = tp.last_max_cwnd
        t = ((ticks - tp.epoch_start + usecs_to_jiffies(tp, tp.delay_min)) << 10) // tp.hz
        away = abs(t - tp.k)
        delta = np.int64(min(CUBIC_SCALE * 10.0 * away * away * away / 2.0**40, 1e15))  # within 64 bits
        target = tp.origin_point - delta if t < tp.k else tp.origin_point + delta
        tp.cnt = cwnd // (target - cwnd) if target > cwnd else 100 * cwnd
        if tp.last_max_cwnd == 0 and tp.cnt > 20:
            tp.cnt = 20
    # as fast as Reno would be
    delta = (cwnd * BETA_SCALE) >> 3
    while tp.ack_cnt > delta:
        tp.ack_cnt -= delta
        tp.tcp_cwnd += 1
    if tp.tcp_cwnd > cwnd:
        tp.cnt = min(tp.cnt, cwnd // (tp.tcp_cwnd - cwnd))
    tp.cnt = max(tp.cnt, 2)
