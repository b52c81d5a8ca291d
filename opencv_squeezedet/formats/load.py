"""Network files found by their stem, read and checked together."""

from __future__ import annotations

from pathlib import Path

from opencv_squeezedet.architectures import squeezenet_v1_0
from opencv_squeezedet.errors import ModelError
from opencv_squeezedet.formats.caffemodel import read_caffemodel
from opencv_squeezedet.formats.deep_compression import read_compressed
from opencv_squeezedet.formats.onnx_reader import read_onnx
from opencv_squeezedet.formats.prototxt import read_prototxt
from opencv_squeezedet.network import Network, StrPath, Weights

COMPLETE = {".onnx", ".net"}
"""Suffixes of files that hold definition and weights."""
_OF_A_STEM = {".caffemodel", ".json", ".prototxt"}


def network_files(model: StrPath, weights: StrPath | None = None) -> tuple[Path, Path | None]:
    """Find the files of a network.

    Parameters
    ----------
    model : path
        ``NAME.onnx``, ``NAME.net``; or ``NAME.prototxt``, ``NAME.caffemodel``, ``NAME.json`` or the stem ``NAME`` for
        ``NAME.prototxt``, or ``NAME.onnx`` where there is no prototxt.
    weights : path, optional
        The weights of a prototxt. Default: ``NAME.caffemodel``, if there is one.

    Returns
    -------
    (Path, Path or None)
        The definition, and the weights, which are None where the definition has them or there are none.

    Raises
    ------
    FileNotFoundError
        That names the file that is missing.
    ModelError
        If weights are given for a file that has its own.
    """
    path = Path(model)
    if path.suffix not in COMPLETE:
        stem = path.with_suffix("") if path.suffix in _OF_A_STEM else path
        path = Path(f"{stem}.prototxt")
        if weights is None and not path.is_file() and Path(f"{stem}.onnx").is_file():
            path = Path(f"{stem}.onnx")
    if not path.is_file():
        raise FileNotFoundError(f"no network at {str(path)!r}")
    if path.suffix in COMPLETE:
        if weights is not None:
            raise ModelError(f"{str(path)!r} has weights of its own, {str(weights)!r} cannot be used with it")
        return path, None
    if weights is not None and not Path(weights).is_file():
        raise FileNotFoundError(f"no weights at {str(weights)!r}")
    found = path.with_suffix(".caffemodel") if weights is None else Path(weights)
    return path, found if found.is_file() else None


def load_network(definition: StrPath, weights: StrPath | None = None) -> tuple[Network, Weights]:
    """Read a network with its weights, and check that they fit each other.

    Parameters
    ----------
    definition, weights : path
        As in `network_files`. Weights may be a ``.net`` file, and those of a ``.net`` alone are for `squeezenet_v1_0`.

    Returns
    -------
    (Network, Weights)
        The weights that the network's layers have, no others.

    Raises
    ------
    FileNotFoundError, OSError
        If a file is missing, or cannot be read.
    ModelError
        If a file is not what its suffix says, or the weights are another network's.
    ImportError
        Without the extra ``[onnx]``, for all files but ``.net``.
    """
    path, found = network_files(definition, weights)
    if path.suffix == ".onnx":
        return read_onnx(path)
    if path.suffix == ".net":
        return squeezenet_v1_0(), read_compressed(path)
    if found is None:
        raise FileNotFoundError(f"no weights at {str(path.with_suffix('.caffemodel'))!r}")
    network = read_prototxt(path)
    all_weights = read_compressed(found) if found.suffix == ".net" else read_caffemodel(found)
    try:
        network.check_weights(all_weights)
    except ModelError as error:
        raise ModelError(f"{str(path)!r} with {str(found)!r}: {error}") from error
    return network, {step.layer.name: all_weights[step.layer.name] for step in network.weighted()}
