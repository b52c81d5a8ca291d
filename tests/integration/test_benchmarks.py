"""Benchmarks run; what they measure is for people to read."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import opencv_squeezedet as sd

ROOT = Path(__file__).parents[2]


def test_postprocess_against_another_build() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "postprocess.py"), "--blocks", "1", "--kinds", "random"]
    package = Path(sd.__file__).parents[1]
    done = subprocess.run([*command, "--against", str(package)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    row = done.stdout.splitlines()[-1].split("|")
    assert row[1].strip() == "random, threshold 0.5"
    assert all(float(cell.split()[1].strip("()")) > 0 for cell in row[2:-1])


@pytest.fixture
def cats(tmp_path: Path) -> str:
    """A data set of two pictures, one of them without a box."""
    for i in (1, 2):
        shutil.copy(ROOT / "samples" / "chelsea.jpg", tmp_path / f"{i}.jpg")
    truth = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 451, "height": 300} for i in (1, 2)],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [20, 0, 425, 300], "area": 127500, "iscrowd": 0}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    return str(tmp_path / "truth.json")


def test_evaluation(cats: str) -> None:
    pytest.importorskip("faster_coco_eval", reason="the extra [eval] brings it")
    command = [sys.executable, str(ROOT / "benchmarks" / "evaluation.py"), cats, "--blocks", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    row = done.stdout.splitlines()[-1].split("|")
    assert row[1].strip() == "embedded model"
    assert all(float(cell) >= 0 for cell in row[2:5])


def test_input_sizes(cats: str) -> None:
    """The cat is found whatever the size."""
    pytest.importorskip("faster_coco_eval", reason="the extra [eval] brings it")
    command = [sys.executable, str(ROOT / "benchmarks" / "input_sizes.py"), cats, "--sizes", "416", "320"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    header, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines())
    assert [row[0] for row in rows] == ["416x416", "320x320"]
    for row in rows:
        found = dict(zip(header, row, strict=True))
        assert (found["VOC10"], found["small"]) == ("100.0", "nan")
