"""What `import` says where something that the package stands on is missing; Python as people start it."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import PHOTO, written
from embedded import STEM

import opencv_squeezedet as sd

PACKAGE = Path(sd.__file__).parent
NOT_EDITABLE = "import sys; sys.meta_path[:] = [one for one in sys.meta_path if '__editable__' not in str(one)]"
"""An editable installation would find what is missing in a copy."""


def error_of_import(folder: Path) -> str:
    done = started([], {"PYTHONPATH": str(PACKAGE.parent)}, f"{NOT_EDITABLE}; import opencv_squeezedet", folder, folder)
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
    assert error.startswith("ImportError: ")
    for remedy in (reason, "apt-get install libgl1", "pip uninstall"):
        assert remedy in error


NO_CV2 = """
import importlib.abc, sys

class NoCv2(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "cv2":
            raise ModuleNotFoundError("No module named 'cv2'", name="cv2")

sys.meta_path.insert(0, NoCv2())
"""
WAYS_TO_OPENCV = ("pip install 'opencv-squeezedet[opencv]'", "pip install opencv-python-headless")


def test_no_opencv_at_all(tmp_path: Path) -> None:
    done = started([], {}, f"{NO_CV2}import opencv_squeezedet", tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1
    error = done.stderr.splitlines()[-1]
    assert error.startswith("ImportError: ")
    assert all(way in error for way in WAYS_TO_OPENCV)


@pytest.mark.parametrize("command", ["squeezedet", "detect", "classify"])
def test_a_command_without_opencv(command: str, tmp_path: Path) -> None:
    code = f"{NO_CV2}import opencv_squeezedet_command as commands; sys.exit(commands.{command}())"
    done = started([], {}, code, tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{command}: ")
    assert all(way in line for way in WAYS_TO_OPENCV)


def test_a_missing_extension(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "opencv_squeezedet", ignore=shutil.ignore_patterns("*.so", "*.pyd", "models"))
    error = error_of_import(tmp_path)
    assert error.startswith("ImportError: ")
    assert "pip install ." in error
    assert "--force-reinstall" in error


@pytest.mark.parametrize("library", ["ray", "pyarrow"])
def test_batch_without_its_extra(library: str, tmp_path: Path) -> None:
    if library == "pyarrow":  # which is imported second
        pytest.importorskip("ray", reason="the extra [ray] brings Ray")
    code = (
        f"sys.modules[{library!r}] = None; from opencv_squeezedet.cli import main; sys.exit(main(['batch', 'x', '-o', 'y']))"
    )
    done = started([], {}, code, tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("squeezedet batch: ")
    assert library in line
    assert "pip install 'opencv-squeezedet[ray]'" in line


def test_importing_is_silent_and_takes_nothing_that_is_optional() -> None:
    code = (
        "import sys, cv2; before = set(sys.modules); import opencv_squeezedet; "  # NumPy's own imports differ by its version
        "print(sorted({name.split('.')[0] for name in sys.modules.keys() - before} "
        "& {'tqdm', 'Cython', 'IPython', 'matplotlib', 'pytest', 'torch', 'onnx', 'argparse', 'requests', 'hashlib'}))"
    )
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


# ---- as people start Python ---------------------------------------------------------------------------------------------

STARTS: list[Any] = [
    pytest.param(["-O"], {}, id="-O"),
    pytest.param(["-W", "error"], {}, id="-W error"),
    pytest.param(["-X", "dev", "-W", "error"], {}, id="-X dev"),
    pytest.param(["-X", "warn_default_encoding", "-W", "ignore::EncodingWarning"], {}, id="default encodings"),
    pytest.param(["-I"], {}, id="-I"),
    pytest.param([], {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, id="ASCII"),
    pytest.param([], {"PYTHONUTF8": "1"}, id="UTF-8 mode"),
    pytest.param([], {"HOME": None, "XDG_CACHE_HOME": None}, id="no HOME"),
    pytest.param([], {"HOME": "/nonexistent"}, id="a HOME that is not there"),
    pytest.param([], {"PATH": "/nonexistent"}, id="no PATH"),
    pytest.param(["-X", "utf8=0"], {"PYTHONIOENCODING": "latin-1", "LANG": "de_DE.ISO-8859-1"}, id="latin-1"),
]


def started(
    options: list[str], variables: dict[str, str | None], code: str, folder: Path, first_on_path: Path = PACKAGE.parent
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    start = f"import sys; sys.path.insert(0, {str(first_on_path)!r})\n"
    if "warn_default_encoding" in options:  # cv2's own loader lacks one
        start += "import cv2, warnings; warnings.simplefilter('error', EncodingWarning)\n"
    return subprocess.run(
        [sys.executable, *options, "-c", start + code],
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        cwd=folder,
        env={name: value for name, value in environment.items() if value is not None},
        timeout=300,
    )


@pytest.mark.parametrize(("options", "variables"), STARTS)
def test_detect_however_python_is_started(options: list[str], variables: dict[str, str | None], tmp_path: Path) -> None:
    """All formats, of a file with a name beyond ASCII: the same files. An error, with -O too: one line, status 2."""
    (tmp_path / "it.onnx").write_bytes(b"\x00" * 100)
    shutil.copy(f"{STEM}.json", tmp_path / "it.json")
    shutil.copy(PHOTO, tmp_path / "Kätzchen.jpg")
    outputs = ["--json", "all.json", "--jsonl", "b", "--csv", "all.csv", "--coco", "coco.json", "--yolo", "y", "--voc", "v"]
    code = f"""from opencv_squeezedet.cli import main
status = main(['detect', '.', *{outputs!r}, '--crops', 'c'])
sys.exit(10 * status + main(['detect', {str(PHOTO)!r}, '--model', 'it.onnx']))"""
    done = started(options, variables, code, tmp_path)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("squeezedet detect: 'it.onnx': ")
    assert re.fullmatch(r".*: cat 0\.\d\d \(\d+, \d+, \d+, \d+\)\n", done.stdout)
    assert {*written(tmp_path)} == {
        *("it.onnx", "it.json"),
        *("Kätzchen.jpg", "detections/Kätzchen.jpg", "y/Kätzchen.txt", "v/Kätzchen.xml", "c/cat/Kätzchen_0.jpg"),
        *("all.json", "b", "all.csv", "coco.json", "y/data.yaml"),
    }
    (entry,) = json.loads((tmp_path / "all.json").read_bytes())
    assert entry["file"].encode("utf-8", "surrogateescape").decode() == "Kätzchen.jpg"
    assert "cat" in (tmp_path / "v" / "Kätzchen.xml").read_text(encoding="utf-8")


def test_the_package_asserts_nothing_but_types() -> None:
    """With -O the checks of what comes from outside would be gone."""
    asserted = re.compile(r"^\s*assert (?!isinstance\()", re.M)
    assert [path.name for path in PACKAGE.rglob("*.py") if asserted.search(path.read_text(encoding="utf-8"))] == []


def test_a_cache_without_a_home(tmp_path: Path) -> None:
    pytest.importorskip("platformdirs", reason="the extra [fetch] brings it")
    code = "from opencv_squeezedet import registry; print(registry.find_entry('squeezenet-v1.1').path().name)"
    done = started([], {"HOME": None, "XDG_CACHE_HOME": None, "OPENCV_SQUEEZEDET_CACHE": None}, code, tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == ("squeezenet_v1.1.caffemodel\n", "", 0)


IN_PROCESSES = f"""
import multiprocessing, sys
import opencv_squeezedet as sd
from opencv_squeezedet.pictures import read_picture
from pathlib import Path

def inherited(queue):
    queue.put(len(detector.detect(image)))

def fresh(queue):
    queue.put(len(sd.SqueezeDet().detect(read_picture(Path({str(PHOTO)!r})))))

if __name__ == "__main__":
    image, detector = read_picture(Path({str(PHOTO)!r})), sd.SqueezeDet()
    assert len(detector.detect(image)) == 1
    context = multiprocessing.get_context(sys.argv[1])
    for work in (inherited, fresh) if sys.argv[1] == "fork" else (fresh,):
        queue = context.Queue()
        process = context.Process(target=work, args=(queue,))
        process.start()
        assert queue.get(timeout=60) == 1
        process.join()
        assert process.exitcode == 0
    print("done")
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_after_use(method: str, tmp_path: Path) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip("not on this system")
    (tmp_path / "work.py").write_text(IN_PROCESSES, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(tmp_path / "work.py"), method],
        capture_output=True,
        text=True,
        timeout=180,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
    )
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr
