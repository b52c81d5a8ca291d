"""DetectionModel beside a real ``cv2.dnn.DetectionModel`` on a small network that OpenCV's own class accepts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from commands import PHOTO
from embedded import BACKENDS, DEFINITION, HAS_CAFFE, HEAD, ONNX, STEM, WEIGHTS, needs_caffe_importer, read_net
from networks import MODELS, random_weights

import opencv_squeezedet as sd
from opencv_squeezedet.detection_model import ArgumentError
from opencv_squeezedet.formats import onnx_bytes
from opencv_squeezedet.model import Model
from opencv_squeezedet.network import Convolution, Network

# Three boxes of fixed places, whose class scores come from the picture's mean colours; no weights.
SSD = """
input: "data"
input_shape { dim: 1 dim: 3 dim: 32 dim: 32 }
layer { name: "pool" type: "Pooling" bottom: "data" top: "pool" pooling_param { pool: AVE kernel_size: 16 stride: 16 } }
layer { name: "one" type: "Pooling" bottom: "data" top: "one" pooling_param { pool: AVE kernel_size: 32 stride: 32 } }
layer { name: "zero" type: "Power" bottom: "pool" top: "zero" power_param { scale: 0 } }
layer { name: "loc" type: "Flatten" bottom: "zero" top: "loc" }
layer { name: "flat" type: "Flatten" bottom: "pool" top: "flat" }
layer { name: "rows" type: "Reshape" bottom: "flat" top: "rows" reshape_param { shape { dim: 0 dim: -1 dim: 4 } } }
layer { name: "softmax" type: "Softmax" bottom: "rows" top: "softmax" softmax_param { axis: 2 } }
layer { name: "conf" type: "Flatten" bottom: "softmax" top: "conf" }
layer { name: "prior" type: "PriorBox" bottom: "one" bottom: "data" top: "prior"
  prior_box_param { min_size: 8 min_size: 16 min_size: 30 variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 } }
layer { name: "out" type: "DetectionOutput" bottom: "loc" bottom: "conf" bottom: "prior" top: "out"
  detection_output_param { num_classes: 4 share_location: true background_label_id: 0 keep_top_k: 10
    nms_param { nms_threshold: 0.9 top_k: 10 } code_type: CENTER_SIZE confidence_threshold: 0.01 } }
"""

Make = Callable[[], Any]


@pytest.fixture
def theirs(tmp_path: Path) -> Any:
    """Only where OpenCV reads Caffe's files: the class of OpenCV 5 takes no network that it read from ONNX."""
    if not HAS_CAFFE:
        pytest.skip("this OpenCV's DetectionModel takes no network that can be made here")
    definition = tmp_path / "ssd.prototxt"
    definition.write_text(SSD)
    model = cv2.dnn.DetectionModel(cv2.dnn.readNetFromCaffe(str(definition)))
    model.setInputParams(scale=0.02, size=(32, 32), mean=(104, 117, 123))
    return model


@pytest.fixture
def ours() -> sd.DetectionModel:
    return sd.DetectionModel(WEIGHTS, DEFINITION)


def forms(result: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """Types and shapes of a result."""
    return [(type(part), getattr(part, "dtype", None), np.ndim(part), np.shape(part)[1:]) for part in result]


def test_results_have_the_types_of_opencvs(theirs: Any, ours: sd.DetectionModel, photo: np.ndarray) -> None:
    result, expected = ours.detect(photo, 0.3), theirs.detect(photo, 0.1)
    assert len(expected[0]) > 1
    assert len(result[0]) > 0
    assert type(result) is type(expected) is tuple
    assert forms(result) == forms(expected)
    assert len({len(part) for part in result}) == 1


@pytest.mark.parametrize("threshold", [1.0, 2.0])
def test_nothing_found_is_what_opencv_gives(theirs: Any, ours: sd.DetectionModel, photo: np.ndarray, threshold: float) -> None:
    assert ours.detect(photo, threshold) == theirs.detect(photo, threshold) == ((), (), ())


def test_boxes_are_whole_pixels_inside_the_frame(theirs: Any, ours: sd.DetectionModel, photo: np.ndarray) -> None:
    height, width = photo.shape[:2]
    for model in (ours, theirs):
        x, y, w, h = model.detect(photo, -1.0)[2].T
        assert min(x.min(), y.min()) >= 0
        assert min(w.min(), h.min()) >= 1
        assert (x + w).max() <= width
        assert (y + h).max() <= height


def test_it_finds_what_squeezedet_finds(ours: sd.DetectionModel, photo: np.ndarray) -> None:
    class_ids, confidences, boxes = ours.detect(photo, confThreshold=0.2, nmsThreshold=0.6)
    expected = sd.SqueezeDet(STEM).detect(photo, score_threshold=0.2, nms_threshold=0.6)
    assert np.array_equal(class_ids, expected.class_id)
    assert np.array_equal(confidences, expected.confidence)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:] - 1], axis=1)
    assert np.abs(corners - expected.xyxy).max() <= 1
    boxes[0] = 0  # an application may write into its results


@pytest.mark.parametrize(
    "make",
    [
        lambda: sd.DetectionModel(DEFINITION, WEIGHTS),
        lambda: sd.DetectionModel(config=WEIGHTS, model=DEFINITION),
        lambda: sd.DetectionModel(STEM),
        lambda: sd.DetectionModel(DEFINITION),
        lambda: sd.DetectionModel(ONNX),
    ],
)
def test_the_files_in_either_order_and_by_keyword(make: Make, ours: sd.DetectionModel, photo: np.ndarray) -> None:
    class_ids, confidences, boxes = make().detect(photo, 0.2)
    expected = ours.detect(photo, 0.2)
    assert np.array_equal(class_ids, expected[0])
    assert confidences == pytest.approx(expected[1], abs=1e-5)
    assert np.array_equal(boxes, expected[2])


def test_a_network(ours: sd.DetectionModel, photo: np.ndarray) -> None:
    for make in (sd.DetectionModel, lambda net, head: sd.DetectionModel(network=net, head=head)):
        model = make(read_net(), head=HEAD)
        found = model.detect(photo, 0.3)
        expected = sd.SqueezeDet(STEM, config=HEAD).detect(photo, score_threshold=0.3)
        assert np.array_equal(found[1], expected.confidence)


def test_networks_without_a_description_have_the_voc_head(tmp_path: Path, photo: np.ndarray) -> None:
    model = Model.load(MODELS / "squeezedet_pyramid_voc.sdz")
    expected = sd.SqueezeDet(model, config=sd.VOC).detect(photo, score_threshold=0.3).confidence
    definition, weights, _ = model.save(tmp_path / "it.caffemodel")
    onnx, description = model.save(tmp_path / "it.onnx")
    description.unlink()
    for found in (sd.DetectionModel(weights, definition), sd.DetectionModel(cv2.dnn.readNetFromONNX(str(onnx)))):
        assert found.detect(photo, 0.3)[1] == pytest.approx(expected, abs=1e-4)


SETTERS: list[tuple[str, tuple[Any, ...]]] = [
    ("setInputSize", ((384, 384),)),
    ("setInputSize", (384, 384)),
    ("setInputMean", ((1, 2, 3),)),
    ("setInputMean", (100,)),
    ("setInputScale", (0.5,)),
    ("setInputScale", ((0.5, 0, 0, 0),)),
    ("setInputScale", ((0.5, 0.5, 0.5),)),
    ("setInputSwapRB", (True,)),
    ("setInputCrop", (True,)),
    ("setPreferableBackend", (cv2.dnn.DNN_BACKEND_OPENCV,)),
    ("setPreferableTarget", (cv2.dnn.DNN_TARGET_CPU,)),
    ("setNmsAcrossClasses", (True,)),
    ("setOutputNames", (["softmax"],)),
    ("enableWinograd", (False,)),
    *([("enableTF32", (False,))] if hasattr(cv2.dnn.Net, "enableTF32") else []),
]


@pytest.mark.parametrize(("name", "arguments"), SETTERS)
def test_setters_return_the_model_as_opencvs_do(request: Any, ours: Any, name: str, arguments: tuple[Any, ...]) -> None:
    assert getattr(ours, name)(*arguments) is ours
    assert ours.setInputParams() is None
    if HAS_CAFFE and hasattr(theirs := request.getfixturevalue("theirs"), name):
        assert getattr(theirs, name)(*arguments) is not None
        assert theirs.setInputParams() is None


def test_it_has_every_method_of_opencvs(ours: sd.DetectionModel) -> None:
    public = {name for name in dir(cv2.dnn.DetectionModel) if not name.startswith("_")}
    assert {"detect", "setInputParams"} <= public <= set(dir(ours))


@pytest.mark.parametrize(
    "parameters",
    [
        {"scale": 0.5, "size": (384, 384), "mean": (10, 20, 30), "swapRB": True},
        {"scale": 1.0, "size": (384, 384), "mean": (104, 117, 123), "swapRB": False},
        {"scale": 1.0, "size": (384, 384), "mean": 100, "swapRB": False},  # one number is the first channel's mean
    ],
)
def test_input_parameters_reach_the_network_as_opencvs_do(
    ours: sd.DetectionModel, photo: np.ndarray, parameters: dict[str, Any]
) -> None:
    model = cv2.dnn.Model(read_net())
    for each in (model, ours):
        each.setInputParams(**parameters)
    expected, outputs = model.predict(photo), ours.predict(photo)
    assert len(outputs) == len(expected) >= 2
    assert all(np.array_equal(a, b) for a, b in zip(outputs, expected, strict=True))


def test_crop_looks_at_the_middle(ours: sd.DetectionModel, photo: np.ndarray) -> None:
    middle = photo[:, 75:375]
    expected = sd.SqueezeDet(STEM).detect(middle, score_threshold=0.3)
    class_ids, confidences, boxes = ours.setInputCrop(True).detect(photo[:, :450], 0.3)
    assert np.array_equal(class_ids, expected.class_id)
    assert np.array_equal(confidences, expected.confidence)
    assert np.abs(boxes[:, 0] - (expected.xyxy[:, 0] + 75)).max() <= 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_another_input_size_is_the_resized_model(backend: Any, photo: np.ndarray) -> None:
    model = sd.DetectionModel(WEIGHTS, DEFINITION, backend=backend).setNmsAcrossClasses(True).setInputMean((104, 117, 120))
    if backend == "opencv":
        model.enableWinograd(False)
    for size in ((448, 320), (384, 384)):  # and back
        expected = sd.SqueezeDet(STEM, backend=backend, size=size)
        expected.preprocess = replace(expected.preprocess, mean=(104.0, 117.0, 120.0))
        if backend == "opencv":
            expected.net.enableWinograd(False)
        options = {"score_threshold": 0.05, "class_agnostic": True}
        confidence = expected.detect(photo, **options).confidence
        assert np.array_equal(model.setInputSize(size).detect(photo, 0.05)[1], confidence)
        assert model.getNmsAcrossClasses()


@pytest.mark.parametrize(("make", "size"), [(lambda: WEIGHTS, (400, 320)), (read_net, (320, 320))], ids=["files", "net"])
def test_an_input_size_that_the_network_does_not_take(make: Make, size: tuple[int, int], photo: np.ndarray) -> None:
    source = make()
    model = sd.DetectionModel(source, head=HEAD if isinstance(source, cv2.dnn.Net) else None)
    before = model.detect(photo)
    with pytest.raises(sd.ModelError, match=f"input of {size[0]}x{size[1]}") as caught:
        model.setInputSize(size)
    assert isinstance(caught.value, cv2.error)
    assert all(np.array_equal(a, b) for a, b in zip(model.detect(photo), before, strict=True)), "nothing has changed"


@needs_caffe_importer
def test_anchors_of_a_net_keep_their_size_in_pixels() -> None:
    head = sd.HeadConfig(
        input_size=(32, 32), grid=(2, 2), first_axis="y", anchors=((8, 6),), labels=("a",), layout="chw", activated=False
    )
    names, cell = ("delta_bbox", "class_scores", "conf_scores"), {"kernel": (16, 16), "stride": (16, 16), "bottoms": ("data",)}
    layers = [Convolution(name=name, tops=(name,), outputs=n, **cell) for name, n in zip(names, (4, 1, 1), strict=True)]
    network = Network("cells", "data", (1, 3, 32, 32), tuple(layers))
    net = cv2.dnn.readNetFromONNX(np.frombuffer(onnx_bytes(network, random_weights(network)), np.uint8))
    model = sd.DetectionModel(net, head=head).setInputMean(0).setInputSize(64, 48)
    black = np.zeros((48, 64, 3), np.uint8)
    outputs = dict(zip(net.getUnconnectedOutLayersNames(), model.predict(black), strict=True))
    larger = replace(head, input_size=(64, 48), grid=(3, 4))
    expected = sd.postprocess(*(outputs[name] for name in names), larger, score_threshold=0)
    boxes = model.detect(black, 0)[2]
    assert len(boxes) == len(expected) == 12
    assert np.abs(boxes[:, :2] - expected.xyxy[:, :2]).max() <= 1
    assert np.abs(boxes[:, 2:] - np.diff(expected.xyxy.reshape(-1, 2, 2), axis=1)[:, 0]).max() <= 2


@pytest.mark.parametrize(
    "wrong",
    [
        lambda m, image: m.detect(None),
        lambda m, image: m.detect("photo.jpg"),
        lambda m, image: m.detect(image[:0]),
        lambda m, image: m.detect(image.astype(np.int64)),
        lambda m, image: m.detect(image, "much"),
        lambda m, image: m.setInputSize(3),
    ],
)
def test_what_opencv_refuses_with_its_error_is_refused_with_it(
    theirs: Any, ours: sd.DetectionModel, photo: np.ndarray, wrong: Callable[[Any, np.ndarray], Any]
) -> None:
    with pytest.raises(cv2.error):
        wrong(theirs, photo)
    with pytest.raises(cv2.error) as caught:
        wrong(ours, photo)
    assert isinstance(caught.value, ValueError)
    assert str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda m, image: m.detect(image, float("nan")), "confThreshold must be finite"),
        (lambda m, image: m.detect(image, 0.5, 2.0), r"nmsThreshold.*got 2.0"),
        (lambda m, image: m.setInputScale((0.1, 0.2, 0.3)), "the same for each channel"),
        (lambda m, image: m.setInputMean((1, 2, 3, 4, 5)), "at most four"),
        (lambda m, image: m.setInputSize(0, 416), "must be at least 1"),
        (lambda m, image: m.setInputSwapRB("yes"), "swapRB must be True or False"),
        (lambda m, image: m.setNmsAcrossClasses(3), "class_agnostic"),
    ],
)
def test_what_would_go_wrong_silently_is_refused(
    ours: sd.DetectionModel, photo: np.ndarray, wrong: Callable[[Any, np.ndarray], Any], message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        wrong(ours, photo)


def test_what_opencv_takes_is_taken(theirs: Any, ours: sd.DetectionModel, photo: np.ndarray) -> None:
    expected = ours.detect(photo)
    for model, side in ((theirs, 32), (ours, 384)):
        model.setInputSize(width=side, height=side)
        assert len(model.predict(photo, None)) == len(model.predict(photo, [])) > 0
        assert len(model.detect(cv2.UMat(photo), 0.05)[0]) > 0
    ours.setOutputNames(None)
    assert all(np.array_equal(a, b) for a, b in zip(ours.detect(cv2.UMat(photo)), expected, strict=True))


def test_a_model_is_needed() -> None:
    with pytest.raises(cv2.error, match="needs the files of a model"):
        sd.DetectionModel()
    with pytest.raises(FileNotFoundError, match=r"nowhere.prototxt"):
        sd.DetectionModel("nowhere.caffemodel", "nowhere.prototxt")
    with pytest.raises(cv2.error, match=r"path.*got 5"):
        sd.DetectionModel(5)


APPLICATION = """
model.setInputParams(size=(384, 384), mean=(104, 117, 123))
model.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
model.setPreferableTarget(cv2.dnn.DNN_TARGET_CPU)
frame = cv2.imread(photo)
classes, scores, boxes = model.detect(frame, 0.5, 0.4)
for class_id, score, box in zip(classes, scores, boxes):
    cv2.rectangle(frame, box, (0, 255, 0), 2)
    cv2.putText(frame, "%f" % score, (box[0], box[1] - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 255, 0), 2)
    lines.append(names[class_id])
"""


def test_an_application_changes_its_constructor_and_runs() -> None:
    """Written as the samples for ``cv2.dnn.DetectionModel`` are."""
    lines: list[str] = []
    surroundings = {"cv2": cv2, "photo": str(PHOTO), "names": sd.VOC.labels, "lines": lines}
    if HAS_CAFFE:
        with pytest.raises(cv2.error, match="Unknown output layer type"):
            exec(APPLICATION, {**surroundings, "model": cv2.dnn.DetectionModel(WEIGHTS, DEFINITION)})
    exec(APPLICATION, {**surroundings, "model": sd.DetectionModel(WEIGHTS, DEFINITION)})
    assert lines == ["cat"]
