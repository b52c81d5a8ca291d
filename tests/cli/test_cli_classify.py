"""The command ``classify``."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
from commands import PHOTO, copy_photo, error_line, make_video
from networks import random_weights

from opencv_squeezedet import SqueezeNet, cli, formats
from opencv_squeezedet.network import architectures


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    stem = tmp_path_factory.mktemp("model") / "small"
    network = architectures.squeezenet_v1_1(classes=4, input_size=(64, 64))
    stem.with_suffix(".onnx").write_bytes(formats.onnx_bytes(network, random_weights(network)))
    stem.with_suffix(".json").write_text(json.dumps({"labels": ["ant", "bee", "cicada", "dragonfly, darner"]}))
    return stem


@pytest.fixture(autouse=True)
def picture(folder: Path) -> None:
    copy_photo("a.jpg")


def test_a_table_for_each_picture(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.classify_main(["a.jpg", "--model", str(model), "--top", "3"]) == 0
    out, err = capsys.readouterr()
    expected = SqueezeNet(model).classify(cv2.imread("a.jpg"), top=3)
    assert out.splitlines() == ["a.jpg", *(f"  {c.probability:.3f}    {c.class_id} {c.label}" for c in expected)]
    assert err == ""
    assert cli.main(["classify", "a.jpg", "--model", f"{model}.onnx", "--top", "3"]) == 0
    assert capsys.readouterr().out == out


def test_json(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.classify_main(["a.jpg", "missing.jpg", "a.jpg", "--model", str(model), "--json", "-"]) == 1
    out, err = capsys.readouterr()
    expected = SqueezeNet(model).classify(cv2.imread("a.jpg")).to_dict()
    assert json.loads(out) == [{"file": "a.jpg", "width": 451, "height": 300, **expected}] * 2
    assert err == "classify: missing.jpg: No such file or directory\n"
    assert cli.classify_main(["a.jpg", "--model", str(model), "--json", "all.json"]) == 0
    assert json.loads(Path("all.json").read_text()) == json.loads(out)[:1]
    assert capsys.readouterr().out.startswith("a.jpg\n")


def test_sources_are_those_of_detect(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy_photo("in/b.jpg", "in/deeper/c.jpg")
    make_video(frames=4)
    Path("list.txt").write_text("film.avi\n")
    Path("broken.jpg").write_text("no picture")
    arguments = ["a.jpg", "in", "-r", "list.txt", "--every", "2", "broken.jpg", "--model", str(model), "--top", "1"]
    assert cli.classify_main(arguments) == 1
    out, err = capsys.readouterr()
    names = [line for line in out.splitlines() if not line.startswith("  ")]
    assert names == ["a.jpg", "in/b.jpg", "in/deeper/c.jpg", "film.avi frame 0", "film.avi frame 2"]
    assert err == "classify: broken.jpg: it is not a picture that OpenCV can decode\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.jpg"], "--model"),
        (["a.jpg", "--model", "nothing"], "'nothing.prototxt', and the published classifiers are"),
        (["a.jpg", "--model", "no/thing.onnx"], "'no/thing.onnx'"),
        (["a.jpg", "--model", "empty.onnx"], "'empty.onnx': the file is empty"),
        (["a.jpg", "--model", "gsoc-voc"], "'gsoc-voc' is a detector, not a classifier"),
        (["a.jpg", "--model", "MODEL", "--target", "abacus"], "'cpu'"),
        (["a.jpg", "--model", "MODEL", "--json", "a.jpg"], "--json: a.jpg is one of the sources"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(
    arguments: list[str], words: str, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty.onnx").touch()
    Path("empty.json").write_text('{"preprocess": {"size": [64, 64]}}')
    line = error_line(cli.classify_main, [model if argument == "MODEL" else argument for argument in arguments], capsys)
    assert line.startswith("classify: ")
    assert words in line
    assert Path("a.jpg").read_bytes() == PHOTO.read_bytes()
