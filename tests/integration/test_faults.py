"""A kill, or an error, at every call that changes a file, of every writer: files are whole or absent (Linux, a C compiler)."""

from __future__ import annotations

import errno
import importlib.util
import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from commands import PHOTO, write_cats
from faults import KILL, Fault, library, run_with_faults
from model_mutations import description, detector
from networks import MODELS, random_weights

from opencv_squeezedet.formats import onnx_bytes

HELPERS = str(Path(__file__).parents[1] / "helpers")
MODEL = str(MODELS / "squeezedet_shuffle_voc")
TEMPORARY = re.compile(
    r"\.[0-9a-f]{16}(\.\w+)?|sensitivity\.json|checkpoint\.new|_new-[0-9a-f]{32}|thing\.caffemodel\.(part|lock)|lock|_begun-.*"
)
"""What may lie about after a kill: nothing that has the name of a result."""
Seen = list[tuple[Fault, dict[str, bytes]]]
"""What is there after each fault."""


def needs(extra: str, *libraries: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(None in map(importlib.util.find_spec, libraries), reason=f"the extra [{extra}] is missing")


needs_eval, needs_fetch, needs_train = needs("eval", "faster_coco_eval"), needs("fetch", "filelock"), needs("train", "torch")
needs_quantize, needs_arrow = needs("quantize", "onnx", "onnxruntime"), needs("ray", "pyarrow")


@pytest.fixture(scope="module")
def preloaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = library(tmp_path_factory.mktemp("library"))
    if found is None:
        pytest.skip("needs Linux and a C compiler")
    return found


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """A data set of one picture, a video, and a small model."""
    folder = tmp_path / "template"
    folder.mkdir()
    write_cats(folder, sides=(60, 200, 290))
    photo = cv2.imread(str(PHOTO))
    writer = cv2.VideoWriter(str(folder / "film.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25, (96, 96))
    for i in range(3):
        writer.write(np.roll(cv2.resize(photo, (96, 96)), 7 * i, axis=1))
    writer.release()
    network = detector()
    (folder / "small.onnx").write_bytes(onnx_bytes(network, random_weights(network)))
    (folder / "small.json").write_bytes(description())
    (folder / "recipe.json").write_text('{"schedule": {"bfloat16": false}}')  # which would be chosen by time
    return folder


def command(line: str, imports: str = "") -> str:
    name, *arguments = shlex.split(line)
    return f"""
from importlib import import_module
from opencv_squeezedet.cli import main
import_module("opencv_squeezedet.cli.{name}")
{imports}
def work():
    return main({[name, *arguments]!r})
"""


FETCH = f"""
import os, sys; sys.path.insert(0, {HELPERS!r})
del os.environ["OPENCV_SQUEEZEDET_MIRROR"]
from server import CONTENT, entry
import opencv_squeezedet.registry.download
from opencv_squeezedet import registry
from opencv_squeezedet.registry import published
published.entries = lambda: {{"thing": entry("source/thing.caffemodel")}}
def work():
    try:
        registry.fetch("thing", cache="cache")
    except published.FetchError as error:
        print(error, file=sys.stderr)
        return 1
    return 0
"""
PART = """
import pickle, sys
from opencv_squeezedet.batch.parts import Worker
def work():
    job, detect = pickle.loads(open("worker.pickle", "rb").read())
    try:
        Worker(job, detect).do(0)
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    return 0
"""
SQUEEZENET = "import opencv_squeezedet.formats"
TORCH = """import torch, opencv_squeezedet.training, opencv_squeezedet.formats
torch.set_num_threads(1)
torch.optim.AdamW([torch.zeros(1, requires_grad=True)])  # which imports more
"""
EVAL = "import opencv_squeezedet.evaluation.plots, sklearn.cluster, faster_coco_eval, matplotlib.backends.backend_svg"
COMPRESS = "compress small.onnx -o out.sdz --density 0.5 --bits 4 --pictures . --json b.json --quiet"
QUANTIZE = "quantize small.onnx -o out.onnx --pictures . --count 1 --float 0 --json b.json --quiet"
TRAIN = "train data.json -o run --size 64 --batch 1 --pictures 1 --workers 0 --recipe recipe.json --quiet"
REPORTS = "--json a.json --csv a.csv --html a.html --save-results b.json"
WRITERS: list[Any] = [
    pytest.param(command("detect 1.jpg -o out --quiet"), id="detect"),
    pytest.param(command("detect 1.jpg --no-image --json a.json --jsonl a.jsonl --csv a.csv --quiet"), id="text"),
    pytest.param(command("detect 1.jpg --no-image --coco coco.json --yolo yolo --quiet"), id="yolo"),
    pytest.param(command("detect 1.jpg --no-image --voc voc --crops crops --quiet"), id="voc"),
    pytest.param(command("detect film.avi -o out --quiet"), id="video"),
    pytest.param(command(f"eval data.json {REPORTS} --quiet", EVAL), id="eval", marks=needs_eval),
    pytest.param(command("anchors data.json --count 2 --json a.json", EVAL), id="anchors", marks=needs_eval),
    pytest.param(command(f"convert '{MODEL}' out.onnx", SQUEEZENET), id="onnx"),
    pytest.param(command(f"convert '{MODEL}' out.prototxt", SQUEEZENET), id="caffe"),
    pytest.param(command(COMPRESS, f"{SQUEEZENET}, onnxruntime"), id="compress", marks=needs_quantize),
    pytest.param(command(QUANTIZE, f"{SQUEEZENET}, onnxruntime.quantization"), id="quantize", marks=needs_quantize),
    pytest.param(command("label 1.jpg --teacher embedded -o b.json --quiet", TORCH), id="label", marks=needs_train),
    pytest.param(command(TRAIN, TORCH), id="train", marks=needs_train),
    pytest.param(FETCH, id="fetch", marks=needs_fetch),
    pytest.param(PART, id="batch", marks=needs_arrow),
]


def results(folder: Path) -> dict[str, bytes]:
    """All files but temporary ones: their content, or, where times are in it, what of it is fixed."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and not TEMPORARY.fullmatch(path.name):
            found[str(path.relative_to(folder))] = _content(path)
    return found


def _content(path: Path) -> bytes:
    content = path.read_bytes()
    if path.name == "checkpoint.pt":
        import torch

        return repr(sorted(torch.load(path, weights_only=True))).encode()
    if path.suffix == ".json":
        parsed = json.loads(content)
        return repr(sorted(parsed)).encode() if isinstance(parsed, dict) else content
    if path.name == "log.csv":
        return repr({line.count(b",") for line in content.splitlines()} | {content[-1:]}).encode()  # it may have more rows
    if path.suffix == ".html":
        return content[:20] + content[-20:]
    if path.suffix == ".parquet":
        from pyarrow import parquet as pq

        return repr(pq.read_table(path)["path"].to_pylist()).encode()
    return content


def prepare(template: Path, writer: str) -> None:
    """What the last two writers need besides."""
    if writer == FETCH:
        from server import CONTENT

        (template / "source").mkdir()
        (template / "source" / "thing.caffemodel").write_bytes(CONTENT)
    if writer == PART:
        import pickle

        from batch_cases import make_pictures, small_model

        from opencv_squeezedet import batch
        from opencv_squeezedet.model import Model

        model = Model.load(small_model(template / "small"))
        settings = batch.JobSettings(model="x", options={}, column=None, format="parquet", part=2)
        entries = batch.find_inputs(make_pictures(template / "pictures", 2))
        job = batch.begin(str(template / "job"), entries, settings)
        worker = (job.__class__("job", job.settings, job.parts, job.pictures), batch.Detect(model, column="content"))
        (template / "worker.pickle").write_bytes(pickle.dumps(worker))


def outcomes(preloaded: Path, writer: str, template: Path, mode: int) -> tuple[dict[str, bytes], Seen]:
    """What is there after all of it, and what after each fault."""
    prepare(template, writer)
    seen = []
    for fault in run_with_faults(preloaded, writer, template, template.parent, mode):
        seen.append((fault, results(fault.folder)))
        if fault.number:
            shutil.rmtree(fault.folder)
    (whole, everything), *others = seen
    assert whole.status == 0, whole.error
    assert len(others) >= 3
    return everything, others


@pytest.mark.slow
@pytest.mark.parametrize("mode", [KILL, errno.ENOSPC], ids=["a kill", "a full disk"])
@pytest.mark.parametrize("writer", WRITERS)
def test_a_fault_at_every_call(writer: str, mode: int, preloaded: Path, template: Path) -> None:
    """On a full disk: one line, and nothing left behind, except what cannot be removed."""
    everything, faults = outcomes(preloaded, writer, template, mode)
    before = results(template)
    for fault, found in faults:
        for name, content in found.items():
            assert content in (everything.get(name), before.get(name)), name
        assert before.keys() <= found.keys()
        assert fault.status in ((-9,) if mode == KILL else (0, 1, 2)), fault
        if mode != KILL and fault.status:
            assert "No space left on device" in fault.error or "is the disk full?" in fault.error, fault
            assert len(fault.error.splitlines()) == 1 or "fetching" in fault.error, fault


def older(template: Path) -> None:
    for name in ("out.prototxt", "out.caffemodel"):
        (template / name).write_bytes(b"older")


@pytest.mark.parametrize("prepare_more", [older, lambda template: None], ids=["older ones", "none"])
def test_files_that_belong_together_at_every_error(
    prepare_more: Callable[[Path], None], preloaded: Path, template: Path
) -> None:
    """Either all are new, or none is."""
    prepare_more(template)
    writer = command(f"convert '{MODEL}' out.prototxt", SQUEEZENET)
    everything, failed = outcomes(preloaded, writer, template, errno.EACCES)
    before = results(template)
    for fault, found in failed:
        assert found == (before if fault.status else everything), fault
