"""`install` gives ``cv2.dnn`` of OpenCV 5 what OpenCV 4 has for Caffe's files."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

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


def _caffe_files(model: Any, config: Any) -> tuple[Any, Any] | None:
    """The prototxt and the caffemodel among two paths that OpenCV takes in either order; None if they are others."""
    config = "" if config is None else config
    if not all(isinstance(path, (str, os.PathLike)) for path in (model, config)):
        return None
    suffixes = [os.path.splitext(path)[1] for path in (model, config)]
    if ".caffemodel" not in suffixes and ".prototxt" not in suffixes:
        return None
    return (model, config) if suffixes[0] == ".prototxt" or suffixes[1] == ".caffemodel" else (config, model)


def _read_net(original: Callable[..., Any]) -> Callable[..., Any]:
    def readNet(*arguments: Any, **named: Any) -> Any:
        """Read a network: Caffe's two files in either order, their contents, or what OpenCV reads."""
        first, second, third = (*arguments, None, None, None)[:3]
        framework = named.get("framework", first if "bufferModel" in named or isinstance(second, np.ndarray) else third)
        if isinstance(framework, str) and framework.lower() == "caffe":
            if framework is first or "bufferModel" in named:
                definition = named.get("bufferConfig", third)
                return readNetFromCaffe(b"" if definition is None else definition, named.get("bufferModel", second))
            model, config = named.get("model", first), named.get("config", second)
            return readNetFromCaffe(*(_caffe_files(model, config) or (config, model)))
        files = _caffe_files(named.get("model", first), named.get("config", second))
        return original(*arguments, **named) if files is None else readNetFromCaffe(*files)

    return readNet


class _ModelClass(type):
    """The class of what takes the place of a class of models: no subclass of it, because those of cv2's classes crash."""

    _original: Any

    def __call__(cls, *arguments: Any, **named: Any) -> Any:
        """Return an object of the original class, with the real network of a `Net` or of Caffe's files."""
        first, second = (*arguments, None, None)[:2]
        model, config = named.get("network", named.get("model", first)), named.get("config", second)
        if files := _caffe_files(model, config):
            model = readNetFromCaffe(*files)
        return cls._original(model.real()) if isinstance(model, Net) else cls._original(*arguments, **named)

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, cls._original)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(getattr(subclass, "_original", subclass), cls._original)

    def __getattr__(cls, name: str) -> Any:
        return getattr(cls._original, name)


def _model(original: Any) -> _ModelClass:
    members = {"_original": original, "__module__": original.__module__, "__doc__": original.__doc__}
    return _ModelClass(original.__name__, (), members)


def _register_layer(type: str, cls: Any) -> None:  # noqa: A002 (OpenCV's names)
    """Run the layers of a type of Caffe's networks with a Python class, from their next forward pass on."""
    registered.setdefault(type, []).append(cls)


def _unregister_layer(type: str) -> None:  # noqa: A002
    """Undo the last registration of a type."""
    if registered.get(type):
        registered[type].pop()
