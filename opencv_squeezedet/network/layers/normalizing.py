"""Layers that normalize or scale: BatchNorm, Scale, LRN, MVN, Normalize."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.network.layers.base import SLOWER, Layer, SameShape
from opencv_squeezedet.network.layers.interfaces import CaffeParameter, OnnxWriter, OptionError, Options, Shape

__all__ = ["LRN", "MVN", "BatchNorm", "Normalize", "Scale"]


def _standardized(layer: Layer, writer: OnnxWriter, axes: Sequence[int], *, variance: bool, eps: float) -> None:
    """Write the values minus their mean over the axes and, with ``variance``, divided by their standard deviation."""
    mean = writer.node("ReduceMean", writer.bottoms, part="mean", axes=axes, keepdims=1)
    if not variance:
        writer.node("Sub", [*writer.bottoms, mean])
        return
    centred = writer.node("Sub", [*writer.bottoms, mean], part="centred")
    squares = writer.node(
        "ReduceMean", [writer.node("Mul", [centred] * 2, part="squares")], part="variance", axes=axes, keepdims=1
    )
    safe = writer.node("Add", [squares, writer.constant(f"{layer.name}.eps", eps)], part="safe")
    writer.node("Div", [centred, writer.node("Sqrt", [safe], part="deviation")])


def _write_batch_norm(
    layer: Layer,
    writer: OnnxWriter,
    *,
    scale: NDArray[Any] | None = None,
    shift: NDArray[Any] | None = None,
    mean: NDArray[Any] | None = None,
    variance: NDArray[Any] | None = None,
    eps: float = 0.0,
) -> None:
    """Write BatchNormalization; what is not given changes nothing."""
    given = {"scale": scale, "shift": shift, "mean": mean, "variance": variance}
    length = next(len(values) for values in given.values() if values is not None)
    constants = [
        writer.constant(
            f"{layer.name}.{part}", np.full(length, float(part in ("scale", "variance"))) if values is None else values
        )
        for part, values in given.items()
    ]
    writer.node("BatchNormalization", [*writer.bottoms, *constants], epsilon=eps)


@dataclass(frozen=True, kw_only=True)
class BatchNorm(SameShape):
    """Caffe's BatchNorm, by the stored mean and variance, divided by the third blob; or by those of the only input."""

    eps: float = 1e-5
    stored: bool = True

    caffe = CaffeParameter(
        "139 batch_norm_param BatchNormParameter",
        "1 use_global_stats bool=true; 2 moving_average_fraction float; 3 eps float=1e-5",
    )
    caffe_fields: ClassVar = {"stored": "use_global_stats", "eps": "eps"}

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        self._has_axis(1, bottoms[0])
        if not self.stored and (bottoms[0][0] != 1 or len(bottoms[0]) < 3):
            raise self.error(f"without use_global_stats, a batch of one map was expected, got a bottom of {bottoms[0]}")
        return [bottoms[0]]

    def weight_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return the shapes of mean, variance, and the factor by which both are too large."""
        return [(bottoms[0][1],), (bottoms[0][1],), (1,)]

    def keeps_batch(self, rank: int) -> bool:
        return self.stored

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        if not self.stored:
            _standardized(self, writer, range(2, len(bottoms[0])), variance=True, eps=self.eps)
            return
        factor = float(writer.values(2)[0])
        mean, variance = (writer.values(i) * (1 / factor if factor else 0.0) for i in range(2))
        _write_batch_norm(self, writer, mean=mean, variance=variance, eps=self.eps)


@dataclass(frozen=True, kw_only=True)
class Scale(Layer):
    """Caffe's Scale: the bottom times weights, or times a second bottom, along some axes; perhaps plus a bias."""

    axis: int = 1
    axes: int = 1
    bias: bool = False

    arity = (0, 1)
    caffe = CaffeParameter(
        "142 scale_param ScaleParameter",
        "1 axis int32=1; 2 num_axes int32=1; 3 filler FillerParameter; 4 bias_term bool; 5 bias_filler FillerParameter",
    )
    caffe_fields: ClassVar = {"axis": "axis", "axes": "num_axes", "bias": "bias_term"}

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        if len(bottoms) > 2:
            raise self.error(f"one or two bottoms were expected, got {len(bottoms)}")
        axis, shape = self._axis(self.axis, bottoms[0]), self._factor_shape(bottoms)
        if self.axes < -1 or (len(bottoms) == 1 and axis + self.axes > len(bottoms[0])):
            raise self.error(f"num_axes {self.axes} do not fit a bottom of {bottoms[0]}")
        along = bottoms[0][axis : axis + len(shape)]
        if len(bottoms) == 2 and (len(along) < len(shape) or any(a not in (1, b) for a, b in zip(shape, along, strict=True))):
            raise self.error(f"a second bottom of {shape} does not fit axis {axis} of a bottom of {bottoms[0]}")
        return [bottoms[0]]

    def _factor_shape(self, bottoms: Sequence[Shape]) -> Shape:
        axis = self.axis % len(bottoms[0])
        if len(bottoms) == 2:
            return bottoms[1]
        return bottoms[0][axis:] if self.axes == -1 else bottoms[0][axis : axis + self.axes]

    def weight_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [self._factor_shape(bottoms) or (1,)] * ((len(bottoms) == 1) + self.bias)

    def keeps_batch(self, rank: int) -> bool:
        return super().keeps_batch(rank) or self.axes == 0

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        """Write Mul and Add; or BatchNormalization for a factor of each channel, which OpenCV 5 loads faster."""
        if len(bottoms) == self.axes == self.axis == 1 and len(bottoms[0]) == 4:
            bias = writer.values(1) if self.bias else None
            _write_batch_norm(self, writer, scale=writer.values(0), shift=bias)
            return
        factor, after = self._factor_shape(bottoms), len(bottoms[0]) - self.axis % len(bottoms[0])
        shape = (*factor, *(1,) * (after - len(factor)))
        if len(bottoms) == 1:
            value = writer.weight(0, shape)
        elif len(factor) == after:
            value = writer.bottoms[1]
        else:
            dims = [0] * len(factor) + [1] * (after - len(factor))
            value = writer.node("Reshape", [writer.bottoms[1], writer.constant(f"{self.name}.shape", dims)], part="factor")
        if not self.bias:
            writer.node("Mul", [writer.bottoms[0], value])
            return
        product = writer.node("Mul", [writer.bottoms[0], value], part="product")
        writer.node("Add", [product, writer.weight(len(self.weight_shapes(bottoms)) - 1, shape)])


@dataclass(frozen=True, kw_only=True)
class LRN(SameShape):
    """Caffe's LRN: x / (k + alpha * mean of the squares nearby) ** beta, over channels or, ``within`` a channel, over pixels.

    The default of alpha is OpenCV 4's. OpenCV 4 ignores k, which a network is trained with. Within a channel k is 1.
    """

    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0
    within: bool = False

    caffe = CaffeParameter(
        "118 lrn_param LRNParameter",
        """1 local_size uint32=5; 2 alpha float=0.0001; 3 beta float=0.75; 4 norm_region NormRegion; 5 k float=1;
        6 engine Engine""",
        v1=18,
        enums=(("NormRegion", "ACROSS_CHANNELS WITHIN_CHANNEL"),),
    )
    caffe_fields: ClassVar = {"size": "local_size", "alpha": "alpha", "beta": "beta", "k": "k"}

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        self._not_too_long(self.size)
        return [self._four_axes(bottoms[0])]

    def work(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        return SLOWER * math.prod(tops[0]) * (self.size**2 if self.within else self.size)

    @classmethod
    def read_caffe(cls, param: Any) -> Options:
        if param.local_size % 2 == 0:
            raise OptionError(f"local_size must be odd, got {param.local_size}")
        return super().read_caffe(param) | {"within": param.norm_region == 1}

    def write_caffe(self) -> Options:
        return super().write_caffe() | ({"norm_region": 1} if self.within else {})

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        """Write LRN, or the mean of the squares by AveragePool and the division by its power."""
        if not self.within:
            writer.node("LRN", writer.bottoms, size=self.size, alpha=self.alpha, beta=self.beta, bias=self.k)
            return
        window: Options = {"kernel_shape": (self.size,) * 2, "pads": (self.size // 2,) * 4, "count_include_pad": 1}
        value = writer.node("Mul", writer.bottoms * 2, part="squares")
        value = writer.node("AveragePool", [value], part="mean", strides=(1, 1), **window)
        for op, constant in (("Mul", self.alpha), ("Add", 1.0), ("Pow", self.beta)):
            part = op.lower()
            value = writer.node(op, [value, writer.constant(f"{self.name}.{part}", constant)], part=part)
        writer.node("Div", [*writer.bottoms, value])


@dataclass(frozen=True, kw_only=True)
class MVN(SameShape):
    """Caffe's MVN: each map, or each input, minus its mean and, with ``variance``, divided by sqrt(variance + eps).

    Caffe divides by sqrt(variance) + eps, OpenCV 4 does as here.
    """

    variance: bool = True
    across: bool = False
    eps: float = 1e-9

    caffe = CaffeParameter(
        "120 mvn_param MVNParameter", "1 normalize_variance bool=true; 2 across_channels bool; 3 eps float=1e-9", v1=34
    )
    caffe_fields: ClassVar = {"variance": "normalize_variance", "across": "across_channels", "eps": "eps"}

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [self._four_axes(bottoms[0])]

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        _standardized(self, writer, (1, 2, 3) if self.across else (2, 3), variance=self.variance, eps=self.eps)


@dataclass(frozen=True, kw_only=True)
class Normalize(SameShape):
    """SSD's Normalize: each input, or each pixel, divided by its Euclidean norm, times one factor or each channel's."""

    across: bool = True
    shared: bool = True
    eps: float = 1e-10

    caffe = CaffeParameter(
        "206 norm_param NormalizeParameter",
        "1 across_spatial bool=true; 2 scale_filler FillerParameter; 3 channel_shared bool=true; 4 eps float=1e-10",
    )
    caffe_fields: ClassVar = {"across": "across_spatial", "shared": "channel_shared", "eps": "eps"}

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        if self.across and not self.shared:
            raise self.error("across_spatial with a scale for each channel is not supported")
        return [self._four_axes(bottoms[0])]

    def weight_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(1,) if self.shared else (bottoms[0][1],)]

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        """Write the norm, the division and the product; OpenCV 5 gets LpNormalization wrong."""
        axes = (1, 2, 3) if self.across else (1,)
        squares = writer.node("ReduceSumSquare", writer.bottoms, part="squares", axes=axes, keepdims=1)
        safe = writer.node("Add", [squares, writer.constant(f"{self.name}.eps", self.eps)], part="safe")
        unit = writer.node("Div", [*writer.bottoms, writer.node("Sqrt", [safe], part="norm")], part="unit")
        writer.node("Mul", [unit, writer.weight(0, (*self.weight_shapes(bottoms)[0], 1, 1))])
