"""Layers that put blobs together or cut them apart: Concat, Slice, Eltwise."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from opencv_squeezedet.network.layers.base import Layer
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

__all__ = ["Concat", "Eltwise", "Slice"]

_LENGTHS_AS_INPUT = 13
"""The opset from which on Split's lengths are an input."""
_MOST_PARTS = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Concat(Layer):
    """Caffe's Concat along one axis."""

    axis: int = 1

    arity = (0, 1)
    caffe = CaffeParameter("104 concat_param ConcatParameter", "1 concat_dim uint32; 2 axis int32=1", v1=9)
    onnx: ClassVar = {"Concat": OnnxOperator("axis")}

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return the bottoms' shape with the lengths along the axis summed."""
        first = bottoms[0]
        self._has_axis(self.axis, first)
        rest = [shape[: self.axis] + shape[self.axis + 1 :] for shape in bottoms]
        if any(shape != rest[0] for shape in rest):
            raise self.error(f"bottoms of {', '.join(map(str, bottoms))} differ in more than axis {self.axis}")
        total = sum(shape[self.axis] for shape in bottoms)
        return [(*first[: self.axis], total, *first[self.axis + 1 :])]

    def keeps_batch(self, rank: int) -> bool:
        """Whether it is along another axis."""
        return self.axis % rank != 0

    @classmethod
    def read_caffe(cls, param: Any) -> Options:
        """Return the axis."""
        return {"axis": _axis(param, "concat_dim")}

    def write_caffe(self) -> Options:
        """Return the axis, unless it is 1."""
        return {"axis": self.axis} if self.axis != 1 else {}

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        """Write Concat."""
        writer.node("Concat", writer.bottoms, axis=self.axis)

    @classmethod
    def from_onnx(cls, node: OnnxNode) -> Concat:
        """Read Concat."""
        return cls(**node.blobs(most=len(node.inputs)), axis=node.axis(1))

    def torch_forward(self, bottoms: list[Tensor], run: TorchRun) -> Sequence[Tensor]:
        """Return the concatenated blobs."""
        import torch

        return (torch.cat(bottoms, self.axis),)


@dataclass(frozen=True, kw_only=True)
class Slice(Layer):
    """Caffe's Slice along one axis, at the given points."""

    points: tuple[int, ...]
    axis: int = 1

    arity = (1, 0)
    caffe = CaffeParameter(
        "126 slice_param SliceParameter", "1 slice_dim uint32; 2 slice_point uint32*; 3 axis int32=1", v1=31
    )
    onnx: ClassVar = {"Split": OnnxOperator("axis split num_outputs", optional=1, outputs=_MOST_PARTS)}

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return the shape of each part."""
        shape = bottoms[0]
        self._has_axis(self.axis, shape)
        edges = (0, *self.points, shape[self.axis])
        if len(self.tops) != len(edges) - 1:
            raise self.error(f"{len(self.points)} slice points make {len(edges) - 1} tops, it has {len(self.tops)}")
        lengths = [end - start for start, end in itertools.pairwise(edges)]
        if min(lengths) < 1:
            raise self.error(f"slice points {self.points} do not fit axis {self.axis} of a bottom of {shape}")
        return [(*shape[: self.axis], length, *shape[self.axis + 1 :]) for length in lengths]

    def keeps_batch(self, rank: int) -> bool:
        """Whether it is along another axis."""
        return self.axis % rank != 0

    @classmethod
    def read_caffe(cls, param: Any) -> Options:
        """Return the points and the axis."""
        return {"points": tuple(param.slice_point), "axis": _axis(param, "slice_dim")}

    def write_caffe(self) -> Options:
        """Return the points and the axis."""
        return {"slice_point": self.points, "axis": self.axis}

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        """Write Split."""
        lengths = [top[self.axis] for top in tops]
        if writer.opset < _LENGTHS_AS_INPUT:
            writer.node("Split", writer.bottoms, axis=self.axis, split=lengths)
        else:
            split = writer.constant(f"{self.name}.split", np.array(lengths, "<i8"))
            writer.node("Split", [*writer.bottoms, split], axis=self.axis)

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
        """Return the parts."""
        import torch

        return torch.tensor_split(bottoms[0], self.points, dim=self.axis)


@dataclass(frozen=True, kw_only=True)
class Eltwise(Layer):
    """Caffe's Eltwise sum, as used by the bypasses of SqueezeNet's residual variant."""

    arity = (0, 1)
    caffe = CaffeParameter(
        "110 eltwise_param EltwiseParameter",
        "1 operation Operation=SUM; 2 coeff float*; 3 stable_prod_grad bool",
        v1=24,
        enums=(("Operation", "PROD SUM MAX"),),
    )
    onnx: ClassVar = {"Add": OnnxOperator(), "Sum": OnnxOperator()}

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return the bottoms' shape."""
        if len(bottoms) < 2:
            raise self.error(f"two bottoms or more were expected, got {len(bottoms)}")
        if any(shape != bottoms[0] for shape in bottoms):
            raise self.error(f"bottoms of the same shape were expected, got {', '.join(map(str, bottoms))}")
        return [bottoms[0]]

    @classmethod
    def read_caffe(cls, param: Any) -> Options:
        """Check that it is a sum without coefficients."""
        if param.operation != 1 or any(value != 1 for value in param.coeff):
            raise OptionError("an Eltwise must be a plain SUM")
        return {}

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        """Write Sum."""
        writer.node("Sum", writer.bottoms)

    @classmethod
    def from_onnx(cls, node: OnnxNode) -> Eltwise:
        """Read Add or Sum of blobs of one shape."""
        if len(node.inputs) < 2:
            raise node.error("two inputs or more were expected")
        blobs = node.blobs(most=len(node.inputs))
        if len(shapes := {node.shape_of(name) for name in blobs["bottoms"]}) > 1:
            raise node.error(f"inputs of one shape were expected, got {', '.join(map(str, sorted(shapes)))}")
        return cls(**blobs)

    def torch_forward(self, bottoms: list[Tensor], run: TorchRun) -> Sequence[Tensor]:
        """Return the sum."""
        return (sum(bottoms[1:], bottoms[0]),)


def _axis(param: Any, old: str) -> int:
    """The axis, under its name or that which it had before."""
    return int(getattr(param, old) if param.has(old) else param.axis)
