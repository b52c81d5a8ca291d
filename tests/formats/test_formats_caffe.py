"""Caffe's files: what was ever written of them is read, and what is written is what Caffe's schema says."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from embedded import needs_caffe_importer, needs_onnx
from networks import MODELS, a_blob, by_caffe, load_network, random_weights, same_weights

import opencv_squeezedet as sd
from opencv_squeezedet.errors import UnknownLayerError
from opencv_squeezedet.formats import (
    caffemodel_bytes,
    prototxt_text,
    read_caffemodel,
    read_prototxt,
)
from opencv_squeezedet.model_files import Files, find_files
from opencv_squeezedet.network import (
    Convolution,
    Deconvolution,
    Eltwise,
    Network,
    Pooling,
    ReLU,
    Reshape,
    Slice,
    Softmax,
    architectures,
)

pytestmark = needs_onnx

INPUT = 'input: "data" input_dim: 1 input_dim: 3 input_dim: 20 input_dim: 30'
CONVOLUTION = 'name: "conv" bottom: "data" top: "conv" convolution_param { num_output: 8 kernel_size: 3 pad: 1 }'


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str], Network]:
    def read_text(text: str) -> Network:
        path = tmp_path / "net.prototxt"
        path.write_text(text)
        return read_prototxt(path)

    return read_text


# ---- prototxt: the forms that there are ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        f'{INPUT} layer {{ type: "Convolution" {CONVOLUTION} }}',
        f'input: "data" input_shape {{ dim: [1, 3, 20, 30] }} layer {{ type: "Convolution" {CONVOLUTION} }}',
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 20 dim: 30 } } }'
        f'layer {{ type: "Convolution" {CONVOLUTION} }}',
        f"{INPUT} layers {{ type: CONVOLUTION {CONVOLUTION} blobs_lr: 1 blobs_lr: 2 weight_decay: 1 }}",
    ],
    ids=["input_dim", "input_shape", "Input layer", "V1 layers"],
)
def test_all_forms_of_an_input_and_of_layers(read: Callable[[str], Network], text: str) -> None:
    convolution = Convolution(name="conv", bottoms=("data",), tops=("conv",), outputs=8, kernel=(3, 3), pad=(1, 1))
    assert read(text) == Network("", "data", (1, 3, 20, 30), (convolution,))


def test_options_for_each_side(read: Callable[[str], Network]) -> None:
    network = read(
        INPUT + ' layer { name: "a" type: "Convolution" bottom: "data" top: "a" convolution_param { num_output: 4'
        " kernel_h: 3 kernel_w: 5 stride_h: 1 stride_w: 2 pad_h: 2 pad_w: 1 group: 1 dilation: [1, 2] bias_term: false } }"
        ' layer { name: "b" type: "Deconvolution" bottom: "a" top: "b" convolution_param { num_output: 4 kernel_size: [2, 3]'
        " stride: 2 group: 4 } }"
        ' layer { name: "c" type: "Pooling" bottom: "b" top: "c"'
        " pooling_param { pool: AVE kernel_h: 2 kernel_w: 3 stride: 1 } }"
    )
    assert network.layers == (
        Convolution(
            name="a",
            bottoms=("data",),
            tops=("a",),
            outputs=4,
            kernel=(3, 5),
            stride=(1, 2),
            pad=(2, 1),
            dilation=(1, 2),
            bias=False,
        ),
        Deconvolution(name="b", bottoms=("a",), tops=("b",), outputs=4, kernel=(2, 3), stride=(2, 2), groups=4),
        Pooling(name="c", bottoms=("b",), tops=("c",), method="average", kernel=(2, 3)),
    )
    assert read(prototxt_text(network)) == network


def test_the_other_layers(read: Callable[[str], Network]) -> None:
    network = read(
        INPUT
        + ' layers { name: "cut" type: SLICE bottom: "data" top: "a" top: "b" slice_param { slice_dim: 2 slice_point: 10 } }'
        ' layers { name: "sum" type: ELTWISE bottom: "a" bottom: "b" top: "sum" }'
        ' layers { name: "leaky" type: RELU bottom: "sum" top: "sum" relu_param { negative_slope: 0.01 } }'
        ' layers { name: "p" type: SOFTMAX bottom: "sum" top: "p" }'
    )
    assert network.layers == (
        Slice(name="cut", bottoms=("data",), tops=("a", "b"), points=(10,), axis=2),
        Eltwise(name="sum", bottoms=("a", "b"), tops=("sum",)),
        ReLU(name="leaky", bottoms=("sum",), tops=("sum",), slope=0.01),
        Softmax(name="p", bottoms=("sum",), tops=("p",), axis=1),
    )


def test_what_training_leaves_in_a_deployment_file(read: Callable[[str], Network]) -> None:
    """Fillers, learning rates, phases, and layers that take no part outside training."""
    network = read(
        "# a comment\n"
        + INPUT
        + ' force_backward: true state { phase: TEST } layer { name: "labels" type: "Data" top: "label"'
        ' include { phase: TRAIN } } layer { type: "Convolution" name: "conv" bottom: "data" top: "conv" param { lr_mult: 1'
        " decay_mult: 1 } param { lr_mult: 2 } convolution_param { num_output: 8 kernel_size: 3 engine: CAFFE weight_filler {"
        ' type: "xavier" } bias_filler { type: "constant" value: 0.2 } } } layer { name: "acc" type: "Accuracy" bottom: "conv"'
        ' bottom: "label" top: "acc" exclude { phase: TEST } }'
    )
    assert [layer.name for layer in network.layers] == ["conv"]


# ---- prototxt: errors --------------------------------------------------------------------------------------------------

CONV = f'layer {{ type: "Convolution" {CONVOLUTION} }}'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layer {", "prototxt.*1:7"),
        ("", "the file is empty"),
        ("# nothing", "an input was expected"),
        (CONV, "an input was expected"),
        ('input: "a" input: "a" input_dim: [1, 3, 4, 5, 1, 3, 4, 5]', "inputs of different names.*'a'"),
        (f'input: "data" input_dim: [1, 3, 20] {CONV}', r"layer 'conv': .*got \(1, 3, 20\)"),
        ('input: "data" input_dim: [1, 3, 0, 20]', r"input 'data': .*got \(1, 3, 0, 20\)"),
        ('input: "data"', "1 inputs.*0 shapes"),
        (
            'layer { name: "in" type: "Input" top: "data" top: "b" input_param { shape { dim: 1 } } }',
            "layer 'in': 2 tops, and 1 shapes",
        ),
        (f"{INPUT} {CONV} layers {{ type: RELU }}", "'layer'.*'layers'.*both"),
        (
            'layer { name: "voc" type: "Data" top: "data" data_param { source: "lmdb" batch_size: 4 } } ' + CONV,
            "layer 'voc': Data is a layer for training; a deployment prototxt was expected",
        ),
        (
            f'{INPUT} {CONV} layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "conv" bottom: "label" top: "loss" }}',
            "layer 'loss': SoftmaxWithLoss",
        ),
        (f"{INPUT} layers {{ name: 'l' type: SOFTMAX_LOSS bottom: 'data' top: 'l' }}", "'l': SoftmaxWithLoss"),
        (
            f'{INPUT} layer {{ name: "bn" type: "BN" bottom: "data" top: "data" bn_param {{ eps: 1 }} }}',
            "layer 'bn': the type 'BN' is not supported; cut",
        ),
        (f"{INPUT} {CONV.replace('3 pad', '0 pad')}", "layer 'conv': kernel_size"),
        (f"{INPUT} {CONV.replace('kernel_size: 3', '')}", r"layer 'conv': kernel_size.*got \[\]"),
        (f"{INPUT} {CONV.replace('num_output: 8', '')}", "layer 'conv': num_output.*got 0 and 1"),
        (f"{INPUT} {CONV.replace('pad: 1', 'axis: 2')}", "layer 'conv': channels.*axis 2"),
        (f'{INPUT} layer {{ name: "r" type: "ReLU" bottom: "data" bottom: "b" top: "r" }}', "'r': ReLU has 1 bottom, got 2"),
        (f'{INPUT} layer {{ name: "r" type: "Slice" bottom: "data" }}', "layer 'r': Slice.*got 0"),
        (
            f'{INPUT} layer {{ name: "p" type: "Pooling" bottom: "data" top: "p" pooling_param {{ pool: STOCHASTIC }} }}',
            "layer 'p': the pooling must be MAX or AVE",
        ),
        (
            f'{INPUT} layer {{ name: "p" type: "Pooling" bottom: "data" top: "p" pooling_param {{ kernel_size: 2 pad: 2 }} }}',
            r"layer 'p': pad must be smaller than the kernel of \(2, 2\), got \(2, 2\)",
        ),
        (
            f'{INPUT} layer {{ name: "e" type: "Eltwise" top: "e" bottom: "data" eltwise_param {{ operation: 2 coeff: 2 }} }}',
            "layer 'e': only a SUM can have coeff",
        ),
        (
            f'{INPUT} layer {{ name: "f" type: "Reshape" bottom: "data" top: "f" reshape_param {{ axis: -1 }} }}',
            "layer 'f': axis from 0 and num_axes from 1 up were expected, got -1",
        ),
        (
            f'{INPUT} {CONV} layer {{ name: "r" type: "ReLU" bottom: "cnv" top: "r" }}',
            "layer 'r': no earlier layer gives its bottom 'cnv'",
        ),
        ("a: " + "{" * 5000, "no prototxt"),
    ],
)
def test_errors_name_the_file_and_the_layer(read: Callable[[str], Network], text: str, message: str) -> None:
    with pytest.raises(sd.ModelError, match=rf"(?s)net\.prototxt': .*{message}"):
        read(text)


@pytest.mark.parametrize(
    "layer",
    [
        'name: "bn" type: "BN"',
        'name: "r" type: "ReLU" pooling_param { kernel_size: 1 }',
    ],
)
def test_networks_that_others_may_read_are_told_apart(read: Callable[[str], Network], layer: str) -> None:
    with pytest.raises(UnknownLayerError):
        read(f'{INPUT} layer {{ bottom: "data" top: "y" {layer} }}')
    with pytest.raises(sd.ModelError) as error:
        read(f'{INPUT} layer {{ bottom: "nothing" top: "y" name: "r" type: "ReLU" }}')
    assert type(error.value) is sd.ModelError


def test_files_that_are_no_prototxt(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    with pytest.raises(FileNotFoundError):
        read_prototxt(path)
    path.write_bytes(bytes(3_000_000))
    with pytest.raises(sd.ModelError, match=r"1048576 bytes.*3000000"):
        read_prototxt(path)
    path.write_bytes(b"name: \xff\xfe")
    with pytest.raises(sd.ModelError, match="a text file was expected"):
        read_prototxt(path)


def test_input_sizes_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "small.prototxt"
    path.write_text((MODELS / "SqueezeDet_deploy.prototxt").read_text().replace("416", "320"))
    with pytest.raises(sd.ModelError, match=r"layer 'reshape': .*\(1, 17, 17, 180\).*52020"):
        read_prototxt(path)


# ---- caffemodel --------------------------------------------------------------------------------------------------------


@pytest.fixture
def network() -> Network:
    layers = (
        Convolution(name="conv", bottoms=("data",), tops=("conv",), outputs=4, kernel=(3, 2)),
        Deconvolution(name="up", bottoms=("conv",), tops=("up",), outputs=4, kernel=(2, 2), groups=4, bias=False),
    )
    return Network("tiny", "data", (1, 3, 8, 9), layers)


def test_written_weights_are_read_back(network: Network, tmp_path: Path) -> None:
    weights = random_weights(network)
    path = tmp_path / "tiny.caffemodel"
    path.write_bytes(caffemodel_bytes(network, weights))
    assert same_weights(read_caffemodel(path), weights)
    path.write_bytes(caffemodel_bytes(network, weights, half=True))
    halves = {name: [blob.astype(np.float16).astype(np.float32) for blob in blobs] for name, blobs in weights.items()}
    read = read_caffemodel(path)
    assert same_weights(read, halves)
    assert all(blob.dtype == np.float32 and blob.flags.writeable for blobs in read.values() for blob in blobs)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("name", architectures.ARCHITECTURES)
def test_protobufs_own_library_writes_the_same(name: str, half: bool) -> None:
    from google.protobuf import text_format
    from protobuf_oracle import net_parameter

    network = architectures.ARCHITECTURES[name].build()
    content, text = caffemodel_bytes(network, random_weights(network), half=half), prototxt_text(network)
    assert net_parameter().FromString(content).SerializeToString() == content
    assert text_format.MessageToString(text_format.Parse(text, net_parameter()()), as_utf8=False) == text


def test_names_of_any_characters(tmp_path: Path) -> None:
    """Also those that a line of text cannot hold."""
    from google.protobuf import text_format
    from protobuf_oracle import net_parameter

    layer = ReLU(name="a\"b'\\\n\t\0é☃", bottoms=("data",), tops=("data",), slope=0.1)
    network = Network("ü", "data", (1, 3, 4, 5), (layer,))
    text = prototxt_text(network)
    assert text_format.MessageToString(text_format.Parse(text, net_parameter()()), as_utf8=False) == text
    (tmp_path / "it.prototxt").write_text(text)
    assert read_prototxt(tmp_path / "it.prototxt") == network


def test_the_embedded_weights_are_what_opencv_has_of_them() -> None:
    """An independent reader of the same float16 file."""
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        pytest.skip("this OpenCV has no Caffe importer")
    stem = MODELS / "squeezedet_shuffle_voc"
    net = cv2.dnn.readNetFromCaffe(f"{stem}.prototxt", f"{stem}.caffemodel")
    weights = read_caffemodel(f"{stem}.caffemodel")
    assert len(weights) == 110
    for name, blobs in weights.items():
        for i, blob in enumerate(blobs):
            np.testing.assert_array_equal(net.getParam(name, i).ravel(), blob.ravel())


def message_with(blob: Callable[[Any], None], *, v1: bool = False) -> bytes:
    """A caffemodel whose layer ``conv`` has a kernel made by ``blob`` and a bias in the old four sizes."""
    from protobuf_oracle import net_parameter

    message = net_parameter()()
    layer = (message.layers if v1 else message.layer).add(name="conv")
    blob(layer.blobs.add())
    layer.blobs.add(num=1, channels=1, height=1, width=2, data=[0.5, -0.5])
    return bytes(message.SerializeToString())


KERNEL = np.arange(12, dtype=np.float32).reshape(2, 1, 2, 3) / 8


def old_sizes(blob: Any) -> None:
    blob.num, blob.channels, blob.height, blob.width = KERNEL.shape
    blob.data.extend(KERNEL.ravel().tolist())


def doubles(blob: Any) -> None:
    blob.shape.dim.extend(KERNEL.shape)
    blob.double_data.extend(KERNEL.ravel().tolist())


def raw(number: int, kind: str) -> Callable[[Any], None]:
    def fill(blob: Any) -> None:
        blob.shape.dim.extend(KERNEL.shape)
        blob.raw_data_type, blob.raw_data = number, KERNEL.astype(kind).tobytes()

    return fill


@pytest.mark.parametrize("v1", [False, True])
@pytest.mark.parametrize(
    "blob",
    [old_sizes, doubles, raw(0, "<f8"), raw(1, "<f4"), raw(2, "<f2")],
    ids=["old", "double", "raw 64", "raw 32", "raw 16"],
)
def test_all_forms_of_a_blob(tmp_path: Path, blob: Callable[[Any], None], v1: bool) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(message_with(blob, v1=v1))
    weights = read_caffemodel(path)
    np.testing.assert_array_equal(weights["conv"][0], KERNEL)
    np.testing.assert_array_equal(weights["conv"][1], np.float32([0.5, -0.5]))


def test_layers_of_one_name_are_numbered(tmp_path: Path) -> None:
    """As in OpenCV 4. Those of the training phase do not count, the input layer does."""
    (tmp_path / "it.prototxt").write_text(
        'layer { name: "a" type: "Input" top: "x" input_param { shape { dim: [1, 2, 3, 4] } } }'
        'layer { name: "b" type: "ReLU" bottom: "x" top: "y" }'
        'layer { name: "b" type: "Dropout" bottom: "y" top: "y" include { phase: TRAIN } }'
        'layer { name: "b" type: "Sigmoid" bottom: "y" top: "z" }'
        'layer { name: "a" type: "ReLU" bottom: "z" top: "z" }'
        'layer { name: "b" type: "ReLU" bottom: "z" top: "z" }'
    )
    network = read_prototxt(tmp_path / "it.prototxt")
    assert [layer.name for layer in network.layers] == ["b", "b_1", "a_1", "b_2"]
    (tmp_path / "it.prototxt").write_text(prototxt_text(network))
    assert read_prototxt(tmp_path / "it.prototxt") == network


def test_a_blob_without_axes_has_one_value(tmp_path: Path) -> None:
    """Caffe writes no sizes for it."""
    path = tmp_path / "net.caffemodel"
    path.write_bytes(message_with(lambda blob: blob.data.append(0.25)))
    kernel, _ = read_caffemodel(path)["conv"]
    np.testing.assert_array_equal(kernel, np.float32([0.25]))


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field, by hand."""
    key = number << 3 | 2
    return varint(key) + varint(len(content)) + content


def varint(number: int) -> bytes:
    parts = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


@pytest.mark.parametrize("packed", [True, False])
def test_packed_and_unpacked_numbers_by_hand(tmp_path: Path, packed: bool) -> None:
    """The bytes are put together here, from the schema's field numbers, without the library."""
    numbers = [struct.pack("<f", value) for value in KERNEL.ravel()]
    data = field(5, b"".join(numbers)) if packed else b"".join(b"\x2d" + number for number in numbers)
    shape = field(7, field(1, bytes(KERNEL.shape)) if packed else b"".join(b"\x08" + bytes([n]) for n in KERNEL.shape))
    layer = field(1, b"conv") + field(2, b"Convolution") + field(7, shape + data)
    path = tmp_path / "net.caffemodel"
    path.write_bytes(field(1, b"net") + field(100, layer))
    np.testing.assert_array_equal(read_caffemodel(path)["conv"][0], KERNEL)


def large(blob: Any) -> None:
    blob.shape.dim.extend([2**40, 2**40])
    blob.data.append(1)


def negative(blob: Any) -> None:
    blob.shape.dim.extend([-1, 12])
    blob.data.append(1)


def many_axes(blob: Any) -> None:
    blob.shape.dim.extend([1] * 1000)
    blob.data.append(1)


def odd_bytes(blob: Any) -> None:
    raw(2, "<f2")(blob)
    blob.raw_data += b"x"


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        (large, r"layer 'conv': .*\(1099511627776, 1099511627776\)"),
        (negative, r"layer 'conv': .*positive sizes.*got \(-1, 12\)"),
        (many_axes, r"layer 'conv': .*positive sizes"),
        (odd_bytes, r"layer 'conv': 25 bytes.*float16"),
        (raw(3, "<i4"), r"layer 'conv': .*floats.*got type 3"),
        (lambda blob: blob.data.extend([1, 2]), r"layer 'conv': .*\(1,\).*\b2$"),
    ],
    ids=["large", "negative", "many axes", "odd bytes", "integers", "no shape"],
)
def test_blobs_that_are_not_what_they_say(tmp_path: Path, blob: Callable[[Any], None], message: str) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(message_with(blob))
    with pytest.raises(sd.ModelError, match=rf"net\.caffemodel': {message}"):
        read_caffemodel(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (field(1, b"net"), "no layer with weights"),
        (field(100, field(1, b"conv")), "no layer with weights"),
        (b"name: 'net'", "ends within.*byte 0|field of kind"),
        (b"\x0b" * 40, "begins a field of kind 3"),
        (b"\xff" * 40, "begins no whole number"),
        (field(100, field(1, b"\xff\xfe") + field(7, b"")), "a name that is text was expected"),
        (
            b"".join(
                field(100, field(1, name) + field(7, field(7, field(1, b"\x01")) + field(5, bytes(4))))
                for name in (b"a", b"a_1", b"a")
            ),
            "layer 'a_1': it is there twice",
        ),
        (field(100, b"") * 100_000, "300000 bytes.*too many fields"),
    ],
    ids=["empty", "no layers", "no weights", "text", "groups", "no numbers", "names of bytes", "twice", "bomb"],
)
def test_files_that_are_no_caffemodel(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(content)
    with pytest.raises(sd.ModelError, match=message):
        read_caffemodel(path)


def test_float16_that_would_overflow(network: Network) -> None:
    weights = random_weights(network)
    weights["up"][0][0] = 70000
    with pytest.raises(sd.ModelError, match=r"layer 'up': float16.*70000"):
        caffemodel_bytes(network, weights, half=True)


def test_weights_that_do_not_fit_are_not_written(network: Network) -> None:
    with pytest.raises(sd.ModelError, match=r"layer 'conv': .*4x3x3x2 and 4.*got none"):
        caffemodel_bytes(network, {})


# ---- files together ----------------------------------------------------------------------------------------------------


@pytest.fixture
def files(network: Network, tmp_path: Path) -> Path:
    stem = tmp_path / "my.net.v2"  # whose dots are not a suffix
    Path(f"{stem}.prototxt").write_text(prototxt_text(network))
    Path(f"{stem}.caffemodel").write_bytes(caffemodel_bytes(network, random_weights(network)))
    return stem


@pytest.mark.parametrize("suffix", ["", ".prototxt", ".caffemodel", ".json"])
def test_files_are_found_by_their_stem(files: Path, network: Network, suffix: str) -> None:
    read, weights = load_network(f"{files}{suffix}")
    assert read == network
    assert same_weights(weights, random_weights(network))


def test_weights_of_another_name_and_files_that_are_missing(files: Path, tmp_path: Path, network: Network) -> None:
    (tmp_path / "my.net.v2.caffemodel").rename(tmp_path / "other.bin")
    assert find_files(files) == Files(str(tmp_path / "my.net.v2.prototxt"))
    with pytest.raises(FileNotFoundError, match=r"my\.net\.v2\.caffemodel'"):
        load_network(files)
    with pytest.raises(FileNotFoundError, match=r"no weights at '.*nothing'"):
        load_network(files, tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match=r"nothing\.prototxt'"):
        load_network(tmp_path / "nothing")
    assert load_network(files, tmp_path / "other.bin")[0] == network


def test_the_caffemodel_of_another_network(tmp_path: Path) -> None:
    other = architectures.squeezenet_gsoc()
    path = tmp_path / "other.caffemodel"
    path.write_bytes(caffemodel_bytes(other, random_weights(other)))
    with pytest.raises(
        sd.ModelError, match=r"SqueezeDet_deploy\.prototxt' with '.*other\.caffemodel': layer 'fire10_squeeze'"
    ):
        load_network(MODELS / "SqueezeDet_deploy.prototxt", path)


@needs_caffe_importer
@pytest.mark.parametrize(
    ("name", "network"),
    [("SqueezeDet_deploy", architectures.squeezedet_gsoc()), ("SqueezeNet_deploy", architectures.squeezenet_gsoc())],
)
def test_weights_of_the_original_names_load_into_the_shipped_definitions(name: str, network: Network, tmp_path: Path) -> None:
    """The published caffemodels have these layer names and sizes; they themselves could not be had."""
    path = tmp_path / "random.caffemodel"
    path.write_bytes(caffemodel_bytes(network, random_weights(network)))
    read, weights = load_network(MODELS / f"{name}.prototxt", path)
    assert read == network
    (one, *_) = by_caffe(read, weights, a_blob(network)).values()
    assert np.isfinite(one).all()


def test_reshape_and_pooling_are_written_as_they_are_read(read: Callable[[str], Network]) -> None:
    layers = (
        Pooling(name="p", bottoms=("data",), tops=("p",), kernel=(3, 2), stride=(2, 1), pad=(1, 0)),
        Reshape(name="r", bottoms=("p",), tops=("r",), dims=(0, -1)),
    )
    network = Network("two", "data", (1, 2, 8, 9), layers)
    assert read(prototxt_text(network)) == network
