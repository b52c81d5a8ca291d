"""Weights in the bytes that OpenCV 4 and ONNX readers take beside a definition.

They are separate from the other readers and writers because every detector needs them to start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.formats._schema import Record
from opencv_squeezedet.formats._wire import encode, pieces

FLOAT, INT = 1, 2
"""ONNX's enum values: float32 as a data type, and an integer as an attribute type."""
_DATA_TYPES = {"<f4": FLOAT, "<f2": 10, "<i8": 7}
_CAFFES_HALF = 2

Arrays = Mapping[str, Sequence[NDArray[Any]]]
"""Each layer's weights, float32 or float16."""


def bare_caffemodel(weights: Arrays) -> bytes:
    """Return a caffemodel with no more than OpenCV reads beside a prototxt."""
    from opencv_squeezedet.formats._caffe_schema import WEIGHTS_SCHEMA  # takes time to import

    layers = [{"name": name, "blobs": list(map(caffe_blob, blobs))} for name, blobs in weights.items()]
    return encode({"layer": layers}, WEIGHTS_SCHEMA, "NetParameter")


def caffe_blob(values: NDArray[Any]) -> Record:
    """Return the BlobProto of an array of float32, or of float16 in OpenCV's form."""
    shape = {"shape": {"dim": values.shape}}
    if values.dtype == np.float16:
        return {**shape, "raw_data_type": _CAFFES_HALF, "raw_data": values}
    return {**shape, "data": values}


def with_weights(skeleton: bytes, weights: Arrays) -> bytes:
    """Return an ONNX file of what `onnx_skeleton` gives and the weights.

    The weights are in a graph of their own before it: protobuf merges repeated messages. Fixed weights, which no node of the
    skeleton reads, are left out.
    """
    from opencv_squeezedet.formats._onnx_schema import SCHEMA  # takes time to import

    tensors, casts = [], []
    for layer, blobs in weights.items():
        for name, values in zip(weight_names(layer), blobs, strict=False):
            if encode({"input": [name]}, SCHEMA, "NodeProto") not in skeleton:
                continue
            tensors.append(stored_tensor(name, values))
            if values.dtype == np.float16:
                casts.append(cast(name))
    graph = {"node": casts, "initializer": tensors}
    return b"".join((*pieces({"graph": graph}, SCHEMA, "ModelProto"), skeleton))


def weight_names(layer: str) -> tuple[str, str]:
    """Return the names of a layer's kernel and bias in an ONNX file."""
    return f"{layer}.weight", f"{layer}.bias"


def stored_tensor(name: str, values: NDArray[Any]) -> Record:
    """Return the TensorProto of weights; float16 ones have another name, because `cast` produces the plain one."""
    return tensor(f"{name}.half" if values.dtype == np.float16 else name, values)


def tensor(name: str, values: NDArray[Any]) -> Record:
    """Return the TensorProto of an array of float32, float16 or int64."""
    return {"dims": values.shape, "data_type": _DATA_TYPES[values.dtype.str], "name": name, "raw_data": values}


def cast(name: str) -> Record:
    """Return the node that casts a `stored_tensor` of float16 to float32."""
    to = {"name": "to", "i": FLOAT, "type": INT}
    return {"input": [f"{name}.half"], "output": [name], "name": f"{name}.cast", "op_type": "Cast", "attribute": [to]}
