"""``NAME.sdz``: a compressed model in one file, with its description, its definition and its weights.

models/README.md specifies the bytes. `shared_weights` encodes the weights: those of any network, bit for bit; pruned and
shared weights become small.
"""

from __future__ import annotations

import json
import math
import os
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.errors import ModelError
from opencv_squeezedet.files import StrPath
from opencv_squeezedet.formats._deflate import deflated, inflated
from opencv_squeezedet.formats.shared_weights import Layout, layout_of, read_values, values_bytes
from opencv_squeezedet.model_files import Read, named, read_file

if TYPE_CHECKING:
    from opencv_squeezedet.network import Network, Shape, Weights

MAGIC = b"\x89SDZ\r\n\x1a\n"
VERSION = 2
_HEADER = struct.Struct("<8sHHIIII")
_CHECKSUM = struct.Struct("<I")
_MOST_BYTES = 1 << 28
_MOST_HEAD = 1 << 20
_MOST_UNPACKED = 100  # times the packed head: JSON that compresses better takes much memory to parse
_MOST_BLOBS, _MOST_AXES = 1 << 12, 8
_MOST_VALUES = 1 << 28


class StoredBlob(NamedTuple):
    """One encoded blob of a layer's weights."""

    layer: str
    shape: Shape
    content: bytes

    @property
    def layout(self) -> Layout:
        """Its layout; ModelError if it is damaged."""
        return layout_of(self.content, math.prod(self.shape))


@dataclass(frozen=True)
class CompressedModel:
    """The content of a ``.sdz`` file.

    Parameters
    ----------
    description : bytes or None
        The model's JSON.
    definition : bytes
        Its prototxt.
    skeleton : bytes
        The ONNX file of the definition without its weights, by `onnx_skeleton`; empty if ONNX has no such layers. It is not
        checked: only a caller that trusts the file may use it.
    blobs : tuple of StoredBlob
        Each layer's weights, in Caffe's order.
    """

    description: bytes | None
    definition: bytes
    skeleton: bytes
    blobs: tuple[StoredBlob, ...]

    def weights(self, *, as_stored: bool = False) -> Weights:
        """Decode the weights as float32, or as they are stored; a ModelError names the layer that is damaged."""
        found: Weights = {}
        for layer, shape, content in self.blobs:
            try:
                values = read_values(content, math.prod(shape), as_stored=as_stored)
                found.setdefault(layer, []).append(values.reshape(shape))
            except ModelError as error:
                raise ModelError(f"layer {layer!r}: {error}") from error
        return found

    def checked_weights(self, network: Network) -> Weights:
        """Decode the weights of the file's network; ModelError if they are damaged, or do not fit it."""
        shapes = self._shapes()
        network.check_shapes(shapes)  # before weights are decoded, of which a byte may tell a thousand
        if others := shapes.keys() - {step.layer.name for step in network.weighted()}:
            raise ModelError(f"weights of the definition's layers were expected, got those of {min(others)!r} too")
        weights = self.weights()
        network.check_weights(weights)
        return {step.layer.name: weights[step.layer.name] for step in network.weighted()}

    def _shapes(self) -> dict[str, list[Shape]]:
        found: dict[str, list[Shape]] = {}
        for blob in self.blobs:
            found.setdefault(blob.layer, []).append(blob.shape)
        return found

    def network(self) -> Network:
        """Parse the definition; errors as of `read_prototxt`."""
        from opencv_squeezedet.formats.prototxt import parse_prototxt  # not needed where OpenCV does it

        return parse_prototxt(self.definition)


class Stored(NamedTuple):
    """How a layer's weights are stored.

    Parameters
    ----------
    kept : float
        The fraction of the kernel's weights that is not zero.
    centroids : int
        The number of shared values of the kernel; 0 for plain floats.
    tables, codes, gaps, size : int
        Bytes of the kernel's tables, codes and gaps, and of the whole layer with its bias.
    """

    kept: float
    centroids: int
    tables: int
    codes: int
    gaps: int
    size: int


def stored_of(model: CompressedModel, weights: Weights) -> dict[str, Stored]:
    """Return how each layer is stored, given the decoded weights."""
    found: dict[str, Stored] = {}
    for blob in model.blobs:
        layout, size = blob.layout, len(blob.content)
        if blob.layer in found:
            before = found[blob.layer]
            found[blob.layer] = before._replace(size=before.size + size)
        else:
            kept = np.count_nonzero(weights[blob.layer][0]) / math.prod(blob.shape)
            found[blob.layer] = Stored(kept, layout.centroids, layout.tables, layout.codes, layout.gaps, size)
    return found


def read_sdz(path: StrPath, *, read: Read = read_file) -> CompressedModel:
    """Read a compressed model; its weights are decoded by `CompressedModel.weights`.

    Parameters
    ----------
    path : path
        The file.
    read : function
        The function that reads it.

    Raises
    ------
    ModelError
        If it is not such a file, has another version, is cut or damaged, or claims more values than its bytes can hold.
    OSError
        If it cannot be read.
    """
    path = os.fspath(path)
    content = read(path, _MOST_BYTES)
    with named(path):
        return parse_sdz(content)


def sdz_bytes(
    network: Network, weights: Mapping[str, Sequence[NDArray[np.float32]]], description: bytes | None = None
) -> bytes:
    """Return the content of a ``.sdz`` file, from which the same weights are read, bit for bit.

    Parameters
    ----------
    network : Network
        The network.
    weights : Weights
        The weights of each layer that has any. Those with at most 256 nonzero values become small.
    description : bytes, optional
        The model's JSON.

    Raises
    ------
    ModelError
        If the weights do not fit the network, or exceed the limits of the format.
    """
    from opencv_squeezedet.formats.onnx_writer import onnx_skeleton
    from opencv_squeezedet.formats.prototxt import prototxt_text

    network.check_weights(weights)
    try:
        skeleton = onnx_skeleton(network)
    except ModelError:
        skeleton = b""
    blobs = [
        StoredBlob(step.layer.name, values.shape, values_bytes(np.ascontiguousarray(values, np.float32)))
        for step in network.weighted()
        for values in weights[step.layer.name]
    ]
    text = json.dumps(
        {
            "description": None if description is None else description.decode(),
            "definition": prototxt_text(network),
            "blobs": [[layer, shape, len(content)] for layer, shape, content in blobs],
        },
        separators=(",", ":"),
    ).encode()
    head = text + skeleton
    packed = deflated(head)
    if len(head) > _MOST_UNPACKED * len(packed):
        packed = deflated(head, 0)
    size = _HEADER.size + len(packed) + sum(len(blob.content) for blob in blobs) + _CHECKSUM.size
    if size > _MOST_BYTES or len(head) > _MOST_HEAD or network.parameters > _MOST_VALUES:
        raise ModelError(f"a file of {size} bytes, of which at most {_MOST_BYTES} are possible, would be needed")
    header = _HEADER.pack(MAGIC, VERSION, 0, size, len(packed), len(head), len(text))
    body = b"".join((header, packed, *(blob.content for blob in blobs)))
    return body + _CHECKSUM.pack(zlib.crc32(body))


def parse_sdz(content: bytes) -> CompressedModel:
    """Return the content of a file's bytes; ModelError as for `read_sdz`."""
    packed, size, text_size = _checked_header(content)
    blobs_at = _HEADER.size + packed
    try:
        head = inflated(content[_HEADER.size : blobs_at], size)
    except ModelError as error:
        raise ModelError(f"its head cannot be read: {error}") from None
    values = _json(head[:text_size])
    try:
        description, definition, table = (values[name] for name in ("description", "definition", "blobs"))
        entries = [_entry(row) for row in table]
        texts = [None if text is None else text.encode() for text in (description, definition)]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"a head with a description, a definition and blobs was expected: {error!r}") from None
    if len(entries) > _MOST_BLOBS or sum(math.prod(shape) for _, shape, _ in entries) > _MOST_VALUES:
        raise ModelError(f"at most {_MOST_BLOBS} blobs of {_MOST_VALUES} weights together were expected")
    blobs = []
    for layer, shape, length in entries:
        blobs.append(StoredBlob(layer, shape, content[blobs_at : blobs_at + length]))
        blobs_at += length
    if blobs_at != len(content) - _CHECKSUM.size:
        raise ModelError(f"blobs up to byte {len(content) - _CHECKSUM.size} were expected, they end at {blobs_at}")
    for blob in blobs:
        try:
            _ = blob.layout
        except ModelError as error:
            raise ModelError(f"layer {blob.layer!r}: {error}") from error
    if texts[1] is None:
        raise ModelError("a head with a definition was expected")
    return CompressedModel(texts[0], texts[1], head[text_size:], tuple(blobs))


def _checked_header(content: bytes) -> tuple[int, int, int]:
    """The size of the head, packed and unpacked, and of the JSON in it."""
    if not content.startswith(MAGIC):
        raise ModelError(f"a compressed model, which begins with {MAGIC!r}, was expected, got {content[: len(MAGIC)]!r}")
    if len(content) < _HEADER.size + _CHECKSUM.size:
        raise ModelError(f"a file of at least {_HEADER.size + _CHECKSUM.size} bytes was expected, it has {len(content)}")
    _, version, reserved, size, packed, unpacked, text = _HEADER.unpack_from(content)
    if (version, reserved) != (VERSION, 0):
        remedy = (
            "an earlier release converts it to ONNX or Caffe's files" if version < VERSION else "a newer release may read it"
        )
        raise ModelError(f"version {VERSION} of the format was expected, got version {version}: {remedy}")
    if size != len(content):
        raise ModelError(f"a file of {size} bytes was expected from its beginning, it has {len(content)}")
    (checksum,) = _CHECKSUM.unpack_from(content, size - _CHECKSUM.size)
    if zlib.crc32(memoryview(content)[: size - _CHECKSUM.size]) != checksum:
        raise ModelError("it is damaged: its checksum is not that of its content")
    if unpacked > min(_MOST_HEAD, _MOST_UNPACKED * packed) or packed > size - _HEADER.size - _CHECKSUM.size or text > unpacked:
        raise ModelError(
            f"a head of at most {_MOST_HEAD} bytes, and {_MOST_UNPACKED} times those it is packed to in the file, was expected"
        )
    return packed, unpacked, text


def _json(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"its head cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise ModelError("a head that is a JSON object was expected")
    return found


def _entry(row: Any) -> tuple[str, Shape, int]:
    """A row of the table of blobs: layer, shape, bytes."""
    layer, shape, length = row
    numbers = (length, *shape)
    if not isinstance(layer, str) or not all(type(number) is int and 0 < number <= _MOST_VALUES for number in numbers):
        raise ValueError(f"a layer, a shape and a length were expected, got {str(row)[:200]}")
    if not 1 <= len(shape) <= _MOST_AXES:
        raise ValueError(f"a shape of 1 to {_MOST_AXES} sizes was expected, got {len(shape)}")
    return layer, tuple(shape), length
