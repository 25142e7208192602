"""What shells are given, and what they are told: by the variables that the scripts themselves set."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest

from splitimpera.cli import app, completion, simulate
from splitimpera.net.link_presets import PRESETS
from splitimpera.net.transports import TRANSPORTS


@pytest.fixture
def run(monkeypatch, capsys):
    """The command line in this process: its exit code, what it printed, and its errors."""

    def run(*arguments, **variables):
        monkeypatch.setattr(sys, "argv", ["splitimpera", *arguments])
        with monkeypatch.context() as patched:
            for name, value in variables.items():
                patched.setenv(name, value)
            try:
                code = app.run()
            except SystemExit as ended:  # which is how a shell's question ends
                code = ended.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def told(run):
    """What comes next after a line, by what a shell's script would say of it."""

    def told(shell, line):
        variables = {
            "bash": {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))},
            "zsh": {"_TYPER_COMPLETE_ARGS": line},
            "fish": {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
        }[shell]
        code, said, errors = run(**variables, **{completion.ASKED_BY: f"complete_{shell}"})
        assert (code, errors) == (0, "")
        return said

    return told


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_a_shell_gets_its_script_and_completes_a_command_with_it(shell, run, told):
    assert f"{completion.ASKED_BY}=complete_{shell}" in run("completion", shell)[1]
    assert set(re.findall(r"\bdes\w*", told(shell, "splitimpera des"))) >= {"design"}
    assert not re.findall(r"\bserve\b", told(shell, "splitimpera des"))


def test_options_and_values_are_completed(told):
    assert told("bash", "splitimpera simulate --trans").split() == ["--transport"]
    assert told("bash", "splitimpera simulate --transport udp-").split() == ["udp-arq", "udp-interleaved"]
    assert told("bash", "splitimpera simulate --preset wifi").split() == ["wifi-5", "wifi-6"]
    assert told("bash", "splitimpera completion z").split() == ["zsh"]


def test_values_are_those_that_there_are():
    assert set(simulate.TRANSPORTS) == set(TRANSPORTS.names())
    assert list(simulate.presets()) == list(PRESETS.names())


def test_what_is_not_installed_completes_nothing():
    def names():
        raise ImportError

    assert completion.among(names)("") == []


def test_another_shell_is_refused(run):
    refused = "error: SHELL: no completion for the shell 'tcsh'; known: bash, fish, zsh\n"
    assert run("completion", "tcsh") == (2, "", refused)


def test_the_help_says_nothing_of_how_shells_ask(run):
    assert "--install-completion" not in run("--help")[1]


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_the_shell_itself_takes_the_script(shell, run, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    script = tmp_path / "script"
    script.write_text(run("completion", shell)[1])
    subprocess.run([shell, "-n", str(script)], check=True)
