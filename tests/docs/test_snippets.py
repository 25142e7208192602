"""Every command and every snippet of the documents runs; what is a part of a scenario or of a study fits into one."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
from collections import Counter

import pytest
from fragments import check_fragment
from snippets import ROOT, RUN, blocks_of, here, installs, pages, read_page, run_page

BLOCKS = {page.relative_to(ROOT).as_posix(): read_page(page) for page in pages()}
ALL = [block for blocks in BLOCKS.values() for block in blocks]
ELSEWHERE = {"README.md": ["tests/test_readme.py"], "docs/guides/python.md": ["tests/test_readme.py"]}
"""Pages that tests of their own run."""
RUNNING = {page: [block for block in blocks if block.runs] for page, blocks in BLOCKS.items() if page not in ELSEWHERE}
LANGUAGES = {*RUN, "yaml", "json", "text", "csv", "ini", "mermaid"}
LONGEST_S = 300.0

NOT_RUN = {
    "README.md": 1,
    "docs/adaptation.md": 1,
    "docs/bundle.md": 1,
    "docs/deploy.md": 6,
    "docs/devices.md": 1,
    "docs/guides/saliency.md": 1,
    "docs/install.md": 1,
    "docs/language_models.md": 4,
    "docs/operations.md": 10,
    "docs/policy.md": 2,
    "docs/scenario.md": 1,
    "docs/start/first_design.md": 1,
    "docs/start/own_network.md": 2,
    "docs/start/read_the_report.md": 1,
    "docs/studies.md": 7,
    "docs/timeline.md": 1,
    "docs/validation.md": 1,
    "docs/verify.md": 1,
}
"""How many blocks of a page are neither run nor checked, each with its reason in front."""


def page_parameters():
    """The pages that run; those with a block that takes long, or a command, are slow."""
    return [
        pytest.param(
            page, marks=pytest.mark.slow if any(block.slow or block.language == "sh" for block in blocks) else ()
        )
        for page, blocks in RUNNING.items()
        if blocks
    ]


@pytest.fixture(scope="session")
def fresh():
    """Where pages' processes are forked from: it has imported what takes long, and done nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["snippets", "torch", "splitimpera"])
    return context


@pytest.mark.parametrize("page", page_parameters())
def test_a_page_runs(page, fresh, tmp_path):
    process = fresh.Process(target=run_page, args=(RUNNING[page], tmp_path))
    process.start()
    process.join(LONGEST_S)
    if process.is_alive():
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
    assert process.exitcode == 0, (tmp_path / "printed.txt").read_text()[-5000:]


@pytest.mark.parametrize(
    "block",
    [block for block in ALL if block.language in ("json", "yaml") and block.reason is None],
    ids=lambda block: block.place,
)
def test_what_is_data_can_be_read(block):
    if block.language == "json":
        json.loads(block.text)
    elif block.language == "yaml":
        check_fragment(block.text)


def test_every_block_has_a_language():
    assert [block.place for block in ALL if not block.language] == []
    assert [f"{block.place}: {block.language}" for block in ALL if block.language not in LANGUAGES] == []


def test_what_does_not_run_does_not_grow_unseen():
    assert Counter(block.page for block in ALL if block.reason is not None) == NOT_RUN


def test_a_remark_is_one_that_is_understood():
    remarks = ("not run", "run by", "slow")
    for block in ALL:
        if block.remark and any(word in block.remark for word in remarks):
            assert block.slow or block.reason or block.tested_by, f"{block.place}: {block.remark}"


def test_what_another_test_runs_is_run_there():
    for block in ALL:
        for file in [block.tested_by] if block.tested_by else ELSEWHERE.get(block.page, ()):
            test = (ROOT / file).read_text()
            assert block.page.rsplit("/")[-1] in test, f"{block.place}: {file} does not read this page"


def test_tests_that_reasons_name_are_there():
    for block in ALL:
        for file in re.findall(r"tests/[\w/]+", block.reason or ""):
            assert (ROOT / file).exists() or (ROOT / f"{file}.py").exists(), f"{block.place}: {file}"


def test_blocks_are_read_with_their_remarks():
    text = "<!-- before: true -->\n<!-- slow -->\n```sh\nls\n```\n\n    indented\n\n"
    text += "````{tab-set}\n```python\n1\n```\n````\n"
    found = blocks_of(text + "<!-- not run: because -->\n```yaml\na: 1\n```\n", "page.md")
    assert [(block.line, block.language, block.slow, block.reason) for block in found] == [
        (1, "sh", False, None),
        (3, "sh", True, None),
        (7, "", False, None),
        (10, "python", False, None),
        (15, "yaml", False, "because"),
    ]


def test_other_machines_are_this_one_and_ports_are_free_ones():
    ports = {"7433": 5000}
    assert here("--server cloud:7433 --listen 0.0.0.0:7433", ports) == "--server 127.0.0.1:5000 --listen 0.0.0.0:5000"
    assert here("10.0.0.2:7434", ports) == f"127.0.0.1:{ports['7434']}"


def test_what_is_installed_is_ours():
    assert (
        installs("pip install 'split-et-impera[design,ray]' --constraint constraints.txt\npip install '.[design]'\n")
        == []
    )
    for line in ("split-et-impera[desing]", "other", "split-et-impera --constraint none.txt"):
        assert len(installs(f"pip install {line}\n")) == 1


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "```python\nx = 1\n```\n```sh\necho 1 > one\n```\n```python\nassert x == int(open('one').read())\n```\n",
            "",
        ),
        ("```python\nx = 1\n```\n```python\nassert x == 2\n```\n", "line 5"),
        ("```sh\nfalse\ntrue\n```\n", "page.md:1: exit code 1"),
        ("```sh\nmake nothing\n```\n", "exit code 2"),
        ("```sh\npip install other\n```\n", "it installs something else"),
    ],
)
def test_a_page_that_does_not_run_is_told(text, error, fresh, tmp_path):
    process = fresh.Process(target=run_page, args=(blocks_of(text, "page.md"), tmp_path))
    process.start()
    process.join(60)
    assert (process.exitcode == 0) == (not error)
    assert error in (tmp_path / "printed.txt").read_text()
