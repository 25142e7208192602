"""A verification in the terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from splitimpera.report.tables import outside
from splitimpera.report.verified import Verification
from splitimpera.report.verified_words import (
    agrees_text,
    difference_text,
    distance_text,
    interval_text,
    measured_text,
    met_text,
    outcomes_text,
    part_ms,
    predicted_text,
    signed,
    title,
    value_text,
)
from splitimpera.tasks.qualities import QUALITIES

GOOD = {True: "green", False: "red", None: "dim"}


def verification_tables(verification: Verification) -> RenderableType:
    """Headline, findings, and every number side by side."""
    lines: list[RenderableType] = [
        outside(f"{verification.plan_words} ({verification.plan})"),
        outside(verification.headline, "bold green" if verification.agrees else "bold red"),
        *(outside(f"  {finding}") for finding in verification.findings),
        *(Text.assemble(("Drift: ", "yellow"), outside(one.told)) for one in verification.drift),
        *([outside(verification.anew, "yellow")] if verification.anew else []),
        *(Text.assemble(("Note: ", "yellow"), outside(warning)) for warning in verification.warnings),
        outside(f"Frames: {outcomes_text(verification)}. {verification.left_out}", "dim"),
        _quantities(verification),
        _parts(verification),
        outside(distance_text(verification), "dim"),
        _requirements(verification),
    ]
    return Group(*lines)


def _quantities(verification: Verification) -> Table:
    judged = [one for one in verification.quantities if one.name in QUALITIES and one.level != 0.99]
    also = "".join(f", {title(one.name)} {100 * one.level:g} %" for one in judged)
    title_of = f"Predicted and measured (intervals: latency 95 %, shares 99 %{also})"
    table = Table(title=title_of, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("", "predicted", "measured", "difference", "interval", "agrees"):
        table.add_column(name, justify="left" if name in ("", "agrees") else "right", no_wrap=name != "interval")
    for one in verification.quantities:
        table.add_row(
            title(one.name),
            value_text(one.predicted, one.kind),
            value_text(one.measured, one.kind),
            difference_text(one),
            interval_text(one),
            Text(agrees_text(one.agrees), GOOD[one.agrees]),
        )
    return table


def _parts(verification: Verification) -> Table:
    table = Table(title="Where the time goes, in ms", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("part", overflow="fold")
    for name in ("predicted", "measured", "off by", "of all", "slow:\npredicted", "slow:\nmeasured"):
        table.add_column(name, justify="right", no_wrap=True)
    for part in verification.parts:
        before = part.predicted
        table.add_row(
            outside(("  " if part.within else "") + part.name, "dim" if part.within else ""),
            part_ms(before.typical_s if before else None),
            part_ms(part.measured.typical_s),
            Text(signed(1e3 * part.difference_s, 2), "red" if part.off and not part.within else ""),
            "" if part.share is None else f"{100 * part.share:.0f} %",
            part_ms(before.slow_s if before else None),
            part_ms(part.measured.slow_s),
        )
    return table


def _requirements(verification: Verification) -> Table:
    table = Table(title="Requirements", title_justify="left", box=SIMPLE_HEAD)
    for name in ("requirement", "predicted", "measured", "the run"):
        table.add_column(name)
    for check in verification.requirements:
        table.add_row(
            outside(check.requirement.text),
            predicted_text(check),
            measured_text(check),
            Text(met_text(check), GOOD[check.met]),
        )
    return table
