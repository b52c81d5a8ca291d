"""Training in several processes: losses, gradients and statistics as in one; one of them writes and prints."""

from __future__ import annotations

import csv
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra [train] brings torch")
if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
    pytest.skip("this torch has no Gloo", allow_module_level=True)

from training_cases import recipe, squares  # noqa: E402

import opencv_squeezedet as sd  # noqa: E402
from opencv_squeezedet import cli  # noqa: E402
from opencv_squeezedet.datasets import Dataset  # noqa: E402
from opencv_squeezedet.training import Training, parallel  # noqa: E402
from opencv_squeezedet.training.predictions import logit_channels  # noqa: E402

MOST_SECONDS = 900
STEP = """
import sys
from pathlib import Path
import torch
from opencv_squeezedet.datasets import load_dataset
from opencv_squeezedet.training import Recipe, Training, parallel

torch.set_default_dtype(torch.float64)
torch.Tensor.float = torch.Tensor.double  # so that no rounding hides a difference, or makes one
made = Recipe.from_json(Path("recipe.json").read_text())
with parallel.processes() as number:
    run = Training(made, load_dataset("data.yaml", split="train"), Path(f"{sys.argv[1]}-{number}"), workers=0).trainer
    run.model.double()
    pictures, losses, gradients = [], [], []
    for batch in run.stream.batches(0):
        pictures.append(len(batch.images))
        losses.append(torch.stack(run.step(batch)[0]))
        gradients.append(torch.cat([p.grad.flatten() for p in run.model.parameters() if p.grad is not None]))
        run.seen += made.batch
    state = run.model.state_dict()
    result = {
        "pictures": pictures,
        "losses": torch.stack(losses),
        "gradients": torch.stack(gradients),
        "weights": torch.cat([tensor.flatten().double() for tensor in state.values()]),
        "statistics": {name: tensor for name, tensor in state.items() if "running" in name},
    }
    torch.save(result, f"{sys.argv[1]}-{number}.pt")
"""
KILLED = """
import os
from pathlib import Path
import numpy as np
from test_training_parallel import many_confidences
from opencv_squeezedet.datasets import load_dataset
from opencv_squeezedet.training import Recipe, Training, parallel

made = Recipe.from_json(Path("recipe.json").read_text())
with parallel.processes() as number:
    train, val = (load_dataset("data.yaml", split=split) for split in ("train", "val"))
    training = Training(made, train, Path(("two", "other")[number]), validation=val, workers=0)
    steps = training.run(every=8, log_every=1)
    assert [next(steps).seen for _ in range(3)] == [4, 8, 12]
    np.save(f"confidence-{number}.npy", many_confidences(training, val))
    if number == 1:
        os._exit(9)
    try:
        next(steps)
    except ChildProcessError as error:
        assert str(error).startswith("another process of this training has ended")
        os._exit(7)  # not waiting for the other
"""


def many_confidences(training: Training, dataset: Dataset) -> np.ndarray:
    """The confidences of the detections, while those of all anchors are raised: after a few steps hardly any are detected."""
    ema, channels = training.trainer.ema, logit_channels(training.network)
    raised = ema[f"filters.{channels.layer}.bias"].clone()
    raised[channels.confidence] += 8
    training.trainer.ema = {**ema, f"filters.{channels.layer}.bias": raised}
    confidences = np.concatenate([detections.confidence for detections in training.detections(dataset)])
    training.trainer.ema = ema
    return confidences


def torchrun(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Two processes, on a free port."""
    launcher = "-m torch.distributed.run --nproc-per-node 2 --rdzv-backend c10d --rdzv-endpoint 127.0.0.1:0"
    return python(*launcher.split(), *arguments, cwd=cwd)


def without_torchrun(script: str, cwd: Path) -> list[tuple[int, str]]:
    """Status and standard error of two processes that nobody ends when the other has gone."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1]), "WORLD_SIZE": "2"}
    started = [
        subprocess.Popen(
            [sys.executable, script],
            cwd=cwd,
            env={**environment(), **address, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    errors = [process.communicate(timeout=MOST_SECONDS)[1] for process in started]
    return [(process.returncode, error) for process, error in zip(started, errors, strict=True)]


def environment() -> dict[str, str]:
    tests = Path(__file__).parent
    here = [str(tests), str(tests.parent / "helpers"), str(Path(sd.__file__).parents[1])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(here), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


def python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    options = {"capture_output": True, "text": True, "timeout": MOST_SECONDS}
    return subprocess.run(command, cwd=cwd, env=environment(), check=False, **options)


@pytest.mark.slow
@pytest.mark.parametrize(("network", "size", "loss"), [("pyramid", 96, "aligned"), ("gsoc", 128, "published")])
def test_two_processes_step_as_one(network: str, size: int, loss: str, tmp_path: Path) -> None:
    """Which has the pictures of both in its batch. Both have batch normalisation, the second one dropout."""
    squares(tmp_path, 12)
    made = recipe(
        network=network, input_size=(size, size), loss=loss, batch=5, pictures=12, frozen=(), small=0.0, normalized="all"
    )
    (tmp_path / "recipe.json").write_text(made.to_json())
    (tmp_path / "step.py").write_text(STEP)
    for done in (python("step.py", "one", cwd=tmp_path), torchrun("step.py", "two", cwd=tmp_path)):
        assert done.returncode == 0, done.stderr
    one, first, second = (torch.load(tmp_path / name, weights_only=True) for name in ("one-0.pt", "two-0.pt", "two-1.pt"))
    assert one["pictures"] == [5, 5, 2]
    assert [first["pictures"], second["pictures"]] == [[2, 2, 1], [3, 3, 1]]
    for name in ("losses", "gradients", "weights"):
        assert torch.equal(first[name], second[name])
    np.testing.assert_allclose(first["losses"], one["losses"], rtol=1e-8)
    for gradients, wanted in zip(first["gradients"], one["gradients"], strict=True):
        np.testing.assert_allclose(gradients, wanted, atol=1e-8 * float(wanted.abs().max()))
    assert sorted(first["statistics"]) == sorted(one["statistics"])
    assert one["statistics"]
    for name, value in one["statistics"].items():
        np.testing.assert_allclose(first["statistics"][name], value, rtol=1e-8, atol=1e-9)


def test_statistics_of_bfloat16_are_as_exact_as_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean of many values lies between two numbers of their type."""
    monkeypatch.setattr(parallel, "_are_several", lambda: True)
    monkeypatch.setattr(parallel, "summed", lambda tensor: tensor.clone())
    generator = torch.Generator().manual_seed(1)
    blob = (3 * torch.randn(4, 8, 20, 20, generator=generator) + 5).bfloat16()
    of_result = torch.randn(blob.shape, generator=generator)
    ours, plain = parallel.BatchNorm(8), torch.nn.BatchNorm2d(8)
    results = []
    for norm, x in ((ours, blob.clone()), (plain, blob.float())):
        result = norm(x.requires_grad_())
        result.backward(of_result.to(result.dtype))
        results.append((result, x.grad))
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(ours, name), getattr(plain, name), rtol=1e-6, atol=1e-6)
    for tensor, wanted in zip(*results, strict=True):
        assert tensor.dtype == torch.bfloat16
        torch.testing.assert_close(tensor.float(), wanted, rtol=0.01, atol=0.01)


@pytest.mark.slow
def test_a_killed_training_is_resumed_and_one_process_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train, val = squares(tmp_path, 12)
    made = recipe(network="pyramid", pictures=16, small=0.0)
    (tmp_path / "recipe.json").write_text(made.to_json())
    (tmp_path / "killed.py").write_text(KILLED)
    (first, err), (second, _) = without_torchrun("killed.py", tmp_path)
    assert (first, second) == (7, 9), err
    shutil.copytree(tmp_path / "two", tmp_path / "copy")
    alone = Training(made, train, tmp_path / "copy", validation=val)
    wanted = many_confidences(alone, val)
    assert len(wanted) > 100
    for number in (0, 1):
        np.testing.assert_allclose(np.load(tmp_path / f"confidence-{number}.npy"), wanted, rtol=1e-4)
    command = ["train", "data.yaml", "--split", "train", "--val-split", "val", "--recipe", "recipe.json", "--workers", "1"]
    command += ["--every", "8", "-o"]
    done = torchrun("-m", "opencv_squeezedet", *command, "two", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    assert cli.main([*command, "one"]) == 0
    assert any(line.startswith("16 pictures: mAP ") for line in done.stdout.splitlines())
    lines, expected = ([line.split(":")[0] for line in out.splitlines()] for out in (done.stdout, capsys.readouterr().out))
    assert lines == [line.replace("one", "two") for line in expected if line != "8 pictures"]
    assert sorted(os.listdir("two")) == sorted(os.listdir("one"))
    rows, others = (list(csv.DictReader(Path(name, "log.csv").read_text().splitlines())) for name in ("two", "one"))
    assert [row["seen"] for row in rows] == ["4.0", "8.0", "12.0", "16.0"]
    assert float(rows[-1]["box"]) == pytest.approx(float(others[-1]["box"]), rel=0.5)
    assert float(rows[-1]["map_voc07"]) == pytest.approx(float(others[-1]["map_voc07"]), abs=0.2)
    assert sd.SqueezeDet("two/model").config.labels == ("red", "blue")


def test_mistakes(tmp_path: Path) -> None:
    squares(tmp_path, 4)
    command = "-m opencv_squeezedet train data.yaml --split train -o out --size 128 --pictures 9 --batch 4 --workers 0"
    done = torchrun(*command.split(), cwd=tmp_path)
    assert done.returncode != 0
    errors = sorted(line for line in done.stderr.splitlines() if line.startswith("squeezedet train: "))
    message = "a batch of 1 is too small for 2 processes: choose other pictures or batch"
    assert errors[0] == f"squeezedet train: {message}"
    assert errors[1:] in ([], [f"squeezedet train: process 1: {message}"])  # which is ended when it is late


def test_the_module_is_the_command(tmp_path: Path) -> None:
    done = python("-m", "opencv_squeezedet", "--version", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"squeezedet {sd.__version__}\n")
