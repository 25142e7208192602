"""The JSON of a results file, read within bounds before anybody looks at its values."""

from __future__ import annotations

import json
from typing import NoReturn

from splitimpera.core.errors import SplitImperaError, shown

LARGEST_BYTES = 100_000_000
MOST_VALUES = 4_000_000


def parsed_results(raw: bytes, error: type[SplitImperaError], where: str, hint: str = "") -> object:
    """Plain values of a results file's content.

    Args:
        error: The error to raise, with `where` and `hint`.

    Raises:
        SplitImperaError: it has more than `MOST_VALUES` values, or is not valid JSON in UTF-8.
    """
    if raw.count(b",") + raw.count(b"[") + raw.count(b"{") > MOST_VALUES:
        raise error(f"there are more than {MOST_VALUES} values in it, no design writes such a file", where=where)
    try:
        values: object = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise error("this is not text in UTF-8", where=where, hint=hint) from None
    except (ValueError, RecursionError) as failure:
        reason = "it is nested too deeply" if isinstance(failure, RecursionError) else shown(failure)
        raise error(f"this is not valid JSON: {reason}", where=where, hint=hint) from None
    return values


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")
