"""One design: which device runs what, and how the tensors travel."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from splitimpera.core.errors import PlanError, listed, shown
from splitimpera.records.device import Device
from splitimpera.records.link import Link


@dataclass(frozen=True)
class Hop:
    """One crossing from a device to the next: at which cut, coded and sent how.

    `bottleneck` is the compression ratio of the trained autoencoder at the cut; 0: the network's own tensors cross.
    """

    cut: int
    codec: str
    transport: str
    link: Link
    bottleneck: float = 0.0


@dataclass(frozen=True)
class Plan:
    """One design: n devices and n - 1 hops. LC has no hop, RC hops at cut 0, SC in between.

    Raises:
        PlanError: another number of hops, a cut in front of the one before it, or two devices or links of one name.
    """

    id: str
    devices: tuple[Device, ...]
    hops: tuple[Hop, ...] = ()

    def __post_init__(self) -> None:
        place = f"plan '{shown(self.id)}'"
        if len(self.devices) != len(self.hops) + 1:
            given = f"{len(self.devices)} devices with {len(self.hops)} hops"
            raise PlanError(f"{given} are given, there is one hop between two devices", where=place)
        cuts = [hop.cut for hop in self.hops]
        if cuts != sorted(cuts) or min(cuts, default=0) < 0:
            raise PlanError(f"the cuts {listed(cuts)} go back, no layer is run twice", where=place)
        stages = Counter([*(device.name for device in self.devices), *(hop.link.name for hop in self.hops)])
        for name, times in stages.items():
            if times > 1:
                problem = f"{times} of its devices and links are called '{shown(name)}'"
                raise PlanError(problem, where=place, hint="give each a name of its own")

    @property
    def configuration(self) -> Literal["LC", "RC", "SC"]:
        if not self.hops:
            return "LC"
        return "RC" if self.hops[0].cut == 0 else "SC"
