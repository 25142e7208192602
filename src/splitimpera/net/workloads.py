"""A scenario's workload section -> the frames, with responses of the size that the runtime sends."""

from __future__ import annotations

from dataclasses import replace

from splitimpera.deploy.messages import RESPONSE_BYTES
from splitimpera.records.traffic import Workload
from splitimpera.scenario import WorkloadSection


def build_workload(section: WorkloadSection, result_bytes: int = 0) -> Workload:
    """The frames that a section of a scenario describes.

    Args:
        result_bytes: Size of the network's result for one frame, on which `response: runtime` depends.
    """
    workload = section.record()
    if section.response != "runtime":
        return workload
    return replace(workload, response_bytes=RESPONSE_BYTES + result_bytes)
