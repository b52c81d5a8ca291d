"""The networks of the family: that they are what was published, and what the files in models/ say."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from embedded import needs_caffe_importer
from networks import MODELS, a_blob, by_caffe, by_onnx, random_weights
from shared import DATA, needs

import opencv_squeezedet as sd
from opencv_squeezedet.formats import caffemodel_bytes, prototxt_text, read_caffemodel, read_prototxt
from opencv_squeezedet.network import Convolution, Deconvolution, Network, Upsample, architectures
from opencv_squeezedet.network.architectures import ARCHITECTURES
from opencv_squeezedet.network.head import head_of


@pytest.mark.parametrize(
    ("file", "network"),
    [
        ("SqueezeDet_deploy", architectures.squeezedet_gsoc()),
        ("SqueezeNet_deploy", architectures.squeezenet_gsoc()),
        ("squeezedet_shuffle_voc", architectures.squeezedet_shuffle()),
        ("squeezedet_pyramid_voc", architectures.squeezedet_pyramid()),
        ("squeezenet_v1.0", architectures.squeezenet_v1_0()),
        ("squeezenet_v1.1", architectures.squeezenet_v1_1()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_prototxt_files_are_what_the_description_gives(file: str, network: Network) -> None:
    assert (MODELS / f"{file}.prototxt").read_text() == prototxt_text(network)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [  # of the published networks; torchvision's SqueezeNets have as many
        ("squeezenet-v1.0", 1_248_424),
        ("squeezenet-v1.1", 1_235_496),
        ("squeezenet-gsoc", 1_248_424),
    ],
)
def test_parameters_of_published_networks(name: str, parameters: int) -> None:
    assert ARCHITECTURES[name].build().parameters == parameters


def test_macs_of_published_networks() -> None:
    """torchvision states 0.349 billion for v1.1 at 224."""
    assert round(architectures.squeezenet_v1_1(input_size=(224, 224)).macs / 1e9, 3) == 0.349


@pytest.mark.parametrize(
    ("name", "megabytes"), [("squeezedet-gsoc", 14.2), ("squeezenet-gsoc", 4.8), ("squeezenet-v1.0", 4.8)]
)
def test_caffemodels_have_the_sizes_of_the_published_ones(name: str, megabytes: float) -> None:
    network = ARCHITECTURES[name].build()
    size = len(caffemodel_bytes(network, random_weights(network)))
    assert math.isclose(size / 2**20, megabytes, abs_tol=0.06)


def test_the_gsoc_detector_has_the_maps_and_names_of_its_release() -> None:
    network = architectures.squeezedet_gsoc()
    shapes = {step.layer.name: step.tops for step in network.steps}
    assert shapes["fire11"] == [(1, 768, 25, 25)]
    assert shapes["conv11"] == [(1, 225, 23, 23)]
    assert shapes["slice"] == [(1, 23, 23, 180), (1, 23, 23, 9), (1, 23, 23, 36)]
    assert shapes["softmax"] == [(1, 4761, 20)]
    names = [layer.name for layer in network.layers]
    assert names[:8] == [
        *("conv1", "rect_conv1", "pool1", "fire2_squeeze", "rect_fire2_squeeze", "fire2_expand_1x1"),
        *("rect_fire2_expand_1x1", "fire2_expand_3x3"),
    ]
    assert names[-6:] == ["conv11", "permute", "slice", "reshape", "softmax", "sigmoid"]
    assert {layer.slope for layer in network.layers if layer.name.startswith("rect_")} == {0.01}  # type: ignore[attr-defined]


@needs("weights")
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_released_weights_fit_by_name(version: str) -> None:
    with np.load(DATA / "weights" / f"squeezenet_v{version}_imagenet.npz") as stored:
        for step in ARCHITECTURES[f"squeezenet-v{version}"].build().weighted():
            name = step.layer.name.replace("/", "_")
            assert [stored[f"{name}_w"].shape, stored[f"{name}_b"].shape] == step.weights
            assert f"{name}_w" in stored.files
        assert len(stored.files) == 2 * len(list(ARCHITECTURES[f"squeezenet-v{version}"].build().weighted()))


@pytest.mark.parametrize("name", ["squeezenet-v1.1", "squeezedet-gsoc", "squeezedet-pyramid"])
def test_caffemodels_without_trained_weights(name: str, tmp_path: Path) -> None:
    network = ARCHITECTURES[name].build()
    path = tmp_path / "empty.caffemodel"
    path.write_bytes(caffemodel_bytes(network, network.zero_weights(), half=True))
    read = read_caffemodel(path)
    network.check_weights(read)
    assert sum(blob.size for blobs in read.values() for blob in blobs) == network.parameters
    assert not any(blob.any() for blobs in read.values() for blob in blobs)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_names_are_unique_and_maps_are_read(name: str) -> None:
    network = ARCHITECTURES[name].build()
    assert len({layer.name for layer in network.layers}) == len(network.layers)
    expected = ("delta_bbox", "class_scores", "conf_scores") if "squeezedet" in name else network.layers[-1].tops
    assert network.output_names == expected


@pytest.mark.parametrize(
    ("name", "size"),
    [
        (name, size)
        for name in ARCHITECTURES
        if "squeezedet" in name
        for size in ((320, 320), (384, 192) if name == "squeezedet-shuffle" else (300, 217))
    ],
)
def test_heads_of_other_classes_anchors_and_sizes_run(name: str, size: tuple[int, int]) -> None:
    network = ARCHITECTURES[name].build(classes=3, anchors=2, input_size=size)
    weights, blob = random_weights(network), a_blob(network)
    outputs = by_onnx(network, weights, blob)
    scores = outputs["class_scores"]
    assert scores.shape[2] == 3
    np.testing.assert_allclose(scores.sum(axis=2), 1, atol=1e-5)
    assert outputs["delta_bbox"].size == scores.shape[1] * 4
    assert outputs["conf_scores"].size == scores.shape[1]


def test_inputs_too_small_and_counts_of_nothing() -> None:
    with pytest.raises(sd.ModelError, match=r"layer 'conv11': .*2x2"):
        architectures.squeezedet_gsoc(input_size=(40, 40))
    with pytest.raises(ValueError, match="classes must be at least 1"):
        architectures.squeezedet_lite(classes=0)
    with pytest.raises(ValueError, match="input_size"):
        architectures.squeezenet_v1_0(input_size=416)  # type: ignore[arg-type]


def test_the_pyramid_has_a_deconvolution_for_each_channel() -> None:
    network = architectures.squeezedet_pyramid()
    step = network.step("upsampled")
    assert isinstance(step.layer, Deconvolution)
    assert (step.layer.groups, step.layer.bias, step.weights) == (128, False, [(128, 1, 3, 3)])
    assert step.tops[0][2:] == network.step("middle").tops[0][2:] == network.step("fine").tops[0][2:]
    assert sum(isinstance(layer, Convolution) for layer in network.layers) == len(list(network.weighted())) - 1


def test_the_pyramid_sees_the_whole_picture_and_keeps_its_budget() -> None:
    """The middle of the map with the most context sees all of it; at most 1.6 GMAC and 2 M weights."""
    network = architectures.squeezedet_pyramid()
    assert network.macs <= 1.6e9
    assert network.parameters <= 2.0e6
    reach = 0  # cells of the map after pool9, in each direction
    for number, dilation in ((10, 1), (11, 1), (13, 2), (14, 4)):
        layer = network.step(f"fire{number}_expand_3x3").layer
        assert isinstance(layer, Convolution)
        assert layer.dilation == layer.pad == (dilation, dilation)
        reach += dilation
    assert 2 * reach + 1 >= network.step("sum14").tops[0][2]


@pytest.mark.parametrize("side", [320, 384, 448])
def test_the_shuffle_network_has_a_cell_less_than_its_map(side: int) -> None:
    network = architectures.squeezedet_shuffle(classes=5, anchors=4, input_size=(side, 320))
    columns, rows = side // 16, 20
    assert network.step("mix").tops[0][2:] == (rows, columns)
    assert network.shape_of("delta_bbox") == (1, columns - 1, rows - 1, 16)  # its first axis is the picture's x
    assert network.shape_of("class_scores") == (1, (columns - 1) * (rows - 1) * 4, 5)
    assert network.shape_of("conf_scores") == (1, columns - 1, rows - 1, 4)
    assert head_of(network).first_axis == "x"
    fixed = {step.layer.name for step in network.weighted()} - {step.layer.name for step in network.trained()}
    assert fixed == {layer.name for layer in network.layers if isinstance(layer, Upsample)} != set()


@pytest.mark.parametrize("size", [(416, 384), (384, 300), (33, 64)])
def test_the_shuffle_network_takes_multiples_of_64(size: tuple[int, int]) -> None:
    with pytest.raises(sd.ModelError, match="multiples of 64, got"):
        architectures.squeezedet_shuffle(input_size=size)


def test_the_shuffle_network_has_the_head_of_the_gsoc_detector() -> None:
    """So `InferBbox` decodes its blobs."""
    network = architectures.squeezedet_shuffle()
    assert network.input_size == (384, 384)
    outputs = by_onnx(network, random_weights(network), a_blob(network))
    delta, classes, conf = (outputs[name][0] for name in ("delta_bbox", "class_scores", "conf_scores"))
    assert (delta.shape, classes.shape, conf.shape) == ((23, 23, 36), (4761, 20), (23, 23, 9))
    boxes = sd.InferBbox(delta, classes, conf)
    boxes.filter(0.0)
    assert {found.class_idx for found in boxes.detections} <= set(range(20))
    assert len(boxes.detections) > 0


@needs_caffe_importer
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_opencv_computes_the_same_bits_from_caffe_and_onnx(name: str) -> None:
    """At a small size, for the time; half=True is compared as well, whose values are float32 all the same."""
    small = {"classes": 5, "input_size": (192, 128)}
    network = ARCHITECTURES[name].build(**small)
    weights, blob = random_weights(network), a_blob(network, batch=2)
    for half in (False, True):
        one, other = by_caffe(network, weights, blob, half=half), by_onnx(network, weights, blob, half=half)
        for top in network.output_names:
            np.testing.assert_array_equal(one[top], other[top], err_msg=f"{top}, {half=}")


def test_a_prototxt_of_each_reads_back_as_the_network(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("each")
    for name, architecture in ARCHITECTURES.items():
        path = folder / f"{name}.prototxt"
        path.write_text(prototxt_text(architecture.build()))
        assert read_prototxt(path) == architecture.build()
