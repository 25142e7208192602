"""The command line: one file a command, one call a command. Heavy imports happen inside the commands."""

import os
import signal
from typing import NoReturn


def main() -> None:
    """Run the command line; a user's mistake ends in one message and exit code 2, Ctrl-C in 130."""
    # next to nothing is imported above, so that Ctrl-C is heard from here on; no exception, for imports may lose it
    signal.signal(signal.SIGINT, _leave)
    # NumPy's own threads would spin for a while after each product, and keep those of the network from their cores
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from splitimpera.cli.process import run

    run(_command)


def _leave(*_: object) -> NoReturn:
    try:
        os.write(2, b"interrupted\n")
    finally:
        os._exit(130)


def _command() -> int:
    from splitimpera.cli.app import run

    return run()
