"""Detections in other tools' formats, read back by those tools."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import opencv_squeezedet as sd

SIZE = (200, 100)
FOUND = sd.Detections(
    [(10.25, 20.5, 110, 80), (0, 0, 200, 100), (150.5, 3, 160, 9.75)], [0.9, 0.5, 0.25], [14, 7, 14], sd.VOC.labels
)
NOTHING = sd.Detections([], [], [], sd.VOC.labels)


def library(name: str) -> Any:
    return pytest.importorskip(name, reason=f"{name}, of the test extra, reads this format back")


def test_coco_is_read_by_pycocotools(tmp_path: Path) -> None:
    coco = library("pycocotools.coco")
    from opencv_squeezedet.export import coco_categories

    annotations = [*FOUND.to_coco(1), *NOTHING.to_coco(2, first_id=4), *FOUND.to_coco(3, first_id=4)]
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 200, "height": 100} for i in (1, 2, 3)]
    path = tmp_path / "coco.json"
    path.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": coco_categories(FOUND.label_table)})
    )
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = coco.COCO(str(path))
        results = dataset.loadRes(annotations)
    loaded = dataset.loadAnns(dataset.getAnnIds(imgIds=[3]))
    assert [dataset.cats[a["category_id"]]["name"] for a in loaded] == FOUND.labels
    boxes = np.array([a["bbox"] for a in loaded])
    assert np.allclose(np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1), FOUND.xyxy)
    assert [results.anns[i]["score"] for i in (1, 2, 3)] == pytest.approx([0.9, 0.5, 0.25])
    assert sorted(dataset.anns) == list(range(1, 7))


def test_yolo_and_voc_are_read_by_supervision(tmp_path: Path) -> None:
    supervision = library("supervision")
    cv2 = library("cv2")
    for folder in ("images", "yolo", "voc"):
        (tmp_path / folder).mkdir()
    for stem, found in (("a", FOUND), ("b", NOTHING)):
        cv2.imwrite(str(tmp_path / "images" / f"{stem}.png"), np.zeros((100, 200, 3), np.uint8))
        (tmp_path / "yolo" / f"{stem}.txt").write_text(found.to_yolo(SIZE))
        (tmp_path / "voc" / f"{stem}.xml").write_text(found.to_voc_xml(f"images/{stem}.png", SIZE))
    names = tmp_path / "data.yaml"
    names.write_text(json.dumps({"names": list(sd.VOC.labels), "nc": 20}))
    yolo = supervision.DetectionDataset.from_yolo(str(tmp_path / "images"), str(tmp_path / "yolo"), str(names))
    voc = supervision.DetectionDataset.from_pascal_voc(str(tmp_path / "images"), str(tmp_path / "voc"))
    for dataset, tolerance in ((yolo, 0.001), (voc, 0.5)):
        annotations = {Path(path).stem: detections for path, _, detections in dataset}
        assert len(annotations["b"]) == 0
        read = annotations["a"]
        assert [dataset.classes[i] for i in read.class_id] == FOUND.labels
        assert np.abs(read.xyxy - FOUND.xyxy).max() <= tolerance


def test_supervision_there_and_back() -> None:
    supervision = library("supervision")
    there = FOUND.to_supervision()
    assert isinstance(there, supervision.Detections)
    assert list(there.data["class_name"]) == FOUND.labels
    assert sd.Detections.from_supervision(there) == FOUND
    assert sd.Detections.from_supervision(NOTHING.to_supervision()) == NOTHING
    assert sd.Detections.from_supervision(there[there.confidence > 0.4]) == FOUND[:2]
    there.xyxy[0] = 0
    assert FOUND.xyxy[0, 0] == 10.25, "the arrays are copies"


def test_supervision_of_others() -> None:
    supervision = library("supervision")
    boxes = np.array([[0, 0, 1, 1], [2, 2, 4, 4]], np.float32)
    plain = sd.Detections.from_supervision(supervision.Detections(xyxy=boxes))
    assert (plain.label_table, plain.labels) == (("0",), ["0", "0"])
    assert plain.confidence.tolist() == [1, 1]
    named = supervision.Detections(
        xyxy=boxes, confidence=np.array([0.2, 0.8]), class_id=np.array([3, 1]), data={"class_name": np.array(["c", "b"])}
    )
    found = sd.Detections.from_supervision(named)
    assert found.label_table == ("0", "b", "2", "c")
    assert found.labels == ["b", "c"], "highest confidence first"
    assert sd.Detections.from_supervision(named, ["w", "x", "y", "z"]).labels == ["x", "z"]
    with pytest.raises(ValueError, match="class ids must lie in"):
        sd.Detections.from_supervision(named, ["only"])


def test_dataframe() -> None:
    library("pandas")
    frame = FOUND.to_dataframe()
    assert list(frame.columns) == ["label", "class_id", "confidence", "x1", "y1", "x2", "y2"]
    assert frame.label.tolist() == FOUND.labels
    assert np.array_equal(frame[["x1", "y1", "x2", "y2"]].to_numpy(), FOUND.xyxy)
    assert len(NOTHING.to_dataframe()) == 0


@pytest.mark.parametrize(("name", "method"), [("supervision", "to_supervision"), ("pandas", "to_dataframe")])
def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, name: str, method: str) -> None:
    monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(ImportError, match=f"pip install {name}"):
        getattr(FOUND, method)()
