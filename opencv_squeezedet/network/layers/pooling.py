"""Caffe's Pooling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from opencv_squeezedet.network.layers.base import SLOWER, Layer
from opencv_squeezedet.network.layers.interfaces import (
    CaffeParameter,
    OnnxNode,
    OnnxOperator,
    OnnxWriter,
    OptionError,
    Options,
    Pair,
    Shape,
    TorchRun,
)
from opencv_squeezedet.network.layers.windows import ONNX_WINDOW, read_pair, write_pair

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Pooling"]

_METHODS = {0: "max", 1: "average"}
"""By Caffe's numbers."""


@dataclass(frozen=True, kw_only=True)
class Pooling(Layer):
    """Caffe's Pooling; with ``ceil`` the last windows may extend over the border, without a kernel there is one window.

    The greatest values may have a second top: where each is in its map, as in OpenCV 4.
    """

    method: str = "max"
    kernel: Pair | None = None
    stride: Pair = (1, 1)
    pad: Pair = (0, 0)
    ceil: bool = True

    arity = (1, 0)

    caffe = CaffeParameter(
        "121 pooling_param PoolingParameter",
        """1 pool Pool; 2 kernel_size uint32; 3 stride uint32=1; 4 pad uint32; 5 kernel_h uint32; 6 kernel_w uint32;
        7 stride_h uint32; 8 stride_w uint32; 9 pad_h uint32; 10 pad_w uint32; 11 engine Engine; 12 global_pooling bool;
        13 round_mode RoundMode; 14 ceil_mode bool=true""",
        v1=19,
        enums=(("Pool", "MAX AVE STOCHASTIC"), ("RoundMode", "CEIL FLOOR")),
    )
    onnx: ClassVar = {
        "MaxPool": OnnxOperator(f"{ONNX_WINDOW} ceil_mode storage_order"),
        "AveragePool": OnnxOperator(f"{ONNX_WINDOW} ceil_mode count_include_pad"),
        "GlobalMaxPool": OnnxOperator(),
        "GlobalAveragePool": OnnxOperator(),
    }

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        n, channels, *sides = self._four_axes(bottoms[0])
        if len(self.tops) > 1 + (self.method == "max" and self.kernel is not None):
            raise self.error(f"one top was expected, or two of a window's MAX, got {len(self.tops)}")
        if self.kernel is None:
            return [(n, channels, 1, 1)]
        self._not_too_long(*self.kernel, *self.stride, *self.pad)
        windows = list(zip(sides, self.kernel, self.stride, self.pad, strict=True))
        if any(side + 2 * pad < kernel for side, kernel, _, pad in windows):
            raise self.error(
                f"a bottom of {sides[1]}x{sides[0]} is smaller than the kernel of {self.kernel[1]}x{self.kernel[0]}"
            )
        more = 1 if self.ceil else 0
        lengths = [(side + 2 * pad - kernel + more * (stride - 1)) // stride + 1 for side, kernel, stride, pad in windows]
        for i, (side, _, stride, pad) in enumerate(windows):
            if pad and (lengths[i] - 1) * stride >= side + pad:  # the last window would lie entirely in the padding
                lengths[i] -= 1
        return [(n, channels, *lengths)] * len(self.tops)

    def work(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        read = math.prod(bottoms[0]) if self.kernel is None else math.prod(tops[0]) * math.prod(self.kernel)
        return SLOWER * read

    @classmethod
    def read_caffe(cls, param: Any) -> Options:
        if param.pool not in _METHODS:
            raise OptionError("the pooling must be MAX or AVE, got STOCHASTIC")
        options: Options = {"method": _METHODS[param.pool]}
        if param.global_pooling:
            if any(map(param.has, ("kernel_size", "kernel_h", "kernel_w"))):
                raise OptionError("a global_pooling has no kernel_size")
            return options
        options["ceil"] = param.ceil_mode and param.round_mode == 0
        for name, field, least in (("kernel", "kernel_size", 1), ("stride", "stride", 1), ("pad", "pad", 0)):
            values = [getattr(param, field)] if name != "kernel" or param.has(field) else []
            options[name] = read_pair(field, values, param, name, None, least=least)
        if any(pad >= kernel for pad, kernel in zip(options["pad"], options["kernel"], strict=True)):
            raise OptionError(f"pad must be smaller than the kernel of {options['kernel']}, got {options['pad']}")
        return options

    def write_caffe(self) -> Options:
        options: Options = {"pool": {name: number for number, name in _METHODS.items()}[self.method]}
        if self.kernel is None:
            return options | {"global_pooling": True}
        return (
            options
            | write_pair("kernel_size", "kernel", self.kernel, None)
            | write_pair("stride", "stride", self.stride, 1)
            | write_pair("pad", "pad", self.pad, 0)
            | ({} if self.ceil else {"ceil_mode": False})
        )

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        """Write MaxPool, AveragePool or their global operators; or OpenCV's layer, which follows the size of the input."""
        if self.kernel is None:
            writer.node({"max": "GlobalMaxPool", "average": "GlobalAveragePool"}[self.method], writer.bottoms)
            return
        windows = list(zip(bottoms[0][2:], self.kernel, self.stride, self.pad, tops[0][2:], strict=True))
        over = [(length - 1) * stride + kernel - side - 2 * pad for side, kernel, stride, pad, length in windows]
        window: Options = {"kernel_shape": self.kernel, "strides": self.stride, "pads": self.pad * 2}
        greatest = self.method == "max"
        if writer.opencv:  # an operator that fits inputs of every size
            fits = not any(self.pad) and all(stride <= kernel for _, kernel, stride, *_ in windows)
            simple = self.stride == (1, 1) or (greatest and self.ceil and fits)
        else:
            inside = min(over) >= 0 and not any(self._outside(*each) for each in windows)
            simple = not any(over) or (greatest and self.ceil and inside)
        if simple and len(tops) == 1:
            more: Options = {"ceil_mode": int(self.ceil)} if greatest else {"count_include_pad": 1}
            writer.node("MaxPool" if greatest else "AveragePool", writer.bottoms, **window, **more)
        elif writer.opencv:
            self._write_opencv(writer)
        elif len(tops) == 2:
            end = tuple(max(0, pad + beyond) for pad, beyond in zip(self.pad, over, strict=True))
            self._write_indices(writer, bottoms[0], window | {"pads": (*self.pad, *end)})
        else:
            self._write_border(writer, windows, over)

    @staticmethod
    def _outside(side: int, kernel: int, stride: int, pad: int, length: int) -> bool:
        """Whether the last window contains no value."""
        return (length - 1) * stride - pad >= side

    def _write_opencv(self, writer: OnnxWriter) -> None:
        """Write OpenCV's layer."""
        assert isinstance(self.kernel, tuple)
        window = {"kernel": self.kernel, "stride": self.stride, "pad": self.pad}
        options: Options = {
            f"{name}_{axis}": value for name, pair in window.items() for axis, value in zip("hw", pair, strict=True)
        }
        writer.node(
            "Pooling", writer.bottoms, pool={"max": "MAX", "average": "AVE"}[self.method], ceil_mode=int(self.ceil), **options
        )

    def _write_border(self, writer: OnnxWriter, windows: Sequence[tuple[int, ...]], over: Sequence[int]) -> None:
        """Write the pooling of padded values, with the pads that each side needs.

        Caffe's average counts its own padding, but not what lies beyond: zeros are put around the input first.
        """
        inputs, greatest = writer.bottoms, self.method == "max"
        more: Options = {} if greatest else {"count_include_pad": 0}
        beyond = [max(0, length) for length in over]
        if any(self._outside(*window) for window in windows):  # OpenCV 4 makes 0 or NaN of such windows
            pads = writer.constant(f"{self.name}.beyond", [0, 0, 0, 0, 0, 0, *beyond])
            fill = writer.constant(f"{self.name}.fill", 0.0 if greatest else math.nan)
            inputs, beyond = [writer.node("Pad", [*inputs, pads, fill], part="beyond")], [0, 0]
        before, end = self.pad, tuple(map(sum, zip(self.pad, beyond, strict=True)))
        if not greatest and any(self.pad):
            pads = writer.constant(f"{self.name}.pads", [0, 0, *self.pad] * 2)
            inputs, before, end = [writer.node("Pad", [*inputs, pads], part="padded")], (0, 0), tuple(beyond)
        window: Options = {"kernel_shape": self.kernel, "strides": self.stride, "pads": (*before, *end)}
        writer.node("MaxPool" if greatest else "AveragePool", inputs, **window, **more)

    def _write_indices(self, writer: OnnxWriter, bottom: Shape, window: Options) -> None:
        """Write MaxPool with its indices, which count the values of all maps."""
        writer.node("MaxPool", writer.bottoms, top=0, more_outputs=1, **window)
        size = writer.constant(f"{self.name}.values", bottom[2] * bottom[3])
        writer.node("Cast", [writer.node("Mod", [f"{self.name}/1", size], part="places")], top=1, to=1)

    @classmethod
    def from_onnx(cls, node: OnnxNode) -> Pooling:
        """Read a pooling whose windows end where Caffe's do."""
        method = "max" if node.op.endswith("MaxPool") else "average"
        if node.op.startswith("Global"):
            return cls(**node.blobs(), method=method)
        kernel, stride, pad = node.pair("kernel_shape", None), node.pair("strides", (1, 1)), node.pads()
        sides = node.shape[2:]
        windows = list(zip(sides, kernel, stride, pad, strict=False))
        if len(node.outputs) != 1 or node.pair("dilations", (1, 1)) != (1, 1) or any(p >= k for _, k, _, p in windows):
            raise node.error("a pooling with one output, no dilations and pads smaller than the kernel was expected")
        whole = all((side + 2 * p - k) % s == 0 for side, k, s, p in windows)
        if not whole and (method == "average" or any(pad) or not node.integer("ceil_mode", 0)):
            raise node.error(f"windows of {kernel} over {sides} do not end where Caffe's do")
        if method == "average" and any(pad) and not node.integer("count_include_pad", 0):
            raise node.error("count_include_pad was expected with pads")
        return cls(**node.blobs(), method=method, kernel=kernel, stride=stride, pad=pad)

    def torch_forward(self, bottoms: list[Tensor], run: TorchRun) -> Sequence[Tensor]:
        from torch.nn import functional

        x, greatest = bottoms[0], self.method == "max"
        if self.kernel is None:
            return (x.amax((2, 3), keepdim=True) if greatest else x.mean((2, 3), keepdim=True),)
        pool = functional.max_pool2d if greatest else functional.avg_pool2d
        return (pool(x, self.kernel, self.stride, self.pad, ceil_mode=True),)
