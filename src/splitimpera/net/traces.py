"""Files of how a link changes with time, and of the packets that it drops. Untrusted: bounded and checked line by line.

Two formats of traces, told apart by their first line. Blank lines and lines that begin with '#' are skipped in both.

- mahimahi's packet-delivery schedule (Netravali et al., "Mahimahi: Accurate Record-and-Replay for HTTP", USENIX ATC
  2015; its mm-link reads the same files): one whole number of milliseconds a line, none below the one before. Each is
  one opportunity to send 1504 bytes; a number that stands there twice is two of them. The schedule starts again at its
  last time.
- CSV: a first line of column names, `time_s` and at least one of `rate_bps`, `delay_s`, `loss`, then plain numbers. A
  row holds from its time on, the first from 0. The last holds as long as the one before it, a single one for 1 s; then
  the trace starts again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from splitimpera.core.bounds import BOUNDS, MOST_DUE_S, SHORTEST_STEP_S, Bound
from splitimpera.core.errors import SimulationError, printable, shown
from splitimpera.core.files import read_file
from splitimpera.core.registry import nearest
from splitimpera.records.link import Trace

OPPORTUNITY_BYTES = 1504
MOST_BYTES = 32_000_000
MOST_LINES = 2_000_000
MOST_DROPS = 2_000_000
LONGEST = 60
"""Characters of a cell."""
COLUMNS = {name: BOUNDS[name] for name in ("time_s", "rate_bps", "delay_s")} | {"loss": Bound(0.0, 1.0)}
"""The columns of a CSV trace; a rate may also be 0."""

_MILLISECONDS = re.compile(r"[0-9]{1,18}")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?")

Lines = list[tuple[int, str]]
"""Numbered from 1, without blank lines and comments."""


def load_trace(path: str | Path) -> Trace:
    """Read a trace, mahimahi's or CSV.

    Raises:
        SimulationError: the file cannot be read or is no trace; names the line, what was expected and what was given.
    """
    path = Path(path)
    text = _read(path, "trace")
    if text.count("\n") > MOST_LINES:
        raise SimulationError(f"the file has more than {MOST_LINES} lines", where=_name(path), hint=_SHORTER)
    rows = enumerate(text.split("\n"), 1)
    lines = [(number, line) for number, raw in rows if (line := raw.strip()) and not line.startswith("#")]
    if not lines:
        raise SimulationError("a trace is expected, this file is empty", where=_name(path), hint=_FORMATS)
    first = lines[0][1]
    try:
        if _MILLISECONDS.fullmatch(first):
            return _schedule(path, lines)
        if "," in first or first in COLUMNS:
            return _steps(path, lines)
    except SimulationError as error:  # of a whole that no line is to blame for
        raise error if error.where.startswith(_name(path)) else error.at(f"{_name(path)}: {error.where}") from None
    raise SimulationError(
        f"milliseconds or column names are expected, given {_short(first)}", where=_at(path, lines[0][0]), hint=_FORMATS
    )


_SHORTER = "cut it, or average it to one row of rates every few milliseconds"
_FORMATS = "write one whole number of milliseconds a line, or a CSV file that begins with 'time_s,rate_bps'"


def load_drops(path: str | Path) -> tuple[int, ...]:
    """Read which packets a link drops: a JSON array of their ordinals, the first packet is 0.

    Returns:
        The ordinals, ascending, each once.

    Raises:
        SimulationError: the file cannot be read, is no JSON, no array, or an entry is no ordinal.
    """
    path = Path(path)
    advice = "write a JSON array such as [0, 17, 18]"
    text = _read(path, "list of packets")
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise SimulationError(
            f"this is not valid JSON: {error.msg[0].lower()}{error.msg[1:]}", where=_at(path, error.lineno), hint=advice
        ) from None
    except (ValueError, RecursionError):  # numbers of thousands of digits, thousands of brackets
        raise SimulationError("this is not a list of packets", where=_name(path), hint=advice) from None
    if not isinstance(content, list):
        kind = {dict: "an object", str: "text", type(None): "null", bool: "true or false"}.get(
            type(content), "a number"
        )
        raise SimulationError(
            f"an array of packet ordinals is expected, this is {kind}", where=_name(path), hint=advice
        )
    if len(content) > MOST_DROPS:
        raise SimulationError(
            f"{len(content)} packets are too many, at most {MOST_DROPS} are dropped", where=_name(path)
        )
    for index, drop in enumerate(content):
        if not BOUNDS["drops"].holds(drop):
            raise SimulationError(
                f"a whole number, 0 or more, is expected, given {_short(_written(drop))}",
                where=f"{_name(path)}[{index}]",
                hint="the first packet is 0",
            )
    return tuple(sorted(set(content)))


def _written(value: object) -> str:
    """An entry of a list as it stands in the file, where that can be told."""
    return json.dumps(value) if value is None or isinstance(value, bool | int | float | str) else shown(value)


def _read(path: Path, what: str) -> str:
    data = read_file(path, MOST_BYTES, SimulationError, what=what)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SimulationError("text (UTF-8) is expected, this is binary", where=_at(path, line)) from None


def _schedule(path: Path, lines: Lines) -> Trace:
    times: list[int] = []
    for number, line in lines:
        if not _MILLISECONDS.fullmatch(line):
            raise SimulationError(
                f"a whole number of milliseconds is expected, given {_short(line)}", where=_at(path, number)
            )
        time = int(line)
        if times and time < times[-1]:
            raise SimulationError(
                f"{times[-1]} or more is expected, given {time}", where=_at(path, number), hint="sort the lines"
            )
        times.append(time)
    if not 0 < times[-1] <= MOST_DUE_S * 1000:
        raise SimulationError(
            f"the last line is when the trace starts again, 1 to {MOST_DUE_S * 1000:.0f} ms, given {times[-1]}",
            where=_at(path, lines[-1][0]),
        )
    return Trace(
        name=path.name,
        time_s=tuple(time / 1000 for time in times),
        period_s=times[-1] / 1000,
        opportunity_bytes=OPPORTUNITY_BYTES,
    )


def _steps(path: Path, lines: Lines) -> Trace:
    number, header = lines[0]
    names = _columns([cell.strip() for cell in header.split(",", len(COLUMNS))], _at(path, number))
    columns: dict[str, list[float]] = {name: [] for name in names}
    for name, value in _cells(path, lines[1:], names):
        columns[name].append(value)
    times = columns["time_s"]
    if not times:
        raise SimulationError("a row is expected behind the column names", where=_at(path, number))
    first_row = lines[1][0]
    if times[0] != 0:
        raise SimulationError(
            f"the first time must be 0, given {times[0]:g}",
            where=_at(path, first_row),
            hint=f"subtract {times[0]:g} from all of them",
        )
    for (before, after), (row, _) in zip(pairwise(times), lines[2:], strict=True):
        if after <= before:
            raise SimulationError(
                f"a time above {before:g} is expected, given {after:g}",
                where=_at(path, row),
                hint="sort the rows by time, one a time",
            )
        if after - before < SHORTEST_STEP_S * (1 - 1e-3):
            raise SimulationError(
                f"a step of {SHORTEST_STEP_S:g} s or more is expected, given {after - before:g}",
                where=_at(path, row),
                hint="average the rows to longer steps",
            )
    if "rate_bps" in columns and max(columns["rate_bps"]) == 0:
        raise SimulationError("rate_bps is 0 all the time, nothing would ever arrive", where=_at(path, first_row))
    if "loss" in columns and min(columns["loss"]) == 1:
        raise SimulationError("loss is 1 all the time, nothing would ever arrive", where=_at(path, first_row))
    last = times[-1] - times[-2] if len(times) > 1 else 1.0
    rate, delay, loss = (tuple(columns.get(name, ())) for name in ("rate_bps", "delay_s", "loss"))
    return Trace(path.name, tuple(times), times[-1] + last, rate, delay, loss)


def _columns(names: list[str], where: str) -> list[str]:
    for name in names:
        if name not in COLUMNS:
            hint = nearest(name[:LONGEST], COLUMNS)
            if len(name) <= LONGEST and _NUMBER.fullmatch(name):
                hint = "name the columns in the first line, for example 'time_s,rate_bps'"
            raise SimulationError(f"no column is called {_short(name)}", where=where, hint=hint)
        if names.count(name) > 1:
            raise SimulationError(f"the column '{name}' stands there {names.count(name)} times", where=where)
    if "time_s" not in names:
        raise SimulationError("the column 'time_s' is missing", where=where)
    if len(names) == 1:
        raise SimulationError("a column beside 'time_s' is missing", where=where, hint="add rate_bps, delay_s or loss")
    return names


def _cells(path: Path, rows: Lines, names: list[str]) -> Iterator[tuple[str, float]]:
    """Every cell as a number, row by row."""
    for number, line in rows:
        cells = [cell.strip() for cell in line.split(",", len(names))]
        if len(cells) != len(names):
            given = line.count(",") + 1
            raise SimulationError(
                f"{len(names)} values are expected ({','.join(names)}), given {given}", where=_at(path, number)
            )
        for name, cell in zip(names, cells, strict=True):
            bound = COLUMNS[name]
            # the expression's time grows with the square of a length
            if len(cell) > LONGEST or not _NUMBER.fullmatch(cell):
                raise SimulationError(
                    f"{name}: a plain number is expected, given {_short(cell)}", where=_at(path, number)
                )
            value = float(cell)
            if not bound.holds(value) and not (name == "rate_bps" and value == 0):
                zero = "0, or " if name == "rate_bps" else ""
                raise SimulationError(
                    f"{name}: {_short(cell)} is out of range, it must be {zero}{bound}", where=_at(path, number)
                )
            yield name, value


def _at(path: Path, line: int) -> str:
    return f"{_name(path)}:{line}"


def _name(path: Path) -> str:
    return printable(str(path))


def _short(given: str) -> str:
    """What was given, printable and on one line."""
    return ascii(given if len(given) <= 40 else f"{given[:40]}...")
