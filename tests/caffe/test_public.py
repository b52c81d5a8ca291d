"""Networks and cases of the shared data run by `Net`, against what OpenCV 4.14 gave; what programs do with some of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from caffe_networks import FOLDER, HAS_IMPORTER, config, files_of, material, own, seed_of
from numpy.typing import NDArray
from shared import needs

from opencv_squeezedet.caffe import install, uninstall

pytestmark = [
    needs("caffe/cases_ref.npz"),
    pytest.mark.skipif(HAS_IMPORTER, reason="OpenCV 4 has its own importer, which gave the answers"),
]

Array = NDArray[Any]
SMALL = frozenset(
    [
        "cifar10_full",
        "hyperlpr_char",
        "hyperlpr_finemap",
        "lenet",
        "mobilenet_ssd_voc",
        "mtcnn_det1",
        "mtcnn_det2",
        "pcn1",
        "pcn2",
        "res10_face_fp16",
        "shufflenet_v1",
        "squeezenet_v1.1_v1bin",
        "ultralight_slim",
        "waifu2x_vgg7_rgb_test",
        "wechat_sr",
    ]
)
PROPOSAL = frozenset({"faster_rcnn_zf_proposal", "pvanet"})
OTHER_ANSWER = {"se_resnet50": "se_resnet50_axpyswap", "se_resnet50_axpyswap": "se_resnet50"}
"""Caffe and OpenCV 4 take the bottoms of Axpy in another order: each network's answer here is the other's there."""
IMAGE = Path(__file__).resolve().parents[2] / "samples" / "astronaut.jpg"


def names() -> list[Any]:
    found = sorted(path.stem for path in (FOLDER / "reference").glob("*.npz"))
    public = [name for name in found if not name.endswith((".setblobs", ".centre_crop")) and ".size" not in name]
    return [pytest.param(name, marks=[] if name in SMALL else [pytest.mark.slow]) for name in public or ["none"]]


def answer(name: str) -> Any:
    return np.load(FOLDER / "reference" / f"{name}.npz", allow_pickle=True)


def an_input(name: str, blob: str, shape: list[int], size: list[int] | None = None) -> Array:
    return np.asarray(material("reference").make_input(seed_of(name), blob, shape, size))


def check(got: Array, expected: Any, index: int, tolerance: float = 1e-3) -> None:
    """Compare an output with what was stored of it."""
    assert got.shape == tuple(expected[f"shape_{index}"])
    if got.shape[:2] == (1, 1) and got.shape[-1] == 7 and got.ndim == 4:
        check_rows(got.reshape(-1, 7), expected[f"full_{index}"].reshape(-1, 7))
        return
    full = f"full_{index}" in expected
    values = expected[f"full_{index}"].ravel() if full else expected[f"val_{index}"]
    own_values = got.ravel() if full else got.ravel()[expected[f"idx_{index}"]]
    np.testing.assert_allclose(own_values, values, rtol=0, atol=tolerance * np.abs(values).max())


def check_rows(got: Array, expected: Array) -> None:
    """Compare detections, of which neighbours of equal score may swap."""
    np.testing.assert_allclose(got[:, 2], expected[:, 2], atol=1e-5)
    for i, row in enumerate(expected):
        near = got[max(0, i - 5) : i + 6]
        assert (np.abs(near - row).max(1) < 1e-4).any(), f"row {i}, {row}, is not among {near}"


@pytest.mark.parametrize("name", names())
def test_networks(name: str) -> None:
    expected = answer(name)
    definition, weights = files_of(name)
    if str(expected["error"]) or name in PROPOSAL:
        with pytest.raises(cv2.error, match=r"'|expected"):
            own(definition, weights).forward()
        return
    net = own(definition, weights)
    inputs = dict(json.loads(str(expected["inputs"])))
    for blob, shape in inputs.items():
        net.setInput(an_input(name, blob, shape, next(iter(inputs.values()))[2:]), blob)
    if name not in OTHER_ANSWER:
        assert list(net.getLayerNames()) == list(expected["layers"])
    else:
        expected = answer(OTHER_ANSWER[name])
    outs = [str(out) for out in expected["outs"]]
    assert list(dict.fromkeys(out.split("#")[0] for out in outs)) == list(net.getUnconnectedOutLayersNames())
    for i, output in enumerate(net.forward([out for out in outs if "#" not in out])):
        if tuple(expected[f"shape_{i}"]) != (-1,):  # of several bottoms of a Silence, OpenCV 4 gives reused memory
            check(output, expected, i)


# ---- what programs do ---------------------------------------------------------------------------------------------------


@pytest.fixture
def installed() -> Iterator[None]:
    install()
    yield
    uninstall()


def test_the_face_detector_at_another_size() -> None:
    net = own(*files_of("res10_face"))
    for size in ([340, 420], [300, 300]):
        net.setInput(an_input("res10_face", "data", [1, 3, *size]))
        check(net.forward(), answer(f"res10_face.size{size[0]}x{size[1]}"), 0)


@pytest.mark.slow
def test_colorization_sets_blobs() -> None:
    net = own(*files_of("colorization_v2"))
    points = material("reference").unit("colorization_pts", [313, 2]) * 50
    net.getLayer(net.getLayerId("class8_ab")).blobs = [points.transpose().reshape(2, 313, 1, 1).astype(np.float32)]
    net.getLayer(net.getLayerId("conv8_313_rh")).blobs = [np.full([1, 313], 2.606, np.float32)]
    ((blob, shape),) = json.loads(str(answer("colorization_v2")["inputs"]))
    net.setInput(an_input("colorization_v2", blob, shape))
    check(net.forward(), answer("colorization_v2.setblobs"), 0)


@pytest.mark.slow
@pytest.mark.usefixtures("installed")
def test_hed_registers_its_crop() -> None:
    from test_install import CentreCrop

    net = own(*files_of("hed"))
    net.setInput(an_input("hed", "data", [1, 3, 120, 136]))
    cv2.dnn_registerLayer("Crop", CentreCrop)
    try:
        check(net.forward(), answer("hed.centre_crop"), 0)
    finally:
        cv2.dnn_unregisterLayer("Crop")


TWO_LINES = """
import opencv_squeezedet.caffe
opencv_squeezedet.caffe.install()
"""
FACES = """
import numpy as np
import cv2

net = cv2.dnn.readNetFromCaffe("deploy.prototxt.txt", "res10_300x300_ssd_iter_140000.caffemodel")
image = cv2.imread({image!r})
(h, w) = image.shape[:2]
blob = cv2.dnn.blobFromImage(cv2.resize(image, (300, 300)), 1.0, (300, 300), (104.0, 177.0, 123.0))
net.setInput(blob)
detections = net.forward()
for i in range(0, detections.shape[2]):
    confidence = detections[0, 0, i, 2]
    if confidence > 0.96:
        box = detections[0, 0, i, 3:7] * np.array([w, h, w, h])
        (startX, startY, endX, endY) = box.astype("int")
        print("face", "{{:.2f}}".format(confidence * 100), startX, startY, endX, endY)
"""
OBJECTS = """
import numpy as np
import cv2

CLASSES = ["background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
           "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"]
net = cv2.dnn.readNet("MobileNetSSD_deploy.caffemodel", "MobileNetSSD_deploy.prototxt")
frame = cv2.imread({image!r})
frame_resized = cv2.resize(frame, (300, 300))
net.setInput(cv2.dnn.blobFromImage(frame_resized, 0.007843, (300, 300), (127.5, 127.5, 127.5), False))
detections = net.forward()
rows, cols = frame_resized.shape[:2]
for i in range(detections.shape[2]):
    confidence = detections[0, 0, i, 2]
    if confidence > 0.75:
        class_id = int(detections[0, 0, i, 1])
        box = [detections[0, 0, i, 3] * cols, detections[0, 0, i, 4] * rows,
               detections[0, 0, i, 5] * cols, detections[0, 0, i, 6] * rows]
        print(CLASSES[class_id], "{{:.2f}}".format(confidence * 100), *map(int, box))
"""
PROGRAMS = {
    "faces": (FACES, "res10_face", ("deploy.prototxt.txt", "res10_300x300_ssd_iter_140000.caffemodel"), {"data_scale": 0.02}),
    "objects": (OBJECTS, "mobilenet_ssd_voc", ("MobileNetSSD_deploy.prototxt", "MobileNetSSD_deploy.caffemodel"), {}),
}
PRINTED: dict[str, str] = {
    "faces": """
face 96.84 454 0 493 53
face 96.69 385 117 426 184
face 96.47 319 35 357 106
face 96.44 468 48 507 121
face 96.44 387 157 425 227
face 96.41 469 144 507 216
face 96.23 468 172 508 243
face 96.19 468 201 507 273
face 96.16 468 102 507 176
face 96.13 86 89 124 161
face 96.07 454 62 493 134
face 96.05 73 23 110 93
""",
    "objects": """
sheep 84.42 157 149 233 299
sheep 82.85 37 176 114 327
sheep 82.20 99 59 172 209
sheep 81.45 68 177 144 326
sheep 81.25 69 118 144 270
sheep 81.22 128 89 205 237
sheep 80.89 188 149 263 298
sheep 79.38 97 175 174 325
sheep 78.81 99 120 173 267
sheep 77.43 7 176 83 330
sheep 77.23 38 57 113 209
aeroplane 76.49 -6 133 184 199
sheep 76.35 128 150 202 298
sheep 75.70 188 88 262 238
""",
}
"""What OpenCV 4.14 printed."""


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_that_have_the_two_lines_in_addition(program: str, tmp_path: Path) -> None:
    script, network, files, gain = PROGRAMS[program]
    definition = FOLDER / "prototxts" / f"{network}.prototxt"
    options = config()[network]
    options = {**options, "gain": {**options.get("gain", {}), **gain}}
    (tmp_path / files[0]).write_bytes(definition.read_bytes())
    (tmp_path / files[1]).write_bytes(material("make_weights").make(definition.read_text(), network, options)[0])
    (tmp_path / "program.py").write_text(TWO_LINES + script.format(image=str(IMAGE)))
    done = subprocess.run([sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    printed, expected = (text.split("\n") for text in (done.stdout.strip(), PRINTED[program].strip()))
    assert len(printed) == len(expected)
    for line, other in zip(printed, expected, strict=True):
        (label, *numbers), (other_label, *others) = line.split(), other.split()
        assert label == other_label
        np.testing.assert_allclose(list(map(float, numbers)), list(map(float, others)), atol=1.5)
