"""Layers that change each value alone, or keep it: ReLU, PReLU, Sigmoid, Softmax, Dropout."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from opencv_squeezedet.network.layers.base import SameShape, shortest
from opencv_squeezedet.network.layers.interfaces import (
    CaffeParameter,
    OnnxNode,
    OnnxOperator,
    OnnxWriter,
    Options,
    Shape,
    TorchRun,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Dropout", "PReLU", "ReLU", "Sigmoid", "Softmax"]

_RATIO_AS_INPUT = 12
"""The opset from which on Dropout's ratio is an input."""
_SOFTMAX_OF_ONE_AXIS = 13
"""The opset before which Softmax takes all axes from the given one on as one."""


@dataclass(frozen=True, kw_only=True)
class ReLU(SameShape):
    """Caffe's ReLU: x where positive, else slope * x."""

    slope: float = 0.0

    in_place = True
    caffe = CaffeParameter("123 relu_param ReLUParameter", "1 negative_slope float; 2 engine Engine", v1=30)
    onnx: ClassVar = {"Relu": OnnxOperator(), "LeakyRelu": OnnxOperator("alpha")}

    @classmethod
    def read_caffe(cls, param: Any) -> Options:
        """Return the slope."""
        return {"slope": shortest(param.negative_slope)}

    def write_caffe(self) -> Options:
        """Return the slope, unless it is 0."""
        return {"negative_slope": self.slope} if self.slope else {}

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        """Write Relu or LeakyRelu."""
        if self.slope:
            writer.node("LeakyRelu", writer.bottoms, alpha=self.slope)
        else:
            writer.node("Relu", writer.bottoms)

    @classmethod
    def from_onnx(cls, node: OnnxNode) -> ReLU:
        """Read Relu or LeakyRelu."""
        return cls(**node.blobs(), slope=node.number("alpha", 0.01) if node.op == "LeakyRelu" else 0.0)

    def torch_forward(self, bottoms: list[Tensor], run: TorchRun) -> Sequence[Tensor]:
        """Return the rectified blob, in the bottom's memory if the layer works in place."""
        from torch.nn import functional

        in_place = self.tops == self.bottoms
        if self.slope:
            return (functional.leaky_relu(bottoms[0], self.slope, in_place),)
        return (functional.relu(bottoms[0], in_place),)


@dataclass(frozen=True, kw_only=True)
class PReLU(SameShape):
    """Caffe's PReLU (He et al., arXiv:1502.01852): x where positive, else slope * x; each channel has a trained slope.

    With ``shared`` there is one slope for all channels.
    """

    shared: bool = False

    in_place = True
    caffe = CaffeParameter("131 prelu_param PReLUParameter", "1 filler FillerParameter; 2 channel_shared bool")
    onnx: ClassVar = {"PRelu": OnnxOperator()}

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return the bottom's shape."""
        self._has_axis(1, bottoms[0])
        return [bottoms[0]]

    def weight_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return (C,), or (1,) if the slope is shared."""
        return [(1,) if self.shared else (bottoms[0][1],)]

    @classmethod
    def read_caffe(cls, param: Any) -> Options:
        """Return whether the slope is shared."""
        return {"shared": param.channel_shared}

    def write_caffe(self) -> Options:
        """Return that the slope is shared, if it is."""
        return {"channel_shared": True} if self.shared else {}

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        """Write PRelu, whose slopes are (C, 1, 1)."""
        slopes = self.weight_shapes(bottoms)[0] + (1,) * (len(bottoms[0]) - 2)
        writer.node("PRelu", [*writer.bottoms, writer.weight(0, slopes)])

    @classmethod
    def from_onnx(cls, node: OnnxNode) -> PReLU:
        """Read PRelu with one slope, or one for each channel."""
        shape, slopes = node.shape, node.constant_floats(1)
        shared = slopes.size == 1 and shape[1:2] != (1,)
        axes = (1,) * (len(shape) - slopes.ndim) + slopes.shape
        if slopes.dtype.kind != "f" or not (shared or axes == (1, *shape[1:2], *(1,) * (len(shape) - 2))):
            raise node.error(f"one slope, or one for each channel of {shape}, was expected, got {slopes.shape}")
        node.keep_weights([slopes.reshape(-1)])
        return cls(**node.blobs(constants=1), shared=shared)

    def torch_module(self, bottoms: Sequence[Shape]) -> nn.PReLU:
        """Return a PReLU."""
        from torch import nn

        return nn.PReLU(self.weight_shapes(bottoms)[0][0])

    def torch_forward(self, bottoms: list[Tensor], run: TorchRun) -> Sequence[Tensor]:
        """Return the rectified blob."""
        return (run.module(bottoms[0]),)


@dataclass(frozen=True, kw_only=True)
class Dropout(SameShape):
    """Caffe's Dropout, which does nothing outside training; if training does not ``scale``, it multiplies by 1 - ratio."""

    ratio: float = 0.5
    scale: bool = True

    in_place = True
    caffe = CaffeParameter("108 dropout_param DropoutParameter", "1 dropout_ratio float=0.5; 2 scale_train bool=true", v1=12)
    onnx: ClassVar = {"Dropout": OnnxOperator("ratio seed", optional=1, more_outputs=True)}

    @classmethod
    def read_caffe(cls, param: Any) -> Options:
        """Return all fields."""
        return {"ratio": shortest(param.dropout_ratio), "scale": param.scale_train}

    def write_caffe(self) -> Options:
        """Return the ratio, and that it scales later."""
        return {"dropout_ratio": self.ratio} | ({} if self.scale else {"scale_train": False})

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        """Write Dropout, or Mul."""
        if not self.scale:
            self._chain(writer, ("Mul", 1 - self.ratio, 1.0))
        elif writer.opset < _RATIO_AS_INPUT:
            writer.node("Dropout", writer.bottoms, ratio=self.ratio)
        else:
            ratio = writer.constant(f"{self.name}.ratio", self.ratio)
            writer.node("Dropout", [*writer.bottoms, ratio])

    @classmethod
    def from_onnx(cls, node: OnnxNode) -> Dropout:
        """Read Dropout; a ratio among the inputs is ignored."""
        return cls(**node.blobs(constants=2), ratio=node.number("ratio", 0.5))

    def torch_forward(self, bottoms: list[Tensor], run: TorchRun) -> Sequence[Tensor]:
        """Return the blob after dropout."""
        if not self.scale:
            raise self.error("it cannot be trained without scale_train")
        return (run.dropout(bottoms[0], self.ratio),)


@dataclass(frozen=True, kw_only=True)
class Sigmoid(SameShape):
    """Caffe's Sigmoid."""

    caffe = CaffeParameter("124 sigmoid_param SigmoidParameter", "1 engine Engine", v1=38)
    onnx: ClassVar = {"Sigmoid": OnnxOperator()}

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        """Write Sigmoid."""
        writer.node("Sigmoid", writer.bottoms)

    def torch_forward(self, bottoms: list[Tensor], run: TorchRun) -> Sequence[Tensor]:
        """Return the sigmoid of each value."""
        return (bottoms[0].sigmoid(),)


@dataclass(frozen=True, kw_only=True)
class Softmax(SameShape):
    """Caffe's Softmax over one axis."""

    axis: int = 1

    caffe = CaffeParameter("125 softmax_param SoftmaxParameter", "1 engine Engine; 2 axis int32=1", v1=39)
    onnx: ClassVar = {"Softmax": OnnxOperator("axis")}

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return the bottom's shape."""
        self._has_axis(self.axis, bottoms[0])
        return [bottoms[0]]

    def keeps_batch(self, rank: int) -> bool:
        """Whether it is over another axis."""
        return self.axis % rank != 0

    @classmethod
    def read_caffe(cls, param: Any) -> Options:
        """Return the axis."""
        return {"axis": param.axis}

    def write_caffe(self) -> Options:
        """Return the axis."""
        return {"axis": self.axis}

    def least_opset(self, bottoms: Sequence[Shape]) -> int:
        """Return 13 if earlier ones would take more axes."""
        return _SOFTMAX_OF_ONE_AXIS if math.prod(bottoms[0][self.axis % len(bottoms[0]) + 1 :]) != 1 else 11

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        """Write Softmax; ModelError if the opset has another."""
        shape = bottoms[0]
        if writer.opset < self.least_opset(bottoms):
            raise self.error(f"before opset 13, ONNX has no Softmax over an axis, {self.axis}, that others follow in {shape}")
        writer.node("Softmax", writer.bottoms, axis=self.axis % len(shape))

    @classmethod
    def from_onnx(cls, node: OnnxNode) -> Softmax:
        """Read Softmax over one axis."""
        one = node.opset >= _SOFTMAX_OF_ONE_AXIS
        axis = node.axis(-1 if one else 1)
        if not one and any(length != 1 for length in node.shape[axis + 1 :]):
            raise node.error(f"before opset 13 it takes all axes from {axis} on as one, of {node.shape}")
        return cls(**node.blobs(), axis=axis)

    def torch_forward(self, bottoms: list[Tensor], run: TorchRun) -> Sequence[Tensor]:
        """Return the softmax over the axis."""
        return (bottoms[0].softmax(self.axis),)
