"""What the command line does to its streams, its files and its terminal, whatever these are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from hostile.harness import command
from report.made import four_plans, made_values

pytestmark = pytest.mark.alone

RESULTS = ("design.svg", "network.svg", "plans.csv", "plans.png", "report.html", "results.json", "saliency.png")
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
TITLE = "\x1b]0;pwned\x07\x1b[2J[/bold][red]\x9b31m\u202e"
"""What a terminal takes for commands, and Rich for markup."""

NETWORK = f"""
import torch
from torch import nn

class Named(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.add_module({TITLE!r}, nn.Conv2d(1, 4, 3, stride=2))
        self.conv2 = nn.Conv2d(4, 4, 3)
        self.head = nn.Linear(100, 3)

    def forward(self, x):
        x = self.conv2(getattr(self, {TITLE!r})(x).relu()).relu()
        return self.head(x.flatten(1))

def network():
    return Named().eval()

def data():
    x = torch.randn(60, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return x, network()(x).argmax(1)
"""
SCENARIO = """
network: {model: "mine.py:network"}
data: {source: "mine.py:data", validation: 40 %, test: 40 %}
devices: [{name: camera, slowdown: 0.001}, {name: server, slowdown: 0.001}]
links: [{rate: 5 Mbit/s, delay: 2 ms, loss: 2 %}]
workload: {fps: 20}
plans: {cuts: [1], codecs: [uint8], transports: [tcp]}
requirements: [accuracy >= 90 %, latency_p95 <= 1 s]
"""


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Two folders with results.json, `first` and `second`, in the current folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("first", "second"):
        Path(name).mkdir()
        (Path(name) / "results.json").write_text(json.dumps(made_values(four_plans(), ["accuracy >= 90 %"])))
    return tmp_path


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A scenario whose network has a layer with a hostile name, in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(NETWORK)
    Path("scenario.yaml").write_text(SCENARIO)
    return tmp_path


def shell(line, **more):
    """A line of shell in which $S is the command; the exit code of the last command that is no pipe's."""
    own = {"S": f"{sys.executable} -m splitimpera", **more}
    return subprocess.run(["bash", "-c", line], env={**os.environ, **own}, capture_output=True, text=True, check=False)


# Streams -------------------------------------------------------------------------------------------------------------

REDIRECTIONS = {
    "closed pipe": '{} | true; exit "${{PIPESTATUS[0]}}"',
    "full": "{} > /dev/full",
    "closed": "{} >&-",
    "all closed": "{} >&- 2>&- <&-",
    "errors full": "{} 2> /dev/full",
}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device")
@pytest.mark.parametrize("how", REDIRECTIONS)
def test_a_stream_that_takes_nothing_stops_no_command(runs, how):
    run = shell(REDIRECTIONS[how].format("$S compare first second --out both.html"))
    assert run.returncode == 0, run.stderr
    assert Path("both.html").read_text().startswith("<!doctype html>")
    told = "warning: what was to be printed is not complete: No space left on device\n"
    assert run.stderr == (told if how == "full" else "")


@pytest.mark.slow
@pytest.mark.parametrize("how", REDIRECTIONS)
def test_a_stream_that_takes_nothing_stops_no_design(mine, how):
    run = shell(REDIRECTIONS[how].format("$S design scenario.yaml --no-explore --replications 1 --out out"))
    assert run.returncode == 0, run.stderr
    assert sorted(path.name for path in Path("out").iterdir()) == list(RESULTS)
    assert "Broken" not in run.stderr
    assert "Traceback" not in run.stderr


def test_a_pipe_that_does_not_wait_is_waited_for():
    code = (
        "import os; os.set_blocking(1, False); from splitimpera.cli import process\n"
        "def command():\n    print('x' * 300_000)\n    print('end')\n    return 0\n"
        "process.run(command)"
    )
    run = shell(f'{sys.executable} -c "$CODE" | (sleep 0.3; tail -c 4)', CODE=code)
    assert run.stdout == "end\n"
    assert run.stderr == ""


def test_code_that_closes_or_shuts_the_streams_does_no_harm(tmp_path):
    code = (
        "import os, sys; from splitimpera.cli import process\n"
        "def command():\n    sys.stdout.close(); os.close(1)\n    file = open('file', 'w')\n"
        "    print('printed'); file.write('written'); file.close()\n    return 0\n"
        "process.run(command)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "printed\n", "")
    assert (tmp_path / "file").read_text() == "written"


def test_a_terminal_that_knows_ascii_only_gets_that(runs):
    (runs / "é").mkdir()
    results = made_values(four_plans(), ["accuracy >= 90 %"])
    results["scenario"]["name"] = "größe 😀"
    Path("second/results.json").write_text(json.dumps(results))
    run = shell("$S compare first second --out é/both.html", **ASCII)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    assert run.stdout.isascii()
    assert "gr\\xf6" in run.stdout


@pytest.mark.slow
def test_a_design_in_an_ascii_locale(mine):
    run = shell("$S design scenario.yaml --no-explore --replications 1 --out out", **ASCII)
    assert run.returncode == 0, run.stderr
    assert run.stdout.isascii()
    assert "log10 CS  _" in run.stdout
    assert sorted(path.name for path in Path("out").iterdir()) == list(RESULTS)


# Names ---------------------------------------------------------------------------------------------------------------


def harmless(text):
    assert all(letter == "\n" or letter.isprintable() for letter in text), ascii(text)
    assert "\\x1b]0;" in text


def test_names_from_a_results_file_are_no_commands_for_the_terminal(runs):
    results = made_values(four_plans(), ["accuracy >= 90 %"])
    results["scenario"]["name"] = results["recommendation"]["reasons"][0] = TITLE
    for layer in results["layers"]:
        layer["name"] = TITLE
    for plan in results["plans"]:
        plan["id"] = TITLE + plan["id"]
    results["recommendation"]["plan"] = TITLE + results["recommendation"]["plan"]
    Path("second/results.json").write_text(json.dumps(results))
    code, out, errors = command("compare", "first", "second")
    assert (code, errors) == (0, "")
    harmless(out)
    code, out, errors = command("report", "second")
    assert (code, errors) == (0, "")
    page = Path("second/report.html").read_text()
    assert "[/bold]" in page


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["design", "scenario.yaml", "--no-explore", "--replications", "1", "--out", "m[/bold]x"],
        ["saliency", "mine.py:network", "--data", "mine.py:data"],
        ["profile", "mine.py:network", "--data", "mine.py:data", "--rounds", "3", "--out", "[/]profile.json"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_names_from_a_model_are_no_commands_for_the_terminal(mine, arguments):
    code, out, errors = command(*arguments)
    assert (code, errors) == (0, "")
    harmless(out)
    if "--out" in arguments:
        assert f"Written to {arguments[-1]}" in out


@pytest.mark.parametrize("name", ["m[bold]x", "[red]", TITLE.replace("/", ""), "x" * 255])
def test_any_name_that_the_system_takes_is_a_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    code, out, errors = command("scenario", "init", name)
    assert (code, errors) == (0, "")
    assert all(letter == "\n" or letter.isprintable() for letter in out)
    assert [path.name for path in tmp_path.iterdir()] == [name]


LONG = "x" * 256


@pytest.mark.parametrize(
    "arguments",
    [
        ["design", LONG],
        ["design", "scenario.yaml", "--out", LONG],
        ["design", "scenario.yaml", "--out", f"a/{LONG}/b"],
        ["scenario", "init", LONG],
        ["scenario", "check", LONG],
        ["report", LONG],
        ["report", "first", "--out", LONG],
        ["compare", "first", LONG],
        ["compare", "first", "second", "--out", LONG],
        ["simulate", "--rate", "1 Mbit/s", "--json", LONG],
        ["saliency", "digits-vgg16", "--data", "digits", "--plot", LONG],
        ["profile", "digits-vgg16", "--input", "1,1,32,32", "--out", LONG],
        ["x" * 100_000],
        ["design", "x", "--seed", "9" * 5000],
        ["design", "x", "\x1b[2J" * 5000],
    ],
    ids=lambda arguments: " ".join(argument[:12] for argument in arguments),
)
def test_names_that_the_system_does_not_take_are_refused_in_one_short_line(runs, arguments):
    Path("scenario.yaml").write_text(SCENARIO)
    code, out, errors = command(*arguments)
    assert (code, out) == (2, "")
    assert errors.startswith("error: ")
    assert len(errors.splitlines()) == 1
    assert len(errors) < 1500
    assert errors.strip().isprintable()


# Where results go ----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pipes with names")
@pytest.mark.parametrize("given", ["pipe", "/dev/null", "/dev/full", "dangling", "circle", "/proc/x", "taken"])
def test_a_place_that_takes_no_results_is_refused_before_any_work(mine, given):
    os.mkfifo("pipe")
    Path("dangling").symlink_to("nowhere")
    Path("circle").symlink_to("circle")
    (Path("taken") / "report.html").mkdir(parents=True)
    Path("mine.py").write_text("raise RuntimeError('it was run')")
    code, out, errors = command("design", "scenario.yaml", "--out", given)
    assert (code, out) == (2, "")
    assert errors.startswith("error: --out: ")
    assert given in errors
    assert "it was run" not in errors


def test_results_go_where_they_were_to_go_wherever_the_users_code_went(mine, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    Path("mine.py").write_text(NETWORK + f"\nimport os\nos.chdir({str(elsewhere)!r})\n")
    code, out, errors = command("design", "scenario.yaml", "--no-explore", "--replications", "1", "--out", "out")
    assert (code, errors) == (0, "")
    assert sorted(path.name for path in (mine / "out").iterdir()) == list(RESULTS)
    assert "Written to out: " in out
    assert list(elsewhere.iterdir()) == []


@pytest.mark.slow
def test_a_design_into_a_folder_with_other_things_leaves_them_alone(mine):
    code, _, errors = command("design", "scenario.yaml", "--no-explore", "--replications", "1", "--out", ".")
    assert (code, errors) == (0, "")
    assert {"mine.py", "scenario.yaml", *RESULTS} <= {path.name for path in mine.iterdir()}
    assert Path("scenario.yaml").read_text() == SCENARIO


# Ctrl-C --------------------------------------------------------------------------------------------------------------

MOMENTS = [f"import:{n}" for n in (1, 2, 3, 5, 9, 40, 150, 400, 700, 1000, 1400, 1800, 2200)] + [
    f"time:{s}" for s in (0, 0.002, 0.02, 0.1, 0.5, 1, 2, 4, 6, 8, 10)
]
QUICK = ("import:1", "import:9", "time:0.02")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT")
@pytest.mark.parametrize("moment", [m if m in QUICK else pytest.param(m, marks=pytest.mark.slow) for m in MOMENTS])
def test_ctrl_c_at_any_moment_ends_with_130_and_one_word(tmp_path, moment):
    child = Path(__file__).with_name("interrupting.py")
    scenario = ROOT / "examples/digits/remote.yaml"
    arguments = ["design", scenario, "--replications", "1000", "--explore", "--out", tmp_path / "out"]
    run = subprocess.run(
        [sys.executable, child, moment, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 130, run.stderr
    assert run.stderr.strip() == "interrupted"
    assert not any((tmp_path / "out" / name).exists() for name in RESULTS)


SWALLOWING = {
    "a bare except": "try:\n        time.sleep(60)\n    except BaseException:\n        time.sleep(60)",
    "a finaliser": "class A:\n        def __del__(self): time.sleep(60)\n    del (a := A())\n    del a",
    "threads": (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "    with ThreadPoolExecutor(2) as pool:\n        list(pool.map(time.sleep, [60, 60]))"
    ),
    "another error": "try:\n        time.sleep(60)\n    finally:\n        raise OSError('x')",
    "exit": "try:\n        time.sleep(60)\n    except KeyboardInterrupt:\n        sys.exit(0)",
    "the end of the process": "import atexit\n    atexit.register(time.sleep, 60)",
}
SWALLOWING["a finaliser"] = "class A:\n        def __del__(self): time.sleep(60)\n    A()"
HOWS_QUICK = ("another error", "a finaliser beside another stream", "exit")
SWALLOWING["a finaliser beside another stream"] = (
    "import contextlib, io\n    class A:\n        def __del__(self): time.sleep(60)\n"
    "    with contextlib.redirect_stderr(io.StringIO()): A()"
)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT")
@pytest.mark.parametrize(
    "how",
    [
        h
        if h in ("another error", "a finaliser beside another stream", "exit")
        else pytest.param(h, marks=pytest.mark.slow)
        for h in SWALLOWING
    ],
)
def test_no_code_keeps_ctrl_c_to_itself(how):
    code = (
        "import sys, time, _thread, os, signal; from splitimpera.cli import process\n"
        "def later():\n    time.sleep(0.3)\n    os.kill(os.getpid(), signal.SIGINT)\n"
        f"def command():\n    _thread.start_new_thread(later, ())\n    {SWALLOWING[how]}\n    return 0\n"
        "process.run(command)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=30)
    assert (run.returncode, run.stderr) == (130, "interrupted\n")
