"""`Net`, used like the ``cv2.dnn.Net`` that OpenCV 4 makes of Caffe's files."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from opencv_squeezedet._opencv import silent_opencv
from opencv_squeezedet.caffe.errors import BAD_ARGUMENT, NOT_FOUND, NetError, as_net_error
from opencv_squeezedet.caffe.plan import Host, Run, Values, kind_of, plan, real_net, registered, with_own_tops
from opencv_squeezedet.network import Convolution, Network, Shape, Weights

Array = NDArray[Any]
_MOST_PLANS, _MOST_BYTES = 16, 1 << 28  # each plan has real networks of its own, with their copies of the weights
_SETTERS = frozenset({"enableTF32", "enableWinograd", "setPreferableBackend", "setPreferableTarget"})


class _Entry(NamedTuple):
    """A layer as OpenCV counts them: a Convolution has the name of its top, and is one layer for each top."""

    name: str
    position: int  # in the layers of the `Net`
    values: tuple[str, ...]


class Layer:
    """A layer of a `Net`, from its `getLayer`.

    Attributes
    ----------
    name : str
        Its name.
    type : str
        Its type in Caffe's files.
    """

    def __init__(self, net: Net, name: str, kind: str) -> None:
        self._net, self.name, self.type = net, name, kind

    @property
    def blobs(self) -> tuple[Array, ...]:
        """Copies of its weights; assigned ones take effect at the next forward pass."""
        return self._net._blobs(self.name)

    @blobs.setter
    def blobs(self, blobs: Sequence[ArrayLike]) -> None:
        self._net._set_blobs(self.name, blobs)

    def outputNameToIndex(self, outputName: str) -> int:
        """Return the index of an input of this name, for layer 0; -1 if there is none. Other layers: 0."""
        return self._net._input_index(outputName) if self.type == _INPUT_TYPE else 0


_INPUT_NAME, _INPUT_TYPE = "_input", "__NetInputLayer__"


class Net:
    """A network of Caffe's files, run by networks of ``cv2.dnn`` that are made when their outputs are first asked for.

    Its methods, and the names and the order of the layers, are those of the ``cv2.dnn.Net`` that OpenCV 4's
    ``readNetFromCaffe`` returns. What is not here is passed on to the real network of all outputs. Objects come from
    `readNetFromCaffe`.

    Parameters
    ----------
    network : Network or None
        The layers; None makes an empty network.
    weights : mapping of str to sequence of arrays
        The weights of the layers by their names. Missing ones are an error of the first forward pass, as in OpenCV 4.
    """

    def __init__(self, network: Network | None = None, weights: Mapping[str, Sequence[Array]] | None = None) -> None:
        self._network = network
        self._weights: Weights = {name: list(blobs) for name, blobs in (weights or {}).items()}
        self._layers = () if network is None else with_own_tops(network)
        self._entries: list[_Entry] = []
        for index, layer in enumerate(self._layers):
            if isinstance(layer, Convolution) and kind_of(layer) == "Convolution":
                tops = network.layers[index].tops if network is not None else ()
                self._entries += [_Entry(top, index, (value,)) for top, value in zip(tops, layer.tops, strict=True)]
            else:
                self._entries.append(_Entry(layer.name, index, layer.tops))
        self._ids: dict[str, int] = {}
        for number, entry in enumerate(self._entries, 1):
            self._ids.setdefault(entry.name, number)
        self._shapes: dict[str, Shape] = {} if network is None else network.inputs
        self._names = {name: name for name in self._shapes}  # of the inputs, for the program
        self._values: Values = {}
        self._plans: OrderedDict[tuple[Any, ...], list[Run | Host]] = OrderedDict()
        self._settings: dict[str, tuple[Any, ...]] = {}
        self._profile: tuple[int, Array] = 0, np.zeros(0)
        self._lock = threading.Lock()

    @property
    def inputs(self) -> dict[str, Shape]:
        """The shapes of the inputs by name, as the file has them."""
        return dict(self._shapes)

    # ---- inputs --------------------------------------------------------------------------------------------------------

    def setInput(
        self, blob: ArrayLike | cv2.UMat, name: str = "", scalefactor: float = 1.0, mean: float | Sequence[float] = ()
    ) -> None:
        """Set an input: uint8 or floats, of any batch and size that the layers allow.

        Parameters
        ----------
        blob : array or cv2.UMat
            Its values; they are copied.
        name : str
            The input. Default: the first.
        scalefactor : float
            The factor after the mean is subtracted.
        mean : float or sequence of float
            Subtracted from the channels: one number from all of them.
        """
        array = np.asarray(blob.get() if isinstance(blob, cv2.UMat) else blob)
        if array.dtype.kind not in "uif":
            raise NetError(f"the blob must contain numbers, got {array.dtype}", BAD_ARGUMENT)
        known = list(self._names)
        if not known:
            raise NetError("the network is empty", NOT_FOUND)
        if name and name not in self._names:
            raise NetError(f"the network has no input {name!r}, but {', '.join(map(repr, known))}", NOT_FOUND)
        values = np.array(array, np.float32, order="C")
        channels = np.ravel(np.asarray(mean, np.float32))
        if channels.any():
            values -= channels if channels.size == 1 else channels[: values.shape[1]].reshape(-1, *[1] * (values.ndim - 2))
        if scalefactor != 1.0:
            values *= np.float32(scalefactor)
        self._values[self._names[name or known[0]]] = values

    def setInputsNames(self, inputBlobNames: Sequence[str]) -> None:
        """Give the inputs other names, in their order."""
        own = list(self._shapes)
        if len(inputBlobNames) != len(own):
            raise NetError(f"{len(own)} names were expected, got {len(inputBlobNames)}", BAD_ARGUMENT)
        self._names = dict(zip(inputBlobNames, own, strict=True))

    def setInputShape(self, inputName: str, shape: Sequence[int]) -> None:
        """Check that the layers accept an input of this shape; a forward pass takes the shape of the blob that is set."""
        if inputName not in self._names or self._network is None:
            raise NetError(f"the network has no input {inputName!r}", NOT_FOUND)
        self._shapes[self._names[inputName]] = tuple(map(int, shape))
        with as_net_error():
            _ = self._network.with_inputs(self._shapes).steps

    def _input_index(self, name: str) -> int:
        names = list(self._names)
        return names.index(name) if name in names else -1

    # ---- outputs -------------------------------------------------------------------------------------------------------

    def forward(self, outputName: str | Sequence[str] = "", outBlobNames: Sequence[str] | None = None) -> Any:
        """Run the network, and return a layer's first output as an array, or those of several layers as a tuple.

        Parameters
        ----------
        outputName : str or sequence of str
            The layer or layers. Default: the last one of the file.
        outBlobNames : sequence of str, optional
            The layers, by OpenCV's other keyword.
        """
        names = outputName if outBlobNames is None else outBlobNames
        if isinstance(names, str):
            entry = self._entry(names) if names else self._last()
            return self._run([entry.values[0]])[0]
        return tuple(self._run([self._entry(name).values[0] for name in names]))

    def forwardAndRetrieve(self, outBlobNames: Sequence[str]) -> tuple[tuple[Array, ...], ...]:
        """Run the network, and return all outputs of each of these layers."""
        entries = [self._entry(name) for name in outBlobNames]
        outputs = iter(self._run([value for entry in entries for value in entry.values]))
        return tuple(tuple(next(outputs) for _ in entry.values) for entry in entries)

    def _run(self, wanted: list[str]) -> list[Array]:
        """The values of these names."""
        start = cv2.getTickCount()
        with self._lock, as_net_error(), silent_opencv():
            values = dict(self._values)
            steps = self._steps(tuple(dict.fromkeys(wanted)))
            for step in steps:
                for name in step.inputs if isinstance(step, Run) else step.layer.bottoms:
                    if name not in values:
                        raise NetError(f"input {name!r} has not been set", NOT_FOUND)
                step(values, self._weights, self._settings)
            nets = [step.net for step in steps if isinstance(step, Run) and step.net is not None]
            timings = [np.ravel(net.getPerfProfile()[1]) for net in nets]
        self._profile = cv2.getTickCount() - start, np.concatenate([np.zeros(0), *timings])
        return [values[name] for name in wanted]

    def _steps(self, wanted: tuple[str, ...]) -> list[Run | Host]:
        """The steps that give these values, for the sizes of the inputs and the layers that are registered now."""
        sizes = tuple((name, value.shape[1:]) for name, value in sorted(self._values.items()))
        classes = tuple(registered[kind][-1] for kind in map(kind_of, self._layers) if registered.get(kind))
        key = wanted, sizes, classes
        steps = self._plans.pop(key, None)
        self._plans[key] = plan(self._layers, wanted) if steps is None else steps
        size = sum(blob.nbytes for blobs in self._weights.values() for blob in blobs)
        while len(self._plans) > max(2, min(_MOST_PLANS, _MOST_BYTES // max(size, 1))):
            self._plans.popitem(last=False)
        return self._plans[key]

    def getPerfProfile(self) -> tuple[int, Array]:
        """Return the ticks of the last forward pass, and those of the real networks' layers."""
        return self._profile

    # ---- layers --------------------------------------------------------------------------------------------------------

    def empty(self) -> bool:
        """Return whether the network has no layers."""
        return not self._entries

    def getLayerNames(self) -> tuple[str, ...]:
        """Return the names of the layers, in the order of the file."""
        return tuple(entry.name for entry in self._entries)

    def getLayerId(self, layer: str) -> int:
        """Return the number of a layer, from 1 up; -1 if there is none of this name."""
        return self._ids.get(layer, 0 if layer == _INPUT_NAME else -1)

    def getLayer(self, layerId: int | str) -> Layer:
        """Return a layer by its number or name; number 0 is the input."""
        number = self.getLayerId(layerId) if isinstance(layerId, str) else int(layerId)
        if number == 0:
            return Layer(self, _INPUT_NAME, _INPUT_TYPE)
        if not 0 < number <= len(self._entries):
            raise NetError(f"the network has no layer {layerId!r}", NOT_FOUND)
        entry = self._entries[number - 1]
        layer = self._layers[entry.position]
        return Layer(self, entry.name, "Convolution" if isinstance(layer, Convolution) else kind_of(layer))

    def getUnconnectedOutLayers(self) -> NDArray[np.int32]:
        """Return the numbers of the layers that no other layer reads."""
        return np.array([self._ids[name] for name in self.getUnconnectedOutLayersNames()], np.int32)

    def getUnconnectedOutLayersNames(self) -> tuple[str, ...]:
        """Return the names of the layers that no other layer reads."""
        return tuple(entry.name for entry in self._unconnected())

    def getParam(self, layer: int | str, numParam: int = 0) -> Array:
        """Return one of a layer's blobs."""
        blobs = self.getLayer(layer).blobs
        if not 0 <= numParam < len(blobs):
            raise NetError(f"layer {layer!r} has {len(blobs)} blobs, none of the number {numParam}", BAD_ARGUMENT)
        return blobs[numParam]

    def setParam(self, layer: int | str, numParam: int, blob: ArrayLike) -> None:
        """Replace one of a layer's blobs, from the next forward pass on."""
        own = self.getLayer(layer)
        blobs = list(own.blobs)
        if not 0 <= numParam < len(blobs):
            raise NetError(f"layer {layer!r} has {len(blobs)} blobs, none of the number {numParam}", BAD_ARGUMENT)
        blobs[numParam] = np.asarray(blob)
        own.blobs = tuple(blobs)

    def _blobs(self, name: str) -> tuple[Array, ...]:
        if name not in self._ids:
            return ()
        layer = self._layers[self._entry(name).position]
        return tuple(blob.copy() for blob in self._weights.get(layer.name, []))

    def _set_blobs(self, name: str, blobs: Sequence[ArrayLike]) -> None:
        layer = self._layers[self._entry(name).position]
        arrays = [np.array(blob, np.float32, order="C") for blob in blobs]
        if len(arrays) == 1 and getattr(layer, "bias", False) and (outputs := getattr(layer, "outputs", 0)):
            arrays.append(np.zeros(outputs, np.float32))  # as in OpenCV, a layer without a second blob has no bias
        with self._lock:
            self._weights[layer.name] = arrays
            self._plans.clear()

    def _entry(self, name: str) -> _Entry:
        if name not in self._ids:
            raise NetError(f"Requested layer {name!r} not found: a Convolution has the name of its top", NOT_FOUND)
        return self._entries[self._ids[name] - 1]

    def _last(self) -> _Entry:
        if not self._entries:
            raise NetError("the network is empty")
        return self._entries[-1]

    def _unconnected(self) -> list[_Entry]:
        read = {bottom for layer in self._layers for bottom in layer.bottoms}
        return [entry for entry in self._entries if read.isdisjoint(entry.values)]

    # ---- real networks -------------------------------------------------------------------------------------------------

    def enableFusion(self, fusion: bool) -> None:
        """Do nothing: OpenCV 5 always joins layers, which changes no results."""

    def onnx(self) -> bytes:
        """Return the network as a standard ONNX file, for any library; NetError if a layer has no equal there."""
        from opencv_squeezedet.formats.onnx_writer import onnx_bytes

        if self._network is None:
            raise NetError("the network is empty")
        with as_net_error():
            return onnx_bytes(self._network, self._network.fitted(self._weights))

    def real(self) -> cv2.dnn.Net:
        """Return a ``cv2.dnn.Net`` with the outputs of the layers that no other layer reads; later changes do not reach it."""
        if self._network is None:
            raise NetError("the network is empty")
        network = replace(self._network, layers=self._layers)
        outputs = [entry.values[0] for entry in self._unconnected()]
        with as_net_error(), silent_opencv():
            return real_net(network, self._weights, outputs, self._settings)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name not in _SETTERS:
            return getattr(self.real(), name)
        if not hasattr(cv2.dnn.Net, name):
            raise AttributeError(f"this OpenCV's networks have no {name}")

        def set_option(*arguments: Any) -> None:
            with self._lock:
                self._settings[name] = arguments
                self._plans.clear()

        return set_option
