"""A network in memory, from any of its files: each file is read once, its layers and weights are decoded when first needed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.errors import ModelError, UnknownLayerError
from opencv_squeezedet.files import StrPath
from opencv_squeezedet.model_files import MOST_BYTES, MOST_DEFINITION, Files, named, read_file

if TYPE_CHECKING:
    from opencv_squeezedet.formats.sdz import CompressedModel
    from opencv_squeezedet.network import Network, Weights

# The readers are imported where they are used: a detector needs few of them to start.


class NetworkSource:
    """A network with its weights, which may still be encoded.

    Parameters
    ----------
    name : str
        The network's name in error messages.

    Attributes
    ----------
    trusted : bool
        Whether the content is known to be sound, so that it need not be checked.
    """

    trusted = False

    def __init__(self, name: str) -> None:
        self.name = name

    @cached_property
    def network(self) -> Network:
        """The layers; ModelError if they are damaged, `UnknownLayerError` if this package does not describe them."""
        raise NotImplementedError

    @cached_property
    def weights(self) -> Weights:
        """The weights of the layers, no others; errors as for `network`, and ModelError if they are another network's."""
        raise NotImplementedError

    def caffe(self) -> tuple[bytes, ...] | None:
        """Return the contents of Caffe's two files, for OpenCV 4; None if ONNX is the form to read."""
        from opencv_squeezedet.formats.bare_weights import bare_caffemodel
        from opencv_squeezedet.formats.prototxt import prototxt_text

        return prototxt_text(self.network).encode(), bare_caffemodel(self.weights)

    def onnx(self) -> bytes | None:
        """Return the content of an ONNX file that is there already; None if the network must be converted."""
        return None

    def contents(self) -> Iterator[bytes]:
        """Yield the bytes that distinguish the network from others."""
        raise NotImplementedError


class DecodedNetwork(NetworkSource):
    """Layers and weights that need no decoding; ModelError if they do not fit each other."""

    def __init__(self, network: Network, weights: Weights) -> None:
        network.check_weights(weights)
        super().__init__(network.name)
        self.network, self.weights = network, {step.layer.name: weights[step.layer.name] for step in network.weighted()}

    def contents(self) -> Iterator[bytes]:
        """Yield the layers as text, and the weights."""
        yield repr(self.network).encode()
        for blobs in self.weights.values():
            yield from (blob.tobytes() for blob in blobs)


class CaffeFiles(NetworkSource):
    """A prototxt, and its caffemodel, ``.net`` or ``.npz`` if there is one."""

    def __init__(self, files: Files) -> None:
        super().__init__(str(files))
        self._files = files
        self._definition = read_file(str(files.definition), MOST_DEFINITION)
        self._weights = None if files.weights is None else read_file(files.weights)

    @cached_property
    def network(self) -> Network:
        """The layers of the prototxt."""
        from opencv_squeezedet.formats.prototxt import parse_prototxt

        with named(str(self._files.definition)):
            return parse_prototxt(self._definition)

    @cached_property
    def weights(self) -> Weights:
        """The weights; FileNotFoundError if there are none."""
        self._files.check_weights()
        path, content = str(self._files.weights), self._weights or b""
        weights = _decoded(path, content)  # first: damage is reported even if the layers are unknown
        network = self.network
        if path.endswith(".npz"):
            weights = _of_archive(network, weights)
        weights = network.fitted(weights)
        try:
            network.check_weights(weights)
        except ModelError as error:
            raise ModelError(f"{self.name}: {error}") from error
        return {step.layer.name: weights[step.layer.name] for step in network.weighted()}

    def caffe(self) -> tuple[bytes, ...] | None:
        """Return the contents as OpenCV 4 must take them: those that have been checked, unless there are unknown layers."""
        try:
            return super().caffe()
        except UnknownLayerError:
            return self._definition, self._weights or b""

    def contents(self) -> Iterator[bytes]:
        """Yield the contents of the files."""
        yield from (self._definition, self._weights or b"")


class WeightsFile(NetworkSource):
    """Weights without a definition, which must be those of a classifier that this package describes."""

    def __init__(self, path: str) -> None:
        super().__init__(repr(path))
        self._path, self._content = path, read_file(path)

    @cached_property
    def network(self) -> Network:
        """The classifier that has these weights."""
        from opencv_squeezedet.network.architectures import ARCHITECTURES

        classifiers = [one for one in ARCHITECTURES.values() if one.task == "classifier"]
        for one in classifiers:
            network = one.build()
            try:
                network.check_weights(self.weights)
            except ModelError:
                continue
            return network
        known = ", ".join(one.name for one in classifiers)
        raise ModelError(f"there is no network definition beside {self._path!r}, and its weights are none of {known}")

    @cached_property
    def weights(self) -> Weights:
        """All weights in the file."""
        return _decoded(self._path, self._content)

    def contents(self) -> Iterator[bytes]:
        """Yield the content of the file."""
        yield self._content


class OnnxNetwork(NetworkSource):
    """An ONNX file, complete in itself."""

    def __init__(self, content: bytes, path: str) -> None:
        super().__init__(repr(path))
        self._path, self._content = path, content

    @cached_property
    def network(self) -> Network:
        """The layers."""
        return self._decoded[0]

    @cached_property
    def weights(self) -> Weights:
        """The weights."""
        return self._decoded[1]

    @cached_property
    def _decoded(self) -> tuple[Network, Weights]:
        from opencv_squeezedet.formats.onnx_reader import read_onnx

        return read_onnx(self._path, read=lambda *_: self._content)

    def caffe(self) -> None:
        """Return None: an ONNX file runs as it is."""

    def onnx(self) -> bytes:
        """Return the content of the file."""
        return self._content

    def contents(self) -> Iterator[bytes]:
        """Yield the content of the file."""
        yield self._content


class CompressedFile(NetworkSource):
    """A ``.sdz``."""

    def __init__(self, path: str, *, trusted: bool = False) -> None:
        from opencv_squeezedet.formats.sdz import read_sdz

        super().__init__(repr(path))
        self._path, self.trusted = path, trusted
        self.compressed: CompressedModel = read_sdz(path)

    @cached_property
    def network(self) -> Network:
        """The layers."""
        with named(self._path):
            return self.compressed.network()

    @cached_property
    def weights(self) -> Weights:
        """The weights."""
        with named(self._path):
            return self.compressed.checked_weights(self.network)

    def caffe(self) -> tuple[bytes, ...] | None:
        """Return the definition in the file and the weights, decoded."""
        from opencv_squeezedet.formats.bare_weights import bare_caffemodel

        weights = self.compressed.weights(as_stored=True) if self.trusted else self.weights
        return self.compressed.definition, bare_caffemodel(weights)

    def onnx(self) -> bytes | None:
        """Return the ONNX file in a trusted file; others are converted, for it cannot be checked."""
        if not self.trusted:
            return None
        from opencv_squeezedet.formats.bare_weights import with_weights

        return with_weights(self.compressed.skeleton, self.compressed.weights(as_stored=True))

    def contents(self) -> Iterator[bytes]:
        """Yield the definition and the weights, as stored."""
        yield self.compressed.definition
        yield from (blob.content for blob in self.compressed.blobs)


def read_source(files: Files, *, trusted: bool = False) -> NetworkSource:
    """Read the files of a network; nothing is read from them again.

    Parameters
    ----------
    files : Files
        Where it lies.
    trusted : bool
        Whether a ``.sdz`` is known to be sound.

    Raises
    ------
    ModelError
        If a file is empty or too large, or an ONNX file or a ``.sdz`` is not what its suffix says.
    OSError
        If a file cannot be read.
    """
    if files.definition is None:
        return WeightsFile(files.main)
    if files.is_compressed:
        return CompressedFile(files.definition, trusted=trusted)
    if files.definition.endswith(".onnx"):
        from opencv_squeezedet.formats.onnx_content import onnx_content

        return OnnxNetwork(onnx_content(files.definition), files.definition)
    return CaffeFiles(files)


def read_weights(path: StrPath) -> Weights:
    """Read a caffemodel, a Deep-Compressed ``.net``, or a NumPy archive with arrays ``LAYER_w`` and ``LAYER_b``.

    In an archive layer names may have ``_`` for each ``/`` if it is loaded together with the network.

    Raises
    ------
    ModelError
        If the file is not what its suffix says.
    OSError
        If it cannot be read.
    """
    path = os.fspath(path)
    return _decoded(path, read_file(path))


def _decoded(path: str, content: bytes) -> Weights:
    from opencv_squeezedet.formats.caffemodel import parse_caffemodel
    from opencv_squeezedet.formats.deep_compression import parse_compressed

    with named(path):
        if path.endswith(".npz"):
            return _archive(content)
        return parse_compressed(content) if path.endswith(".net") else parse_caffemodel(content)


def _archive(content: bytes) -> Weights:
    """NumPy's archive; its reader raises errors of many types."""
    from zipfile import ZipFile  # imported lazily

    try:
        with ZipFile(BytesIO(content)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MOST_BYTES:
                raise ModelError(f"arrays of at most {MOST_BYTES} bytes were expected")
        with np.load(BytesIO(content)) as arrays:
            names = [name[:-2] for name in arrays if name.endswith("_w")]
            return {name: [_floats(arrays[f"{name}_{part}"]) for part in "wb"] for name in names}
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"arrays LAYER_w and LAYER_b were expected: {error}") from error


def _of_archive(network: Network, weights: Weights) -> Weights:
    """An archive's weights under the layers' names, where it has them with ``_`` for ``/``."""
    names = {step.layer.name.replace("/", "_"): step.layer.name for step in network.weighted()}
    return {name if name in names.values() else names.get(name, name): blobs for name, blobs in weights.items()}


def _floats(array: NDArray[Any]) -> NDArray[np.float32]:
    if array.dtype.kind != "f":
        raise ValueError(f"floats were expected, got {array.dtype}")
    return array.astype(np.float32)
