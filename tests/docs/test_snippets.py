"""Every command and every snippet of the documents runs; what is a part of a scenario or of a study fits into one."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections import Counter

import pytest
from fragments import check_fragment
from snippets import ROOT, RUN, blocks_of, here, installs, pages, read_page, run_page

BLOCKS = {page.relative_to(ROOT).as_posix(): read_page(page) for page in pages()}
ALL = [block for blocks in BLOCKS.values() for block in blocks]
RUNNING = {page: [block for block in blocks if block.runs] for page, blocks in BLOCKS.items()}
LANGUAGES = {*RUN, "yaml", "json", "text", "csv", "ini", "mermaid"}
LONGEST_S = 300.0

NOT_RUN: dict[str, int] = {}
"""How many blocks of a page are neither run nor checked, each with its reason in front."""


def page_parameters():
    """The pages that run; those with a block that takes long, or a command, are slow."""
    for page, blocks in RUNNING.items():
        if blocks:
            slow = any(block.slow or block.language == "sh" for block in blocks)
            yield pytest.param(page, marks=pytest.mark.slow if slow else ())


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


@pytest.mark.parametrize("block", [block for block in ALL if block.reason is None], ids=lambda block: block.place)
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
        if block.tested_by is not None:
            test = (ROOT / block.tested_by).read_text()
            assert block.page.rsplit("/")[-1] in test, f"{block.place}: {block.tested_by} does not read this page"
