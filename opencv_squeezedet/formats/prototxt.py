"""Caffe's network definitions, as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from opencv_squeezedet.errors import ModelError, UnknownLayerError
from opencv_squeezedet.files import StrPath
from opencv_squeezedet.formats._caffe_layers import fill_message, layer_of
from opencv_squeezedet.formats._caffe_schema import net_parameter
from opencv_squeezedet.formats._extra import extra
from opencv_squeezedet.network import Layer, Network, Shape

_MOST_BYTES = 1 << 18  # many times what the networks of this family need
_LONGEST_REASON = 300


def read_prototxt(path: StrPath) -> Network:
    """Read a deployment prototxt: its input as ``input_dim``, ``input_shape`` or a layer; its layers as ``layer`` or V1's.

    Raises
    ------
    ModelError
        If it is no prototxt, or describes something else than a network of the layers of `opencv_squeezedet.network` with
        one input whose shapes fit. The error names the line, or the layer; `UnknownLayerError` where it may be a network, but
        of other layers.
    OSError
        If it cannot be read.
    ImportError
        Without the extra ``[onnx]``.
    """
    path = Path(path)
    try:
        return _network(_parsed(path))
    except ModelError as error:
        raise type(error)(f"{str(path)!r}: {error}") from error


def prototxt_text(network: Network) -> str:
    """Return the deployment prototxt of a network.

    Raises
    ------
    ImportError
        Without the extra ``[onnx]``.
    """
    message = net_parameter()(name=network.name, input=[network.input_name])
    message.input_shape.add().dim.extend(network.input_shape)
    for layer in network.layers:
        fill_message(layer, message.layer.add())
    return str(extra("google.protobuf.text_format").MessageToString(message))


def _parsed(path: Path) -> Any:
    """The file's NetParameter."""
    if (size := path.stat().st_size) > _MOST_BYTES:
        raise ModelError(f"a prototxt of at most {_MOST_BYTES} bytes was expected, it has {size}")
    text_format = extra("google.protobuf.text_format")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ModelError(f"a text file was expected: {error}") from None
    try:
        return text_format.Parse(text, net_parameter()())
    except text_format.ParseError as error:
        reason = _short(error)
    except (RecursionError, ValueError, TypeError) as error:  # what protobuf lets through
        reason = f"{type(error).__name__}: {_short(error)}"
    raise _unknown_field(text_format, text)(f"no prototxt of the layers that can be read: {reason}")


def _short(error: Exception) -> str:
    """What it says, without all of a token that may be as long as the file."""
    message = str(error)
    return message if len(message) <= _LONGEST_REASON else f"{message[:_LONGEST_REASON]} ..."


def _unknown_field(text_format: Any, text: str) -> type[ModelError]:
    """UnknownLayerError where a field is all that is not known; a layer that is the reason raises its own error."""
    try:
        message = text_format.Parse(text, net_parameter()(), allow_unknown_field=True)
    except (text_format.ParseError, RecursionError, ValueError, TypeError):
        return ModelError
    _network(message)
    return UnknownLayerError


def _network(message: Any) -> Network:
    kinds = [(layer, layer.type) for layer in message.layer]
    kinds += [(layer, _v1_type(layer)) for layer in message.layers]
    if message.layer and message.layers:
        raise ModelError("'layer' or 'layers' was expected, it has both")
    inputs = list(zip(message.input, _top_shapes(message), strict=True))
    layers: list[Layer] = []
    for layer, kind in kinds:
        if not _in_deployment(layer):
            continue
        if kind == "Input":
            inputs += _of_input_layer(layer)
        else:
            layers.append(layer_of(layer, kind))
    if len(inputs) != 1:
        names = ", ".join(repr(name) for name, _ in inputs) or "none"
        raise ModelError(f"one input was expected, got {names}")
    (name, shape), *_ = inputs
    if len(shape) != 4 or min(shape) < 1:
        raise ModelError(f"input {name!r}: a shape (N, C, H, W) was expected, got {shape}")
    network = Network(message.name, name, shape, tuple(layers))
    _ = network.steps  # checks the shapes
    return network


def _top_shapes(message: Any) -> list[Shape]:
    """The shapes of the inputs that are declared at the file's top."""
    dims, count = tuple(message.input_dim), len(message.input)
    shapes = [tuple(shape.dim) for shape in message.input_shape] or [dims[i : i + 4] for i in range(0, len(dims), 4)]
    if len(shapes) != count:
        raise ModelError(f"{count} inputs are declared, and {len(shapes)} shapes for them")
    return shapes


def _of_input_layer(layer: Any) -> list[tuple[str, Shape]]:
    shapes = [tuple(shape.dim) for shape in layer.input_param.shape]
    if len(shapes) != len(layer.top):
        raise ModelError(f"layer {layer.name!r}: {len(layer.top)} tops, and {len(shapes)} shapes for them")
    return list(zip(layer.top, shapes, strict=True))


def _in_deployment(layer: Any) -> bool:
    """Whether the layer takes part where nothing is trained."""

    def test(rule: Any) -> bool:
        return not rule.HasField("phase") or rule.phase == 1

    if layer.include:
        return any(map(test, layer.include))
    return not any(map(test, layer.exclude))


def _v1_type(layer: Any) -> str:
    """V1's enum as the later name: SOFTMAX_LOSS is SoftmaxLoss, and RELU is ReLU."""
    name: str = layer.DESCRIPTOR.fields_by_name["type"].enum_type.values_by_number[layer.type].name
    special = {"RELU": "ReLU", "SOFTMAX_LOSS": "SoftmaxWithLoss", "HDF5_DATA": "HDF5Data", "HDF5_OUTPUT": "HDF5Output"}
    return special.get(name, name.title().replace("_", ""))
