"""What holds of every sound ONNX file, whatever its operators: no native library should find it out the hard way."""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Iterable, Sequence
from typing import Any

from opencv_squeezedet.errors import ModelError
from opencv_squeezedet.formats._schema import Message

_EXTERNAL = 1
_MOST_AXES = 8
_LONGEST = 1 << 31
_NEWEST_OPSET = 1000
_BITS = {
    number: bits
    for bits, numbers in (
        (2, (25, 26)),
        (4, (21, 22, 23)),
        (8, (2, 3, 9, 17, 18, 19, 20, 24)),
        (16, (4, 5, 10, 16)),
        (32, (1, 6, 12)),
        (64, (7, 11, 13, 14)),
        (128, (15,)),
    )
    for number in numbers
}
"""How many bits a value takes, by ONNX's number of its type; all but strings, 8."""
_STRING = 8
_FIELDS = {1: "float_data", 7: "int64_data", 8: "string_data", 11: "double_data", 12: "uint64_data", 13: "uint64_data"}
"""Where values are that are not raw; of other types in ``int32_data``. Complex ones are two floats or doubles."""
_COMPLEX = {14: "float_data", 15: "double_data"}
_STORES = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")
_VALUES = {1: "f", 2: "i", 3: "s", 4: "t", 5: "g", 6: "floats", 7: "ints", 8: "strings", 9: "tensors", 10: "graphs"}
_OTHER_VALUES = {11: "sparse_tensor", 12: "sparse_tensors", 13: "tp", 14: "type_protos"}
_ATTRIBUTE = {**_VALUES, **_OTHER_VALUES}
"""Which field holds an attribute's value, by ONNX's number of its type."""
_LISTS = frozenset({"floats", "ints", "strings", "tensors", "graphs", "sparse_tensors", "type_protos"})

_Names = ChainMap[str, None]


def check_structure(model: Any) -> None:
    """Check a model that was decoded: what each node reads is given before, each constant has the values that it declares.

    Raises
    ------
    ModelError
        That names the node or the constant.
    """
    if not model.graph.node:
        raise ModelError("no ONNX file: it has no nodes")
    domains = [entry.domain for entry in model.opset_import]
    if len(set(domains)) < len(domains) or not all(0 < entry.version < _NEWEST_OPSET for entry in model.opset_import):
        raise ModelError(f"each opset once, of a number below {_NEWEST_OPSET}, was expected")
    _check_graph(model.graph, ChainMap())
    for part in (*model.functions, *model.training_info):
        _check_tensors_in(part)


def _check_graph(graph: Any, outer: _Names) -> None:
    """Names of graphs around this one are known in it too."""
    names = outer.new_child()
    for tensor in graph.initializer:
        check_tensor(tensor, tensor.name)
    for sparse in graph.sparse_initializer:
        _check_tensors_in(sparse)
    _declare(names, [tensor.name for tensor in graph.initializer], "a constant")
    constants = set(names.maps[0])
    for value in (*graph.input, *graph.output, *graph.value_info):
        _check_type(value)
    _declare(names, [value.name for value in graph.input if value.name not in constants], "an input")
    for node in graph.node:
        shown = f"node {(node.name or ', '.join(node.output[:1]))!r} ({node.op_type})"
        if not node.op_type or not any(node.output):
            raise ModelError(f"{shown}: an operator with an output was expected")
        if missing := [name for name in node.input if name and name not in names]:
            raise ModelError(f"{shown}: no earlier node gives its input {missing[0]!r}")
        _check_attributes(node, shown, names)
        _declare(names, [name for name in node.output if name], shown)
    outputs = [value.name for value in graph.output]
    if missing := [name for name in outputs if name not in names]:
        raise ModelError(f"no node gives the output {missing[0]!r}")
    if len(set(outputs)) < len(outputs):
        raise ModelError(f"each output once was expected, got {', '.join(map(repr, outputs[:8]))}")


def _declare(names: _Names, new: Iterable[str], what: str) -> None:
    for name in new:
        if not name or name in names.maps[0]:
            raise ModelError(f"{what}: an earlier node gives {name!r} as well" if name else f"{what} has no name")
        names[name] = None


def _check_attributes(node: Any, shown: str, names: _Names) -> None:
    known = [attribute.name for attribute in node.attribute]
    if len(set(known)) < len(known):
        raise ModelError(f"{shown}: each attribute was expected once, got {', '.join(map(repr, known[:8]))}")
    for attribute in node.attribute:
        given = [field for field in _ATTRIBUTE.values() if attribute.has(field)]
        declared = _ATTRIBUTE.get(attribute.type)
        fits = given == [declared] or (not given and declared in _LISTS) or (len(given) == 1 and not attribute.has("type"))
        if not fits and not _is_zero(given, declared):
            raise ModelError(f"{shown}: its attribute {attribute.name!r} does not have the one value of its type")
        for tensor in (*([attribute.t] if attribute.has("t") else []), *attribute.tensors):
            check_tensor(tensor, tensor.name or attribute.name)
        for sparse in (*([attribute.sparse_tensor] if attribute.has("sparse_tensor") else []), *attribute.sparse_tensors):
            _check_tensors_in(sparse)
        for graph in (*([attribute.g] if attribute.has("g") else []), *attribute.graphs):
            _check_graph(graph, names)


def _check_tensors_in(message: Message) -> None:
    """Check the constants of what is not looked into otherwise: no library may find the name of a file there."""
    for name, value in message.given.items():
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, Message):
                if message.fields[name].kind == "TensorProto":
                    check_tensor(part, part.name)
                else:
                    _check_tensors_in(part)


def _is_zero(given: Sequence[str], declared: str | None) -> bool:
    """Whether a value is left out for being the default of its kind, as writers of proto3 do."""
    return not given and declared in ("f", "i", "s")


def is_external(tensor: Any) -> bool:
    """Whether a constant's values lie in another file."""
    return bool(tensor.data_location == _EXTERNAL or tensor.external_data)


def bytes_of(tensor: Any) -> int:
    """Return how many bytes a constant's values take where they are raw."""
    return (math.prod(map(int, tensor.dims)) * _BITS.get(tensor.data_type, 0) + 7) // 8


def check_shape(tensor: Any, name: str) -> None:
    """Check what a constant declares; ModelError, that names it, where that cannot be."""
    shape = tuple(tensor.dims)
    if len(shape) > _MOST_AXES or min(shape, default=1) < 0 or max(shape, default=1) >= _LONGEST:
        raise ModelError(f"constant {name!r}: a shape was expected, got {shape[: _MOST_AXES + 1]}")
    if tensor.data_type != _STRING and tensor.data_type not in _BITS:
        raise ModelError(f"constant {name!r}: a type of values was expected, got {tensor.data_type}")


def check_tensor(tensor: Any, name: str) -> None:
    """Check that a constant has as many values as its shape says; ModelError, that names it, if not."""
    check_shape(tensor, name)
    if is_external(tensor):
        raise ModelError(f"constant {name!r}: its values lie in another file")
    shape = tuple(tensor.dims)
    given = [field for field in _STORES if tensor.has(field)]
    values = math.prod(shape)
    if len(given) > 1 or tensor.segment or tensor.data_location:
        raise ModelError(f"constant {name!r}: its values were expected in one place")
    if given == ["raw_data"] and tensor.data_type != _STRING:
        expected, got, what = bytes_of(tensor), len(tensor.raw_data), "bytes"
    elif tensor.data_type in _COMPLEX:
        expected, got, what = 2 * values, len(getattr(tensor, _COMPLEX[tensor.data_type])), "values"
    else:
        field = _FIELDS.get(tensor.data_type, "int32_data")
        packed = max(1, 8 // _BITS.get(tensor.data_type, 8))
        expected, got, what = -(-values // packed), len(getattr(tensor, field)), "values"
    if got != expected:
        raise ModelError(f"constant {name!r}: {expected} {what} were expected for its shape {shape}, the file has {got}")


def _check_type(value: Any) -> None:
    """Check what is declared of an input, an output or a blob between."""
    kind = value.type.tensor_type
    dims = kind.shape.dim
    lengths = [dim.dim_value for dim in dims if dim.has("dim_value")]
    if len(dims) > _MOST_AXES or min(lengths, default=0) < 0 or max(lengths, default=0) >= _LONGEST:
        raise ModelError(f"{value.name!r}: a shape was expected, got {tuple(lengths[: _MOST_AXES + 1])}")
    if any(dim.has("dim_value") and dim.has("dim_param") for dim in dims):
        raise ModelError(f"{value.name!r}: a length or a name was expected for each axis, got both")
