"""Network files read and checked together, whatever their format."""

from __future__ import annotations

import os
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.errors import ModelError
from opencv_squeezedet.files import StrPath
from opencv_squeezedet.formats.caffemodel import read_caffemodel
from opencv_squeezedet.formats.deep_compression import read_compressed
from opencv_squeezedet.formats.onnx_content import onnx_content
from opencv_squeezedet.formats.onnx_reader import read_onnx
from opencv_squeezedet.formats.prototxt import read_prototxt
from opencv_squeezedet.formats.sdz import read_sdz
from opencv_squeezedet.model_files import MOST_BYTES, Files, Read, find_files, named, read_file
from opencv_squeezedet.network import Network, Weights
from opencv_squeezedet.network.architectures import ARCHITECTURES


def content_of(path: str, most: int = MOST_BYTES) -> bytes:
    """Return the content of a network's file, complete in itself; errors as `load_network`."""
    return onnx_content(path, most) if path.endswith(".onnx") else read_file(path, most)


def load_network(
    model: StrPath | Files, weights: StrPath | None = None, *, read: Read = content_of
) -> tuple[Network, Weights]:
    """Read a network with its weights, and check that they fit each other.

    Parameters
    ----------
    model : path or Files
        Files that were found, or what `find_files` finds them by.
    weights : path, optional
        As `find_files` takes them.
    read : function
        What reads the files.

    Returns
    -------
    (Network, Weights)
        The weights that the network's layers have, no others. Weights without a definition (a ``.net``, a caffemodel) get
        that of the classifier that they are for.

    Raises
    ------
    FileNotFoundError, OSError
        If a file is missing, or cannot be read.
    ModelError
        If a file is not what its suffix says, or the weights are another network's; `UnknownLayerError` for a network that
        may be sound, but has layers that are not described here.
    """
    files = (model if isinstance(model, Files) else find_files(model, weights)).with_weights()
    if files.compressed is not None:
        compressed = read_sdz(files.compressed, read=read)
        with named(files.compressed):
            return compressed.checked()
    if files.weights is None:
        return read_onnx(str(files.onnx), read=read)
    if files.definition is None:
        all_weights = read_weights(files.weights, read=read)
        return _classifier_of(files.weights, all_weights), all_weights
    all_weights = read_weights(files.weights, read=read)
    network = read_prototxt(files.definition, read=read)
    if files.weights.endswith(".npz"):
        all_weights = _of_archive(network, all_weights)
    try:
        network.check_weights(all_weights)
    except ModelError as error:
        raise ModelError(f"{files}: {error}") from error
    return network, {step.layer.name: all_weights[step.layer.name] for step in network.weighted()}


def load_definition(files: Files) -> Network:
    """Read a network without its weights, where they lie apart; errors as `load_network`."""
    if files.definition is None:
        return load_network(files)[0]
    return read_prototxt(files.definition)


def read_weights(path: StrPath, *, read: Read = read_file) -> Weights:
    """Read a caffemodel, a Deep-Compressed ``.net``, or a NumPy archive with arrays ``LAYER_w`` and ``LAYER_b``.

    An archive may have ``_`` for each ``/`` in a layer's name, where `load_network` knows the network.

    Raises
    ------
    OSError, ModelError
        As `load_network`.
    """
    path = os.fspath(path)
    if path.endswith(".npz"):
        return _read_archive(read(path, MOST_BYTES), path)
    return read_compressed(path) if path.endswith(".net") else read_caffemodel(path, read=read)


def _read_archive(content: bytes, path: str) -> Weights:
    """NumPy's archive; what its reader makes of a damaged one has many names."""
    from zipfile import ZipFile  # not everybody's import time

    try:
        with ZipFile(BytesIO(content)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MOST_BYTES:
                raise ModelError(f"{path!r}: arrays of at most {MOST_BYTES} bytes were expected")
        with np.load(BytesIO(content)) as arrays:
            names = [name[:-2] for name in arrays if name.endswith("_w")]
            return {name: [_floats(arrays[f"{name}_{part}"]) for part in "wb"] for name in names}
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"{path!r}: arrays LAYER_w and LAYER_b were expected: {error}") from error


def _of_archive(network: Network, weights: Weights) -> Weights:
    """An archive's weights under the layers' names, where it has them with ``_`` for ``/``."""
    names = {step.layer.name.replace("/", "_"): step.layer.name for step in network.weighted()}
    return {name if name in names.values() else names.get(name, name): blobs for name, blobs in weights.items()}


def _floats(array: NDArray[Any]) -> NDArray[np.float32]:
    if array.dtype.kind != "f":
        raise ValueError(f"floats were expected, got {array.dtype}")
    return array.astype(np.float32)


def _classifier_of(path: str, weights: Weights) -> Network:
    """Return the classifier whose weights these are."""
    classifiers = [one for one in ARCHITECTURES.values() if one.task == "classifier"]
    for one in classifiers:
        network = one.build()
        try:
            network.check_weights(weights)
        except ModelError:
            continue
        return network
    known = ", ".join(one.name for one in classifiers)
    raise ModelError(f"no network definition lies beside {path!r}, whose weights are none of {known}")
