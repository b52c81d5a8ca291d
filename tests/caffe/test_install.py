"""`install`: what a program of OpenCV 4 calls works again, and `uninstall` leaves nothing of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from caffe_networks import CHAIN, HAS_IMPORTER, SSD, a_blob, inputs, layer, made, own, written
from numpy.typing import NDArray

import opencv_squeezedet as sd
from opencv_squeezedet.caffe import Net, NetError, install, readNetFromCaffe, uninstall

PATCHED = pytest.mark.skipif(HAS_IMPORTER, reason="this OpenCV has its own importer")


@pytest.fixture
def installed() -> Iterator[None]:
    install()
    yield
    uninstall()


def names() -> dict[str, Any]:
    """All names of OpenCV that `install` might touch."""
    return {f"{module.__name__}.{name}": getattr(module, name) for module in (cv2, cv2.dnn) for name in dir(module)}


# ---- reading ------------------------------------------------------------------------------------------------------------

SOURCES: dict[str, Callable[[Path], Any]] = {
    "str": str,
    "path": lambda path: path,
    "bytes": Path.read_bytes,
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "memoryview": lambda path: memoryview(path.read_bytes()),
    "array": lambda path: np.fromfile(path, np.uint8),
}


@pytest.mark.parametrize("weights", SOURCES)
@pytest.mark.parametrize("definition", SOURCES)
def test_paths_and_contents(tmp_path: Path, definition: str, weights: str) -> None:
    if HAS_IMPORTER and (definition in ("str", "path")) != (weights in ("str", "path")):
        pytest.skip("OpenCV 4 reads two paths, or two contents")
    prototxt, caffemodel = written(tmp_path, CHAIN)
    net = readNetFromCaffe(SOURCES[definition](prototxt), SOURCES[weights](caffemodel))
    net.setInput(a_blob(1, 3, 12, 10))
    assert net.forward().shape == (1, 3, 6, 5)


def test_names_of_the_parameters(tmp_path: Path) -> None:
    prototxt, caffemodel = written(tmp_path, CHAIN)
    contents = [np.fromfile(path, np.uint8) for path in (prototxt, caffemodel)]
    for net in (
        readNetFromCaffe(prototxt=str(prototxt), caffeModel=str(caffemodel)),
        readNetFromCaffe(bufferProto=contents[0], bufferModel=contents[1]),
        readNetFromCaffe(str(prototxt), ""),
        readNetFromCaffe(str(prototxt)),
    ):
        assert net.getLayerNames()[0] == "conv1"


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 10666211\n"
PAGE = b"<!DOCTYPE html>\n<html><head><title>Not found</title></head></html>\n"
BAD: dict[str, tuple[Any, Any, str]] = {
    "no definition": ("nothing.prototxt", None, "nothing.prototxt"),
    "no weights": (CHAIN.encode(), "nothing.caffemodel", "nothing.caffemodel"),
    "wrong order": (made(CHAIN)[1], made(CHAIN)[0], "text"),
    "cut weights": (CHAIN.encode(), made(CHAIN)[1][:-9], "content"),
    "no weights in it": (CHAIN.encode(), b"", "content"),
    "half a definition": (CHAIN[:-9].encode(), None, "content"),
    "an unknown layer": (CHAIN.encode() + layer("Python", "mine", "b").encode(), None, "'mine'.*'Python'"),
    "floats": (np.zeros(9, np.float32), None, "float32"),
    "nothing": (None, None, "missing"),
}


@PATCHED
@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_read(case: str) -> None:
    definition, weights, message = BAD[case]
    with pytest.raises(NetError, match=message) as caught:
        readNetFromCaffe(definition, weights)
    assert isinstance(caught.value, cv2.error)
    assert isinstance(caught.value, sd.ModelError)


@PATCHED
@pytest.mark.parametrize(("content", "message"), [(PAGE, "HTML"), (POINTER, "LFS")])
def test_a_failed_download_is_named_as_what_it_is(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(content)
    with pytest.raises(NetError, match=message):
        readNetFromCaffe(CHAIN.encode(), path)
    with pytest.raises(NetError, match=message):
        readNetFromCaffe(path)


# ---- installing ---------------------------------------------------------------------------------------------------------


def test_nothing_is_left_of_it() -> None:
    before = names()
    assert install() is not HAS_IMPORTER
    assert install() is not HAS_IMPORTER
    assert (names() == before) is HAS_IMPORTER
    uninstall()
    assert names() == before
    uninstall()
    assert names() == before


@PATCHED
def test_threads_may_install() -> None:
    before = names()
    results: list[bool] = []
    threads = [threading.Thread(target=lambda: results.append(install())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 8
    uninstall()
    assert names() == before


@pytest.mark.usefixtures("installed")
def test_read_net(tmp_path: Path) -> None:
    prototxt, caffemodel = map(str, written(tmp_path, CHAIN))
    other = prototxt.replace(".prototxt", ".prototxt.txt")
    Path(other).write_bytes(Path(prototxt).read_bytes())
    contents = [np.fromfile(path, np.uint8) for path in (caffemodel, prototxt)]
    for net in (
        cv2.dnn.readNetFromCaffe(prototxt, caffemodel),
        cv2.dnn.readNet(prototxt, caffemodel),
        cv2.dnn.readNet(caffemodel, prototxt),
        cv2.dnn.readNet(caffemodel, other),
        cv2.dnn.readNet(model=caffemodel, config=prototxt),
        cv2.dnn.readNet(config=caffemodel, model=prototxt),
        cv2.dnn.readNet(caffemodel, prototxt, "caffe"),
        cv2.dnn.readNet("Caffe", *contents),
        cv2.dnn.readNet(framework="caffe", bufferModel=contents[0], bufferConfig=contents[1]),
    ):
        assert isinstance(net, cv2.dnn.Net if HAS_IMPORTER else Net)
        net.setInput(a_blob(1, 3, 12, 10))
        assert net.forward().shape == (1, 3, 6, 5)


@pytest.mark.usefixtures("installed")
def test_read_net_of_other_files(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(net_of(CHAIN).onnx())
    assert isinstance(cv2.dnn.readNet(str(path)), cv2.dnn.Net)
    with pytest.raises(cv2.error):
        cv2.dnn.readNet("nothing.onnx")
    with pytest.raises(cv2.error):
        cv2.dnn.readNet("nothing.prototxt", "nothing.caffemodel")


def net_of(text: str) -> Net:
    net = own(*made(text))
    assert isinstance(net, Net)
    return net


# ---- models -------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("installed")
def test_models_take_files_and_what_they_became(tmp_path: Path) -> None:
    prototxt, caffemodel = map(str, written(tmp_path, SSD))
    picture = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
    net = cv2.dnn.readNetFromCaffe(prototxt, caffemodel)
    net.setInput(cv2.dnn.blobFromImage(picture, 1 / 16, (40, 32), (128, 128, 128)))
    rows = net.forward()[0, 0]
    assert len(rows := rows[rows[:, 2] > 0.9]) > 5
    for model in (
        cv2.dnn.DetectionModel(net),
        cv2.dnn_DetectionModel(net),
        cv2.dnn.DetectionModel(network=net),
        cv2.dnn.DetectionModel(caffemodel, prototxt),
        cv2.dnn_DetectionModel(prototxt, caffemodel),
        cv2.dnn.DetectionModel(model=caffemodel, config=prototxt),
    ):
        assert isinstance(model, cv2.dnn.DetectionModel)
        assert isinstance(model, cv2.dnn.Model)
        model.setInputParams(1 / 16, (40, 32), (128, 128, 128))
        class_ids, confidences, _ = model.detect(picture, 0.9)
        assert np.allclose(np.sort(confidences), np.sort(rows[:, 2]), atol=1e-4)
        assert sorted(class_ids) == sorted(rows[:, 1])
    assert issubclass(cv2.dnn.DetectionModel, cv2.dnn.Model)
    assert callable(cv2.dnn.DetectionModel.detect)


CLASSIFIER = (
    inputs(data=(1, 3, 8, 8))
    + layer("InnerProduct", "fc", "data", "", "inner_product_param { num_output: 5 }")
    + layer("Softmax", "prob", "fc")
)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("kind", ["ClassificationModel", "SegmentationModel", "KeypointsModel", "Model"])
def test_other_models(kind: str, tmp_path: Path) -> None:
    prototxt, caffemodel = map(str, written(tmp_path, CLASSIFIER))
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    net = cv2.dnn.readNet(caffemodel, prototxt)
    net.setInput(cv2.dnn.blobFromImage(picture, 1 / 64, (8, 8)))
    expected = net.forward()
    for model in (getattr(cv2.dnn, kind)(net), getattr(cv2, f"dnn_{kind}")(caffemodel, prototxt)):
        model.setInputParams(1 / 64, (8, 8))
        assert np.allclose(model.predict(picture)[0], expected, atol=1e-5)
        if kind == "ClassificationModel":
            class_id, confidence = model.classify(picture)
            assert class_id == expected.argmax()
            assert abs(confidence - expected.max()) < 1e-5


# ---- layers of the program ----------------------------------------------------------------------------------------------

CROP = inputs(data=(1, 2, 8, 9), like=(1, 2, 4, 5)) + layer("TanH", "tanh", "data") + layer("Crop", "crop", "tanh like")
CROP += layer("AbsVal", "abs", "crop")


class CentreCrop:
    """What programs of HED register."""

    def __init__(self, params: dict[str, Any], blobs: list[NDArray[Any]]) -> None:
        self.corner = (0, 0)

    def getMemoryShapes(self, inputs: list[list[int]]) -> list[list[int]]:
        image, target = inputs
        self.corner, self.size = ((image[2] - target[2]) // 2, (image[3] - target[3]) // 2), target[2:]
        return [[*image[:2], *target[2:]]]

    def forward(self, inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:
        (y, x), (height, width) = self.corner, self.size
        return [inputs[0][:, :, y : y + height, x : x + width]]


@pytest.mark.usefixtures("installed")
def test_registered_layers_count() -> None:
    blob, like = a_blob(1, 2, 8, 9), a_blob(1, 2, 4, 5)
    net = cv2.dnn.readNetFromCaffe(np.frombuffer(CROP.encode(), np.uint8))

    def cropped() -> NDArray[Any]:
        net.setInput(blob, "data")
        net.setInput(like, "like")
        return np.asarray(net.forward())

    def register(kind: Any) -> NDArray[Any]:
        cv2.dnn_registerLayer("Crop", kind)
        try:
            return cropped()
        finally:
            cv2.dnn_unregisterLayer("Crop")

    assert np.allclose(register(CentreCrop), np.abs(np.tanh(blob[:, :, 2:6, 2:7])), atol=1e-6)
    if HAS_IMPORTER:
        return  # it has its layers now
    assert np.allclose(cropped(), np.abs(np.tanh(blob[:, :, :4, :5])), atol=1e-6)

    class Wrong(CentreCrop):
        def forward(self, inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:
            return [inputs[0]]

    with pytest.raises(cv2.error, match=r"'crop'.*\(1, 2, 8, 9\)"):
        register(Wrong)
