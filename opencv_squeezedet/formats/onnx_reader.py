"""ONNX: what `onnx_bytes` writes, and plain exports of such networks."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet import network as nw
from opencv_squeezedet.errors import ModelError, UnknownLayerError
from opencv_squeezedet.files import StrPath
from opencv_squeezedet.formats._onnx_schema import SCHEMA
from opencv_squeezedet.formats._onnx_structure import check_structure
from opencv_squeezedet.formats._wire import decode
from opencv_squeezedet.formats.onnx_content import onnx_content
from opencv_squeezedet.model_files import MOST_BYTES, Read, named
from opencv_squeezedet.network import Network, Shape, Weights, shortest

_TYPES = {1: "<f4", 6: "<i4", 7: "<i8", 10: "<f2", 11: "<f8"}
"""ONNX's numbers of the types of constants that such a network has."""
_FLOAT, _HALF = 1, 10
_ATTRIBUTE_TYPES = {"f": 1, "i": 2, "s": 3, "t": 4, "ints": 7}
_FIRST_OPTIONAL = {"Conv": 2, "ConvTranspose": 2, "Dropout": 1, "Pad": 2, "Split": 1}
"""From which input on they may be left out, which an empty name does as well."""
_MOST_OUTPUTS = {"Split": 1 << 16}
"""Of those with more than one that is read; Dropout's mask is not."""
_DOMAINS = ("", "ai.onnx")
_LONGEST = 1 << 31
_ALWAYS, _BYTES_PER_BYTE = 1 << 26, 4
"""How many bytes of weights the layers may have, in all and for each byte of the file: several may have the same ones."""


def read_onnx(path: StrPath, *, read: Read = onnx_content) -> tuple[Network, Weights]:
    """Read a network and its weights; layers have the names of the nodes.

    Parameters
    ----------
    path : path
        The file.
    read : function
        What reads it.

    Raises
    ------
    ModelError
        If it is not an ONNX file, or is damaged; `UnknownLayerError` where it may be a sound network, but has a node that is
        none of the layers of `opencv_squeezedet.network`. The error names the node.
    OSError
        If it cannot be read.
    """
    path = os.fspath(path)
    content = read(path, MOST_BYTES)
    with named(path):
        return _Reader(_decoded(content), len(content)).result()


def _decoded(content: bytes) -> Any:
    model = decode(content, SCHEMA, "ModelProto")
    check_structure(model)
    if model.functions or model.graph.sparse_initializer:
        raise UnknownLayerError("neither functions nor sparse constants were expected")
    return model


class _Node:
    """A node whose attributes are read with their types checked."""

    def __init__(self, proto: Any, opset: int) -> None:
        self.op, self.opset, self.domain = proto.op_type, opset, proto.domain
        self.inputs: list[str] = list(proto.input)
        self.outputs: list[str] = list(proto.output)
        while len(self.inputs) > _FIRST_OPTIONAL.get(self.op, len(self.inputs)) and not self.inputs[-1]:
            self.inputs.pop()
        self.name = proto.name or self.outputs[0]
        self.attributes = {attribute.name: attribute for attribute in proto.attribute}

    def error(self, message: str) -> UnknownLayerError:
        """What no layer here has, but others may read."""
        return UnknownLayerError(f"node {self.name!r} ({self.op}): {message}")

    def damage(self, message: str) -> ModelError:
        """What no reader should be given."""
        return ModelError(f"node {self.name!r} ({self.op}): {message}")

    def has(self, name: str) -> bool:
        return name in self.attributes

    def tensor(self, name: str) -> Any:
        return self._attribute(name, "t", None)

    def integer(self, name: str, default: int) -> int:
        return int(self._attribute(name, "i", default))

    def number(self, name: str, default: float) -> float:
        return shortest(self._attribute(name, "f", default))

    def text(self, name: str, default: str) -> str:
        return str(self._attribute(name, "s", default.encode()).decode("ascii", "replace"))

    def integers(self, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(self._attribute(name, "ints", default))

    def pair(self, name: str, default: nw.Pair | None) -> nw.Pair:
        values = self.integers(name, default or ())
        if not all(0 < value < _LONGEST for value in values):
            raise self.damage(f"{name} must be integers of at least 1, got {list(values[:8])}")
        if len(values) != 2:
            raise self.error(f"{name} must be two integers, got {list(values[:8])}")
        return values[0], values[1]

    def _attribute(self, name: str, field: str, default: Any) -> Any:
        if name not in self.attributes:
            return default
        if self.attributes[name].has("type") and self.attributes[name].type != _ATTRIBUTE_TYPES[field]:
            raise self.damage(f"its attribute {name!r} has another type")
        return getattr(self.attributes[name], field)

    def pads(self) -> nw.Pair:
        """(vertical, horizontal), the same on both sides."""
        auto, pads = self.text("auto_pad", "NOTSET"), self.integers("pads", (0, 0, 0, 0))
        if auto != "NOTSET" and (auto != "VALID" or any(pads)):
            raise self.error(f"explicit pads were expected, got auto_pad {auto!r}")
        if not all(0 <= pad < _LONGEST for pad in pads):
            raise self.damage(f"pads of at least 0 were expected, got {list(pads[:8])}")
        if len(pads) != 4 or pads[:2] != pads[2:]:
            raise self.error(f"the same pads on both sides were expected, got {list(pads)}")
        return pads[0], pads[1]


class _Reader:
    """Makes layers of nodes, in their order; a value that only an activation reads is that activation's own, in place."""

    def __init__(self, model: Any, size: int) -> None:
        graph = model.graph
        self._left = _ALWAYS + _BYTES_PER_BYTE * size
        self._opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)
        self._graph_name = graph.name
        self._constants: dict[str, NDArray[Any]] = {}
        self._stored = {tensor.name: tensor for tensor in graph.initializer}
        self._nodes = [_Node(proto, self._opset) for proto in graph.node]
        self._readers = Counter(name for node in self._nodes for name in node.inputs)
        self._outputs: list[str] = [value.name for value in graph.output]
        self._input, self._input_shape = self._find_input(graph)
        self._shapes: dict[str, Shape] = {self._input: self._input_shape}
        self._renamed: dict[str, str] = {}
        self._padded: dict[str, tuple[str, nw.Pair]] = {}
        self.layers: list[nw.Layer] = []
        self.weights: Weights = {}

    def result(self) -> tuple[Network, Weights]:
        for node in self._nodes:
            self._add(node)
        layers = tuple(
            replace(layer, bottoms=tuple(map(self._final, layer.bottoms)), tops=tuple(map(self._final, layer.tops)))
            for layer in self.layers
        )
        network = Network(self._graph_name, self._input, self._input_shape, layers)
        made = {top for layer in layers for top in layer.tops}
        if missing := [name for name in self._outputs if self._final(name) not in made]:
            raise UnknownLayerError(f"no layer gives the output {missing[0]!r}")
        network.check_weights(self.weights)
        return network, self.weights

    def _find_input(self, graph: Any) -> tuple[str, Shape]:
        inputs = [value for value in graph.input if value.name not in self._stored]
        if len(inputs) != 1:
            raise UnknownLayerError(f"one input was expected, got {[value.name for value in inputs]}")
        name, kind = inputs[0].name, inputs[0].type.tensor_type
        shape = tuple(1 if i == 0 and not dim.has("dim_value") else dim.dim_value for i, dim in enumerate(kind.shape.dim))
        if kind.elem_type != _FLOAT:
            raise UnknownLayerError(f"input {name!r}: float32 was expected, got type {kind.elem_type}")
        if len(shape) != 4 or min(shape) < 1:
            raise UnknownLayerError(f"input {name!r}: a shape (N, C, H, W), all but N given, was expected, got {shape}")
        return name, shape

    def _final(self, value: str) -> str:
        last = value
        while last in self._renamed:
            last = self._renamed[last]
        while value != last:  # so that the way is short for all that come later
            self._renamed[value], value = last, self._renamed[value]
        return last

    # ---- nodes ---------------------------------------------------------------------------------------------------------

    def _add(self, node: _Node) -> None:
        if node.op not in _ATTRIBUTES or node.domain not in _DOMAINS:
            raise node.error(f"the operator is not one of {', '.join(sorted(_ATTRIBUTES))}")
        if "" in node.inputs or "" in node.outputs[: _MOST_OUTPUTS.get(node.op, 1)]:
            raise node.damage(
                f"names of all its inputs and outputs were expected, got {node.inputs[:8]} and {node.outputs[:8]}"
            )
        if len(node.outputs) > _MOST_OUTPUTS.get(node.op, 1) and node.op != "Dropout":
            raise node.error(f"one output was expected, got {node.outputs[:8]}")
        if unknown := node.attributes.keys() - set(_ATTRIBUTES[node.op].split()):
            raise node.error(f"it has an attribute {min(unknown)!r}")
        if node.op == "Constant" and node.has("value"):
            self._constants[node.outputs[0]] = _values(node.tensor("value"), node.name)
            return
        to_float = node.op == "Cast" and node.integer("to", 0) == _FLOAT
        if (to_float or node.op == "Identity") and self._is_constant(node.inputs[0] if node.inputs else ""):
            self._constants[node.outputs[0]] = self._constant(node, 0)
            return
        if node.op == "Identity" and node.inputs and node.inputs[0] in self._shapes:
            self._alias(node)
            return
        if node.op == "Pad":
            self._pad(node)
            return
        if node.op not in _KINDS:
            raise node.error("a constant was expected")
        layer = _KINDS[node.op](self, node)
        bottoms = [self._shapes[bottom] for bottom in layer.bottoms]
        self._shapes.update(zip(layer.tops, layer.top_shapes(bottoms), strict=True))
        self.layers.append(layer)
        self._take_in_place(layer)

    def _take_in_place(self, layer: nw.Layer) -> None:
        """An activation that alone reads its bottom works in place, as Caffe's do."""
        bottom = layer.bottoms[0]
        alone = self._readers[bottom] == 1 and bottom not in self._outputs and bottom != self._input
        if isinstance(layer, (nw.ReLU, nw.Dropout)) and alone:
            self._renamed[bottom] = layer.tops[0]

    def _alias(self, node: _Node) -> None:
        """An Identity is not a layer: its input's maker gives its output."""
        source, name = node.inputs[0], node.outputs[0]
        if self._readers[source] != 1 or source in self._outputs or source == self._input or name in self._shapes:
            raise node.error(f"it is not the only one to read {source!r}")
        self._shapes[name] = self._shapes[source]
        self._renamed[source] = name

    def _pad(self, node: _Node) -> None:
        """Zeros around a blob are not a layer: they are the pads of the one convolution that reads them."""
        (source,), name, pads = self.bottoms(node, constants=1), node.outputs[0], self.integers(node, 1)
        if node.text("mode", "constant") != "constant":
            raise node.error("zeros around its input were expected")
        if len(pads) != 8 or any(pads[:2]) or pads[:4] != pads[4:] or min(pads) < 0:
            raise node.error(f"the same pads on both sides of the last two axes were expected, got {list(pads)}")
        if self._readers[name] != 1 or name in self._outputs:
            raise node.error("one convolution that reads it was expected")
        self._padded[name] = source, (pads[2], pads[3])

    def take_pad(self, node: _Node) -> nw.Pair:
        """Return the pads of the node's first input, which it then is without them."""
        if not node.inputs or node.inputs[0] not in self._padded:
            return 0, 0
        node.inputs[0], pad = self._padded.pop(node.inputs[0])
        return pad

    def bottoms(self, node: _Node, most: int = 1, constants: int = 0) -> tuple[str, ...]:
        """The inputs that earlier nodes give, up to ``most``; no more constants than ``constants`` may follow."""
        names = [name for name in node.inputs if not self._is_constant(name)]
        after = len(node.inputs) - len(names)
        if names != node.inputs[: len(names)] or not 1 <= len(names) <= most or after > constants:
            raise node.error(
                f"1{f' to {most}' if most > 1 else ''} inputs that earlier nodes give, and up to {constants} constants, "
                f"were expected, got {node.inputs[:8]}"
            )
        if missing := [name for name in names if name not in self._shapes]:
            raise node.error(f"no earlier node gives its input {missing[0]!r}")
        return tuple(names)

    def shape(self, node: _Node) -> Shape:
        """The shape of the node's first input."""
        return self._shapes[self.bottoms(node, len(node.inputs), len(node.inputs))[0]]

    def shape_of(self, name: str) -> Shape:
        """The shape of a value that is not a constant."""
        return self._shapes[name]

    def axis(self, node: _Node, default: int) -> int:
        """The node's axis, from 0 up."""
        axis, rank = node.integer("axis", default), len(self.shape(node))
        if not -rank <= axis < rank:
            raise node.damage(f"an input of {self.shape(node)} has no axis {axis}")
        return axis % rank

    def _is_constant(self, name: str) -> bool:
        return name in self._constants or name in self._stored

    def _constant(self, node: _Node, place: int) -> NDArray[Any]:
        """The constant that is the node's input of this number."""
        name = node.inputs[place] if place < len(node.inputs) else ""
        if not self._is_constant(name):
            raise node.error(f"a constant was expected as input {place}, got {name!r}")
        if name not in self._constants:
            self._constants[name] = _values(self._stored[name], name)
        return self._constants[name]

    def integers(self, node: _Node, place: int) -> tuple[int, ...]:
        """A constant of integers; a list of them of no more than 64, as shapes and the like are."""
        values = self._constant(node, place)
        if values.ndim != 1 or values.dtype.kind != "i" or len(values) > 64:
            raise node.error(f"a list of integers was expected as input {place}, got {values.dtype} of {values.shape}")
        return tuple(values.tolist())

    def take_weights(self, node: _Node) -> tuple[Shape, bool]:
        """Note a convolution's weights, and return its kernel's shape and whether it has a bias."""
        blobs = [self._floats(node, place) for place in range(1, len(node.inputs))]
        if not 1 <= len(blobs) <= 2 or blobs[0].ndim != 4 or any(blob.dtype.kind != "f" for blob in blobs):
            raise node.error(f"a kernel of four axes and perhaps a bias were expected, got {[blob.shape for blob in blobs]}")
        self._left -= sum(blob.nbytes for blob in blobs)
        if self._left < 0:
            raise node.damage("with its weights, which others have too, they are far more than the file has")
        self.weights[node.name] = blobs
        return blobs[0].shape, len(blobs) == 2

    def _floats(self, node: _Node, place: int) -> NDArray[Any]:
        """A constant; if of floats, as an array of float32 of its own, made once however many nodes have it."""
        values = self._constant(node, place)
        if values.dtype.kind == "f" and not (values.dtype == np.float32 and values.flags.writeable):
            values = self._constants[node.inputs[place]] = np.array(values, np.float32)
        return values


def _values(tensor: Any, name: str) -> NDArray[Any]:
    """A stored tensor, which has as many values as its shape says, as an array."""
    if tensor.data_type not in _TYPES:
        raise UnknownLayerError(f"constant {name!r}: floats or integers were expected, got type {tensor.data_type}")
    shape, kind = tuple(tensor.dims), np.dtype(_TYPES[tensor.data_type])
    if tensor.has("raw_data"):
        return np.frombuffer(tensor.raw_data, kind).reshape(shape)
    stored = {1: tensor.float_data, 7: tensor.int64_data, 11: tensor.double_data}.get(tensor.data_type, tensor.int32_data)
    if tensor.data_type == _HALF:  # the bits of each in an integer
        return np.asarray((stored & 0xFFFF).astype("<u2").view(kind).reshape(shape))
    return np.asarray(stored.astype(kind).reshape(shape))


# ---- operators ---------------------------------------------------------------------------------------------------------


def _layer(
    reader: _Reader, node: _Node, make: Callable[..., nw.Layer], *, most: int = 1, constants: int = 0, **options: Any
) -> nw.Layer:
    return make(name=node.name, bottoms=reader.bottoms(node, most, constants), tops=(node.outputs[0],), **options)


def _filter(reader: _Reader, node: _Node) -> nw.Layer:
    transposed = node.op == "ConvTranspose"
    shape, bias = reader.take_weights(node)
    groups = node.integer("group", 1)
    kernel = (shape[2], shape[3])
    vertical, horizontal = node.pads()
    if not transposed:
        around = reader.take_pad(node)
        vertical, horizontal = vertical + around[0], horizontal + around[1]
    if groups < 1 or min(shape) < 1 or node.pair("kernel_shape", kernel) != kernel:
        raise node.damage(f"its group {groups} or kernel_shape does not fit weights of {shape}")
    if transposed and (any(node.integers("output_padding", ())) or node.has("output_shape")):
        raise node.error("neither output_padding nor output_shape was expected")
    return _layer(
        reader,
        node,
        nw.Deconvolution if transposed else nw.Convolution,
        constants=2,
        outputs=shape[1] * groups if transposed else shape[0],
        kernel=kernel,
        stride=node.pair("strides", (1, 1)),
        pad=(vertical, horizontal),
        dilation=node.pair("dilations", (1, 1)),
        groups=groups,
        bias=bias,
    )


def _pooling(reader: _Reader, node: _Node) -> nw.Layer:
    method = "max" if node.op == "MaxPool" else "average"
    kernel, stride, pad = node.pair("kernel_shape", None), node.pair("strides", (1, 1)), node.pads()
    sides = reader.shape(node)[2:]
    windows = list(zip(sides, kernel, stride, pad, strict=False))
    if len(node.outputs) != 1 or node.pair("dilations", (1, 1)) != (1, 1) or any(p >= k for _, k, _, p in windows):
        raise node.error("a pooling with one output, no dilations and pads smaller than the kernel was expected")
    whole = all((side + 2 * p - k) % s == 0 for side, k, s, p in windows)
    if not whole and (method == "average" or any(pad) or not node.integer("ceil_mode", 0)):
        raise node.error(f"windows of {kernel} over {sides} do not end where Caffe's do")
    if method == "average" and any(pad) and not node.integer("count_include_pad", 0):
        raise node.error("count_include_pad was expected with pads")
    return _layer(reader, node, nw.Pooling, method=method, kernel=kernel, stride=stride, pad=pad)


def _softmax(reader: _Reader, node: _Node) -> nw.Layer:
    axis = reader.axis(node, 1 if node.opset < 13 else -1)
    if node.opset < 13 and any(length != 1 for length in reader.shape(node)[axis + 1 :]):
        raise node.error(f"before opset 13 it takes all axes from {axis} on as one, of {reader.shape(node)}")
    return _layer(reader, node, nw.Softmax, axis=axis)


def _split(reader: _Reader, node: _Node) -> nw.Layer:
    axis, bottoms = reader.axis(node, 0), reader.bottoms(node, constants=1)
    if len(node.inputs) > 1:
        lengths = reader.integers(node, 1)
    else:
        length, parts = reader.shape(node)[axis], len(node.outputs)
        if length % parts and not node.has("split"):
            raise node.error(f"an axis of {length} does not fall into {parts} equal parts")
        lengths = node.integers("split", (length // parts,) * parts)
    if len(lengths) != len(node.outputs) or sum(lengths) != reader.shape(node)[axis]:
        raise node.damage(f"lengths {lengths} for {len(node.outputs)} outputs do not fit {reader.shape(node)}, axis {axis}")
    points = tuple(np.cumsum(lengths[:-1], dtype=np.int64).tolist())
    return nw.Slice(name=node.name, bottoms=bottoms, tops=tuple(node.outputs), points=points, axis=axis)


def _reshape(reader: _Reader, node: _Node) -> nw.Layer:
    dims = reader.integers(node, 1)
    if node.integer("allowzero", 0) and 0 in dims:
        raise node.error(f"lengths above 0 were expected, got {dims}")
    return _layer(reader, node, nw.Reshape, constants=1, dims=dims)


def _transpose(reader: _Reader, node: _Node) -> nw.Layer:
    backwards = tuple(range(len(reader.shape(node))))[::-1]
    return _layer(reader, node, nw.Permute, order=node.integers("perm", backwards))


def _dropout(reader: _Reader, node: _Node) -> nw.Layer:
    return _layer(reader, node, nw.Dropout, constants=2, ratio=node.number("ratio", 0.5))


def _sum(reader: _Reader, node: _Node) -> nw.Layer:
    if len(node.inputs) < 2:
        raise node.error("two inputs or more were expected")
    if len(shapes := {reader.shape_of(name) for name in reader.bottoms(node, len(node.inputs))}) > 1:
        raise node.error(f"inputs of one shape were expected, got {', '.join(map(str, sorted(shapes)))}")
    return _layer(reader, node, nw.Eltwise, most=len(node.inputs))


_KINDS: dict[str, Callable[[_Reader, _Node], nw.Layer]] = {
    "Conv": _filter,
    "ConvTranspose": _filter,
    "MaxPool": _pooling,
    "AveragePool": _pooling,
    "GlobalMaxPool": lambda reader, node: _layer(reader, node, nw.Pooling, method="max"),
    "GlobalAveragePool": lambda reader, node: _layer(reader, node, nw.Pooling, method="average"),
    "Relu": lambda reader, node: _layer(reader, node, nw.ReLU),
    "LeakyRelu": lambda reader, node: _layer(reader, node, nw.ReLU, slope=node.number("alpha", 0.01)),
    "Dropout": _dropout,
    "Sigmoid": lambda reader, node: _layer(reader, node, nw.Sigmoid),
    "Softmax": _softmax,
    "Concat": lambda reader, node: _layer(reader, node, nw.Concat, most=len(node.inputs), axis=reader.axis(node, 1)),
    "Add": _sum,
    "Sum": _sum,
    "Transpose": _transpose,
    "Split": _split,
    "Reshape": _reshape,
}

_WINDOW = "kernel_shape strides pads dilations auto_pad"
_ATTRIBUTES = {
    **dict.fromkeys(_KINDS, ""),
    "Constant": "value",
    "Identity": "",
    "Cast": "to",
    "Pad": "mode",
    "Conv": f"{_WINDOW} group",
    "ConvTranspose": f"{_WINDOW} group output_padding output_shape",
    "MaxPool": f"{_WINDOW} ceil_mode storage_order",
    "AveragePool": f"{_WINDOW} ceil_mode count_include_pad",
    "LeakyRelu": "alpha",
    "Dropout": "ratio seed",
    "Softmax": "axis",
    "Concat": "axis",
    "Transpose": "perm",
    "Split": "axis split num_outputs",
    "Reshape": "allowzero",
}
"""What each operator may have; any other attribute may mean something to a reader."""
