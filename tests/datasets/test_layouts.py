"""The same pictures in the layouts that tools export, read without options, as a whole and by split."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

import opencv_squeezedet as sd
from opencv_squeezedet.datasets import Dataset, load_dataset, usual_splits

pytest.importorskip("PIL", reason="the sizes of pictures are read with Pillow, of the eval extra")
pytest.importorskip("yaml", reason="YOLO's descriptions are read with PyYAML, of the eval extra")

SIZE = (60, 40)
NAMES = ("cat", "dog")
Objects = list[tuple[int, list[float]]]
TRUTH: dict[str, dict[str, Objects]] = {
    "train": {"a": [(0, [3, 4, 33, 24])], "b": [(1, [0, 0, 60, 40]), (0, [10, 10, 30, 38])], "c": []},
    "valid": {"a": [(1, [20, 0, 50, 40])]},
}
"""The same name in two splits, as after an augmentation or a sloppy division."""


def write_picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((SIZE[1], SIZE[0], 3), 128, np.uint8))


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def fractions(objects: Objects) -> str:
    rows = [
        (c, (x1 + x2) / 2 / SIZE[0], (y1 + y2) / 2 / SIZE[1], (x2 - x1) / SIZE[0], (y2 - y1) / SIZE[1])
        for c, (x1, y1, x2, y2) in objects
    ]
    return "".join(" ".join(map(str, row)) + "\n" for row in rows)


def coco(pictures: dict[str, Objects]) -> str:
    images = [{"id": i, "file_name": f"{name}.jpg", "width": 60, "height": 40} for i, name in enumerate(pictures)]
    annotations = [
        {"id": len(images), "image_id": i, "category_id": c, "bbox": [x1, y1, x2 - x1, y2 - y1]}
        for i, objects in enumerate(pictures.values())
        for c, (x1, y1, x2, y2) in objects
    ]
    categories = [{"id": i, "name": name} for i, name in enumerate(NAMES)]
    return json.dumps({"images": images, "annotations": annotations, "categories": categories})


def xml(objects: Objects) -> str:
    things = "".join(
        f"<object><name>{NAMES[c]}</name><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
        "</bndbox></object>"
        for c, (x1, y1, x2, y2) in objects
    )
    return f"<annotation>{things}</annotation>"


def labelme(name: str, objects: Objects) -> str:
    shapes = [
        {"label": NAMES[c], "points": [[x2, y2], [x1, y1]], "shape_type": "rectangle"} for c, (x1, y1, x2, y2) in objects
    ]
    fields = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": f"..\\photos\\{name}.jpg", "imageData": None}
    return json.dumps({**fields, "imageHeight": SIZE[1], "imageWidth": SIZE[0]})


def per_file(folder: str, pictures: str, suffix: str, text: Callable[[str, Objects], str]) -> Callable[[Path], None]:
    """Return a writer of a file for each picture; ``{}`` in the folders is the split."""

    def write(root: Path) -> None:
        for split, of_split in TRUTH.items():
            for name, objects in of_split.items():
                write_picture(root / pictures.format(split) / f"{name}.jpg")
                write_text(root / folder.format(split) / f"{name}{suffix}", text(name, objects))

    return write


def write_coco(place: str, pictures: str) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        for split, of_split in TRUTH.items():
            write_text(root / place.format(split), coco(of_split))
            for name in of_split:
                write_picture(root / pictures.format(split) / f"{name}.jpg")

    return write


def write_darknet(root: Path) -> None:
    """CVAT's YOLO 1.1, whose paths begin with a folder that is not there; darknet's own are another machine's."""
    per_file("obj_{}_data", "obj_{}_data", ".txt", lambda _, objects: fractions(objects))(root)
    write_text(root / "obj.names", "cat\ndog\n")
    write_text(root / "obj.data", "classes = 2\ntrain = data/train.txt\nvalid = data/valid.txt\nnames = data/obj.names\n")
    for split, of_split in TRUTH.items():
        write_text(root / f"{split}.txt", "".join(f"data/obj_{split}_data/{name}.jpg\n" for name in of_split))


def with_files(write: Callable[[Path], None], **texts: str) -> Callable[[Path], None]:
    def both(root: Path) -> None:
        write(root)
        for name, text in texts.items():
            write_text(root / name.replace("__", "/").replace("_txt", ".txt").replace("_yaml", ".yaml"), text)

    return both


def yolo(labels: str, pictures: str) -> Callable[[Path], None]:
    return per_file(labels, pictures, ".txt", lambda _, objects: fractions(objects))


ROBOFLOW = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnc: 2\nnames: ['cat', 'dog']\n"
DESCRIBED = "path: .\ntrain: images/train\nval: images/valid\nnames: {0: cat, 1: dog}\n"
LAYOUTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "Roboflow's COCO": (write_coco("{}/_annotations.coco.json", "{}"), "COCO"),
    "CVAT's COCO": (write_coco("annotations/instances_{}.json", "images/{}"), "COCO"),
    "COCO with a year": (write_coco("annotations/instances_{}2017.json", "{}2017"), "COCO"),
    "COCO by split": (write_coco("{}.json", "{}"), "COCO"),
    "Roboflow's YOLO": (with_files(yolo("{}/labels", "{}/images"), data_yaml=ROBOFLOW), "data.yaml"),
    "two YAML files": (with_files(yolo("labels/{}", "images/{}"), data_yaml=DESCRIBED, dvc_yaml="stages: {}"), "data.yaml"),
    "YOLO without a description": (with_files(yolo("labels/{}", "images/{}"), classes_txt="cat\ndog\n"), "YOLO"),
    "LabelImg's YOLO": (with_files(yolo("{}", "{}"), train__classes_txt="cat\ndog\n"), "YOLO"),
    "darknet": (write_darknet, "darknet"),
    "VOC in folders": (per_file("{}", "{}", ".xml", lambda _, objects: xml(objects)), "VOC"),
    "VOC in folders of splits": (per_file("{}/annotations", "{}/images", ".xml", lambda _, objects: xml(objects)), "VOC"),
    "VOC with splits in folders": (per_file("annots/{}", "images/{}", ".xml", lambda _, objects: xml(objects)), "VOC"),
    "labelme": (per_file("{}/json", "{}/photos", ".json", labelme), "labelme"),
}


def boxes(dataset: Dataset) -> list[tuple[str, list[tuple[str, list[float]]]]]:
    return sorted(
        (
            picture.path.stem,
            sorted(
                (dataset.labels[c], np.round(box, 3).tolist())
                for c, box in zip(picture.class_id.tolist(), picture.xyxy, strict=True)
            ),
        )
        for picture in dataset.pictures
    )


def expected(*splits: str) -> list[tuple[str, list[tuple[str, list[float]]]]]:
    return sorted(
        (name, sorted((NAMES[c], box) for c, box in objects)) for split in splits for name, objects in TRUTH[split].items()
    )


@pytest.mark.parametrize("case", LAYOUTS)
def test_a_folder_is_all_that_is_named(tmp_path: Path, case: str) -> None:
    write, told = LAYOUTS[case]
    write(tmp_path)
    dataset = load_dataset(tmp_path)
    assert told in dataset.layout
    assert dataset.labels == NAMES
    assert not any(problem.left_out for problem in dataset.problems)
    assert boxes(dataset) == expected("train", "valid")
    assert len({picture.image_id for picture in dataset.pictures}) == 4
    train, val = usual_splits(tmp_path)
    assert boxes(load_dataset(tmp_path, split=train, labels=NAMES)) == expected("train")
    assert boxes(load_dataset(tmp_path, split=val, labels=NAMES)) == expected("valid")
    assert dataset.splits == (train, val) == ("train", "val" if told == "data.yaml" else "valid")
    with pytest.raises(FileNotFoundError, match=r"no split 'nights' .there: "):
        load_dataset(tmp_path, split="nights")


def test_darknet_with_paths_of_another_machine_and_pictures_elsewhere(tmp_path: Path) -> None:
    write_darknet(tmp_path)
    for path in tmp_path.glob("*.txt"):
        path.write_text(re.sub("^data/", "/home/someone/data/", path.read_text(), flags=re.M).replace("/", "\\"))
    assert boxes(load_dataset(tmp_path)) == expected("train", "valid")
    (tmp_path / "obj.data").unlink()
    assert boxes(load_dataset(tmp_path)) == expected("train", "valid")
    for path in tmp_path.glob("obj_train_data/*.jpg"):
        (tmp_path / "pictures").mkdir(exist_ok=True)
        path.rename(tmp_path / "pictures" / path.name)
    (tmp_path / "obj_valid_data" / "a.txt").unlink()
    assert boxes(load_dataset(tmp_path, images=tmp_path / "pictures")) == expected("train")


def test_labels_beside_pictures_in_one_folder(tmp_path: Path) -> None:
    yolo("", "")(tmp_path)
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    (tmp_path / "lost.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    (tmp_path / "readme.txt").write_text("Labelled in spring.\n")
    dataset = load_dataset(tmp_path)
    assert dataset.splits == ()
    assert [(problem.count, problem.left_out) for problem in dataset.problems] == [(1, True)]
    assert "lost.txt" in str(dataset.problems[0])


def test_two_descriptions(tmp_path: Path) -> None:
    with_files(yolo("labels/{}", "images/{}"), a_yaml=DESCRIBED, b_yaml=DESCRIBED)(tmp_path)
    with pytest.raises(ValueError, match=r"2 descriptions: pass one of .*a\.yaml, .*b\.yaml"):
        load_dataset(tmp_path)
    assert len(load_dataset(tmp_path / "a.yaml").pictures) == 4


def test_several_coco_files_with_other_categories(tmp_path: Path) -> None:
    """Ids are those of their own file."""
    write_coco("{}/_annotations.coco.json", "{}")(tmp_path)
    path = tmp_path / "valid" / "_annotations.coco.json"
    content = json.loads(path.read_text())
    content["categories"] = [{"id": 1, "name": "cat"}, {"id": 0, "name": "bird"}]
    path.write_text(json.dumps(content))
    dataset = load_dataset(tmp_path)
    assert dataset.labels == ("cat", "dog", "bird")
    assert boxes(dataset) == sorted([*expected("train"), ("a", [("cat", [20, 0, 50, 40])])])


KITTI_LINES = """Car 0.00 0 1.55 5.0 6.0 35.0 36.0 1.57 1.73 4.15 1.00 1.75 13.22 1.62
Pedestrian 0.00 0 0.21 10.0 2.0 20.0 40.0 1.7 0.5 1.1 1.8 1.4 8.4 0.01
Van 0.60 0 0.21 30.0 2.0 60.0 40.0 1.7 0.5 1.1 1.8 1.4 8.4 0.01
Cyclist 0.00 0 0.21 40.0 5.0 50.0 25.0 1.7 0.5 1.1 1.8 1.4 8.4 0.01
Car 0.00 3 0.21 0.0 5.0 20.0 35.0 1.7 0.5 1.1 1.8 1.4 8.4 0.01
DontCare -1 -1 -10 50.0 -5.0 70.0 20.0 -1 -1 -1 -1000 -1000 -1000 -10
"""


@pytest.fixture
def kitti(tmp_path: Path) -> Path:
    for name in ("000000", "000001"):
        write_picture(tmp_path / "training" / "image_2" / f"{name}.png")
        write_text(tmp_path / "training" / "label_2" / f"{name}.txt", KITTI_LINES if name == "000000" else "")
    write_picture(tmp_path / "testing" / "image_2" / "000000.png")
    write_text(tmp_path / "ImageSets" / "train.txt", "000000\n")
    write_text(tmp_path / "ImageSets" / "val.txt", "000001\n")
    return tmp_path


def test_kitti(kitti: Path) -> None:
    dataset = load_dataset(kitti)
    assert usual_splits(kitti) == ("train", "val")
    assert dataset.labels == ("car", "cyclist", "pedestrian", "van")
    assert "label_2/, pictures in image_2/" in dataset.layout
    assert dataset.problems == ()
    first, second = dataset.pictures
    assert (first.path.parent.parent.name, first.size, len(second.class_id)) == ("training", SIZE, 0)
    assert first.xyxy.tolist()[0] == [5, 6, 35, 36]
    assert first.difficult.tolist() == [False, False, True, True, True]  # truncated, low, of unknown occlusion
    assert first.ignored.tolist() == [[50, 0, 60, 20]]
    (val,) = load_dataset(kitti, split="val", labels=sd.KITTI.labels).pictures
    assert val.path.stem == "000001"
    (picture, _), (problem,) = (lambda d: (d.pictures, d.problems))(load_dataset(kitti / "training", labels=sd.KITTI.labels))
    assert picture.class_id.tolist() == [0, 1, 2, 0]
    assert "'van': 1" in str(problem)


@pytest.mark.parametrize("line", ["Car 0 0 1 5 6 35", "Car 0 0 1 5 6 35 x 1 1 1 1 1 1 1", "0 0.5 0.5 0.1 0.1", "Car " * 15])
def test_lines_that_are_not_kittis(kitti: Path, line: str) -> None:
    (kitti / "training" / "label_2" / "000001.txt").write_text(f"{line}\n")
    (problem,) = load_dataset(kitti).problems
    assert (problem.count, problem.left_out) == (1, True)
    assert "000001.txt, line 1" in str(problem)


SHAPES = {
    "rectangle of two points": ("rectangle", [[33, 4], [3, 24]], [3, 4, 33, 24]),
    "rectangle of four points": ("rectangle", [[3, 4], [33, 4], [33, 24], [3, 24]], [3, 4, 33, 24]),
    "polygon": ("polygon", [[3, 4], [33, 10], [20, 24]], [3, 4, 33, 24]),
    "circle": ("circle", [[20, 20], [23, 24]], [15, 15, 25, 25]),
    "oriented": ("rotation", [[3, 14], [18, 4], [33, 14], [18, 24]], [3, 4, 33, 24]),
    "point": ("point", [[3, 4]], None),
    "line": ("line", [[3, 4], [9, 9]], None),
    "polygon of two": ("polygon", [[3, 4], [9, 9]], None),
    "words": ("rectangle", [["a", 4], [9, 9]], None),
    "no points": ("rectangle", None, None),
}


@pytest.mark.parametrize("case", SHAPES)
def test_shapes_of_labelme(tmp_path: Path, case: str) -> None:
    kind, points, box = SHAPES[case]
    write_picture(tmp_path / "a.jpg")
    fields = json.loads(labelme("a", [(0, [0, 0, 60, 40])]))
    fields["shapes"].append({"label": "cat", "points": points, "shape_type": kind, "difficult": kind == "circle"})
    write_text(tmp_path / "a.json", json.dumps(fields))
    dataset = load_dataset(tmp_path)
    (picture,) = dataset.pictures
    assert picture.xyxy.tolist()[1:] == ([] if box is None else [box])
    assert picture.difficult.tolist()[1:] == ([] if box is None else [kind == "circle"])
    assert [problem.left_out for problem in dataset.problems] == (
        [True] if box is None else [False] * (kind in ("polygon", "rotation"))
    )
