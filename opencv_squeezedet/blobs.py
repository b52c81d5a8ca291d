"""The three blobs between the network and post-processing: their names, and the layers or outputs that give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

BlobName = Literal["delta_bbox", "class_scores", "conf_scores"]

BLOBS: tuple[BlobName, ...] = get_args(BlobName)
"""The names, in the order in which every function takes and returns the blobs."""

OutputRef = tuple[str, int] | str
"""The source of a blob: a Caffe layer and the index of its top, or the name of a top or of an output of an ONNX graph."""
OutputRefs = Mapping[str, OutputRef]
"""Sources by blob. A blob that comes from a Caffe layer has the blob's name among the outputs of an ONNX graph."""

CAFFE_OUTPUTS: dict[str, OutputRef] = {
    "delta_bbox": ("slice", 2),
    "class_scores": ("softmax", 0),
    "conf_scores": ("sigmoid", 0),
}
"""The sources of the three blobs in opencv_contrib's network."""


class Blobs(NamedTuple):
    """The network's outputs, with a leading axis for the pictures, in the order that `postprocess` takes."""

    delta_bbox: NDArray[np.float32]
    class_scores: NDArray[np.float32]
    conf_scores: NDArray[np.float32]


def onnx_names(refs: OutputRefs) -> dict[str, str]:
    """Return the name of the output of an ONNX graph that gives each blob."""
    return {blob: ref if isinstance(ref, str) else blob for blob, ref in refs.items()}
