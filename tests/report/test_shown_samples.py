"""The images of samples in reports."""

from __future__ import annotations

import io
import re
from base64 import b64encode

import numpy as np
import pytest
from made import four_plans, made_results, made_values, shown
from PIL import Image

from splitimpera.core.errors import DataError
from splitimpera.report import writing
from splitimpera.report.html.page import report_html
from splitimpera.report.reading import LONGEST_TEXT, checked
from splitimpera.report.schema import Results
from splitimpera.report.static_figures import samples_png
from splitimpera.report.words import samples_words

REQUIREMENTS = ["accuracy >= 90 %", "latency_p95 <= 60 ms"]
VIEWS = ["input", "expected", "whole network", "recommended plan", "recommended plan, 6.2 % of the frame lost"]


def test_the_page_has_every_image_with_its_words_and_a_legend():
    page = report_html(made_results(four_plans(), REQUIREMENTS, shown=shown()))
    images = re.findall(r'<img src="data:image/(png|jpeg);base64,[^"]+" alt="([^"]*)"><figcaption>([^<]*)<', page)
    assert [words for *_, words in images] == VIEWS * 2
    assert [said for _, said, _ in images][::5] == ["Test sample 0: input", "Test sample 59: input"]
    assert {kind for kind, *_ in images} == {"png", "jpeg"}
    assert re.findall(r'<span style="--colour:(#\w+)"></span>(\w+)<', page) == [("#E69F00", "cat"), ("#E69F01", "dog")]
    assert 'href="#samples"' in page


def test_a_classifiers_page_has_none():
    page = report_html(made_results(four_plans(), REQUIREMENTS))
    assert "<img" not in page
    assert 'id="samples"' not in page


def test_the_words_say_whose_loss_it_is():
    results = made_results(four_plans(), REQUIREMENTS, shown=shown())
    assert samples_words(results) == (
        "2 samples spread evenly over the test part, and how the whole network and SC3-uint8-udp respond to them. For "
        "the last image of each, one packet of the frame was lost, and each other one with a probability of 3 %, as on "
        "the link. Small boxes are left out."
    )
    assumed = made_results(four_plans(), REQUIREMENTS, shown=shown() | {"loss": 0.1})
    assert "with a probability of 10 %, assumed for this image." in samples_words(assumed)
    alone = made_results(four_plans(), REQUIREMENTS, shown=shown() | {"loss": None, "plan": None, "note": ""})
    said = "2 samples spread evenly over the test part, and how the whole network responds to them."
    assert samples_words(alone) == said


def test_images_come_back_from_a_file_however_large():
    results = made_results(four_plans(), REQUIREMENTS, shown=shown(size=(96, 96)))
    texts = [text for sample in results.shown.samples for text in sample.images.values()]
    assert max(map(len, texts)) > LONGEST_TEXT
    assert Results.model_validate_json(results.to_json()) == results


def _file(kind, size):
    file = io.BytesIO()
    Image.fromarray(np.zeros((*size, 3), dtype=np.uint8)).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("no image, but with ä", "not Base64"),
        (b64encode(b"hello").decode(), "no PNG or JPEG file"),
        (b64encode(_file("GIF", (8, 8))).decode(), "no PNG or JPEG file"),
        (b64encode(_file("PNG", (64, 64))[:60]).decode(), "no PNG or JPEG file"),
        (b64encode(_file("PNG", (2000, 8))).decode(), "more than 1024 pixels"),
        ("A" * 400_001, "must have at most 400000"),
    ],
)
def test_what_is_no_image_is_refused(content, reason):
    values = made_values(four_plans(), REQUIREMENTS, shown=shown())
    values["shown"]["samples"][0]["images"]["input"] = content
    with pytest.raises(DataError, match=reason):
        checked(values)


def test_names_of_classes_are_harmless():
    page = report_html(made_results(four_plans(), REQUIREMENTS, shown=shown(["<b>$cat</b>", "_dog"])))
    assert "<b>$cat" not in page
    assert "&lt;b&gt;$cat" in page


def test_the_figure_has_all_views_and_goes_with_the_run_that_drew_it(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "DRAWN", {"samples.png": samples_png})  # the others take their time
    seen = made_results(four_plans(), REQUIREMENTS, shown=shown(["$cat", "_dog"]))
    with Image.open(io.BytesIO(samples_png(seen))) as image:
        assert image.width > image.height > 300
    folder = tmp_path / "run"
    assert "samples.png" in [path.name for path in writing.write_results(seen, folder)]
    (folder / "samples.png").unlink()
    writing.redraw(seen, folder)
    assert (folder / "samples.png").exists()
    writing.write_results(made_results(four_plans(), REQUIREMENTS), folder)
    assert not (folder / "samples.png").exists()
