"""Caffe's files made into ONNX in memory, for what does not read them; takes the extra ``[onnx]``."""

from __future__ import annotations

from dataclasses import replace

from opencv_squeezedet import formats
from opencv_squeezedet.architectures import ARCHITECTURES
from opencv_squeezedet.backends import Files, Outputs, Place, check_not_empty, no_layer, no_top
from opencv_squeezedet.errors import ModelError
from opencv_squeezedet.network import Layer, Network, Weights


def converted(files: Files, outputs: Outputs | None) -> tuple[bytes, dict[str, str] | None]:
    """Return Caffe's network as ONNX, with what its outputs are called that give the blobs asked for.

    Raises
    ------
    ModelError
        If the files cannot be read or do not fit each other, or the network does not give these blobs.
    OSError
        If a file cannot be read.
    ImportError
        Without the extra ``[onnx]``.
    """
    network, weights = load(files)
    if outputs is None:
        return formats.onnx_bytes(network, weights), None
    names = {blob: _top(network, str(files), place, blob) for blob, place in outputs.items()}
    return formats.onnx_bytes(_up_to(network, set(names.values())), weights), names


def load(files: Files) -> tuple[Network, Weights]:
    """Read a network with its weights, and check that they fit each other; errors as `converted`."""
    if files.onnx is not None and files.definition is None:
        return formats.read_onnx(files.onnx)
    for path in filter(None, (files.definition, files.weights)):
        check_not_empty(path)
    if files.architecture is None:
        return formats.load_network(str(files.definition), files.weights)
    network, weights = ARCHITECTURES[files.architecture](), read_weights(str(files.weights))
    network.check_weights(weights)
    return network, weights


def misfit(files: Files, size: tuple[int, int]) -> str | None:
    """Say which layer does not take what an input of (width, height) makes of it; None if that cannot be told."""
    try:
        network, _ = load(files)
    except ModelError:
        return None
    try:
        _ = replace(network, input_shape=(1, 3, size[1], size[0])).steps
    except ModelError as error:
        return str(error)
    return None


def read_weights(path: str) -> Weights:
    """Read a caffemodel or a Deep-Compressed ``.net``; errors as `converted`."""
    return formats.read_compressed(path) if path.endswith(".net") else formats.read_caffemodel(path)


def definition(files: Files) -> Network:
    """Read a network without its weights, where they lie apart; errors as `converted`."""
    if files.architecture is not None:
        return ARCHITECTURES[files.architecture]()
    if files.definition is not None:
        return formats.read_prototxt(files.definition)
    return formats.read_onnx(str(files.onnx))[0]


def _top(network: Network, name: str, place: Place, blob: str) -> str:
    if isinstance(place, str):
        return place
    layer, top = place
    tops = {step.layer.name: step.layer.tops for step in network.steps}
    if layer not in tops:
        raise no_layer(name, layer, blob)
    if top >= len(tops[layer]):
        raise no_top(layer, len(tops[layer]), top, blob)
    return tops[layer][top]


def _up_to(network: Network, tops: set[str]) -> Network:
    """The part of a network that makes these tops, which then are its outputs."""
    layers: list[Layer] = []
    needed = set(tops)
    for layer in reversed(network.layers):
        if not needed.isdisjoint(layer.tops):
            layers.insert(0, layer)
            needed.update(layer.bottoms)
    return replace(network, layers=tuple(layers))
