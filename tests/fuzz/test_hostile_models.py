"""Models that nobody vouches for: what is damaged is refused before a native library sees it, what is unknown is tried."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from embedded import HAS_CAFFE, ONNX, STEM, needs_caffe_importer, needs_onnx
from fuzz_models import FINDINGS, campaign
from model_mutations import KINDS, SMALL, detector, sound
from networks import load_network, random_weights, same_weights

import opencv_squeezedet as sd
from opencv_squeezedet.backends import probe
from opencv_squeezedet.backends.network_bytes import NetworkBytes
from opencv_squeezedet.errors import UnknownLayerError
from opencv_squeezedet.formats import onnx_bytes, read_onnx, read_prototxt
from opencv_squeezedet.model import Model
from opencv_squeezedet.network import Convolution, Deconvolution, Network, Pooling, Reshape

pytestmark = needs_onnx

ROOT = Path(__file__).resolve().parents[2]
PHOTO = ROOT / "samples" / "chelsea.jpg"
HAS_ONNXRUNTIME = importlib.util.find_spec("onnxruntime") is not None
BACKENDS: list[Any] = [
    "opencv",
    pytest.param("onnxruntime", marks=pytest.mark.skipif(not HAS_ONNXRUNTIME, reason="the extra [onnxruntime] is missing")),
]


@pytest.fixture
def unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no native library see a model, in this process or in a child."""

    def seen(*_: Any, **__: Any) -> None:
        pytest.fail("a native library was given a damaged model")

    for reader in ("readNetFromONNX", "readNetFromCaffe"):
        if hasattr(cv2.dnn, reader):
            monkeypatch.setattr(cv2.dnn, reader, seen)
    monkeypatch.setattr("opencv_squeezedet.backends.opencv.read_net_from_caffe", seen if HAS_CAFFE else None)
    monkeypatch.setattr(probe, "Probe", seen)
    if HAS_ONNXRUNTIME:
        import onnxruntime

        monkeypatch.setattr(onnxruntime, "InferenceSession", seen)


def changed(change: Callable[[Any], None], content: bytes | None = None) -> bytes:
    import onnx

    model = onnx.ModelProto.FromString(sound()["onnx"] if content is None else content)
    change(model)
    return bytes(model.SerializeToString())


def attribute(model: Any, node: str, name: str) -> Any:
    found = next(one for one in model.graph.node if one.name == node)
    return next(one for one in found.attribute if one.name == name)


def tensor(model: Any, name: str) -> Any:
    return next(one for one in model.graph.initializer if one.name == name)


# ---- ONNX --------------------------------------------------------------------------------------------------------------


def rename_the_fourth_kernel(model: Any) -> None:
    [node for node in model.graph.node if node.op_type == "Conv"][3].input[1] = "nothing"


@pytest.mark.usefixtures("unseen")
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_embedded_model_with_a_kernel_that_nothing_gives(backend: Any, tmp_path: Path) -> None:
    (tmp_path / "it.onnx").write_bytes(changed(rename_the_fourth_kernel, Path(ONNX).read_bytes()))
    message = r"it\.onnx': node 'stage2_1_in' \(Conv\): no earlier node gives its input 'nothing'"
    with pytest.raises(sd.ModelError, match=message):
        sd.SqueezeDet(tmp_path / "it.onnx", config=sd.VOC, backend=backend)


def zero(node: str, name: str) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        found = attribute(model, node, name)
        if found.ints:
            found.ints[:] = [0] * len(found.ints)
        else:
            found.i = 0

    return change


def negative_pads(model: Any) -> None:
    attribute(model, "e3", "pads").ints[:] = [-9] * 4


def other_shape(model: Any) -> None:
    tensor(model, "e3.weight").dims[:] = [4, 4, 9, 1]


def cut_values(model: Any) -> None:
    found = tensor(model, "e3.weight")
    found.raw_data = found.raw_data[:-4]


def many_values(model: Any) -> None:
    tensor(model, "e3.weight").dims[0] = 2**30


def other_type(model: Any) -> None:
    tensor(model, "e3.weight").data_type = 11


def two_types(model: Any) -> None:
    attribute(model, "e3", "strides").type = 1


def two_attributes(model: Any) -> None:
    node = next(one for one in model.graph.node if one.name == "e3")
    node.attribute.append(node.attribute[0])


def reversed_nodes(model: Any) -> None:
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def two_of_one_name(model: Any) -> None:
    model.graph.node[1].output[0] = model.graph.node[0].output[0]


def axis(model: Any) -> None:
    attribute(model, "concat", "axis").i = 7


def parts(model: Any) -> None:
    attribute(model, "slice", "split").ints[:] = [6, 2, 9]


def lengths(model: Any) -> None:
    tensor(model, "reshape.shape").raw_data = np.array([0, 2**31, 3], "<i8").tobytes()


def input_shape(model: Any) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = -24


def no_output(model: Any) -> None:
    model.graph.output[0].name = "nothing"


def an_output_twice(model: Any) -> None:
    model.graph.output.append(model.graph.output[0])


def no_second_input(model: Any) -> None:
    next(one for one in model.graph.node if one.name == "sum").input[1] = ""


def no_operator(model: Any) -> None:
    model.graph.node[0].op_type = ""


@pytest.mark.usefixtures("unseen")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (zero("conv1", "strides"), r"node 'conv1' \(Conv\): strides.*got \[0, 0\]"),
        (zero("conv1", "dilations"), "dilations"),
        (zero("conv1", "kernel_shape"), "kernel_shape"),
        (zero("grouped", "group"), r"node 'grouped' \(Conv\): .*group 0"),
        (zero("pool1", "strides"), r"node 'pool1' \(MaxPool\): .*strides"),
        (negative_pads, r"node 'e3' \(Conv\): pads.*got \[-9, -9, -9, -9\]"),
        (other_shape, r"node 'e3' \(Conv\): .*group 1.*kernel_shape.*\(4, 4, 9, 1\)"),
        (cut_values, r"constant 'e3\.weight': 576 bytes.*\(4, 4, 3, 3\).*572"),
        (many_values, r"constant 'e3\.weight': 154618822656 bytes"),
        (other_type, r"constant 'e3\.weight': 1152 bytes"),
        (two_types, r"node 'e3' \(Conv\): .*attribute 'strides'"),
        (two_attributes, r"node 'e3' \(Conv\): .*attribute.*once"),
        (reversed_nodes, r"node 'sigmoid' \(Sigmoid\): .*input 'confidences'"),
        (two_of_one_name, r"earlier node gives '"),
        (axis, r"node 'concat' \(Concat\): .*\(1, 4, 6, 8\).*axis 7"),
        (parts, r"node 'slice' \(Split\): .*\(6, 2, 9\)"),
        (lengths, r"layer 'reshape': .*\(1, 3, 4, 6\).*72 values"),
        (input_shape, r"'data': .*shape.*got \(3, -24, 32\)"),
        (no_output, "output 'nothing'"),
        (an_output_twice, "output once.*got 'delta_bbox', 'class_scores', 'conf_scores', 'delta_bbox'"),
        (no_second_input, r"node 'sum' \(Sum\): .*inputs and outputs.*got \['grouped', ''\]"),
        (no_operator, r"node 'conv1' \(\): .*operator"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_damaged_onnx_files(change: Callable[[Any], None], message: str, backend: Any, tmp_path: Path) -> None:
    (tmp_path / "it.onnx").write_bytes(changed(change))
    with pytest.raises(sd.ModelError, match=message):
        sd.SqueezeDet(tmp_path / "it.onnx", config=SMALL, backend=backend)


def test_the_file_that_runs_is_the_file_that_is_checked(tmp_path: Path) -> None:
    """An ONNX file beside Caffe's two is not run, sound or not, and one that changes after it was read does not matter."""
    for suffix in (".prototxt", ".caffemodel", ".json"):
        shutil.copy(f"{STEM}{suffix}", tmp_path / f"it{suffix}")
    damaged = changed(rename_the_fourth_kernel, Path(ONNX).read_bytes())
    (tmp_path / "it.onnx").write_bytes(damaged)
    shutil.copy(ONNX, tmp_path / "later.onnx")
    shutil.copy(f"{STEM}.json", tmp_path / "later.json")
    later = Model.load(tmp_path / "later.onnx")
    (tmp_path / "later.onnx").write_bytes(damaged)
    for backend in ("opencv", "onnxruntime") if HAS_ONNXRUNTIME else ("opencv",):
        assert sd.SqueezeDet(tmp_path / "it", backend=backend).detect(cv2.imread(str(PHOTO))).labels == ["cat"]
        assert sd.SqueezeDet(later, backend=backend).detect(cv2.imread(str(PHOTO))).labels == ["cat"]


@pytest.mark.parametrize("suffix", [".onnx", ".prototxt"])
def test_the_check_needs_no_extra(suffix: str, tmp_path: Path) -> None:
    (tmp_path / "it.onnx").write_bytes(changed(rename_the_fourth_kernel))
    (tmp_path / "it.prototxt").write_bytes(sound()["prototxt"].replace(b"stride: 2", b"stride: 0", 1))
    (tmp_path / "it.caffemodel").write_bytes(sound()["caffemodel"])
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('onnx', 'google.protobuf')))\n"
        "import cv2, opencv_squeezedet as sd\n"
        f"sd.SqueezeDet({str(tmp_path / 'it') + suffix!r}, config=sd.HeadConfig.from_json({SMALL.to_json()!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 1
    assert re.search("(Model|UnknownLayer)Error: ", done.stderr.splitlines()[-1])


def test_an_image_of_what_protobuf_reads() -> None:
    """Of the files that this package and others write, both readers make the same."""
    import onnx
    from protobuf_oracle import net_parameter

    from opencv_squeezedet.formats._caffe_layers import SCHEMA as CAFFE
    from opencv_squeezedet.formats._onnx_schema import SCHEMA
    from opencv_squeezedet.formats._text import parse
    from opencv_squeezedet.formats._wire import decode

    for name in ("onnx", "half", "foreign", "embedded"):
        assert_same(decode(sound()[name], SCHEMA, "ModelProto"), onnx.ModelProto.FromString(sound()[name]))
    for name in ("caffemodel", "halves"):
        assert_same(decode(sound()[name], CAFFE, "NetParameter"), net_parameter().FromString(sound()[name]))
    from google.protobuf import text_format

    for path in (ROOT / "models").glob("*.prototxt"):
        text = path.read_text()
        message, unknown = parse(text, CAFFE, "NetParameter")
        assert unknown is None
        assert_same(message, text_format.Parse(text, net_parameter()()))


def assert_same(message: Any, other: Any) -> None:
    """Whether a message has what protobuf has read, in the fields that it knows."""
    for name, field in message.fields.items():
        value, expected = getattr(message, name), getattr(other, name)
        if field.repeated:
            assert len(value) == len(expected), name
        pairs = list(zip(value, expected, strict=True)) if field.repeated else [(value, expected)]
        for one, two in pairs:
            if hasattr(two, "DESCRIPTOR"):
                if field.repeated or message.has(name):
                    assert_same(one, two)
            else:
                assert one == (pytest.approx(two, rel=1e-6, abs=0) if isinstance(two, float) else two), name


# ---- constants in other files ------------------------------------------------------------------------------------------


def external(model: Any, location: str, **told: Any) -> bytes:
    """Take the values of all constants out of a model; returns them."""
    values = b""
    for one in model.graph.initializer:
        entries = {"location": location, "offset": len(values), "length": len(one.raw_data), **told}
        values += one.raw_data
        one.ClearField("raw_data")
        one.data_location = 1
        for key, value in entries.items():
            one.external_data.add(key=key, value=str(value))
    return values


def with_external(folder: Path, location: str = "it.data", **told: Any) -> Path:
    values = b""

    def change(model: Any) -> None:
        nonlocal values
        values = external(model, location, **told)

    content = changed(change, Path(ONNX).read_bytes())
    (folder / "it.onnx").write_bytes(content)
    (folder / "it.data").write_bytes(values)
    shutil.copy(f"{STEM}.json", folder / "it.json")
    return folder / "it.onnx"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("place", [".", "weights"])
def test_values_in_a_file_beside_the_model(backend: Any, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the current folder is."""
    path = with_external(tmp_path, f"{place}/it.data")
    if place != ".":
        (tmp_path / place).mkdir()
        (tmp_path / "it.data").rename(tmp_path / place / "it.data")
    image = cv2.imread(str(PHOTO))
    expected = sd.SqueezeDet(ONNX, backend=backend).detect(image)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert sd.SqueezeDet(path, backend=backend).detect(image) == expected
    assert same_weights(read_onnx(path)[1], read_onnx(ONNX)[1])


@pytest.mark.usefixtures("unseen")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("location", ["../secret", "{}/secret", "", "link", "a/../../secret", "x\0y"])
def test_values_outside_the_models_folder_are_not_read(location: str, backend: Any, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(10_000_000))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "link").symlink_to(tmp_path / "secret")
    path = with_external(tmp_path / "model", location.format(tmp_path), offset=0)
    with pytest.raises(sd.ModelError, match=r"it\.onnx': constant '.*': .*folder, got"):
        sd.SqueezeDet(path, backend=backend)


@pytest.mark.usefixtures("unseen")
@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"offset": 10**12}, r"it\.data' .*1000000000000"),
        ({"offset": -1}, r"\d+ bytes.*got"),
        ({"length": 3}, r"\d+ bytes.*got"),
        ({"offset": "x"}, r"\d+ bytes.*got"),
    ],
)
def test_values_that_the_other_file_does_not_have(told: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(sd.ModelError, match=message):
        sd.SqueezeDet(with_external(tmp_path, **told))


def test_a_file_of_values_that_is_missing(tmp_path: Path) -> None:
    path = with_external(tmp_path)
    (tmp_path / "it.data").unlink()
    with pytest.raises(FileNotFoundError, match=r"it\.data"):
        sd.SqueezeDet(path)


# ---- Caffe's files -----------------------------------------------------------------------------------------------------


@pytest.fixture
def caffe(tmp_path: Path) -> Path:
    for suffix in ("prototxt", "caffemodel"):
        (tmp_path / f"it.{suffix}").write_bytes(sound()[suffix])
    return tmp_path / "it.prototxt"


@needs_caffe_importer
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("pool: MAX\n    kernel_size: 2", "pool: MAX } convolution_param { pad: 4294967295", "pool1"),
        ('type: "Sigmoid"', 'type: "Nonsense"', "it.caffemodel' .*32x24: layer 'sigmoid'"),
        ('type: "Permute"', 'type: "DetectionOutput"', "num_classes|permute"),
        ('type: "Sigmoid"', 'type: "Scale"', "of 32x24: "),
    ],
)
def test_options_and_layers_that_only_opencv_knows_are_tried(caffe: Path, old: str, new: str, message: str) -> None:
    """And what OpenCV says of them is a ModelError."""
    text = caffe.read_text()
    assert old in text
    caffe.write_text(text.replace(old, new, 1))
    with pytest.raises(UnknownLayerError):
        read_prototxt(caffe)
    with pytest.raises(sd.ModelError, match=message):
        sd.SqueezeDet(caffe, config=SMALL)


@needs_caffe_importer
def test_a_net_of_someone_else_with_a_layer_that_opencv_cannot_make(caffe: Path) -> None:
    caffe.write_text(caffe.read_text().replace('type: "Sigmoid"', 'type: "Nonsense"'))
    net = cv2.dnn.readNetFromCaffe(str(caffe), str(caffe.with_suffix(".caffemodel")))
    with pytest.raises(sd.ModelError, match="layer 'sigmoid'"):
        sd.SqueezeDet(net, config=SMALL)


@pytest.mark.usefixtures("unseen")
def test_weights_are_checked_where_the_layers_are_not_known(caffe: Path) -> None:
    caffe.write_text(caffe.read_text().replace('type: "Sigmoid"', 'type: "TanH"'))
    weights = caffe.with_suffix(".caffemodel")
    weights.write_bytes(weights.read_bytes()[:-5])
    with pytest.raises(sd.ModelError, match=r"caffemodel': .*ends within"):
        sd.SqueezeDet(caffe, config=SMALL)


@pytest.mark.usefixtures("unseen")
@pytest.mark.parametrize("content", [b"PK\x03\x04", b"\x93NUMPY\x01\x00", b"x"])
def test_an_archive_that_is_none(content: bytes, caffe: Path) -> None:
    path = caffe.with_suffix(".npz")
    path.write_bytes(content)
    with pytest.raises(sd.ModelError, match=r"npz': .*LAYER_w and LAYER_b"):
        sd.SqueezeDet(caffe, path, config=SMALL)


@pytest.mark.usefixtures("unseen")
@pytest.mark.parametrize("array", [np.zeros((6, 3, 3, 3), int), np.full((6, 3, 3, 3), "x"), np.full(6, None)])
def test_an_archive_of_something_else(array: Any, caffe: Path) -> None:
    path = caffe.with_suffix(".npz")
    np.savez(path, conv1_w=array, conv1_b=array)
    with pytest.raises(sd.ModelError, match=r"npz': .*LAYER_w and LAYER_b.*: (floats|Object arrays)"):
        sd.SqueezeDet(caffe, path, config=SMALL)


# ---- too much of everything --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("unseen")
@pytest.mark.parametrize("size", [[20_000, 20_000], [2**31 - 1, 2**31 - 1], [2**31 - 1, 1]])
def test_an_input_of_gigabytes_in_the_description(size: list[int], tmp_path: Path) -> None:
    for source in (f"{STEM}.prototxt", f"{STEM}.caffemodel", ONNX):
        shutil.copy(source, tmp_path / f"it{Path(source).suffix}")
    description = json.loads(Path(f"{STEM}.json").read_text())
    description["head"]["input_size"] = description["preprocess"]["size"] = size
    (tmp_path / "it.json").write_text(json.dumps(description))
    start = time.monotonic()
    with pytest.raises(sd.ModelError, match=r"it.*: .*16777216 pixels|a blob of \d+ values"):
        sd.SqueezeDet(tmp_path / "it")
    assert time.monotonic() - start < 5


def test_an_input_of_gigabytes_for_someone_elses_net() -> None:
    net = cv2.dnn.readNetFromONNX(ONNX)
    head = sd.HeadConfig(**{**sd.VOC.to_dict(), "input_size": (20_000, 20_000)})
    with pytest.raises(sd.ModelError, match="16777216 pixels"):
        sd.SqueezeDet(net, config=head)


def network_of(*layers: Any) -> Network:
    return Network("big", "data", (1, 3, 400, 400), layers)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            Convolution(name="it", bottoms=("data",), tops=("y",), outputs=2**31, kernel=(1, 1)),
            "2147483648, 400, 400.*too many",
        ),
        (Convolution(name="it", bottoms=("data",), tops=("y",), outputs=9, kernel=(10**9, 1)), "kernels.*at most 32768"),
        (Convolution(name="it", bottoms=("data",), tops=("y",), outputs=9, kernel=(1, 1), pad=(9**9, 0)), "at most 32768"),
        (Convolution(name="it", bottoms=("data",), tops=("y",), outputs=999, kernel=(399, 399), pad=(199, 199)), "operations"),
        (Deconvolution(name="it", bottoms=("data",), tops=("y",), outputs=3, kernel=(2, 2), stride=(999, 999)), "too many"),
        (
            Deconvolution(name="it", bottoms=("data",), tops=("y",), outputs=99, kernel=(99, 99), pad=(49, 49), groups=3),
            "values before they are summed",
        ),
        (Pooling(name="it", bottoms=("data",), tops=("y",), kernel=(9999, 9999), pad=(9998, 9998)), "too many"),
        (Pooling(name="it", bottoms=("data",), tops=("y",), kernel=(10**9, 10**9)), "smaller than the kernel|at most 32768"),
        (Reshape(name="it", bottoms=("data",), tops=("y",), dims=(0, 2**40)), "cannot be reshaped"),
    ],
    ids=["outputs", "kernel", "pad", "operations", "stride", "columns", "windows", "window", "reshape"],
)
def test_layers_that_would_take_gigabytes(layer: Any, message: str) -> None:
    with pytest.raises(sd.ModelError, match=f"layer 'it': .*{message}"):
        _ = network_of(layer).steps


def test_an_input_of_gigabytes_in_a_definition(tmp_path: Path) -> None:
    (tmp_path / "it.prototxt").write_text('input: "data" input_dim: [100000, 3, 4000, 4000]')
    with pytest.raises(sd.ModelError, match=r"\(100000, 3, 4000, 4000\).*134217728"):
        read_prototxt(tmp_path / "it.prototxt")


def test_classes_without_end(tmp_path: Path) -> None:
    text = sound()["prototxt"].decode().replace("num_output: 16", "num_output: 400010")
    text = text.replace("slice_point: 6", "slice_point: 400000").replace("slice_point: 8", "slice_point: 400002")
    (tmp_path / "it.prototxt").write_text(text.replace("dim: 3\n    }\n  }", "dim: 200000\n    }\n  }"))
    from opencv_squeezedet.network.head import derive_config

    with pytest.raises(sd.ModelError, match=r"200000 classes.*100000"):
        derive_config(read_prototxt(tmp_path / "it.prototxt"), anchors=SMALL.anchors)


@pytest.mark.parametrize("suffix", [".onnx", ".caffemodel", ".prototxt", ".json"])
def test_files_without_end(suffix: str, caffe: Path) -> None:
    """Sparse ones, that take no place on the disk."""
    path = caffe.with_suffix(suffix)
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(sd.ModelError, match=rf"it\{suffix}': .*bytes.*1099511627776"):
        sd.SqueezeDet(path if suffix != ".caffemodel" else caffe, config=None if suffix == ".json" else SMALL)


@pytest.mark.parametrize("text", ["[" * 50_000, '{"a":' * 50_000, '{"head": ' + "[" * 50_000])
def test_deep_json(text: str, tmp_path: Path) -> None:
    for source in (f"{STEM}.prototxt", f"{STEM}.caffemodel", ONNX):
        shutil.copy(source, tmp_path / f"it{Path(source).suffix}")
    (tmp_path / "it.json").write_text(text)
    with pytest.raises(sd.ModelError, match=r"it\.json': .*recursion"):
        sd.SqueezeDet(tmp_path / "it")
    with pytest.raises(ValueError, match=r"JSON.*recursion"):
        sd.HeadConfig.from_json(text)


# ---- what this package does not know -----------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_sound_network_of_other_layers_is_used(backend: Any, tmp_path: Path) -> None:
    (tmp_path / "it.onnx").write_bytes(sound()["foreign"])
    with pytest.raises(UnknownLayerError, match=r"node 'c' \(Conv\): .*pads"):
        read_onnx(tmp_path / "it.onnx")
    classifier = sd.SqueezeNet(tmp_path / "it.onnx", preprocess=sd.Preprocess((32, 24)), backend=backend)
    assert classifier.classify(cv2.imread(str(PHOTO)), top=3)[0].probability > 0


def test_no_sound_network_is_taken_for_a_damaged_one() -> None:
    """Those that ONNX's own tests are made of: all operators, and exports of well-known networks."""
    import onnx

    paths = list(Path(onnx.__file__).parent.glob("backend/test/data/**/*.onnx"))
    if not paths:
        pytest.skip("this onnx comes without its tests")
    for path in paths:
        try:
            read_onnx(path)
        except UnknownLayerError:
            continue


@pytest.mark.usefixtures("unseen")
def test_a_damaged_network_of_other_layers_is_not_even_tried(tmp_path: Path) -> None:
    def change(model: Any) -> None:
        model.graph.node[1].input[2] = "nothing"

    (tmp_path / "it.onnx").write_bytes(changed(change, sound()["foreign"]))
    with pytest.raises(sd.ModelError, match=r"BatchNormalization\): .*input 'nothing'"):
        sd.SqueezeNet(tmp_path / "it.onnx", preprocess=sd.Preprocess((32, 24)))


def foreign() -> NetworkBytes:
    return NetworkBytes((sound()["foreign"],), "it", None)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os; print('\\nstarted', flush=True); os.kill(os.getpid(), 11)", r"opencv.*\(SIGSEGV\)"),
        ("import os; print('\\nstarted', flush=True); os.kill(os.getpid(), 8)", r"opencv.*\(SIGFPE\)"),
        ("print('\\nstarted'); raise SystemExit(77)", r"opencv.*\(exit status 0x4d\)"),
        ("print('\\nstarted'); print('\"no such layer\"')", "no such layer"),
    ],
    ids=["SIGSEGV", "SIGFPE", "exit", "error"],
)
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="signals are Unix'")
def test_what_becomes_of_a_probe(code: str, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(probe, "_START", code)
    (tmp_path / "it.onnx").write_bytes(sound()["foreign"])
    with pytest.raises(sd.ModelError, match=rf"it\.onnx' .*32x24: {message}"):
        sd.SqueezeNet(tmp_path / "it.onnx", preprocess=sd.Preprocess((32, 24)))


def test_a_probe_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "SECONDS", 1)
    code = probe._START.replace("answer(request)", "")
    code += "import time, opencv_squeezedet.backends.probe as probe\n"
    code += "probe.SECONDS = 1\nprobe._problem = lambda *_: time.sleep(60)\nanswer(request)"
    monkeypatch.setattr(probe, "_START", code)
    assert probe.Probe(foreign(), "opencv")((32, 24)) == "opencv did not open and run it within 1 s"


@pytest.mark.parametrize("code", ["raise SystemExit(3)", "print('hello')", ""])
def test_where_no_python_can_be_started_there_is_no_probe(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_START", code)
    assert probe.Probe(foreign(), "opencv")(None) is None
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert probe.Probe(foreign(), "opencv")(None) is None


def test_a_probe_runs_once_for_each_size(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = subprocess.run
    monkeypatch.setattr(probe.subprocess, "run", lambda *args, **options: calls.append(1) or real(*args, **options))
    check = probe.Probe(foreign(), "opencv")
    assert [check((32, 24)), check((32, 24)), check(None)] == [None] * 3
    assert len(calls) == 2


# ---- mutations ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_mutated_models_are_run_or_refused(kind: str, backend: Any) -> None:
    """A few of those that `fuzz_models.py` makes; in processes that a crash would end."""
    counts = campaign(kind, backend, first=0, count=30, seed=2, limit=60)
    assert sum(counts.values()) == 30
    assert not [what for what in counts if what.split()[0] in FINDINGS], counts


def test_a_network_is_written_as_it_was_read(tmp_path: Path) -> None:
    """The detector that is mutated has one layer of each kind."""
    network = detector()
    (tmp_path / "it.onnx").write_bytes(onnx_bytes(network, random_weights(network)))
    assert load_network(tmp_path / "it.onnx")[0] == network
