"""``squeezedet check``: what it shows of a data set, and its exit status."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import error_line

from opencv_squeezedet.cli import main
from opencv_squeezedet.datasets.duplicates import find_duplicates

pytest.importorskip("PIL", reason="the sizes of pictures are read with Pillow, of the eval extra")
pytest.importorskip("yaml", reason="YOLO's descriptions are read with PyYAML, of the eval extra")

SIDE = 200


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two pictures of a split and two of another, of which one is the same; a cat of each size, and a dog."""
    rng = np.random.default_rng(0)
    rows = {
        "train/a": ["0 0.1 0.1 0.1 0.1", "0 0.5 0.5 0.3 0.3"],
        "train/b": [],
        "val/c": ["0 0.5 0.5 1 1", "1 0.5 0.5 0.2 0.2"],
    }
    for name, lines in rows.items():
        for kind in ("images", "labels"):
            (tmp_path / kind / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "images" / f"{name}.png"), rng.integers(0, 99, (SIDE, SIDE, 3), dtype=np.uint8))
        (tmp_path / "labels" / f"{name}.txt").write_text("\n".join(lines))
    shutil.copy(tmp_path / "images" / "train" / "a.png", tmp_path / "images" / "val" / "d.png")
    (tmp_path / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [cat, dog]\n")
    return tmp_path


def rows_of(out: str) -> dict[str, list[int]]:
    words = [line.split() for line in out.splitlines()]
    return {row[0]: [*map(int, row[1:])] for row in words if len(row) > 1 and all(word.isdecimal() for word in row[1:])}


def test_splits_classes_and_duplicates(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(data / "data.yaml")]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("layout: YOLO's text files, described by data.yaml\n")
    assert rows_of(out) == {
        "train": [2, 1, 2, 0],
        "val": [2, 1, 2, 0],
        "all": [4, 2, 4, 0],
        "cat": [3, 0, 1, 1, 1],
        "dog": [1, 0, 0, 1, 0],
    }
    assert f"pictures with the same content: 1 ({Path('train', 'a.png')} = {Path('val', 'd.png')})" in out
    assert "pictures both in train and in val: 1" in out
    assert main(["check", str(data), "--split", "val"]) == 0
    assert rows_of(capsys.readouterr().out)["val"] == [2, 1, 2, 0]


def test_what_is_left_out_is_listed_first_and_fails(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "labels" / "val" / "c.txt").write_text("0 0.5 0.5 0.1 0.1 0.9\n0 2 2 1 1\n5 0.5 0.5 0.1 0.1\n")
    assert main(["check", str(data)]) == 1
    *_, lines, unknown, confidence = capsys.readouterr().out.splitlines()
    assert "left out: 1 (c.txt, line 2: '0 2 2 1 1')" in lines
    assert "left out: 1 ('number 5': 1)" in unknown
    assert "a confidence, which is not used: 1" in confidence


def test_the_contact_sheet(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Boxes of classes in their colours, of ignored regions in grey; a picture that cannot be decoded is said."""
    folder = data / "kitti" / "training"
    line = "{} 0 0 0 {} 1 1 1 1 1 1 1\n"
    for name, lines in {"0": [("Car", "20 20 90 90"), ("DontCare", "110 110 180 180")], "1": [("Car", "1 1 60 60")]}.items():
        for kind in ("label_2", "image_2"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
        (folder / "label_2" / f"{name}.txt").write_text("".join(line.format(*words) for words in lines))
        cv2.imwrite(str(folder / "image_2" / f"{name}.png"), np.zeros((SIDE, SIDE, 3), np.uint8))
    assert main(["check", str(data / "kitti"), "--sheet", str(data / "sheet.jpg")]) == 0
    sheet = cv2.imread(str(data / "sheet.jpg"))
    assert sheet.shape == (320, 640, 3)
    scale = 320 / SIDE
    car, ignored = (sheet[round(y * scale), round(x * scale)].astype(int) for x, y in ((20, 60), (110, 150)))
    assert np.ptp(car) > 60
    assert np.ptp(ignored) < 30 < ignored.min()
    content = (folder / "image_2" / "1.png").read_bytes()
    (folder / "image_2" / "1.png").write_bytes(content[:60])
    capsys.readouterr()
    assert main(["check", str(data / "kitti"), "--sheet", str(data / "sheet.jpg")]) == 1
    assert "1.png: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing"], "no data set at 'missing'"),
        (["labels/train"], "is not a data set"),
        ([".", "--split", "night"], "no split 'night' (there: train, val)"),
        ([".", "--sheet", "nowhere/sheet.jpg"], "its folder does not exist"),
    ],
)
def test_usage(
    data: Path, arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(data)
    assert words in error_line(main, ["check", *arguments], capsys)


def test_duplicates_have_the_same_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    content = rng.bytes(50_000)
    files = dict(
        zip("abcdefg", (content, content, content[:-1] + b"x", b"y" + content[1:], content[1:], b"", b""), strict=True)
    )
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    groups = find_duplicates([tmp_path / name for name in (*files, "missing")])
    assert sorted([path.name for path in group] for group in groups) == [["a", "b"], ["f", "g"]]
