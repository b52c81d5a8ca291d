"""Networks with random weights, and their outputs on what can run them: what the tests of formats share."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from opencv_squeezedet.files import StrPath
from opencv_squeezedet.formats import caffemodel_bytes, onnx_bytes, prototxt_text
from opencv_squeezedet.model import Model
from opencv_squeezedet.network import Network, Shape, Weights

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "models"
Array = NDArray[np.float32]


def load_network(model: StrPath, weights: StrPath | None = None) -> tuple[Network, Weights]:
    """The layers and the weights of a model."""
    loaded = Model.load(model, weights)
    return loaded.network, loaded.weights


def random_weights(network: Network, seed: int = 0) -> Weights:
    """Weights under which the size of values stays about the same from layer to layer; fixed ones as they are."""
    rng = np.random.default_rng(seed)

    def blob(shape: Shape) -> Array:
        scale = math.sqrt(2 / math.prod(shape[1:])) if len(shape) > 1 else 0.1
        return (rng.standard_normal(shape) * scale).astype(np.float32)

    drawn = {step.layer.name: [blob(shape) for shape in step.weights] for step in network.trained()}
    return network.zero_weights() | drawn


def same_weights(one: Weights, other: Weights) -> bool:
    return one.keys() == other.keys() and all(
        len(one[name]) == len(other[name]) and all(map(np.array_equal, one[name], other[name])) for name in one
    )


def a_blob(network: Network, batch: int = 1, seed: int = 0) -> Array:
    shape = (batch, *network.input_shape[1:])
    return np.random.default_rng(seed).uniform(-120, 140, shape).astype(np.float32)


def by_caffe(network: Network, weights: Weights, blob: Array, *, half: bool = False) -> dict[str, Array]:
    """The network's outputs by OpenCV's Caffe importer."""
    definition = np.frombuffer(prototxt_text(network).encode(), np.uint8)
    content = np.frombuffer(caffemodel_bytes(network, weights, half=half), np.uint8)
    net = cv2.dnn.readNetFromCaffe(definition, content)
    net.setInput(blob)
    makers = [next(layer for layer in reversed(network.layers) if top in layer.tops) for top in network.output_names]
    results = net.forwardAndRetrieve([layer.name for layer in makers])
    return {
        top: np.asarray(tops[layer.tops.index(top)])
        for top, layer, tops in zip(network.output_names, makers, results, strict=True)
    }


def by_onnx(network: Network, weights: Weights, blob: Array, *, half: bool = False) -> dict[str, Array]:
    """The network's outputs by OpenCV's ONNX importer."""
    net = cv2.dnn.readNetFromONNX(np.frombuffer(onnx_bytes(network, weights, half=half), np.uint8))
    net.setInput(blob)
    names = list(network.output_names)
    return dict(zip(names, map(np.asarray, net.forward(names)), strict=True))


def by_onnxruntime(network: Network, weights: Weights, blob: Array, *, half: bool = False) -> dict[str, Array]:
    """The network's outputs by onnxruntime."""
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    content = onnx_bytes(network, weights, half=half)
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = list(network.output_names)
    return dict(zip(names, session.run(names, {network.input_name: blob}), strict=True))
