"""The bytes of a network that a backend reads, as they are or converted, and the check of its inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from opencv_squeezedet._opencv import HAS_GRAPH_ENGINE, read_net_from_caffe
from opencv_squeezedet.backends.base import BackendName, no_layer, no_top
from opencv_squeezedet.backends.network_bytes import NetworkBytes
from opencv_squeezedet.blobs import OutputRef, OutputRefs
from opencv_squeezedet.errors import ModelError, UnknownLayerError
from opencv_squeezedet.formats.load import NetworkSource

if TYPE_CHECKING:
    from opencv_squeezedet.network import Network

InputCheck = Callable[[tuple[int, int] | None], str | None]
"""Returns the problem with a network, or with an input of (width, height) for it; None if there is none."""
Prepared = tuple[NetworkBytes, InputCheck]


def prepare(source: NetworkSource, backend: BackendName, outputs: OutputRefs | None) -> Prepared:
    """Return the bytes of a network that a backend reads, and the check of its inputs; nothing is opened yet.

    The layers and weights are checked, unless the source is trusted. The inputs of a network with layers that this package
    does not describe are checked by a `Probe`, those of all others by the shapes of the layers.

    Raises
    ------
    ModelError
        If the network is damaged or inconsistent, or does not give these blobs; the message names the layer.
    """
    described = source.trusted or _is_described(source)
    contents = source.caffe() if backend == "opencv" and read_net_from_caffe is not None else None
    if contents is None and (onnx := source.onnx()) is not None:
        contents = (onnx,)
    network = _converted(source, backend, outputs) if contents is None else NetworkBytes(contents, source.name, outputs)
    if described:
        return network, partial(_check_shapes, source)
    from opencv_squeezedet.backends.probe import Probe  # imported lazily

    return network, Probe(network, backend)


def prepare_tops(source: NetworkSource, backend: BackendName, tops: Sequence[str]) -> Prepared:
    """Return the part of a network that makes these tops, as ONNX, and the check of its inputs; errors as for `prepare`."""
    return _part(source, backend, {top: top for top in tops}), partial(_check_shapes, source)


def _is_described(source: NetworkSource) -> bool:
    """Whether this package describes all layers; ModelError if they or the weights are damaged."""
    try:
        _ = source.weights, source.network
    except UnknownLayerError:
        return False
    return True


def _converted(source: NetworkSource, backend: BackendName, outputs: OutputRefs | None) -> NetworkBytes:
    network = source.network
    if outputs is None:
        return NetworkBytes((_onnx(source, network, backend),), source.name, None)
    return _part(source, backend, {blob: _top(network, source.name, ref, blob) for blob, ref in outputs.items()})


def _part(source: NetworkSource, backend: BackendName, outputs: dict[str, str]) -> NetworkBytes:
    """The part of a network that makes the tops in ``outputs``."""
    tops = list(dict.fromkeys(outputs.values()))
    return NetworkBytes((_onnx(source, source.network.up_to(tops), backend, tops),), source.name, outputs)


def _onnx(source: NetworkSource, network: Network, backend: BackendName, tops: Sequence[str] | None = None) -> bytes:
    from opencv_squeezedet.formats import onnx_bytes

    return onnx_bytes(network, source.weights, outputs=tops, opencv=backend == "opencv" and HAS_GRAPH_ENGINE)


def _check_shapes(source: NetworkSource, size: tuple[int, int] | None) -> str | None:
    """Return what the shapes of the layers show; a trusted network is decoded only if an input's size is in question."""
    try:
        if size is not None:
            _ = replace(source.network, input_shape=(1, 3, size[1], size[0])).steps
        elif not source.trusted:
            _ = source.network.steps
    except ModelError as error:
        return str(error)
    return None


def _top(network: Network, name: str, ref: OutputRef, blob: str) -> str:
    if isinstance(ref, str):
        return ref
    layer, top = ref
    tops = {step.layer.name: step.layer.tops for step in network.steps}
    if layer not in tops:
        raise no_layer(name, layer, blob)
    if top >= len(tops[layer]):
        raise no_top(layer, len(tops[layer]), top, blob)
    return tops[layer][top]
