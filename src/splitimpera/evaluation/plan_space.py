"""The plans of a design: LC, RC, and SC at every chosen cut, each with every codec and transport, on every way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from splitimpera.codec.codec_names import parsed
from splitimpera.codec.codecs import takes_images
from splitimpera.codec.elements import is_floating
from splitimpera.codec.token_rows import are_tokens, check_tokens
from splitimpera.core.errors import CutError, shown
from splitimpera.evaluation.token_blocks import TokenBlocks
from splitimpera.graph.tracing import ModelGraph
from splitimpera.partition.bottleneck import bottleneck_for, check_apart
from splitimpera.records.device import Device
from splitimpera.records.graph import Cut
from splitimpera.records.link import Link
from splitimpera.records.plan import Hop, Plan
from splitimpera.scenario import Scenario
from splitimpera.setting import Setting, located

INPUT_CODECS = ("uint8", "png")


@dataclass(frozen=True)
class PlanSpace:
    """Every way through some devices in a row: a plan ends at any of them, and those in between may only forward.

    Attributes:
        devices: in the order of the data's way.
        hops: what may cross each link.
        cuts: how many cuts the network has.
        whole_heads: whether bottlenecks have heads of their own, which no device computes in part.
    """

    devices: tuple[Device, ...]
    hops: tuple[tuple[Hop, ...], ...]
    cuts: int
    whole_heads: bool = False

    def plans(self) -> Iterator[Plan]:
        """All of them, those of fewer devices first."""
        chains: list[tuple[Hop, ...]] = [()]
        while chains:
            yield from map(self.plan, chains)
            longer = self.hops[len(chains[0]) :][:1]
            chains = [
                (*chain, hop) for chain in chains for of_link in longer for hop in of_link if self.goes_on(chain, hop)
            ]

    def plan(self, hops: tuple[Hop, ...]) -> Plan:
        """The plan of some hops, one after the other from the first link on."""
        return Plan("-".join(map(self._words, hops)) or "LC", self.devices[: len(hops) + 1], hops)

    def goes_on(self, hops: tuple[Hop, ...], hop: Hop) -> bool:
        """Whether a hop may follow some others: no layer is run twice, and latents go to the device that reads them."""
        return not hops or self.follows(hops[-1], hop)

    def follows(self, one: Hop, other: Hop) -> bool:
        """The same of two hops."""
        if one.bottleneck and one.cut == other.cut:
            return one.bottleneck == other.bottleneck  # latents go to a device that computes
        return one.cut <= other.cut and not (self.whole_heads and other.bottleneck and one.cut)

    def _words(self, hop: Hop) -> str:
        """A hop's part of a plan's name."""
        cut = f"SC{hop.cut:0{len(str(self.cuts - 1))}}" if hop.cut else "RC"
        ratio = f"-b{hop.bottleneck:g}" if hop.bottleneck else ""
        return f"{cut}{ratio}-{hop.codec.replace(':', '')}-{hop.transport}"


@dataclass(frozen=True)
class Over:
    """How frames may travel over a link: with these codecs for all that crosses a cut, by these transports."""

    link: Link
    codecs: Sequence[str]
    transports: Sequence[str]


def space_between(
    devices: Sequence[Device],
    ways: Sequence[Over],
    cuts: Sequence[Cut],
    split_at: Iterable[int],
    *,
    input_codecs: Sequence[str] = (),
    bottlenecks: Iterable[tuple[int, float]] = (),
    latent_codecs: Sequence[str] = (),
    whole_heads: bool = False,
) -> PlanSpace:
    """All plans of some devices in a row.

    Args:
        ways: How frames may travel over each link.
        cuts: all cuts of the network.
        split_at: indices of the cuts that get SC plans.
        input_codecs: further codecs for the input. It is always also sent as raw 8-bit values and, where it is an
            image, as PNG: a split that beats only a float32 input proves nothing.
        bottlenecks: cuts, and the compression ratios of trained bottlenecks there.
        latent_codecs: Codecs for their latents.
        whole_heads: whether bottlenecks have heads of their own.

    Raises:
        CodecError: one fills with the token before, and what crosses a cut has no tokens.
        CutError: there is no such cut.

    Example:
        >>> from splitimpera.records.graph import TensorSpec
        >>> shapes = (3, 8, 8), (8, 8, 8), (10,)
        >>> tensors = [(TensorSpec("x", shape),) for shape in shapes]
        >>> cuts = [Cut(i, "x", crossing, ("x",), 0, 0, 0, 0) for i, crossing in enumerate(tensors)]
        >>> tiers = Device("camera"), Device("gateway"), Device("server")
        >>> ways = Over(Link("wifi"), ["uint8"], ["udp"]), Over(Link("fibre"), ["float32"], ["tcp"])
        >>> [plan.id for plan in space_between(tiers[:2], ways[:1], cuts, [1]).plans()]
        ['LC', 'RC-uint8-udp', 'RC-png-udp', 'SC1-uint8-udp']
        >>> [plan.id for plan in space_between(tiers, ways, cuts, [1]).plans()][-2:]
        ['RC-png-udp-SC1-float32-tcp', 'SC1-uint8-udp-SC1-float32-tcp']
    """
    always = INPUT_CODECS if takes_images(cuts[0].tensors) else INPUT_CODECS[:1]
    split_at, bottlenecks = [*split_at], [*bottlenecks]
    for cut in (*split_at, *(cut for cut, _ in bottlenecks)):
        if not 0 <= cut < len(cuts):
            raise CutError(f"there is no cut {shown(cut)}: the network has {len(cuts)}, from 0 to {len(cuts) - 1}")

    def over(way: Over) -> Iterator[Hop]:
        of_input = (*(codec for codec in way.codecs if _fits_input(codec, cuts[0])), *always, *input_codecs)
        places = [(0, 0.0, of_input if _real(cuts[0]) else of_input[:1])]
        places += [(cut, 0.0, tuple(way.codecs)) for cut in split_at]
        for cut, _, codecs in places[1:]:
            for codec in codecs:
                if parsed(codec).concealment == "before":
                    check_tokens(codec, cuts[cut].tensors)
        places += [(cut, ratio, tuple(latent_codecs)) for cut, ratio in bottlenecks]
        for cut, ratio, codecs in places:
            for codec in dict.fromkeys(codecs):
                for transport in way.transports:
                    yield Hop(cut, codec, transport, way.link, ratio)

    return PlanSpace(tuple(devices), tuple(tuple(over(way)) for way in ways), len(cuts), whole_heads)


def _fits_input(codec: str, cut: Cut) -> bool:
    """Whether a codec for what crosses cuts writes this input, too: an image, say, has no token before."""
    return parsed(codec).concealment != "before" or are_tokens(cut.tensors)


def _real(cut: Cut) -> bool:
    """Whether codecs differ in what they make of something that crosses; whole numbers are sent as they are."""
    return any(is_floating(spec) for spec in cut.tensors)


def build_plans(
    devices: Sequence[Device],
    link: Link,
    cuts: Sequence[Cut],
    split_at: Iterable[int],
    *,
    codecs: Sequence[str],
    input_codecs: Sequence[str] = (),
    transports: Sequence[str],
    bottlenecks: Iterable[tuple[int, float]] = (),
    latent_codecs: Sequence[str] = (),
) -> list[Plan]:
    """All plans for one link between two devices; arguments as of `space_between`.

    Args:
        codecs: Codecs for what crosses a cut, the input included.

    Example:
        >>> from splitimpera.records.graph import TensorSpec
        >>> shapes = (3, 8, 8), (8, 8, 8), (10,)
        >>> tensors = [(TensorSpec("x", shape),) for shape in shapes]
        >>> cuts = [Cut(i, "x", crossing, ("x",), 0, 0, 0, 0) for i, crossing in enumerate(tensors)]
        >>> devices = Device("camera"), Device("server")
        >>> plans = build_plans(devices, Link(), cuts, [1], codecs=["uint8"], transports=["udp"])
        >>> [plan.id for plan in plans]
        ['LC', 'RC-uint8-udp', 'RC-png-udp', 'SC1-uint8-udp']
    """
    space = space_between(
        devices,
        [Over(link, codecs, transports)],
        cuts,
        split_at,
        input_codecs=input_codecs,
        bottlenecks=bottlenecks,
        latent_codecs=latent_codecs,
    )
    return [*space.plans()]


def plans_of(
    setting: Setting,
    graph: ModelGraph,
    candidates: Sequence[int],
    say: Callable[[str], object],
    blocks: TokenBlocks | None = None,
) -> list[Plan]:
    """The plans that a setting asks for; arguments and errors as of `space_of`."""
    return [*space_of(setting, graph, candidates, say, blocks).plans()]


def space_of(
    setting: Setting,
    graph: ModelGraph,
    candidates: Sequence[int],
    say: Callable[[str], object],
    blocks: TokenBlocks | None = None,
) -> PlanSpace:
    """The plans that a setting asks for, none of them made yet.

    Args:
        candidates: The cuts, where the scenario names none.
        say: takes a line of news, such as where no bottleneck fits.
        blocks: of a language model that is asked for tokens: it is split between whole blocks alone.

    Raises:
        CutError: the scenario names a cut that is none, or that cannot have the bottleneck it asks for.
    """
    scenario = setting.scenario
    wanted = scenario.plans.cuts
    inner = graph.cuts[1:-1]
    if wanted == "candidates":
        split_at = [*candidates]
    elif isinstance(wanted, str):
        chosen = {"blocks": [c for c in inner if c.block], "single": [c for c in inner if c.single], "all": inner}[
            wanted
        ]
        split_at = [cut.index for cut in chosen]
    else:
        split_at = [cut.index for cut in _inner_cuts(graph, wanted, "plans.cuts")]
    split_at = sorted(set(split_at))
    if blocks is not None:
        split_at = _between_blocks(split_at, blocks, say)
    bottlenecks = _bottlenecks(scenario, graph, split_at, say)
    if bottlenecks and scenario.bottlenecks.finetune_head and len(setting.links) > 1:
        say(
            "Bottlenecks have heads of their own (bottlenecks.finetune_head): a plan has one at most, behind the first "
            "device that computes."
        )
    return space_between(
        setting.devices,
        [
            Over(link, scenario.codecs_of(place)[1], scenario.transports_of(place)[1])
            for place, link in enumerate(setting.links)
        ],
        graph.cuts,
        split_at,
        input_codecs=scenario.plans.input_codecs,
        bottlenecks=bottlenecks,
        latent_codecs=scenario.bottlenecks.codecs,
        whole_heads=scenario.bottlenecks.finetune_head,
    )


def _between_blocks(split_at: Sequence[int], blocks: TokenBlocks, say: Callable[[str], object]) -> list[int]:
    """Those of some cuts that are between whole blocks; all that are where none of them is."""
    between = [cut for cut in blocks.cuts if cut]
    found = [cut for cut in split_at if cut in between]
    if found:
        return found
    say(f"None of the candidates is between two blocks of the language model: it is tried at all {len(between)}.")
    return between


def check_cuts(scenario: Scenario, graph: ModelGraph, blocks: TokenBlocks | None = None) -> None:
    """Refuse cuts that a scenario names and a network does not have, before anything is computed.

    Args:
        blocks: of a language model that is asked for tokens: a cut inside a block is none of it.

    Raises:
        CutError: names the key.
    """
    if not isinstance(scenario.plans.cuts, str):
        cuts = _inner_cuts(graph, scenario.plans.cuts, "plans.cuts")
        for index, cut in enumerate(cuts if blocks is not None else ()):
            with located(f"plans.cuts[{index}]"):
                blocks.before(cut.index)  # type: ignore[union-attr]
    if scenario.bottlenecks.cuts is not None:
        _inner_cuts(graph, scenario.bottlenecks.cuts, "bottlenecks.cuts")


def _inner_cuts(graph: ModelGraph, wanted: Sequence[str | int], key: str) -> list[Cut]:
    cuts = []
    for index, which in enumerate(wanted):
        with located(f"{key}[{index}]"):
            cut = graph.cut(which)
            if cut not in graph.cuts[1:-1]:
                raise CutError(f"a split lies between input and result, '{which}' does not")
            cuts.append(cut)
    return cuts


def _bottlenecks(
    scenario: Scenario, graph: ModelGraph, split_at: Sequence[int], say: Callable[[str], object]
) -> list[tuple[int, float]]:
    """Where the scenario's bottlenecks fit. At cuts that it names they must; elsewhere it is said where they do not."""
    wanted = scenario.bottlenecks
    named = wanted.cuts is not None
    cuts = (
        _inner_cuts(graph, wanted.cuts, "bottlenecks.cuts")
        if wanted.cuts is not None
        else [graph.cuts[cut] for cut in split_at]
    )
    fitting = []
    for cut in cuts:
        for ratio in wanted.ratios:
            try:
                check_apart(graph)
                bottleneck_for(cut, ratio, graph.cuts)
            except CutError as error:
                if named:
                    raise error.at("bottlenecks") from None
                say(f"No bottleneck of ratio {ratio:g} at cut {cut.index} ({cut.name}): {error.problem}.")
            else:
                fitting.append((cut.index, ratio))
    return fitting
