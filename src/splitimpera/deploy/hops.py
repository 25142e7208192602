"""What a plan's hop asks of the programs at its two ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from splitimpera.bundle.manifest import HopEntry, PlanEntry
from splitimpera.bundle.opened import Bundle
from splitimpera.codec.framing import DTLS_RECORD_BYTES, HEADER_BYTES, IP_UDP_HEADER_BYTES
from splitimpera.core.errors import BundleError
from splitimpera.deploy.halves import ReceivingHalf, receiving_halves
from splitimpera.deploy.sessions import Pace
from splitimpera.deploy.token_halves import TokenServerHalf, token_server_half
from splitimpera.deploy.token_room import TokenRoom

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


def largest_frame(half: ReceivingHalf) -> int:
    """No frame that comes to a half is larger, in bytes."""
    window = largest_payload(half.hop)
    return half.largest_bytes(window) if isinstance(half, TokenServerHalf) else window


def served_plans(bundle: Bundle, names: Iterable[str] | None, machine: str | None) -> tuple[str, list[PlanEntry]]:
    """The machine that serves, and the plans whose frames come to it.

    Args:
        names: Of the plans; None: all of which frames come to this machine.
        machine: Its name; None: the last one of these plans.

    Raises:
        BundleError: there is no such plan or machine, or none to which frames come.
    """
    manifest = bundle.manifest
    plans = manifest.plans if names is None else [manifest.plan(name) for name in names]
    longest = max((plan.machines for plan in plans), key=len, default=[""])
    machine = longest[-1] if machine is None else manifest.part(machine).machine
    if names is None:
        plans = [plan for plan in plans if machine in plan.machines[1:]]
    if not plans:
        if len(longest) == 1:
            raise BundleError("no plan of the bundle needs a server", hint="'splitimpera infer' runs it on the device")
        raise BundleError(f"no frame of any plan comes to '{machine}'", hint="'splitimpera infer' is what runs there")
    return machine, plans


def halves_by_number(
    bundle: Bundle,
    names: Iterable[str] | None,
    threads: int,
    machine: str | None = None,
    room: TokenRoom | None = None,
) -> Mapping[int, ReceivingHalf]:
    """A machine's parts of plans, by the number of the hop that their frames come by.

    Programs that several of them run are loaded once.

    Args:
        names, machine: As of `served_plans`.
        room: Where language models keep their caches; None: in one of their own.

    Raises:
        BundleError: as of `served_plans`; or the files are not what was exported.
    """
    machine, plans = served_plans(bundle, names, machine)
    halves: dict[int, ReceivingHalf] = {}
    made: Iterable[ReceivingHalf]
    if bundle.manifest.language is None:
        made = receiving_halves(bundle, [plan.id for plan in plans], machine, threads).values()
    else:
        room = TokenRoom() if room is None else room
        made = [token_server_half(bundle, plan, room, threads) for plan in plans]
    for half in made:
        half.warm_up()
        other = halves.setdefault(half.hop.number, half)
        if _ways(half) != _ways(other):
            raise BundleError(
                f"plans '{half.plan.id}' and '{other.plan.id}' cannot be told apart by what they send",
                hint="name the one to serve",
            )
    return halves


def _ways(half: ReceivingHalf) -> list[tuple[object, ...]]:
    """What a frame's number does not tell of its way from here on; how it came here, the session tells."""
    place = half.plan.hops.index(half.hop)
    onward = [(hop.number, hop.cut, hop.bottleneck, hop.transport) for hop in half.plan.hops[place + 1 :]]
    return [(half.hop.cut, half.hop.bottleneck), *onward]
