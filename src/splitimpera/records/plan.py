"""One design: which device runs what, and how the tensors travel."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import inf
from typing import Literal

from splitimpera.core.errors import PlanError, listed, shown
from splitimpera.records.device import Device
from splitimpera.records.link import Link

Configuration = Literal["LC", "RC", "SC", "EE"]
"""Local, remote and split computing, and early exits."""


@dataclass(frozen=True)
class Hop:
    """One crossing from a device to the next: at which cut, coded and sent how.

    Attributes:
        cut: Index of the cut; 0: the input crosses.
        codec: Name of the codec, such as "uint8".
        transport: "tcp", "udp" or another way of sending.
        link: The link that it goes over.
        bottleneck: Compression ratio of the trained autoencoder at the cut; 0: the network's own tensors cross.
    """

    cut: int
    codec: str
    transport: str
    link: Link
    bottleneck: float = 0.0


@dataclass(frozen=True)
class Exit:
    """An early exit: a small head on what crosses a cut, which answers the frames that it is sure of.

    Attributes:
        cut: Behind which it looks, on the device that runs the layer in front of it.
        thresholds: A frame leaves where the confidence is at least this: one for all classes, or one for each class
            that the head may find. The confidence is the largest of softmax(logits / temperature).
    """

    cut: int
    thresholds: tuple[float, ...]


@dataclass(frozen=True)
class Plan:
    """One design: n devices and n - 1 hops. LC has no hop, RC hops at cut 0 alone, SC in between, EE early exits.

    Attributes:
        id: What it is called in results and messages.
        devices: The machines, in the order in which data passes them.
        hops: The crossings between them, one fewer.
        exits: Where frames may leave early, in the order of their cuts.

    Raises:
        PlanError: another number of hops, a cut or exit in front of the one before it, two devices or links of one
            name, an exit that nothing can leave at, or one behind a bottleneck.

    Example:
        >>> hop = Hop(cut=3, codec="uint8", transport="udp", link=Link(rate_bps=1e6))
        >>> plan = Plan("split", (Device("camera"), Device("server")), (hop,))
        >>> plan.configuration
        'SC'
    """

    id: str
    devices: tuple[Device, ...]
    hops: tuple[Hop, ...] = ()
    exits: tuple[Exit, ...] = ()

    def __post_init__(self) -> None:
        place = f"plan '{shown(self.id)}'"
        if len(self.devices) != len(self.hops) + 1:
            given = f"{len(self.devices)} devices with {len(self.hops)} hops"
            raise PlanError(f"{given} are given, there is one hop between two devices", where=place)
        cuts = [hop.cut for hop in self.hops]
        if cuts != sorted(cuts) or min(cuts, default=0) < 0:
            raise PlanError(f"the cuts {listed(cuts)} go back, no layer is run twice", where=place)
        places = [exit.cut for exit in self.exits]
        if places != sorted(set(places)) or min(places, default=1) < 1:
            problem = f"its exits lie behind the cuts {listed(places)}, each lies behind layers and the exit before"
            raise PlanError(problem, where=place)
        for exit in self.exits:
            if not exit.thresholds or not all(0 <= threshold <= 1 for threshold in exit.thresholds):
                problem = f"the exit at cut {exit.cut} has the thresholds {listed(exit.thresholds)}"
                raise PlanError(problem, where=place, hint="a confidence lies between 0 and 1")
            squeezed = next((hop.cut for hop in self.hops if hop.bottleneck), exit.cut)
            if exit.cut > squeezed:
                problem = f"the exit at cut {exit.cut} lies behind the bottleneck at cut {squeezed}"
                hint = "heads know the tensors of the network, and behind a bottleneck are those of its own tail"
                raise PlanError(problem, where=place, hint=hint)
        stages = Counter([*(device.name for device in self.devices), *(hop.link.name for hop in self.hops)])
        for name, times in stages.items():
            if times > 1:
                problem = f"{times} of its devices and links are called '{shown(name)}'"
                raise PlanError(problem, where=place, hint="give each a name of its own")

    def exits_on(self, place: int) -> tuple[Exit, ...]:
        """The exits of one of its devices: those behind its layers, the one in front of what it sends included."""
        borders = [0, *(hop.cut for hop in self.hops), inf]
        return tuple(exit for exit in self.exits if borders[place] < exit.cut <= borders[place + 1])

    @property
    def configuration(self) -> Configuration:
        """What kind of plan it is: "LC", "RC", "SC" or "EE"."""
        if self.exits:
            return "EE"
        if not self.hops:
            return "LC"
        return "RC" if self.hops[-1].cut == 0 else "SC"
