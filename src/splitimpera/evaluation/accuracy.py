"""Intervals for accuracies."""

from __future__ import annotations

from math import sqrt

Z_95 = 1.959963984540054


def wilson_interval(share: float, count: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson's interval for a share of right answers among `count` independent pictures.

    A share that is a mean of per-picture means (several loss patterns a picture) varies less than single answers would,
    so that the interval is then on the safe side. Source: E. B. Wilson, JASA 22 (1927).
    """
    centre = share + z * z / (2 * count)
    spread = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)
