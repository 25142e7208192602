"""The container files: their rules, and the steps of the server's, one after the other, in a folder in place of a root.

Where a program that builds containers and its base image are at hand, both are built.
"""

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
FILES = (FILE, FILE.with_suffix(".design"))
KNOWN = {"FROM", "COPY", "RUN", "ENV", "USER", "ENTRYPOINT", "CMD", "HEALTHCHECK"}
OF_SERVERS, OF_DESIGNS = {"EXPOSE", "STOPSIGNAL"}, {"ARG", "WORKDIR"}
BUILDERS = ("podman", "buildah", "docker")


def steps(file=FILE):
    text = re.sub(r"^#.*\n", "", file.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


def value(name, file=FILE):
    (found,) = (rest for step, rest in steps(file) if step == name)
    return found


def inside(root, words):
    """Words in which the container's folders are those below `root`."""
    return [re.sub(r"(?<![\w.])/(opt|source|bundle|keys)\b", rf"{root}/\1", word) for word in words]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_steps_are_known_and_nothing_runs_as_root(file):
    assert {step for step, _ in steps(file)} == KNOWN | (OF_SERVERS if file == FILE else OF_DESIGNS)
    version = re.fullmatch(r"python:3\.(\d+)-slim", value("FROM", file))
    assert int(version[1]) >= 11
    assert int(value("USER", file)) > 0
    names = [step for step, _ in steps(file)]
    assert names.index("USER") > max(at for at, step in enumerate(names) if step in ("RUN", "COPY"))
    assert all("--no-cache-dir" in rest for step, rest in steps(file) if step == "RUN" and " pip " in rest)
    copied = [name for step, rest in steps(file) if step == "COPY" for name in rest.split()[:-1]]
    assert all((ROOT / name).exists() for name in copied)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_linter_finds_no_fault(file):
    linter = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if linter is None:
        pytest.skip("hadolint is not installed; make installs it")
    told = subprocess.run([linter, "--no-color", str(file)], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout) == (0, "")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_it_is_built_where_that_can_be(file):
    for builder in filter(shutil.which, BUILDERS):
        pull = [builder, "pull", value("FROM", file)]
        if subprocess.run(pull, capture_output=True, check=False, timeout=300).returncode == 0:
            command = [builder, "build", "--file", str(file), "--tag", f"{file.name.lower()}-tried", str(ROOT)]
            built = subprocess.run(command, capture_output=True, text=True, check=False, timeout=3600)
            assert built.returncode == 0, built.stdout + built.stderr
            return
    pytest.skip("nothing here builds containers, or the base image cannot be had")


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
            for command in rest.split(" && "):
                words = inside(root, command.split())
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
