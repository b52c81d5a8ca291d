"""Whole small models, and mutations of their files that know what a field is: shared by the test and `fuzz_models.py`."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from embedded import HEAD, ONNX
from format_seeds import compressed_file, mutated, parts_of, sealed, shared
from networks import random_weights
from numpy.typing import NDArray

import opencv_squeezedet as sd
from opencv_squeezedet.formats import caffemodel_bytes, onnx_bytes, prototxt_text, sdz_bytes
from opencv_squeezedet.network import (
    Concat,
    Convolution,
    Deconvolution,
    Dropout,
    Eltwise,
    Network,
    Permute,
    Pooling,
    ReLU,
    Reshape,
    Sigmoid,
    Slice,
    Softmax,
)

KINDS = ("onnx", "caffemodel", "prototxt", "net", "sdz", "layers")
SMALL = sd.HeadConfig(
    input_size=(32, 24), grid=(3, 4), anchors=((8, 8), (4, 6)), labels=("a", "b", "c"), first_axis="y", score_threshold=0.1
)


@dataclass(frozen=True)
class Case:
    """A model to be opened: a detector's, a classifier's, or, where it has a blob, a network of one output."""

    path: str
    size: tuple[int, int]
    config: sd.HeadConfig | None = None
    """None: it describes its head itself."""
    classifier: bool = False
    blob: NDArray[np.float32] | None = None


def detector() -> Network:
    """A head of 3x4 cells, two anchors and three classes, after one layer of each other kind."""
    layers = (
        Convolution(name="conv1", bottoms=("data",), tops=("conv1",), outputs=6, kernel=(3, 3), stride=(2, 2), pad=(1, 1)),
        ReLU(name="relu1", bottoms=("conv1",), tops=("conv1",)),
        Pooling(name="pool1", bottoms=("conv1",), tops=("pool1",), kernel=(2, 2), stride=(2, 2)),
        Convolution(name="squeeze", bottoms=("pool1",), tops=("squeeze",), outputs=4, kernel=(1, 1)),
        ReLU(name="leaky", bottoms=("squeeze",), tops=("squeeze",), slope=0.1),
        Convolution(name="e1", bottoms=("squeeze",), tops=("e1",), outputs=4, kernel=(1, 1)),
        Convolution(name="e3", bottoms=("squeeze",), tops=("e3",), outputs=4, kernel=(3, 3), pad=(2, 2), dilation=(2, 2)),
        Concat(name="concat", bottoms=("e1", "e3"), tops=("concat",)),
        Dropout(name="drop", bottoms=("concat",), tops=("concat",)),
        Convolution(name="grouped", bottoms=("concat",), tops=("grouped",), outputs=8, kernel=(3, 3), pad=(1, 1), groups=4),
        Eltwise(name="sum", bottoms=("grouped", "concat"), tops=("sum",)),
        Pooling(name="average", bottoms=("sum",), tops=("average",), method="average", kernel=(2, 2), stride=(2, 2)),
        Deconvolution(
            name="up", bottoms=("average",), tops=("up",), outputs=8, kernel=(2, 2), stride=(2, 2), groups=8, bias=False
        ),
        Pooling(name="down", bottoms=("up",), tops=("down",), kernel=(2, 2), stride=(2, 2)),
        Convolution(name="output", bottoms=("down",), tops=("output",), outputs=16, kernel=(1, 1)),
        Permute(name="permute", bottoms=("output",), tops=("hwc",), order=(0, 2, 3, 1)),
        Slice(name="slice", bottoms=("hwc",), tops=("classes", "confidences", "delta_bbox"), points=(6, 8), axis=3),
        Reshape(name="reshape", bottoms=("classes",), tops=("flat",), dims=(0, -1, 3)),
        Softmax(name="softmax", bottoms=("flat",), tops=("class_scores",), axis=2),
        Sigmoid(name="sigmoid", bottoms=("confidences",), tops=("conf_scores",)),
    )
    return Network("small", "data", (1, 3, 24, 32), layers)


@cache
def sound() -> dict[str, bytes]:
    """The files of a sound model by their suffix; ``foreign`` is an ONNX file with operators that are not described here."""
    network = detector()
    weights = random_weights(network)
    return {
        "onnx": onnx_bytes(network, weights),
        "half": onnx_bytes(network, weights, half=True),
        "foreign": foreign(),
        "caffemodel": caffemodel_bytes(network, weights),
        "halves": caffemodel_bytes(network, weights, half=True),
        "prototxt": prototxt_text(network).encode(),
        "net": compressed_file(),
        "sdz": sdz_bytes(network, weights, description()),
        "shared": sdz_bytes(network, shared(weights), description()),
        "embedded": Path(ONNX).read_bytes(),
    }


def description() -> bytes:
    """The JSON of the detector."""
    return json.dumps({"preprocess": asdict(sd.Preprocess(SMALL.input_size)), "head": SMALL.to_dict()}).encode()


def foreign() -> bytes:
    """A classifier of a bare few layers, some of them of other kinds than this package knows."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    constants = {
        "w": rng.standard_normal((4, 3, 3, 3)) / 5,
        **{name: rng.uniform(0.5, 1, 4) for name in ("scale", "bias", "mean", "var")},
        "v": rng.standard_normal((4, 1000)) / 2,
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "scale", "bias", "mean", "var"], ["n"]),
        helper.make_node("Clip", ["n", "low", "high"], ["k"]),
        helper.make_node("GlobalAveragePool", ["k"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "v"], ["g"]),
        helper.make_node("Softmax", ["g"], ["y"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 24, 32))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 1000))],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()]
        + [numpy_helper.from_array(np.float32(value), name) for name, value in (("low", 0), ("high", 6))],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    return bytes(made.SerializeToString())


def make(kind: str, rng: random.Random, folder: Path) -> Case:
    """Write a model of which one file is mutated."""
    files, stem = sound(), folder / "case"
    if kind == "layers":
        return _layers(rng, stem)
    if kind == "net":
        Path(f"{stem}.net").write_bytes(_net(bytearray(files["net"]), rng))
        return Case(f"{stem}.net", (227, 227), classifier=True)
    if kind == "sdz":
        Path(f"{stem}.sdz").write_bytes(_sdz(files[rng.choice(["sdz", "shared"])], rng))
        return Case(f"{stem}.sdz", SMALL.input_size, None if rng.random() < 0.6 else SMALL)
    if kind == "onnx":
        name = rng.choices(["onnx", "half", "embedded", "foreign"], [75, 16, 1, 8])[0]
        content = mutated(files[name], rng) if rng.random() < 0.4 else _changed(_onnx_message(files[name]), rng, _ONNX)
        Path(f"{stem}.onnx").write_bytes(content)
        if name == "foreign":
            return Case(f"{stem}.onnx", (32, 24), classifier=True)
        return Case(f"{stem}.onnx", SMALL.input_size, HEAD if name == "embedded" else SMALL)
    contents = {name: files[name] for name in ("prototxt", "caffemodel")}
    if kind == "prototxt":
        contents[kind] = mutated(files[kind], rng) if rng.random() < 0.3 else _prototxt(files[kind].decode(), rng).encode()
    else:
        name = rng.choice(["caffemodel", "halves"])
        content = mutated(files[name], rng) if rng.random() < 0.4 else _changed(_caffe_message(files[name]), rng, _CAFFE)
        contents[kind] = content
    for suffix, content in contents.items():
        Path(f"{stem}.{suffix}").write_bytes(content)
    return Case(f"{stem}.prototxt", SMALL.input_size, SMALL)


# ---- sound networks of unusual layers ----------------------------------------------------------------------------------

_LENGTHS = (1, 1, 1, 2, 2, 3, 3, 5, 7, 16, 33, 100, 1000, 32768)


def _layers(rng: random.Random, stem: Path) -> Case:
    """Layers whose shapes fit, whatever their options are: what this package passes on, nothing may die of."""
    while True:
        network = _odd_network(rng)
        weights = random_weights(network)
        try:
            content = onnx_bytes(network, weights)
        except sd.ModelError:  # what ONNX cannot say
            continue
        shape = network.input_shape
        blob = np.random.default_rng(0).uniform(-9, 9, shape).astype(np.float32)
        if not weights or not hasattr(cv2.dnn, "readNetFromCaffe") or rng.random() < 0.5:
            Path(f"{stem}.onnx").write_bytes(content)
            return Case(f"{stem}.onnx", (shape[3], shape[2]), blob=blob)
        Path(f"{stem}.onnx").unlink(missing_ok=True)
        Path(f"{stem}.prototxt").write_text(prototxt_text(network))
        Path(f"{stem}.caffemodel").write_bytes(caffemodel_bytes(network, weights))
        return Case(f"{stem}.prototxt", (shape[3], shape[2]), blob=blob)


def _odd_network(rng: random.Random) -> Network:
    network = Network("odd", "data", (1, 3, rng.choice([1, 2, 5, 24, 33, 100]), rng.choice([1, 3, 8, 32, 77])), ())
    for number in range(rng.randrange(1, 6)):
        for _ in range(20):
            longer = replace(network, layers=(*network.layers, _any_layer(rng, f"l{number}", network)))
            try:
                *_, last = longer.steps
            except sd.ModelError:
                continue
            if longer.parameters < 200_000 and last.layer.work(last.bottoms, last.tops) < 10**8:
                network = longer
                break
    return network if network.layers else _odd_network(rng)


def _any_layer(rng: random.Random, name: str, network: Network) -> Any:
    def pair(*least: int) -> tuple[int, int]:
        lengths = [*least, *_LENGTHS]
        return (
            rng.choice([(length, length) for length in lengths])
            if rng.random() < 0.6
            else (rng.choice(lengths), rng.choice(lengths))
        )

    before = network.layers[-1].tops[0] if network.layers else "data"
    blob = network.steps[-1].tops[0] if network.layers else network.input_shape
    common: dict[str, Any] = {"name": name, "bottoms": (before,), "tops": (name,)}
    options: dict[str, Any] = {"kernel": pair(), "stride": pair(), "pad": pair(0, 0, 0, 0)}
    axis = rng.randrange(len(blob))
    makers: list[Callable[[], Any]] = [
        lambda: Convolution(
            **common,
            **options,
            outputs=rng.choice(_LENGTHS),
            dilation=pair(),
            groups=rng.choice([1, 1, 2, 3]),
            bias=rng.random() < 0.5,
        ),
        lambda: Deconvolution(**common, **options, outputs=rng.choice(_LENGTHS), groups=rng.choice([1, 1, 2, 3])),
        lambda: Pooling(**common, **options, method=rng.choice(["max", "average"])),
        lambda: Pooling(**common, method=rng.choice(["max", "average"])),
        lambda: ReLU(**common, slope=rng.choice([0.0, 0.1, -3.0, 1e30])),
        lambda: Softmax(**common, axis=axis),
        lambda: Sigmoid(**common),
        lambda: Dropout(**common),
        lambda: Permute(**common, order=tuple(rng.sample(range(len(blob)), len(blob)))),
        lambda: Reshape(**common, dims=rng.choice([(0, -1), (1, -1, 1, 1), (0, 0, -1), (0, -1, 1), (1, 1, 1, 1, -1)])),
        lambda: Concat(name=name, bottoms=(before,) * rng.choice([1, 2, 9]), tops=(name,), axis=axis),
        lambda: Eltwise(name=name, bottoms=(before,) * rng.choice([1, 2, 9]), tops=(name,)),
    ]
    return rng.choice(makers)()


def _onnx_message(content: bytes) -> Any:
    import onnx

    return onnx.ModelProto.FromString(content)


def _caffe_message(content: bytes) -> Any:
    from protobuf_oracle import net_parameter

    return net_parameter().FromString(content)


def _words(text: str, separator: str | None = None) -> list[str]:
    return text.split(separator)


# ---- numbers, names and whole messages ---------------------------------------------------------------------------------

_HURTFUL = (0, 1, 2, 3, 5, 7, 8, 100, 255, 1000, 65536, 2**28, 2**31 - 1, 2**31, 2**32 - 1, 2**62)


def _number(rng: random.Random, old: int) -> int:
    return rng.choice([*_HURTFUL, *(-value for value in _HURTFUL[1:]), old + 1, old - 1, old * 2, -old])


def _changed(message: Any, rng: random.Random, changes: list[Callable[[Any, random.Random], None]]) -> bytes:
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        try:
            rng.choice(changes)(message, rng)
        except (IndexError, ValueError, TypeError):  # nothing there to change, or a number that the field cannot hold
            continue
    return bytes(message.SerializeToString())


def _any_message(message: Any, rng: random.Random) -> Any:
    """A message somewhere in this one."""
    while rng.random() < 0.75:
        inner = [
            value
            for field, values in message.ListFields()
            if field.message_type is not None
            for value in (values if field.is_repeated else [values])
        ]
        if not inner:
            break
        message = rng.choice(inner)
    return message


def _change_field(message: Any, rng: random.Random) -> None:
    """Any field of any message: another number, another name, no longer there, there twice, another's content."""
    message = _any_message(message, rng)
    field = rng.choice(message.DESCRIPTOR.fields if rng.random() < 0.3 else [field for field, _ in message.ListFields()])
    if rng.random() < 0.15:
        message.ClearField(field.name)
    elif field.is_repeated:
        _change_list(getattr(message, field.name), field, rng)
    elif field.message_type is not None:
        getattr(message, field.name).CopyFrom(_any_of_type(message, field, rng))
    elif not isinstance(old := getattr(message, field.name), (str, bytes)):
        setattr(message, field.name, type(old)(_number(rng, int(old))))
    elif isinstance(old, str):
        setattr(message, field.name, rng.choice(["", "nothing", old + "x", "x" * 5000, "data", "conv1"]))
    else:
        setattr(message, field.name, mutated(old, rng) if old else bytes(rng.randrange(50)))


def _any_of_type(message: Any, field: Any, rng: random.Random) -> Any:
    found = _any_message(message, rng)
    return found if found.DESCRIPTOR is field.message_type else getattr(message, field.name)


def _change_list(values: Any, field: Any, rng: random.Random) -> None:
    at = rng.randrange(len(values)) if len(values) else 0
    action = rng.randrange(5)
    if action == 0 and len(values):
        del values[at]
    elif action == 1 and len(values) > 1:
        other = rng.randrange(len(values))
        one, two = _copied(values[at]), _copied(values[other])
        if field.message_type is None:
            values[at], values[other] = two, one
        else:
            values[at].CopyFrom(two)
            values[other].CopyFrom(one)
    elif field.message_type is not None:
        values.add().CopyFrom(values[at]) if len(values) and rng.random() < 0.7 else values.add()
    elif not len(values) or action == 2:
        values.extend([values[at]] if len(values) else [0])
    elif isinstance(values[at], str):
        values[at] = rng.choice(["", "nothing", "data", rng.choice(values), values[at] + "x"])
    elif isinstance(values[at], bytes):
        values[at] = mutated(values[at], rng)
    else:
        values[at] = type(values[at])(_number(rng, int(values[at])))


def _copied(value: Any) -> Any:
    if not hasattr(value, "CopyFrom"):
        return value
    copy = type(value)()
    copy.CopyFrom(value)
    return copy


# ---- ONNX --------------------------------------------------------------------------------------------------------------

_OPERATORS = _words(
    "Conv ConvTranspose MaxPool AveragePool GlobalMaxPool GlobalAveragePool Relu LeakyRelu Dropout Sigmoid Softmax Concat Add "
    "Sum Transpose Split Reshape Pad Identity Cast Constant Gemm MatMul Gather Slice Squeeze Unsqueeze Flatten Resize LSTM "
    "GRU Expand Tile If Loop Scan TopK NonMaxSuppression DepthToSpace LRN BatchNormalization InstanceNormalization Upsample "
    "ConstantOfShape Shape Where QLinearConv QuantizeLinear MaxUnpool RoiAlign Einsum ScatterND CumSum Mul Div Pow Clip"
)


def _rename_input(model: Any, rng: random.Random) -> None:
    node = rng.choice(model.graph.node)
    given = [name for other in model.graph.node for name in (*other.input, *other.output)]
    node.input[rng.randrange(len(node.input))] = rng.choice(["nothing", "", rng.choice(given)])


def _rename_output(model: Any, rng: random.Random) -> None:
    node = rng.choice(model.graph.node)
    given = [name for other in model.graph.node for name in (*other.input, *other.output)]
    node.output[rng.randrange(len(node.output))] = rng.choice(["nothing", "", rng.choice(given)])


def _change_operator(model: Any, rng: random.Random) -> None:
    rng.choice(model.graph.node).op_type = rng.choice(_OPERATORS)


def _change_attribute(model: Any, rng: random.Random) -> None:
    node = rng.choice([node for node in model.graph.node if node.attribute])
    attribute = rng.choice(node.attribute)
    if len(attribute.ints):
        at = rng.randrange(len(attribute.ints))
        attribute.ints[at] = _number(rng, attribute.ints[at])
        if rng.random() < 0.3:
            attribute.ints[:] = attribute.ints[: rng.randrange(len(attribute.ints))]
    else:
        attribute.i = _number(rng, attribute.i)


def _add_attribute(model: Any, rng: random.Random) -> None:
    from onnx import helper

    name = rng.choice(
        ["group", "strides", "pads", "kernel_shape", "dilations", "axis", "stride_h", "num_output", "auto_pad", "to"]
    )
    value: Any = rng.choice([_number(rng, 1) % 2**62, [0, 0], [-1, -1, 1, 1], [2**30, 1], "SAME_UPPER", 0.5])
    rng.choice(model.graph.node).attribute.append(helper.make_attribute(name, value))


def _change_dims(model: Any, rng: random.Random) -> None:
    tensor = rng.choice(model.graph.initializer)
    at = rng.randrange(len(tensor.dims))
    tensor.dims[at] = _number(rng, tensor.dims[at])


def _change_kind(model: Any, rng: random.Random) -> None:
    rng.choice(model.graph.initializer).data_type = rng.randrange(25)


def _change_values(model: Any, rng: random.Random) -> None:
    """A constant of integers, as shapes, pads and lengths are, if there is one."""
    tensors = [tensor for tensor in model.graph.initializer if tensor.data_type == 7] or list(model.graph.initializer)
    tensor = rng.choice(tensors)
    values = np.frombuffer(tensor.raw_data, "<i8" if tensor.data_type == 7 else "<f4").copy()
    values[rng.randrange(len(values))] = _number(rng, 1)
    tensor.raw_data = values.tobytes()


def _change_input(model: Any, rng: random.Random) -> None:
    dims = rng.choice([*model.graph.input, *model.graph.output]).type.tensor_type.shape.dim
    rng.choice(dims).dim_value = _number(rng, 3)


def _move_node(model: Any, rng: random.Random) -> None:
    nodes = [_copied(node) for node in model.graph.node]
    if rng.random() < 0.5:
        del nodes[rng.randrange(len(nodes))]
    else:
        rng.shuffle(nodes)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _external(model: Any, rng: random.Random) -> None:
    tensor = rng.choice(model.graph.initializer)
    tensor.data_location = 1
    for key, value in (("location", rng.choice(["../case.onnx", "case.onnx", "/etc/passwd", ""])), ("offset", "0")):
        tensor.external_data.add(key=key, value=value)


_ONNX: list[Callable[[Any, random.Random], None]] = [
    *[_change_field] * 6,
    *[_rename_input] * 3,
    _rename_output,
    _change_operator,
    *[_change_attribute] * 3,
    _add_attribute,
    *[_change_dims] * 2,
    _change_kind,
    _change_values,
    _change_input,
    _move_node,
    _external,
]


# ---- Caffe's files -----------------------------------------------------------------------------------------------------


def _change_blob(message: Any, rng: random.Random) -> None:
    blob = rng.choice(rng.choice([layer for layer in message.layer if layer.blobs]).blobs)
    action = rng.randrange(5)
    if action == 0:
        at = rng.randrange(len(blob.shape.dim))
        blob.shape.dim[at] = _number(rng, blob.shape.dim[at])
    elif action == 1:
        del blob.data[rng.randrange(len(blob.data)) :]
    elif action == 2:
        blob.raw_data_type = rng.randrange(5)
    elif action == 3:
        blob.raw_data = blob.raw_data[: rng.randrange(len(blob.raw_data))]
    else:
        blob.num, blob.channels, blob.height, blob.width = (_number(rng, 1) % 2**31 for _ in range(4))


def _swap_blobs(message: Any, rng: random.Random) -> None:
    layer = rng.choice([layer for layer in message.layer if layer.blobs])
    if rng.random() < 0.5:
        del layer.blobs[rng.randrange(len(layer.blobs))]
    else:
        layer.blobs.add().CopyFrom(rng.choice(layer.blobs))


_CAFFE: list[Callable[[Any, random.Random], None]] = [*[_change_field] * 3, *[_change_blob] * 3, _swap_blobs]

_TYPES = _words(
    "Convolution Deconvolution Pooling ReLU Softmax Sigmoid Concat Slice Reshape Permute Eltwise Dropout InnerProduct LRN "
    "BatchNorm Scale PReLU Split Flatten Crop Normalize PriorBox DetectionOutput ROIPooling Proposal Interp Power TanH MVN "
    "ShuffleChannel Nonsense"
)
_OPTIONS = _words(
    "convolution_param { stride: 0 }|convolution_param { group: 0 }|convolution_param { pad: 4294967295 }|"
    "pooling_param { kernel_size: 0 }|pooling_param { stride: 0 }|pooling_param { pad: 1000 kernel_size: 3 }|"
    "reshape_param { shape { dim: 0 dim: -1 dim: -1 } }|reshape_param { shape { dim: 100000 dim: 100000 } }|"
    "slice_param { slice_point: 4000000000 }|concat_param { axis: -9 }|permute_param { order: 9 }|lrn_param { local_size: 0 }|"
    "inner_product_param { num_output: 2000000000 }|batch_norm_param { eps: -1 }|softmax_param { axis: 77 }|"
    "eltwise_param { coeff: 2 }|input_param { shape { dim: 1 } }",
    "|",
)


def _prototxt(text: str, rng: random.Random) -> str:
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        action = rng.randrange(6)
        if action == 0:
            text = _one(r"\b-?\d+\b", lambda old: str(_number(rng, int(old))), text, rng)
        elif action == 1:
            names = re.findall(r'"([^"]*)"', text)
            text = _one(r'"[^"]*"', lambda old, names=names: f'"{rng.choice([*names, "nothing", ""])}"', text, rng)
        elif action == 2:
            text = _one(r'type: "[^"]*"', lambda old: f'type: "{rng.choice(_TYPES)}"', text, rng)
        elif action == 3:
            text = _one(r"\n  }|\n}", lambda old: f"\n{rng.choice(_OPTIONS)}{old}", text, rng)
        elif action == 4:
            lines = text.splitlines()
            del lines[rng.randrange(len(lines))]
            text = "\n".join(lines)
        else:
            text = _one(
                r"[a-z_]+(?=:| \{)", lambda old: rng.choice(["layer", "layers", "pad", "blobs", "dim", "unknown"]), text, rng
            )
        if not text:
            break
    return text


def _one(pattern: str, change: Callable[[str], str], text: str, rng: random.Random) -> str:
    found = list(re.finditer(pattern, text))
    if not found:
        return text
    match = rng.choice(found)
    return text[: match.start()] + change(match[0]) + text[match.end() :]


# ---- compressed models -------------------------------------------------------------------------------------------------


def _net(data: bytearray, rng: random.Random) -> bytes:
    if rng.random() < 0.5:
        return mutated(bytes(data), rng)
    for _ in range(rng.choice([1, 2, 4])):
        at = rng.randrange(26)
        data[4 * at : 4 * at + 4] = (_number(rng, 5) % 2**32).to_bytes(4, "little")
    return bytes(data)


def _sdz(content: bytes, rng: random.Random) -> bytes:
    """Damage inside of what the checksum covers, which is made right again, and now and then outside."""
    if rng.random() < 0.1:
        return mutated(content, rng)
    head, blobs = parts_of(content)
    for _ in range(rng.choice([1, 1, 2, 4])):
        action = rng.randrange(6)
        if action == 0:
            head = mutated(head, rng)
        elif action < 4:
            with suppress(ValueError, KeyError, TypeError, IndexError):  # no head of this kind any more
                values = json.loads(head)
                (_change_definition, _change_value, _change_row)[action - 1](values, rng)
                head = json.dumps(values).encode()
        elif action == 4:
            blobs = mutated(blobs, rng)
        elif blobs:
            at = rng.randrange(len(blobs))  # as of the counts of entries and bytes, and the lengths of code words
            blobs = blobs[:at] + (_number(rng, blobs[at]) % 2**32).to_bytes(4, "little") + blobs[at + 4 :]
    return sealed(head, blobs)


def _change_definition(head: dict[str, Any], rng: random.Random) -> None:
    head["definition"] = _prototxt(head["definition"], rng)


def _change_row(head: dict[str, Any], rng: random.Random) -> None:
    """A layer's name, a shape or a length, or the rows' order."""
    rows = head["blobs"]
    row = rng.choice(rows)
    action = rng.randrange(5)
    if action == 0:
        row[0] = rng.choice(rows)[0]
    elif action == 1:
        at = rng.randrange(len(row[1]))
        row[1][at] = _number(rng, row[1][at])
    elif action == 2:
        row[2] = _number(rng, row[2])
    elif action == 3:
        rng.shuffle(row[1])
    else:
        rng.shuffle(rows)


def _change_value(head: dict[str, Any], rng: random.Random) -> None:
    """A value of the description: another number, another type, or gone."""
    description = json.loads(head["description"])
    values = rng.choice([description, *description.values()])
    name = rng.choice(list(values))
    if rng.random() < 0.2:
        del values[name]
    elif isinstance(values[name], list) and rng.random() < 0.7:
        values[name][rng.randrange(len(values[name]))] = rng.choice([_number(rng, 5), "a", [], [1, 1e300], 0.5, -1e9])
    else:
        values[name] = rng.choice([_number(rng, 5), 1e30, -0.5, "", None, [], {}, True])
    head["description"] = json.dumps(description)
