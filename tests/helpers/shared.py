"""The project's shared data: real photos, weights and a data set, which are not part of the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

VARIABLE = "OPENCV_SQUEEZEDET_SHARED"
"""Names the folder, where it is not ``../shared``."""
DATA = Path(os.environ.get(VARIABLE) or Path(__file__).resolve().parents[3] / "shared") / "data"


def needs(*names: str) -> pytest.MarkDecorator:
    """Skip a test where one of these files or folders is missing from the shared data."""
    missing = [name for name in names if not (DATA / name).exists()]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)} in {DATA} (set {VARIABLE})")
