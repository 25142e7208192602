"""Human quantities at the edge, SI inside: "20 ms" <-> 0.02, "100 Mbit/s" <-> 1e8, "3 %" <-> 0.03.

Bit rates and sizes use decimal prefixes (k = 1000); KiB, MiB and GiB are there for memory.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from splitimpera.core.errors import UnitError, shown


@dataclass(frozen=True)
class Dimension:
    """One kind of quantity: its name in messages, its units as factors to SI, and how to write one.

    `bare` says whether a number without a unit is accepted (as SI).
    """

    name: str
    units: dict[str, float]
    example: str
    bare: bool = False


TIME = Dimension(
    "a time", {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0}, "20 ms"
)
BIT_RATE = Dimension(
    "a bit rate",
    {
        **{"bit/s": 1.0, "kbit/s": 1e3, "Mbit/s": 1e6, "Gbit/s": 1e9, "Tbit/s": 1e12},
        **{"bps": 1.0, "kbps": 1e3, "Mbps": 1e6, "Gbps": 1e9},
        **{"B/s": 8.0, "kB/s": 8e3, "MB/s": 8e6, "GB/s": 8e9},
    },
    "100 Mbit/s",
)
SIZE = Dimension(
    "a size in bytes",
    {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30},
    "1500 B",
    bare=True,
)
FRACTION = Dimension("a fraction", {"%": 1e-2, "": 1.0}, "3 %", bare=True)
FREQUENCY = Dimension("a rate per second", {"fps": 1.0, "Hz": 1.0, "/s": 1.0, "kHz": 1e3}, "20 fps", bare=True)
POWER = Dimension("a power", {"W": 1.0, "mW": 1e-3, "kW": 1e3}, "5 W")
ENERGY = Dimension("an energy", {"J": 1.0, "mJ": 1e-3, "uJ": 1e-6, "µJ": 1e-6, "kJ": 1e3, "Wh": 3600.0}, "50 mJ")
FACTOR = Dimension("a number", {"": 1.0, "x": 1.0}, "40", bare=True)

_QUANTITY = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(\S*)")
LONGEST = 400
"""Characters of a quantity; no number that a float can hold needs more."""


def parse(value: object, dimension: Dimension) -> float:
    """Read a quantity as a number in SI units.

    Args:
        value: text such as "20 ms", or a number where the dimension allows one (0 always).
        dimension: one of the dimensions above.

    Raises:
        UnitError: no number, no unit where one is needed, or a unit of another dimension.
    """
    example = f"write for example '{dimension.example}'"
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise UnitError(f"{shown(value)} is not {dimension.name}", hint=example)
    if isinstance(value, int) and value.bit_length() > 1024:  # no float holds it
        raise UnitError(f"a number of {value.bit_length() * 0.30103:.0f} digits is too large for {dimension.name}")
    text = str(value).strip()
    # the expression's time grows with the square of a length
    match = _QUANTITY.fullmatch(text) if len(text) <= LONGEST else None
    if match is None:
        raise UnitError(f"'{shown(value)}' is not {dimension.name}", hint=example)
    number, unit = float(match[1]), match[2]
    if not math.isfinite(number * dimension.units.get(unit, 1.0)):
        raise UnitError(f"'{shown(value)}' is too large for {dimension.name}")
    if unit in dimension.units:
        return number * dimension.units[unit]
    if unit == "" and (dimension.bare or number == 0):
        return number
    known = ", ".join(name for name in dimension.units if name)
    if unit == "":
        raise UnitError(f"'{shown(value)}' is not {dimension.name}: the unit is missing", hint=f"write one of {known}")
    folded = {name.lower(): name for name in dimension.units}
    better = folded.get(unit.lower()) or folded.get(f"{unit.lower()}/s")
    advice = (
        f"write '{shown(match[1])} {better}'"
        if better
        else f"write one of {known}"
        if known
        else "write a plain number"
    )
    raise UnitError(f"'{shown(value)}' is not {dimension.name}", hint=advice)


def _scaled(value: float, steps: tuple[tuple[float, str], ...]) -> str:
    for factor, unit in steps:
        if abs(value) >= factor:
            return f"{value / factor:.4g} {unit}"
    factor, unit = steps[-1]
    return f"{value / factor:.3g} {unit}"


def format_time(value_s: float) -> str:
    """0.02 -> '20 ms'."""
    if value_s == 0:
        return "0 s"
    return _scaled(value_s, ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns")))


def format_bytes(value_bytes: float) -> str:
    """1500 -> '1.5 kB'."""
    return _scaled(value_bytes, ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")))


def format_rate(value_bps: float) -> str:
    """1e8 -> '100 Mbit/s'."""
    return _scaled(value_bps, ((1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s"), (1.0, "bit/s")))


def format_energy(value_j: float) -> str:
    """0.02 -> '20 mJ'."""
    if value_j == 0:
        return "0 J"
    return _scaled(value_j, ((1.0, "J"), (1e-3, "mJ"), (1e-6, "uJ")))


def format_count(value: float) -> str:
    """15_300_000 -> '15.3 M' (MACs, parameters)."""
    return _scaled(value, ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))).rstrip()


def format_fraction(value: float) -> str:
    """0.0312 -> '3.12 %'."""
    return f"{100 * value:.4g} %"
