"""ONNX: read back as it was written, in other exports' forms, refused where it is none; the same values everywhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from embedded import ONNX
from model_mutations import detector
from networks import MODELS, a_blob, by_onnx, by_onnxruntime, load_network, random_weights, same_weights

import opencv_squeezedet as sd
from opencv_squeezedet.formats import onnx_bytes, read_onnx
from opencv_squeezedet.network import (
    Convolution,
    Dropout,
    Eltwise,
    Network,
    Permute,
    ReLU,
    Reshape,
    Sigmoid,
    Slice,
    Softmax,
)
from opencv_squeezedet.network.architectures import ARCHITECTURES

onnx = pytest.importorskip("onnx", reason="needs onnx, of the extra [test]")
TensorProto, helper, numpy_helper = onnx.TensorProto, onnx.helper, onnx.numpy_helper


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_is_written_reads_back(name: str, half: bool, tmp_path: Path) -> None:
    network = ARCHITECTURES[name].build()
    weights = random_weights(network)
    path = tmp_path / "net.onnx"
    path.write_bytes(onnx_bytes(network, weights, half=half))
    read, read_weights = load_network(path)
    assert read == network
    if half:
        weights = {key: [blob.astype(np.float16).astype(np.float32) for blob in blobs] for key, blobs in weights.items()}
    assert same_weights(read_weights, weights)
    assert all(blob.dtype == np.float32 and blob.flags.writeable for blobs in read_weights.values() for blob in blobs)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_is_written_is_onnx_to_its_own_library(name: str, half: bool) -> None:
    network = ARCHITECTURES[name].build()
    content = onnx_bytes(network, random_weights(network), half=half)
    model = onnx.load_model_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    assert model.SerializeToString() == content


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_all_that_run_onnx_agree(name: str) -> None:
    network = ARCHITECTURES[name].build(classes=5, input_size=(192, 128))
    weights, blob = random_weights(network), a_blob(network, batch=2)
    for half in (False, True):
        expected = by_onnxruntime(network, weights, blob, half=half)
        for top, value in by_onnx(network, weights, blob, half=half).items():
            assert value.shape == expected[top].shape
            span = float(np.abs(expected[top]).max())
            np.testing.assert_allclose(value, expected[top], rtol=0, atol=1e-3 * max(span, 1), err_msg=f"{top} {half=}")


def test_the_embedded_model_gives_the_same_blobs_on_opencv_and_onnxruntime() -> None:
    network, weights = load_network(ONNX)
    blob = a_blob(network)
    expected = by_onnxruntime(network, weights, blob)
    for top, value in by_onnx(network, weights, blob).items():
        np.testing.assert_allclose(value, expected[top], atol=2e-5, err_msg=top)


def test_outputs_inputs_and_the_batch_are_declared() -> None:
    model = onnx.load(ONNX)
    dims = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert dims == {
        "data": ["batch", 3, 384, 384],
        "delta_bbox": ["batch", 23, 23, 36],
        "class_scores": ["batch", 4761, 20],
        "conf_scores": ["batch", 23, 23, 9],
    }
    assert [entry.version for entry in model.opset_import] == [11]
    onnx.checker.check_model(model, full_check=True)


def test_a_batch_that_a_layer_fixes_is_fixed() -> None:
    reshape = Reshape(name="flat", bottoms=("data",), tops=("flat",), dims=(2, -1))
    content = onnx_bytes(Network("fixed", "data", (2, 3, 4, 5), (reshape,)), {})
    graph = onnx.load_model_from_string(content).graph
    assert [dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim] == [2, 3, 4, 5]
    assert [dim.dim_value for dim in graph.output[0].type.tensor_type.shape.dim] == [2, 60]


def test_a_network_without_a_name_is_written_too(tmp_path: Path) -> None:
    """Caffe's need none, ONNX's do."""
    network = Network("", "data", (1, 3, 4, 5), (ReLU(name="relu", bottoms=("data",), tops=("y",)),))
    (tmp_path / "it.onnx").write_bytes(onnx_bytes(network, {}))
    assert read_onnx(tmp_path / "it.onnx")[0] == dataclasses.replace(network, name="network")


def test_a_blob_without_a_name() -> None:
    with pytest.raises(sd.ModelError, match=r"layer 'relu': .*no name"):
        onnx_bytes(Network("it", "data", (1, 3, 4, 5), (ReLU(name="relu", bottoms=("data",), tops=("",)),)), {})


def test_a_softmax_before_other_axes_needs_opset_13() -> None:
    network = Network("one", "data", (1, 3, 9, 9), (Softmax(name="it", bottoms=("data",), tops=("y",), axis=2),))
    assert [entry.version for entry in onnx.load_model_from_string(onnx_bytes(network, {})).opset_import] == [13]
    with pytest.raises(sd.ModelError, match=r"layer 'it': .*Softmax.*axis, 2"):
        onnx_bytes(network, {}, opset=11)


# ---- other exports -----------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(0)
KERNEL = RNG.standard_normal((4, 3, 3, 3)).astype(np.float32)
BIAS = RNG.standard_normal(4).astype(np.float32)


def _tensor(name: str, value: Any) -> Any:
    return value if isinstance(value, TensorProto) else numpy_helper.from_array(value, name)


def model(
    nodes: Sequence[Any],
    constants: dict[str, Any] | None = None,
    *,
    shape: tuple[Any, ...] = ("N", 3, 9, 9),
    outputs: tuple[str, ...] = ("y",),
    opset: int = 17,
    change: Callable[[Any], None] = lambda model: None,
) -> bytes:
    graph = helper.make_graph(
        list(nodes),
        "exported",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [
            value if isinstance(value, TensorProto) else numpy_helper.from_array(value, name)
            for name, value in (constants or {}).items()
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    change(made)
    return bytes(made.SerializeToString())


@pytest.fixture
def read(tmp_path: Path) -> Callable[[bytes], tuple[Network, Any]]:
    def read_content(content: bytes) -> tuple[Network, Any]:
        path = tmp_path / "net.onnx"
        path.write_bytes(content)
        return read_onnx(path)

    return read_content


def test_an_export_in_a_newer_opset(read: Callable[[bytes], tuple[Network, Any]]) -> None:
    """As torch writes them: slashes in names, Split and Reshape by constants, Softmax over one axis, Identity at the end."""
    content = model(
        [
            helper.make_node("Conv", ["x", "net.conv.weight", "net.conv.bias"], ["/conv"], name="/net/conv", pads=[1] * 4),
            helper.make_node("LeakyRelu", ["/conv"], ["/act"], name="/net/act", alpha=0.01),
            helper.make_node("Dropout", ["/act", "ratio"], ["/drop"], name="/net/drop"),
            helper.make_node("Transpose", ["/drop"], ["/hwc"], name="/net/permute", perm=[0, 3, 2, 1]),
            helper.make_node("Constant", [], ["sizes"], value=numpy_helper.from_array(np.array([1, 3]))),
            helper.make_node("Split", ["/hwc", "sizes"], ["/a", "/b"], name="/net/split", axis=-1),
            helper.make_node("Reshape", ["/b", "dims"], ["/flat"], name="/net/reshape"),
            helper.make_node("Softmax", ["/flat"], ["/scores"], name="/net/softmax", axis=-1),
            helper.make_node("Sigmoid", ["/a"], ["confidences"]),
            helper.make_node("Identity", ["/scores"], ["scores"]),
        ],
        {
            "net.conv.weight": KERNEL,
            "net.conv.bias": BIAS,
            "ratio": np.array(0.5, np.float32),
            "dims": np.array([0, -1, 3], np.int64),
        },
        outputs=("scores", "confidences"),
    )
    network, weights = read(content)
    assert network == Network(
        "exported",
        "x",
        (1, 3, 9, 9),
        (
            Convolution(name="/net/conv", bottoms=("x",), tops=("/drop",), outputs=4, kernel=(3, 3), pad=(1, 1)),
            ReLU(name="/net/act", bottoms=("/drop",), tops=("/drop",), slope=0.01),
            Dropout(name="/net/drop", bottoms=("/drop",), tops=("/drop",), ratio=0.5),
            Permute(name="/net/permute", bottoms=("/drop",), tops=("/hwc",), order=(0, 3, 2, 1)),
            Slice(name="/net/split", bottoms=("/hwc",), tops=("/a", "/b"), points=(1,), axis=3),
            Reshape(name="/net/reshape", bottoms=("/b",), tops=("/flat",), dims=(0, -1, 3)),
            Softmax(name="/net/softmax", bottoms=("/flat",), tops=("scores",), axis=2),
            Sigmoid(name="confidences", bottoms=("/a",), tops=("confidences",)),
        ),
    )
    np.testing.assert_array_equal(weights["/net/conv"][0], KERNEL)


def test_an_export_has_the_values_of_the_network_that_is_read_from_it(read: Callable[[bytes], tuple[Network, Any]]) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    content = model(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], strides=[2, 2]),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("AveragePool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
            helper.make_node("GlobalMaxPool", ["c"], ["m"]),
            helper.make_node("GlobalAveragePool", ["p"], ["a"]),
            helper.make_node("Add", ["a", "m"], ["s"]),
            helper.make_node("Concat", ["s", "a"], ["y"], axis=1),
        ],
        {"w": KERNEL},
        shape=(1, 3, 9, 9),
    )
    network, weights = read(content)
    assert Eltwise(name="s", bottoms=("a", "m"), tops=("s",)) in network.layers
    blob = a_blob(network)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (expected,) = session.run(["y"], {"x": blob})
    np.testing.assert_allclose(by_onnxruntime(network, weights, blob)["y"], expected, rtol=1e-6)
    np.testing.assert_allclose(by_onnx(network, weights, blob)["y"], expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    "stored",
    [
        numpy_helper.from_array(KERNEL, "w"),
        helper.make_tensor("w", TensorProto.FLOAT, KERNEL.shape, KERNEL.ravel().tolist()),
        helper.make_tensor("w", TensorProto.DOUBLE, KERNEL.shape, KERNEL.ravel().tolist()),
        numpy_helper.from_array(KERNEL.astype(np.float16), "w"),
        helper.make_tensor("w", TensorProto.FLOAT16, KERNEL.shape, KERNEL.astype(np.float16).ravel()),
    ],
    ids=["raw", "float_data", "double_data", "raw float16", "float16 in integers"],
)
def test_all_forms_of_a_constant(read: Callable[[bytes], tuple[Network, Any]], stored: Any) -> None:
    _, weights = read(model([helper.make_node("Conv", ["x", "w"], ["y"])], {"w": stored}))
    np.testing.assert_array_equal(weights["y"][0], numpy_helper.to_array(stored).astype(np.float32))


def test_a_relu_beside_others_is_not_in_place(read: Callable[[bytes], tuple[Network, Any]]) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Sum", ["c", "r"], ["y"]),
    ]
    network, _ = read(model(nodes, {"w": KERNEL}))
    assert network.layers[1] == ReLU(name="r", bottoms=("c",), tops=("r",))


# ---- refused -----------------------------------------------------------------------------------------------------------


def node(op: str, *inputs: str, outputs: tuple[str, ...] = ("y",), **attributes: Any) -> Any:
    return helper.make_node(op, inputs, outputs, name="it", **attributes)


def external(made: Any) -> None:
    made.graph.initializer[0].data_location = TensorProto.EXTERNAL


def short(made: Any) -> None:
    made.graph.initializer[0].dims[0] = 2**30


def negative(made: Any) -> None:
    made.graph.initializer[0].dims[0] = -4


NO_CHANGE: dict[str, Any] = {}


@pytest.mark.parametrize(
    ("nodes", "options", "message"),
    [
        ([node("BatchNormalization", "x", "w", "w", "w", "w")], NO_CHANGE, r"node 'it' \(BatchNormalization\): "),
        ([node("Conv", "z", "w")], NO_CHANGE, r"node 'it' \(Conv\): .*input 'z'"),
        ([node("Conv", "x", "x")], NO_CHANGE, r"node 'it' \(Conv\): .*constant.*input 1, got 'x'"),
        ([node("Conv", "x")], NO_CHANGE, r"node 'it' \(Conv\): .*kernel"),
        ([node("Conv", "x", "w", "w", "w")], NO_CHANGE, "kernel of four axes.*bias"),
        ([node("Conv", "x", "w", pads=[0, 0, 1, 1])], NO_CHANGE, r"pads.*got \[0, 0, 1, 1\]"),
        ([node("Conv", "x", "w", auto_pad="SAME_UPPER")], NO_CHANGE, "pads.*got auto_pad 'SAME_UPPER'"),
        ([node("Conv", "x", "w", strides=[0, 1])], NO_CHANGE, r"strides.*got \[0, 1\]"),
        ([node("Conv", "x", "w", kernel_shape=[1, 1])], NO_CHANGE, r"kernel_shape.*\(4, 3, 3, 3\)"),
        ([node("Conv", "x", "w", group=2)], NO_CHANGE, "layer 'it': 3 inputs and 4 outputs.*2 groups"),
        ([node("Conv", "x", "w", "long")], NO_CHANGE, "layer 'it': .*4x3x3x3 and 4 .*4x3x3x3 and 5"),
        ([node("ConvTranspose", "x", "v", output_padding=[1, 1])], NO_CHANGE, "output_padding"),
        ([node("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2])], NO_CHANGE, "do not end where Caffe's do"),
        ([node("MaxPool", "x", kernel_shape=[2, 2], dilations=[2, 2])], NO_CHANGE, "no dilations"),
        ([node("AveragePool", "x", kernel_shape=[3, 3], pads=[1] * 4)], NO_CHANGE, "count_include_pad"),
        ([node("Softmax", "x", axis=1)], {"opset": 11}, r"opset 13"),
        ([node("Softmax", "x", axis=4)], NO_CHANGE, r"\(1, 3, 9, 9\).*axis 4"),
        ([node("Split", "x", "dims", outputs=("y", "z"), axis=1)], NO_CHANGE, r"lengths \(0, -1\)"),
        ([node("Reshape", "x", "w")], NO_CHANGE, "integers.*input 1, got float32"),
        ([node("Reshape", "x", "dims", allowzero=1)], NO_CHANGE, r"lengths.*got \(0, -1\)"),
        (
            [node("Add", "x", "w")],
            NO_CHANGE,
            r"node 'it' \(Add\): 1 to 2 inputs .* 0 constants, .*\['x', 'w'\]",
        ),
        ([node("Relu", "w")], NO_CHANGE, r"inputs.*got \['w'\]"),
        ([node("Relu", "x", outputs=("x",))], {"outputs": ("x",)}, r"an earlier node gives 'x' as well"),
        ([node("Identity", "x")], NO_CHANGE, r"node 'it' \(Identity\): .*'x'"),
        ([node("Relu", "x", outputs=("z",))], NO_CHANGE, "no node gives the output 'y'"),
        ([node("Relu", "x")], {"shape": (1, 3, "H", "W")}, r"input 'x': .*\(N, C, H, W\)"),
        ([node("Relu", "x")], {"shape": (1, 27)}, r"input 'x': a shape \(N, C, H, W\)"),
        ([node("Conv", "x", "w")], {"change": external}, "constant 'w': .*folder"),
        (
            [node("Conv", "x", "w")],
            {"change": short},
            r"constant 'w': 115964116992 bytes were expected for its shape \(1073741824, 3, 3, 3\), the file has 432",
        ),
        ([node("Conv", "x", "w")], {"change": negative}, r"constant 'w': .*got \(-4, 3, 3, 3\)"),
        ([], NO_CHANGE, "no nodes"),
    ],
)
def test_errors_name_the_node(
    read: Callable[[bytes], tuple[Network, Any]], nodes: list[Any], options: dict[str, Any], message: str
) -> None:
    constants = {"w": KERNEL, "v": KERNEL[:3], "long": np.zeros(5, np.float32), "dims": np.array([0, -1])}
    with pytest.raises(sd.ModelError, match=rf"net\.onnx': .*({message})"):
        read(model(nodes, constants, **options))


def test_files_that_are_no_onnx(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    for content in (b"", b"name: 'net'", (MODELS / "squeezedet_shuffle_voc.caffemodel").read_bytes()):
        path.write_bytes(content)
        with pytest.raises(sd.ModelError, match=r"net\.onnx': "):
            read_onnx(path)
    with pytest.raises(FileNotFoundError):
        read_onnx(tmp_path / "nothing.onnx")


def test_an_onnx_file_takes_no_other_weights(tmp_path: Path) -> None:
    with pytest.raises(sd.ModelError, match=r"weights of its own.*w\.caffemodel'"):
        load_network(ONNX, tmp_path / "w.caffemodel")


def test_a_stem_without_a_prototxt_is_the_onnx_file(tmp_path: Path) -> None:
    network = dataclasses.replace(ARCHITECTURES["squeezenet-v1.1"].build(), name="mine")
    (tmp_path / "mine.onnx").write_bytes(onnx_bytes(network, random_weights(network)))
    assert load_network(tmp_path / "mine")[0] == network


@pytest.mark.parametrize("half", [False, True])
def test_the_bytes_of_a_small_network(half: bool, golden: Callable[[str, bytes], None]) -> None:
    """One layer of each kind; the weights count up, so that they are the same everywhere."""
    network = detector()
    weights = {
        step.layer.name: [np.arange(np.prod(shape), dtype=np.float32).reshape(shape) / 8 for shape in step.weights]
        for step in network.weighted()
    }
    golden("half.onnx" if half else "small.onnx", onnx_bytes(network, weights, half=half))
