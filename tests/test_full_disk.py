"""Every command whose output no longer fits: one line, status 1, and files that are whole or absent."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from embedded import needs_onnx
from networks import MODELS

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="resource limits of POSIX")

PHOTO = Path(__file__).parents[1] / "samples" / "chelsea.jpg"
MODEL = MODELS / "squeezedet_pyramid_voc"
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


def check(limit: int, *arguments: str, target: str) -> None:
    """A limit on the size of files stands for the disk: a write fails in the middle in the same way."""
    done = subprocess.run([sys.executable, "-c", CODE, str(limit), *arguments], capture_output=True, text=True)
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


@needs_onnx
@pytest.mark.parametrize(("name", "first"), [("a.onnx", "a.onnx"), ("a.prototxt", "a.caffemodel")])
def test_convert(name: str, first: str) -> None:
    check(5000, "convert", str(MODEL), f"out/{name}", target=f"out/{first}")
    assert list(Path("out").iterdir()) == []


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
    arguments = ["data.json", "-o", "out", "--size", "96", "--batch", "1", "--pictures", "1", "--workers", "0", "--quiet"]
    check(limit, "train", *arguments, target=f"out/{target}")
    assert sorted(path.name for path in Path("out").iterdir()) == left
