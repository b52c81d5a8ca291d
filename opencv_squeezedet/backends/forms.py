"""What a backend is opened with: the contents of a network's files, and what they are to give."""

from __future__ import annotations

from dataclasses import dataclass

from opencv_squeezedet.backends import opencv
from opencv_squeezedet.backends.base import Backend, BackendName
from opencv_squeezedet.blobs import Places, onnx_names


@dataclass(frozen=True)
class Form:
    """A network as a backend takes it.

    Parameters
    ----------
    contents : tuple of bytes
        Those of Caffe's two files, or of one of ONNX.
    name : str
        What errors call the network.
    outputs : Places or None
        Where its blobs are. None: the network's only output.
    """

    contents: tuple[bytes, ...]
    name: str
    outputs: Places | None


def open_form(form: Form, backend: BackendName, target: str | None = None) -> Backend:
    """Make a network ready to run; errors as `open_backend`."""
    if len(form.contents) == 2:
        definition, weights = form.contents
        return opencv.read_caffe(definition, weights, form.name, form.outputs)
    names = None if form.outputs is None else onnx_names(form.outputs)
    if backend == "opencv":
        return opencv.read_onnx(form.contents[0], form.name, names)
    from opencv_squeezedet.backends.onnxruntime import OnnxSession  # an extra

    return OnnxSession(form.contents[0], form.name, names, "cpu" if target is None else target)
