"""The command line: one file a command, one call a command. Heavy imports happen inside the commands."""

import os


def main() -> None:
    """Run the command line; a user's mistake ends in one message and exit code 2, Ctrl-C in 130."""
    # nothing is imported above, so that Ctrl-C is heard from here on
    try:
        from splitimpera.cli.process import run
    except KeyboardInterrupt:
        try:
            os.write(2, b"interrupted\n")
        finally:
            os._exit(130)

    run(_command)


def _command() -> int:
    from splitimpera.cli.app import run

    return run()
