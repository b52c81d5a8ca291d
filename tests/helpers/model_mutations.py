"""Whole small models, and mutations of the fields of their files: shared by the test and `fuzz_models.py`."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from caffe_networks import CHAIN, MANY, SSD, made
from embedded import HEAD, ONNX
from format_seeds import compressed_file, mutated, parts_of, sealed, shared
from networks import random_weights
from numpy.typing import NDArray

import opencv_squeezedet as sd
from opencv_squeezedet.formats import caffemodel_bytes, onnx_bytes, prototxt_text, sdz_bytes
from opencv_squeezedet.formats.prototxt import parse_prototxt
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

KINDS = ("onnx", "caffemodel", "prototxt", "net", "sdz", "layers", "public")
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
    public: bool = False
    """Whether `Net` runs it, with any layer as its output."""


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
    from onnx import numpy_helper, parser

    rng = np.random.default_rng(0)
    constants = {
        "w": rng.standard_normal((4, 3, 3, 3)) / 5,
        **{name: rng.uniform(0.5, 1, 4) for name in ("scale", "bias", "mean", "var")},
        "v": rng.standard_normal((4, 1000)) / 2,
        "low": 0,
        "high": 6,
    }
    model = parser.parse_model("""
        <ir_version: 6, opset_import: ["" : 11]>
        foreign (float[1, 3, 24, 32] x) => (float[1, 1000] y) {
            c = Conv <kernel_shape = [3, 3], strides = [2, 2], pads = [0, 0, 1, 1]> (x, w)
            n = BatchNormalization (c, scale, bias, mean, var)
            k = Clip (n, low, high)
            p = GlobalAveragePool (k)
            f = Flatten (p)
            g = Gemm (f, v)
            y = Softmax <axis = 1> (g)
        }""")
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()
    )
    return bytes(model.SerializeToString())


def make(kind: str, rng: random.Random, folder: Path) -> Case:
    """Write a model of which one file is mutated."""
    files, stem = sound(), str(folder / "case")
    size, config, classifier = SMALL.input_size, SMALL, False
    if kind == "layers":
        return _layers(rng, stem)
    if kind == "public":
        return _public(rng, stem)
    if kind == "net":
        contents = {"net": _net(bytearray(files["net"]), rng)}
        size, config, classifier = (227, 227), None, True
    elif kind == "sdz":
        contents = {"sdz": _sdz(files[rng.choice(["sdz", "shared"])], rng)}
        config = None if rng.random() < 0.6 else SMALL
    elif kind == "onnx":
        import onnx

        name = rng.choices(["onnx", "half", "embedded", "foreign"], [75, 16, 1, 8])[0]
        contents = {"onnx": _mutated_message(files[name], onnx.ModelProto, rng, _ONNX)}
        config, classifier = {"embedded": HEAD, "foreign": None}.get(name, SMALL), name == "foreign"
    else:
        contents = {name: files[name] for name in ("prototxt", "caffemodel")}
        if kind == "prototxt":
            contents[kind] = mutated(files[kind], rng) if rng.random() < 0.3 else _prototxt(files[kind].decode(), rng).encode()
        else:
            from protobuf_oracle import net_parameter

            contents[kind] = _mutated_message(files[rng.choice(["caffemodel", "halves"])], net_parameter(), rng, _CAFFE)
    for suffix, content in contents.items():
        Path(f"{stem}.{suffix}").write_bytes(content)
    return Case(f"{stem}.{next(iter(contents))}", size, config, classifier)


def _public(rng: random.Random, stem: str) -> Case:
    """The files of a network of the kinds of layers that public networks have, one of them mutated."""
    text = rng.choice([CHAIN, SSD, *[MANY] * 3])
    definition, weights = made(text)
    if rng.random() < 0.7:
        lines = prototxt_text(parse_prototxt(definition))
        definition = mutated(definition, rng) if rng.random() < 0.2 else _prototxt(lines, rng).encode()
    else:
        from protobuf_oracle import net_parameter

        weights = _mutated_message(weights, net_parameter(), rng, _CAFFE)
    Path(f"{stem}.prototxt").write_bytes(definition)
    Path(f"{stem}.caffemodel").write_bytes(weights)
    return Case(f"{stem}.prototxt", (32, 40), public=True)


# ---- sound networks of unusual layers ----------------------------------------------------------------------------------

_LENGTHS = (1, 1, 1, 2, 2, 3, 3, 5, 7, 16, 33, 100, 1000, 32768)


def _layers(rng: random.Random, stem: str) -> Case:
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
        first, second = (rng.choice([*least, *_LENGTHS]) for _ in range(2))
        return first, first if rng.random() < 0.6 else second

    before = network.layers[-1].tops[0] if network.layers else "data"
    blob = network.steps[-1].tops[0] if network.layers else network.input_shape
    common: dict[str, Any] = {"name": name, "bottoms": (before,), "tops": (name,)}
    several: dict[str, Any] = {**common, "bottoms": (before,) * rng.choice([1, 2, 9])}
    window: dict[str, Any] = {"kernel": pair(), "stride": pair(), "pad": pair(0, 0, 0, 0)}
    filters: dict[str, Any] = {**window, "outputs": rng.choice(_LENGTHS), "groups": rng.choice([1, 1, 2, 3])}
    axis, method = rng.randrange(len(blob)), rng.choice(["max", "average"])
    makers: list[Callable[[], Any]] = [
        lambda: Convolution(**common, **filters, dilation=pair(), bias=rng.random() < 0.5),
        lambda: Deconvolution(**common, **filters),
        lambda: Pooling(**common, **window, method=method),
        lambda: Pooling(**common, method=method),
        lambda: ReLU(**common, slope=rng.choice([0.0, 0.1, -3.0, 1e30])),
        lambda: Softmax(**common, axis=axis),
        lambda: Sigmoid(**common),
        lambda: Dropout(**common),
        lambda: Permute(**common, order=tuple(rng.sample(range(len(blob)), len(blob)))),
        lambda: Reshape(**common, dims=rng.choice([(0, -1), (1, -1, 1, 1), (0, 0, -1), (0, -1, 1), (1, 1, 1, 1, -1)])),
        lambda: Concat(**several, axis=axis),
        lambda: Eltwise(**several),
    ]
    return rng.choice(makers)()


# ---- numbers, names and whole messages ---------------------------------------------------------------------------------

_HURTFUL = (0, 1, 2, 3, 5, 7, 8, 100, 255, 1000, 65536, 2**28, 2**31 - 1, 2**31, 2**32 - 1, 2**62)


def _number(rng: random.Random, old: int) -> int:
    return rng.choice([*_HURTFUL, *(-value for value in _HURTFUL[1:]), old + 1, old - 1, old * 2, -old])


def _renumber(values: Any, rng: random.Random) -> None:
    index = rng.randrange(len(values))
    values[index] = _number(rng, values[index])


Change = Callable[[Any, random.Random], None]


def _mutated_message(content: bytes, kind: Any, rng: random.Random, changes: list[Change]) -> bytes:
    if rng.random() < 0.4:
        return mutated(content, rng)
    message = kind.FromString(content)
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
        other, own = _any_message(message, rng), getattr(message, field.name)
        own.CopyFrom(other if other.DESCRIPTOR is field.message_type else own)
    elif not isinstance(old := getattr(message, field.name), (str, bytes)):
        setattr(message, field.name, type(old)(_number(rng, int(old))))
    elif isinstance(old, str):
        setattr(message, field.name, rng.choice(["", "nothing", old + "x", "x" * 5000, "data", "conv1"]))
    else:
        setattr(message, field.name, mutated(old, rng) if old else bytes(rng.randrange(50)))


def _change_list(values: Any, field: Any, rng: random.Random) -> None:
    at = rng.randrange(len(values)) if len(values) else 0
    action = rng.randrange(5)
    if action == 0 and len(values):
        del values[at]
    elif action == 1 and len(values) > 1:
        other = rng.randrange(len(values))
        pair = deepcopy(values[at]), deepcopy(values[other])
        if field.message_type is None:
            values[other], values[at] = pair
        else:
            values[other].CopyFrom(pair[0])
            values[at].CopyFrom(pair[1])
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


# ---- ONNX --------------------------------------------------------------------------------------------------------------

_OPERATORS = (
    "Conv ConvTranspose MaxPool AveragePool GlobalMaxPool GlobalAveragePool Relu LeakyRelu Dropout Sigmoid Softmax Concat Add "
    "Sum Transpose Split Reshape Pad Identity Cast Constant Gemm MatMul Gather Slice Squeeze Unsqueeze Flatten Resize LSTM "
    "GRU Expand Tile If Loop Scan TopK NonMaxSuppression DepthToSpace LRN BatchNormalization InstanceNormalization Upsample "
    "ConstantOfShape Shape Where QLinearConv QuantizeLinear MaxUnpool RoiAlign Einsum ScatterND CumSum Mul Div Pow Clip"
)


def _rename(model: Any, rng: random.Random, names: str = "input") -> None:
    given = [name for node in model.graph.node for name in (*node.input, *node.output)]
    values = getattr(rng.choice(model.graph.node), names)
    values[rng.randrange(len(values))] = rng.choice(["nothing", "", rng.choice(given)])


def _change_attribute(model: Any, rng: random.Random) -> None:
    node = rng.choice([node for node in model.graph.node if node.attribute])
    attribute = rng.choice(node.attribute)
    if len(attribute.ints):
        _renumber(attribute.ints, rng)
        if rng.random() < 0.3:
            attribute.ints[:] = attribute.ints[: rng.randrange(len(attribute.ints))]
    else:
        attribute.i = _number(rng, attribute.i)


def _add_attribute(model: Any, rng: random.Random) -> None:
    from onnx import helper

    names = "group strides pads kernel_shape dilations axis stride_h num_output auto_pad to"
    value: Any = rng.choice([_number(rng, 1) % 2**62, [0, 0], [-1, -1, 1, 1], [2**30, 1], "SAME_UPPER", 0.5])
    rng.choice(model.graph.node).attribute.append(helper.make_attribute(rng.choice(names.split()), value))


def _change_values(model: Any, rng: random.Random) -> None:
    """A constant of integers, such as a shape, pads or lengths, if there is one."""
    tensors = [tensor for tensor in model.graph.initializer if tensor.data_type == 7] or list(model.graph.initializer)
    tensor = rng.choice(tensors)
    values = np.frombuffer(tensor.raw_data, "<i8" if tensor.data_type == 7 else "<f4").copy()
    values[rng.randrange(len(values))] = _number(rng, 1)
    tensor.raw_data = values.tobytes()


def _change_input(model: Any, rng: random.Random) -> None:
    dims = rng.choice([*model.graph.input, *model.graph.output]).type.tensor_type.shape.dim
    rng.choice(dims).dim_value = _number(rng, 3)


def _move_node(model: Any, rng: random.Random) -> None:
    nodes = [deepcopy(node) for node in model.graph.node]
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


_ONNX: list[Change] = [
    *[_change_field] * 6,
    *[_rename] * 3,
    partial(_rename, names="output"),
    lambda model, rng: setattr(rng.choice(model.graph.node), "op_type", rng.choice(_OPERATORS.split())),
    *[_change_attribute] * 3,
    _add_attribute,
    *[lambda model, rng: _renumber(rng.choice(model.graph.initializer).dims, rng)] * 2,
    lambda model, rng: setattr(rng.choice(model.graph.initializer), "data_type", rng.randrange(25)),
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
        _renumber(blob.shape.dim, rng)
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


_CAFFE: list[Change] = [*[_change_field] * 3, *[_change_blob] * 3, _swap_blobs]

_TYPES = (
    "Convolution Deconvolution Pooling ReLU Softmax Sigmoid Concat Slice Reshape Permute Eltwise Dropout InnerProduct LRN "
    "BatchNorm Scale PReLU Split Flatten Crop Normalize PriorBox DetectionOutput ROIPooling Proposal Interp Power TanH MVN "
    "ShuffleChannel Nonsense"
)
_OPTIONS = (
    "convolution_param { stride: 0 }|convolution_param { group: 0 }|convolution_param { pad: 4294967295 }|"
    "pooling_param { kernel_size: 0 }|pooling_param { stride: 0 }|pooling_param { pad: 1000 kernel_size: 3 }|"
    "reshape_param { shape { dim: 0 dim: -1 dim: -1 } }|reshape_param { shape { dim: 100000 dim: 100000 } }|"
    "slice_param { slice_point: 4000000000 }|concat_param { axis: -9 }|permute_param { order: 9 }|lrn_param { local_size: 0 }|"
    "inner_product_param { num_output: 2000000000 }|batch_norm_param { eps: -1 }|softmax_param { axis: 77 }|"
    "eltwise_param { coeff: 2 }|input_param { shape { dim: 1 } }"
)


def _prototxt(text: str, rng: random.Random) -> str:
    names = [*re.findall(r'"([^"]*)"', text), "nothing", ""]
    edits: list[tuple[str, Callable[[str], str]]] = [
        (r"\b-?\d+\b", lambda old: str(_number(rng, int(old)))),
        (r'"[^"]*"', lambda _: f'"{rng.choice(names)}"'),
        (r'type: "[^"]*"', lambda _: f'type: "{rng.choice(_TYPES.split())}"'),
        (r"\n  }|\n}", lambda old: f"\n{rng.choice(_OPTIONS.split('|'))}{old}"),
        (r"[^\n]*\n", lambda _: ""),
        (r"[a-z_]+(?=:| \{)", lambda _: rng.choice(["layer", "layers", "pad", "blobs", "dim", "unknown"])),
    ]
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        pattern, change = rng.choice(edits)
        if matches := list(re.finditer(pattern, text)):
            match = rng.choice(matches)
            text = text[: match.start()] + change(match[0]) + text[match.end() :]
    return text


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
        _renumber(row[1], rng)
    elif action == 2:
        row[2] = _number(rng, row[2])
    else:
        rng.shuffle(row[1] if action == 3 else rows)


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
