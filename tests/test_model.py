"""Model files: found by their stem, checked before use."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from embedded import BACKENDS, HEAD, ONNX, STEM, needs_caffe_importer, read_net
from networks import MODELS, load_network, random_weights, same_weights

import opencv_squeezedet as sd
from opencv_squeezedet import formats
from opencv_squeezedet.boxes import iou_xyxy
from opencv_squeezedet.model import EMBEDDED, Model
from opencv_squeezedet.model_files import Files, models_folder
from opencv_squeezedet.network import architectures
from opencv_squeezedet.network.head import derive_config
from opencv_squeezedet.registry import find_network

SUFFIXES = (".prototxt", ".caffemodel", ".json")
PICTURE = np.arange(300, dtype=np.uint8).reshape(10, 10, 3)


@pytest.fixture
def stem(tmp_path: Path) -> Path:
    """A copy of the embedded model under a name that holds dots, spaces and more than ASCII."""
    copy = tmp_path / "modèle v1.2"
    for suffix in SUFFIXES:
        shutil.copy(MODELS / f"{EMBEDDED}{suffix}", f"{copy}{suffix}")
    return copy


def edit(stem: Path, suffix: str, change: Callable[[str], str]) -> None:
    path = Path(f"{stem}{suffix}")
    text = path.read_text()
    changed = change(text)
    assert changed != text
    path.write_text(changed)


@pytest.mark.parametrize("suffix", ["", *SUFFIXES])
def test_found_by_stem_or_any_of_its_files(stem: Path, suffix: str) -> None:
    found = Model.load(f"{stem}{suffix}")
    expected = Files(f"{stem}.prototxt", f"{stem}.caffemodel", f"{stem}.json")
    assert found.files == expected
    assert found.head is not None
    assert found.head.nms_kind == "greedy"
    shutil.copy(ONNX, f"{stem}.onnx")
    assert Model.load(f"{stem}{suffix}").files == expected, "an ONNX file beside Caffe's two is another model"


@pytest.mark.parametrize("suffix", ["", ".onnx"])
def test_what_a_description_leaves_out_is_the_networks(stem: Path, suffix: str) -> None:
    if suffix:
        shutil.copy(ONNX, f"{stem}.onnx")
    whole = sd.SqueezeDet(f"{stem}{suffix}").config
    fields = whole.to_dict()
    content = json.loads(Path(f"{stem}.json").read_text())

    def described(**head: object) -> sd.HeadConfig:
        Path(f"{stem}.json").write_text(json.dumps({**content, "head": head}))
        return sd.SqueezeDet(f"{stem}{suffix}").config

    assert (
        described(**{name: value for name, value in fields.items() if name not in ("input_size", "grid", "layout")}) == whole
    )
    assert described(anchors=whole.anchors).labels == tuple(f"class {i}" for i in range(20))
    with pytest.raises(sd.ModelError, match=r"layer 'sigmoid': .* anchors in a cell 9, the config has 2"):
        described(anchors=whole.anchors[:2])
    with pytest.raises(sd.ModelError, match=r"layer 'slice': .* grid \(23, 23\), the config has \(20, 23\)"):
        described(anchors=whole.anchors, grid=(20, 23))
    with pytest.raises(sd.ModelError, match="HeadConfig lacks 'anchors', 'grid'"):
        described(input_size=(384, 384), labels=whole.labels)
    with pytest.raises(sd.ModelError, match="HeadConfig has no field 'gird'"):
        described(anchors=whole.anchors, gird=(23, 23))


def test_the_folder_of_a_training_is_its_model(tmp_path: Path) -> None:
    """Unless files have the folder's name as their stem."""
    folder = tmp_path / "train"
    folder.mkdir()
    with pytest.raises(FileNotFoundError, match=r"train.model\.prototxt"):
        sd.SqueezeDet(folder)
    shutil.copy(f"{STEM}.sdz", folder / "model.sdz")
    for name in (str(folder), f"{folder}/"):
        assert Model.load(name).files.main == str(folder / "model.sdz")
    shutil.copy(f"{STEM}.sdz", tmp_path / "train.sdz")
    assert Model.load(str(folder)).files.main == str(tmp_path / "train.sdz")


def test_an_onnx_file_is_found_by_its_name_or_where_it_is_alone(stem: Path) -> None:
    onnx = shutil.copy(ONNX, f"{stem}.onnx")
    alone = Files(onnx, None, f"{stem}.json")
    assert Model.load(onnx).files == alone
    assert Model.load(stem, f"{stem}.caffemodel").files == Model.load(stem).files
    Path(f"{stem}.caffemodel").rename(stem.with_name("other.bin"))
    for suffix in ("", ".prototxt", ".json"):
        assert Model.load(f"{stem}{suffix}").files == alone
    named = Model.load(stem, stem.with_name("other.bin")).files
    assert named == Files(f"{stem}.prototxt", str(stem.with_name("other.bin")), f"{stem}.json")


def test_every_command_finds_the_same_network(stem: Path, photo: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    """With a prototxt and an ONNX file, but no caffemodel: inspect and convert took the prototxt, which has no weights."""
    from opencv_squeezedet.cli import main

    onnx = shutil.copy(ONNX, f"{stem}.onnx")
    Path(f"{stem}.caffemodel").unlink()
    for name in (stem, f"{stem}.prototxt"):
        assert Model.load(name).files == find_network(str(name)) == Files(onnx, None, f"{stem}.json")
        assert main(["inspect", str(name)]) == 0
        assert capsys.readouterr().out.startswith(f"SqueezeDetShuffle: {onnx} (")
        assert main(["convert", str(name), str(stem.parent / "other.caffemodel")]) == 0
        capsys.readouterr()
    assert sd.SqueezeDet(stem).detect(photo).labels == ["cat"]
    assert same_weights(load_network(stem.parent / "other")[1], load_network(onnx)[1])


def test_the_first_axis_that_a_description_leaves_out_is_the_networks(stem: Path, tmp_path: Path) -> None:
    """Boxes lie where the objects are, on a network with rows first too."""
    network = architectures.squeezedet_kitti(classes=2, anchors=1, input_size=(160, 96))
    head = {"anchors": [[20.0, 10.0]], "labels": ["a", "b"], "input_size": [160, 96], "grid": [6, 10], "score_threshold": 0.0}
    (tmp_path / "rows.onnx").write_bytes(formats.onnx_bytes(network, random_weights(network)))
    description = {"preprocess": {"size": [160, 96]}, "head": head}
    (tmp_path / "rows.json").write_text(json.dumps(description))
    assert sd.SqueezeDet(tmp_path / "rows").config.first_axis == "y"
    description["head"] = {**head, "first_axis": "x"}
    (tmp_path / "rows.json").write_text(json.dumps(description))
    assert sd.SqueezeDet(tmp_path / "rows").config.first_axis == "x", "what the file says wins"


def test_a_found_model_makes_many_detectors_and_is_read_once(stem: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = sd.SqueezeDet(stem).detect(PICTURE, score_threshold=0)
    found = Model.load(stem)
    opened: list[object] = []
    real = open
    first = sd.SqueezeDet(found)
    monkeypatch.setattr("builtins.open", lambda file, *args, **kwargs: opened.append(file) or real(file, *args, **kwargs))
    detectors = [first, sd.SqueezeDet(found)]
    assert not [file for file in opened if str(file).startswith(str(stem))]
    assert [detector.detect(PICTURE, score_threshold=0) for detector in detectors] == [expected, expected]
    assert sd.SqueezeDet(found, config=HEAD).config == HEAD
    assert sd.SqueezeDet(found, preprocess=sd.Preprocess((384, 384), swap_rb=True)).preprocess.swap_rb
    with pytest.raises(TypeError, match="weights belong to a model's files, not to a Model"):
        sd.SqueezeDet(found, "other.caffemodel")


def test_weights_of_another_name(stem: Path) -> None:
    weights = stem.with_name("other.bin")
    Path(f"{stem}.caffemodel").rename(weights)
    with pytest.raises(FileNotFoundError, match=r"no weights at .*v1.2.caffemodel"):
        sd.SqueezeDet(stem)
    sd.SqueezeDet(stem, weights)


def test_config_and_preprocess_take_the_place_of_the_json(stem: Path) -> None:
    Path(f"{stem}.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no model description at .*v1.2.json"):
        sd.SqueezeDet(stem)
    detector = sd.SqueezeDet(stem, config=HEAD)
    assert detector.preprocess == sd.Preprocess((384, 384), (104, 117, 123), 1.0, False)
    assert sd.SqueezeDet(stem, config=HEAD, preprocess=sd.Preprocess((384, 384), swap_rb=True)).preprocess.swap_rb


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((), {"config": "x"}, TypeError, "config must be a HeadConfig, got"),
        ((), {"preprocess": "x"}, TypeError, "preprocess must be a Preprocess, got"),
        ((), {"config": sd.VOC, "preprocess": 3}, TypeError, "preprocess must be a Preprocess, got"),
        ((), {"preprocess": sd.Preprocess((320, 320))}, ValueError, r"\(320, 320\).*input_size is \(384, 384\)"),
        (("read_net", "other.caffemodel"), {}, TypeError, r"not to a cv2.dnn.Net"),
        (("read_net",), {"size": (320, 320)}, TypeError, r"size needs a model's layers.*cv2.dnn.Net"),
    ],
)
def test_arguments_that_do_not_fit(
    arguments: tuple[str, ...], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        sd.SqueezeDet(*(read_net() if argument == "read_net" else argument for argument in arguments), **options)


def test_opencvs_log_level_is_as_before_when_threads_are_through() -> None:
    def level() -> int:
        return int(cv2.utils.logging.getLogLevel() if hasattr(cv2.utils, "logging") else cv2.getLogLevel())

    before = level()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: sd.SqueezeDet(), range(24)))
    assert level() == before


DAMAGE: list[tuple[str, bytes | tuple[bytes, bytes], str]] = [  # a file, its new content or what is replaced in it, the error
    (".prototxt", b"", "prototxt': the file is empty"),
    (".caffemodel", b"", "caffemodel': the file is empty"),
    (".prototxt", b"layer { name:", r"OpenCV cannot read|prototxt': no prototxt"),
    (".prototxt", b'name: "nothing"', r"has no layer 'slice'|an input was expected"),
    (".prototxt", (b'"reduce2"', b'"other"'), "layer 'other': weights of 96x116x1x1 and 96 were expected, got none"),
    (".json", (b'"grid": [23, 23]', b'"grid": [22, 23]'), r"gives delta_bbox in .*\(1, 23, 23, 36\).*need \(1, 22, 23, 36\)"),
    (".json", (b"384, 384", b"320, 320"), "the input of 320x320"),
    (".json", b"{", "json"),
    (".json", b"[" * 100_000, "recursion"),
    (".json", b"[]", "JSON object with 'preprocess', 'head'"),
    (".json", b'{"head": {}}', "JSON object with 'preprocess', 'head'"),
    (".json", b'{"head": {}, "preprocess": {"size": [416, 416]}}', "HeadConfig lacks 'anchors', 'grid'"),
    (".json", b'{"head": 3, "preprocess": {}}', "JSON object was expected, got int"),
    (".json", (b'"head"', b'"outputs": 3, "head"'), "'outputs' must"),
    (".json", (b'"head"', b'"outputs": {"delta_bbox": ["slice", 2]}, "head"'), "'outputs' must"),
    (".json", (b'"head"', b'"outputs": {"delta_bbox": 1, "class_scores": 2, "conf_scores": 3}, "head"'), "'outputs' must"),
    (
        ".json",
        (
            b'"head"',
            b'"outputs": {"delta_bbox": ["slice", 7], "class_scores": ["softmax", 0], "conf_scores": ["sigmoid", 0]}, "head"',
        ),
        "'slice' has 3 tops; number 7",
    ),
]


@pytest.mark.parametrize(("suffix", "change", "message"), DAMAGE)
def test_damaged_files(stem: Path, suffix: str, change: bytes | tuple[bytes, bytes], message: str) -> None:
    path = Path(f"{stem}{suffix}")
    path.write_bytes(change if isinstance(change, bytes) else path.read_bytes().replace(*change))
    with pytest.raises(sd.ModelError, match=message):
        sd.SqueezeDet(stem)


@pytest.mark.parametrize("size", [1, 1000, 1_000_000, -1])
def test_weights_that_are_cut(stem: Path, size: int) -> None:
    path = Path(f"{stem}.caffemodel")
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(sd.ModelError, match=r"OpenCV cannot read|caffemodel': (byte 1|it ends within)"):
        sd.SqueezeDet(stem)


def test_weights_of_other_shapes_are_found_before_anything_runs(stem: Path) -> None:
    """OpenCV 4 would load them, and fail in the first pass."""
    network, weights = load_network(stem)
    kernels = [np.zeros((24, 3, 5, 5), np.float32), weights["conv1"][1]]
    layers = (dataclasses.replace(network.layers[0], kernel=(5, 5)), *network.layers[1:])
    wider = dataclasses.replace(network, input_shape=(1, 3, 386, 386), layers=layers)
    Path(f"{stem}.caffemodel").write_bytes(formats.caffemodel_bytes(wider, {**weights, "conv1": kernels}))
    with pytest.raises(sd.ModelError, match="layer 'conv1': weights of 24x3x3x3 and 24 were expected, got 24x3x5x5 and 24"):
        sd.SqueezeDet(stem)


@needs_caffe_importer
def test_opencv_tells_the_layer_of_a_net_that_someone_else_has_read(stem: Path) -> None:
    head = sd.SqueezeDet(stem).config
    with pytest.raises(
        sd.ModelError, match="is inconsistent with itself, or with the input of 320x320: layer 'reshape', a Reshape: "
    ):
        sd.SqueezeDet(read_net(), config=head.scaled((320, 320)), preprocess=sd.Preprocess((320, 320)))
    edit(stem, ".prototxt", lambda text: text.replace('"reduce2"', '"other"'))
    net = cv2.dnn.readNetFromCaffe(f"{stem}.prototxt", f"{stem}.caffemodel")
    with pytest.raises(sd.ModelError, match="384x384: layer 'other', a Convolution with no blobs of weights: "):
        sd.SqueezeDet(net, config=head)


@pytest.mark.parametrize("model", [f"{STEM}.prototxt", f"{STEM}.sdz", ONNX], ids=["prototxt", "sdz", "onnx"])
def test_the_layer_that_does_not_take_the_input_size(model: str) -> None:
    head = sd.SqueezeDet().config.scaled((320, 320))
    message = r"the input of 320x320: layer 'reshape': a bottom of \(1, 19, 19, 180\) has 64980 values, .* \(0, 4761, 20\)$"
    with pytest.raises(sd.ModelError, match=message):
        sd.SqueezeDet(model, config=head, preprocess=sd.Preprocess((320, 320)))


@pytest.mark.parametrize("size", [(320, 320), (256, 256), (448, 320)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_cat_has_the_same_box_at_another_input_size(size: tuple[int, int], backend: Any, photo: np.ndarray) -> None:
    expected = sd.SqueezeDet(backend=backend).detect(photo)
    detector = sd.SqueezeDet(size=size, backend=backend)
    assert detector.config.input_size == detector.preprocess.size == size
    assert detector.config.anchors == sd.SqueezeDet().config.anchors, "in pixels"
    found = detector.detect(photo)
    assert found.labels == expected.labels == ["cat"]
    assert iou_xyxy(found.xyxy, expected.xyxy) > 0.75


@pytest.mark.parametrize("suffix", [".prototxt", ".sdz", ".onnx"])
def test_every_format_can_be_resized(suffix: str, tmp_path: Path, photo: np.ndarray) -> None:
    """A resized model is the one that is built for the size, in memory and after saving."""
    model = Model.load(ONNX if suffix == ".onnx" else f"{STEM}{suffix}").resized((320, 256))
    built = architectures.squeezedet_shuffle(input_size=(320, 256))
    assert [step.tops for step in model.network.steps] == [step.tops for step in built.steps]
    assert model.head is not None
    assert model.head.grid == (19, 15)
    expected = sd.SqueezeDet(model).detect(photo)
    assert expected.labels == ["cat"]
    model.save(tmp_path / f"small{suffix}")
    found = sd.SqueezeDet(tmp_path / f"small{suffix}").detect(photo)
    assert found.labels == expected.labels
    assert found.xyxy == pytest.approx(expected.xyxy, abs=1 if suffix == ".sdz" else 1e-2)


def test_the_own_size_changes_nothing() -> None:
    model = Model.load()
    assert model.resized((384, 384)) is model


def test_rows_first_heads_are_resized_too() -> None:
    network = architectures.squeezedet_kitti(classes=2, anchors=1, input_size=(160, 96))
    head = derive_config(network, anchors=((20, 10),))
    model = Model(network, random_weights(network), head, sd.Preprocess((160, 96))).resized((320, 128))
    assert model.head is not None
    assert (model.head.grid, model.head.first_axis) == ((8, 20), "y")
    sd.SqueezeDet(model)  # checks the shapes of the blobs


@pytest.mark.parametrize(
    ("size", "error", "message"),
    [
        ((400, 320), sd.ModelError, "400x320: layer '.*': .* nearest size that it accepts is 384x320"),
        ((8, 8), sd.ModelError, "8x8: layer '.*"),
        ((100_000, 100_000), sd.ModelError, "100000x100000: .*at most"),
        ((4096, 4096), sd.ModelError, "4096x4096: layer .* operations are possible"),
        ((0, 320), ValueError, "must be at least 1"),
        ((1.5, 320), TypeError, "integer"),
        (320, ValueError, "size must be two integers"),
    ],
)
def test_sizes_that_the_network_does_not_accept(size: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        sd.SqueezeDet(size=size)


def test_sha256_in_the_models_readme() -> None:
    readme = Path(models_folder(), "README.md").read_text()
    for suffix in (".prototxt", ".caffemodel", ".sdz"):
        assert hashlib.sha256((MODELS / f"{EMBEDDED}{suffix}").read_bytes()).hexdigest() in readme
