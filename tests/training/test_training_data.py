"""Pictures on their way into a training: changed with their boxes, and in an order that can be resumed."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra [train] brings torch")

import training_cases  # noqa: E402, F401  (one thread)

from opencv_squeezedet.training import Augmentation, data  # noqa: E402
from opencv_squeezedet.training.augment import NONE, augmented  # noqa: E402
from opencv_squeezedet.training.data import Batch, BatchStream  # noqa: E402
from opencv_squeezedet.training.example import Example  # noqa: E402

MEAN = (104.0, 117.0, 123.0)
GREEN, RED, BLUE, WHITE = (0, 255, 0), (0, 0, 255), (255, 0, 0), (255, 255, 255)
COLOURS = (GREEN, RED, BLUE, WHITE)


Pair = tuple[np.ndarray, Example]


def picture(boxes: list[tuple[int, int, int, int]], size: tuple[int, int] = (200, 150)) -> Pair:
    """A black picture whose k-th box is filled with the k-th colour and has the k-th class."""
    image = np.zeros((size[1], size[0], 3), np.uint8)
    for colour, (x1, y1, x2, y2) in zip(COLOURS, boxes, strict=False):
        image[y1:y2, x1:x2] = colour
    xyxy = np.array(boxes, np.float32).reshape(-1, 4)
    return image, Example(Path(), xyxy, np.eye(4, dtype=np.float32)[: len(boxes)], np.ones(len(boxes), np.float32))


def augment(pairs: list[Pair], size: tuple[int, int], how: Augmentation, seed: int = 0) -> Pair:
    images, examples = zip(*pairs, strict=True)
    return augmented(images, examples, size, MEAN, how, np.random.default_rng(seed))


def seen(image: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """The box around the pixels that have more of a colour than of anything else."""
    near = np.abs(image.astype(int) - colour).max(-1) < 128
    rows, columns = np.flatnonzero(near.any(1)), np.flatnonzero(near.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


GEOMETRY = replace(NONE, visible=0.0)


@pytest.mark.parametrize(
    "how",
    [
        NONE,
        replace(GEOMETRY, flip=1.0),
        replace(GEOMETRY, crop=1.0, crop_area=(0.5, 0.9)),
        replace(GEOMETRY, zoom_out=1.0, zoom_out_side=2.5),
        replace(GEOMETRY, crop=0.5, zoom_out=0.5, flip=0.5),
    ],
    ids=["none", "flip", "crop", "zoom out", "all"],
)
def test_boxes_follow_the_pixels(how: Augmentation) -> None:
    boxes = [(70, 40, 130, 90), (20, 100, 60, 140), (150, 15, 190, 65)]
    apart = []
    for seed in range(60):
        image, made = augment([picture(boxes)], (300, 260), how, seed)
        assert image.shape == (260, 300, 3)
        for xyxy, classes in zip(made.xyxy, made.classes, strict=True):
            if (xyxy[2:] - xyxy[:2]).min() >= 8:
                apart.append(xyxy - seen(image, COLOURS[classes.argmax()]))
    assert len(apart) > 80
    assert np.abs(apart).max() < 1.1  # where pixels are covered in part
    assert np.abs(np.mean(apart, axis=0).reshape(2, 2).mean(0)).max() < 0.1  # no shift


def test_a_turned_box_holds_its_pixels() -> None:
    how = replace(GEOMETRY, rotate=1.0, rotate_degrees=20.0)
    angles = set()
    for seed in range(30):
        image, made = augment([picture([(70, 40, 130, 90)])], (200, 150), how, seed)
        (xyxy,) = made.xyxy
        green = np.argwhere((image.astype(int) - (0, 128, 0) > (-60, 60, -60)).all(-1) & (image[..., 2] < 60))
        low, high = green.min(0)[::-1], green.max(0)[::-1] + 1
        np.testing.assert_allclose(xyxy, [*low, *high], atol=2.0)
        angles.add(round(float(xyxy[2] - xyxy[0])))
    assert len(angles) > 5


@pytest.mark.parametrize("size", [(400, 300), (200, 150), (131, 57), (90, 300)])
def test_no_change_is_a_plain_stretch(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (150, 200, 3), dtype=np.uint8)
    image = cv2.GaussianBlur(image, (0, 0), 2)
    plain = picture([(10, 20, 50, 90)])[1]
    found, made = augment([(image, plain)], size, NONE)
    expected = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    assert np.abs(found.astype(int) - expected).max() <= 2
    factors = np.array([size[0] / 200, size[1] / 150] * 2)
    np.testing.assert_allclose(made.xyxy[0], plain.xyxy[0] * factors, rtol=1e-5)


def test_what_no_picture_covers_has_the_mean_colour() -> None:
    image, _ = augment([picture([])], (200, 200), replace(NONE, zoom_out=1.0, zoom_out_side=3.0), 4)
    colours, counts = np.unique(image.reshape(-1, 3), axis=0, return_counts=True)
    assert set(map(tuple, colours[counts > 1000].tolist())) == {(0, 0, 0), (104, 117, 123)}


def test_what_is_cut_away() -> None:
    """Kept, ignored or left out, by the share of the box that is still there."""
    how = replace(NONE, crop=1.0, crop_area=(0.2, 0.6), visible=0.4)
    boxes = [(0, 0, 60, 45), (140, 0, 200, 45), (0, 105, 60, 150), (140, 105, 200, 150)]
    outcomes = Counter()
    for seed in range(200):
        image, made = augment([picture(boxes)], (200, 150), how, seed)
        pixels = {k: int((image == colour).all(-1).sum()) for k, colour in enumerate(COLOURS)}
        left = made.classes.argmax(1).tolist()
        assert (made.xyxy >= 0).all()
        assert (made.xyxy[:, 2:] <= (200, 150)).all()
        assert all(pixels[k] > 0 for k in left)
        outcomes.update("kept" if quality else "ignored" for quality in made.quality)
        for k in set(range(4)).difference(left):
            outcomes["left out"] += 1
            assert pixels[k] < 0.12 * 60 * 45 / 0.2  # a tenth of the box, at the strongest enlargement
    assert min(outcomes[outcome] for outcome in ("kept", "ignored", "left out")) > 20


def test_visible_is_the_share_of_the_box() -> None:
    for share, quality in ((0.3, 0.0), (0.5, 1.0)):
        image, one = picture([(200 - 40, 20, 200, 60)])
        wide = round(40 * (1 / share - 1))
        beyond = replace(one, xyxy=np.array([[160, 20, 200 + wide, 60]], np.float32))
        _, made = augment([(image, beyond)], (200, 150), replace(NONE, visible=0.4))
        assert made.quality.tolist() == [quality]
        np.testing.assert_allclose(made.xyxy, [[160, 20, 200, 60]], atol=1e-4)


def test_what_was_ignored_stays_ignored() -> None:
    image, one = picture([(70, 40, 130, 90)])
    _, made = augment([(image, replace(one, quality=np.zeros(1, np.float32)))], (200, 150), Augmentation())
    assert not made.quality.any()


def test_a_mosaic_has_four_pictures() -> None:
    corners = set()
    for seed in range(20):
        pairs = [replace_colour(picture([(50, 30, 150, 120)]), colour, k) for k, colour in enumerate(COLOURS)]
        image, made = augment(pairs, (300, 240), NONE, seed)
        assert sorted(made.classes.argmax(1).tolist()) == [0, 1, 2, 3]
        for xyxy, classes in zip(made.xyxy, made.classes, strict=True):
            np.testing.assert_allclose(xyxy, seen(image, COLOURS[classes.argmax()]), atol=1.1)
        corners.add(tuple(made.xyxy[0].tolist()))
    assert len(corners) == 20


def replace_colour(pair: Pair, colour: tuple[int, int, int], label: int) -> Pair:
    image, example = pair
    image[image.any(-1)] = colour
    return image, replace(example, classes=np.eye(4, dtype=np.float32)[[label]])


def test_colours_change_and_boxes_do_not() -> None:
    photo = cv2.imread(str(Path(__file__).parents[2] / "samples" / "chelsea.jpg"))
    one = photo, picture([(70, 40, 130, 90)])[1]
    plain, unchanged = augment([one], (200, 150), NONE)
    for name, value in {"colour": 1.0, "blur": 1.0, "noise": 1.0, "grey": 1.0}.items():
        (first, made), (second, _) = (augment([one], (200, 150), replace(NONE, **{name: value}), seed) for seed in (0, 1))
        assert not np.array_equal(first, plain), name
        assert first.dtype == np.uint8
        np.testing.assert_array_equal(made.xyxy, unchanged.xyxy)
        assert np.array_equal(first, second) == (name == "grey")
        mean_change = abs(float(first.mean()) - float(plain.mean()))
        assert mean_change < (60 if name == "colour" else 8), name


@pytest.mark.parametrize(
    "wrong",
    [
        {"flip": 1.5},
        {"mosaic": -0.1},
        {"crop_area": (0.5,)},
        {"crop_area": (0.0, 0.5)},
        {"crop_area": (0.9, 0.5)},
        {"zoom_out_side": 0.5},
        {"rotate_degrees": -3},
        {"colour": float("nan")},
        {"blur": "much"},
    ],
    ids=str,
)
def test_augmentation_of_nonsense(wrong: dict[str, object]) -> None:
    (name,) = wrong
    with pytest.raises((ValueError, TypeError), match=name):
        Augmentation(**wrong)


# ---- order ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> list[Example]:
    """Ten pictures: class 0 in all but two, class 1 in one; two are without objects."""
    folder = tmp_path_factory.mktemp("pictures")
    made = []
    for i in range(10):
        boxes = [] if i >= 8 else [(10 + i, 10, 60 + i, 60)] + ([(100, 20, 150, 60)] if i == 3 else [])
        image, example = picture(boxes)
        image[140:, :20] = 20 * i + 20
        cv2.imwrite(str(folder / f"{i}.png"), image)
        made.append(replace(example, path=folder / f"{i}.png", classes=example.classes[:, :2]))
    return made


def stream(examples: list[Example], **options: object) -> BatchStream:
    defaults: dict[str, object] = {
        "pictures": 44,
        "batch": 8,
        "sizes": [([(64, 64)], 0.0), ([(96, 64)], 0.5)],
        "mean": MEAN,
        "augmentation": Augmentation(),
        "workers": 0,
    }
    return BatchStream(examples=examples, **{**defaults, **options})  # type: ignore[arg-type]


def same(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a.images, b.images) and all(torch.equal(x, y) for x, y in zip(a.targets, b.targets, strict=True))
        for a, b in zip(one, other, strict=True)
    )


def test_the_same_seed_gives_the_same_batches(examples: list[Example]) -> None:
    one = list(stream(examples).batches())
    assert same(one, list(stream(examples, workers=2).batches()))
    assert not same(one, list(stream(examples, seed=1).batches()))


def test_batches_from_anywhere_are_the_rest(examples: list[Example]) -> None:
    one = list(stream(examples).batches())
    assert [len(batch.images) for batch in one] == [8, 8, 8, 8, 8, 4]
    sides = [tuple(batch.images.shape[1:3]) for batch in one]
    assert sides == [(64, 64)] * 3 + [(64, 96)] * 3  # from picture 24 on, the first batch that begins after a half
    for first in (8, 24, 40):
        assert same(list(stream(examples).batches(first)), one[first // 8 :])
    assert list(stream(examples).batches(44)) == []


def test_a_batch_has_one_of_several_sizes(examples: list[Example]) -> None:
    sizes = [([(64, 64), (96, 96)], 0.0), ([(32, 32)], 0.75)]
    batches = list(stream(examples, sizes=sizes, pictures=128).batches())
    sides = [batch.images.shape[1] for batch in batches]
    assert set(sides[:12]) == {64, 96}
    assert set(sides[12:]) == {32}
    assert same(list(stream(examples, sizes=sizes, pictures=128).batches(56)), batches[7:])


def test_the_end_is_without_mosaics(examples: list[Example]) -> None:
    augmentation = replace(NONE, mosaic=1.0)
    counts = [len(batch.targets.xyxy) for batch in stream(examples, augmentation=augmentation, plain_end=0.5).batches()]
    assert min(counts[:3]) > 12
    assert max(counts[3:]) < 12


def test_targets_name_their_pictures(examples: list[Example]) -> None:
    (batch,) = stream(examples, pictures=8, augmentation=NONE).batches()
    for row in range(8):
        found = batch.targets.xyxy[batch.targets.picture == row].numpy() * np.array([200 / 64, 150 / 64] * 2)
        number = (int(batch.images[row, -1, 2, 0]) - 20) // 20
        np.testing.assert_allclose(found, examples[number].xyxy, atol=1e-3)


def test_every_picture_comes_once_in_a_round(examples: list[Example]) -> None:
    order = stream(examples, pictures=30, repeat_below=0.0).order()
    for start in (0, 10, 20):
        assert sorted(order[start : start + 10]) == list(range(10))


def test_rare_classes_come_more_often(examples: list[Example]) -> None:
    """Class 1 is in 1 of 10 pictures: below 0.4 by a factor of 4, so its picture comes sqrt(4) times as often."""
    order = stream(examples, pictures=11_000, repeat_below=0.4).order()
    counts = np.bincount(order)
    assert counts[3] == 2 * counts[0]
    assert set(np.delete(counts, 3)) <= {999, 1000, 1001}
    order = stream(examples, pictures=20_000, repeat_below=0.225).order()  # sqrt(2.25) = 1.5: once or twice, by chance
    counts = np.bincount(order)
    assert counts[3] / counts[0] == pytest.approx(1.5, abs=0.06)


def test_the_share_of_unlabelled_pictures(examples: list[Example]) -> None:
    """The last four are not annotated; the order's beginning does not depend on its length."""
    some = [replace(example, annotated=i < 6) for i, example in enumerate(examples)]
    for share in (0.0, 0.25, 0.7):
        order = stream(some, pictures=20_000, repeat_below=0.0, unlabelled=share).order()
        assert (order >= 6).mean() == pytest.approx(share, abs=0.01)
        counts = np.bincount(order[order < 6])
        assert counts.max() - counts.min() <= 1
        longer = stream(some, pictures=30_000, repeat_below=0.0, unlabelled=share).order()
        assert np.array_equal(longer[:20_000], order)
    order = stream(examples, pictures=1000, repeat_below=0.0, unlabelled=0.5).order()  # none is unlabelled
    assert set(np.bincount(order)) == {100}


def test_a_file_that_cannot_be_read_is_reported_and_left_out(examples: list[Example], tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    unreadable = [replace(example, path=tmp_path / name) for example, name in zip(examples, ("bad.png", "missing.png"))]  # noqa: B905
    some = [*unreadable, *examples[2:]]
    batches = list(stream(some, workers=1, pictures=40).batches())
    problems = {problem.partition(":")[0] for batch in batches for problem in batch.problems}
    assert problems == {str(tmp_path / "bad.png"), str(tmp_path / "missing.png")}
    batches = list(stream(unreadable, augmentation=NONE, pictures=2, batch=2).batches())
    assert not len(batches[0].targets.xyxy)
    assert (batches[0].images == torch.tensor([104, 117, 123])).all()


@pytest.mark.slow
def test_a_worker_prints_no_traceback_if_the_training_has_ended(capfd: pytest.CaptureFixture[str]) -> None:
    """As after Ctrl-C, when a thread of multiprocessing's was handing it a picture."""
    process = torch.multiprocessing.get_context("spawn").Process(target=_reset)
    process.start()
    process.join(600)
    assert process.exitcode == 0
    _, err = capfd.readouterr()
    assert err.splitlines()[-1] == "ValueError: printed"
    assert "ConnectionResetError" not in err


def _reset() -> None:
    data.init_worker(0)
    for error in (ConnectionResetError("not printed"), ValueError("printed")):
        sys.excepthook(type(error), error, None)
