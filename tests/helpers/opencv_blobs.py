"""A Caffe network with the blobs that OpenCV 4 gives by the names of its layers."""

from __future__ import annotations

from dataclasses import replace

from opencv_squeezedet.network import Convolution, Layer, Network


def by_layer(network: Network) -> Network:
    """Return the network with a blob for each top, none of them overwritten in place, named as in `by_opencv_name`."""
    names = {name: name for name in network.inputs}
    layers = []
    for layer in network.layers:
        bottoms = tuple(names.get(bottom, bottom) for bottom in layer.bottoms)
        tops = tuple(f"{layer.name}:{i}" if i else layer.name for i in range(len(layer.tops)))
        tops = layer.tops if _named_by_tops(layer) else tops
        names.update(zip(layer.tops, tops, strict=True))
        layers.append(replace(layer, bottoms=bottoms, tops=tops))
    return replace(network, layers=tuple(layers))


def by_opencv_name(network: Network) -> dict[str, tuple[str, ...]]:
    """Return the blobs that OpenCV 4 gives for each layer's name: its tops, or the bottoms of a layer without tops.

    The blobs of a Convolution have the names of its tops.
    """
    blobs: dict[str, tuple[str, ...]] = {}
    for layer in network.layers:
        blobs |= {top: (top,) for top in layer.tops} if _named_by_tops(layer) else {layer.name: layer.tops or layer.bottoms}
    return blobs


def _named_by_tops(layer: Layer) -> bool:
    return type(layer) is Convolution
