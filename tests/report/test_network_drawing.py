"""The network along its cuts: what is drawn of it, at however many layers."""

from __future__ import annotations

from math import sqrt
from xml.etree import ElementTree

import numpy as np
import pytest
from made import chain_values, evaluation, four_plans, made_results, made_values

from splitimpera.report.network_drawing import network_html, network_svg, network_words
from splitimpera.report.palette import COLOURS
from splitimpera.report.reading import checked

REQUIREMENTS = ["accuracy >= 90 %", "latency_p95 <= 60 ms"]
SVG = "{http://www.w3.org/2000/svg}"


def deep_values(layers, seed=0):
    """A network of so many layers whose tensors shrink, with candidates all over it."""
    rng = np.random.default_rng(seed)
    values = made_values(four_plans(), REQUIREMENTS)
    cut = values["cuts"][1]
    values["cuts"] = [
        cut
        | {
            "index": index,
            "name": "input" if not index else f"features.{index // 10}.block_{index}.conv",
            "bytes": int(802_816 / 2 ** (index * 8 // layers)),
            "shapes": [[8, 8, 8]] * (1 + (index % 10 in (3, 4))),
            "cs": float(rng.lognormal(-8 + index / layers, 1)) if index else None,
        }
        for index in range(layers + 1)
    ]
    values["curve"] = {
        "cuts": list(range(1, layers)),
        "on_curve": [True] * (layers - 1),
        "samples": 50,
        "per_class": {},
    }
    values["candidates"] = [
        {"cut": index, "name": values["cuts"][index]["name"], "reasons": ["local maximum of CS"]}
        for index in range(3, layers, max(2, layers // 25))
    ]
    for plan in values["plans"]:
        for hop in plan["hops"]:
            hop["cut"] = 0 if plan["configuration"] == "RC" else layers // 3
    return values


def parts_of(drawing):
    drawn = ElementTree.fromstring(drawing)
    rects = [rect for rect in drawn.iter(f"{SVG}rect") if rect.find(f"{SVG}title") is not None]
    return rects, [text.text for text in drawn.iter(f"{SVG}text")]


def test_widths_go_with_the_square_root_of_the_bytes():
    results = made_results(four_plans(), REQUIREMENTS)
    rects, _ = parts_of(network_svg(results))
    assert len(rects) == len(results.cuts)
    heights = [float(rect.attrib["height"]) for rect in rects]
    most = max(cut.bytes for cut in results.cuts)
    for height, cut in zip(heights, results.cuts, strict=True):
        assert height == pytest.approx(max(heights) * sqrt(cut.bytes / most), abs=0.2)


def test_the_chosen_cut_has_the_colour_of_its_plan_and_its_name():
    results = made_results(four_plans(), REQUIREMENTS)
    rects, words = parts_of(network_svg(results))
    assert [place for place, rect in enumerate(rects) if rect.get("fill") == COLOURS["SC"]] == [3]
    assert "block.add, 2.05 kB" in words
    assert "The recommended plan sends what crosses after block.add." in network_words(results)


def test_each_cut_says_what_it_is_where_the_mouse_stands():
    rects, _ = parts_of(network_svg(made_results(four_plans(), REQUIREMENTS)))
    said = [str(rect[0].text) for rect in rects]
    assert said[2] == "cut 2 after block.conv: 8 x 8 x 8, 2.05 kB, log10 CS -1, candidate: local maximum of CS"
    assert said[0] == "cut 0 after input: 8 x 8 x 8, 2.05 kB"


@pytest.mark.parametrize("wide", [1168, 360])
@pytest.mark.parametrize("layers", [5, 160])
def test_however_many_layers_all_lie_beside_each_other(layers, wide):
    drawing = network_svg(checked(deep_values(layers)), width=wide)
    drawn = ElementTree.fromstring(drawing)
    width = float(drawn.attrib["viewBox"].split()[2])
    assert width == wide
    bars = [rect for rect in drawn.iter(f"{SVG}rect") if (rect.get("class") or "").startswith("band")]
    assert len(bars) == layers  # of the input, too; one is chosen
    assert all(0 <= float(bar.attrib["x"]) <= width - float(bar.attrib["width"]) for bar in bars)
    assert len(drawing) < 400_000
    assert "nan" not in drawing


def test_where_several_tensors_cross_it_is_fainter_and_says_so():
    results = checked(deep_values(20))
    rects, _ = parts_of(network_svg(results))
    several = [place for place, rect in enumerate(rects) if rect.get("class") == "band several"]
    assert several == [cut.index for cut in results.cuts if len(cut.shapes) > 1]
    assert "fainter where several tensors cross" in network_words(results)
    assert "fainter" not in network_words(made_results(four_plans(), REQUIREMENTS))


def test_devices_stand_below_their_layers():
    results = checked(chain_values())
    assert "The recommended plan sends the input and what crosses after block.add." in network_words(results)
    _, words = parts_of(network_svg(results))
    assert "gateway" in words
    assert "server" in words
    assert "camera" not in words  # it runs none


def test_a_plan_without_a_cut_and_a_network_without_a_curve():
    alone = made_results([evaluation("LC", p95_s=0.01)], REQUIREMENTS)
    assert "The recommended plan sends nothing." in network_words(alone)
    values = made_values(four_plans(), REQUIREMENTS)
    values["curve"] |= {"cuts": [], "per_class": {}}
    bare = checked(values)
    assert "log10 CS" not in "".join(map(str, parts_of(network_svg(bare))[1]))
    assert "saliency" not in network_words(bare)
    values["cuts"], values["candidates"] = [], []
    assert network_svg(checked(values)) == network_html(checked(values)) == ""


def test_odd_numbers_are_drawn():
    values = made_values(four_plans(), REQUIREMENTS)
    for cut, size in zip(values["cuts"], (0, 1, 10**30, 5, 7, 9), strict=True):
        cut |= {"bytes": size, "cs": 0.0 if size == 5 else cut["cs"]}
    values["cuts"][-1] |= {"index": 10**12}
    ElementTree.fromstring(network_svg(checked(values)))
