"""A network as data: layers in the order they run; shapes, costs and every file format derive from them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.errors import ModelError
from opencv_squeezedet.network.layers import MOST_BLOB, Layer, Shape

MOST_VALUES = 1 << 30
"""How many values all blobs of a network may have together: 4 GiB as float32."""
MOST_WORK = 2 * 10**12
"""How many multiplications one pass may take, or what takes as long: some forty seconds. FCN-32s for a picture of 500x500 has
1.7 * 10^12; networks here have 10^9 to 10^10.
"""

Weights = dict[str, list[NDArray[np.float32]]]
"""Each layer's blobs in Caffe's order and shapes: for a convolution its kernel (O, I / groups, h, w) and bias (O,)."""


@dataclass(frozen=True)
class Step:
    """A layer and its shapes within a network."""

    layer: Layer
    bottoms: list[Shape]
    tops: list[Shape]

    @cached_property
    def weights(self) -> list[Shape]:
        """The shapes of its blobs."""
        return self.layer.weight_shapes(self.bottoms)

    @property
    def parameters(self) -> int:
        """How many weights it has."""
        return sum(map(math.prod, self.weights))

    @property
    def macs(self) -> int:
        """Multiplications by a weight in one pass."""
        return self.layer.macs(self.bottoms, self.tops)


@dataclass(frozen=True)
class Network:
    """A network; its layers are in the order they run.

    Parameters
    ----------
    name : str
        The network's name.
    input_name : str
        The first input's name.
    input_shape : tuple of int
        Its shape; of pictures (N, C, H, W).
    layers : tuple of Layer
        The layers. Each blob that a layer reads is an input or a top of an earlier layer; each that it writes is new, or one
        that it reads and works on in place.
    more_inputs : tuple of (str, tuple of int)
        The names and shapes of further inputs.
    """

    name: str
    input_name: str
    input_shape: Shape
    layers: tuple[Layer, ...]
    more_inputs: tuple[tuple[str, Shape], ...] = ()

    @property
    def inputs(self) -> dict[str, Shape]:
        """The shape of each input, by name."""
        return {self.input_name: self.input_shape, **dict(self.more_inputs)}

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The layers with their shapes.

        Raises
        ------
        ModelError
            If two inputs or two layers share a name, a layer's bottoms are missing or do not fit it, one of its tops is
            neither new nor one of its bottoms, or it takes the network beyond `MOST_VALUES` or `MOST_WORK`; the message names
            the layer.
        """
        blobs = self.inputs
        steps = []
        names: set[str] = set()
        if len(blobs) != 1 + len(self.more_inputs):
            raise ModelError(f"inputs of different names were expected, got {', '.join(map(repr, blobs))}")
        values, work = sum(map(math.prod, blobs.values())), 0
        if values > MOST_BLOB:
            raise ModelError(
                f"inputs of {', '.join(map(str, blobs.values()))} have {values} values, at most {MOST_BLOB} are possible"
            )
        for layer in self.layers:
            if layer.name in names:
                raise layer.error("another layer has the same name")
            names.add(layer.name)
            if not all(layer.tops):
                raise layer.error("a top of it has no name")
            if missing := [bottom for bottom in layer.bottoms if bottom not in blobs]:
                raise layer.error(f"no earlier layer gives its bottom {missing[0]!r}")
            others = blobs.keys() - layer.bottoms
            if again := [top for i, top in enumerate(layer.tops) if top in others or top in layer.tops[:i]]:
                raise layer.error(f"its top {again[0]!r} already exists")
            bottoms = [blobs[bottom] for bottom in layer.bottoms]
            tops = layer.top_shapes(bottoms)
            new = [shape for top, shape in zip(layer.tops, tops, strict=True) if top not in layer.bottoms]
            values, work = values + sum(map(math.prod, new)), work + layer.work(bottoms, tops)
            if max(map(math.prod, tops), default=0) > MOST_BLOB or values > MOST_VALUES or work > MOST_WORK:
                raise layer.error(
                    f"tops of {', '.join(map(str, tops[:4]))}, {values} values and {work} operations up to here are too many; "
                    f"at most {MOST_BLOB} values in a blob, {MOST_VALUES} in all, and {MOST_WORK} operations are possible"
                )
            steps.append(Step(layer, bottoms, tops))
            blobs.update(zip(layer.tops, tops, strict=True))
        return tuple(steps)

    @property
    def input_size(self) -> tuple[int, int]:
        """Width and height of the first input, pixels; ModelError if it is no picture."""
        if len(self.input_shape) != 4:
            raise ModelError(f"input {self.input_name!r}: a shape (N, C, H, W) was expected, got {self.input_shape}")
        return self.input_shape[3], self.input_shape[2]

    def resized(self, size: tuple[int, int]) -> Network:
        """Return the network for a first input of another (width, height), with the same weights.

        Raises
        ------
        ModelError
            If a layer does not allow the size; the message names the layer.
        """
        _ = self.input_size
        shape = (*self.input_shape[:2], size[1], size[0])
        blobs = {**self.inputs, self.input_name: shape}
        layers = []
        for step in self.steps:
            bottoms = [blobs[bottom] for bottom in step.layer.bottoms]
            layer = step.layer.resized(step.bottoms, bottoms)
            blobs.update(zip(layer.tops, layer.top_shapes(bottoms), strict=True))
            layers.append(layer)
        return replace(self, input_shape=shape, layers=tuple(layers))

    def up_to(self, tops: Sequence[str]) -> Network:
        """Return the part of the network that makes these blobs."""
        layers: list[Layer] = []
        needed = set(tops)
        for layer in reversed(self.layers):
            if not needed.isdisjoint(layer.tops):
                layers.insert(0, layer)
                needed.update(layer.bottoms)
        more = tuple((name, shape) for name, shape in self.more_inputs if name in needed)
        return replace(self, layers=tuple(layers), more_inputs=more)

    def with_inputs(self, shapes: Mapping[str, Shape]) -> Network:
        """Return the network for inputs of other shapes, by name."""
        first, *more = {**self.inputs, **shapes}.items()
        return replace(self, input_shape=first[1], more_inputs=tuple(more))

    @property
    def parameters(self) -> int:
        """How many weights it has."""
        return sum(step.parameters for step in self.steps)

    @property
    def macs(self) -> int:
        """Multiplications by a weight in one pass over one input."""
        return sum(step.macs for step in self.steps) // self.input_shape[0]

    @property
    def output_names(self) -> tuple[str, ...]:
        """The blobs that no layer reads, in the order they are made; those that only a Silence reads if there is no other."""
        made = dict.fromkeys(top for layer in self.layers for top in layer.tops)
        read = {bottom: bool(layer.tops) for layer in self.layers for bottom in layer.bottoms if bottom not in layer.tops}
        return tuple(top for top in made if top not in read) or tuple(top for top in made if not read[top])

    def shape_of(self, top: str) -> Shape:
        """Return the shape of a blob, by its name; ModelError if no layer gives it."""
        for step in self.steps:
            if top in step.layer.tops:
                return step.tops[step.layer.tops.index(top)]
        raise ModelError(f"no layer of {self.name!r} gives a blob {top!r}")

    def step(self, name: str) -> Step:
        """Return the layer of this name; if there is none, ModelError lists the names that exist."""
        for step in self.steps:
            if step.layer.name == name:
                return step
        raise ModelError(f"{self.name!r} has no layer {name!r}; it has {', '.join(layer.name for layer in self.layers)}")

    def weighted(self) -> Iterator[Step]:
        """Yield the layers that have weights."""
        return (step for step in self.steps if step.weights)

    def trained(self) -> Iterator[Step]:
        """Yield the layers whose weights are trained."""
        return (step for step in self.weighted() if step.layer.trained)

    def zero_weights(self) -> Weights:
        """Return weights of the right shapes, for a caffemodel or an ONNX file to be filled later: 0, and 1 where fixed."""
        return {
            step.layer.name: [np.full(shape, not step.layer.trained, np.float32) for shape in step.weights]
            for step in self.weighted()
        }

    def fitted(self, weights: Mapping[str, Sequence[NDArray[np.float32]]]) -> Weights:
        """Return weights with more or fewer axes of length 1, where a layer needs them: old files have four axes."""
        fitted: Weights = {name: list(blobs) for name, blobs in weights.items()}
        for step in self.weighted():
            blobs = fitted.get(step.layer.name, [])
            for i, (blob, shape) in enumerate(zip(blobs, step.weights, strict=False)):
                if _long(blob.shape) == _long(shape):
                    blobs[i] = blob.reshape(shape)
        return fitted

    def check_weights(self, weights: Mapping[str, Sequence[NDArray[np.float32]]]) -> None:
        """Check that there are fitting weights for each layer; weights of other layers are ignored, as in Caffe.

        Raises
        ------
        ModelError
            If a layer's weights do not fit. It names the first such layer, the shapes it needs and those given, and lists
            which layers fit, have other shapes, or are missing: that shows whether the weights are another network's.
        """
        self.check_shapes({name: [blob.shape for blob in blobs] for name, blobs in weights.items()})
        for step in self.weighted():
            if not step.layer.trained and any((blob != 1).any() for blob in weights[step.layer.name]):
                raise step.layer.error("a kernel of ones, which is never trained, was expected")

    def check_shapes(self, shapes: Mapping[str, Sequence[Shape]]) -> None:
        """Check the shapes of each layer's weights; ModelError as `check_weights`."""
        fit, other, missing = [], [], []
        for step in self.weighted():
            name = step.layer.name
            if name not in shapes:
                missing.append(step)
            elif list(shapes[name]) != step.weights:
                other.append(step)
            else:
                fit.append(step)
        if not other and not missing:
            return
        first = min(other + missing, key=lambda step: self.layers.index(step.layer))
        name = first.layer.name
        got = _listed(shapes[name]) if name in shapes else "none"
        groups = {"fit": fit, "have other shapes": other, "are missing": missing}
        unknown = [name for name in shapes if name not in {step.layer.name for step in self.weighted()}]
        raise first.layer.error(
            f"weights of {_listed(first.weights)} were expected, got {got}; of {self.name!r}: "
            + ", ".join(f"{_named([step.layer.name for step in steps])} {what}" for what, steps in groups.items() if steps)
            + (f"; there are also weights for {_named(unknown)}" if unknown else "")
        )


def _long(shape: Shape) -> list[int]:
    return [length for length in shape if length != 1]


def _named(names: Sequence[str]) -> str:
    """How many names there are, and the first of them."""
    return f"{len(names)} ({', '.join(names[:4])}{', ...' if len(names) > 4 else ''})"


def _listed(shapes: Sequence[Shape]) -> str:
    return " and ".join("x".join(map(str, shape)) for shape in shapes) or "none"
