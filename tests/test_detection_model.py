"""DetectionModel beside a real ``cv2.dnn.DetectionModel`` on a small network that OpenCV's own class accepts."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from embedded import DEFINITION, HAS_CAFFE, HEAD, ONNX, STEM, WEIGHTS, needs_caffe_importer, output, read_net
from networks import MODELS

import opencv_squeezedet as sd
from opencv_squeezedet.detection_model import ArgumentError
from opencv_squeezedet.model import Model

PHOTO = Path(__file__).parents[1] / "samples" / "chelsea.jpg"

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


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    image = cv2.imread(str(PHOTO))
    assert image is not None
    return image


def kinds(result: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """What an application can tell of a result but its numbers."""
    return [(type(part), getattr(part, "dtype", None), np.ndim(part), np.shape(part)[1:]) for part in result]


@needs_caffe_importer
def test_opencv_itself_refuses_squeezedet(photo: np.ndarray) -> None:
    model = cv2.dnn.DetectionModel(WEIGHTS, DEFINITION)
    model.setInputParams(size=(384, 384), mean=(104, 117, 123))
    with pytest.raises(cv2.error, match="Unknown output layer type"):
        model.detect(photo)


def test_results_have_the_types_of_opencvs(theirs: Any, ours: sd.DetectionModel, photo: np.ndarray) -> None:
    found, expected = ours.detect(photo, 0.3), theirs.detect(photo, 0.1)
    assert len(expected[0]) > 1
    assert len(found[0]) > 0
    assert type(found) is type(expected) is tuple
    assert kinds(found) == kinds(expected)
    assert len({len(part) for part in found}) == 1


@pytest.mark.parametrize("threshold", [1.0, 2.0])
def test_nothing_found_is_what_opencv_gives(theirs: Any, ours: sd.DetectionModel, photo: np.ndarray, threshold: float) -> None:
    assert ours.detect(photo, threshold) == theirs.detect(photo, threshold) == ((), (), ())


def test_boxes_are_whole_pixels_inside_the_frame(theirs: Any, ours: sd.DetectionModel, photo: np.ndarray) -> None:
    height, width = photo.shape[:2]
    for model, threshold in ((ours, -1.0), (theirs, -1.0)):
        x, y, w, h = model.detect(photo, threshold)[2].T
        assert (x >= 0).all()
        assert (y >= 0).all()
        assert (w >= 1).all()
        assert (h >= 1).all()
        assert (x + w <= width).all()
        assert (y + h <= height).all()


def test_it_finds_what_squeezedet_finds(ours: sd.DetectionModel, photo: np.ndarray) -> None:
    class_ids, confidences, boxes = ours.detect(photo, confThreshold=0.2, nmsThreshold=0.6)
    expected = sd.SqueezeDet(STEM).detect(photo, score_threshold=0.2, nms_threshold=0.6)
    assert np.array_equal(class_ids, expected.class_id)
    assert np.array_equal(confidences, expected.confidence)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:] - 1], axis=1)
    assert np.abs(corners - expected.xyxy).max() <= 1
    boxes[0] = 0  # an application may write into its results


def test_default_thresholds(ours: sd.DetectionModel, photo: np.ndarray) -> None:
    expected = sd.SqueezeDet(STEM).detect(photo, score_threshold=0.5)
    assert np.array_equal(ours.detect(photo)[1], expected.confidence)


@pytest.mark.parametrize(
    "make",
    [
        lambda: sd.DetectionModel(WEIGHTS, DEFINITION),
        lambda: sd.DetectionModel(DEFINITION, WEIGHTS),
        lambda: sd.DetectionModel(model=WEIGHTS, config=DEFINITION),
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
def test_setters_return_the_model(ours: sd.DetectionModel, name: str, arguments: tuple[Any, ...]) -> None:
    assert getattr(ours, name)(*arguments) is ours
    assert ours.setInputParams() is None


@pytest.mark.parametrize(("name", "arguments"), SETTERS)
def test_setters_of_opencvs_return_a_model(theirs: Any, name: str, arguments: tuple[Any, ...]) -> None:
    if not hasattr(theirs, name):
        pytest.skip(f"this OpenCV's DetectionModel has no {name}")
    assert getattr(theirs, name)(*arguments) is not None
    assert theirs.setInputParams() is None


def test_it_has_every_method_of_opencvs(ours: sd.DetectionModel) -> None:
    public = {name for name in dir(cv2.dnn.DetectionModel) if not name.startswith("_")}
    assert {"detect", "setInputParams"} <= public <= set(dir(ours))


def test_nms_across_classes(theirs: Any, ours: sd.DetectionModel) -> None:
    assert ours.getNmsAcrossClasses() is theirs.getNmsAcrossClasses() is False
    assert ours.setNmsAcrossClasses(True).getNmsAcrossClasses() is True
    assert theirs.setNmsAcrossClasses(True).getNmsAcrossClasses() is True


def test_input_parameters_reach_the_network_as_opencvs_do(photo: np.ndarray) -> None:
    """The same parameters on the same network give the same outputs as ``cv2.dnn.Model``."""
    for parameters in (
        {"scale": 0.5, "size": (384, 384), "mean": (10, 20, 30), "swapRB": True},
        {"scale": 1.0, "size": (384, 384), "mean": (104, 117, 123), "swapRB": False},
    ):
        model = cv2.dnn.Model(read_net())
        model.setInputParams(**parameters)
        ours = sd.DetectionModel(WEIGHTS, DEFINITION)
        ours.setInputParams(**parameters)
        expected, found = model.predict(photo), ours.predict(photo)
        assert len(found) == len(expected) >= 2
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_one_number_as_mean_is_the_first_channel_as_with_opencv(photo: np.ndarray) -> None:
    model = cv2.dnn.Model(read_net())
    model.setInputParams(size=(384, 384), mean=100)
    ours = sd.DetectionModel(WEIGHTS, DEFINITION).setInputMean(100)
    assert all(np.array_equal(a, b) for a, b in zip(ours.predict(photo), model.predict(photo), strict=True))


def test_output_names(ours: sd.DetectionModel, photo: np.ndarray) -> None:
    (scores,) = ours.setOutputNames([output("conf_scores")]).predict(photo)
    assert scores.shape == (1, 23, 23, 9)
    assert len(ours.detect(photo)[0])


def test_crop_looks_at_the_middle(ours: sd.DetectionModel, photo: np.ndarray) -> None:
    middle = photo[:, 75:375]
    expected = sd.SqueezeDet(STEM).detect(middle, score_threshold=0.3)
    class_ids, confidences, boxes = ours.setInputCrop(True).detect(photo[:, :450], 0.3)
    assert np.array_equal(class_ids, expected.class_id)
    assert np.array_equal(confidences, expected.confidence)
    assert np.abs(boxes[:, 0] - (expected.xyxy[:, 0] + 75)).max() <= 1


def test_an_input_size_that_the_network_does_not_take(ours: sd.DetectionModel, photo: np.ndarray) -> None:
    before = ours.detect(photo)
    with pytest.raises(sd.ModelError, match="the input of 320x320"):
        ours.setInputSize(320, 320)
    assert all(np.array_equal(a, b) for a, b in zip(ours.detect(photo), before, strict=True)), "nothing has changed"


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


def test_an_error_tells_of_itself(ours: sd.DetectionModel) -> None:
    with pytest.raises(cv2.error):
        cv2.dnn.DetectionModel()
    with pytest.raises(cv2.error) as caught:
        ours.detect(None)
    assert caught.value.err == caught.value.msg == str(caught.value)
    assert "must be an array" in caught.value.err
    with pytest.raises(cv2.error, match="the input of 320x320"):
        ours.setInputSize(320, 320)


def test_predict_beside_detect(ours: sd.DetectionModel, photo: np.ndarray) -> None:
    expected = ours.predict(photo), ours.detect(photo)
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(call, photo) for _ in range(6) for call in (ours.predict, ours.detect)]
        for i, call in enumerate(calls):
            assert all(np.array_equal(a, b) for a, b in zip(call.result(), expected[i % 2], strict=True))


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
    label = "%s : %f" % (names[class_id], score)
    cv2.rectangle(frame, box, (0, 255, 0), 2)
    cv2.putText(frame, label, (box[0], box[1] - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 255, 0), 2)
    lines.append(label)
"""


def test_an_application_changes_its_constructor_and_runs() -> None:
    """Written as the samples for ``cv2.dnn.DetectionModel`` are."""
    lines: list[str] = []
    surroundings = {"cv2": cv2, "photo": str(PHOTO), "names": sd.VOC.labels, "lines": lines}
    if HAS_CAFFE:
        with pytest.raises(cv2.error, match="Unknown output layer type"):
            exec(APPLICATION, {**surroundings, "model": cv2.dnn.DetectionModel(WEIGHTS, DEFINITION)})
    exec(APPLICATION, {**surroundings, "model": sd.DetectionModel(WEIGHTS, DEFINITION)})
    assert [line.split()[0] for line in lines] == ["cat"]
