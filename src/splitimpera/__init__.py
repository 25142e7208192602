"""Where to split a neural network between a device and a server, and why.

    import splitimpera as sei

    result = sei.design("scenario.yaml")        # the whole method
    print(result.recommendation.reasons)

Each stage works by itself: `trace`, `cumulative_saliency`, `split`, `simulate`, `evaluate`, `recommend`.
Names are imported when they are first used, so that importing the package is quick.
"""

from __future__ import annotations

import sys

from splitimpera.core.version import __version__

TYPE_CHECKING = False  # as type checkers know it; `typing` takes its time to import
if TYPE_CHECKING:
    from typing import Any

if TYPE_CHECKING:
    from splitimpera.bundle.opened import open_bundle as open_bundle
    from splitimpera.core.errors import SplitImperaError as SplitImperaError
    from splitimpera.deploy.client import Client as Client
    from splitimpera.deploy.security import ClientSecurity as ClientSecurity
    from splitimpera.deploy.security import ServerSecurity as ServerSecurity
    from splitimpera.deploy.server import Server as Server
    from splitimpera.deploy.writing_client import WritingClient as WritingClient
    from splitimpera.designs import Design as Design
    from splitimpera.evaluation.plan_space import build_plans as build_plans
    from splitimpera.evaluation.run import evaluate as evaluate
    from splitimpera.evaluation.stopwatch import measure as measure
    from splitimpera.evaluation.testbed import Testbed as Testbed
    from splitimpera.graph.tracing import ModelGraph as ModelGraph
    from splitimpera.graph.tracing import trace as trace
    from splitimpera.method import design as design
    from splitimpera.models.datasets import Dataset as Dataset
    from splitimpera.models.datasets import Pixels as Pixels
    from splitimpera.models.datasets import Samples as Samples
    from splitimpera.models.datasets import divide as divide
    from splitimpera.net.transports import simulate as simulate
    from splitimpera.partition.cutter import Partition as Partition
    from splitimpera.partition.cutter import split as split
    from splitimpera.qos.recommendation import Recommendation as Recommendation
    from splitimpera.qos.recommendation import recommend as recommend
    from splitimpera.records.device import Device as Device
    from splitimpera.records.link import Link as Link
    from splitimpera.records.measurements import Measurements as Measurements
    from splitimpera.records.outcome import Evaluation as Evaluation
    from splitimpera.records.plan import Hop as Hop
    from splitimpera.records.plan import Plan as Plan
    from splitimpera.records.traffic import Deliveries as Deliveries
    from splitimpera.records.traffic import Workload as Workload
    from splitimpera.report.writing import save as save
    from splitimpera.saliency.cumulative import cumulative_saliency as cumulative_saliency
    from splitimpera.saliency.curve import SaliencyCurve as SaliencyCurve
    from splitimpera.scenario import Scenario as Scenario
    from splitimpera.scenario import load_scenario as load_scenario
    from splitimpera.setting import Setting as Setting
    from splitimpera.setting import resolve as resolve
    from splitimpera.studies.study import study as study
    from splitimpera.studies.study_files import read_study as read_study
    from splitimpera.studies.study_results import StudyResults as StudyResults

_HOMES = {
    **dict.fromkeys(("open_bundle",), "bundle.opened"),
    **dict.fromkeys(("SplitImperaError",), "core.errors"),
    **dict.fromkeys(("Client",), "deploy.client"),
    **dict.fromkeys(("ClientSecurity", "ServerSecurity"), "deploy.security"),
    **dict.fromkeys(("Server",), "deploy.server"),
    **dict.fromkeys(("WritingClient",), "deploy.writing_client"),
    **dict.fromkeys(("Design",), "designs"),
    **dict.fromkeys(("build_plans",), "evaluation.plan_space"),
    **dict.fromkeys(("evaluate",), "evaluation.run"),
    **dict.fromkeys(("measure",), "evaluation.stopwatch"),
    **dict.fromkeys(("Testbed",), "evaluation.testbed"),
    **dict.fromkeys(("ModelGraph", "trace"), "graph.tracing"),
    **dict.fromkeys(("design",), "method"),
    **dict.fromkeys(("Dataset", "Pixels", "Samples", "divide"), "models.datasets"),
    **dict.fromkeys(("simulate",), "net.transports"),
    **dict.fromkeys(("Partition", "split"), "partition.cutter"),
    **dict.fromkeys(("Recommendation", "recommend"), "qos.recommendation"),
    **dict.fromkeys(("Device",), "records.device"),
    **dict.fromkeys(("Link",), "records.link"),
    **dict.fromkeys(("Measurements",), "records.measurements"),
    **dict.fromkeys(("Evaluation",), "records.outcome"),
    **dict.fromkeys(("Hop", "Plan"), "records.plan"),
    **dict.fromkeys(("Deliveries", "Workload"), "records.traffic"),
    **dict.fromkeys(("save",), "report.writing"),
    **dict.fromkeys(("cumulative_saliency",), "saliency.cumulative"),
    **dict.fromkeys(("SaliencyCurve",), "saliency.curve"),
    **dict.fromkeys(("Scenario", "load_scenario"), "scenario"),
    **dict.fromkeys(("Setting", "resolve"), "setting"),
    **dict.fromkeys(("study",), "studies.study"),
    **dict.fromkeys(("read_study",), "studies.study_files"),
    **dict.fromkeys(("StudyResults",), "studies.study_results"),
}

__all__ = ["__version__", *_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'splitimpera' has no attribute '{name}'")
    try:
        return getattr(import_module(f"splitimpera.{_HOMES[name]}"), name)
    except ModuleNotFoundError as failure:
        from splitimpera.core.extras import explained

        raise explained(failure, f"'{name}'") or failure from None


def __dir__() -> list[str]:
    return sorted(__all__)


if "IPython" in sys.modules:  # a notebook: what is made here shows itself as HTML
    from splitimpera.report.notebook import register

    register()
