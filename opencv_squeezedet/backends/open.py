"""Opens a network in the backend that is asked for, in the form that this backend takes."""

from __future__ import annotations

from typing import get_args

import cv2

from opencv_squeezedet import _checks
from opencv_squeezedet._opencv import read_net_from_caffe
from opencv_squeezedet.backends import opencv
from opencv_squeezedet.backends.base import Backend, BackendName
from opencv_squeezedet.backends.content import NetworkContent
from opencv_squeezedet.blobs import Places
from opencv_squeezedet.model_files import Files


def open_backend(
    network: Files | NetworkContent | cv2.dnn.Net,
    outputs: Places | None,
    backend: BackendName = "opencv",
    target: str | None = None,
) -> Backend:
    """Make a network ready to run.

    Parameters
    ----------
    network : Files, NetworkContent or cv2.dnn.Net
        Its files; a `NetworkContent` of them reads and converts them once, however often it is opened.
    outputs : Places or None
        The blobs that `Backend.forward` returns. None: the network's only output.
    backend : {"opencv", "onnxruntime"}
        What runs it.
    target : str, optional
        On what it runs: "cpu", or another name of `opencv_targets` or `onnxruntime_targets`. Default: the processor; for
        a ``cv2.dnn.Net``, what it was set to.

    Raises
    ------
    ModelError
        If the files cannot be read, or the network does not have these outputs.
    ValueError
        If there is no such backend, or no such target here.
    ImportError
        If the backend, or what converts the files for it, is not installed: it names the extra.
    """
    _checks.choice("backend", backend, get_args(BackendName))
    if isinstance(network, cv2.dnn.Net):
        if backend == "onnxruntime":
            raise ValueError("a cv2.dnn.Net runs in OpenCV; backend 'onnxruntime' takes a model's files")
        opened: Backend = opencv.wrap_net(network, outputs)
    else:
        content = network if isinstance(network, NetworkContent) else NetworkContent(network)
        opened = _open_files(content, outputs, backend, target)
        opened.explain = NetworkContent(content.files).misfit  # another one, for this one keeps what it has read
    if target is not None and backend == "opencv":
        opencv.set_target(opened.net, target)
    return opened


def _open_files(content: NetworkContent, outputs: Places | None, backend: BackendName, target: str | None) -> Backend:
    name = str(content.files)
    if backend == "opencv" and content.files.are_caffe and read_net_from_caffe is not None:
        return opencv.read_caffe(*content.caffe, name, outputs)
    if backend == "opencv":
        return opencv.read_onnx(*content.onnx(outputs))
    from opencv_squeezedet.backends.onnxruntime import OnnxSession  # an extra

    return OnnxSession(*content.onnx(outputs), "cpu" if target is None else target)
