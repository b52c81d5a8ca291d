"""For all tests: the profiles of hypothesis, and no way to the published weights' addresses.

The examples are the same in every run; ``--hypothesis-profile nightly`` takes ten times as many, at random.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("nightly", max_examples=1000, deadline=None, print_blob=True)
settings.load_profile("fixed")

os.environ["OPENCV_SQUEEZEDET_MIRROR"] = os.path.join(os.sep, "tests", "fetch", "nothing")


@pytest.fixture
def benchmark_script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """A function that imports a script of ``benchmarks/`` by its name."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    return importlib.import_module
