"""Public Caffe networks and cases of one layer against what OpenCV 4.14 gave, and what programs do with some of them.

They run by `Net`, as standard ONNX by onnxruntime, and, rewritten as Caffe's files, by OpenCV 4 itself.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from caffe_networks import FOLDER, HAS_IMPORTER, OLDER, config, files_of, material, opencv, own, seed_of
from numpy.typing import NDArray
from shared import needs

import opencv_squeezedet as sd
from opencv_squeezedet.caffe import Net, install, uninstall
from opencv_squeezedet.formats import caffemodel_bytes, onnx_bytes, prototxt_text
from opencv_squeezedet.formats.caffemodel import parse_caffemodel
from opencv_squeezedet.formats.prototxt import parse_prototxt
from opencv_squeezedet.network import Network, Pooling

pytestmark = needs("caffe/cases_ref.npz")
own_only = pytest.mark.skipif(HAS_IMPORTER, reason="OpenCV 4 has its own importer, which gave the answers")

Array = NDArray[Any]
IMAGE = Path(__file__).resolve().parents[2] / "samples" / "astronaut.jpg"
SMALL = (
    "cifar10_full hyperlpr_char hyperlpr_finemap lenet lenet_train_test_test mobilenet_ssd_voc mtcnn_det1 mtcnn_det2 pcn1 "
    "pcn2 res10_face_fp16 squeezenet_v1.1_v1bin shufflenet_v1 ultralight_rfb ultralight_slim waifu2x_vgg7_rgb_test "
    "wechat_sr"
)
PROPOSAL = "a Proposal is refused by name"
OTHER_ANSWER = {"se_resnet50": "se_resnet50_axpyswap", "se_resnet50_axpyswap": "se_resnet50"}
"""OpenCV 4 has another order of Axpy's bottoms than Caffe, whose answer is the reference of the other of the two."""
NEED_PROPOSAL = {"faster_rcnn_zf_proposal", "pvanet"}
DIFFERENT_CASES: dict[str, tuple[str, Callable[..., Array] | None]] = {
    "axpy1": ("Caffe's order of the bottoms", lambda a, x, y: a * x + y),
    "lrn_k": ("k is honoured", lambda x: x / (2 + 0.5 / 3 * near(x * x)) ** 0.6),
    "concat_dim": ("the old name of axis is honoured", lambda x, y: np.concatenate([x, y])),
    "slice_dim_used": ("the old name of axis is honoured", lambda x: x[:1] + 1),
    "deconv_dilation": ("dilation is honoured", None),
    "ip_transpose": ("transpose is honoured", lambda x, weight, bias: x.reshape(2, -1) @ weight + bias),
    "el_relu6_param": ("OpenCV 4 loses the sign of the minimum", lambda x: x.clip(-0.5, 0.9)),
    "phase_train_test": ("layers of the phase TEST only", None),
    "el_silence_two": ("OpenCV 4 gives reused memory", None),
    "proposal": (PROPOSAL, None),
}
"""Cases whose answer is not OpenCV 4's, why, and what it is."""
MORE_CASES = {
    *("axpy", "axpy_se_batch2", "el_split", "fmt_double", "in_unused_input", "phase_same_top"),
    *("pool_ave_round_floor", "pool_max_round_floor", "slice_default", "slice_dim", "slice_even"),
}
"""Cases that OpenCV 4 refuses, and that run here."""
NO_STANDARD = {"det_batch2", "det_noshare", "det_unnormalized", "psroi_pooling", "rfcn_resnet50"}
"""What standard ONNX has no equal of."""
MORE_NETWORKS = {"waifu2x_upconv7", "waifu2x_vgg7_rgb"}  # that OpenCV 4.14 refuses


def near(squares: Array) -> Array:
    """The sum over each channel and its two neighbours."""
    padded = np.pad(squares, ((0, 0), (1, 1), (0, 0), (0, 0)))
    return padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]


# ---- runners -----------------------------------------------------------------------------------------------------------

Runner = Callable[[bytes, "bytes | None", Mapping[str, Array], Sequence[str]], list[Array]]


def by_net(definition: bytes, weights: bytes | None, inputs: Mapping[str, Array], names: Sequence[str]) -> list[Array]:
    return _retrieved(own(definition, weights), inputs, names)


def by_opencv_4(definition: bytes, weights: bytes | None, inputs: Mapping[str, Array], names: Sequence[str]) -> list[Array]:
    """OpenCV's own importer, with the files that are written here: they say what those said that were read."""
    network = _network(definition, inputs)
    fitted = network.fitted(parse_caffemodel(weights)) if weights else {}
    content = caffemodel_bytes(network, fitted) if fitted else None
    return _retrieved(opencv(prototxt_text(network).encode(), content), inputs, names)


def by_onnxruntime(definition: bytes, weights: bytes | None, inputs: Mapping[str, Array], names: Sequence[str]) -> list[Array]:
    onnxruntime = pytest.importorskip("onnxruntime")
    content, blobs = _onnx(definition, weights, inputs, names, opencv=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return list(session.run(blobs, dict(inputs)))


def by_opencv_5(definition: bytes, weights: bytes | None, inputs: Mapping[str, Array], names: Sequence[str]) -> list[Array]:
    """One network of OpenCV, as detectors have it; its rows are not found by `Net`."""
    content, blobs = _onnx(definition, weights, inputs, names, opencv=True)
    net = cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8))
    for name, values in inputs.items():
        net.setInput(values, name)
    return list(map(np.asarray, net.forward(blobs)))


def _onnx(
    definition: bytes, weights: bytes | None, inputs: Mapping[str, Array], names: Sequence[str], *, opencv: bool
) -> tuple[bytes, list[str]]:
    network = _network(definition, inputs)
    net = Net(network)
    layers = [replace(layer, tops=layer.tops[:1]) if isinstance(layer, Pooling) else layer for layer in net._layers]
    network = replace(network, layers=tuple(layers))
    known = {top for layer in layers for top in layer.tops}
    blobs = [value for name in names for value in net._entry(name).values if value in known]
    fitted = network.fitted(parse_caffemodel(weights)) if weights else {}
    return onnx_bytes(network, fitted, outputs=blobs, opencv=opencv), blobs


def _network(definition: bytes, inputs: Mapping[str, Array]) -> Network:
    return parse_prototxt(definition, check=False).with_inputs({name: values.shape for name, values in inputs.items()})


def _retrieved(net: Any, inputs: Mapping[str, Array], names: Sequence[str]) -> list[Array]:
    for name, values in inputs.items():
        net.setInput(values, name)
    return [np.asarray(blob) for blobs in net.forwardAndRetrieve(list(names)) for blob in blobs]


RUNNERS: dict[str, Runner] = {"onnxruntime": by_onnxruntime}
RUNNERS |= {} if HAS_IMPORTER else {"net": by_net, "opencv 5": by_opencv_5}
RUNNERS |= {"opencv 4": by_opencv_4} if HAS_IMPORTER and not OLDER else {}


def different_rows(got: Array, expected: Array) -> list[int]:
    """The rows of a DetectionOutput that are not there, at their place or, with equal scores, near it."""
    left = dict(enumerate(got.reshape(-1, 7)))
    missing = []
    for i, row in enumerate(expected.reshape(-1, 7)):
        tolerance = np.array([0, 0, 1e-5, *np.maximum(1, np.abs(row[3:])) * 1e-4])
        near = [j for j in range(i - 8, i + 9) if j in left and (np.abs(left[j] - row) <= tolerance).all()]
        if near:
            del left[near[0] if i not in near else i]
        else:
            missing.append(i)
    return missing if got.shape == expected.shape else [-1]


def check(got: Array, expected: Array, tolerance: float) -> None:
    assert got.shape == expected.shape
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * max(1e-9, np.nanmax(np.abs(expected), initial=0)))


# ---- cases -------------------------------------------------------------------------------------------------------------


@cache
def case_answers() -> dict[str, Any]:
    if not FOLDER.exists():
        return {"none/error": ""}
    with np.load(FOLDER / "cases_ref.npz", allow_pickle=True) as stored:
        return dict(stored)


def run_case(name: str, runner: Runner) -> tuple[list[Array], list[Array]]:
    """The tops, and the inputs and weights."""
    cases, reference = material("cases"), material("reference")
    text = cases.CASES[name]
    content, written, _, parsed = material("make_weights").make(text, name, {"format": cases.FMT.get(name)}, [])
    network = parse_prototxt(text.encode())
    weights = network.fitted(parse_caffemodel(content)) if written and name != "missing_weights" else {}
    network.check_weights(weights)
    given = cases.DATA.get(name, {})
    inputs = {
        blob: given[blob] if blob in given else reference.make_input(name, blob, shape)
        for blob, shape in reference.net_inputs(parsed, {})
    }
    known = Net(network).getLayerNames()
    names = [out for out in map(str, case_answers().get(f"{name}/outs", [])) if out in known] or [known[-1]]
    tops = runner(text.encode(), content if weights else None, inputs, names)
    return tops, [*inputs.values(), *(blob for blobs in weights.values() for blob in blobs)]


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("name", sorted(key.removesuffix("/error") for key in case_answers() if key.endswith("/error")))
def test_a_layer(name: str, runner: str) -> None:
    answers = case_answers()
    refused = str(answers[f"{name}/error"])
    reason, expected = DIFFERENT_CASES.get(name, ("", None))
    if runner == "opencv 4" and (refused or reason or name in MORE_CASES):
        pytest.skip("OpenCV 4's own importer")
    if reason == PROPOSAL or (refused and name not in MORE_CASES):
        with pytest.raises(sd.ModelError, match=r"'[^']+'.*: .|\d+:\d+: |no earlier layer|type|expected"):
            run_case(name, RUNNERS[runner])
    elif runner == "onnxruntime" and name in NO_STANDARD:
        with pytest.raises(sd.ModelError, match=r"'(l|detection_out)': standard ONNX has"):
            run_case(name, RUNNERS[runner])
    elif name == "el_silence_two":
        pytest.skip(reason)
    else:
        tops, blobs = run_case(name, RUNNERS[runner])
        if expected is not None:
            check(tops[0], expected(*blobs), 1e-4)
        elif not reason and not refused and not (name == "det_ties" and runner in ("onnxruntime", "net")):
            for i, top in enumerate(tops):
                answer = answers[f"{name}/{i}"]
                if name.startswith("det_"):
                    assert different_rows(top, answer) == []
                elif f"{name}/{i}" in answers:
                    check(top, answer, 1e-4)


# ---- networks ----------------------------------------------------------------------------------------------------------


def networks() -> list[Any]:
    stems = [path.stem for path in (FOLDER / "reference").glob("*.npz")]
    names = sorted(stem for stem in stems if not stem.endswith((".setblobs", ".centre_crop")) and ".size" not in stem)
    return [pytest.param(name, marks=[] if name in SMALL.split() else [pytest.mark.slow]) for name in names or ["none"]]


@cache
def answer(name: str) -> dict[str, Any]:
    with np.load(FOLDER / "reference" / f"{name}.npz", allow_pickle=True) as stored:
        return dict(stored)


def an_input(name: str, blob: str, shape: list[int], size: list[int] | None = None) -> Array:
    return np.asarray(material("reference").make_input(seed_of(name), blob, shape, size))


def check_stored(got: Array, expected: Any, index: int) -> None:
    """Compare an output with what was stored of it."""
    assert got.shape == tuple(expected[f"shape_{index}"])
    if got.shape[:2] == (1, 1) and got.shape[-1] == 7 and got.ndim == 4:
        assert different_rows(got, expected[f"full_{index}"]) == []
    elif f"full_{index}" in expected:
        check(got, expected[f"full_{index}"], 1e-3)
    else:
        largest = np.abs(expected[f"stat_{index}"][2:4]).max()
        values = got.ravel()[expected[f"idx_{index}"]]
        np.testing.assert_allclose(values, expected[f"val_{index}"], rtol=0, atol=1e-3 * largest)


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("name", networks())
def test_a_network(name: str, runner: str) -> None:
    expected = answer(name)
    definition, weights = files_of(name)
    if name in MORE_NETWORKS:
        assert own(definition, weights).onnx()
        return
    if str(expected["error"]) or name in NEED_PROPOSAL or (runner == "onnxruntime" and name in NO_STANDARD):
        with pytest.raises(sd.ModelError, match=r"'|expected"):
            own(definition, weights).onnx()
        return
    shapes = dict(json.loads(str(expected["inputs"])))
    inputs = {blob: an_input(name, blob, shape, next(iter(shapes.values()))[2:]) for blob, shape in shapes.items()}
    if name in OTHER_ANSWER:
        if runner == "opencv 4":
            pytest.skip("OpenCV 4's own importer")
        expected = answer(OTHER_ANSWER[name])
    outs = [str(out) for out in expected["outs"]]
    net = own(definition)
    assert list(dict.fromkeys(out.split("#")[0] for out in outs)) == list(net.getUnconnectedOutLayersNames())
    if name not in OTHER_ANSWER:
        assert list(net.getLayerNames()) == list(expected["layers"])
    places = [
        i for i, out in enumerate(outs) if not out.endswith("#1") and expected[f"shape_{i}"][0] != -1
    ]  # else reused memory
    tops = iter(RUNNERS[runner](definition, weights, inputs, [outs[i].removesuffix("#0") for i in places]))
    for i in places:
        check_stored(next(tops), expected, i)


# ---- what programs do ---------------------------------------------------------------------------------------------------


@pytest.fixture
def installed() -> Iterator[None]:
    install()
    yield
    uninstall()


@own_only
def test_the_face_detector_at_another_size() -> None:
    net = own(*files_of("res10_face"))
    for size in ([340, 420], [300, 300]):
        net.setInput(an_input("res10_face", "data", [1, 3, *size]))
        check_stored(net.forward(), answer(f"res10_face.size{size[0]}x{size[1]}"), 0)


@own_only
@pytest.mark.slow
def test_colorization_sets_blobs() -> None:
    net = own(*files_of("colorization_v2"))
    points = material("reference").unit("colorization_pts", [313, 2]) * 50
    net.getLayer(net.getLayerId("class8_ab")).blobs = [points.transpose().reshape(2, 313, 1, 1).astype(np.float32)]
    net.getLayer(net.getLayerId("conv8_313_rh")).blobs = [np.full([1, 313], 2.606, np.float32)]
    ((blob, shape),) = json.loads(str(answer("colorization_v2")["inputs"]))
    net.setInput(an_input("colorization_v2", blob, shape))
    check_stored(net.forward(), answer("colorization_v2.setblobs"), 0)


@own_only
@pytest.mark.slow
@pytest.mark.usefixtures("installed")
def test_hed_registers_its_crop() -> None:
    from test_install import CentreCrop

    net = own(*files_of("hed"))
    net.setInput(an_input("hed", "data", [1, 3, 120, 136]))
    cv2.dnn_registerLayer("Crop", CentreCrop)
    try:
        check_stored(net.forward(), answer("hed.centre_crop"), 0)
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
@own_only
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
