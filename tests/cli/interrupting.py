"""Runs the command line and sends Ctrl-C to it: WHEN ARGUMENT..., where WHEN is "import:N" (as the Nth module since the
entry point's first line is imported) or "time:S" (so many seconds after that line)."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import time

from splitimpera.cli import main

kind, value = sys.argv.pop(1).split(":")
imports = 0


def count(event, arguments):
    global imports
    if event == "import" and kind == "import":
        imports += 1
        if imports == int(value):
            os.kill(os.getpid(), signal.SIGINT)
    elif event == "import" and kind == "time" and imports == 0:
        imports += 1
        _thread.start_new_thread(later, ())


def later():
    time.sleep(float(value))
    os.kill(os.getpid(), signal.SIGINT)


sys.addaudithook(count)
main()
