"""The plans of a design: LC, RC, and SC at every chosen cut, each with every codec and transport."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from splitimpera.codec.codecs import takes_images
from splitimpera.core.errors import CutError
from splitimpera.graph.tracing import ModelGraph
from splitimpera.partition.bottleneck import bottleneck_for, check_apart
from splitimpera.records.device import Device
from splitimpera.records.graph import Cut
from splitimpera.records.link import Link
from splitimpera.records.plan import Hop, Plan
from splitimpera.scenario import Scenario
from splitimpera.setting import Setting, located

INPUT_CODECS = ("uint8", "png")


def build_plans(
    devices: tuple[Device, Device],
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
    """All plans for one link between two devices.

    Args:
        cuts: all cuts of the network.
        split_at: indices of the cuts that get SC plans.
        codecs: Codecs for what crosses a cut, the input included.
        input_codecs: further codecs for the input. It is always also sent as raw 8-bit values and, where it is an
            image, as PNG: a split that beats only a float32 input proves nothing.
        bottlenecks: cuts, and the compression ratios of trained bottlenecks there.
        latent_codecs: Codecs for their latents.

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
    always = INPUT_CODECS if takes_images(cuts[0].tensors) else INPUT_CODECS[:1]
    for_input = tuple(dict.fromkeys((*codecs, *always, *input_codecs)))
    digits = len(str(len(cuts) - 1))

    def hops(cut: int, names: Iterable[str], ratio: float = 0.0) -> Iterator[Hop]:
        for codec in names:
            for transport in transports:
                yield Hop(cut, codec, transport, link, ratio)

    plans = [Plan("LC", devices[:1])]
    plans += [Plan(f"RC-{_words(hop)}", devices, (hop,)) for hop in hops(0, for_input)]
    for cut in split_at:
        plans += [Plan(f"SC{cut:0{digits}}-{_words(hop)}", devices, (hop,)) for hop in hops(cut, dict.fromkeys(codecs))]
    for cut, ratio in bottlenecks:
        latents = hops(cut, dict.fromkeys(latent_codecs), ratio)
        plans += [Plan(f"SC{cut:0{digits}}-b{ratio:g}-{_words(hop)}", devices, (hop,)) for hop in latents]
    return plans


def _words(hop: Hop) -> str:
    return f"{hop.codec.replace(':', '')}-{hop.transport}"


def plans_of(
    setting: Setting,
    graph: ModelGraph,
    candidates: Sequence[int],
    say: Callable[[str], object],
) -> list[Plan]:
    """The plans that a setting asks for.

    Args:
        candidates: The cuts, where the scenario names none.
        say: takes a line of news, such as where no bottleneck fits.

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
    return build_plans(
        setting.devices,
        setting.link,
        graph.cuts,
        split_at,
        codecs=scenario.plans.codecs,
        input_codecs=scenario.plans.input_codecs,
        transports=scenario.plans.transports,
        bottlenecks=_bottlenecks(scenario, graph, split_at, say),
        latent_codecs=scenario.bottlenecks.codecs,
    )


def check_cuts(scenario: Scenario, graph: ModelGraph) -> None:
    """Refuse cuts that a scenario names and a network does not have, before anything is computed.

    Raises:
        CutError: names the key.
    """
    if not isinstance(scenario.plans.cuts, str):
        _inner_cuts(graph, scenario.plans.cuts, "plans.cuts")
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
