"""Models that nobody vouches for: what is damaged is refused before a native library sees it, what is unknown is tried."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from embedded import BACKENDS, HAS_CAFFE, HAS_ONNXRUNTIME, ONNX, STEM, needs_caffe_importer, needs_onnx
from fuzz_models import FINDINGS, campaign
from model_mutations import KINDS, SMALL, detector, sound
from networks import ROOT, load_network, random_weights, same_weights

import opencv_squeezedet as sd
from opencv_squeezedet.backends import probe
from opencv_squeezedet.backends.network_bytes import NetworkBytes
from opencv_squeezedet.errors import UnknownLayerError
from opencv_squeezedet.formats import read_onnx, read_prototxt
from opencv_squeezedet.model import Model
from opencv_squeezedet.network import Convolution, Deconvolution, Network, Pooling, Reshape
from opencv_squeezedet.network.head import derive_config

pytestmark = needs_onnx


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


def named(values: Any, name: str) -> Any:
    return next(value for value in values if value.name == name)


def attribute(model: Any, node: str, name: str) -> Any:
    return named(named(model.graph.node, node).attribute, name)


def rename_the_fourth_kernel(model: Any) -> None:
    [node for node in model.graph.node if node.op_type == "Conv"][3].input[1] = "nothing"


def ints(node: str, name: str, *values: int) -> Callable[[Any], None]:
    """A change of a node's list of integers, or of its integer."""

    def change(model: Any) -> None:
        found = attribute(model, node, name)
        if found.ints:
            found.ints[:] = values
        else:
            (found.i,) = values

    return change


def values_of(name: str, field: str, value: Callable[[Any], Any]) -> Callable[[Any], None]:
    """A change of a field of a constant."""

    def change(model: Any) -> None:
        constant = named(model.graph.initializer, name)
        setattr(constant, field, value(getattr(constant, field)))

    return change


def dims(*lengths: int) -> Callable[[Any], None]:
    return lambda model: named(model.graph.initializer, "e3.weight").dims.__setitem__(slice(None), lengths)


def reversed_nodes(model: Any) -> None:
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def two_of_one_name(model: Any) -> None:
    model.graph.node[1].output[0] = model.graph.node[0].output[0]


def negative_input(model: Any) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = -24


@pytest.mark.usefixtures("unseen")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename_the_fourth_kernel, r"it\.onnx': node 'e3' \(Conv\): no earlier node gives its input 'nothing'"),
        (ints("conv1", "strides", 0, 0), r"node 'conv1' \(Conv\): strides.*got \[0, 0\]"),
        (ints("conv1", "dilations", 0, 0), "dilations"),
        (ints("conv1", "kernel_shape", 0, 0), "kernel_shape"),
        (ints("grouped", "group", 0), r"node 'grouped' \(Conv\): .*group 0"),
        (ints("pool1", "strides", 0, 0), r"node 'pool1' \(MaxPool\): .*strides"),
        (ints("e3", "pads", -9, -9, -9, -9), r"node 'e3' \(Conv\): pads.*got \[-9, -9, -9, -9\]"),
        (ints("concat", "axis", 7), r"node 'concat' \(Concat\): .*\(1, 4, 6, 8\).*axis 7"),
        (ints("slice", "split", 6, 2, 9), r"node 'slice' \(Split\): .*\(6, 2, 9\)"),
        (dims(4, 4, 9, 1), r"node 'e3' \(Conv\): .*group 1.*kernel_shape.*\(4, 4, 9, 1\)"),
        (dims(2**30, 4, 3, 3), r"constant 'e3\.weight': 154618822656 bytes"),
        (values_of("e3.weight", "raw_data", lambda raw: raw[:-4]), r"constant 'e3\.weight': 576 bytes.*\(4, 4, 3, 3\).*572"),
        (values_of("e3.weight", "data_type", lambda _: 11), r"constant 'e3\.weight': 1152 bytes"),
        (
            values_of("reshape.shape", "raw_data", lambda _: np.array([0, 2**31, 3], "<i8").tobytes()),
            r"layer 'reshape': .*\(1, 3, 4, 6\).*72 values",
        ),
        (lambda model: setattr(attribute(model, "e3", "strides"), "type", 1), r"node 'e3' \(Conv\): .*attribute 'strides'"),
        (
            lambda model: named(model.graph.node, "e3").attribute.append(named(model.graph.node, "e3").attribute[0]),
            r"node 'e3' \(Conv\): .*attribute.*once",
        ),
        (reversed_nodes, r"node 'sigmoid' \(Sigmoid\): .*input 'confidences'"),
        (two_of_one_name, r"earlier node gives '"),
        (negative_input, r"'data': .*shape.*got \(3, -24, 32\)"),
        (lambda model: setattr(model.graph.output[0], "name", "nothing"), "output 'nothing'"),
        (
            lambda model: model.graph.output.append(model.graph.output[0]),
            "output once.*got 'delta_bbox', 'class_scores', 'conf_scores', 'delta_bbox'",
        ),
        (
            lambda model: named(model.graph.node, "sum").input.__setitem__(1, ""),
            r"node 'sum' \(Sum\): .*inputs and outputs.*got \['grouped', ''\]",
        ),
        (lambda model: setattr(model.graph.node[0], "op_type", ""), r"node 'conv1' \(\): .*operator"),
    ],
)
def test_damaged_onnx_files(change: Callable[[Any], None], message: str, backend: Any, tmp_path: Path) -> None:
    (tmp_path / "it.onnx").write_bytes(changed(change))
    with pytest.raises(sd.ModelError, match=message):
        sd.SqueezeDet(tmp_path / "it.onnx", config=SMALL, backend=backend)


def test_the_file_that_runs_is_the_file_that_is_checked(tmp_path: Path, photo: Any) -> None:
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
        assert sd.SqueezeDet(tmp_path / "it", backend=backend).detect(photo).labels == ["cat"]
        assert sd.SqueezeDet(later, backend=backend).detect(photo).labels == ["cat"]


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


def test_files_of_protobufs_own_writer(tmp_path: Path) -> None:
    """Files that protobuf has read and written anew are the same network, for this package's readers."""
    import onnx
    from google.protobuf import text_format
    from protobuf_oracle import net_parameter

    (tmp_path / "it.prototxt").write_bytes(sound()["prototxt"])
    for name, path in (("onnx", "it.onnx"), ("half", "it.onnx"), ("caffemodel", "it.caffemodel"), ("halves", "it.caffemodel")):
        kind = onnx.ModelProto if path.endswith("onnx") else net_parameter()
        for content in (sound()[name], kind.FromString(sound()[name]).SerializeToString()):
            (tmp_path / path).write_bytes(content)
            network, weights = load_network(tmp_path / path)
            assert network == detector()
            for layer, blobs in random_weights(network).items():
                for blob, expected in zip(weights[layer], blobs, strict=True):
                    assert np.array_equal(blob, expected.astype("f2") if name in ("half", "halves") else expected)
    for path in (ROOT / "models").glob("*.prototxt"):
        again = tmp_path / "again.prototxt"
        again.write_text(text_format.MessageToString(text_format.Parse(path.read_text(), net_parameter()())))
        assert read_prototxt(again) == read_prototxt(path)


def external(model: Any, location: str, **entries: Any) -> bytes:
    """Take the values of all constants out of a model; returns them."""
    values = b""
    for constant in model.graph.initializer:
        described = {"location": location, "offset": len(values), "length": len(constant.raw_data), **entries}
        values += constant.raw_data
        constant.ClearField("raw_data")
        constant.data_location = 1
        for key, value in described.items():
            constant.external_data.add(key=key, value=str(value))
    return values


def with_external(folder: Path, location: str = "it.data", **entries: Any) -> Path:
    def change(model: Any) -> None:
        (folder / "it.data").write_bytes(external(model, location, **entries))

    (folder / "it.onnx").write_bytes(changed(change, Path(ONNX).read_bytes()))
    shutil.copy(f"{STEM}.json", folder / "it.json")
    return folder / "it.onnx"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("inner", [".", "weights"])
def test_values_in_a_file_beside_the_model(
    backend: Any, inner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: Any
) -> None:
    """Whatever the current folder is."""
    path = with_external(tmp_path, f"{inner}/it.data")
    (tmp_path / "elsewhere").mkdir()
    if inner != ".":
        (tmp_path / inner).mkdir()
        (tmp_path / "it.data").rename(tmp_path / inner / "it.data")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert sd.SqueezeDet(path, backend=backend).detect(photo) == sd.SqueezeDet(ONNX, backend=backend).detect(photo)
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
    ("entries", "message"),
    [
        ({"offset": 10**12}, r"it\.data' .*1000000000000"),
        ({"offset": -1}, r"\d+ bytes.*got"),
        ({"length": 3}, r"\d+ bytes.*got"),
        ({"offset": "x"}, r"\d+ bytes.*got"),
    ],
)
def test_values_that_the_other_file_does_not_have(entries: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(sd.ModelError, match=message):
        sd.SqueezeDet(with_external(tmp_path, **entries))


def test_a_file_of_values_that_is_missing(tmp_path: Path) -> None:
    path = with_external(tmp_path)
    (tmp_path / "it.data").unlink()
    with pytest.raises(FileNotFoundError, match=r"it\.data"):
        sd.SqueezeDet(path)


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
        ('type: "Permute"', 'type: "LSTM"', "permute"),
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


@pytest.mark.usefixtures("unseen")
def test_weights_are_checked_where_the_layers_are_not_known(caffe: Path) -> None:
    caffe.write_text(caffe.read_text().replace('type: "Sigmoid"', 'type: "TanH"'))
    weights = caffe.with_suffix(".caffemodel")
    weights.write_bytes(weights.read_bytes()[:-5])
    with pytest.raises(sd.ModelError, match=r"caffemodel': .*ends within"):
        sd.SqueezeDet(caffe, config=SMALL)


@pytest.mark.usefixtures("unseen")
@pytest.mark.parametrize("content", [b"PK\x03\x04", b"\x93NUMPY\x01\x00", b"x", int, str, object])
def test_an_archive_of_something_else(content: Any, caffe: Path) -> None:
    path = caffe.with_suffix(".npz")
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        array = np.zeros((6, 3, 3, 3)).astype(content)
        np.savez(path, conv1_w=array, conv1_b=array)
    with pytest.raises(sd.ModelError, match=r"npz': .*LAYER_w and LAYER_b"):
        sd.SqueezeDet(caffe, path, config=SMALL)


@pytest.mark.usefixtures("unseen")
@pytest.mark.parametrize("size", [[20_000, 20_000], [2**31 - 1, 2**31 - 1], [2**31 - 1, 1]])
def test_an_input_of_gigabytes_in_the_description(size: list[int], tmp_path: Path) -> None:
    for suffix in (".prototxt", ".caffemodel"):
        shutil.copy(f"{STEM}{suffix}", tmp_path / f"it{suffix}")
    description = json.loads(Path(f"{STEM}.json").read_text())
    description["head"]["input_size"] = description["preprocess"]["size"] = size
    (tmp_path / "it.json").write_text(json.dumps(description))
    start = time.monotonic()
    with pytest.raises(sd.ModelError, match=r"it.*: .*16777216 pixels|a blob of \d+ values"):
        sd.SqueezeDet(tmp_path / "it")
    assert time.monotonic() - start < 5


def test_an_input_of_gigabytes_for_someone_elses_net() -> None:
    head = replace(sd.VOC, input_size=(20_000, 20_000))
    with pytest.raises(sd.ModelError, match="16777216 pixels"):
        sd.SqueezeDet(cv2.dnn.readNetFromONNX(ONNX), config=head)


def layer(kind: Any, **options: Any) -> Network:
    made = kind(name="it", bottoms=("data",), tops=("y",), **options)
    return Network("big", "data", (1, 3, 400, 400), (made,))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (layer(Convolution, outputs=2**31, kernel=(1, 1)), "2147483648, 400, 400.*too many"),
        (layer(Convolution, outputs=9, kernel=(10**9, 1)), "kernels.*at most 32768"),
        (layer(Convolution, outputs=9, kernel=(1, 1), pad=(9**9, 0)), "at most 32768"),
        (layer(Convolution, outputs=999, kernel=(399, 399), pad=(199, 199)), "operations"),
        (layer(Deconvolution, outputs=3, kernel=(2, 2), stride=(999, 999)), "too many"),
        (layer(Deconvolution, outputs=99, kernel=(99, 99), pad=(49, 49), groups=3), "values before they are summed"),
        (layer(Pooling, kernel=(9999, 9999), pad=(9998, 9998)), "too many"),
        (layer(Pooling, kernel=(10**9, 10**9)), "smaller than the kernel|at most 32768"),
        (layer(Reshape, dims=(0, 2**40)), "cannot be reshaped"),
    ],
)
def test_layers_that_would_take_gigabytes(network: Network, message: str) -> None:
    with pytest.raises(sd.ModelError, match=f"layer 'it': .*{message}"):
        _ = network.steps


def test_an_input_of_gigabytes_in_a_definition(tmp_path: Path) -> None:
    (tmp_path / "it.prototxt").write_text('input: "data" input_dim: [100000, 3, 4000, 4000]')
    with pytest.raises(sd.ModelError, match=r"\(100000, 3, 4000, 4000\).*268435456"):
        read_prototxt(tmp_path / "it.prototxt")


def test_classes_without_end(tmp_path: Path) -> None:
    text = sound()["prototxt"].decode().replace("num_output: 16", "num_output: 400010")
    text = text.replace("slice_point: 6", "slice_point: 400000").replace("slice_point: 8", "slice_point: 400002")
    (tmp_path / "it.prototxt").write_text(text.replace("dim: 3\n    }\n  }", "dim: 200000\n    }\n  }"))
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


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_sound_network_of_other_layers_is_used(backend: Any, tmp_path: Path, photo: Any) -> None:
    (tmp_path / "it.onnx").write_bytes(sound()["foreign"])
    with pytest.raises(UnknownLayerError, match=r"node 'c' \(Conv\): .*pads"):
        read_onnx(tmp_path / "it.onnx")
    classifier = sd.SqueezeNet(tmp_path / "it.onnx", preprocess=sd.Preprocess((32, 24)), backend=backend)
    assert classifier.classify(photo, top=3)[0].probability > 0


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
    (tmp_path / "it.onnx").write_bytes(
        changed(lambda model: model.graph.node[1].input.__setitem__(2, "nothing"), sound()["foreign"])
    )
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


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_mutated_models_are_run_or_refused(kind: str, backend: Any) -> None:
    """A few of those that `fuzz_models.py` makes; in processes that a crash would end."""
    counts = campaign(kind, backend, first=0, count=30, seed=2, limit=60)
    assert sum(counts.values()) == 30
    assert not [what for what in counts if what.split()[0] in FINDINGS], counts
