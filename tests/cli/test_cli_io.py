"""The sources of ``detect``, and its outputs, which are read back."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from commands import DETECT, FRAMES, PHOTO, copy_photo, error_line, make_video, written
from terminal import open_terminal, read_terminal

import opencv_squeezedet as sd
from opencv_squeezedet.cli import detect_main
from opencv_squeezedet.cli.outputs import write_yolo_names

pytestmark = pytest.mark.usefixtures("folder")
devices = pytest.mark.skipif(not Path("/dev/zero").exists(), reason="devices of POSIX")
posix = pytest.mark.skipif(sys.platform == "win32", reason="pipes and signals of POSIX")
Capsys = pytest.CaptureFixture[str]


def frames_of(path: str | Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while True:
        done, frame = capture.read()
        if not done:
            return frames
        frames.append(frame)


def names(capsys: Capsys) -> list[str]:
    return list(dict.fromkeys(line.split(":")[0] for line in capsys.readouterr().out.splitlines()))


def entries(path: str = "all.json") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(Path(path).read_text())
    return found


# ---- sources -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["in"], ["in/a.PNG", "in/b.jpg", "in/g.gif", "in/j.jfif"]),
        (["in", "-r"], ["in/a.PNG", "in/b.jpg", "in/deep/c.jpg", "in/deep/er.jpg/d.jpg", "in/g.gif", "in/j.jfif"]),
        (["in/*.jpg"], ["in/b.jpg"]),
        (["in/**/*.jpg"], ["in/b.jpg", "in/deep/c.jpg", "in/deep/er.jpg/d.jpg"]),
        (["in/deep/c.jpg", "in/[ab].*"], ["in/deep/c.jpg", "in/a.PNG", "in/b.jpg"]),
        (["list.txt"], ["in/b.jpg", "in/deep/er.jpg/d.jpg"]),
        (["in/b.jpg", "in/b.jpg"], ["in/b.jpg"]),
        (["in/b.jpg", "-o", "out", "in/deep/c.jpg"], ["in/b.jpg", "in/deep/c.jpg"]),
        (["a[1].jpg", "7"], ["a[1].jpg", "7"]),
        (["a[1].jpg", "a[*"], ["a[1].jpg"]),
    ],
)
def test_pictures_folders_patterns_and_lists(arguments: list[str], expected: list[str], capsys: Capsys) -> None:
    copy_photo("in/b.jpg", "in/a.PNG", "in/j.jfif", "in/g.gif", "in/deep/c.jpg", "in/deep/er.jpg/d.jpg", "a[1].jpg", "7")
    Path("in/notes.txt").write_text("no picture")
    Path("list.txt").write_bytes(b"\xef\xbb\xbf# chosen by hand\r\nin/b.jpg\r\n\r\nin/deep/er.jpg/*.jpg\r\n")
    assert detect_main(arguments) == 0
    assert names(capsys) == expected


def test_bad_sources_are_reported_and_the_rest_done(capsys: Capsys) -> None:
    copy_photo("good.jpg", "listed.jpg")
    Path("empty.txt").write_text("# nothing\n")
    Path("lists.txt").write_text("lists.txt\n")
    Path("list.txt").write_text("listed.jpg\nloop.jpg\nnone*.png\n")
    Path("loop.jpg").symlink_to("loop.jpg")
    Path("empty").mkdir()
    for name, content in (("empty.mp4", b""), ("broken.mp4", b"no video"), ("zero.jpg", b""), ("text.jpg", b"no picture")):
        Path(name).write_bytes(content)
    Path("cut.png").write_bytes(cv2.imencode(".png", cv2.imread(str(PHOTO)))[1].tobytes()[:40])
    for name in ("huge.jpg", "huge.txt"):
        with Path(name).open("wb") as file:
            file.truncate(1 << 40)
    problems = {
        "none/*.jpg": "nothing matches",
        "empty.txt": "no sources",
        "lists.txt": "cannot name another list",
        "list.txt: loop.jpg": "symbolic links",
        "list.txt: none*.png": "nothing matches",
        "huge.txt": "268,435,456",
        "missing.mp4": "No such file",
        "99999999999": "No such file",
        "": "empty name",
        "empty": "no pictures or videos",
        "empty.mp4": "cannot open this video",
        "broken.mp4": "cannot open this video",
        "97": "cannot open this camera",
        "http://127.0.0.1:9/film.avi": "cannot open this stream",
        "zero.jpg": "empty",
        "text.jpg": "not a picture",
        "cut.png": "not a picture",
        "missing.jpg": "No such file",
        "loop.jpg": "symbolic links",
        "huge.jpg": "1,073,741,824",
    }
    assert detect_main([*dict.fromkeys(name.split(": ")[0] for name in problems), "good.jpg"]) == 1
    out, err = capsys.readouterr()
    assert [line.split(":")[0] for line in out.splitlines()] == ["listed.jpg", "good.jpg"]
    assert written("detections") == ["good.jpg", "listed.jpg"]
    for name, words in problems.items():
        (line,) = [line for line in err.splitlines() if line.startswith(f"detect: {name}: ")]
        assert words in line
    assert len(err.splitlines()) == len(problems)


@devices
def test_standard_input_that_does_not_end(monkeypatch: pytest.MonkeyPatch, capsys: Capsys) -> None:
    monkeypatch.setattr("opencv_squeezedet.cli.sources.MOST_PICTURE_BYTES", 1 << 22)
    with open("/dev/zero") as endless:
        monkeypatch.setattr(sys, "stdin", endless)
        assert "4,194,304" in error_line(detect_main, ["-"], capsys, status=1)


@pytest.mark.skipif(shutil.which("bash") is None, reason="a shell that substitutes processes")
@pytest.mark.parametrize(
    "source", ["<(cat {photo})", "/dev/stdin < {photo}", "/dev/stdin < <(cat {photo})", "- < <(cat {photo})", "- < {photo}"]
)
def test_a_picture_from_a_pipe(folder: Path, source: str) -> None:
    line = f"exec {sys.executable} -c '{DETECT[-1]}' {source.format(photo=PHOTO)} --json all.json"
    subprocess.run(["bash", "-c", line], check=True)
    (entry,) = entries()
    assert (entry["width"], entry["detections"][0]["label"]) == (451, "cat")
    assert written(folder)[0] == "all.json"
    assert len(written("detections")) == 1


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("source", ["pipe.jpg", "-", "pipe.mp4"])
def test_one_signal_ends_the_waiting_for_a_source(source: str, number: signal.Signals) -> None:
    """Ctrl-C and kill, once, while nobody writes to a pipe."""
    os.mkfifo("pipe.jpg")
    os.mkfifo("pipe.mp4")
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a job in the background has none
    code += "from opencv_squeezedet.cli import detect_main; print('ready', flush=True); sys.exit(detect_main())"
    reader, writer = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", code, source], stdin=reader, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        if source == "pipe.mp4":  # for which OpenCV would wait
            assert process.wait(30) == 1
            assert process.stderr.read() == b"detect: pipe.mp4: a video is read from a regular file only\n"
        else:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.7)
            process.send_signal(number)
            assert process.wait(10) == (130 if number == signal.SIGINT else -number)
            assert process.stderr.read() == b""
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("arguments", [["f\udcff.mp4"], ["p.\udcff"], ["film.avi", "-o", "d\udcff"]])
def test_names_that_are_not_utf_8_end_with_words(arguments: list[str]) -> None:
    """OpenCV itself ends the process over them."""
    make_video(frames=2)
    copy_photo("f\udcff.mp4")
    Path("p.\udcff").touch()
    done = subprocess.run([*DETECT, *arguments], capture_output=True)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert b"Traceback" not in done.stderr
    assert not [path for path in Path().rglob(".*") if path.is_file()]


def test_libraries_below_write_nothing_of_damaged_pictures() -> None:
    """libpng, libjpeg and libtiff would, and from several threads; what the command says is all there."""
    image, paths, damaged = cv2.imread(str(PHOTO)), [], []
    for number in range(12):
        for suffix in (".png", ".jpg", ".tiff"):
            content = cv2.imencode(suffix, image)[1].tobytes()
            half = content[: len(content) // 2]
            paths.append(f"{number}{suffix}")
            Path(paths[-1]).write_bytes(half)
            if cv2.imdecode(np.frombuffer(half, np.uint8), cv2.IMREAD_COLOR) is None:  # OpenCV 4.8 takes half a JPEG
                damaged.append(paths[-1])
    done = subprocess.run([*DETECT, *paths, "--no-image"], capture_output=True, text=True)
    assert done.returncode == 1
    assert [line.split(": ")[1] for line in done.stderr.splitlines()] == damaged


# ---- video -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "copy", "step"),
    [([], "detections/film.mp4", 1), (["--every", "3", "--video-out", "out.avi", "--no-image"], "out.avi", 3)],
)
def test_a_video_gives_lines_and_an_annotated_video(options: list[str], copy: str, step: int, capsys: Capsys) -> None:
    make_video()
    assert detect_main(["film.avi", "--json", "all.json", *options]) == 0
    assert names(capsys) == [f"film.avi frame {i}" for i in range(0, FRAMES, step)]
    assert [entry["frame"] for entry in entries()] == list(range(0, FRAMES, step))
    assert sum(bool(entry["detections"]) for entry in entries()) > FRAMES / step / 2
    assert written(".") == sorted(["all.json", "film.avi", copy])
    drawn, plain = frames_of(copy), frames_of("film.avi")
    assert len(drawn) == FRAMES / step
    assert drawn[0].shape == plain[0].shape
    assert np.abs(drawn[0].astype(int) - plain[0]).max() > 60
    assert cv2.VideoCapture(copy).get(cv2.CAP_PROP_FPS) == pytest.approx(10 / step, rel=0.01)


def test_sources_are_mixed_freely(capsys: Capsys) -> None:
    make_video(frames=3)
    copy_photo("film.jpg")
    Path("list.txt").write_text("film.avi\nfilm.jpg\n")
    assert detect_main(["film.jpg", "list.txt", "film.avi", "--yolo", "labels", "--batch", "4"]) == 0
    assert names(capsys) == ["film.jpg", *(f"film.avi frame {i}" for i in range(3))]
    assert written("detections") == ["film-2.mp4", "film-3.jpg", "film-4.jpg", "film.mp4"]
    assert {"film_000000.txt", "film_000002.txt", "film-3.txt", "film-4.txt", "data.yaml"} <= set(written("labels"))


def camera(frames: int, decoded: int = 99) -> Mock:
    """A substitute for cv2.VideoCapture that gives the photo so many times, then nothing, as an unplugged camera does."""
    image = cv2.imread(str(PHOTO))
    grab = Mock(side_effect=[*[True] * frames, False])
    retrieve = Mock(side_effect=[(i < decoded, image.copy()) for i in range(frames)])
    return Mock(isOpened=lambda: True, get=lambda _: 0.0, grab=grab, retrieve=retrieve)


@pytest.mark.parametrize(
    ("source", "frames", "decoded", "message"),
    [
        ("0", 5, 99, "camera 0 gives no more frames"),
        ("film.avi", 5, 2, "film.avi: frame 2 cannot be decoded"),
        ("film.avi", 0, 0, "film.avi: no frame can be read"),
    ],
)
def test_a_video_that_ends_with_an_error(
    source: str, frames: int, decoded: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: Capsys
) -> None:
    make_video(frames=1)
    real, sources = cv2.VideoCapture, (0, os.path.abspath("film.avi"))
    monkeypatch.setattr(cv2, "VideoCapture", lambda name: camera(frames, decoded) if name in sources else real(name))
    arguments: list[object] = [source, "--no-image", "--video-out", "seen.avi", "--json", "all.json"]
    assert error_line(detect_main, arguments, capsys, status=1) == f"detect: {message}"
    monkeypatch.setattr(cv2, "VideoCapture", real)
    assert len(frames_of("seen.avi")) == len(entries()) == min(frames, decoded)


def test_a_video_may_end_before_the_frame_count_of_its_header() -> None:
    make_video()
    content = Path("film.avi").read_bytes()
    Path("film.avi").write_bytes(content[: len(content) // 3])
    assert detect_main(["film.avi", "--json", "all.json"]) == 0
    assert 0 < len(frames_of("detections/film.mp4")) == len(entries()) < FRAMES


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9/live/film.avi?user=a", "rtsp://127.0.0.1:9/film", "HTTPS://127.0.0.1:9/"]
)
def test_an_address_is_opened_as_a_stream(address: str, monkeypatch: pytest.MonkeyPatch, capsys: Capsys) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", lambda source: camera(3) if source == address else None)
    assert detect_main([address, "--yolo", "labels"]) == 0
    assert names(capsys)[0].startswith(address.split(":")[0])
    assert written("detections") == []
    stem = "stream" if address.endswith("/") else "film"
    assert f"{stem}_000002.txt" in written("labels")


def test_a_frame_rate_that_mpeg_4_does_not_take() -> None:
    make_video(fps=200)
    assert detect_main(["film.avi", "--every", "3", "--quiet"]) == 0
    assert len(frames_of("detections/film.mp4")) == FRAMES / 3


# ---- outputs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("a,b.jpg", 'it\'s "quoted".jpg', "new\nline.jpg", "re\rturn.jpg", "猫.jpg", "& <x>.jpg", "-dash.jpg", "\x01.jpg"),
        "\udcff.jpg",
    ],
)
def test_every_format_takes_any_name(name: str, capsys: Capsys) -> None:
    copy_photo(name)
    options = ["--json", "a.json", "--csv", "a.csv", "--coco", "coco.json", "--yolo", "y", "--voc", "v", "--crops", "c"]
    assert detect_main([*options, "--", name]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert entries("a.json")[0]["file"] == name
    assert os.listdir("detections") == [name]
    content = Path("a.csv").read_bytes().decode("utf-8")
    shown = name.encode("utf-8", "backslashreplace").decode()
    assert [row["file"] for row in csv.DictReader(io.StringIO(content, newline=""))] == [shown]
    assert json.loads(Path("coco.json").read_text())["images"][0]["file_name"] == name
    ElementTree.parse(Path("v", f"{Path(name).stem}.xml"))
    assert Path("c/cat", f"{Path(name).stem}_0.jpg").exists()


@pytest.mark.parametrize("option", ["--json", "--csv", "--coco", "--jsonl"])
def test_a_format_on_standard_output_is_all_there_is(option: str, capsys: Capsys) -> None:
    assert detect_main([str(PHOTO), option, "-", "--no-image", "missing.jpg"]) == 1
    out, err = capsys.readouterr()
    assert err.startswith("detect: missing.jpg: No such file")
    if option == "--csv":
        (entry,) = csv.DictReader(io.StringIO(out))
    else:
        document = json.loads(out)
        (entry,) = {"--coco": lambda: document["images"], "--json": lambda: document, "--jsonl": lambda: [document]}[option]()
    assert entry["file_name" if option == "--coco" else "file"] == str(PHOTO)


def test_json_lines_are_there_while_others_are_still_to_come() -> None:
    make_video(frames=600)
    with subprocess.Popen([*DETECT, "film.avi", "--jsonl", "-", "--no-image"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        assert process.poll() is None
        process.terminate()
    assert (first["file"], first["frame"], first["width"]) == ("film.avi", 0, 320)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp", ".tiff", ".gif", ".pgm", ".pbm"])
def test_annotated_pictures_keep_their_type_where_opencv_writes_it_in_colour(suffix: str) -> None:
    grey = suffix in (".pgm", ".pbm")
    image = cv2.imread(str(PHOTO), cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR)
    Path(f"a{suffix}").write_bytes(cv2.imencode(suffix if suffix != ".gif" else ".png", image)[1].tobytes())
    assert detect_main([f"a{suffix}"]) == 0
    assert written("detections") == [f"a{suffix}" if cv2.haveImageWriter(f"a{suffix}") and not grey else "a.png"]


def test_line_width_and_labels() -> None:
    cv2.imwrite("cat.png", cv2.imread(str(PHOTO)))
    image = cv2.imread("cat.png")
    detections = sd.SqueezeDet().detect(image)
    drawn = {
        (): sd.draw(image, detections),
        ("--line-width", "7"): sd.draw(image, detections, line_width=7),
        ("--no-labels", "--line-width", "1"): sd.draw(image, detections, label=False, confidence=False, line_width=1),
    }
    assert len({picture.tobytes() for picture in drawn.values()}) == len(drawn)
    for options, expected in drawn.items():
        assert detect_main(["cat.png", "--quiet", *options]) == 0
        np.testing.assert_array_equal(cv2.imread("detections/cat.png"), expected)


def test_show_without_a_display(monkeypatch: pytest.MonkeyPatch, capsys: Capsys) -> None:
    monkeypatch.setattr("opencv_squeezedet.cli.annotated.display_works", lambda: False)
    assert "--show" in error_line(detect_main, [PHOTO, "--show"], capsys)


def test_show_ends_with_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a substitute for the window."""
    shown: list[tuple[int, ...]] = []
    for name, substitute in {
        "namedWindow": lambda *a: None,
        "imshow": lambda title, image: shown.append(image.shape),
        "waitKey": lambda delay: ord("q") if len(shown) == 3 else -1,
        "getWindowProperty": lambda *a: 1.0,
        "destroyAllWindows": lambda: None,
    }.items():
        monkeypatch.setattr(cv2, name, substitute)
    monkeypatch.setattr("opencv_squeezedet.cli.annotated.display_works", lambda: True)
    assert detect_main([str(PHOTO)] * 6 + ["--show", "--no-image"]) == 130
    assert shown == [(300, 451, 3)] * 3


# ---- nothing of the user's is lost ---------------------------------------------------------------------------------------


def test_no_source_is_overwritten(folder: Path, capsys: Capsys) -> None:
    make_video("film.mp4", frames=2)
    copy_photo("a.jpg", "deep/a.jpg")
    Path("a-2.jpg").write_text("the user's own")
    Path("list.txt").write_text("a.jpg\n")
    before = {name: Path(name).read_bytes() for name in written(folder)}
    assert detect_main(["film.mp4", "a.jpg", "deep/a.jpg", "-o", ".", "--quiet"]) == 0
    assert sorted(set(written(folder)) - set(before)) == ["a-3.jpg", "a-4.jpg", "film-2.mp4"]
    sources = ["film.mp4", "list.txt", "--no-image"]
    for option in ("--json", "--csv", "--coco"):
        for target in ("film.mp4", "list.txt", "a.jpg"):
            assert f"{option}: {target} is one of" in error_line(detect_main, [*sources, option, target], capsys)
    for refused in (["--video-out", "film.mp4"], ["--yolo", "."]):
        assert "is one of the sources" in error_line(detect_main, [*sources, *refused], capsys)
    assert {name: Path(name).read_bytes() for name in before} == before


def test_label_names_of_others_are_kept(capsys: Capsys) -> None:
    Path("data.yaml").write_text("names: [bolt, nut]\n")
    assert "already exists" in error_line(detect_main, [PHOTO, "--yolo", "."], capsys)
    assert Path("data.yaml").read_text() == "names: [bolt, nut]\n"
    for _ in range(2):  # its own it knows
        assert detect_main([str(PHOTO), "--yolo", "labels", "--quiet"]) == 0


@pytest.mark.parametrize(
    "label", ["😀", "a\x7f\x85b", "\u2028", "\ufeff", '"\\', "x\x00y", "Kätzchen 猫", "\x1b[31m", ": - #"]
)
def test_any_label_is_the_same_in_yaml(label: str) -> None:
    yaml = pytest.importorskip("yaml", reason="the extra [eval] brings it")
    write_yolo_names(Path(), (label, "nut"))
    assert yaml.safe_load(Path("data.yaml").read_bytes()) == {"nc": 2, "names": {0: label, 1: "nut"}}


@posix
def test_links_and_devices_stay_what_they_are() -> None:
    Path("real.json").touch()
    Path("link.json").symlink_to("real.json")
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    assert detect_main([str(PHOTO), "--no-image", "--json", "link.json", "--csv", "pipe", "--quiet"]) == 0
    assert Path("link.json").is_symlink()
    assert entries("real.json")
    assert os.read(reader, 10_000).startswith(b'"file","frame","label"')
    os.close(reader)
    assert Path("pipe").is_fifo()


def test_output_is_not_taken_for_input_the_next_time(capsys: Capsys) -> None:
    copy_photo("a.jpg")
    for _ in range(2):
        assert detect_main(["-r", ".", "--crops", "crops"]) == 0
        assert names(capsys) == ["a.jpg"]
    assert written("detections") == ["a.jpg"]


def test_an_output_of_a_wrong_name_costs_only_itself(capsys: Capsys) -> None:
    copy_photo("a.jpg", "b.jpg")
    Path("detections/a.jpg").mkdir(parents=True)
    assert "a.jpg" in error_line(detect_main, ["a.jpg", "b.jpg", "--json", "all.json"], capsys, status=1)
    assert [entry["file"] for entry in entries()] == ["a.jpg", "b.jpg"]


# ---- when something ends ----------------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("source", ["film.avi", "in"])
def test_ctrl_c_leaves_a_playable_video_and_whole_files(source: str, folder: Path) -> None:
    if source == "film.avi":
        make_video(frames=600)
    else:
        copy_photo(*(f"in/{i:03}.jpg" for i in range(400)))
    arguments = [source, "--json", "all.json", "--csv", "all.csv", "--coco", "coco.json"]
    with subprocess.Popen([*DETECT, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(8):
            process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(30) == 130
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert 1 <= len(entries()) < 400
    assert len(json.loads(Path("coco.json").read_text())["images"]) == len(entries())
    if source == "film.avi":
        assert len(frames_of("detections/film.mp4")) == len(entries())
        assert written(folder) == ["all.csv", "all.json", "coco.json", "detections/film.mp4", "film.avi"]
    else:
        assert written("detections") == [Path(entry["file"]).name for entry in entries()]
        assert all(cv2.imread(str(path)) is not None for path in Path("detections").iterdir())


@posix
@pytest.mark.parametrize(("closed", "status"), [(">&-", 0), ("2>&-", 0), ("- <&-", 1)])
def test_closed_streams(closed: str, status: int) -> None:
    line = f"""exec {sys.executable} -c '{DETECT[-1]}' {PHOTO} --json all.json {closed}"""
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True)
    assert done.returncode == status
    assert b"Traceback" not in done.stderr
    assert entries()[0]["detections"]


def test_a_terminal_gets_a_progress_bar() -> None:
    pytest.importorskip("tqdm", reason="of the test extra: draws the bar")
    copy_photo(*(f"in/{i}.jpg" for i in range(6)))
    main, terminal = open_terminal()
    done = subprocess.run([*DETECT, "in"], stdout=subprocess.PIPE, stderr=terminal, check=True)
    os.close(terminal)
    shown = read_terminal(main)
    assert "0/6" in shown
    assert "frames" in shown
    assert len(done.stdout.splitlines()) == 6


@pytest.mark.parametrize("options", [[], ["--lines"], ["--no-image"], ["--quiet"], ["--json", "-"]])
def test_a_terminal_gets_a_summary_and_no_line_per_frame(options: list[str]) -> None:
    make_video(frames=3)
    copy_photo("a.jpg")
    main, terminal = open_terminal()
    subprocess.run([*DETECT, "a.jpg", "film.avi", *options], stdout=terminal, stderr=subprocess.DEVNULL, check=True)
    os.close(terminal)
    shown = read_terminal(main)
    printed = not {"--quiet", "--json"} & set(options)
    assert ("a.jpg: cat" in shown) is printed
    assert ("film.avi frame 2:" in shown) is ("--lines" in options)
    summary = re.search(r"1 picture, 3 frames, \d+ objects?(; copies in detections/)?\s*$", shown)
    assert (summary is not None) is printed
    if summary is not None:
        assert (summary[1] is None) is ("--no-image" in options)
