"""ONNX: written for OpenCV 4.8 to 5.0 and onnxruntime alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet import network as nw
from opencv_squeezedet.formats._onnx_schema import SCHEMA
from opencv_squeezedet.formats._schema import Record
from opencv_squeezedet.formats._wire import encode
from opencv_squeezedet.formats.bare_weights import FLOAT, INT, cast, stored_tensor, tensor, weight_names
from opencv_squeezedet.formats.caffemodel import to_half
from opencv_squeezedet.network import Network, Shape, Step

OPSET, IR_VERSION = 11, 6
_OPTIONS_AS_INPUTS = 13
_FLOAT_ATTRIBUTE, _STRING_ATTRIBUTE, _INTS_ATTRIBUTE = 1, 3, 7

Attributes = dict[str, Any]


def onnx_bytes(
    network: Network,
    weights: Mapping[str, Sequence[NDArray[np.float32]]],
    *,
    half: bool = False,
    outputs: Sequence[str] | None = None,
    opset: int = OPSET,
) -> bytes:
    """Return the content of an ONNX file.

    Nodes have the names of the layers; input and outputs have those of their blobs. The batch's size is free, unless a layer
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
        The blobs that are outputs. Default: those that no layer reads.
    opset : {11, 13}
        The version of the operators.

    Raises
    ------
    ModelError
        If the weights do not fit the network, float16 cannot hold them, or a layer has no equal in ONNX.
    """
    network.check_weights(weights)
    return _Writer(network, weights, half=half, opset=opset).content(network.output_names if outputs is None else outputs)


def onnx_skeleton(network: Network) -> bytes:
    """Return an ONNX file without the weights, which `bare_weights.with_weights` puts in.

    Raises
    ------
    ModelError
        If a layer has no equal in ONNX.
    """
    return _Writer(network, {}, half=False, opset=OPSET).content(network.output_names)


class _Writer:
    """Collects nodes. A blob that a layer overwrites in place has one ONNX value for each writer, the last under its name."""

    def __init__(
        self, network: Network, weights: Mapping[str, Sequence[NDArray[np.float32]]], *, half: bool, opset: int
    ) -> None:
        self._network, self._half, self._opset = network, half, opset
        self._values = {network.input_name: network.input_name}
        self._writers: dict[str, int] = {}
        for top in (top for layer in network.layers for top in layer.tops):
            self._writers[top] = self._writers.get(top, 0) + 1
        self._nodes: list[Record] = []
        self._initializers: list[Record] = []
        for step in network.steps:
            self._add(step, weights.get(step.layer.name, ()))

    def _add(self, step: Step, blobs: Sequence[NDArray[np.float32]]) -> None:
        layer = step.layer
        bottoms = [self._values[bottom] for bottom in layer.bottoms]
        if isinstance(layer, nw.ShuffleChannel):
            self._shuffle(layer, step, bottoms[0])
            return
        op, attributes = _node(step)
        if isinstance(layer, nw.Convolution) and layer.kernel == layer.stride == (1, 1) and any(layer.pad):
            # OpenCV 5.0 leaves the border of such a convolution's output to chance; zeros put around its input do the same
            bottoms = [self._padded(layer, bottoms[0])]
            attributes["pads"] = (0, 0, 0, 0)
        names = weight_names(layer.name)[: len(step.weights)] if layer.trained else ()
        for name, blob in zip(names, blobs, strict=False):
            self._add_weights(name, blob)
        inputs = [*bottoms, *names]
        if self._opset >= _OPTIONS_AS_INPUTS:
            inputs += self._options(layer.name, attributes)
        if isinstance(layer, nw.Reshape):
            inputs.append(self._stored(f"{layer.name}.shape", np.array(layer.dims, "<i8")))
        if isinstance(layer, nw.Upsample):
            inputs += [  # an empty name for the region is allowed from opset 13 on
                self._stored(f"{layer.name}.roi", np.array([], "<f4")),
                self._stored(f"{layer.name}.scales", np.array([1, 1, layer.factor, layer.factor], "<f4")),
            ]
        tops = [self._value_for(top, layer.name) for top in layer.tops]
        self._nodes.append(_node_record(op, inputs, tops, layer.name, attributes))

    def _shuffle(self, layer: nw.ShuffleChannel, step: Step, bottom: str) -> None:
        """ONNX has no operator for it: the channels become a table whose rows and columns change places."""
        _, channels, height, width = step.bottoms[0]
        tables = {"split": (0, layer.groups, channels // layer.groups, height * width), "join": (0, channels, height, width)}
        value = bottom
        for op, part in (("Reshape", "split"), ("Transpose", "swap"), ("Reshape", "join")):
            name = f"{layer.name}/{part}"
            inputs = [value]
            if op == "Reshape":
                inputs.append(self._stored(f"{name}.shape", np.array(tables[part], "<i8")))
            value = self._value_for(layer.tops[0], layer.name) if part == "join" else name
            self._nodes.append(_node_record(op, inputs, [value], name, {} if op == "Reshape" else {"perm": (0, 2, 1, 3)}))

    def _options(self, layer: str, attributes: Attributes) -> list[str]:
        """The options that later versions take as inputs, and no longer among the attributes."""
        found = []
        for name, kind in (("split", "<i8"), ("ratio", "<f4")):
            if name in attributes:
                found.append(self._stored(f"{layer}.{name}", np.array(attributes.pop(name), kind)))
        return found

    def _padded(self, layer: nw.Convolution, bottom: str) -> str:
        """The bottom with the layer's pads around it, by a node of its own."""
        name = f"{layer.name}/padded"
        pads = self._stored(f"{layer.name}.pads", np.array([0, 0, *layer.pad] * 2, "<i8"))
        self._nodes.append(_node_record("Pad", [bottom, pads], [name], f"{layer.name}.pad", {}))
        return name

    def content(self, outputs: Sequence[str]) -> bytes:
        network = self._network
        shapes = {top: shape for step in network.steps for top, shape in zip(step.layer.tops, step.tops, strict=True)}
        graph = {
            "node": self._nodes,
            "name": network.name or "network",  # without a name it would not be ONNX
            "initializer": self._initializers,
            "input": [self._declared(network.input_name, network.input_shape)],
            "output": [self._declared(top, shapes[top]) for top in outputs],
        }
        model = {
            "ir_version": IR_VERSION,
            "producer_name": "opencv-squeezedet",
            "graph": graph,
            "opset_import": [{"domain": "", "version": self._opset}],
        }
        return encode(model, SCHEMA, "ModelProto")

    def _declared(self, name: str, shape: Shape) -> Record:
        free = all(map(_leaves_batch, self._network.steps))
        batch = {"dim_param": "batch"} if free else {"dim_value": shape[0]}
        dims = [batch, *({"dim_value": length} for length in shape[1:])]
        return {"name": name, "type": {"tensor_type": {"elem_type": FLOAT, "shape": {"dim": dims}}}}

    def _value_for(self, top: str, layer: str) -> str:
        self._writers[top] -= 1
        self._values[top] = top if self._writers[top] == 0 else f"{top}/before_{layer}"
        return self._values[top]

    def _add_weights(self, name: str, values: NDArray[np.float32]) -> None:
        if self._half:
            self._nodes.append(cast(name))
        self._initializers.append(stored_tensor(name, to_half(values, name) if self._half else np.asarray(values, "<f4")))

    def _stored(self, name: str, values: NDArray[Any]) -> str:
        self._initializers.append(tensor(name, values))
        return name


def _node_record(op: str, inputs: Sequence[str], outputs: Sequence[str], name: str, attributes: Attributes) -> Record:
    return {
        "input": inputs,
        "output": outputs,
        "name": name,
        "op_type": op,
        "attribute": [_attribute(key, attributes[key]) for key in sorted(attributes)],
    }


def _attribute(name: str, value: int | float | str | Sequence[int]) -> Record:
    if isinstance(value, str):
        return {"name": name, "s": value.encode(), "type": _STRING_ATTRIBUTE}
    if isinstance(value, int):
        return {"name": name, "i": value, "type": INT}
    if isinstance(value, float):
        return {"name": name, "f": value, "type": _FLOAT_ATTRIBUTE}
    return {"name": name, "ints": value, "type": _INTS_ATTRIBUTE}


def _leaves_batch(step: Step) -> bool:
    """Whether the layer keeps the first axis apart, whatever its length."""
    layer = step.layer
    if isinstance(layer, nw.Reshape):
        return layer.dims[:1] == (0,)
    if isinstance(layer, nw.Permute):
        return layer.order[0] == 0
    return not isinstance(layer, (nw.Concat, nw.Slice, nw.Softmax)) or layer.axis % len(step.bottoms[0]) != 0


def _node(step: Step) -> tuple[str, Attributes]:
    """The operator and the attributes that a layer becomes."""
    layer = step.layer
    if isinstance(layer, (nw.Convolution, nw.Deconvolution)):
        return _filter(layer)
    if isinstance(layer, nw.Pooling):
        return _pooling(layer, step)
    if isinstance(layer, nw.Upsample):
        how = {"coordinate_transformation_mode": "asymmetric", "mode": "nearest", "nearest_mode": "floor"}
        return "Resize", dict(how)
    if isinstance(layer, nw.ReLU):
        return ("LeakyRelu", {"alpha": layer.slope}) if layer.slope else ("Relu", {})
    if isinstance(layer, nw.Dropout):
        return "Dropout", {"ratio": layer.ratio}
    if isinstance(layer, nw.Softmax):
        return _softmax(layer, step)
    if isinstance(layer, nw.Concat):
        return "Concat", {"axis": layer.axis}
    if isinstance(layer, nw.Permute):
        return "Transpose", {"perm": layer.order}
    if isinstance(layer, nw.Slice):
        return "Split", {"axis": layer.axis, "split": [top[layer.axis] for top in step.tops]}
    plain = {nw.Sigmoid: "Sigmoid", nw.Eltwise: "Sum", nw.Reshape: "Reshape"}
    return plain[type(layer)], {}


def _filter(layer: nw.Convolution | nw.Deconvolution) -> tuple[str, Attributes]:
    return "Conv" if isinstance(layer, nw.Convolution) else "ConvTranspose", {
        "kernel_shape": layer.kernel,
        "strides": layer.stride,
        "pads": layer.pad * 2,
        "dilations": layer.dilation,
        "group": layer.groups,
    }


def _pooling(layer: nw.Pooling, step: Step) -> tuple[str, Attributes]:
    if layer.kernel is None:
        return {"max": "GlobalMaxPool", "average": "GlobalAveragePool"}[layer.method], {}
    windows = list(zip(step.bottoms[0][2:], layer.kernel, layer.stride, layer.pad, step.tops[0][2:], strict=True))
    over = [(length - 1) * stride + kernel - side - 2 * pad for side, kernel, stride, pad, length in windows]
    if min(over) < 0 or (layer.method == "average" and any(over)):
        raise layer.error("readers of ONNX differ in its windows at the border, so it is not written")
    attributes = {"kernel_shape": layer.kernel, "strides": layer.stride, "pads": layer.pad * 2}
    if layer.method == "max":
        return "MaxPool", {**attributes, "ceil_mode": 1}
    return "AveragePool", {**attributes, "count_include_pad": 1}


def _softmax(layer: nw.Softmax, step: Step) -> tuple[str, Attributes]:
    """Before opset 13, Softmax takes all axes from the given one on as one."""
    shape = step.bottoms[0]
    axis = layer.axis % len(shape)
    if any(length != 1 for length in shape[axis + 1 :]):
        raise layer.error(f"a Softmax over an axis, {layer.axis}, that others follow in {shape} is not written to ONNX")
    return "Softmax", {"axis": axis}
