"""For all tests: one profile of hypothesis, the same examples on every run; and no way to the published weights' addresses."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None)
settings.load_profile("ci")

os.environ["OPENCV_SQUEEZEDET_MIRROR"] = os.path.join(os.sep, "tests", "fetch", "nothing")


@pytest.fixture
def benchmark_script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """A function that imports a script of ``benchmarks/`` by its name."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    return importlib.import_module
