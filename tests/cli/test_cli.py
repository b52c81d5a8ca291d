"""The command ``detect``: what it prints, how its options reach the detector, and how it fails."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from commands import DETECT, PHOTO, copy_photo, error_line, written
from networks import MODELS

import opencv_squeezedet as sd
from opencv_squeezedet.cli import detect_main
from opencv_squeezedet.model import EMBEDDED
from opencv_squeezedet.options import NMS_KINDS

pytestmark = pytest.mark.usefixtures("folder")


def test_one_line_an_object_and_an_annotated_picture(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite("black.png", np.zeros((40, 60, 3), np.uint8))
    assert detect_main([str(PHOTO), "black.png"]) == 0
    (d,) = sd.SqueezeDet().detect(cv2.imread(str(PHOTO)))
    box = ", ".join(f"{edge:.0f}" for edge in d.xyxy)
    assert capsys.readouterr() == (f"{PHOTO}: cat {d.confidence:.2f} ({box})\nblack.png: nothing found\n", "")
    assert written("detections") == ["black.png", "chelsea.jpg"]
    picture, original = cv2.imread("detections/chelsea.jpg"), cv2.imread(str(PHOTO))
    assert picture.shape == original.shape
    assert np.abs(picture.astype(int) - original).max() > 50


def objects(arguments: list[str]) -> Any:
    assert detect_main([*arguments, "--no-image", "--json", "all.json"]) == 0
    return [entry["detections"] for entry in json.loads(Path("all.json").read_text())]


LOW, MANY = {"score_threshold": 0.1}, {"score_threshold": 0.001, "nms_threshold": 1}


@pytest.mark.parametrize(
    ("arguments", "constructor", "method"),
    [
        ("--threshold 0.001 --nms 1", {}, MANY),
        ("--threshold 1", {}, {"score_threshold": 1}),
        ("--top-n 40 --nms 1", {}, {"top_n": 40, "nms_threshold": 1}),
        ("--agnostic --threshold 0.01", {}, {"class_agnostic": True, "score_threshold": 0.01}),
        ("--multi-label --vote 0.5 --threshold 0.1", {}, {"multi_label": True, "vote_threshold": 0.5, **LOW}),
        ("--cross-class 0 --threshold 0.1", {}, {"cross_class_threshold": 0, **LOW}),
        *(
            (f"--nms-kind {k} --soft-sigma 0.2 --threshold 0.1", {}, {"nms_kind": k, "soft_sigma": 0.2, **LOW})
            for k in NMS_KINDS
        ),
        ("--letterbox", {"resize": "letterbox"}, {}),
        ("--size 320", {"size": (320, 320)}, {}),
        ("--size 384x320", {"size": (384, 320)}, {}),
    ],
)
def test_options_reach_the_detector(arguments: str, constructor: dict[str, Any], method: dict[str, Any]) -> None:
    expected = sd.SqueezeDet(**constructor).detect(cv2.imread(str(PHOTO)), **method).to_dict()["detections"]
    assert objects([str(PHOTO), *arguments.split()]) == [expected]
    assert method is not MANY or len(expected) > 5


def test_batches_and_threads_change_nothing() -> None:
    copy_photo("in/b.jpg", "in/deep/c.jpg")
    cv2.imwrite("in/a.png", cv2.imread(str(PHOTO))[20:])
    alone = [objects([f"in/{name}"])[0] for name in ("a.png", "b.jpg", "deep/c.jpg")]
    for batch in ("1", "2", "10"):
        assert objects(["in", "-r", "--batch", batch]) == alone


def test_classes(capsys: pytest.CaptureFixture[str]) -> None:
    for classes, words in (("dog,cat", ": cat 0."), ("dog", ": nothing found"), ("DOG, Cat", ": cat 0.")):
        assert detect_main([str(PHOTO), "--classes", classes]) == 0
        assert words in capsys.readouterr().out


def test_model_and_weights(capsys: pytest.CaptureFixture[str]) -> None:
    for suffix in (".prototxt", ".json"):
        shutil.copy(MODELS / f"{EMBEDDED}{suffix}", f"mine{suffix}")
    shutil.copy(MODELS / f"{EMBEDDED}.caffemodel", "other.caffemodel")
    Path("mine.json").write_text(Path("mine.json").read_text().replace('"cat"', '"Kätzchen"'))
    assert detect_main([str(PHOTO), "--model", "mine", "--weights", "other.caffemodel"]) == 0
    assert ": Kätzchen 0." in capsys.readouterr().out


def test_quiet_and_timing(capsys: pytest.CaptureFixture[str]) -> None:
    assert detect_main([str(PHOTO), "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert detect_main([str(PHOTO), "--quiet", "--timing", "--batch", "8"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    header, *rows = err.splitlines()
    assert header.split() == ["ms", "per", "picture", "p50", "p95"]
    stages = {row.rsplit(maxsplit=2)[0]: [float(value) for value in row.rsplit(maxsplit=2)[1:]] for row in rows}
    assert list(stages) == ["read", "preprocess", "network", "post-process", "annotate", "write"]
    assert all(0 <= p50 <= p95 for p50, p95 in stages.values())
    assert max(stages, key=lambda stage: stages[stage][0]) == "network"


def test_a_name_that_the_terminal_cannot_show() -> None:
    copy_photo("猫.jpg")
    done = subprocess.run(
        [*DETECT, "猫.jpg"], capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}, check=True
    )
    assert done.stdout.startswith(b"\\u732b.jpg: cat 0.")


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """The JPEG with an EXIF segment that holds nothing but the orientation."""
    tiff = b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01" + bytes([0, orientation, 0, 0]) + bytes(4)
    segment = b"Exif\x00\x00" + tiff
    return jpeg[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + jpeg[2:]


def test_exif_orientation_sixteen_bits_and_alpha() -> None:
    image = cv2.imread(str(PHOTO))
    lying = cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE)
    jpeg = cv2.imencode(".jpg", lying, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    Path("turned.jpg").write_bytes(with_orientation(jpeg, 6))
    cv2.imwrite("deep.png", image.astype(np.uint16) * 257)
    cv2.imwrite("alpha.png", cv2.cvtColor(image, cv2.COLOR_BGR2BGRA))
    assert detect_main(["turned.jpg", "deep.png", "alpha.png", "--json", "all.json"]) == 0
    for entry in json.loads(Path("all.json").read_text()):
        assert (entry["width"], entry["height"]) == (451, 300)
        assert [d["label"] for d in entry["detections"]] == ["cat"]
    assert cv2.imread("detections/turned.jpg").shape == (300, 451, 3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--threshold", "1.5"], "got '1.5'"),
        (["--nms", "nan"], "got 'nan'"),
        (["--batch", "99999999999999999999"], "--batch"),
        (["--size", "400"], "400x400"),
        (["--size", "0"], "at least 1"),
        (["--treshold", "0.4"], "mean '--threshold'?"),
        (["--classes", "persn"], "mean 'person'?"),
        (["--classes", "dog,unicorn"], "'unicorn'; its classes are aeroplane, "),
        (["--model", "gsoc-vox"], "mean 'gsoc-voc'?"),
        (["--model", "nowhere/at"], "'nowhere/at.prototxt'"),
        (["--weights", "nothing.caffemodel"], "'nothing.caffemodel'"),
        (["--weights", "truncated.caffemodel"], "truncated.caffemodel': "),
        (["--model", "broken"], "'broken.prototxt'"),
        *(([option, "file/deeper"], "folder file/deeper") for option in ("-o", "--yolo", "--voc", "--crops")),
        *(([option, "no/folder"], f"{option}: no/folder") for option in ("--json", "--csv", "--coco")),
        (["--json", "x.jpg"], "--json: x.jpg is one of the sources"),
        (["--video-out", "out.mp4"], "there are 0"),
        (["film.avi", "film.avi", "--video-out", "out.mp4"], "there are 2"),
        (["film.avi", "--video-out", "out.gif"], "got 'out.gif'"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(arguments: list[object], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    copy_photo("x.jpg", "film.avi")
    Path("file").touch()
    Path("truncated.caffemodel").write_bytes((MODELS / f"{EMBEDDED}.caffemodel").read_bytes()[:5000])
    for suffix in (".caffemodel", ".json"):
        shutil.copy(MODELS / f"{EMBEDDED}{suffix}", f"broken{suffix}")
    Path("broken.prototxt").write_text("layer { name:")
    line = error_line(detect_main, ["x.jpg", *arguments], capsys)
    assert line.startswith("detect: ")
    assert words in line
    assert Path("x.jpg").read_bytes() == PHOTO.read_bytes()


def test_nobody_reads_on() -> None:
    with subprocess.Popen([*DETECT, str(PHOTO), str(PHOTO)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()  # type: ignore[union-attr]
        assert process.stderr is not None
        assert process.stderr.read() == b""


@pytest.mark.parametrize("name", ["squeezedet", "detect", "classify"])
def test_the_commands_begin_where_ctrl_c_is_quiet(name: str) -> None:
    code = f"import sys; from opencv_squeezedet_command import {name}; sys.exit({name}())"
    done = subprocess.run([sys.executable, "-c", code, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"{name} {sd.__version__}\n"


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("wait", [0.0, 0.05, 0.1, 0.2, 0.3])
def test_ctrl_c_while_a_command_starts(wait: float) -> None:
    """From the first thing that a command does, which is to set what Ctrl-C does."""
    code = """import signal, sys
set_handler = signal.signal
set_handler(signal.SIGINT, signal.default_int_handler)
def report(*arguments):
    set_handler(*arguments)
    print(flush=True)
signal.signal = report
import opencv_squeezedet_command
sys.exit(opencv_squeezedet_command.detect())"""
    with subprocess.Popen(
        [sys.executable, "-c", code, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(wait)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) in (-signal.SIGINT, 130)
        assert process.stderr is not None
        assert process.stderr.read() == b""
