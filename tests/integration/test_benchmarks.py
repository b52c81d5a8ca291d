"""Benchmarks run; what they measure is for people to read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from commands import write_cats
from networks import ROOT

import opencv_squeezedet as sd

pytestmark = pytest.mark.slow


def run(script: str, *arguments: str) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_postprocess_against_another_build() -> None:
    run("postprocess.py", "--blocks", "1", "--kinds", "random", "--against", str(Path(sd.__file__).parents[1]))


@pytest.mark.parametrize("arguments", [("evaluation.py", "--blocks", "1"), ("input_sizes.py", "--sizes", "384", "320")])
def test_on_a_data_set(arguments: tuple[str, ...], tmp_path: Path) -> None:
    pytest.importorskip("faster_coco_eval", reason="the extra [eval] brings it")
    run(arguments[0], str(write_cats(tmp_path, 2)), *arguments[1:])
