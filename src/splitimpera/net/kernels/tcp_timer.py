"""The sender's one timer: what arms it, and for how long."""

from __future__ import annotations

from splitimpera.net.kernels.compiling import compiled, inlined
from splitimpera.net.kernels.tcp_state import (
    CWR,
    LOSS_PROBE,
    NO_TIMER,
    OPEN,
    REO_TIMEOUT,
    RETRANS,
    RTO_MAX_S,
    jiffies,
    jiffies_to_usecs,
    usecs_to_jiffies,
    wheel,
)
from splitimpera.net.kernels.wire import NEVER


@compiled
def reset_timer(tp, now, what, ticks):
    tp.pending = what
    tp.timeout = jiffies(tp, now) + min(ticks, RTO_MAX_S * tp.hz)
    tp.fires = wheel(tp, now, tp.timeout)


@compiled
def clear_timer(tp):
    tp.pending = NO_TIMER
    tp.fires = NEVER


@compiled
def rto_delta_us(w, tp, now):
    """How far ahead the oldest packet's timeout is."""
    return w.packets[tp.base + tp.snd_una].sent // 1000 + jiffies_to_usecs(tp, tp.rto) - now // 1000


@compiled
def rearm_rto(w, tp, now):
    if tp.snd_una == tp.snd_nxt:
        clear_timer(tp)
        return
    rto = tp.rto
    if tp.pending == REO_TIMEOUT or tp.pending == LOSS_PROBE:
        rto = usecs_to_jiffies(tp, max(rto_delta_us(w, tp, now), 1))
    reset_timer(tp, now, RETRANS, rto)


@compiled
def schedule_loss_probe(w, tp, now, advancing_rto):
    if tp.tlp == 0 or tp.snd_una == tp.snd_nxt or (tp.ca_state != OPEN and tp.ca_state != CWR):
        return False
    timeout_us = tp.srtt_us >> 2
    if tp.snd_nxt - tp.snd_una == 1:
        timeout_us += tp.min_rto_us
    else:
        timeout_us += 2000
    timeout = usecs_to_jiffies(tp, timeout_us)
    delta_us = jiffies_to_usecs(tp, tp.rto) if advancing_rto else rto_delta_us(w, tp, now)
    if delta_us > 0:
        timeout = min(timeout, usecs_to_jiffies(tp, delta_us))
    reset_timer(tp, now, LOSS_PROBE, timeout)
    return True


@inlined
def rtt_estimator(tp, rtt_us):
    """SRTT and RTTVAR, eightfold and fourfold; the floor of 200 ms is on the variance."""
    if tp.srtt_us == 0:
        tp.srtt_us = rtt_us << 3
        tp.mdev_us = rtt_us << 1
        tp.rttvar_us = max(tp.mdev_us, tp.min_rto_us)
        tp.mdev_max_us = tp.rttvar_us
        tp.rtt_seq = tp.snd_nxt
    else:
        error = rtt_us - (tp.srtt_us >> 3)
        tp.srtt_us += error
        if error < 0:
            error = -error - (tp.mdev_us >> 2)
            if error > 0:
                error >>= 3
        else:
            error -= tp.mdev_us >> 2
        tp.mdev_us += error
        if tp.mdev_us > tp.mdev_max_us:
            tp.mdev_max_us = tp.mdev_us
            tp.rttvar_us = max(tp.rttvar_us, tp.mdev_max_us)
        if tp.snd_una > tp.rtt_seq:
            if tp.mdev_max_us < tp.rttvar_us:
                tp.rttvar_us -= (tp.rttvar_us - tp.mdev_max_us) >> 2
            tp.rtt_seq = tp.snd_nxt
            tp.mdev_max_us = tp.min_rto_us
    tp.srtt_us = max(tp.srtt_us, 1)
    tp.rto = min(usecs_to_jiffies(tp, (tp.srtt_us >> 3) + tp.rttvar_us), RTO_MAX_S * tp.hz)
    tp.backoff = 0
