"""Networks as data: layers and graphs, the family's architectures, and what a network says about its head."""

from opencv_squeezedet.network.graph import Network, Step, Weights
from opencv_squeezedet.network.layers import (
    Concat,
    Convolution,
    Deconvolution,
    Dropout,
    Eltwise,
    Layer,
    Pair,
    Permute,
    Pooling,
    ReLU,
    Reshape,
    Shape,
    Sigmoid,
    Slice,
    Softmax,
    shortest,
)

__all__ = [
    "Concat",
    "Convolution",
    "Deconvolution",
    "Dropout",
    "Eltwise",
    "Layer",
    "Network",
    "Pair",
    "Permute",
    "Pooling",
    "ReLU",
    "Reshape",
    "Shape",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Step",
    "Weights",
    "shortest",
]
