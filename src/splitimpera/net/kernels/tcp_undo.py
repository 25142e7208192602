"""A loss that was none is undone: D-SACK, Eifel and F-RTO tell."""

from __future__ import annotations

from splitimpera.net.kernels.compiling import compiled
from splitimpera.net.kernels.tcp_cong import set_ca_state
from splitimpera.net.kernels.tcp_rack import RACK_RECOVERY_THRESH, check_reordering
from splitimpera.net.kernels.tcp_state import CWR, DISORDER, EVER_RETRANS, LOST, NONE, OPEN, UNDO, jiffies, note


@compiled
def init_undo(tp):
    tp.undo_marker = tp.snd_una
    tp.undo_retrans = tp.retrans_out
    if tp.tlp_high_seq != NONE and tp.tlp_retrans:
        tp.undo_retrans += 1
    if tp.undo_retrans == 0:
        tp.undo_retrans = -1


@compiled
def echo_before(tp, stamp):
    """Whether what is acknowledged was sent before `stamp`, by the time stamp that came back (Eifel)."""
    return tp.tsecr != 0 and tp.tsecr < stamp


@compiled
def packet_delayed(tp):
    return tp.retrans_stamp == 0 or echo_before(tp, tp.retrans_stamp)


@compiled
def may_undo(tp):
    return tp.undo_marker != NONE and (tp.undo_retrans == 0 or packet_delayed(tp))


@compiled
def undo_cwnd_reduction(w, tp, now, unmark_loss):
    """The loss was none: take back what it did to the window."""
    if unmark_loss:
        for place in range(tp.snd_una, tp.snd_nxt):
            w.packets[tp.base + place].flags &= ~LOST
        tp.lost_out = 0
        tp.hint = NONE
    if tp.prior_ssthresh:
        tp.snd_cwnd = max(tp.snd_cwnd, tp.prior_cwnd)
        tp.snd_ssthresh = max(tp.snd_ssthresh, tp.prior_ssthresh)
    tp.snd_cwnd_stamp = jiffies(tp, now)
    tp.undo_marker = NONE
    tp.rack_advanced = 1
    note(w, tp, now, UNDO, NONE, False)


@compiled
def any_retrans_done(w, tp):
    if tp.retrans_out:
        return True
    return tp.snd_una < tp.snd_nxt and w.packets[tp.base + tp.snd_una].flags & EVER_RETRANS != 0


@compiled
def try_undo_recovery(w, tp, now):
    if may_undo(tp):
        undo_cwnd_reduction(w, tp, now, False)
    elif tp.rack_persist:
        tp.rack_persist -= 1
    set_ca_state(w, tp, now, OPEN)


@compiled
def try_undo_dsack(w, tp, now):
    """All retransmissions were needless, D-SACK says."""
    if tp.undo_marker == NONE or tp.undo_retrans:
        return False
    tp.rack_persist = min(RACK_RECOVERY_THRESH, tp.rack_persist + 1)
    undo_cwnd_reduction(w, tp, now, False)
    return True


@compiled
def try_undo_loss(w, tp, now, frto_undo):
    if not frto_undo and not may_undo(tp):
        return False
    undo_cwnd_reduction(w, tp, now, True)
    tp.retransmits = 0
    set_ca_state(w, tp, now, OPEN)
    return True


@compiled
def try_undo_partial(w, tp, now, prior_snd_una):
    """A hole was filled by a late packet; whether its retransmission is still under way, so that nothing is done."""
    if tp.undo_marker == NONE or not packet_delayed(tp):
        return False
    check_reordering(tp, prior_snd_una)
    if tp.retrans_out:
        return True
    if not any_retrans_done(w, tp):
        tp.retrans_stamp = 0
    undo_cwnd_reduction(w, tp, now, True)
    try_keep_open(w, tp, now)
    return False


@compiled
def try_keep_open(w, tp, now):
    state = DISORDER if tp.sacked_out + tp.lost_out or any_retrans_done(w, tp) else OPEN
    if tp.ca_state != state:
        set_ca_state(w, tp, now, state)
        tp.high_seq = tp.snd_nxt


@compiled
def try_to_open(w, tp, now):
    if not any_retrans_done(w, tp):
        tp.retrans_stamp = 0
    if tp.ca_state != CWR:
        try_keep_open(w, tp, now)
