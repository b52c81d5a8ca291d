"""The command ``detect``: what it prints, writes and answers, and what it says when something is wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from networks import MODELS

import opencv_squeezedet as sd
from opencv_squeezedet import cli
from opencv_squeezedet.files import WholeFile
from opencv_squeezedet.model import EMBEDDED

PHOTO = Path(__file__).parents[2] / "samples" / "chelsea.jpg"
COMMAND = [sys.executable, "-c", "import sys; from opencv_squeezedet.cli import detect_main; sys.exit(detect_main())"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    empty = tmp_path / "here"
    empty.mkdir()
    monkeypatch.chdir(empty)
    return empty


def written(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_one_line_an_object_and_an_annotated_picture(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.detect_main([str(PHOTO)]) == 0
    out, err = capsys.readouterr()
    found = sd.SqueezeDet().detect(cv2.imread(str(PHOTO)))
    assert len(out.splitlines()) == len(found) == 1
    x1, y1, x2, y2 = found.xyxy[0]
    assert out == f"{PHOTO}: cat {found.confidence[0]:.2f} ({x1:.0f}, {y1:.0f}, {x2:.0f}, {y2:.0f})\n"
    assert err == ""
    assert written(folder) == ["detections/chelsea.jpg"]
    picture, original = cv2.imread("detections/chelsea.jpg"), cv2.imread(str(PHOTO))
    assert picture.shape == original.shape
    assert np.abs(picture.astype(int) - original).max() > 50


def test_nothing_found_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite("black.png", np.zeros((40, 60, 3), np.uint8))
    assert cli.detect_main(["black.png"]) == 0
    assert capsys.readouterr().out == "black.png: nothing found\n"


def test_thresholds(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.detect_main([str(PHOTO), "--threshold", "0.001", "--nms", "1"]) == 0
    expected = sd.SqueezeDet().detect(cv2.imread(str(PHOTO)), score_threshold=0.001, nms_threshold=1)
    assert len(capsys.readouterr().out.splitlines()) == len(expected) > len(expected[expected.confidence > 0.3]) > 1
    assert cli.detect_main([str(PHOTO), "--threshold", "1"]) == 0
    assert "nothing found" in capsys.readouterr().out


def test_another_input_size(capsys: pytest.CaptureFixture[str]) -> None:
    for size, pair in (("320", (320, 320)), ("384x320", (384, 320))):
        assert cli.detect_main([str(PHOTO), "--size", size]) == 0
        (found,) = sd.SqueezeDet(size=pair).detect(cv2.imread(str(PHOTO)))
        assert f": cat {found.confidence:.2f} ({', '.join(f'{v:.0f}' for v in found.xyxy)})\n" in capsys.readouterr().out


def test_model_and_weights(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for suffix in (".prototxt", ".json"):
        shutil.copy(MODELS / f"{EMBEDDED}{suffix}", f"mine{suffix}")
    shutil.copy(MODELS / f"{EMBEDDED}.caffemodel", "other.caffemodel")
    Path("mine.json").write_text(Path("mine.json").read_text().replace('"cat"', '"Kätzchen"'))
    assert cli.detect_main([str(PHOTO), "--model", "mine", "--weights", "other.caffemodel"]) == 0
    assert ": Kätzchen 0." in capsys.readouterr().out


def test_json_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.detect_main([str(PHOTO), "--json", "all.json", "-o", "out/deep"]) == 0
    (entry,) = json.loads(Path("all.json").read_text())
    image = cv2.imread(str(PHOTO))
    assert entry == {"file": str(PHOTO), "width": 451, "height": 300, **sd.SqueezeDet().detect(image).to_dict()}
    assert written(folder) == ["all.json", "out/deep/chelsea.jpg"]


def test_json_on_standard_output_is_all_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.detect_main([str(PHOTO), "--json", "-", "missing.jpg"]) == 1
    out, err = capsys.readouterr()
    assert [entry["file"] for entry in json.loads(out)] == [str(PHOTO)]
    assert err == "detect: missing.jpg: No such file or directory\n"


def test_a_folder_is_its_pictures_by_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "in" / "deeper.jpg").mkdir(parents=True)
    for name in ("b.jpg", "a.JPG", "notes.txt"):
        shutil.copy(PHOTO, folder / "in" / name)
    assert cli.detect_main(["in"]) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["in/a.JPG", "in/b.jpg"]
    assert written(folder / "detections") == ["a.JPG", "b.jpg"]


def test_options_between_sources(folder: Path) -> None:
    shutil.copy(PHOTO, "a.jpg")
    shutil.copy(PHOTO, "b.jpg")
    assert cli.detect_main(["a.jpg", "-o", "out", "b.jpg"]) == 0
    assert written(folder / "out") == ["a.jpg", "b.jpg"]


def test_an_empty_folder_is_reported_and_the_rest_done(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "empty").mkdir()
    assert cli.detect_main(["empty", str(PHOTO)]) == 1
    assert capsys.readouterr().err.startswith("detect: empty: no pictures or videos")
    assert written(folder) == ["detections/chelsea.jpg"]


def test_two_sources_of_one_name_and_the_sources_themselves_are_kept(folder: Path) -> None:
    for place in ("one", "two"):
        (folder / place).mkdir()
        shutil.copy(PHOTO, folder / place / "cat.jpg")
    assert cli.detect_main(["one/cat.jpg", "two/cat.jpg", "-o", "one"]) == 0
    assert written(folder) == ["one/cat-2.jpg", "one/cat-3.jpg", "one/cat.jpg", "two/cat.jpg"]
    assert Path("one/cat.jpg").read_bytes() == PHOTO.read_bytes()


@pytest.mark.parametrize(
    "name", ["with space.jpg", "Kätzchen 猫.jpg", 'it\'s "quoted".jpg', "two\nlines.jpg", "-dash.jpg", b"\xff.jpg"]
)
def test_any_file_name(folder: Path, name: str | bytes, capsys: pytest.CaptureFixture[str]) -> None:
    path = os.fsdecode(name)
    try:
        shutil.copy(PHOTO, path)
    except OSError:
        pytest.skip("this file system does not take the name")
    assert cli.detect_main(["--json", "all.json", "--", path]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert json.loads(Path("all.json").read_text())[0]["file"] == path
    assert os.listdir("detections") == [path]


def test_a_name_that_the_terminal_cannot_show(folder: Path) -> None:
    shutil.copy(PHOTO, "猫.jpg")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*COMMAND, "猫.jpg"], capture_output=True, env=environment, check=True)
    assert done.stdout.startswith(b"\\u732b.jpg: cat 0.")


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """The JPEG with an EXIF segment that holds nothing but the orientation."""
    tiff = (
        b"MM\x00*\x00\x00\x00\x08"
        + b"\x00\x01"
        + b"\x01\x12\x00\x03\x00\x00\x00\x01"
        + bytes([0, orientation, 0, 0])
        + bytes(4)
    )
    segment = b"Exif\x00\x00" + tiff
    return jpeg[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + jpeg[2:]


def test_exif_orientation_is_honoured(folder: Path) -> None:
    lying = cv2.imencode(".png", cv2.rotate(cv2.imread(str(PHOTO)), cv2.ROTATE_90_COUNTERCLOCKWISE))[1]
    jpeg = cv2.imencode(".jpg", cv2.imdecode(lying, 1), [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    Path("turned.jpg").write_bytes(with_orientation(jpeg, 6))
    assert cli.detect_main(["turned.jpg", "--json", "all.json"]) == 0
    (entry,) = json.loads(Path("all.json").read_text())
    assert (entry["width"], entry["height"]) == (451, 300)
    assert {d["label"] for d in entry["detections"]} == {"cat"}
    assert cv2.imread("detections/turned.jpg").shape == (300, 451, 3)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp", ".tiff", ".gif"])
def test_annotated_pictures_keep_their_type_where_opencv_writes_it(folder: Path, suffix: str) -> None:
    image = cv2.imread(str(PHOTO))
    Path(f"a{suffix}").write_bytes(cv2.imencode(suffix if suffix != ".gif" else ".png", image)[1].tobytes())
    assert cli.detect_main([f"a{suffix}"]) == 0
    kept = cv2.haveImageWriter(f"a{suffix}")
    assert written(folder / "detections") == [f"a{suffix}" if kept else "a.png"]


def test_sixteen_bit_and_alpha_pictures(folder: Path) -> None:
    image = cv2.imread(str(PHOTO))
    cv2.imwrite("deep.png", image.astype(np.uint16) * 257)
    cv2.imwrite("alpha.png", cv2.cvtColor(image, cv2.COLOR_BGR2BGRA))
    assert cli.detect_main(["deep.png", "alpha.png", "--json", "all.json"]) == 0
    assert [[d["label"] for d in entry["detections"]] for entry in json.loads(Path("all.json").read_text())] == [["cat"]] * 2


def test_pictures_that_cannot_be_read_do_not_stop_the_rest(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("zero.jpg").touch()
    Path("text.jpg").write_text("no picture")
    Path("cut.png").write_bytes(cv2.imencode(".png", cv2.imread(str(PHOTO)))[1].tobytes()[:40])
    assert cli.detect_main(["zero.jpg", "text.jpg", "cut.png", "missing.jpg", str(PHOTO)]) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    lines = err.splitlines()
    assert [line.split(":")[1].strip() for line in lines] == ["zero.jpg", "text.jpg", "cut.png", "missing.jpg"]
    assert "empty" in lines[0]
    assert "not a picture" in lines[1]
    assert written(folder / "detections") == ["chelsea.jpg"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: SOURCE"),
        (["x.jpg", "--threshold", "1.5"], "a number in [0, 1] was expected, got '1.5'"),
        (["x.jpg", "--nms", "nan"], "a number in [0, 1] was expected, got 'nan'"),
        (["x.jpg", "--nms", "much"], "a number in [0, 1] was expected, got 'much'"),
        (["x.jpg", "--size", "big"], "pixels, as in 416 or 416x416, were expected, got 'big'"),
        (["x.jpg", "--size", "400"], "does not accept an input of 400x400"),
        (["x.jpg", "--size", "0"], "must be at least 1"),
        (["x.jpg", "--colour"], "unrecognized arguments: --colour"),
        (["x.jpg", "--model", "nowhere/at"], "no network definition at 'nowhere/at.prototxt'"),
        (["x.jpg", "--weights", "nothing.caffemodel"], "no weights at 'nothing.caffemodel'"),
        (["x.jpg", "--weights", "truncated.caffemodel"], "truncated.caffemodel': "),
        (["x.jpg", "--model", "broken"], "'broken.prototxt'"),
        (["x.jpg", "-o", "file"], "cannot make the folder file"),
        (["x.jpg", "--json", "no/folder/all.json"], "--json: no/folder/all.json"),
        (["x.jpg", "--json", "x.jpg"], "--json: x.jpg is one of the sources"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(folder: Path, arguments: list[str], message: str) -> None:
    shutil.copy(PHOTO, "x.jpg")
    Path("file").touch()
    Path("truncated.caffemodel").write_bytes((MODELS / f"{EMBEDDED}.caffemodel").read_bytes()[:5000])
    for suffix in (".caffemodel", ".json"):
        shutil.copy(MODELS / f"{EMBEDDED}{suffix}", f"broken{suffix}")
    Path("broken.prototxt").write_text("layer { name:")
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("detect: ")
    assert message in line
    assert Path("x.jpg").read_bytes() == PHOTO.read_bytes()


def test_an_output_that_cannot_be_written_ends_with_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("detections").mkdir()
    Path("detections/chelsea.jpg").write_text("from an earlier run")

    def full_disk(self: WholeFile, content: bytes) -> None:
        self._file.write(content[:100])
        raise OSError(28, "No space left on device", str(self.path))

    monkeypatch.setattr(WholeFile, "write", full_disk)
    assert cli.detect_main([str(PHOTO)]) == 1
    assert capsys.readouterr().err == "detect: cannot write detections/chelsea.jpg: No space left on device\n"
    assert written(folder) == ["detections/chelsea.jpg"]
    assert Path("detections/chelsea.jpg").read_text() == "from an earlier run"


def test_nobody_reads_on() -> None:
    with subprocess.Popen([*COMMAND, str(PHOTO), str(PHOTO)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()  # type: ignore[union-attr]
        assert process.stderr is not None
        assert process.stderr.read() == b""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_keeps_what_is_done(folder: Path) -> None:
    for i in range(400):
        shutil.copy(PHOTO, f"{i:03}.jpg")
    with subprocess.Popen(
        [*COMMAND, ".", "-o", "out", "--json", "all.json"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        while not (folder / "out" / "002.jpg").exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr is not None
        assert process.stderr.read() == b""
    done = [Path(entry["file"]).name for entry in json.loads(Path("all.json").read_text())]
    assert 3 <= len(done) < 400
    assert sorted(path.name for path in (folder / "out").iterdir()) == done
    assert all(cv2.imread(str(path)) is not None for path in (folder / "out").iterdir())


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    for argument, expected in (("--version", f"detect {sd.__version__}\n"), ("--help", "usage: detect")):
        with pytest.raises(SystemExit, match=r"^0$"):
            cli.detect_main([argument])
        assert capsys.readouterr().out.startswith(expected)


def test_the_installed_command_is_this_one() -> None:
    from importlib.metadata import entry_points

    found = [entry for entry in entry_points(group="console_scripts") if entry.name == "detect"]
    if not found:
        pytest.skip("the package is not installed, only importable")
    assert found[0].value == "opencv_squeezedet_command:detect"


@pytest.mark.parametrize("name", ["squeezedet", "detect", "classify"])
def test_the_commands_begin_where_ctrl_c_is_quiet(name: str) -> None:
    code = f"import sys; from opencv_squeezedet_command import {name}; sys.exit({name}())"
    done = subprocess.run([sys.executable, "-c", code, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"{name} {sd.__version__}\n"


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("wait", [0.0, 0.05, 0.1, 0.2, 0.3])
def test_ctrl_c_while_a_command_starts(wait: float) -> None:
    """From the first thing that a command does, which is to set what Ctrl-C does."""
    code = """import signal, sys
set_handler = signal.signal
set_handler(signal.SIGINT, signal.default_int_handler)
def told(*arguments):
    set_handler(*arguments)
    print(flush=True)
signal.signal = told
import opencv_squeezedet_command
sys.exit(opencv_squeezedet_command.detect())"""
    with subprocess.Popen(
        [sys.executable, "-c", code, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(wait)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) in (-signal.SIGINT, 130)
        assert process.stderr is not None
        assert process.stderr.read() == b""
