"""What a program that runs for long says of itself: one line of JSON an event."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

from splitimpera.core.errors import shown

Value = str | int | float | None


def tell(log: logging.Logger, level: int, event: str, **fields: Value) -> None:
    """Log an event with what belongs to it; `JsonLines` writes it as one line."""
    if log.isEnabledFor(level):
        words = " ".join(f"{key}={shown(value, 300)}" for key, value in fields.items())
        log.log(level, "%s %s", event, words, extra={"event": event, "fields": fields})


class JsonLines(logging.Formatter):
    """Log records as JSON: `time`, `level`, `event`, and what belongs to the event."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", record.name),
            **getattr(record, "fields", {"message": record.getMessage()}),
        }
        if record.exc_info:
            line["failure"] = shown(record.exc_info[1], 300)
        return json.dumps(line, ensure_ascii=True)
