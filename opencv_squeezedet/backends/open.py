"""Opens a network in the backend that is asked for, in the form that this backend takes."""

from __future__ import annotations

from importlib.util import find_spec
from typing import get_args

import cv2

from opencv_squeezedet import _checks
from opencv_squeezedet.backends import opencv
from opencv_squeezedet.backends.base import Backend, BackendName, check_size, not_taken
from opencv_squeezedet.backends.content import NetworkContent
from opencv_squeezedet.backends.forms import open_form
from opencv_squeezedet.backends.onnxruntime import onnxruntime_targets
from opencv_squeezedet.blobs import Places
from opencv_squeezedet.model_files import Files


def open_backend(
    network: Files | NetworkContent | cv2.dnn.Net,
    outputs: Places | None,
    backend: BackendName = "opencv",
    target: str | None = None,
    *,
    size: tuple[int, int] | None = None,
) -> Backend:
    """Make a network ready to run, once it is known to be sound.

    Files are read and checked before a native library sees them. What this package does not know the layers of is opened and
    run in a child process first, which costs half a second.

    Parameters
    ----------
    network : Files, NetworkContent or cv2.dnn.Net
        Its files; a `NetworkContent` of them reads and converts them once, however often it is opened.
    outputs : Places or None
        The blobs that `Backend.forward` returns. None: the network's only output.
    backend : {"opencv", "onnxruntime", "auto"}
        What runs it; "auto" as `fastest_backend` chooses.
    target : str, optional
        On what it runs: "cpu", or another name of `opencv_targets` or `onnxruntime_targets`. Default: the processor; for
        a ``cv2.dnn.Net``, what it was set to.
    size : (int, int), optional
        Width and height of the inputs to come, which are then checked too.

    Raises
    ------
    ModelError
        If the files cannot be read or are damaged, or the network does not have these outputs.
    ValueError
        If there is no such backend, or no such target here.
    ImportError
        If the backend is not installed: it names the extra.
    """
    _checks.choice("backend", backend, get_args(BackendName))
    if backend == "auto":
        backend = "opencv" if isinstance(network, cv2.dnn.Net) else fastest_backend(target)
    if isinstance(network, cv2.dnn.Net):
        if backend == "onnxruntime":
            raise ValueError("a cv2.dnn.Net runs in OpenCV; backend 'onnxruntime' takes a model's files")
        opened: Backend = opencv.wrap_net(network, outputs)
    else:
        content = network if isinstance(network, NetworkContent) else NetworkContent(network)
        if size is not None:
            check_size(str(content.files), size)
        form, misfit = content.form(backend, outputs)
        if problem := misfit(size):
            raise not_taken(form.name, size, problem)
        opened = open_form(form, backend, target)
        opened.misfit = misfit
    if target is not None and backend == "opencv":
        opencv.set_target(opened.net, target)
    return opened


def fastest_backend(target: str | None = None) -> BackendName:
    """Return onnxruntime if it is installed and has the target, else OpenCV: `benchmarks/backends.py` measures both."""
    if find_spec("onnxruntime") is None:
        return "opencv"
    return "onnxruntime" if target is None or target in onnxruntime_targets() else "opencv"
