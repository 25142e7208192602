"""What selective acknowledgements tell of single packets (RFC 2018, 2883)."""

from __future__ import annotations

from splitimpera.net.kernels.compiling import compiled, inlined
from splitimpera.net.kernels.tcp_output import unlink
from splitimpera.net.kernels.tcp_rack import highest_sack, rack_advance
from splitimpera.net.kernels.tcp_state import (
    DATA_SACKED,
    DSACK_TLP,
    DSACKING_ACK,
    EVER_RETRANS,
    LOST,
    NONE,
    ORIG_SACK_ACKED,
    SACKED_ACKED,
    SACKED_RETRANS,
    sent_after,
)


@inlined
def count_delivered(w, tp, packet, place):
    """Account a packet that arrived, and which packet of them was sent last."""
    tp.delivered += 1
    if tp.prior_delivered == 0 or sent_after(packet.sent, tp.prior_delivered_sent, place, tp.prior_delivered_end):
        tp.prior_delivered = packet.delivered
        tp.prior_delivered_sent = packet.sent
        tp.prior_delivered_end = place


@inlined
def sack_packet(w, tp, now, place):
    """A packet beyond a gap arrived (tcp_sacktag_one)."""
    packet = w.packets[tp.base + place]
    flags = packet.flags
    rack_advance(tp, now, flags, place + 1, packet.sent)
    if flags & SACKED_RETRANS:
        if flags & LOST:
            flags &= ~(LOST | SACKED_RETRANS)
            tp.lost_out -= 1
            tp.retrans_out -= 1
    else:
        if flags & EVER_RETRANS == 0:
            if place < highest_sack(tp):
                tp.reord = min(tp.reord, place)
            if place < tp.high_seq:
                tp.flag |= ORIG_SACK_ACKED
            if tp.first_sackt == NONE:
                tp.first_sackt = packet.sent
            tp.last_sackt = packet.sent
        if flags & LOST:
            flags &= ~LOST
            tp.lost_out -= 1
    packet.flags = flags | SACKED_ACKED
    tp.flag |= DATA_SACKED
    tp.sacked_out += 1
    count_delivered(w, tp, packet, place)
    unlink(w, tp, place)
    if tp.sacked_out == 1 or place + 1 > tp.fack:
        tp.fack = place + 1


@inlined
def sack_block(w, tp, now, start, end):
    """Mark a block; `jump` skips what earlier blocks from the same start have marked."""
    start = max(start, tp.snd_una)
    end = min(end, tp.snd_nxt)
    place = start
    while place < end:
        packet = w.packets[tp.base + place]
        if packet.flags & SACKED_ACKED:
            place = max(place + 1, packet.jump)
        else:
            sack_packet(w, tp, now, place)
            place += 1
    if start < end:
        w.packets[tp.base + start].jump = max(place, w.packets[tp.base + start].jump)


@compiled
def check_dsack(w, tp, flying, prior_snd_una):
    """The receiver got something twice."""
    if flying.dsack == 0:
        return
    start, end = flying.start[0], flying.end[0]
    if end - start == 1 and tp.tlp_high_seq == end:
        tp.flag |= DSACK_TLP
    tp.dsack_dups += end - start
    if tp.dsack_dups > tp.total_retrans:
        return
    if tp.reord_seen and tp.flag & DSACK_TLP == 0:
        tp.rack_dsack_seen = 1
    tp.flag |= DSACKING_ACK
    if tp.undo_marker != NONE and tp.undo_retrans > 0 and end <= prior_snd_una and end > tp.undo_marker:
        tp.undo_retrans = max(0, tp.undo_retrans - (end - start))
    # above the cumulative acknowledgement the packet is still in the queue
    for place in range(max(start, tp.snd_una), min(end, tp.snd_nxt)):
        packet = w.packets[tp.base + place]
        if packet.flags & (EVER_RETRANS | SACKED_RETRANS):
            if tp.undo_marker != NONE and tp.undo_retrans > 0 and place + 1 > tp.undo_marker:
                tp.undo_retrans -= 1
            if packet.flags & SACKED_ACKED:
                tp.reord = min(tp.reord, place)
        if packet.flags & SACKED_RETRANS:
            packet.flags &= ~SACKED_RETRANS
            tp.retrans_out -= 1
