"""Each layer against NumPy, wherever it runs; and in each format, read back as it was written."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from embedded import HAS_CAFFE
from networks import Array, by_caffe, by_onnx, by_onnxruntime, same_weights

import opencv_squeezedet as sd
from opencv_squeezedet.formats import caffemodel_bytes, onnx_bytes, prototxt_text, read_caffemodel, read_onnx, read_prototxt
from opencv_squeezedet.formats._caffe_layers import SCHEMA
from opencv_squeezedet.network import (
    LAYERS,
    Deconvolution,
    Layer,
    Network,
    Permute,
    PReLU,
    Reshape,
    ShuffleChannel,
    Softmax,
    Upsample,
    Weights,
)

BLOBS: dict[str, Any] = {"name": "it", "bottoms": ("data",), "tops": ("top",)}
SHAPE = (2, 6, 4, 5)


@dataclass
class Case:
    """A layer, what it makes of a blob and its weights in NumPy, and the shape of the blob."""

    layer: Layer
    expected: Callable[..., Array]
    shape: tuple[int, ...] = SHAPE
    weights: Sequence[Array] = ()
    network: Network = field(init=False)

    def __post_init__(self) -> None:
        self.network = Network("one", "data", self.shape, (self.layer,))

    @property
    def all_weights(self) -> Weights:
        return {"it": list(self.weights)} if self.weights else {}


def upsampled(x: Array, ones: Array) -> Array:
    return x.repeat(ones.shape[2], axis=2).repeat(ones.shape[3], axis=3)


def shuffled(groups: int) -> Callable[[Array], Array]:
    """Channel g * k + i of the bottom is channel i * groups + g of the top."""

    def shuffle(x: Array) -> Array:
        k = x.shape[1] // groups
        return x[:, [channel % groups * k + channel // groups for channel in range(x.shape[1])]]

    return shuffle


def ones(channels: int, factor: int) -> list[Array]:
    return [np.ones((channels, 1, factor, factor), np.float32)]


def rectified(x: Array, slopes: Array) -> Array:
    return np.where(x > 0, x, slopes.reshape(1, -1, 1, 1) * x)


SLOPES = np.random.default_rng(1).standard_normal(6).astype(np.float32)

CASES = {
    "upsample": Case(Upsample(**BLOBS, channels=6), upsampled, weights=ones(6, 2)),
    "upsample-1": Case(Upsample(**BLOBS, channels=6, factor=1), upsampled, weights=ones(6, 1)),
    "upsample-3": Case(Upsample(**BLOBS, channels=5, factor=3), upsampled, (1, 5, 3, 7), ones(5, 3)),
    "prelu": Case(PReLU(**BLOBS), rectified, weights=[SLOPES]),
    "prelu-1": Case(PReLU(**BLOBS), rectified, (1, 1, 4, 5), [SLOPES[:1]]),
    "prelu-shared": Case(PReLU(**BLOBS, shared=True), rectified, weights=[SLOPES[:1]]),
    "shuffle": Case(ShuffleChannel(**BLOBS), shuffled(2)),
    "shuffle-3": Case(ShuffleChannel(**BLOBS, groups=3), shuffled(3)),
}


def by_torch(network: Network, weights: Weights, blob: Array) -> dict[str, Array]:
    torch = pytest.importorskip("torch", reason="the extra [train] brings torch")
    from opencv_squeezedet.training.module import TorchNetwork

    model = TorchNetwork(network).eval()
    model.load_weights(weights)
    assert same_weights(model.weights(), weights)
    with torch.inference_mode():
        tops = model(torch.from_numpy(blob))
    return dict(zip(network.output_names, (top.numpy() for top in tops), strict=True))


RUNNERS: dict[str, Callable[..., dict[str, Array]]] = {"onnxruntime": by_onnxruntime, "opencv": by_onnx, "torch": by_torch}
RUNNERS |= {"caffe": by_caffe} if HAS_CAFFE else {}


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("name", CASES)
def test_values(name: str, runner: str) -> None:
    case = CASES[name]
    blob = np.random.default_rng(0).standard_normal(case.shape).astype(np.float32)
    (top,) = RUNNERS[runner](case.network, case.all_weights, blob).values()
    expected = case.expected(blob, *case.weights)
    assert top.shape == expected.shape == case.network.steps[0].tops[0]
    np.testing.assert_allclose(top, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_files_read_back(name: str, half: bool, tmp_path: Path) -> None:
    case = CASES[name]
    network, weights = case.network, case.all_weights
    (tmp_path / "it.prototxt").write_text(prototxt_text(network))
    assert read_prototxt(tmp_path / "it.prototxt") == network
    (tmp_path / "it.onnx").write_bytes(onnx_bytes(network, weights, half=half))
    read, read_weights = read_onnx(tmp_path / "it.onnx")
    assert (read.layers, read.output_names) == (network.layers, network.output_names)
    assert same_weights(read_weights, weights) or half
    assert all(blob.flags.writeable for blobs in read_weights.values() for blob in blobs)
    if weights:
        (tmp_path / "it.caffemodel").write_bytes(caffemodel_bytes(read, read_weights, half=half))
        assert same_weights(read_caffemodel(tmp_path / "it.caffemodel"), read_weights)


@pytest.mark.parametrize("name", CASES)
def test_onnx_s_own_library_accepts_the_nodes(name: str) -> None:
    onnx = pytest.importorskip("onnx", reason="needs onnx, of the extra [test]")
    for opset in (11, 13):
        content = onnx_bytes(CASES[name].network, CASES[name].all_weights, opset=opset)
        onnx.checker.check_model(onnx.load_model_from_string(content), full_check=True)


def test_every_message_of_options_has_its_own_number() -> None:
    for message in ("LayerParameter", "V1LayerParameter"):
        fields = SCHEMA.fields[message]
        assert len(SCHEMA.numbers[message]) == len(fields)
        assert {kind.caffe.name for kind in LAYERS.values() if kind.caffe} <= set(fields) or message != "LayerParameter"


def test_layers_are_read_from_the_type_that_they_are_written_as() -> None:
    for name, kind in LAYERS.items():
        assert (kind.caffe_type or name) in LAYERS
        assert kind.__name__ == name
    operators = [operator for kind in LAYERS.values() for operator in kind.onnx]
    assert len(set(operators)) == len(operators)


# ---- Upsample ----------------------------------------------------------------------------------------------------------


def test_an_upsample_that_does_not_fit() -> None:
    with pytest.raises(sd.ModelError, match="layer 'it': a bottom of 4 channels was expected, got 6"):
        _ = Network("one", "data", SHAPE, (Upsample(**BLOBS, channels=4),)).steps
    with pytest.raises(sd.ModelError, match=r"layer 'it': a bottom of .* was expected, got"):
        Upsample(**BLOBS, channels=6).top_shapes([(6, 4)])
    with pytest.raises(sd.ModelError, match="layer 'it': a kernel of ones"):
        onnx_bytes(CASES["upsample"].network, {"it": [np.full((6, 1, 2, 2), 0.5, np.float32)]})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("lr_mult: 0.0", "lr_mult: 1.0"),
        ('type: "constant"', 'type: "bilinear"'),
        ("value: 1.0", "value: 2.0"),
        ("bias_term: false", "bias_term: true"),
        ("stride: 2", "stride: 1"),
        ("group: 6", "group: 3"),
        ("kernel_size: 2", "kernel_size: 3"),
        ("param {\n    lr_mult: 0.0\n  }\n", ""),
    ],
)
def test_a_deconvolution_that_is_trained_or_has_another_kernel_is_no_upsample(old: str, new: str, tmp_path: Path) -> None:
    text = prototxt_text(CASES["upsample"].network)
    assert text.count(old) == 1
    (tmp_path / "it.prototxt").write_text(text.replace(old, new))
    (layer,) = read_prototxt(tmp_path / "it.prototxt").layers
    assert type(layer) is Deconvolution


def test_a_deconvolution_of_caffe_s_first_version_is_no_upsample(tmp_path: Path) -> None:
    """There ``param`` are names."""
    (tmp_path / "it.prototxt").write_text(
        'input: "data" input_dim: [1, 2, 4, 4] layers { name: "it" type: DECONVOLUTION bottom: "data" top: "top" '
        'param: "shared" convolution_param { num_output: 2 group: 2 kernel_size: 2 stride: 2 bias_term: false '
        'weight_filler { type: "constant" value: 1 } } }'
    )
    (layer,) = read_prototxt(tmp_path / "it.prototxt").layers
    assert type(layer) is Deconvolution


def resize(*, scales: Sequence[float] = (1, 1, 2, 2), region: bool = False, shape: Sequence[int] = SHAPE, **how: Any) -> bytes:
    """A Resize as torch exports it."""
    onnx = pytest.importorskip("onnx", reason="needs onnx, of the extra [test]")
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    options = {"coordinate_transformation_mode": "asymmetric", "mode": "nearest", "nearest_mode": "floor"} | how
    given = {name: value for name, value in options.items() if value is not None}
    constants = [helper.make_tensor("scales", floats, [len(scales)], scales)]
    if region:
        constants.append(helper.make_tensor("region", floats, [0], []))
    node = helper.make_node("Resize", ["data", "region" if region else "", "scales"], ["top"], "it", **given)
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("data", floats, shape)],
        [helper.make_tensor_value_info("top", floats, None)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("options", [{}, {"region": True}, {"cubic_coeff_a": -0.75}], ids=str)
def test_resize_as_others_export_it_is_an_upsample(options: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "it.onnx").write_bytes(resize(**options))
    network, weights = read_onnx(tmp_path / "it.onnx")
    assert network.layers == (Upsample(**BLOBS, channels=6),)
    assert same_weights(weights, CASES["upsample"].all_weights)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "linear"}, "nearest, asymmetric and floor, was expected, got linear"),
        ({"coordinate_transformation_mode": None}, "got nearest, half_pixel"),
        ({"nearest_mode": "ceil"}, "got nearest, asymmetric, ceil"),
        ({"scales": (1, 1, 2, 3)}, "the same whole scale"),
        ({"scales": (1, 2, 2, 2)}, "the same whole scale"),
        ({"scales": (1, 1, 1.5, 1.5)}, "the same whole scale"),
        ({"scales": (1, 1, 0, 0)}, "the same whole scale"),
        ({"scales": (1, 1, -2, -2)}, "the same whole scale"),
        ({"scales": (1, 1, np.nan, np.nan)}, "the same whole scale"),
        ({"scales": (1, 1, np.inf, np.inf)}, "the same whole scale"),
        ({"scales": (2, 2)}, "the same whole scale"),
        ({"exclude_outside": 1}, "it has an attribute 'exclude_outside'"),
    ],
    ids=str,
)
def test_another_resize_is_not_a_layer_here(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "it.onnx").write_bytes(resize(**options))
    with pytest.raises(sd.errors.UnknownLayerError, match=rf"node 'it' \(Resize\): .*{message}"):
        read_onnx(tmp_path / "it.onnx")


@pytest.mark.parametrize(
    ("scale", "shape", "message"),
    [
        (40_000, (1, 1, 1, 1), "at most 32768"),
        (1 << 14, (1, 100, 1, 1), "expand far beyond the file's size"),
        (3e38, (1, 1, 1, 1), "at most 32768"),
    ],
)
def test_a_small_file_does_not_get_a_large_kernel(scale: float, shape: Sequence[int], message: str, tmp_path: Path) -> None:
    (tmp_path / "it.onnx").write_bytes(resize(scales=(1, 1, scale, scale), shape=shape))
    with pytest.raises(sd.ModelError, match=message):
        read_onnx(tmp_path / "it.onnx")


# ---- ShuffleChannel ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("groups", [0, 4, 7])
def test_channels_that_do_not_fall_into_groups(groups: int) -> None:
    with pytest.raises(sd.ModelError, match=f"layer 'it': 6 channels cannot be split into {groups} groups"):
        _ = Network("one", "data", SHAPE, (ShuffleChannel(**BLOBS, groups=groups),)).steps


@pytest.mark.skipif(importlib.util.find_spec("onnx") is None, reason="needs onnx, of the extra [test]")
@pytest.mark.parametrize("change", ["name", "rows", "order", "shape", "output"])
def test_nodes_that_are_not_a_shuffle_stay_layers(change: str, tmp_path: Path) -> None:
    import onnx

    model = onnx.load_model_from_string(onnx_bytes(CASES["shuffle"].network, {}))
    split, swap, _ = model.graph.node
    stored = {constant.name: constant for constant in model.graph.initializer}
    if change == "name":
        split.name = "other"
    elif change == "rows":
        stored["it/split.shape"].raw_data = np.array([0, 2, 15, 4], "<i8").tobytes()
    elif change == "order":
        swap.attribute[0].ints[:] = [0, 1, 3, 2]
    elif change == "shape":
        stored["it.shape"].raw_data = np.array([0, 6, 5, 4], "<i8").tobytes()
    else:  # another node reads what is between
        model.graph.output.append(onnx.helper.make_tensor_value_info(swap.output[0], onnx.TensorProto.FLOAT, None))
    (tmp_path / "it.onnx").write_bytes(model.SerializeToString())
    network, _ = read_onnx(tmp_path / "it.onnx")
    assert [type(layer) for layer in network.layers] == [Reshape, Permute, Reshape]
    if change == "name":
        blob = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
        np.testing.assert_array_equal(by_onnxruntime(network, {}, blob)["top"], shuffled(2)(blob))


# ---- PReLU -------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(importlib.util.find_spec("onnx") is None, reason="needs onnx, of the extra [test]")
@pytest.mark.parametrize(
    ("shape", "shared"),
    [
        ((6, 1, 1), False),
        ((1, 6, 1, 1), False),
        ((), True),
        ((1,), True),
        ((1, 1, 1, 1), True),
        ((5,), None),
        ((2, 1, 1), None),
    ],
)
def test_slopes_as_others_export_them(shape: tuple[int, ...], shared: bool | None, tmp_path: Path) -> None:
    import onnx

    model = onnx.load_model_from_string(onnx_bytes(CASES["prelu"].network, CASES["prelu"].all_weights))
    slopes = np.resize(SLOPES, shape)
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(slopes, "it.weight"))
    (tmp_path / "it.onnx").write_bytes(model.SerializeToString())
    if shared is None:
        with pytest.raises(sd.errors.UnknownLayerError, match=r"node 'it' \(PRelu\): one slope, or one for each channel"):
            read_onnx(tmp_path / "it.onnx")
        return
    network, weights = read_onnx(tmp_path / "it.onnx")
    assert network.layers == (PReLU(**BLOBS, shared=shared),)
    assert same_weights(weights, {"it": [slopes.reshape(-1)]})


def test_a_prelu_works_in_place_and_needs_channels(tmp_path: Path) -> None:
    layers = (Upsample(**BLOBS, channels=6), PReLU(name="prelu", bottoms=("top",), tops=("top",)))
    network, weights = Network("two", "data", SHAPE, layers), {"it": ones(6, 2), "prelu": [SLOPES]}
    (tmp_path / "it.onnx").write_bytes(onnx_bytes(network, weights))
    assert read_onnx(tmp_path / "it.onnx")[0].layers == layers
    with pytest.raises(sd.ModelError, match=r"layer 'it': a bottom of .* has no axis 1"):
        PReLU(**BLOBS).top_shapes([(6,)])


@pytest.mark.parametrize(
    ("layer", "rank", "keeps"),
    [
        (PReLU(**BLOBS), 1, True),
        (PReLU(**BLOBS), 4, True),
        (Softmax(**BLOBS, axis=1), 2, True),
        (Softmax(**BLOBS, axis=0), 2, False),
        (Softmax(**BLOBS, axis=-2), 2, False),
    ],
)
def test_the_batch_is_kept_unless_it_is_the_axis(layer: Layer, rank: int, keeps: bool) -> None:
    assert layer.keeps_batch(rank) == keeps
