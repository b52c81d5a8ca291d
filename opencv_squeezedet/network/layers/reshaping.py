"""Layers that keep all values, in another shape or order: Reshape, Flatten, Permute, ShuffleChannel, Reorg."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from opencv_squeezedet.network.layers.base import Layer, SameShape
from opencv_squeezedet.network.layers.interfaces import (
    CaffeParameter,
    OnnxNode,
    OnnxOperator,
    OnnxWriter,
    OptionError,
    Options,
    Shape,
    TorchRun,
)

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Flatten", "Permute", "Reorg", "Reshape", "ShuffleChannel"]


@dataclass(frozen=True, kw_only=True)
class Reshape(Layer):
    """Caffe's Reshape: 0 keeps the bottom's length, -1 takes the rest.

    It may be of ``axes`` axes, from ``axis`` on; the others are kept.
    """

    dims: tuple[int, ...]
    axis: int = 0
    axes: int = -1

    caffe = CaffeParameter("133 reshape_param ReshapeParameter", "1 shape BlobShape; 2 axis int32; 3 num_axes int32=-1")
    caffe_fields: ClassVar = {"axis": "axis", "axes": "num_axes"}
    onnx: ClassVar = {"Reshape": OnnxOperator("allowzero")}

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        before, shape, after = self._parts(bottoms[0])
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
        return [(*before, *new, *after)]

    def _parts(self, shape: Shape) -> tuple[Shape, Shape, Shape]:
        """The lengths before the axes that change, theirs, and those behind."""
        end = len(shape) if self.axes == -1 else self.axis + self.axes
        if end > len(shape):
            raise self.error(f"a bottom of {shape} has no {self.axes} axes from axis {self.axis} on")
        return shape[: self.axis], shape[self.axis : end], shape[end:]

    def resized(self, old: Sequence[Shape], new: Sequence[Shape]) -> Reshape:
        """Return the layer with the dims that contain an axis of the bottom scaled as that axis is."""
        (before,), (after,), (top,) = old, new, self.top_shapes(old)
        if self.axis or self.axes != -1:
            return self
        dims = list(self.dims)
        for axis, (length, other) in enumerate(zip(before, after, strict=True)):
            if length == other:
                continue
            outside = math.prod(before[:axis])  # rows of the bottom, whose values keep their order
            for i, dim in enumerate(top):
                if math.prod(top[:i]) <= outside and math.prod(top[:i]) * dim >= outside * length and dim % length == 0:
                    break
            else:
                raise self.error(f"dims {self.dims} are for a bottom of {before}, got {after}")
            if dims[i] > 0:
                dims[i] = dims[i] // length * other
        return replace(self, dims=tuple(dims))

    def keeps_batch(self, rank: int) -> bool:
        return self.axis > 0 or self.dims[:1] == (0,)

    @classmethod
    def read_caffe(cls, param: Any) -> Options:
        if param.axis < 0 or param.num_axes == 0 or param.num_axes < -1:
            raise OptionError(f"axis from 0 and num_axes from 1 up were expected, got {param.axis} and {param.num_axes}")
        return super().read_caffe(param) | {"dims": tuple(param.shape.dim)}

    def write_caffe(self) -> Options:
        options: Options = {"shape": {"dim": self.dims}}
        return options | ({} if (self.axis, self.axes) == (0, -1) else super().write_caffe())

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        before, replaced, after = self._parts(bottoms[0])
        kept = [0] * len(after) if len(replaced) == len(self.dims) else after
        shape = writer.constant(f"{self.name}.shape", [*[0] * len(before), *self.dims, *kept])
        writer.node("Reshape", [*writer.bottoms, shape])

    @classmethod
    def from_onnx(cls, node: OnnxNode) -> Reshape:
        dims = node.constant_integers(1)
        if node.integer("allowzero", 0) and 0 in dims:
            raise node.error(f"lengths above 0 were expected, got {dims}")
        return cls(**node.blobs(constants=1), dims=dims)

    def torch_forward(self, bottoms: list[Tensor], run: TorchRun) -> Sequence[Tensor]:
        shape = bottoms[0].shape
        return (bottoms[0].reshape([shape[i] if dim == 0 else dim for i, dim in enumerate(self.dims)]),)


@dataclass(frozen=True, kw_only=True)
class Flatten(Layer):
    """Caffe's Flatten: one axis for those from the first to the last."""

    axis: int = 1
    last: int = -1

    caffe = CaffeParameter("135 flatten_param FlattenParameter", "1 axis int32=1; 2 end_axis int32=-1")
    caffe_fields: ClassVar = {"axis": "axis", "last": "end_axis"}

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        shape = bottoms[0]
        first, last = self._axis(self.axis, shape), self._axis(self.last, shape)
        if last < first:
            raise self.error(f"axes {self.axis} to {self.last} of a bottom of {shape} cannot be flattened")
        return [(*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :])]

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        first, last = (axis % len(bottoms[0]) for axis in (self.axis, self.last))
        shape = writer.constant(f"{self.name}.shape", [*[0] * first, -1, *bottoms[0][last + 1 :]])
        writer.node("Reshape", [*writer.bottoms, shape])


@dataclass(frozen=True, kw_only=True)
class Permute(Layer):
    """Caffe's (SSD's) Permute."""

    order: tuple[int, ...]

    caffe = CaffeParameter("202 permute_param PermuteParameter", "1 order uint32*")
    caffe_fields: ClassVar = {"order": "order"}
    onnx: ClassVar = {"Transpose": OnnxOperator("perm")}

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        if sorted(self.order) != list(range(len(bottoms[0]))):
            raise self.error(f"the order {self.order} does not fit a bottom of {bottoms[0]}")
        return [tuple(bottoms[0][axis] for axis in self.order)]

    def keeps_batch(self, rank: int) -> bool:
        return self.order[0] == 0

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        writer.node("Transpose", writer.bottoms, perm=self.order)

    @classmethod
    def from_onnx(cls, node: OnnxNode) -> Permute:
        backwards = tuple(range(len(node.shape)))[::-1]
        return cls(**node.blobs(), order=node.integers("perm", backwards))

    def torch_forward(self, bottoms: list[Tensor], run: TorchRun) -> Sequence[Tensor]:
        return (bottoms[0].permute(self.order),)


@dataclass(frozen=True, kw_only=True)
class ShuffleChannel(SameShape):
    """ShuffleNet's channel shuffle (Zhang et al., arXiv:1707.01083): channel g * k + i becomes channel i * groups + g.

    ONNX has no operator for it: the channels become a table, whose rows and columns are swapped.
    """

    groups: int = 2

    caffe = CaffeParameter("164 shuffle_channel_param ShuffleChannelParameter", "1 group uint32=1")
    caffe_fields: ClassVar = {"groups": "group"}
    onnx_parts = (Reshape, Permute, Reshape)

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        _, channels, _, _ = self._four_axes(bottoms[0])
        if self.groups < 1 or channels % self.groups:
            raise self.error(f"{channels} channels cannot be split into {self.groups} groups")
        return [bottoms[0]]

    def _tables(self, bottom: Shape) -> tuple[Shape, Shape, Shape]:
        """The shape with a row for each group, the order that swaps rows and columns, and the shape without rows."""
        _, channels, height, width = bottom
        return (0, self.groups, channels // self.groups, height * width), (0, 2, 1, 3), (0, channels, height, width)

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        """Write Reshape, Transpose and Reshape, or OpenCV's layer, which follows the size of the input."""
        if writer.opencv:
            writer.node("ShuffleChannel", writer.bottoms, group=self.groups)
            return
        rows, order, joined = self._tables(bottoms[0])
        shape = writer.constant(f"{self.name}/split.shape", rows)
        value = writer.node("Reshape", [*writer.bottoms, shape], part="split")
        value = writer.node("Transpose", [value], part="swap", perm=order)
        writer.node("Reshape", [value, writer.constant(f"{self.name}.shape", joined)])

    @classmethod
    def from_parts(cls, parts: Sequence[Any], bottom: Shape) -> ShuffleChannel | None:
        """Return the shuffle whose nodes `to_onnx` has written."""
        split, swap, join = parts
        if len(bottom) != 4 or len(split.dims) != 4 or (split.name, swap.name) != (f"{join.name}/split", f"{join.name}/swap"):
            return None
        layer = cls(name=join.name, bottoms=split.bottoms, tops=join.tops, groups=split.dims[1])
        fits = layer.groups >= 1 and bottom[1] % layer.groups == 0
        return layer if fits and layer._tables(bottom) == (split.dims, swap.order, join.dims) else None

    def torch_forward(self, bottoms: list[Tensor], run: TorchRun) -> Sequence[Tensor]:
        from torch.nn import functional

        return (functional.channel_shuffle(bottoms[0], self.groups),)


@dataclass(frozen=True, kw_only=True)
class Reorg(Layer):
    """Darknet's reorg as OpenCV 4 has it: each square of ``stride`` by ``stride`` pixels becomes that many channels."""

    stride: int = 2

    caffe = CaffeParameter("166 reorg_param ReorgParameter", "1 stride uint32=2; 2 reverse bool")
    caffe_fields: ClassVar = {"stride": "stride"}

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        n, channels, height, width = self._four_axes(bottoms[0])
        if self.stride < 1 or height % self.stride or width % self.stride or channels % self.stride**2:
            raise self.error(f"a bottom of {bottoms[0]} cannot be split by a stride of {self.stride}")
        return [(n, channels * self.stride**2, height // self.stride, width // self.stride)]

    @classmethod
    def read_caffe(cls, param: Any) -> Options:
        if param.reverse:
            raise OptionError("a Reorg in reverse is not supported")
        return super().read_caffe(param)

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        """Write Reshape, Transpose and Reshape, as darknet reads the map with fewer channels; or OpenCV's layer."""
        if writer.opencv:
            writer.node("Reorg", writer.bottoms, reorg_stride=self.stride)
            return
        (_, channels, height, width), s = bottoms[0], self.stride
        shape = writer.constant(f"{self.name}.rows", [0, channels // s**2, height, s, width, s])
        value = writer.node("Reshape", [*writer.bottoms, shape], part="split")
        value = writer.node("Transpose", [value], part="swap", perm=(0, 3, 5, 1, 2, 4))
        writer.node("Reshape", [value, writer.constant(f"{self.name}.shape", [0, *tops[0][1:]])])
