"""The published file of the Deep-Compressed SqueezeNet (Han et al., arXiv:1510.00149): codebooks, codes and gaps."""

from __future__ import annotations

import math
import os

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.errors import ModelError
from opencv_squeezedet.files import StrPath
from opencv_squeezedet.model_files import named, read_file
from opencv_squeezedet.network import Shape, Step, Weights
from opencv_squeezedet.network.architectures import squeezenet_v1_0

_CODES = 256
_MOST_BYTES = 1 << 24  # ten times what it has
_LONGEST_GAP = 15


def read_compressed(path: StrPath) -> Weights:
    """Read ``compressed_SqueezeNet.net``: the weights of `squeezenet_v1_0`, under its layer names.

    For each layer the file contains the number of stored weights, a codebook of 256 values, the bias, a code for each stored
    weight, and the gaps between them, two in a byte. Weights of code 0, whose value is 0, bridge gaps that exceed four bits.

    Raises
    ------
    ModelError
        If its size is not that of its counts, or a weight lies outside its layer, which the error names.
    OSError
        If it cannot be read.
    """
    path = os.fspath(path)
    content = read_file(path, _MOST_BYTES)
    with named(path):
        return parse_compressed(content)


def parse_compressed(content: bytes) -> Weights:
    """Return the weights in the bytes of such a file; ModelError as `read_compressed`."""
    steps = list(squeezenet_v1_0().weighted())
    at = 4 * len(steps)
    counts = _counts(content[:at], steps)
    sizes = [_stored_bytes(step, count) for step, count in zip(steps, counts, strict=True)]
    if len(content) != (expected := at + sum(sizes)):
        raise ModelError(f"a file of {expected} bytes was expected from the counts at its beginning, it has {len(content)}")
    weights: Weights = {}
    for step, count, size in zip(steps, counts, sizes, strict=True):
        weights[step.layer.name] = _layer(step, count, content[at : at + size])
        at += size
    return weights


def _counts(header: bytes, steps: list[Step]) -> list[int]:
    if len(header) < 4 * len(steps):
        raise ModelError(f"{len(steps)} counts were expected at its beginning, it has {len(header)} bytes")
    counts: list[int] = np.frombuffer(header, "<u4").tolist()
    for step, count in zip(steps, counts, strict=True):
        if count > (most := math.prod(step.weights[0])):
            raise step.layer.error(f"at most {most} stored weights were expected, got {count}")
    return counts


def _stored_bytes(step: Step, count: int) -> int:
    return 4 * _CODES + 4 * math.prod(step.weights[1]) + count + (count + 1) // 2


def _layer(step: Step, count: int, content: bytes) -> list[NDArray[np.float32]]:
    kernel, bias = step.weights
    floats = _CODES + math.prod(bias)
    values = np.frombuffer(content, "<f4", floats).astype(np.float32)
    codes = np.frombuffer(content, np.uint8, count, 4 * floats)
    packed = np.frombuffer(content, np.uint8, (count + 1) // 2, 4 * floats + count)
    gaps = np.stack([packed & _LONGEST_GAP, packed >> 4], axis=1).ravel()[:count]
    return [_spread(step, kernel, values[codes], gaps), values[_CODES:].reshape(bias)]


def _spread(step: Step, kernel: Shape, stored: NDArray[np.float32], gaps: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The stored weights at their indices, zero elsewhere."""
    indices = np.cumsum(gaps.astype(np.int64) + 1) - 1
    weights = np.zeros(math.prod(kernel), np.float32)
    if len(indices) and indices[-1] >= len(weights):
        raise step.layer.error(f"{len(weights)} weights were expected, one has the index {indices[-1]}")
    weights[indices] = stored
    return weights.reshape(kernel)
