"""From a design to a deployed run that is verified, for each kind of task."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager

import numpy as np
import pytest
from export.designs import designed
from export.task_designs import METRIC, SOURCE, changes_of

from splitimpera.bundle.opened import open_bundle
from splitimpera.cli.export import _account
from splitimpera.deploy.client import Client
from splitimpera.deploy.device_run import DeviceRun, run_line
from splitimpera.deploy.frame_clock import FrameClock
from splitimpera.deploy.frame_log import line_of
from splitimpera.deploy.judging import judge_of
from splitimpera.deploy.server import Server
from splitimpera.deploy.sources import open_source
from splitimpera.export import export_bundle, write_bundle
from splitimpera.export.placing import files_of
from splitimpera.report import read
from splitimpera.report.verified_tables import verification_tables
from splitimpera.verification.comparing import verify

PLAN = "SC1-uint8-tcp"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Results folders and exports, each made when it is asked for first."""
    made = {}

    def run(case):
        if case not in made:
            folder = tmp_path_factory.mktemp(case)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("SPLITIMPERA_CACHE", str(folder / "cache"))
                found = designed(folder, SOURCE, **changes_of(case))
                exported = export_bundle(found, PLAN, samples=24)
            write_bundle(files_of(exported.manifest, exported.contents), folder / "bundle")
            made[case] = found, exported, open_bundle(folder / "bundle")
        return made[case]

    return run


@contextmanager
def served(bundle):
    """The address of a server in a thread of its own."""
    ready, stop, address = threading.Event(), [], []

    async def serve():
        async with Server(bundle) as server:
            address.append(await server.start("127.0.0.1", 0))
            stop.append((asyncio.get_running_loop(), server.stop_soon))
            ready.set()
            await server.serve()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(30)
    yield address[0]
    loop, end = stop[0]
    loop.call_soon_threadsafe(end)
    thread.join(30)
    assert not thread.is_alive()


def inferred(bundle, log, frames=48, plan=None):
    """A log of a run over loopback, and what it came to."""
    source = open_source("samples", bundle)
    with served(bundle) as address, Client(bundle, address, plan, insecure=True) as client:
        judge = judge_of(bundle.manifest, source.near)
        with log.open("w") as file:
            file.write(line_of(run_line(client, source, 200.0, None, judge)))
            told = lambda line: file.write(line_of(line))  # noqa: E731
            run = DeviceRun(client, source, FrameClock(200.0, frames), None, told, judge=judge)
            return run.run()


@pytest.mark.parametrize("case", ["segmentation", "detection", "regression", "agreement", "classes"])
def test_a_design_is_exported_run_and_verified(runs, case, tmp_path, capsys):
    folder, exported, bundle = runs(case)
    metric, results = METRIC[case], read(folder)
    proof = exported.manifest.proofs[0]
    assert (proof.accuracy, proof.equal > 0.9) == (None, True)
    predicted = results.by_id[PLAN].metrics[metric]
    assert proof.quality == pytest.approx(predicted, rel=1e-3)
    assert "the design promised" in "\n".join(_account(exported))
    tally = inferred(bundle, tmp_path / "run.jsonl")
    assert tally.outcomes == {"ok": 48}
    assert tally.accuracy is None
    found = verify(folder, [tmp_path / "run.jsonl"])
    (quality,) = (one for one in found.quantities if one.name == metric)
    assert quality.predicted == pytest.approx(predicted)
    assert quality.interval[0] <= quality.measured <= quality.interval[1]
    assert quality.agrees
    if case != "detection":  # whose value is no matter of sums, and is left to verify
        assert tally.judge.value == pytest.approx(quality.measured, rel=0.1)
        assert tally.as_json()[metric] == tally.judge.value
    checks = {check.requirement.metric: check for check in found.requirements}
    assert checks[metric].met
    assert checks[metric].measured == quality.measured
    assert checks[f"on_time_{metric}"].measured is not None
    assert verification_tables(found)
