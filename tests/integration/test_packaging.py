"""What the sdist and the wheel hold, and that they work alone; what the source tree must not hold."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from networks import ROOT

import opencv_squeezedet as sd

needs_tools = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("Cython", "pip", "setuptools")),
    reason="building needs pip, setuptools and Cython, which the test extra brings",
)


def python(*arguments: str, cwd: Path, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, env={**clean, **environment})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    code = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"
    python("-c", code, str(folder), cwd=ROOT)
    (archive,) = folder.glob("*.tar.gz")
    return archive


@pytest.fixture(scope="module")
def wheel(sdist: Path) -> Path:
    """Built from the sdist, as installers do."""
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check")
    python("-m", "pip", "wheel", *options, "-w", str(sdist.parent), str(sdist), cwd=sdist.parent)
    (built,) = sdist.parent.glob("*.whl")
    return built


def test_only_its_own_extra_brings_opencv() -> None:
    """A second wheel of OpenCV would overwrite the one that is there."""
    requirements = [text for text in metadata.requires("opencv-squeezedet") or [] if "opencv-" in text.lower()]
    others = [text for text in requirements if not text.startswith("opencv-squeezedet[")]
    assert others == ['opencv-contrib-python>=4.8; extra == "opencv"']
    assert not any(re.match(r"opencv-squeezedet\[.*\bopencv\b", text) for text in requirements)


@pytest.mark.slow
@needs_tools
def test_sdist_holds_all_sources(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    needed = {"cython/_kernel.pyx", "opencv_squeezedet/nms.pxd"}
    needed |= {f"models/squeezedet_shuffle_voc.{suffix}" for suffix in ("caffemodel", "sdz")}
    needed |= {"samples/chelsea.jpg", "tests/golden/infer_bbox.json", "benchmarks/postprocess.py", "LICENSE", "CHANGELOG.md"}
    assert needed <= names
    made = re.compile(r"(?!tests/).*\.c|.*\.(so|pyc|o)")
    assert list(filter(made.fullmatch, names)) == []


@pytest.mark.slow
@needs_tools
def test_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {
        "opencv_squeezedet",
        "opencv_squeezedet_command.py",
        f"opencv_squeezedet-{sd.__version__}.dist-info",
    }
    inside = {name.removeprefix("opencv_squeezedet/") for name in names}
    needed = {"py.typed", "_kernel.pyi", "models/README.md"}
    needed |= {f"{name}.pxd" for name in ("_kernel", "anchors", "boxes", "candidates", "nms", "ssd")}
    needed |= {f"models/squeezedet_shuffle_voc.{suffix}" for suffix in ("prototxt", "sdz", "json")}
    assert needed <= inside
    assert not any(name.endswith((".caffemodel", ".onnx")) for name in inside)
    assert wheel.stat().st_size <= 1_700_000
    extensions = [name for name in inside if name.endswith((".so", ".pyd"))]
    assert len(extensions) == 1
    assert extensions[0].startswith("_kernel.")
    assert {"LICENSE", "LICENSE.SqueezeNet"} <= {Path(name).name for name in names if "dist-info" in name}


@pytest.mark.slow
@needs_tools
def test_wheel_works_from_any_folder(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    options = ("--no-deps", "--no-index", "--quiet", "--disable-pip-version-check")
    python("-m", "pip", "install", *options, "--target", str(site), str(wheel), cwd=tmp_path)
    code = (
        "import sys, opencv_squeezedet as sd; from opencv_squeezedet.cli import detect_main; print(sd.__file__); "
        "from opencv_squeezedet.model_files import models_folder; print(models_folder()); sys.exit(detect_main(sys.argv[1:]))"
    )
    out = python("-c", code, str(ROOT / "samples" / "chelsea.jpg"), cwd=tmp_path, PYTHONPATH=str(site)).splitlines()
    assert out[0] == str(site / "opencv_squeezedet" / "__init__.py")
    assert out[1] == str(site / "opencv_squeezedet" / "models")
    assert ": cat 0." in out[2]
    assert (tmp_path / "detections" / "chelsea.jpg").exists()
    import_in_root = "import opencv_squeezedet as sd; print(len(sd.SqueezeDet().config.labels))"
    assert python("-c", import_in_root, cwd=ROOT, PYTHONPATH=str(site)) == "20\n"
