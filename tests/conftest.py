from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
SCENARIOS = sorted(path for path in ROOT.glob("examples/*/*.yaml") if path.name != "study.yaml")
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tools")]

# the first call of a simulator compiles it
settings.register_profile("untimed", deadline=None, max_examples=60)
settings.load_profile("untimed")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def pytest_terminal_summary(terminalreporter):
    """What the hostile cases of this process came to."""
    harness = sys.modules.get("harness")
    if harness is not None and harness.MEASURED.cases:
        measured = harness.MEASURED
        terminalreporter.write_line(
            f"hostile cases: {measured.cases}, the slowest {measured.slowest_s:.2f} s, "
            f"the largest {measured.most_bytes / 1e6:.0f} MB above the idle process"
        )
