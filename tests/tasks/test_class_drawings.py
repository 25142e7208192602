"""What tasks draw over images."""

from __future__ import annotations

import numpy as np
import pytest

from splitimpera.report import palette
from splitimpera.tasks.agreement import Agreement
from splitimpera.tasks.classification import Classification
from splitimpera.tasks.detection import Detection
from splitimpera.tasks.multilabel import Multilabel
from splitimpera.tasks.painting import CLASS_COLOURS, NO_CLASS, colour_of, draw_boxes, draw_mask, name_of
from splitimpera.tasks.regression import Regression
from splitimpera.tasks.segmentation import IGNORE, Segmentation
from splitimpera.tasks.task import Output

GREY = np.full((64, 96, 3), 100, dtype=np.uint8)


def rgb(colour):
    return [int(colour[place : place + 2], 16) for place in (1, 3, 5)]


def test_a_mask_covers_its_pixels_and_leaves_the_background():
    mask = np.zeros((16, 24), dtype=np.uint8)
    mask[4:8, 6:12] = 2
    mask[0, 0] = IGNORE
    drawing = draw_mask(GREY, mask, background=0, ignore=IGNORE)
    assert drawing.image.shape == GREY.shape
    assert drawing.image.dtype == np.uint8
    assert drawing.classes == (NO_CLASS, 2)
    covered = (drawing.image != 100).any(2)
    wanted = np.zeros((64, 96), dtype=bool)
    wanted[16:32, 24:48] = wanted[:4, :4] = True
    assert (covered == wanted).all()
    assert np.abs(drawing.image[20, 30] - (0.3 * 100 + 0.7 * np.array(rgb(colour_of(2))))).max() <= 1


def test_a_mask_without_a_background_covers_all_of_an_image_that_is_smaller_than_it():
    mask = np.repeat(np.arange(2, dtype=np.int32)[:, None], 512, axis=1).repeat(200, axis=0)
    drawing = draw_mask(GREY, mask, background=None, ignore=IGNORE)
    assert drawing.classes == (0, 1)
    assert (drawing.image[:32] == drawing.image[0, 0]).all()
    assert (drawing.image[32:] == drawing.image[-1, -1]).all()
    assert (drawing.image[0, 0] != drawing.image[-1, -1]).any()


def test_the_colours_of_an_image_do_not_tint_a_mask():
    image = GREY.copy()
    image[..., 0] = 250
    drawing = draw_mask(image, np.zeros((8, 12), dtype=np.uint8), background=0, ignore=IGNORE)
    assert (drawing.image == drawing.image[..., :1]).all()


def test_boxes_are_where_they_are_at_any_size():
    boxes = np.array([[2, 8, 10, 12.0]])
    drawing = draw_boxes(GREY, boxes, np.array([1]), np.array([0.9]), image_size=(16, 24))
    colour = rgb(colour_of(1))
    edges = [drawing.image[40, 8], drawing.image[40, 39], drawing.image[32, 20], drawing.image[47, 20]]
    assert [edge.tolist() for edge in edges] == [colour] * 4
    assert (drawing.image[36:44, 12:36] == 100).all()  # empty within
    assert (drawing.image[49:] == 100).all()
    assert (drawing.image[:16] == 100).all()
    assert not (drawing.image[18:32, 8:20] == 100).all()  # what it is stands above
    assert drawing.classes == (1,)


def test_the_surest_box_lies_on_top():
    boxes = np.array([[4, 4, 60, 60.0]] * 2)
    drawing = draw_boxes(GREY, boxes, np.array([1, 2]), np.array([0.9, 0.5]), image_size=(64, 96))
    assert drawing.image[30, 4].tolist() == rgb(colour_of(1))


@pytest.mark.parametrize("box", [[-500, -500, 900, 900], [95, 63, 96, 64], [0, 0, 0.1, 0.1], [200, 200, 300, 300]])
def test_boxes_at_and_beyond_the_edge_do_no_harm(box):
    names = ["犬" * 40]
    drawing = draw_boxes(GREY, np.array([box], dtype=np.float32), np.array([0]), None, (64, 96), names)
    assert drawing.image.shape == GREY.shape


def test_classes_have_colours_of_their_own_and_names():
    assert len({colour_of(label) for label in range(len(CLASS_COLOURS))}) == len(CLASS_COLOURS) >= 14
    assert set(palette.PALETTE) <= set(CLASS_COLOURS)  # those of the figures
    assert colour_of(len(CLASS_COLOURS)) == colour_of(0)
    assert [name_of(label, ["cat"]) for label in (0, 7, NO_CLASS)] == ["cat", "class 7", "does not count"]


def test_each_task_draws_its_own_answers_and_targets():
    segmentation = Segmentation().fitted([Output("0", (3, 16, 24))])
    logits = np.zeros((3, 16, 24), dtype=np.float32)
    logits[1] = 1
    assert segmentation.draw(GREY, segmentation.answer((logits,))).classes == (1,)
    assert segmentation.draw(GREY, (np.full((16, 24), 2),), expected=True).classes == (2,)
    detection = Detection().fitted([Output("0", (5, 4)), Output("1", (5, 3))], inputs=[Output("x", (3, 16, 24))])
    boxes = np.array([[2, 2, 8, 8], [9, 9, 14, 14.0]], dtype=np.float32)
    answer = boxes, np.array([0.9, 0.1], dtype=np.float32), np.array([0, 2])
    drawing = detection.draw(GREY, answer)
    assert drawing.classes == (0,)  # the other is too unsure
    assert "0.3" in drawing.note
    target = boxes, np.array([0, 2]), np.zeros(2, dtype=bool)
    assert detection.draw(GREY, target, expected=True).classes == (0, 2)
    agreement = Agreement().fitted([Output("0", (3, 16, 24))])
    assert agreement.draw(GREY, agreement.answer((logits,))).classes == (1,)


@pytest.mark.parametrize("task", [Classification(), Multilabel(), Regression()])
def test_where_there_is_nothing_to_see_nothing_is_drawn(task):
    assert task.draw(GREY, (np.zeros(3),)) is None
