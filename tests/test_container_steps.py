"""The steps of the container file, one after the other, in a folder in place of the container's root."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from deploy.small_bundle import make_bundle

from splitimpera.deploy.keys import make_keys

pytestmark = [pytest.mark.slow, pytest.mark.alone]

FILE = ROOT / "examples" / "operations" / "Containerfile"
KNOWN = {"FROM", "COPY", "RUN", "ENV", "EXPOSE", "USER", "STOPSIGNAL", "ENTRYPOINT", "CMD", "HEALTHCHECK"}


def steps():
    text = re.sub(r"^#.*\n", "", FILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


def value(name):
    (found,) = (rest for step, rest in steps() if step == name)
    return found


def inside(root, words):
    """Words in which the container's folders are those below `root`."""
    return [re.sub(r"(?<![\w.])/(opt|source|bundle|keys)\b", rf"{root}/\1", word) for word in words]


def test_the_steps_are_known_and_say_which_python():
    assert {step for step, _ in steps()} == KNOWN
    version = re.fullmatch(r"python:3\.(\d+)-slim", value("FROM"))
    assert int(version[1]) >= 11
    assert value("USER").isdecimal()
    assert value("USER") != "0"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """What the image holds."""
    tried = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir", "annotated-types"],
        cwd=tmp_path_factory.mktemp("index"),
        capture_output=True,
        text=True,
        check=False,
    )
    if tried.returncode:
        pytest.skip(f"no package index can be reached: {tried.stderr.strip().splitlines()[-1]}")
    root = tmp_path_factory.mktemp("root")
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    for step, rest in steps():
        if step == "COPY":
            *sources, target = rest.split()
            (place,) = inside(root, [target])
            for source in sources:
                if target.endswith("/"):
                    Path(place).mkdir(parents=True, exist_ok=True)
                    shutil.copy(ROOT / source, place)
                else:
                    shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
        elif step == "RUN":
            words = inside(root, rest.split())
            words[0] = sys.executable if words[0] == "python" else words[0]
            done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=900, check=False)
            assert done.returncode == 0, done.stderr
    make_bundle(root / "bundle")
    make_keys(root / "keys")
    return root


def test_the_container_serves_says_that_it_is_ready_and_ends_in_order(root):
    started = inside(root, json.loads(value("ENTRYPOINT")) + json.loads(value("CMD")))
    ports = {"0.0.0.0:7433": "127.0.0.1:0", "0.0.0.0:9433": "127.0.0.1:0"}
    environment = {"PATH": os.environ["PATH"], **dict(word.split("=") for word in value("ENV").split())}
    process = subprocess.Popen(
        [ports.get(word, word) for word in started],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        address = re.search(r" at (\S+) by ", process.stdout.readline())[1]
        port = re.search(r":(\d+)/metrics", process.stdout.readline())[1]
        health = json.loads(value("HEALTHCHECK").partition("CMD ")[2])
        ready = [word.replace(":9433", f":{port}") for word in inside(root, health)]
        assert subprocess.run(ready, env=environment, check=False).returncode == 0
        infer = ["infer", "bundle", "--server", address, "--keys", "keys", "--input", "samples", "--json"]
        program = inside(root, json.loads(value("ENTRYPOINT")))
        told = subprocess.run(
            [*program, *infer], cwd=root, env=environment, capture_output=True, text=True, timeout=120, check=True
        )
        assert json.loads(told.stdout)["outcomes"] == {"ok": 20}
        process.send_signal(getattr(signal, value("STOPSIGNAL")))
        assert process.wait(60) == 0
        assert subprocess.run(ready, env=environment, stderr=subprocess.DEVNULL, check=False).returncode != 0
    finally:
        process.kill()
        process.communicate()


def test_what_is_published_is_what_it_listens_at():
    published = set(re.findall(r":(\d+)(?:/(tcp|udp))?", FILE.read_text().partition("FROM")[0]))
    exposed = {tuple(one.split("/")) for one in value("EXPOSE").split()}
    assert {port for port, _ in exposed} == {port for port, _ in published}
    assert all(f":{port}" in value("CMD") for port, _ in exposed)


def test_nothing_of_it_is_pytorch(root):
    there = {path.name.lower() for path in (root / "opt" / "splitimpera").rglob("site-packages/*")}
    assert "onnxruntime" in there
    assert "torch" not in there
