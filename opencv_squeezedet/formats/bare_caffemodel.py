"""A caffemodel of names and weights alone: apart from the other readers and writers, because a detector starts with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.formats._caffe_schema import SCHEMA
from opencv_squeezedet.formats._wire import encode


def bare_caffemodel(weights: Mapping[str, Sequence[NDArray[np.float32]]]) -> bytes:
    """Return all that OpenCV looks for in a caffemodel beside a prototxt."""
    layers = [
        {"name": name, "blobs": [{"shape": {"dim": values.shape}, "data": values} for values in blobs]}
        for name, blobs in weights.items()
    ]
    return encode({"layer": layers}, SCHEMA, "NetParameter")
