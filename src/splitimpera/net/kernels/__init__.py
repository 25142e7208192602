"""The compiled kernels of the communication simulator: link, UDP with and without repeats, TCP as in the Linux kernel.

The wrappers that people call are in `udp.py`, `arq.py` and `tcp.py`; the names of variables and functions here are the
Linux kernel's where it has them. From below: `compiling`; `wire`: a link; `udp_kernel`, `arq_kernel`; and of TCP
`tcp_state`, `tcp_timer`, `tcp_cubic`, `tcp_cong`, `tcp_output`, then `tcp_rack`, `tcp_undo`, `tcp_recovery`,
`tcp_sack`, `tcp_ack` for what comes back, `tcp_receiver` for what arrives, `tcp_turns`, where messages follow from
those that came, and `tcp_run`, the loop over events.

Times are whole nanoseconds, packets are counted from 0 in the order in which a sender cuts them from its bytes.
Sources: RFC 9293 (TCP), 7323 (time stamps), 2018 and 2883 (SACK, D-SACK), 6298 (RTO), 8985 (RACK-TLP), 9937 (PRR),
9438 (CUBIC), 5682 (F-RTO), 5681, and the behaviour of Linux 6.x.
"""

from __future__ import annotations

from splitimpera.net.kernels.arq_kernel import TRANSMISSION, run_arq
from splitimpera.net.kernels.tcp_run import run_tcp
from splitimpera.net.kernels.tcp_state import (
    CUBIC,
    EVENT,
    FLYING,
    INFINITE_SSTHRESH,
    IP_HEADER,
    ITEM,
    MSS_DEFAULT,
    NONE,
    PACKET,
    RENO,
    RTO_MAX_S,
    SOCK,
    TCP_HEADER,
    World,
)
from splitimpera.net.kernels.tcp_turns import TURN, Talk
from splitimpera.net.kernels.udp_kernel import DATAGRAMS, run_udp
from splitimpera.net.kernels.wire import (
    BURSTS,
    EXPONENTIAL,
    INDEPENDENT,
    NEVER,
    NORMAL,
    OPPORTUNITIES,
    REPLAY,
    STEP,
    STEPS,
    UNIFORM,
    WAITING,
    WAY,
)

__all__ = [
    "BURSTS",
    "CUBIC",
    "DATAGRAMS",
    "EVENT",
    "EXPONENTIAL",
    "FLYING",
    "INDEPENDENT",
    "INFINITE_SSTHRESH",
    "IP_HEADER",
    "ITEM",
    "MSS_DEFAULT",
    "NEVER",
    "NONE",
    "NORMAL",
    "OPPORTUNITIES",
    "PACKET",
    "RENO",
    "REPLAY",
    "RTO_MAX_S",
    "SOCK",
    "STEP",
    "STEPS",
    "TCP_HEADER",
    "TRANSMISSION",
    "TURN",
    "UNIFORM",
    "WAITING",
    "WAY",
    "Talk",
    "World",
    "run_arq",
    "run_tcp",
    "run_udp",
]
