"""Every command whose output no longer fits: one line, status 1, and files that are whole or absent."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from model_mutations import description, detector
from networks import MODELS, random_weights

from opencv_squeezedet.formats import onnx_bytes

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="resource limits of POSIX")

PHOTO = Path(__file__).parents[2] / "samples" / "chelsea.jpg"
MODEL = MODELS / "squeezedet_shuffle_voc"
CODE = """import resource, sys
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
from opencv_squeezedet.cli import main
sys.exit(main())"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data set of one picture, and an empty folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(PHOTO, "a.jpg")
    image = {"id": 1, "file_name": "a.jpg", "width": 451, "height": 300}
    boxes = [{"image_id": 1, "category_id": 1, "bbox": [10, 3, side, side]} for side in (60, 200, 290)]
    content = {"images": [image], "annotations": boxes, "categories": [{"id": 1, "name": "cat"}]}
    Path("data.json").write_text(json.dumps(content))
    Path("out").mkdir()


def check(limit: int, *arguments: str, target: str, folder: str = "") -> None:
    """A limit on the size of files stands for the disk: a write fails in the middle in the same way."""
    environment = {**os.environ, "TMPDIR": folder} if folder else None
    command = [sys.executable, "-c", CODE, str(limit), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.stderr.splitlines() == [f"squeezedet {arguments[0]}: cannot write {target}: File too large"]
    assert done.returncode == 1
    assert not Path(target).exists()


@pytest.mark.parametrize("option", ["--json", "--csv", "--html", "--save-results"])
def test_eval(option: str) -> None:
    pytest.importorskip("faster_coco_eval", reason="the extra [eval] brings it")
    check(50, "eval", "data.json", "--quiet", option, "out/a", target="out/a")
    assert list(Path("out").iterdir()) == []


@pytest.mark.parametrize(("option", "target"), [("--json", "out/a"), ("--plot", "out/a.png")])
def test_anchors(option: str, target: str) -> None:
    pytest.importorskip("sklearn", reason="the extra [eval] brings it")
    check(50, "anchors", "data.json", "--count", "2", option, target, target=target)
    assert list(Path("out").iterdir()) == []


@pytest.mark.parametrize("name", ["a.onnx", "a.prototxt"])
def test_convert(name: str) -> None:
    check(5000, "convert", str(MODEL), f"out/{name}", target=f"out/{name}")
    assert list(Path("out").iterdir()) == []


@pytest.fixture
def small() -> str:
    """A detector of a few hundred weights."""
    network = detector()
    Path("small.onnx").write_bytes(onnx_bytes(network, random_weights(network)))
    Path("small.json").write_bytes(description())
    return "small.onnx"


COMPRESS = ("--density", "0.5", "--bits", "4", "--quiet", "-o")


@pytest.mark.parametrize(
    ("limit", "options", "target", "left"),
    [
        (1000, ["out/a.sdz"], "out/a.sdz", []),
        (2800, ["out/a.sdz", "--json", "out/b"], "out/b", []),  # the report is longer than the network
        (50, ["out/a.sdz", "--pictures", "."], "out/a.stages/sensitivity.json", ["a.stages"]),
    ],
)
def test_compress(limit: int, options: list[str], target: str, left: list[str], small: str) -> None:
    check(limit, "compress", small, *COMPRESS, *options, target=target)
    assert [path.name for path in Path("out").iterdir()] == left


@pytest.mark.parametrize("limit", [300, 12_000])
def test_quantize(limit: int, small: str) -> None:
    """onnxruntime works with files of its own, in the folder for temporary ones, and does not tell their names."""
    pytest.importorskip("onnxruntime.quantization", reason="the extra [quantize] brings it")
    Path("temporary").mkdir()
    arguments = ["quantize", small, "--pictures", ".", "--quiet", "-o", "out/a.onnx", "--count", "1"]
    check(limit, *arguments, target="a temporary file", folder="temporary")
    assert list(Path("out").iterdir()) == []
    assert [path for path in Path("temporary").iterdir() if path.is_dir()] == []  # a file there is onnxruntime's own


def test_label() -> None:
    pytest.importorskip("torch", reason="the extra [train] brings torch")
    check(50, "label", "a.jpg", "--teacher", "embedded", "-o", "out/a", "--quiet", target="out/a")
    assert list(Path("out").iterdir()) == []


@pytest.mark.parametrize(
    ("limit", "target", "left"),
    [
        (50, "recipe.json", ["lock"]),
        (1_000_000, "checkpoint.pt", ["assigned.jpg", "layers.csv", "layers.png", "lock", "log.csv", "recipe.json"]),
    ],
)
def test_train(limit: int, target: str, left: list[str]) -> None:
    pytest.importorskip("torch", reason="the extra [train] brings torch")
    arguments = ["data.json", "-o", "out", "--size", "64", "--batch", "1", "--pictures", "1", "--workers", "0", "--quiet"]
    check(limit, "train", *arguments, target=f"out/{target}")
    assert sorted(path.name for path in Path("out").iterdir()) == left
