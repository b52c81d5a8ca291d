"""How some outputs of a network are computed: by real networks of OpenCV, and between them layers that run here."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet._opencv import read_net_from_caffe, silent_opencv
from opencv_squeezedet.caffe.errors import FAILED, NetError
from opencv_squeezedet.formats._wire import raw
from opencv_squeezedet.formats.onnx_writer import EXTERNAL, onnx_bytes
from opencv_squeezedet.network import Crop, DetectionOutput, Layer, Network, Pooling, PriorBox, Shape, Weights
from opencv_squeezedet.ssd import ssd_postprocess

Array = NDArray[Any]
Values = dict[str, Array]
Settings = Mapping[str, Sequence[Any]]
"""Calls of a network's setters, by name."""


class RegisteredLayer(Protocol):
    """A layer in Python, of a class that the program has given to ``cv2.dnn_registerLayer``."""

    def getMemoryShapes(self, inputs: list[list[int]]) -> Sequence[Sequence[int]]:
        """Return the shapes of the outputs."""

    def forward(self, inputs: list[Array]) -> Sequence[Array]:
        """Return the outputs."""


registered: dict[str, list[Callable[[dict[str, Any], list[Array]], RegisteredLayer]]] = {}
"""The classes of each layer type that the program has registered; the last one counts."""


def kind_of(layer: Layer) -> str:
    """Return the layer's type in Caffe's files."""
    return layer.caffe_type or type(layer).__name__


# ---- real networks ------------------------------------------------------------------------------------------------------


@cache
def has_dialect() -> bool:
    """Whether this OpenCV reads its own layers as ONNX operators, which no documentation promises: a tiny network shows it."""
    layers = (
        PriorBox(name="prior", bottoms=("map", "image"), tops=("boxes",), smallest=(4.0,), largest=(9.0,), variance=(0.1,)),
        Crop(name="crop", bottoms=("image", "map"), tops=("cropped",), axis=2, offsets=(1,)),
    )
    network = Network("dialect", "image", (1, 1, 8, 8), layers, (("map", (1, 1, 2, 3)),))
    image = np.arange(64, dtype=np.float32).reshape(1, 1, 8, 8)
    try:
        with silent_opencv():
            net = _read(network, {}, ["boxes", "cropped"], opencv=True)
            net.setInput(image, "image")
            net.setInput(np.zeros((1, 1, 2, 3), np.float32), "map")
            boxes, cropped = net.forward(["boxes", "cropped"])
    except cv2.error:
        return False
    expected = layers[0].boxes([(1, 1, 2, 3), (1, 1, 8, 8)])
    return bool(np.allclose(boxes, expected, atol=1e-6) and np.array_equal(cropped, image[:, :, 1:3, 1:4]))


def _read(network: Network, weights: Weights, outputs: Sequence[str], *, opencv: bool) -> cv2.dnn.Net:
    """A network of OpenCV; for OpenCV 5 the weights have a file of their own, which it copies less often."""
    if read_net_from_caffe is None:  # OpenCV 4 crashes on such files
        external: list[Array] = []
        content = onnx_bytes(network, weights, outputs=outputs, opencv=opencv, external=external)
        with suppress(OSError), tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "network.onnx")
            with open(path, "wb") as file:
                file.write(content)
            with open(os.path.join(folder, EXTERNAL), "wb") as file:
                file.writelines(map(raw, external))
            return cv2.dnn.readNetFromONNX(path)
    content = onnx_bytes(network, weights, outputs=outputs, opencv=opencv)
    return cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8))


@dataclass
class Run:
    """Layers that one real network runs; it is made for the sizes of the inputs, and made anew for others.

    Parameters
    ----------
    layers : list of Layer
        The layers; each top is a value of its own.
    inputs, outputs : list of str
        The values that they read, and those that others need.
    """

    layers: list[Layer]
    inputs: list[str]
    outputs: list[str]
    net: cv2.dnn.Net | None = field(default=None, init=False)
    _given: list[Shape] = field(default_factory=list, init=False)
    _made: dict[str, Shape] = field(default_factory=dict, init=False)

    def __call__(self, values: Values, weights: Weights, settings: Settings) -> None:
        """Add the outputs to the values that are known."""
        given = [values[name].shape for name in self.inputs]
        if self.net is None or given != self._given:
            self._prepare(given, weights, settings)
        assert isinstance(self.net, cv2.dnn.Net)
        for name in self.inputs:
            self.net.setInput(values[name], name)
        for name, value in zip(self.outputs, map(np.asarray, self.net.forward(self.outputs)), strict=True):
            if value.size != math.prod(self._made[name]):
                raise NetError(f"OpenCV gives {name!r} in the shape {value.shape}, {self._made[name]} was expected")
            values[name] = value.reshape(self._made[name])

    def _prepare(self, given: list[Shape], weights: Weights, settings: Settings) -> None:
        """Check the shapes, and make the network, unless only the batch is another and all layers allow that."""
        (name, shape), *more = zip(self.inputs, given, strict=True)
        network = Network("network", name, shape, tuple(self.layers), tuple(more))
        self._made = {name: shape for step in network.steps for name, shape in zip(step.layer.tops, step.tops, strict=True)}
        same = [shape[1:] for shape in given] == [shape[1:] for shape in self._given]
        if self.net is None or not same or not _any_batch(network):
            self.net = None  # frees its memory first
            self.net = real_net(network, weights, self.outputs, settings)
        self._given = given


def _any_batch(network: Network) -> bool:
    """Whether an ONNX file of the network runs with a batch of any length."""
    batches = {shape[0] for shape in network.inputs.values()}
    return len(batches) == 1 and all(step.layer.keeps_batch(len(step.bottoms[0])) for step in network.steps)


def real_net(network: Network, weights: Weights, outputs: Sequence[str], settings: Settings) -> cv2.dnn.Net:
    """Return a network of OpenCV with these outputs."""
    net = _read(network, network.fitted(weights), outputs, opencv=has_dialect())
    for setter, arguments in settings.items():
        getattr(net, setter)(*arguments)
    return net


# ---- layers that run here -----------------------------------------------------------------------------------------------


class Host:
    """A layer that runs here.

    Parameters
    ----------
    layer : Layer
        A DetectionOutput, or a layer of a type that the program has registered.
    """

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self._instance: RegisteredLayer | None = None

    @classmethod
    def takes(cls, layer: Layer) -> bool:
        """Whether a layer runs here."""
        return bool(registered.get(kind_of(layer))) or isinstance(layer, DetectionOutput)

    def __call__(self, values: Values, weights: Weights, settings: Settings) -> None:
        """Add the tops to the values that are known."""
        bottoms = [values[name] for name in self.layer.bottoms]
        if isinstance(self.layer, DetectionOutput) and not registered.get(kind_of(self.layer)):
            try:
                tops = [_detections(self.layer, bottoms)]
            except ValueError as error:
                raise NetError(f"layer {self.layer.name!r}: {error}") from error
        else:
            tops = self._run_registered(bottoms, weights)
        values.update(zip(self.layer.tops, tops, strict=True))

    def _run_registered(self, bottoms: list[Array], weights: Weights) -> list[Array]:
        layer, kind = self.layer, kind_of(self.layer)
        if self._instance is None:
            blobs = [blob.copy() for blob in weights.get(layer.name, [])]
            self._instance = registered[kind][-1](dict(layer.write_caffe()), blobs)
        shapes = self._instance.getMemoryShapes([list(bottom.shape) for bottom in bottoms])
        tops = [np.asarray(top, np.float32) for top in self._instance.forward(bottoms)]
        if [list(top.shape) for top in tops] != [list(shape) for shape in shapes] or len(tops) != len(layer.tops):
            got = ", ".join(str(top.shape) for top in tops)
            raise NetError(f"layer {layer.name!r}: the registered {kind} gives {got}, its getMemoryShapes {shapes}", FAILED)
        return tops


def _detections(layer: DetectionOutput, bottoms: Sequence[Array]) -> Array:
    """The top of a DetectionOutput: the rows found, then rows of zeros."""
    (shape,) = layer.top_shapes([bottom.shape for bottom in bottoms])
    rows = ssd_postprocess(
        *bottoms,
        code_type="CENTER_SIZE" if layer.centred else "CORNER",
        share_location=layer.shared,
        variance_encoded_in_target=layer.encoded,
        background_label_id=layer.background,
        confidence_threshold=layer.score_threshold,
        nms_threshold=min(layer.nms_threshold, 1.0),  # no IoU is above 1
        top_k=layer.top_k if layer.top_k > 0 else -1,
        keep_top_k=layer.keep,
        clip=layer.clip,
        normalized_bbox=layer.normalized,
    )
    top = np.zeros(shape, np.float32)
    top[0, 0, : len(rows)] = rows
    return top


# ---- the plan -----------------------------------------------------------------------------------------------------------


def plan(layers: Sequence[Layer], wanted: Sequence[str]) -> list[Run | Host]:
    """Return the steps that give the wanted values, each of which only one layer makes."""
    needed: list[Layer] = []
    values = set(wanted)
    for layer in reversed(layers):
        if not values.isdisjoint(layer.tops):
            if isinstance(layer, Pooling) and layer.tops[-1] not in values:
                layer = replace(layer, tops=layer.tops[:1])
            needed.insert(0, layer)
            values.update(layer.bottoms)
    groups: list[list[Layer] | Host] = []
    for layer in needed:
        if Host.takes(layer):
            groups.append(Host(layer))
        elif groups and isinstance(groups[-1], list):
            groups[-1].append(layer)
        else:
            groups.append([layer])
    steps: list[Run | Host] = []
    later = set(wanted)  # what is needed after each group, from the last to the first
    for group in reversed(groups):
        if isinstance(group, Host):
            later.update(group.layer.bottoms)
            steps.insert(0, group)
            continue
        made = dict.fromkeys(top for layer in group for top in layer.tops)
        read = dict.fromkeys(bottom for layer in group for bottom in layer.bottoms)
        inputs = [value for value in read if value not in made]
        steps.insert(0, Run(group, inputs, [value for value in made if value in later]))
        later.update(inputs)
    return steps


def with_own_tops(network: Network) -> tuple[Layer, ...]:
    """Return the layers, each top of which becomes a value of its own: of a chain in place, every layer can be asked for.

    As in OpenCV 4, a Silence without tops gets one for each bottom, and the MAX of windows a second one: where each value was.
    """
    current = {name: name for name in network.inputs}
    layers, taken = [], set(current)
    for layer in network.layers:
        tops = layer.tops or layer.bottoms
        if isinstance(layer, Pooling) and layer.method == "max" and layer.kernel is not None:
            tops = (*tops, f"{tops[0]}:places")[:2]
        names = []
        for top in tops:
            name, number = top, 1
            while name in taken:
                name, number = f"{top}:{number}", number + 1
            taken.add(name)
            names.append(name)
        if missing := [bottom for bottom in layer.bottoms if bottom not in current]:
            raise layer.error(f"no earlier layer gives its bottom {missing[0]!r}")
        layers.append(replace(layer, bottoms=tuple(current[bottom] for bottom in layer.bottoms), tops=tuple(names)))
        current.update(zip(tops, names, strict=True))
    return tuple(layers)
