"""The same pictures and boxes from each format; what is wrong in one is listed, and costs only itself."""

from __future__ import annotations

import json
import re
import shutil
import struct
import time
import zlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from shared import DATA, needs

import opencv_squeezedet as sd
from opencv_squeezedet.datasets import Annotated, Dataset, Problem, load_dataset
from opencv_squeezedet.datasets.names import VOC_NAMES_OF_COCO
from opencv_squeezedet.datasets.raw import read_header
from opencv_squeezedet.pictures import read_picture

pytest.importorskip("PIL", reason="the sizes of YOLO's pictures are read with Pillow, of the eval extra")
pytest.importorskip("yaml", reason="YOLO's descriptions are read with PyYAML, of the eval extra")

LABELS = ("cat", "dog")
PICTURES: dict[str, tuple[tuple[int, int], list[tuple[str, list[float], bool]]]] = {
    "both": ((60, 40), [("dog", [3.0, 5.0, 33.0, 25.0], False), ("cat", [30.0, 0.0, 60.0, 40.0], True)]),
    "none": ((50, 50), []),
    "one": ((40, 60), [("cat", [0.0, 0.0, 40.0, 60.0], False)]),
}


def write_pictures(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, (size, _) in PICTURES.items():
        cv2.imwrite(str(folder / f"{name}.jpg"), np.full((size[1], size[0], 3), 128, np.uint8))


def write_coco(folder: Path, **changes: Any) -> Path:
    write_pictures(folder / "images")
    images, annotations = [], []
    for image_id, (name, (size, objects)) in enumerate(PICTURES.items(), start=7):
        images.append({"id": image_id, "file_name": f"{name}.jpg", "width": size[0], "height": size[1]})
        for label, (x1, y1, x2, y2), difficult in objects:
            category = {"cat": 17, "dog": 18}[label]
            box = {"image_id": image_id, "category_id": category, "bbox": [x1, y1, x2 - x1, y2 - y1]}
            annotations.append({**box, "iscrowd": int(difficult)})
    categories = [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}]
    path = folder / "data.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories, **changes}))
    return path


def voc_xml(name: str, size: tuple[int, int], objects: list[tuple[str, list[float], bool]]) -> str:
    things = "".join(
        f"<object><name>{label}</name><part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
        f"<difficult>{int(difficult)}</difficult><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin>"
        f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for label, (x1, y1, x2, y2), difficult in objects
    )
    side = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    return f"<annotation><filename>{name}.jpg</filename>{side}{things}</annotation>"


def write_voc(folder: Path) -> Path:
    write_pictures(folder / "JPEGImages")
    (folder / "Annotations").mkdir()
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    for name, (size, objects) in PICTURES.items():
        (folder / "Annotations" / f"{name}.xml").write_text(voc_xml(name, size, objects))
    (folder / "ImageSets" / "Main" / "val.txt").write_text("one\nboth\n")
    return folder


def write_yolo(folder: Path, *, described: bool) -> Path:
    write_pictures(folder / "images" / "val")
    (folder / "labels" / "val").mkdir(parents=True)
    for name, ((width, height), objects) in PICTURES.items():
        lines = [
            f"{LABELS.index(label)} {(x1 + x2) / 2 / width} {(y1 + y2) / 2 / height} "
            f"{(x2 - x1) / width} {(y2 - y1) / height}\n"
            for label, (x1, y1, x2, y2), _ in objects
        ]
        if lines:
            (folder / "labels" / "val" / f"{name}.txt").write_text("".join(lines))
    if not described:
        (folder / "classes.txt").write_text("cat\ndog\n")
        return folder
    (folder / "data.yaml").write_text("path: .\nval: images/val\nnames: {0: cat, 1: dog}\n")
    return folder / "data.yaml"


def by_name(dataset: Dataset) -> dict[str, Annotated]:
    return {picture.path.stem: picture for picture in dataset.pictures}


def lines(dataset: Dataset) -> list[str]:
    return [str(problem) for problem in dataset.problems]


def count(dataset: Dataset) -> int:
    return sum(problem.count for problem in dataset.problems)


def check(dataset: Dataset, *, difficult: bool = True, names: tuple[str, ...] = tuple(PICTURES)) -> None:
    assert dataset.labels == LABELS
    assert dataset.problems == ()
    assert [picture.path.stem for picture in dataset.pictures] == list(names)
    for name, picture in by_name(dataset).items():
        size, objects = PICTURES[name]
        assert picture.path.is_file()
        assert picture.size == size
        assert (picture.xyxy.dtype, picture.xyxy.shape) == (np.float32, (len(objects), 4))
        assert (picture.class_id.dtype, picture.difficult.dtype) == (np.int64, np.bool_)
        np.testing.assert_allclose(picture.xyxy, np.reshape([box for _, box, _ in objects], (-1, 4)), atol=1e-4)
        assert [LABELS[i] for i in picture.class_id] == [label for label, _, _ in objects]
        assert picture.difficult.tolist() == [difficult and hard for _, _, hard in objects]
        np.testing.assert_allclose(picture.area, np.prod(picture.xyxy[:, 2:] - picture.xyxy[:, :2], axis=1), rtol=1e-5)


def test_coco(tmp_path: Path) -> None:
    dataset = load_dataset(write_coco(tmp_path))
    check(dataset)
    assert [picture.image_id for picture in dataset.pictures] == [7, 8, 9]
    assert dataset.box_count == 3
    assert dataset.objects().tolist() == [[1, 1, 0, 1, 0], [1, 0, 1, 0, 0]]


def test_voc(tmp_path: Path) -> None:
    folder = write_voc(tmp_path / "voc")
    check(load_dataset(folder))
    check(load_dataset(str(folder), split="val"), names=("one", "both"))
    with pytest.raises(FileNotFoundError, match=r"no split 'test'.*there: val"):
        load_dataset(folder, split="test")


def write_xml(folder: Path, xml: str, pictures: str, names: Sequence[str] = tuple(PICTURES), suffix: str = ".jpg") -> Path:
    """A folder that is laid out as people do."""
    for name in names:
        size, objects = PICTURES[name]
        for place in (xml, pictures):
            (folder / place).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / pictures / f"{name}{suffix}"), np.full((size[1], size[0], 3), 128, np.uint8))
        (folder / xml / f"{name}.xml").write_text(voc_xml(name, size, objects))
    return folder


@pytest.mark.parametrize(
    ("xml", "pictures", "told"),
    [
        ("annotations", "images", "in annotations/, pictures in images/"),
        ("annots", "images", "in annots/, pictures in images/"),
        ("labels", "images", "in labels/, pictures in images/"),
        ("labels/train", "images/train", "in labels/train/, pictures in images/train/"),
        ("Annotations", "images", "in Annotations/, pictures in images/"),
        ("annotations/xmls", "images", "in annotations/xmls/, pictures in images/"),
        (".", ".", "in the folder itself, beside their pictures"),
        ("train", "train", "in train/, beside their pictures"),
    ],
)
def test_voc_xml_in_other_folders(tmp_path: Path, xml: str, pictures: str, told: str) -> None:
    folder = write_xml(tmp_path / "bolts", xml, pictures, suffix=".png")
    (folder / ".idea").mkdir()
    (folder / ".idea" / "modules.xml").write_text("<project/>")
    dataset = load_dataset(folder)
    check(dataset)
    assert dataset.layout == f"PASCAL VOC's XML files {told}"
    assert {picture.path.parent for picture in dataset.pictures} == {folder / pictures}
    folder.joinpath(pictures).rename(tmp_path / "elsewhere")
    if xml != pictures:
        check(load_dataset(folder, images=tmp_path / "elsewhere"))
        with pytest.raises(ValueError, match=r"missing, left out: 3 .*both\.jpg"):
            load_dataset(folder)


def test_a_list_of_a_split_in_another_layout(tmp_path: Path) -> None:
    folder = write_xml(tmp_path, "annotations", "images")
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    (folder / "ImageSets" / "Main" / "val.txt").write_text("one\nboth\n")
    check(load_dataset(folder, split="val"), names=("one", "both"))


def test_which_of_several_pictures_is_meant(tmp_path: Path) -> None:
    """The one that the XML file names; otherwise no guess."""
    folder = write_xml(write_xml(tmp_path, "annotations", "images"), "annotations", "masks", suffix=".png")
    dataset = load_dataset(folder)
    check(dataset)
    assert {picture.path.parent.name for picture in dataset.pictures} == {"images"}
    for path in (folder / "annotations").iterdir():
        path.write_text(path.read_text().replace(f"{path.stem}.jpg", rf"C:\photos\{path.stem}.jpg"))
    check(load_dataset(folder))
    path = folder / "annotations" / "one.xml"
    path.write_text(path.read_text().replace("one.jpg", "One"))
    dataset = load_dataset(folder)
    assert list(by_name(dataset)) == ["both", "none"]
    assert lines(dataset) == [
        "annotation files that cannot be read, left out: 1 (one.xml: its picture may be images/one.jpg or masks/one.png)"
    ]
    path.rename(path.with_name("1.xml"))
    path.with_name("1.xml").write_text(path.with_name("1.xml").read_text().replace("One", "one.png"))
    assert {picture.path.name for picture in load_dataset(folder).pictures} == {"both.jpg", "none.jpg", "one.png"}


def test_folders_of_links_in_a_circle(tmp_path: Path) -> None:
    folder = write_xml(tmp_path / "bolts", "annotations", "images")
    (folder / "images").rename(tmp_path / "photos")
    (folder / "images").symlink_to(tmp_path / "photos")
    (tmp_path / "photos" / "again").symlink_to(folder)
    check(load_dataset(folder))


def test_a_part_is_held_apart(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    boxes = (np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.bool_))
    pictures = tuple(Annotated(tmp_path / f"{i}.jpg", (9, 9), *boxes, image_id=i) for i in rng.permutation(50).tolist())
    problem = Problem("a", 1)
    dataset = Dataset(LABELS, pictures, (problem,), "b")
    rest, part = dataset.random_split(0.2)
    assert (len(rest.pictures), len(part.pictures)) == (40, 10)
    for one in (rest, part):
        assert (one.labels, one.problems, one.layout) == (LABELS, (problem,), "b")
        assert [picture for picture in pictures if picture in one.pictures] == list(one.pictures)
    assert {*rest.pictures, *part.pictures} == set(pictures)
    assert dataset.random_split(0.2)[1].pictures == part.pictures
    places = [pictures.index(picture) for picture in part.pictures]
    assert 10 < np.mean(places) < 40
    two = Dataset(LABELS, pictures[:2], ())
    assert [len(half.pictures) for half in two.random_split(0.9)] == [1, 1]
    for share in (0.0, 1.0, -0.2, float("nan")):
        with pytest.raises(ValueError, match=r"between 0 and 1.*got"):
            dataset.random_split(share)
    with pytest.raises(ValueError, match="1 picture cannot be divided"):
        Dataset(LABELS, pictures[:1], ()).random_split(0.5)


def test_yolo_list_of_pictures(tmp_path: Path) -> None:
    path = write_yolo(tmp_path / "yolo", described=True)
    (path.parent / "val.txt").write_text("images/val/one.jpg\n\nimages/val/none.jpg\n")
    path.write_text("val: val.txt\nnames: [cat, dog]\n")
    check(load_dataset(path, split="val"), difficult=False, names=("one", "none"))


def test_what_detect_writes_can_be_read(tmp_path: Path) -> None:
    size, objects = PICTURES["both"]
    labels, boxes, _ = zip(*objects, strict=True)
    found = sd.Detections(boxes, [1.0] * len(boxes), [LABELS.index(label) for label in labels], LABELS)
    write_pictures(tmp_path / "pictures")
    for name in ("voc", "yolo"):
        (tmp_path / name).mkdir()
        shutil.copy(tmp_path / "pictures" / "both.jpg", tmp_path / name)
    (tmp_path / "voc" / "both.xml").write_text(found.to_voc_xml("both.jpg", size))
    (tmp_path / "yolo" / "both.txt").write_text(found.to_yolo(size))
    (tmp_path / "yolo" / "data.yaml").write_text("nc: 2\nnames: [cat, dog]\n")
    for name in ("voc", "yolo"):
        check(load_dataset(tmp_path / name), difficult=False, names=("both",))


@pytest.mark.parametrize("behind", [False, True])
def test_a_png_on_its_side_counts_as_it_is_read(tmp_path: Path, behind: bool) -> None:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    data = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    content = cv2.imencode(".png", np.zeros((40, 60, 3), np.uint8))[1].tobytes()
    place = len(content) - 12 if behind else 33  # before the end, or after the header
    path = tmp_path / "a.png"
    path.write_bytes(content[:place] + chunk + content[place:])
    image = read_picture(path)
    assert read_header(path)[0] == (image.shape[1], image.shape[0])


def test_labels_choose_and_order(tmp_path: Path) -> None:
    dataset = load_dataset(write_coco(tmp_path), labels=("bird", "dog"))
    assert dataset.labels == ("bird", "dog")
    assert [picture.class_id.tolist() for picture in dataset.pictures] == [[1], [], []]
    assert dataset.problems == (Problem("boxes of classes that are not among the labels", 2, ("'cat': 2",), left_out=True),)


@pytest.mark.parametrize("labels", [tuple(VOC_NAMES_OF_COCO), tuple(VOC_NAMES_OF_COCO.values())])
def test_coco_and_voc_names_are_the_same_classes(tmp_path: Path, labels: tuple[str, ...]) -> None:
    other = {**VOC_NAMES_OF_COCO, **{voc: coco for coco, voc in VOC_NAMES_OF_COCO.items()}}
    path = write_coco(tmp_path, categories=[{"id": 17, "name": other[labels[0]]}, {"id": 18, "name": other[labels[1]]}])
    dataset = load_dataset(path, labels=labels)
    assert dataset.problems == ()
    assert [picture.class_id.tolist() for picture in dataset.pictures] == [[1, 0], [], [0]]


BAD_BOXES = {
    "outside": ([70, 10, 5, 5], "boxes outside their picture, left out: 1 (both.jpg: cat (70, 10, 75, 15) in 60x40)", None),
    "beyond": (
        [50, 30, 20, 20],
        "boxes beyond the edge of their picture, clipped: 1 (both.jpg: cat (50, 30, 70, 50) in 60x40)",
        [50, 30, 60, 40],
    ),
    "rounded": ([50, 30, 10.4, 10], None, [50, 30, 60, 40]),
    "flat": ([10, 10, 0, 5], "boxes without area, left out: 1 (both.jpg: cat (10, 10, 10, 15))", None),
    "backwards": ([10, 10, -5, 5], "boxes without area, left out: 1 (both.jpg: cat (10, 10, 5, 15))", None),
    "nan": ([10, float("nan"), 5, 5], "boxes that are not finite, left out: 1 (both.jpg: cat (10, nan, 15, nan))", None),
}


@pytest.mark.parametrize("case", BAD_BOXES)
def test_bad_boxes(tmp_path: Path, case: str) -> None:
    box, problem, left = BAD_BOXES[case]
    annotations = [{"image_id": 7, "category_id": 17, "bbox": box}]
    dataset = load_dataset(write_coco(tmp_path, annotations=annotations))
    assert len(dataset.pictures) == 3
    assert dataset.pictures[0].xyxy.tolist() == ([] if left is None else [left])
    assert lines(dataset) == ([] if problem is None else [problem])


BAD_ENTRIES: dict[str, dict[str, Any]] = {
    "no bbox": {"annotations": [{"image_id": 7, "category_id": 17}]},
    "three numbers": {"annotations": [{"image_id": 7, "category_id": 17, "bbox": [1, 2, 3]}]},
    "infinite": {"annotations": [{"image_id": 7, "category_id": 17, "bbox": [10**400, 2, 3, 4]}]},
    "words": {"annotations": [{"image_id": 7, "category_id": 17, "bbox": ["a", 2, 3, 4]}]},
    "no object": {"annotations": [5]},
    "unknown picture": {"annotations": [{"image_id": 99, "category_id": 17, "bbox": [1, 2, 3, 4]}]},
    "unknown category": {"annotations": [{"image_id": 7, "category_id": 99, "bbox": [1, 2, 3, 4]}]},
}


@pytest.mark.parametrize("case", BAD_ENTRIES)
def test_bad_entries_of_coco(tmp_path: Path, case: str) -> None:
    dataset = load_dataset(write_coco(tmp_path, **BAD_ENTRIES[case]))
    assert len(dataset.pictures) == 3
    assert dataset.box_count == 0
    assert len(dataset.problems) == 1


BAD_IMAGES: dict[str, dict[str, Any]] = {
    "long name": {"file_name": "x" * 5000},
    "zero in the name": {"file_name": "a\0b.jpg"},
    "half a letter": {"file_name": "\ud800.jpg"},
    "number for a name": {"file_name": 5},
    "id": {"id": [1]},
}


@pytest.mark.parametrize("place", [0, 3])
@pytest.mark.parametrize("case", BAD_IMAGES)
def test_an_impossible_picture_of_coco_is_left_out(tmp_path: Path, case: str, place: int) -> None:
    path = write_coco(tmp_path)
    content = json.loads(path.read_text())
    image = {"id": 1, "file_name": "both.jpg", "width": 60, "height": 40, **BAD_IMAGES[case]}
    content["images"].insert(place, image)
    content["annotations"].append({"image_id": 1, "category_id": 17, "bbox": [1, 2, 3, 4]})
    path.write_text(json.dumps(content))
    dataset = load_dataset(path)
    assert sorted(by_name(dataset)) == sorted(PICTURES)
    assert len(dataset.pictures) == 3
    assert 1 <= count(dataset) <= 2
    assert max(map(len, lines(dataset))) < 600
    assert all(problem.left_out for problem in dataset.problems)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"width": 1e30}, True),
        ({"width": 30, "height": 20}, True),
        ({"width": 40, "height": 60}, True),
        *(({"width": size}, False) for size in (10**4000, float("inf"), float("nan"), 0, None, -60, "wide", [60], "60", 60.0)),
    ],
)
def test_a_wrong_size_in_an_annotation_of_coco(tmp_path: Path, changes: dict[str, Any], told: bool) -> None:
    """The picture's own size counts, and a difference is listed."""
    path = write_coco(tmp_path)
    content = json.loads(path.read_text())
    content["images"][0] |= changes
    path.write_text(json.dumps(content))
    dataset = load_dataset(path)
    check(replace(dataset, problems=()))
    assert [(problem.count, problem.left_out) for problem in dataset.problems] == [(1, False)] * told
    if told:
        assert "both.jpg: the picture is 60x40, its annotation says" in lines(dataset)[0]
        assert "EXIF" not in lines(dataset)[0]


@pytest.mark.parametrize("area", [float("nan"), -1, 1e300, float("inf")])
def test_impossible_areas(tmp_path: Path, area: float) -> None:
    annotations = [{"image_id": 7, "category_id": 17, "bbox": [1, 2, 3, 4], "area": area}]
    dataset = load_dataset(write_coco(tmp_path, annotations=annotations))
    assert dataset.pictures[0].area.tolist() == [12]
    assert lines(dataset) == [f"areas that are impossible, replaced by the box's: 1 (both.jpg: cat (1, 2, 4, 6): {area:g})"]
    annotations[0]["area"] = None
    assert load_dataset(write_coco(tmp_path / "null", annotations=annotations)).problems == ()


def test_categories_of_one_id(tmp_path: Path) -> None:
    categories = [
        {"id": 17, "name": "cat"},
        {"id": 18, "name": "dog"},
        {"id": 17, "name": "bird"},
        {"id": [3], "name": "x"},
        5,
    ]
    dataset = load_dataset(write_coco(tmp_path, categories=categories))
    check(Dataset(dataset.labels, dataset.pictures, ()))
    (problem,) = dataset.problems
    assert (problem.count, problem.left_out) == (3, True)
    assert problem.examples == ("{'id': 17, 'name': 'bird'}", "{'id': [3], 'name': 'x'}", "5")


def test_an_annotation_of_any_depth_is_told_of_briefly(tmp_path: Path) -> None:
    deep: Any = 1
    for _ in range(400):
        deep = [deep]
    dataset = load_dataset(write_coco(tmp_path, annotations=[{"segmentation": deep, "x": "y" * 10_000}]))
    assert len(dataset.problems) == 1
    assert len(lines(dataset)[0]) < 600


@pytest.mark.parametrize("box", [[0, 0, 1e300, 1e300], [-1e300, -1e300, 2e300, 2e300], [1e308, 1e308, 1e308, 1e308]])
def test_boxes_beyond_all_measure(tmp_path: Path, box: list[float]) -> None:
    x, y, width, height = box
    coco = write_coco(tmp_path / "coco", annotations=[{"image_id": 7, "category_id": 17, "bbox": box}])
    voc = write_voc(tmp_path / "voc")
    corners = [(x, y, x + width, y + height)]
    objects = [("cat", list(corner), False) for corner in corners]
    (voc / "Annotations" / "both.xml").write_text(voc_xml("both", (60, 40), objects))
    yolo = write_yolo(tmp_path / "yolo", described=False)
    (yolo / "labels" / "val" / "both.txt").write_text(f"0 {x} {y} {width} {height}\n")
    for path in (coco, voc, yolo):
        dataset = load_dataset(path, labels=LABELS)
        assert len(dataset.pictures) == 3
        assert len(dataset.problems) == 1
        assert re.search(r"\(both\.(jpg: cat \(|txt, line 1: '0 )", lines(dataset)[0])
        assert np.isfinite(by_name(dataset)["both"].xyxy).all()


def test_missing_and_doubled_pictures(tmp_path: Path) -> None:
    path = write_coco(tmp_path)
    (tmp_path / "images" / "both.jpg").unlink()
    content = json.loads(path.read_text())
    content["images"].append(content["images"][1])
    path.write_text(json.dumps(content))
    dataset = load_dataset(path)
    assert [picture.path.stem for picture in dataset.pictures] == ["none", "one"]
    assert len(dataset.problems) == 2
    assert re.search(r"pictures that are missing, left out: 1 \(.*both\.jpg\)", "\n".join(lines(dataset)))


BAD_XML = {
    "cut off": "<annotation><object>",
    "unknown encoding": '<?xml version="1.0" encoding="x-none"?><annotation/>',
    "encoding of another kind": '<?xml version="1.0" encoding="hex"?><annotation/>',
    "entities": '<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>',
}


@pytest.mark.parametrize("case", BAD_XML)
def test_bad_xml(tmp_path: Path, case: str) -> None:
    folder = write_voc(tmp_path / "voc")
    (folder / "Annotations" / "none.xml").write_text(BAD_XML[case])
    dataset = load_dataset(folder)
    assert list(by_name(dataset)) == ["both", "one"]
    assert len(dataset.problems) == 1
    assert "left out: 1 (none.xml: " in lines(dataset)[0]


def test_names_of_voc_that_no_file_can_have(tmp_path: Path) -> None:
    folder = write_voc(tmp_path / "voc")
    (folder / "Annotations" / "none.xml").write_text(voc_xml("x" * 5000, (50, 50), []))
    check(load_dataset(folder))
    (folder / "Annotations" / "lost.xml").write_text(voc_xml("x" * 5000, (50, 50), []))
    dataset = load_dataset(folder)
    assert len(dataset.pictures) == 3
    assert lines(dataset) == [f"pictures that are missing, left out: 1 ({folder / 'JPEGImages' / 'lost.jpg'})"]


def test_bad_objects_of_voc(tmp_path: Path) -> None:
    folder = write_voc(tmp_path / "voc")
    path = folder / "Annotations" / "both.xml"
    path.write_text(path.read_text().replace("<ymax>40.0</ymax>", "").replace("<name>dog</name>", "<name></name>"))
    (folder / "ImageSets" / "Main" / "val.txt").write_text("one\nboth\nlost\n")
    dataset = load_dataset(folder, split="val")
    assert by_name(dataset)["both"].xyxy.shape == (0, 4)
    objects, files = dataset.problems
    assert (objects.count, objects.left_out, files.count, files.left_out) == (2, True, 1, True)
    assert "both.xml: the box of a cat lacks one of xmin, ymin, xmax, ymax" in objects.examples
    assert "lost.xml: No such file" in files.examples[0]


def test_pictures_without_labels_of_yolo(tmp_path: Path) -> None:
    folder = write_yolo(tmp_path / "yolo", described=False)
    shutil.rmtree(folder / "labels" / "val")
    with pytest.raises(ValueError, match=r"3 pictures.*labels.val.one\.txt"):
        load_dataset(folder, split="val")


def png_of(width: int, height: int) -> bytes:
    """A file whose header tells of so many pixels, which are not there."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (header, b"IDAT", b"IEND")
    chunks = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(("side", "kept"), [((12_000, 10_000), True), ((50_000, 50_000), False), ((2**31 - 1, 1), False)])
def test_pictures_of_very_many_pixels(tmp_path: Path, side: tuple[int, int], kept: bool) -> None:
    folder = write_yolo(tmp_path / "yolo", described=False)
    (folder / "images" / "val" / "none.jpg").write_bytes(png_of(*side))
    dataset = load_dataset(folder)
    assert list(by_name(dataset)) == (["both", "none", "one"] if kept else ["both", "one"])
    assert len(dataset.problems) == (not kept)
    assert not any("cannot identify" in problem for problem in lines(dataset))


def test_a_picture_whose_header_makes_pillow_stumble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    def stumble(image: object) -> dict[int, int]:
        raise KeyError("tag")

    folder = write_yolo(tmp_path / "yolo", described=False)
    monkeypatch.setattr(Image.Image, "getexif", stumble)
    with pytest.raises(ValueError, match=r"left out: 3 .*Pillow.*'tag'"):
        load_dataset(folder)


DESCRIPTIONS = {
    "billion laughs": ("a: &a [x]\n" + "".join(f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n" for a, b in pairwise("abcdefghi"))
                       + "names: [*i]\n", r"aliases \(\*a\)"),
    "merges": ("a: &a {x: y}\nnames: {<<: [*a, *a]}\n", "aliases"),
    "brackets": ("names: " + "[" * 50_000, "to a depth of 10"),
    "braces": ("names: " + "{a: " * 50_000, "to a depth of 10"),
    "dashes": ("- " * 50_000, "to a depth of 10"),
    "names of two kinds": ("names: {1: a, b: c}", "'names' must list"),
    "lists for names": ("names: [[a], b]", "'names' must list"),
    "a split of lists": ("names: [a]\nval: [[images/val]]", "'val' must be a path, got"),
    "a list for the path": ("names: [a]\npath: [a, b]", "'path' must be a path, got"),
    "too large": ("# " + "x" * 2_000_000, "2,000,002 bytes.*1,048,576"),
    "no text": ("names: [\x00]", "unacceptable character"),
}  # fmt: skip


@pytest.mark.parametrize("case", DESCRIPTIONS)
def test_descriptions_that_are_bombs_or_nonsense(tmp_path: Path, case: str) -> None:
    content, message = DESCRIPTIONS[case]
    path = write_yolo(tmp_path / "yolo", described=True).with_name("a.yaml")
    path.write_text(content)
    start = time.monotonic()
    with pytest.raises(ValueError, match=f"a.yaml: .*{message}"):
        load_dataset(path)
    assert time.monotonic() - start < 5


def test_names_are_what_is_written(tmp_path: Path) -> None:
    path = write_yolo(tmp_path / "yolo", described=True)
    path.write_text("path: ~\ntrain:\nval: images/val\nnames: [no, 1e3, 007, 2024-99-99]\n")
    assert load_dataset(path).labels == ("no", "1e3", "007", "2024-99-99")


def test_lists_of_yolo_with_names_that_no_file_can_have(tmp_path: Path) -> None:
    path = write_yolo(tmp_path / "yolo", described=True)
    (path.parent / "val.txt").write_text(f"/\n{'x' * 5000}.jpg\nimages/val/one.jpg\na\0b\n")
    path.write_text("val: val.txt\nnames: [cat, dog]\n")
    dataset = load_dataset(path)
    assert list(by_name(dataset)) == ["one"]
    assert count(dataset) == 3
    path.write_text(f"val: {'x' * 5000}\nnames: [cat, dog]\n")
    with pytest.raises(FileNotFoundError, match="no pictures at"):
        load_dataset(path)


@pytest.mark.parametrize("name", ["classes.txt", "val.txt"])
def test_lists_that_are_not_utf_8_are_named(tmp_path: Path, name: str) -> None:
    path = write_yolo(tmp_path / "yolo", described=name == "val.txt")
    if name == "val.txt":
        path.write_text("val: val.txt\nnames: [cat, dog]\n")
    ((tmp_path / "yolo") / name).write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ValueError, match=rf"{name}: 'utf-.*' codec"):
        load_dataset(path)


def test_a_file_that_is_no_picture(tmp_path: Path) -> None:
    folder = write_yolo(tmp_path / "yolo", described=False)
    (folder / "images" / "val" / "none.jpg").write_text("none")
    dataset = load_dataset(folder)
    assert list(by_name(dataset)) == ["both", "one"]
    assert len(dataset.problems) == 1


def test_what_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no data set at"):
        load_dataset(tmp_path / "nothing")
    with pytest.raises(ValueError, match="is not a data set"):
        load_dataset(tmp_path)
    for content in ("{", "[]", '{"images": []}', '{"images": 5, "annotations": [], "categories": []}', "[" * 100_000):
        (tmp_path / "a.json").write_text(content)
        with pytest.raises(ValueError, match=r"COCO.*categories"):
            load_dataset(tmp_path / "a.json")
    for content in ("names: [", "5", "names: {1: cat}", "names: []"):
        (tmp_path / "a.yaml").write_text(content)
        with pytest.raises(ValueError, match=r"a\.yaml"):
            load_dataset(tmp_path / "a.yaml")


def test_wrong_options(tmp_path: Path) -> None:
    path = write_coco(tmp_path)
    with pytest.raises(ValueError, match="no splits"):
        load_dataset(path, split="val")
    with pytest.raises(FileNotFoundError, match="no folder of pictures"):
        load_dataset(path, images=tmp_path / "pictures")
    with pytest.raises(ValueError, match="'cat' twice"):
        load_dataset(path, labels=("cat", "cat"))
    (tmp_path / "images").rename(tmp_path / "pictures")
    with pytest.raises(FileNotFoundError, match="none of its 3 pictures"):
        load_dataset(path)
    check(load_dataset(path, images=tmp_path / "pictures"))


@needs("voc_mix")
def test_voc_mix() -> None:
    content = json.loads((DATA / "voc_mix" / "val.json").read_bytes())
    dataset = load_dataset(DATA / "voc_mix" / "val.json", labels=sd.VOC.labels)
    assert dataset.labels == load_dataset(DATA / "voc_mix" / "val.json").labels
    assert dataset.problems == ()
    assert (len(dataset.pictures), dataset.box_count) == (len(content["images"]), len(content["annotations"]))
    assert sum(picture.difficult.sum() for picture in dataset.pictures) == sum(a["difficult"] for a in content["annotations"])
