"""Where detect writes: streams that are open already, files that are distinct, and labels that say more than they should."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import DETECT, copy_photo, error_line
from model_mutations import SMALL, detector
from networks import MODELS, ROOT, random_weights

from opencv_squeezedet import cli
from opencv_squeezedet.model import EMBEDDED, Model
from opencv_squeezedet.preprocess import Preprocess

posix = pytest.mark.skipif(not Path("/dev/fd").exists(), reason="needs /dev/fd")
bash = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


@pytest.fixture(autouse=True)
def picture(folder: Path) -> None:
    copy_photo("chelsea.jpg")


def shell(line: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which ``detect`` is the command."""
    line = line.replace("detect ", f"{sys.executable} -c '{DETECT[-1]}' ", 1)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=environment)


@posix
@bash
@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
def test_standard_output_by_its_name(name: str, folder: Path) -> None:
    """Appended to as the shell opened it: the file was replaced, and a pipe failed."""
    if name.startswith("/proc") and not Path(name).parent.exists():
        pytest.skip("no /proc here")
    (folder / "link").symlink_to("/dev/stdout")
    (folder / "all.json").write_text("before\n")
    done = shell(f"detect chelsea.jpg --no-image --json {name} >> all.json")
    assert (done.returncode, done.stderr) == (0, "")
    first, _, rest = (folder / "all.json").read_text().partition("\n")
    assert first == "before"
    assert json.loads(rest)[0]["file"] == "chelsea.jpg", "nothing but JSON goes to standard output"
    done = shell(f"detect chelsea.jpg --no-image --json {name} | cat")
    assert json.loads(done.stdout)[0]["file"] == "chelsea.jpg"


@pytest.mark.parametrize(
    "options",
    [
        ["-o", "d", "--json", "d/chelsea.jpg"],
        ["--yolo", "d", "--csv", "d/data.yaml"],
        ["--yolo", "d", "--csv", "d/other.txt"],
        ["--voc", "d", "--json", "d/chelsea.xml"],
        ["-o", "d", "--coco", "d/film.mp4"],
        pytest.param(["--json", "-", "--csv", "/dev/stdout"], marks=posix),
    ],
)
def test_targets_that_are_the_same_file(options: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "d").mkdir()
    error_line(cli.detect_main, ["chelsea.jpg", *options], capsys)
    assert list((folder / "d").iterdir()) == []


def test_targets_beside_the_copies(folder: Path) -> None:
    assert cli.detect_main(["chelsea.jpg", "-o", "d", "--json", "d/found.json", "--yolo", "d", "--voc", "d", "--quiet"]) == 0
    names = {path.name for path in (folder / "d").iterdir()}
    assert names == {"chelsea.jpg", "found.json", "chelsea.txt", "data.yaml", "chelsea.xml"}


@pytest.fixture
def inputs(folder: Path) -> dict[Path, bytes]:
    """Every file that a command may read: a small model, a picture, a data set."""
    network, preprocess = detector(), Preprocess(SMALL.input_size)
    model = Model(network, random_weights(network), SMALL, preprocess)
    for name in ("net.onnx", "net.caffemodel", "packed.sdz"):
        model.save(Path(name))
    Model(network, model.weights).save(Path("bare.onnx"))
    image = {"id": 1, "file_name": "chelsea.jpg", "width": 451, "height": 300}
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 3, 60, 60], "score": 0.5}
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(SMALL.labels)]
    Path("data.json").write_text(json.dumps({"images": [image], "annotations": [box], "categories": categories}))
    Path("classes.json").write_text(json.dumps({"categories": categories}))
    Path("found.json").write_text(json.dumps([box]))
    return {path: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("detect chelsea.jpg --model net.onnx --json net.json", "--json: net.json is a file of the model"),
        ("detect chelsea.jpg --model net --csv net.prototxt", "--csv: net.prototxt is a file of the model"),
        ("detect chelsea.jpg --model packed --jsonl ./packed.sdz", "packed.sdz is a file of the model"),
        ("classify chelsea.jpg --model net.onnx --json net.json", "--json: net.json is a file of the model"),
        ("classify chelsea.jpg --model bare --json bare.json", "--json: bare.json is a file of the model"),  # if it were there
        ("compress bare.onnx -o new.sdz --json bare.json", "--json: bare.json is a file of the model"),
        ("eval data.json --model net --csv net.json", "--csv: net.json is a file of the model"),
        ("eval data.json --results found.json --json found.json", "--json: found.json is what --results names"),
        ("eval data.json --results found.json --categories classes.json --html classes.json", "is what --categories names"),
        ("inspect net --activations chelsea.jpg -o chelsea.jpg", "--output: chelsea.jpg is the picture"),
        ("label chelsea.jpg --teacher net -o chelsea.jpg", "--output: chelsea.jpg is one of the sources"),
        ("label . --teacher yolox=net.onnx -o net.json", "--output: net.json is a file of the model"),
        ("compress net.onnx -o new.sdz --json net.json", "--json: net.json is a file of the model"),
        ("compress net -o new.sdz --html net.caffemodel", "--html: net.caffemodel is a file of the model"),
        ("compress packed.sdz -o packed.sdz", "--output: packed.sdz is a file of the model"),
        ("compress net -o new.sdz --train data.json --json data.json", "--json: data.json is the data set"),
        ("compress net -o new.sdz --train . --teacher found.json --json found.json", "is what --teacher names"),
        ("quantize net.onnx --pictures . -o net.onnx", "--output: net.onnx is a file of the model"),
        ("quantize net.onnx --pictures . -o new.onnx --json new.json", "--json: new.json is the new model's JSON"),
        ("quantize packed.sdz --pictures . -o net.onnx", "'net.json' already exists and describes another model"),
        ("convert packed.sdz net.onnx", "'net.json' already exists and describes another model"),
    ],
)
def test_what_is_read_is_not_overwritten(
    line: str, message: str, inputs: dict[Path, bytes], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By a slip of the hand, as in --json with the name of the model's own JSON, which was replaced."""
    if line.startswith("quantize"):
        pytest.importorskip("onnx", reason="the extra [quantize] brings it")
    if "describes another" in message:
        Path("net.json").write_text("{}\n")
    before = {path: path.read_bytes() for path in inputs}
    assert message in error_line(cli.main, [*line.split()], capsys)
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


HOSTILE = "cat\n\x1b[2Jdog\r/../x"


@pytest.fixture
def hostile(folder: Path) -> str:
    """The embedded model with a label that moves the cursor."""
    for suffix in (".prototxt", ".caffemodel"):
        shutil.copy(MODELS / f"{EMBEDDED}{suffix}", folder / f"hostile{suffix}")
    description = json.loads((MODELS / f"{EMBEDDED}.json").read_text())
    description["head"]["labels"][7] = HOSTILE
    (folder / "hostile.json").write_text(json.dumps(description))
    return "hostile"


def test_labels_do_not_reach_the_terminal_raw(hostile: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files keep them: a spreadsheet may take a label that begins with = for a formula, as from every tool that writes CSV."""
    arguments = ["chelsea.jpg", "--model", hostile]
    assert cli.detect_main([*arguments, "--crops", "crops", "--csv", "found.csv", "--json", "found.json"]) == 0
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err
    assert out.count("\n") == 1
    assert r"cat\n\x1b[2Jdog\r/../x 0." in out
    (crops,) = (folder / "crops").iterdir()
    assert crops.name.isprintable()
    with open("found.csv", newline="") as file:
        assert [row["label"] for row in csv.DictReader(file)] == [HOSTILE]
    assert json.loads(Path("found.json").read_text())[0]["detections"][0]["label"] == HOSTILE
    assert "\x1b" not in error_line(cli.detect_main, [*arguments, "--classes", "bird,whale"], capsys)
    assert cli.main(["inspect", hostile]) == 0
    assert "\x1b" not in capsys.readouterr().out
