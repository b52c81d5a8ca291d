"""Public Caffe networks and cases of one layer against what OpenCV 4.14 gave for them; they are in the shared data."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from caffe_networks import OLDER, material
from embedded import HAS_CAFFE
from networks import Array
from opencv_blobs import by_layer, by_opencv_name
from shared import DATA, needs

import opencv_squeezedet as sd
from opencv_squeezedet._opencv import HAS_GRAPH_ENGINE
from opencv_squeezedet.formats import caffemodel_bytes, onnx_bytes, prototxt_text
from opencv_squeezedet.formats.caffemodel import parse_caffemodel
from opencv_squeezedet.formats.prototxt import parse_prototxt
from opencv_squeezedet.network import Network, Weights

FOLDER = DATA / "caffe"
pytestmark = needs("caffe/cases.py")

SMALL = (
    "cifar10_full hyperlpr_char hyperlpr_finemap lenet lenet_train_test_test mobilenet_ssd_voc mtcnn_det1 mtcnn_det2 pcn1 "
    "pcn2 res10_face_fp16 squeezenet_v1.1_v1bin shufflenet_v1 ultralight_rfb ultralight_slim waifu2x_vgg7_rgb_test "
    "wechat_sr"
)
PROPOSAL = "a Proposal is refused by name"
CAFFES = "OpenCV 4 has another order of Axpy's bottoms than Caffe, whose answer is the reference of the other of the two"
DIFFERENT_NETWORKS = {
    "faster_rcnn_zf_proposal": PROPOSAL,
    "pvanet": PROPOSAL,
    "se_resnet50": CAFFES,
    "se_resnet50_axpyswap": CAFFES,
}
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
MORE_NETWORKS = {"waifu2x_upconv7", "waifu2x_vgg7_rgb"}  # that OpenCV 4.14 refuses
"""Cases that standard ONNX has no equal of."""


def near(squares: Array) -> Array:
    """The sum over each channel and its two neighbours."""
    padded = np.pad(squares, ((0, 0), (1, 1), (0, 0), (0, 0)))
    return padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]


@pytest.fixture(scope="module")
def caffe() -> Any:
    """The modules of the shared folder."""
    cases, make_weights, reference = (material(name) for name in ("cases", "make_weights", "reference"))
    config = json.loads((FOLDER / "config.json").read_text())
    answers = np.load(FOLDER / "cases_ref.npz", allow_pickle=True)
    return SimpleNamespace(cases=cases, weights=make_weights, reference=reference, config=config, answers=answers)


# ---- runners -----------------------------------------------------------------------------------------------------------

Runner = Callable[[Network, Weights, Mapping[str, Array], Sequence[str]], list[Array]]


def by_opencv_5(network: Network, weights: Weights, inputs: Mapping[str, Array], names: Sequence[str]) -> list[Array]:
    network = by_layer(network)
    blobs = [blob for name in names for blob in by_opencv_name(network)[name]]
    net = cv2.dnn.readNetFromONNX(np.frombuffer(onnx_bytes(network, weights, outputs=blobs, opencv=True), np.uint8))
    for name, values in inputs.items():
        net.setInput(values, name)
    return list(map(np.asarray, net.forward(blobs)))


def by_opencv_4(network: Network, weights: Weights, inputs: Mapping[str, Array], names: Sequence[str]) -> list[Array]:
    """OpenCV's own importer, with the files that are written here: they say what those said that were read."""
    files = [prototxt_text(network).encode(), *([caffemodel_bytes(network, weights)] if weights else [])]
    net = cv2.dnn.readNetFromCaffe(*(np.frombuffer(content, np.uint8) for content in files))
    for name, values in inputs.items():
        net.setInput(values, name)
    return [np.asarray(blob) for blobs in net.forwardAndRetrieve(list(names)) for blob in blobs]


def by_onnxruntime(network: Network, weights: Weights, inputs: Mapping[str, Array], names: Sequence[str]) -> list[Array]:
    onnxruntime = pytest.importorskip("onnxruntime")
    network = by_layer(network)
    blobs = [blob for name in names for blob in by_opencv_name(network)[name]]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    content = onnx_bytes(network, weights, outputs=blobs)
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return list(session.run(blobs, dict(inputs)))


RUNNERS: dict[str, Runner] = {"onnxruntime": by_onnxruntime}
RUNNERS |= {"opencv 5": by_opencv_5} if HAS_GRAPH_ENGINE else {}
RUNNERS |= {"opencv 4": by_opencv_4} if HAS_CAFFE and not OLDER else {}


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


def case_names() -> list[str]:
    if not FOLDER.exists():
        return ["none"]
    answers = np.load(FOLDER / "cases_ref.npz", allow_pickle=True)
    return sorted(key.removesuffix("/error") for key in answers.files if key.endswith("/error"))


def run_case(caffe: Any, name: str, runner: Runner) -> tuple[list[Array], list[Array]]:
    """The tops, and the inputs and weights."""
    text = caffe.cases.CASES[name]
    content, written, _, parsed = caffe.weights.make(text, name, {"format": caffe.cases.FMT.get(name)}, [])
    network = parse_prototxt(text.encode())
    weights = network.fitted(parse_caffemodel(content)) if written and name != "missing_weights" else {}
    network.check_weights(weights)
    own = caffe.cases.DATA.get(name, {})
    inputs = {
        blob: own[blob] if blob in own else caffe.reference.make_input(name, blob, shape)
        for blob, shape in caffe.reference.net_inputs(parsed, {})
    }
    outs = caffe.answers.get(f"{name}/outs", [])
    known = list(by_opencv_name(network))
    names = [out for out in map(str, outs) if out in known] or [known[-1]]
    return runner(network, weights, inputs, names), [*inputs.values(), *(blob for blobs in weights.values() for blob in blobs)]


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("name", case_names())
def test_a_layer(caffe: Any, name: str, runner: str) -> None:
    refused = str(caffe.answers[f"{name}/error"])
    reason, expected = DIFFERENT_CASES.get(name, ("", None))
    if runner == "opencv 4" and (refused or reason or name in MORE_CASES):
        pytest.skip("OpenCV 4's own importer")
    if reason == PROPOSAL or (refused and name not in MORE_CASES):
        with pytest.raises(sd.ModelError, match=r"'[^']+'.*: .|\d+:\d+: |no earlier layer|type|expected"):
            run_case(caffe, name, RUNNERS[runner])
    elif runner == "onnxruntime" and name in NO_STANDARD:
        with pytest.raises(sd.ModelError, match=r"'(l|detection_out)': standard ONNX has"):
            run_case(caffe, name, RUNNERS[runner])
    elif name == "el_silence_two":
        pytest.skip(reason)
    else:
        tops, blobs = run_case(caffe, name, RUNNERS[runner])
        if expected is not None:
            check(tops[0], expected(*blobs), 1e-4)
        elif not reason and not refused and not (name == "det_ties" and runner == "onnxruntime"):
            for i, top in enumerate(tops):
                answer = caffe.answers[f"{name}/{i}"]
                if name.startswith("det_"):
                    assert different_rows(top, answer) == []
                elif f"{name}/{i}" in caffe.answers:
                    check(top, answer, 1e-4)


# ---- networks ----------------------------------------------------------------------------------------------------------


def networks() -> list[Any]:
    stems = [path.stem for path in (FOLDER / "reference").glob("*.npz")]
    names = sorted(stem for stem in stems if not stem.endswith((".setblobs", ".centre_crop")) and ".size" not in stem)
    return [pytest.param(name, marks=[] if name in SMALL.split() else [pytest.mark.slow]) for name in names or ["none"]]


def load(caffe: Any, name: str) -> tuple[Network, Weights, dict[str, Array]]:
    """A network for the inputs of its reference, with its weights, and these inputs."""
    config = caffe.config.get(name, {})
    definition, weights = caffe.reference.paths(str(FOLDER), name)
    content = Path(weights).read_bytes() if weights else caffe.weights.make(Path(definition).read_text(), name, config)[0]
    network = parse_prototxt(Path(definition).read_bytes(), check=False)
    wanted = caffe.reference.net_inputs(caffe.weights.parse(Path(definition).read_text()), config)
    size = wanted[0][1][2:4] if wanted else None
    inputs = {blob: caffe.reference.make_input(config.get("seed", name), blob, shape, size) for blob, shape in wanted}
    first, *more = {**network.inputs, **{blob: values.shape for blob, values in inputs.items()}}.items()
    network = replace(network, input_shape=first[1], more_inputs=tuple(more))
    return network, network.fitted(parse_caffemodel(content)), inputs


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("name", networks())
def test_a_network(caffe: Any, name: str, runner: str) -> None:
    answer = np.load(FOLDER / "reference" / f"{name}.npz", allow_pickle=True)
    reason = DIFFERENT_NETWORKS.get(name, "")
    if name in MORE_NETWORKS:
        assert onnx_bytes(*load(caffe, name)[:2])
        return
    if str(answer["error"]) or reason == PROPOSAL or (runner == "onnxruntime" and name in NO_STANDARD):
        with pytest.raises(sd.ModelError):
            onnx_bytes(*load(caffe, name)[:2])
        return
    if reason == CAFFES:
        if runner == "opencv 4":
            pytest.skip("OpenCV 4's own importer")
        other = "se_resnet50" if name.endswith("swap") else "se_resnet50_axpyswap"
        answer = np.load(FOLDER / "reference" / f"{other}.npz", allow_pickle=True)
    network, weights, inputs = load(caffe, name)
    places = [
        (i, str(out).removesuffix("#0"))
        for i, out in enumerate(answer["outs"])
        if answer[f"shape_{i}"][0] != -1 and not str(out).endswith("#1")
    ]
    tops = RUNNERS[runner](network, weights, inputs, [out for _, out in places])
    for (i, _), top in zip(places, tops, strict=True):
        assert top.shape == tuple(answer[f"shape_{i}"])
        if "detection" in str(answer["outs"][i]):
            assert different_rows(top, answer[f"full_{i}"]) == []
        elif f"full_{i}" in answer:
            check(top, answer[f"full_{i}"], 1e-3)
        else:
            largest = np.abs(answer[f"stat_{i}"][2:4]).max()
            values = top.reshape(-1)[answer[f"idx_{i}"]]
            np.testing.assert_allclose(values, answer[f"val_{i}"], rtol=0, atol=1e-3 * largest)
