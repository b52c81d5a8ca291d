"""Files made to cost their reader more than they cost their maker, or to have another file read."""

from __future__ import annotations

import os
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from embedded import needs_onnx
from model_mutations import sound

import opencv_squeezedet as sd
from opencv_squeezedet.backends import probe
from opencv_squeezedet.backends.network_bytes import NetworkBytes
from opencv_squeezedet.errors import UnknownLayerError
from opencv_squeezedet.formats import read_onnx, read_prototxt


def written(number: int, content: bytes) -> bytes:
    """A field of protobuf's wire format: its number, the length of its content in varint, and the content."""
    length, varint = len(content), bytearray()
    while length >= 128:
        varint.append(length & 127 | 128)
        length >>= 7
    return bytes([number << 3 | 2, *varint, length]) + content


@contextmanager
def counted_lines() -> Iterator[Counter[str]]:
    """Count the lines of Python that are run, as "line": unlike seconds, they are the same each time."""
    events, previous = Counter[str](), sys.gettrace()

    def count(_: FrameType, event: str, __: object) -> Any:
        events[event] += 1
        return count

    sys.settrace(count)
    try:
        yield events
    finally:
        sys.settrace(previous)


def with_slope(folder: Path, slope: str) -> Path:
    path = folder / "net.prototxt"
    path.write_text(
        'input: "data" input_shape { dim: [1, 3, 4, 4] }'
        f'layer {{ name: "a" type: "ReLU" bottom: "data" top: "a" relu_param {{ negative_slope: {slope} }} }}'
    )
    return path


@pytest.mark.parametrize(
    ("slope", "value"),
    [("-inf", "-inf"), ("- inf", "-inf"), ("-nan", "nan"), ("inf", "inf"), ("1e400", "inf"), ("-0x10", "-16"), ("1.f", "1")],
)
def test_every_number_that_caffe_can_write(slope: str, value: str, tmp_path: Path) -> None:
    (layer,) = read_prototxt(with_slope(tmp_path, slope)).layers
    np.testing.assert_equal(layer.slope, float(value))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("slope", "message"),
    [
        ("0x" + "1" * 50, "'negative_slope'.*got '0x111"),
        ("1" * 200_000 + "x", "'1'"),
        ("1." + "1" * 200_000 + "x", "'1'"),
        ("-" + " " * 200_000 + "x", "'-'"),
        ('"' + "\\x" * 100_000, "'\"'"),
    ],
    ids=["base 16", "digits", "fraction", "spaces", "string"],
)
def test_what_is_no_number_takes_no_time(slope: str, message: str, tmp_path: Path) -> None:
    path = with_slope(tmp_path, slope)
    start = time.process_time()
    with pytest.raises(sd.ModelError, match=message):
        read_prototxt(path)
    assert time.process_time() - start < 2  # the square of its length would be an hour


def onnx_file(
    folder: Path, nodes: list[Any], constants: list[Any], output: str, change: Callable[[Any], None] | None = None
) -> Path:
    from onnx import helper

    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("data", 1, (1, 100, 1, 1))],
        [helper.make_tensor_value_info(output, 1, None)],
        constants,
    )
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("own", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    if change is not None:
        change(model)
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@needs_onnx
def test_a_long_chain_of_activations_takes_no_time(tmp_path: Path) -> None:
    from onnx import helper

    lines = []
    for count in (500, 2000):
        names = ["data", *(f"r{i}" for i in range(count))]
        path = onnx_file(tmp_path, [helper.make_node("Relu", [one], [other]) for one, other in pairwise(names)], [], names[-1])
        with counted_lines() as run:
            network, _ = read_onnx(path)
        lines.append(run["line"])
    assert lines[1] < 5 * lines[0]
    assert {layer.tops for layer in network.layers[1:]} == {network.output_names} == {(names[-1],)}


def convolutions(folder: Path, count: int, kind: Any) -> Path:
    """Convolutions in a row that have the same weights."""
    from onnx import helper, numpy_helper

    names = ["data", *(f"c{i}" for i in range(count))]
    nodes = [helper.make_node("Conv", [one, "w"], [next_one]) for one, next_one in pairwise(names)]
    return onnx_file(folder, nodes, [numpy_helper.from_array(np.ones((100, 100, 1, 1), kind), "w")], names[-1])


@needs_onnx
@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_weights_that_many_have_are_there_once(kind: Any, tmp_path: Path) -> None:
    path = convolutions(tmp_path, 1000, kind)
    tracemalloc.start()
    _, weights = read_onnx(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(weights) == 1000
    assert len({blobs[0].ctypes.data for blobs in weights.values()}) == 1
    assert most < 20 << 20  # bytes; it was 50


@needs_onnx
def test_weights_that_too_many_have(tmp_path: Path) -> None:
    """A native library has them once for each."""
    path = convolutions(tmp_path, 2500, np.float32)
    with pytest.raises(sd.ModelError, match=r"node 'c\d+' \(Conv\):.*weights"):
        read_onnx(path)


@pytest.mark.parametrize(
    "field",
    [
        pytest.param(written(1, b"\1" * 30_000_000), id="in one run"),
        pytest.param(b"\x08\1" * 70_000 + bytes(8_000_000), id="each", marks=pytest.mark.slow),
    ],
)
def test_a_shape_of_millions_of_numbers(field: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(written(7, written(5, field)))
    message = r"'dims' has more than 65536 values|split into too many fields"
    with counted_lines() as run, pytest.raises(sd.ModelError, match=message):
        read_onnx(path)
    assert run["line"] < 2 * len(field)  # it was six


def external() -> Any:
    import onnx

    tensor = onnx.TensorProto(name="c", data_type=1, dims=[3], data_location=1)
    for key, value in (("location", "../secret"), ("offset", "0"), ("length", "12")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def sparse() -> Any:
    import onnx
    from onnx import numpy_helper

    return onnx.SparseTensorProto(values=external(), indices=numpy_helper.from_array(np.arange(3), "i"), dims=[3])


def relu() -> Any:
    from onnx import helper

    return helper.make_node("Relu", ["data"], ["y"])


def with_function(folder: Path, *inner: Any, default: bool = False) -> Path:
    from onnx import helper

    function = helper.make_function("own", "F", ["a"], ["b"], list(inner), [helper.make_opsetid("", 13)])
    if default:
        function.attribute_proto.append(helper.make_attribute("c", external()))
    nodes = [helper.make_node("F", ["data"], ["y"], domain="own")]
    return onnx_file(folder, nodes, [], "y", lambda model: model.functions.append(function))


def in_a_function(folder: Path) -> Path:
    from onnx import helper

    constant = helper.make_node("Constant", [], ["c"], value=external())
    return with_function(folder, constant, helper.make_node("Add", ["a", "c"], ["b"]))


def in_a_function_default(folder: Path) -> Path:
    from onnx import helper

    return with_function(folder, helper.make_node("Relu", ["a"], ["b"]), default=True)


def in_a_sparse_constant(folder: Path) -> Path:
    return onnx_file(folder, [relu()], [], "y", lambda model: model.graph.sparse_initializer.append(sparse()))


def in_a_sparse_attribute(folder: Path) -> Path:
    from onnx import helper

    nodes = [helper.make_node("Constant", [], ["c"], sparse_value=sparse()), helper.make_node("Add", ["data", "c"], ["y"])]
    return onnx_file(folder, nodes, [], "y")


def in_the_training(folder: Path) -> Path:
    return onnx_file(
        folder, [relu()], [], "y", lambda model: model.training_info.add().algorithm.initializer.append(external())
    )


@needs_onnx
@pytest.mark.parametrize(
    "make", [in_a_function, in_a_function_default, in_a_sparse_constant, in_a_sparse_attribute, in_the_training]
)
def test_values_in_other_files_wherever_they_are_named(
    make: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """onnxruntime looks for them from the current folder."""
    (tmp_path / "secret").write_bytes(np.ones(3, np.float32).tobytes())
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path / "model")
    with pytest.raises(sd.ModelError, match=r"constant 'c': .*another file") as caught:
        read_onnx(make(tmp_path / "model"))
    assert not isinstance(caught.value, UnknownLayerError)  # those are tried


@needs_onnx
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_values_in_a_pipe(tmp_path: Path) -> None:
    tensor = external()
    tensor.external_data[0].value = "pipe"
    path = onnx_file(tmp_path, [relu()], [tensor], "y")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(sd.ModelError, match=r"constant 'c': .*regular file.*got 'pipe'"):
        read_onnx(path)


def test_a_network_that_a_probe_cannot_even_take_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when there is no memory for it."""
    monkeypatch.setattr(probe, "_START", probe._START.replace("answer(", 'request["lengths"] = [1 << 60]; answer('))
    assert probe.Probe(NetworkBytes((sound()["foreign"],), "it", None), "opencv")(None) == "MemoryError"
