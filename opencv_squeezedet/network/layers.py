"""The layers of a network in Caffe's terms: the shapes of their tops, their weights, their costs."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from opencv_squeezedet.errors import ModelError

MOST_BLOB = 1 << 27
"""How many values a blob may have: half a GiB as float32."""
_SLOWER = 30
"""How much longer than a convolution's multiplication the steps of other layers take."""
MOST_LENGTH = 1 << 15
"""Of a kernel, a stride, a pad and a dilation."""

Shape = tuple[int, ...]
Pair = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Layer(ABC):
    """One layer, which reads its bottoms and writes its tops; both are named blobs.

    Parameters
    ----------
    name : str
        The name under which a caffemodel keeps the layer's weights.
    bottoms, tops : tuple of str
        The blobs that it reads and writes; a layer whose top is its bottom works in place.
    """

    name: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]

    @abstractmethod
    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return the tops' shapes for the bottoms' shapes; if they do not fit, ModelError names the layer."""

    def weight_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return the shapes of the blobs that a caffemodel keeps for the layer."""
        return []

    @property
    def trained(self) -> bool:
        """Whether its weights, if it has any, are trained; they are ones otherwise."""
        return True

    def macs(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """Return how many multiplications by a weight one pass takes."""
        return 0

    def work(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """Return how many multiplications of a convolution take as long as one pass."""
        return self.macs(bottoms, tops)

    def error(self, message: str) -> ModelError:
        """Return an error that names the layer."""
        return ModelError(f"layer {self.name!r}: {message}")

    def _not_too_long(self, *lengths: int) -> None:
        if max(lengths) > MOST_LENGTH:
            raise self.error(
                f"kernels, strides, pads and dilations of at most {MOST_LENGTH} were expected, got {max(lengths)}"
            )

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
        self._not_too_long(*self.kernel, *self.stride, *self.pad, *self.dilation)
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

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return (N, outputs, H', W')."""
        tops = super().top_shapes(bottoms)
        columns = math.prod(bottoms[0][2:]) * self.outputs * math.prod(self.kernel)
        if columns > MOST_BLOB:
            raise self.error(f"it takes {columns} values before they are summed, at most {MOST_BLOB} are possible")
        return tops

    @staticmethod
    def _side(side: int, kernel: int, stride: int, pad: int, dilation: int) -> int:
        return (side - 1) * stride + dilation * (kernel - 1) + 1 - 2 * pad

    def weight_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return (I, O / groups, h, w) and (O,)."""
        return self._with_bias((bottoms[0][1], self.outputs // self.groups, *self.kernel))

    def macs(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """Return kernel size times input values."""
        return math.prod(bottoms[0]) * self.outputs // self.groups * math.prod(self.kernel)

    def work(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """Return kernel size times output values: OpenCV 5 looks for all inputs that a value may come from."""
        return _SLOWER * math.prod(tops[0]) * math.prod(self.kernel) * bottoms[0][1] // self.groups


@dataclass(frozen=True, kw_only=True)
class Upsample(Layer):
    """Nearest-neighbour upsampling by an integer factor.

    Caffe has no layer for it. Its files say a Deconvolution of each channel whose kernel of ones is never trained, and a
    caffemodel has that kernel as the layer's weights; ONNX says Resize, which OpenCV 5 runs forty times faster.
    """

    channels: int
    factor: int = 2

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return (N, C, factor * H, factor * W)."""
        n, channels, height, width = self._four_axes(bottoms[0])
        self._not_too_long(self.factor)
        if channels != self.channels:
            raise self.error(f"a bottom of {self.channels} channels was expected, got {channels}")
        return [(n, channels, height * self.factor, width * self.factor)]

    def weight_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return (C, 1, factor, factor), the kernel of ones."""
        return [(self.channels, 1, self.factor, self.factor)]

    @property
    def trained(self) -> bool:
        """False: the kernel is fixed."""
        return False

    def work(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """Return the cost of the Deconvolution that Caffe's files say."""
        return _SLOWER * math.prod(tops[0]) * self.factor**2


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
    """Caffe's Dropout, which does nothing outside training."""

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
    """Caffe's Pooling, whose windows may extend over the border; with ``kernel`` None it pools over the whole map."""

    method: str = "max"
    kernel: Pair | None = None
    stride: Pair = (1, 1)
    pad: Pair = (0, 0)

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return (N, C, H', W'), rounded up."""
        n, channels, *sides = self._four_axes(bottoms[0])
        if self.kernel is None:
            return [(n, channels, 1, 1)]
        self._not_too_long(*self.kernel, *self.stride, *self.pad)
        windows = list(zip(sides, self.kernel, self.stride, self.pad, strict=True))
        if any(side + 2 * pad < kernel for side, kernel, _, pad in windows):
            raise self.error(
                f"a bottom of {sides[1]}x{sides[0]} is smaller than the kernel of {self.kernel[1]}x{self.kernel[0]}"
            )
        lengths = [-((kernel - side - 2 * pad) // stride) + 1 for side, kernel, stride, pad in windows]
        for i, (side, _, stride, pad) in enumerate(windows):
            if pad and (lengths[i] - 1) * stride >= side + pad:  # the last window would lie entirely in the padding
                lengths[i] -= 1
        return [(n, channels, *lengths)]

    def work(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """Return the size of the windows times output values."""
        looked_at = math.prod(bottoms[0]) if self.kernel is None else math.prod(tops[0]) * math.prod(self.kernel)
        return _SLOWER * looked_at


@dataclass(frozen=True, kw_only=True)
class Concat(Layer):
    """Caffe's Concat along one axis."""

    axis: int = 1

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return the bottoms' shape with the lengths along the axis summed."""
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
    """Caffe's Eltwise sum, as used by the bypasses of SqueezeNet's residual variant."""

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return the bottoms' shape."""
        if len(bottoms) < 2:
            raise self.error(f"two bottoms or more were expected, got {len(bottoms)}")
        if any(shape != bottoms[0] for shape in bottoms):
            raise self.error(f"bottoms of the same shape were expected, got {', '.join(map(str, bottoms))}")
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
class ShuffleChannel(_SameShape):
    """ShuffleNet's channel shuffle (Zhang et al., arXiv:1707.01083): channel g * k + i becomes channel i * groups + g."""

    groups: int = 2

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return the bottom's shape."""
        _, channels, _, _ = self._four_axes(bottoms[0])
        if self.groups < 1 or channels % self.groups:
            raise self.error(f"{channels} channels cannot be split into {self.groups} groups")
        return [bottoms[0]]


@dataclass(frozen=True, kw_only=True)
class Slice(Layer):
    """Caffe's Slice along one axis, at the given points."""

    points: tuple[int, ...]
    axis: int = 1

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return the shape of each part."""
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
    """Caffe's Reshape: 0 keeps the bottom's length, -1 takes the rest."""

    dims: tuple[int, ...]

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return the new shape, with the same number of values."""
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


def shortest(value: float) -> float:
    """Return the number with the fewest digits that gives this float32: 0.01 instead of 0.009999999776."""
    return float(str(np.float32(value)))
