"""A scenario resolved: every name looked up, every file read once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

from splitimpera.codec.codec_names import codec_kind
from splitimpera.core.array_types import Row as TargetRow
from splitimpera.core.errors import ScenarioError, SplitImperaError, shown
from splitimpera.core.registry import nearest
from splitimpera.cost.devices import build_device
from splitimpera.cost.profiles import check_profile
from splitimpera.cost.spending import power_w
from splitimpera.graph.tracing import ModelGraph
from splitimpera.models.datasets import DATASETS, is_source
from splitimpera.models.imports import factory_file, is_factory, run_factory
from splitimpera.models.networks import OTHER_WAYS, is_network_name, network_names
from splitimpera.net.links import build_link
from splitimpera.net.transports import check
from splitimpera.net.workloads import build_workload
from splitimpera.records.device import Device
from splitimpera.records.link import Link
from splitimpera.records.requirement import METRICS, TOKEN_METRICS, check_metrics, check_objective, quality_of
from splitimpera.records.traffic import Workload
from splitimpera.scenario import Scenario, load_scenario
from splitimpera.tasks.making import made_task, make_task, metric_of
from splitimpera.tasks.task import Task


@dataclass(frozen=True)
class Setting:
    """What a scenario stands for; frozen, picklable, comparable.

    Attributes:
        scenario: The scenario as it is written.
        devices: The devices with their presets and profiles, in the order of the data's way.
        links: The links with their presets, traces and drops, each from a device to the next.
        workload: the frames; responses as the runtime sends them are known to `workload_for` alone.
        files: name and SHA-256 of each file that is read later: weights, and factories of the user's own.
    """

    scenario: Scenario
    devices: tuple[Device, ...]
    links: tuple[Link, ...]
    workload: Workload
    files: tuple[tuple[str, str], ...] = ()

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all of it, the contents of its files included; the folder that it lies in does not count."""
        scenario = self.scenario.document()
        scenario.pop("folder", None)
        content = [
            scenario,
            [asdict(device) for device in self.devices],
            *(asdict(link) for link in self.links),
            self.workload.plain(),
            self.files,
        ]
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()

    @property
    def link(self) -> Link:
        """The first link, of two devices the only one."""
        return self.links[0]

    @cached_property
    def task(self) -> Task:
        """What the network is for, not fitted to it yet."""
        return task_of(self.scenario)

    @property
    def asked(self) -> list[str]:
        """The metrics that requirements and objective name."""
        return [*(each.metric for each in self.scenario.requirements), self.scenario.objective]

    def fitted_task(self, graph: ModelGraph, example: TargetRow | None = None) -> Task:
        """The task of this network, judged by what the requirements ask for.

        Args:
            example: A target, where there are any.

        Raises:
            ModelError: its outputs are none of this task.
        """
        with located("task"):
            return self.task.fitted(graph.outputs, metric_of(self.task, self.asked), graph.inputs, example)

    def workload_for(self, response_bytes: int) -> Workload:
        """The frames, with the size of the responses that the runtime sends where the scenario asks for these."""
        return build_workload(self.scenario.workload, response_bytes)

    def check_profiles(self, graph: ModelGraph) -> None:
        """Refuse profiles of another network.

        Raises:
            DataError: one is of another network or input size.
        """
        for index, device in enumerate(self.devices):
            if device.profile is not None:
                with located(f"devices[{index}].profile"):
                    check_profile(device.profile, graph)


def resolve(scenario: Scenario | str | Path) -> Setting:
    """Look up every name of a scenario and read its files, without running anything.

    Args:
        scenario: a scenario, or the path of its file.

    Raises:
        SplitImperaError: a network, data set, codec, transport or preset that does not exist, a file that cannot be
            used, or a metric that cannot be measured; the message names the key.

    Example:
        >>> scenario = {
        ...     "network": {"model": "digits-vgg16"},
        ...     "data": {"source": "digits"},
        ...     "devices": [{"name": "camera", "preset": "cortex-m7"}, {"name": "server", "preset": "t4"}],
        ...     "links": [{"rate": "1 Mbit/s", "delay": "5 ms"}],
        ...     "workload": {"fps": 20},
        ...     "requirements": ["latency_p95 <= 50 ms"],
        ... }
        >>> setting = resolve(Scenario.model_validate(scenario))
        >>> setting.link.rate_bps, setting.devices[0].roofline.name, len(setting.digest)
        (1000000.0, 'cortex-m7', 64)
    """
    if not isinstance(scenario, Scenario):
        scenario = load_scenario(scenario)
    _check_names(scenario)
    links = tuple(
        build_link(section, scenario.folder, f"links[{place}]") for place, section in enumerate(scenario.links)
    )
    workload = scenario.workload.record()
    for place, link in enumerate(links):
        _check_transports(scenario, place, link, build_workload(scenario.workload))
    devices = tuple(_devices(scenario))
    _check_metrics(scenario, devices[0], task_of(scenario))
    return Setting(scenario, devices, links, workload, tuple(_files(scenario)))


@contextmanager
def located(key: str) -> Iterator[None]:
    """Errors from inside that name no place get this one."""
    try:
        yield
    except SplitImperaError as error:
        raise error.at(error.where or key) from error.__cause__


def _check_names(scenario: Scenario) -> None:
    network, source = scenario.network.model, scenario.data.source
    if not is_network_name(network):
        hint = f"{nearest(network, network_names())}, or write {OTHER_WAYS}"
        raise ScenarioError(f"no network is called '{shown(network)}'", where="network.model", hint=hint)
    if not is_source(source, scenario.folder):
        hint = f"{nearest(source, DATASETS.names())}, or write a folder, 'package.module:factory' or 'file.py:factory'"
        raise ScenarioError(f"no data set is called '{shown(source)}'", where="data.source", hint=hint)
    plans = scenario.plans
    lists = {"plans.codecs": plans.codecs, "plans.input_codecs": plans.input_codecs}
    lists |= {"bottlenecks.codecs": scenario.bottlenecks.codecs}
    lists |= dict(scenario.codecs_of(place) for place in range(len(scenario.links)))
    for key, names in lists.items():
        for index, name in enumerate(names):
            with located(f"{key}[{index}]"):
                if codec_kind(name).images_only and key != "plans.input_codecs":
                    raise ScenarioError(f"'{name}' writes images only", hint="list it under plans.input_codecs")


def _check_transports(scenario: Scenario, place: int, link: Link, workload: Workload) -> None:
    # what frames are in bytes is not known yet; no plan has fewer hops than lead here
    least = replace(workload, frame_bytes=1, response_bytes=workload.along_bytes(place + 1))
    key, names = scenario.transports_of(place)
    for index, name in enumerate(names):
        try:
            check(link, least, name)
        except SplitImperaError as error:
            work_key = _WORK_KEYS.get(error.where, f"{key}[{index}]")
            raise error.at(work_key.format(place=place)) from None


_WORK_KEYS = {
    **{"response_bytes": "workload.response", "frame_bytes": "workload.frames"},
    **{"rate_bps": "links[{place}].rate", "trace": "links[{place}].trace", "mtu_bytes": "links[{place}].mtu"},
}
"""The key of the scenario for what is too much to be simulated."""


def _devices(scenario: Scenario) -> Iterator[Device]:
    for index, section in enumerate(scenario.devices):
        try:
            yield build_device(section, scenario.folder)
        except SplitImperaError as error:
            raise error.at(f"devices[{index}].{error.where}") from error.__cause__


def task_of(scenario: Scenario) -> Task:
    """What a scenario's network is for.

    Raises:
        ScenarioError: a key that the task does not have, or a factory that makes none.
    """
    kind, options = scenario.task.kind, scenario.task.options()
    with located("task"):
        if is_factory(kind):
            return made_task(run_factory(kind, scenario.folder, ScenarioError, **options), kind)
        return make_task(kind, options)


def _check_metrics(scenario: Scenario, first: Device, task: Task) -> None:
    with located("requirements"):
        spending = power_w(first) is not None and first.radio is not None
        own = [name for metric in task.metrics for name in (metric, f"on_time_{metric}")]
        lacking = set() if spending else {"energy", "token_energy"}
        why = dict.fromkeys(lacking, "give devices[0] a power (or a preset) and a radio")
        if scenario.workload.tokens is None:
            lacking |= TOKEN_METRICS
            why |= dict.fromkeys(TOKEN_METRICS, "it is of requests to a language model: give workload.tokens")
        available = [*own, *(name for name in METRICS if quality_of(name) is None and name not in lacking)]
        check_metrics(scenario.requirements, available, why)
        check_objective(scenario.objective, available, why)


def _files(scenario: Scenario) -> Iterator[tuple[str, str]]:
    names = [scenario.network.weights, factory_file(scenario.network.model), factory_file(scenario.data.source)]
    names.append(factory_file(scenario.task.kind))
    for name in names:
        if name is None:
            continue
        with suppress(OSError):  # what cannot be read, its reader says
            path = scenario.folder / name
            if path.is_file():  # no pipe, which would be waited for
                with path.open("rb") as file:
                    yield str(name), hashlib.file_digest(file, "sha256").hexdigest()
