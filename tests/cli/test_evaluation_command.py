"""`squeezedet eval`: what it measures, reads and writes; `squeezedet anchors` has its tests with the shapes."""

from __future__ import annotations

import csv
import html
import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import PHOTO, error_line
from evaluation_cases import annotated, random_case

import opencv_squeezedet as sd
from opencv_squeezedet.cli import main
from opencv_squeezedet.datasets import Dataset, load_dataset
from opencv_squeezedet.evaluation import detect_dataset
from opencv_squeezedet.evaluation.gallery import HIT, MISSED, WRONG, draw_matches, rank
from opencv_squeezedet.evaluation.results import read_results, write_results

for library in ("faster_coco_eval", "matplotlib", "tqdm"):
    pytest.importorskip(library, reason=f"the command needs {library}, of the eval extra")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data set of the cat's photo, and one of nothing."""
    (tmp_path / "images").mkdir()
    shutil.copy(PHOTO, tmp_path / "images" / "cat.jpg")
    cv2.imwrite(str(tmp_path / "images" / "grey.png"), np.full((50, 60, 3), 128, np.uint8))
    sizes = {"cat.jpg": (451, 300), "grey.png": (60, 50)}
    images = [
        {"id": i, "file_name": name, "width": w, "height": h} for i, (name, (w, h)) in zip((4, 9), sizes.items(), strict=True)
    ]
    (found,) = sd.SqueezeDet().detect(cv2.imread(str(PHOTO)), score_threshold=0.5)
    x1, y1, x2, y2 = found.xyxy
    boxes = [(4, 3, [x1, y1, x2 - x1, y2 - y1]), (9, 5, [5, 5, 20, 20])]
    content = {
        "images": images,
        "annotations": [{"image_id": i, "category_id": c, "bbox": box} for i, c, box in boxes],
        "categories": [{"id": 3, "name": "cat"}, {"id": 5, "name": "sofa"}],
    }
    path = tmp_path / "data.json"
    path.write_text(json.dumps(content))
    return path


def test_the_embedded_model(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = data.parent
    places = {option: folder / f"out.{option}" for option in ("html", "json", "csv")}
    options = [text for option, place in places.items() for text in (f"--{option}", str(place))]
    assert main(["eval", str(data), *options, "--save-results", str(folder / "results.json")]) == 0
    printed, errors = capsys.readouterr()
    assert errors == ""
    header = ["objects", "VOC07", "VOC10", "AP", "AP50", "AP75", "recall", "best", "F1", "at", "score"]
    assert printed.splitlines()[0].split() == header
    assert "pictures/s" in printed

    numbers = json.loads(places["json"].read_text())
    cat = next(entry for entry in numbers["classes"] if entry["label"] == "cat")
    assert (cat["objects"], cat["voc07"], cat["voc10"], cat["recall"]) == (1, 1.0, 1.0, 1.0)
    assert numbers["map_voc07"] == 0.5  # nothing is where the sofa is said to be
    assert numbers["pictures"] == 2
    costs = {error["name"]: error["cost"] for error in numbers["diagnosis"]["errors"]}
    assert (costs["missed"], costs["class"]) == (0.0, 0.0)
    assert sum(size["objects"] for size in numbers["diagnosis"]["sizes"]) == 2
    assert "mAP (VOC10) lost to each type of error: class 0.0, localization" in printed
    assert set(numbers["speed"]["milliseconds"]) == {"read", "preprocess", "network", "post-process"}
    rows = list(csv.DictReader(places["csv"].read_text().splitlines()))
    assert [row["label"] for row in rows] == [*sd.VOC.labels, "mean"]
    assert rows[-1]["voc07"] == "0.5"
    assert rows[0]["voc07"] == ""

    report = places["html"].read_text()
    assert report.count("<img") == report.count('src="data:image/') == 7  # five plots, and each picture
    assert f"model embedded; opencv-squeezedet {sd.__version__}" in report
    assert "<script" not in report
    assert "<link" not in report
    assert "http" not in report.replace("http://www.w3.org/", "")

    again = folder / "again.json"
    assert main(["eval", str(data), "--results", str(folder / "results.json"), "--json", str(again), "--quiet"]) == 0
    numbers["classes"] = [entry for entry in numbers["classes"] if entry["label"] in ("cat", "sofa")]  # what the file knows
    assert json.loads(again.read_text())["classes"] == numbers["classes"]


def test_results_of_another_program(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = data.parent
    content = json.loads(data.read_text())
    rows = [{**annotation, "score": 0.5} for annotation in content["annotations"]]
    (folder / "rows.json").write_text(json.dumps(rows))
    others = [{**row, "category_id": {3: 17, 5: 63}[row["category_id"]]} for row in rows]
    names = [{"id": 17, "name": "cat"}, {"id": 63, "name": "couch"}, {"id": 1, "name": "person"}]
    (folder / "others.json").write_text(json.dumps(others))
    (folder / "coco.json").write_text(json.dumps({"categories": names}))
    for options in (["rows.json"], ["others.json", "--categories", str(folder / "coco.json")]):
        target = folder / "numbers.json"
        assert main(["eval", str(data), "--results", str(folder / options[0]), *options[1:], "--json", str(target)]) == 0
        numbers = json.loads(target.read_text())
        assert (numbers["map_voc07"], numbers["map_voc10"], numbers["coco"]["AP"]) == (1, 1, pytest.approx(1))
        assert "speed" not in numbers
    assert "100.0" in capsys.readouterr().out


def test_results_for_others_and_a_set_of_crowds_are_said(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = json.loads(data.read_text())
    rows = [{**annotation, "score": 0.5} for annotation in content["annotations"]]
    path, page = data.parent / "rows.json", data.parent / "report.html"
    path.write_text(json.dumps([*rows, {**rows[0], "image_id": "x"}, {**rows[0], "category_id": "bird"}]))
    for annotation in content["annotations"]:
        annotation["iscrowd"] = "1"
    data.write_text(json.dumps(content))
    assert main(["eval", str(data), "--results", str(path), "--html", str(page)]) == 0
    crowd, pictures, classes = capsys.readouterr().err.splitlines()
    assert "all difficult or crowd" in crowd
    assert "left out: 1 ('x': 1)" in pictures
    assert "left out: 1 ('bird': 1)" in classes
    report = html.unescape(page.read_text())
    assert all(line.removeprefix("squeezedet eval: ") in report for line in (crowd, pictures, classes))


def test_a_set_with_splits_is_evaluated_as_a_whole_with_a_word(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = json.loads(data.read_text())
    (data.parent / "val.json").write_text(data.read_text())
    rows = [{**annotation, "category_id": i, "score": 0.5} for i, annotation in enumerate(content["annotations"], start=1)]
    (data.parent / "rows.json").write_text(json.dumps(rows))
    for options, lines in (([], 1), (["--split", "val"], 0)):
        assert main(["eval", str(data.parent), "--results", str(data.parent / "rows.json"), *options]) == 0
        assert capsys.readouterr().err.count("splits val") == lines


def test_what_detect_writes(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = data.parent / "found.json"
    assert main(["detect", str(data.parent / "images"), "--no-image", "--quiet", "--coco", str(found)]) == 0
    assert main(["eval", str(data), "--results", str(found), "--json", str(data.parent / "numbers.json")]) == 0
    assert json.loads((data.parent / "numbers.json").read_text())["classes"][0]["voc07"] == 1


@pytest.mark.parametrize("seed", range(3))
def test_results_come_back_as_they_were_written(tmp_path: Path, seed: int) -> None:
    dataset, detections = random_case(seed)
    ranked = [found[np.argsort(-found.confidence, kind="stable")] for found in detections]
    write_results(tmp_path / "results.json", dataset, ranked)
    assert read_results(tmp_path / "results.json", dataset) == (ranked, ())


BAD_RESULTS = {
    "no JSON": "{",
    "another thing": "5",
    "no box": '[{"image_id": 4, "category_id": 3, "score": 1}]',
    "words": '[{"image_id": 4, "category_id": 3, "bbox": [1, 2, 3, "x"], "score": 1}]',
    "not finite": '[{"image_id": 4, "category_id": 3, "bbox": [1, 2, 3, NaN], "score": 1}]',
    "too large": '[{"image_id": 4, "category_id": 3, "bbox": [1, 2, 1e300, 4], "score": 1}]',
    "names that are none": '{"images": [], "annotations": [], "categories": [{"id": 1, "name": {}}, {"id": []}]}',
    "lists for ids": '[{"image_id": [4], "category_id": 3, "bbox": [1, 2, 3, 4], "score": 1}]',
    "other pictures": '[{"image_id": 5, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 1}]',
    "no categories": '{"images": [], "annotations": []}',
}


@pytest.mark.parametrize("case", BAD_RESULTS)
def test_bad_results(data: Path, case: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = data.parent / "results.json"
    path.write_text(BAD_RESULTS[case])
    line = error_line(main, ["eval", data, "--results", path], capsys)
    assert line.startswith("squeezedet eval: ")
    assert "results.json: " in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--results", "a.json", "--model", "b"], "--model and --weights do not apply"),
        (["--categories", "a.json"], "--categories names the classes of --results"),
        (["--results", "missing.json"], "missing.json: No such file"),
        (["--model", "missing"], "missing.prototxt"),
        (["--split", "val"], "no splits"),
        (["--html", "missing/report.html"], "--html: missing/report.html: its folder does not exist"),
        (["--html", "a.out", "--json", "a.out"], "--json: a.out is the target of --html too"),
    ],
)
def test_usage(
    data: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data.parent)
    assert message in error_line(main, ["eval", data, *options], capsys)


@pytest.mark.parametrize("library", ["faster_coco_eval", "matplotlib", "tqdm"])
def test_a_missing_library(
    data: Path, library: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    line = error_line(main, ["eval", data], capsys)
    assert line.startswith(f"squeezedet eval: this needs {library}, ")
    assert line.endswith("pip install 'opencv-squeezedet[eval]'")


def test_a_picture_that_cannot_be_read(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data.parent / "images" / "grey.png").write_text("no picture")
    report = data.parent / "report.html"
    assert main(["eval", str(data), "--quiet", "--html", str(report)]) == 1
    assert "grey.png: it is not a picture" in capsys.readouterr().err
    assert "Problems in the data" in report.read_text()


def test_a_data_set_of_other_classes(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data.write_text(data.read_text().replace('"cat"', '"robot"').replace('"sofa"', '"rocket"'))
    assert main(["eval", str(data)]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert "classes that are not among the labels, left out: 2 ('robot': 1; 'rocket': 1)" in errors[0]
    assert "no objects of the model's classes, aeroplane, " in errors[-1]


def test_options_reach_the_detector(data: Path) -> None:
    dataset = load_dataset(data, labels=sd.VOC.labels)
    detector = sd.SqueezeDet()
    image = cv2.imread(str(data.parent / "images" / "cat.jpg"))
    seen = []
    for options in ({}, {"nms_threshold": 1.0}, {"nms_kind": "reference"}, {"vote_threshold": 0.5}, {"score_threshold": 0.2}):
        run = detect_dataset(dataset, [detector], on_picture=lambda: seen.append(1), **options)
        assert run.detections[0] == detector.detect(image, **{"score_threshold": 0.01, **options})
        assert (len(run.detections), run.workers, run.problems) == (2, 1, ())
        assert all(len(seconds) == 2 for seconds in run.stages.seconds.values())
    assert len(seen) == 10
    with pytest.raises(ValueError, match="labels"):
        detect_dataset(load_dataset(data), [detector])


def test_best_and_worst_pictures() -> None:
    a, b, far = (0, 0, 10, 10), (20, 0, 30, 10), (80, 80, 90, 90)
    truths = [annotated([a, b], [0, 0]), annotated([a], [0]), annotated([], []), annotated([a, b], [0, 0], [False, True])]
    dataset = Dataset(("a",), tuple(truths), ())

    def found(*boxes: tuple[int, ...]) -> sd.Detections:
        return sd.Detections(list(boxes), [0.5] * len(boxes), [0] * len(boxes), ("a",))

    detections = [found(a, b), found(far), found(), found(a, b)]
    best, worst = rank(dataset, detections, 0.4, 0.5, 2)
    assert [(one.picture_index, one.hits, one.wrong, one.missed) for one in best] == [(0, 2, 0, 0)]
    assert [(one.picture_index, one.hits, one.wrong, one.missed) for one in worst] == [(1, 0, 1, 1), (3, 1, 0, 0)]
    best, worst = rank(dataset, detections, 0.6, 0.5, 2)
    assert best == []
    assert [(one.picture_index, one.missed) for one in worst] == [(0, 2), (1, 1)]


def test_the_drawn_picture() -> None:
    truth = annotated([(20, 20, 120, 120), (220, 20, 320, 120)], [0, 0], image_id=1)
    found = sd.Detections([(20, 20, 120, 120), (220, 220, 320, 320), (20, 220, 90, 320)], [0.9, 0.8, 0.1], [0] * 3, ("a",))
    image = draw_matches(np.zeros((400, 400, 3), np.uint8), 1.0, truth, found, 0.3, 0.5)
    assert image.shape == (400, 400, 3)
    for colour, y, x in ((HIT, 70, 20), (MISSED, 70, 220), (WRONG, 270, 220), ((0, 0, 0), 270, 20)):
        assert np.abs(image[y, x - 1 : x + 2].astype(int) - colour).max(axis=1).min() < 60, (y, x)
