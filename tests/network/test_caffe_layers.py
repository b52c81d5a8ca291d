"""Layers that are read from Caffe's files and written to ONNX, but not trained: each against NumPy, and as text read back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pytest
from networks import Array

import opencv_squeezedet as sd
from opencv_squeezedet._opencv import HAS_GRAPH_ENGINE
from opencv_squeezedet.formats import onnx_bytes, prototxt_text
from opencv_squeezedet.formats.prototxt import parse_prototxt
from opencv_squeezedet.network import (
    LRN,
    MVN,
    Axpy,
    BatchNorm,
    Convolution,
    Crop,
    DetectionOutput,
    Dropout,
    Eltwise,
    Exp,
    Flatten,
    InnerProduct,
    Interp,
    Layer,
    Network,
    Normalize,
    Pooling,
    Power,
    PriorBox,
    Reorg,
    Reshape,
    ROIPooling,
    Scale,
    Silence,
    Slice,
    Softmax,
    Split,
)
from opencv_squeezedet.network.layers import elementwise

SHAPE = (2, 6, 5, 7)
RNG = np.random.default_rng(3)


def values(*shape: int, least: float = -1.0) -> Array:
    return RNG.uniform(least, 1, shape).astype(np.float32)


def floats(numbers: Sequence[Any]) -> Array:
    return np.array(numbers, np.float32)


@dataclass
class Case:
    """A layer, its tops in NumPy, and its inputs and weights."""

    layer: Layer
    expected: Callable[..., Any]
    inputs: Sequence[Array] = (values(*SHAPE),)
    weights: Sequence[Array] = ()

    @property
    def network(self) -> Network:
        (first, *more) = zip(self.layer.bottoms, (values.shape for values in self.inputs), strict=True)
        return Network("one", *first, (self.layer,), tuple(more))


def blobs(bottoms: int = 1, tops: int = 1) -> dict[str, Any]:
    return {"name": "it", "bottoms": tuple("abc"[:bottoms]), "tops": tuple("xyz"[:tops])}


def pooled(x: Array, kernel: int, stride: int, pad: int, *, greatest: bool) -> Array:
    """Caffe's windows: rounded up, within the padded input; an average counts the padding."""
    sides = [math.ceil((side + 2 * pad - kernel) / stride) + 1 for side in x.shape[2:]]
    rows, columns = (n - (pad > 0 and (n - 1) * stride >= side + pad) for n, side in zip(sides, x.shape[2:], strict=True))
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)), constant_values=-np.inf if greatest else 0)
    windows = [[padded[:, :, i * stride :, j * stride :][:, :, :kernel, :kernel] for j in range(columns)] for i in range(rows)]
    return np.stack([np.stack([w.max((2, 3)) if greatest else w.mean((2, 3)) for w in row], -1) for row in windows], -2)


def enlarged(x: Array) -> Array:
    """Linear interpolation to twice as many intervals."""
    rows = np.stack([np.interp(np.arange(9) / 2, np.arange(5), column) for column in x.transpose(0, 1, 3, 2).reshape(-1, 5)])
    rows = rows.reshape(2, 6, 7, 9).transpose(0, 1, 3, 2)
    return np.stack([np.interp(np.arange(13) / 2, np.arange(7), row) for row in rows.reshape(-1, 7)]).reshape(2, 6, 9, 13)


def reorganized(x: Array) -> Array:
    """Darknet's loops."""
    n, channels, height, width = x.shape
    source, top = x.reshape(n, -1), np.empty(x.size, np.float32).reshape(n, -1)
    for k, j, i in np.ndindex(channels, height, width):
        offset, channel = divmod(k, channels // 4)
        place = i * 2 + offset % 2 + width * 2 * (j * 2 + offset // 2 + height * 2 * channel)
        top[:, i + width * (j + height * k)] = source[:, place]
    return top.reshape(n, channels * 4, height // 2, width // 2)


def standard(x: Array, axes: tuple[int, ...], eps: float) -> Array:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


def within(x: Array) -> Array:
    squares = np.pad(x * x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    mean = sum(squares[:, :, i : i + 5, j : j + 7] for i in range(3) for j in range(3)) / 9
    return np.asarray(x * (1 + 0.5 * mean) ** -0.75)


X, C11, FACTORS = values(*SHAPE), values(2, 6, 1, 1), values(6)
BOXES = floats([[0.1, 0.1, 0.3, 0.4], [0.1, 0.1, 0.3, 0.42], [0.5, 0.5, 0.9, 0.8]])
PRIORS = np.stack([BOXES.reshape(-1), np.tile(floats([0.1, 0.1, 0.2, 0.2]), 3)])[None]
SCORES = floats([[0.1, 0.9, 0.3, 0.7, 0.4, 0.6]])  # background and one class for each
FOUND = floats([[0, 1, 0.9, *BOXES[0]], [0, 1, 0.6, *BOXES[2]], [0] * 7, [0] * 7])[None, None]
DETECTION: dict[str, Any] = {"classes": 2, "background": 0, "nms_threshold": 0.45, "keep": 4, "score_threshold": 0.05}
REGION = floats([[0, 0, 0, 6, 4]])

CASES = {
    "abs": Case(elementwise.AbsVal(**blobs()), np.abs),
    "bnll": Case(elementwise.BNLL(**blobs()), lambda x: np.logaddexp(0, x), [90 * X]),
    "elu": Case(elementwise.ELU(**blobs(), alpha=0.4), lambda x: np.where(x > 0, x, 0.4 * np.expm1(x))),
    "log": Case(elementwise.Log(**blobs()), np.log, [values(*SHAPE, least=0.1)]),
    "sqrt": Case(elementwise.Sqrt(**blobs()), np.sqrt, [values(*SHAPE, least=0.1)]),
    "tanh": Case(elementwise.TanH(**blobs()), np.tanh),
    "swish": Case(elementwise.Swish(**blobs()), lambda x: x / (1 + np.exp(-x))),
    "mish": Case(elementwise.Mish(**blobs()), lambda x: x * np.tanh(np.log1p(np.exp(x)))),
    "relu6": Case(elementwise.ReLU6(**blobs()), lambda x: x.clip(0, 6), [10 * X]),
    "power": Case(Power(**blobs(), power=2.0, scale=0.5, shift=1.5), lambda x: (1.5 + 0.5 * x) ** 2),
    "power-1": Case(Power(**blobs()), lambda x: x),
    "exp": Case(Exp(**blobs(), base=2.0, scale=0.5, shift=0.3), lambda x: 2 ** (0.3 + 0.5 * x)),
    "exp-e": Case(Exp(**blobs()), np.exp),
    "dropout": Case(Dropout(**blobs(), ratio=0.25, scale=False), lambda x: 0.75 * x),
    "softmax": Case(Softmax(**blobs()), lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True)),
    "sum": Case(Eltwise(**blobs(2), coefficients=(1.0, -0.5)), lambda x, y: x - 0.5 * y, [X, C11]),
    "product": Case(Eltwise(**blobs(3), operation="product"), lambda x, y, z: x * y * z, [X, C11, -X]),
    "greatest": Case(Eltwise(**blobs(2), operation="max"), np.maximum, [X, -X]),
    "axpy": Case(Axpy(**blobs(3)), lambda a, x, y: a * x + y, [C11, X, -2 * X]),
    "crop": Case(Crop(**blobs(2), offsets=(1, 3)), lambda x, y: x[:, :, 1:4, 3:5], [X, values(2, 1, 3, 2)]),
    "crop-all": Case(Crop(**blobs(2), axis=-3, offsets=(1,)), lambda x, y: x[:, 1:3, 1:4, 1:3], [X, values(2, 2, 3, 2)]),
    "slice": Case(Slice(**blobs(1, 3), axis=-3), lambda x: (x[:, :2], x[:, 2:4], x[:, 4:])),
    "split": Case(Split(**blobs(1, 2)), lambda x: (x, x)),
    "silence": Case(Silence(**blobs(2, 1)), lambda x, y: x, [X, C11]),
    "flatten": Case(Flatten(**blobs(), last=-2), lambda x: x.reshape(2, 30, 7)),
    "reshape": Case(Reshape(**blobs(), dims=(0, -1), axis=1, axes=2), lambda x: x),
    "reshape-1": Case(Reshape(**blobs(), dims=(2, -1), axis=1, axes=1), lambda x: x.reshape(2, 2, 3, 5, 7)),
    "reorg": Case(Reorg(**blobs()), reorganized, [values(1, 4, 6, 8)]),
    "ip": Case(
        InnerProduct(**blobs(), outputs=3), lambda x, w, b: x.reshape(2, -1) @ w.T + b, [X], [values(3, 210), values(3)]
    ),
    "ip-axis": Case(InnerProduct(**blobs(), outputs=3, axis=-1, bias=False), lambda x, w: x @ w.T, [X], [values(3, 7)]),
    "ip-transposed": Case(
        InnerProduct(**blobs(), outputs=3, axis=-1, bias=False, transposed=True), lambda x, w: x @ w, [X], [values(7, 3)]
    ),
    "bn": Case(
        BatchNorm(**blobs(), eps=0.01),
        lambda x, m, v, f: (x - (m / f)[:, None, None]) / np.sqrt((v / f)[:, None, None] + 0.01),
        [X],
        [FACTORS, FACTORS**2, floats([0.5])],
    ),
    "bn-own": Case(
        BatchNorm(**blobs(), stored=False), lambda x, *_: standard(x, (2, 3), 1e-5), [X[:1]], [FACTORS] * 2 + [X[0, 0, 0, :1]]
    ),
    "scale": Case(
        Scale(**blobs(), bias=True), lambda x, s, b: x * s[:, None, None] + b[:, None, None], [X], [FACTORS, -FACTORS]
    ),
    "scale-axes": Case(Scale(**blobs(), axis=-2, axes=-1), lambda x, s: x * s, [X], [values(5, 7)]),
    "scale-blob": Case(Scale(**blobs(2), axis=0), lambda x, s: x * s[:, :, None, None], [X, C11[:, :, 0, 0]]),
    "lrn": Case(LRN(**blobs(), size=1, alpha=0.5, k=2.0), lambda x: x / (2 + 0.5 * x * x) ** 0.75),
    "lrn-within": Case(LRN(**blobs(), size=3, alpha=0.5, within=True), within),
    "mvn": Case(MVN(**blobs(), across=True, eps=0.1), lambda x: standard(x, (1, 2, 3), 0.1)),
    "mvn-mean": Case(MVN(**blobs(), variance=False), lambda x: x - x.mean((2, 3), keepdims=True)),
    "normalize": Case(
        Normalize(**blobs(), across=False, shared=False),
        lambda x, s: x / np.linalg.norm(x, axis=1, keepdims=True) * s[:, None, None],
        [X],
        [FACTORS],
    ),
    "interp": Case(Interp(**blobs(), zoom=2), enlarged),
    "interp-size": Case(Interp(**blobs(), size=(9, 13)), enlarged),
    "roi": Case(ROIPooling(**blobs(2), grid=(1, 1)), lambda x, _: x.max((2, 3), keepdims=True), [X[:1], REGION]),
    "conv-two": Case(
        Convolution(**blobs(2, 2), outputs=1, kernel=(1, 1), bias=False),
        lambda x, y, w: (x * w, y * w),
        [X[:, :1], -X[:, :1]],
        [values(1, 1, 1, 1)],
    ),
    **{
        f"pool-{method}-{kernel}-{stride}-{pad}": Case(
            Pooling(**blobs(), method=method, kernel=(kernel,) * 2, stride=(stride,) * 2, pad=(pad,) * 2),
            lambda x, k=kernel, s=stride, p=pad, m=method: pooled(x, k, s, p, greatest=m == "max"),
            [values(1, 2, 8, 11)],
        )
        for method in ("max", "average")
        for kernel, stride, pad in ((3, 2, 0), (3, 2, 1), (2, 2, 1), (5, 3, 0), (3, 1, 1))
    },
    "priors": Case(
        PriorBox(**blobs(2), smallest=(4.0,), largest=(9.0,), ratios=(4.0,), clip=False, variance=(0.1,)),
        lambda *_: np.stack([floats([3, 3, 7, 7, 2, 2, 8, 8, 1, 4, 9, 6, 4, 1, 6, 9]) / 10, np.full(16, 0.1, np.float32)])[
            None
        ],
        [values(1, 1, 1, 1), values(1, 3, 10, 10)],
    ),
    "detections": Case(
        DetectionOutput(**blobs(3), **DETECTION), lambda *_: FOUND, [np.zeros((1, 12), np.float32), SCORES, PRIORS]
    ),
    "detections-centred": Case(
        DetectionOutput(**blobs(3), **DETECTION, centred=True, top_k=2, clip=True),
        lambda *_: FOUND * floats([1, 0, 0, 0])[:, None],
        [np.zeros((1, 12), np.float32), SCORES, PRIORS],
    ),
}


def run(case: Case, *, opencv: bool) -> list[Array]:
    network = case.network
    content = onnx_bytes(network, {"it": list(case.weights)} if case.weights else {}, opencv=opencv)
    inputs = dict(zip(case.layer.bottoms, case.inputs, strict=True))
    if opencv:
        net = cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8))
        for name, blob in inputs.items():
            net.setInput(blob, name)
        return list(net.forward(list(case.layer.tops)))
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return list(session.run(list(case.layer.tops), inputs))


@pytest.mark.parametrize(
    "opencv", [False, pytest.param(True, marks=pytest.mark.skipif(not HAS_GRAPH_ENGINE, reason="OpenCV 5's"))]
)
@pytest.mark.parametrize("name", CASES)
def test_values(name: str, opencv: bool) -> None:
    case = CASES[name]
    expected = case.expected(*case.inputs, *case.weights)
    tops = run(case, opencv=opencv)
    for top, shape, values in zip(
        tops, case.network.steps[0].tops, expected if isinstance(expected, tuple) else (expected,), strict=True
    ):
        assert top.shape == shape == values.shape
        np.testing.assert_allclose(top, values, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_text_read_back(name: str) -> None:
    network = CASES[name].network
    assert parse_prototxt(prototxt_text(network).encode()) == network


@pytest.mark.parametrize("name", CASES)
def test_onnx_s_own_library_accepts_the_nodes(name: str) -> None:
    onnx = pytest.importorskip("onnx", reason="needs onnx, of the extra [test]")
    case = CASES[name]
    content = onnx_bytes(case.network, {"it": list(case.weights)} if case.weights else {})
    onnx.checker.check_model(onnx.load_model_from_string(content), full_check=name != "roi")


def test_layers_and_weights_of_one_name() -> None:
    layer = 'layer { name: "same" type: "%s" bottom: "%s" top: "%s" %s }'
    network = parse_prototxt(
        ('input: "a" input_dim: [1, 2, 3, 4] ' + layer % ("Scale", "a", "b", "") + layer % ("Scale", "b", "c", "")).encode()
    )
    assert [one.name for one in network.layers] == ["same", "same_1"]


def test_an_input_that_is_overwritten() -> None:
    layer = Power(name="it", bottoms=("data",), tops=("data",), shift=1.0)
    network = Network("one", "data", SHAPE, (layer, Power(name="more", bottoms=("data",), tops=("y",), scale=2.0)))
    content = onnx_bytes(network, {}, opencv=HAS_GRAPH_ENGINE)
    net = cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8))
    net.setInput(X)
    np.testing.assert_allclose(net.forward(), 2 * (X + 1), rtol=1e-6)
    onnx_bytes(Network("one", "data", SHAPE, (layer,)), {})


@pytest.mark.parametrize(
    ("layer", "inputs", "message"),
    [
        (Eltwise(**blobs(2)), [X, values(2, 4, 5, 7)], "bottoms of the same shape"),
        (Crop(**blobs(2), offsets=(3,)), [X, X], "offsets .* exceed"),
        (Scale(**blobs(2)), [X, values(5)], "does not fit axis 1"),
        (Slice(**blobs(1, 2), axis=3), [X], "2 equal parts"),
        (BatchNorm(**blobs(), stored=False), [X], "a batch of one map"),
        (Reorg(**blobs()), [X], "a stride of 2"),
        (DetectionOutput(**blobs(3), **DETECTION), [np.zeros((1, 8)), SCORES, PRIORS], r"deltas of \(1, 12\)"),
        (ROIPooling(**blobs(2), grid=(1, 1)), [X, values(2, 4)], "regions of"),
        (Interp(**blobs(), size=(1 << 16, 2)), [X], "at most"),
    ],
)
def test_bottoms_that_do_not_fit(layer: Layer, inputs: Sequence[Array], message: str) -> None:
    with pytest.raises(sd.ModelError, match=f"layer 'it': .*{message}"):
        _ = Case(layer, lambda *_: None, inputs).network.steps


@pytest.mark.skipif(not HAS_GRAPH_ENGINE, reason="OpenCV 5's")
@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("pool-")])
def test_what_is_written_for_opencv_5_fits_inputs_of_other_sizes(name: str) -> None:
    case, other = CASES[name], values(3, 2, 9, 14)
    net = cv2.dnn.readNetFromONNX(np.frombuffer(onnx_bytes(case.network, {}, opencv=True), np.uint8))
    for blob in (case.inputs[0], other):
        net.setInput(blob)
        expected = case.expected(blob)
        top = net.forward()
        assert top.shape == expected.shape
        np.testing.assert_allclose(top, expected, rtol=1e-5, atol=1e-5)
