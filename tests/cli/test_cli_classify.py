"""The command ``classify``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from opencv_squeezedet import SqueezeNet, cli, formats
from opencv_squeezedet.network import architectures

PHOTO = Path(__file__).parents[2] / "samples" / "chelsea.jpg"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    stem = tmp_path_factory.mktemp("model") / "small"
    network = architectures.squeezenet_v1_1(classes=4, input_size=(64, 64))
    rng = np.random.default_rng(1)
    weights = {
        step.layer.name: [rng.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape).astype(np.float32) for shape in step.weights]
        for step in network.weighted()
    }
    stem.with_suffix(".onnx").write_bytes(formats.onnx_bytes(network, weights))
    stem.with_suffix(".json").write_text(json.dumps({"labels": ["ant", "bee", "cicada", "dragonfly, darner"]}))
    return stem


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copy(PHOTO, "a.jpg")
    return tmp_path


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
    Path("in/deeper").mkdir(parents=True)
    for name in ("in/b.jpg", "in/deeper/c.jpg"):
        shutil.copy(PHOTO, name)
    writer = cv2.VideoWriter("film.avi", cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for value in range(4):
        writer.write(np.full((48, 64, 3), 60 * value, np.uint8))
    writer.release()
    Path("list.txt").write_text("film.avi\n")
    Path("broken.jpg").write_text("no picture")
    arguments = ["a.jpg", "in", "-r", "list.txt", "--every", "2", "broken.jpg", "--model", str(model), "--top", "1"]
    assert cli.classify_main(arguments) == 1
    out, err = capsys.readouterr()
    names = [line for line in out.splitlines() if not line.startswith("  ")]
    assert names == ["a.jpg", "in/b.jpg", "in/deeper/c.jpg", "film.avi frame 0", "film.avi frame 2"]
    assert err == "classify: broken.jpg: it is not a picture that OpenCV can decode\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.jpg"], "the following arguments are required: --model"),
        (["--model", "MODEL"], "the following arguments are required: SOURCE"),
        (["a.jpg", "--model", "nothing"], "no network definition at 'nothing.prototxt', and the published classifiers are"),
        (["a.jpg", "--model", "no/thing.onnx"], "no network definition at 'no/thing.onnx'"),
        (["a.jpg", "--model", "empty.onnx"], "'empty.onnx': the file is empty"),
        (["a.jpg", "--model", "gsoc-voc"], "'gsoc-voc' is a detector, not a classifier"),
        (["a.jpg", "--model", "MODEL", "--top", "0"], "argument --top: a whole number from 1 up"),
        (["a.jpg", "--model", "MODEL", "--backend", "caffe"], "argument --backend: invalid choice: 'caffe'"),
        (["a.jpg", "--model", "MODEL", "--target", "abacus"], "target must be one that is available here: 'cpu'"),
        (["a.jpg", "--model", "MODEL", "--json", "a.jpg"], "--json: a.jpg is one of the sources"),
        (["a.jpg", "--model", "MODEL", "--json", "no/folder"], "--json: no/folder: its folder does not exist"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(
    arguments: list[str], message: str, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty.onnx").touch()
    Path("empty.json").write_text('{"preprocess": {"size": [64, 64]}}')
    assert cli.classify_main([str(model) if argument == "MODEL" else argument for argument in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("classify: ")
    assert message in line
    assert Path("a.jpg").read_bytes() == PHOTO.read_bytes()
