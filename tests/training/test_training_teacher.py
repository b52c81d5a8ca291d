"""What a teacher sees, how it is kept, and what a training makes of it."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from importlib.util import find_spec
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

from opencv_squeezedet.boxes import iou_xyxy  # noqa: E402
from opencv_squeezedet.pictures import read_picture  # noqa: E402
from opencv_squeezedet.training import (  # noqa: E402
    CocoDetector,
    Ensemble,
    PseudoLabels,
    SoftDetections,
    load_teacher,
    predict,
    write_pseudo_labels,
)
from opencv_squeezedet.training.example import Example  # noqa: E402
from opencv_squeezedet.training.load_teacher import DetectorTeacher  # noqa: E402
from opencv_squeezedet.training.reliability import Reliability, measure_reliability  # noqa: E402
from opencv_squeezedet.training.teacher import SelectedClasses  # noqa: E402
from opencv_squeezedet.training.training_set import examples_of  # noqa: E402

needs_fusion = pytest.mark.skipif(find_spec("ensemble_boxes") is None, reason="the extra [teach] brings ensemble-boxes")
ROOT = Path(__file__).parents[2]
PHOTO = ROOT / "samples" / "chelsea.jpg"
LABELS = ("cat", "dog")


class Fixed:
    """A teacher with the same detections in every picture."""

    def __init__(self, rows: list[tuple[list[float], list[float]]], labels: Sequence[str] = LABELS) -> None:
        boxes, scores = zip(*rows, strict=True) if rows else ((), ())
        self.labels = labels
        shapes = (-1, 4), (-1, len(labels))
        self.detections = SoftDetections(
            *(np.array(part, np.float32).reshape(shape) for part, shape in zip((boxes, scores), shapes, strict=True))
        )

    def __call__(self, image: Picture) -> SoftDetections:
        return self.detections


BLANK = np.zeros((100, 100, 3), np.uint8)
SEER = Fixed(
    [
        ([10, 10, 50, 60], [0.2, 0.9, 0.6]),
        ([60, 5, 90, 45], [0.3, 0.1, 0.0]),
        ([5, 60, 30, 90], [0.0, 0.9, 0.01]),  # a tree
    ],
    ("dog", "tree", "cat"),  # a class that is not selected between the others
)


def pseudo_labels(
    tmp_path: Path, hints: dict[str, str] | None = None, names: Sequence[str] = ("a.png", "b.png")
) -> PseudoLabels:
    for name in names:
        cv2.imwrite(str(tmp_path / name), BLANK)
    path = tmp_path / "teacher.json"
    write_pseudo_labels(path, LABELS, predict(SEER, [tmp_path / name for name in names], LABELS, hints or {}))
    return PseudoLabels.read(path, LABELS)


def test_pseudo_labels_come_back(tmp_path: Path) -> None:
    kept = pseudo_labels(tmp_path).by_name
    assert set(kept) == {"a.png", "b.png"}
    path, hint, labels = kept["a.png"]
    assert (path, hint) == (tmp_path / "a.png", None)
    np.testing.assert_allclose(labels.xyxy, [[10, 10, 50, 60], [60, 5, 90, 45]])
    np.testing.assert_allclose(labels.scores, [[0.6, 0.2], [0.0, 0.3]], atol=1e-4)
    dataset = load_dataset(tmp_path / "teacher.json")  # the file is COCO's
    assert dataset.labels == LABELS
    np.testing.assert_allclose(dataset.pictures[0].xyxy, [[10, 10, 50, 60], [60, 5, 90, 45]])
    assert dataset.pictures[0].class_id.tolist() == [0, 1]
    content = json.loads((tmp_path / "teacher.json").read_bytes())
    content["images"][0]["file_name"] = "photos/a.png"
    (tmp_path / "teacher.json").write_text(json.dumps(content))
    by_name = PseudoLabels.read(tmp_path / "teacher.json", LABELS).by_name
    assert [by_name[name][0] for name in ("a.png", "b.png")] == [tmp_path / "photos" / "a.png", tmp_path / "b.png"]


def test_annotated_objects_are_softened(tmp_path: Path) -> None:
    """Half of the teacher's classes, where its box overlaps by half and its score is above 0.2."""
    truth = np.array([[12, 10, 50, 62], [60, 5, 90, 44], [0, 0, 9, 9]], np.float32)
    example = Example(tmp_path / "a.png", truth, np.eye(2, dtype=np.float32)[[0, 0, 1]], np.ones(3, np.float32))
    soft = pseudo_labels(tmp_path).distilled(example)
    expected = [[0.5 + 0.5 * 0.75, 0.5 * 0.25], [0.5, 0.5], [0, 1]]
    np.testing.assert_allclose(soft.classes, expected, atol=1e-3)
    np.testing.assert_array_equal(soft.xyxy, truth)
    other = Example(tmp_path / "unknown.png", truth, example.classes, example.quality)
    assert pseudo_labels(tmp_path).distilled(other) is other


def test_what_people_left_out_is_not_background(tmp_path: Path) -> None:
    """A teacher's box apart from the annotated ones is ignored if its score is high; a low one changes nothing."""
    teacher, missed = pseudo_labels(tmp_path), [10, 10, 50, 60]
    away, near = [60, 5, 90, 44], [10, 10, 50, 30]  # the latter with an IoU of 0.4
    for truth, expected in (([away], [away, missed]), ([near], [near]), ([], [missed])):
        xyxy = np.array(truth, np.float32).reshape(-1, 4)
        example = Example(tmp_path / "a.png", xyxy, np.eye(2, dtype=np.float32)[: len(truth)], np.ones(len(truth), np.float32))
        soft = teacher.distilled(example)
        np.testing.assert_allclose(soft.xyxy, expected)
        assert soft.quality.tolist() == [1] * len(truth) + [0] * (len(expected) - len(truth))


def trusted(slope: float = 1.0) -> Reliability:
    """One that is right as often as its score says."""
    return Reliability([(np.array([0.0, 1.0]), np.array([0.0, slope]))] * 2)


def test_other_pictures_have_the_teachers_objects(tmp_path: Path) -> None:
    """With the probability that they are right; ignored below 0.4, left out below 0.1."""
    (example,) = pseudo_labels(tmp_path).examples(["b.png"], LABELS, trusted())
    assert example.path == tmp_path / "a.png"
    assert not example.annotated
    np.testing.assert_allclose(example.quality, [0.6, 0.0], atol=1e-4)
    np.testing.assert_allclose(example.classes, [[0.75, 0.25], [0, 1]], atol=1e-3)
    (example,) = pseudo_labels(tmp_path).examples(["b.png"], LABELS, trusted(0.3))
    np.testing.assert_allclose(example.quality, [0.0], atol=1e-4)  # 0.18; the other's 0.09 is left out


def test_reliability_is_measured(tmp_path: Path) -> None:
    """Of the boxes of class 0 those from 0.6 on are right; class 1 has too few, and is judged with all."""
    rng = np.random.default_rng(0)
    scores = rng.random(300).astype(np.float32)
    by_name, examples = {}, []
    for i, score in enumerate(scores):
        path = tmp_path / f"{i}.png"
        boxes = np.array([[0, 0, 10, 10], [50, 50, 60, 60]], np.float32)[: 1 + (i < 40)]
        classes = np.array([[score, 0], [0, 0.9]], np.float32)[: len(boxes)]
        by_name[path.name] = (path, None, SoftDetections(boxes, classes))
        truth = boxes[:1] if score > 0.6 else boxes[:0]
        examples.append(Example(path, truth, np.eye(2, dtype=np.float32)[: len(truth)], np.ones(len(truth), np.float32)))
    reliable = measure_reliability(PseudoLabels(by_name), examples, LABELS)
    asked = np.array([[0.3, 0.1], [0.55, 0], [0.65, 0], [0.99, 0], [0.1, 0.7]], np.float32)
    right = reliable(asked)
    np.testing.assert_allclose(right[:4], [0, 0, 1, 1], atol=0.02)
    assert 0.3 < right[4] < 0.9
    assert measure_reliability(PseudoLabels(by_name), [], LABELS)(asked).tolist() == asked.max(1).tolist()


def test_hints(tmp_path: Path) -> None:
    """Where the class is known a lower score will do; without it the picture is left out; others are not asked for."""
    names = ("cat_1.png", "dog_1.png", "tree_1.png", "x.png")
    found = pseudo_labels(tmp_path, {"cat": "cat", "dog": "dog", "tree": ""}, names)
    assert set(found.by_name) == {"cat_1.png", "dog_1.png", "x.png"}
    cat, dog, other = found.examples([], LABELS, trusted())
    np.testing.assert_allclose(cat.quality, [0.8, 0.0], atol=1e-4)  # (1 + 0.6) / 2
    np.testing.assert_allclose(dog.quality, [0.6, 0.65], atol=1e-4)  # 0.3 is enough for a dog that is known to be there
    np.testing.assert_allclose(other.quality, [0.6, 0.0], atol=1e-4)
    unsure = SoftDetections(np.zeros((1, 4), np.float32), np.array([[0.3, 0]], np.float32))
    weak = PseudoLabels({"dog_2.png": (tmp_path / "dog_2.png", "dog", unsure)})
    assert weak.examples([], LABELS, trusted()) == []


def test_sources_of_a_training(tmp_path: Path) -> None:
    train, measured = squares(tmp_path / "data", 3)
    first = train.pictures[0]
    torn = SoftDetections(first.xyxy, np.full((len(first.xyxy), 2), 0.5, np.float32))
    seen = (first.path.name, measured.pictures[0].path.name, "another.png")
    teacher = PseudoLabels({name: (tmp_path / name, None, torn) for name in seen})
    assert len(examples_of(train, teacher)) == len(train.pictures) + 2
    examples = examples_of(train, teacher, measured)
    assert [example.path.name for example in examples] == [*(p.path.name for p in train.pictures), "another.png"]
    assert [example.annotated for example in examples] == [True] * 3 + [False]
    np.testing.assert_allclose(examples[0].classes.max(1), 0.75)
    np.testing.assert_allclose(examples[1].classes.max(1), 1)


def test_pseudo_labels_of_several_files(tmp_path: Path) -> None:
    one, other = pseudo_labels(tmp_path), pseudo_labels(tmp_path, names=["c.png"])
    assert set(PseudoLabels.merged([one, other]).by_name) == {"a.png", "b.png", "c.png"}
    with pytest.raises(ValueError, match=r"two files have pseudo-labels of a picture c\.png"):
        PseudoLabels.merged([one, other, other])


def as_file(images: str, annotations: str = "") -> str:
    categories = '[{"name": "cat"}, {"name": "dog"}]'
    return f'{{"categories": {categories}, "images": [{images}], "annotations": [{annotations}]}}'


IMAGE = '{"id": 1, "file_name": "x/a", "hint": null}'
BAD_VALUES = r"boxes, and scores in \[0, 1\], were expected of image 1"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "Expecting"),
        ("[]", "pseudo-labels were expected"),
        ("[" * 100_000, "pseudo-labels were expected"),
        ('{"categories": [], "images": [], "annotations": []}', "its classes are"),
        (as_file('{"id": 1}'), "expected"),
        (as_file(IMAGE, '{"image_id": 1, "bbox": [1, 2, 3, 4]}'), "'scores'"),
        (as_file(f"{IMAGE}, {IMAGE.replace('1', '2').replace('x', 'y')}"), "two pictures have the name a"),
        (as_file(IMAGE, '{"image_id": 1, "bbox": [1, 2, 1e300, 4], "scores": [0, 1]}'), BAD_VALUES),
        (as_file(IMAGE, '{"image_id": 1, "bbox": [1, 2, NaN, 4], "scores": [0, 1]}'), BAD_VALUES),
        (as_file(IMAGE, '{"image_id": 1, "bbox": [1, 2, 3, 4], "scores": [0, -Infinity]}'), BAD_VALUES),
        (as_file(IMAGE, '{"image_id": 1, "bbox": [1, 2, 3, 4], "scores": [0, 2]}'), BAD_VALUES),
    ],
)
def test_files_of_nonsense(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "teacher.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        PseudoLabels.read(path, LABELS)
    assert str(path) in str(error.value)


def test_a_teacher_of_other_classes() -> None:
    with pytest.raises(ValueError, match="the teacher has no class 'cow'; it has dog, tree, cat"):
        list(predict(SEER, [], ["cat", "cow"], {}))


def test_pictures_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    problems: list[str] = []
    predicted = list(predict(SEER, [tmp_path / "bad.jpg", tmp_path / "none.jpg", PHOTO], LABELS, {}, problems.append))
    assert [labels["path"] for labels in predicted] == [PHOTO]
    assert [line.partition(":")[0] for line in problems] == [str(tmp_path / name) for name in ("bad.jpg", "none.jpg")]


def test_a_detector_teaches() -> None:
    teacher = load_teacher("embedded")
    assert isinstance(teacher, DetectorTeacher)
    image = cv2.imread(str(PHOTO))
    xyxy, scores = teacher(image)
    assert scores.shape == (len(xyxy), 20)
    best = scores.max(1).argmax()
    plain = dataclasses.replace(sd.SqueezeDet().config, score_calibration=())
    (found, *_) = sd.SqueezeDet(config=plain).detect(image, vote_threshold=1)
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


# ---- several as one --------------------------------------------------------------------------------------------------------


def test_selected_classes_after_nms() -> None:
    """Of boxes of one class that overlap by more than 0.6 the best remains, and 100 at most."""
    box, near, other = [10.0, 10, 50, 50], [10.0, 10, 50, 48], [60.0, 60, 90, 90]
    teacher = Fixed(
        [(near, [0.5, 0, 0.9]), (box, [0.6, 0.1, 0]), (box, [0, 0.4, 0]), (other, [0.005, 0, 0.9])], [*LABELS, "tree"]
    )
    xyxy, scores = SelectedClasses(teacher, LABELS)(BLANK)
    np.testing.assert_allclose(xyxy, [box, box])
    np.testing.assert_allclose(scores, [[0.6, 0.1], [0, 0.4]], atol=1e-6)
    many = Fixed([([i % 20 * 5.0, i // 20 * 5.0, i % 20 * 5 + 4, i // 20 * 5 + 4], [0.5, 0]) for i in range(200)])
    assert len(SelectedClasses(many, LABELS)(BLANK).xyxy) == 100


@needs_fusion
def test_boxes_are_fused_by_weight() -> None:
    """The box by score and weight, the score by weight; who sees nothing gives 0; two classes in one place are one thing."""
    one = Fixed([([10, 10, 50, 50], [0.8, 0]), ([60, 60, 90, 90], [0, 0.4])])
    other = Fixed([([10, 10, 50, 54], [0.4, 0]), ([11, 11, 51, 51], [0, 0.2])])
    xyxy, scores = Ensemble([one, other], LABELS, [1.0, 0.5])(BLANK)
    share = 0.8 / (0.8 + 0.5 * 0.4)
    np.testing.assert_allclose(xyxy, [[10, 10, 50, 50 * share + 54 * (1 - share)], [60, 60, 90, 90]], atol=1e-3)
    np.testing.assert_allclose(scores, [[(0.8 + 0.5 * 0.4) / 1.5, 0.5 * 0.2 / 1.5], [0, 0.4 / 1.5]], atol=1e-5)
    nothing = Fixed([])
    assert Ensemble([nothing, nothing], LABELS)(BLANK).scores.shape == (0, 2)


@needs_fusion
def test_the_mirrored_picture() -> None:

    class Left(Fixed):
        """Sees the white part of a picture."""

        def __call__(self, image: Picture) -> SoftDetections:
            columns = np.flatnonzero(image[0, :, 0])
            return Fixed([([columns[0], 0, columns[-1] + 1, 50], [0.8, 0])]).detections

    image = np.zeros((50, 80, 3), np.uint8)
    image[:, 5:30] = 255
    seen = Ensemble([Left([])], LABELS, mirror=True)(image)
    np.testing.assert_allclose(seen.xyxy, [[5, 0, 30, 50]], atol=1e-3)
    np.testing.assert_allclose(seen.scores, [[0.8, 0]], atol=1e-6)


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, float("nan")], [1.0, 1.0, 1.0]])
def test_weights_of_teachers_that_do_not_fit(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="2 weights above 0 were expected"):
        Ensemble([SEER, SEER], LABELS, weights)


def test_an_ensemble_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ensemble_boxes", None)
    with pytest.raises(ImportError, match=r"opencv-squeezedet\[teach\]"):
        Ensemble([SEER, SEER], LABELS)


# ---- detectors trained on COCO ---------------------------------------------------------------------------------------------

FILES = {
    "nanodet": "nanodet_m",
    "nanodet-plus": "teachers/nanodet_plus_m_1.5x_416",
    "yolox": "teachers/yolox_nano",
    "picodet": "teachers/picodet_s_416",
}


def library(kind: str) -> None:
    pytest.importorskip("onnxruntime" if kind == "picodet" else "ncnn", reason="the extra [teach] brings it")


@needs("weights/teachers")
@pytest.mark.parametrize("kind", FILES)
def test_each_sees_the_cat(kind: str) -> None:
    library(kind)
    teacher = load_teacher(f"{kind}={DATA / 'weights' / FILES[kind]}")
    assert len(teacher.labels) == len(set(teacher.labels)) == 80
    assert set(sd.VOC.labels) <= set(teacher.labels)
    photo = cv2.imread(str(PHOTO))
    for image in (photo, photo[:, :150]):
        xyxy, scores = teacher(image)
        assert teacher.labels[scores.max(0).argmax()] == "cat"
        assert (xyxy >= 0).all()
        assert (xyxy <= [*image.shape[1::-1]] * 2).all()
    ours = sd.SqueezeDet().detect(photo)[0]
    xyxy, scores = teacher(photo)
    best = xyxy[scores.max(1).argmax()]
    assert iou_xyxy(best[None], np.array([ours.xyxy], np.float32))[0, 0] > 0.6


@pytest.mark.parametrize("kind", FILES)
def test_missing_and_damaged_files(kind: str, tmp_path: Path) -> None:
    library(kind)
    suffixes = (".onnx",) if kind == "picodet" else (".param", ".bin")
    for name in ("x", *(f"x{suffix}" for suffix in suffixes)):
        with pytest.raises(FileNotFoundError, match=rf"{kind} needs .*x\{suffixes[0]}, which does not exist"):
            load_teacher(f"{kind}={tmp_path / name}")
    for suffix in suffixes:
        (tmp_path / f"x{suffix}").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="cannot read it"):
        load_teacher(f"{kind}={tmp_path / 'x'}")


@needs("weights/teachers", "opinions_voc_mix.json", "voc_mix")
@needs_fusion
def test_pseudo_labels_of_real_teachers() -> None:
    """Made by another program from the same four: the same boxes, and nearly the same scores, in 100 pictures."""
    kinds = ("nanodet-plus", "picodet", "yolox")
    for kind in kinds:
        library(kind)
    teachers = [CocoDetector(kind, DATA / "weights" / FILES[kind], threads=1) for kind in kinds]
    ensemble = Ensemble(teachers, sd.VOC.labels, [1, 0.7, 0.7], mirror=True)
    kept = PseudoLabels.read(DATA / "opinions_voc_mix.json", sd.VOC.labels).by_name
    same, differences = [], []
    for name in sorted(kept)[::83]:
        path, _, (xyxy, scores) = kept[name]
        ours = ensemble(read_picture(path))
        sure = scores.max(1, initial=0) > 0.2
        iou = iou_xyxy(xyxy[sure], ours.xyxy) if len(ours.xyxy) else np.zeros((sure.sum(), 1), np.float32)
        for overlaps, expected in zip(iou, scores[sure], strict=True):
            nearest = overlaps.argmax()
            same.append(overlaps[nearest] > 0.9 and ours.scores[nearest].argmax() == expected.argmax())
            if same[-1]:
                differences.append(abs(ours.scores[nearest].max() - expected.max()))
    assert len(same) > 300
    assert np.mean(same) > 0.95
    assert np.mean(differences) < 0.03


def test_without_ncnn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "ncnn", None)
    for suffix in (".param", ".bin"):
        (tmp_path / f"x{suffix}").write_bytes(b"")
    name = f"nanodet={tmp_path / 'x'}"
    with pytest.raises(ImportError, match=r"opencv-squeezedet\[teach\]"):
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
    found = PseudoLabels.read(out, sd.VOC.labels)
    assert set(found.by_name) == {"cat_1.jpg", "chelsea.jpg"}


@needs_fusion
def test_label_with_two_teachers(tmp_path: Path) -> None:
    """Twice the same is the same as once, but with one class for each member's box; pictures below the file are relative."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(PHOTO.read_bytes())
    out = tmp_path / "teacher.json"
    twice = ["--teacher", "embedded", "--teacher", "embedded", "--weights", "1,2"]
    assert cli.main(["label", str(tmp_path / "photos"), *twice, "-o", str(out), "--quiet"]) == 0
    assert [image["file_name"] for image in json.loads(out.read_bytes())["images"]] == ["photos/cat.jpg"]
    both = PseudoLabels.read(out, sd.VOC.labels).by_name["cat.jpg"][2]
    once = load_teacher("embedded")(cv2.imread(str(PHOTO)))
    best = once.scores.max(1).argmax()
    assert both.scores.max() == pytest.approx(once.scores[best].max(), abs=1e-3)
    np.testing.assert_allclose(both.xyxy[both.scores.max(1).argmax()], once.xyxy[best], atol=0.1)


def test_label_tells_what_it_cannot_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    out = tmp_path / "teacher.json"
    examples = [str(tmp_path / "bad.jpg"), str(tmp_path / "none"), str(PHOTO)]
    assert cli.main(["label", *examples, "--teacher", "embedded", "-o", str(out), "--quiet"]) == 1
    bad, none = sorted(capsys.readouterr().err.splitlines())
    assert "bad.jpg" in bad
    assert "none" in none
    assert len(json.loads(out.read_bytes())["images"]) == 1


EMBEDDED = "--teacher embedded -o x"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("photo.jpg -o x", "--teacher"),
        (EMBEDDED, "SOURCE"),
        (f"photo.jpg {EMBEDDED} --hint cat", "PREFIX=CLASS"),
        (f"photo.jpg {EMBEDDED} --hint a=cow,", "PREFIX=CLASS"),
        ("photo.jpg --teacher nothing -o x", "the published detectors are"),
        ("photo.jpg --teacher picodet=none -o x", "picodet needs none.onnx"),
        (f"photo.jpg {EMBEDDED} --weights 1,a", "--weights: numbers"),
        (f"photo.jpg {EMBEDDED} --weights 1,2", "1 weights above 0 were expected"),
        ("photo.jpg --teacher no:thing -o x", "No module named 'no'"),
        (f"photo.jpg {EMBEDDED} --labels cat,unicorn", "no class 'unicorn'"),
        ("photo.jpg --teacher embedded -o no/folder/x", "--output: no/folder/x: its folder does not exist"),
        (f"empty {EMBEDDED}", "no pictures"),
    ],
)
def test_label_with_wrong_arguments(
    arguments: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.jpg").write_bytes(PHOTO.read_bytes())
    (tmp_path / "empty").mkdir()
    assert cli.main(["label", *arguments.split()]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "x").exists()
