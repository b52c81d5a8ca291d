"""detect's sources and outputs: every kind goes in, every kind comes out and is read back."""

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
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from terminal import open_terminal, read_terminal

import opencv_squeezedet as sd
from opencv_squeezedet import cli
from opencv_squeezedet.cli.outputs import write_yolo_names
from opencv_squeezedet.cli.results import UniqueStems
from opencv_squeezedet.cli.sources import Frame
from opencv_squeezedet.options import NMS_KINDS

PHOTO = Path(__file__).parents[2] / "samples" / "chelsea.jpg"
COMMAND = [sys.executable, "-c", "import sys; from opencv_squeezedet.cli import detect_main; sys.exit(detect_main())"]
FRAMES = 12


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current folder; OpenCV's threads are as they were afterwards."""
    threads = cv2.getNumThreads()
    empty = tmp_path / "here"
    empty.mkdir()
    monkeypatch.chdir(empty)
    yield empty
    cv2.setNumThreads(threads)


def make_video(path: str, frames: int = FRAMES, fps: float = 10) -> None:
    """The photo, moving to the left."""
    image = cv2.imread(str(PHOTO))[:, :320]
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"MJPG"), fps, (320, 300))
    assert writer.isOpened()
    for i in range(frames):
        writer.write(np.roll(image, -5 * i, axis=1))
    writer.release()


def frames_of(path: str | Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while True:
        done, frame = capture.read()
        if not done:
            return frames
        frames.append(frame)


def names(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return list(dict.fromkeys(line.split(":")[0] for line in capsys.readouterr().out.splitlines()))


def written(folder: Path | str) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


# ---- sources -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def tree() -> None:
    for name in ("b.jpg", "a.png", "deep/c.jpg", "deep/er/d.jpg"):
        Path("in", name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(f"in/{name}", cv2.imread(str(PHOTO)))


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["in"], ["in/a.png", "in/b.jpg"]),
        (["in", "-r"], ["in/a.png", "in/b.jpg", "in/deep/c.jpg", "in/deep/er/d.jpg"]),
        (["in/*.jpg"], ["in/b.jpg"]),
        (["in/**/*.jpg"], ["in/b.jpg", "in/deep/c.jpg", "in/deep/er/d.jpg"]),
        (["in/deep/c.jpg", "in/[ab].*"], ["in/deep/c.jpg", "in/a.png", "in/b.jpg"]),
        (["list.txt"], ["in/b.jpg", "in/deep/er/d.jpg"]),
        (["in/a.png", "in/a.png"], ["in/a.png"]),
    ],
)
def test_pictures_folders_patterns_and_lists(
    arguments: list[str], expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("list.txt").write_text("# chosen by hand\nin/b.jpg\n\nin/deep/er/*.jpg\n")
    assert cli.detect_main(arguments) == 0
    assert names(capsys) == expected


def test_a_picture_on_standard_input(folder: Path) -> None:
    done = subprocess.run([*COMMAND, "-", "--json", "-"], input=PHOTO.read_bytes(), capture_output=True, check=True)
    (entry,) = json.loads(done.stdout)
    assert (entry["file"], entry["width"], entry["detections"][0]["label"]) == ("-", 451, "cat")
    assert written(folder) == ["detections/stdin.jpg"]


def test_a_file_whose_name_is_a_pattern_or_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a[1].jpg", "7"):
        shutil.copy(PHOTO, name)
    assert cli.detect_main(["a[1].jpg", "7"]) == 0
    assert names(capsys) == ["a[1].jpg", "7"]
    assert written("detections") == ["7.png", "a[1].jpg"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("none/*.jpg", "nothing matches this pattern"),
        ("empty.txt", "this list has no sources"),
        ("loop.txt", "a list cannot name another list"),
        ("missing.mp4", "No such file or directory"),
        ("empty", "no pictures or videos in this folder"),
    ],
)
def test_sources_that_name_nothing_are_reported_and_the_rest_done(
    source: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty.txt").write_text("# nothing\n")
    Path("loop.txt").write_text("loop.txt\n")
    Path("empty").mkdir()
    assert cli.detect_main([source, str(PHOTO)]) == 1
    out, err = capsys.readouterr()
    assert err == f"detect: {source}: {message}\n"
    assert ": cat 0." in out


# ---- video -------------------------------------------------------------------------------------------------------------


def test_a_video_gives_lines_and_an_annotated_video(capsys: pytest.CaptureFixture[str]) -> None:
    make_video("film.avi")
    assert cli.detect_main(["film.avi", "--json", "all.json"]) == 0
    assert names(capsys) == [f"film.avi frame {i}" for i in range(FRAMES)]
    entries = json.loads(Path("all.json").read_text())
    assert [entry["frame"] for entry in entries] == list(range(FRAMES))
    assert sum(bool(entry["detections"]) for entry in entries) > FRAMES / 2
    assert written("detections") == ["film.mp4"]
    drawn, plain = frames_of("detections/film.mp4"), frames_of("film.avi")
    assert len(drawn) == FRAMES
    assert drawn[0].shape == plain[0].shape
    assert np.abs(drawn[0].astype(int) - plain[0]).max() > 60
    assert cv2.VideoCapture("detections/film.mp4").get(cv2.CAP_PROP_FPS) == 10


def test_every_third_frame(capsys: pytest.CaptureFixture[str]) -> None:
    make_video("film.avi")
    assert cli.detect_main(["film.avi", "--every", "3", "--video-out", "out.avi", "--no-image"]) == 0
    assert names(capsys) == [f"film.avi frame {i}" for i in range(0, FRAMES, 3)]
    assert len(frames_of("out.avi")) == FRAMES / 3
    assert not Path("detections").exists()


def test_sources_are_mixed_freely(capsys: pytest.CaptureFixture[str]) -> None:
    make_video("film.avi", frames=3)
    shutil.copy(PHOTO, "film.jpg")
    Path("list.txt").write_text("film.avi\nfilm.jpg\n")
    assert cli.detect_main(["film.jpg", "list.txt", "--yolo", "labels", "--batch", "4"]) == 0
    frames = [f"film.avi frame {i}" for i in range(3)]
    assert names(capsys) == ["film.jpg", *frames]
    assert written("detections") == ["film-2.jpg", "film-3.jpg", "film.mp4"]
    assert {"film_000000.txt", "film_000002.txt", "film-2.txt", "film-3.txt", "data.yaml"} <= set(written("labels"))


@pytest.mark.parametrize("content", [b"", b"no video at all"])
def test_a_video_that_cannot_be_read(content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    Path("broken.mp4").write_bytes(content)
    assert cli.detect_main(["broken.mp4"]) == 1
    assert capsys.readouterr().err == "detect: broken.mp4: OpenCV cannot open this video\n"


class Camera:
    """A substitute for cv2.VideoCapture that gives the photo so many times, then nothing, as an unplugged camera does."""

    def __init__(self, frames: int) -> None:
        self.left = frames
        self.image = cv2.imread(str(PHOTO))

    def isOpened(self) -> bool:
        return True

    def grab(self) -> bool:
        self.left -= 1
        return self.left >= 0

    def retrieve(self) -> tuple[bool, np.ndarray]:
        return True, self.image.copy()

    def get(self, prop: int) -> float:
        return 0.0

    def release(self) -> None:
        self.left = 0


def test_a_camera_that_vanishes_ends_with_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda source: Camera(5) if source == 0 else real(source))
    assert cli.detect_main(["0", "--video-out", "seen.avi", "--json", "all.json"]) == 1
    out, err = capsys.readouterr()
    assert err == "detect: camera 0 gives no more frames\n"
    assert len([line for line in out.splitlines() if ": cat 0." in line]) == 5
    monkeypatch.undo()
    assert len(frames_of(folder / "seen.avi")) == 5
    assert len(json.loads((folder / "all.json").read_text())) == 5


def test_names_of_a_camera_take_no_memory() -> None:
    """However many frames it gives."""
    for alone, fits in ((True, True), (False, False)):
        names = UniqueStems(None, set(), alone=alone)
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        for number in range(20_000):
            assert names.stem(Frame("0", f"camera-0_{number:06}", ".jpg", np.empty), ".jpg") == f"camera-0_{number:06}"
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert (after - before < 100_000) is fits


def test_a_broken_video_does_not_stop_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    Path("broken.mp4").write_bytes(b"no video")
    assert cli.detect_main(["broken.mp4", str(PHOTO), "--no-image"]) == 1
    out, err = capsys.readouterr()
    assert err == "detect: broken.mp4: OpenCV cannot open this video\n"
    assert ": cat 0." in out


def test_a_camera_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.detect_main(["97"]) == 1
    assert capsys.readouterr().err == "detect: 97: OpenCV cannot open this camera\n"


@pytest.mark.parametrize("others", [[], ["film.avi", "film.avi"]])
def test_video_out_needs_one_video(others: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    make_video("film.avi", frames=1)
    assert cli.detect_main([str(PHOTO), *others, "--video-out", "out.mp4"]) == 2
    assert (
        f"--video-out: one video, camera or stream among the sources was expected, there are {len(others)}"
        in capsys.readouterr().err
    )


def test_video_out_of_another_type(capsys: pytest.CaptureFixture[str]) -> None:
    make_video("film.avi", frames=1)
    assert cli.detect_main(["film.avi", "--video-out", "out.gif"]) == 2
    assert "a video file .avi, .m4v, .mkv, .mov, .mp4 was expected, got 'out.gif'" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_leaves_a_playable_video_and_whole_files(folder: Path) -> None:
    make_video("film.avi", frames=600)
    arguments = ["film.avi", "--json", "all.json", "--csv", "all.csv", "--coco", "coco.json"]
    with subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(8):
            process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(30) == 130
        assert process.stderr is not None
        assert process.stderr.read() == b""
    entries = json.loads(Path("all.json").read_text())
    assert 1 <= len(entries) < 600
    assert len(frames_of("detections/film.mp4")) == len(entries)
    assert len(json.loads(Path("coco.json").read_text())["images"]) == len(entries)
    assert written(folder) == ["all.csv", "all.json", "coco.json", "detections/film.mp4", "film.avi"]


# ---- outputs -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("tree")
def test_all_outputs_tell_the_same(folder: Path) -> None:
    places = {
        "--json": "all.json",
        "--jsonl": "all.jsonl",
        "--csv": "all.csv",
        "--coco": "coco.json",
        "--yolo": "yolo",
        "--voc": "voc",
        "--crops": "crops",
    }
    options = [text for pair in places.items() for text in pair]
    assert cli.detect_main(["in", "-r", "--threshold", "0.01", "--nms", "0.9", "--quiet", *options]) == 0
    entries = json.loads(Path("all.json").read_text())
    assert len(entries) == 4
    objects = [(entry["file"], d["label"], d["confidence"]) for entry in entries for d in entry["detections"]]
    assert len(objects) > 4

    assert [json.loads(line) for line in Path("all.jsonl").read_text().splitlines()] == entries

    rows = list(csv.DictReader(io.StringIO(Path("all.csv").read_text())))
    assert [(row["file"], row["label"], float(row["confidence"])) for row in rows] == objects
    assert all(row["frame"] == "" and float(row["x1"]) < float(row["x2"]) for row in rows)

    coco = json.loads(Path("coco.json").read_text())
    files = {image["id"]: image["file_name"] for image in coco["images"]}
    labels = {category["id"]: category["name"] for category in coco["categories"]}
    told = [(files[a["image_id"]], labels[a["category_id"]], a["score"]) for a in coco["annotations"]]
    assert told == objects

    assert written("yolo") == ["a.txt", "b.txt", "c.txt", "d.txt", "data.yaml"]
    assert sum(len(Path("yolo", f"{stem}.txt").read_text().splitlines()) for stem in "abcd") == len(objects)
    assert sum(len(ElementTree.parse(f"voc/{stem}.xml").findall("object")) for stem in "abcd") == len(objects)
    crops = [path for path in Path("crops").rglob("*") if path.is_file()]
    assert len(crops) == len(objects)
    assert {path.parent.name for path in crops} == {label for _, label, _ in objects}
    first = entries[0]["detections"][0]["xyxy"]
    height, width = cv2.imread("crops/cat/a_0.png").shape[:2]
    assert (width, height) == (np.ceil(first[2]) - int(first[0]), np.ceil(first[3]) - int(first[1]))


def test_yolo_and_voc_folders_are_read_by_supervision(folder: Path) -> None:
    supervision = pytest.importorskip("supervision", reason="of the test extra: reads these formats back")
    Path("in").mkdir()
    for name in ("one.jpg", "it's two.jpg"):
        shutil.copy(PHOTO, Path("in", name))
    assert cli.detect_main(["in", "--yolo", "yolo", "--voc", "voc", "--no-image", "--json", "all.json"]) == 0
    expected = {Path(e["file"]).stem: [d["xyxy"] for d in e["detections"]] for e in json.loads(Path("all.json").read_text())}
    yolo = supervision.DetectionDataset.from_yolo("in", "yolo", "yolo/data.yaml")
    voc = supervision.DetectionDataset.from_pascal_voc("in", "voc")
    for dataset, tolerance in ((yolo, 0.01), (voc, 0.5)):
        read = {Path(path).stem: detections for path, _, detections in dataset}
        assert set(read) == set(expected)
        for stem, boxes in expected.items():
            assert np.abs(read[stem].xyxy - boxes).max() <= tolerance


def test_coco_file_is_read_by_pycocotools(capsys: pytest.CaptureFixture[str]) -> None:
    coco = pytest.importorskip("pycocotools.coco", reason="of the test extra: reads this format back")
    shutil.copy(PHOTO, 'qu"ote\n.jpg')
    assert cli.detect_main([str(PHOTO), 'qu"ote\n.jpg', "--coco", "coco.json"]) == 0
    dataset = coco.COCO("coco.json")
    assert [image["file_name"] for image in dataset.imgs.values()] == [str(PHOTO), 'qu"ote\n.jpg']
    assert {dataset.cats[a["category_id"]]["name"] for a in dataset.anns.values()} == {"cat"}


@pytest.mark.parametrize(
    "name", ["a,b.jpg", 'qu"ote.jpg', "new\nline.jpg", "re\rturn.jpg", "猫.jpg", "& <x>.jpg", os.fsdecode(b"\xff.jpg")]
)
def test_every_format_takes_any_name(name: str) -> None:
    try:
        shutil.copy(PHOTO, name)
    except OSError:
        pytest.skip("this file system does not take the name")
    options = [
        "--json",
        "a.json",
        "--csv",
        "a.csv",
        "--coco",
        "coco.json",
        "--yolo",
        "y",
        "--voc",
        "v",
        "--crops",
        "c",
        "--quiet",
    ]
    assert cli.detect_main([*options, name]) == 0
    assert json.loads(Path("a.json").read_text())[0]["file"] == name
    content = Path("a.csv").read_bytes().decode("utf-8")
    shown = name.encode("utf-8", "backslashreplace").decode()
    assert [row["file"] for row in csv.DictReader(io.StringIO(content, newline=""))] == [shown]
    assert json.loads(Path("coco.json").read_text())["images"][0]["file_name"] == name
    ElementTree.parse(Path("v", f"{Path(name).stem}.xml"))
    assert Path("c/cat", f"{Path(name).stem}_0.jpg").exists()


def test_csv_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.detect_main([str(PHOTO), "--csv", "-", "--no-image"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row["label"] == "cat"
    assert cli.detect_main([str(PHOTO), "--csv", "-", "--json", "-"]) == 2
    assert "--csv: - is the target of --json too" in capsys.readouterr().err


def test_json_lines_are_there_while_others_are_still_to_come() -> None:
    make_video("film.avi", frames=600)
    with subprocess.Popen([*COMMAND, "film.avi", "--jsonl", "-", "--no-image"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        assert process.poll() is None
        process.terminate()
    assert (first["file"], first["frame"], first["width"]) == ("film.avi", 0, 320)


def test_coco_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.detect_main([str(PHOTO), "--coco", "-", "--no-image"]) == 0
    out = capsys.readouterr().out
    assert out.endswith("}\n")
    assert [image["file_name"] for image in json.loads(out)["images"]] == [str(PHOTO)]


def test_classes(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.detect_main([str(PHOTO), "--classes", "dog,cat", "--threshold", "0.1"]) == 0
    assert ": cat 0." in capsys.readouterr().out
    assert cli.detect_main([str(PHOTO), "--classes", "dog"]) == 0
    assert capsys.readouterr().out.endswith(": nothing found\n")
    assert cli.detect_main([str(PHOTO), "--classes", "DOG,Cat"]) == 0
    assert ": cat 0." in capsys.readouterr().out
    assert cli.detect_main([str(PHOTO), "--classes", "dog,unicorn"]) == 2
    error = capsys.readouterr().err
    assert "'unicorn'" in error
    assert "aeroplane, " in error


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["--classes", "persn"], "'person'"),
        (["--model", "gsoc-vox"], "'gsoc-voc'"),
        (["--treshold", "0.4"], "'--threshold'"),
        (["--treshold=0.4"], "'--threshold'"),
    ],
)
def test_what_a_misspelt_argument_may_mean(arguments: list[str], meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.detect_main([str(PHOTO), *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"did you mean {meant}?" in line


def objects(arguments: list[str]) -> Any:
    assert cli.detect_main([*arguments, "--no-image", "--json", "o.json"]) == 0
    return [entry["detections"] for entry in json.loads(Path("o.json").read_text())]


def test_options_reach_the_detector() -> None:
    image = cv2.imread(str(PHOTO))
    low = {"score_threshold": 0.1}
    options: list[tuple[list[str], dict[str, Any], dict[str, Any]]] = [
        (["--top-n", "40", "--nms", "1"], {}, {"top_n": 40, "nms_threshold": 1}),
        (["--agnostic", "--threshold", "0.01"], {}, {"class_agnostic": True, "score_threshold": 0.01}),
        (["--multi-label", "--vote", "0.5", "--threshold", "0.1"], {}, {"multi_label": True, "vote_threshold": 0.5, **low}),
        (["--cross-class", "0", "--threshold", "0.1"], {}, {"cross_class_threshold": 0, **low}),
        *(
            (["--nms-kind", k, "--soft-sigma", "0.2", "--threshold", "0.1"], {}, {"nms_kind": k, "soft_sigma": 0.2, **low})
            for k in NMS_KINDS
        ),
        (["--letterbox"], {"resize": "letterbox"}, {}),
    ]
    for arguments, constructor, method in options:
        expected = sd.SqueezeDet(**constructor).detect(image, **method).to_dict()["detections"]
        assert objects([str(PHOTO), *arguments]) == [expected]


@pytest.mark.usefixtures("tree")
def test_batches_and_threads_change_nothing() -> None:
    alone = [objects([f"in/{name}"])[0] for name in ("a.png", "b.jpg", "deep/c.jpg", "deep/er/d.jpg")]
    for batch in ("1", "3", "10"):
        assert objects(["in", "-r", "--batch", batch]) == alone


def test_quiet_and_timing(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.detect_main([str(PHOTO), "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert cli.detect_main([str(PHOTO), "--quiet", "--timing"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    header, *rows = err.splitlines()
    assert header.split() == ["ms", "per", "picture", "p50", "p95"]
    stages = {row.rsplit(maxsplit=2)[0]: [float(value) for value in row.rsplit(maxsplit=2)[1:]] for row in rows}
    assert list(stages) == ["read", "preprocess", "network", "post-process", "annotate", "write"]
    assert all(0 <= p50 <= p95 for p50, p95 in stages.values())
    assert max(stages, key=lambda stage: stages[stage][0]) == "network"


def test_line_width_and_labels(capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite("cat.png", cv2.imread(str(PHOTO)))
    image = cv2.imread("cat.png")
    found = sd.SqueezeDet().detect(image)
    drawn = {
        (): sd.draw(image, found),
        ("--line-width", "7"): sd.draw(image, found, line_width=7),
        ("--no-labels",): sd.draw(image, found, label=False, confidence=False),
        ("--no-labels", "--line-width", "1"): sd.draw(image, found, label=False, confidence=False, line_width=1),
    }
    assert len({picture.tobytes() for picture in drawn.values()}) == len(drawn)
    for options, expected in drawn.items():
        assert cli.detect_main(["cat.png", "--quiet", *options]) == 0
        np.testing.assert_array_equal(cv2.imread("detections/cat.png"), expected)
    assert cli.detect_main(["cat.png", "--line-width", "0"]) == 2
    assert "--line-width" in capsys.readouterr().err


def test_timing_of_a_batch_that_is_not_full(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    forward = sd.SqueezeDet._forward

    def slow(self: sd.SqueezeDet, blob: np.ndarray) -> Any:
        time.sleep(0.08)
        return forward(self, blob)

    monkeypatch.setattr(sd.SqueezeDet, "_forward", slow)
    assert cli.detect_main([str(PHOTO), "--batch", "8", "--quiet", "--timing", "--no-image"]) == 0
    (network,) = [line.split() for line in capsys.readouterr().err.splitlines() if line.startswith("network")]
    assert float(network[1]) >= 80


def test_show_without_a_display(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert cli.detect_main([str(PHOTO), "--show"]) == 2
    assert capsys.readouterr().err.startswith("detect: --show: no window can be opened")


def test_show_ends_with_a_key(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
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
    assert cli.detect_main([str(PHOTO)] * 6 + ["--show", "--no-image"]) == 130
    assert shown == [(300, 451, 3)] * 3


# ---- nothing of the user's is lost ---------------------------------------------------------------------------------------


def test_no_source_is_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_video("film.mp4", frames=2)
    shutil.copy(PHOTO, "a.jpg")
    Path("a-2.jpg").write_text("the user's own")
    Path("list.txt").write_text("a.jpg\n")
    before = {name: Path(name).read_bytes() for name in written(folder)}
    assert cli.detect_main(["film.mp4", "a.jpg", "-o", ".", "--quiet"]) == 0
    assert sorted(set(written(folder)) - set(before)) == ["a-3.jpg", "film-2.mp4"]
    for option in ("--json", "--csv", "--coco"):
        for target in ("film.mp4", "list.txt", "a.jpg"):
            assert cli.detect_main(["film.mp4", "list.txt", "--no-image", option, target]) == 2
            assert f"{option}: {target} is one of the sources" in capsys.readouterr().err
    assert cli.detect_main(["film.mp4", "--video-out", "film.mp4"]) == 2
    assert cli.detect_main(["list.txt", "--no-image", "--yolo", "."]) == 2
    assert "list.txt is one of the sources" in capsys.readouterr().err
    assert {name: Path(name).read_bytes() for name in before} == before


def test_label_names_of_others_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    Path("data.yaml").write_text("names: [bolt, nut]\n")
    assert cli.detect_main([str(PHOTO), "--yolo", "."]) == 2
    assert "already exists, with other names" in capsys.readouterr().err
    assert Path("data.yaml").read_text() == "names: [bolt, nut]\n"
    for _ in range(2):  # its own it knows
        assert cli.detect_main([str(PHOTO), "--yolo", "labels", "--quiet"]) == 0


@pytest.mark.parametrize(
    "label", ["😀", "a\x7f\x85b", "\u2028", "\ufeff", '"\\', "x\x00y", "Kätzchen 猫", "\x1b[31m", ": - #"]
)
def test_any_label_is_the_same_in_yaml(label: str) -> None:
    yaml = pytest.importorskip("yaml", reason="the extra [eval] brings it")
    write_yolo_names(Path(), (label, "nut"))
    assert yaml.safe_load(Path("data.yaml").read_bytes()) == {"nc": 2, "names": {0: label, 1: "nut"}}


def test_links_and_devices_stay_what_they_are() -> None:
    Path("real.json").touch()
    Path("link.json").symlink_to("real.json")
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    assert cli.detect_main([str(PHOTO), "--no-image", "--json", "link.json", "--csv", "pipe", "--quiet"]) == 0
    assert Path("link.json").is_symlink()
    assert json.loads(Path("real.json").read_text())
    assert os.read(reader, 10_000).startswith(b'"file","frame","label"')
    os.close(reader)
    assert Path("pipe").is_fifo()


def test_output_is_not_taken_for_input_the_next_time(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(PHOTO, "a.jpg")
    for _ in range(2):
        assert cli.detect_main(["-r", ".", "--crops", "crops"]) == 0
        assert names(capsys) == ["a.jpg"]
    assert written("detections") == ["a.jpg"]


# ---- one bad source costs only itself --------------------------------------------------------------------------------------


def test_entries_of_lists_and_matches_of_patterns_are_looked_at_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(PHOTO, "a.jpg")
    Path("empty").mkdir()
    Path("notes.txt").write_text("no list\n")
    Path("l.txt").write_bytes(b"\xef\xbb\xbfa.jpg\r\nmissing.mp4\r\nnone*.png\r\n")
    assert cli.detect_main(["l.txt", "--no-image"]) == 1
    out, err = capsys.readouterr()
    assert out.startswith("a.jpg: cat 0.")
    assert err.splitlines() == [
        "detect: l.txt: missing.mp4: No such file or directory",
        "detect: l.txt: none*.png: nothing matches this pattern",
    ]
    assert cli.detect_main(["*", "--no-image"]) == 0
    assert names(capsys) == ["a.jpg"]


def test_a_video_may_end_before_the_frame_count_of_its_header() -> None:
    make_video("film.avi")
    content = Path("film.avi").read_bytes()
    Path("film.avi").write_bytes(content[: len(content) // 3])
    assert cli.detect_main(["film.avi", "--json", "all.json"]) == 0
    assert 0 < len(json.loads(Path("all.json").read_text())) < FRAMES
    assert len(frames_of("detections/film.mp4")) == len(json.loads(Path("all.json").read_text()))


@pytest.mark.parametrize(("good", "message"), [(2, "frame 2 cannot be decoded"), (0, "no frame can be read")])
def test_a_video_whose_frames_cannot_be_decoded(
    good: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Damaged(Camera):
        def __init__(self) -> None:
            super().__init__(5 if good else 0)

        def retrieve(self) -> tuple[bool, np.ndarray]:
            return self.left >= 5 - good, self.image.copy()

    make_video("film.avi", frames=1)
    monkeypatch.setattr(cv2, "VideoCapture", lambda source: Damaged())
    assert cli.detect_main(["film.avi", "--no-image", "--json", "all.json"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"detect: film.avi: {message}"
    assert len(json.loads(Path("all.json").read_text())) == good


@pytest.mark.parametrize("suffix", [".jfif", ".gif", ".avif"])
def test_rare_suffixes_of_pictures_in_folders(suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("in").mkdir()
    shutil.copy(PHOTO, f"in/a{suffix}")  # the content decides how it is decoded
    assert cli.detect_main(["in", "--no-image"]) == 0
    assert names(capsys) == [f"in/a{suffix}"]


@pytest.mark.parametrize("suffix", [".flv", ".3gp"])
def test_rare_suffixes_of_videos(suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    make_video("film.avi", frames=2)
    os.rename("film.avi", f"film{suffix}")
    assert cli.detect_main(["film.*", "--no-image"]) == 0
    frames = [f"film{suffix} frame 0", f"film{suffix} frame 1"]
    assert names(capsys) == frames
    Path("in").mkdir()
    shutil.move(f"film{suffix}", "in")
    assert cli.detect_main(["in", "--no-image"]) == 0
    assert names(capsys) == [f"in/{name}" for name in frames]


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9/live/film.avi?user=a", "rtsp://127.0.0.1:9/film", "HTTPS://127.0.0.1:9/"]
)
def test_an_address_is_opened_as_a_stream(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", lambda source: Camera(3) if source == address else None)
    assert cli.detect_main([address, "--yolo", "labels"]) == 0
    assert names(capsys)[0].startswith(address.split(":")[0])
    assert written("detections") == []
    stem = "stream" if address.endswith("/") else "film"
    assert f"{stem}_000002.txt" in written("labels")


def test_an_address_that_cannot_be_opened(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.detect_main(["http://127.0.0.1:9/film.avi", str(PHOTO), "--no-image"]) == 1
    out, err = capsys.readouterr()
    assert err == "detect: http://127.0.0.1:9/film.avi: OpenCV cannot open this stream\n"
    assert ": cat 0." in out


def test_a_video_named_twice_is_two() -> None:
    make_video("film.avi")
    assert cli.detect_main(["film.avi", "film.avi", "--quiet"]) == 0
    assert written("detections") == ["film-2.mp4", "film.mp4"]
    assert {len(frames_of(f"detections/{name}")) for name in written("detections")} == {FRAMES}


def test_a_frame_rate_that_mpeg_4_does_not_take() -> None:
    make_video("film.avi", fps=200)
    assert cli.detect_main(["film.avi", "--every", "3", "--quiet"]) == 0
    assert len(frames_of("detections/film.mp4")) == FRAMES / 3


@pytest.mark.parametrize("suffix", [".pgm", ".pbm"])
def test_types_that_hold_no_colour(suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite(f"a{suffix}", cv2.imread(str(PHOTO), cv2.IMREAD_GRAYSCALE))
    assert cli.detect_main([f"a{suffix}"]) == 0
    assert written("detections") == ["a.png"]


def test_an_output_of_a_wrong_name_costs_only_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.jpg", "b.jpg"):
        shutil.copy(PHOTO, name)
    Path("detections/a.jpg").mkdir(parents=True)
    assert cli.detect_main(["a.jpg", "b.jpg", "--json", "all.json"]) == 1
    out, err = capsys.readouterr()
    assert err == "detect: a.jpg: Is a directory\n"
    assert [line.split(":")[0] for line in out.splitlines()] == ["a.jpg", "b.jpg"]
    assert [entry["file"] for entry in json.loads(Path("all.json").read_text())] == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize("arguments", [["f\udcff.mp4"], ["p.\udcff"], ["film.avi", "-o", "d\udcff"]])
def test_names_that_are_not_utf_8_end_with_words(arguments: list[str]) -> None:
    """OpenCV itself ends the process over them."""
    make_video("film.avi", frames=2)
    try:
        for name in ("f\udcff.mp4", "p.\udcff"):
            Path(name).write_bytes(b"nothing")
    except OSError:
        pytest.skip("this file system does not take the name")
    done = subprocess.run([*COMMAND, *arguments], capture_output=True)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert b"Traceback" not in done.stderr
    assert not [path for path in Path().rglob(".*") if path.is_file()]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["99999999999"], 1, "99999999999: No such file or directory"),
        ([""], 1, ": an empty name is not a source"),
        (["x.jpg", "--batch", "99999999999999999999"], 2, "a whole number from 1 up was expected"),
    ],
)
def test_numbers_and_names_out_of_bounds(
    arguments: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.detect_main(arguments) == status
    assert message in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of POSIX")
@pytest.mark.parametrize(("closed", "status"), [(">&-", 0), ("2>&-", 0), ("- <&-", 1)])
def test_closed_streams(closed: str, status: int) -> None:
    line = f"""exec {sys.executable} -c '{COMMAND[-1]}' {PHOTO} --json all.json {closed}"""
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True)
    assert done.returncode == status
    assert b"Traceback" not in done.stderr
    assert json.loads(Path("all.json").read_text())[0]["detections"]


def test_classes_with_spaces(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.detect_main([str(PHOTO), "--classes", "dog, cat"]) == 0
    assert ": cat 0." in capsys.readouterr().out


# ---- what does not end -------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and signals of POSIX")
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


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="devices of POSIX")
def test_devices_and_files_of_absurd_size_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("endless.jpg").symlink_to("/dev/zero")
    for name in ("huge.jpg", "huge.txt"):
        with Path(name).open("wb") as file:
            file.truncate(1 << 40)
    assert cli.detect_main(["/dev/zero", "endless.jpg", "huge.jpg", "huge.txt", str(PHOTO), "--no-image"]) == 1
    out, err = capsys.readouterr()
    assert ": cat 0." in out
    assert err.splitlines() == [
        "detect: huge.txt: the file has 1,099,511,627,776 bytes, more than the maximum of 268,435,456",
        "detect: /dev/zero: a regular file was expected, got a pipe or a device",
        "detect: endless.jpg: a regular file was expected, got a pipe or a device",
        "detect: huge.jpg: the file has 1,099,511,627,776 bytes, more than the maximum of 1,073,741,824",
    ]


@pytest.mark.skipif(shutil.which("bash") is None, reason="a shell that substitutes processes")
@pytest.mark.parametrize(
    "source", ["<(cat {photo})", "/dev/stdin < {photo}", "/dev/stdin < <(cat {photo})", "- < <(cat {photo})"]
)
def test_a_picture_from_another_process(folder: Path, source: str) -> None:
    line = f"exec {sys.executable} -c '{COMMAND[-1]}' {source.format(photo=PHOTO)} --json all.json"
    subprocess.run(["bash", "-c", line], check=True)
    (entry,) = json.loads(Path("all.json").read_text())
    assert entry["detections"][0]["label"] == "cat"
    assert len(written(folder)) == 2


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="devices of POSIX")
def test_standard_input_that_does_not_end(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("opencv_squeezedet.cli.sources.MOST_PICTURE_BYTES", 1 << 22)
    with open("/dev/zero") as endless:
        monkeypatch.setattr(sys, "stdin", endless)
        assert cli.detect_main(["-"]) == 1
    assert capsys.readouterr().err == "detect: -: the file has more than the maximum of 4,194,304 bytes\n"


@pytest.mark.parametrize(
    ("arguments", "status", "place"),
    [
        (["loop.jpg"], 1, "loop.jpg"),
        (["list.txt"], 1, "list.txt: loop.jpg"),
        (["a.jpg", "-o", "loop.jpg"], 2, "loop.jpg"),
        (["a.jpg", "--voc", "loop.jpg/deeper"], 2, "loop.jpg/deeper"),
        (["a.jpg", "--json", "loop.jpg"], 2, "loop.jpg"),
        (["a.jpg", "--no-image", "--video-out", "loop.jpg"], 2, None),
    ],
)
def test_circles_of_links(arguments: list[str], status: int, place: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    Path("loop.jpg").symlink_to("loop.jpg")
    Path("list.txt").write_text("loop.jpg\n")
    shutil.copy(PHOTO, "a.jpg")
    assert cli.detect_main(arguments) == status
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert place is None or err == f"detect: {place}: Too many levels of symbolic links\n"


def test_libraries_below_write_nothing_of_damaged_pictures(folder: Path) -> None:
    """libpng, libjpeg and libtiff would, and from several threads; what the command says is all there."""
    image, names, damaged = cv2.imread(str(PHOTO)), [], []
    for number in range(12):
        for suffix in (".png", ".jpg", ".tiff"):
            content = cv2.imencode(suffix, image)[1].tobytes()
            half = content[: len(content) // 2]
            names.append(f"{number}{suffix}")
            Path(names[-1]).write_bytes(half)
            if cv2.imdecode(np.frombuffer(half, np.uint8), cv2.IMREAD_COLOR) is None:  # OpenCV 4.8 takes half a JPEG
                damaged.append(names[-1])
    done = subprocess.run([*COMMAND, *names, "--no-image"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"detect: {name}: it is not a picture that OpenCV can decode" for name in damaged]


# ---- when something ends ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--json", "--csv", "--coco", "annotated"])
def test_a_full_disk_ends_with_one_line_and_no_half_file(folder: Path, option: str) -> None:
    """A limit on the size of files stands for the disk: a write fails in the middle in the same way."""
    pytest.importorskip("resource", reason="resource limits of POSIX")
    target, limit = ("detections/chelsea.jpg", 5000) if option == "annotated" else ("out/all", 600)
    arguments = [] if option == "annotated" else ["--no-image", option, target]
    Path(target).parent.mkdir()
    Path(target).write_text("from an earlier run")
    code = COMMAND[-1].replace(
        "import sys;", f"import sys, resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}));"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(PHOTO), *arguments, "--threshold", "0.001", "--nms", "1"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"detect: cannot write {target}: File too large"]
    assert written(folder) == [target]
    assert Path(target).read_text() == "from an earlier run"


def test_a_video_that_no_longer_fits_leaves_the_older_one(folder: Path) -> None:
    pytest.importorskip("resource", reason="resource limits of POSIX")
    make_video("film.avi", frames=40)
    Path("detections").mkdir()
    Path("detections/film.mp4").write_text("from an earlier run")
    code = COMMAND[-1].replace("import sys;", "import sys, resource; resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000));")
    done = subprocess.run([sys.executable, "-c", code, "film.avi", "--quiet"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("detect: cannot write detections/film.mp4: OpenCV could not write the whole video")
    assert len(done.stderr.splitlines()) == 1
    assert written(folder) == ["detections/film.mp4", "film.avi"]
    assert Path("detections/film.mp4").read_text() == "from an earlier run"


def test_a_folder_that_cannot_be_written_to(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").touch()
    for option in ("-o", "--yolo", "--voc", "--crops"):
        assert cli.detect_main([str(PHOTO), option, "file/deeper"]) == 2
        assert capsys.readouterr().err.startswith("detect: cannot make the folder file/deeper: ")
    for option in ("--json", "--csv", "--coco"):
        assert cli.detect_main([str(PHOTO), option, "missing/all"]) == 2
        assert f"{option}: missing/all: its folder does not exist" in capsys.readouterr().err


def test_a_terminal_gets_a_progress_bar(folder: Path) -> None:
    pytest.importorskip("tqdm", reason="of the test extra: draws the bar")
    Path("in").mkdir()
    for i in range(6):
        shutil.copy(PHOTO, f"in/{i}.jpg")
    main, terminal = open_terminal()
    done = subprocess.run([*COMMAND, "in"], stdout=subprocess.PIPE, stderr=terminal, check=True)
    os.close(terminal)
    shown = read_terminal(main)
    assert "0/6" in shown
    assert "frames" in shown
    assert len(done.stdout.splitlines()) == 6


@pytest.mark.parametrize("options", [[], ["--lines"], ["--no-image"], ["--quiet"], ["--json", "-"]])
def test_a_terminal_gets_a_summary_and_no_line_per_frame(options: list[str]) -> None:
    make_video("film.avi", frames=3)
    shutil.copy(PHOTO, "a.jpg")
    main, terminal = open_terminal()
    subprocess.run([*COMMAND, "a.jpg", "film.avi", *options], stdout=terminal, stderr=subprocess.DEVNULL, check=True)
    os.close(terminal)
    shown = read_terminal(main)
    printed = not {"--quiet", "--json"} & set(options)
    assert ("a.jpg: cat" in shown) is printed
    assert ("film.avi frame 2:" in shown) is ("--lines" in options)
    summary = re.search(r"1 picture, 3 frames, \d+ objects?(; copies in detections/)?\s*$", shown)
    assert (summary is not None) is printed
    if summary is not None:
        assert (summary[1] is None) is ("--no-image" in options)
