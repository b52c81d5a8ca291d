"""Layers that put blobs together, cut them apart or pass them on: Concat, Slice, Crop, Eltwise, Axpy, Split, Silence."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from opencv_squeezedet.network.layers.base import Layer, shortest
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

__all__ = ["Axpy", "Concat", "Crop", "Eltwise", "Silence", "Slice", "Split"]

_LENGTHS_AS_INPUT = 13
"""The opset from which on Split's lengths are an input."""
_MOST_PARTS = 1 << 16
_OPERATIONS = ["product", "sum", "max"]
"""By Caffe's numbers."""
_SUM = 1


@dataclass(frozen=True, kw_only=True)
class Concat(Layer):
    """Caffe's Concat along one axis."""

    axis: int = 1

    arity = (0, 1)
    caffe = CaffeParameter("104 concat_param ConcatParameter", "1 concat_dim uint32; 2 axis int32=1", v1=9)
    onnx: ClassVar = {"Concat": OnnxOperator("axis")}

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        first = bottoms[0]
        axis = self._axis(self.axis, first)
        rest = [shape[:axis] + shape[axis + 1 :] for shape in bottoms]
        if any(shape != rest[0] for shape in rest):
            raise self.error(f"bottoms of {', '.join(map(str, bottoms))} differ in more than axis {self.axis}")
        total = sum(shape[axis] for shape in bottoms)
        return [(*first[:axis], total, *first[axis + 1 :])]

    @classmethod
    def read_caffe(cls, param: Any) -> Options:
        return {"axis": _axis(param, "concat_dim")}

    def write_caffe(self) -> Options:
        return {"axis": self.axis} if self.axis != 1 else {}

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        writer.node("Concat", writer.bottoms, axis=self.axis % len(bottoms[0]))

    @classmethod
    def from_onnx(cls, node: OnnxNode) -> Concat:
        return cls(**node.blobs(most=len(node.inputs)), axis=node.axis(1))

    def torch_forward(self, bottoms: list[Tensor], run: TorchRun) -> Sequence[Tensor]:
        import torch

        return (torch.cat(bottoms, self.axis),)


@dataclass(frozen=True, kw_only=True)
class Slice(Layer):
    """Caffe's Slice along one axis, at the given points; without points into equal parts."""

    points: tuple[int, ...] = ()
    axis: int = 1

    arity = (1, 0)
    caffe = CaffeParameter(
        "126 slice_param SliceParameter", "1 slice_dim uint32; 2 slice_point uint32*; 3 axis int32=1", v1=31
    )
    caffe_fields: ClassVar = {"points": "slice_point", "axis": "axis"}
    onnx: ClassVar = {"Split": OnnxOperator("axis split num_outputs", optional=1, outputs=_MOST_PARTS)}

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        shape, count = bottoms[0], len(self.tops)
        axis = self._axis(self.axis, shape)
        if not self.points and shape[axis] % count:
            raise self.error(f"axis {self.axis} of a bottom of {shape} does not fall into {count} equal parts")
        edges = (0, *(self.points or range(shape[axis] // count, shape[axis], shape[axis] // count)), shape[axis])
        if count != len(edges) - 1:
            raise self.error(f"{len(self.points)} slice points make {len(edges) - 1} tops, it has {count}")
        lengths = [end - start for start, end in itertools.pairwise(edges)]
        if min(lengths) < 1:
            raise self.error(f"slice points {self.points} do not fit axis {self.axis} of a bottom of {shape}")
        return [(*shape[:axis], length, *shape[axis + 1 :]) for length in lengths]

    @classmethod
    def read_caffe(cls, param: Any) -> Options:
        return super().read_caffe(param) | {"axis": _axis(param, "slice_dim")}

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        axis = self.axis % len(bottoms[0])
        lengths = [top[axis] for top in tops]
        if writer.opset < _LENGTHS_AS_INPUT:
            writer.node("Split", writer.bottoms, axis=axis, split=lengths)
        else:
            writer.node("Split", [*writer.bottoms, writer.constant(f"{self.name}.split", lengths)], axis=axis)

    @classmethod
    def from_onnx(cls, node: OnnxNode) -> Slice:
        """Read Split, whose lengths are an input, an attribute, or all the same."""
        axis, blobs = node.axis(0), node.blobs(constants=1)
        length, parts = node.shape[axis], len(node.outputs)
        if len(node.inputs) > 1:
            lengths = node.constant_integers(1)
        elif length % parts and not node.has("split"):
            raise node.error(f"an axis of {length} does not fall into {parts} equal parts")
        else:
            lengths = node.integers("split", (length // parts,) * parts)
        if len(lengths) != parts or sum(lengths) != length:
            raise node.damage(f"lengths {lengths} for {parts} outputs do not fit {node.shape}, axis {axis}")
        points = tuple(np.cumsum(lengths[:-1], dtype=np.int64).tolist())
        return cls(**{**blobs, "tops": tuple(node.outputs)}, points=points, axis=axis)

    def torch_forward(self, bottoms: list[Tensor], run: TorchRun) -> Sequence[Tensor]:
        import torch

        return torch.tensor_split(bottoms[0], self.points or len(self.tops), dim=self.axis)


@dataclass(frozen=True, kw_only=True)
class Eltwise(Layer):
    """Caffe's Eltwise: the sum of the bottoms, perhaps times coefficients; their product; or the greatest of each value."""

    operation: str = "sum"
    coefficients: tuple[float, ...] = ()

    arity = (0, 1)
    caffe = CaffeParameter(
        "110 eltwise_param EltwiseParameter",
        "1 operation Operation=SUM; 2 coeff float*; 3 stable_prod_grad bool",
        v1=24,
        enums=(("Operation", "PROD SUM MAX"),),
    )
    onnx: ClassVar = {"Add": OnnxOperator(), "Sum": OnnxOperator()}

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return the bottoms' shape; a single row or column is repeated."""
        if len(bottoms) < 2 or len(self.coefficients) not in (0, len(bottoms)):
            raise self.error(f"two bottoms or more, and no coeff or one for each, were expected, got {len(bottoms)}")
        top = tuple(map(max, zip(*bottoms, strict=False)))
        if any(
            len(shape) != len(top) or any(a not in (1, b) for a, b in zip(shape, top, strict=True)) for shape in bottoms
        ) or any(shape[:2] != top[:2] for shape in bottoms):
            raise self.error(f"bottoms of the same shape were expected, got {', '.join(map(str, bottoms))}")
        return [top]

    @classmethod
    def read_caffe(cls, param: Any) -> Options:
        coefficients = tuple(map(shortest, param.coeff)) if any(value != 1 for value in param.coeff) else ()
        if coefficients and param.operation != _SUM:
            raise OptionError("only a SUM can have coeff")
        return {"operation": _OPERATIONS[param.operation], "coefficients": coefficients}

    def write_caffe(self) -> Options:
        operation: Options = {} if self.operation == "sum" else {"operation": _OPERATIONS.index(self.operation)}
        return operation | ({"coeff": self.coefficients} if self.coefficients else {})

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        values = list(writer.bottoms)
        for i, factor in enumerate(self.coefficients):
            if factor != 1:
                constant = writer.constant(f"{self.name}.coeff{i}", factor)
                values[i] = writer.node("Mul", [values[i], constant], part=f"scaled{i}")
        if self.operation != "product":
            writer.node({"sum": "Sum", "max": "Max"}[self.operation], values)
            return
        product = values[0]
        for i, value in enumerate(values[1:], 2):
            product = writer.node("Mul", [product, value], part="" if i == len(values) else f"product{i}")

    @classmethod
    def from_onnx(cls, node: OnnxNode) -> Eltwise:
        if len(node.inputs) < 2:
            raise node.error("two inputs or more were expected")
        blobs = node.blobs(most=len(node.inputs))
        if len(shapes := {node.shape_of(name) for name in blobs["bottoms"]}) > 1:
            raise node.error(f"inputs of one shape were expected, got {', '.join(map(str, sorted(shapes)))}")
        return cls(**blobs)

    def torch_forward(self, bottoms: list[Tensor], run: TorchRun) -> Sequence[Tensor]:
        if self.operation != "sum" or self.coefficients:
            raise self.error("only a plain SUM can be trained")
        return (sum(bottoms[1:], bottoms[0]),)


@dataclass(frozen=True, kw_only=True)
class Axpy(Layer):
    """SENet's Axpy: the first bottom, a factor for each channel, times the second, plus the third.

    OpenCV 4 multiplies the third and adds the second, which no network is trained with.
    """

    arity = (3, 1)

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        factor, x, y = bottoms
        if x != y or factor not in (x[:2], (*x[:2], 1, 1)):
            raise self.error(f"factors of (N, C, 1, 1) and two bottoms of one shape were expected, got {factor}, {x}, {y}")
        return [self._four_axes(x)]

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        factor, x, y = writer.bottoms
        if len(bottoms[0]) == 2:
            factor = writer.node("Reshape", [factor, writer.constant(f"{self.name}.shape", [0, 0, 1, 1])], part="factor")
        writer.node("Add", [writer.node("Mul", [factor, x], part="product"), y])


@dataclass(frozen=True, kw_only=True)
class Crop(Layer):
    """Caffe's Crop: the first bottom with the second's lengths from an axis on.

    It begins at 0, at one offset, or at an offset for each axis.
    """

    axis: int = 2
    offsets: tuple[int, ...] = ()

    arity = (2, 1)
    caffe = CaffeParameter("144 crop_param CropParameter", "1 axis int32=2; 2 offset uint32*")
    caffe_fields: ClassVar = {"axis": "axis", "offsets": "offset"}

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        shape, like = bottoms
        axis = self._axis(self.axis, shape)
        if len(like) != len(shape) or len(self.offsets) not in (0, 1, len(shape) - axis):
            raise self.error(f"offsets {self.offsets} and bottoms of {shape} and {like} do not fit from axis {self.axis} on")
        if any(
            start + length > whole for start, length, whole in zip(self._starts(shape), like[axis:], shape[axis:], strict=True)
        ):
            raise self.error(f"offsets {self.offsets} and lengths of {like} exceed a bottom of {shape}")
        return [(*shape[:axis], *like[axis:])]

    def _starts(self, shape: Shape) -> list[int]:
        count = len(shape) - self.axis % len(shape)
        return list(self.offsets or (0,)) * (1 if len(self.offsets) > 1 else count)

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        """Write Slice, or OpenCV's Crop, which follows the size of the input."""
        axis, starts = self.axis % len(bottoms[0]), self._starts(bottoms[0])
        if writer.opencv:
            writer.node("Crop", writer.bottoms, axis=axis, offset=starts)
            return
        ends = [start + length for start, length in zip(starts, tops[0][axis:], strict=True)]
        parts = {"starts": starts, "ends": ends, "axes": range(axis, len(bottoms[0]))}
        constants = [writer.constant(f"{self.name}.{part}", list(values)) for part, values in parts.items()]
        writer.node("Slice", [writer.bottoms[0], *constants])


@dataclass(frozen=True, kw_only=True)
class Split(Layer):
    """Caffe's Split: its tops are its bottom."""

    arity = (1, 0)

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [bottoms[0]] * len(self.tops)

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        for top in range(len(tops)):
            writer.node("Identity", writer.bottoms, top=top)


@dataclass(frozen=True, kw_only=True)
class Silence(Layer):
    """Caffe's Silence, which only reads its bottoms; if it has tops, they are its bottoms."""

    arity = (0, -1)

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        if len(self.tops) > len(bottoms):
            raise self.error(f"at most {len(bottoms)} tops were expected, got {len(self.tops)}")
        return list(bottoms[: len(self.tops)])

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        for top in range(len(tops)):
            writer.node("Identity", [writer.bottoms[top]], top=top)


def _axis(param: Any, old: str) -> int:
    """The axis, under its name or that which it had before."""
    return int(getattr(param, old) if param.has(old) else param.axis)
