"""What `import` says where something that the package stands on is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import opencv_squeezedet as sd

PACKAGE = Path(sd.__file__).parent


def error_of_import(*first_on_path: Path) -> str:
    path = os.pathsep.join(map(str, (*first_on_path, PACKAGE.parent)))
    done = subprocess.run(
        [sys.executable, "-c", "import opencv_squeezedet"],
        capture_output=True,
        text=True,
        cwd=first_on_path[0],
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 1
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("raise ImportError('libGL.so.1: cannot open shared object file')", "libGL.so.1: cannot open"),
        ("", "no attribute 'dnn'"),
        ("raise AttributeError('partially initialized module')", "partially initialized"),
    ],
    ids=["no libGL", "wheels over each other", "broken"],
)
def test_a_cv2_that_cannot_be_used(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "cv2.py").write_text(content)
    error = error_of_import(tmp_path)
    assert error.startswith("ImportError: opencv_squeezedet needs cv2")
    for remedy in (reason, "pip install 'opencv-contrib-python", "apt-get install libgl1", "pip uninstall"):
        assert remedy in error


def test_a_missing_extension(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "opencv_squeezedet", ignore=shutil.ignore_patterns("*.so", "*.pyd", "models"))
    error = error_of_import(tmp_path)
    assert error.startswith("ImportError: opencv_squeezedet's compiled extension cannot be imported")
    assert "pip install ." in error
    assert "--force-reinstall" in error


def test_importing_is_silent_and_takes_nothing_that_is_optional() -> None:
    code = (
        "import sys, cv2; before = set(sys.modules); import opencv_squeezedet; "  # NumPy's own imports differ by its version
        "print(sorted({name.split('.')[0] for name in sys.modules.keys() - before} "
        "& {'tqdm', 'Cython', 'matplotlib', 'pytest', 'torch', 'onnx', 'argparse', 'requests', 'platformdirs', 'hashlib'}))"
    )
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
