"""Functions of each value alone that no network here is trained with: AbsVal, BNLL, ELU, Exp, Log, Mish, Power and others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from opencv_squeezedet.network.layers.base import SameShape
from opencv_squeezedet.network.layers.interfaces import CaffeParameter, OnnxWriter, Shape

__all__ = ["BNLL", "ELU", "AbsVal", "Exp", "Log", "Mish", "Power", "ReLU6", "Sqrt", "Swish", "TanH"]


@dataclass(frozen=True, kw_only=True)
class _Function(SameShape):
    """A function for which ONNX has an operator."""

    operator: ClassVar[str]

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        writer.node(self.operator, writer.bottoms)


@dataclass(frozen=True, kw_only=True)
class AbsVal(_Function):
    """Caffe's AbsVal."""

    operator = "Abs"


@dataclass(frozen=True, kw_only=True)
class Log(_Function):
    """Caffe's Log, as OpenCV 4 reads it: the natural logarithm, whatever ``log_param`` says."""

    operator = "Log"


@dataclass(frozen=True, kw_only=True)
class Sqrt(_Function):
    """The square root."""

    operator = "Sqrt"


@dataclass(frozen=True, kw_only=True)
class TanH(_Function):
    """Caffe's TanH."""

    operator = "Tanh"
    caffe = CaffeParameter("127 tanh_param TanHParameter", "1 engine Engine", v1=37)


@dataclass(frozen=True, kw_only=True)
class BNLL(SameShape):
    """Caffe's BNLL: log(1 + exp(x))."""

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        """Write Softplus, which overflows in OpenCV 5."""
        writer.node("BNLL" if writer.opencv else "Softplus", writer.bottoms)


@dataclass(frozen=True, kw_only=True)
class ELU(SameShape):
    """Caffe's ELU: x where positive, else alpha * (exp(x) - 1)."""

    alpha: float = 1.0

    caffe = CaffeParameter("140 elu_param ELUParameter", "1 alpha float=1")
    caffe_fields: ClassVar = {"alpha": "alpha"}

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        writer.node("Elu", writer.bottoms, alpha=self.alpha)


@dataclass(frozen=True, kw_only=True)
class ReLU6(SameShape):
    """OpenCV's ReLU6: x between two bounds."""

    least: float = 0.0
    most: float = 6.0

    caffe = CaffeParameter("167 relu6_param ReLU6Parameter", "1 min_value float=0; 2 max_value float=6")
    caffe_fields: ClassVar = {"least": "min_value", "most": "max_value"}

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        bounds = [writer.constant(f"{self.name}.{part}", value) for part, value in (("min", self.least), ("max", self.most))]
        writer.node("Clip", [*writer.bottoms, *bounds])


@dataclass(frozen=True, kw_only=True)
class Swish(SameShape):
    """x * sigmoid(x)."""

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        writer.node("Mul", [*writer.bottoms, writer.node("Sigmoid", writer.bottoms, part="sigmoid")])


@dataclass(frozen=True, kw_only=True)
class Mish(SameShape):
    """x * tanh(log(1 + exp(x)))."""

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        value = writer.node("Tanh", [writer.node("Softplus", writer.bottoms, part="softplus")], part="tanh")
        writer.node("Mul", [*writer.bottoms, value])


@dataclass(frozen=True, kw_only=True)
class Power(SameShape):
    """Caffe's Power: (shift + scale * x) ** power."""

    power: float = 1.0
    scale: float = 1.0
    shift: float = 0.0

    caffe = CaffeParameter("122 power_param PowerParameter", "1 power float=1; 2 scale float=1; 3 shift float=0", v1=21)
    caffe_fields: ClassVar = {"power": "power", "scale": "scale", "shift": "shift"}

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        self._chain(writer, ("Mul", self.scale, 1.0), ("Add", self.shift, 0.0), ("Pow", self.power, 1.0))


@dataclass(frozen=True, kw_only=True)
class Exp(SameShape):
    """Caffe's Exp: base ** (shift + scale * x); a base of -1 stands for e."""

    base: float = -1.0
    scale: float = 1.0
    shift: float = 0.0

    caffe = CaffeParameter("111 exp_param ExpParameter", "1 base float=-1; 2 scale float=1; 3 shift float=0", v1=41)
    caffe_fields: ClassVar = {"base": "base", "scale": "scale", "shift": "shift"}

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        if self.base != -1 and self.base <= 0:
            raise self.error(f"a base above 0, or -1 for e, was expected, got {self.base}")
        return [bottoms[0]]

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        factor = 1.0 if self.base == -1 else math.log(self.base)
        self._chain(writer, ("Mul", self.scale * factor, 1.0), ("Add", self.shift * factor, 0.0), ("Exp", None, 0.0))
