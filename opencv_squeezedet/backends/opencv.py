"""Networks in ``cv2.dnn``: from Caffe's files, which OpenCV 4 reads, and from ONNX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet._opencv import HAS_GRAPH_ENGINE, read_net_from_caffe, silent_opencv
from opencv_squeezedet.backends.base import (
    Arrays,
    Backend,
    Inputs,
    OnnxBackend,
    check_target,
    library_message,
    no_layer,
    no_top,
    only_output,
    readable,
)
from opencv_squeezedet.blobs import OutputRefs, onnx_names


class _OpencvNet(Backend):
    """The common part of both kinds of networks in OpenCV."""

    def predict(self, blob: Inputs, names: Sequence[str] = ()) -> tuple[NDArray[Any], ...]:
        """Run the network once, as `Backend.predict`."""
        with self.lock:
            self._set_inputs(blob)
            return tuple(map(np.asarray, self.net.forward(names or self.net.getUnconnectedOutLayersNames())))

    def _set_inputs(self, blob: Inputs) -> None:
        for name, values in blob.items() if isinstance(blob, Mapping) else [("", blob)]:
            self.net.setInput(values, name)

    def _failing_layer(self, size: tuple[int, int]) -> str | None:
        for name in () if HAS_GRAPH_ENGINE else self.net.getLayerNames():
            try:
                with silent_opencv():  # needs the shapes up to this layer, no others
                    self.net.getFLOPS(self.net.getLayerId(name), (1, 3, size[1], size[0]))
            except cv2.error as error:
                return f"layer {name!r}{self._described(name)}: {library_message(error)}"
        return None

    def _described(self, name: str) -> str:
        """The type of a layer, if OpenCV could make it."""
        try:
            layer = self.net.getLayer(name)
        except cv2.error:
            return ""
        weights = "" if layer.type != "Convolution" else f" with {len(layer.blobs) or 'no'} blobs of weights"
        return f", a {layer.type}{weights}"


class CaffeNet(_OpencvNet):
    """A network from Caffe's files in OpenCV 4, whose layers may have several tops."""

    def __init__(self, net: cv2.dnn.Net, name: str, outputs: OutputRefs | None) -> None:
        if outputs is None:
            only = only_output(net.getUnconnectedOutLayersNames(), name)
            outputs = {only: (only, 0)}
        super().__init__(net, name, tuple(outputs))
        self._refs = [(ref, 0) if isinstance(ref, str) else ref for ref in outputs.values()]
        self._layers = [layer for layer, _ in self._refs]
        known = net.getLayerNames()
        for blob, layer in zip(self.blobs, self._layers, strict=True):
            if layer not in known:
                raise no_layer(name, layer, blob)

    def forward(self, blob: Inputs) -> Arrays:
        """Run the network once, as `Backend.forward`."""
        # forward(layer) would give that layer's first top only, and once for each layer it would run the network anew
        with self.lock:
            self._set_inputs(blob)
            layers = self.net.forwardAndRetrieve(self._layers)
        return tuple(np.asarray(tops[top], np.float32) for tops, (_, top) in zip(layers, self._refs, strict=True))

    def origin(self, index: int) -> str:
        """Return the source of the blob of this index, in words."""
        return f"layer {self._layers[index]!r}"

    def _shapes(self, size: tuple[int, int]) -> list[tuple[int, ...]]:
        """The shapes; nothing is run."""
        ids, _, shapes = self.net.getLayersShapes((1, 3, size[1], size[0]))
        indices = {int(layer_id): i for i, layer_id in enumerate(np.ravel(np.asarray(ids)))}
        all_shapes = []
        for blob, (layer, top) in zip(self.blobs, self._refs, strict=True):
            tops = shapes[indices[self.net.getLayerId(layer)]]
            if top >= len(tops):
                raise no_top(layer, len(tops), top, blob)
            all_shapes.append(tuple(np.ravel(np.asarray(tops[top])).tolist()))
        return all_shapes


class OnnxNet(_OpencvNet, OnnxBackend):
    """A network from ONNX in OpenCV 4 or 5."""

    def __init__(self, net: cv2.dnn.Net, name: str, outputs: Mapping[str, str] | None) -> None:
        super().__init__(net, name, net.getUnconnectedOutLayersNames(), outputs)

    def predict(self, blob: Inputs, names: Sequence[str] = ()) -> tuple[NDArray[Any], ...]:
        """Run the network once, as `Backend.predict`."""
        if set(names) <= set(self._all):  # OpenCV 5 gives all outputs, or none
            given = dict(zip(self._all, super().predict(blob), strict=True))
            return tuple(given[name] for name in names or self._all)
        return super().predict(blob, names)


def read_caffe(definition: bytes, weights: bytes, name: str, outputs: OutputRefs | None) -> CaffeNet:
    """Make a network of the contents of Caffe's files, where this OpenCV reads them; ModelError if it cannot."""
    contents = [np.frombuffer(content, np.uint8) for content in (definition, weights)]
    with readable(name, "OpenCV"), silent_opencv():
        net = read_net_from_caffe(*contents)
    return CaffeNet(net, name, outputs)


def read_onnx(content: bytes, name: str, outputs: Mapping[str, str] | None) -> OnnxNet:
    """Make a network of the content of an ONNX file; ModelError if OpenCV cannot read it."""
    with readable(name, "OpenCV"), silent_opencv():
        net = cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8))
    return OnnxNet(net, name, outputs)


def wrap_net(net: cv2.dnn.Net, outputs: OutputRefs | None) -> CaffeNet | OnnxNet:
    """Wrap a network that the caller has read; it does not say whether it was Caffe's or ONNX."""
    tops, names = net.getUnconnectedOutLayersNames(), None if outputs is None else onnx_names(outputs)
    if read_net_from_caffe is None or (names is not None and set(names.values()) <= set(tops)):
        return OnnxNet(net, "the network", names)
    return CaffeNet(net, "the network", outputs)


def set_target(net: cv2.dnn.Net, target: str) -> None:
    """Select the target, a name in `opencv_targets`; ValueError for another."""
    check_target(target, opencv_targets())
    backend_id, target_id = _backend_and_target(target)
    with silent_opencv():
        net.setPreferableBackend(backend_id)
        net.setPreferableTarget(target_id)


_OPENCV_TARGETS = {
    "cpu": ("OPENCV", "CPU"),
    "cpu_fp16": ("OPENCV", "CPU_FP16"),
    "opencl": ("OPENCV", "OPENCL"),
    "opencl_fp16": ("OPENCV", "OPENCL_FP16"),
    "vulkan": ("VKCOM", "VULKAN"),
    "cuda": ("CUDA", "CUDA"),
    "cuda_fp16": ("CUDA", "CUDA_FP16"),
    "openvino": ("INFERENCE_ENGINE", "CPU"),
    "cann": ("CANN", "NPU"),
    "timvx": ("TIMVX", "NPU"),
}
"""What `target` may be with OpenCV: the names of its ``DNN_BACKEND_...`` and ``DNN_TARGET_...``."""


def opencv_targets() -> list[str]:
    """Return the targets that this OpenCV has on this machine; for others it would silently take the processor."""
    if HAS_GRAPH_ENGINE:  # OpenCV 5 logs that it ignores targets
        return ["cpu"]
    return [name for name in _OPENCV_TARGETS if _opencv_has(*_backend_and_target(name))]


def _backend_and_target(target: str) -> tuple[int, int]:
    backend, device = _OPENCV_TARGETS[target]
    return getattr(cv2.dnn, f"DNN_BACKEND_{backend}", -1), getattr(cv2.dnn, f"DNN_TARGET_{device}", -1)


def _opencv_has(backend: int, device: int) -> bool:
    if backend < 0 or device not in np.ravel(cv2.dnn.getAvailableTargets(backend)):
        return False
    opencl = device in (cv2.dnn.DNN_TARGET_OPENCL, cv2.dnn.DNN_TARGET_OPENCL_FP16)
    return not opencl or cv2.ocl.Device.getDefault().type() == cv2.ocl.Device_TYPE_GPU  # it leaves others aside
