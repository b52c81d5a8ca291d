"""Imports what the formats stand on, and says how to install it."""

from __future__ import annotations

import importlib
from typing import Any


def extra(module: str) -> Any:
    """Return a module of protobuf or onnx; ImportError, that names the extra, where it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"reading and writing network files needs protobuf and onnx ({error}): pip install 'opencv-squeezedet[onnx]'"
        ) from error
