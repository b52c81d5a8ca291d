"""What a teacher sees, how it is kept, and what a training makes of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from shared import DATA, needs

import opencv_squeezedet as sd
from opencv_squeezedet import cli
from opencv_squeezedet.datasets import load_dataset
from opencv_squeezedet.preprocess import Picture

torch = pytest.importorskip("torch", reason="the extra [train] brings torch")

from training_cases import squares  # noqa: E402

from opencv_squeezedet.training import Opinion, Opinions, ask, load_teacher, write_opinions  # noqa: E402
from opencv_squeezedet.training.data import Example  # noqa: E402
from opencv_squeezedet.training.session import examples_of  # noqa: E402
from opencv_squeezedet.training.teacher import DetectorTeacher, pairwise_iou_xyxy  # noqa: E402

ROOT = Path(__file__).parents[1]
PHOTO = ROOT / "samples" / "chelsea.jpg"
LABELS = ("cat", "dog")


class Seer:
    """Sees in every picture what it is told, with a class that nobody asks for in between."""

    labels: Sequence[str] = ("dog", "tree", "cat")

    def __init__(self, rows: list[tuple[list[float], list[float]]]) -> None:
        boxes, scores = zip(*rows, strict=True) if rows else ((), ())
        self.opinion = Opinion(
            np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32).reshape(-1, len(self.labels))
        )

    def __call__(self, image: Picture) -> Opinion:
        return self.opinion


SEER = Seer(
    [
        ([10, 10, 50, 60], [0.2, 0.9, 0.6]),
        ([60, 5, 90, 45], [0.3, 0.1, 0.0]),
        ([5, 60, 30, 90], [0.0, 0.9, 0.01]),  # a tree
    ]
)


def opinions(tmp_path: Path, hints: dict[str, str] | None = None, names: Sequence[str] = ("a.png", "b.png")) -> Opinions:
    for name in names:
        cv2.imwrite(str(tmp_path / name), np.zeros((100, 100, 3), np.uint8))
    path = tmp_path / "teacher.json"
    write_opinions(path, LABELS, ask(SEER, [tmp_path / name for name in names], LABELS, hints or {}))
    return Opinions.read(path, LABELS)


def test_opinions_come_back(tmp_path: Path) -> None:
    kept = opinions(tmp_path).by_name
    assert set(kept) == {"a.png", "b.png"}
    path, hint, opinion = kept["a.png"]
    assert (path, hint) == (tmp_path / "a.png", None)
    np.testing.assert_allclose(opinion.xyxy, [[10, 10, 50, 60], [60, 5, 90, 45]])
    np.testing.assert_allclose(opinion.scores, [[0.6, 0.2], [0.0, 0.3]], atol=1e-4)


def test_the_file_is_coco(tmp_path: Path) -> None:
    opinions(tmp_path)
    dataset = load_dataset(tmp_path / "teacher.json")
    assert dataset.labels == LABELS
    np.testing.assert_allclose(dataset.pictures[0].xyxy, [[10, 10, 50, 60], [60, 5, 90, 45]])
    assert dataset.pictures[0].class_id.tolist() == [0, 1]


def sd_dataset(path: Path):
    from opencv_squeezedet.datasets import load_dataset

    return load_dataset(path)


def test_annotated_objects_are_softened(tmp_path: Path) -> None:
    """0.35 of the teacher's classes, where its box overlaps by half and its score is above 0.2."""
    truth = np.array([[12, 10, 50, 62], [60, 5, 90, 44], [0, 0, 9, 9]], np.float32)
    example = Example(tmp_path / "a.png", truth, np.eye(2, dtype=np.float32)[[0, 0, 1]], np.ones(3, np.float32))
    soft = opinions(tmp_path).taught(example)
    expected = [[0.65 + 0.35 * 0.75, 0.35 * 0.25], [0.65, 0.35], [0, 1]]
    np.testing.assert_allclose(soft.classes, expected, atol=1e-3)
    np.testing.assert_array_equal(soft.xyxy, truth)
    other = Example(tmp_path / "unknown.png", truth, example.classes, example.quality)
    assert opinions(tmp_path).taught(other) is other


def test_other_pictures_have_the_teachers_objects(tmp_path: Path) -> None:
    """Sure from 0.45 on, ignored from 0.2 on."""
    (example,) = opinions(tmp_path).pictures(["b.png"], LABELS)
    assert example.path == tmp_path / "a.png"
    np.testing.assert_allclose(example.quality, [0.6, 0.0], atol=1e-4)
    np.testing.assert_allclose(example.classes, [[0.75, 0.25], [0, 1]], atol=1e-3)


def test_hints(tmp_path: Path) -> None:
    """Where the class is known a lower score will do; without it the picture is left out; others are not asked for."""
    names = ("cat_1.png", "dog_1.png", "tree_1.png", "x.png")
    found = opinions(tmp_path, {"cat": "cat", "dog": "dog", "tree": ""}, names)
    assert set(found.by_name) == {"cat_1.png", "dog_1.png", "x.png"}
    cat, dog, other = found.pictures([], LABELS)
    np.testing.assert_allclose(cat.quality, [0.8, 0.0], atol=1e-4)  # (1 + 0.6) / 2
    np.testing.assert_allclose(dog.quality, [0.6, 0.65], atol=1e-4)  # 0.3 is enough for a dog that is known to be there
    np.testing.assert_allclose(other.quality, [0.6, 0.0], atol=1e-4)
    unsure = Opinion(np.zeros((1, 4), np.float32), np.array([[0.4, 0]], np.float32))
    weak = Opinions({"dog_2.png": (tmp_path / "dog_2.png", "dog", unsure)})
    assert weak.pictures([], LABELS) == []


def test_sources_of_a_training(tmp_path: Path) -> None:
    train, measured = squares(tmp_path / "data", 3)
    first = train.pictures[0]
    torn = Opinion(first.xyxy, np.full((len(first.xyxy), 2), 0.5, np.float32))
    seen = (first.path.name, measured.pictures[0].path.name, "another.png")
    teacher = Opinions({name: (tmp_path / name, None, torn) for name in seen})
    assert len(examples_of(train, teacher)) == len(train.pictures) + 2
    examples = examples_of(train, teacher, measured)
    assert [example.path.name for example in examples] == [*(p.path.name for p in train.pictures), "another.png"]
    np.testing.assert_allclose(examples[0].classes.max(1), 0.65 + 0.35 / 2)
    np.testing.assert_allclose(examples[1].classes.max(1), 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "Expecting"),
        ("[]", "a teacher's opinions were expected"),
        ('{"categories": [], "images": [], "annotations": []}', "its classes are"),
        ('{"categories": [{"name": "cat"}, {"name": "dog"}], "images": [{"id": 1}], "annotations": []}', "expected"),
        (
            '{"categories": [{"name": "cat"}, {"name": "dog"}], "images": [{"id": 1, "file_name": "a", "hint": null}], '
            '"annotations": [{"image_id": 1, "bbox": [1, 2, 3, 4]}]}',
            "'scores'",
        ),
        (
            '{"categories": [{"name": "cat"}, {"name": "dog"}], "annotations": [], "images": '
            '[{"id": 1, "file_name": "x/a", "hint": null}, {"id": 2, "file_name": "y/a", "hint": null}]}',
            "two pictures have the name a",
        ),
        *(
            (
                '{"categories": [{"name": "cat"}, {"name": "dog"}], "images": [{"id": 1, "file_name": "a", "hint": null}], '
                f'"annotations": [{{"image_id": 1, "bbox": {box}, "scores": {scores}}}]}}',
                r"boxes, and scores in \[0, 1\], were expected of image 1",
            )
            for box, scores in (
                ("[1, 2, 1e300, 4]", "[0, 1]"),
                ("[1, 2, NaN, 4]", "[0, 1]"),
                ("[1, 2, 3, 4]", "[0, -Infinity]"),
                ("[1, 2, 3, 4]", "[0, 2]"),
            )
        ),
        ("[" * 100_000, "a teacher's opinions were expected"),
    ],
)
def test_files_of_nonsense(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "teacher.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        Opinions.read(path, LABELS)
    assert str(path) in str(error.value)


def test_a_teacher_of_other_classes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the teacher has no class 'cow'; it has dog, tree, cat"):
        list(ask(SEER, [], ["cat", "cow"], {}))


def test_pictures_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    told: list[str] = []
    found = list(ask(SEER, [tmp_path / "bad.jpg", tmp_path / "none.jpg", PHOTO], LABELS, {}, told.append))
    assert [opinion["path"] for opinion in found] == [PHOTO]
    assert told == [
        f"{tmp_path / 'bad.jpg'}: it is not a picture that OpenCV can decode",
        f"{tmp_path / 'none.jpg'}: No such file or directory",
    ]


def test_a_detector_teaches() -> None:
    teacher = load_teacher("embedded")
    assert isinstance(teacher, DetectorTeacher)
    image = cv2.imread(str(PHOTO))
    xyxy, scores = teacher(image)
    assert scores.shape == (len(xyxy), 20)
    best = scores.max(1).argmax()
    (found, *_) = sd.SqueezeDet().detect(image, vote_threshold=1)
    assert teacher.labels[scores[best].argmax()] == found.label
    assert scores[best].max() == pytest.approx(found.confidence, abs=1e-5)
    np.testing.assert_allclose(xyxy[best], found.xyxy, atol=1)
    assert (xyxy >= 0).all()
    assert (xyxy[:, 2:] <= image.shape[1::-1]).all()


def test_heads_that_cannot_teach() -> None:
    class Other:
        config = sd.HeadConfig(input_size=(64, 64), grid=(3, 3), anchors=((9, 9),), labels=("a",), layout="chw")

    with pytest.raises(ValueError, match="layout 'hwc'"):
        DetectorTeacher(Other())  # type: ignore[arg-type]


def test_teachers_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_teacher.py").write_text("from test_training_teacher import SEER\ndef make():\n    return SEER\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert load_teacher("my_teacher:make").labels == SEER.labels
    for name, message in (("my_teacher:none", "no attribute 'none'"), ("nowhere:make", "No module named 'nowhere'")):
        with pytest.raises(ValueError, match=message):
            load_teacher(name)
    with pytest.raises(FileNotFoundError):
        load_teacher(str(tmp_path / "no-model"))


def test_iou_of_all_pairs() -> None:
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]], np.float32)
    np.testing.assert_allclose(pairwise_iou_xyxy(boxes, boxes[:2]), [[1, 1 / 3], [1 / 3, 1], [0, 0]], atol=1e-6)


# ---- NanoDet -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def nanodet(monkeypatch: pytest.MonkeyPatch) -> str:
    pytest.importorskip("ncnn", reason="the extra [teach] brings ncnn")
    monkeypatch.setenv("OPENCV_SQUEEZEDET_NANODET", str(DATA / "weights"))
    return "opencv_squeezedet.training.nanodet:teacher"


@needs("weights/nanodet_m.bin")
def test_nanodet_sees_the_cat(nanodet: str) -> None:
    teacher = load_teacher(nanodet)
    assert len(teacher.labels) == len(set(teacher.labels)) == 80
    assert set(sd.VOC.labels) <= set(teacher.labels)
    for image in (cv2.imread(str(PHOTO)), cv2.imread(str(PHOTO))[:, :150]):
        xyxy, scores = teacher(image)
        assert teacher.labels[scores.max(0).argmax()] == "cat"
        assert (xyxy >= 0).all()
        assert (xyxy <= [*image.shape[1::-1]] * 2).all()
    ours = sd.SqueezeDet().detect(cv2.imread(str(PHOTO)))[0]
    xyxy, scores = teacher(cv2.imread(str(PHOTO)))
    best = xyxy[scores.max(1).argmax()]
    assert pairwise_iou_xyxy(best[None], np.array([ours.xyxy], np.float32))[0, 0] > 0.6


def test_nanodet_without_its_files(nanodet: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPENCV_SQUEEZEDET_NANODET", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="OPENCV_SQUEEZEDET_NANODET must name the folder"):
        load_teacher(nanodet)


def test_nanodet_without_ncnn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "ncnn", None)
    monkeypatch.delitem(sys.modules, "opencv_squeezedet.training.nanodet", raising=False)
    name = "opencv_squeezedet.training.nanodet:teacher"
    with pytest.raises(ValueError, match=r"opencv-squeezedet\[teach\]"):
        load_teacher(name)
    assert cli.main(["label", str(PHOTO), "--teacher", name, "-o", str(tmp_path / "t.json")]) == 2
    assert "opencv-squeezedet[teach]" in capsys.readouterr().err
    assert not (tmp_path / "t.json").exists()


# ---- the command -----------------------------------------------------------------------------------------------------------


def test_label(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("cat_1.jpg", "skipped.jpg"):
        (folder / name).write_bytes(PHOTO.read_bytes())
    (folder / "notes.txt").write_text("no picture")
    out = tmp_path / "teacher.json"
    arguments = [str(folder), str(PHOTO), "--teacher", "embedded", "--hint", "cat_=cat", "--hint", "skipped=", "-o", str(out)]
    assert cli.main(["label", *arguments]) == 0
    assert capsys.readouterr().out == ""
    content = json.loads(out.read_bytes())
    assert [Path(image["file_name"]).name for image in content["images"]] == ["cat_1.jpg", "chelsea.jpg"]
    assert [image["hint"] for image in content["images"]] == ["cat", None]
    found = Opinions.read(out, sd.VOC.labels)
    assert len(found.pictures([], sd.VOC.labels)) == 2


def test_label_tells_what_it_cannot_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    out = tmp_path / "teacher.json"
    examples = [str(tmp_path / "bad.jpg"), str(tmp_path / "none"), str(PHOTO)]
    assert cli.main(["label", *examples, "--teacher", "embedded", "-o", str(out), "--quiet"]) == 1
    lines = sorted(capsys.readouterr().err.splitlines())
    assert [line.split(": ")[-1] for line in lines] == ["it is not a picture that OpenCV can decode", "no such file or folder"]
    assert len(json.loads(out.read_bytes())["images"]) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["photo.jpg", "-o", "x"], "--teacher"),
        (["--teacher", "embedded", "-o", "x"], "FOLDER"),
        (["photo.jpg", "--teacher", "embedded", "-o", "x", "--hint", "cat"], "PREFIX=CLASS"),
        (["photo.jpg", "--teacher", "embedded", "-o", "x", "--hint", "a=cow,"], "PREFIX=CLASS"),
        (["photo.jpg", "--teacher", "nothing", "-o", "x"], "the published detectors are"),
        (["photo.jpg", "--teacher", "no:thing", "-o", "x"], "No module named 'no'"),
        (["photo.jpg", "--teacher", "embedded", "-o", "x", "--labels", "cat,unicorn"], "has no class 'unicorn'"),
        (["photo.jpg", "--teacher", "embedded", "-o", "no/folder/x"], "--output: no/folder/x: its folder does not exist"),
    ],
)
def test_label_with_wrong_arguments(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.jpg").write_bytes(PHOTO.read_bytes())
    assert cli.main(["label", *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "x").exists()
