"""Shapes, costs, errors, and the head that follows from a network."""

from __future__ import annotations

import dataclasses
import itertools

import cv2
import numpy as np
import pytest
from embedded import needs_caffe_importer, needs_onnx
from examples import examples
from hypothesis import given, reject
from hypothesis import strategies as st
from networks import a_blob, by_caffe, by_onnx, by_onnxruntime, random_weights

import opencv_squeezedet as sd
from opencv_squeezedet.formats import onnx_bytes
from opencv_squeezedet.network import (
    Concat,
    Convolution,
    Deconvolution,
    Dropout,
    Eltwise,
    Layer,
    Network,
    Permute,
    Pooling,
    ReLU,
    Reshape,
    Sigmoid,
    Slice,
    Softmax,
    architectures,
)
from opencv_squeezedet.network.head import check_config, derive_config, head_of


def one(
    layer: type[Layer], shape: tuple[int, ...] = (1, 3, 20, 30), tops: tuple[str, ...] = ("y",), **options: object
) -> Network:
    return Network("one", "x", shape, (layer(name="it", bottoms=("x",), tops=tops, **options),))


# ---- shapes, beside OpenCV's, onnxruntime's and onnx' own inference ------------------------------------------------------

pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
pads = st.tuples(st.integers(0, 2), st.integers(0, 2))


@st.composite
def filters(draw: st.DrawFn, name: str, bottom: str) -> Layer:
    kind = draw(st.sampled_from([Convolution, Deconvolution]))
    kernel = draw(pairs)
    return kind(
        name=name,
        bottoms=(bottom,),
        tops=(name,),
        outputs=4,
        kernel=kernel,
        stride=draw(pairs),
        pad=tuple(min(pad, k - 1) for pad, k in zip(draw(pads), kernel, strict=True)),
        dilation=draw(pairs) if kind is Convolution else (1, 1),
        groups=draw(st.sampled_from([1, 2, 4])),
        bias=draw(st.booleans()),
    )


@st.composite
def poolings(draw: st.DrawFn, name: str, bottom: str) -> Layer:
    kernel = draw(st.tuples(st.integers(2, 3), st.integers(2, 3)))
    stride = tuple(draw(st.integers(1, k)) for k in kernel)
    pad = tuple(draw(st.integers(0, 1)) for _ in kernel)
    return Pooling(name=name, bottoms=(bottom,), tops=(name,), kernel=kernel, stride=stride, pad=pad)


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """A chain of filters, pools and activations on four channels, that ends in one of the ways that heads do."""
    layers: list[Layer] = []
    top = "data"
    for i in range(draw(st.integers(1, 3))):
        layers.append(draw(st.one_of(filters(f"f{i}", top), poolings(f"p{i}", top))))
        top = layers[-1].tops[0]
        if draw(st.booleans()):
            layers.append(ReLU(name=f"r{i}", bottoms=(top,), tops=(top,), slope=draw(st.sampled_from([0.0, 0.01]))))
    order = (0, *draw(st.permutations([1, 2, 3])))
    layers.append(Permute(name="permute", bottoms=(top,), tops=("hwc",), order=order))
    size = (draw(st.integers(14, 22)), draw(st.integers(14, 22)))
    network = Network("random", "data", (1, 4, *size), tuple(layers))
    try:
        shape = network.steps[-1].tops[0]
    except sd.ModelError:  # a map smaller than the next kernel
        reject()
    if shape[3] > 1:
        layers.append(Slice(name="slice", bottoms=("hwc",), tops=("a", "b"), points=(1,), axis=3))
        layers.append(Reshape(name="reshape", bottoms=("b",), tops=("flat",), dims=(0, -1, shape[3] - 1)))
        layers.append(Softmax(name="softmax", bottoms=("flat",), tops=("scores",), axis=2))
        layers.append(Sigmoid(name="sigmoid", bottoms=("a",), tops=("confidences",)))
    return dataclasses.replace(network, layers=tuple(layers))


def fits(network: Network) -> bool:
    """Whether all maps are large enough, and no reader's pooling window starts in the padding."""
    try:
        onnx_bytes(network, random_weights(network))
    except sd.ModelError:
        return False
    return True


@needs_onnx
@examples(30)
@given(networks().filter(fits), st.integers(1, 2))
def test_shapes_and_values_are_the_same_everywhere(network: Network, batch: int) -> None:
    import onnx

    weights, blob = random_weights(network), a_blob(network, batch)
    shapes = {top: shape for step in network.steps for top, shape in zip(step.layer.tops, step.tops, strict=True)}
    expected = by_onnxruntime(network, weights, blob)
    assert {top: value.shape for top, value in expected.items()} == {
        top: (batch, *shapes[top][1:]) for top in network.output_names
    }
    inferred = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(onnx_bytes(network, weights)), strict_mode=True)
    for value in inferred.graph.value_info:
        if value.name in shapes and value.name not in network.output_names:
            got = [dim.dim_value for dim in value.type.tensor_type.shape.dim][1:]
            assert tuple(got) == shapes[value.name][1:]
    runs = [by_onnx(network, weights, blob)]
    if hasattr(cv2.dnn, "readNetFromCaffe"):
        runs.append(by_caffe(network, weights, blob))
    for outputs in runs:
        for top, value in expected.items():
            assert outputs[top].shape == value.shape
            np.testing.assert_allclose(outputs[top], value, rtol=1e-4, atol=1e-3)


@needs_caffe_importer
@examples(20)
@given(networks().filter(fits))
def test_opencv_computes_the_same_bits_from_caffe_and_onnx(network: Network) -> None:
    weights, blob = random_weights(network), a_blob(network)
    for (name, one), other in zip(
        by_caffe(network, weights, blob).items(), by_onnx(network, weights, blob).values(), strict=True
    ):
        np.testing.assert_array_equal(one, other, err_msg=name)


def test_costs_of_a_convolution_and_a_deconvolution_count_each_product() -> None:
    convolution = one(Convolution, (2, 6, 8, 9), outputs=4, kernel=(3, 2), stride=(2, 1), groups=2)
    (step,) = convolution.steps
    assert step.weights == [(4, 3, 3, 2), (4,)]
    assert step.tops == [(2, 4, 3, 8)]
    assert step.parameters == 4 * 3 * 3 * 2 + 4
    assert convolution.macs == (4 * 3 * 8) * (3 * 3 * 2)  # output values times products for each; of one input
    deconvolution = one(Deconvolution, (2, 6, 3, 4), outputs=4, kernel=(3, 2), stride=(2, 1), groups=2, bias=False)
    (step,) = deconvolution.steps
    assert step.weights == [(6, 2, 3, 2)]
    assert step.tops == [(2, 4, 7, 5)]
    assert deconvolution.macs == (6 * 3 * 4) * (2 * 3 * 2)  # each input value goes into as many


# ---- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "parts"),
    [
        (one(Convolution, outputs=8, kernel=(3, 3), groups=2), ["3 inputs and 8 outputs", "2 groups"]),
        (one(Convolution, outputs=8, kernel=(21, 3)), ["30x20", "3x21"]),
        (one(Convolution, (1, 3, 20), outputs=8, kernel=(3, 3)), ["(N, C, H, W)", "(1, 3, 20)"]),
        (one(Pooling, (1, 3, 1, 1), kernel=(3, 3), stride=(2, 2)), ["1x1", "3x3"]),
        (one(Softmax, axis=4), ["(1, 3, 20, 30)", "axis 4"]),
        (one(Permute, order=(0, 1, 2)), ["(0, 1, 2)", "(1, 3, 20, 30)"]),
        (one(Slice, tops=("a", "b"), points=(3,)), ["(3,)", "axis 1", "(1, 3, 20, 30)"]),
        (one(Slice, tops=("a", "b"), points=(1, 2)), ["make 3 tops", "it has 2"]),
        (one(Slice, points=(), axis=7), ["no axis 7"]),
        (one(Reshape, dims=(0, 7, 20)), ["1800 values", "(0, 7, 20)"]),
        (one(Reshape, dims=(-1, -1)), ["at most one -1"]),
        (one(Reshape, dims=(1, 3, 20, 30, 0)), ["does not have"]),
        (one(Concat, axis=9), ["no axis 9"]),
    ],
    ids=lambda value: type(value.layers[0]).__name__ if isinstance(value, Network) else "",
)
def test_a_layer_that_does_not_fit_is_named_with_what_it_has_and_what_it_needs(network: Network, parts: list[str]) -> None:
    with pytest.raises(sd.ModelError) as error:
        _ = network.steps
    assert str(error.value).startswith("layer 'it': ")
    for part in parts:
        assert part in str(error.value)


def test_bottoms_of_different_shapes() -> None:
    layers = (
        Convolution(name="wide", bottoms=("x",), tops=("wide",), outputs=3, kernel=(1, 1)),
        Convolution(name="small", bottoms=("x",), tops=("small",), outputs=3, kernel=(3, 3)),
    )
    for kind in (Concat, Eltwise):
        last = kind(name="both", bottoms=("wide", "small"), tops=("both",))
        with pytest.raises(sd.ModelError, match=r"layer 'both': .*\(1, 3, 8, 8\), \(1, 3, 6, 6\)"):
            _ = Network("two", "x", (1, 3, 8, 8), (*layers, last)).steps


def test_missing_bottoms_and_names_that_come_twice() -> None:
    relu = ReLU(name="relu", bottoms=("y",), tops=("y",))
    with pytest.raises(sd.ModelError, match=r"layer 'relu': .*bottom 'y'"):
        _ = Network("none", "x", (1, 3, 8, 8), (relu,)).steps
    dropout = Dropout(name="relu", bottoms=("x",), tops=("x",))
    with pytest.raises(sd.ModelError, match=r"layer 'relu': .*same name"):
        _ = Network("twice", "x", (1, 3, 8, 8), (dropout, dataclasses.replace(dropout))).steps


@pytest.mark.parametrize(("tops", "again"), [(("x", "b"), "x"), (("a", "made"), "made"), (("b", "b"), "b")])
def test_a_blob_is_made_once(tops: tuple[str, str], again: str) -> None:
    """A network whose last layer gives its input again kept OpenCV 5 busy for ever."""
    layers = (
        Dropout(name="first", bottoms=("x",), tops=("made",)),
        Dropout(name="second", bottoms=("made",), tops=("other",)),
        Slice(name="cut", bottoms=("other",), tops=tops, axis=1, points=(1,)),
    )
    with pytest.raises(sd.ModelError, match=rf"layer 'cut': .*top '{again}'"):
        _ = Network("again", "x", (1, 3, 8, 8), layers).steps


def test_a_layer_is_found_by_its_name() -> None:
    network = architectures.squeezenet_v1_1()
    assert network.step("fire2/concat").tops == [(1, 128, 56, 56)]
    with pytest.raises(sd.ModelError, match=r"no layer 'fire2'.*conv1, relu_conv1"):
        network.step("fire2")


def test_outputs_are_the_blobs_that_nobody_reads() -> None:
    assert architectures.squeezedet_lite().output_names == ("delta_bbox", "class_scores", "conf_scores")
    assert architectures.squeezenet_gsoc().output_names == ("predictions",)


# ---- weights -----------------------------------------------------------------------------------------------------------


def test_weights_of_another_network_are_told_apart() -> None:
    network = architectures.squeezedet_gsoc()
    with pytest.raises(sd.ModelError) as error:
        network.check_weights(random_weights(architectures.squeezenet_gsoc()))
    assert str(error.value).startswith("layer 'fire10_squeeze': weights of 96x1000x1x1 and 96 were expected, got none")
    assert "26 (conv1, fire2_squeeze, " in str(error.value)
    assert "7 (fire10_squeeze, fire10_expand_1x1, fire10_expand_3x3, fire11_squeeze, ...) are missing" in str(error.value)


def test_weights_of_other_shapes_and_layers() -> None:
    network = architectures.squeezenet_v1_0()
    with pytest.raises(sd.ModelError) as error:
        network.check_weights({**random_weights(architectures.squeezenet_v1_1()), "mine": []})
    assert str(error.value).startswith("layer 'conv1': weights of 96x3x7x7 and 96 were expected, got 64x3x3x3 and 64")
    assert "2 (conv1, fire2/squeeze1x1) have other shapes" in str(error.value)
    assert "there are also weights for 1 (mine)" in str(error.value)
    network.check_weights({**random_weights(network), "mine": []})  # which is not an error by itself


# ---- the head ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [1, 4])
@pytest.mark.parametrize("anchors", [1, 3])
def test_the_head_follows_from_the_network(classes: int, anchors: int) -> None:
    head = head_of(architectures.squeezedet_lite(classes, anchors, input_size=(320, 256)))
    assert (head.input_size, head.grid) == ((320, 256), (17, 13))  # its first axis is the picture's x
    assert (head.anchors, head.classes, head.layout, head.activated) == (anchors, classes, "hwc", True)
    assert head.outputs == {"delta_bbox": ("slice", 2), "class_scores": ("softmax", 0), "conf_scores": ("sigmoid", 0)}


@pytest.mark.parametrize("name", [name for name in architectures.ARCHITECTURES if "squeezedet" in name])
def test_presets_fit_the_networks_that_they_are_for(name: str) -> None:
    config = sd.KITTI if name == "squeezedet-kitti" else sd.VOC
    network = architectures.ARCHITECTURES[name].build()
    if name == "squeezedet-shuffle":  # the same grid of a smaller input
        config = dataclasses.replace(config, input_size=(384, 384))
    check_config(head_of(network), config)
    kept = {
        "first_axis",
        "centers",
        "delta_order",
        "exp_threshold",
        "corners",
        "iou_epsilon",
        "score_threshold",
        "nms_threshold",
    }
    others = {field: value for field, value in config.to_dict().items() if field in kept}
    assert derive_config(network, anchors=config.anchors, labels=config.labels, **others) == config


@pytest.mark.parametrize(
    ("name", "axis"),
    [("squeezedet-kitti", "y"), ("squeezedet-gsoc", "y"), ("squeezedet-lite", "x"), ("squeezedet-shuffle", "x")],
)
def test_the_first_axis_follows_from_the_permute(name: str, axis: str) -> None:
    """The default "x" put the boxes of networks with rows first at the wrong places."""
    network = architectures.ARCHITECTURES[name].build()
    head = head_of(network)
    assert head.first_axis == axis
    width, height = ((side - 1) // 16 for side in head.input_size)
    assert abs(head.grid[0] - (width if axis == "x" else height)) <= 3  # the longer side of the grid is the picture's
    anchors = [(10.0, 20.0)] * head.anchors
    assert derive_config(network, anchors=anchors).first_axis == axis
    for explicit in ("x", "y"):  # opencv_contrib's weights were trained with "x" on a network with rows first
        assert derive_config(network, anchors=anchors, first_axis=explicit).first_axis == explicit


@pytest.mark.parametrize(("swapped", "axis"), [(False, "y"), (True, "x")])
def test_the_first_axis_with_channels_first(swapped: bool, axis: str) -> None:
    network = channels_first(False)
    if swapped:
        convolution, cut = network.layers
        turned = Permute(name="turn", bottoms=("conv",), tops=("turned",), order=(0, 1, 3, 2))
        network = dataclasses.replace(network, layers=(convolution, turned, dataclasses.replace(cut, bottoms=("turned",))))
    config = derive_config(network, anchors=[(3, 4), (5, 6)])
    assert (config.first_axis, config.layout) == (axis, "chw")
    assert config.grid == ((10, 8) if swapped else (8, 10))


def test_a_network_that_does_not_say_which_axis_is_first() -> None:
    network = channels_first(False)
    convolution, cut = network.layers
    flat = Reshape(name="flat", bottoms=("conv",), tops=("flat",), dims=(0, 16, 8, 10))
    network = dataclasses.replace(network, layers=(convolution, flat, dataclasses.replace(cut, bottoms=("flat",))))
    assert head_of(network).first_axis is None
    with pytest.raises(sd.ModelError, match=r"axis.*first_axis.*'x' or 'y'"):
        derive_config(network, anchors=[(3, 4), (5, 6)])
    assert derive_config(network, anchors=[(3, 4), (5, 6)], first_axis="y").first_axis == "y"


def channels_first(activated: bool) -> Network:
    convolution = Convolution(name="conv", bottoms=("data",), tops=("conv",), outputs=2 * 8, kernel=(3, 3))
    tops = ("class_scores", "conf_scores", "delta_bbox")
    cut = Slice(name="cut", bottoms=("conv",), tops=tops, points=(6, 8))
    network = Network("channels first", "data", (1, 3, 10, 12), (convolution, cut))
    if not activated:
        return network
    sigmoid = Sigmoid(name="sigmoid", bottoms=("conf_scores",), tops=("conf_scores",))
    return dataclasses.replace(network, layers=(*network.layers, sigmoid))


def test_a_head_of_logits_with_channels_first() -> None:
    head = head_of(channels_first(False))
    assert (head.grid, head.anchors, head.classes, head.layout, head.activated) == ((8, 10), 2, 3, "chw", False)
    config = derive_config(channels_first(False), anchors=[(3, 4), (5, 6)])
    assert (config.labels, config.layout, config.activated) == (("class 0", "class 1", "class 2"), "chw", False)
    with pytest.raises(sd.ModelError, match=r"layer 'cut': .*Softmax.*Sigmoid"):
        head_of(channels_first(True))


def test_a_head_whose_blobs_have_other_names() -> None:
    network = channels_first(False)
    renamed = dataclasses.replace(network.layers[1], tops=("a", "b", "c"))
    network = dataclasses.replace(network, layers=(network.layers[0], renamed))
    with pytest.raises(sd.ModelError, match=r"'delta_bbox'.*a, b, c"):
        head_of(network)
    places = {"delta_bbox": ("cut", 2), "class_scores": ("cut", 0), "conf_scores": ("cut", 1)}
    assert head_of(network, places).classes == 3
    assert head_of(network, {"delta_bbox": "c", "class_scores": "a", "conf_scores": "b"}) == head_of(network, places)
    with pytest.raises(sd.ModelError, match=r"layer 'cut': .*3 tops.*delta_bbox"):
        head_of(network, {**places, "delta_bbox": ("cut", 5)})
    with pytest.raises(sd.ModelError, match=r"no layer 'slice'.*conv, cut"):
        head_of(network, {**places, "delta_bbox": ("slice", 2)})


def with_points(*points: int, outputs: int = 225) -> Network:
    tops = ("class_scores", "conf_scores", "delta_bbox")
    layers = (
        Convolution(name="conv", bottoms=("data",), tops=("conv",), outputs=outputs, kernel=(3, 3)),
        Permute(name="permute", bottoms=("conv",), tops=("hwc",), order=(0, 2, 3, 1)),
        Slice(name="slice", bottoms=("hwc",), tops=tops, points=points, axis=3),
    )
    return Network("sliced", "data", (1, 3, 25, 25), layers)


def test_a_slice_that_does_not_match_the_head() -> None:
    with pytest.raises(sd.ModelError, match=r"layer 'slice': delta_bbox of \(1, 23, 23, 37\).*19044"):
        head_of(with_points(179, 188))
    with pytest.raises(sd.ModelError, match=r"layer 'slice': class_scores of .*4761 anchors, a grid of 23x23 with 9"):
        head_of(with_points(181, 190, outputs=226))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_size": (400, 400)}, r"layer 'slice': .* input_size \(416, 416\).*config.* \(400, 400\)"),
        ({"grid": (22, 23)}, r"layer 'slice': .* grid \(23, 23\).*config.* \(22, 23\)"),
        ({"anchors": ((3, 4),)}, r"layer 'sigmoid': .* anchors in a cell 9.*config.* 1"),
        ({"labels": ("cat",)}, r"layer 'softmax': .* classes 20.*config.* 1"),
        ({"layout": "chw"}, r"layer 'slice': .* layout hwc.*config.* chw"),
        ({"activated": False}, r"layer 'softmax': .* activated True.*config.* False"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_config_of_another_head(change: dict[str, object], message: str) -> None:
    with pytest.raises(sd.ModelError, match=message):
        check_config(head_of(architectures.squeezedet_lite()), dataclasses.replace(sd.VOC, **change))


def test_blobs_that_do_not_tell_the_grid() -> None:
    network = channels_first(False)
    flat = Reshape(name="flat", bottoms=("conf_scores",), tops=("conf_scores",), dims=(0, -1))
    with pytest.raises(sd.ModelError, match=r"layer 'flat': conf_scores of \(1, 160\).*grid"):
        head_of(dataclasses.replace(network, layers=(*network.layers, flat)))


@pytest.mark.parametrize(
    ("bottom", "dims", "other", "expected"),
    [
        ((1, 4, 5, 180), (0, 180, 20), (1, 6, 8, 180), (0, 432, 20)),
        ((1, 6, 4, 5), (0, 2, 3, 4, 5), (1, 6, 7, 4), (0, 2, 3, 7, 4)),
        ((1, 6, 4, 4), (1, 6, 16), (1, 6, 4, 8), (1, 6, 32)),
        ((1, 6, 4, 5), (0, 0, -1), (1, 6, 7, 4), (0, 0, -1)),
        ((1, 4, 4, 6), (0, 4, 2, 2, 6), (1, 4, 8, 6), None),
    ],
)
def test_a_reshape_of_fixed_lengths_for_another_bottom(
    bottom: tuple[int, ...], dims: tuple[int, ...], other: tuple[int, ...], expected: tuple[int, ...] | None
) -> None:
    layer = Reshape(name="it", bottoms=("x",), tops=("y",), dims=dims)
    if expected is None:
        with pytest.raises(sd.ModelError, match=r"layer 'it': dims \(0, 4, 2, 2, 6\) are for a bottom of \(1, 4, 4, 6\)"):
            layer.resized([bottom], [other])
        return
    assert layer.resized([bottom], [other]).dims == expected


@pytest.mark.parametrize("name", ["pyramid", "shuffle", "lite", "gsoc"])
def test_a_resized_network_is_the_one_that_is_built_for_the_size(name: str) -> None:
    build = architectures.TRAINABLE[name].build
    assert build().resized((320, 448)) == build(input_size=(320, 448))


def test_input_sizes_that_do_not_fit_a_reshape_of_fixed_lengths() -> None:
    for size in itertools.product([400, 416], repeat=2):
        network = dataclasses.replace(architectures.squeezedet_lite(), input_shape=(1, 3, *size))
        if size == (416, 416):
            assert network.steps
            continue
        with pytest.raises(sd.ModelError, match=r"layer 'reshape': .*\(0, 4761, 20\)"):
            _ = network.steps
