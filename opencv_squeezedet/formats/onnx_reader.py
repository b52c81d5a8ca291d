"""ONNX: what `onnx_bytes` writes, and plain exports of such networks."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.errors import ModelError, UnknownLayerError
from opencv_squeezedet.files import StrPath
from opencv_squeezedet.formats._onnx_schema import SCHEMA
from opencv_squeezedet.formats._onnx_structure import check_structure
from opencv_squeezedet.formats._wire import decode
from opencv_squeezedet.formats.onnx_content import onnx_content
from opencv_squeezedet.model_files import MOST_BYTES, Read, named
from opencv_squeezedet.network import LAYERS, Layer, Network, Pair, Shape, Weights, shortest
from opencv_squeezedet.network.layers.interfaces import OnnxOperator, Options

_TYPES = {1: "<f4", 6: "<i4", 7: "<i8", 10: "<f2", 11: "<f8"}
"""ONNX's numbers of the types of constants that such a network has."""
_FLOAT, _HALF = 1, 10
_ATTRIBUTE_TYPES = {"f": 1, "i": 2, "s": 3, "t": 4, "ints": 7}
_KINDS = {op: kind for kind in LAYERS.values() for op in kind.onnx}
"""The layer that reads each operator."""
_OPERATORS = {
    **{op: kind.onnx[op] for op, kind in _KINDS.items()},
    "Constant": OnnxOperator("value"),
    "Identity": OnnxOperator(),
    "Cast": OnnxOperator("to"),
    "Pad": OnnxOperator("mode", optional=2),
}
_COMPOSED = [kind for kind in LAYERS.values() if kind.onnx_parts]
"""The layers that are several nodes."""
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
    """A node whose attributes and inputs are read with their types checked: an `OnnxNode`."""

    def __init__(self, proto: Any, reader: _Reader) -> None:
        self.op, self.opset, self.domain = proto.op_type, reader.opset, proto.domain
        self.inputs: list[str] = list(proto.input)
        self.outputs: list[str] = list(proto.output)
        optional = _OPERATORS[self.op].optional if self.op in _OPERATORS else None
        self._required = len(self.inputs) if optional is None else optional
        while len(self.inputs) > self._required and not self.inputs[-1]:
            self.inputs.pop()
        self.name = proto.name or self.outputs[0]
        self._attributes = {attribute.name: attribute for attribute in proto.attribute}
        self._reader = reader

    def error(self, message: str) -> UnknownLayerError:
        return UnknownLayerError(f"node {self.name!r} ({self.op}): {message}")

    def damage(self, message: str) -> ModelError:
        return ModelError(f"node {self.name!r} ({self.op}): {message}")

    def check(self) -> None:
        """Check that its operator, its attributes and the numbers of its inputs and outputs are known."""
        if self.op not in _OPERATORS or self.domain not in _DOMAINS:
            raise self.error(f"the operator is not one of {', '.join(sorted(_OPERATORS))}")
        operator = _OPERATORS[self.op]
        if "" in self.inputs[: self._required] or "" in self.outputs[: operator.outputs]:
            raise self.damage(
                f"names of all its inputs and outputs were expected, got {self.inputs[:8]} and {self.outputs[:8]}"
            )
        if len(self.outputs) > operator.outputs and not operator.more_outputs:
            raise self.error(f"one output was expected, got {self.outputs[:8]}")
        if unknown := self._attributes.keys() - set(operator.attributes.split()):
            raise self.error(f"it has an attribute {min(unknown)!r}")

    # ---- attributes ----------------------------------------------------------------------------------------------------

    def has(self, name: str) -> bool:
        return name in self._attributes

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

    def pair(self, name: str, default: Pair | None) -> Pair:
        values = self.integers(name, default or ())
        if not all(0 < value < _LONGEST for value in values):
            raise self.damage(f"{name} must be integers of at least 1, got {list(values[:8])}")
        if len(values) != 2:
            raise self.error(f"{name} must be two integers, got {list(values[:8])}")
        return values[0], values[1]

    def pads(self) -> Pair:
        auto, pads = self.text("auto_pad", "NOTSET"), self.integers("pads", (0, 0, 0, 0))
        if auto != "NOTSET" and (auto != "VALID" or any(pads)):
            raise self.error(f"explicit pads were expected, got auto_pad {auto!r}")
        if not all(0 <= pad < _LONGEST for pad in pads):
            raise self.damage(f"pads of at least 0 were expected, got {list(pads[:8])}")
        if len(pads) != 4 or pads[:2] != pads[2:]:
            raise self.error(f"the same pads on both sides were expected, got {list(pads)}")
        return pads[0], pads[1]

    def axis(self, default: int) -> int:
        axis, rank = self.integer("axis", default), len(self.shape)
        if not -rank <= axis < rank:
            raise self.damage(f"an input of {self.shape} has no axis {axis}")
        return axis % rank

    def _attribute(self, name: str, field: str, default: Any) -> Any:
        if name not in self._attributes:
            return default
        if self._attributes[name].has("type") and self._attributes[name].type != _ATTRIBUTE_TYPES[field]:
            raise self.damage(f"its attribute {name!r} has another type")
        return getattr(self._attributes[name], field)

    # ---- inputs --------------------------------------------------------------------------------------------------------

    def bottoms(self, most: int = 1, constants: int = 0) -> tuple[str, ...]:
        given = [name for name in self.inputs if name]
        names = [name for name in given if not self._reader.is_constant(name)]
        after = len(given) - len(names)
        if names != self.inputs[: len(names)] or not 1 <= len(names) <= most or after > constants:
            raise self.error(
                f"1{f' to {most}' if most > 1 else ''} inputs that earlier nodes give, and up to {constants} constants, "
                f"were expected, got {self.inputs[:8]}"
            )
        if missing := [name for name in names if name not in self._reader.shapes]:
            raise self.error(f"no earlier node gives its input {missing[0]!r}")
        return tuple(names)

    def blobs(self, most: int = 1, constants: int = 0) -> Options:
        return {"name": self.name, "bottoms": self.bottoms(most, constants), "tops": (self.outputs[0],)}

    @property
    def shape(self) -> Shape:
        return self.shape_of(self.bottoms(len(self.inputs), len(self.inputs))[0])

    def shape_of(self, name: str) -> Shape:
        return self._reader.shapes[name]

    def take_pad(self) -> Pair:
        if not self.inputs or self.inputs[0] not in self._reader.padded:
            return 0, 0
        self.inputs[0], pad = self._reader.padded.pop(self.inputs[0])
        return pad

    def constant(self, index: int) -> NDArray[Any]:
        """The input of this number, which must be a constant."""
        name = self.inputs[index] if index < len(self.inputs) else ""
        if not self._reader.is_constant(name):
            raise self.error(f"a constant was expected as input {index}, got {name!r}")
        return self._reader.constant(name)

    def constant_integers(self, index: int) -> tuple[int, ...]:
        values = self.constant(index)
        if values.ndim != 1 or values.dtype.kind != "i" or len(values) > 64:
            raise self.error(f"a list of integers was expected as input {index}, got {values.dtype} of {values.shape}")
        return tuple(values.tolist())

    def constant_floats(self, index: int) -> NDArray[Any]:
        """Also made once as float32, however many nodes have it."""
        values = self.constant(index)
        if values.dtype.kind == "f" and not (values.dtype == np.float32 and values.flags.writeable):
            values = self._reader.constants[self.inputs[index]] = np.array(values, np.float32)
        return values

    def keep_weights(self, blobs: Sequence[NDArray[Any]]) -> None:
        self._reader.left -= sum(blob.nbytes for blob in blobs)
        if self._reader.left < 0:
            raise self.damage("with its weights, shared weights expand far beyond the file's size")
        self._reader.weights[self.name] = [blob if blob.flags.writeable else np.array(blob, np.float32) for blob in blobs]


class _Reader:
    """Makes layers of nodes, in their order; a value that only an activation reads is that activation's own, in place."""

    def __init__(self, model: Any, size: int) -> None:
        graph = model.graph
        self.left = _ALWAYS + _BYTES_PER_BYTE * size
        """How many bytes of weights may still come."""
        self.opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)
        self.constants: dict[str, NDArray[Any]] = {}
        self._stored = {tensor.name: tensor for tensor in graph.initializer}
        self._graph_name = graph.name
        self._nodes = [_Node(proto, self) for proto in graph.node]
        self._readers = Counter(name for node in self._nodes for name in node.inputs)
        self._outputs: list[str] = [value.name for value in graph.output]
        self._input, self._input_shape = self._find_input(graph)
        self.shapes: dict[str, Shape] = {self._input: self._input_shape}
        self._renamed: dict[str, str] = {}
        self.padded: dict[str, tuple[str, Pair]] = {}
        self._layers: list[Layer] = []
        self.weights: Weights = {}

    def result(self) -> tuple[Network, Weights]:
        for node in self._nodes:
            self._add(node)
        layers = tuple(
            replace(layer, bottoms=tuple(map(self._final, layer.bottoms)), tops=tuple(map(self._final, layer.tops)))
            for layer in self._layers
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
        while value != last:  # path compression
            self._renamed[value], value = last, self._renamed[value]
        return last

    def is_constant(self, name: str) -> bool:
        return name in self.constants or name in self._stored

    def constant(self, name: str) -> NDArray[Any]:
        if name not in self.constants:
            self.constants[name] = _values(self._stored[name], name)
        return self.constants[name]

    # ---- nodes ---------------------------------------------------------------------------------------------------------

    def _add(self, node: _Node) -> None:
        node.check()
        source = node.inputs[0] if node.inputs else ""
        if node.op == "Constant" and node.has("value"):
            self.constants[node.outputs[0]] = _values(node.tensor("value"), node.name)
        elif (node.op == "Identity" or _to_float(node)) and self.is_constant(source):
            self.constants[node.outputs[0]] = self.constant(source)
        elif node.op == "Identity" and source in self.shapes:
            self._alias(node)
        elif node.op == "Pad":
            self._pad(node)
        elif node.op not in _KINDS:
            raise node.error("a constant was expected")
        else:
            layer = _KINDS[node.op].from_onnx(node)
            bottoms = [self.shapes[bottom] for bottom in layer.bottoms]
            self.shapes.update(zip(layer.tops, layer.top_shapes(bottoms), strict=True))
            self._layers.append(layer)
            self._compose()
            self._take_in_place(self._layers[-1])

    def _compose(self) -> None:
        """Replace the last layers by the one that they are together, if they are."""
        for kind in _COMPOSED:
            parts = self._layers[-len(kind.onnx_parts) :]
            inner = [part.tops[0] for part in parts[:-1]]
            if tuple(map(type, parts)) != kind.onnx_parts or [part.bottoms[0] for part in parts[1:]] != inner:
                continue
            if any(self._readers[top] != 1 or top in self._outputs for top in inner):
                continue
            layer = kind.from_parts(parts, self.shapes[parts[0].bottoms[0]])
            if layer is not None:
                self._layers[-len(parts) :] = [layer]
                return

    def _take_in_place(self, layer: Layer) -> None:
        """Let a layer that alone reads its bottom work in place, where Caffe's do."""
        bottom = layer.bottoms[0]
        if layer.in_place and self._readers[bottom] == 1 and bottom not in self._outputs and bottom != self._input:
            self._renamed[bottom] = layer.tops[0]

    def _alias(self, node: _Node) -> None:
        """An Identity is not a layer: its input's maker gives its output."""
        source, name = node.inputs[0], node.outputs[0]
        if self._readers[source] != 1 or source in self._outputs or source == self._input or name in self.shapes:
            raise node.error(f"it is not the only one to read {source!r}")
        self.shapes[name] = self.shapes[source]
        self._renamed[source] = name

    def _pad(self, node: _Node) -> None:
        """Zeros around a blob are not a layer: they are the pads of the one convolution that reads them."""
        (source,), name, pads = node.bottoms(constants=1), node.outputs[0], node.constant_integers(1)
        if node.text("mode", "constant") != "constant":
            raise node.error("zeros around its input were expected")
        if len(pads) != 8 or any(pads[:2]) or pads[:4] != pads[4:] or min(pads) < 0:
            raise node.error(f"the same pads on both sides of the last two axes were expected, got {list(pads)}")
        if self._readers[name] != 1 or name in self._outputs:
            raise node.error("one convolution that reads it was expected")
        self.padded[name] = source, (pads[2], pads[3])


def _to_float(node: _Node) -> bool:
    return node.op == "Cast" and node.integer("to", 0) == _FLOAT


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
