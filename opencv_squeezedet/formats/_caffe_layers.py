"""Caffe's layer messages and the layers of `opencv_squeezedet.network`, in both directions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from opencv_squeezedet.errors import ModelError, UnknownLayerError
from opencv_squeezedet.formats._caffe_schema import ENUMS, MESSAGES
from opencv_squeezedet.formats._schema import Record, Schema
from opencv_squeezedet.network import LAYERS, Layer, Network, OptionError

TRAINING = frozenset(
    {"Data", "DummyData", "HDF5Data", "HDF5Output", "ImageData", "MemoryData", "WindowData", "AnnotatedData"}
    | {"Accuracy", "ContrastiveLoss", "EuclideanLoss", "HingeLoss", "InfogainLoss", "MultiBoxLoss", "SoftmaxWithLoss"}
    | {"MultinomialLogisticLoss", "SigmoidCrossEntropyLoss", "SqueezeDetLoss"}
)
"""Types that only a network in training has."""


_KINDS = {name: kind for name, kind in LAYERS.items() if kind.caffe_type is None}
"""The classes that read each type."""
_V1_KINDS = {name.lower(): name for name in (*_KINDS, *TRAINING)} | {"softmaxloss": "SoftmaxWithLoss"}


def _schema() -> Schema:
    """The common messages, and those of each layer's options."""
    messages, enums = dict(MESSAGES), dict(ENUMS)
    for param in {kind.caffe.field: kind.caffe for kind in LAYERS.values() if kind.caffe is not None}.values():
        _, name, message = param.field.split()
        messages.update({message: param.content, **dict(param.messages)})
        messages["LayerParameter"] += f"; {param.field}"
        if param.v1 is not None:
            messages["V1LayerParameter"] += f"; {param.v1} {name} {message}"
        enums.update(param.enums)
    return Schema(messages, enums)


SCHEMA = _schema()
"""For prototxt and caffemodel."""


def layer_messages(net: Any) -> Iterator[tuple[Any, str]]:
    """Yield the layers of a NetParameter, of either version, with their types."""
    for message in net.layer:
        yield message, message.type
    for message in net.layers:  # the type is an enum's: RELU is ReLU, and SOFTMAX_LOSS is SoftmaxWithLoss
        name = SCHEMA.enums["V1Type"][int(message.type)]
        yield message, _V1_KINDS.get(name.lower().replace("_", ""), name)


def layer_of(message: Any, kind: str) -> Layer:
    """Return the layer that a LayerParameter, or one of V1, describes.

    Raises
    ------
    UnknownLayerError
        That names the layer, if its type is none of `opencv_squeezedet.network`, or has an option that those do not have.
    ModelError
        If it is a layer for training, or has too many bottoms or tops.
    """
    name = message.name
    if kind in TRAINING:
        raise ModelError(
            f"layer {name!r}: {kind} is a layer for training; a deployment prototxt was expected, that starts with the input "
            "blob and ends with the network's outputs"
        )
    if kind not in _KINDS:
        raise UnknownLayerError(
            f"layer {name!r}: the type {kind!r} is not supported; cut the network before it and compute the rest in Python, "
            "or run it with OpenCV 4 or the fork of Caffe that has it"
        )
    layer = _KINDS[kind]
    for what, blobs, count in (("bottom", message.bottom, layer.arity[0]), ("top", message.top, layer.arity[1])):
        if (not blobs and count != -1) or (count > 0 and len(blobs) != count):
            raise ModelError(f"layer {name!r}: {kind} has {count or 'at least one'} {what}, got {len(blobs)}")
    own = layer.caffe.name if layer.caffe is not None else None
    try:
        if foreign := sorted(field for field in message.given if field.endswith("_param") and field != own):
            raise OptionError(f"a {kind} has no {foreign[0]}")  # OpenCV 4 would take the options in it for the layer's own
        return layer.from_caffe(message)
    except OptionError as error:
        raise UnknownLayerError(f"layer {name!r}: {error}") from None


def net_record(network: Network, blobs: Mapping[str, Sequence[Record]] | None = None) -> Record:
    """Return the NetParameter of a network, the layers with their blobs, if there are any."""
    blobs = {} if blobs is None else blobs
    return {
        "name": network.name,
        "input": list(network.inputs),
        "input_shape": [{"dim": shape} for shape in network.inputs.values()],
        "layer": [_record_of(layer) | {"blobs": blobs.get(layer.name, ())} for layer in network.layers],
    }


def _record_of(layer: Layer) -> dict[str, Any]:
    """The LayerParameter of a layer."""
    kind = layer.caffe_type or type(layer).__name__
    record: dict[str, Any] = {"name": layer.name, "type": kind, "bottom": layer.bottoms, "top": layer.tops}
    if not layer.trained:
        record["param"] = [{"lr_mult": 0.0}]
    if layer.caffe is not None and (options := layer.write_caffe()):
        record[layer.caffe.name] = options
    return record
