"""Layers that change each value alone, or keep it: ReLU, PReLU, Sigmoid, Softmax, Dropout."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from opencv_squeezedet.network.layers.base import SameShape
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
"""The opset before which Softmax takes all axes from ``axis`` on as a single axis."""


@dataclass(frozen=True, kw_only=True)
class ReLU(SameShape):
    """Caffe's ReLU: x where positive, else slope * x."""

    slope: float = 0.0

    in_place = True
    caffe = CaffeParameter("123 relu_param ReLUParameter", "1 negative_slope float; 2 engine Engine", v1=30)
    caffe_fields: ClassVar = {"slope": "negative_slope"}
    onnx: ClassVar = {"Relu": OnnxOperator(), "LeakyRelu": OnnxOperator("alpha")}

    def write_caffe(self) -> Options:
        return super().write_caffe() if self.slope else {}

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        if self.slope:
            writer.node("LeakyRelu", writer.bottoms, alpha=self.slope)
        else:
            writer.node("Relu", writer.bottoms)

    @classmethod
    def from_onnx(cls, node: OnnxNode) -> ReLU:
        return cls(**node.blobs(), slope=node.number("alpha", 0.01) if node.op == "LeakyRelu" else 0.0)

    def torch_forward(self, bottoms: list[Tensor], run: TorchRun) -> Sequence[Tensor]:
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
    caffe_fields: ClassVar = {"shared": "channel_shared"}
    onnx: ClassVar = {"PRelu": OnnxOperator()}

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        self._has_axis(1, bottoms[0])
        return [bottoms[0]]

    def weight_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(1,) if self.shared else (bottoms[0][1],)]

    def write_caffe(self) -> Options:
        return super().write_caffe() if self.shared else {}

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        slopes = self.weight_shapes(bottoms)[0] + (1,) * (len(bottoms[0]) - 2)
        writer.node("PRelu", [*writer.bottoms, writer.weight(0, slopes)])

    @classmethod
    def from_onnx(cls, node: OnnxNode) -> PReLU:
        shape, slopes = node.shape, node.constant_floats(1)
        shared = slopes.size == 1 and shape[1:2] != (1,)
        axes = (1,) * (len(shape) - slopes.ndim) + slopes.shape
        if slopes.dtype.kind != "f" or not (shared or axes == (1, *shape[1:2], *(1,) * (len(shape) - 2))):
            raise node.error(f"one slope, or one for each channel of {shape}, was expected, got {slopes.shape}")
        node.keep_weights([slopes.reshape(-1)])
        return cls(**node.blobs(constants=1), shared=shared)

    def torch_module(self, bottoms: Sequence[Shape]) -> nn.PReLU:
        from torch import nn

        return nn.PReLU(self.weight_shapes(bottoms)[0][0])

    def torch_forward(self, bottoms: list[Tensor], run: TorchRun) -> Sequence[Tensor]:
        return (run.module(bottoms[0]),)


@dataclass(frozen=True, kw_only=True)
class Dropout(SameShape):
    """Caffe's Dropout, which does nothing outside training; if training does not ``scale``, it multiplies by 1 - ratio."""

    ratio: float = 0.5
    scale: bool = True

    in_place = True
    caffe = CaffeParameter("108 dropout_param DropoutParameter", "1 dropout_ratio float=0.5; 2 scale_train bool=true", v1=12)
    caffe_fields: ClassVar = {"ratio": "dropout_ratio", "scale": "scale_train"}
    onnx: ClassVar = {"Dropout": OnnxOperator("ratio seed", optional=1, more_outputs=True)}

    def write_caffe(self) -> Options:
        return {"dropout_ratio": self.ratio} if self.scale else super().write_caffe()

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
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
        if not self.scale:
            raise self.error("it cannot be trained without scale_train")
        return (run.dropout(bottoms[0], self.ratio),)


@dataclass(frozen=True, kw_only=True)
class Sigmoid(SameShape):
    """Caffe's Sigmoid."""

    caffe = CaffeParameter("124 sigmoid_param SigmoidParameter", "1 engine Engine", v1=38)
    onnx: ClassVar = {"Sigmoid": OnnxOperator()}

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        writer.node("Sigmoid", writer.bottoms)

    def torch_forward(self, bottoms: list[Tensor], run: TorchRun) -> Sequence[Tensor]:
        return (bottoms[0].sigmoid(),)


@dataclass(frozen=True, kw_only=True)
class Softmax(SameShape):
    """Caffe's Softmax over one axis."""

    axis: int = 1

    caffe = CaffeParameter("125 softmax_param SoftmaxParameter", "1 engine Engine; 2 axis int32=1", v1=39)
    caffe_fields: ClassVar = {"axis": "axis"}
    onnx: ClassVar = {"Softmax": OnnxOperator("axis")}

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        self._has_axis(self.axis, bottoms[0])
        return [bottoms[0]]

    def least_opset(self, bottoms: Sequence[Shape]) -> int:
        return _SOFTMAX_OF_ONE_AXIS if math.prod(bottoms[0][self.axis % len(bottoms[0]) + 1 :]) != 1 else 11

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        shape = bottoms[0]
        if writer.opset < self.least_opset(bottoms):
            raise self.error(f"before opset 13, ONNX has no Softmax over an axis, {self.axis}, that others follow in {shape}")
        writer.node("Softmax", writer.bottoms, axis=self.axis % len(shape))

    @classmethod
    def from_onnx(cls, node: OnnxNode) -> Softmax:
        of_one_axis = node.opset >= _SOFTMAX_OF_ONE_AXIS
        axis = node.axis(-1 if of_one_axis else 1)
        if not of_one_axis and any(length != 1 for length in node.shape[axis + 1 :]):
            raise node.error(f"before opset 13 it takes all axes from {axis} on as one, of {node.shape}")
        return cls(**node.blobs(), axis=axis)

    def torch_forward(self, bottoms: list[Tensor], run: TorchRun) -> Sequence[Tensor]:
        return (bottoms[0].softmax(self.axis),)
