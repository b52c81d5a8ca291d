"""Each sample runs as its docstring says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import pytest

SAMPLES = Path(__file__).parents[1] / "samples"
PHOTO = SAMPLES / "chelsea.jpg"


def run(name: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SAMPLES / name, *map(str, arguments)], capture_output=True, text=True, cwd=cwd)


def test_detect(tmp_path: Path) -> None:
    done = run("detect.py", PHOTO, cwd=tmp_path)
    assert done.stderr == ""
    assert done.stdout.startswith("cat 0.")
    assert cv2.imread(str(tmp_path / "chelsea_detections.png")).shape == cv2.imread(str(PHOTO)).shape


def test_detect_is_short_enough_to_copy() -> None:
    assert len((SAMPLES / "detect.py").read_text().splitlines()) < 40


def test_infer_bbox(tmp_path: Path) -> None:
    done = run("infer_bbox.py", PHOTO, cwd=tmp_path)
    assert done.stderr == ""
    label, probability, *corners = done.stdout.splitlines()[0].split()
    assert label == "cat"
    assert 0.5 < float(probability.rstrip(":")) < 1
    assert all(0 <= int(corner) <= 415 for corner in corners)
    assert cv2.imread(str(tmp_path / "infer_bbox.png")).shape == cv2.imread(str(PHOTO)).shape


@pytest.mark.parametrize("name", ["detect.py", "infer_bbox.py"])
def test_what_cannot_be_read_is_said(name: str, tmp_path: Path) -> None:
    done = run(name, "missing.jpg", cwd=tmp_path)
    assert done.returncode == 1
    assert "cannot read missing.jpg" in done.stderr
    assert "Traceback" not in done.stderr
    assert "python samples/" in run(name, cwd=tmp_path).stderr
