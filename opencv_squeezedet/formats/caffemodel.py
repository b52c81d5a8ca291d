"""Caffe's weights."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.errors import ModelError
from opencv_squeezedet.files import StrPath
from opencv_squeezedet.formats._caffe_layers import SCHEMA, net_record
from opencv_squeezedet.formats._caffe_schema import WEIGHTS_SCHEMA
from opencv_squeezedet.formats._wire import decode, encode
from opencv_squeezedet.formats.bare_weights import caffe_blob
from opencv_squeezedet.model_files import MOST_BYTES, Read, named, read_file
from opencv_squeezedet.network import Network, Shape, Weights

_RAW_TYPES = {0: "<f8", 1: "<f4", 2: "<f2"}
_OLD_SIZES = ("num", "channels", "height", "width")
_MOST_AXES = 8


def read_caffemodel(path: StrPath, *, read: Read = read_file) -> Weights:
    """Read the weights of a caffemodel, old or new: float32, float64, or OpenCV's float16, each layer's under its name.

    Layers of one name become ``name``, ``name_1`` and so on, as in `read_prototxt`.

    Parameters
    ----------
    path : path
        The file.
    read : function
        What reads it.

    Returns
    -------
    Weights
        Layers without weights are left out.

    Raises
    ------
    ModelError
        If it is not a caffemodel, or a blob has more or fewer values than its shape says; the error names the layer.
    OSError
        If it cannot be read.
    """
    path = os.fspath(path)
    content = read(path, MOST_BYTES)
    with named(path):
        return parse_caffemodel(content)


def caffemodel_bytes(network: Network, weights: Mapping[str, Sequence[NDArray[np.float32]]], *, half: bool = False) -> bytes:
    """Return the content of a caffemodel.

    Parameters
    ----------
    network : Network
        The network.
    weights : Weights
        For each of its layers that has weights.
    half : bool
        Store float16, as OpenCV's ``shrinkCaffeModel`` does; Caffe itself cannot read that.

    Raises
    ------
    ModelError
        If the weights do not fit the network, or float16 cannot hold them.
    """
    network.check_weights(weights)
    blobs = {
        step.layer.name: [
            caffe_blob(to_half(values, step.layer.name) if half else values) for values in weights[step.layer.name]
        ]
        for step in network.weighted()
    }
    return encode(net_record(network, blobs), SCHEMA, "NetParameter")


def to_half(values: NDArray[np.float32], layer: str) -> NDArray[np.float16]:
    """Return the nearest float16 values, little-endian; ModelError, that names the layer, where they overflow."""
    with np.errstate(over="ignore"):
        half = values.astype("<f2")
    if not np.array_equal(np.isfinite(half), np.isfinite(values)):
        raise ModelError(f"layer {layer!r}: float16 cannot hold its weights, the largest is {np.nanmax(np.abs(values)):g}")
    return half


def parse_caffemodel(content: bytes, *, copy: bool = True) -> Weights:
    """Return the weights in the bytes of a caffemodel; ModelError as `read_caffemodel`.

    Without ``copy`` they may be views of the bytes, which cannot be written to.
    """
    message = decode(content, WEIGHTS_SCHEMA, "NetParameter")
    weights: Weights = {}
    repetitions: Counter[str] = Counter()
    for layer in (*message.layers, *message.layer):
        if not layer.blobs:
            continue
        name = f"{layer.name}_{count}" if (count := repetitions[layer.name]) else layer.name  # as `read_prototxt` calls them
        repetitions[layer.name] += 1
        if name in weights:
            raise ModelError(f"layer {name!r}: it is there twice")
        weights[name] = [_values(blob, name, copy) for blob in layer.blobs]
    if not weights:
        raise ModelError("a caffemodel was expected, it has no layer with weights")
    return weights


def _values(blob: Any, layer: str, copy: bool) -> NDArray[np.float32]:
    """The blob as an array of its shape; the old four sizes lose their leading ones where the blob is a vector.

    A blob without axes, for which Caffe writes no sizes, becomes a vector of one value.
    """
    old = (blob.num, blob.channels, blob.height, blob.width) if any(map(blob.has, _OLD_SIZES)) else (1,)
    shape: Shape = tuple(blob.shape.dim) if blob.has("shape") else old
    if not 1 <= len(shape) <= _MOST_AXES or min(shape) < 1:
        raise ModelError(
            f"layer {layer!r}: a blob of 1 to {_MOST_AXES} positive sizes was expected, got {shape[: _MOST_AXES + 1]}"
        )
    values = _stored(blob, layer).astype(np.float32, copy=copy)
    if len(values) != math.prod(shape):
        raise ModelError(f"layer {layer!r}: a blob of {shape} has {math.prod(shape)} values, the file holds {len(values)}")
    if not blob.has("shape") and shape[:3] == (1, 1, 1):  # a bias
        shape = shape[3:]
    return values.reshape(shape)


def _stored(blob: Any, layer: str) -> NDArray[Any]:
    """The numbers as the file has them."""
    if blob.has("raw_data"):
        if blob.raw_data_type not in _RAW_TYPES:
            raise ModelError(f"layer {layer!r}: raw data of floats were expected, got type {blob.raw_data_type}")
        kind = np.dtype(_RAW_TYPES[blob.raw_data_type])
        if len(blob.raw_data) % kind.itemsize:
            size = len(blob.raw_data)
            raise ModelError(f"layer {layer!r}: {size} bytes of raw data are not a whole number of {kind} values")
        return np.frombuffer(blob.raw_data, kind)
    return np.asarray(blob.data if blob.has("data") else blob.double_data)
