"""A network in torch: its outputs, its weights, its head, and the files that are written of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import reference
from embedded import needs_caffe_importer
from networks import a_blob, by_caffe, by_onnx, random_weights, same_weights
from shared import DATA, needs

import opencv_squeezedet as sd
from opencv_squeezedet.config import HeadConfig
from opencv_squeezedet.errors import ModelError
from opencv_squeezedet.formats import caffemodel_bytes
from opencv_squeezedet.model import Model
from opencv_squeezedet.network import (
    Concat,
    Convolution,
    Deconvolution,
    Dropout,
    Eltwise,
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

torch = pytest.importorskip("torch", reason="the extra [train] brings torch")

from training_cases import PYRAMID  # noqa: E402  (one thread)

from opencv_squeezedet.preprocess import Preprocess  # noqa: E402
from opencv_squeezedet.training import Recipe  # noqa: E402
from opencv_squeezedet.training.module import TorchNetwork  # noqa: E402
from opencv_squeezedet.training.predictions import (  # noqa: E402
    anchors_of,
    decode_xyxy,
    iou_xyxy,
    logit_channels,
    predictions,
)
from opencv_squeezedet.training.start import (  # noqa: E402
    build_model,
    keep_head_rows,
    network_and_head,
    start_anchors,
    start_weights,
)

SMALL = architectures.squeezedet_pyramid(3, 2, (96, 128))
BLOBS = ("delta_bbox", "class_scores", "conf_scores")


def run(model: TorchNetwork, blob: np.ndarray, outputs: tuple[str, ...] | None = None) -> list[np.ndarray]:
    with torch.inference_mode():
        return [top.numpy() for top in model(torch.from_numpy(blob), outputs)]


# ---- outputs -----------------------------------------------------------------------------------------------------------


@needs_caffe_importer
def test_the_embedded_model_is_the_same_in_torch() -> None:
    network, weights = architectures.squeezedet_shuffle(), start_weights("embedded")
    model = TorchNetwork(network).eval()
    assert len(model.load_weights(weights)) == len(list(network.trained()))
    image = cv2.imread(str(Path(__file__).parents[2] / "samples" / "chelsea.jpg"))
    detector = sd.SqueezeDet()
    expected = detector.forward(image)
    for name, found in zip(BLOBS, run(model, detector.preprocess.blob(image), BLOBS), strict=True):
        value = getattr(expected, name)
        np.testing.assert_allclose(found.reshape(value.shape), value, atol=1e-4 * max(1, np.abs(value).max()), err_msg=name)


@needs_caffe_importer
def test_every_layer() -> None:
    """One of each, with the options that the architectures leave alone."""
    options = {"kernel": (3, 1), "stride": (2, 1), "pad": (1, 0), "dilation": (2, 1)}
    layers = (
        Convolution(name="a", bottoms=("data",), tops=("a",), outputs=8, **options),
        Convolution(name="b", bottoms=("a",), tops=("b",), outputs=8, kernel=(3, 3), pad=(1, 1), groups=4, bias=False),
        ReLU(name="c", bottoms=("b",), tops=("c",), slope=0.1),
        Eltwise(name="d", bottoms=("a", "c", "b"), tops=("d",)),
        Dropout(name="e", bottoms=("d",), tops=("e",)),
        Pooling(name="f", bottoms=("e",), tops=("f",), kernel=(3, 2), stride=(2, 2), pad=(1, 0)),
        Pooling(name="g", bottoms=("e",), tops=("g",), method="average"),
        Deconvolution(name="h.x", bottoms=("f",), tops=("h",), outputs=8, kernel=(2, 3), stride=(2, 2), groups=8),
        Permute(name="i", bottoms=("h",), tops=("i",), order=(0, 3, 2, 1)),
        Slice(name="j", bottoms=("i",), tops=("j1", "j2"), points=(3,), axis=3),
        Softmax(name="k", bottoms=("j1",), tops=("k",), axis=3),
        Sigmoid(name="l", bottoms=("j2",), tops=("l",)),
        Concat(name="m", bottoms=("k", "l"), tops=("m",), axis=3),
        Reshape(name="n", bottoms=("m",), tops=("n",), dims=(0, -1, 8)),
    )
    network = Network("all", "data", (1, 3, 13, 16), layers)
    weights, blob = random_weights(network), a_blob(network) / 100
    model = TorchNetwork(network).eval()
    model.load_weights(weights)
    expected = by_caffe(network, weights, blob)
    for name, found in zip(network.output_names, run(model, blob), strict=True):
        np.testing.assert_allclose(found, expected[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_only_what_is_asked_for_is_run() -> None:
    model = TorchNetwork(SMALL).eval()
    (fire2,) = run(model, a_blob(SMALL), ("fire2",))
    assert fire2.shape == SMALL.step("fire2").tops[0]
    model.filters["conv15"] = None  # would fail if it were run
    run(model, a_blob(SMALL), ("fire9",))


# ---- weights -----------------------------------------------------------------------------------------------------------


def test_weights_that_do_not_fit() -> None:
    weights = random_weights(SMALL)
    weights["conv1"][0] = weights["conv1"][0][:, :2]
    del weights["fine"]
    model, before = TorchNetwork(SMALL), random_weights(SMALL, seed=1)
    assert model.load_weights(before) == [step.layer.name for step in SMALL.weighted()]
    with pytest.raises(ModelError, match="'conv1'"):
        model.load_weights(weights)
    assert same_weights(model.weights(), before)
    loaded = model.load_weights(weights, strict=False)
    assert {"conv1", "fine"} == {step.layer.name for step in SMALL.weighted()} - set(loaded)
    np.testing.assert_array_equal(model.weights()["conv1"][0], before["conv1"][0])


def test_batch_normalisation_is_folded_into_the_weights() -> None:
    names = ("fire12_squeeze", "fine", "conv15")
    torch.manual_seed(0)
    model = TorchNetwork(SMALL, names)
    model.load_weights(random_weights(SMALL))
    for norm in model.norms.values():
        for tensor, low, high in ((norm.weight, 0.5, 2), (norm.bias, -1, 1), (norm.running_mean, -1, 1)):
            torch.nn.init.uniform_(tensor, low, high)
        torch.nn.init.uniform_(norm.running_var, 0.2, 3)
    folded = TorchNetwork(SMALL)
    folded.load_weights(model.weights())
    blob = a_blob(SMALL)
    for one, other in zip(run(model.eval(), blob), run(folded.eval(), blob), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


# ---- where weights come from ---------------------------------------------------------------------------------------------


def test_a_training_begins_with_the_embedded_trunk() -> None:
    recipe = Recipe(input_size=(128, 64))
    network, config = network_and_head(recipe, ["nut", "bolt"])
    model, loaded = build_model(network, recipe)
    assert loaded.keys() == {step.layer.name for step in network.trained()} - {"convdet"}  # it depends on the classes
    embedded = start_weights("embedded")
    np.testing.assert_array_equal(model.weights()["stage3_1_in"][0], embedded["stage3_1_in"][0])
    frozen = {name for name in loaded if not next(model.filters[name].parameters()).requires_grad}
    assert frozen == {name for name in loaded if name.split("_")[0] in ("conv1", "stage2")}
    assert not model.norms
    conf_scores = run(model.eval(), a_blob(network) / 100, ("conf_scores",))[0]
    assert 0 < np.median(conf_scores) < 0.1  # almost sure of being background
    assert config.labels == ("nut", "bolt")


def test_the_same_network_begins_where_it_ended() -> None:
    """With as many classes the whole of the embedded model fits."""
    recipe = Recipe()
    network, _ = network_and_head(recipe, sd.VOC.labels)
    model, loaded = build_model(network, recipe)
    assert len(loaded) == len(model.filters)
    assert not model.norms


@pytest.mark.parametrize("labels", [("dog", "bolt", "cat"), ("nut",), sd.VOC.labels[::-1]])
def test_a_head_keeps_the_rows_of_the_classes_that_it_knows(labels: tuple[str, ...]) -> None:
    """Its scores of these classes, its boxes and its confidences are those of the start; not so with other anchors."""
    recipe = Recipe(input_size=(128, 128))
    network, config = network_and_head(recipe, labels)
    model, loaded = build_model(network, recipe, labels=labels)
    channels = logit_channels(network)
    assert channels.layer not in loaded
    assert keep_head_rows(model, config, "embedded") == tuple(label for label in labels if label in sd.VOC.labels)
    old, new = start_weights("embedded")[channels.layer], model.weights()[channels.layer]
    anchors = len(config.anchors)
    for before, after in zip(old, new, strict=True):
        np.testing.assert_array_equal(after[anchors * len(labels) :], before[anchors * 20 :])
        by_class, by_old = after[: anchors * len(labels)], before[: anchors * 20]
        for i, label in enumerate(labels):
            row = sd.VOC.labels.index(label) if label in sd.VOC.labels else 0
            same = np.array_equal(by_class[i :: len(labels)], by_old[row::20])
            assert same == (label in sd.VOC.labels)
    other = replace(config, anchors=[(w + 5, h) for w, h in config.anchors])
    assert keep_head_rows(model, other, "embedded") == ()


def test_weights_of_every_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = architectures.squeezenet_v1_1()
    weights = random_weights(network)
    (tmp_path / "w.caffemodel").write_bytes(caffemodel_bytes(network, weights))
    arrays = {f"{name.replace('/', '_')}_{kind}": blob for name, blobs in weights.items() for kind, blob in zip("wb", blobs)}  # noqa: B905
    np.savez(tmp_path / "w.npz", **arrays)
    recipe = Recipe(network="lite", input_size=(96, 96), start=PYRAMID)
    described, _ = network_and_head(recipe, ["nut"])
    one, loaded = build_model(described, replace(recipe, start=str(tmp_path / "w.caffemodel")))
    other, same = build_model(described, replace(recipe, start=str(tmp_path / "w.npz")))
    assert list(loaded) == list(same)
    assert len(loaded) == 1 + 8 * 3
    assert same_weights(one.weights(), other.weights())
    np.testing.assert_array_equal(one.weights()["fire9_expand_3x3"][0], weights["fire9/expand3x3"][0])


@needs("weights")
def test_the_gsoc_network_begins_with_v1_0() -> None:
    recipe = Recipe(network="gsoc", input_size=(160, 160), start=str(DATA / "weights" / "squeezenet_v1.0_imagenet.npz"))
    assert len(build_model(network_and_head(recipe, ["nut"])[0], recipe)[1]) == 26  # with conv10, which the detector has too


def test_weights_that_cannot_be_read(tmp_path: Path) -> None:
    for name in (str(tmp_path / "none.npz"), str(tmp_path / "none.caffemodel"), "nothing-of-this-name"):
        with pytest.raises(FileNotFoundError):
            start_weights(name)
    np.savez(tmp_path / "half.npz", conv1_w=np.zeros((1, 1, 1, 1)))
    with pytest.raises(ModelError, match="LAYER_w"):
        start_weights(str(tmp_path / "half.npz"))
    np.savez(tmp_path / "other.npz", foo_w=np.zeros(1), foo_b=np.zeros(1))
    recipe = Recipe(input_size=(64, 64), start=str(tmp_path / "other.npz"))
    with pytest.raises(ModelError, match="has no weights that fit a layer of SqueezeDetShuffle"):
        build_model(network_and_head(recipe, ["nut"])[0], recipe)


@pytest.mark.parametrize("anchors", [None, [(20.0, 30.0), (60.0, 50.0)]])
def test_anchors_are_the_same_for_every_size(anchors: list[tuple[float, float]] | None) -> None:
    """The network is fully convolutional: the same deltas must give the same box, in pixels."""
    recipe = Recipe(network="pyramid", input_size=(288, 224), small=0.5, vary=1, anchors=anchors, start=PYRAMID)
    heads = [network_and_head(recipe, ["nut"], size)[1] for sizes, _ in recipe.sizes for size in sizes]
    assert len({head.input_size for head in heads}) == len({head.grid for head in heads}) > 3
    assert len({head.anchors for head in heads}) == 1
    assert np.allclose(heads[0].anchors, sd.VOC.anchors if anchors is None else anchors)


def start_with(folder: Path, head: HeadConfig | None) -> str:
    """A model to start from, with this head in its description, or without a description."""
    network = architectures.squeezenet_v1_1()
    preprocess = None if head is None else Preprocess(head.input_size)
    Model(network, random_weights(network), head, preprocess).save(folder / "model.caffemodel")
    return str(folder / "model")


def test_anchors_of_the_model_to_start_from(tmp_path: Path) -> None:
    """In pixels, as they are, if there are nine; the recipe's own have precedence, and published ones are scaled."""
    scaled = [(w / 2, h / 4) for w, h in sd.VOC.anchors]
    nine = [(10.0 + i, 20.0 + i) for i in range(9)]
    heads = replace(sd.VOC, anchors=nine), replace(sd.VOC, anchors=nine[:5]), None
    for number, (head, anchors) in enumerate(zip(heads, (nine, scaled, scaled), strict=True)):
        folder = tmp_path / str(number)
        folder.mkdir()
        recipe = Recipe(network="pyramid", input_size=(208, 104), start=start_with(folder, head))
        np.testing.assert_allclose(start_anchors(recipe), anchors)
        np.testing.assert_allclose(network_and_head(recipe, ["nut"])[1].anchors, anchors)
        np.testing.assert_allclose(start_anchors(replace(recipe, anchors=nine[:3])), nine[:3])
    assert np.allclose(
        start_anchors(Recipe(input_size=(192, 192))), np.array(sd.VOC.anchors) * 384 / 416
    )  # the embedded model's
    (tmp_path / "0" / "model.json").write_text('{"preprocess": {"size": [9, 9]}, "head": {"anchors": [[3]]}}')
    with pytest.raises(ModelError, match="anchors"):
        start_anchors(Recipe(start=str(tmp_path / "0" / "model")))


def test_a_smaller_input_starts_with_the_same_boxes() -> None:
    """Before any training, the embedded model's boxes in half a picture have the sizes that they have in the whole one."""
    detector = sd.SqueezeDet()
    recipe = Recipe(input_size=(192, 192))
    network, config = network_and_head(recipe, sd.VOC.labels)
    model, _ = build_model(network, recipe)
    image = cv2.resize(cv2.imread(str(Path(__file__).parents[2] / "samples" / "chelsea.jpg")), (192, 192))
    whole = np.full((384, 384, 3), detector.preprocess.mean, np.uint8)
    whole[:192, :192] = image
    blobs = run(model.eval(), Preprocess(config.input_size).blob(image), BLOBS)
    (found,) = sd.postprocess_batch(*blobs, config, score_threshold=0.3)
    expected = detector.detect(whole, score_threshold=0.3)
    best, wanted = found.xyxy[found.confidence.argmax()], expected.xyxy[expected.confidence.argmax()]
    np.testing.assert_allclose(best, wanted, atol=25)


def test_input_sizes_that_do_not_suit() -> None:
    with pytest.raises(ModelError, match=r"layer 'pool9'.* smaller than the kernel"):
        network_and_head(Recipe(network="pyramid", input_size=(40, 208), start=PYRAMID), ["nut"])
    for network in ("pyramid", "lite", "gsoc"):
        for side in (64, 97, 128, 208, 416, 511):
            recipe = Recipe(network=network, input_size=(side, 112), start=PYRAMID)
            sizes = [size for some, _ in recipe.sizes for size in some]
            shapes = [[step.weights for step in network_and_head(recipe, ["nut"], size)[0].weighted()] for size in sizes]
            assert shapes[0] == shapes[1]


# ---- the head ------------------------------------------------------------------------------------------------------------


def heads() -> list[HeadConfig]:
    odd = HeadConfig(input_size=(170, 130), grid=(7, 4), anchors=((30, 20), (9, 50)), labels=("a", "b"), nms_kind="greedy")
    options = [
        {},
        {"first_axis": "y", "grid": (4, 7)},
        {"centers": "cell"},
        {"delta_order": "xywh"},
        {"exp_threshold": 0.3},
        {"first_axis": "y", "centers": "cell", "delta_order": "xywh", "exp_threshold": 1.0, "grid": (5, 5)},
    ]
    return [sd.VOC, replace(sd.KITTI, corners="plain"), *(replace(odd, **some) for some in options)]


@pytest.mark.parametrize("config", heads())
def test_boxes_are_those_of_the_decoder(config: HeadConfig) -> None:
    n0, n1 = config.grid
    deltas = np.random.default_rng(0).normal(0, 0.6, (n0, n1, len(config.anchors) * 4)).astype(np.float32)
    anchors = anchors_of(config)
    boxes = decode_xyxy(torch.from_numpy(deltas.reshape(-1, 4)), anchors.centers, anchors.sizes, config)
    width, height = config.input_size
    clipped = boxes.numpy().clip(0, np.array([width - 1, height - 1] * 2))
    np.testing.assert_allclose(clipped, sd.decode(deltas, config), atol=1e-3)


def test_rows_of_predictions_are_anchors() -> None:
    """In the order in which the decoder counts them."""
    config = replace(sd.VOC, grid=(2, 3), labels=("a", "b"), anchors=((9, 9), (5, 7)))
    deltas = torch.arange(2 * 2 * 3 * 8).reshape(2, 2, 3, 8)
    classes, confidence = torch.arange(2 * 2 * 3 * 4).reshape(2, 2, 3, 4), torch.arange(2 * 2 * 3 * 2).reshape(2, 2, 3, 2)
    found = predictions(deltas, classes, confidence, config)
    assert [tuple(part.shape) for part in found] == [(2, 12, 4), (2, 12, 2), (2, 12)]
    anchor = (1 * 3 + 2) * 2 + 1
    assert found.deltas[1, anchor].tolist() == deltas[1, 1, 2, 4:].tolist()
    assert found.classes[1, anchor].tolist() == classes[1, 1, 2, 2:].tolist()
    assert found.confidence[1, anchor] == confidence[1, 1, 2, 1]


def test_iou() -> None:
    rng = np.random.default_rng(1)
    low = rng.uniform(0, 60, (2, 200, 2))
    boxes, others = np.concatenate([low, low + rng.uniform(2, 60, (2, 200, 2))], axis=-1)
    boxes[0] = others[0]
    expected = reference.iou(np.concatenate([boxes, others]))[:200, 200:]
    assert (expected.diagonal() > 0).sum() > 50
    np.testing.assert_allclose(iou_xyxy(torch.from_numpy(boxes), torch.from_numpy(others)), expected.diagonal(), atol=1e-9)
    assert iou_xyxy(torch.zeros(4), torch.zeros(4)) == 0


# ---- the files that are written --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "half"), [("shuffle", True), ("lite", False), ("gsoc", False)])
def test_the_files_give_what_torch_gives(name: str, half: bool, tmp_path: Path) -> None:
    recipe = Recipe(network=name, input_size=(192, 128), start="embedded" if name == "shuffle" else PYRAMID)
    network, config = network_and_head(recipe, ["nut", "bolt", "ring"])
    model = TorchNetwork(network).eval()
    weights = random_weights(network)
    if half:  # then the files can hold them as they are
        weights = {name: [blob.astype(np.float16).astype(np.float32) for blob in blobs] for name, blobs in weights.items()}
    model.load_weights(weights)
    preprocess = Preprocess(recipe.input_size)
    written = Model(network, model.weights(), config, preprocess)
    paths = written.save(tmp_path / "my.model.caffemodel", half=half)
    assert [path.name for path in paths] == ["my.model.prototxt", "my.model.caffemodel", "my.model.json"]
    assert written.save(tmp_path / "my.model.onnx", half=half)[1:] == paths[2:]
    image = np.random.default_rng(0).integers(0, 256, (90, 200, 3), dtype=np.uint8)
    blob = preprocess.blob(image)
    expected = run(model, blob, BLOBS)

    read = {"onnx": by_onnx(network, model.weights(), blob, half=half)}
    if hasattr(cv2.dnn, "readNetFromCaffe"):
        net = cv2.dnn.readNetFromCaffe(str(paths[0]), str(paths[1]))
        net.setInput(blob)
        sliced, classes, confidences = net.forwardAndRetrieve(["slice", "softmax", "sigmoid"])
        read["caffe"] = dict(zip(BLOBS, (sliced[2], classes[0], confidences[0]), strict=True))
    detector = sd.SqueezeDet(tmp_path / "my.model")
    assert (detector.config, detector.preprocess) == (config, preprocess)
    read["SqueezeDet"] = {key: getattr(detector.forward(image), key) for key in BLOBS}
    for who, blobs in read.items():
        for key, value in zip(BLOBS, expected, strict=True):
            tolerance = 2e-4 * max(1.0, float(np.abs(value).max()))
            np.testing.assert_allclose(np.reshape(blobs[key], value.shape), value, atol=tolerance, err_msg=f"{who} {key}")


@pytest.mark.parametrize(("name", "pixels"), [("shuffle", 40), ("lite", 20)])  # maps at stride 64 are coarse
def test_a_cell_looks_at_the_pixels_of_its_boxes(name: str, pixels: int) -> None:
    """They lie where the decoder, which agrees with opencv_contrib's, puts the cell's box."""
    recipe = Recipe(network=name, start="embedded" if name == "shuffle" else PYRAMID)
    network, config = network_and_head(recipe, sd.VOC.labels)
    side, scale = config.input_size[0], config.input_size[0] / 416
    assert (config.grid, config.centers) == (sd.VOC.grid, sd.VOC.centers)
    np.testing.assert_allclose(config.anchors, np.array(sd.VOC.anchors) * scale)
    model = TorchNetwork(network).eval()
    model.load_weights(random_weights(network))
    column, row, shape = 16, 6, 4  # not on the diagonal; the smallest anchor
    blob = torch.from_numpy(a_blob(network)).requires_grad_()
    model(blob, ("sig_conf_reg",))[0][0, column, row].abs().sum().backward()
    seen = blob.grad[0].abs().sum(0).numpy()
    seen *= seen > seen.max() / 4  # a little is seen of the whole picture
    x, y = (np.average(np.arange(side) + 0.5, weights=seen.sum(axis)) for axis in (0, 1))

    delta_bbox, class_scores, conf_scores = (np.zeros(size, np.float32) for size in ((23, 23, 36), (4761, 20), (23, 23, 9)))
    conf_scores[column, row, shape] = 0.9
    class_scores[:, 7] = 1
    (detection,) = sd.postprocess(delta_bbox, class_scores, conf_scores, config, score_threshold=0.5)
    middle = (detection.xyxy[0] + detection.xyxy[2]) / 2, (detection.xyxy[1] + detection.xyxy[3]) / 2
    assert middle == pytest.approx((x, y), abs=pixels)  # the two differ by 160 or more


def test_new_layers_see_inputs_of_one_scale() -> None:
    """Channels of a loaded layer may differ a thousandfold; a new layer's kernel makes up for it, grouped or not."""
    for groups in (1, 2):
        layers = (
            Convolution(name="loaded", bottoms=("data",), tops=("loaded",), outputs=4, kernel=(1, 1)),
            Convolution(name="new", bottoms=("loaded",), tops=("new",), outputs=6, kernel=(3, 3), groups=groups),
        )
        network = Network("two", "data", (2, 3, 8, 8), layers)
        torch.manual_seed(3)
        plain, scaled = TorchNetwork(network), TorchNetwork(network)
        scaled.load_state_dict(plain.state_dict())
        factors = torch.tensor([1e-3, 1.0, 10.0, 0.1])
        with torch.no_grad():
            for parameter in scaled.filters["loaded"].parameters():
                parameter.mul_(factors.view(-1, *[1] * (parameter.ndim - 1)))
        blob = torch.randn(2, 3, 8, 8)
        for model in (plain, scaled):
            model.init_inputs(["new"], blob)
        with torch.no_grad():
            torch.testing.assert_close(plain(blob), scaled(blob), rtol=1e-4, atol=1e-5)
            hidden = plain(blob, ["loaded"])[0].square().mean((0, 2, 3)).sqrt()
        assert hidden.max() / hidden.min() > 1.05


def test_channels_without_a_signal_are_not_amplified() -> None:
    """A channel that is 0 in the first batch may have a signal in the second."""
    layer = Convolution(name="new", bottoms=("data",), tops=("new",), outputs=6, kernel=(3, 3))
    model = TorchNetwork(Network("one", "data", (2, 4, 8, 8), (layer,)))
    blob = 20 * torch.randn(2, 4, 8, 8)
    before = model.filters["new"].weight.detach().clone()
    model.init_inputs(["new"], blob * torch.tensor([1.0, 1.0, 1.0, 0.0]).view(-1, 1, 1))
    factors = before / model.filters["new"].weight.detach()
    assert 10 < factors.min() < factors.max() < 30
