"""The three blobs between the network and post-processing: their names, and the layers or outputs that give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

BlobName = Literal["delta_bbox", "class_scores", "conf_scores"]

BLOBS: tuple[BlobName, ...] = get_args(BlobName)
"""The names, in the order in which every function takes and returns the blobs."""

Place = tuple[str, int] | str
"""Where a network gives a blob: a Caffe layer and which of its tops, or the name of a top or of an output of an ONNX graph."""
Places = Mapping[str, Place]
"""Places by blob. A blob whose place is a Caffe layer has the blob's name among the outputs of an ONNX graph."""

CAFFE_PLACES: dict[str, Place] = {"delta_bbox": ("slice", 2), "class_scores": ("softmax", 0), "conf_scores": ("sigmoid", 0)}
"""Where opencv_contrib's network gives the three blobs."""


class Blobs(NamedTuple):
    """The network's outputs, with a leading axis for the pictures, in the order that `postprocess` takes."""

    delta_bbox: NDArray[np.float32]
    class_scores: NDArray[np.float32]
    conf_scores: NDArray[np.float32]


def onnx_names(places: Places) -> dict[str, str]:
    """Return the name of the output of an ONNX graph that gives each blob."""
    return {blob: place if isinstance(place, str) else blob for blob, place in places.items()}
