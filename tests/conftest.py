"""For all tests: the profiles of hypothesis, a photo, and no way to the published weights' addresses.

The examples are the same in every run; ``--hypothesis-profile nightly`` takes ten times as many, at random.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest
from hypothesis import settings

settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("nightly", max_examples=1000, deadline=None, print_blob=True)
settings.load_profile("fixed")

os.environ["OPENCV_SQUEEZEDET_MIRROR"] = os.path.join(os.sep, "tests", "fetch", "nothing")


@pytest.fixture(scope="session")
def photo() -> Any:
    """The cat of ``samples/chelsea.jpg``."""
    image = cv2.imread(str(Path(__file__).parents[1] / "samples" / "chelsea.jpg"))
    assert image is not None
    return image


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder for published weights, not yet made, whose name is none of the plainest; and quick attempts to fetch."""
    folder = tmp_path / "cache of Jürgen 猫"
    monkeypatch.setenv("OPENCV_SQUEEZEDET_CACHE", str(folder))
    monkeypatch.delenv("OPENCV_SQUEEZEDET_MIRROR", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("opencv_squeezedet.registry.download.BACKOFF", 0.001)
    return folder


@pytest.fixture
def benchmark_script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """A function that imports a script of ``benchmarks/`` by its name."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    return importlib.import_module


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the files of tests/golden anew instead of comparing")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, bytes], None]:
    """A function that compares bytes with a file of ``tests/golden``, or writes the file with ``--update-golden``."""

    def check(name: str, content: bytes) -> None:
        path = Path(__file__).with_name("golden") / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        assert content == path.read_bytes()

    return check
