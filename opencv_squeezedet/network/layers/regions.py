"""Layers that sample a map: Interp, ROIPooling, PSROIPooling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from opencv_squeezedet.network.layers.base import SLOWER, Layer, shortest
from opencv_squeezedet.network.layers.interfaces import CaffeParameter, OnnxWriter, OptionError, Options, Pair, Shape

__all__ = ["Interp", "PSROIPooling", "ROIPooling"]


@dataclass(frozen=True, kw_only=True)
class Interp(Layer):
    """DeepLab's Interp: linear interpolation that keeps the corners, to a (height, width) or by a factor."""

    size: Pair | None = None
    zoom: int = 1

    caffe = CaffeParameter(
        "165 interp_param InterpParameter",
        """1 height int32; 2 width int32; 3 zoom_factor int32=1; 4 shrink_factor int32=1; 5 pad_beg int32; 6 pad_end int32""",
    )

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        n, channels, *sides = self._four_axes(bottoms[0])
        new = self.size or [side + (side - 1) * (self.zoom - 1) for side in sides]
        self._not_too_long(self.zoom, *new)
        return [(n, channels, *new)]

    def work(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        return SLOWER * 4 * math.prod(tops[0])

    @classmethod
    def read_caffe(cls, param: Any) -> Options:
        if param.shrink_factor != 1 or param.pad_beg or param.pad_end:
            raise OptionError("an Interp must have a zoom_factor, or height and width, and no shrink_factor or pads")
        if not param.has("height"):
            if param.zoom_factor < 1:
                raise OptionError(f"zoom_factor must be at least 1, got {param.zoom_factor}")
            return {"zoom": param.zoom_factor}
        if min(param.height, param.width) < 1:
            raise OptionError(f"height and width must be at least 1, got {param.height} and {param.width}")
        return {"size": (param.height, param.width)}

    def write_caffe(self) -> Options:
        return {"zoom_factor": self.zoom} if self.size is None else {"height": self.size[0], "width": self.size[1]}

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        """Write Resize; OpenCV 5 has another formula for the factor."""
        if writer.opencv:
            writer.node("Interp", writer.bottoms, height=tops[0][2], width=tops[0][3])
            return
        empty = [writer.constant(f"{self.name}.{part}", [0.0][:0]) for part in ("roi", "scales")]
        sizes = writer.constant(f"{self.name}.sizes", tops[0])
        how: Options = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
        writer.node("Resize", [*writer.bottoms, *empty, sizes], **how)


@dataclass(frozen=True, kw_only=True)
class ROIPooling(Layer):
    """Fast R-CNN's ROIPooling: the greatest value in each cell of a grid over each region."""

    grid: Pair
    scale: float = 1.0

    arity = (2, 1)
    caffe = CaffeParameter(
        "8266711 roi_pooling_param ROIPoolingParameter", "1 pooled_h uint32; 2 pooled_w uint32; 3 spatial_scale float=1"
    )

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        self._not_too_long(*self.grid)
        return [(_regions(self, bottoms), self._four_axes(bottoms[0])[1], *self.grid)]

    def work(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """Return the cost of reading each map for each region."""
        return SLOWER * bottoms[1][0] * math.prod(bottoms[0][1:])

    def keeps_batch(self, rank: int) -> bool:
        return False

    @classmethod
    def read_caffe(cls, param: Any) -> Options:
        if min(param.pooled_h, param.pooled_w) < 1:
            raise OptionError(f"pooled_h and pooled_w must be at least 1, got {param.pooled_h} and {param.pooled_w}")
        return {"grid": (param.pooled_h, param.pooled_w), "scale": shortest(param.spatial_scale)}

    def write_caffe(self) -> Options:
        return {"pooled_h": self.grid[0], "pooled_w": self.grid[1], "spatial_scale": self.scale}

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        if writer.opencv:
            writer.node("ROIPooling", writer.bottoms, **self.write_caffe())
        else:
            writer.node("MaxRoiPool", writer.bottoms, spatial_scale=self.scale, pooled_shape=self.grid)


@dataclass(frozen=True, kw_only=True)
class PSROIPooling(Layer):
    """R-FCN's position-sensitive ROIPooling: the mean of each cell of a grid, from channels of its own."""

    outputs: int
    grid: int
    scale: float = 1.0

    arity = (2, 1)
    caffe = CaffeParameter(
        "10002 psroi_pooling_param PSROIPoolingParameter", "1 spatial_scale float; 2 output_dim int32; 3 group_size int32"
    )
    caffe_fields: ClassVar = {"outputs": "output_dim", "grid": "group_size", "scale": "spatial_scale"}

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        channels = self._four_axes(bottoms[0])[1]
        self._not_too_long(self.grid)
        if channels != self.outputs * self.grid**2:
            raise self.error(f"{self.outputs * self.grid**2} channels were expected, got {channels}")
        return [(_regions(self, bottoms), self.outputs, self.grid, self.grid)]

    def work(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        return SLOWER * bottoms[1][0] * math.prod(bottoms[0][1:])

    def keeps_batch(self, rank: int) -> bool:
        return False

    @classmethod
    def read_caffe(cls, param: Any) -> Options:
        if min(param.output_dim, param.group_size) < 1:
            raise OptionError(f"output_dim and group_size must be at least 1, got {param.output_dim} and {param.group_size}")
        return super().read_caffe(param)

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        if not writer.opencv:
            raise self.error("standard ONNX has no equal of PSROIPooling")
        writer.node("PSROIPooling", writer.bottoms, **self.write_caffe())


def _regions(layer: Layer, bottoms: Sequence[Shape]) -> int:
    """The number of regions in the second bottom."""
    values = math.prod(bottoms[1])
    if values != bottoms[1][0] * 5:
        raise layer.error(f"regions of (image, x1, y1, x2, y2) were expected as second bottom, got {bottoms[1]}")
    return bottoms[1][0]
