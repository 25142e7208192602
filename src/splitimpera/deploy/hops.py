"""What a plan's hop asks of the programs at its two ends."""

from __future__ import annotations

from splitimpera.bundle.manifest import HopEntry, PlanEntry
from splitimpera.codec.framing import DTLS_RECORD_BYTES, HEADER_BYTES, IP_UDP_HEADER_BYTES
from splitimpera.core.errors import BundleError
from splitimpera.deploy.sessions import Pace

TIMES_LARGER = 4
"""A payload is smaller than so many times its tensors, whatever codes it: error correction triples it at most."""
BESIDES_BYTES = 1 << 16


def pace(hop: HopEntry, secure: bool) -> Pace:
    """How datagrams of a hop go onto its link."""
    header_bytes = IP_UDP_HEADER_BYTES + HEADER_BYTES + (DTLS_RECORD_BYTES if secure else 0)
    return Pace(hop.packet_bytes, hop.link.rate_bps, header_bytes, again=hop.transport == "udp-arq")


def largest_payload(hop: HopEntry) -> int:
    """No payload of a hop is larger, in bytes."""
    return TIMES_LARGER * sum(entry.spec.bytes for entry in hop.tensors) + BESIDES_BYTES


def check_machines(plan: PlanEntry) -> None:
    """Raises BundleError for plans of more than two machines, which no program runs so far."""
    if len(plan.hops) > 1:
        raise BundleError(f"plan '{plan.id}' has {len(plan.machines)} machines, plans of one or two can be run so far")
