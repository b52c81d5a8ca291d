"""Network files read and checked together, whatever their format."""

from __future__ import annotations

import os
from zipfile import BadZipFile

import numpy as np

from opencv_squeezedet.errors import ModelError
from opencv_squeezedet.files import StrPath
from opencv_squeezedet.formats.caffemodel import read_caffemodel
from opencv_squeezedet.formats.deep_compression import read_compressed
from opencv_squeezedet.formats.onnx_reader import read_onnx
from opencv_squeezedet.formats.prototxt import read_prototxt
from opencv_squeezedet.model_files import Files, check_not_empty, find_files
from opencv_squeezedet.network import Network, Weights
from opencv_squeezedet.network.architectures import ARCHITECTURES


def load_network(model: StrPath | Files, weights: StrPath | None = None) -> tuple[Network, Weights]:
    """Read a network with its weights, and check that they fit each other.

    Parameters
    ----------
    model : path or Files
        Files that were found, or what `find_files` finds them by.
    weights : path, optional
        As `find_files` takes them.

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
        If a file is not what its suffix says, or the weights are another network's.
    ImportError
        Without the extra ``[onnx]``, for all files but ``.net``.
    """
    files = (model if isinstance(model, Files) else find_files(model, weights)).with_weights()
    if files.weights is None:
        return read_onnx(str(files.onnx))
    if files.definition is None:
        all_weights = read_weights(files.weights)
        return _classifier_of(files.weights, all_weights), all_weights
    network, all_weights = load_definition(files), read_weights(files.weights)
    try:
        network.check_weights(all_weights)
    except ModelError as error:
        raise ModelError(f"{files}: {error}") from error
    return network, {step.layer.name: all_weights[step.layer.name] for step in network.weighted()}


def load_definition(files: Files) -> Network:
    """Read a network without its weights, where they lie apart; errors as `load_network`."""
    if files.definition is None:
        return load_network(files)[0]
    check_not_empty(files.definition)
    return read_prototxt(files.definition)


def read_weights(path: StrPath) -> Weights:
    """Read a caffemodel, a Deep-Compressed ``.net``, or a NumPy archive with arrays ``LAYER_w`` and ``LAYER_b``.

    Raises
    ------
    OSError, ModelError, ImportError
        As `load_network`.
    """
    path = os.fspath(path)
    check_not_empty(path)
    if path.endswith(".npz"):
        return _read_archive(path)
    return read_compressed(path) if path.endswith(".net") else read_caffemodel(path)


def _read_archive(path: str) -> Weights:
    try:
        with np.load(path) as archive:
            return {name[:-2]: [archive[name], archive[f"{name[:-2]}_b"]] for name in archive if name.endswith("_w")}
    except (ValueError, KeyError, BadZipFile) as error:
        raise ModelError(f"{path!r}: arrays LAYER_w and LAYER_b were expected: {error}") from error


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
