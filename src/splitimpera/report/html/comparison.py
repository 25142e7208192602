"""Two runs side by side as one HTML file, without a script."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from string import Template

from splitimpera.core.version import __version__
from splitimpera.report.comparison import (
    Comparison,
    Pair,
    beware,
    change_words,
    decision_words,
    requirements_of,
    runs,
    value_words,
    verdict_words,
    written,
)


def comparison_html(comparison: Comparison) -> str:
    """The whole page."""
    home = files(__package__)
    first, second = (run["scenario"]["name"] for run in runs(comparison))
    return Template((home / "comparison.html").read_text(encoding="utf-8")).substitute(
        title=escape(f"{first} and {second}: two designs"),
        css=(home / "page.css").read_text(encoding="utf-8"),
        decisions="".join(
            f"<section><h2>{name}: {escape(run['scenario']['name'])}</h2><p>{escape(decision_words(run))}</p>"
            f"<ul>{''.join(f'<li>{escape(reason)}</li>' for reason in run['recommendation']['reasons'])}</ul></section>"
            for name, run in zip(("First", "Second"), runs(comparison), strict=True)
        ),
        beware=escape(beware(comparison)),
        settings=_settings(comparison),
        requirements=_requirements(comparison),
        columns="".join(f"<th scope='col'>{name}</th>" for name in ("plan", "verdict", *comparison.metrics)),
        rows="\n".join(_row(pair, comparison) for pair in comparison.pairs),
        version=escape(__version__),
    )


def _settings(comparison: Comparison) -> str:
    if not comparison.settings:
        return "<p>None: the runs differ by chance and by measured times alone.</p>"
    lines = [
        f"<tr><th scope='row'>{escape(entry.name)}</th><td class='wide'>{escape(written(entry.first))}</td>"
        f"<td class='wide'>{escape(written(entry.second))}</td></tr>"
        for entry in comparison.settings
    ]
    return _table(("setting", "first", "second"), lines)


def _requirements(comparison: Comparison) -> str:
    lines = [
        f"<tr><th scope='row'><code>{escape(text)}</code></th>"
        + "".join(f"<td>{'yes' if where in ('both', run) else ''}</td>" for run in ("first", "second"))
        + "</tr>"
        for text, where in requirements_of(comparison)
    ]
    return _table(("requirement", "first", "second"), lines)


def _table(names: tuple[str, ...], lines: list[str]) -> str:
    heads = "".join(f"<th scope='col'>{name}</th>" for name in names)
    return f"<div class='scroll'><table><thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"


def _row(pair: Pair, comparison: Comparison) -> str:
    chosen = pair.id in [run["recommendation"]["plan"] for run in runs(comparison)]
    cells = [f"{verdict_words(pair.first)}<br>{verdict_words(pair.second)}"]
    for metric in comparison.metrics:
        values = [value_words(plan, metric) for plan in (pair.first, pair.second)]
        change = f"<br><span class='margin'>{words}</span>" if (words := change_words(pair, metric)) else ""
        cells.append("<br>".join(values) + change)
    kind = " class='chosen'" if chosen else ""
    return f"<tr{kind}><th scope='row'>{escape(pair.id)}</th>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
