"""ONNX: written for OpenCV 4.8 to 5.0 and onnxruntime alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.formats._onnx_schema import SCHEMA
from opencv_squeezedet.formats._schema import Record
from opencv_squeezedet.formats._wire import encode
from opencv_squeezedet.formats.bare_weights import FLOAT, INT, cast, stored_tensor, tensor, weight_names
from opencv_squeezedet.formats.caffemodel import to_half
from opencv_squeezedet.network import Layer, Network, Shape

OPSET, IR_VERSION = 11, 6
EXTERNAL = "weights"
"""The name of the file of weights that are not in the ONNX file."""
_EXTERNAL_LOCATION = 1
_FLOAT_ATTRIBUTE, _STRING_ATTRIBUTE, _FLOATS_ATTRIBUTE, _INTS_ATTRIBUTE = 1, 3, 6, 7


def onnx_bytes(
    network: Network,
    weights: Mapping[str, Sequence[NDArray[np.float32]]],
    *,
    half: bool = False,
    outputs: Sequence[str] | None = None,
    opset: int | None = None,
    opencv: bool = False,
    external: list[NDArray[np.float32]] | None = None,
) -> bytes:
    """Return the content of an ONNX file.

    Nodes have the names of the layers; inputs and outputs have those of their blobs. The batch's size is free, unless a layer
    fixes it.

    Parameters
    ----------
    network : Network
        The network.
    weights : Weights
        For each of its layers that has weights.
    half : bool
        Store the weights as float16, each followed by a Cast: half the size, and computed in float32 all the same.
    outputs : sequence of str, optional
        The blobs that are outputs. Default: those that no layer makes another of.
    opset : {11, 13}, optional
        The version of the operators. Default: 11, or what the layers need.
    opencv : bool
        Write for OpenCV 5 alone, whose ONNX reader takes OpenCV's own layers as operators: those that standard ONNX has no
        equal of, and those that then fit inputs of every size.
    external : list of arrays, optional
        Takes the weights instead: written one after another, they are the file `EXTERNAL` beside the ONNX file.

    Raises
    ------
    ModelError
        If the weights do not fit the network, float16 cannot hold them, or a layer has no equal in ONNX.
    """
    network.check_weights(weights)
    opset = _opset(network) if opset is None else opset
    writer = _Writer(network, weights, half=half, opset=opset, opencv=opencv, external=external)
    return writer.content(network.output_names if outputs is None else outputs)


def onnx_skeleton(network: Network) -> bytes:
    """Return an ONNX file without the weights, which `bare_weights.with_weights` puts in.

    Raises
    ------
    ModelError
        If a layer has no equal in ONNX, or needs its weights there in another shape than Caffe's.
    """
    return _Writer(network, None, half=False, opset=_opset(network), opencv=False).content(network.output_names)


def _opset(network: Network) -> int:
    return max((step.layer.least_opset(step.bottoms) for step in network.steps), default=OPSET)


_Weights = Mapping[str, Sequence[NDArray[np.float32]]]


class _Writer:
    """Collects nodes. A blob that a layer overwrites in place has one ONNX value for each writer, the last under its name.

    The last of an input has another name.

    Parameters
    ----------
    weights : Weights or None
        None for a skeleton, whose nodes read weights that it does not have.
    """

    def __init__(
        self,
        network: Network,
        weights: _Weights | None,
        *,
        half: bool,
        opset: int,
        opencv: bool,
        external: list[NDArray[np.float32]] | None = None,
    ) -> None:
        self.opset, self.half, self.opencv = opset, half, opencv
        self._external, self._external_bytes = external, 0
        self._network = network
        self._values = {name: name for name in network.inputs}
        self._writers: dict[str, int] = {}
        for top in (top for layer in network.layers for top in layer.tops):
            self._writers[top] = self._writers.get(top, 0) + 1
        self.nodes: list[Record] = []
        self.initializers: list[Record] = []
        for step in network.steps:
            blobs = None if weights is None else weights.get(step.layer.name, ())
            layer = _LayerWriter(self, step.layer, len(step.weights), blobs)
            step.layer.to_onnx(layer, step.bottoms, step.tops)

    def add_weights(self, name: str, values: NDArray[np.float32]) -> None:
        if self.half:
            self.nodes.append(cast(name))
            self.initializers.append(stored_tensor(name, to_half(values, name)))
        elif self._external is None:
            self.initializers.append(stored_tensor(name, np.asarray(values, "<f4")))
        else:
            values = np.asarray(values, "<f4")
            entries = {"location": EXTERNAL, "offset": str(self._external_bytes), "length": str(values.nbytes)}
            record = {field: value for field, value in tensor(name, values).items() if field != "raw_data"}
            record["external_data"] = [{"key": key, "value": value} for key, value in entries.items()]
            self.initializers.append({**record, "data_location": _EXTERNAL_LOCATION})
            self._external.append(values)
            self._external_bytes += values.nbytes

    def value_of(self, bottom: str) -> str:
        return self._values[bottom]

    def value_for(self, top: str, layer: str) -> str:
        self._writers[top] -= 1
        last = top if top not in self._network.inputs else f"{top}/after_{layer}"
        self._values[top] = last if self._writers[top] == 0 else f"{top}/before_{layer}"
        return self._values[top]

    def content(self, outputs: Sequence[str]) -> bytes:
        network = self._network
        shapes = {top: shape for step in network.steps for top, shape in zip(step.layer.tops, step.tops, strict=True)}
        graph = {
            "node": self.nodes,
            "name": network.name or "network",  # without a name it would not be ONNX
            "initializer": self.initializers,
            "input": [self._declared(name, shape) for name, shape in network.inputs.items()],
            "output": [{**self._declared(top, shapes[top]), "name": self.value_of(top)} for top in outputs],
        }
        model = {
            "ir_version": IR_VERSION,
            "producer_name": "opencv-squeezedet",
            "graph": graph,
            "opset_import": [{"domain": "", "version": self.opset}],
        }
        return encode(model, SCHEMA, "ModelProto")

    @cached_property
    def _of_any_batch(self) -> set[str]:
        """The blobs whose first axis is the batch's, of any length; none if a layer fixes it."""
        network = self._network
        blobs = set(network.inputs)
        if len({shape[0] for shape in network.inputs.values()}) > 1:
            return set()
        for layer, bottoms in ((step.layer, step.bottoms) for step in network.steps):
            if not layer.keeps_batch(len(bottoms[0])):
                return set()
            if not layer.batchless and not blobs.isdisjoint(layer.bottoms):
                blobs.update(layer.tops)
        return blobs

    def _declared(self, name: str, shape: Shape) -> Record:
        batch = {"dim_param": "batch"} if name in self._of_any_batch else {"dim_value": shape[0]}
        dims = [batch, *({"dim_value": length} for length in shape[1:])]
        return {"name": name, "type": {"tensor_type": {"elem_type": FLOAT, "shape": {"dim": dims}}}}


class _LayerWriter:
    """Takes the nodes of one layer: an `OnnxWriter`."""

    def __init__(self, writer: _Writer, layer: Layer, count: int, blobs: Sequence[NDArray[np.float32]] | None) -> None:
        self.opset, self.opencv = writer.opset, writer.opencv
        self.bottoms = [writer.value_of(bottom) for bottom in layer.bottoms]
        self._writer, self._layer, self._blobs = writer, layer, blobs
        self._names = weight_names(layer.name)[:count]

    def weights(self) -> list[str]:
        for name, blob in zip(self._names, self._blobs or (), strict=False):
            self._writer.add_weights(name, blob)
        return list(self._names)

    def weight(self, index: int, shape: Shape) -> str:
        self._writer.add_weights(self._names[index], self.values(index).reshape(shape))
        return self._names[index]

    def values(self, index: int) -> NDArray[np.float32]:
        if self._blobs is None:
            raise self._layer.error("an ONNX file needs its weights in another form than Caffe's, which a skeleton gets")
        return self._blobs[index]

    def constant(self, name: str, values: Any) -> str:
        array = np.asarray(values)
        self._writer.initializers.append(tensor(name, array.astype("<f4" if array.dtype.kind == "f" else "<i8")))
        return name

    def node(
        self,
        op: str,
        inputs: Sequence[str],
        part: str = "",
        *,
        top: int | None = None,
        more_outputs: int = 0,
        **attributes: Any,
    ) -> str:
        layer = self._layer
        name = f"{layer.name}/{part}" if part else layer.name if not top else f"{layer.name}/{top}"
        tops = layer.tops if top is None else layer.tops[top : top + 1]
        outputs = [name] if part else [self._writer.value_for(top, layer.name) for top in tops]
        outputs += [f"{name}/{number}" for number in range(1, more_outputs + 1)]
        record = {
            "input": inputs,
            "output": outputs,
            "name": name,
            "op_type": op,
            "attribute": [_attribute(key, attributes[key]) for key in sorted(attributes)],
        }
        self._writer.nodes.append(record)
        return outputs[0]


def _attribute(name: str, value: int | float | str | Sequence[int] | Sequence[float]) -> Record:
    if isinstance(value, str):
        return {"name": name, "s": value.encode(), "type": _STRING_ATTRIBUTE}
    if isinstance(value, int):
        return {"name": name, "i": value, "type": INT}
    if isinstance(value, float):
        return {"name": name, "f": value, "type": _FLOAT_ATTRIBUTE}
    if value and isinstance(value[0], float):
        return {"name": name, "floats": value, "type": _FLOATS_ATTRIBUTE}
    return {"name": name, "ints": value, "type": _INTS_ATTRIBUTE}
