"""Prompts to a language model from options of `splitimpera infer`: text as it comes, a log, a summary."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from splitimpera.core import units
from splitimpera.core.errors import DataError, LinkError, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from splitimpera.bundle.opened import Bundle
    from splitimpera.deploy.security import ClientSecurity
    from splitimpera.deploy.token_text import Tokenizer
    from splitimpera.deploy.writing_run import WritingTally

FILE_BYTES = 64 << 20


def prompts_of(prompt: str | None, file: Path | None) -> list[str]:
    """The prompts of `--prompt` or, one a line, of `--prompts`.

    Raises:
        DataError: both or none are given, the file cannot be read, or it has none.
    """
    from splitimpera.core.files import read_file

    if prompt is not None and file is not None:
        raise DataError("a prompt and a file of prompts exclude each other", where="--prompts", hint="give one")
    if prompt is not None:
        return [prompt]
    if file is None:
        raise DataError("a language model writes behind a prompt", where="--prompt", hint="give one, or --prompts FILE")
    try:
        lines = read_file(file, FILE_BYTES, DataError, what="file of prompts").decode().splitlines()
    except UnicodeDecodeError:
        raise DataError("the file of prompts is no text in UTF-8", where="--prompts") from None
    found = [line for line in lines if line]
    if not found:
        raise DataError("the file has no prompt, one a line is expected", where="--prompts")
    return found


def run_prompts(
    bundle: Bundle,
    prompts: Sequence[str],
    tokens: int,
    server: tuple[str, int] | None,
    plan: str | None,
    security: ClientSecurity | None,
    insecure: bool,
    emulate: Path | None,
    slowdown: float,
    threads: int,
    fps: float | None,
    requests: int | None,
    log: Path | None,
    json: bool,
) -> None:
    """Write behind all prompts, or behind so many of them, again from the first one on.

    Raises:
        SplitImperaError: the bundle, a prompt or the server.
    """
    from splitimpera.core.files import output_error
    from splitimpera.deploy.frame_clock import FrameClock
    from splitimpera.deploy.token_log import RequestLine, written_line
    from splitimpera.deploy.writing_client import WritingClient
    from splitimpera.deploy.writing_run import WritingRun, writing_run_line

    if server is not None and not bundle.manifest.plan(plan).hops:
        server, security, insecure = None, None, False
    with ExitStack() as after:
        if emulate is not None:
            server, security = _emulated(emulate, server, security, after)
        options = {"security": security, "insecure": insecure, "threads": threads, "slowdown": slowdown}
        client = after.enter_context(WritingClient(bundle, server, plan, **options))  # type: ignore[arg-type]
        ids = [client.tokenizer.ids(text) for text in prompts]
        for each in ids:
            client.write(each, tokens)  # all of them are looked at before any is run
        first = writing_run_line(client, fps, tokens)
        said = _Said(client.tokenizer, prompts, shows=not json)
        try:
            with _written(log) as write:
                write(written_line(first))

                def told(line: RequestLine) -> None:
                    write(written_line(line))

                clock = FrameClock(fps, len(ids) if requests is None else requests)
                going = WritingRun(client, ids, tokens, clock, told, said.heard)
                try:
                    going.run()
                finally:  # on Ctrl-C and where the server is gone as well
                    _print_summary(going.tally, first.plan, first.carrier, first.secure, json)
        except OSError as failure:
            raise output_error(log or Path(), failure, "--log") from None


def _emulated(
    trace: Path, server: tuple[str, int] | None, security: ClientSecurity | None, after: ExitStack
) -> tuple[tuple[str, int], ClientSecurity | None]:
    """Where a relay to the server is whose link changes as a trace says, and whom to trust there."""
    import numpy as np

    from splitimpera.deploy.emulated_link import ChangingLink, EmulatedLink
    from splitimpera.net.traces import load_trace

    if server is None:
        raise LinkError("there is no server", where="--emulate", hint="name one by '--server'")
    relay = EmulatedLink(server, ChangingLink(load_trace(trace), np.random.default_rng()))
    if security is not None and security.server_name is None:
        security = replace(security, server_name=server[0])
    return after.enter_context(relay).address, security


@contextmanager
def _written(path: Path | None) -> Iterator[Callable[[str], None]]:
    if path is None:
        yield lambda _: None
        return
    with path.open("w", encoding="utf-8", buffering=1) as file:
        yield lambda line: print(line, end="", file=file)


class _Said:
    """The text of requests, printed as it comes; what a terminal would take as a command becomes an escape."""

    def __init__(self, tokenizer: Tokenizer, prompts: Sequence[str], shows: bool) -> None:
        self._tokenizer, self._prompts, self._shows = tokenizer, prompts, shows
        self._stream = tokenizer.stream()
        self._begun = False

    def heard(self, request: int, token: int | None) -> None:
        if not self._shows:
            return
        if not self._begun:
            self._begun, self._stream = True, self._tokenizer.stream()
            if len(self._prompts) > 1:
                self._put(f"> {self._prompts[request % len(self._prompts)]}\n")
        if token is None:
            self._put(self._stream.end() + "\n")
            self._begun = False
        else:
            self._put(self._stream.feed(token))

    def _put(self, text: str) -> None:
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.write(printable(text).encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()


def _print_summary(tally: WritingTally, plan: str, carrier: str, secure: str, json: bool) -> None:
    if json:
        from json import dumps

        print(dumps({"plan": plan, "carrier": carrier, "secure": secure, **tally.as_json()}))
        return
    print(f"plan {plan} by {carrier}" + ("" if secure == "none" else f", {secure}"))
    print(f"requests: {len(tally.lines)}, {tally.tokens} tokens")
    for name, found in (("first token", tally.ttft_s), ("token to token", tally.gap_s)):
        times = [found(share) for share in (0.5, 0.95)]
        if times[0] is not None:
            print(f"{name} p50 / p95: {' / '.join(units.format_time(time_s or 0.0) for time_s in times)}")
    if tally.tokens_per_s is not None:
        print(f"tokens a second: {tally.tokens_per_s:.3g}")
    resumed = sum(line.resumed for line in tally.lines)
    if resumed:
        print(f"sent again: {resumed} times")


def check_alone(options: dict[str, object]) -> None:
    """Raises LinkError where an option is given that is for frames."""
    for name, value in options.items():
        if value:
            raise LinkError("this option is for frames, not for prompts", where=name, hint="leave it out")
