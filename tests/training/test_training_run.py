"""A training from its data set to its files: interrupted, killed, resumed, refused, stopped early."""

from __future__ import annotations

import csv
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from multiprocessing import resource_sharer
from pathlib import Path
from types import FrameType
from typing import Any

import cv2
import numpy as np
import pytest

import opencv_squeezedet as sd
from opencv_squeezedet.datasets import Dataset
from opencv_squeezedet.errors import ModelError
from opencv_squeezedet.formats import read_weights

torch = pytest.importorskip("torch", reason="the extra [train] brings torch")

from training_cases import PYRAMID, kill_worker, locked_elsewhere, recipe, squares  # noqa: E402

from opencv_squeezedet.training import Augmentation, Progress, Recipe, Schedule, Training  # noqa: E402
from opencv_squeezedet.training.diagnostics import assigned_sheet  # noqa: E402
from opencv_squeezedet.training.example import Example  # noqa: E402
from opencv_squeezedet.training.loop import LOGITS, Trainer  # noqa: E402
from opencv_squeezedet.training.losses import AlignedLoss, Assigned, PublishedLoss  # noqa: E402
from opencv_squeezedet.training.precision import StepTimes, time_steps  # noqa: E402
from opencv_squeezedet.training.predictions import anchors_of  # noqa: E402
from opencv_squeezedet.training.start import build_model, start_weights  # noqa: E402
from opencv_squeezedet.training.training_set import class_weights, examples_of  # noqa: E402

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Dataset]:
    return squares(tmp_path_factory.mktemp("squares"))


def training(data: tuple[Dataset, Dataset], folder: Path, made: Recipe | None = None, *, workers: int = 0) -> Training:
    return Training(recipe() if made is None else made, data[0], folder, validation=data[1], workers=workers)


def finish(run: Training, **options: int) -> list[Progress]:
    return list(run.run(**{"every": 16, "log_every": 3, **options}))


def log(folder: Path, name: str = "log.csv") -> list[dict[str, str]]:
    with (folder / name).open(newline="") as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def weights(run: Training) -> np.ndarray:
    return np.concatenate([blob.ravel() for blobs in run.trainer.ema_network().weights().values() for blob in blobs])


@pytest.fixture(scope="module")
def whole(data: tuple[Dataset, Dataset], tmp_path_factory: pytest.TempPathFactory) -> Training:
    """A training that nothing disturbed."""
    run = training(data, tmp_path_factory.mktemp("whole"))
    finish(run)
    return run


# ---- what a run does -----------------------------------------------------------------------------------------------------


def test_progress_and_log(data: tuple[Dataset, Dataset], whole: Training, tmp_path: Path) -> None:
    steps = finish(training(data, tmp_path))
    assert [step.seen for step in steps] == [12, 16, 28, 32, 44, 48]
    assert [step.seen for step in steps if step.evaluation is not None] == [16, 32, 48]
    rows = log(tmp_path)
    assert [int(float(row["seen"])) for row in rows] == [12, 16, 28, 32, 44, 48]
    for row, step in zip(rows, steps, strict=True):
        assert [float(row[name]) for name in ("box", "classes", "confidence")] == pytest.approx(
            [float(value) for value in step.losses], abs=1e-4
        )
        assert row["map_voc07"] == ("" if step.evaluation is None else str(round(step.evaluation.map_voc07, 4)))
    assert rows == log(whole.folder)
    assert Recipe.from_json((tmp_path / "recipe.json").read_text()) == recipe()
    for name, rows_of_pictures in {"assigned": 1, **{f"predictions/{seen:08d}": 2 for seen in (16, 32, 48)}}.items():
        assert cv2.imread(str(tmp_path / f"{name}.jpg")).shape == (rows_of_pictures * 320, 4 * 320, 3)
    assert cv2.imread(str(tmp_path / "curves.png")) is not None
    files = {"assigned.jpg", "checkpoint.pt", "classes.csv", "curves.png", "layers.csv", "layers.png", "lock", "log.csv"}
    assert {path.name for path in tmp_path.iterdir()} - {"log.txt"} == {*files, "predictions", "recipe.json"}
    assert [float(row["rate"]) for row in rows] == pytest.approx([step.rate for step in steps], rel=1e-3)
    assert all(float(row["gradient"]) > 0 for row in rows)
    rows = log(tmp_path, "classes.csv")
    assert [float(row["seen"]) for row in rows] == [16, 32, 48]
    for row in rows:
        classes = [float(row[f"voc07 {label}"]) for label in ("red", "blue")]
        assert float(row["map_voc07"]) == pytest.approx(sum(classes) / 2, abs=1e-3)


def test_the_layers_in_numbers(data: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    """A layer that is made to put out nothing is reported once, unless there are too few pictures to tell."""
    few = data[0], replace(data[1], pictures=data[1].pictures[:4])
    for name, some in (("many", data), ("few", few)):
        run = training(some, tmp_path / name, recipe(pictures=8))
        for state in (run.trainer.model.state_dict(), run.trainer.ema):
            state["norms.fire2_expand_3x3.bias"].fill_(-1e4)
        _, second = finish(run, every=4)
        log_file = tmp_path / name / "log.txt"
        lines = log_file.read_text().splitlines() if log_file.exists() else []
        reported = [line for line in lines if "100% of the channels of fire2_expand_3x3 are dead" in line]
        assert [line.startswith("4 pictures: ") and "schedule.rate" in line for line in reported] == [True] * (some is data)
    states = {state.name: state for state in second.layers}
    assert states["fire2_expand_3x3"].dead == 1
    assert states["fire2_squeeze"].dead < 0.5
    assert np.isnan(states["conv16"].dead)
    assert [states[layer].is_mostly_dead for layer in ("fire2_expand_3x3", "fire2_squeeze", "conv16")] == [True, False, False]
    kernel = start_weights(PYRAMID)["conv1"][0]  # frozen
    histogram = states["conv1"].weights
    assert histogram.counts.sum() == kernel.size
    assert (histogram.mean, histogram.deviation) == pytest.approx((kernel.mean(), kernel.std()), rel=1e-3)
    assert histogram.edges[[0, -1]] == pytest.approx([kernel.min(), kernel.max()])
    rows = log(run.folder, "layers.csv")
    assert [row["layer"] for row in rows] == list(states)
    assert {row["layer"]: row["dead"] for row in rows}["fire2_expand_3x3"] == "1"
    assert min(cv2.imread(str(run.folder / "layers.png")).shape[:2]) > 400


def test_assigned_anchors_are_drawn(data: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    """Objects are green, the anchors assigned to them orange, and ignored objects grey."""
    run = training(data, tmp_path, recipe(small=0.0))
    batch = next(run.trainer.stream.batches())
    assigned = run.trainer.assigned(batch)
    ignored = batch._replace(targets=batch.targets._replace(quality=torch.zeros(len(batch.targets.quality))))
    pixels = []
    for shown in ((batch, assigned), (ignored, Assigned(*(part[:0] for part in assigned)))):
        sheet = cv2.imdecode(np.frombuffer(assigned_sheet(*shown, anchors_of(run.config)), np.uint8), cv2.IMREAD_COLOR)
        colours = (60, 200, 60), (0, 140, 255), (150, 150, 150)
        pixels.append([int((np.abs(sheet.astype(int) - colour).max(-1) < 25).sum()) for colour in colours])
    (green, orange, grey), (no_green, no_orange, more_grey) = pixels
    assert green > 300 > 10 * no_green
    assert orange > no_orange + 300
    assert more_grey > grey + 300


@pytest.mark.parametrize(("loss", "kind"), [("aligned", AlignedLoss), ("published", PublishedLoss)])
def test_the_loss_falls(data: tuple[Dataset, Dataset], tmp_path: Path, loss: str, kind: type) -> None:
    options = {"network": "pyramid", "normalized": "new", "schedule": Schedule(rate=3e-3, bfloat16=False)}
    made = recipe(loss=loss, pictures=160, batch=8, small=0.0, frozen=("conv1", "fire2", "fire3"), **options)
    run = training(data, tmp_path, made)
    assert isinstance(run.trainer.losses((96, 96)), kind)
    totals = [sum(float(value) for value in step.losses) for step in finish(run, every=1000, log_every=5)]
    assert totals[-1] < 0.8 * totals[0]


def test_written_files_find_what_the_training_found(
    whole: Training, data: tuple[Dataset, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole.write(tmp_path / "squares", half=False)
    detector = sd.SqueezeDet(tmp_path / "squares")
    assert detector.config.labels == ("red", "blue")
    monkeypatch.setattr(whole.trainer, "ema", whole.trainer.best_ema)  # what is written
    for picture, expected in zip(data[1].pictures, whole.detections(data[1]), strict=True):
        found = detector.detect(cv2.imread(str(picture.path)), score_threshold=0.005)
        assert abs(len(found) - len(expected)) <= 2
        np.testing.assert_allclose(found.confidence[:5], expected.confidence[:5], atol=1e-3)


# ---- killed ------------------------------------------------------------------------------------------------------------

PROGRAM = """
import sys
from pathlib import Path
sys.path[:0] = {paths!r}
from training_cases import recipe
from opencv_squeezedet.datasets import load_dataset
from opencv_squeezedet.training import Training
train = load_dataset({data!r}, split="train")
val = load_dataset({data!r}, split="val", labels=train.labels)
for _ in Training(recipe(), train, Path({folder!r}), validation=val).run(every=16, log_every=3, save_seconds=0):
    pass
"""


@pytest.mark.slow
def test_killed_again_and_again(data: tuple[Dataset, Dataset], whole: Training, tmp_path: Path) -> None:
    """Wherever it is killed, the log and the weights are in the end those of the run that nothing disturbed."""
    paths = [str(Path(__file__).parents[1] / "helpers"), str(Path(__file__).parents[2])]
    folder = data[0].pictures[0].path.parents[2]
    program = PROGRAM.format(paths=paths, data=str(folder / "data.yaml"), folder=str(tmp_path))
    rng, checkpoint, kills = np.random.default_rng(2), tmp_path / "checkpoint.pt", 0
    for _ in range(3):
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE)
        deadline = time.monotonic() + 600
        while process.poll() is None and time.monotonic() < deadline:  # one more checkpoint, then some milliseconds
            if checkpoint.exists() and checkpoint.stat().st_mtime_ns > before:
                time.sleep(rng.uniform(0, 0.2))
                break
            time.sleep(0.005)
        if process.poll() is None:
            process.kill()
            kills += 1
        process.communicate()
        assert process.returncode in (-signal.SIGKILL, 0)
    assert kills >= 2
    run = training(data, tmp_path)
    assert run.trainer.seen > 0
    finish(run)
    assert log(tmp_path) == log(whole.folder)
    np.testing.assert_array_equal(weights(run), weights(whole))
    assert run.trainer.best == whole.trainer.best


@pytest.mark.parametrize(("network", "side"), [("tiny", 96), ("gsoc", 128)])  # gsoc has dropout
def test_stopped_between_two_lines(data: tuple[Dataset, Dataset], tmp_path: Path, network: str, side: int) -> None:
    made = recipe(network=network, input_size=(side, side), pictures=16, small=0.0)
    undisturbed = training(data, tmp_path / "whole", made)
    finish(undisturbed, log_every=1)
    for stop in (1, 2):
        steps = training(data, tmp_path / "stopped", made).run(every=16, log_every=1, save_seconds=1000)
        for _ in range(stop):
            next(steps)
        steps.close()
        torch.rand(7)
    run = training(data, tmp_path / "stopped", made)
    assert [step.seen for step in finish(run, log_every=1)] == [16]
    assert log(tmp_path / "stopped") == log(tmp_path / "whole")
    np.testing.assert_array_equal(weights(run), weights(undisturbed))


PACKAGE = str(Path(sd.__file__).parent)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Python's own handler of Ctrl-C, also where the tests run in the background, which ignores it."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


class InterruptAfter:
    """Sends SIGINT, once, after so many lines of the package; within a `with`. With 0 it only counts, down."""

    def __init__(self, lines: int) -> None:
        self.lines = lines

    def trace(self, frame: FrameType, event: str, argument: object) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        self.lines -= event == "line"
        if self.lines == 0 and event == "line":
            sys.settrace(None)
            self.lines = -1
            signal.raise_signal(signal.SIGINT)
        return self.trace

    def __enter__(self) -> InterruptAfter:
        sys.settrace(self.trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)


@pytest.mark.slow
@pytest.mark.usefixtures("interruptible")
def test_interrupted_at_any_line(data: tuple[Dataset, Dataset], whole: Training, tmp_path: Path) -> None:
    """Nothing is lost but the step under way, and in the end log and weights are those of the run that nothing disturbed."""
    run = training(data, tmp_path / "counted")
    with InterruptAfter(0) as never:
        finish(run)
    rng, stops, seen, ended = np.random.default_rng(4), 0, 0, False
    while not ended and stops < 99:
        run = training(data, tmp_path)
        assert run.trainer.seen >= seen
        progress = [run.trainer.seen]
        lines = int(rng.integers(1, -never.lines // 4))  # a report with its measurement alone takes more than a fifth
        with suppress(KeyboardInterrupt), InterruptAfter(lines):
            for step in run.run(every=16, log_every=3, save_seconds=1000):
                progress.append(step.seen)
            ended = True
        stops += not ended
        torch.set_grad_enabled(True)  # Python itself may leave a `with` without its end, if just there it is interrupted
        seen = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["seen"]
        assert seen >= max(progress[-1], run.trainer.seen - 4)
    assert 3 < stops < 99
    assert log(tmp_path) == log(whole.folder)
    np.testing.assert_array_equal(weights(run), weights(whole))
    assert run.trainer.best == whole.trainer.best


@pytest.mark.slow
@posix
@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(
    ("event", "workers", "error"),
    [(lambda: signal.raise_signal(signal.SIGINT), 0, KeyboardInterrupt), (kill_worker, 1, ChildProcessError)],
    ids=["interrupt", "killed worker"],
)
def test_interrupted_within_a_step_and_run_again(
    data: tuple[Dataset, Dataset],
    whole: Training,
    tmp_path: Path,
    event: Callable[[], None],
    workers: int,
    error: type[BaseException],
) -> None:
    """The step is completed and saved, and the same object continues after it."""
    run = training(data, tmp_path, workers=workers)
    real = run.trainer.optimizer.step

    def interrupted() -> None:
        event()
        real()

    steps = run.run(every=16, log_every=3)
    next(steps)
    run.trainer.optimizer.step = interrupted  # type: ignore[method-assign]
    with pytest.raises(error):
        next(steps)
    run.trainer.optimizer.step = real  # type: ignore[method-assign]
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["seen"] == 16
    assert [step.seen for step in finish(run)] == [16, 28, 32, 44, 48]
    assert log(tmp_path) == log(whole.folder)
    np.testing.assert_array_equal(weights(run), weights(whole))


@pytest.mark.usefixtures("interruptible")
def test_interrupted_while_measuring(data: tuple[Dataset, Dataset], whole: Training, tmp_path: Path) -> None:
    """At once; the next run begins with the measurement."""
    run = training(data, tmp_path)

    def interrupted(_: object) -> None:
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("the measurement continued")

    run.detections = interrupted  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        finish(run)
    again = training(data, tmp_path)
    assert again.trainer.seen == 16
    steps = again.run(every=16, log_every=3)
    first = next(steps)
    assert (first.seen, first.evaluation is None) == (16, False)
    assert again.trainer.seen == 16
    list(steps)
    assert log(tmp_path) == log(whole.folder)
    np.testing.assert_array_equal(weights(again), weights(whole))


@pytest.mark.usefixtures("interruptible")
def test_interrupted_while_a_checkpoint_is_written(
    data: tuple[Dataset, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = training(data, tmp_path)
    real, handler = os.fsync, signal.getsignal(signal.SIGINT)

    def interrupted(descriptor: int) -> None:
        monkeypatch.setattr(os, "fsync", real)
        signal.raise_signal(signal.SIGINT)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.trainer.save()
    assert signal.getsignal(signal.SIGINT) is handler
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["seen"] == 0


@pytest.mark.slow
@posix
def test_ctrl_c_in_a_terminal(data: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    """It goes to the data-loading workers too."""
    folder = data[0].pictures[0].path.parents[2]
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a job in the background has none
    code += "from opencv_squeezedet.cli import main; sys.exit(main())"
    arguments = [str(folder / "data.yaml"), "--split", "train", "-o", str(tmp_path / "run"), "--size", "128", "--batch", "4"]
    with subprocess.Popen(
        [sys.executable, "-c", code, "train", *arguments, "--pictures", "90000", "--every", "8", "--workers", "2"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + 600
        while not (tmp_path / "run" / "log.csv").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=600)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["seen"] >= 4


WORKER_KILLED = "a data-loading worker was killed"


@pytest.mark.slow
@posix
def test_a_killed_worker(data: tuple[Dataset, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by a system without memory left."""
    parent, read = os.getpid(), Example.read

    def fatal(example: Example, mean: tuple[float, float, float]) -> object:
        if os.getpid() != parent and example.path.stem == "train7":
            os.kill(os.getpid(), signal.SIGKILL)
        return read(example, mean)

    monkeypatch.setattr(Example, "read", fatal)
    run = Training(recipe(), data[0], tmp_path, workers=1)
    with pytest.raises(ChildProcessError, match=WORKER_KILLED):
        list(run.run())
    assert (tmp_path / "checkpoint.pt").exists()


@pytest.mark.slow
@posix
@pytest.mark.parametrize("error", [ConnectionResetError, EOFError])
def test_a_worker_killed_as_it_sends_a_batch(
    data: tuple[Dataset, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """Its connection is closed before the system says that it has died."""

    def closed(_: object) -> int:
        (worker,) = multiprocessing.active_children()
        threading.Timer(0.1, worker.kill).start()
        raise error

    monkeypatch.setattr(resource_sharer.DupFd, "detach", closed)
    run = Training(recipe(), data[0], tmp_path, workers=1)
    with pytest.raises(ChildProcessError, match=WORKER_KILLED):
        list(run.run())
    assert (tmp_path / "checkpoint.pt").exists()


def test_a_disk_that_is_full(data: tuple[Dataset, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = training(data, tmp_path)
    run.trainer.save()
    before = (tmp_path / "checkpoint.pt").read_bytes()

    def full(descriptor: int) -> None:
        os.truncate(descriptor, 1000)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        run.trainer.save()
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert not list(tmp_path.glob("*.new"))


# ---- two at a time ---------------------------------------------------------------------------------------------------------


def test_two_processes_in_one_folder(data: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    with locked_elsewhere(tmp_path):
        with pytest.raises(ValueError, match="another process is training in "):
            training(data, tmp_path)
        assert not (tmp_path / "recipe.json").exists()
    training(data, tmp_path)  # the lock of a killed process has no effect


def test_a_lock_lasts_until_the_process_s_last_training_is_gone(data: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    first, second = training(data, tmp_path), training(data, tmp_path)
    del second
    gc.collect()
    with pytest.raises(AssertionError), locked_elsewhere(tmp_path):
        pass
    del first
    gc.collect()
    with locked_elsewhere(tmp_path):
        pass


# ---- refused -------------------------------------------------------------------------------------------------------------


def test_another_recipe_is_refused(data: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    training(data, tmp_path)
    training(data, tmp_path, recipe(seed=7))  # nothing was trained yet
    run = training(data, tmp_path)
    run.trainer.save()
    with pytest.raises(ValueError, match=r"another recipe, see recipe\.json"):
        training(data, tmp_path, recipe(seed=7))
    assert Recipe.from_json((tmp_path / "recipe.json").read_text()) == recipe()
    (tmp_path / "recipe.json").write_bytes(b"\xff{")  # edited by hand
    with pytest.raises(ValueError, match=r"another recipe, see recipe\.json"):
        training(data, tmp_path)


def test_a_run_is_made_longer(data: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    """While its rate is flat, the steps are those of the longer run from its start."""
    same = {"small": 0.0, "schedule": Schedule(bfloat16=False, warm_up=0.0, flat=1.0), "plain_end": 0.0}
    finish(training(data, tmp_path / "a", recipe(pictures=24, **same)), every=24)
    longer = training(data, tmp_path / "a", recipe(pictures=40, **same))
    assert longer.trainer.seen == 24
    assert finish(longer, every=24)[-1].seen == 40
    whole = training(data, tmp_path / "b", recipe(pictures=40, **same))
    finish(whole, every=24)
    np.testing.assert_array_equal(weights(longer), weights(whole))


def test_all_layers_are_normalised(data: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    """At the start that changes nothing, and what was trained is resumed with it."""
    kept = {"network": "pyramid", "frozen": ("conv1", "fire2"), "vary": 1, "input_size": (128, 128), "pictures": 8}
    plain = training(data, tmp_path / "plain", recipe(normalized="new", **kept))
    run = training(data, tmp_path / "all", recipe(**kept))
    assert {"fire3_squeeze", "fire9_expand_3x3"} < set(run.trainer.model.norms) - set(plain.trainer.model.norms)
    assert not {"conv1", "fire2_squeeze", "conv16"} & set(run.trainer.model.norms)
    blob = torch.from_numpy(np.random.default_rng(0).normal(0, 50, (2, 3, 128, 128)).astype(np.float32))
    with torch.no_grad():
        expected = plain.trainer.ema_network()(blob, ["fire9"])[0]
        torch.testing.assert_close(run.trainer.ema_network()(blob, ["fire9"])[0], expected, rtol=1e-3, atol=1e-3)
    finish(run)
    again = training(data, tmp_path / "all", recipe(**kept))
    np.testing.assert_array_equal(weights(again), weights(run))


def test_other_data_are_refused(data: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    training(data, tmp_path).trainer.save()
    train, val = data
    first = train.pictures[0]
    moved = replace(train, pictures=(replace(first, path=Path("elsewhere") / first.path.name), *train.pictures[1:]))
    training((moved, val), tmp_path)  # the same pictures in another folder
    for others, message in (
        ((replace(train, pictures=train.pictures[1:]), val), "other pictures"),
        ((replace(train, pictures=(replace(first, xyxy=first.xyxy + 1), *train.pictures[1:])), val), "other pictures"),
        ((train, replace(val, pictures=val.pictures[1:])), "other pictures"),
        ((replace(train, labels=("green", "blue")), replace(val, labels=("green", "blue"))), "the classes red, blue"),
    ):
        with pytest.raises(ModelError, match=f"checkpoint.pt belongs to .*{message}"):
            training(others, tmp_path)


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "bytes", "other", "part"])
def test_a_damaged_checkpoint(data: tuple[Dataset, Dataset], tmp_path: Path, damage: str) -> None:
    training(data, tmp_path).trainer.save()
    path = tmp_path / "checkpoint.pt"
    content = path.read_bytes()
    if damage == "other":
        torch.save({"weights": 3}, path)
    elif damage == "part":
        state = torch.load(path, weights_only=True)
        del state["history"]
        torch.save(state, path)
    else:
        path.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "text": b"hello", "bytes": bytes(999)}[damage])
    with pytest.raises(ModelError, match=r"checkpoint.pt is damaged: remove it"):
        training(data, tmp_path)


def without_objects(dataset: Dataset) -> Dataset:
    none = {"xyxy": np.zeros((0, 4), np.float32), "class_id": np.zeros(0, int), "difficult": np.zeros(0, bool), "area": None}
    return replace(dataset, pictures=tuple(replace(picture, **none) for picture in dataset.pictures))


def test_data_that_cannot_be_trained_on(data: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    for some, message in (
        ((without_objects(data[0]), data[1]), "none of the 12 pictures has an object"),
        ((data[0], without_objects(data[1])), "none of the 5 validation pictures has an object"),
        ((data[0], replace(data[1], labels=("x", "y"))), "labels are"),
    ):
        with pytest.raises(ValueError, match=message):
            training(some, tmp_path / "a")
    with pytest.raises(ModelError, match="smaller than the kernel"):
        training(data, tmp_path / "a", recipe(input_size=(40, 96)))
    assert not (tmp_path / "a").exists()  # nothing half begun


def test_nothing_to_measure_on(data: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    run = Training(recipe(pictures=8), data[0], tmp_path, workers=0)
    assert [step.evaluation for step in finish(run)] == [None]
    for method in (run.measure, run.calibrate, run.advice):
        with pytest.raises(ValueError, match="no validation set"):
            method()
    assert run.write(tmp_path / "model")  # the last weights


# ---- data of all kinds -----------------------------------------------------------------------------------------------------


def test_one_class_and_pictures_without_objects(tmp_path: Path) -> None:
    train, val = squares(tmp_path, labels=1)
    some = replace(train, pictures=(*train.pictures[:4], *without_objects(train).pictures[4:]))
    run = training((some, val), tmp_path / "run", recipe(pictures=16))
    steps = finish(run)
    assert np.isfinite([[float(value) for value in step.losses] for step in steps]).all()
    assert sd.SqueezeDet(run.write(tmp_path / "m")[0].with_suffix("")).config.labels == ("red",)


def test_files_that_cannot_be_read(data: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    gone, bad = (replace(data[i].pictures[0], path=tmp_path / name) for i, name in enumerate(("gone.png", "bad.png")))
    bad.path.write_bytes(b"no picture")
    some = tuple(replace(part, pictures=(one, *part.pictures[1:])) for part, one in zip(data, (gone, bad), strict=True))
    steps = finish(training((some[0], some[1]), tmp_path / "run"))
    problems = [problem for step in steps for problem in step.problems]
    assert sorted(problem.partition(":")[0] for problem in problems) == [str(bad.path), str(gone.path)]
    none = replace(data[0], pictures=tuple(replace(p, path=tmp_path / f"no{i}") for i, p in enumerate(data[0].pictures)))
    with pytest.raises(ValueError, match=r"none of the 12 pictures can be read: .*No such file"):
        finish(training((none, data[1]), tmp_path / "none"))


# ---- which weights are kept -----------------------------------------------------------------------------------------------


def script(run: Training, accuracies: list[float]) -> None:
    """Let `measure` give these, one after the other."""
    real, left = run.measure, list(accuracies)

    def measure() -> object:
        evaluation = real()
        run.trainer.best = best[0]
        accuracy = left.pop(0)
        run.trainer.keep_best(accuracy)
        best[0] = run.trainer.best
        results = tuple(replace(result, voc07=accuracy) for result in evaluation.classes)
        return replace(evaluation, classes=results)

    best = [-1.0]
    run.trainer.keep_best(-2.0)
    run.measure = measure  # type: ignore[method-assign]


def test_ends_early_and_keeps_the_best(data: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    run = training(data, tmp_path, recipe(pictures=400))
    script(run, [0.1, 0.4, 0.3, 0.2, 0.9])
    states = [
        {name: tensor.clone() for name, tensor in run.trainer.ema.items()}
        for step in run.run(every=4, log_every=3, patience=2)
        if step.evaluation is not None
    ]
    assert len(states) == 4
    assert run.trainer.seen == 16
    written = run.trainer.best_ema
    assert all(torch.equal(written[name], states[1][name]) for name in written)
    again = training(data, tmp_path, recipe(pictures=400))
    assert list(again.run(every=4, patience=2)) == []  # it has ended
    assert again.trainer.best == 0.4
    assert len(list(again.run(every=4, patience=3))) == 1  # with more patience it continues


def test_the_ema_follows_the_weights(whole: Training) -> None:
    ema, now = (state["filters.conv16.weight"].ravel() for state in (whole.trainer.ema, whole.trainer.model.state_dict()))
    assert 0.9 < torch.nn.functional.cosine_similarity(ema, now, dim=0) < 1


# ---- recipes -------------------------------------------------------------------------------------------------------------


def test_a_recipe_survives_json() -> None:
    for one in (
        Recipe(),
        recipe(),
        Recipe(anchors=((30, 40), (50.5, 60)), frozen=(), augmentation=Augmentation(crop_area=(0.3, 0.8)), start="x.npz"),
    ):
        assert Recipe.from_json(one.to_json()) == one
    assert Recipe.from_json('{"pictures": 5, "schedule": {"rate": 0.1}}') == Recipe(pictures=5, schedule=Schedule(rate=0.1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Expecting"),
        ("[]", "JSON object"),
        ("[" * 100_000, "a recipe was expected: maximum recursion depth"),
        ('{"colour": 3}', "Recipe has no field 'colour'"),
        ('{"network": "yolo"}', "network must be one of"),
        ('{"loss": "l2"}', "loss must be one of"),
        ('{"pictures": 0}', "pictures must be at least 1"),
        ('{"small": 2}', "small must lie in"),
        ('{"seed": -1}', "seed must be at least 0"),
        ('{"input_size": [3]}', "input_size must be two"),
        ('{"anchors": [[3]]}', "anchors"),
        ('{"schedule": {"rate": -1}}', "rate must be at least 0"),
        ('{"schedule": {"ema": 3}}', "ema must lie in"),
        ('{"schedule": 3}', "Schedule: a JSON object"),
        ('{"augmentation": {"flip": "x"}}', "flip must be a number"),
        ('{"frozen": "conv1"}', "frozen must be"),
    ],
)
def test_recipes_of_nonsense(text: str, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        Recipe.from_json(text)


def test_fields_that_follow_from_the_network() -> None:
    assert (Recipe().input_size, Recipe().start) == ((384, 384), "embedded")
    expected = Recipe(network="lite", input_size=(416, 416), start="pyramid-voc", pictures=5)
    assert Recipe.from_json('{"network": "shuffle", "pictures": 5}', network="lite") == expected


def test_sizes() -> None:
    assert Recipe().sizes == [([(320, 320)], 0.0), ([(384, 384)], 0.6)]
    assert Recipe(small=0).sizes == [([(384, 384)], 0)]
    assert Recipe(input_size=(256, 640), small=0.3).sizes == [([(192, 512)], 0.0), ([(256, 640)], 0.3)]
    assert Recipe(small=0.5, vary=1, plain_end=0.1).sizes == [
        ([(256, 256), (320, 320), (384, 384)], 0.0),
        ([(320, 320), (384, 384), (448, 448)], 0.5),
        ([(384, 384)], 0.9),
    ]
    assert Recipe(input_size=(128, 64), small=0, vary=2, plain_end=0).sizes == [
        ([(128, 64), (192, 128), (256, 192)], 0),
        ([(128, 64)], 1),
    ]


def test_the_rate_rises_and_falls() -> None:
    schedule = Schedule(warm_up=0.1, last_rate=0.05)
    factors = [schedule.factor(seen, 1000) for seen in range(0, 1001, 10)]
    assert [factors[i] for i in (0, 10, 55, 100)] == pytest.approx([0.01, 1, (1 + 0.05) / 2, 0.05])
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert Schedule(warm_up=0).factor(0, 10) == 1
    flat = Schedule(warm_up=0.1, flat=0.6, last_rate=0.05)
    factors = [flat.factor(seen, 1000) for seen in range(0, 1001, 10)]
    assert factors[10:61] == [1] * 51
    assert [factors[80], factors[100]] == pytest.approx([(1 + 0.05) / 2, 0.05])


def test_classes_weigh_by_their_rarity(data: tuple[Dataset, Dataset]) -> None:
    """And difficult objects are ignored."""
    first, examples = data[0].pictures[0], examples_of(data[0])
    (difficult,) = examples_of(replace(data[0], pictures=(replace(first, difficult=np.ones(len(first.class_id), bool)),)))
    assert (difficult.quality.any(), difficult.xyxy.shape) == (False, first.xyxy.shape)
    counts = np.bincount(np.concatenate([picture.class_id for picture in data[0].pictures]), minlength=2)
    assert counts[0] != counts[1]
    np.testing.assert_allclose(class_weights(examples, 0.0), 1)
    even = class_weights(examples, 1.0).numpy() * counts
    assert even[0] == pytest.approx(even[1])
    assert even.sum() == pytest.approx(counts.sum())


@pytest.mark.skipif(torch.cuda.is_available(), reason="on GPUs bfloat16 is not timed")
@pytest.mark.parametrize("faster", [False, True])
def test_bfloat16_where_it_is_faster(
    data: tuple[Dataset, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faster: bool
) -> None:
    """A resumed run has the same precision, unless another computer does not support it."""
    made, shapes = recipe(schedule=Schedule(), pictures=4), []

    def run(*, supported: bool, faster: bool) -> Trainer:
        def times(_: object, outputs: object, shape: tuple[int, ...]) -> StepTimes:
            shapes.append(shape)
            return StepTimes(1.0, 2.0) if faster else StepTimes(2.0, 1.0)

        for name in ("avx512_bf16", "amx_tile"):
            monkeypatch.setattr(torch.cpu, f"_is_{name}_supported", lambda: supported, raising=False)
        monkeypatch.setattr("opencv_squeezedet.training.loop.time_steps", times)
        return training(data, tmp_path, made).trainer

    assert not run(supported=False, faster=faster).bfloat16
    assert shapes == []
    trainer = run(supported=True, faster=faster)
    assert (trainer.bfloat16, shapes, trainer.step_times is None) == (faster, [(4, 96, 96)], False)
    kernel = trainer.model.filters["fire2_expand_3x3"].weight
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    _, predicted, _ = trainer.forward(next(trainer.stream.batches()))
    assert {part.dtype for part in predicted} == {torch.float32}  # the losses are computed in float32 all the same
    trainer.save()
    resumed = run(supported=True, faster=not faster)
    assert (resumed.bfloat16, resumed.step_times, len(shapes)) == (faster, None, 1)
    assert not run(supported=False, faster=faster).bfloat16


def test_steps_are_timed_without_an_effect(data: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    model = training(data, tmp_path, recipe()).trainer.model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert min(time_steps(model, LOGITS, (2, 64, 96))) > 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_mean_with_the_first_weights(data: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    written = {}
    for share in (0.0, 0.25, 1.0):
        run = training(data, tmp_path / f"{share}", recipe(start_share=share))
        finish(run)
        calibration = run.calibrate()
        assert calibration == run.calibrate()
        assert calibration.after >= calibration.before
        run.write(tmp_path / f"{share}" / "model", half=False)
        written[share] = read_weights(tmp_path / f"{share}" / "model.caffemodel")
    _, first = build_model(run.network, run.recipe)
    changed = 0
    for name, blobs in written[0.0].items():
        old = first.get(name, blobs)  # a new layer has no others
        changed += not np.allclose(blobs[0], old[0])
        for at, (blob, before) in enumerate(zip(blobs, old, strict=True)):
            np.testing.assert_array_equal(written[1.0][name][at], before)
            np.testing.assert_allclose(written[0.25][name][at], 0.25 * before + 0.75 * blob, atol=1e-6)
    assert set(first) < set(written[0.0])
    assert changed == 3  # fire2 is trained further, conv1 is frozen, and the other layers are new
