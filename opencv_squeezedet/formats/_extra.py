"""Imports what the formats stand on, and says how to install it."""

from __future__ import annotations

import importlib
from typing import Any

from opencv_squeezedet.extras import needs


def extra(module: str) -> Any:
    """Return a module of protobuf or onnx; ImportError, that names the extra, where it is missing."""
    with needs("onnx", what="writing network files"):
        return importlib.import_module(module)
