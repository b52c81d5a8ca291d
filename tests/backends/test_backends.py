"""Every backend gives the same boxes, takes the same files, and says what it cannot have."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from commands import error_line
from embedded import (
    BACKENDS,
    DEFINITION,
    HAS_ONNXRUNTIME,
    HEAD,
    ONNX,
    STEM,
    WEIGHTS,
    needs_caffe_importer,
    needs_onnx,
    needs_onnxruntime,
    read_net,
)
from networks import ROOT, random_weights
from shared import DATA

import opencv_squeezedet as sd
from opencv_squeezedet import backends, cli, formats
from opencv_squeezedet.model import Model
from opencv_squeezedet.network import Convolution, Network, architectures
from opencv_squeezedet.network.head import derive_config

NAMES = ["delta_bbox", "class_scores", "conf_scores"]


def photos() -> list[Path]:
    return [ROOT / "samples" / "chelsea.jpg", *sorted((DATA / "photos").glob("*.jpg"))]


@pytest.fixture
def stem(tmp_path: Path) -> Path:
    """The embedded model without its ONNX file."""
    for suffix in (".prototxt", ".caffemodel", ".json"):
        shutil.copy(f"{STEM}{suffix}", tmp_path / f"mine{suffix}")
    return tmp_path / "mine"


def detectors() -> list[sd.SqueezeDet]:
    """One for each way in which the embedded model's float weights can run here."""
    found = [sd.SqueezeDet(STEM), sd.SqueezeDet(ONNX)]
    if HAS_ONNXRUNTIME:
        found.append(sd.SqueezeDet(ONNX, backend="onnxruntime"))
    return found


@pytest.mark.parametrize("path", photos(), ids=lambda path: path.stem)
def test_all_give_the_same_blobs_and_boxes(path: Path) -> None:
    image = cv2.imread(str(path))
    first, *others = detectors()
    expected, blobs = first.detect(image, score_threshold=0.1), first.forward(image)
    for other in others:
        for one, blob in zip(blobs, other.forward(image), strict=True):
            assert blob.dtype == np.float32
            assert blob.shape == one.shape
            assert np.abs(blob - one).max() < 1e-4 * np.abs(one).max()
        found = other.detect(image, score_threshold=0.1)
        assert found.labels == expected.labels
        assert np.abs(found.confidence - expected.confidence).max(initial=0) < 1e-4
        assert np.abs(found.xyxy - expected.xyxy).max(initial=0) < 0.01


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "network",
    [architectures.squeezedet_shuffle(input_size=(192, 128)), architectures.squeezedet_gsoc()],
    ids=["shuffle", "gsoc"],
)
def test_a_network_is_the_same_from_every_format(network: Network, backend: Any, tmp_path: Path, photo: np.ndarray) -> None:
    """The shuffle network's upsampling is a Deconvolution with a kernel of ones in Caffe's files, and a Resize in ONNX."""
    head = derive_config(network, anchors=sd.VOC.anchors, labels=sd.VOC.labels)
    model = Model(network, random_weights(network), head, sd.Preprocess(network.input_size))
    outputs = []
    for name in ("it.prototxt", "it.onnx", "it.sdz"):
        model.save(tmp_path / name)
        outputs.append(sd.SqueezeDet(tmp_path / name, backend=backend).forward(photo))
    for blobs in outputs[1:]:
        for one, other in zip(outputs[0], blobs, strict=True):
            assert one.shape == other.shape
            assert np.abs(one - other).max() < 2e-3 * np.abs(one).max()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_padded_convolution_of_one_pixel(backend: Any, tmp_path: Path) -> None:
    """As SqueezeNet v1.0 ends in; OpenCV 5.0 would leave the border of ONNX's own to chance."""
    layer = Convolution(name="conv", bottoms=("data",), tops=("conv",), outputs=4, kernel=(1, 1), pad=(1, 2))
    rng = np.random.default_rng(0)
    weights = {"conv": [rng.normal(size=(4, 3, 1, 1)).astype(np.float32), rng.normal(size=4).astype(np.float32)]}
    network = Network("one", "data", (1, 3, 8, 9), (layer,))
    (tmp_path / "one.onnx").write_bytes(formats.onnx_bytes(network, weights))
    assert formats.read_onnx(tmp_path / "one.onnx")[0] == network
    blob = rng.normal(size=(2, 3, 8, 9)).astype(np.float32)
    (out,) = Model.load(tmp_path / "one.onnx").open(backend).forward(blob)
    padded = np.pad(blob, ((0, 0), (0, 0), (1, 1), (2, 2)))
    expected = np.einsum("nchw,oc->nohw", padded, weights["conv"][0][:, :, 0, 0]) + weights["conv"][1][:, None, None]
    assert out == pytest.approx(expected, abs=1e-5)


@needs_onnxruntime
def test_batches_and_threads_change_nothing(photo: np.ndarray) -> None:
    """In onnxruntime; test_detector.py has OpenCV."""
    pictures = [photo, photo[:200, 100:], photo[50:, :300]]
    detector = sd.SqueezeDet(backend="onnxruntime")
    alone = [detector.detect(picture, score_threshold=0.1) for picture in pictures]
    for one, other in zip(detector.detect_batch(pictures, score_threshold=0.1), alone, strict=True):
        assert one.labels == other.labels
        assert one.xyxy == pytest.approx(other.xyxy, abs=0.01)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda picture: detector.detect(picture, score_threshold=0.1), pictures * 4)) == alone * 4


@pytest.mark.parametrize("backend", BACKENDS)
@needs_onnx
def test_a_file_that_fixes_the_batch_at_one(backend: Any, tmp_path: Path, photo: np.ndarray) -> None:
    import onnx

    model = onnx.load(ONNX)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, str(tmp_path / "one.onnx"))
    shutil.copy(f"{STEM}.json", tmp_path / "one.json")
    found = sd.SqueezeDet(tmp_path / "one", backend=backend).detect_batch([photo, photo[::2, ::2], photo])
    assert found[0] == found[2]
    assert [one.labels for one in found] == [["cat"]] * 3


@needs_onnx
@pytest.mark.parametrize("backend", BACKENDS)
def test_outputs_of_other_names(backend: Any, stem: Path, photo: np.ndarray) -> None:
    """A Caffe layer's tops, whose blobs other layers read on; and outputs of an ONNX graph, by their names."""
    description = json.loads(Path(f"{stem}.json").read_text())
    description["head"]["activated"] = False
    description["outputs"] = {"delta_bbox": ["slice", 2], "class_scores": ["slice", 0], "conf_scores": ["slice", 1]}
    Path(f"{stem}.json").write_text(json.dumps(description))
    found = sd.SqueezeDet(stem, backend=backend).detect(photo)
    assert found.labels == ["cat"]
    assert found.xyxy == pytest.approx(sd.SqueezeDet(STEM).detect(photo).xyxy, abs=0.01)

    import onnx

    model = onnx.load(ONNX)
    model.graph.output[0].name = model.graph.node[-4].output[2] = "deltas"
    assert "deltas" in {name for node in model.graph.node for name in node.output}
    onnx.save(model, f"{stem}.onnx")
    with pytest.raises(sd.ModelError, match=r"has no output 'delta_bbox', which should give delta_bbox, but .*'deltas'"):
        sd.SqueezeDet(f"{stem}.onnx", config=HEAD, backend=backend)
    description = json.loads(Path(f"{STEM}.json").read_text())
    description["outputs"] = {"delta_bbox": "deltas", "class_scores": "class_scores", "conf_scores": "conf_scores"}
    Path(f"{stem}.json").write_text(json.dumps(description))
    assert sd.SqueezeDet(f"{stem}.onnx", backend=backend).detect(photo).labels == ["cat"]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": (22, 23)}, r"'delta_bbox' gives delta_bbox in the shape \(1, 23, 23, 36\).*need \(1, 22, 23, 36\)"),
        ({"labels": ("a", "b")}, r"\(1, 4761, 20\).*2 classes"),
    ],
)
def test_a_head_that_is_not_the_networks(backend: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(sd.ModelError, match=message):
        sd.SqueezeDet(ONNX, config=dataclasses.replace(HEAD, **changes), backend=backend)


def test_the_embedded_model_fits_its_head() -> None:
    """Which is why it is not checked when it is loaded."""
    assert Model.load().source.trusted
    assert not Model.load("embedded").source.trusted
    with pytest.raises(sd.ModelError, match="2 classes"):
        sd.SqueezeDet(config=dataclasses.replace(HEAD, labels=("a", "b")))
    for path in (STEM, ONNX):
        sd.SqueezeDet(path)


def test_a_net_of_any_kind(photo: np.ndarray) -> None:
    expected = sd.SqueezeDet(STEM, config=HEAD).detect(photo, score_threshold=0.1)
    for net in (read_net(), cv2.dnn.readNetFromONNX(ONNX)):
        assert sd.SqueezeDet(net, config=HEAD).detect(photo, score_threshold=0.1) == expected
    with pytest.raises(ValueError, match=r"a cv2\.dnn\.Net runs in OpenCV"):
        sd.SqueezeDet(read_net(), backend="onnxruntime")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("target", ["abacus", "", "cuda"])
def test_a_target_that_cannot_be_had(backend: Any, target: str) -> None:
    available = backends.opencv_targets() if backend == "opencv" else list(backends.onnxruntime_targets())
    assert "cpu" in available
    if target in available:
        pytest.skip(f"{target} can be had here")
    with pytest.raises(ValueError, match=f"available here: .*'cpu'.*; got {target!r}"):
        sd.SqueezeDet(backend=backend, target=target)


def test_an_unknown_backend() -> None:
    with pytest.raises(ValueError, match="'opencv', 'onnxruntime', 'auto', got 'caffe'"):
        sd.SqueezeDet(backend="caffe")  # type: ignore[arg-type]


@needs_caffe_importer
def test_opencvs_targets_are_those_that_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = {cv2.dnn.DNN_BACKEND_OPENCV: [cv2.dnn.DNN_TARGET_CPU, cv2.dnn.DNN_TARGET_OPENCL]}
    targets[cv2.dnn.DNN_BACKEND_CUDA] = [cv2.dnn.DNN_TARGET_CUDA]
    monkeypatch.setattr(cv2.dnn, "getAvailableTargets", lambda backend: targets.get(backend, ()))
    assert [name for name in backends.opencv_targets() if name != "opencl"] == ["cpu", "cuda"]
    set_to: dict[str, int] = {}
    for setter in ("Backend", "Target"):
        monkeypatch.setattr(
            cv2.dnn.Net, f"setPreferable{setter}", lambda _, value, setter=setter: set_to.__setitem__(setter, value)
        )
    sd.SqueezeDet(target="cuda")
    assert set_to == {"Backend": cv2.dnn.DNN_BACKEND_CUDA, "Target": cv2.dnn.DNN_TARGET_CUDA}


@needs_onnxruntime
def test_a_provider_whose_libraries_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Onnxruntime logs it, and takes the processor."""
    import onnxruntime

    real = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda content, options, providers: real(content, options, providers=providers[1:])
    )
    with pytest.raises(ValueError, match="target 'cuda' cannot be used"):
        sd.SqueezeDet(backend="onnxruntime", target="cuda")
    assert sd.SqueezeDet(ONNX).detect(np.zeros((9, 9, 3), np.uint8)) is not None


@needs_onnxruntime
def test_threads_are_opencvs() -> None:
    before = cv2.getNumThreads()
    try:
        for threads in (1, 2):
            cv2.setNumThreads(threads)
            assert sd.SqueezeDet(backend="onnxruntime").net.get_session_options().intra_op_num_threads == threads
    finally:
        cv2.setNumThreads(before)


@needs_onnxruntime
def test_detection_model_in_onnxruntime(photo: np.ndarray) -> None:
    model = sd.DetectionModel(WEIGHTS, DEFINITION, backend="onnxruntime")
    assert [out.shape[1:] for out in model.predict(photo)] == [(23, 23, 36), (4761, 20), (23, 23, 9)]
    assert model.setOutputNames(["conf_scores"]).predict(photo)[0].shape == (1, 23, 23, 9)
    for setter in (model.setPreferableBackend, model.setPreferableTarget):
        with pytest.raises(cv2.error, match="this one runs in onnxruntime"):
            setter(0)


def without(*modules: str, code: str) -> subprocess.CompletedProcess[str]:
    hidden = f"import sys; sys.modules.update(dict.fromkeys({modules!r})); "
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", hidden + code], capture_output=True, text=True, env=environment)


def test_the_embedded_model_needs_no_extra() -> None:
    code = (
        "import cv2, opencv_squeezedet as sd; "
        f"print(sd.SqueezeDet().detect(cv2.imread({str(photos()[0])!r})).labels); "
        f"print(sd.DetectionModel({WEIGHTS!r}, {DEFINITION!r}).detect(cv2.imread({str(photos()[0])!r}))[0])"
    )
    done = without("onnx", "google.protobuf", "onnxruntime", code=code)
    assert (done.stdout, done.stderr) == ("['cat']\n[7]\n", "")


@pytest.mark.parametrize("backend", BACKENDS)
def test_caffes_files_need_no_extra_on_any_backend(backend: str, stem: Path) -> None:
    """Also where they are converted: in OpenCV 5 and onnxruntime."""
    code = f"import opencv_squeezedet as sd; print(sd.SqueezeDet({str(stem)!r}, backend={backend!r}).backend.blobs[0])"
    done = without("onnx", "google.protobuf", code=code)
    assert (done.stdout, done.stderr) == ("delta_bbox\n", "")


def test_a_missing_extra_is_named() -> None:
    done = without("onnxruntime", code="import opencv_squeezedet as sd; sd.SqueezeDet(backend='onnxruntime')")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ImportError: ")
    assert "pip install 'opencv-squeezedet[onnxruntime]'" in done.stderr.splitlines()[-1]
    command = "from opencv_squeezedet.cli import detect_main; sys.exit(detect_main(['x.jpg', '--backend', 'onnxruntime']))"
    done = without("onnxruntime", code=command)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("detect: backend 'onnxruntime' needs onnxruntime")


@needs_onnxruntime
def test_detect_in_onnxruntime(capsys: pytest.CaptureFixture[str]) -> None:
    command = [str(photos()[0]), "--no-image"]
    assert cli.detect_main([*command, "--backend", "onnxruntime", "--target", "cpu"]) == 0
    assert ": cat 0." in capsys.readouterr().out
    assert "target must be one that is available here" in error_line(cli.detect_main, [*command, "--target", "abacus"], capsys)
