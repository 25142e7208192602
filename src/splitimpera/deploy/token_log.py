"""What happened to each request to a language model, one line of JSON each: `infer` writes it, `verify` reads it.

The first line says which bundle, plan and carrier; every other one is a request. Times are in seconds from the start
of the run. The log keeps no text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from splitimpera.core.errors import DataError, shown
from splitimpera.core.files import open_file
from splitimpera.deploy.frame_log import Count, Seconds, log_lines, read_lines
from splitimpera.records.token_workload import MOST_TOKENS

KIND: Literal["tokens"] = "tokens"
SCHEMA_VERSION: Literal[1] = 1


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class WritingRunLine(_Line):
    """The log's first line.

    Attributes:
        carrier: What carried the tokens; "none" where the plan runs on the device alone.
        secure: How: "tls" or "none".
        fps: Requests a second that were asked for; None: each as soon as the one before was through.
        round_trip_s: Smallest round trip seen by then.
        most_tokens: How many were asked for behind each prompt.
    """

    kind: Literal["tokens"] = KIND
    schema_version: Literal[1] = SCHEMA_VERSION
    bundle: str
    plan: str
    made_by: str
    machine: str
    threads: Count
    carrier: Literal["tcp", "none"]
    secure: Literal["tls", "none"]
    fps: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None
    begun: str
    round_trip_s: Seconds | None
    most_tokens: Count


class RequestLine(_Line):
    """One request.

    Attributes:
        request: Its number, from 0 on.
        prompt: Tokens that it brought.
        due_s: When it was due; `begun_s`: when work on it began.
        token_s: When each token was there, in order.
        sent_bytes: Payloads, with those that were sent again.
        resumed: How often something was sent again.
        failure: Why it came to no end; None: it did.
    """

    request: Count
    prompt: Annotated[int, Field(ge=1, le=MOST_TOKENS)]
    due_s: Seconds
    begun_s: Seconds
    token_s: Annotated[tuple[Seconds, ...], Field(max_length=MOST_TOKENS)]
    sent_bytes: Count = 0
    resumed: Count = 0
    failure: str | None = None

    @property
    def ttft_s(self) -> float | None:
        """From when it was due to the first token; None: there is none."""
        return self.token_s[0] - self.due_s if self.token_s else None

    @property
    def tpot_s(self) -> float | None:
        """Mean time from one token to the next; None: there are fewer than two."""
        count = len(self.token_s) - 1
        return (self.token_s[-1] - self.token_s[0]) / count if count > 0 else None

    @property
    def gaps_s(self) -> list[float]:
        """From each token to the next."""
        return [after - before for before, after in zip(self.token_s, self.token_s[1:], strict=False)]


def written_line(record: WritingRunLine | RequestLine) -> str:
    """A line of the log."""
    return record.model_dump_json() + "\n"


def read_token_log(path: str | Path) -> tuple[WritingRunLine, list[RequestLine]]:
    """What a log holds. A last line that was cut short, as a killed process leaves it, is passed over.

    Raises:
        DataError: it is no log of a language model, or is damaged.
    """
    return read_lines(path, WritingRunLine, RequestLine)


def is_token_log(path: str | Path) -> bool:
    """Whether a log's first line is that of a language model.

    Raises:
        DataError: it cannot be read.
    """
    with open_file(path, DataError, what="log") as file:
        first = next(iter(log_lines(file.readline, path)), (b"", True))[0]
    return shown(first.decode(errors="replace"), 200).replace(" ", "").startswith(f'{{"kind":"{KIND}"')
