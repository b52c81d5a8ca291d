"""An empty current folder for the tests of commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current folder; OpenCV's threads are as they were afterwards."""
    threads = cv2.getNumThreads()
    empty = tmp_path / "here"
    empty.mkdir()
    monkeypatch.chdir(empty)
    yield empty
    cv2.setNumThreads(threads)
