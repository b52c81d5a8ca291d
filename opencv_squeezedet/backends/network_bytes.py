"""The bytes of a network, and the library that opens them."""

from __future__ import annotations

from dataclasses import dataclass

from opencv_squeezedet.backends import opencv
from opencv_squeezedet.backends.base import Backend, BackendName
from opencv_squeezedet.blobs import OutputRefs, onnx_names


@dataclass(frozen=True)
class NetworkBytes:
    """A network as a backend reads it."""

    contents: tuple[bytes, ...]  # of Caffe's two files, or of an ONNX file
    name: str  # in error messages
    outputs: OutputRefs | None  # the source of each blob; None: the network's only output


def open_bytes(network: NetworkBytes, backend: BackendName, target: str | None = None) -> Backend:
    """Make a network ready to run; errors as for `open_network`."""
    if len(network.contents) == 2:
        definition, weights = network.contents
        return opencv.read_caffe(definition, weights, network.name, network.outputs)
    names = None if network.outputs is None else onnx_names(network.outputs)
    if backend == "opencv":
        return opencv.read_onnx(network.contents[0], network.name, names)
    from opencv_squeezedet.backends.onnxruntime import OnnxSession  # an extra

    return OnnxSession(network.contents[0], network.name, names, "cpu" if target is None else target)
