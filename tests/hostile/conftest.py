from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))


def pytest_terminal_summary(terminalreporter):
    from harness import MEASURED

    if MEASURED.cases:
        terminalreporter.write_line(
            f"hostile cases: {MEASURED.cases}, the slowest {MEASURED.slowest_s:.2f} s, "
            f"the largest {MEASURED.most_bytes / 1e6:.0f} MB above the idle process"
        )
