"""Many pictures without a cluster: `Detect` in each kind of batch, what is read, a job's parts, and the command's words."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="the extra [ray] brings pyarrow")

import pandas as pd
import pyarrow as pa
from batch_cases import expected_row, make_pictures, small_model
from commands import error_line
from pyarrow import parquet as pq

import opencv_squeezedet as sd
from opencv_squeezedet import batch, cli
from opencv_squeezedet.batch.parts import Worker
from opencv_squeezedet.cli.progress import ProgressLines, duration
from opencv_squeezedet.model import Model
from opencv_squeezedet.pictures import read_picture


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return small_model(tmp_path_factory.mktemp("model") / "small")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return make_pictures(tmp_path_factory.mktemp("pictures"), 12, broken=5)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(table: Any) -> list[dict[str, Any]]:
    """The rows of a table, without what differs from run to run."""
    found = table.to_pylist()
    assert all(row.pop("milliseconds") >= 0 for row in found)
    return list(found)


# ---- a batch of rows ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["path", "bytes", "image"])
@pytest.mark.parametrize("container", ["dict", "arrays", "pandas", "pyarrow"])
def test_every_kind_of_batch(kind: str, container: str, model: str, pictures: list[str]) -> None:
    if (kind, container) == ("image", "pyarrow"):
        pytest.skip("Arrow has no arrays of pictures of its own")
    paths = pictures if kind != "image" else [path for path in pictures if len(Path(path).read_bytes()) > 100]
    contents = {
        "path": lambda path: path,
        "bytes": lambda path: Path(path).read_bytes(),
        "image": lambda path: read_picture(Path(path)),
    }
    given: dict[str, Any] = {"path": paths} | {kind: [contents[kind](path) for path in paths]}
    if container == "arrays":
        for name, values in given.items():
            given[name] = np.empty(len(values), object)
            given[name][:] = values
    made = {"pandas": lambda: pd.DataFrame(given, index=range(7, 7 + len(paths))), "pyarrow": lambda: pa.table(given)}
    batch_of_rows = made.get(container, lambda: given)()
    detect = batch.Detect(model, score_threshold=0.01, nms_threshold=0.3, top_n=40)
    found = detect(batch_of_rows)
    assert type(found) is type(batch_of_rows)
    names = list(found.column_names if container == "pyarrow" else found.keys())
    assert names == batch.SCHEMA.names
    table = found
    if container == "pandas":
        assert found.index.equals(batch_of_rows.index)
        table = pa.Table.from_pandas(found, schema=batch.SCHEMA, preserve_index=False)
    elif container != "pyarrow":
        assert all(isinstance(column, np.ndarray) for column in found.values())
        table = pa.table(found, schema=batch.SCHEMA)
    assert table.schema == batch.SCHEMA
    detector = sd.SqueezeDet(model)
    wanted = [expected_row(detector, path, score_threshold=0.01, nms_threshold=0.3, top_n=40) for path in paths]
    assert rows(table) == wanted
    assert sum(len(row["label"]) for row in wanted) > 20
    assert sum(row["error"] is not None for row in wanted) == (0 if kind == "image" else 3)


def test_it_goes_without_the_models_files(tmp_path: Path, pictures: list[str], model: str) -> None:
    for suffix in (".onnx", ".json"):
        shutil.copy(model + suffix, tmp_path / f"mine{suffix}")
    content = pickle.dumps(batch.Detect(tmp_path / "mine"))
    for suffix in (".onnx", ".json"):
        (tmp_path / f"mine{suffix}").unlink()
    assert rows(pickle.loads(content).table({"path": pictures})) == rows(batch.Detect(model).table({"path": pictures}))


def test_one_detector_for_all_copies_in_a_process(model: str) -> None:
    detect = batch.Detect(model)
    copy = pickle.loads(pickle.dumps(detect))
    assert copy is not detect
    assert copy.detector is detect.detector
    assert batch.Detect(model).detector is not detect.detector


def test_threads(model: str) -> None:
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(2)
        _ = batch.Detect(model).detector
        assert cv2.getNumThreads() == 2
        _ = batch.Detect(model, threads=1).detector
        assert cv2.getNumThreads() == 1
    finally:
        cv2.setNumThreads(before)


def test_columns_that_are_kept_and_missing(model: str, pictures: list[str]) -> None:
    given = pa.table({"number": pa.array([5, 6], pa.int16()), "name": pictures[1:3]})
    found = batch.Detect(model, column="name", keep=["number"])(given)
    assert found.column_names == ["number", *batch.SCHEMA.names]
    assert found["number"].type == pa.int16()
    assert found["path"].to_pylist() == pictures[1:3]
    with pytest.raises(KeyError, match=r"'name'.*'path'"):
        batch.Detect(model, column="name")({"path": pictures})
    with pytest.raises(KeyError, match=r"'image' or 'bytes' or 'path'.*'x'"):
        batch.Detect(model)({"x": pictures})
    with pytest.raises(KeyError, match=r"'path', 'id'.*'path'"):
        batch.Detect(model, keep=["id"])({"path": pictures})
    with pytest.raises(ValueError, match=r"keep.*got 'label'"):
        batch.Detect(model, keep=["label"])


def test_what_is_not_a_picture_is_said_in_its_row(model: str, tmp_path: Path) -> None:
    given = [None, b"", b"x", 3.5, float("nan"), str(tmp_path), str(tmp_path / "gone"), np.zeros((2, 2, 7), np.uint8), "nul\0"]
    found = batch.Detect(model)({"bytes": given})
    errors = found["error"].tolist()
    assert "got None" in errors[0]
    assert errors[1:3] == ["the file is empty", "it is not a picture that OpenCV can decode"]
    assert errors[5:7] == ["Is a directory", "No such file or directory"]
    assert all(isinstance(error, str) and error for error in errors)
    assert found["path"].tolist() == [None] * 5 + given[5:7] + [None, "nul\0"]
    assert found["class_id"].tolist() == [[]] * len(given)
    assert found["width"].tolist() == [0] * len(given)


def test_a_broken_network_is_not_the_pictures_fault(model: str, pictures: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("the device is lost")

    detect = batch.Detect(model, batch=4)
    monkeypatch.setattr(detect.detector.backend, "forward", broken)
    with pytest.raises(RuntimeError, match="the device is lost"):
        detect({"path": pictures})


def test_wrong_arguments_show_at_once(model: str, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="scoer_threshold"):
        batch.Detect(model, scoer_threshold=0.5)
    with pytest.raises(ValueError, match=r"score_threshold.*got 2"):
        batch.Detect(model, score_threshold=2)
    with pytest.raises(FileNotFoundError, match="no network definition"):
        batch.Detect(tmp_path / "nothing")
    with pytest.raises(ValueError, match="batch must be at least 1"):
        batch.Detect(model, batch=0)


# ---- inputs -----------------------------------------------------------------------------------------------------------


def names(*sources: str, **options: Any) -> list[str]:
    return [entry.location for entry in batch.find_inputs(sources, **options)]


def test_folders_patterns_and_lists(here: Path) -> None:
    for name in ("a/2.jpg", "a/1.PNG", "a/notes.md", "a/b/3.jpg", "a/.x/4.jpg", "c[1].jpg", "a/b/film.mp4"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_bytes(name.encode())
    full = [str(here / name) for name in ("a/1.PNG", "a/2.jpg", "a/b/3.jpg")]
    assert names("a") == full[:2] == names(f"file://{here}/a")
    assert sorted(names("a", recursive=True)) == sorted([*full, str(here / "a/.x/4.jpg")])
    assert names("a", recursive=True, without=str(here / "a/.x")) == full
    assert names("a/*.jpg") == full[1:2]
    assert names("*/[12].*") == full[:2]
    assert names("**/*.jpg") == [str(here / "c[1].jpg"), full[1], full[2]]
    assert names("a/**") == full
    assert names("c[1].jpg", "a/2.jpg", "a/2.jpg") == [str(here / "c[1].jpg"), full[1], full[1]]
    Path("list.txt").write_text("\ufeff# remark\na/2.jpg\n\n a/gone.jpg \na/*.PNG\ns3://bucket/key.jpg\n")
    assert names("list.txt") == [full[1], str(here / "a/gone.jpg"), full[0], "s3://bucket/key.jpg"]
    first, gone, *_ = batch.find_inputs(["list.txt"])
    assert (first.size, first.modified) == (7, (here / "a/2.jpg").stat().st_mtime_ns)
    assert (gone.size, gone.modified) == (-1, -1)


posix = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("gone", "gone: no such file or folder"),
        ("empty", "empty: the folder has no pictures or Parquet files"),
        ("*.png", "*.png: no file matches this pattern"),
        ("film.mp4", "film.mp4: videos are not supported; use squeezedet detect"),
        ("empty.txt", "empty.txt: the list is empty"),
        ("nested.txt", "nested.txt: empty.txt: a list cannot name another list"),
        ("lost.txt", "lost.txt: gone: no such file or folder"),
        ("damaged.parquet", "damaged.parquet: Parquet"),
        pytest.param("pipe", "pipe: not a regular file or folder", marks=posix),
        pytest.param("pipe.txt", "pipe.txt: a regular file was expected", marks=posix),
        pytest.param("pipe.parquet", "pipe.parquet: not a regular file or folder", marks=posix),
    ],
)
def test_sources_that_cannot_be_read(source: str, message: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    Path("film.mp4").write_bytes(b"x")
    Path("empty.txt").write_text("# nothing\n")
    Path("nested.txt").write_text("empty.txt")
    Path("lost.txt").write_text("gone")
    Path("damaged.parquet").write_bytes(b"PAR1 no")
    for name in ("pipe", "pipe.txt", "pipe.parquet") if hasattr(os, "mkfifo") else ():
        os.mkfifo(name)
    if source != "pipe.txt":  # which cannot be read: that is not its content's fault
        with pytest.raises(batch.InputError) as error:
            names(source)
        assert message in str(error.value)
    pytest.importorskip("ray", reason="the extra [ray] brings Ray")
    line = error_line(cli.main, ["batch", source, "-o", "out"], capsys)
    assert line.startswith("squeezedet batch: ")
    assert message in line
    assert not Path("out").exists()


def write_parquet(file: Path, /, **columns: Any) -> None:
    pq.write_table(pa.table(columns), file, row_group_size=5)


def parts_of(model: str, sources: list[str], folder: str, *, part: int = 4, **options: Any) -> list[dict[str, Any]]:
    """All rows of a job that is done here, part by part."""
    settings = batch.JobSettings(model="m", options={}, column=options.pop("column", None), format="parquet", part=part)
    begun = batch.begin(folder, batch.find_inputs(sources, column=settings.column), settings)
    worker = Worker(begun, batch.Detect(model, column="content"))
    for number in begun.missing():
        worker.do(number)
    assert begun.missing() == []
    table = pq.read_table(folder)
    assert table.num_rows == begun.pictures
    assert table.schema == batch.SCHEMA
    return rows(table)


def test_parquet_with_bytes(here: Path, model: str, pictures: list[str]) -> None:
    contents = [Path(path).read_bytes() for path in pictures]
    write_parquet(here / "one.parquet", bytes=contents, other=list(range(12)))
    found = parts_of(model, ["one.parquet"], "out1")
    detector = sd.SqueezeDet(model)
    wanted = [expected_row(detector, path) for path in pictures]
    assert found == [row | {"path": f"{here}/one.parquet#{i}"} for i, row in enumerate(wanted)]
    write_parquet(here / "named.parquet", jpg=contents, path=[f"picture {i}" for i in range(12)])
    found = parts_of(model, ["named.parquet"], "out2", column="jpg")
    assert found == [row | {"path": f"picture {i}"} for i, row in enumerate(wanted)]
    structs = [{"bytes": content, "path": None} for content in contents]
    write_parquet(here / "structs.parquet", image=structs)
    found = parts_of(model, ["structs.parquet", pictures[1], "one.parquet"], "out3", part=5)
    assert [row | {"path": None} for row in found] == [row | {"path": None} for row in (*wanted, wanted[1], *wanted)]


def test_parquet_with_paths(here: Path, model: str, pictures: list[str]) -> None:
    (here / "set/pictures").mkdir(parents=True)
    for path in pictures:
        shutil.copy(path, here / "set/pictures")
    relative = [f"pictures/{Path(path).name}" for path in pictures]
    write_parquet(here / "set/all.parquet", path=[*relative[:6], *pictures[6:], None], label=["x"] * 13)
    found = parts_of(model, ["set"], "out")
    detector = sd.SqueezeDet(model)
    assert found[:6] == [expected_row(detector, str(here / "set" / path)) for path in relative[:6]]
    assert found[6:12] == [expected_row(detector, path) for path in pictures[6:]]
    assert found[12]["path"] == f"{here}/set/all.parquet#12"
    assert "got None" in found[12]["error"]


def test_which_column(here: Path) -> None:
    def column(wanted: str | None = None, **columns: Any) -> str:
        return batch.inputs.column_of(pa.table(columns).schema, wanted, "x.parquet")

    assert column(path=["x"], bytes=[b"x"]) == "bytes"
    assert column(label=["x"], jpg=[b"x"]) == "jpg"
    assert column("label", label=["x"], jpg=[b"x"]) == "label"
    with pytest.raises(batch.InputError, match=r"x.parquet: ambiguous picture column; .* a \(binary\), b \(binary\)"):
        column(a=[b"x"], b=[b"x"])
    with pytest.raises(batch.InputError, match=r"no column 'n' of bytes or paths; its columns are n \(int64\)"):
        column("n", n=[1])


# ---- the parts of a job ------------------------------------------------------------------------------------------------


def settings(**changes: Any) -> batch.JobSettings:
    return batch.JobSettings(**({"model": "m", "options": {"a": 1}, "column": None, "format": "parquet", "part": 4} | changes))


def test_parts_are_as_large_as_the_job_asks_for(pictures: list[str], here: Path) -> None:
    begun = batch.begin("out", batch.find_inputs(pictures), settings(part=5))
    assert (begun.parts, begun.pictures) == (3, 12)
    assert [begun.pictures_in(part) for part in range(3)] == [5, 5, 2]
    assert [entry.location for part in range(3) for entry in begun.entries(part)] == pictures
    assert pickle.loads(pickle.dumps(begun)).entries(2) == begun.entries(2)
    assert batch.begin("auto", batch.find_inputs(pictures), settings(part=0)).settings.part == 16


def test_a_job_is_resumed_only_as_what_it_is(here: Path, pictures: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(Path(pictures[0]).parent, "in")
    begun = batch.begin("out", batch.find_inputs(["in"]), settings())
    assert begun == batch.begin("out", batch.find_inputs(["in"]), settings(part=0), resume=True)

    def refused(message: str, sources: tuple[str, ...] = ("in",), **changes: Any) -> None:
        with pytest.raises(batch.JobError, match=message):
            batch.begin("out", batch.find_inputs(sources), settings(**changes), resume=True)

    with pytest.raises(batch.JobError, match="out already has a job: resume it, or choose another folder"):
        batch.begin("out", batch.find_inputs(["in"]), settings())
    refused("with another model", model="n")
    refused(r"with options {'a': 1}, not {'a': 2}", options={"a": 2})
    refused("with format 'parquet', not 'jsonl'", format="jsonl")
    refused("with part 4, not 5", part=5)
    refused("with other inputs: .*in/00000.jpg is new", ("in", "in"))
    shutil.copy(pictures[1], "in/00003b.jpg")
    refused("with other inputs: .*/00003b.jpg is in the position of .*/00004.jpg")
    Path("in/00003b.jpg").unlink()
    os.utime("in/00007.jpg", ns=(1, 1))
    refused("with other inputs: .*/00007.jpg has been modified")
    Path("in/00011.jpg").unlink()
    os.utime("in/00007.jpg", ns=(1, begun.entries(1)[3].modified))
    refused("with other inputs: .*/00011.jpg is missing now")
    for content in ("{}", "[" * 100_000):
        Path("out/_job.json").write_text(content)
        refused("_job.json is damaged")


def test_folders_that_are_not_a_job_s(here: Path, pictures: list[str]) -> None:
    Path("full").mkdir()
    Path("full/mine").write_bytes(b"")
    Path("file").write_bytes(b"")
    for name in ("full", "file"):
        with pytest.raises(batch.JobError, match=f"{name} is not an empty folder, and has no job"):
            batch.begin(name, batch.find_inputs(pictures), settings(), resume=True)
    Path("begun").mkdir()
    Path("begun/_new-x").write_bytes(b"what a kill left of the manifest")
    assert batch.begin("begun", batch.find_inputs(pictures), settings()).parts == 3
    assert sorted(os.listdir("begun")) == ["_job.json", "_manifest.arrow"]


def test_what_is_done_is_not_done_again(here: Path, model: str, pictures: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("parquet", "jsonl"):
        begun = batch.begin(f"out-{kind}", batch.find_inputs(pictures), settings(format=kind))
        detect = batch.Detect(model, column="content")
        worker = Worker(begun, detect)
        first = worker.do(1)
        assert (first.part, first.pictures, first.failed) == (1, 4, 1)
        assert begun.missing() == [0, 2]
        content = Path(begun.location(1)).read_bytes()
        with monkeypatch.context() as patched:
            patched.setattr(batch.Detect, "table", lambda *_: pytest.fail("done again"))
            again = worker.do(1)
        assert again[:4] == first[:4]
        assert Path(begun.location(1)).read_bytes() == content
        assert sorted(os.listdir(begun.folder)) == ["_job.json", "_manifest.arrow", f"part-000001.{kind}"]


def test_json_lines_have_the_digits_of_float32(here: Path, model: str, pictures: list[str]) -> None:
    begun = batch.begin("out", batch.find_inputs(pictures), settings(format="jsonl", part=12))
    Worker(begun, batch.Detect(model, column="content")).do(0)
    detector = sd.SqueezeDet(model)
    for line, path in zip(Path(begun.location(0)).read_text().splitlines(), pictures, strict=True):
        row, wanted = json.loads(line), expected_row(detector, path)
        assert list(row) == batch.SCHEMA.names
        del row["milliseconds"]
        for name in ("confidence", "xyxy"):
            short, exact = row.pop(name), wanted.pop(name)
            assert np.array_equal(np.asarray(short, np.float32), np.asarray(exact, np.float32))
            assert len(str(short)) <= len(str(exact))
        assert row == wanted


def test_names_that_are_not_utf8(here: Path, model: str, pictures: list[str]) -> None:
    strange = os.fsencode(str(here)) + b"/in/caf\xe9.jpg"
    Path("in").mkdir()
    with open(strange, "wb") as file:
        file.write(Path(pictures[1]).read_bytes())
    Path("list.txt").write_bytes(strange + b"\n")
    (row,) = parts_of(model, ["list.txt"], "out")
    assert row == expected_row(sd.SqueezeDet(model), pictures[1]) | {"path": f"{here}/in/caf\\udce9.jpg"}


def test_a_picture_that_crashes_its_worker_gets_an_error(here: Path, model: str, pictures: list[str]) -> None:
    """As one does that crashes a decoder, or needs more memory than there is."""
    begun = batch.begin("out", batch.find_inputs(pictures), settings(part=12))
    (here / "worker.bin").write_bytes(pickle.dumps(Worker(begun, batch.Detect(model, column="content"))))
    code = f"""
import os, pickle
from opencv_squeezedet.batch import columns
read = columns.storage.read
columns.storage.read = lambda place: os.kill(os.getpid(), 9) if place == {pictures[6]!r} else read(place)
print(pickle.load(open("worker.bin", "rb")).do(0))
"""
    crashes = 0
    while (done := subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)).returncode == -9:
        crashes += 1
        assert crashes <= 5
        assert begun.missing() == [0]
    assert done.returncode == 0, done.stderr
    assert crashes == 3  # the first time, the picture was unknown
    found = {row["path"]: row for row in rows(pq.read_table("out"))}
    assert "crashed 2 times" in found.pop(pictures[6])["error"]
    detector = sd.SqueezeDet(model)
    assert found == {path: expected_row(detector, path) for path in pictures if path != pictures[6]}
    assert sorted(os.listdir("out")) == ["_job.json", "_manifest.arrow", "part-000000.parquet"]


def test_the_fingerprint_is_that_of_the_files(model: str, tmp_path: Path) -> None:
    for suffix in (".onnx", ".json"):
        shutil.copy(model + suffix, tmp_path / f"mine{suffix}")
    same = Model.load(tmp_path / "mine").fingerprint
    assert same == Model.load(model).fingerprint
    with (tmp_path / "mine.onnx").open("ab") as file:
        file.write(b"\x32\x01x")  # its doc_string
    assert Model.load(tmp_path / "mine").fingerprint != same


# ---- the command's words -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("x.jpg", "-o/--output"),
        ("x.jpg -o out --workers 0", "got '0'"),
        ("x.jpg -o out --model nothing", "'nothing.prototxt'"),
        ("x.jpg -o file/out", "file/out"),
        ("x.jpg -o full", "full is not an empty folder"),
        ("x.jpg -o out --address 127.0.0.1:1", "--address: "),
    ],
)
def test_wrong_usage_is_one_line(
    arguments: str, words: str, here: Path, pictures: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray", reason="the extra [ray] brings Ray")
    shutil.copy(pictures[1], "x.jpg")
    Path("file").write_bytes(b"")
    Path("full/mine").mkdir(parents=True)
    line = error_line(cli.main, ["batch", *arguments.split()], capfd)
    assert line.startswith("squeezedet batch: ")
    assert words in line


def test_progress_and_the_words_for_time(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert [duration(s) for s in (0.4, 61, 3600, 360_000)] == ["0 s", "1 min 1 s", "1 h 0 min", "100 h 0 min"]
    clock = iter([0.0, 30.0, 61.0])
    monkeypatch.setattr("opencv_squeezedet.cli.progress.time.monotonic", lambda: next(clock))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    lines = ProgressLines("x", 1000, 300, quiet=False)
    for done in (422, 544):
        lines.at(done)
    assert capsys.readouterr().err == "x: 544 of 1000 pictures, 4.0 per second, 1 min 54 s left\n"
