"""results.json with values, texts and bytes replaced: refused, or drawn by all that draws."""

from __future__ import annotations

import copy
import io
import json
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from conftest import ROOT
from harness import attack, refused_or_taken
from hypothesis import strategies as st
from rich.console import Console

from splitimpera.report.comparison import compare, comparison_tables
from splitimpera.report.html import page
from splitimpera.report.html.comparison_page import comparison_html
from splitimpera.report.reading import checked, read
from splitimpera.report.static_figures import plans_png, saliency_png
from splitimpera.report.tables import plans_csv, show

sys.path.insert(0, str(ROOT / "tests" / "report"))

from made import SENSITIVITY, four_plans, made_values

CHANGE = {
    "parameter": "rate",
    "before": 3e5,
    "after": 6e5,
    "ratio": 2.0,
    "plan": "LC",
    "text": "rate at least 1 Mbit/s",
}
RESULTS = made_values(
    four_plans(),
    ["accuracy >= 90 %", "latency_p95 <= 60 ms"],
    sensitivity=[SENSITIVITY],
    capacity={"senders": 3, "busiest_stage": "radio"},
    loss_curves=[
        {"plan": "SC3-uint8-udp", "configuration": "SC"}
        | {"loss": [0.0, 0.1], "quality": [0.9, 0.8], "quality_low": [0.8, 0.7], "quality_high": [0.95, 0.9]}
    ],
)
RESULTS["recommendation"] |= {"change": CHANGE, "changes": [CHANGE]}
TEXT = json.dumps(RESULTS)
RESULTS = json.loads(TEXT)
SOUND = checked(RESULTS)
FOLDER = Path(tempfile.mkdtemp())


def places(value, path=()):
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield (*path, key)
        yield from places(inner, (*path, key))


BY_KIND = defaultdict(list)
for place in places(RESULTS):
    BY_KIND[".".join(part for part in place if isinstance(part, str))].append(place)
"""The places of one kind together, that the many plans' values do not hide the few others."""

numbers = st.sampled_from(
    [0, 1, -1, 0.5, -0.0, 1e40, -1e40, 1e-40, 5e-324, 1e15, 1e-15, 2**63, 10**39, 10**41, 10**400, -(10**400), 1e300]
)
texts = st.one_of(
    st.text(max_size=10),
    st.sampled_from(
        [
            *(
                "",
                "LC",
                "SC",
                "fps",
                "latency_p95",
                "accuracy",
                "[/bold]",
                "[red]x",
                "$a$ $\\frac$",
                "<b>",
                "</script>",
            ),
            *(
                "\x1b[2J",
                "\x00",
                "a\nb",
                "\ud800",
                "\u202e",
                "x" * 10_000,
                "x" * 10_001,
                "camera: network",
                "${x}",
                "%",
            ),
        ]
    ),
)
leaves = st.one_of(st.none(), st.booleans(), numbers, texts, st.floats(), st.integers())
values = st.one_of(leaves, leaves, st.lists(leaves, max_size=3), st.dictionaries(texts, leaves, max_size=2))


@st.composite
def changed(draw):
    results = copy.deepcopy(RESULTS)
    for _ in range(draw(st.sampled_from([1, 1, 2, 3]))):
        *path, last = draw(st.sampled_from(BY_KIND[draw(st.sampled_from(sorted(BY_KIND)))]))
        inner = results
        for part in path:
            fits = isinstance(inner, list) and isinstance(part, int) and len(inner) > part
            if fits or (isinstance(inner, dict) and part in inner):
                inner = inner[part]
        kind = draw(st.sampled_from(["value", "value", "value", "drop", "more", "again"]))
        if isinstance(inner, dict) and kind == "more":
            inner[draw(texts)] = draw(values)
        elif isinstance(inner, dict):
            inner[last] = draw(values)
            if kind == "drop":
                del inner[last]
        elif isinstance(inner, list) and inner:
            at = last % len(inner) if isinstance(last, int) else 0
            inner[at : at + (kind != "more")] = [] if kind == "drop" else [draw(values)]
            if kind == "again":
                inner.extend(copy.deepcopy(inner))
    return results


@st.composite
def damaged(draw):
    raw = bytearray(TEXT.encode())
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(raw) - 1))
        piece = draw(st.one_of(st.binary(max_size=3), st.sampled_from([b"[" * 5000, b"NaN", b"1e999", b"9" * 5000])))
        raw[at : at + draw(st.integers(0, 4))] = piece
    return bytes(raw)


def check_read(raw: bytes) -> None:
    (FOLDER / "results.json").write_bytes(raw)
    results = refused_or_taken(lambda: read(FOLDER))
    if results is not None:
        tell(results)


def check_told(results: object) -> None:
    taken = refused_or_taken(lambda: checked(results))
    if taken is not None:
        tell(taken)


def check_drawn(results: object) -> None:
    taken = refused_or_taken(lambda: checked(results))
    if taken is not None:
        page.report_html(taken).encode()
        assert plans_png(taken).startswith(b"\x89PNG")
        assert saliency_png(taken).startswith(b"\x89PNG")


def tell(results) -> None:
    """All words and tables."""
    told = Console(file=io.StringIO(), width=100)
    show(results, told)
    for pair in ((results, SOUND), (SOUND, results)):
        told.print(comparison_tables(compare(*pair)))
        comparison_html(compare(*pair)).encode()
    plans_csv(results).encode()
    said = told.file.getvalue().encode()
    assert b"\x1b" not in said
    assert b"\x00" not in said


check_drawn(RESULTS)  # brings matplotlib and Plotly

test_files, test_files_long = attack(check_read, damaged(), quick=20, long=650)
test_values, test_values_long = attack(check_told, changed(), quick=40, long=850)
test_drawn, test_drawn_long = attack(check_drawn, changed(), quick=4, long=150)


def test_a_device_of_which_half_of_the_times_is_there():
    results = copy.deepcopy(RESULTS)
    assert all(plan["device_p95_s"] for plan in results["plans"])
    for plan in results["plans"]:
        plan["device_p50_s"] = {}
    check_drawn(results)
