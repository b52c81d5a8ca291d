"""Each sample runs as its docstring says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from caffe_networks import files_of
from commands import PHOTO, make_video
from embedded import DEFINITION, HAS_CAFFE, ONNX, WEIGHTS, needs_caffe_importer
from shared import needs

SAMPLES = Path(__file__).parents[2] / "samples"
SHAPE = cv2.imread(str(PHOTO)).shape


def run(name: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SAMPLES / name, *map(str, arguments)], capture_output=True, text=True, cwd=cwd)


def test_infer_bbox(tmp_path: Path) -> None:
    done = run("infer_bbox.py", PHOTO, cwd=tmp_path)
    assert done.stderr == ""
    label, probability, *corners = done.stdout.splitlines()[0].split()
    assert label == "cat"
    assert 0.5 < float(probability.rstrip(":")) < 1
    assert all(0 <= int(corner) <= 415 for corner in corners)
    assert cv2.imread(str(tmp_path / "infer_bbox.png")).shape == SHAPE


@needs_caffe_importer
def test_infer_bbox_with_caffes_files(tmp_path: Path) -> None:
    done = run("infer_bbox.py", PHOTO, DEFINITION, WEIGHTS, "0.5", cwd=tmp_path)
    assert done.stderr == ""
    assert done.stdout == run("infer_bbox.py", PHOTO, ONNX, "0.5", cwd=tmp_path).stdout != ""


@pytest.mark.skipif(HAS_CAFFE, reason="this OpenCV reads Caffe's files")
def test_infer_bbox_with_caffes_files_that_opencv_does_not_read(tmp_path: Path) -> None:
    done = run("infer_bbox.py", PHOTO, DEFINITION, WEIGHTS, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "does not read Caffe's files" in line
    assert f"squeezedet convert {DEFINITION} model.onnx" in line


@pytest.mark.parametrize(
    ("name", "picture"), [("detect", "chelsea_detections.png"), ("detection_model", "detection_model.png")]
)
def test_detect(name: str, picture: str, tmp_path: Path) -> None:
    folder = tmp_path if name == "detect" else SAMPLES.parent  # where the model files of detection_model.py lie
    written = folder / picture
    assert not written.exists()
    try:
        done = run(f"{name}.py", PHOTO, cwd=folder)
        assert done.stderr == ""
        assert done.stdout.startswith("cat 0.")
        assert cv2.imread(str(written)).shape == SHAPE
    finally:
        written.unlink(missing_ok=True)


def test_caffe_on_opencv5() -> None:
    """From the clone's root, where its model files lie."""
    done = run("caffe_on_opencv5.py", PHOTO, cwd=SAMPLES.parent)
    assert done.stderr == ""
    assert "output softmax: (1, 4761, 20), mean 0.050" in done.stdout
    assert "layer 126 of 250, stage4_3_out: (1, 232, 12, 12)" in done.stdout


@needs("caffe/prototxts/res10_face.prototxt")
def test_face_ssd(tmp_path: Path) -> None:
    for name, content in zip(("deploy.prototxt", "net.caffemodel"), files_of("res10_face"), strict=True):
        (tmp_path / name).write_bytes(content)
    done = run("face_ssd.py", "deploy.prototxt", "net.caffemodel", PHOTO, cwd=tmp_path)
    assert done.stderr == ""
    assert re.fullmatch(r"(\d\.\d\d at -?\d+ -?\d+ -?\d+ -?\d+\n)+", done.stdout)
    assert cv2.imread(str(tmp_path / "faces.png")).shape == cv2.imread(str(PHOTO)).shape


@pytest.mark.parametrize("name", ["face_ssd.py", "caffe_on_opencv5.py", "detect.py"])
def test_short_enough_to_copy(name: str) -> None:
    assert len((SAMPLES / name).read_text().splitlines()) < 40


def test_video(tmp_path: Path) -> None:
    """With a substitute for the window, that wants to see the third frame and then no more."""
    make_video(str(tmp_path / "film.avi"), frames=5)
    code = f"""
import runpy, sys, cv2
shown = []
cv2.imshow = lambda title, frame: shown.append(frame)
cv2.waitKey = lambda delay: ord("q") if len(shown) == 3 else -1
cv2.destroyAllWindows = lambda: None
sys.argv = ["video.py", "film.avi"]
runpy.run_path({str(SAMPLES / "video.py")!r}, run_name="__main__")
assert shown[0].shape == (300, 320, 3), shown[0].shape
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("3 frames\n", "")


def test_three_blobs(tmp_path: Path) -> None:
    done = run("three_blobs.py", cwd=tmp_path)
    assert done.stderr == ""
    assert "4761 anchors" in done.stdout
    assert "cat 0." in done.stdout.splitlines()[-1]
    assert cv2.imread(str(tmp_path / "three_blobs.png")).shape == (SHAPE[0], 3 * SHAPE[1], 3)


@pytest.mark.slow
def test_kernel(tmp_path: Path) -> None:
    pytest.importorskip("Cython", reason="the test extra brings Cython, with which the sample is compiled")
    for name in ("kernel.pyx", "chelsea.jpg"):
        shutil.copy(SAMPLES / name, tmp_path)
    build = [sys.executable, "-m", "Cython.Build.Cythonize", "-i", "-q", "kernel.pyx"]
    done = subprocess.run(build, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    demo = [sys.executable, "-c", "import kernel; kernel.demo('chelsea.jpg')"]
    done = subprocess.run(demo, capture_output=True, text=True, cwd=tmp_path)
    assert done.stderr == ""
    assert done.stdout.startswith("cat 0.")
    assert "of which it covers " in done.stdout


@pytest.mark.parametrize("name", ["detect.py", "infer_bbox.py", "video.py"])
def test_what_cannot_be_read_is_said(name: str, tmp_path: Path) -> None:
    done = run(name, "missing.jpg", cwd=tmp_path)
    assert done.returncode == 1
    assert "missing.jpg" in done.stderr
    assert "Traceback" not in done.stderr
