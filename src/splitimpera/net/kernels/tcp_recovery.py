"""Recovery from losses: how it begins, what is sent again, probes (TLP) and the sender's timer."""

from __future__ import annotations

from splitimpera.net.kernels.compiling import compiled
from splitimpera.net.kernels.tcp_cong import (
    current_ssthresh,
    cwnd_reduction,
    end_cwnd_reduction,
    init_cwnd_reduction,
    set_ca_state,
    ssthresh_after_loss,
)
from splitimpera.net.kernels.tcp_output import retransmit, retransmit_lost, write_xmit
from splitimpera.net.kernels.tcp_rack import mark_lost, rack_detect_loss
from splitimpera.net.kernels.tcp_state import (
    CWR,
    DATA,
    DATA_ACKED,
    DATA_SACKED,
    DISORDER,
    DSACK_TLP,
    LOSS,
    LOSS_PROBE,
    LOST,
    NO_TIMER,
    NONE,
    PROBE,
    RECOVERY,
    REO_TIMEOUT,
    REORDER_TIMEOUT,
    RETRANS,
    REXMIT_NEW,
    REXMIT_NONE,
    RTO_MAX_S,
    SACKED_ACKED,
    SACKED_RETRANS,
    SND_UNA_ADVANCED,
    TIMEOUT,
    in_cwnd_reduction,
    in_flight,
    jiffies,
    note,
    time_stamp_ms,
)
from splitimpera.net.kernels.tcp_timer import rearm_rto, reset_timer
from splitimpera.net.kernels.tcp_undo import any_retrans_done, init_undo, try_keep_open
from splitimpera.net.kernels.wire import NEVER


@compiled
def enter_recovery(w, tp, now):
    if not any_retrans_done(w, tp):
        tp.retrans_stamp = 0
    tp.prior_ssthresh = 0
    init_undo(tp)
    if not in_cwnd_reduction(tp):
        tp.prior_ssthresh = current_ssthresh(tp)
        init_cwnd_reduction(tp)
    set_ca_state(w, tp, now, RECOVERY)


@compiled
def enter_loss(w, tp, now):
    """A retransmission timeout: what was not sent just now counts as lost, the window as one packet."""
    new_recovery = tp.ca_state < RECOVERY
    for place in range(tp.snd_una, tp.snd_nxt):
        packet = w.packets[tp.base + place]
        if place != tp.snd_una and tp.rack_rtt_us - (now // 1000 - packet.sent // 1000) > 0:
            continue
        mark_lost(w, tp, place)
    tp.hint = NONE
    if tp.ca_state <= DISORDER or tp.high_seq <= tp.snd_una or (tp.ca_state == LOSS and tp.retransmits == 0):
        tp.prior_ssthresh = current_ssthresh(tp)
        tp.prior_cwnd = tp.snd_cwnd
        tp.snd_ssthresh = ssthresh_after_loss(tp)
        init_undo(tp)
    tp.snd_cwnd = in_flight(tp) + 1
    tp.snd_cwnd_cnt = 0
    tp.snd_cwnd_stamp = jiffies(tp, now)
    if tp.ca_state <= DISORDER and tp.sacked_out >= tp.dup_thresh:
        tp.reordering = min(tp.reordering, tp.dup_thresh)
    set_ca_state(w, tp, now, LOSS)
    tp.high_seq = tp.snd_nxt
    tp.tlp_high_seq = NONE
    tp.frto = 1 if new_recovery or tp.retransmits else 0


@compiled
def retransmit_queue(w, tp, now):
    """Send again what is marked lost, as far as the window allows."""
    if tp.snd_una == tp.snd_nxt:
        return
    place = tp.snd_una if tp.hint == NONE else tp.hint
    hole = False
    rearm = False
    while place < tp.snd_nxt:
        if not hole:
            tp.hint = place
        if tp.snd_cwnd <= in_flight(tp) or tp.retrans_out >= tp.lost_out:
            break
        flags = w.packets[tp.base + place].flags
        if flags & LOST == 0:
            if not hole and flags & (SACKED_RETRANS | SACKED_ACKED) == 0:
                hole = True
        elif flags & (SACKED_ACKED | SACKED_RETRANS) == 0:
            retransmit_lost(w, tp, now, place)
            if in_cwnd_reduction(tp):
                tp.prr_out += 1
            if place == tp.snd_una and tp.pending != REO_TIMEOUT:
                rearm = True
        place += 1
    if rearm:
        reset_timer(tp, now, RETRANS, tp.rto)


@compiled
def xmit_recovery(w, tp, now):
    if tp.rexmit == REXMIT_NONE:
        return
    if tp.rexmit == REXMIT_NEW:
        write_xmit(w, tp, now, 0)
        if tp.snd_nxt > tp.high_seq:
            return
        tp.frto = 0
    retransmit_queue(w, tp, now)


@compiled
def send_loss_probe(w, tp, now):
    """New data, or else the last packet again, to make the receiver tell what it has (RFC 8985, section 7)."""
    probed = False
    if tp.tlp_high_seq == NONE:
        tp.tlp_retrans = 0
        if tp.cut < tp.written:
            probed = write_xmit(w, tp, now, 2) > 0
        else:
            retransmit(w, tp, now, tp.snd_nxt - 1)
            tp.tlp_retrans = 1
            probed = True
    if probed:
        tp.tlp_high_seq = tp.snd_nxt
        tp.pending = NO_TIMER
    rearm_rto(w, tp, now)


@compiled
def process_tlp_ack(w, tp, now, ack):
    if ack < tp.tlp_high_seq:
        return
    if tp.tlp_retrans == 0 or tp.flag & DSACK_TLP:
        tp.tlp_high_seq = NONE
    elif ack > tp.tlp_high_seq:
        # the probe repaired a loss
        init_cwnd_reduction(tp)
        set_ca_state(w, tp, now, CWR)
        end_cwnd_reduction(tp, now)
        try_keep_open(w, tp, now)
    elif tp.flag & (SND_UNA_ADVANCED | DATA | DATA_ACKED | DATA_SACKED) == 0:
        tp.tlp_high_seq = NONE


@compiled
def on_timer(w, tp, now):
    """The sender's one timer: reordering, loss probe or retransmission timeout."""
    what = tp.pending
    tp.fires = NEVER
    if what == REO_TIMEOUT:
        note(w, tp, now, REORDER_TIMEOUT, NONE, False)
        flight = in_flight(tp)
        rack_detect_loss(w, tp, now)
        if flight != in_flight(tp):
            if tp.ca_state != RECOVERY:
                enter_recovery(w, tp, now)
                tp.flag = 0
                cwnd_reduction(tp, 1, 0)
            retransmit_queue(w, tp, now)
        if tp.pending != RETRANS:
            rearm_rto(w, tp, now)
    elif what == LOSS_PROBE:
        note(w, tp, now, PROBE, NONE, False)
        send_loss_probe(w, tp, now)
    elif what == RETRANS:
        tp.pending = NO_TIMER
        if tp.snd_una == tp.snd_nxt:
            return
        note(w, tp, now, TIMEOUT, NONE, False)
        if tp.retransmits and tp.retrans_stamp and time_stamp_ms(tp, now) - tp.retrans_stamp >= tp.give_up_ms:
            tp.dead = 1
            return
        enter_loss(w, tp, now)
        tp.retransmits += 1
        retransmit_lost(w, tp, now, tp.snd_una)
        tp.backoff += 1
        tp.rto = min(tp.rto * 2, RTO_MAX_S * tp.hz)
        reset_timer(tp, now, RETRANS, tp.rto)
