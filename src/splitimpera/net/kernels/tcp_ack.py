"""An acknowledgement arrives."""

from __future__ import annotations

import numpy as np

from splitimpera.net.kernels.compiling import compiled, inlined
from splitimpera.net.kernels.tcp_cong import (
    cong_avoid,
    cwnd_reduction,
    end_cwnd_reduction,
    set_ca_state,
    update_pacing_rate,
)
from splitimpera.net.kernels.tcp_cubic import cubic_acked
from splitimpera.net.kernels.tcp_output import unlink
from splitimpera.net.kernels.tcp_rack import (
    check_reordering,
    highest_sack,
    identify_packet_loss,
    rack_advance,
    rack_update_reo_wnd,
)
from splitimpera.net.kernels.tcp_recovery import enter_recovery, process_tlp_ack, xmit_recovery
from splitimpera.net.kernels.tcp_sack import check_dsack, count_delivered, sack_block
from splitimpera.net.kernels.tcp_state import (
    CUBIC,
    CWR,
    DATA,
    DATA_ACKED,
    DATA_SACKED,
    DISORDER,
    DSACKING_ACK,
    EVER_RETRANS,
    LOSS,
    LOST,
    LOST_RETRANS,
    NONE,
    OPEN,
    ORIG_SACK_ACKED,
    RECOVERY,
    RETRANS_DATA_ACKED,
    REXMIT_LOST,
    REXMIT_NEW,
    REXMIT_NONE,
    SACKED_ACKED,
    SACKED_RETRANS,
    SET_XMIT_TIMER,
    SND_UNA_ADVANCED,
    in_cwnd_reduction,
    time_stamp_ms,
)
from splitimpera.net.kernels.tcp_timer import rearm_rto, rtt_estimator, schedule_loss_probe
from splitimpera.net.kernels.tcp_undo import (
    echo_before,
    try_to_open,
    try_undo_dsack,
    try_undo_loss,
    try_undo_partial,
    try_undo_recovery,
)


@inlined
def clean_rtx_queue(w, tp, now, prior_snd_una, prior_fack):
    """Drop what is acknowledged for good, take the round-trip time."""
    first_ackt = NONE
    last_ackt = NONE
    reord = tp.snd_nxt
    for place in range(prior_snd_una, tp.snd_una):
        packet = w.packets[tp.base + place]
        flags = packet.flags
        if flags & (SACKED_RETRANS | EVER_RETRANS):
            if flags & SACKED_RETRANS:
                tp.retrans_out -= 1
            tp.flag |= RETRANS_DATA_ACKED
        elif flags & SACKED_ACKED == 0:
            last_ackt = packet.sent
            if first_ackt == NONE:
                first_ackt = last_ackt
            reord = min(reord, place)
            if place < tp.high_seq:
                tp.flag |= ORIG_SACK_ACKED
        if flags & SACKED_ACKED:
            tp.sacked_out -= 1
        else:
            count_delivered(w, tp, packet, place)
            spurious = flags & (SACKED_RETRANS | EVER_RETRANS) and echo_before(tp, time_stamp_ms(tp, packet.sent))
            if not spurious:
                rack_advance(tp, now, flags, place + 1, packet.sent)
        if flags & LOST:
            tp.lost_out -= 1
        unlink(w, tp, place)
        if place == tp.hint:
            tp.hint = NONE
        tp.flag |= DATA_ACKED

    seq_rtt_us = ca_rtt_us = np.int64(-1)
    if first_ackt != NONE and tp.flag & RETRANS_DATA_ACKED == 0:
        seq_rtt_us = now // 1000 - first_ackt // 1000
        ca_rtt_us = now // 1000 - last_ackt // 1000
    sack_rtt_us = np.int64(-1)
    if tp.first_sackt != NONE:
        sack_rtt_us = now // 1000 - tp.first_sackt // 1000
        ca_rtt_us = now // 1000 - tp.last_sackt // 1000
    if seq_rtt_us < 0:
        seq_rtt_us = sack_rtt_us
    if seq_rtt_us < 0 and tp.tsecr and tp.flag & DATA_ACKED:
        seq_rtt_us = ca_rtt_us = max(time_stamp_ms(tp, now) - tp.tsecr, 1) * 1000
    if seq_rtt_us >= 0:
        tp.rtt_min_us = min(tp.rtt_min_us, max(ca_rtt_us, 1))
        rtt_estimator(tp, seq_rtt_us)
    if tp.flag & DATA_ACKED:
        tp.flag |= SET_XMIT_TIMER
        if reord < prior_fack:
            check_reordering(tp, reord)
    elif sack_rtt_us > now // 1000 - w.packets[tp.base + tp.snd_una].sent // 1000:
        tp.flag |= SET_XMIT_TIMER
    if tp.cc == CUBIC:
        cubic_acked(tp, now, ca_rtt_us)


@compiled
def process_loss(w, tp, now):
    """An acknowledgement after a timeout: was it needless (F-RTO), is it over, go on."""
    recovered = tp.snd_una >= tp.high_seq
    if tp.flag & SND_UNA_ADVANCED and try_undo_loss(w, tp, now, False):
        return
    if tp.frto:
        if tp.flag & ORIG_SACK_ACKED and try_undo_loss(w, tp, now, True):
            return
        if tp.snd_nxt > tp.high_seq:
            duplicate = tp.flag & (SND_UNA_ADVANCED | DATA | DATA_ACKED | DSACKING_ACK) == 0
            if tp.flag & DATA_SACKED or duplicate:
                tp.frto = 0
        elif tp.flag & SND_UNA_ADVANCED and not recovered:
            tp.high_seq = tp.snd_nxt
            if tp.cut < tp.written:
                tp.rexmit = REXMIT_NEW
                return
            tp.frto = 0
    if recovered:
        try_undo_recovery(w, tp, now)
        return
    tp.rexmit = REXMIT_LOST


@compiled
def fastretrans_alert(w, tp, now, prior_snd_una):
    """The state machine of loss recovery."""
    if tp.ca_state == OPEN:
        tp.retrans_stamp = 0
    elif tp.snd_una >= tp.high_seq:
        if tp.ca_state == CWR:
            if tp.snd_una != tp.high_seq:
                end_cwnd_reduction(tp, now)
                set_ca_state(w, tp, now, OPEN)
        elif tp.ca_state == RECOVERY:
            try_undo_recovery(w, tp, now)
            end_cwnd_reduction(tp, now)
    if tp.ca_state == RECOVERY:
        if tp.flag & SND_UNA_ADVANCED and try_undo_partial(w, tp, now, prior_snd_una):
            return
        if try_undo_dsack(w, tp, now):
            try_to_open(w, tp, now)
        identify_packet_loss(w, tp, now)
        if tp.ca_state != RECOVERY:
            if tp.lost_out == 0:
                return
            enter_recovery(w, tp, now)
    else:
        if tp.ca_state == LOSS:
            process_loss(w, tp, now)
            identify_packet_loss(w, tp, now)
            if not (tp.ca_state == OPEN or tp.flag & LOST_RETRANS):
                return
        if tp.ca_state <= DISORDER:
            try_undo_dsack(w, tp, now)
        identify_packet_loss(w, tp, now)
        if tp.lost_out == 0:
            try_to_open(w, tp, now)
            return
        enter_recovery(w, tp, now)
    tp.rexmit = REXMIT_LOST


@compiled
def on_ack(w, tp, now, flying):
    """tcp_ack."""
    ack = flying.ack
    if ack < tp.snd_una:
        return
    prior_snd_una = tp.snd_una
    prior_packets = tp.snd_nxt - tp.snd_una
    prior_delivered, prior_lost = tp.delivered, tp.lost
    prior_fack = highest_sack(tp)
    tp.flag = DATA if flying.packet != NONE else 0
    tp.rexmit = REXMIT_NONE
    tp.first_sackt = NONE
    tp.prior_delivered = 0
    tp.reord = tp.snd_nxt
    tp.tsecr = flying.tsecr
    tp.send_end = max(tp.send_end, flying.window_end)
    if ack > prior_snd_una:
        tp.flag |= SND_UNA_ADVANCED
        tp.retransmits = 0
        tp.snd_una = ack
    if flying.blocks and prior_packets:
        check_dsack(w, tp, flying, prior_snd_una)
        # the lowest block first, as the kernel does: reordering is told from what lies above
        done = NONE
        for _ in range(flying.dsack, flying.blocks):
            lowest = NONE
            for i in range(flying.dsack, flying.blocks):
                if flying.start[i] > done and (lowest == NONE or flying.start[i] < flying.start[lowest]):
                    lowest = i
            if lowest == NONE:
                break
            done = flying.start[lowest]
            sack_block(w, tp, now, done, flying.end[lowest])
        if tp.ca_state != LOSS or tp.undo_marker != NONE:
            check_reordering(tp, tp.reord)
    elif flying.blocks:
        check_dsack(w, tp, flying, prior_snd_una)
    if prior_packets == 0:
        if tp.flag & DSACKING_ACK:
            fastretrans_alert(w, tp, now, prior_snd_una)
        if tp.tlp_high_seq != NONE:
            process_tlp_ack(w, tp, now, ack)
        return
    clean_rtx_queue(w, tp, now, prior_snd_una, prior_fack)
    rack_update_reo_wnd(tp)
    if tp.tlp_high_seq != NONE:
        process_tlp_ack(w, tp, now, ack)
    if tp.flag & (DATA | DATA_ACKED) == 0 or tp.flag & (DATA_SACKED | DSACKING_ACK) or tp.ca_state != OPEN:
        fastretrans_alert(w, tp, now, prior_snd_una)
    if tp.flag & SET_XMIT_TIMER and not schedule_loss_probe(w, tp, now, True):
        rearm_rto(w, tp, now)
    delivered = tp.delivered - prior_delivered
    if in_cwnd_reduction(tp):
        cwnd_reduction(tp, delivered, tp.lost - prior_lost)
    elif tp.flag & (DATA_ACKED | DATA_SACKED if tp.reordering > tp.dup_thresh else DATA_ACKED):
        cong_avoid(tp, now, delivered)
    update_pacing_rate(tp)
    xmit_recovery(w, tp, now)
