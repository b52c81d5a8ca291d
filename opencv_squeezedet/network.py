"""A network as data: its layers in Caffe's terms, from which shapes, costs and every file format follow."""

from __future__ import annotations

import itertools
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.errors import ModelError

StrPath = str | os.PathLike[str]
Shape = tuple[int, ...]
Pair = tuple[int, int]
Weights = dict[str, list[NDArray[np.float32]]]
"""Each layer's blobs in Caffe's order and shapes: for a convolution its kernel (O, I / groups, h, w) and bias (O,)."""


@dataclass(frozen=True, kw_only=True)
class Layer(ABC):
    """One layer, which reads its bottoms and writes its tops, by name.

    Parameters
    ----------
    name : str
        Under which a caffemodel keeps the layer's weights.
    bottoms, tops : tuple of str
        The blobs that it reads and writes; a layer whose top is its bottom works in place.
    """

    name: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]

    @abstractmethod
    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return the tops' shapes for those of the bottoms; ModelError, that names the layer, where they do not fit."""

    def weight_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return the shapes of the blobs that a caffemodel keeps for the layer."""
        return []

    def macs(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """Return how many multiplications with a weight one pass takes."""
        return 0

    def error(self, message: str) -> ModelError:
        """Return an error that names the layer."""
        return ModelError(f"layer {self.name!r}: {message}")

    def _four_axes(self, shape: Shape) -> Shape:
        if len(shape) != 4:
            raise self.error(f"a bottom of (N, C, H, W) was expected, got {shape}")
        return shape


@dataclass(frozen=True, kw_only=True)
class _Filter(Layer):
    """What convolution and deconvolution share; pairs are (vertical, horizontal)."""

    outputs: int
    kernel: Pair
    stride: Pair = (1, 1)
    pad: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    bias: bool = True

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return (N, outputs, H', W')."""
        n, channels, *sides = self._four_axes(bottoms[0])
        if channels % self.groups or self.outputs % self.groups:
            raise self.error(f"{channels} inputs and {self.outputs} outputs cannot be split into {self.groups} groups")
        new = [self._side(*values) for values in zip(sides, self.kernel, self.stride, self.pad, self.dilation, strict=True)]
        if min(new) < 1:
            raise self.error(
                f"a bottom of {sides[1]}x{sides[0]} is smaller than the kernel of {self.kernel[1]}x{self.kernel[0]}"
            )
        return [(n, self.outputs, *new)]

    @staticmethod
    @abstractmethod
    def _side(side: int, kernel: int, stride: int, pad: int, dilation: int) -> int: ...

    def _with_bias(self, kernel: Shape) -> list[Shape]:
        return [kernel, (self.outputs,)] if self.bias else [kernel]


@dataclass(frozen=True, kw_only=True)
class Convolution(_Filter):
    """Caffe's Convolution."""

    @staticmethod
    def _side(side: int, kernel: int, stride: int, pad: int, dilation: int) -> int:
        return (side + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1

    def weight_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return (O, I / groups, h, w) and (O,)."""
        return self._with_bias((self.outputs, bottoms[0][1] // self.groups, *self.kernel))

    def macs(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """Return kernel size times output values."""
        return math.prod(tops[0]) * bottoms[0][1] // self.groups * math.prod(self.kernel)


@dataclass(frozen=True, kw_only=True)
class Deconvolution(_Filter):
    """Caffe's Deconvolution: a transposed convolution."""

    @staticmethod
    def _side(side: int, kernel: int, stride: int, pad: int, dilation: int) -> int:
        return (side - 1) * stride + dilation * (kernel - 1) + 1 - 2 * pad

    def weight_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return (I, O / groups, h, w) and (O,)."""
        return self._with_bias((bottoms[0][1], self.outputs // self.groups, *self.kernel))

    def macs(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """Return kernel size times input values."""
        return math.prod(bottoms[0]) * self.outputs // self.groups * math.prod(self.kernel)


class _SameShape(Layer):
    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return the bottom's shape."""
        return [bottoms[0]]


@dataclass(frozen=True, kw_only=True)
class ReLU(_SameShape):
    """Caffe's ReLU: x where positive, else slope * x."""

    slope: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Dropout(_SameShape):
    """Caffe's Dropout: nothing, outside training."""

    ratio: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Sigmoid(_SameShape):
    """Caffe's Sigmoid."""


@dataclass(frozen=True, kw_only=True)
class Softmax(_SameShape):
    """Caffe's Softmax over one axis."""

    axis: int = 1

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return the bottom's shape."""
        if not -len(bottoms[0]) <= self.axis < len(bottoms[0]):
            raise self.error(f"a bottom of {bottoms[0]} has no axis {self.axis}")
        return [bottoms[0]]


@dataclass(frozen=True, kw_only=True)
class Pooling(Layer):
    """Caffe's Pooling, whose windows may reach over the border; ``kernel`` None pools over the whole map."""

    method: str = "max"
    kernel: Pair | None = None
    stride: Pair = (1, 1)
    pad: Pair = (0, 0)

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return (N, C, H', W'), rounded up."""
        n, channels, *sides = self._four_axes(bottoms[0])
        if self.kernel is None:
            return [(n, channels, 1, 1)]
        windows = list(zip(sides, self.kernel, self.stride, self.pad, strict=True))
        if any(side + 2 * pad < kernel for side, kernel, _, pad in windows):
            raise self.error(
                f"a bottom of {sides[1]}x{sides[0]} is smaller than the kernel of {self.kernel[1]}x{self.kernel[0]}"
            )
        lengths = [-((kernel - side - 2 * pad) // stride) + 1 for side, kernel, stride, pad in windows]
        for i, (side, _, stride, pad) in enumerate(windows):
            if pad and (lengths[i] - 1) * stride >= side + pad:  # the last window would lie in the padding alone
                lengths[i] -= 1
        return [(n, channels, *lengths)]


@dataclass(frozen=True, kw_only=True)
class Concat(Layer):
    """Caffe's Concat along one axis."""

    axis: int = 1

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return the bottoms' shape with the axis' lengths summed."""
        first = bottoms[0]
        if not 0 <= self.axis < len(first):
            raise self.error(f"a bottom of {first} has no axis {self.axis}")
        rest = [shape[: self.axis] + shape[self.axis + 1 :] for shape in bottoms]
        if any(shape != rest[0] for shape in rest):
            raise self.error(f"bottoms of {', '.join(map(str, bottoms))} differ in more than axis {self.axis}")
        total = sum(shape[self.axis] for shape in bottoms)
        return [(*first[: self.axis], total, *first[self.axis + 1 :])]


@dataclass(frozen=True, kw_only=True)
class Eltwise(Layer):
    """Caffe's Eltwise sum, as the bypasses of SqueezeNet's residual variant take it."""

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return the bottoms' shape."""
        if any(shape != bottoms[0] for shape in bottoms):
            raise self.error(f"bottoms of one shape were expected, got {', '.join(map(str, bottoms))}")
        return [bottoms[0]]


@dataclass(frozen=True, kw_only=True)
class Permute(Layer):
    """Caffe's (SSD's) Permute."""

    order: tuple[int, ...]

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return the bottom's lengths in the new order."""
        if sorted(self.order) != list(range(len(bottoms[0]))):
            raise self.error(f"the order {self.order} does not fit a bottom of {bottoms[0]}")
        return [tuple(bottoms[0][axis] for axis in self.order)]


@dataclass(frozen=True, kw_only=True)
class Slice(Layer):
    """Caffe's Slice along one axis, at the given points."""

    points: tuple[int, ...]
    axis: int = 1

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return one shape for each part."""
        shape = bottoms[0]
        if not 0 <= self.axis < len(shape):
            raise self.error(f"a bottom of {shape} has no axis {self.axis}")
        edges = (0, *self.points, shape[self.axis])
        if len(self.tops) != len(edges) - 1:
            raise self.error(f"{len(self.points)} slice points make {len(edges) - 1} tops, it has {len(self.tops)}")
        lengths = [end - start for start, end in itertools.pairwise(edges)]
        if min(lengths) < 1:
            raise self.error(f"slice points {self.points} do not fit axis {self.axis} of a bottom of {shape}")
        return [(*shape[: self.axis], length, *shape[self.axis + 1 :]) for length in lengths]


@dataclass(frozen=True, kw_only=True)
class Reshape(Layer):
    """Caffe's Reshape: 0 keeps the bottom's length, -1 takes what is left."""

    dims: tuple[int, ...]

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return the new shape, of as many values."""
        shape = bottoms[0]
        if sum(dim == -1 for dim in self.dims) > 1 or min(self.dims, default=0) < -1:
            raise self.error(f"dims must be lengths, 0, and at most one -1, got {self.dims}")
        if any(dim == 0 and i >= len(shape) for i, dim in enumerate(self.dims)):
            raise self.error(f"dims {self.dims} keep an axis that a bottom of {shape} does not have")
        new = [shape[i] if dim == 0 else dim for i, dim in enumerate(self.dims)]
        known = math.prod(dim for dim in new if dim != -1)
        total = math.prod(shape)
        if -1 in new and known and total % known == 0:
            new[new.index(-1)] = total // known
        if math.prod(new) != total:
            raise self.error(f"a bottom of {shape} has {total} values, which cannot be reshaped to {self.dims}")
        return [tuple(new)]


@dataclass(frozen=True)
class Step:
    """A layer with the shapes that it has in a network."""

    layer: Layer
    bottoms: list[Shape]
    tops: list[Shape]

    @property
    def weights(self) -> list[Shape]:
        """The shapes of its blobs."""
        return self.layer.weight_shapes(self.bottoms)

    @property
    def parameters(self) -> int:
        """How many weights it has."""
        return sum(map(math.prod, self.weights))

    @property
    def macs(self) -> int:
        """Multiplications with a weight in one pass."""
        return self.layer.macs(self.bottoms, self.tops)


@dataclass(frozen=True)
class Network:
    """A network with one input; its layers stand in the order in which they run.

    Parameters
    ----------
    name : str
        The network's.
    input_name : str
        The input blob's.
    input_shape : (int, int, int, int)
        (N, C, H, W).
    layers : tuple of Layer
        The layers. Each blob that one reads is the input or a top of an earlier layer.
    """

    name: str
    input_name: str
    input_shape: Shape
    layers: tuple[Layer, ...]

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The layers with their shapes.

        Raises
        ------
        ModelError
            That names the layer whose bottoms are missing, or do not fit it, and two layers of one name.
        """
        blobs = {self.input_name: self.input_shape}
        steps = []
        names: set[str] = set()
        for layer in self.layers:
            if layer.name in names:
                raise layer.error("another layer has the same name")
            names.add(layer.name)
            if missing := [bottom for bottom in layer.bottoms if bottom not in blobs]:
                raise layer.error(f"no earlier layer gives its bottom {missing[0]!r}")
            bottoms = [blobs[bottom] for bottom in layer.bottoms]
            tops = layer.top_shapes(bottoms)
            steps.append(Step(layer, bottoms, tops))
            blobs.update(zip(layer.tops, tops, strict=True))
        return tuple(steps)

    @property
    def parameters(self) -> int:
        """How many weights it has."""
        return sum(step.parameters for step in self.steps)

    @property
    def macs(self) -> int:
        """Multiplications with a weight in one pass over one input."""
        return sum(step.macs for step in self.steps) // self.input_shape[0]

    @property
    def output_names(self) -> tuple[str, ...]:
        """The blobs that no layer reads, in the order in which they are made."""
        made = dict.fromkeys(top for layer in self.layers for top in layer.tops)
        read = {bottom for layer in self.layers for bottom in layer.bottoms if bottom not in layer.tops}
        return tuple(top for top in made if top not in read)

    def shape_of(self, top: str) -> Shape:
        """Return the shape of a blob, by its name; ModelError if no layer gives it."""
        for step in self.steps:
            if top in step.layer.tops:
                return step.tops[step.layer.tops.index(top)]
        raise ModelError(f"no layer of {self.name!r} gives a blob {top!r}")

    def step(self, name: str) -> Step:
        """Return the layer of this name; ModelError, that tells the names there are, if there is none."""
        for step in self.steps:
            if step.layer.name == name:
                return step
        raise ModelError(f"{self.name!r} has no layer {name!r}, but {', '.join(layer.name for layer in self.layers)}")

    def weighted(self) -> Iterator[Step]:
        """Yield the layers that have weights."""
        return (step for step in self.steps if step.weights)

    def zero_weights(self) -> Weights:
        """Return weights of the right shapes, all 0, for a caffemodel or an ONNX file that is yet to be filled."""
        return {step.layer.name: [np.zeros(shape, np.float32) for shape in step.weights] for step in self.weighted()}

    def check_weights(self, weights: Mapping[str, Sequence[NDArray[np.float32]]]) -> None:
        """Check that each layer finds its blobs; what other layers have is ignored, as Caffe does.

        Raises
        ------
        ModelError
            That names the first layer that does not, the shapes that it needs and those that came, and says of all layers
            which fit, have other shapes, or are missing: the weights of another network are known by that.
        """
        fit, other, missing = [], [], []
        for step in self.weighted():
            name = step.layer.name
            if name not in weights:
                missing.append(step)
            elif [tuple(blob.shape) for blob in weights[name]] != step.weights:
                other.append(step)
            else:
                fit.append(step)
        if not other and not missing:
            return
        first = min(other + missing, key=lambda step: self.layers.index(step.layer))
        name = first.layer.name
        got = _listed([tuple(blob.shape) for blob in weights[name]]) if name in weights else "none"
        groups = {"fit": fit, "have other shapes": other, "are missing": missing}
        unknown = [name for name in weights if name not in {step.layer.name for step in self.weighted()}]
        raise first.layer.error(
            f"weights of {_listed(first.weights)} were expected, got {got}; of {self.name!r}: "
            + ", ".join(f"{_named([step.layer.name for step in steps])} {what}" for what, steps in groups.items() if steps)
            + (f"; the weights are also for {_named(unknown)}" if unknown else "")
        )


def shortest(value: float) -> float:
    """Return the number of the fewest digits that is this float32: 0.01 instead of 0.009999999776."""
    return float(str(np.float32(value)))


def _named(names: Sequence[str]) -> str:
    """How many, and the first of them."""
    return f"{len(names)} ({', '.join(names[:4])}{', ...' if len(names) > 4 else ''})"


def _listed(shapes: Sequence[Shape]) -> str:
    return " and ".join("x".join(map(str, shape)) for shape in shapes) or "none"
