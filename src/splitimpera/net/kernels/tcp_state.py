"""What an end of a connection knows, the packets it has under way, and what is read off them."""

from __future__ import annotations

from collections import namedtuple

import numpy as np

from splitimpera.net.kernels.compiling import compiled, inlined, record

RENO, CUBIC = 0, 1
OPEN, DISORDER, CWR, RECOVERY, LOSS = np.arange(5)
NO_TIMER, RETRANS, LOSS_PROBE, REO_TIMEOUT = np.arange(4)
INFINITE_SSTHRESH = np.int64(0x7FFFFFFF)
NONE = np.int64(-1)

# marks of a packet in the retransmission queue
SACKED_ACKED, SACKED_RETRANS, LOST, EVER_RETRANS, PSH, SORTED = 1, 2, 4, 8, 16, 32

# what an acknowledgement did
DATA, DATA_ACKED, RETRANS_DATA_ACKED, DATA_SACKED, DSACKING_ACK = 1, 2, 4, 8, 16
SND_UNA_ADVANCED, ORIG_SACK_ACKED, SET_XMIT_TIMER, LOST_RETRANS, DSACK_TLP = 32, 64, 128, 256, 512
REXMIT_NONE, REXMIT_LOST, REXMIT_NEW = 0, 1, 2

# what a receiver still owes
SCHED, TIMER, PUSHED, PUSHED2, NOW = 1, 2, 4, 8, 16

# what the transcript tells of
SENT, RETRANSMITTED, ACKED, PROBE, TIMEOUT, REORDER_TIMEOUT, STATE, UNDO, IDLE_RESTART, END = np.arange(1, 11)

TCP_HEADER = 32  # with time stamps
IP_HEADER = 20
MSS_DEFAULT = 536
RTO_MAX_S = 120
GSO_MAX_BYTES = 65215

SOCK = record(
    # connection
    "index base peer way mss jiffy_phase clock_phase dead tick hz initial_window min_rto_us give_up_ms "
    "tlp hystart idle_restart tso_defer compress delack_min delack_max comp_delay comp_slack comp_nr dup_thresh "
    # what the application wrote and how much of it is cut into packets, in bytes; whether it writes when it has read
    "item items next_item read_item written cut answers "
    # sender
    "snd_una snd_nxt snd_cwnd snd_ssthresh snd_cwnd_cnt snd_cwnd_used snd_cwnd_stamp is_cwnd_limited max_packets_out "
    "cwnd_usage_seq prior_cwnd prior_ssthresh prr_delivered prr_out high_seq tlp_high_seq tlp_retrans undo_marker "
    "undo_retrans retrans_stamp ca_state sacked_out lost lost_out retrans_out reordering reord_seen delivered "
    "total_retrans dsack_dups frto retransmits backoff rto srtt_us mdev_us mdev_max_us rttvar_us rtt_seq rtt_min_us "
    "lsndtime wstamp pending timeout fires fack hint oldest newest pacing_rate tsecr "
    # what the acknowledgement at hand did
    "flag rexmit reord first_sackt last_sackt prior_delivered prior_delivered_sent prior_delivered_end "
    # RACK
    "rack_mstamp rack_end rack_rtt_us rack_advanced rack_steps rack_persist rack_last_delivered rack_dsack_seen "
    # congestion control
    "cc cnt last_max_cwnd last_cwnd last_time origin_point k delay_min epoch_start ack_cnt tcp_cwnd found round_start "
    "end_seq last_ack curr_rtt sample_cnt "
    # receiver
    "rcv_nxt rcv_wup rcv_mss last_seg_size out_of_order quick ato lrcvtime pingpong owes delack_timeout delack_fires "
    "window window_limit send_end compressed dup_acks comp_fires comp_rcv_nxt ts_recent dsack_start dsack_end blocks",
    lists="start end",
    length=4,
)
"""One end of a connection, in the words of the Linux kernel's `tcp_sock`; sequence numbers count packets."""

PACKET = record("end_byte sent flags after before jump item delivered received size")
"""A packet of a sender: `after` and `before` are its neighbours in the order of sending."""

ITEM = record("due size end_byte sent first complete packets lost retransmissions wire_bytes")
"""A frame, or an answer, and what became of it."""

FLYING = record("arrival sock packet ack window_end tsval tsecr dsack blocks", lists="start end", length=3)
"""A packet under way: to which end, which packet of its peer's (or none), and its header."""

EVENT = record("time sock what packet ack cwnd state dropped")

World = namedtuple("World", "socks packets items ways flying steps drops waiting transcript counters rng")
"""Arrays of the above; `counters`: length of the transcript, whether a ring was too short."""


@compiled
def note(w, tp, now, what, packet, dropped):
    if w.counters[0] < len(w.transcript):
        event = w.transcript[w.counters[0]]
        event.time, event.sock, event.what, event.packet = now, tp.index, what, packet
        event.ack, event.cwnd, event.state, event.dropped = tp.rcv_nxt, tp.snd_cwnd, tp.ca_state, dropped
        w.counters[0] += 1


@inlined
def jiffies(tp, now):
    return (now + tp.jiffy_phase) // tp.tick


@compiled
def wheel(tp, now, expires):
    """When a timer for tick `expires` runs: never early, and later the farther away (the kernel's timer wheel)."""
    away = expires - jiffies(tp, now) - 1
    coarse = 0
    while coarse < 15 and away >= 63 << coarse:
        coarse += 3
    return (((expires >> coarse) + 1) << coarse) * tp.tick - tp.jiffy_phase


@compiled
def usecs_to_jiffies(tp, us):
    return -(-us * 1000 // tp.tick)


@compiled
def jiffies_to_usecs(tp, ticks):
    return ticks * tp.tick // 1000


@compiled
def time_stamp_ms(tp, now):
    return (now + tp.clock_phase) // 1_000_000


@inlined
def in_flight(tp):
    return tp.snd_nxt - tp.snd_una - tp.sacked_out - tp.lost_out + tp.retrans_out


@compiled
def in_cwnd_reduction(tp):
    return tp.ca_state == CWR or tp.ca_state == RECOVERY


@compiled
def in_slow_start(tp):
    return tp.snd_cwnd < tp.snd_ssthresh


@compiled
def sent_after(sent, other, end, other_end):
    return sent > other or (sent == other and end > other_end)
