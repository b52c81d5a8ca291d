"""Han's file, decoded: against a decoder written out step by step, and by what the network then sees."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from format_seeds import compressed_file
from networks import by_onnx, load_network
from shared import DATA, needs

import opencv_squeezedet as sd
from opencv_squeezedet.formats import read_compressed
from opencv_squeezedet.network.architectures import squeezenet_v1_0

PUBLISHED = DATA / "weights" / "compressed_SqueezeNet.net"


def decoded_step_by_step(content: bytes) -> dict[str, list[np.ndarray]]:
    """One weight after the other, by the description of the format."""
    steps = list(squeezenet_v1_0().weighted())
    counts = struct.unpack_from(f"<{len(steps)}I", content)
    position = 4 * len(steps)
    weights = {}
    for step, count in zip(steps, counts, strict=True):
        kernel, bias = step.weights
        codebook = struct.unpack_from("<256f", content, position)
        biases = struct.unpack_from(f"<{bias[0]}f", content, position + 1024)
        codes = position + 1024 + 4 * bias[0]
        dense = [0.0] * math.prod(kernel)
        place = -1
        for i in range(count):
            byte = content[codes + count + i // 2]
            place += (byte & 15 if i % 2 == 0 else byte >> 4) + 1
            dense[place] = codebook[content[codes + i]]
        position = codes + count + (count + 1) // 2
        weights[step.layer.name] = [np.float32(dense).reshape(kernel), np.float32(biases)]
    assert position == len(content)
    return weights


def test_decoding(tmp_path: Path) -> None:
    path = tmp_path / "made.net"
    for seed in range(3):
        path.write_bytes(compressed_file(seed))
        expected, weights = decoded_step_by_step(path.read_bytes()), read_compressed(path)
        assert weights.keys() == expected.keys()
        for name, blobs in expected.items():
            for one, other in zip(weights[name], blobs, strict=True):
                np.testing.assert_array_equal(one, other)


@needs("weights")
def test_the_published_file() -> None:
    network, weights = load_network(PUBLISHED)
    assert network == squeezenet_v1_0()
    network.check_weights(weights)
    expected = decoded_step_by_step(PUBLISHED.read_bytes())
    for name, blobs in expected.items():
        np.testing.assert_array_equal(weights[name][0], blobs[0])
        np.testing.assert_array_equal(weights[name][1], blobs[1])
    assert sum(blobs[0].size for blobs in weights.values()) == 1_244_448


@needs("weights")
@pytest.mark.parametrize(("photo", "best"), [("aeroplane", 404), ("bus", 654), ("cat", 281), ("space_shuttle", 812)])
def test_the_published_file_classifies(photo: str, best: int) -> None:
    network, weights = load_network(PUBLISHED)
    image = cv2.imread(str(DATA / "photos" / f"{photo}.jpg"))
    blob = cv2.dnn.blobFromImage(image, 1, (227, 227), (104, 117, 123))
    assert by_onnx(network, weights, blob)["prob"].argmax() == best


def changed(at: int, value: bytes) -> bytes:
    content = bytearray(compressed_file())
    content[at : at + len(value)] = value
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"x", "26 counts were expected at its beginning, it has 1 bytes"),
        (compressed_file()[:-1], r"a file of \d+ bytes was expected from the counts at its beginning, it has \d+"),
        (compressed_file() + b"x", r"a file of \d+ bytes was expected from the counts at its beginning, it has \d+"),
        (changed(0, b"\x06"), r"a file of \d+ bytes was expected"),
        (changed(0, b"\xff\xff\xff\xff"), "layer 'conv1': at most 14112 stored weights were expected, got 4294967295"),
    ],
    ids=["empty", "short", "long", "other count", "huge count"],
)
def test_files_that_are_not_what_their_counts_say(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "made.net"
    path.write_bytes(content)
    with pytest.raises(sd.ModelError, match=rf"made\.net': {message}"):
        read_compressed(path)


def test_a_weight_outside_its_layer(tmp_path: Path) -> None:
    """fire2/squeeze1x1 has 1,536 weights: 100 of them stored with the longest gaps end at place 1,599."""
    steps = list(squeezenet_v1_0().weighted())
    parts = [struct.pack("<26I", 0, 100, *[0] * 24)]
    for step in steps:
        parts.append(bytes(1024 + 4 * step.weights[1][0]))
        if step.layer.name == "fire2/squeeze1x1":
            parts.append(bytes(100) + b"\xff" * 50)
    path = tmp_path / "made.net"
    path.write_bytes(b"".join(parts))
    with pytest.raises(sd.ModelError, match=r"'fire2/squeeze1x1': 1536 weights were expected, .* 1599"):
        read_compressed(path)
