"""Caffe's network definitions, as text."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from typing import Any

from opencv_squeezedet.errors import ModelError
from opencv_squeezedet.files import StrPath
from opencv_squeezedet.formats._caffe_layers import SCHEMA, layer_messages, layer_of, net_record
from opencv_squeezedet.formats._text import parse, text_of
from opencv_squeezedet.model_files import MOST_DEFINITION, Read, named, read_file
from opencv_squeezedet.network import Layer, Network, Shape

_MOST_AXES = 8


def read_prototxt(path: StrPath, *, read: Read = read_file) -> Network:
    """Read a deployment prototxt: its input as ``input_dim``, ``input_shape`` or a layer; its layers as ``layer`` or V1's.

    Layers of one name become ``name``, ``name_1`` and so on, as in OpenCV 4.

    Parameters
    ----------
    path : path
        The file.
    read : function
        What reads it.

    Raises
    ------
    ModelError
        If it is not a prototxt, or describes anything but a network of the layers of `opencv_squeezedet.network` with
        one input whose shapes fit. The error names the line, or the layer; `UnknownLayerError` where it may be a network, but
        of other layers.
    OSError
        If it cannot be read.
    """
    path = os.fspath(path)
    content = read(path, MOST_DEFINITION)
    with named(path):
        return parse_prototxt(content)


def prototxt_text(network: Network) -> str:
    """Return the deployment prototxt of a network."""
    return text_of(net_record(network), SCHEMA, "NetParameter")


def parse_prototxt(content: bytes, *, check: bool = True) -> Network:
    """Return the network that the bytes of a prototxt describe; ModelError as `read_prototxt`.

    Without ``check`` the shapes are not checked, which may be others when the network runs.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ModelError(f"a text file was expected: {error}") from None
    try:
        message = parse(text, SCHEMA, "NetParameter")
    except ModelError as error:
        raise ModelError(f"no prototxt of the layers that can be read: {error}") from None
    network = _network(message)
    if check:
        _ = network.steps
    return network


def _network(message: Any) -> Network:
    if message.layer and message.layers:
        raise ModelError("'layer' or 'layers' was expected, it has both")
    inputs = list(zip(message.input, _top_shapes(message), strict=True))
    layers: list[Layer] = []
    repetitions: Counter[str] = Counter()
    for layer, kind in layer_messages(message):
        if not _in_deployment(layer):
            continue
        if kind == "Input":
            inputs += _of_input_layer(layer)
        else:
            found = layer_of(layer, kind)
            layers.append(replace(found, name=f"{layer.name}_{count}") if (count := repetitions[layer.name]) else found)
        repetitions[layer.name] += 1
    if not inputs:
        raise ModelError("an input was expected: a deployment prototxt begins with 'input' and its shape, or an Input layer")
    for name, shape in inputs:
        if not 1 <= len(shape) <= _MOST_AXES or min(shape) < 1:
            raise ModelError(f"input {name!r}: a shape of 1 to {_MOST_AXES} lengths was expected, got {shape}")
    (name, shape), *more = inputs
    return Network(message.name, name, shape, tuple(layers), tuple(more))


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
        return not rule.has("phase") or rule.phase == 1

    if layer.include:
        return any(map(test, layer.include))
    return not any(map(test, layer.exclude))
