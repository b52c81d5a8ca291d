"""Small real files of each format, what mutates them, and what reading them may do: shared by the test and the fuzzer."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from networks import MODELS, random_weights
from numpy.typing import NDArray
from shared import DATA

import opencv_squeezedet as sd
from opencv_squeezedet.formats import (
    caffemodel_bytes,
    onnx_bytes,
    prototxt_text,
    read_caffemodel,
    read_compressed,
    read_onnx,
    read_prototxt,
    read_sdz,
    sdz_bytes,
)
from opencv_squeezedet.formats.sdz import MAGIC, VERSION
from opencv_squeezedet.model_files import named, read_file
from opencv_squeezedet.network import (
    Convolution,
    Deconvolution,
    Network,
    Permute,
    Pooling,
    ReLU,
    Reshape,
    Sigmoid,
    Slice,
    Softmax,
    Weights,
    architectures,
)


def _with_checksum(path: str, most: int) -> bytes:
    """A compressed model whose size and checksum are right, whatever else is not."""
    content = bytearray(read_file(path, most))
    content[12:16] = struct.pack("<I", len(content))
    content[-4:] = struct.pack("<I", zlib.crc32(content[:-4]))
    return bytes(content)


def _packed(path: str, most: int) -> bytes:
    """A compressed model of the length of a head, the head, which is text, and blobs."""
    content = read_file(path, most)
    size = int.from_bytes(content[:2], "little")
    return sealed(content[2 : 2 + size], content[2 + size :])


def sealed(head: bytes, blobs: bytes) -> bytes:
    """A compressed model of these parts, with the right sizes and checksum."""
    packed = zlib.compress(head, 1)[2:-4]
    size = 28 + len(packed) + len(blobs) + 4
    body = struct.pack("<8sHHIIII", MAGIC, VERSION, 0, size, len(packed), len(head), len(head)) + packed + blobs
    return body + struct.pack("<I", zlib.crc32(body))


def parts_of(content: bytes) -> tuple[bytes, bytes]:
    """The head's JSON and the blobs of a compressed model."""
    packed, _, size = struct.unpack_from("<III", content, 16)
    return zlib.decompress(content[28 : 28 + packed], -15)[:size], content[28 + packed : -4]


def _read_model(read: Callable[[str, int], bytes]) -> Callable[[Path], object]:
    def decode(path: Path) -> object:
        model = read_sdz(path, read=read)
        with named(str(path)):
            return model.checked_weights(model.network())

    return decode


READERS: dict[str, Callable[[Path], object]] = {
    "prototxt": read_prototxt,
    "caffemodel": read_caffemodel,
    "onnx": read_onnx,
    "net": read_compressed,
    "sdz": _read_model(_with_checksum),
    "sdz-parts": _read_model(_packed),
}


def small_network() -> Network:
    """One layer of each kind that a detector has, with few weights."""
    layers = (
        Convolution(name="conv", bottoms=("data",), tops=("conv",), outputs=9, kernel=(3, 3), stride=(2, 2)),
        Deconvolution(name="up", bottoms=("conv",), tops=("up",), outputs=9, kernel=(2, 2), groups=9, bias=False),
        Convolution(name="around", bottoms=("up",), tops=("around",), outputs=9, kernel=(1, 1), pad=(1, 1)),
        ReLU(name="relu", bottoms=("around",), tops=("around",), slope=0.01),
        Pooling(name="pool", bottoms=("around",), tops=("pool",), kernel=(3, 3), stride=(2, 2)),
        Permute(name="permute", bottoms=("pool",), tops=("hwc",), order=(0, 2, 3, 1)),
        Slice(name="slice", bottoms=("hwc",), tops=("a", "b", "delta_bbox"), points=(4, 5), axis=3),
        Reshape(name="reshape", bottoms=("a",), tops=("flat",), dims=(0, -1, 4)),
        Softmax(name="softmax", bottoms=("flat",), tops=("class_scores",), axis=2),
        Sigmoid(name="sigmoid", bottoms=("b",), tops=("conf_scores",)),
    )
    return Network("small", "data", (1, 3, 20, 24), layers)


@cache
def seeds() -> dict[str, list[bytes]]:
    """Files of each format, the first a small one."""
    network = small_network()
    weights = random_weights(network)
    files = {
        "prototxt": [prototxt_text(network).encode(), (MODELS / "squeezedet_pyramid_voc.prototxt").read_bytes()],
        "caffemodel": [caffemodel_bytes(network, weights), caffemodel_bytes(network, weights, half=True)],
        "onnx": [onnx_bytes(network, weights), onnx_bytes(network, weights, half=True)],
        "net": [compressed_file()],
        "sdz": [sdz_bytes(network, shared(weights), b'{"head": {}}'), sdz_bytes(network, weights)],
    }
    files["sdz-parts"] = [struct.pack("<H", len(head)) + head + blobs for head, blobs in map(parts_of, files["sdz"])]
    published = DATA / "weights" / "compressed_SqueezeNet.net"
    if published.is_file():
        files["net"].append(published.read_bytes())
    return files


def shared(weights: Weights, density: float = 0.5, values: int = 16) -> Weights:
    """The weights pruned and shared: few values, and zeros in between."""
    rng = np.random.default_rng(0)

    def blob(array: NDArray[np.float32]) -> NDArray[np.float32]:
        codes = rng.integers(0, values, array.shape)
        found = array.ravel()[codes % array.size].astype(np.float16).astype(np.float32)
        return np.where(rng.random(array.shape) < density, found, np.float32(0))

    return {name: [blob(array) for array in blobs] for name, blobs in weights.items()}


def compressed_file(seed: int = 0) -> bytes:
    """A file in Deep Compression's form, with a few stored weights in each layer."""
    rng = np.random.default_rng(seed)
    steps = list(architectures.squeezenet_v1_0().weighted())
    counts = np.full(len(steps), 5, "<u4")
    parts = [counts.tobytes()]
    for step, count in zip(steps, counts.tolist(), strict=True):
        parts.append(np.concatenate([[0], rng.standard_normal(255)]).astype("<f4").tobytes())
        parts.append(rng.standard_normal(step.weights[1]).astype("<f4").tobytes())
        parts.append(rng.integers(0, 256, count, dtype=np.uint8).tobytes())
        parts.append(rng.integers(0, 256, (count + 1) // 2, dtype=np.uint8).tobytes())
    return b"".join(parts)


def read_it(kind: str, content: bytes, path: Path) -> None:
    """Read a file of this content; any exception but ModelError is a finding. Exceptions that tell nothing are, too."""
    path.write_bytes(content)
    message = refusal(kind, path)
    if message is not None:
        assert message.startswith(f"{str(path)!r}: "), message
        assert len(message) < 4000


def refusal(kind: str, path: Path) -> str | None:
    """What the ModelError says, if reading the file raises one."""
    try:
        READERS[kind](path)
    except sd.ModelError as error:
        return str(error)
    return None


_INTERESTING = (b"\x00", b"\xff", b"\x7f", b"\x80", b"\xff" * 9 + b"\x01", b"\xff" * 4 + b"\x07", b"{", b"}", b"-1")


def mutated(content: bytes, rng: random.Random) -> bytes:
    """The content with a few of its bytes, words or runs changed, doubled, moved or cut."""
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        at, length = rng.randrange(len(data) + 1), rng.choice([1, 1, 2, 8, 64, 1000])
        action = rng.randrange(7)
        if action == 0 and at < len(data):
            data[at] = rng.randrange(256)
        elif action == 1 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif action == 2:
            del data[at : at + length]
        elif action == 3:
            data[at:at] = data[at : at + length] * rng.choice([1, 2, 50])
        elif action == 4:
            data[at : at + rng.choice([0, 1, 8])] = rng.choice(_INTERESTING)
        elif action == 5:
            other = rng.randrange(len(data) + 1)
            data[at : at + length] = data[other : other + length]
        else:
            del data[at:]
        if not data:
            break
    return bytes(data)
