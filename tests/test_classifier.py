"""SqueezeNet: real weights on real photos, in every form that a model has."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from commands import PHOTO
from embedded import BACKENDS, HAS_CAFFE, ONNX, STEM
from format_seeds import compressed_file
from networks import random_weights
from shared import DATA, needs

import opencv_squeezedet as sd
from opencv_squeezedet.backends import CaffeNet
from opencv_squeezedet.classifier import imagenet_labels
from opencv_squeezedet.model import Model
from opencv_squeezedet.model_files import Files, models_folder
from opencv_squeezedet.network import Network, Weights, architectures

MODELS = Path(models_folder())

needs_data = needs("weights", "photos")

# Top-1 with the softmax' value, from the weights' release.
EXPECTED = {
    "v1.0": {"aeroplane": (404, 0.504), "bus": (654, 0.388), "cat": (281, 0.613), "person": (518, 0.970)},
    "v1.1": {"aeroplane": (404, 0.593), "bus": (654, 0.807), "cat": (281, 0.724), "person": (518, 0.997)},
    "compressed": {"aeroplane": (404, None), "bus": (654, None), "cat": (281, None)},
}
for version, shuttle in (("v1.0", 0.847), ("v1.1", 0.964), ("compressed", None)):
    EXPECTED[version]["space_shuttle"] = (812, shuttle)

MAKE = {"v1.0": architectures.squeezenet_v1_0, "v1.1": architectures.squeezenet_v1_1}


def real_weights(version: str) -> tuple[Network, Weights]:
    network = MAKE[version]()
    arrays = np.load(DATA / "weights" / f"squeezenet_{version}_imagenet.npz")
    weights = {}
    for step in network.weighted():
        name = step.layer.name.replace("/", "_")
        weights[step.layer.name] = [arrays[f"{name}_{part}"].astype(np.float32) for part in "wb"]
    return network, weights


def write(path: Path, network: Network, weights: Weights, *, alone: bool = False) -> Path:
    """Save a model; a caffemodel alone, if that is wanted. Returns the path."""
    for other in Model(network, weights).save(path):
        if alone and other != path:
            other.unlink()
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SqueezeNet v1.1 with random weights, for inputs of 64x96, as ONNX; its own names of seven classes in JSON."""
    stem = tmp_path_factory.mktemp("small") / "small"
    network = architectures.squeezenet_v1_1(classes=7, input_size=(96, 64))
    weights = random_weights(network)
    weights["conv10"][0] *= 0.01  # no class is certain
    write(stem.with_suffix(".onnx"), network, weights)
    stem.with_suffix(".json").write_text(json.dumps({"labels": list("abcdefg")}))
    return stem


@needs_data
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("version", EXPECTED)
def test_top_1_on_the_photos(version: str, backend: Any, tmp_path: Path) -> None:
    if version == "compressed":
        classifier = sd.SqueezeNet(DATA / "weights" / "compressed_SqueezeNet.net", backend=backend)
    else:
        classifier = sd.SqueezeNet(write(tmp_path / "deploy.caffemodel", *real_weights(version)), backend=backend)
        assert isinstance(classifier.backend, CaffeNet) == (HAS_CAFFE and backend == "opencv")
    assert classifier.activated
    for name, (class_id, probability) in EXPECTED[version].items():
        first = classifier.classify(cv2.imread(str(DATA / "photos" / f"{name}.jpg")))[0]
        assert first.class_id == class_id, name
        if probability is not None:
            assert first.probability == pytest.approx(probability, abs=0.0006)


@needs_data
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_caffemodel_alone_is_known_by_its_weights(backend: Any, tmp_path: Path) -> None:
    for version in MAKE:
        path = write(tmp_path / f"{version}.caffemodel", *real_weights(version), alone=True)
        for model in (path, tmp_path / version):
            assert Model.load(model, task="classifier").files == Files(weights=str(path))
        image = cv2.imread(str(DATA / "photos" / "cat.jpg"))
        (first,) = sd.SqueezeNet(path, backend=backend).classify(image, top=1)
        assert (first.class_id, first.label) == (281, "tabby, tabby cat")


@needs_data
def test_logits_are_softmaxed(tmp_path: Path) -> None:
    network, weights = real_weights("v1.1")
    logits = Network(network.name, network.input_name, network.input_shape, network.layers[:-1])
    whole = sd.SqueezeNet(write(tmp_path / "whole.onnx", network, weights))
    cut = sd.SqueezeNet(write(tmp_path / "logits.onnx", logits, weights))
    assert whole.activated
    assert not cut.activated
    image = cv2.imread(str(DATA / "photos" / "bus.jpg"))
    assert cut.forward(image) == pytest.approx(whole.forward(image), abs=1e-5)
    assert [c.class_id for c in cut.classify(image)] == [c.class_id for c in whole.classify(image)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_results(small: Path, photo: np.ndarray, backend: Any) -> None:
    classifier = sd.SqueezeNet(small, backend=backend)
    assert classifier.preprocess == sd.Preprocess((96, 64))
    probabilities = classifier.forward(photo)
    assert (probabilities.shape, probabilities.dtype) == ((7,), np.float32)
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)
    classes = classifier.classify(photo)
    assert [c.class_id for c in classes] == np.argsort(-probabilities, kind="stable")[:5].tolist()
    assert [c.label for c in classes] == ["abcdefg"[c.class_id] for c in classes]
    assert np.array_equal(np.float32([c.probability for c in classes]), probabilities[[c.class_id for c in classes]])
    assert len(classifier.classify(photo, top=100)) == 7
    assert list(classes[1:3]) == [classes[1], classes[2]]
    assert json.loads(classes.to_json()) == classes.to_dict() == {"classes": [one._asdict() for one in classes]}
    assert repr(classes).startswith(f"Classes({classes[0].class_id} {classes[0].label} 0.")
    with pytest.raises(dataclasses.FrozenInstanceError):
        classes.classes = ()


def test_any_picture_that_the_detector_takes(small: Path, photo: np.ndarray) -> None:
    classifier = sd.SqueezeNet(small)
    expected = classifier.classify(photo)
    assert classifier.classify(photo / 255) == expected
    with pytest.raises(TypeError, match="must be an array"):
        classifier.classify(None)  # type: ignore[arg-type]
    for wrong, error in ((0, ValueError), (-1, ValueError), (1.5, TypeError), ("all", TypeError)):
        with pytest.raises(error, match="top must be"):
            classifier.classify(photo, top=wrong)  # type: ignore[arg-type]


def test_labels_and_preprocess_of_the_caller(small: Path, photo: np.ndarray) -> None:
    names = tuple("tuvwxyz")
    preprocess = sd.Preprocess((96, 64), swap_rb=True)
    classifier = sd.SqueezeNet(small, labels=names, preprocess=preprocess)
    assert classifier.labels == names
    assert classifier.preprocess is preprocess
    assert not np.array_equal(classifier.forward(photo), sd.SqueezeNet(small).forward(photo))
    with pytest.raises(sd.ModelError, match=r"'prob'.*\(1, 7, 1, 1\).*2 labels"):
        sd.SqueezeNet(small, labels=("cat", "dog"))
    with pytest.raises(TypeError, match="labels"):
        sd.SqueezeNet(small, labels="cat")
    with pytest.raises(TypeError, match="preprocess"):
        sd.SqueezeNet(small, preprocess=(96, 64))  # type: ignore[arg-type]


def test_the_names_of_imagenet() -> None:
    labels = imagenet_labels()
    assert len(labels) == 1000
    assert (labels[0], labels[281], labels[812]) == ("tench, Tinca tinca", "tabby, tabby cat", "space shuttle")


def test_what_is_no_classifier(tmp_path: Path) -> None:
    shutil.copy(ONNX, tmp_path / "detector.onnx")
    network = architectures.squeezenet_v1_1(classes=7)
    weights = random_weights(network)
    write(tmp_path / "mine.caffemodel", network, weights, alone=True)
    write(tmp_path / "maps.onnx", dataclasses.replace(network, layers=network.layers[:-2]), weights)
    for model, options, error, message in (
        (STEM, {}, sd.ModelError, r"squeezedet_shuffle_voc.*' is a detector"),
        (tmp_path / "detector", {}, sd.ModelError, r"detector.onnx' .*3 outputs"),
        ("embedded", {}, sd.ModelError, "'embedded' is a detector"),
        (tmp_path / "maps", {"labels": list("abcdefg")}, sd.ModelError, r"\(1, 7, 14, 14\).*7 labels"),
        (tmp_path / "mine.caffemodel", {}, sd.ModelError, "mine.caffemodel'"),
        ("nothing", {}, FileNotFoundError, r"'nothing.prototxt'.*published classifiers"),
        ("nothing.net", {}, FileNotFoundError, "'nothing.net'"),
    ):
        with pytest.raises(error, match=message):
            sd.SqueezeNet(model, **options)


@pytest.mark.parametrize("text", ["{", "[]", '{"label": []}', '{"labels": "cat"}', '{"labels": [1]}', '{"preprocess": {}}'])
def test_a_json_that_describes_no_classifier(text: str, small: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.onnx").write_bytes(Path(f"{small}.onnx").read_bytes())
    (tmp_path / "mine.json").write_text(text)
    with pytest.raises(sd.ModelError, match=r"mine.json': ."):
        sd.SqueezeNet(tmp_path / "mine")


def test_published_weights_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the caller's own weights in the place of those that would be fetched."""
    network = architectures.squeezenet_v1_1()
    weights = write(tmp_path / "weights.caffemodel", network, random_weights(network), alone=True)
    definition = MODELS / "squeezenet_v1.1"
    expected = Files(f"{definition}.prototxt", str(weights), f"{definition}.json")
    assert Model.load("squeezenet-v1.1", weights, task="classifier").files == expected
    found = sd.SqueezeNet("squeezenet-v1.1", weights)
    assert found.preprocess.size == (227, 227)
    assert found.labels == imagenet_labels()
    with pytest.raises(FileNotFoundError, match=r"no weights at 'own.net'"):
        sd.SqueezeNet("squeezenet-compressed", "own.net")
    gsoc = Model.load("gsoc-imagenet", weights, task="classifier")
    assert gsoc.preprocess == sd.Preprocess((416, 416))
    assert str(gsoc.files.definition).endswith("SqueezeNet_deploy.prototxt")


@pytest.mark.parametrize("backend", BACKENDS)
def test_compressed_weights_with_a_definition(backend: str, tmp_path: Path) -> None:
    """OpenCV 4 reads the definition, but not the weights."""
    (tmp_path / "mine.net").write_bytes(compressed_file())
    image = cv2.imread(str(PHOTO))
    alone = sd.SqueezeNet(tmp_path / "mine.net", backend=backend)
    both = sd.SqueezeNet("squeezenet-v1.0", tmp_path / "mine.net", backend=backend)
    np.testing.assert_array_equal(both.forward(image), alone.forward(image))
