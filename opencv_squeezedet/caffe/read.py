"""Reads Caffe's files as ``cv2.dnn.readNetFromCaffe`` of OpenCV 4 does."""

from __future__ import annotations

import os
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet._opencv import read_net_from_caffe
from opencv_squeezedet.caffe.errors import BAD_ARGUMENT, NetError, as_net_error
from opencv_squeezedet.caffe.net import Net
from opencv_squeezedet.errors import ModelError
from opencv_squeezedet.files import StrPath
from opencv_squeezedet.formats.caffemodel import parse_caffemodel
from opencv_squeezedet.formats.prototxt import parse_prototxt
from opencv_squeezedet.model_files import MOST_BYTES, MOST_DEFINITION, named, read_file
from opencv_squeezedet.network import Network

Source = StrPath | bytes | bytearray | memoryview | NDArray[np.uint8]
"""A path, or the content of a file."""


def readNetFromCaffe(
    prototxt: Source | None = None,
    caffeModel: Source | None = None,
    *,
    bufferProto: Source | None = None,
    bufferModel: Source | None = None,
) -> Net | cv2.dnn.Net:
    """Read a network from Caffe's files, on every OpenCV.

    Parameters
    ----------
    prototxt : path, or bytes, bytearray or uint8 array
        The definition of the layers: a file, or the content of one.
    caffeModel : path, or bytes, bytearray or uint8 array, optional
        The weights. Without them the layers can be looked at, but not run.
    bufferProto, bufferModel : optional
        The same under the names that OpenCV gives them if they are contents.

    Returns
    -------
    Net or cv2.dnn.Net
        Where OpenCV has its own importer, what that returns.

    Raises
    ------
    NetError
        A ``cv2.error``, if a file does not exist or cannot be read, or the network has a layer that is not supported; the
        message names it.
    """
    definition = prototxt if bufferProto is None else bufferProto
    weights = caffeModel if bufferModel is None else bufferModel
    if definition is None:
        raise NetError("the network's prototxt is missing", BAD_ARGUMENT)
    weights = None if isinstance(weights, str) and not weights else weights
    if read_net_from_caffe is not None:
        net: cv2.dnn.Net = read_net_from_caffe(*_for_opencv(definition, weights))
        return net
    return read(definition, weights)


def read(definition: Source, weights: Source | None) -> Net:
    """Return the `Net` of Caffe's files, or of their contents; errors as `readNetFromCaffe`."""
    with as_net_error():
        text = _content(definition, "prototxt", MOST_DEFINITION)
        if not text.strip():
            return Net()
        with named(_name_of(definition)):
            network = parse_prototxt(text, check=False)
        if weights is None:
            return Net(network)
        content = _content(weights, "caffeModel", MOST_BYTES)
        try:
            with named(_name_of(weights)):
                return Net(network, parse_caffemodel(content, copy=False))
        except ModelError:
            if not _has_no_weights(network):
                raise
            return Net(network)


def _has_no_weights(network: Network) -> bool:
    """Whether no layer has weights: its caffemodel has none either, which would be an error of any other."""
    try:
        return not any(network.weighted())
    except ModelError:  # for inputs of the shapes in the file, in whose place the program sets others
        return False


def _content(source: Source, name: str, most: int) -> bytes:
    if isinstance(source, (str, os.PathLike)):
        return read_file(os.fspath(source), most)
    content = bytes(source) if not isinstance(source, np.ndarray) else _bytes_of(source, name)
    if len(content) > most:
        raise NetError(f"{name} must have at most {most} bytes, got {len(content)}", BAD_ARGUMENT)
    return content


def _bytes_of(array: NDArray[Any], name: str) -> bytes:
    if array.dtype.itemsize != 1:
        raise NetError(f"{name} must be a path, bytes or an array of uint8, got an array of {array.dtype}", BAD_ARGUMENT)
    return array.tobytes()


def _name_of(source: Source) -> str:
    return os.fspath(source) if isinstance(source, (str, os.PathLike)) else "the content"


def _for_opencv(*sources: Source | None) -> list[Any]:
    """The arguments for OpenCV's own importer, which takes two paths or two contents, and not bytes."""
    given = [source for source in sources if source is not None]
    if all(isinstance(source, (str, os.PathLike)) for source in given):
        return [os.fspath(source) for source in given]  # type: ignore[arg-type]
    with as_net_error():
        contents = [
            _content(source, name, MOST_BYTES) for source, name in zip(given, ("prototxt", "caffeModel"), strict=False)
        ]
    return [np.frombuffer(content, np.uint8) for content in contents]
