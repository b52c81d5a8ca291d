"""Data sets as the usual tools write them: no object is lost without a word, and no box is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from opencv_squeezedet.datasets import Annotated, Dataset, Problem, load_dataset, usual_splits

pytest.importorskip("PIL", reason="the sizes of pictures are read with Pillow, of the eval extra")
pytest.importorskip("yaml", reason="YOLO's descriptions are read with PyYAML, of the eval extra")

SIZE = (60, 40)
BOX = [3.0, 4.0, 33.0, 24.0]
LINE = "0 0.3 0.35 0.5 0.5"  # BOX


def write_picture(path: Path, size: tuple[int, int] = SIZE, orientation: int = 1) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", size, (90, 120, 150)).save(path, exif=exif)


def write_coco(folder: Path, *, image: dict[str, Any] | None = None, box: dict[str, Any] | None = None, **tables: Any) -> Path:
    """One picture with one cat; ``image`` and ``box`` change the entries, and None removes a field."""
    if not (folder / "images").exists():
        write_picture(folder / "images" / "a.jpg")
    entry = {"id": 7, "file_name": "a.jpg", "width": SIZE[0], "height": SIZE[1], **(image or {})}
    annotation = {"id": 1, "image_id": 7, "category_id": 1, "bbox": [3, 4, 30, 20], "iscrowd": 0, **(box or {})}
    content = {"images": [entry], "annotations": [annotation], "categories": [{"id": 1, "name": "cat"}], **tables}
    path = folder / "data.json"
    path.write_text(json.dumps(content))
    return path


def write_voc(folder: Path, *fields: str, size: tuple[int, int] = SIZE, name: str = "a") -> Path:
    """A picture with an object for each of the ``fields``, which are added to it."""
    if not (folder / "JPEGImages").exists():
        write_picture(folder / "JPEGImages" / "a.jpg")
    x1, y1, x2, y2 = BOX
    box = f"<bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox>"
    things = "".join(
        f"<object><name>cat</name>{'' if '<polygon>' in field else box}{field}</object>" for field in fields or ("",)
    )
    (folder / "Annotations").mkdir(parents=True, exist_ok=True)
    (folder / "Annotations" / f"{name}.xml").write_text(
        f"<annotation><filename>a.jpg</filename><size><width>{size[0]}</width><height>{size[1]}</height></size>"
        f"{things}</annotation>"
    )
    return folder


def write_yolo(folder: Path, labels: str | bytes, description: str = "names: [cat, dog]\nval: images\n") -> Path:
    write_picture(folder / "images" / "a.jpg")
    (folder / "labels").mkdir(exist_ok=True)
    (folder / "labels" / "a.txt").write_bytes(labels if isinstance(labels, bytes) else labels.encode())
    (folder / "data.yaml").write_text(description)
    return folder / "data.yaml"


def one(dataset: Dataset) -> Annotated:
    (picture,) = dataset.pictures
    return picture


def check(dataset: Dataset, *boxes: list[float], told: str | None = None, count: int = 1, left_out: bool = False) -> None:
    """The one picture has these boxes of cats, none of them difficult, and the one problem says this."""
    picture = one(dataset)
    np.testing.assert_allclose(picture.xyxy, np.reshape(boxes, (-1, 4)), atol=1e-4)
    assert [dataset.labels[i] for i in picture.class_id] == ["cat"] * len(boxes)
    assert not picture.difficult.any()
    assert [(problem.count, problem.left_out) for problem in dataset.problems] == [(count, left_out)] * (told is not None)
    if told is not None:
        assert told in str(dataset.problems[0])


# ---- difficult and crowd ---------------------------------------------------------------------------------------------------

OTHER = "<polygon><x1>9</x1><y1>9</y1><x2>19</x2><y2>19</y2></polygon>"
YES, NO, NEITHER = (
    ("1", "true", "True", "yes", " 1 ", "1.0"),
    ("0", "", "false", "False", "no", "0.0"),
    ("Unspecified", "None", "2"),
)


@pytest.mark.parametrize("value", [*YES, *NO, *NEITHER])
def test_difficult_of_voc(tmp_path: Path, value: str) -> None:
    dataset = load_dataset(write_voc(tmp_path, "<truncated>1</truncated>", f"<difficult>{value}</difficult>{OTHER}"))
    assert one(dataset).difficult.tolist() == [False, value in YES]
    listed = [problem.examples for problem in dataset.problems if "difficult" in problem.kind]
    assert listed == ([(repr(value),)] if value in NEITHER else [])


@pytest.mark.parametrize("flag", ["iscrowd", "difficult"])
@pytest.mark.parametrize(
    ("value", "is_true", "told"),
    [
        *((text, True, False) for text in (*YES, 1, True, 1.0)),
        *((text, False, False) for text in (*NO, 0, False, None, 0.0)),
        *((text, False, True) for text in (*NEITHER, 2, [1], {})),
    ],
)
def test_flags_of_coco_as_text(tmp_path: Path, flag: str, value: Any, is_true: bool, told: bool) -> None:
    path = write_coco(tmp_path)
    content = json.loads(path.read_text())
    content["annotations"].append({**content["annotations"][0], flag: value, "bbox": [1, 1, 5, 5]})
    path.write_text(json.dumps(content))
    dataset = load_dataset(path)
    assert one(dataset).difficult.tolist() == [False, is_true]
    assert [problem.count for problem in dataset.problems] == [1] * told


def test_a_value_is_listed_once_with_its_count(tmp_path: Path) -> None:
    objects = [f"<difficult>Unspecified</difficult><bndbox><xmin>{i}</xmin></bndbox>" for i in range(5)]
    folder = write_voc(tmp_path, *objects)
    for name in ("b", "c"):
        write_picture(folder / "JPEGImages" / f"{name}.jpg")
        write_voc(folder, *objects, name=name)
    first, *_ = load_dataset(folder).problems
    assert (first.count, first.examples) == (15, ("'Unspecified'",))


# ---- sizes -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["voc", "coco"])
@pytest.mark.parametrize(
    ("stored", "orientation", "annotated", "told"),
    [
        ((60, 40), 1, (60, 40), None),
        ((40, 60), 6, (60, 40), None),
        ((40, 60), 6, (40, 60), "EXIF"),
        ((40, 60), 8, (40, 60), "EXIF"),
        ((60, 40), 3, (40, 60), "differ"),
        ((60, 40), 1, (40, 60), "differ"),
        ((60, 40), 1, (30, 20), "differ"),
        ((60, 40), 1, (120, 80), "differ"),
    ],
)
def test_sizes_are_compared_with_the_picture(
    tmp_path: Path, kind: str, stored: tuple[int, int], orientation: int, annotated: tuple[int, int], told: str | None
) -> None:
    """The picture is 60x40 as OpenCV reads it; a box is never clipped by another size."""
    folder = "images" if kind == "coco" else "JPEGImages"
    write_picture(tmp_path / folder / "a.jpg", stored, orientation)
    assert cv2.imread(str(tmp_path / folder / "a.jpg")).shape[:2] == SIZE[::-1]
    if kind == "coco":
        path = write_coco(tmp_path, image={"width": annotated[0], "height": annotated[1]})
    else:
        path = write_voc(tmp_path, size=annotated)
    dataset = load_dataset(path)
    assert one(dataset).size == SIZE
    check(dataset, BOX, told=told)
    if told:
        shown = "a.jpg: the picture is 60x40, its annotation says {}x{}".format(*annotated)
        assert shown in str(dataset.problems[0])


def test_a_picture_whose_size_cannot_be_read_has_that_of_the_annotation(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(b"not a picture")
    check(load_dataset(write_coco(tmp_path)), BOX)


# ---- lines of YOLO ---------------------------------------------------------------------------------------------------------

RECTANGLE = "0.05 0.1 0.55 0.1 0.55 0.6 0.05 0.6"  # BOX
TAKEN = {
    "box": (LINE, "", None),
    "float class": ("0.0 0.3 0.35 0.5 0.5", "", None),
    "tabs": (LINE.replace(" ", "\t") + "\r", "", None),
    "confidence": (f"{LINE} 0.87", "", "confidence"),
    "polygon of three": ("0 0.05 0.1 0.55 0.1 0.3 0.6", "", "polygons"),
    "polygon of three with a confidence": ("0 0.05 0.1 0.55 0.1 0.3 0.6 0.5", "", "polygons"),
    "oriented": (f"0 {RECTANGLE}", "", "oriented"),
    "oriented with a confidence": (f"0 {RECTANGLE} 0.5", "", "oriented"),
    "polygon of five": (f"0 {RECTANGLE} 0.05 0.1", "", "polygons"),
    "polygon of six": (f"0 {RECTANGLE} 0.05 0.5 0.05 0.1", "", "polygons"),
    "one keypoint": (f"{LINE} 0.2 0.3 2", "", "keypoints"),
    "two keypoints": (f"{LINE} 0.2 0.3 2 0 0 0", "", "keypoints"),
    "five keypoints": (f"{LINE}{' 0.2 0.3 1.000' * 5}", "", "keypoints"),
    "keypoints of two columns": (f"{LINE} 0.2 0.3 0.1 0.2", "kpt_shape: [2, 2]\n", "keypoints"),
    "keypoints as described": (f"{LINE}{' 0.2 0.3 2' * 17}", "kpt_shape: [17, 3]\n", "keypoints"),
}


@pytest.mark.parametrize("case", TAKEN)
def test_lines_that_other_readers_take(tmp_path: Path, case: str) -> None:
    line, description, told = TAKEN[case]
    dataset = load_dataset(write_yolo(tmp_path, f"{line}\n", f"names: [cat, dog]\nval: images\n{description}"))
    check(dataset, BOX, told=told)
    if told:
        assert "a.txt, line 1" in str(dataset.problems[0])


@pytest.mark.parametrize("points", [3, 4, 5, 6, 7, 12, 17, 39])
def test_polygons_of_any_number_of_corners(tmp_path: Path, points: int) -> None:
    rng = np.random.default_rng(points)
    corners = rng.uniform(0, 1, (points, 2))
    dataset = load_dataset(write_yolo(tmp_path, f"0 {' '.join(map(str, corners.ravel().tolist()))}"))
    check(dataset, [*(corners.min(0) * SIZE), *(corners.max(0) * SIZE)], told="boxes around them")


def test_a_polygon_along_the_edges_is_not_taken_for_keypoints(tmp_path: Path) -> None:
    check(load_dataset(write_yolo(tmp_path, "0 0 0 1 0 1 1 0 1 0 0")), [0, 0, *SIZE], told="polygons")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    path = write_yolo(tmp_path, LINE.encode(encoding))
    check(load_dataset(path), BOX)
    path.unlink()
    (tmp_path / "classes.txt").write_bytes("cat\ndog\n".encode(encoding))
    check(load_dataset(tmp_path), BOX)


REFUSED = [
    "0 0,3 0,35 0,5 0,5",
    "0,0.3,0.35,0.5,0.5",
    "-1 0.3 0.35 0.5 0.5",
    "0.5 0.3 0.35 0.5 0.5",
    "0 -0.3 0.35 0.5 0.5",
    "0 0.3 0.35 -0.5 0.5",
    "0 18 14 30 20",
    "0 0.3 0.35 0.5 1e9",
    "0 0.3 0.35 0.5 nan",
    "0 0.3 0.35 0.5 0.5 87",
    "0 0.3 0.35 0.5",
    "0 0.05 0.1 0.55 0.1 0.3 6",
    "cat 0.3 0.35 0.5 0.5",
    "inf 0.3 0.35 0.5 0.5",
    "0",
]


@pytest.mark.parametrize("line", REFUSED)
def test_lines_that_stay_errors(tmp_path: Path, line: str) -> None:
    dataset = load_dataset(write_yolo(tmp_path, f"{LINE}\n{line}\n"))
    check(dataset, BOX, told=f"a.txt, line 2: {line!r}", left_out=True)


@pytest.mark.parametrize("kind", ["yolo", "voc", "coco"])
def test_the_same_object_twice_counts_once(tmp_path: Path, kind: str) -> None:
    if kind == "yolo":
        path = write_yolo(tmp_path, f"{LINE}\n{LINE}\n0 0.30 0.350 0.5 0.5\n")
    elif kind == "voc":
        path = write_voc(tmp_path, "", "", "<difficult>0</difficult>")
    else:
        path = write_coco(tmp_path)
        content = json.loads(path.read_text())
        content["annotations"] *= 3
        path.write_text(json.dumps(content))
    check(load_dataset(path), BOX, told="a.jpg: cat (", count=2)


def test_labels_without_a_picture_are_listed(tmp_path: Path) -> None:
    path = write_yolo(tmp_path, LINE)
    for name in ("b.txt", "classes.txt"):
        (tmp_path / "labels" / name).write_text(LINE)
    check(load_dataset(path), BOX, told="labels/b.txt", left_out=True)


def test_a_picture_in_two_splits_is_one_picture(tmp_path: Path) -> None:
    path = write_yolo(tmp_path, LINE, "names: [cat, dog]\ntrain: images\nval: images\n")
    check(load_dataset(path), BOX)


def test_absent_splits_are_named_once(tmp_path: Path) -> None:
    places = "train: ../images\nval: ../valid/images\ntest: ../test/images\n"
    path = write_yolo(tmp_path, LINE, f"names: [cat, dog]\n{places}")
    for split in (None, "train"):
        check(load_dataset(path, split=split), BOX, told="absent: 2 (val; test)", count=2)
    assert usual_splits(path) == ("train", None)
    with pytest.raises(FileNotFoundError, match=r"no split 'test' .there: train"):
        load_dataset(path, split="test")


# ---- names, paths, ids -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [r"sub\a.jpg", r"C:\photos\sub\a.jpg", "/home/someone/sub/a.jpg", "images/sub/a.jpg", "other/a.jpg", "./sub/a.jpg"]
)
def test_file_names_of_coco_from_another_machine(tmp_path: Path, name: str) -> None:
    place = "images/a.jpg" if "other" in name else "images/sub/a.jpg"
    write_picture(tmp_path / place)
    dataset = load_dataset(write_coco(tmp_path, image={"file_name": name}))
    check(dataset, BOX)
    assert one(dataset).path.samefile(tmp_path / place)
    check(load_dataset(tmp_path / "data.json", images=tmp_path / "images"), BOX)


def test_no_guess_among_pictures_of_the_same_name(tmp_path: Path) -> None:
    write_picture(tmp_path / "images" / "a.jpg")
    entries = [{"id": i, "file_name": f"{place}/a.jpg"} for i, place in enumerate("bc")]
    with pytest.raises(FileNotFoundError, match="none of its 2 pictures"):
        load_dataset(write_coco(tmp_path, images=entries))


@pytest.mark.parametrize("place", ["images\\", r".\images", r"..\images"])
def test_backslashes_in_a_description_of_yolo(tmp_path: Path, place: str) -> None:
    path = write_yolo(tmp_path, LINE, f"names: [cat, dog]\nval: {place}\n")
    check(load_dataset(path), BOX)
    (tmp_path / "val.txt").write_text("images\\a.jpg\n")
    path.write_text("names: [cat, dog]\nval: val.txt\n")
    check(load_dataset(path), BOX)


@pytest.mark.parametrize("suffix", [".JPEG", ".PNG", ".jpeg"])
@pytest.mark.parametrize("named", ["a", "a.jpg", "", "photo"])
def test_suffixes_of_pictures_beside_xml(tmp_path: Path, suffix: str, named: str) -> None:
    write_picture(tmp_path / "JPEGImages" / f"{named.split('.')[0] or 'a'}{suffix}")
    path = write_voc(tmp_path) / "Annotations" / "a.xml"
    path.write_text(path.read_text().replace("a.jpg", named))
    check(load_dataset(tmp_path), BOX)
    (tmp_path / "JPEGImages").rename(tmp_path / "pictures")
    check(load_dataset(tmp_path), BOX)


def test_xml_in_subfolders_of_annotations(tmp_path: Path) -> None:
    for folder in ("first", "second"):
        write_picture(tmp_path / "JPEGImages" / folder / "a.jpg")
        (tmp_path / "Annotations" / folder).mkdir(parents=True)
        write_voc(tmp_path, name=f"{folder}/a")
    dataset = load_dataset(tmp_path)
    assert [(picture.image_id, len(picture.xyxy)) for picture in dataset.pictures] == [("first/a", 1), ("second/a", 1)]
    assert [picture.path.parent.name for picture in dataset.pictures] == ["first", "second"]
    assert dataset.problems == ()
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "val.txt").write_text("second/a\n")
    assert one(load_dataset(tmp_path, split="val")).path.parent.name == "second"


def test_a_namespace_in_xml(tmp_path: Path) -> None:
    path = write_voc(tmp_path) / "Annotations" / "a.xml"
    path.write_text(path.read_text().replace("<annotation>", '<annotation xmlns="urn:any">'))
    check(load_dataset(tmp_path), BOX)


POLYGON = [3, 4, 33, 4, 18, 24]


@pytest.mark.parametrize("box", [[], None, [0, 0, 0, 0], [3, 4, 0, 0]])
@pytest.mark.parametrize("polygon", [[POLYGON], [POLYGON[:4], POLYGON[2:]], POLYGON])
def test_an_empty_bbox_beside_a_polygon(tmp_path: Path, box: Any, polygon: Any) -> None:
    dataset = load_dataset(write_coco(tmp_path, box={"bbox": box, "segmentation": polygon}))
    check(dataset, BOX, told="around their polygons")


@pytest.mark.parametrize("polygon", [[], [[]], [["x", 1]], {"counts": "1", "size": [40, 60]}, "x", [[[1, 2]]]])
def test_an_empty_bbox_beside_no_polygon(tmp_path: Path, polygon: Any) -> None:
    check(load_dataset(write_coco(tmp_path, box={"bbox": [], "segmentation": polygon})), told="bbox", left_out=True)


@pytest.mark.parametrize(
    "points",
    [
        "<x1>4</x1><y1>5</y1><x2>33</x2><y2>5</y2><x3>20</x3><y3>24</y3>",
        "<pt><x>4</x><y>5</y></pt><pt><x>33</x><y>5</y></pt><pt><x>20</x><y>24</y></pt>",
    ],
)
def test_a_polygon_of_voc_without_a_box(tmp_path: Path, points: str) -> None:
    check(load_dataset(write_voc(tmp_path, f"<polygon>{points}</polygon>")), BOX, told="around their polygons")
    lost = write_voc(tmp_path, "<polygon><x1>4</x1></polygon>")
    check(load_dataset(lost, labels=("cat",)), told="lacks one of", left_out=True)


@pytest.mark.parametrize("identifier", [7, 7.0, "7", "x", "7.5"])
@pytest.mark.parametrize("field", ["image", "category"])
def test_ids_that_are_no_integers(tmp_path: Path, identifier: Any, field: str) -> None:
    tables = {"categories": [{"id": identifier, "name": "cat"}]} if field == "category" else {}
    image = {"id": identifier} if field == "image" else {}
    dataset = load_dataset(write_coco(tmp_path, image=image, box={f"{field}_id": identifier}, **tables))
    check(dataset, BOX)
    if field == "image":
        assert one(dataset).image_id == identifier
        assert not isinstance(one(dataset).image_id, float)


@pytest.mark.parametrize(("first", "second"), [(7, "7"), ("7", 7), (7.0, "7"), ("7", 7.0)])
def test_ids_that_one_file_writes_in_two_ways(tmp_path: Path, first: Any, second: Any) -> None:
    box = {"image_id": second, "category_id": second}
    check(load_dataset(write_coco(tmp_path, image={"id": first}, box=box, categories=[{"id": first, "name": "cat"}])), BOX)


ROOT = {"id": 0, "name": "animals", "supercategory": "none"}
LEAF = {"id": 1, "name": "cat", "supercategory": "animals"}


def test_an_empty_root_category_is_no_class(tmp_path: Path) -> None:
    dataset = load_dataset(write_coco(tmp_path, categories=[ROOT, LEAF]))
    assert dataset.labels == ("cat",)
    check(dataset, BOX, told="root categories")
    used = load_dataset(write_coco(tmp_path, categories=[ROOT, LEAF], box={"category_id": 0}))
    assert used.labels == ("animals", "cat")
    alone = load_dataset(write_coco(tmp_path, categories=[ROOT, {**LEAF, "supercategory": "none"}]))
    assert alone.labels == ("animals", "cat")


def test_the_same_name_twice_is_one_class(tmp_path: Path) -> None:
    names = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}, {"id": 5, "name": "cat "}]
    dataset = load_dataset(write_coco(tmp_path, categories=names, box={"category_id": 5}))
    assert dataset.labels == ("cat", "dog")
    check(dataset, BOX, told="'cat'")
    dataset = load_dataset(write_yolo(tmp_path / "yolo", f"2{LINE[1:]}", "names: [cat, dog, cat]\nval: images\n"))
    assert dataset.labels == ("cat", "dog")
    check(dataset, BOX, told="'cat'")


@pytest.mark.parametrize("nc", ["1", "3", "two"])
def test_nc_that_does_not_fit_the_names(tmp_path: Path, nc: str) -> None:
    dataset = load_dataset(write_yolo(tmp_path, LINE, f"nc: {nc}\nnames: [cat, dog]\nval: images\n"))
    check(dataset, BOX, told=f"data.yaml: '{nc}', 2")


# ---- the list of problems --------------------------------------------------------------------------------------------------


def test_a_problem_is_one_line_of_bounded_length(tmp_path: Path) -> None:
    path = write_yolo(tmp_path, "\n".join(f"{'x' * 5000} {i}" for i in range(100)))
    (problem,) = load_dataset(path).problems
    assert (problem.count, problem.left_out, len(problem.examples)) == (100, True, 20)
    assert "left out: 100 (a.txt, line 1: '" in str(problem)
    assert len(str(problem)) < 1200
    assert "\n" not in str(problem)
    assert str(Problem("things", 3)) == "things: 3"
    assert str(Problem("things", 4, tuple("abcd"))) == "things: 4 (a; b; c; ...)"
