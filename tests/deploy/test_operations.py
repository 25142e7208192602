"""The files of docs/operations.md do what they say: the units are run, and what is asked of the metrics is there."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from small_bundle import make_bundle

from splitimpera.deploy.frame_log import read_log
from splitimpera.deploy.keys import make_keys

pytestmark = pytest.mark.alone

OPERATIONS = ROOT / "examples" / "operations"
UNITS = ("splitimpera-server.service", "splitimpera-device.service", "splitimpera-gateway.service")
PROGRAM = "/opt/splitimpera/bin/splitimpera"
ADDED = {"job", "instance"}
"""Labels that Prometheus adds to whatever it reads."""
OURS = re.compile(r"(splitimpera_\w+)(?:\{([^}]*)\})?")
GROUPED = re.compile(r"\bby \(([^)]*)\)")


def unit(name):
    """The values of each key of a unit file, a list each, continued lines joined."""
    found: dict[str, list[str]] = {}
    for line in (OPERATIONS / name).read_text().replace("\\\n", " ").splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def command(name, **changes):
    """What a unit starts, with other places and numbers in place of its own."""
    (line,) = unit(name)["ExecStart"]
    for before, after in changes.pop("replace").items():
        assert before in line, before
        line = line.replace(before, str(after))
    return [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(line)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What a machine of an installation has, in a folder: the program, a bundle, and keys."""
    folder = tmp_path_factory.mktemp("installed")
    program = folder / "splitimpera"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m splitimpera "$@"\n')
    program.chmod(0o755)
    make_bundle(folder / "bundle")
    make_bundle(folder / "other", name="other")
    make_keys(folder / "keys")
    return folder


@contextmanager
def served(folder):
    """The server's unit; yields its address, the place of its metrics, and what reloads it."""
    (folder / "serving.txt").write_text("bundle\n")
    places = {PROGRAM: folder / "splitimpera", "/srv/splitimpera/serving.txt": folder / "serving.txt"}
    ports = {"0.0.0.0:7433": "127.0.0.1:0", "127.0.0.1:9433": "127.0.0.1:0"}
    keys = {"${CREDENTIALS_DIRECTORY}": folder / "keys"}
    process = subprocess.Popen(
        command(UNITS[0], replace=places | ports | keys), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        first, second = process.stdout.readline(), process.stdout.readline()
        assert "encrypted" in first, process.stderr.read()
        reload = unit(UNITS[0])["ExecReload"][0].replace("$MAINPID", str(process.pid)).split()
        yield re.search(r" at (\S+) by ", first)[1], re.search(r"http://(\S+)/metrics", second)[1], reload
        process.send_signal(getattr(signal, unit(UNITS[0])["KillSignal"][0]))
        told = process.communicate(timeout=60)[1]
        assert process.returncode == 0, told
        events = [json.loads(line)["event"] for line in told.splitlines()]
        assert events[0] == "listening"
        assert events[-1] == "stopped"
    finally:
        process.kill()
        process.communicate()


def device(folder, address, bundle="bundle"):
    """The device's unit, for a few frames; the log that it writes."""
    places = {PROGRAM: folder / "splitimpera", "/srv/splitimpera/bundle": folder / bundle}
    values = {"server.example:7433": address, "camera:0": "samples", "--fps 10": "--fps 100", "864000": "20"}
    environment = os.environ | {"CREDENTIALS_DIRECTORY": str(folder / "keys")}
    before = set(folder.glob("run-*.jsonl"))
    run = subprocess.run(
        command(UNITS[1], replace=places | values),
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return run, set(folder.glob("run-*.jsonl")) - before


def asked(metrics):
    with urllib.request.urlopen(f"http://{metrics}/metrics") as answer:
        return answer.read().decode()


def wait_until(holds):
    ends_s = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < ends_s
        time.sleep(0.05)


@pytest.fixture(scope="module")
def figures(folder):
    """What a server says of itself once frames were answered, a client was turned away, and bundles were changed."""
    with served(folder) as (address, metrics, reload):
        run, (log,) = device(folder, address)
        assert run.returncode == 0, run.stderr
        assert len(read_log(log)[1]) == 20
        refused, _ = device(folder, address, "other")
        assert refused.returncode == 2
        # both at once, until all devices have the new one
        (folder / "serving.txt").write_text("bundle\nother  # from today on\n")
        subprocess.run(reload, check=True)
        wait_until(lambda: "splitimpera_bundles 2.0" in asked(metrics))
        assert [device(folder, address, name)[0].returncode for name in ("bundle", "other")] == [0, 0]
        (folder / "serving.txt").write_text("other\n")
        wait_until(lambda: "splitimpera_bundles 1.0" in asked(metrics))
        assert [device(folder, address, name)[0].returncode for name in ("bundle", "other")] == [2, 0]
        told = asked(metrics)
        found: dict[str, set[str]] = {}
        for name, labels in re.findall(r"^(\w+)(?:\{(.*)\})? ", told, re.MULTILINE):
            found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
        return found


def queries():
    """Every query of the dashboard and of the alerts, by its title."""
    dashboard = json.loads((OPERATIONS / "dashboard.json").read_text())
    asked = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in dashboard["panels"]
        for target in panel["targets"]
    }
    asked |= {one["name"]: one["definition"] for one in dashboard["templating"]["list"] if one["type"] == "query"}
    rules = [
        rule for group in yaml.safe_load((OPERATIONS / "alerts.yml").read_text())["groups"] for rule in group["rules"]
    ]
    return asked | {rule["alert"]: rule["expr"] for rule in rules if rule["alert"] != "ServerAway"}


@pytest.mark.slow
@pytest.mark.parametrize("title", list(queries()))
def test_what_is_asked_is_what_a_server_says(title, figures):
    query = queries()[title]
    names = OURS.findall(query)
    assert names
    known = ADDED.union(*(figures[name] for name, _ in names))
    for name, conditions in names:
        labels = set(re.findall(r"(\w+)\s*[=!]", conditions))
        assert labels <= figures[name] | ADDED, name
    for grouped in GROUPED.findall(query):
        assert set(re.split(r"\s*,\s*", grouped)) <= known
    if "histogram_quantile" in query:
        assert "le" in GROUPED.findall(query)[0]
    assert query.count("(") == query.count(")")


@pytest.mark.slow
def test_all_that_a_server_says_is_on_the_dashboard(figures):
    """A new figure is either shown or left out here on purpose."""
    shown = {name for query in queries().values() for name, _ in OURS.findall(query)}
    families = {re.sub(r"_(bucket|sum|count|created|total)$", "", name) for name in figures}
    assert families == {re.sub(r"_(bucket|sum|count|created|total)$", "", name) for name in shown}


def test_the_dashboard_can_be_read():
    dashboard = json.loads((OPERATIONS / "dashboard.json").read_text())
    places = [tuple(panel["gridPos"].values()) for panel in dashboard["panels"]]
    assert len(set(places)) == len(places) >= 9
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(places)
    assert all(panel["description"] and panel["fieldConfig"]["defaults"]["unit"] for panel in dashboard["panels"])
    variables = {one["name"] for one in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard))) - {"__rate_interval", "__all"}
    assert used == variables


def test_what_prometheus_reads_is_what_the_unit_serves():
    read = yaml.safe_load((OPERATIONS / "prometheus.yml").read_text())
    ((target,),) = (one["targets"] for one in read["scrape_configs"][0]["static_configs"])
    assert f"--metrics {target}" in (OPERATIONS / UNITS[0]).read_text()
    assert read["rule_files"] == ["alerts.yml"]
    alerts = (OPERATIONS / "alerts.yml").read_text()
    assert f'job="{read["scrape_configs"][0]["job_name"]}"' in alerts


@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_no_fault_with_the_units(name, folder, tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not there")
    text = (OPERATIONS / name).read_text().replace(PROGRAM, str(folder / "splitimpera"))
    (tmp_path / name).write_text(text)
    told = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / name], capture_output=True, text=True, check=False
    )
    assert (told.returncode, told.stderr) == (0, "")


@pytest.mark.parametrize("name", UNITS)
def test_the_credentials_are_files_that_keys_makes(name, folder):
    made = {path.name for path in (folder / "keys").iterdir()}
    for line in unit(name)["LoadCredential"]:
        credential, path = line.split(":")
        assert credential == Path(path).name
        assert credential in made
        assert f"DIRECTORY{'' if name == UNITS[1] else '}'}/{credential}" in unit(name)["ExecStart"][0]
