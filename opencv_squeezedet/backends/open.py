"""Opens a network in a backend."""

from __future__ import annotations

from importlib.util import find_spec
from typing import get_args

import cv2

from opencv_squeezedet import _checks
from opencv_squeezedet.backends import opencv
from opencv_squeezedet.backends.base import Backend, BackendName, inconsistent
from opencv_squeezedet.backends.network_bytes import open_bytes
from opencv_squeezedet.backends.onnxruntime import onnxruntime_targets
from opencv_squeezedet.backends.prepare import Prepared
from opencv_squeezedet.blobs import OutputRefs


def choose_backend(backend: BackendName, target: str | None = None) -> BackendName:
    """Return the backend, "auto" replaced by onnxruntime if it is installed and has the target, else by OpenCV.

    `benchmarks/backends.py` measures both. ValueError if there is no such backend.
    """
    _checks.choice("backend", backend, get_args(BackendName))
    if backend != "auto":
        return backend
    if find_spec("onnxruntime") is None:
        return "opencv"
    return "onnxruntime" if target is None or target in onnxruntime_targets() else "opencv"


def open_prepared(
    prepared: Prepared, backend: BackendName, target: str | None = None, *, size: tuple[int, int] | None = None
) -> Backend:
    """Make a network ready to run, once it is known to be sound.

    Parameters
    ----------
    prepared : Prepared
        The result of `prepare` for this backend.
    backend : {"opencv", "onnxruntime"}
        What runs it.
    target : str, optional
        On what it runs: "cpu", or another name of `opencv_targets` or `onnxruntime_targets`. Default: the processor.
    size : (int, int), optional
        Width and height of the inputs to come, which are then checked too.

    Raises
    ------
    ModelError
        If the network is damaged or inconsistent, or does not have the outputs.
    ValueError
        If there is no such target here.
    ImportError
        If the backend is not installed; the message names the extra.
    """
    network, check_input = prepared
    if problem := check_input(size):
        raise inconsistent(network.name, size, problem)
    opened = open_bytes(network, backend, target)
    opened.check_input = check_input
    if target is not None and backend == "opencv":
        opencv.set_target(opened.net, target)
    return opened


def open_net(net: cv2.dnn.Net, outputs: OutputRefs, backend: BackendName = "opencv", target: str | None = None) -> Backend:
    """Wrap a network that the caller has read in OpenCV; errors as for `open_prepared`."""
    _checks.choice("backend", backend, get_args(BackendName))
    if backend == "onnxruntime":
        raise ValueError("a cv2.dnn.Net runs in OpenCV; backend 'onnxruntime' takes a model's files")
    opened = opencv.wrap_net(net, outputs)
    if target is not None:
        opencv.set_target(opened.net, target)
    return opened
