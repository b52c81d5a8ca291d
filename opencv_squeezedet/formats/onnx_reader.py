"""ONNX: what `onnx_bytes` writes, and plain exports of such networks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet import network as nw
from opencv_squeezedet.errors import ModelError
from opencv_squeezedet.files import StrPath
from opencv_squeezedet.formats._extra import extra
from opencv_squeezedet.formats._wire import check_fields, text
from opencv_squeezedet.network import Network, Shape, Weights, shortest

_TYPES = {1: "<f4", 6: "<i4", 7: "<i8", 10: "<f2", 11: "<f8"}
"""ONNX's numbers of the types of constants that such a network has."""
_EXTERNAL = 1


def read_onnx(path: StrPath) -> tuple[Network, Weights]:
    """Read a network and its weights; layers have the names of the nodes.

    Raises
    ------
    ModelError
        If it is no ONNX file, or has a node that is none of the layers of `opencv_squeezedet.network`, which the error names.
    OSError
        If it cannot be read.
    ImportError
        Without the extra ``[onnx]``.
    """
    path = Path(path)
    try:
        return _Reader(_parsed(path.read_bytes())).result()
    except ModelError as error:
        raise ModelError(f"{str(path)!r}: {error}") from error


def _parsed(content: bytes) -> Any:
    onnx = extra("onnx")
    check_fields(content, onnx.ModelProto.DESCRIPTOR)
    try:
        model = onnx.ModelProto.FromString(content)
    except (extra("google.protobuf.message").DecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"no ONNX file: {error}") from None
    if not model.graph.node:
        raise ModelError("no ONNX file: it has no nodes")
    return model


class _Node:
    """A node whose attributes are read with their types checked."""

    def __init__(self, proto: Any, opset: int) -> None:
        self.op, self.opset = text(proto.op_type), opset
        self.inputs = [text(name) for name in proto.input]
        self.outputs = [text(name) for name in proto.output]
        while self.inputs and not self.inputs[-1]:  # optional ones that are left out
            self.inputs.pop()
        if not self.outputs or not self.outputs[0]:
            raise ModelError(f"a node {self.op} has no output")
        self.name = text(proto.name) or self.outputs[0]
        self._attributes = {text(attribute.name): attribute for attribute in proto.attribute}

    def error(self, message: str) -> ModelError:
        return ModelError(f"node {self.name!r} ({self.op}): {message}")

    def has(self, name: str) -> bool:
        return name in self._attributes

    def tensor(self, name: str) -> Any:
        return self._attributes[name].t

    def integer(self, name: str, default: int) -> int:
        return int(self._attributes[name].i) if self.has(name) else default

    def number(self, name: str, default: float) -> float:
        return shortest(self._attributes[name].f) if self.has(name) else default

    def text(self, name: str, default: str) -> str:
        return self._attributes[name].s.decode("ascii", "replace") if self.has(name) else default

    def integers(self, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(self._attributes[name].ints) if self.has(name) else default

    def pair(self, name: str, default: nw.Pair | None, least: int = 1) -> nw.Pair:
        values = self.integers(name, default or ())
        if len(values) != 2 or min(values) < least:
            raise self.error(f"{name} must be two integers of at least {least}, got {list(values)}")
        return values[0], values[1]

    def pads(self) -> nw.Pair:
        """(vertical, horizontal), the same on both sides."""
        if (auto := self.text("auto_pad", "NOTSET")) not in ("NOTSET", "VALID"):
            raise self.error(f"explicit pads were expected, got auto_pad {auto!r}")
        pads = self.integers("pads", (0, 0, 0, 0))
        if len(pads) != 4 or pads[:2] != pads[2:] or min(pads) < 0:
            raise self.error(f"the same pads on both sides were expected, got {list(pads)}")
        return pads[0], pads[1]


class _Reader:
    """Makes layers of nodes, in their order; a value that only an activation reads is that activation's own, in place."""

    def __init__(self, model: Any) -> None:
        graph = model.graph
        self._opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)
        self._graph_name = text(graph.name)
        self._constants: dict[str, NDArray[Any]] = {}
        self._stored = {text(tensor.name): tensor for tensor in graph.initializer}
        self._nodes = [_Node(proto, self._opset) for proto in graph.node]
        self._readers = Counter(name for node in self._nodes for name in node.inputs)
        self._outputs = [text(value.name) for value in graph.output]
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
            raise ModelError(f"no node gives the output {missing[0]!r}")
        network.check_weights(self.weights)
        return network, self.weights

    def _find_input(self, graph: Any) -> tuple[str, Shape]:
        inputs = [value for value in graph.input if text(value.name) not in self._stored]
        if len(inputs) != 1:
            raise ModelError(f"one input was expected, got {[value.name for value in inputs]}")
        name, dims = text(inputs[0].name), inputs[0].type.tensor_type.shape.dim
        shape = tuple(1 if i == 0 and not dim.HasField("dim_value") else dim.dim_value for i, dim in enumerate(dims))
        if len(shape) != 4 or min(shape) < 1:
            raise ModelError(f"input {name!r}: a shape (N, C, H, W), all but N given, was expected, got {shape}")
        return name, shape

    def _final(self, value: str) -> str:
        while value in self._renamed:
            value = self._renamed[value]
        return value

    # ---- nodes ---------------------------------------------------------------------------------------------------------

    def _add(self, node: _Node) -> None:
        if node.op == "Constant" and node.has("value"):
            self._constants[node.outputs[0]] = _values(node.tensor("value"), node.name)
            return
        if node.op in ("Cast", "Identity") and self._is_constant(node.inputs[0] if node.inputs else ""):
            self._constants[node.outputs[0]] = self._constant(node, 0)
            return
        if node.op == "Identity" and node.inputs and node.inputs[0] in self._shapes:
            self._alias(node)
            return
        if node.op == "Pad":
            self._pad(node)
            return
        if node.op not in _KINDS:
            raise node.error(f"the operator is not one of {', '.join(sorted(_KINDS))}")
        layer = _KINDS[node.op](self, node)
        bottoms = [self._shapes[bottom] for bottom in layer.bottoms]
        for top, shape in zip(layer.tops, layer.top_shapes(bottoms), strict=True):
            if top in self._shapes:
                raise node.error(f"an earlier node gives {top!r} as well")
            self._shapes[top] = shape
        self.layers.append(layer)
        self._take_in_place(layer)

    def _take_in_place(self, layer: nw.Layer) -> None:
        """An activation that alone reads its bottom works in place, as Caffe's do."""
        bottom = layer.bottoms[0]
        alone = self._readers[bottom] == 1 and bottom not in self._outputs and bottom != self._input
        if isinstance(layer, (nw.ReLU, nw.Dropout)) and alone:
            self._renamed[bottom] = layer.tops[0]

    def _alias(self, node: _Node) -> None:
        """An Identity is no layer: its input's maker gives its output."""
        source, name = node.inputs[0], node.outputs[0]
        if self._readers[source] != 1 or source in self._outputs or source == self._input or name in self._shapes:
            raise node.error(f"it is not the only one to read {source!r}")
        self._shapes[name] = self._shapes[source]
        self._renamed[source] = name

    def _pad(self, node: _Node) -> None:
        """Zeros around a blob are no layer: they are the pads of the one convolution that reads them."""
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

    def axis(self, node: _Node, default: int) -> int:
        """The node's axis, from 0 up."""
        axis, rank = node.integer("axis", default), len(self.shape(node))
        if not -rank <= axis < rank:
            raise node.error(f"an input of {self.shape(node)} has no axis {axis}")
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
        blobs = [self._constant(node, place) for place in range(1, len(node.inputs))]
        if not 1 <= len(blobs) <= 2 or blobs[0].ndim != 4 or any(blob.dtype.kind != "f" for blob in blobs):
            raise node.error(f"a kernel of four axes and perhaps a bias were expected, got {[blob.shape for blob in blobs]}")
        self.weights[node.name] = [np.array(blob, np.float32) for blob in blobs]
        return blobs[0].shape, len(blobs) == 2


def _values(tensor: Any, name: str) -> NDArray[Any]:
    """A stored tensor as an array, its size checked before it is made."""
    if tensor.data_type not in _TYPES or tensor.data_location == _EXTERNAL:
        raise ModelError(f"constant {name!r}: floats or integers in the file itself were expected")
    shape, kind = tuple(tensor.dims), np.dtype(_TYPES[tensor.data_type])
    if len(shape) > 8 or min(shape, default=1) < 0:
        raise ModelError(f"constant {name!r}: a shape was expected, got {shape[:9]}")
    if tensor.HasField("raw_data"):
        if len(tensor.raw_data) != math.prod(shape) * kind.itemsize:
            raise ModelError(f"constant {name!r}: {kind} of {shape} were expected, the file has {len(tensor.raw_data)} bytes")
        return np.frombuffer(tensor.raw_data, kind).reshape(shape)
    stored = {1: tensor.float_data, 7: tensor.int64_data, 11: tensor.double_data}.get(tensor.data_type, tensor.int32_data)
    if len(stored) != math.prod(shape):
        raise ModelError(f"constant {name!r}: {kind} of {shape} were expected, the file has {len(stored)} values")
    if tensor.data_type == 10:  # float16, the bits of each in an integer
        return np.fromiter((bits & 0xFFFF for bits in stored), "<u2", len(stored)).view(kind).reshape(shape)
    return np.fromiter(stored, kind, len(stored)).reshape(shape)


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
        raise node.error(f"its group {groups} or kernel_shape does not fit weights of {shape}")
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
        lengths = node.integers("split", (length // parts,) * parts)
    if len(lengths) != len(node.outputs) or sum(lengths) != reader.shape(node)[axis]:
        raise node.error(f"lengths {lengths} for {len(node.outputs)} outputs do not fit {reader.shape(node)}, axis {axis}")
    points = tuple(np.cumsum(lengths[:-1], dtype=np.int64).tolist())
    return nw.Slice(name=node.name, bottoms=bottoms, tops=tuple(node.outputs), points=points, axis=axis)


def _reshape(reader: _Reader, node: _Node) -> nw.Layer:
    dims = reader.integers(node, 1)
    if node.integer("allowzero", 0) and 0 in dims:
        raise node.error(f"lengths above 0 were expected, got {dims}")
    return _layer(reader, node, nw.Reshape, constants=1, dims=dims)


def _dropout(reader: _Reader, node: _Node) -> nw.Layer:
    return _layer(reader, node, nw.Dropout, constants=2, ratio=node.number("ratio", 0.5))


def _sum(reader: _Reader, node: _Node) -> nw.Layer:
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
    "Transpose": lambda reader, node: _layer(reader, node, nw.Permute, order=node.integers("perm", ())),
    "Split": _split,
    "Reshape": _reshape,
}
