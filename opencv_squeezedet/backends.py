"""What runs a network: ``cv2.dnn`` with Caffe's files or ONNX, and onnxruntime, each behind one small object.

============  =====================================  ==============================================
backend       model's files                          what runs it
============  =====================================  ==============================================
opencv        prototxt and caffemodel                `CaffeNet`, where cv2 reads them (OpenCV 4)
opencv        onnx, or Caffe's two, converted        `OnnxNet`
onnxruntime   onnx, or Caffe's two, converted        `OnnxSession`
============  =====================================  ==============================================
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet import _checks
from opencv_squeezedet._opencv import HAS_GRAPH_ENGINE, read_net_from_caffe, silent_opencv
from opencv_squeezedet.errors import ModelError
from opencv_squeezedet.extras import needs

BackendName = Literal["opencv", "onnxruntime"]
Place = tuple[str, int] | str
"""Where a network gives a blob: a Caffe layer and which of its tops, or the name of an output of an ONNX graph."""
Outputs = Mapping[str, Place]
"""Blobs by name. A blob whose place is Caffe's bears its own name among the outputs of an ONNX graph."""
Arrays = tuple[NDArray[np.float32], ...]


@dataclass(frozen=True)
class Files:
    """Where a network lies: Caffe's prototxt and caffemodel, the same network as ONNX, or both; or weights alone.

    Weights without a definition belong to one of `opencv_squeezedet.architectures.ARCHITECTURES`.
    """

    definition: str | None = None
    weights: str | None = None
    onnx: str | None = None
    architecture: str | None = None

    @property
    def are_caffe(self) -> bool:
        """Whether these are what Caffe itself reads; a ``.net`` has weights, but not as a caffemodel."""
        return self.definition is not None and not str(self.weights).endswith(".net")

    def __str__(self) -> str:
        if self.definition is None:
            return repr(self.onnx if self.weights is None else self.weights)
        return f"{self.definition!r} with {self.weights!r}"


class Backend(ABC):
    """A network that is ready to run; one forward pass at a time, under a lock.

    Parameters
    ----------
    net : cv2.dnn.Net or onnxruntime.InferenceSession
        What runs it.
    name : str
        What errors call the network.
    blobs : sequence of str
        What `forward` returns, by name.

    Attributes
    ----------
    files : Files or None
        Where it was read from.
    lock : threading.Lock
        Held while the network runs; to be held by whoever else uses ``net``.
    """

    files: Files | None = None

    def __init__(self, net: Any, name: str, blobs: Sequence[str]) -> None:
        self.net, self.name, self.blobs = net, name, tuple(blobs)
        self.lock = threading.Lock()

    @abstractmethod
    def forward(self, blob: NDArray[np.float32]) -> Arrays:
        """Run the network once on a blob (N, C, H, W); returns its blobs, in the order in which they were asked for."""

    @abstractmethod
    def predict(self, blob: NDArray[np.float32], names: Sequence[str] = ()) -> tuple[NDArray[Any], ...]:
        """Run the network once; returns the outputs of these names, or all that it has."""

    @abstractmethod
    def origin(self, index: int) -> str:
        """Return what gives the blob of this index, in words."""

    def shapes(self, size: tuple[int, int]) -> list[tuple[int, ...]]:
        """Return the blobs' shapes for one input of (width, height), which a pass over an input of zeros tells.

        Raises
        ------
        ModelError
            If the network does not take this input.
        """
        try:
            with silent_opencv():
                blobs = self.forward(np.zeros((1, 3, size[1], size[0]), np.float32))
        except (cv2.error, RuntimeError, MemoryError) as error:
            raise self._misfit(size, error) from error
        return [blob.shape for blob in blobs]

    def _misfit(self, size: tuple[int, int], error: Exception) -> ModelError:
        reason = self._misfitting_layer(size) or _reason(error)
        return ModelError(f"{self.name} does not fit itself, or the input of {size[0]}x{size[1]}: {reason}")

    def _misfitting_layer(self, size: tuple[int, int]) -> str | None:
        """Say which layer does not take what an input of this size makes of it; None if that cannot be told."""
        try:
            from opencv_squeezedet import conversion  # takes an extra, and time to import

            return None if self.files is None else conversion.misfit(self.files, size)
        except ImportError:
            return None


def open_backend(
    source: Files | cv2.dnn.Net, outputs: Outputs | None, backend: BackendName = "opencv", target: str | None = None
) -> Backend:
    """Make a network ready to run.

    Parameters
    ----------
    source : Files or cv2.dnn.Net
        The network.
    outputs : Outputs or None
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
    if backend == "onnxruntime":
        if isinstance(source, cv2.dnn.Net):
            raise ValueError("a cv2.dnn.Net runs in OpenCV; backend 'onnxruntime' takes a model's files")
        session = OnnxSession(*_onnx(source, outputs), "cpu" if target is None else target)
        session.files = source
        return session
    if target is not None:
        _check_target(target, opencv_targets())
    opened = _open_in_opencv(source, outputs)
    opened.files = source if isinstance(source, Files) else None
    if target is not None:
        backend_id, target_id = _opencv_pair(target)
        with silent_opencv():
            opened.net.setPreferableBackend(backend_id)
            opened.net.setPreferableTarget(target_id)
    return opened


def _open_in_opencv(source: Files | cv2.dnn.Net, outputs: Outputs | None) -> Backend:
    if isinstance(source, cv2.dnn.Net):
        return _given(source, outputs)
    if source.are_caffe and read_net_from_caffe is not None:
        return CaffeNet(_read_caffe(source), str(source), outputs)
    content, name, names = _onnx(source, outputs)
    with _readable(name, "OpenCV"), silent_opencv():
        net = cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8))
    return OnnxNet(net, name, names)


def _given(net: cv2.dnn.Net, outputs: Outputs | None) -> Backend:
    """Someone else's network; it does not tell whether it was Caffe's or ONNX."""
    tops = net.getUnconnectedOutLayersNames()
    if read_net_from_caffe is None or (outputs is not None and set(_names(outputs).values()) <= set(tops)):
        return OnnxNet(net, "the network", None if outputs is None else _names(outputs))
    return CaffeNet(net, "the network", outputs)


# ---- OpenCV ------------------------------------------------------------------------------------------------------------


class _OpencvNet(Backend):
    """What both kinds of networks in OpenCV share."""

    def predict(self, blob: NDArray[np.float32], names: Sequence[str] = ()) -> tuple[NDArray[Any], ...]:
        """Run the network once; returns the outputs of these names, or all that it has."""
        with self.lock:
            self.net.setInput(blob)
            return tuple(map(np.asarray, self.net.forward(names or self.net.getUnconnectedOutLayersNames())))

    def _misfitting_layer(self, size: tuple[int, int]) -> str | None:
        """Say which layer does not take what an input of this size makes of it; None if that cannot be told."""
        return super()._misfitting_layer(size) or self._first_without_shape((1, 3, size[1], size[0]))

    def _first_without_shape(self, shape: tuple[int, ...]) -> str | None:
        for name in () if HAS_GRAPH_ENGINE else self.net.getLayerNames():
            try:
                with silent_opencv():
                    self.net.getFLOPS(self.net.getLayerId(name), shape)  # needs the shapes up to this layer, no others
            except cv2.error as error:
                layer = self.net.getLayer(name)
                weights = "" if layer.type != "Convolution" else f" with {len(layer.blobs) or 'no'} blobs of weights"
                return f"layer {name!r}, a {layer.type}{weights}: {_reason(error)}"
        return None


class CaffeNet(_OpencvNet):
    """A network from Caffe's files in OpenCV 4, whose layers may have several tops."""

    def __init__(self, net: cv2.dnn.Net, name: str, outputs: Outputs | None) -> None:
        if outputs is None:
            only = _only(net.getUnconnectedOutLayersNames(), name)
            outputs = {only: (only, 0)}
        super().__init__(net, name, tuple(outputs))
        self._places = [(place, 0) if isinstance(place, str) else place for place in outputs.values()]
        self._layers = [layer for layer, _ in self._places]
        known = net.getLayerNames()
        for blob, layer in zip(self.blobs, self._layers, strict=True):
            if layer not in known:
                raise no_layer(name, layer, blob)

    def forward(self, blob: NDArray[np.float32]) -> Arrays:
        """Run the network once on a blob (N, C, H, W); returns its blobs, in the order in which they were asked for."""
        # forward(layer) would give that layer's first top only, and once for each layer it would run the network anew
        with self.lock:
            self.net.setInput(blob)
            layers = self.net.forwardAndRetrieve(self._layers)
        return tuple(np.asarray(tops[top], np.float32) for tops, (_, top) in zip(layers, self._places, strict=True))

    def origin(self, index: int) -> str:
        """Return what gives the blob of this index, in words."""
        return f"layer {self._layers[index]!r}"

    def shapes(self, size: tuple[int, int]) -> list[tuple[int, ...]]:
        """Return the blobs' shapes for one input of (width, height); nothing is run. ModelError if it is not taken."""
        try:
            with silent_opencv():
                ids, _, shapes = self.net.getLayersShapes((1, 3, size[1], size[0]))
        except cv2.error as error:
            raise self._misfit(size, error) from error
        indices = {int(layer_id): i for i, layer_id in enumerate(np.ravel(np.asarray(ids)))}
        found = []
        for blob, (layer, top) in zip(self.blobs, self._places, strict=True):
            tops = shapes[indices[self.net.getLayerId(layer)]]
            if top >= len(tops):
                raise no_top(layer, len(tops), top, blob)
            found.append(tuple(np.ravel(np.asarray(tops[top])).tolist()))
        return found


class OnnxNet(_OpencvNet):
    """A network from ONNX in OpenCV 4 or 5, whose outputs have names."""

    def __init__(self, net: cv2.dnn.Net, name: str, outputs: Mapping[str, str] | None) -> None:
        self._all: Sequence[str] = net.getUnconnectedOutLayersNames()
        outputs = _known_outputs(outputs, self._all, name)
        super().__init__(net, name, tuple(outputs))
        self._outputs = list(outputs.values())

    def forward(self, blob: NDArray[np.float32]) -> Arrays:
        """Run the network once on a blob (N, C, H, W); returns its blobs, in the order in which they were asked for."""
        return tuple(np.asarray(output, np.float32) for output in self.predict(blob, self._outputs))

    def predict(self, blob: NDArray[np.float32], names: Sequence[str] = ()) -> tuple[NDArray[Any], ...]:
        """Run the network once; returns the outputs of these names, or all that it has."""
        if set(names) <= set(self._all):  # OpenCV 5 gives all outputs, or none
            given = dict(zip(self._all, super().predict(blob), strict=True))
            return tuple(given[name] for name in names or self._all)
        return super().predict(blob, names)

    def origin(self, index: int) -> str:
        """Return what gives the blob of this index, in words."""
        return f"output {self._outputs[index]!r}"


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
    """Return the targets that this OpenCV has on this machine; for another one it would quietly take the processor."""
    if HAS_GRAPH_ENGINE:  # OpenCV 5 logs that it ignores targets
        return ["cpu"]
    return [name for name in _OPENCV_TARGETS if _opencv_has(*_opencv_pair(name))]


def _opencv_pair(target: str) -> tuple[int, int]:
    backend, device = _OPENCV_TARGETS[target]
    return getattr(cv2.dnn, f"DNN_BACKEND_{backend}", -1), getattr(cv2.dnn, f"DNN_TARGET_{device}", -1)


def _opencv_has(backend: int, device: int) -> bool:
    if backend < 0 or device not in np.ravel(cv2.dnn.getAvailableTargets(backend)):
        return False
    opencl = device in (cv2.dnn.DNN_TARGET_OPENCL, cv2.dnn.DNN_TARGET_OPENCL_FP16)
    return not opencl or cv2.ocl.Device.getDefault().type() == cv2.ocl.Device_TYPE_GPU  # it leaves others aside


def _check_target(target: str, available: Sequence[str]) -> None:
    if target not in available:
        raise ValueError(f"target must be one that can be had here: {', '.join(map(repr, available))}; got {target!r}")


def _read_caffe(files: Files) -> cv2.dnn.Net:
    contents = [content_of(path) for path in (files.definition, files.weights)]
    with _readable(str(files), "OpenCV"), silent_opencv():
        net: cv2.dnn.Net = read_net_from_caffe(*contents)
    return net


def no_layer(name: str, layer: str, blob: str) -> ModelError:
    """Return the error of a network without the layer that should give a blob."""
    return ModelError(f"{name} has no layer {layer!r}, which should give {blob}")


def no_top(layer: str, tops: int, top: int, blob: str) -> ModelError:
    """Return the error of a layer without the top that should be a blob."""
    return ModelError(f"layer {layer!r} has {tops} tops; number {top} should give {blob}")


# ---- onnxruntime -------------------------------------------------------------------------------------------------------


class OnnxSession(Backend):
    """A network from ONNX in onnxruntime, on as many threads as ``cv2.getNumThreads`` tells when it is made."""

    def __init__(self, content: bytes, name: str, outputs: Mapping[str, str] | None, target: str) -> None:
        session = _session(content, name, target)
        self._all = [output.name for output in session.get_outputs()]
        outputs = _known_outputs(outputs, self._all, name)
        super().__init__(session, name, tuple(outputs))
        self._outputs = list(outputs.values())
        inputs = session.get_inputs()
        if len(inputs) != 1:
            raise ModelError(f"{name} has {len(inputs)} inputs, one was expected")
        batch = inputs[0].shape[0] if inputs[0].shape else None
        self._input, self._batch = inputs[0].name, batch if isinstance(batch, int) else None

    def forward(self, blob: NDArray[np.float32]) -> Arrays:
        """Run the network once on a blob (N, C, H, W); returns its blobs, in the order in which they were asked for."""
        return tuple(np.asarray(output, np.float32) for output in self.predict(blob, self._outputs))

    def predict(self, blob: NDArray[np.float32], names: Sequence[str] = ()) -> tuple[NDArray[Any], ...]:
        """Run the network, once where its file does not fix how many pictures it takes; returns the outputs."""
        step = self._batch or len(blob)
        with self.lock:
            passes = [self._run(blob[i : i + step], list(names or self._all)) for i in range(0, len(blob), step)]
        return tuple(map(np.concatenate, zip(*passes, strict=True))) if len(passes) > 1 else tuple(passes[0])

    def _run(self, blob: NDArray[np.float32], names: list[str]) -> list[NDArray[Any]]:
        try:
            outputs: list[NDArray[Any]] = self.net.run(names, {self._input: blob})
        except Exception as error:  # onnxruntime's errors have no class in common
            raise RuntimeError(f"onnxruntime: {_reason(error)}") from error
        return outputs

    def origin(self, index: int) -> str:
        """Return what gives the blob of this index, in words."""
        return f"output {self._outputs[index]!r}"


def onnxruntime_targets() -> dict[str, str]:
    """Return the targets that this onnxruntime has, with its names for them; ImportError where it is not installed."""
    end = "ExecutionProvider"
    names = _onnxruntime().get_available_providers()
    return {name.removesuffix(end).lower(): name for name in names if name != f"Azure{end}"}  # that one is a service


def _session(content: bytes, name: str, target: str) -> Any:
    runtime, providers = _onnxruntime(), onnxruntime_targets()
    _check_target(target, list(providers))
    options = runtime.SessionOptions()
    options.intra_op_num_threads = max(1, cv2.getNumThreads())
    options.log_severity_level = 4  # errors come as exceptions
    with _readable(name, "onnxruntime"):
        session = runtime.InferenceSession(
            content, options, providers=list(dict.fromkeys((providers[target], providers["cpu"])))
        )
    if providers[target] not in session.get_providers():
        raise ValueError(f"target {target!r} cannot be used: onnxruntime has it, but not the libraries that it needs")
    return session


def _onnxruntime() -> Any:
    import importlib

    with needs("onnxruntime", what="backend 'onnxruntime'"):
        return importlib.import_module("onnxruntime")


# ---- files -------------------------------------------------------------------------------------------------------------


def _onnx(files: Files, outputs: Outputs | None) -> tuple[bytes, str, dict[str, str] | None]:
    """Return a network as ONNX, what errors call it, and its outputs' names for the blobs."""
    if files.onnx is not None:
        return content_of(files.onnx).tobytes(), str(Files(onnx=files.onnx)), None if outputs is None else _names(outputs)
    from opencv_squeezedet import conversion  # takes an extra, and time to import

    content, names = conversion.converted(files, outputs)
    return content, str(files), names


def _names(outputs: Outputs) -> dict[str, str]:
    return {blob: place if isinstance(place, str) else blob for blob, place in outputs.items()}


def _known_outputs(outputs: Mapping[str, str] | None, known: Sequence[str], name: str) -> Mapping[str, str]:
    """The outputs asked for, all of which the graph has; or its only one."""
    if outputs is None:
        only = _only(known, name)
        return {only: only}
    for blob, output in outputs.items():
        if output not in known:
            raise ModelError(f"{name} has no output {output!r}, which should give {blob}, but {', '.join(map(repr, known))}")
    return outputs


def _only(known: Sequence[str], name: str) -> str:
    if len(known) != 1:
        raise ModelError(f"{name} has {len(known)} outputs, one was expected: {', '.join(map(repr, known))}")
    return known[0]


def content_of(path: str | None) -> NDArray[np.uint8]:
    """Return a file's bytes; ModelError if there are none."""
    check_not_empty(path)
    return np.fromfile(str(path), np.uint8)


def check_not_empty(path: str | None) -> None:
    """Raise a ModelError if a file is empty."""
    if not os.path.getsize(str(path)):
        raise ModelError(f"{path!r} is empty")


@contextmanager
def _readable(name: str, reader: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # onnxruntime's errors have no class in common
        raise ModelError(f"{reader} cannot read {name}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """The last, telling part of a library's message."""
    return " ".join(str(error).split("error: ", 1)[-1].split()).removeprefix("[ONNXRuntimeError] : ")
