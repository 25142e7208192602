"""Which packets count as lost: RACK (RFC 8985), by the time at which they were sent."""

from __future__ import annotations

from splitimpera.net.kernels.compiling import compiled, inlined
from splitimpera.net.kernels.tcp_output import unlink
from splitimpera.net.kernels.tcp_state import (
    EVER_RETRANS,
    LOST,
    LOST_RETRANS,
    NONE,
    RECOVERY,
    REO_TIMEOUT,
    SACKED_ACKED,
    SACKED_RETRANS,
    SET_XMIT_TIMER,
    sent_after,
    usecs_to_jiffies,
)
from splitimpera.net.kernels.tcp_timer import reset_timer

MAX_REORDERING = 300
RACK_RECOVERY_THRESH = 16


@compiled
def highest_sack(tp):
    return tp.fack if tp.sacked_out else tp.snd_una


@compiled
def check_reordering(tp, low):
    metric = highest_sack(tp) - low
    if metric <= 0:
        return
    if metric > tp.reordering:
        tp.reordering = min(metric, MAX_REORDERING)
    tp.reord_seen += 1


@compiled
def mark_lost(w, tp, place):
    packet = w.packets[tp.base + place]
    if packet.flags & SACKED_ACKED:
        return
    if tp.hint == NONE:
        if tp.retrans_out >= tp.lost_out:
            tp.hint = place
    elif place < tp.hint:
        tp.hint = place
    if packet.flags & LOST:
        if packet.flags & SACKED_RETRANS:
            packet.flags &= ~SACKED_RETRANS
            tp.retrans_out -= 1
            tp.lost += 1
    else:
        tp.lost += 1
        tp.lost_out += 1
        packet.flags |= LOST


@inlined
def rack_advance(tp, now, flags, end, sent):
    """The newest packet known to have arrived (RFC 8985, section 6.2, step 2)."""
    sent_us = sent // 1000
    rtt_us = now // 1000 - sent_us
    if rtt_us < tp.rtt_min_us and flags & (EVER_RETRANS | SACKED_RETRANS):
        return
    tp.rack_advanced = 1
    tp.rack_rtt_us = rtt_us
    if sent_after(sent_us, tp.rack_mstamp, end, tp.rack_end):
        tp.rack_mstamp = sent_us
        tp.rack_end = end


@compiled
def rack_reo_wnd(tp):
    if tp.reord_seen == 0 and (tp.ca_state >= RECOVERY or tp.sacked_out >= tp.dup_thresh):
        return 0
    return min((tp.rtt_min_us >> 2) * tp.rack_steps, tp.srtt_us >> 3)


@compiled
def rack_detect_loss(w, tp, now):
    """Mark what was sent long enough before the newest delivery; the time until the rest is due, in us."""
    longest = 0
    reo_wnd = rack_reo_wnd(tp)
    place = tp.oldest
    while place != NONE:
        packet = w.packets[tp.base + place]
        following = packet.after
        if not (packet.flags & LOST and packet.flags & SACKED_RETRANS == 0):
            if not sent_after(tp.rack_mstamp, packet.sent // 1000, tp.rack_end, place + 1):
                break
            remaining = tp.rack_rtt_us + reo_wnd - (now // 1000 - packet.sent // 1000)
            if remaining <= 0:
                mark_lost(w, tp, place)
                unlink(w, tp, place)
            else:
                longest = max(longest, remaining)
        place = following
    return longest


@compiled
def identify_packet_loss(w, tp, now):
    if tp.rack_advanced == 0:
        return
    prior_retrans = tp.retrans_out
    tp.rack_advanced = 0
    timeout = rack_detect_loss(w, tp, now)
    if timeout:
        reset_timer(tp, now, REO_TIMEOUT, usecs_to_jiffies(tp, timeout + 2000))
        tp.flag &= ~SET_XMIT_TIMER
    if prior_retrans > tp.retrans_out:
        tp.flag |= LOST_RETRANS


@compiled
def rack_update_reo_wnd(tp):
    if tp.prior_delivered == 0:
        return
    if tp.prior_delivered < tp.rack_last_delivered:
        tp.rack_dsack_seen = 0
    if tp.rack_dsack_seen:
        tp.rack_steps = min(255, tp.rack_steps + 1)
        tp.rack_dsack_seen = 0
        tp.rack_last_delivered = tp.delivered
        tp.rack_persist = RACK_RECOVERY_THRESH
    elif tp.rack_persist == 0:
        tp.rack_steps = 1
