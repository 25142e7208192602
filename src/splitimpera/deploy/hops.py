"""What a plan's hop asks of the programs at its two ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from splitimpera.bundle.manifest import HopEntry, PlanEntry
from splitimpera.bundle.opened import Bundle
from splitimpera.codec.framing import DTLS_RECORD_BYTES, HEADER_BYTES, IP_UDP_HEADER_BYTES
from splitimpera.codec.given import array_dtype
from splitimpera.core.errors import BundleError
from splitimpera.deploy.halves import Received, ServerHalf, server_halves
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


def halves_by_number(bundle: Bundle, names: Iterable[str] | None, threads: int) -> Mapping[int, ServerHalf]:
    """The server's parts of plans, by the number of their hop; programs that several of them run are loaded once.

    Args:
        names: Of the plans; None: all that have a server.

    Raises:
        BundleError: there is no such plan, none that needs a server, or the files are not what was exported.
    """
    plans = (
        [plan for plan in bundle.manifest.plans if len(plan.hops) == 1]
        if names is None
        else [bundle.manifest.plan(name) for name in names]
    )
    for plan in plans:
        check_machines(plan)
    halves: dict[int, ServerHalf] = {}
    for half in server_halves(bundle, [plan.id for plan in plans], threads).values():
        zeros = [np.zeros(spec.shape, array_dtype(spec)) for spec in (entry.spec for entry in half.hop.tensors)]
        half([Received(half.codec.encode(zeros).data)])  # an engine's first run takes longer
        other = halves.setdefault(half.hop.number, half)
        if (other.hop.cut, other.hop.bottleneck) != (half.hop.cut, half.hop.bottleneck):
            raise BundleError(
                f"plans '{half.plan.id}' and '{other.plan.id}' cannot be told apart by what they send",
                hint="name the one to serve",
            )
    if not halves:
        raise BundleError("no plan of the bundle needs a server", hint="'splitimpera infer' runs it on the device")
    return halves
