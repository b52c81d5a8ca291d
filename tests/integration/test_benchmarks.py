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

pytestmark = pytest.mark.slow


def run(script: str, *arguments: str) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_postprocess_against_another_build() -> None:
    run("postprocess.py", "--blocks", "1", "--kinds", "random", "--against", str(Path(sd.__file__).parents[1]))


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


@pytest.mark.parametrize("arguments", [("evaluation.py", "--blocks", "1"), ("input_sizes.py", "--sizes", "384", "320")])
def test_on_a_data_set(arguments: tuple[str, ...], cats: str) -> None:
    pytest.importorskip("faster_coco_eval", reason="the extra [eval] brings it")
    run(arguments[0], cats, *arguments[1:])
