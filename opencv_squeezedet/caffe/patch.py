"""`install` gives ``cv2.dnn`` of OpenCV 5 what OpenCV 4 has for Caffe's files."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import cv2

from opencv_squeezedet._opencv import read_net_from_caffe
from opencv_squeezedet.caffe.net import Net
from opencv_squeezedet.caffe.plan import registered
from opencv_squeezedet.caffe.read import readNetFromCaffe

_MODELS = (
    "Model",
    "ClassificationModel",
    "DetectionModel",
    "KeypointsModel",
    "SegmentationModel",
    "TextDetectionModel_DB",
    "TextDetectionModel_EAST",
    "TextRecognitionModel",
)
_MISSING = object()
_lock = threading.Lock()
_before: list[tuple[Any, str, Any]] = []
"""What the patched names were, in the order in which they were patched."""


def install() -> bool:
    """Give ``cv2.dnn`` its importer of Caffe's files back.

    ``cv2.dnn.readNetFromCaffe`` and ``cv2.dnn.readNet`` read Caffe's files, ``cv2.dnn.Model`` and its subclasses take them and
    what they became, and ``cv2.dnn_registerLayer`` counts for them. Names that a program has imported from ``cv2.dnn`` before,
    and C++ classes that read files themselves, such as WeChatQRCode and TrackerGOTURN, are not reached. Safe to call again,
    and from any thread.

    Returns
    -------
    bool
        Whether ``cv2.dnn`` is patched now. False where OpenCV has its own importer, and nothing is changed.
    """
    if read_net_from_caffe is not None:
        return False
    with _lock:
        if not _before:
            _replace(cv2.dnn, "readNetFromCaffe", readNetFromCaffe)
            _replace(cv2.dnn, "readNet", _read_net(cv2.dnn.readNet))
            for name in _MODELS:
                if hasattr(cv2.dnn, name):
                    model = _model(getattr(cv2.dnn, name))
                    _replace(cv2.dnn, name, model)
                    _replace(cv2, f"dnn_{name}", model)
            _replace(cv2, "dnn_registerLayer", _register_layer)
            _replace(cv2, "dnn_unregisterLayer", _unregister_layer)
    return True


def uninstall() -> None:
    """Undo `install`: ``cv2.dnn`` is as it was. Networks that were read keep working."""
    with _lock:
        while _before:
            module, name, value = _before.pop()
            if value is _MISSING:
                delattr(module, name)
            else:
                setattr(module, name, value)


def _replace(module: Any, name: str, value: Any) -> None:
    _before.append((module, name, getattr(module, name, _MISSING)))
    setattr(module, name, value)


# ---- what takes the place of OpenCV's names -----------------------------------------------------------------------------


def _caffe_files(model: Any, config: Any = "") -> tuple[Any, Any] | None:
    """The prototxt and the caffemodel among two paths that OpenCV takes in either order; None if they are others."""
    if not all(isinstance(path, (str, os.PathLike)) for path in (model, config)):
        return None
    suffixes = [os.path.splitext(path)[1] for path in (model, config)]
    if ".caffemodel" not in suffixes and ".prototxt" not in suffixes:
        return None
    return (model, config) if suffixes[0] == ".prototxt" or suffixes[1] == ".caffemodel" else (config, model)


def _read_net(original: Callable[..., Any]) -> Callable[..., Any]:
    def readNet(*arguments: Any, **named: Any) -> Any:
        """Read a network: Caffe's two files in either order, or what OpenCV reads."""
        first, second, third = (*arguments, None, None, None)[:3]
        model, config = named.get("model", first), named.get("config", second) or ""
        framework = named.get("framework", third) or ""
        if files := _caffe_files(model, config):
            return readNetFromCaffe(*files)
        if isinstance(framework, str) and framework.lower() == "caffe":  # suffixes that say nothing
            return readNetFromCaffe(config or model, model if config else None)
        kind, weights, definition = (
            named.get("framework", first),
            named.get("bufferModel", second),
            named.get("bufferConfig", third),
        )
        if isinstance(kind, str) and kind.lower() == "caffe":
            return readNetFromCaffe(definition if definition is not None else b"", weights)
        return original(*arguments, **named)

    return readNet


def _model(original: Any) -> type:
    class Model(original):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **named: Any) -> None:
            first, second = (*arguments, None, None)[:2]
            model, config = named.get("network", named.get("model", first)), named.get("config", second) or ""
            if files := _caffe_files(model, config):
                model = readNetFromCaffe(*files)
            if isinstance(model, Net):
                super().__init__(model.real())
            else:
                super().__init__(*arguments, **named)

    Model.__name__ = Model.__qualname__ = original.__name__
    Model.__module__, Model.__doc__ = original.__module__, original.__doc__
    return Model


def _register_layer(type: str, cls: Any) -> None:  # noqa: A002 (OpenCV's names)
    """Run the layers of a type of Caffe's networks with a Python class, from their next forward pass on."""
    registered.setdefault(type, []).append(cls)


def _unregister_layer(type: str) -> None:  # noqa: A002
    """Undo the last registration of a type."""
    if registered.get(type):
        registered[type].pop()
