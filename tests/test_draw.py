"""draw: a copy, with boxes where they belong, on any picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

import opencv_squeezedet as sd
from opencv_squeezedet.draw import class_colour


def one(xyxy: tuple[float, float, float, float], class_id: int = 7) -> sd.Detections:
    return sd.Detections([xyxy], [0.9], [class_id], sd.VOC.labels)


def test_a_copy_with_a_box_in_the_colour_of_its_class() -> None:
    image = np.full((300, 400, 3), 30, np.uint8)
    drawn = sd.draw(image, one((100, 120, 250, 280)))
    assert (image == 30).all()
    colour = class_colour(7)
    for row, column in ((120, 200), (280, 200), (200, 100), (200, 250)):
        assert tuple(drawn[row, column]) == colour
    assert (drawn[150:250, 130:220] == 30).all()
    assert (drawn[:90] == 30).all()


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (1, 2000), (2000, 1), (64, 48), (4000, 3000)])
@pytest.mark.parametrize("class_id", range(0, 20, 5))
def test_any_size(size: tuple[int, int], class_id: int) -> None:
    width, height = size
    drawn = sd.draw(np.zeros((height, width, 3), np.uint8), one((0, 0, width, height), class_id))
    assert drawn.shape == (height, width, 3)
    assert drawn.any()


@pytest.mark.parametrize("box", [(0, 0, 30, 30), (380, 0, 400, 20), (0, 290, 20, 300), (370, 290, 400, 300)])
def test_the_label_stays_inside(box: tuple[float, float, float, float]) -> None:
    drawn = sd.draw(np.full((300, 400, 3), 255, np.uint8), one(box))
    rows, columns = np.nonzero((drawn == class_colour(7)).all(axis=2))
    assert np.ptp(columns) > 40, "the bar of the label"
    letters = drawn.sum(axis=2) < 200
    assert letters[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].sum() == letters.sum() > 20


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(60, 80), (60, 80, 1), (60, 80, 4)])
def test_grey_alpha_and_other_types_become_bgr(dtype: type, shape: tuple[int, ...]) -> None:
    drawn = sd.draw(np.zeros(shape, dtype), one((10, 20, 50, 50)))
    assert drawn.shape == (60, 80, 3)
    assert drawn.dtype == np.uint8
    assert tuple(drawn[50, 30]) == class_colour(7)


def test_what_is_written_and_in_which_colours() -> None:
    image, found = np.zeros((300, 400, 3), np.uint8), one((100, 120, 250, 280))
    drawn = sd.draw(image, found, colours={"cat": (1, 2, 3), "dog": (4, 5, 6)})
    assert tuple(drawn[280, 200]) == (1, 2, 3)
    assert tuple(sd.draw(image, found, colours={"dog": (4, 5, 6)})[280, 200]) == class_colour(7)

    def bar(**options: bool) -> int:
        return int(sd.draw(image, found, **options)[:118].any(axis=2).any(axis=0).sum())

    assert bar() > bar(confidence=False) > 0
    assert bar() > bar(label=False) > 0
    assert bar(label=False, confidence=False) == 0


def test_labels_keep_out_of_each_others_way() -> None:
    """Two boxes of one corner: both labels can be read, where one alone takes the upper edge."""
    image = np.full((300, 400, 3), 255, np.uint8)
    both = sd.Detections([(100, 100, 250, 250), (100, 100, 240, 240)], [0.9, 0.8], [7, 11], sd.VOC.labels)

    def ink(found: sd.Detections) -> int:
        return int((sd.draw(image, found).sum(axis=2) < 200).sum())

    assert ink(both) == pytest.approx(ink(both[:1]) + ink(both[1:]), rel=0.05)  # letters may reach over the bar's edge


def test_the_best_is_on_top() -> None:
    boxes = sd.Detections([(10, 40, 90, 90), (10, 40, 90, 90)], [0.9, 0.5], [0, 1], sd.VOC.labels)
    assert tuple(sd.draw(np.zeros((100, 100, 3), np.uint8), boxes)[70, 90]) == class_colour(0)


def test_colours_stay_apart() -> None:
    """In CIELAB, for normal vision and for deuteranopia (Machado et al., 2009, in linear RGB)."""
    bgr = np.array([class_colour(i) for i in range(20)], np.float32)[None] / 255
    linear = np.where(bgr <= 0.04045, bgr / 12.92, ((bgr + 0.055) / 1.055) ** 2.4)[0, :, ::-1]
    simulated = np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]])
    for rgb, least in ((linear, 20), (linear @ simulated.T, 15)):
        lab = cv2.cvtColor(rgb.clip(0, 1).astype(np.float32)[None], cv2.COLOR_LRGB2Lab)[0]
        apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
        assert apart[~np.eye(20, dtype=bool)].min() > least
    assert len({class_colour(i) for i in range(80)}) == 80


@pytest.mark.parametrize(("side", "expected"), [(119, 2), (300, 2), (2000, 10)])
def test_lines_of_at_least_two_pixels(side: int, expected: int) -> None:
    box = (side / 4, side / 4, side / 2, side / 2)
    drawn = sd.draw(np.zeros((side, side, 3), np.uint8), one(box), label=False, confidence=False)
    middle = drawn[round(side * 3 / 8)].any(axis=1)
    assert abs(int(middle.sum()) / 2 - expected) <= 1
    thin = sd.draw(np.zeros((side, side, 3), np.uint8), one(box), label=False, confidence=False, line_width=1)
    assert thin[round(side * 3 / 8)].any(axis=1).sum() == 2


def test_labels_keep_off_objects() -> None:
    """A label lies on neither object where there is room beside them, whatever the size of the picture."""
    for side in (160, 600):
        image = np.full((side, side, 3), 255, np.uint8)
        a, b = side // 4, side // 2
        both = sd.Detections([(a, a, b, b), (a, b, b, side - a)], [0.9, 0.8], [7, 11], sd.VOC.labels)
        inked = sd.draw(image, both).sum(axis=2) < 200
        assert inked.any()
        assert not inked[a + 4 : side - a - 4, a + 4 : b - 4].any()


@pytest.mark.parametrize("box", [(np.nan, 0, 5, 5), (0, 0, np.inf, 5), (-3e9, -3e9, 3e9, 3e9)])
def test_boxes_that_no_picture_holds(box: tuple[float, float, float, float]) -> None:
    drawn = sd.draw(np.zeros((100, 100, 3), np.uint8), one(box))
    assert drawn.any() == np.isfinite(box).all()


def test_text_can_be_read_on_any_colour() -> None:
    image, found = np.full((300, 400, 3), 128, np.uint8), one((100, 120, 250, 280))
    assert (sd.draw(image, found, colours={"cat": (0, 0, 0)})[100:118] > 200).any()
    assert (sd.draw(image, found, colours={"cat": (255, 255, 255)})[100:118] < 50).any()


@pytest.mark.parametrize("wrong", [{"detections": "x"}, {"label": 3}, {"line_width": 1.5}], ids=str)
def test_wrong_arguments(wrong: dict[str, object]) -> None:
    with pytest.raises(TypeError, match="must be"):
        sd.draw(np.zeros((4, 4, 3), np.uint8), **{"detections": one((0, 0, 1, 1)), **wrong})  # type: ignore[arg-type]
