"""A network's files in the forms that backends take: as they are, or converted to ONNX in memory."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from opencv_squeezedet.backends.base import no_layer, no_top
from opencv_squeezedet.blobs import Place, Places, onnx_names
from opencv_squeezedet.errors import ModelError, UnknownLayerError
from opencv_squeezedet.model_files import Files, check_not_empty

if TYPE_CHECKING:
    from opencv_squeezedet.network import Layer, Network, Weights


class NetworkContent:
    """A network's files, read, checked and converted at most once, however many backends are opened with them.

    Parameters
    ----------
    files : Files
        Where the network lies. `load_network` reads what this package understands, with the extra ``[onnx]``.
    """

    def __init__(self, files: Files) -> None:
        self.files = files
        self._converted: dict[str, tuple[bytes, dict[str, str] | None]] = {}

    @cached_property
    def network(self) -> tuple[Network, Weights]:
        """The network and its weights, which fit each other; errors as `formats.load_network`."""
        from opencv_squeezedet.formats import load_network  # takes an extra, and time to import

        return load_network(self.files)

    @cached_property
    def caffe(self) -> tuple[bytes, bytes]:
        """The contents of the prototxt and the caffemodel; OSError, or a ModelError for an empty file."""
        return _content(str(self.files.definition)), _content(str(self.files.weights))

    def onnx(self, outputs: Places | None) -> tuple[bytes, str, dict[str, str] | None]:
        """Return the network as ONNX, what errors call it, and the names of its outputs for the blobs.

        Raises
        ------
        ModelError
            If the files cannot be read or do not fit each other, or the network does not give these blobs.
        OSError
            If a file cannot be read.
        ImportError
            If Caffe's files are to be converted without the extra ``[onnx]``.
        """
        if self.files.onnx is not None:
            names = None if outputs is None else onnx_names(outputs)
            return self._onnx_file, repr(self.files.onnx), names
        key = repr(outputs)
        if key not in self._converted:
            self._converted[key] = self._convert(outputs)
        content, names = self._converted[key]
        return content, str(self.files), names

    @cached_property
    def _onnx_file(self) -> bytes:
        return _content(str(self.files.onnx))

    def _convert(self, outputs: Places | None) -> tuple[bytes, dict[str, str] | None]:
        network, weights = self.network
        from opencv_squeezedet.formats import onnx_bytes

        if outputs is None:
            return onnx_bytes(network, weights), None
        names = {blob: _top(network, str(self.files), place, blob) for blob, place in outputs.items()}
        return onnx_bytes(_up_to(network, set(names.values())), weights), names

    def check(self) -> None:
        """Check Caffe's files before OpenCV sees them, which finds weights of other shapes only when it runs.

        Without the extra ``[onnx]``, and for layers that it does not know, what OpenCV finds has to do.

        Raises
        ------
        ModelError
            That names the layer, what it has and what was expected.
        """
        if self.files.definition is None:
            return
        with suppress(ImportError, UnknownLayerError):
            _ = self.network

    def misfit(self, size: tuple[int, int]) -> str | None:
        """Say which layer does not take what an input of (width, height) makes of it; None if that cannot be told."""
        try:
            network, _ = self.network
        except (ImportError, ModelError):
            return None
        try:
            _ = replace(network, input_shape=(1, 3, size[1], size[0])).steps
        except ModelError as error:
            return str(error)
        return None


def _content(path: str) -> bytes:
    check_not_empty(path)
    with open(path, "rb") as file:
        return file.read()


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
