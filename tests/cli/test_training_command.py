"""``squeezedet train``: what it refuses, what it writes, and README's own commands from the first to the last."""

from __future__ import annotations

import csv
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
from commands import SQUEEZEDET, error_line
from networks import ROOT

import opencv_squeezedet as sd
from opencv_squeezedet import cli
from opencv_squeezedet.cli import progress
from opencv_squeezedet.cli import train as command
from opencv_squeezedet.cli.parser import make_parser


def test_without_torch(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError(\"No module named 'torch'\", name='torch')")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(sd.__file__).parents[1])])}
    for arguments in (["train", "data", "-o", "run"], ["label", "data", "--teacher", "embedded", "-o", "x"]):
        done = subprocess.run([*SQUEEZEDET, *arguments], capture_output=True, text=True, cwd=tmp_path, env=environment)
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1].startswith(f"squeezedet {arguments[0]}: ")
        assert "needs torch, which cannot be imported: pip install 'opencv-squeezedet[train]'" in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert {path.name for path in tmp_path.iterdir()} <= {"torch.py", "__pycache__"}


PAGE_FAULTS = """
import resource
import sys

import numpy as np

from opencv_squeezedet.cli.memory import keep_memory

if "kept" in sys.argv:
    assert keep_memory()
for _ in range(2):  # the second array takes what the first one left
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    array = np.empty(200_000_000, np.uint8)
    array[::512] = 1
    del array
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to keep memory")
def test_memory_that_was_freed_is_not_cleared_again() -> None:
    command = [sys.executable, "-c", PAGE_FAULTS]
    freed, kept = (int(subprocess.check_output([*command, *arguments])) for arguments in ([], ["kept"]))
    assert freed > 50  # of 2 MB at most, with huge pages
    assert kept < freed / 10


torch = pytest.importorskip("torch", reason="the extra [train] brings torch")

from training_cases import PYRAMID, squares  # noqa: E402

from opencv_squeezedet.datasets import load_dataset  # noqa: E402
from opencv_squeezedet.evaluation import detect_dataset, evaluate  # noqa: E402
from opencv_squeezedet.training import Recipe  # noqa: E402

SHORT = ["--size", "128", "--batch", "4", "--pictures", "8", "--workers", "0"]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    squares(tmp_path, 4)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    return "data.yaml"


@pytest.mark.slow
def test_a_short_training(data: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", data, "-o", "run", *SHORT, "--every", "4"]
    assert cli.main(arguments) == 0
    out = capsys.readouterr().out
    lines = iter(out.splitlines())
    for pattern in (
        r"data.yaml: YOLO's text files, described by data.yaml",
        r"train: 4 pictures, \d+ objects \(red \d+, blue \d+\), split train",
        r"validation: 5 pictures, \d+ objects \(red \d+, blue \d+\), split val",
        r"length: 8 pictures in (bfloat16|float32) on \w+, about .* s",
        r"4 pictures: mAP \(VOC07\) \d+\.\d \(box \d+\.\d\d, classes \d+\.\d\d, confidence \d+\.\d\d\)",
        r"calibrated: .*NMS threshold 0\.\d\d, score threshold 0\.\d\d: mAP \(VOC10\) \d+\.\d -> \d+\.\d, .*",
        *(rf"wrote run/model{suffix}" for suffix in (".prototxt", ".caffemodel", ".onnx", ".json")),
        r"try it: detect --model run PICTURE",
    ):
        assert any(re.fullmatch(pattern, line) for line in lines), pattern
    assert 1 <= out.count("\nnext: ") <= 3
    assert {path.name for path in Path("run").iterdir()} >= {"arguments.json", "curves.png", "log.csv", "predictions"}
    recipe = Recipe.from_json(Path("run/recipe.json").read_text())
    assert (recipe.input_size, recipe.batch, recipe.pictures) == ((128, 128), 4, 8)
    assert cli.detect_main(["images/val", "--model", "run", "--quiet"]) == 0
    capsys.readouterr()

    assert cli.main([*arguments, "--quiet"]) == 0  # it has ended: only the files are written again
    assert capsys.readouterr() == ("", "")
    assert "run holds a training run with another recipe" in error_line(
        cli.main, [*arguments, "--quiet", "--seed", "5"], capsys
    )
    assert cli.main(["train", data, "--recipe", "run/recipe.json", "-o", "other", "--workers", "0", "--quiet"]) == 0
    assert Path("other/recipe.json").read_text() == Path("run/recipe.json").read_text()


def test_a_line_a_minute_without_a_terminal(
    data: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the pictures that this run has seen, not those of one that it resumes."""
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    arguments = ["train", data, "-o", "run", *SHORT, "--every", "4"]
    assert cli.main(arguments) == 0
    first, second = (line for line in capsys.readouterr().err.splitlines() if " per second" in line)
    words = r"squeezedet train: {} of 8 pictures, \d+\.\d per second, {} left"
    assert re.fullmatch(words.format(4, r"(\d+ min )?\d+ s"), first)
    assert re.fullmatch(words.format(8, "0 s"), second)
    for options in (["--quiet"], []):
        assert cli.main([*arguments, *options]) == 0  # all has been seen before
        assert " per second" not in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--split", "0.2"]])
def test_a_random_fifth_is_held_out_of_a_set_without_splits(
    data: str, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """`eval --split 0.2` measures on the same pictures."""
    pytest.importorskip("faster_coco_eval", reason="eval needs it")
    Path("bolts").mkdir()
    for folder in ("images", "labels"):
        Path(folder, "val").rename(f"bolts/{folder}")
    Path("bolts/classes.txt").write_text("red\nblue\n")
    assert cli.main(["train", "bolts", *arguments, "-o", "run", *SHORT]) == 0
    out = capsys.readouterr().out
    _, train, val, *_ = out.splitlines()
    assert train.startswith("train: 4 pictures")
    assert val.startswith("validation: 1 pictures")
    assert "random" in val
    assert "mAP (VOC07)" in out
    assert cli.main(["eval", "bolts", "--split", ".2", "--model", "run", "--json", "found.json", "--quiet"]) == 0
    assert json.loads(Path("found.json").read_text())["pictures"] == 1
    assert sd.SqueezeDet("run").config.labels == ("red", "blue")


class _StoppedError(Exception):
    pass


@pytest.mark.parametrize(
    ("options", "train", "val"),
    [
        ([], 4, (5, "split val")),
        (["--split", "train"], 4, (5, "split val")),
        (["--split", "val"], 4, (1, "random")),
        (["--split", "0.25"], 3, (1, "random")),
        (["--val", "none"], 4, (0, "not measured")),
        (["--val", "data.yaml"], 4, (5, "from data.yaml")),
        (["--val", "data.yaml", "--val-split", "train"], 4, (4, "from data.yaml")),
        (["--val-split", "train", "--split", "val"], 5, (4, "split train")),
    ],
)
@pytest.mark.usefixtures("data")
def test_which_pictures_train_and_which_validate(
    options: list[str], train: int, val: tuple[int, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "_recipe", Mock(side_effect=_StoppedError))
    with pytest.raises(_StoppedError):
        cli.main(["train", "data.yaml", *options, "-o", "run"])
    _, first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"train: {train} pictures, ")
    assert second.startswith(f"validation: {val[0]} pictures, " if val[0] else "validation: none")
    assert val[1] in second


def test_the_folder_of_a_training(data: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A stopped training is resumed by the same command; others get a folder of their own."""
    losses = command._losses

    def interrupt(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "_losses", interrupt)
    train = ["train", data, *SHORT, "--quiet", "--every", "4", "--val", "none"]
    assert cli.main(train) == 130
    assert capsys.readouterr().err == "squeezedet train: stopped at 4 of 8 pictures; the same command resumes\n"
    monkeypatch.setattr(command, "_losses", losses)
    for options, folder in (([], "train"), ([], "train-2"), (["--seed", "1"], "train-3")):
        assert not Path("runs", folder, "model.json").exists()
        assert cli.main([*train, *options]) == 0
        assert Path("runs", folder, "model.json").is_file()
    assert sorted(path.name for path in Path("runs").iterdir()) == ["train", "train-2", "train-3"]


@pytest.mark.slow
def test_anchors_and_tensorboard(data: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In a process of its own: TensorBoard warns about what it uses."""
    pytest.importorskip("tensorboard", reason="the extra [tensorboard] brings it")
    pytest.importorskip("sklearn", reason="the extra [eval] brings scikit-learn")
    assert cli.main(["anchors", data, "--size", "128", "--count", "3", "--json", "head.json"]) == 0
    options = ["--anchors", "head.json", "--tensorboard", "-o", "run", *SHORT]
    options += ["--network", "pyramid", "--start", PYRAMID]  # whose ReLUs can die
    done = subprocess.run(
        [*SQUEEZEDET, "train", data, *options],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    detector = sd.SqueezeDet("run/model")
    expected = sd.HeadConfig.from_json(Path("head.json").read_text()).anchors
    np.testing.assert_allclose(detector.config.anchors, expected)
    (events,) = Path("run").glob("events.out.tfevents.*")
    content = events.read_bytes()
    for name in (
        *(b"loss/box", b"loss/classes", b"loss/confidence", b"training/rate", b"training/gradient", b"mAP/VOC07"),
        *(b"AP of classes/red", b"dead ReLUs/conv15", b"weights/conv16", b"activations/conv1", b"predictions", b"assigned"),
    ):
        assert name in content
    assert cli.main(["train", data, "--anchors", "head.json", "-o", "x", "--size", "192"]) == 2
    assert "--anchors: they are for an input of 128x128, not of 192x192" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.yaml"], "no data set at 'missing.yaml'"),
        (["data.yaml", "--split", "test"], "no split 'test'"),
        (["data.yaml", "--val", "missing"], "no data set at 'missing'"),
        (["data.yaml", "--val", "none", "--val-split", "val"], "--val none switches validation off"),
        (["data.yaml", "--split", "0.2", "--val-split", "val"], "--val and --val-split cannot be combined"),
        (["data.yaml", "--size", "20"], "multiples of 64"),
        (["data.yaml", "--seed", "-1"], "seed must be at least 0"),
        (["data.yaml", "--start", "nowhere.npz"], "nowhere.npz: No such file"),
        (["data.yaml", "--start", "unknown-name"], "the published models are"),
        (["data.yaml", "--start", "data.npz"], "LAYER_w"),
        (["data.yaml", "--recipe", "missing.json"], "missing.json: No such file"),
        (["data.yaml", "--recipe", "data.yaml"], "--recipe: Expecting value"),
        (["data.yaml", "--recipe", "/dev/zero"], "--recipe: the file has more than the maximum of 16,777,216 bytes"),
        (["data.yaml", "--anchors", "missing.json"], "missing.json: No such file"),
        (["data.yaml", "--anchors", "data.yaml"], "--anchors: Expecting value"),
        (["data.yaml", "--teacher", "missing.json"], "missing.json: No such file"),
        (["data.yaml", "--teacher", "data.yaml"], "data.yaml: Expecting value"),
        (["data.yaml", "-o", "data.yaml"], "data.yaml"),
        (["empty"], "none of the 0 pictures"),
        (["two"], "2 descriptions: pass one of"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_arguments(data: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("data.npz").write_bytes(b"no archive")
    Path("empty/images").mkdir(parents=True)
    Path("empty/labels").mkdir()
    Path("empty/data.yaml").write_text("path: .\ntrain: images\nnames: [a]\n")
    shutil.copytree("empty", "two")
    shutil.copy("empty/data.yaml", "two/other.yaml")
    output = [] if "-o" in arguments else ["-o", "run"]
    assert message in error_line(cli.main, ["train", *arguments, *output, "--quiet"], capsys)
    assert not Path("run").exists()


@pytest.mark.parametrize(("pictures", "every"), [(25, 3), (6000, 600), (240_000, 20_000)])
def test_every_measures_a_tenth_at_most(pictures: int, every: int) -> None:
    assert command._every(make_parser(command, "train").parse(["data"]), pictures) == every


def commands() -> list[str]:
    section = (ROOT / "README.md").read_text().partition("\n## Train on your own pictures\n")[2].partition("\n## ")[0]
    return re.findall(r"^\$ (.*)$", re.findall(r"^```console\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)[0], re.MULTILINE)


@pytest.mark.slow
def test_readme_trains_a_detector_that_finds_its_objects(tmp_path: Path) -> None:
    """All of its commands but the installation, word for word; about a minute on two cores that have nothing else to do."""
    shutil.copytree(ROOT / "samples", tmp_path / "samples")
    entry = "import sys; from opencv_squeezedet import cli; sys.exit(getattr(cli, sys.argv.pop(1))())"
    programs = {"python": ["python"], "squeezedet": ["-c", entry, "main"], "detect": ["-c", entry, "detect_main"]}
    install, *others = map(shlex.split, commands())
    assert install == ["pip", "install", ".[train]"]
    assert [words[0] for words in others] == ["python", "squeezedet", "detect", "squeezedet", "detect"]
    for program, *arguments in others:
        done = subprocess.run(
            [sys.executable, *programs[program][program == "python" :], *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},  # threads that wait for each other suffer
            timeout=1500,  # most where a machine has other things to do, as it may have while tests run
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout.count("ring") > 5
    assert done.stdout.count("screw") > 5

    with (tmp_path / "runs" / "bolts" / "log.csv").open(newline="") as file:
        measured = [float(row["map_voc07"]) for row in csv.DictReader(file) if row["map_voc07"]]
    assert len(measured) == 10
    assert max(measured) > 0.8
    detector = sd.SqueezeDet(tmp_path / "runs" / "bolts" / "model")
    val = load_dataset(tmp_path / "bolts" / "data.yaml", split="val", labels=detector.config.labels)
    found = evaluate(val, detect_dataset(val, [detector]).detections, coco=False)
    assert found.map_voc07 > 0.8
    assert found.pooled.best.f1 > 0.8
    smaller = sd.SqueezeDet(tmp_path / "bolts.sdz")
    assert (tmp_path / "bolts.sdz").stat().st_size <= 900_000
    assert evaluate(val, detect_dataset(val, [smaller]).detections, coco=False).map_voc07 > 0.8
    assert cv2.imread(str(next((tmp_path / "detections").glob("*.jpg")))) is not None
