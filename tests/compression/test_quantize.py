"""Networks of 8-bit numbers: made, run wherever they load, and near the float network."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import error_line
from embedded import ONNX, STEM
from format_seeds import small_network
from networks import ROOT, a_blob, random_weights

import opencv_squeezedet as sd
from opencv_squeezedet.backends import choose_backend
from opencv_squeezedet.cli import main
from opencv_squeezedet.formats import onnx_bytes
from opencv_squeezedet.model import Model
from opencv_squeezedet.network import Convolution, Network

onnx = pytest.importorskip("onnx", reason="needs the extra [quantize]")
pytest.importorskip("onnxruntime", reason="needs the extra [quantize]")
from opencv_squeezedet.compression.quantize import quantize  # noqa: E402


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Parts of a photo."""
    photo = cv2.imread(str(ROOT / "samples" / "chelsea.jpg"))
    (tmp_path / "photos").mkdir()
    for i in range(6):
        cv2.imwrite(str(tmp_path / "photos" / f"{i}.png"), photo[10 * i : 250, 40 * i :])
    return tmp_path / "photos"


@pytest.mark.slow
def test_the_command(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "fast.int8.onnx"
    command = ["quantize", str(STEM), "--pictures", str(photos), "-o", str(out), "--float", "0"]
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{out}: {out.stat().st_size:,} bytes"
    assert out.stat().st_size < 2_200_000
    operators = [node.op_type for node in onnx.load(out).graph.node]
    assert operators.count("Conv") == 106
    assert operators.count("QuantizeLinear") > 41
    photo = cv2.imread(str(ROOT / "samples" / "chelsea.jpg"))
    expected = sd.SqueezeDet().detect(photo)
    for backend in ("onnxruntime", "opencv", "auto"):
        found = sd.SqueezeDet(out, backend=backend).detect(photo)  # type: ignore[arg-type]
        assert found.labels == expected.labels
        np.testing.assert_allclose(found.xyxy, expected.xyxy, atol=30)


def test_the_layers_that_lose_most_stay_float() -> None:
    """Here the last one: next to a large weight, of an input that is always 0, it has one that 8 bits round to nothing."""
    layers = (
        Convolution(name="first", bottoms=("data",), tops=("first",), outputs=2, kernel=(1, 1), bias=False),
        Convolution(name="last", bottoms=("first",), tops=("last",), outputs=2, kernel=(1, 1), bias=False),
    )
    network = Network("two", "data", (1, 3, 8, 8), layers)
    weights = {
        "first": [np.array([[0, 0, 0], [1, 2, -1]], np.float32)[..., None, None]],
        "last": [np.array([[100, 0.2], [-50, 0.1]], np.float32)[..., None, None]],
    }
    blobs = [a_blob(network, seed=seed) for seed in range(4)]
    whole = quantize(Model(network, weights), blobs, floats=0)
    found = quantize(Model(network, weights), blobs, floats=1)
    assert whole.losses == {}
    assert whole.floats == ()
    assert found.floats == (min(found.losses, key=lambda name: found.losses[name]),)
    assert found.floats == ("last",)
    assert found.error == found.losses["last"] < whole.error / 2
    assert found.to_dict()["floats"] == found.floats


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "x.sdz", "--pictures", "photos"], "--output: a name that ends in .onnx was expected, got x.sdz"),
        (["-o", "x.onnx", "--pictures", "."], "no pictures in '.'"),
        (["-o", "x.onnx", "--pictures", "photos", "--float", "-1"], "floats must be at least 0, got -1"),
        (["-o", "x.onnx"], "--pictures"),
    ],
)
def test_wrong_arguments(
    arguments: list[str], message: str, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(photos.parent)
    network = small_network()
    Path("it.onnx").write_bytes(onnx_bytes(network, random_weights(network)))
    assert message in error_line(main, ["quantize", "it.onnx", *arguments], capsys)
    assert sorted(path.name for path in Path().iterdir()) == ["it.onnx", "photos"]


def test_a_description_that_left_out_what_the_layers_told(photos: Path, tmp_path: Path) -> None:
    """The 8-bit network's layers tell nothing."""
    told = json.loads(Path(f"{STEM}.json").read_text())
    for name in ("grid", "input_size", "first_axis"):
        del told["head"][name]
    for suffix in (".prototxt", ".caffemodel"):
        (tmp_path / f"mine{suffix}").write_bytes(Path(f"{STEM}{suffix}").read_bytes())
    (tmp_path / "mine.json").write_text(json.dumps(told))
    out = tmp_path / "fast.onnx"
    command = ["quantize", str(tmp_path / "mine"), "--pictures", str(photos), "-o", str(out), "--float", "0", "--count", "2"]
    assert main([*command, "--quiet"]) == 0
    assert sd.SqueezeDet(out).config == sd.SqueezeDet().config


def test_the_fastest_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_backend("auto") == "onnxruntime"
    assert choose_backend("auto", "cpu") == "onnxruntime"
    assert choose_backend("auto", "opencl") == "opencv"
    detector = sd.SqueezeDet(backend="auto")
    assert type(detector.backend).__name__ == "OnnxSession"
    net = cv2.dnn.readNetFromONNX(ONNX)
    assert type(sd.SqueezeDet(net, config=detector.config, backend="auto").backend).__name__ == "OnnxNet"
    monkeypatch.setattr("opencv_squeezedet.backends.open.find_spec", lambda name: None)
    assert choose_backend("auto") == "opencv"
