"""Many pictures on Ray: rows as `SqueezeDet.detect` gives them, each exactly once, whoever is killed meanwhile.

All on one cluster of two nodes with a core each, but for what needs its own; no test lasts longer than it must.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import pytest
from commands import SQUEEZEDET

import opencv_squeezedet as sd
from opencv_squeezedet.pictures import read_picture
from opencv_squeezedet.pipeline import ordered_map

pytest.importorskip("ray", reason="the extra [ray] brings Ray")
pytest.importorskip("pyarrow", reason="the extra [ray] brings pyarrow")
if not sys.platform.startswith("linux"):
    pytest.skip("processes are found in Linux' /proc", allow_module_level=True)

import pyarrow as pa
from batch_cases import expected_row, make_pictures, small_model
from pyarrow import parquet as pq

SAMPLES = Path(__file__).parents[2] / "samples"
MOST_SECONDS = 900


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return small_model(tmp_path_factory.mktemp("model") / "small")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """5,000 small pictures, of which 3 % are broken."""
    return make_pictures(tmp_path_factory.mktemp("pictures"), 5000, broken=33)


@pytest.fixture(scope="module")
def expected(model: str, pictures: list[str]) -> dict[str, dict[str, Any]]:
    """The row of each picture, from `SqueezeDet.detect`."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        rows = list(ordered_map(expected_row, pictures, [sd.SqueezeDet(model) for _ in range(2)]))
    finally:
        cv2.setNumThreads(before)
    return {one["path"]: one for one in rows}


class TwoNodes:
    """A cluster of two machines, as far as Ray can tell, with a core each."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 1, "object_store_memory": 128 << 20, "include_dashboard": False}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self._other = self._cluster.add_node(num_cpus=1, object_store_memory=128 << 20)
        self.address: str = self._cluster.address

    def lose_one(self) -> None:
        """End the second node at once, with all that runs on it."""
        self._cluster.remove_node(self._other, allow_graceful=False)

    def shutdown(self) -> None:
        self._cluster.shutdown()


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[TwoNodes]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own
        nodes = TwoNodes()
        yield nodes
        nodes.shutdown()


@dataclass
class Jobs:
    """Jobs of ``squeezedet batch``, in a folder, on pictures whose rows are known."""

    nodes: TwoNodes
    model: str
    pictures: list[str]
    expected: dict[str, dict[str, Any]]
    folder: Path

    def start(self, *arguments: object, alone: bool = False) -> subprocess.Popen[str]:
        """On the two nodes, or on a cluster of its own, which ends with it."""
        where = () if alone else ("--address", self.nodes.address)
        command = [*SQUEEZEDET, "batch", *map(str, (*arguments, *where)), "--model", self.model]
        return subprocess.Popen(command, text=True, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def start_list(self, count: int, *options: object, alone: bool = False) -> subprocess.Popen[str]:
        """With the first pictures, into the folder ``out``."""
        (self.folder / "list.txt").write_text("\n".join(self.pictures[:count]))
        return self.start("list.txt", "-o", "out", *options, alone=alone)

    def parts(self, name: str = "out") -> list[str]:
        folder = self.folder / name
        return sorted(part for part in os.listdir(folder) if part.startswith("part-")) if folder.is_dir() else []

    def wait_for_parts(self, count: int, process: subprocess.Popen[str]) -> None:
        end = time.monotonic() + MOST_SECONDS
        while len(self.parts()) < count:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end
            time.sleep(0.02)

    def check(self, count: int, name: str = "out") -> None:
        """Each of the first pictures exactly once, as `SqueezeDet.detect` has it."""
        rows = pq.read_table(self.folder / name).to_pylist()
        assert sorted(row["path"] for row in rows) == sorted(self.pictures[:count])
        for row in rows:
            assert row.pop("milliseconds") >= 0
            assert row == self.expected[row["path"]]
        assert {other for other in os.listdir(self.folder / name) if not other.startswith("part-")} == {
            "_job.json",
            "_manifest.arrow",
        }


@pytest.fixture
def jobs(two_nodes: TwoNodes, model: str, pictures: list[str], expected: dict[str, dict[str, Any]], tmp_path: Path) -> Jobs:
    return Jobs(two_nodes, model, pictures, expected, tmp_path)


def finished(process: subprocess.Popen[str]) -> str:
    """The output of a command that succeeds, with nothing on standard error but progress where the machine is slow."""
    out, err = process.communicate(timeout=MOST_SECONDS)
    assert process.returncode == 0, err
    assert [line for line in err.splitlines() if " per second, " not in line] == []
    return out


def actors(root: int) -> list[int]:
    """The processes below one that are actors of Ray Data."""
    parents, found = {}, []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        with contextlib.suppress(OSError):
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if (entry / "cmdline").read_bytes().startswith(b"ray::MapWorker"):
                found.append(int(entry.name))

    def is_below(pid: int) -> bool:
        while pid not in (root, 0, 1):
            pid = parents.get(pid, 0)
        return pid == root

    return [pid for pid in found if is_below(pid)]


def test_five_thousand_pictures_of_which_some_are_broken(jobs: Jobs) -> None:
    first, second = finished(jobs.start(Path(jobs.pictures[0]).parent, "-o", "found.parquet")).splitlines()
    jobs.check(5000, "found.parquet")
    errors = [row["error"] for row in jobs.expected.values() if row["error"]]
    assert len(errors) == 152
    assert set(errors) == {"the file is empty", "it is not a picture that OpenCV can decode"}
    assert first == f"{jobs.folder}/found.parquet: 5000 pictures in 200 parts"
    objects = sum(len(row["label"]) for row in jobs.expected.values())
    assert second.startswith("5000 pictures in ")
    assert second.endswith(f" per second: {objects} objects, 152 unreadable")


def test_a_killed_worker(jobs: Jobs) -> None:
    process = jobs.start_list(1500, "--part", 25)
    for count in (2, 12):
        jobs.wait_for_parts(count, process)
        os.kill(actors(os.getpid())[0], signal.SIGKILL)
    assert "1500 pictures in 60 parts" in finished(process)
    jobs.check(1500)


def test_a_killed_job_is_resumed(jobs: Jobs) -> None:
    arguments = (1500, "--part", "25", "--resume")
    process = jobs.start_list(*arguments, alone=True)
    jobs.wait_for_parts(10, process)
    workers = actors(process.pid)
    assert workers
    process.kill()
    process.communicate()
    end = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < end
        time.sleep(0.1)
    out = jobs.folder / "out"
    before = {name: (out / name).stat().st_mtime_ns for name in jobs.parts()}
    assert 10 <= len(before) < 60
    resumed = finished(jobs.start_list(*arguments))
    assert f"1500 pictures in 60 parts, {25 * len(before)} of them from earlier runs" in resumed
    assert {name: (out / name).stat().st_mtime_ns for name in before} == before
    jobs.check(1500)
    done = finished(jobs.start_list(*arguments, alone=True))
    assert done == f"{out}: 1500 pictures in 60 parts, 1500 of them from earlier runs\n"


def test_json_lines_out_of_parquet(jobs: Jobs) -> None:
    some = jobs.pictures[:200]
    table = pa.table({"jpg": [Path(path).read_bytes() for path in some], "path": some})
    pq.write_table(table, jobs.folder / "in.parquet")
    arguments = ("in.parquet", "--column", "jpg", "-o", "out.jsonl", "--threshold", 0.3, "--cpus", 1, "--quiet")
    finished(jobs.start(*arguments))
    names = jobs.parts("out.jsonl")
    assert len(names) == 13
    rows = [json.loads(line) for name in names for line in (jobs.folder / "out.jsonl" / name).read_text().splitlines()]
    assert [row["path"] for row in rows] == some
    for row in rows:
        wanted = jobs.expected[row["path"]]
        assert row["error"] == wanted["error"]
        pairs = zip(wanted["label"], wanted["confidence"], strict=True)
        assert row["label"] == [label for label, score in pairs if score > 0.3]


def test_a_dataset(jobs: Jobs) -> None:
    model, pictures = jobs.model, jobs.pictures
    code = f"""
import json, sys, ray, ray.data
from opencv_squeezedet import batch
ray.init({jobs.nodes.address!r}, log_to_driver=False)
paths = {pictures[:200]!r}
given = ray.data.from_items([{{"path": path, "number": i}} for i, path in enumerate(paths)], override_num_blocks=4)
found = batch.detect(given, {model!r}, keep=["number"], batch=4, score_threshold=0.05).materialize()
assert found.schema().base_schema.field("number").type == "int64", found.schema()
assert found.schema().base_schema.remove(0).equals(batch.SCHEMA), found.schema()
rows = found.take_all()
read = ray.data.read_binary_files(paths, include_paths=True)
rows += [row | {{"number": -1}} for row in batch.detect(read, {model!r}, workers=1, cpus=1).take_all()]
json.dump(rows, open("rows.json", "w"))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=jobs.folder, timeout=MOST_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads((jobs.folder / "rows.json").read_text())
    assert len(rows) == 400
    assert sorted(row["number"] for row in rows) == [-1] * 200 + list(range(200))
    for row in rows:
        row.pop("milliseconds")
        number = row.pop("number")
        wanted = jobs.expected[row["path"]]
        if number < 0:
            assert row == wanted
        else:  # several in a pass
            assert (row["path"], row["label"], row["error"]) == (pictures[number], wanted["label"], wanted["error"])
            assert row["confidence"] == pytest.approx(wanted["confidence"], rel=1e-4)


def test_an_error_that_ends_a_job_is_one_line(jobs: Jobs) -> None:
    for part in range(7):
        (jobs.folder / "out" / f"_begun-{part:06}.json").mkdir(parents=True)  # where each worker wants to write
    process = jobs.start_list(100)
    out, err = process.communicate(timeout=MOST_SECONDS)
    assert (process.returncode, out) == (1, "")
    (line,) = err.splitlines()
    assert line.startswith("squeezedet batch: part ")
    assert "Is a directory" in line


def test_ctrl_c(jobs: Jobs) -> None:
    process = jobs.start_list(5000)
    jobs.wait_for_parts(1, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=MOST_SECONDS)
    assert process.returncode == 130
    assert err.startswith("squeezedet batch: interrupted")
    assert "--resume" in err


@pytest.mark.parametrize("name", ["ray", "dask"])
def test_samples(name: str, two_nodes: TwoNodes, tmp_path: Path) -> None:
    if name == "dask":
        pytest.importorskip("dask.dataframe")
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "cat.jpg").write_bytes((SAMPLES / "chelsea.jpg").read_bytes())
    (folder / "broken.jpg").write_bytes(b"this is not a picture")
    done = subprocess.run(
        [sys.executable, SAMPLES / f"batch_{name}.py", folder, "out.parquet"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "RAY_ADDRESS": two_nodes.address},
        timeout=MOST_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "cat 1\n" in done.stdout
    rows = sorted(pq.read_table(tmp_path / "out.parquet").to_pylist(), key=lambda row: str(row["path"]))
    assert [Path(row["path"]).name for row in rows] == ["broken.jpg", "cat.jpg"]
    found = sd.SqueezeDet().detect(read_picture(folder / "cat.jpg"), score_threshold=0.3)
    assert "not a picture" in rows[0]["error"]
    assert (rows[1]["label"], rows[1]["error"]) == (["cat"], None)
    assert rows[1]["xyxy"] == [pytest.approx(box, abs=0.1) for box in found.xyxy.tolist()]


def test_a_node_is_taken_away(jobs: Jobs) -> None:
    """The last test, for afterwards there is one node left."""
    process = jobs.start_list(1500, "--part", 25)
    jobs.wait_for_parts(10, process)
    jobs.nodes.lose_one()
    assert "1500 pictures in 60 parts" in finished(process)
    jobs.check(1500)
